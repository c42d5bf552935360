"""Functions of the contract over arrays of the host: each uploads, launches and downloads. For tests, comparisons."""

from typing import Any

import numpy as np

from fastvae.kernels.cpu.calls import function_of
from fastvae.kernels.cuda import minibatch, sums
from fastvae.kernels.cuda.declaration import Kernel, blocks
from fastvae.kernels.cuda.driver import device
from fastvae.kernels.cuda.launches import MOST_BLOCKS, Launch
from fastvae.kernels.cuda.program import Program
from fastvae.kernels.ops import OPS


class _Fresh(Program):
    """A program whose arrays are copied to the device before it runs."""

    def run(self) -> None:
        """Copy, run, and copy back."""
        device().memory.upload(*self.operands)
        super().run()


globals().update({name: function_of(name, _Fresh) for name in OPS})


def _launch(kernel: Kernel, grid: tuple, arguments: list[Any], *outputs: np.ndarray) -> None:
    """Run a kernel: arguments in order, arrays among them flat; the outputs come back."""
    there = {id(a): device().upload(a.reshape(-1)) for a in arguments if isinstance(a, np.ndarray)}
    Launch(kernel, grid, [there.get(id(a), a) for a in arguments]).do(device())
    for array in outputs:
        device().read(there[id(array)], array.reshape(-1))


def shuffled_indices(seed, epoch, count, start, out):
    """See the contract in `fastvae.kernels`."""
    grid = (min(MOST_BLOCKS, blocks(out.size, minibatch.FLAT)),)
    arguments = [np.uint64(seed), int(epoch), np.uint64(count), np.uint64(start), out, out.size]
    _launch(minibatch.shuffled_indices, grid, arguments, out)


def _sum(kernel, values):
    grid = min(sums.PARTS, blocks(values.size, 4 * sums.FLAT))
    parts = np.zeros(2 * grid, np.float32)
    _launch(kernel, (grid,), [values, parts, values.size], parts)
    return sums.sum_of(parts)


def total(values):
    """See the contract in `fastvae.kernels`."""
    return _sum(sums.total_parts, values)


def squared_norm(grads):
    """See the contract in `fastvae.kernels`."""
    return _sum(sums.square_parts, grads)
