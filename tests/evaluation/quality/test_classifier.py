"""The classifier two-sample test."""

import numpy as np
import pytest
from scipy import stats

from fastvae.data.digits import load_digits
from fastvae.evaluation.quality import classifier as module
from fastvae.evaluation.quality.classifier import binomial_tail, classifier_test


@pytest.mark.parametrize("trials", [1, 2, 7, 100, 999, 1000, 1601, 8000])
def test_the_binomial_tail_is_scipys(trials):
    for k in {0, 1, trials // 3, trials // 2, trials // 2 + 1, int(trials / 2 + trials**0.5), trials}:
        assert binomial_tail(k, trials) == pytest.approx(stats.binom.sf(k - 1, trials, 0.5), rel=1e-9, abs=1e-300)
    assert binomial_tail(trials, trials) > 0
    assert binomial_tail(trials + 1, trials) < 1e-3 or trials < 10


def test_means_and_variances_are_told_apart():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 300, 6))
    assert classifier_test(x, y).p_value > 0.01
    assert classifier_test(x + 0.4, y).p_value < 0.01
    assert classifier_test(x * 1.4, y).p_value < 0.01
    found = classifier_test(x + 5, y)
    assert found.value == 1
    assert found.p_value == pytest.approx(2.0**-240, rel=1e-9)
    assert found.details["pairs"] == 240  # all but the first fold
    assert np.mean(found.details["folds"]) == pytest.approx(found.value)


def test_each_fold_is_judged_by_those_before_it(monkeypatch):
    """Number of rows that every classifier has seen; and that the judged fold's labels changed nothing."""
    seen = []
    solutions = module._solutions
    monkeypatch.setattr(module, "_solutions", lambda G, b, rows: seen.append(rows) or solutions(G, b, rows))
    x, y = np.random.default_rng(1).normal(size=(2, 100, 3))
    classifier_test(x, y)
    assert seen == [40, 80, 120, 160]


def test_the_classifier_is_ridge(monkeypatch):
    rng = np.random.default_rng(2)
    a, c = rng.normal(size=(2, 50, 4))
    G, b = a.T @ a + c.T @ c, a.sum(axis=0) - c.sum(axis=0)
    rows, labels = np.concatenate([a, c]), np.repeat([1.0, -1.0], 50)
    for penalty, w in zip(module.PENALTIES, module._solutions(G, b, 100), strict=True):
        gradient = rows.T @ (rows @ w - labels) + penalty * 100 * w
        np.testing.assert_allclose(gradient, 0, atol=1e-4 * np.abs(b).max() + 1e-3)


@pytest.mark.long
def test_constant_columns_many_columns_and_unequal_sizes(monkeypatch):
    monkeypatch.setattr(module, "WIDEST", 200)
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(60, 300)).astype(np.float32), rng.normal(size=(90, 300)).astype(np.float32)
    x[:, 3] = y[:, 3] = 7
    found = classifier_test(x, y)
    assert found.sizes == {"samples": 60, "real": 60}
    assert found.p_value > 0.01
    assert classifier_test(x * 2, y).p_value < 0.01
    same = classifier_test(np.ones((50, 2)), np.ones((50, 2)))  # nothing tells: by chance
    assert 0.2 < same.value < 0.8


def test_noise_on_digits():
    digits = load_digits().X[np.random.default_rng(4).permutation(1797)] / 16
    noisy = digits[:800] + 0.05 * np.random.default_rng(5).normal(size=(800, 64))
    assert classifier_test(digits[:800], digits[800:1600]).p_value > 0.01
    assert classifier_test(noisy, digits[800:1600]).p_value < 0.01


@pytest.mark.long
def test_false_alarms():
    """Share of p <= .05 of 4,000 draws: 5% +- 1%, of 400 pairs; a binomial test's own level is 4.6% there."""
    rng = np.random.default_rng(6)
    p = np.array([classifier_test(*rng.normal(size=(2, 400, 4)), seed=i).p_value for i in range(4000)])
    print(f"\nclassifier: false alarms {np.mean(p <= 0.05):.4f}")
    assert abs(np.mean(p <= 0.05) - 0.05) <= 0.01


def test_what_is_refused():
    x = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match="real has 9 rows; at least 10 are needed, two for each of 5 folds"):
        classifier_test(x, x[:9])
