"""fastvae's kernels as cases, on the CPU and on a GPU: whoever builds one is written once, for both.

A builder is a function of a device, one of the two here, and of a size; `ours(builder)` are its entries in `Op.build`.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.cases import OURS, OURS_ON_GPU, Case
from benchmarks.sizes import Size

REPEATS = 100  # of a program on the GPU before the host waits: what waiting takes is then spread over so many

Program = Any  # of a backend: see the contract in `fastvae.kernels`
Builder = Callable[["CPU", Size], Case]


class CPU:
    """Cases of programs that run on the CPU."""

    @property
    def functions(self) -> ModuleType:
        """The contract's functions over arrays of the host."""
        from fastvae.kernels import cpu

        return cpu

    def program(self, op: str, *operands: Any, scalars: Any = None) -> Program:
        """A program with one call in it: what a kernel costs within a step, without a call from Python."""
        from fastvae.kernels.cpu import Program

        return self._written(Program, op, operands, scalars)

    @staticmethod
    def _written(kind: Callable, op: str, operands: tuple, scalars: Any) -> Program:
        from fastvae.kernels.scalars import Scalars

        written = kind(scalars or Scalars(7))
        written.add(op, *operands)
        return written

    def case(self, program: Program, result: Callable[[], list[np.ndarray | float]]) -> Case:
        """That runs a program; `result` is read from its operands."""
        return Case(program.run, result)


class GPU(CPU):
    """The same on a GPU, which works on copies of the operands. A step launches a program as training does, many times
    over: where a kernel takes less time than its launch from Python does, it is the launch that is measured."""

    @property
    def functions(self) -> ModuleType:
        """The contract's functions, with the copies there and back."""
        from fastvae.kernels.cuda import calls

        return calls

    def program(self, op: str, *operands: Any, scalars: Any = None) -> Program:
        """A program with one call in it."""
        from fastvae.kernels.cuda import Program

        return self._written(Program, op, operands, scalars)

    def case(self, program: Program, result: Callable[[], list[np.ndarray | float]]) -> Case:
        """That runs a program REPEATS times and waits; `result` is read from its operands, once they are back."""
        from fastvae.kernels import cuda
        from fastvae.kernels.cuda.driver import device

        repeats = REPEATS

        def step() -> None:
            program.run()
            on, launches = device(), program.launches
            for _ in range(repeats - 1):
                for launch in launches:
                    launch.do(on)
            on.synchronize()

        def found() -> list[np.ndarray | float]:
            cuda.download(*program.operands)
            return result()

        return Case(step, found, repeats, once=program.run)


def ours(build: Builder) -> dict[str, Callable[[Size], Case]]:
    """What `build` makes on each device."""
    return {OURS: functools.partial(build, CPU()), OURS_ON_GPU: functools.partial(build, GPU())}
