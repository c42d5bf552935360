"""Copies of training rows among samples."""

import numpy as np
import pytest
from scipy import stats

from fastvae.data.digits import load_digits
from fastvae.evaluation.quality import memorisation as module
from fastvae.evaluation.quality.memorisation import memorisation, nearer, ranks, ratio, tail_test


def test_ranks_and_the_rank_test_are_scipys():
    rng = np.random.default_rng(0)
    for draw in (lambda n: rng.normal(size=n), lambda n: rng.integers(0, 5, n)):
        a, b = draw(60) - 0.5, draw(40)
        np.testing.assert_array_equal(ranks(np.concatenate([a, b])), stats.rankdata(np.concatenate([a, b])))
        share, _, p = nearer(a, b)
        theirs = stats.mannwhitneyu(a, b, alternative="less", method="asymptotic")
        assert share == pytest.approx(1 - theirs.statistic / 2400)
        assert p == pytest.approx(theirs.pvalue, rel=1e-9)
    assert nearer(np.ones(5), np.ones(4))[0] == 0.5


def test_the_error_of_the_share():
    rng = np.random.default_rng(1)
    found = [nearer(rng.normal(size=80) - 0.5, rng.normal(size=60)) for _ in range(400)]
    assert np.mean([f[1] for f in found]) / np.std([f[0] for f in found]) == pytest.approx(1, abs=0.12)


def test_the_tail_is_permuted_as_labels_are():
    """The same p-value, but for chance, from labels permuted outright."""
    rng = np.random.default_rng(2)
    a, b = rng.exponential(size=150) ** 1.6, rng.exponential(size=120)
    of_all = stats.rankdata(np.concatenate([a, b]))
    scores = np.maximum(np.log(8.5 / of_all), 0)  # 2% of 270 are less than 8
    sums = np.array([rng.permutation(scores)[:150].sum() for _ in range(20000)])
    p = np.mean(sums >= scores[:150].sum() - 1e-12)
    assert tail_test(a, b, 20000, rng) == pytest.approx(p, abs=0.02)
    assert 0.001 < p < 0.2


def test_near_copies_are_counted():
    rng = np.random.default_rng(3)
    train, held = rng.normal(size=(500, 20)), rng.normal(size=(300, 20))
    samples = np.concatenate([train[:10] + 1e-6 * rng.normal(size=(10, 20)), rng.normal(size=(290, 20))])
    share, distance, by_ratio = memorisation(samples, held, train)
    for copies in (distance, by_ratio):
        assert copies.p_value < 0.01
        assert copies.value >= 10 / 300
        assert set(copies.details["rows"][:10]) == set(range(10))
    assert distance.sizes == {"samples": 300, "real": 300, "train": 500}
    assert abs(share.value - 0.5) < 4 * share.error  # ten of 300 are too few for this one
    assert memorisation(train[:200] + 0.1, held, train)[0].value > 0.9


def test_a_copy_of_a_row_that_is_there_twice():
    train = np.repeat(np.random.default_rng(4).normal(size=(100, 8)), 2, axis=0)
    held = np.random.default_rng(5).normal(size=(200, 8))
    samples = np.concatenate([train[:10], held[:190] + 0.1])
    _, distance, by_ratio = memorisation(samples, held, train)
    assert distance.p_value < 0.01
    assert (ratio(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 2.0]])) == [1.0, 0.0, 0.5]).all()
    assert by_ratio.p_value > 0.01


def test_two_per_cent_of_copies_among_digits():
    digits = load_digits().X[np.random.default_rng(6).permutation(1797)]
    train, held, others = digits[:800], digits[800:1300], digits[1300:]
    samples = others.copy()
    clean = memorisation(samples, held, train)
    samples[:10] = train[:10]  # of 497
    copied = memorisation(samples, held, train)
    assert [m.p_value < 0.01 for m in clean] == [False] * 3
    assert copied[1].p_value < 0.01
    assert copied[2].p_value < 0.01


@pytest.mark.long
def test_false_alarms():
    """Share of p <= .05 of 2,000 draws: 5% +- 1%, of each of the three."""
    rng = np.random.default_rng(7)
    p = []
    for i in range(2000):
        x, y, t = rng.normal(size=(100, 4)), rng.normal(size=(120, 4)), rng.normal(size=(150, 4))
        p.append([m.p_value for m in memorisation(x, y, t, permutations=199, seed=i)])
    found = (np.array(p) <= 0.05).mean(axis=0)
    print(f"\nmemorisation: false alarms {found}")
    assert (np.abs(found - 0.05) <= 0.01).all()


def test_what_is_refused():
    x = np.random.default_rng(0).normal(size=(20, 3))
    with pytest.raises(ValueError, match="train has 1 row; at least 2"):
        memorisation(x, x, x[:1])
    with pytest.raises(ValueError, match="held_out has 2 columns"):
        memorisation(x, x[:, :2], x)
    assert module.tail_test(np.ones(3), np.ones(3), 0, np.random.default_rng(0)) is None
