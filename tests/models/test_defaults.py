"""What a model does by itself: it ends where it should, whatever the size and the units of the data."""

import math
import warnings

import numpy as np
import pytest

from fastvae import VAE
from fastvae.data.loading import load
from fastvae.errors import TrainingWarning
from fastvae.models.linear_start import gaussian_log_density
from fastvae.training import Schedule


def ring(rows, seed, units=(1e3, 1e-3, 1.0, 50.0)):
    """A noisy circle in four columns: no Gaussian is near it."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(0, 2 * np.pi, rows)
    plane = np.c_[np.cos(t), np.sin(t)] @ np.random.default_rng(1).normal(size=(2, 4))
    return (plane + 0.1 * rng.normal(size=(rows, 4))) * units + np.array(units)


@pytest.mark.parametrize(("count", "size"), [(129, 128), (129, 65), (10, 4), (7, 1), (128, 128), (60000, 128), (5, 9)])
def test_batches_differ_by_one_row_at_most(count, size):
    schedule, position, rows = Schedule(1, size), 0, []
    while position < count:
        batch, alike = schedule.cut(count, position)
        assert alike >= 1
        rows.append(batch)
        position += batch
    assert sum(rows) == count
    assert len(rows) == math.ceil(count / size)
    assert max(rows) - min(rows) <= 1
    assert rows == sorted(rows, reverse=True)
    first, alike = schedule.cut(count, 0)
    assert rows[:alike] == [first] * alike
    assert rows[alike : alike + 1] != [first]


@pytest.mark.long
def test_raw_tables_with_nothing_said():
    train, new = ring(600, 0), ring(2000, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vae = VAE(likelihood="gaussian", random_state=0).fit(train)
    full, apart = gaussian_log_density(train, new)
    assert vae.score(new) > full + 0.5 > apart
    assert vae.stopped_early_ or vae.n_epochs_ == vae.plan(540)[0]
    assert np.isfinite(vae.history_["heldout_elbo"]).all()


@pytest.mark.parametrize("sigma", ["learned", "optimal"])
@pytest.mark.parametrize("unit", [1e-6, 1e-2, 1e3])
def test_units_do_not_matter(sigma, unit):
    X = ring(300, 0, np.ones(4)).astype(np.float32)
    how = {"likelihood": "gaussian", "sigma": sigma, "epochs": 60, "batch_size": 64, "random_state": 0}
    plain, other = VAE(2, (16,), **how).fit(X), VAE(2, (16,), **how).fit(X * unit)
    assert other.score(X * unit) == pytest.approx(plain.score(X) - 4 * math.log(unit), abs=0.1)
    np.testing.assert_allclose(other.sigma_ * other.scale_, plain.sigma_ * plain.scale_ * unit, rtol=0.1)
    with pytest.warns(TrainingWarning, match=r"scale=None.*from .* to .*pass scale='auto'"):
        VAE(2, (16,), scale=None, **how).initialize(X * unit)


def test_the_default_sigma_does_not_collapse_on_data_in_the_unit_interval():
    X = (load("digits").X / 16).astype(np.float32)
    vae = VAE(5, (64,), likelihood="gaussian", epochs=60, random_state=0).fit(X)
    explained = 1 - ((vae.reconstruct(X) - X) ** 2).sum() / ((X - X.mean(axis=0)) ** 2).sum()
    assert explained > 0.5
    assert vae.history_["kl"][-1] > 3


def test_two_columns_that_agree_keep_their_relation():
    rng = np.random.default_rng(0)
    t = rng.normal(size=(1500, 1))
    X = np.c_[t + 0.001 * rng.normal(size=(1500, 1)), t, rng.normal(size=(1500, 6))]
    vae = VAE(2, (32,), likelihood="gaussian", epochs=100, random_state=0).fit(X)
    drawn, odd = vae.sample(3000, random_state=0, noise=True), X[:200].copy()
    odd[:, 0] += 0.1
    assert np.std(drawn[:, 0] - drawn[:, 1]) < 0.02  # deviations of the columns are 1
    assert vae.score_samples(odd).mean() < vae.score_samples(X[:200]).mean() - 20


@pytest.mark.parametrize("rows", [2, 5, 19, 20, 50, 130])
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_few_rows(rows, likelihood):
    X = np.random.default_rng(0).random((rows, 3))
    vae = VAE(2, (8,), likelihood=likelihood, epochs=4, early_stopping=rows >= 20, random_state=0).fit(X)
    assert np.isfinite(vae.score(X))
    assert VAE(2, (8,), batch_size="auto").plan(rows)[1] <= rows


def test_plans():
    assert VAE().plan(60_000) == (43, 128, 10)
    assert VAE().plan(100) == (10_000, 64, 1500)
    assert VAE().plan(10)[0] == 1000  # nothing to validate on: few steps
    assert VAE(epochs=7, batch_size=10).plan(100)[:2] == (7, 10)
    assert VAE(early_stopping=False).plan(100)[0] == 500


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": "all"}, "epochs='all' is not known"),
        ({"batch_size": "max"}, "batch_size='max' is not known"),
        ({"early_stopping": "yes"}, "early_stopping='yes' must be True, False or 'auto'"),
        ({"validation_fraction": 1.0}, "validation_fraction=1.0 must be less than 1"),
        ({"validation_fraction": 0}, "validation_fraction=0 must be greater than 0"),
        ({"linear": "no"}, "linear='no' must be"),
        ({"sigma_per_column": 2}, "sigma_per_column=2 must be"),
        ({"init": "xavier"}, "init='xavier' is not known"),
    ],
)
def test_wrong_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        VAE(likelihood="gaussian", **settings).fit(ring(50, 0))


def test_a_start_that_nothing_beats_is_kept():
    """Gaussian data: what probabilistic PCA has is all there is."""
    X = np.random.default_rng(0).normal(size=(400, 5)) @ np.random.default_rng(1).normal(size=(5, 5))
    vae, start = (VAE(4, (32,), likelihood="gaussian", learning_rate=1e-2, random_state=0) for _ in range(2))
    start.initialize(X[:300])
    vae.fit(X[:300], heldout=X[300:], patience=5)
    assert (vae.best_epoch_, vae.n_epochs_) == (0, 5)
    np.testing.assert_array_equal(vae.score_samples(X), start.score_samples(X))


# ---- KL warm-up ---------------------------------------------------------------------------------------------------


def test_patience_does_not_count_while_the_kl_grows():
    X = ring(300, 0)
    how = {"likelihood": "gaussian", "epochs": 200, "batch_size": 64, "learning_rate": 1e-2, "random_state": 0}
    vae = VAE(2, (32,), kl_warmup_epochs=40, **how).fit(X[:200], heldout=X[200:], patience=3)
    assert vae.best_epoch_ > 40
    assert vae.n_epochs_ >= 43
    judged = vae.history_["heldout_elbo"][40:]
    assert vae.best_epoch_ == 41 + int(np.argmax(judged))


def test_a_warmup_that_is_not_shorter_than_the_training_is_said():
    with pytest.warns(TrainingWarning, match="kl_warmup_epochs=30 is not shorter than the training"):
        VAE(2, (8,), likelihood="gaussian", epochs=5, kl_warmup_epochs=30, random_state=0).fit(ring(200, 0))


# ---- what is said at the end --------------------------------------------------------------------------------------


def test_a_training_that_still_improves_says_so_and_what_to_try():
    X = (load("digits").X[:500] / 16).astype(np.float32)
    with pytest.warns(TrainingWarning, match=r"the loss still improves.*More epochs than 60, or a larger"):
        VAE(5, (32,), epochs=60, batch_size=64, random_state=0).fit(X)


def test_a_collapse_is_named():
    X = (load("digits").X / 16).astype(np.float32)
    with pytest.warns(TrainingWarning, match="the posterior has collapsed: the KL is"):
        VAE(2, (8,), likelihood="gaussian", sigma=1.0, linear=False, scale=None, epochs=40, random_state=0).fit(X)
