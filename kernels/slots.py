"""The numbers that change from step to step, by name: what a program reads when it runs, not when it is written.

All are words of one row of 64 bits, whole numbers as they are, real numbers as float64 by their bits; so a table with a
row for each step says what many steps read. An operand that is a number may be a `Slot`, or the number itself.
"""

import functools
from dataclasses import dataclass

import numpy as np

CAPACITY = 64  # words of a row: programs know the addresses, so that it cannot grow


@dataclass(frozen=True)
class Slot:
    """Where an operand stands in the row; a whole number is counted from `offset`."""

    place: int
    offset: int = 0

    def __add__(self, offset: int) -> "Slot":
        return Slot(self.place, self.offset + offset)


class Slots:
    """A row of named numbers.

    Attributes
    ----------
    row : (CAPACITY,) int64
        What programs read.
    reals : (CAPACITY,) float64
        The same memory.
    """

    def __init__(self) -> None:
        self.row = np.zeros(CAPACITY, np.int64)
        self.reals = self.row.view(np.float64)
        self._start = self.row.ctypes.data
        self._slots: dict[str, Slot] = {}
        self._real: dict[str, bool] = {}
        self.used = 1  # the first word is 0 and stays so: a whole number that does not change is an offset from it

    def _slot(self, name: str, real: bool) -> Slot:
        if name not in self._slots:
            if self.used == CAPACITY:
                raise ValueError(f"no room for {name!r}: a row has {CAPACITY} numbers ({', '.join(self._slots)})")
            self._slots[name], self._real[name] = Slot(self.used), real
            self.used += 1
        if self._real[name] != real:
            raise TypeError(f"{name!r} is a {'real' if self._real[name] else 'whole'} number elsewhere")
        return self._slots[name]

    def whole(self, name: str) -> Slot:
        """The place of a whole number; 0 until it is set."""
        return self._slot(name, False)

    def real(self, name: str) -> Slot:
        """The place of a real number; 0 until it is set."""
        return self._slot(name, True)

    def address(self, slot: Slot) -> int:
        """Where in memory a number stands."""
        return self._start + 8 * slot.place

    def whole_operand(self, value: "int | Slot") -> Slot:
        """An operand as a place: that of a number that stays what it is, where it is none yet."""
        return value if isinstance(value, Slot) else Slot(0, int(value))

    def real_operand(self, value: "float | Slot") -> Slot:
        """The same of a real number."""
        if isinstance(value, Slot):
            return value
        slot = self.real(repr(float(value)))
        self.reals[slot.place] = value
        return slot

    def seed_operand(self, value: "int | np.uint64 | Slot") -> Slot:
        """The same of a seed, a uint64 by its bits."""
        if isinstance(value, Slot):
            return value
        slot = self.whole(f"seed {int(value)}")
        self.row.view(np.uint64)[slot.place] = value
        return slot

    def __setitem__(self, name: str, value: float | np.integer) -> None:
        """Set a number that has a place."""
        place = self._slots[name].place
        if self._real[name]:
            self.reals[place] = value
        else:
            self.row[place] = value

    def __getitem__(self, name: str) -> float:
        place = self._slots[name].place
        return float(self.reals[place]) if self._real[name] else int(self.row[place])

    def __contains__(self, name: str) -> bool:
        return name in self._slots

    def table(self, count: int, /, **columns: "np.ndarray | float") -> np.ndarray:
        """A row (used,) for each of `count` steps: what stands here now, with numbers in the place of some, one for all
        steps or a column (count,); those without a place are left out, as no program reads them."""
        table = np.empty((count, self.used), np.int64)
        table[:] = self.row[: self.used]
        reals = table.view(np.float64)
        for name, values in columns.items():
            slot = self._slots.get(name)
            if slot is not None:
                (reals if self._real[name] else table)[:, slot.place] = values
        return table

    @property
    def real_places(self) -> np.ndarray:
        """Places of the real numbers."""
        return np.array([slot.place for name, slot in self._slots.items() if self._real[name]], np.int64)


class Source:
    """Rows of data that a program reads, others from run to run.

    Parameters
    ----------
    slots
        Of the program.
    name
        Of the input.
    dtype
        Of the data.
    """

    def __init__(self, slots: Slots, name: str, dtype: np.dtype):
        self.dtype, self.name = np.dtype(dtype), name
        self.places = [slots.whole(f"{name} {word}") for word in ("address", "row bytes", "column bytes")]
        self.rows: np.ndarray | None = None
        self._row, self._words = slots.row, [slot.place for slot in self.places]

    def read(self, rows: np.ndarray | None) -> None:
        """Have these rows (B, D) read from now on; they are kept alive here until it is told None."""
        self.rows = rows
        if isinstance(rows, np.ndarray):
            (address, by_row, by_column), row = self._words, self._row
            row[address], (row[by_row], row[by_column]) = rows.ctypes.data, rows.strides


@dataclass(frozen=True, eq=False)
class Watched:
    """A loss that ends a training where it is not finite.

    Parameters
    ----------
    values : (B,) float32
        Of each example.
    weight
        Where the number stands that their sum is multiplied by.
    phase
        Which one completes the values.
    """

    values: np.ndarray
    weight: Slot
    phase: int

    @functools.cached_property
    def words(self) -> tuple[int, int, int, int]:
        """It as compiled code reads it."""
        return self.values.ctypes.data, self.values.size, self.weight.place, self.phase
