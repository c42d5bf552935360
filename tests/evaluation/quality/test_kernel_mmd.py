"""The kernel MMD: as its formula says, and as exact as a permutation test is."""

import numpy as np
import pytest

from fastvae.evaluation.quality import kernel_mmd as module
from fastvae.evaluation.quality import rows
from fastvae.evaluation.quality.kernel_mmd import kernel_mmd
from tests.evaluation.quality.plain import squared_distances

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(90, 5)), RNG.normal(size=(60, 5)) * 1.2 + 0.2


def by_hand(x, y, h, factors=(0.25, 0.5, 1, 2, 4)):
    """MMD^2 without bias, of the mean of kernels, from whole matrices."""

    def kernel(a, b):
        return np.mean([np.exp(-squared_distances(a, b) / (2 * f * h * h)) for f in factors], axis=0)

    n, m, kx, ky = len(x), len(y), kernel(x, x), kernel(y, y)
    within = (kx.sum() - np.trace(kx)) / (n * (n - 1)) + (ky.sum() - np.trace(ky)) / (m * (m - 1))
    return within - 2 * kernel(x, y).mean()


@pytest.mark.parametrize("block", [1024, 150, 47, 1])
def test_as_the_formula_says(monkeypatch, block):
    monkeypatch.setattr(module, "blocks", lambda count: rows.blocks(count, block))
    found = kernel_mmd(X, Y, permutations=5)
    pooled = np.concatenate([X, Y])
    h = np.sqrt(np.median(squared_distances(pooled, pooled)[np.triu_indices(150, 1)]))
    assert found.details["bandwidth"] == pytest.approx(h, rel=1e-5)
    assert found.value == pytest.approx(by_hand(X, Y, h), rel=1e-4)
    for b, value in found.details["each"].items():
        assert value == pytest.approx(by_hand(X, Y, h, [float(b)]), rel=1e-4, abs=2e-7)
    assert found.sizes == {"samples": 90, "real": 60}


def test_permutations_are_labels_changed():
    """The p-value from the same permutations of the rows themselves."""
    permutations, seed = 99, 3
    found = kernel_mmd(X[:30], Y[:20] - 0.1, permutations=permutations, seed=seed)
    rng, pooled = np.random.default_rng(seed), np.concatenate([X[:30], Y[:20] - 0.1])
    rng.permutation(50)  # of the rows of the median
    signs = module._signs(30, 20, permutations, rng)
    assert (signs.sum(axis=0) == 10).all()
    values = [by_hand(pooled[s > 0], pooled[s < 0], found.details["bandwidth"]) for s in signs.T]
    assert values[0] == pytest.approx(found.value, rel=1e-4)
    assert found.p_value == np.mean(np.array(values) >= values[0])
    assert found.details["deviations"] == pytest.approx((values[0] - np.mean(values[1:])) / np.std(values[1:]), 1e-3)


def test_the_bandwidth_knows_no_labels():
    pooled = np.concatenate([X, Y])
    bandwidths = {
        round(kernel_mmd(p[:90], p[90:], permutations=0).details["bandwidth"], 5)
        for p in (pooled, pooled[::-1], pooled[RNG.permutation(150)])
    }
    assert len(bandwidths) == 1


def test_units_and_places():
    base = kernel_mmd(X, Y, permutations=200)
    for scale, offset in ((1e-6, 0.0), (1e5, 0.0), (1.0, 1e6)):
        moved = kernel_mmd(scale * X + offset, scale * Y + offset, permutations=200)
        assert moved.value == pytest.approx(base.value, rel=1e-3)
        assert moved.p_value == base.p_value


def test_a_stray_row_spoils_no_other():
    found = kernel_mmd(np.concatenate([X, np.full((1, 5), 1e7)]), Y, permutations=0)
    other = np.concatenate([X, np.full((1, 5), 1e4)])
    assert found.value == pytest.approx(by_hand(other, Y, found.details["bandwidth"]), abs=1e-6)


