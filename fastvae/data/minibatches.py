"""Examples: rows of an array, handed out batch by batch in the model's units."""

from types import ModuleType
from typing import Any

import numpy as np

from fastvae.data.condition import Condition
from fastvae.data.device_rows import DeviceRows
from fastvae.data.mapping import check_size, mapping_of
from fastvae.data.number_types import arithmetic, direct
from fastvae.data.weights import normalised, weighted_mean
from fastvae.errors import check_name
from fastvae.kernels.slots import Slot
from fastvae.passes import ROW, Pass

STAGED_BYTES = 1 << 23  # of a mapped file that are copied at a time


def write_binarization(
    p: Pass, x: np.ndarray, binarize: str | float | None, seed: np.uint64, step: int | Slot | None = None
) -> None:
    """Write down what `Examples` say of it, for the rows x (B, D) of a pass, drawn at its step, or at another."""
    if binarize == "dynamic":
        p.add("binarize_inplace", x, seed, p.step if step is None else step, ROW)
    elif binarize is not None:
        p.add("threshold_inplace", x, binarize)


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
    condition : Conditions, optional
        Of the rows, for a model that has one.
    weights : (N,), optional
        How often each row counts, above 0; the loss of a row is multiplied by w / mean(w).
    """

    def __init__(
        self,
        X: Any,
        offset: np.ndarray,
        scale: np.ndarray,
        seed: np.uint64,
        kernels: ModuleType,
        binarize: str | float | None = None,
        condition: "Conditions | None" = None,
        weights: np.ndarray | None = None,
    ):
        if isinstance(binarize, str):
            check_name("binarize", binarize, ("dynamic",))
        self.X: Any = X if isinstance(X, DeviceRows) else np.asarray(X)[:]  # a view, which nobody else reshapes
        self._mapping = mapping_of(self.X)
        self.direct = direct(self.X.dtype)  # else converted batch by batch
        dtype = arithmetic(self.X.dtype)
        self.offset, self.scale = offset.astype(dtype), scale.astype(dtype)
        self.seed, self.binarize = seed, binarize
        self.kernels, self.condition = kernels, condition
        self.weights = None if weights is None else normalised(weights)
        self._counts = (
            None
            if self.weights is None
            else Examples(self.weights[:, None].astype(np.float32), *_as_they_are(1), kernels)
        )

    def __len__(self) -> int:
        return len(self.X)

    def of(self, name: str) -> "Examples":
        """Those that are the input of that name: "x", or the "condition" or "weight" of each."""
        if name == "x":
            return self
        if name == "weight" and self._counts is not None:
            return self._counts
        if self.condition is None:
            raise ValueError(f"these examples have no {name!r}: pass it to what makes them, examples(X, condition=...)")
        return self.condition

    @property
    def condition_rows(self) -> np.ndarray | None:
        """The condition of each as a network reads it (N, C); None without."""
        return None if self.condition is None else self.condition.X

    def mean(self, values: np.ndarray) -> float:
        """Of a number of each, (N,): sum w v / sum w where they have weights."""
        return weighted_mean(values, self.weights)

    def check(self) -> None:
        """Raise `DataFileError` where the rows lie in a mapped file that has been cut short."""
        check_size(self._mapping, self.X, "the data")

    def staged(self, batch: int, steps: int) -> "Examples":
        """These for one training, in which `fetch` comes before up to so many steps on batches of so many rows."""
        if self._mapping is None or not self.direct or not self.kernels.ON_HOST:
            return self
        return _Staged(self, batch * max(1, min(steps, STAGED_BYTES // max(1, batch * self.X[:1].nbytes))))

    @property
    def room(self) -> int:
        """How many rows `fetch` takes at a time."""
        return len(self)

    def fetch(self, indices: np.ndarray) -> None:
        """Have these rows ready for what `write` has written down, and make the indices those that it reads."""
        self.check()

    def order(self, epoch: int, start: int, out: np.ndarray) -> None:
        """Write into `out` (n,) int64 the rows that come at positions start ... start + n - 1 of that epoch."""
        if out.dtype != np.int64 or start < 0 or start + out.size > len(self):
            raise IndexError(
                f"there are no positions {start} ... {start + out.size - 1} (int64) of {len(self)} examples"
            )
        self.kernels.shuffled_indices(self.seed, epoch, len(self), start, out)

    def fill(self, indices: np.ndarray, out: np.ndarray, step: int, first_row: int) -> None:
        """Write rows `indices` (n,) int64 into `out` (n, D) float32. Binarisation draws at (step, first_row + place).

        Raises
        ------
        IndexError, ValueError, TypeError
            There is no such row; another shape or type.
        """
        self.check()
        if indices.dtype != np.int64 or indices.ndim != 1:
            raise TypeError(f"indices are {indices.dtype}, {indices.ndim}-D; int64, 1-D needed")
        if len(indices) and not (indices.min() >= 0 and indices.max() < len(self.X)):
            found = f"{indices.min()} ... {indices.max()}"
            raise IndexError(f"rows {found} were asked for; there are {len(self.X)} examples, from 0 on")
        if self.direct and self.kernels.ON_HOST:
            self.kernels.gather(self.X, indices, self.offset, self.scale, out)
        elif len(indices):
            rows = self._copied(indices)
            rows = rows if self.direct else rows.astype(self.offset.dtype)
            self.kernels.gather(rows, np.arange(len(rows), dtype=np.int64), self.offset, self.scale, out)
        self.check()
        if self.binarize == "dynamic":
            self.kernels.binarize_inplace(out, self.seed, step, first_row)
        elif self.binarize is not None:
            self.kernels.threshold_inplace(out, self.binarize)

    def _copied(self, indices: np.ndarray) -> np.ndarray:
        """These rows (n, D) on the host; of rows on a GPU, those between are copied too."""
        if not isinstance(self.X, DeviceRows):
            return np.asarray(self.X[indices])
        first = int(indices.min())
        return self.X[first : int(indices.max()) + 1].host()[indices - first]

    def write(self, p: Pass, indices: np.ndarray, x: np.ndarray) -> None:
        """Write down what `fill` does, for whatever stands in `indices` by then; only where `direct`."""
        p.add("gather", self.X, indices, self.offset, self.scale, x)
        write_binarization(p, x, self.binarize, self.seed)


class Conditions(Examples):
    """The condition of each of some examples, as a network reads it: see `fastvae.data.condition`.

    Parameters
    ----------
    known : Condition
        What the rows were made by.
    X : (N, C) float32
    kernels
        The backend's.
    """

    def __init__(self, known: Condition, X: np.ndarray, kernels: ModuleType):
        super().__init__(X, *_as_they_are(X.shape[1]), kernels)
        self.known = known


def _as_they_are(columns: int) -> tuple[np.ndarray, np.ndarray, np.uint64]:
    """Offset, scale and seed of what is read beside x."""
    return np.zeros(columns), np.ones(columns), np.uint64(0)


class _Staged(Examples):
    """Examples of a mapped file, whose rows are copied just before the steps that use them: so the time is short in
    which the file may not be cut, and no step uses what is no longer there."""

    def __init__(self, examples: Examples, rows: int):
        vars(self).update(vars(examples))
        self._mapped, self.X = examples.X, np.empty((rows, examples.X.shape[1]), examples.X.dtype)
        self._beside: list[tuple[Examples, Any]] = []  # what is copied, and from what
        if examples.condition is not None:
            own = examples.condition
            self.condition = Conditions(own.known, np.empty((rows, own.X.shape[1]), own.X.dtype), own.kernels)
            self._beside.append((self.condition, own.X))
        if examples._counts is not None:
            self._counts = Examples(np.empty((rows, 1), np.float32), *_as_they_are(1), examples.kernels)
            self._beside.append((self._counts, examples._counts.X))

    def __len__(self) -> int:
        return len(self._mapped)

    @property
    def room(self) -> int:
        return len(self.X)

    def check(self) -> None:
        check_size(self._mapping, self._mapped, "the data")

    def fetch(self, indices: np.ndarray) -> None:
        self.check()
        self.X[: len(indices)] = self._mapped[indices]
        for copied, own in self._beside:
            copied.X[: len(indices)] = own[indices]
        self.check()
        indices[:] = np.arange(len(indices))
