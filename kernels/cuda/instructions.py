"""Instructions that Python has no words for: wide loads, matrix units, shuffles; and the parts that kernels call."""

from collections.abc import Callable

import numpy as np
from llvmlite import ir

from fastvae.kernels.cuda.driver import cuda

intrinsic, types, cgutils = cuda.extending.intrinsic, cuda.types, cuda.cgutils

ALL = np.uint32(0xFFFFFFFF)  # threads of a warp
VECTOR = np.uint32(4)  # numbers of float32 in 128 bits
SHARED_SPACE = 3  # of addresses

part = cuda.jit(device=True)  # a function that kernels call


def shared_floats(size: int) -> Callable:
    """What gives a kernel so many numbers in the shared memory of its block, to be read by fours."""

    @intrinsic
    def shared(typing):
        kind = types.Array(types.float32, 1, "C")

        def codegen(context, builder, signature, args):
            words = ir.ArrayType(ir.FloatType(), size)
            name = builder.module.get_unique_name("shared_floats")
            memory = cgutils.add_global_variable(builder.module, words, name, addrspace=SHARED_SPACE)
            memory.align, memory.initializer = 16, ir.Constant(words, ir.Undefined)
            data = builder.addrspacecast(memory, ir.FloatType().as_pointer())
            number = [context.get_constant(types.intp, n) for n in (size, 4)]
            array = context.make_array(kind)(context, builder)
            context.populate_array(
                array, data=data, shape=number[:1], strides=number[1:], itemsize=number[1], meminfo=None
            )
            return array._getvalue()

        return kind(), codegen

    return shared


def _pointer(context, builder, kind, array, place):
    data = context.make_array(kind)(context, builder, value=array).data
    return builder.bitcast(builder.gep(data, [place]), ir.VectorType(ir.FloatType(), 4).as_pointer())


@intrinsic
def by_fours(typing, array):
    """Whether an array begins where four numbers at a time may be read."""

    def codegen(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, value=args[0]).data
        rest = builder.and_(builder.ptrtoint(data, ir.IntType(64)), ir.Constant(ir.IntType(64), 15))
        return builder.icmp_unsigned("==", rest, ir.Constant(ir.IntType(64), 0))

    return types.boolean(array), codegen


@intrinsic
def load4(typing, array, k):
    """Four numbers from place k of an array, a multiple of four."""

    def codegen(context, builder, signature, args):
        place = context.cast(builder, args[1], signature.args[1], types.uint64)
        vector = builder.load(_pointer(context, builder, signature.args[0], args[0], place), align=16)
        numbers = [builder.extract_element(vector, ir.Constant(ir.IntType(32), i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(types.float32, 4)(array, k), codegen


@intrinsic
def store4(typing, array, k, values):
    """Write four numbers to place k of an array, a multiple of four."""

    def codegen(context, builder, signature, args):
        place = context.cast(builder, args[1], signature.args[1], types.uint64)
        vector = ir.Constant(ir.VectorType(ir.FloatType(), 4), ir.Undefined)
        for i, number in enumerate(cgutils.unpack_tuple(builder, args[2])):
            number = context.cast(builder, number, signature.args[2].dtype, types.float32)
            vector = builder.insert_element(vector, number, ir.Constant(ir.IntType(32), i))
        builder.store(vector, _pointer(context, builder, signature.args[0], args[0], place), align=16)
        return context.get_dummy_value()

    return types.void(array, k, values), codegen


@intrinsic
def add_products(typing, sums, a, b):
    """The tile `sums`, row after row, with every product of a number of `a` and one of `b` added."""

    def codegen(context, builder, signature, args):
        tile, left, right = (cgutils.unpack_tuple(builder, arg) for arg in args)
        pairs = [(x, y) for x in left for y in right]
        added = [builder.fma(x, y, s) for (x, y), s in zip(pairs, tile, strict=True)]
        return context.make_tuple(builder, signature.return_type, added)

    return sums(sums, a, b), codegen


@intrinsic
def bfloat16_word(typing, low, high):
    """Two numbers rounded to bfloat16, as the bits of one float32, `low` in the lower half."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.IntType(32), [ir.FloatType()] * 2)
        code = ir.InlineAsm(kind, "cvt.rn.bf16x2.f32 $0, $1, $2;", "=r,f,f")
        return builder.bitcast(builder.call(code, [args[1], args[0]]), ir.FloatType())

    return types.float32(types.float32, types.float32), codegen


@intrinsic
def mma(typing, sums, a, b):
    """A warp's product of matrices in bfloat16: `sums` + A B, (16, 8) with 16 steps of the sum, whose fragments the
    threads hold as PTX's m16n8k16 has them: 4, 4 and 2 words each. All threads of the warp call it."""

    def codegen(context, builder, signature, args):
        real, word = ir.FloatType(), ir.IntType(32)
        tile, left, right = (cgutils.unpack_tuple(builder, arg) for arg in args)
        words = [builder.bitcast(x, word) for x in left + right]
        kind = ir.FunctionType(ir.LiteralStructType([real] * 4), [word] * 6 + [real] * 4)
        code = ir.InlineAsm(
            kind,
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
            "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};",
            "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
        )
        found = builder.call(code, words + tile, attrs=["convergent"])
        return context.make_tuple(builder, signature.return_type, cgutils.unpack_tuple(builder, found, 4))

    return sums(sums, a, b), codegen


@part
def sum_of_warp(value):
    """The sum over the warp, for each of its threads; pairwise, so in one order."""
    for offset in (16, 8, 4, 2, 1):
        value += cuda.shfl_xor_sync(ALL, value, offset)
    return value


@part
def largest_of_warp(value):
    """The largest number of the warp, for each of its threads; where one is NaN, any."""
    for offset in (16, 8, 4, 2, 1):
        other = cuda.shfl_xor_sync(ALL, value, offset)
        value = value if value > other else other
    return value
