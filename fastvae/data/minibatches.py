"""Examples: rows of an array, handed out batch by batch in the model's units."""

from types import ModuleType
from typing import Any

import numpy as np

from fastvae.data.device_rows import DeviceRows
from fastvae.data.scaling import arithmetic
from fastvae.errors import check_name

Program = Any  # of the backend: see the contract in `fastvae.kernels`
_COMPILED = frozenset(np.dtype(code) for code in "?bBhHiIlLqQfd")


def direct(dtype: np.dtype) -> bool:
    """Whether kernels read data of that dtype as they are: not foreign byte order, half and extended precision."""
    return dtype.isnative and dtype in _COMPILED


def write_binarization(
    program: Program, x: np.ndarray, binarize: str | float | None, seed: np.uint64, first_row: int
) -> None:
    """Write down what `Examples` say of it, for rows x."""
    if binarize == "dynamic":
        program.add("binarize_inplace", x, seed, first_row)
    elif binarize is not None:
        program.add("threshold_inplace", x, binarize)


class Examples:
    """An array (N, D), or a memory map of one, with its scaling and binarisation.

    Parameters
    ----------
    X : (N, D) any real dtype
        Never copied as a whole.
    offset, scale : (D,) float64
        The model sees (X - offset) / scale.
    binarize
        None; "dynamic": each value in [0, 1] is the probability of a 1, drawn anew whenever it is asked for; or a
        number: 1 above it, else 0.
    seed : uint64
        Of the order and of the dynamic binarisation.
    kernels
        The backend's.
    """

    def __init__(
        self,
        X: Any,
        offset: np.ndarray,
        scale: np.ndarray,
        seed: np.uint64,
        kernels: ModuleType,
        binarize: str | float | None = None,
    ):
        if isinstance(binarize, str):
            check_name("binarize", binarize, ("dynamic",))
        self.X: Any = X if isinstance(X, DeviceRows) else np.asarray(X)
        self.direct = direct(self.X.dtype)  # else converted batch by batch
        dtype = arithmetic(self.X.dtype)
        self.offset, self.scale = offset.astype(dtype), scale.astype(dtype)
        self.seed, self.binarize = seed, binarize
        self._kernels = kernels

    def __len__(self) -> int:
        return len(self.X)

    def order(self, epoch: int, start: int, out: np.ndarray) -> None:
        """Write into `out` (n,) int64 the rows that come at positions start ... start + n - 1 of that epoch."""
        if not 0 <= start <= len(self) - len(out):  # beyond them, the walk through the permutation may never end
            raise IndexError(f"positions {start} ... {start + len(out) - 1} of an epoch of {len(self)} examples")
        self._kernels.shuffled_indices(self.seed, epoch, len(self), start, out)

    def fill(self, indices: np.ndarray, out: np.ndarray, step: int, first_row: int) -> None:
        """Write rows `indices` into `out` (n, D). Binarisation draws at (step, first_row + position)."""
        if self.direct:
            self._kernels.gather(self.X, indices, self.offset, self.scale, out)
        else:
            rows = self.X[indices].astype(self.offset.dtype)
            self._kernels.gather(rows, np.arange(len(rows), dtype=np.int64), self.offset, self.scale, out)
        if self.binarize == "dynamic":
            self._kernels.binarize_inplace(out, self.seed, step, first_row)
        elif self.binarize is not None:
            self._kernels.threshold_inplace(out, self.binarize)

    def write(self, program: Program, indices: np.ndarray, first_row: int, out: np.ndarray) -> None:
        """Write down what `fill` does, for whatever stands in `indices` by then; only where `direct`."""
        program.add("gather", self.X, indices, self.offset, self.scale, out)
        write_binarization(program, out, self.binarize, self.seed, first_row)
