"""Programs: kernel calls that are written down once and then run one after the other, without Python in between."""

import functools
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from fastvae.kernels.cpu import blas, processor, products, products_bfloat16, products_rounded
from fastvae.kernels.cpu.ops import LONGEST, row_of, scratch_for
from fastvae.kernels.cpu.team import run
from fastvae.kernels.memory import empty
from fastvae.kernels.slots import Slots, Source


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
    """Calls of kernels, written down by `add` and done in order by `run`; products in float32 or bfloat16.

    Attributes
    ----------
    sources
        The `Source` operands of its calls.
    """

    def __init__(self, slots: Slots, precision: str = "float32"):
        self.slots, self._engine = slots, engine(precision)
        self._rows: list[list[int]] = []
        self._kept: list[Any] = []  # addresses do not keep an array alive
        self.sources: list[Source] = []
        self._scratch_size = 0
        self._table: np.ndarray | None = None

    def add(self, op: str, *operands: Any, check: bool = True) -> None:
        """Write down a call, with the operands that the table of ops has for it; `check`: refuse wrong ones.

        An array is kept alive, and read when the program runs; a number is that which stands in its slot by then.
        """
        self._rows.append(row_of(op, operands, self.slots, check))
        self._kept += [operand for operand in operands if isinstance(operand, np.ndarray)]
        self.sources += [operand for operand in operands if isinstance(operand, Source)]
        self._scratch_size = max(self._scratch_size, scratch_for(op, operands, self._engine))
        self._table = None

    def returns(self, *arrays: np.ndarray) -> None:
        """Nothing to do: the arrays are those that the kernels write."""

    @property
    def job(self) -> int:
        """The address of what a thread needs to run this program: see `team`."""
        if self._table is None:
            self._table = np.array(self._rows, np.int64).reshape(-1, LONGEST)
            self._scratch = empty(self._scratch_size)
            rows = self._table.ctypes.data, len(self._table), self._table.strides[0]
            self._job = np.array([*rows, self._scratch.ctypes.data, self._engine.multiply.address], np.int64)
            self._address = self._job.ctypes.data
        return self._address

    def run(self) -> None:
        """Do all calls. Other threads may run meanwhile, Python's among them."""
        run(self.job)


def jobs(phases: Sequence[Sequence[Program]]) -> np.ndarray:
    """The jobs of phases with as many programs each."""
    return np.array([[program.job for program in phase] for phase in phases], np.int64)
