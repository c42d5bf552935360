"""The negative binomial and the continuous Bernoulli as likelihoods of a whole VAE."""

import pickle

import numpy as np
import pytest
from scipy import stats

from fastvae import VAE, reference
from fastvae.kernels.mixed import negative_binomial_terms
from fastvae.likelihoods import ContinuousBernoulli, NegativeBinomial

RNG = np.random.default_rng(0)
CODE = RNG.normal(size=(500, 1))
COUNTS = RNG.negative_binomial(1.5, 1.5 / (1.5 + np.exp(1 + CODE @ RNG.normal(size=(1, 6))))).astype(float)
GREY = 1 / (1 + np.exp(-(CODE @ RNG.normal(size=(1, 6)) + RNG.normal(size=(500, 6)))))
DATA = {"negative_binomial": COUNTS, "continuous_bernoulli": GREY}


def small(likelihood, **settings):
    return VAE(1, (8,), likelihood=likelihood, random_state=0, **{"epochs": 25, "early_stopping": False} | settings)


@pytest.fixture(scope="module", params=list(DATA))
def fitted(request):
    return small(request.param).fit(DATA[request.param][:400]), DATA[request.param]


def test_it_learns_and_its_files_are_the_model(fitted, tmp_path):
    model, X = fitted
    history = model.history_["loss"]
    assert history[-3:].mean() < history[0]
    model.save(tmp_path / "m.npz")
    for other in (VAE.load(tmp_path / "m.npz"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(other.score_samples(X), model.score_samples(X))
        np.testing.assert_array_equal(
            other.sample(4, random_state=1, noise=True), model.sample(4, random_state=1, noise=True)
        )


def test_columns_add_up_to_the_loss(fitted):
    """log p(x|z) of each column, in NumPy, beside the nll of the op, at the same z."""
    model, X = fitted
    eps = np.zeros((len(X), 1), np.float32)
    _, parts, _ = model.loss_and_gradients(X, eps)
    z = model.transform(X)
    network = model.network_
    kind = type(network.likelihood)
    means = model.decode(z).astype(np.float64)
    a = np.log(means) if kind is NegativeBinomial else network.likelihood.intercept(means)
    assert -network.likelihood.terms(X, a).sum(axis=1).mean() == pytest.approx(parts["nll"], rel=2e-4, abs=2e-4)


def test_draws_are_as_wide_as_the_likelihood_says(fitted):
    model, _ = fitted
    likelihood = model.network_.likelihood
    mean = model.decode(np.zeros((1, 1), np.float32)).astype(np.float64)
    drawn = likelihood.draw(np.repeat(mean, 20_000, axis=0).astype(np.float32), model.network_.kernels, np.uint64(1), 0)
    np.testing.assert_allclose(drawn.mean(axis=0), mean[0], rtol=0.05, atol=0.02)
    if isinstance(likelihood, NegativeBinomial):
        np.testing.assert_allclose(drawn.var(axis=0), mean[0] + mean[0] ** 2 / np.exp(likelihood.theta), rtol=0.15)
    else:
        a, x = likelihood.intercept(mean), np.linspace(0, 1, 4001)[:, None]
        density = np.exp(-reference.mixed.continuous_bernoulli(x, a, 0.0)[0])
        variance = np.trapezoid(density * (x - mean) ** 2, x, axis=0)
        np.testing.assert_allclose(drawn.var(axis=0), variance, rtol=0.05)
        assert drawn.min() >= 0
        assert drawn.max() <= 1


def test_wide_counts_are_scored_better_than_by_a_poisson():
    train, held = COUNTS[:400], COUNTS[400:]
    ours, theirs = (
        small(name, epochs=60).fit(train).evaluate(held, n_samples=300).mean
        for name in ("negative_binomial", "poisson")
    )
    assert ours > theirs + 1


def test_a_large_size_is_a_poisson():
    X = np.floor(COUNTS)
    likelihood = NegativeBinomial(6)
    model = small("negative_binomial", epochs=1).fit(X)
    model.network_.likelihood.set_logs(np.full(6, 12.0))
    a = RNG.normal(size=(500, 6))
    poisson = -reference.mixed.poisson(X, a, 0.0)[0]
    np.testing.assert_allclose(model.network_.likelihood.terms(X, a), poisson, rtol=1e-2, atol=1e-2)
    assert likelihood.NAME == "negative_binomial"


@pytest.mark.parametrize("r", [0.3, 2.0, 50.0])
def test_large_counts_are_scored_as_exactly_as_small_ones(r):
    """Beside SciPy's, in float64, at the same float32 numbers: of a mean as large as the count, and far from it."""
    theta = np.float32(np.log(r))
    for x in (0.0, 3.0, 1e3, 1e6):
        for ratio in (1e-3, 0.2, 1.1, 4.0, 30.0):
            a = np.float32(np.log(max(x, 1) * ratio))
            size, mean = np.exp(np.float64(theta)), np.exp(np.float64(a))
            found = negative_binomial_terms(np.float32(x), a, theta)[0]
            exact = -stats.nbinom.logpmf(x, size, size / (size + mean))
            assert found == pytest.approx(exact, rel=2e-6, abs=0.01 if x > 1e3 else 2e-5), (x, ratio)


def test_the_density_of_grey_values_is_one():
    likelihood = ContinuousBernoulli(1)
    x = np.linspace(0, 1, 20_001)[:, None]
    for a in (-30.0, -1.0, -1e-4, 0.0, 1e-4, 0.4, 7.0):
        density = np.exp(likelihood.terms(x, np.full_like(x, a)))
        assert np.trapezoid(density[:, 0], x[:, 0]) == pytest.approx(1, abs=1e-4)
    mean = np.array([1e-3, 0.2, 0.5, 0.9, 0.999])
    np.testing.assert_allclose(likelihood.intercept(mean), -likelihood.intercept(1 - mean), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("likelihood", "X", "message"),
    [
        ("negative_binomial", COUNTS - 1, "likelihood='negative_binomial' needs counts"),
        ("negative_binomial", COUNTS + 0.5, "no whole number"),
        ("continuous_bernoulli", GREY * 2, r"likelihood='continuous_bernoulli' needs values in"),
    ],
)
def test_other_data_are_refused(likelihood, X, message):
    with pytest.raises(ValueError, match=message):
        small(likelihood).fit(X)
    with pytest.raises(ValueError, match="scale"):
        small("negative_binomial", scale="standard").fit(COUNTS)
