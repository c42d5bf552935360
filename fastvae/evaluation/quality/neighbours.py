"""Nearest neighbours, with exact distances: candidates by products of matrices, the best few subtracted in float64.

|x|^2 - 2 x.y + |y|^2 has the rounding error of the squares, not of the difference: of near copies nothing is left, and
some of it comes out negative. So float32 finds candidates alone; where it cannot be sure that the nearest are among
them, float64 does; and what is returned is |x - y| of the rows as they were given.
"""

from collections.abc import Iterator

import numpy as np

from fastvae.evaluation.quality.rows import ROWS, about, blocks, origin, squares

COLUMNS = 4096  # rows of the others at a time
ENTRIES = 1 << 22  # of a block of distances to all of the others
SPARE = 6  # candidates beyond those asked for
KEPT = 1 << 24  # numbers of a float32 copy of the others, at most: 64 MiB; of more, blocks are made each time
ROUNDING = 8.0  # squared distances are off by at most so many machine epsilons of (|x| + |y|)^2; measured: below 3


def nearest(X: np.ndarray, others: np.ndarray, k: int, *, same: bool = False) -> np.ndarray:
    """(N, k) float64: the distances of each row of X (N, D) to its k nearest rows of `others` (M, D), rising.

    With `same`, X are the others, and no row is its own neighbour. k must be at most M, or M - 1.
    """
    centre = origin(X, others)
    found = np.empty((len(X), k))
    unsure = np.arange(len(X))
    for dtype in (np.float32, np.float64):
        targets = about(others, centre, dtype) if dtype == np.float32 and others.size <= KEPT else None
        unsure = _search(X, others, k, same, unsure, centre, targets, dtype, found)
        if not len(unsure):
            break
    return found


def _search(
    X: np.ndarray, others: np.ndarray, k: int, same: bool, chosen: np.ndarray, centre: np.ndarray,
    targets: np.ndarray | None, dtype: type, found: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Fill `found` for the chosen rows; return which may have a nearer neighbour than those.

    targets : (M, D), the others about the centre; None where they are made block by block, as they would take much.
    """
    left = []
    for block in blocks(len(chosen)):
        rows = chosen[block]
        queries = about(X[rows], centre, dtype)
        candidates, bound, largest = _candidates(queries, rows, others, k, same, centre, targets)
        distances = np.empty(candidates.shape)
        for i in range(candidates.shape[1]):
            gap = X[rows].astype(np.float64)
            gap -= others[candidates[:, i]]
            distances[:, i] = np.sqrt(squares(gap))
        if same:
            distances[candidates == rows[:, None]] = np.inf
        distances.sort(axis=1)
        found[rows] = distances[:, :k]
        # whatever is no candidate is at least `bound` away, but for rounding
        error = ROUNDING * np.finfo(dtype).eps * (np.sqrt(squares(queries).astype(np.float64)) + largest) ** 2
        left.append(rows[distances[:, k - 1] ** 2 > bound - error])
    return np.concatenate(left) if left else chosen[:0]


def _candidates(
    queries: np.ndarray, rows: np.ndarray, others: np.ndarray, k: int, same: bool, centre: np.ndarray,
    targets: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, float]:  # fmt: skip
    """(n, c) indices of those that seem nearest; (n,) what the next has as its squared distance, infinity where there
    is none; the largest |y|."""
    count = min(k + SPARE + same, len(others))
    best, indices = np.full((len(queries), 0), np.inf, queries.dtype), np.zeros((len(queries), 0), np.intp)
    largest, bound = 0.0, np.full(len(queries), np.inf)
    of_rows = squares(queries)[:, None]
    for block in blocks(len(others), COLUMNS):
        some = about(others[block], centre, queries.dtype) if targets is None else targets[block]
        of_some = squares(some)
        largest = max(largest, float(of_some.max()))
        d = queries @ some.T
        d *= -2.0
        d += of_some
        d += of_rows
        if same:
            inside = np.flatnonzero((rows >= block.start) & (rows < block.stop))
            d[inside, rows[inside] - block.start] = np.inf
        if d.shape[1] > count:
            order = np.argpartition(d, count, axis=1)
            bound = np.minimum(bound, np.take_along_axis(d, order[:, count : count + 1], axis=1)[:, 0])
            order = order[:, :count]
            d = np.take_along_axis(d, order, axis=1)
        else:
            order = np.broadcast_to(np.arange(d.shape[1]), d.shape)
        best = np.concatenate([best, d], axis=1)
        indices = np.concatenate([indices, order + block.start], axis=1)
        if best.shape[1] > count:
            order = np.argpartition(best, count, axis=1)
            bound = np.minimum(bound, np.take_along_axis(best, order[:, count : count + 1], axis=1)[:, 0])
            best, indices = (np.take_along_axis(a, order[:, :count], axis=1) for a in (best, indices))
    return indices, bound, float(np.sqrt(largest))


def within(
    X: np.ndarray, others: np.ndarray, radii: np.ndarray, of_rows: np.ndarray | None = None
) -> Iterator[tuple[slice, list[np.ndarray], np.ndarray | None]]:
    """For blocks of rows of X (N, D): which of the others (M, D) have them within each of their radii (R, M), boolean
    (n, M) each; and with radii of X's rows (N,), which of the others lie within those.

    In float64, whose rounding is added to the radii: what lies on the rim is within.
    """
    centre = origin(X, others)
    of_others = np.concatenate([squares(about(others[b], centre)) for b in blocks(len(others))])
    for block in blocks(len(X), max(16, min(ROWS, ENTRIES // len(others)))):
        queries = about(X[block], centre)
        of_queries = squares(queries)
        d = np.empty((len(queries), len(others)))
        for b in blocks(len(others)):
            d[:, b] = queries @ about(others[b], centre).T
        d *= -2.0
        d += of_others
        d += of_queries[:, None]
        rounding = ROUNDING * np.finfo(np.float64).eps
        norms = np.sqrt(of_queries.max()) + np.sqrt(of_others)
        d -= rounding * norms**2
        inside = [d <= radius**2 for radius in radii]
        yield block, inside, None if of_rows is None else d <= of_rows[block, None] ** 2
