"""Programs: kernel calls that are written down once and then run one after the other, without Python in between."""

import functools
from types import ModuleType

import numpy as np

from fastvae.kernels.cpu import blas, processor, products, products_bfloat16, products_rounded
from fastvae.kernels.cpu.ops import LONGEST, OPS, room_of, translated
from fastvae.kernels.cpu.team import run
from fastvae.kernels.memory import empty
from fastvae.kernels.scalars import SOURCE, SOURCE_COLUMN, SOURCE_ROW, Scalars


def missing(precision: str) -> str | None:
    """Why a precision cannot be had on this processor; None where it can."""
    if precision == "bfloat16" and processor.BFLOAT16 is None:
        return processor.BFLOAT16_REASON
    return None


@functools.cache
def engine(precision: str) -> ModuleType:
    """The module that does the products: the one place where the processor's choice takes effect."""
    processor.check()
    if precision == "bfloat16":
        return products_rounded if processor.BFLOAT16 == processor.ROUNDED else products_bfloat16
    return blas if processor.CHOSEN == processor.BLAS and blas.announce() else products


class Program:
    """Calls of kernels, written down by `add` and done in order by `run`; products in float32 or bfloat16."""

    def __init__(self, scalars: Scalars, precision: str = "float32"):
        self.scalars, self._engine = scalars, engine(precision)
        self._rows: list[list[int]] = []
        self._kept: list[np.ndarray] = []  # addresses do not keep an array alive
        self.rows: np.ndarray | None = None  # see `read`
        self._room = 0
        self._table: np.ndarray | None = None

    def add(self, op: str, *operands: np.ndarray | int | None) -> None:
        """Write down a call. Operands as in the contract, without the scalars that `Scalars` holds.

        An array is float32 and C-contiguous, but for those of `gather`; it is kept alive, and read when the program
        runs. None: no array.
        """
        row = [OPS[op].address]
        self._kept += [operand for operand in operands if isinstance(operand, np.ndarray)]
        for operand in translated(op, operands):
            if operand is None:
                row += [0, 0, 0]
            elif isinstance(operand, np.ndarray):
                if operand.dtype != np.float32 or not operand.flags.c_contiguous:
                    raise TypeError(f"{op}: an operand is {operand.dtype}, strides {operand.strides}; C float32 needed")
                row += [operand.ctypes.data, *(operand.shape if operand.ndim == 2 else (1, operand.size))]
            else:
                row.append(int(operand))
        self._rows.append(row + [0] * (LONGEST - len(row)))
        self._room = max(self._room, room_of(op, operands, self._engine))
        self._table = None

    def returns(self, *arrays: np.ndarray) -> None:
        """Nothing to do: the arrays are those that the kernels write."""

    def read(self, rows: np.ndarray | None) -> None:
        """Have `read_rows` read these rows (B, D) from now on; they are kept alive here until it is told None."""
        self.rows = rows
        if rows is not None:
            integers = self.scalars.integers
            integers[SOURCE], (integers[SOURCE_ROW], integers[SOURCE_COLUMN]) = rows.ctypes.data, rows.strides

    @property
    def job(self) -> int:
        """The address of what a thread needs to run this program: see `team`."""
        if self._table is None:
            self._table = np.array(self._rows, np.int64).reshape(-1, LONGEST)
            self._memory = empty(self._room)
            arrays = self.scalars.integers, self.scalars.reals, self._memory
            table = (self._table.ctypes.data, *self._table.shape[:1], self._table.strides[0])
            self._job = np.array(
                [*table, *(array.ctypes.data for array in arrays), self._engine.multiply.address], np.int64
            )
            self._address = self._job.ctypes.data
        return self._address

    def run(self) -> None:
        """Do all calls. Other threads may run meanwhile, Python's among them."""
        run(self.job)