def test_bytes_and_booleans():
    a, b = RNG.integers(0, 255, (40, 6)), RNG.integers(0, 255, (40, 6))
    plain = kernel_mmd(a.astype(float), b.astype(float)).value
    assert kernel_mmd(a.astype(np.uint8), b.astype(np.uint8)).value == pytest.approx(plain, rel=1e-5)
    kernel_mmd(a > 100, b > 100)


def test_equal_rows_are_ties():
    """Of one and the same value everywhere all permutations are as large as what is observed."""
    a = np.repeat(np.arange(2.0)[:, None], 20, axis=0)
    assert kernel_mmd(a, a, permutations=99).p_value == 1.0
    x, y = np.array([[0.0], [1.0]]), np.array([[0.0], [1.0]])
    assert kernel_mmd(x, y, permutations=99).p_value == 1.0


def test_more_of_the_same_data_finds_what_is_wrong():
    rng = np.random.default_rng(1)
    few, many = (kernel_mmd(rng.normal(size=(n, 5)) + 0.3, rng.normal(size=(n, 5))) for n in (10, 500))
    assert few.p_value > many.p_value == 1 / 1001


def test_the_error_is_that_of_other_rows():
    for shift, least, most in ((0.0, 0.75, 1.35), (1.0, 0.8, 1.2)):
        found = [
            kernel_mmd(RNG.normal(size=(80, 3)) + shift, RNG.normal(size=(60, 3)), permutations=100, bandwidth=2.0)
            for _ in range(150)
        ]
        told = np.sqrt(np.mean([f.error**2 for f in found]))
        assert least < told / np.std([f.value for f in found]) < most


def test_without_bias():
    found = [kernel_mmd(RNG.normal(size=(12, 2)), RNG.normal(size=(9, 2)), permutations=0) for _ in range(800)]
    values = np.array([f.value for f in found])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(800)


@pytest.mark.long
def test_false_alarms():
    """Share of p <= .05 of 2,000 draws: 5% +- 1%; .0469 of 20,000 draws (standard error .0015)."""
    rng = np.random.default_rng(2)
    p = np.array([kernel_mmd(*rng.normal(size=(2, 100, 4)), permutations=199, seed=i).p_value for i in range(2000)])
    print(f"\nkernel MMD: false alarms {np.mean(p <= 0.05):.3f}")
    assert 0.04 <= np.mean(p <= 0.05) <= 0.06


def test_rows_most_of_which_are_alike():
    """A median distance of 0 is no bandwidth: the median of what differs is, and the test stays right."""
    rng = np.random.default_rng(3)
    rows = np.where(rng.random((400, 1)) < 0.8, 0.0, rng.normal(size=(400, 3)))
    same = kernel_mmd(rows[:200], rows[200:], permutations=199)
    assert same.details["bandwidth"] > 0.5
    assert same.p_value > 0.01
    assert kernel_mmd(rows[:200] + (rows[:200] != 0), rows[200:], permutations=199).p_value < 0.05


def test_what_is_refused():
    with pytest.raises(ValueError, match="samples has 1 row"):
        kernel_mmd(X[:1], Y)
    with pytest.raises(ValueError, match="real has 4 columns"):
        kernel_mmd(X, Y[:, :4])
    with pytest.raises(ValueError, match="real has .* not finite float32 numbers"):
        kernel_mmd(X, np.where(Y > 2, np.nan, Y))
    with pytest.raises(ValueError, match="one and the same"):
        kernel_mmd(np.ones((5, 2)), np.ones((5, 2)))
    with pytest.raises(ValueError, match="bandwidth"):
        kernel_mmd(X, Y, bandwidth=0.0)
    with pytest.raises(ValueError, match="must not be negative"):
        kernel_mmd(X, Y, permutations=-1)
    with pytest.raises(ValueError, match="fewer permutations"):
        kernel_mmd(X, Y, permutations=10**13)
