"""Columns side by side: two arrays as one, and the gradient of the first of them."""

from fastvae.kernels.cpu.addresses import integers_at
from fastvae.kernels.cpu.compiler import kernel


@kernel
def concatenate(a, b, out):
    """See the contract in `fastvae.kernels`."""
    (rows, columns), beside = a.shape, b.shape[1]
    repeats = rows // max(1, len(b))
    for i in range(rows):
        for j in range(columns):
            out[i, j] = a[i, j]
        for j in range(beside):
            out[i, columns + j] = b[i // repeats, j]


@kernel
def concatenate_backward(d_out, d_a):
    """See the contract in `fastvae.kernels`."""
    rows, columns = d_a.shape
    for i in range(rows):
        for j in range(columns):
            d_a[i, j] = d_out[i, j]


@kernel
def take_columns(x, order, out):
    """See the contract in `fastvae.kernels`."""
    rows, columns = out.shape
    chosen = integers_at(order, columns)
    for i in range(rows):
        for j in range(columns):
            out[i, j] = x[i, chosen[j]]
