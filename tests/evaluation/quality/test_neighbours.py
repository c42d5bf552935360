"""Nearest neighbours: the exact distances, near copies included."""

import numpy as np
import pytest

from fastvae.evaluation.quality import neighbours
from fastvae.evaluation.quality.neighbours import nearest, within
from tests.evaluation.quality.plain import squared_distances


def plain(x, y, k, same=False):
    d = squared_distances(np.asarray(x, float), np.asarray(y, float))
    if same:
        np.fill_diagonal(d, np.inf)
    return np.sqrt(np.sort(d, axis=1)[:, :k])


@pytest.mark.parametrize("columns", [4096, 50, 9, 1])
@pytest.mark.parametrize(("n", "m", "d", "k"), [(200, 150, 5, 3), (1, 1, 1, 1), (33, 7, 4, 7), (60, 61, 2, 2)])
def test_as_the_whole_matrix_has_them(monkeypatch, columns, n, m, d, k):
    monkeypatch.setattr(neighbours, "COLUMNS", columns)
    monkeypatch.setattr(neighbours, "KEPT", 300)  # the smaller ones are
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    np.testing.assert_allclose(nearest(x, y, k), plain(x, y, k), rtol=1e-13)
    if m > k:
        np.testing.assert_allclose(nearest(y, y, k, same=True), plain(y, y, k, same=True), rtol=1e-13)


def test_ties_and_duplicates():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (300, 3)).astype(np.uint8)  # of eight rows each many times
    np.testing.assert_array_equal(nearest(x, x, 5, same=True), plain(x, x, 5, same=True))
    np.testing.assert_array_equal(nearest(x[:50] + 1, x, 5), plain(x[:50] + 1, x, 5))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_near_copies_are_found_at_their_distance(offset):
    rng = np.random.default_rng(1)
    train = rng.random((2000, 100)) + offset
    step = rng.normal(size=(200, 100))
    step *= 1e-6 / np.linalg.norm(step, axis=1, keepdims=True)
    d = nearest(train[:200] + step, train, 2)
    np.testing.assert_allclose(d[:, 0], 1e-6, rtol=1e-9 if offset == 0 else 1e-4)
    assert (d[:, 1] > 1).all()
    assert (nearest(train[:200], train, 1) == 0).all()
    # what the expanded square in float32 makes of them
    a, b = (train[:200] + step).astype(np.float32), train[:200].astype(np.float32)
    expanded = (a**2).sum(axis=1) - 2 * (a * b).sum(axis=1) + (b**2).sum(axis=1)
    assert (expanded <= 0).any()


def test_clusters_that_float32_cannot_tell_apart():
    """Far from each other and tight: the candidates of float32 do not do."""
    rng = np.random.default_rng(2)
    x = 1e3 * rng.integers(0, 3, (400, 1)) + 1e-4 * rng.normal(size=(400, 6))
    np.testing.assert_allclose(nearest(x, x, 3, same=True), plain(x, x, 3, same=True), rtol=1e-10)


@pytest.mark.long
def test_the_rounding_is_below_what_is_allowed_for():
    rng = np.random.default_rng(3)
    for shape in ((300, 784), (300, 33), (300, 2)):
        for x in (rng.random(shape), rng.normal(size=shape), rng.random(shape) + 3):
            f = x.astype(np.float32)
            n = (f * f).sum(axis=1)
            error = np.abs(n[:, None] + n - 2 * f @ f.T - squared_distances(f.astype(float), f.astype(float)))
            norms = np.sqrt(n)
            assert (error / (np.finfo(np.float32).eps * (norms[:, None] + norms) ** 2)).max() < neighbours.ROUNDING / 2


def test_who_lies_within(monkeypatch):
    rng = np.random.default_rng(4)
    x, y = rng.integers(0, 4, (90, 3)), rng.integers(0, 4, (70, 3))  # with ties: the rim is within
    radii, of_x = rng.integers(0, 3, (2, 70)).astype(float), rng.integers(0, 3, 90).astype(float)
    d = squared_distances(x, y)
    for entries in (1 << 22, 2000):
        monkeypatch.setattr(neighbours, "ENTRIES", entries)
        found = list(within(x, y, radii, of_x))
        for i in range(2):
            np.testing.assert_array_equal(np.concatenate([f[1][i] for f in found]), d <= radii[i] ** 2)
        np.testing.assert_array_equal(np.concatenate([f[2] for f in found]), d <= of_x[:, None] ** 2)
