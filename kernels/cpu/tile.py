"""The inner product of all: one tile of C = A B, its sums in registers.

An intrinsic, because no loop that numba accepts keeps a block of sums in vector registers: the tile's sums are as many
LLVM vectors, each step of k loads a row of B's panel and adds to every sum the product with one broadcast number of A.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastvae.kernels.cpu.addresses import F32, I32, I64, intrinsic, number, pointer
from fastvae.kernels.cpu.prefetch import fetch
from fastvae.kernels.cpu.processor import UNIT

LANES, HEIGHTS = UNIT.lanes, UNIT.heights
SHAPES = [(height, vectors) for height in HEIGHTS for vectors in (2, 1)]

VECTOR = ir.VectorType(F32, LANES)


def broadcast(builder, scalar):
    """A vector of LANES times the same number."""
    nothing = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    one = builder.insert_element(nothing, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))


def _multiply_add(builder, x, y, total):
    if not UNIT.fused:
        return builder.fadd(builder.fmul(x, y), total)
    fma = ir.FunctionType(VECTOR, [VECTOR] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, fma, f"llvm.fma.v{LANES}f32"), [x, y, total])


def _tile(builder, height, vectors, a, a_row, a_step, b, b_step, c, c_row, depth, accumulate, ahead, ahead_step):
    """The code of a tile of one shape."""
    places = [(i, j) for i in range(height) for j in range(vectors)]
    sums = {place: cgutils.alloca_once_value(builder, ir.Constant(VECTOR, [0.0] * LANES)) for place in places}
    at_c = {
        (i, j): pointer(builder, VECTOR, c, builder.add(builder.mul(c_row, number(i)), number(4 * LANES * j)))
        for i, j in places
    }
    with builder.if_then(builder.icmp_signed("!=", accumulate, number(0))):
        for place in places:
            builder.store(builder.load(at_c[place], align=4), sums[place])
    rows = [builder.add(a, builder.mul(a_row, number(i))) for i in range(height)]
    with cgutils.for_range(builder, depth, intp=I64) as loop:
        at_a, at_b = builder.mul(loop.index, a_step), builder.add(b, builder.mul(loop.index, b_step))
        if UNIT.looks_ahead:
            wanted = builder.add(ahead, builder.mul(loop.index, ahead_step))
            for j in range(vectors):
                fetch(builder, builder.add(wanted, number(4 * LANES * j)))
        panel = [builder.load(pointer(builder, VECTOR, at_b, number(4 * LANES * j)), align=4) for j in range(vectors)]
        for i in range(height):
            x = broadcast(builder, builder.load(pointer(builder, F32, rows[i], at_a), align=4))
            for j in range(vectors):
                total = sums[i, j]
                builder.store(_multiply_add(builder, x, panel[j], builder.load(total)), total)
    for place in places:
        builder.store(builder.load(sums[place]), at_c[place], align=4)


@intrinsic
def tile(typing, height, vectors, a, a_row, a_step, b, b_step, c, c_row, depth, accumulate, ahead, ahead_step):
    """C[i, j] = sum over k < depth of A[i, k] B[k, j], for i < height and j < vectors * LANES, k in order.

    Where `accumulate` is not 0, the sums go on from what C holds.

    Parameters
    ----------
    height, vectors
        One of `SHAPES`.
    a, b, c
        Addresses of A[0, 0], B[0, 0] and C[0, 0]; float32.
    a_row, a_step, b_step, c_row
        Bytes from A[i, k] to A[i + 1, k], from A[i, k] to A[i, k + 1], from B[k, j] to B[k + 1, j], from C[i, j] to
        C[i + 1, j]; the columns of B and C lie side by side.
    ahead, ahead_step
        What will be wanted soon: a row of `vectors` vectors for each k, and bytes from one to the next. A unit that
        looks ahead has it brought into the cache meanwhile; no address is wrong.
    """

    def codegen(context, builder, signature, args):
        height, vectors, *operands = args
        done = builder.append_basic_block("done")
        chosen = builder.switch(builder.add(builder.mul(height, number(16)), vectors), done)
        for shape in SHAPES:
            block = builder.append_basic_block(f"tile{shape[0]}x{shape[1]}")
            chosen.add_case(number(16 * shape[0] + shape[1]), block)
            builder.position_at_end(block)
            _tile(builder, *shape, *operands)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 13), codegen
