"""Tiles of C = A B for bfloat16 operands and float32 sums, on three kinds of unit.

The operands are packed in pairs of neighbours in k, 32 bits each, as the instructions take them: a (rows, K / 2) with
the pairs of a row side by side, b's panel (K / 2, 32).

    amx       tiles of 16 by 16 sums in the matrix unit's own registers, two by two: Intel, from Sapphire Rapids
    avx512    the dot product of pairs, `vdpbf16ps`: Intel from Cooper Lake, AMD from Zen 4
    emulated  the same in plain float32 arithmetic: slow, for tests on processors that have neither
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastvae.kernels.cpu.addresses import F32, I32, I64, intrinsic, number, pointer
from fastvae.kernels.cpu.processor import BFLOAT16

WIDTH = 32  # columns of a tile
PAIRS = 16  # k comes in multiples of so many pairs
HEIGHTS = {"amx": (32,), "avx512": (14, 12, 10, 8, 6, 4, 2, 1), "emulated": (2, 1)}
LANES = 16
SUMS, BITS = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
BYTE, DATA = ir.IntType(8), ir.IntType(8).as_pointer()


KIND = BFLOAT16 if BFLOAT16 in HEIGHTS else "emulated"


# ---- vectors of pairs ---------------------------------------------------------------------------------------------


def _dot(builder, total, x, y):
    """total + x0 y0 + x1 y1 for each pair."""
    if KIND == "avx512":
        dot = ir.FunctionType(SUMS, [SUMS, BITS, BITS])
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        return builder.call(cgutils.get_or_insert_function(builder.module, dot, name), [total, x, y])
    fma = ir.FunctionType(SUMS, [SUMS] * 3)
    fma = cgutils.get_or_insert_function(builder.module, fma, f"llvm.fma.v{LANES}f32")
    shift, high = (ir.Constant(BITS, [bits] * LANES) for bits in (16, -65536))
    for half in (lambda v: builder.and_(v, high), lambda v: builder.shl(v, shift)):
        total = builder.call(fma, [builder.bitcast(half(x), SUMS), builder.bitcast(half(y), SUMS), total])
    return total


def _vector_tile(builder, height, a, a_row, b, c, pairs):
    places = [(i, j) for i in range(height) for j in range(WIDTH // LANES)]
    sums = {place: cgutils.alloca_once_value(builder, ir.Constant(SUMS, [0.0] * LANES)) for place in places}
    for total in sums.values():
        builder.store(ir.Constant(SUMS, [0.0] * LANES), total)
    nothing, zeros = ir.Constant(BITS, ir.Undefined), ir.Constant(BITS, [0] * LANES)
    with cgutils.for_range(builder, pairs, intp=I64) as loop:
        at_b, at_a = builder.mul(loop.index, number(4 * WIDTH)), builder.mul(loop.index, number(4))
        panel = [
            builder.load(pointer(builder, BITS, builder.add(b, at_b), number(4 * LANES * j)), align=4)
            for j in range(WIDTH // LANES)
        ]
        for i in range(height):
            row = builder.add(a, builder.mul(a_row, number(i)))
            pair = builder.load(pointer(builder, I32, row, at_a), align=4)
            one = builder.insert_element(nothing, pair, ir.Constant(I32, 0))
            x = builder.shuffle_vector(one, nothing, zeros)
            for j, y in enumerate(panel):
                builder.store(_dot(builder, builder.load(sums[i, j]), x, y), sums[i, j])
    for (i, j), total in sums.items():
        to = pointer(builder, SUMS, c, number(4 * (i * WIDTH + j * LANES)))
        builder.store(builder.load(total), to, align=4)


# ---- the matrix unit ----------------------------------------------------------------------------------------------

TILES = np.zeros(64, np.uint8)  # its configuration: palette 1, eight tiles of 16 rows by 64 bytes
TILES[0] = 1
TILES.view(np.uint16)[8:16] = 64
TILES[48:56] = 16


def _amx(builder, name, *operands):
    function = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
    builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.x86.{name}"), operands)


def _matrix_tile(builder, a, a_row, b, c, pairs):
    """Tiles 0 to 3 hold the sums, 4 and 5 rows 0 to 15 and 16 to 31 of a, 6 and 7 the columns of b."""
    tiles = [ir.Constant(BYTE, i) for i in range(8)]
    lower = builder.mul(a_row, number(16))
    for t in range(4):
        _amx(builder, "tilezero", tiles[t])
    with cgutils.for_range(builder, builder.sdiv(pairs, number(PAIRS)), intp=I64) as loop:
        at_a = builder.add(a, builder.mul(loop.index, number(4 * PAIRS)))
        at_b = builder.add(b, builder.mul(loop.index, number(4 * WIDTH * PAIRS)))
        zero, b_row = number(0), number(4 * WIDTH)
        _amx(builder, "tileloadd64", tiles[4], pointer(builder, BYTE, at_a, zero), a_row)
        _amx(builder, "tileloadd64", tiles[6], pointer(builder, BYTE, at_b, zero), b_row)
        _amx(builder, "tileloadd64", tiles[7], pointer(builder, BYTE, at_b, number(64)), b_row)
        _amx(builder, "tileloadd64", tiles[5], pointer(builder, BYTE, at_a, lower), a_row)
        for total, x, y in ((0, 4, 6), (1, 4, 7), (2, 5, 6), (3, 5, 7)):
            _amx(builder, "tdpbf16ps", tiles[total], tiles[x], tiles[y])
    for t, offset in enumerate((0, 64, 64 * WIDTH, 64 * WIDTH + 64)):
        _amx(builder, "tilestored64", tiles[t], pointer(builder, BYTE, c, number(offset)), number(4 * WIDTH))


@intrinsic
def begin(typing, configuration):
    """Before the first tile of a thread: the matrix unit takes its configuration, 64 bytes at an address."""

    def codegen(context, builder, signature, args):
        if KIND == "amx":
            _amx(builder, "ldtilecfg", pointer(builder, BYTE, args[0], number(0)))
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@intrinsic
def end(typing):
    """After the last tile: the matrix unit is free again."""

    def codegen(context, builder, signature, args):
        if KIND == "amx":
            _amx(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def tile(typing, height, a, a_row, b, c, pairs):
    """c (height, 32) = a b, both packed in pairs; `height` one of HEIGHTS[KIND], `a_row` in bytes, `pairs` a multiple
    of PAIRS."""

    def codegen(context, builder, signature, args):
        height, *operands = args
        if KIND == "amx":
            _matrix_tile(builder, *operands)
            return context.get_dummy_value()
        done = builder.append_basic_block("done")
        chosen = builder.switch(height, done)
        for rows in HEIGHTS[KIND]:
            block = builder.append_basic_block(f"tile{rows}")
            chosen.add_case(number(rows), block)
            builder.position_at_end(block)
            _vector_tile(builder, rows, *operands)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen
