"""What `prefix` does with LANES numbers side by side, in registers, from addresses of memory that it has packed so.

Intrinsics, because no loop that numba accepts keeps such a block of sums in vector registers. Every lane is on its own
but for `add_dots`, whose sums are pairwise: in one order.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastvae.kernels.cpu.addresses import F32, I32, I64, intrinsic, number, pointer
from fastvae.kernels.ops import LANES

BYTES = 4 * LANES
VECTOR = ir.VectorType(F32, LANES)
LEAST = 2.0**-100  # of a gradient
FUSED = ("contract",)  # a product and a sum may fuse


def _load(builder, address):
    return builder.load(pointer(builder, VECTOR, address, number(0)), align=4)


def _store(builder, value, address):
    builder.store(value, pointer(builder, VECTOR, address, number(0)), align=4)


def _multiply_add(builder, x, y, total):
    return builder.fadd(builder.fmul(x, y, flags=FUSED), total, flags=FUSED)


def _broadcast(builder, scalar):
    nothing = ir.Constant(VECTOR, ir.Undefined)
    one = builder.insert_element(nothing, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(I32, LANES), [0] * LANES))


def _sum(builder, vector):
    """The sum of the lanes, of halves of them again and again."""
    width = LANES
    while width > 1:
        width //= 2
        halves = [
            builder.shuffle_vector(
                vector, vector, ir.Constant(ir.VectorType(I32, width), list(range(first, first + width)))
            )
            for first in (0, width)
        ]
        vector = builder.fadd(*halves)
    return builder.extract_element(vector, ir.Constant(I32, 0))


@intrinsic
def add_dots(typing, h, v, count, out):
    """out[i] += sum over the lanes of h v[i], for i < count."""

    def codegen(context, builder, signature, args):
        h, v, count, out = args
        left = _load(builder, h)
        with cgutils.for_range(builder, count, intp=I64) as loop:
            row = _load(builder, builder.add(v, builder.mul(loop.index, number(BYTES))))
            place = pointer(builder, F32, out, builder.mul(loop.index, number(4)))
            found = _sum(builder, builder.fmul(left, row))
            builder.store(builder.fadd(builder.load(place), found), place)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@intrinsic
def next_units(typing, a, w, e, factor, h):
    """a += w; e *= factor, which is exp(-w) where e is exp(-a); h = 1 / (1 + e), written elsewhere."""

    def codegen(context, builder, signature, args):
        a, w, e, factor, h = args
        ones = ir.Constant(VECTOR, [1.0] * LANES)
        _store(builder, builder.fadd(_load(builder, a), _load(builder, w)), a)
        moved = builder.fmul(_load(builder, e), _load(builder, factor))
        _store(builder, moved, e)
        _store(builder, builder.fdiv(ones, builder.fadd(ones, moved)), h)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), codegen


@intrinsic
def run_backward(typing, v, d_v, g, count, h, d_a):
    """For i < count: d_v[i] += g[i] h; then d_a += h (1 - h) sum_i g[i] v[i]. Where g[i] is below LEAST in size nothing
    is added: products of numbers so small would be denormal, which are slow."""

    def codegen(context, builder, signature, args):
        v, d_v, g, count, h, d_a = args
        total = cgutils.alloca_once_value(builder, ir.Constant(VECTOR, [0.0] * LANES))
        builder.store(ir.Constant(VECTOR, [0.0] * LANES), total)
        units = _load(builder, h)
        with cgutils.for_range(builder, count, intp=I64) as loop:
            apart = builder.mul(loop.index, number(BYTES))
            slope = builder.load(pointer(builder, F32, g, builder.mul(loop.index, number(4))))
            above = builder.fcmp_unordered(">=", slope, ir.Constant(F32, LEAST))  # or NaN
            below = builder.fcmp_ordered("<=", slope, ir.Constant(F32, -LEAST))
            with builder.if_then(builder.or_(above, below)):
                slopes = _broadcast(builder, slope)
                row = _load(builder, builder.add(v, apart))
                builder.store(_multiply_add(builder, slopes, row, builder.load(total)), total)
                place = builder.add(d_v, apart)
                _store(builder, _multiply_add(builder, slopes, units, _load(builder, place)), place)
        ones = ir.Constant(VECTOR, [1.0] * LANES)
        slope = builder.fmul(units, builder.fsub(ones, units))
        _store(builder, _multiply_add(builder, slope, builder.load(total), _load(builder, d_a)), d_a)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), codegen


@intrinsic
def add_lanes(typing, x, out):
    """out += x."""

    def codegen(context, builder, signature, args):
        x, out = args
        _store(builder, builder.fadd(_load(builder, out), _load(builder, x)), out)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen
