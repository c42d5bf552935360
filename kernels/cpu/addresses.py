"""From numbers to memory and code: an array, or a function, at an address; and what the intrinsics beside need."""

from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.core.extending import intrinsic

F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)


def number(value):
    """An int64 constant."""
    return ir.Constant(I64, value)


def pointer(builder, to, base, offset):
    """`base` plus `offset` bytes as a pointer to the LLVM type `to`."""
    return builder.inttoptr(builder.add(base, offset), to.as_pointer())


def _pointer_to(kind):
    """An intrinsic that takes an address (int64) for a pointer to `kind`."""

    @intrinsic
    def cast(typing, address):
        def codegen(context, builder, signature, args):
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), codegen

    return cast


_float32, _float64, _int64 = (_pointer_to(kind) for kind in (types.float32, types.float64, types.int64))


@njit
def vector_at(address, size):
    """The float32 array (size,) that lies at `address`."""
    return carray(_float32(address), (size,))


@njit
def matrix_at(address, rows, columns):
    """The C-contiguous float32 array (rows, columns) that lies at `address`."""
    return carray(_float32(address), (rows, columns))


@njit
def integers_at(address, size):
    """The int64 array (size,) that lies at `address`."""
    return carray(_int64(address), (size,))


@njit
def reals_at(address, size):
    """The float64 array (size,) that lies at `address`."""
    return carray(_float64(address), (size,))


@intrinsic
def call(typing, address, operands):
    """Call the function that lies at `address` with a tuple of int64."""

    def codegen(context, builder, signature, args):
        values = cgutils.unpack_tuple(builder, args[1])
        function = ir.FunctionType(ir.VoidType(), [I64] * len(values))
        builder.call(builder.inttoptr(args[0], function.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(types.int64, operands), codegen
