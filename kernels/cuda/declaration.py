"""How a kernel is declared: its function, the types of its arguments, the threads of its blocks.

Nothing is compiled here, and nothing of CUDA imported: see `driver`.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from numba import float32, int64, uint32

# Types of the arguments of kernels.
FLOATS, INTEGERS, COUNT, REAL = float32[::1], int64[::1], uint32, float32

WARP = 32  # threads that go in step
LEAST = {"float32": (7, 5), "bfloat16": (8, 0)}  # compute capability


class Code(NamedTuple):
    """What a kernel is for devices of one compute capability.

    Attributes
    ----------
    entry : str
        Its name there.
    ptx : str
        What the compiler made: what tests execute.
    cubin : bytes
        What the assembler made of that: what is loaded.
    """

    entry: str
    ptx: str
    cubin: bytes


class Kernel:
    """A function that runs on the device, with the types of its arguments, the threads of its blocks, and the least
    compute capability that has its instructions."""

    def __init__(
        self, function: Callable, types: tuple, block: tuple[int, ...] | None = None, least: tuple[int, int] = (7, 5)
    ):
        self.py_func, self.types, self.block, self.least = function, types, block, least
        self.__doc__, self.__name__ = function.__doc__, function.__name__
        self.codes: dict[tuple[int, int], Code] = {}  # by compute capability; see `driver.compiled`


KERNELS: list[Kernel] = []


def kernel(
    *types: Any, block: tuple[int, ...] | None = None, least: tuple[int, int] = (7, 5)
) -> Callable[[Callable], Kernel]:
    """Compile a function for the device, as a kernel with arguments of these types; `block` is the threads it is
    launched with, by which tests work out how much of a device it fills; see `Kernel` for `least`."""

    def decorate(function: Callable) -> Kernel:
        KERNELS.append(Kernel(function, types, block, least))
        return KERNELS[-1]

    return decorate


def blocks(count: int, each: int) -> int:
    """How many blocks it takes for `count`, where a block does `each` of them."""
    return max(1, math.ceil(count / each))
