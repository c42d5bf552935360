"""The autoencoder: that it is PCA where it is linear, that files and refusals are those of every estimator."""

import numpy as np
import pytest

from fastvae import Autoencoder, DenoisingAutoencoder
from fastvae.data import loading
from fastvae.errors import NotFittedError
from fastvae.kernels.cpu import workers
from fastvae.training import Observer
from tests.support import threads as threads_of
from tests.support.models import StopAfter

DIGITS = np.asarray(loading.load("digits").X, np.float32)
DIGITS = DIGITS / DIGITS.max()
TRAIN, NEW = DIGITS[:1400], DIGITS[1400:]
KINDS = {"plain": Autoencoder, "denoising": DenoisingAutoencoder}


def model(kind="plain", **settings):
    return KINDS[kind](**{"latent_dim": 12, "hidden": (64,), "epochs": 10, "random_state": 0} | settings)


def error(found, x):
    """Mean squared error of a row."""
    return float(np.square(np.asarray(found, float) - x).sum(axis=1).mean())


def by_pca(x, new, dimensions):
    """Rows given back by the first principal components of x."""
    mean = x.mean(axis=0, dtype=float)
    axes = np.linalg.svd(x - mean, full_matrices=False)[2][:dimensions]
    return (new - mean) @ axes.T @ axes + mean


def test_a_linear_one_is_pca():
    """No other linear map of that rank has a smaller error on the training rows: it comes within a hundredth of a
    percent of that, and the mean alone does not."""
    found = model(hidden=(), likelihood="gaussian", scale=None, epochs=1000, learning_rate=5e-3, schedule="cosine")
    found.fit(TRAIN)
    least, alone = error(by_pca(TRAIN, TRAIN, 12), TRAIN), error(TRAIN.mean(axis=0), TRAIN)
    assert least * (1 - 1e-4) <= error(found.reconstruct(TRAIN), TRAIN) < 1.0001 * least < 0.5 * alone
    assert error(found.reconstruct(NEW), NEW) == pytest.approx(error(by_pca(TRAIN, NEW, 12), NEW), rel=1e-3)


def test_a_deep_one_is_better_than_pca():
    """On rows that it has not seen, with a code as narrow."""
    found = model(latent_dim=6, hidden=(128,), epochs=60).fit(TRAIN)
    assert error(found.reconstruct(NEW), NEW) < 0.8 * error(by_pca(TRAIN, NEW, 6), NEW)


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "poisson"])
def test_reconstructions_and_scores(likelihood):
    data = np.floor(16 * TRAIN[:300]) if likelihood == "poisson" else TRAIN[:300]
    found = model(likelihood=likelihood).fit(data)
    codes = found.transform(data)
    assert codes.shape == (300, 12)
    np.testing.assert_array_equal(found.decode(codes), found.reconstruct(data))
    scores = found.score_samples(data)
    assert scores.shape == (300,)
    assert found.score(data) == pytest.approx(scores.mean())
    if likelihood == "gaussian":  # in the user's units, with sigma = scale
        z = (data - found.reconstruct(data).astype(float)) / found.scale_
        by_hand = -0.5 * (z**2).sum(axis=1) - np.log(found.scale_).sum() - 32 * np.log(2 * np.pi)
        np.testing.assert_allclose(scores, by_hand, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_files_and_the_decoder_alone(kind, tmp_path):
    found = model(kind, epochs=2).fit(TRAIN[:200])
    found.save(tmp_path / "model.npz")
    whole = KINDS[kind].load(tmp_path / "model.npz")
    np.testing.assert_array_equal(whole.transform(NEW), found.transform(NEW))
    decoder, codes = KINDS[kind].load(tmp_path / "model.npz", decoder_only=True), found.transform(NEW)
    np.testing.assert_array_equal(decoder.decode(codes), found.decode(codes))
    with pytest.raises(NotFittedError, match="loaded with decoder_only=True"):
        decoder.transform(NEW)
    assert not any(name.startswith("encoder") for name in decoder.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits_for_any_number_of_threads_and_after_a_resume(kind, tmp_path, monkeypatch):
    settings, product, bits = {"hidden": (400,), "epochs": 3, "batch_size": 128}, 2.0 * 128 * 64 * 400, set()
    for threads in (1, 2):
        threads_of.use(monkeypatch, str(threads))
        assert workers.shares_for(128, product) == threads
        bits.add(model(kind, **settings).fit(DIGITS[:640]).network_.parameters.values.tobytes())
    half = model(kind, **settings)
    half.fit_examples(half.initialize(DIGITS[:640]), 3, 128, None, None, StopAfter(7))
    half.save_checkpoint(tmp_path / "checkpoint.npz")
    other = KINDS[kind].load_checkpoint(tmp_path / "checkpoint.npz")
    assert 0 < other.n_steps_ < 15
    other.fit_examples(other.examples(DIGITS[:640]), 3, 128, None, None, Observer())
    assert bits == {other.network_.parameters.values.tobytes()}


def test_what_it_cannot_do_is_said():
    found = model(epochs=1).fit(TRAIN[:50])
    with pytest.raises(TypeError, match="no distribution over its codes.*Use a VAE.*DenoisingAutoencoder"):
        found.sample(3)
    with pytest.raises(TypeError, match="Autoencoder has no density.*use a VAE"):
        found.evaluate(TRAIN)
    assert (found.ABILITIES.samples, found.ABILITIES.density) == ("none", "none")
    with pytest.raises(TypeError, match="Autoencoder takes no condition"):
        model(epochs=1).fit(TRAIN[:50], condition=np.arange(50) % 3)


@pytest.mark.parametrize(("settings", "words"), [
    ({"latent_dim": 0}, "latent_dim=0 must be at least 1"),
    ({"latent_dim": 2.5}, "latent_dim=2.5 must be a whole number"),
    ({"hidden": 5}, "hidden=5 must be a tuple"),
    ({"activation": "rlu"}, "activation='rlu' is not known"),
    ({"likelihood": "bernouli"}, "likelihood='bernouli' is not known"),
], ids=str)  # fmt: skip
def test_refusals(settings, words):
    with pytest.raises((ValueError, TypeError), match=words):
        model(**settings).fit(TRAIN[:50])


@pytest.mark.long
def test_the_default_gives_a_table_back_about_as_well_as_principal_components(capsys):
    """The dumbest rival, of as many numbers a row; with relu the error is 1.6 times that."""
    from sklearn.datasets import load_wine
    from sklearn.decomposition import PCA

    X = load_wine().data[np.random.default_rng(0).permutation(178)]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    train, test = X[:142], X[142:]
    found = Autoencoder(latent_dim=6, likelihood="gaussian", random_state=0).fit(train)
    rival = PCA(6).fit(train)
    error = np.square(found.reconstruct(test) - test).sum(axis=1).mean()
    of_rival = np.square(rival.inverse_transform(rival.transform(test)) - test).sum(axis=1).mean()
    print(f"\nerror of a row: autoencoder {error:.2f}, principal components {of_rival:.2f}")
    assert error < 1.1 * of_rival
