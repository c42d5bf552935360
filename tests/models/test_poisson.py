"""Counts: a model of them beats independent Poisson columns, and says what it does not take."""

import math

import numpy as np
import pytest

from fastvae import VAE, train

RNG = np.random.default_rng(0)
RATE = np.exp(RNG.normal(size=(900, 2)) @ RNG.normal(size=(2, 10)) * 0.7 + 1)
X = RNG.poisson(RATE)
LOG_FACTORIAL = np.vectorize(math.lgamma, otypes=[float])(X + 1.0)


@pytest.fixture(scope="module")
def fitted():
    return VAE(2, (32,), likelihood="poisson", epochs=60, random_state=0).fit(X[:700])


def log_p(rate, rows):
    return (X[rows] * np.log(rate) - rate - LOG_FACTORIAL[rows]).sum(axis=1).mean()


def test_it_lies_between_independent_columns_and_the_truth(fitted):
    new = slice(700, None)
    independent, truth = log_p(X[:700].mean(axis=0), new), log_p(RATE[new], new)
    assert independent + 5 < fitted.score(X[new]) < truth


def test_draws_are_counts_with_the_mean_of_the_data(fitted):
    drawn = fitted.sample(3000, random_state=1, noise=True)
    assert (drawn == np.floor(drawn)).all()
    assert (drawn >= 0).all()
    np.testing.assert_allclose(np.log(drawn.mean(axis=0)), np.log(X[:700].mean(axis=0)), atol=0.35)
    np.testing.assert_array_equal(drawn, fitted.sample(3000, random_state=1, noise=True))


def test_the_nll_is_that_of_the_formula(fitted):
    """Of a model whose decoder gives one rate for all rows."""
    vae = VAE(1, (), likelihood="poisson", epochs=1, random_state=0).fit(X[:50])
    vae.parameters()["decoder.0.weight"][:] = 0
    vae.parameters()["decoder.0.bias"][:] = np.log(3.0)
    for name in ("mu", "logvar"):
        vae.parameters()[f"{name}.weight"][:], vae.parameters()[f"{name}.bias"][:] = 0, 0
    expected = (X[:50] * np.log(3.0) - 3 - LOG_FACTORIAL[:50]).sum(axis=1)
    np.testing.assert_allclose(vae.score_samples(X[:50]), expected, rtol=1e-6)


def test_counts_of_any_type_and_a_column_of_zeros():
    data = X[:60].copy()
    data[:, 2] = 0
    found = [
        VAE(2, (5,), likelihood="poisson", epochs=2, random_state=0).fit(data.astype(t)) for t in ("i8", "f4", "u2")
    ]
    for vae in found[1:]:
        np.testing.assert_array_equal(vae.network_.parameters.values, found[0].network_.parameters.values)
    assert np.isfinite(found[0].history_["loss"]).all()


@pytest.mark.parametrize(("data", "settings", "message"), [
    (X - 40, {}, "X has values down to -40; likelihood='poisson' needs counts"),
    (X + 0.5, {}, "X has a value that is no whole number .* at row 0, column 0.; likelihood='poisson' needs counts"),
    (X, {"scale": "standard"}, "takes counts as they are: scale='standard' must be None or 'auto'"),
    (X, {"linear": True}, "linear=True needs likelihood='gaussian', not 'poisson'"),
], ids=str)  # fmt: skip
def test_refusals(data, settings, message):
    with pytest.raises(ValueError, match=message):
        VAE(2, (5,), likelihood="poisson", epochs=1, **settings).fit(data)


def test_scores_refuse_what_is_no_count(fitted):
    with pytest.raises(ValueError, match="no whole number"):
        fitted.score_samples(X[:3] + 0.25)
    with pytest.raises(ValueError, match="values down to -1"):
        fitted.transform(np.full((2, 10), -1.0))


def test_the_command(tmp_path, capsys):
    np.savetxt(tmp_path / "counts.csv", X[:200], fmt="%d", delimiter=",")
    words = ["--data", str(tmp_path / "counts.csv"), "--likelihood", "poisson", "--hidden", "8", "--latent-dim", "2"]
    assert train.main([*words, "--epochs", "2", "--out", str(tmp_path / "run"), "--quiet"]) == 0
    vae = VAE.load(tmp_path / "run" / "model.npz")
    assert vae.likelihood == "poisson"
    assert (vae.scale_ == 1).all()
    assert train.main([*words, "--sigma", "1", "--out", str(tmp_path / "other")]) == 2
    assert "this run is poisson" in capsys.readouterr().err


def test_gradients_are_those_of_the_loss():
    """The encoder sees log(1 + x), the loss x itself: by central differences, with given noise."""
    vae = VAE(2, (4,), activation="tanh", likelihood="poisson", epochs=1, random_state=0).fit(X[:30])
    noise = np.random.default_rng(1).normal(size=(7, 2)).astype(np.float32)
    loss, _, gradients = vae.loss_and_gradients(X[:7], noise)
    rate = np.exp(vae.parameters()["decoder.1.bias"].astype(float))
    assert rate.shape == (10,)
    for name in ("decoder.1.bias", "encoder.0.weight", "mu.bias"):
        values = vae.parameters()[name].reshape(-1)
        for k in range(0, values.size, max(1, values.size // 4)):
            before, sides = values[k], []
            for sign in (1, -1):
                values[k] = before + sign * np.float32(5e-3)
                sides.append(vae.loss_and_gradients(X[:7], noise)[0])
            values[k] = before
            expected = (sides[0] - sides[1]) / 1e-2
            assert gradients[name].reshape(-1)[k] == pytest.approx(expected, rel=2e-2, abs=2e-3), (name, k)
    assert np.isfinite(loss)
