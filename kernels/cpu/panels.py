"""Panels: a few columns of an operand, side by side and close together, as the tiles read them.

Both are intrinsics so that they move whole vectors: `copy` rows of a matrix, `transpose` blocks of LANES by LANES.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastvae.kernels.cpu.addresses import I32, I64, intrinsic, number, pointer
from fastvae.kernels.cpu.tile import LANES, VECTOR, broadcast


@intrinsic
def copy(typing, source, source_row, target, target_row, rows, vectors):
    """Copy a block of `rows` rows of `vectors` vectors; addresses, and row strides in bytes."""

    def codegen(context, builder, signature, args):
        source, source_row, target, target_row, rows, vectors = args
        with cgutils.for_range(builder, rows, intp=I64) as row:
            there = builder.add(source, builder.mul(row.index, source_row))
            here = builder.add(target, builder.mul(row.index, target_row))
            with cgutils.for_range(builder, vectors, intp=I64) as column:
                offset = builder.mul(column.index, number(4 * LANES))
                value = builder.load(pointer(builder, VECTOR, there, offset), align=4)
                builder.store(value, pointer(builder, VECTOR, here, offset), align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


def _first(builder, count):
    """A mask of the first `count` lanes."""
    lanes = ir.Constant(ir.VectorType(I32, LANES), list(range(LANES)))
    return builder.icmp_signed("<", lanes, broadcast(builder, builder.trunc(count, I32)))


def _narrow_rows(builder, source, source_row, target, target_row, rows, count, *, whole):
    """Rows of `count` numbers, at most LANES, from `source` to `target`; there, zeros behind them where `whole`."""
    mask, align = _first(builder, count), ir.Constant(I32, 4)
    place, lanes = VECTOR.as_pointer(), ir.VectorType(ir.IntType(1), LANES)
    load = ir.FunctionType(VECTOR, [place, I32, lanes, VECTOR])
    load = cgutils.get_or_insert_function(builder.module, load, f"llvm.masked.load.v{LANES}f32.p0")
    store = ir.FunctionType(ir.VoidType(), [VECTOR, place, I32, lanes])
    store = cgutils.get_or_insert_function(builder.module, store, f"llvm.masked.store.v{LANES}f32.p0")
    zeros = ir.Constant(VECTOR, [0.0] * LANES)
    with cgutils.for_range(builder, rows, intp=I64) as row:
        there = pointer(builder, VECTOR, source, builder.mul(row.index, source_row))
        here = pointer(builder, VECTOR, target, builder.mul(row.index, target_row))
        value = builder.call(load, [there, align, mask, zeros])
        if whole:
            builder.store(value, here, align=4)
        else:
            builder.call(store, [value, here, align, mask])


@intrinsic
def widen(typing, source, source_row, target, target_row, rows, count):
    """Copy `rows` rows of `count` numbers, fewer than LANES, into rows of LANES with zeros behind them; addresses, and
    row strides in bytes."""

    def codegen(context, builder, signature, args):
        _narrow_rows(builder, *args, whole=True)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


@intrinsic
def narrow(typing, source, source_row, target, target_row, rows, count):
    """Copy the first `count` numbers of `rows` rows; addresses, and row strides in bytes."""

    def codegen(context, builder, signature, args):
        _narrow_rows(builder, *args, whole=False)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


def _transposed(builder, rows):
    """LANES vectors of LANES numbers, transposed in log2 LANES rounds: round by round, blocks of twice the size."""
    size = 1
    while size < LANES:
        # within each pair of rows i, i + size: swap the upper right and lower left blocks of size by size
        low = [j if not j & size else LANES + j - size for j in range(LANES)]
        high = [j + size if not j & size else LANES + j for j in range(LANES)]
        masks = [ir.Constant(ir.VectorType(I32, LANES), picks) for picks in (low, high)]
        new = list(rows)
        for i in range(LANES):
            if not i & size:
                new[i], new[i + size] = (builder.shuffle_vector(rows[i], rows[i + size], mask) for mask in masks)
        rows, size = new, 2 * size
    return rows


@intrinsic
def transpose(typing, source, source_row, target, target_row, accumulate):
    """target[j, i] = source[i, j] for one block of LANES by LANES numbers, added to it where `accumulate` is not 0;
    addresses, and row strides in bytes."""

    def codegen(context, builder, signature, args):
        source, source_row, target, target_row, accumulate = args
        rows = [
            builder.load(pointer(builder, VECTOR, source, builder.mul(source_row, number(i))), align=4)
            for i in range(LANES)
        ]
        rows = _transposed(builder, rows)
        places = [pointer(builder, VECTOR, target, builder.mul(target_row, number(i))) for i in range(LANES)]
        with builder.if_else(builder.icmp_signed("!=", accumulate, number(0))) as (added, written):
            with added:
                for row, place in zip(rows, places, strict=True):
                    builder.store(builder.fadd(builder.load(place, align=4), row), place, align=4)
            with written:
                for row, place in zip(rows, places, strict=True):
                    builder.store(row, place, align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen
