"""Annealed importance sampling of models that bend z, against quadrature; and relations that hold for any model."""

import os

import numpy as np
import pytest

from fastvae import VAE
from fastvae.data.digits import load_digits
from fastvae.data.loading import load
from fastvae.evaluation import chains as module
from fastvae.evaluation.annealed import annealed, bracket, simulated
from fastvae.evaluation.importance import importance
from tests.evaluation.quadrature import bent, log_p

pytestmark = pytest.mark.long

MODELS = {
    "bernoulli": {},
    "gaussian": {"sigma": 0.8, "scale": None},
    "gaussian, learned": {"sigma": "learned"},
    "gaussian, one learned": {"sigma": "learned", "sigma_per_column": False, "scale": (-1, 3)},
    "gaussian, optimal": {"sigma": "optimal", "linear": False, "activation": "softplus", "strength": 0.6},
    "poisson": {"strength": 0.8},
}


def model(name, latent_dim):
    return bent(name.split(",")[0], latent_dim, **MODELS[name])


def made(vae, count, seed):
    """x that the model has made, in the user's units."""
    return vae.sample(count, random_state=seed, noise=True)


@pytest.mark.parametrize("start", ["q", "prior"])
@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_quadrature_agrees(name, latent_dim, start):
    vae = model(name, latent_dim)
    x = made(vae, 12, 3)
    exact = log_p(vae, x)
    settings = {"n_temperatures": 30, "n_leapfrog": 3, "start": start, "n_simulated": 0, "seed": 1}
    found = annealed(vae, vae.examples(x), n_chains=200, **settings)
    known = np.isfinite(found.mcse)  # the others are named unreliable
    assert (known != found.unreliable).all()
    assert known.mean() > 0.7
    assert (np.abs(found.values - exact) < 5 * found.mcse + 1e-3)[known].all()
    assert np.abs(found.values - exact).max() < 0.5
    assert np.median(found.mcse[known]) < 0.1
    assert found.method == "annealed"
    assert found.kind == "lower bound"


@pytest.mark.parametrize("name", MODELS)
def test_the_bracket_holds_what_quadrature_gives(name):
    vae = model(name, 2)
    found = bracket(vae, 150, n_temperatures=50, n_chains=4, n_leapfrog=3, seed=2)
    units = vae.network_.units
    x = simulated(vae.network_, 150, np.uint64(2))[1] * units.scale + units.offset
    exact = log_p(vae, x)
    for bound, sign in ((found.lower, 1), (found.upper, -1)):
        below = sign * (exact - bound.values)
        assert below.mean() > -4 * below.std() / 150**0.5
        for t in (0.5, 1.0):  # Markov
            assert np.mean(below <= -t) <= np.exp(-t) + 4 * np.sqrt(np.exp(-t) / 150)
    assert found.gap < 0.5
    assert found.gap > -4 * found.gap_error


def test_the_gap_on_simulated_examples_goes_with_the_bound():
    vae = model("bernoulli", 2)
    settings = {"n_temperatures": 4, "n_chains": 2, "seed": 5}
    found = annealed(vae, vae.examples(made(vae, 3, 1)), n_simulated=9, **settings)
    expected = bracket(vae, 9, **settings)
    wanted = {"gap": expected.gap, "gap error": expected.gap_error, "gap examples": 9}
    assert found.details | wanted == found.details
    assert "gap" not in annealed(vae, vae.examples(made(vae, 3, 1)), n_simulated=0, **settings).details


CONDITIONS = {
    "labels": np.array(["ash", "birch", "oak", "birch"]),
    "vectors": np.array([[1.5, -2], [0, 1], [3, 3], [1, 0]]),
}


def conditional_log_p(vae, x, read):
    """log p(x|c) of rows whose conditions come in turn."""
    return np.stack([log_p(vae, x[i::4], c) for i, c in enumerate(read)], axis=1).ravel()


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("kind", CONDITIONS)
def test_a_condition(kind, likelihood):
    """log p(x|c), of real and of simulated data."""
    given = CONDITIONS[kind]
    condition = np.concatenate([given] * 10)
    vae = bent(likelihood, 2, condition=condition, sigma=0.9, scale=None)
    read = vae.network_.condition.rows(given, 4)
    x = vae.sample(8, 1, noise=True, condition=condition[:8])
    exact = conditional_log_p(vae, x, read)
    settings = {"n_temperatures": 40, "n_leapfrog": 3, "seed": 1}
    examples = vae.examples(x, condition=condition[:8])
    found = annealed(vae, examples, n_chains=100, n_simulated=6, **settings)
    assert np.abs(found.values - exact).max() < 0.3
    assert abs(np.mean(found.values - exact)) < 0.05
    settings["n_chains"] = 4
    both = bracket(vae, 120, condition=np.concatenate([condition] * 3), **settings)
    assert -0.01 < both.gap < 0.5
    made = simulated(vae.network_, 120, np.uint64(1), np.tile(read, (30, 1)))[1]
    exact = conditional_log_p(vae, made, read)
    for bound, sign in ((both.lower, 1), (both.upper, -1)):
        below = sign * (exact - bound.values)
        assert below.mean() > -4 * below.std() / 120**0.5
        assert below.mean() < 0.3
    alone = annealed(vae, examples, n_simulated=10, **settings).details["gap"]
    given = np.concatenate([condition[:8]] * 2)[:10]
    assert alone == bracket(vae, 10, condition=given, **settings).gap
    with pytest.raises(ValueError, match="was fitted with a condition"):
        bracket(vae, 10, **settings)
    with pytest.raises(ValueError, match="was fitted without one"):
        bracket(model("bernoulli", 2), 10, condition=condition[:10], **settings)


def test_scaling_the_data_moves_it_by_the_units_alone():
    """log p(c x) of a model of c x is log p(x) - D log c: exactly, where c is a power of 2."""
    x = made(model("gaussian, learned", 2), 20, 1)
    found = []
    for factor in (1, 4):
        vae = bent("gaussian", 2, sigma=0.5, scale=(-1 * factor, 3 * factor))
        found.append(annealed(vae, vae.examples(factor * x), n_temperatures=3, n_chains=2, n_simulated=0).values)
    np.testing.assert_allclose(found[1], found[0] - 8 * np.log(4), rtol=0, atol=1e-11)


def test_more_temperatures_and_more_chains_close_the_gap():
    vae = bent(latent_dim=2, columns=30, strength=4.0)
    settings = {"n_leapfrog": 2, "start": "prior", "seed": 1}
    gaps = [bracket(vae, 200, n_temperatures=t, n_chains=k, **settings).gap for t, k in ((4, 2), (4, 8), (60, 8))]
    assert gaps[0] > 1.5 * gaps[1] > 3 * gaps[2] > 0


def test_rows_for_which_the_decoder_overflows_are_named(monkeypatch):
    """Whatever the pieces are."""
    vae = model("gaussian", 2)
    X = np.zeros((5, 8), np.float32)
    X[3] = 1e25
    for numbers in (1, 1 << 20):
        monkeypatch.setattr(module, "NUMBERS", numbers)
        with pytest.raises(ValueError, match="row 3 lies so far"):
            annealed(vae, vae.examples(X), n_temperatures=3, n_chains=2, n_simulated=0)


def test_binarised_examples_are_those_that_are_scored():
    """What `fill` draws is what both the encoder and the likelihood see, also in pieces."""
    vae = bent(latent_dim=2)
    x = np.random.default_rng(0).random((10, 8)).astype(np.float32)
    examples = vae.examples(x, binarize="dynamic")
    drawn = np.empty((10, 8), np.float32)
    examples.fill(np.arange(10), drawn, 0, 0)
    settings = {"n_temperatures": 3, "n_chains": 2, "n_simulated": 0}
    whole = annealed(vae, vae.examples(drawn), **settings).values
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "NUMBERS", 6 * vae.network_.widest)
        assert (annealed(vae, examples, **settings).values == whole).all()


# ---- trained models -------------------------------------------------------------------------------------------------


def test_the_bracket_of_a_trained_model_is_narrow():
    """From q and from the prior alike: two paths with one end."""
    X = (load_digits().X / np.float32(16)).astype(np.float32)
    vae = VAE(8, (64,), epochs=10, random_state=0).fit(X)
    by_q = bracket(vae, 40, n_temperatures=60, n_chains=4, n_leapfrog=3, seed=1)
    by_prior = bracket(vae, 40, n_temperatures=150, n_chains=4, n_leapfrog=3, start="prior", seed=1)
    assert 0 < by_q.gap < 0.3
    assert 0 < by_prior.gap < 0.5
    for one, other in ((by_q, by_prior), (by_prior, by_q)):  # of the same examples
        apart = one.upper.values - other.lower.values
        assert apart.mean() > -4 * apart.std() / 40**0.5
    real = vae.examples(X[:30], binarize=0.5)
    apart = annealed(vae, real, n_temperatures=60, n_simulated=0).values - importance(vae, real, 4000).values
    assert abs(apart.mean()) < 0.1


@pytest.mark.slow
def test_the_bracket_of_mnist():
    """Below 0.3 nats for 100 examples: `pytest -m slow -k mnist`, with the folder of MNIST in FASTVAE_DATA."""
    if not os.environ.get("FASTVAE_DATA"):
        pytest.skip("needs the folder of MNIST in FASTVAE_DATA")
    X = load("mnist").X / np.float32(255)
    vae = VAE(epochs=5, random_state=0, early_stopping=False).fit(X)
    found = bracket(vae, 100, seed=1)
    print(f"{found.lower.mean:.3f} ... {found.upper.mean:.3f}, gap {found.gap:.3f} ± {found.gap_error:.3f}")
    assert 0 < found.gap < 0.3
    assert found.gap_error < 0.1
