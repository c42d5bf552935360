"""Functions of one number on the device, over whole arrays; and rows times a number each."""

from collections.abc import Callable

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, WARP, Kernel, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import VECTOR, by_fours, load4, store4
from fastvae.kernels.ops import INPLACE, MAPPED

FLAT = 256  # threads of a block, which knows no rows
ROWS = 4  # of a block of (WARP, ROWS) threads
u32, u64 = np.uint32, np.uint64


def _elementwise(function: Callable, name: str) -> Kernel:
    """A kernel (x, size) of that name which writes a function of each of `size` numbers over it."""

    def elementwise(x, size):
        """See the contract in `fastvae.kernels`."""
        thread, threads = u32(cuda.grid(1)), u32(cuda.gridsize(1))
        whole = size - size % VECTOR if by_fours(x) else u32(0)
        k = u32(thread * VECTOR)
        while k < whole:
            x0, x1, x2, x3 = load4(x, u64(k))
            store4(x, u64(k), (function(x0), function(x1), function(x2), function(x3)))
            k = u32(k + threads * VECTOR)
        k = u32(whole + thread)
        while k < size:
            x[k] = function(x[k])
            k = u32(k + threads)

    elementwise.__name__ = elementwise.__qualname__ = name
    return kernel(FLOATS, COUNT, block=(FLAT,))(elementwise)


KERNEL: dict[str, Kernel] = {name: _elementwise(function, name) for name, function in INPLACE.items()}


def _mapped(function: Callable, name: str) -> Kernel:
    """A kernel (x, out, size) of that name which writes a function of each of `size` numbers elsewhere."""

    def mapped(x, out, size):
        """See the contract in `fastvae.kernels`."""
        thread, threads = u32(cuda.grid(1)), u32(cuda.gridsize(1))
        whole = size - size % VECTOR if by_fours(x) and by_fours(out) else u32(0)
        k = u32(thread * VECTOR)
        while k < whole:
            x0, x1, x2, x3 = load4(x, u64(k))
            store4(out, u64(k), (function(x0), function(x1), function(x2), function(x3)))
            k = u32(k + threads * VECTOR)
        k = u32(whole + thread)
        while k < size:
            out[k] = function(x[k])
            k = u32(k + threads)

    mapped.__name__ = mapped.__qualname__ = name
    return kernel(FLOATS, FLOATS, COUNT, block=(FLAT,))(mapped)


KERNEL |= {name: _mapped(function, name) for name, function in MAPPED.items()}


@kernel(FLOATS, FLOATS, COUNT, COUNT, block=(WARP, ROWS))
def scale_rows_inplace(scale, x, rows, columns):
    """See the contract in `fastvae.kernels`: a warp for each row."""
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    start = u64(row) * u64(columns)
    if row < rows:
        by = scale[row]
        if columns % VECTOR == u32(0):
            c = u32(lane * VECTOR)
            while c < columns:
                x0, x1, x2, x3 = load4(x, start + u64(c))
                store4(x, start + u64(c), (by * x0, by * x1, by * x2, by * x3))
                c = u32(c + u32(WARP) * VECTOR)
        else:
            c = lane
            while c < columns:
                x[start + u64(c)] = by * x[start + u64(c)]
                c = u32(c + u32(WARP))
