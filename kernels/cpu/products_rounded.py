"""The products of `products` with their operands rounded to bfloat16: `precision="bfloat16"` where the processor's own
instructions for it are slower than its float32 unit.

A product of two bfloat16 is exact in float32, so rounded operands in float32 give what the other units give.
"""

from fastvae.kernels.cpu import products
from fastvae.kernels.cpu.addresses import matrix_at
from fastvae.kernels.cpu.compiler import native, part
from fastvae.kernels.cpu.products import OF_COLUMNS, TRANSPOSED, apart
from fastvae.kernels.formulas import bfloat16

multiply_float32 = part(products.multiply.py_func)


def scratch_for(rows, depth, columns):
    """Numbers of float32 that a product with an output (rows, columns) and of this depth needs: both operands, and what
    their product needs."""
    return (rows + columns) * depth + products.scratch_for(rows, depth, columns)


@part
def round_block(source, row, rows, columns, target):
    """target (rows, columns) = source (rows, columns), rounded; rows of the source are `row` numbers apart."""
    for i in range(rows):
        values, to = matrix_at(source + 4 * i * row, 1, columns), matrix_at(target + 4 * i * columns, 1, columns)
        for j in range(columns):
            to[0, j] = bfloat16(values[0, j])


@native("void(" + ", ".join(["int64"] * 11) + ")")
def multiply(kind, a, b, out, rows, depth, columns, first, whole, across, scratch):
    """What `products.multiply` does, on rounded operands."""
    rounded_b = scratch + 4 * rows * depth
    rest = rounded_b + 4 * columns * depth
    if kind == OF_COLUMNS:
        round_block(a + 4 * first, whole, depth, rows, scratch)
        round_block(b, across, depth, columns, rounded_b)
        multiply_float32(kind, scratch, rounded_b, out, rows, depth, columns, 0, rows, columns, rest)
        return
    round_block(a, apart(whole, depth), rows, depth, scratch)
    tall, wide = (columns, depth) if kind == TRANSPOSED else (depth, columns)
    round_block(b, apart(across, wide), tall, wide, rounded_b)
    multiply_float32(kind, scratch, rounded_b, out, rows, depth, columns, first, 0, 0, rest)
