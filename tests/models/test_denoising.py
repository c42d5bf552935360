"""The denoising autoencoder: that it takes noise away, and that all of an estimator follows for a model of one file."""

import pickle

import numpy as np
import pytest

from fastvae.data import loading
from fastvae.kernels import cpu
from fastvae.kernels.philox import CORRUPTION
from fastvae.models.denoising import DenoisingAutoencoder

DIGITS = np.asarray(loading.load("digits").X, np.float32)
DIGITS = DIGITS / DIGITS.max()
TRAIN, NEW = DIGITS[:1400], DIGITS[1400:]
RNG = np.random.default_rng(0)


def model(**settings):
    return DenoisingAutoencoder(**{"latent_dim": 12, "hidden": (64,), "epochs": 25, "random_state": 0} | settings)


@pytest.fixture(scope="module")
def fitted():
    return model().fit(TRAIN)


def root_mean_square(error):
    return float(np.sqrt(np.square(error).mean()))


def test_it_takes_noise_away(fitted):
    """Better than what was corrupted, than the mean, and than a PCA of the same size."""
    noisy = np.where(RNG.random(NEW.shape) < 0.3, 0, NEW).astype(np.float32)
    mean = TRAIN.mean(axis=0)
    axes = np.linalg.svd(TRAIN - mean, full_matrices=False)[2][:12]
    rivals = noisy, np.broadcast_to(mean, NEW.shape), (noisy - mean) @ axes.T @ axes + mean
    found = root_mean_square(fitted.reconstruct(noisy) - NEW)
    assert found < min(root_mean_square(rival - NEW) for rival in rivals)


def test_the_loss_is_of_the_input_and_the_encoder_sees_it_corrupted():
    """One step, with the noise drawn again; a linear model, in float64."""
    vae = model(hidden=(), likelihood="gaussian", corruption="masking", amount=0.4, scale=None)
    examples = vae.initialize(TRAIN[:40])
    q = {name: values.astype(float) for name, values in vae.parameters().items()}
    network, indices = vae.network_, np.empty(40, np.int64)
    network.allocate(40, [vae._make_optimizer()], examples, indices)
    (found,) = network.steps(1, np.arange(40)[None], np.zeros(1))
    x, noisy = TRAIN[:40], np.empty((40, 64), np.float32)
    cpu.corrupt(x, 1, 0.4, vae.seed_, CORRUPTION, 1, 0, noisy)
    assert 0.3 < (noisy != x)[x > 0].mean() < 0.5
    out = (noisy @ q["encoder.0.weight"] + q["encoder.0.bias"]) @ q["decoder.0.weight"] + q["decoder.0.bias"]
    expected = 0.5 * np.square(out - x).sum(axis=1).mean() + 32 * np.log(2 * np.pi)
    assert found["loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "poisson"])
@pytest.mark.parametrize("corruption", ["masking", "salt_and_pepper", "gaussian"])
def test_every_likelihood_and_corruption(likelihood, corruption):
    data = np.floor(16 * TRAIN[:200]) if likelihood == "poisson" else TRAIN[:200]
    vae = model(likelihood=likelihood, corruption=corruption, epochs=6, amount=0.2).fit(data)
    assert vae.history_["loss"][-1] < vae.history_["loss"][0]
    assert vae.reconstruct(data).shape == data.shape
    assert np.isfinite(vae.score_samples(data)).all()


def test_files_copies_and_pipelines(fitted, tmp_path):
    fitted.save(tmp_path / "model.npz")
    for other in (DenoisingAutoencoder.load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(fitted))):
        np.testing.assert_array_equal(other.transform(NEW), fitted.transform(NEW))
        assert other.get_params() == fitted.get_params()
    assert fitted.get_feature_names_out()[0] == "denoisingautoencoder0"
    assert list(fitted.history_) == ["epoch", "loss", "heldout_score", "images_per_second", "seconds"]


def test_a_run_that_is_continued_ends_in_the_same_bits(tmp_path):
    whole = model(epochs=4, average=0.5, optimizer="sgd").fit(TRAIN[:300])
    half = model(epochs=4, average=0.5, optimizer="sgd")
    examples = half.initialize(TRAIN[:300])
    from fastvae.training import Observer

    class Twice(Observer):
        steps = 0

        def stepped(self, state, examples):
            self.steps += 1

        def stop_requested(self):
            return self.steps == 5

    half.fit_examples(examples, 4, 64, None, None, Twice())
    half.save_checkpoint(tmp_path / "checkpoint.npz")
    other = DenoisingAutoencoder.load_checkpoint(tmp_path / "checkpoint.npz")
    other.fit_examples(other.examples(TRAIN[:300]), 4, 64, None, None, Observer())
    other.keep_best()
    np.testing.assert_array_equal(other.network_.parameters.values, whole.network_.parameters.values)


def test_early_stopping_uses_the_held_out_score():
    vae = model(epochs=400, learning_rate=0.05, amount=0.0).fit(TRAIN[:60], heldout=NEW[:60], patience=3)
    assert vae.stopped_early_
    assert vae.history_["heldout_score"].max() == vae.history_["heldout_score"][vae.best_epoch_ - 1]


@pytest.mark.parametrize(("settings", "message"), [
    ({"corruption": "mask"}, "corruption='mask' is not known: did you mean 'masking'"),
    ({"amount": -1}, "amount=-1 must be at least 0"),
    ({"hidden": 5}, "hidden=5 must be a tuple"),
    ({"likelihood": "bernouli"}, "likelihood='bernouli' is not known"),
    ({"average": 2}, "average=2 must be from 0 to 1"),
    ({"schedule": "cosin"}, "schedule='cosin' is not known"),
], ids=str)  # fmt: skip
def test_refusals(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        model(**settings).fit(TRAIN[:50])


def test_data_out_of_range_are_refused_after_fit_too(fitted):
    for use in (fitted.transform, fitted.score_samples, fitted.reconstruct):
        with pytest.raises(ValueError, match="likelihood='bernoulli' needs values in"):
            use(5 * NEW)
    with pytest.raises(ValueError, match="amount=1.5 must be at most 1"):
        model(amount=1.5).fit(TRAIN[:50])
