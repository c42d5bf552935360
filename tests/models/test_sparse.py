"""The sparse autoencoder: its penalties against float64, and that codes become sparse by them."""

import pickle

import numpy as np
import pytest

from fastvae import Autoencoder, SparseAutoencoder, reference
from fastvae.data import loading
from fastvae.kernels.cpu import workers
from fastvae.training import Observer
from tests.support.models import StopAfter
from tests.support.tolerances import check

DIGITS = np.asarray(loading.load("digits").X, np.float32) / 16
TRAIN, NEW = DIGITS[:1400], DIGITS[1400:]
RNG = np.random.default_rng(0)


def model(**settings):
    given = {"latent_dim": 60, "epochs": 3, "batch_size": 50, "random_state": 0, "early_stopping": False}
    return SparseAutoencoder(**given | settings)


# ---- a step -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", ["kl", "l1"])
@pytest.mark.parametrize("rows", [1, 9, 40])
def test_loss_and_gradients(penalty, rows):
    """Against float64, from weights away from the start."""
    found = model(latent_dim=7, penalty=penalty, rho=0.1, weight=3.0)
    found.initialize(DIGITS[:20, 20:50])
    for values in found.parameters().values():
        values += RNG.normal(0, 0.5, values.shape).astype(np.float32)
    x = DIGITS[100 : 100 + rows, 20:50].copy()
    parts = found.network_.loss_and_gradients(x, 1, 0.0)
    q = [values.astype(float) for values in found.parameters().values()]
    loss, value, expected = reference.sparse_loss_and_gradients(*q, x.astype(float), penalty, 0.1, 3.0)
    assert parts["loss"] == pytest.approx(loss, rel=2e-6)
    assert parts["penalty"] == pytest.approx(value, rel=1e-5)
    assert parts["nll"] + 3.0 * parts["penalty"] == pytest.approx(parts["loss"], rel=1e-6)
    for gradient, wanted in zip(found.network_.parameters.named_gradients().values(), expected, strict=True):
        check(gradient, wanted, "model", np.abs(wanted) + np.abs(wanted).max())


