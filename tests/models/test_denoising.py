"""The denoising autoencoder: that it takes noise away, and that all of an estimator follows for a model of one file."""

import pickle

import numpy as np
import pytest

from fastvae.data import loading
from fastvae.kernels import cpu
from fastvae.kernels.philox import CORRUPTION
from fastvae.models.denoising import DenoisingAutoencoder
from fastvae.models.settings import plain
from tests.support import threads as threads_of

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


# ---- what it is for ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("corruption", "amount"), [("masking", 0.5), ("salt_and_pepper", 0.3), ("gaussian", 0.5)])
def test_half_of_the_squared_error_goes(corruption, amount):
    """On rows that it has not seen, corrupted by noise that it has not seen; the mean of the data is no rival."""
    found = model(corruption=corruption, amount=amount, epochs=40).fit(TRAIN)
    noisy = found.corrupt(NEW, random_state=1)
    assert (noisy != NEW).mean() > 0.1
    assert corruption != "gaussian" or noisy.min() < -0.5
    left, before = root_mean_square(found.denoise(noisy) - NEW) ** 2, root_mean_square(noisy - NEW) ** 2
    assert left < min(0.5 * before, 0.7 * root_mean_square(TRAIN.mean(axis=0) - NEW) ** 2)


def test_what_is_corrupted_is_what_training_corrupts():
    found, x = model(corruption="masking", epochs=1, scale=None).fit(TRAIN[:50]), NEW[:20].copy()
    noisy, expected = found.corrupt(x, random_state=7), np.empty_like(x)
    cpu.corrupt(x, 1, 0.3, np.uint64(7), CORRUPTION, 0, 0, expected)
    np.testing.assert_array_equal(noisy, expected)
    np.testing.assert_array_equal(found.corrupt(x), found.corrupt(x))
    assert (found.corrupt(x) != noisy).any()


@pytest.mark.parametrize("amount", [0.3, 1.0])
def test_the_score_of_a_gaussian(amount):
    """A linear one on N(m, C): (r(x) - x) / s^2 is the gradient of log N(x; m, C + s^2 I), in units of each column."""
    rng = np.random.default_rng(5)
    root, mean = rng.normal(size=(4, 4)) + 2 * np.eye(4), np.array([3.0, -1.0, 0.0, 50.0])
    X = rng.normal(size=(20_000, 4)) @ root.T + mean
    settings = {"latent_dim": 4, "hidden": (), "likelihood": "gaussian", "schedule": "cosine", "epochs": 60}
    found = model(corruption="gaussian", amount=amount, learning_rate=1e-2, batch_size=500, **settings).fit(X)
    x = X[:500] + rng.normal(size=(500, 4))
    noise = (amount * found.scale_) ** 2
    exact = np.linalg.solve(root @ root.T + np.diag(noise), (mean - x).T).T
    error = np.square(found.score_function(x) - exact).mean(axis=0) / np.square(exact).mean(axis=0)
    assert error.max() < 0.02
    assert np.square(exact + (x - mean) / X.var(axis=0)).mean() > 0.1 * np.square(exact).mean()  # columns alone


def test_a_score_function_needs_gaussian_noise_and_a_squared_error(fitted):
    with pytest.raises(TypeError, match="corruption='gaussian' with amount > 0 and likelihood='gaussian'.*'masking'"):
        fitted.score_function(NEW)
    with pytest.raises(TypeError, match="amount=0,"):
        model(corruption="gaussian", likelihood="gaussian", amount=0, epochs=1).fit(TRAIN[:50]).score_function(NEW)


# ---- its Markov chain -------------------------------------------------------------------------------------------


