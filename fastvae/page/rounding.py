"""Weights in 8 bits, where a page would be too large with all of them in float32.

    w_ij = code_ij row_i column_j,    code a whole number in [-127, 127],    row_i column_j about c / sqrt(F_ij)

F_ij = E[x_i^2] E[d_a_j^2] is the Fisher information of a weight: so each costs the same expected loss, and weights that
matter little, those of pixels that are always empty, take few bits. One number c for the whole model is chosen so that
the codes, deflated, fill the room that there is. What rounding a row of a matrix changes, later rows take back as far
as they can; of the mean of what the layer gives, its bias does. (Of an MNIST network, 784-400-20, in 395 kB the ELBO
falls by 0.03 nats; without that of the rows by 0.16.)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from fastvae.export.portable import Portable
from fastvae.layers import Layer
from fastvae.page.network import sensitivities, with_layers

LARGEST = 127
FLOOR = 0.01  # of the mean of E[x^2], or E[d_a^2], below which a row or a column does not count as less
DAMPING = 0.01  # of the mean variance, added to each
MOST_INPUTS = 4096  # of a layer whose codes compensate: time and memory grow with the square
WIDER = 1.05  # by which steps are made wider, where codes that compensate take more room
HALVINGS = 9  # of the range of log2 c, in the search
COARSEST, FINEST = 4.0, -14.0  # log2 c


@dataclass(frozen=True, eq=False)
class Rounded:
    """A matrix (inputs, outputs) as codes int8, and steps of rows and columns, uint8: see `step`."""

    codes: np.ndarray
    rows: np.ndarray
    columns: np.ndarray

    @property
    def weight(self) -> np.ndarray:
        """The matrix, float32, as the page has it."""
        return (self.codes * step(self.rows)[:, None] * step(self.columns)).astype(np.float32)

    @property
    def sorted_codes(self) -> np.ndarray:
        """Codes with the rows of the smallest steps first: neighbours have like sizes, which deflate makes use of."""
        return self.codes[np.argsort(self.rows, kind="stable")]


def step(code: np.ndarray) -> np.ndarray:
    """(8 + code mod 8) 2^(code // 8 - 24): floating-point numbers of 8 bits, 3 of them of the mantissa."""
    code = code.astype(np.int64)
    return (8 + code % 8) * 2.0 ** (code // 8 - 24)


STEPS = step(np.arange(256))


def _at_least(steps: np.ndarray) -> np.ndarray:
    """The smallest step that is as large, uint8."""
    return np.minimum(np.searchsorted(STEPS, steps), 255).astype(np.uint8)


def _steps(squares: np.ndarray) -> np.ndarray:
    """1 / sqrt(E[.^2])."""
    floor = FLOOR * squares.mean()
    return 1.0 / np.sqrt(np.maximum(squares, floor if floor > 0 else 1.0))


def rounded(weight: np.ndarray, rows: np.ndarray, columns: np.ndarray, c: float) -> Rounded:
    """A matrix with steps c row_i column_j, wider in columns that would not fit into 8 bits."""
    row_codes, column_codes = _at_least(rows / rows.min()), _at_least(c * columns * rows.min())
    reach = np.abs(weight / step(row_codes)[:, None]).max(axis=0, initial=0.0)
    column_codes = np.maximum(column_codes, _at_least(reach / LARGEST))
    return Rounded(_nearest(weight, step(row_codes)[:, None] * step(column_codes)), row_codes, column_codes)


def _nearest(weight: np.ndarray, steps: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(weight / steps), -LARGEST, LARGEST).astype(np.int8)


def compensated(weight: np.ndarray, known: Rounded, covariance: np.ndarray) -> Rounded:
    """The same steps with other codes: what rounding one row changes of x @ weight, the rows that are not rounded yet
    take back, as far as what they see goes along with it.

    `covariance` (inputs, inputs) is of x. Rows are taken in turn, those of the largest variance first; an error e_i of
    row i moves each later row j by -e_i U_ij / U_ii, U'U the inverse of the covariance (Hassibi and Stork 1993;
    Frantar, Ashkboos, Hoefler and Alistarh 2023).
    """
    order = np.argsort(-covariance.diagonal(), kind="stable")
    least = DAMPING * covariance.diagonal().mean() or 1.0  # of a layer that sees nothing, no row moves another
    damped = covariance[np.ix_(order, order)] + least * np.eye(len(order))
    upper = np.linalg.cholesky(np.linalg.inv(damped)).T
    left, codes = weight[order].astype(np.float64), np.empty_like(known.codes)
    steps = step(known.rows)[order][:, None] * step(known.columns)
    for i in range(len(order)):
        codes[order[i]] = _nearest(left[i], steps[i])
        error = (left[i] - codes[order[i]] * steps[i]) / upper[i, i]
        left[i + 1 :] -= upper[i, i + 1 :, None] * error
    return Rounded(codes, known.rows, known.columns)


def fitting(
    m: Portable,
    X: np.ndarray,
    condition: np.ndarray | None,
    size: Callable[[dict[str, Rounded]], int],
    room: int,
) -> tuple[Portable, dict[str, Rounded]]:
    """A model whose matrices have a `size` of at most `room` bytes, or of as few as there can be; and these matrices,
    by the names "LAYER.weight" and, of a linear path, "LAYER.beside".

    Parameters
    ----------
    m
        A VAE with its encoder.
    X, condition
        Rows (N, D) in the user's units, and their condition as the model reads it: what sensitivities are measured on.
    """
    known = sensitivities(m, X, condition)

    def matrices(c: float) -> dict[str, Rounded]:
        found = {}
        for layer in m.layers:
            x, d_squares = known[layer.name]
            rows = _steps(np.square(x).mean(axis=0))
            found[f"{layer.name}.weight"] = rounded(layer.weight, rows, _steps(d_squares), c)
            if layer.beside is not None:
                rows = np.ones(len(layer.beside))
                found[f"{layer.name}.beside"] = rounded(layer.beside, rows, _steps(d_squares), c)
        return found

    low, high = FINEST, COARSEST
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if size(matrices(2.0**middle)) <= room else (middle, high)

    def better(c: float) -> dict[str, Rounded]:
        found = matrices(c)
        for layer in m.layers:
            x, name = known[layer.name][0], f"{layer.name}.weight"
            if x.shape[1] <= MOST_INPUTS:
                found[name] = compensated(layer.weight, found[name], np.cov(x.T, bias=True).reshape(x.shape[1], -1))
        return found

    chosen, c = better(2.0**high), 2.0**high
    while size(chosen) > room and c < 2.0**COARSEST:
        c *= WIDER
        chosen = better(c)

    def change(layer: Layer) -> Layer:
        weight = chosen[f"{layer.name}.weight"].weight
        moved = known[layer.name][0].mean(axis=0) @ (layer.weight.astype(np.float64) - weight)
        beside = chosen.get(f"{layer.name}.beside")
        return replace(
            layer,
            weight=weight,
            bias=(layer.bias + moved).astype(np.float32),
            beside=None if beside is None else beside.weight,
        )

    return with_layers(m, change), chosen