@pytest.mark.parametrize("penalty", ["kl", "l1"])
def test_the_reference_by_differences(penalty):
    q, x = [RNG.normal(size=s) for s in ((5, 4), 4, (4, 5), 5)], RNG.random((6, 5))
    how = x, penalty, 0.2, 1.7
    gradients = reference.sparse_loss_and_gradients(*q, *how)[2]
    for array, gradient in zip(q, gradients, strict=True):
        for place in np.ndindex(array.shape):
            ends = []
            for sign in (1, -1):
                array[place] += sign * 1e-6
                ends.append(reference.sparse_loss_and_gradients(*q, *how)[0])
                array[place] -= sign * 1e-6
            assert gradient[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_without_a_weight_it_is_an_autoencoder():
    """Of the same activations and first weights: to the last bit of every gradient but the penalty's zeros."""
    x = DIGITS[:30].copy()
    sparse = model(weight=0.0, penalty="l1", hidden=(20,))
    sparse.initialize(DIGITS[:50])
    plain = Autoencoder(60, (20,), random_state=0)
    plain.initialize(DIGITS[:50])
    for name, values in plain.parameters().items():
        sparse.parameters()[name][...] = np.abs(values) if name == "encoder.1.weight" else values
        values[...] = sparse.parameters()[name]
    losses = [each.network_.loss_and_gradients(x, 1, 0.0)["loss"] for each in (sparse, plain)]
    assert losses[0] == pytest.approx(
        losses[1], rel=1e-6
    )  # codes of positive numbers by positive weights: relu is none
    pairs = (each.network_.parameters.named_gradients().values() for each in (sparse, plain))
    for one, other in zip(*pairs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


# ---- what comes of it -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.05, 0.2])
def test_the_mean_activation_comes_near_rho(rho):
    """Of every unit, on rows that it has not seen; without the penalty it does not."""
    found, free = (model(rho=rho, weight=w, epochs=120, learning_rate=3e-3).fit(TRAIN) for w in (30.0, 0.0))
    mean, without = (each.transform(NEW).mean(axis=0) for each in (found, free))
    assert np.abs(mean.mean() - rho) < 0.15 * rho
    assert np.abs(mean - rho).max() < 0.6 * rho
    assert np.abs(without - rho).max() > 1.5 * rho
    assert found.history_["penalty"][-1] < 0.1 * free.history_["penalty"][-1]
    error = np.square(found.reconstruct(NEW) - NEW).sum(axis=1).mean()
    assert error < 0.5 * np.square(TRAIN.mean(axis=0) - NEW).sum(axis=1).mean()


def test_l1_makes_codes_exactly_zero():
    shares = {}
    for weight in (0.0, 0.3):
        codes = model(penalty="l1", weight=weight, weight_decay=0.1, epochs=30).fit(TRAIN).transform(NEW)
        assert codes.min() >= 0
        shares[weight] = (codes == 0).mean()
    assert shares[0.3] > 0.8 > shares[0.0] + 0.1


@pytest.mark.parametrize("penalty", ["kl", "l1"])
def test_the_usual_weight_leaves_the_rows(penalty):
    """What is given back of new rows is nearer than by as many principal components as a tenth of the codes."""
    found = SparseAutoencoder(penalty=penalty, random_state=0, epochs=100, early_stopping=False).fit(TRAIN)
    assert found.network_.architecture.weight == {"kl": 1.0, "l1": 0.1}[penalty]
    mean = TRAIN.mean(axis=0, dtype=float)
    axes = np.linalg.svd(TRAIN - mean, full_matrices=False)[2][:10]
    by_components = (NEW - mean) @ axes.T @ axes + mean
    assert np.square(found.reconstruct(NEW) - NEW).sum() < 0.9 * np.square(by_components - NEW).sum()


# ---- an estimator -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("penalty", ["kl", "l1"])
def test_the_same_bits_for_any_number_of_threads_and_after_a_resume(penalty, tmp_path, monkeypatch):
    settings, bits = {"latent_dim": 400, "batch_size": 128, "penalty": penalty}, set()
    for threads in (1, 2):
        monkeypatch.setenv("FASTVAE_THREADS", str(threads))
        found = model(**settings).fit(DIGITS[:600])  # with a last batch that is shorter
        assert workers.shares_for(128, found.network_.largest_product(128)) == threads
        bits.add(found.network_.parameters.values.tobytes())
    half = model(**settings)
    half.fit_examples(half.initialize(DIGITS[:600]), 3, 128, None, None, StopAfter(7))
    half.save_checkpoint(tmp_path / "checkpoint.npz")
    other = SparseAutoencoder.load_checkpoint(tmp_path / "checkpoint.npz")
    assert 0 < other.n_steps_ < 15
    other.fit_examples(other.examples(DIGITS[:600]), 3, 128, None, None, Observer())
    assert bits == {other.network_.parameters.values.tobytes()}
    np.testing.assert_array_equal(other.history_["penalty"], found.history_["penalty"])


def test_files_copies_and_what_it_cannot_do(tmp_path):
    found = model(hidden=(40,), likelihood="gaussian", rho=0.1).fit(TRAIN[:200])
    found.save(tmp_path / "model.npz")
    for other in (SparseAutoencoder.load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(found))):
        np.testing.assert_array_equal(other.transform(NEW), found.transform(NEW))
        assert other.get_params() == found.get_params()
    assert list(found.history_)[:4] == ["epoch", "loss", "nll", "penalty"]
    np.testing.assert_allclose(
        found.history_["loss"], found.history_["nll"] + 1.0 * found.history_["penalty"], rtol=1e-9
    )
    with pytest.raises(TypeError, match="SparseAutoencoder cannot sample"):
        found.sample()
    assert (found.ABILITIES.samples, found.ABILITIES.density) == ("none", "none")


@pytest.mark.parametrize(("settings", "words"), [
    ({"penalty": "l2"}, "penalty='l2' is not known"),
    ({"rho": 0}, "rho=0 must be greater than 0"),
    ({"rho": 1.0}, "rho=1.0 must be less than 1"),
    ({"rho": None}, "rho=None must be a number"),
    ({"weight": -1}, "weight=-1 must be at least 0"),
    ({"weight": "much"}, "weight='much' is not known: valid: 'auto'"),
    ({"sigma": 0.0, "likelihood": "gaussian"}, "sigma=0.0 must be a positive number"),
], ids=str)  # fmt: skip
def test_refusals(settings, words):
    with pytest.raises((ValueError, TypeError), match=words):
        model(**settings).fit(TRAIN[:60])