def test_the_chain_draws_the_data():
    """Columns that are independent Gaussians: then p(x|h) is one, with one sigma in the model's units; mean, deviation
    and correlations of draws are those of the data, from wherever chains start."""
    rng = np.random.default_rng(6)
    X = rng.normal(size=(5000, 3)) * [1.0, 10.0, 0.1] + [5.0, 0.0, -2.0]
    settings = {"latent_dim": 3, "hidden": (), "likelihood": "gaussian", "sigma": "learned", "schedule": "cosine"}
    found = model(corruption="gaussian", amount=1.0, batch_size=500, learning_rate=1e-2, epochs=60, **settings).fit(X)
    assert found.network_.likelihood.sigma == pytest.approx(0.5**0.5, rel=0.03)  # of 1 / (1 + 1 / amount^2)
    for start in (None, np.repeat([[8.0, 30.0, -1.7]], 4000, axis=0)):
        drawn = found.sample(4000, burn_in=20, start=start, noise=True, random_state=3)
        error = 1 / np.sqrt(4000)
        np.testing.assert_allclose((drawn.mean(axis=0) - X.mean(axis=0)) / found.scale_, 0, atol=5 * error + 0.02)
        np.testing.assert_allclose(drawn.std(axis=0), X.std(axis=0), rtol=4 * error + 0.03)
        assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 5 * error + 0.02
    means = found.sample(2000, burn_in=20, random_state=3)
    assert (means.std(axis=0) < 0.8 * X.std(axis=0)).all()


def test_samples_belong_to_their_seed_and_to_no_thread(fitted, monkeypatch):
    settings = {"chains": 600, "burn_in": 3, "steps": 2, "random_state": 5}
    drawn = fitted.sample(1200, **settings)
    assert drawn.shape == (1200, 64)
    np.testing.assert_array_equal(fitted.sample(1200, **settings), drawn)
    threads_of.use(monkeypatch, "1")
    np.testing.assert_array_equal(fitted.sample(1200, **settings), drawn)
    assert len(np.unique(drawn, axis=0)) == 1200  # chains beyond those of one pass too
    np.testing.assert_array_equal(fitted.sample(600, chains=600, burn_in=3, steps=2, random_state=5), drawn[::2])
    np.testing.assert_array_equal(fitted.sample(600, chains=600, burn_in=5, steps=2, random_state=5), drawn[1::2])
    assert (fitted.sample(4, burn_in=2) != fitted.sample(4, burn_in=2)).any()  # they go on from call to call


def test_a_transition_is_corrupt_encode_decode(fitted):
    """One step from given rows, against the estimator's own methods; its noise is that of step 1."""
    x = (NEW[:20] > 0.5).astype(np.float32)
    seed = np.random.SeedSequence([9, 0]).generate_state(1, np.uint64)[0]
    noisy = np.empty_like(x)
    cpu.corrupt(x, 1, 0.3, seed, CORRUPTION, 1, 0, noisy)
    found = fitted.sample(start=x, burn_in=0, random_state=9)
    np.testing.assert_allclose(found, fitted.reconstruct(noisy), atol=1e-6)
    drawn = fitted.sample(start=x, burn_in=0, random_state=9, noise=True)
    assert set(np.unique(drawn)) == {0, 1}
    assert abs(drawn.mean() - found.mean()) < 0.05


@pytest.mark.parametrize(("asked", "message"), [
    ({"n": 0}, "n=0 must be at least 1"),
    ({"n": 5, "chains": 2}, "n=5 samples cannot come evenly from 2 chains"),
    ({"n": 4, "steps": 0}, "steps=0 must be at least 1"),
    ({"n": 4, "burn_in": -1}, "burn_in=-1 must be at least 0"),
    ({"n": 4, "chains": 1.5}, "chains=1.5 must be a whole number"),
    ({"n": 4, "chains": 4, "start": NEW[:3]}, "start has 3 rows for 4 chains"),
    ({"start": NEW[:3, :5]}, "start has 5 features"),
    ({"start": 5 * NEW[:3]}, "likelihood='bernoulli' needs values in"),
], ids=str)  # fmt: skip
def test_wrong_chains_are_refused(fitted, asked, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fitted.sample(**asked)


def test_files_of_earlier_versions_have_no_sigma(fitted):
    """They are what they were: a Gaussian's was 1."""
    header, arrays = fitted._contents()
    header = plain(header, "header")
    del header["params"]["sigma"], header["architecture"]["sigma"]
    other = DenoisingAutoencoder._restored(header, arrays, "cpu", False)
    assert other.sigma == 1.0
    np.testing.assert_array_equal(other.transform(NEW), fitted.transform(NEW))
