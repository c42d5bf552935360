"""From numbers to memory and code: an array, or a function, at an address; and what the intrinsics beside need."""

from typing import Any

from llvmlite import ir
from numba import carray, float32, float64, int64, njit, types
from numba.core import cgutils, extending

intrinsic: Any = extending.intrinsic  # numba describes it as taking the typing context too

F32, I32, I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)


def number(value):
    """An int64 constant."""
    return ir.Constant(I64, value)


def pointer(builder, to, base, offset):
    """`base` plus `offset` bytes as a pointer to the LLVM type `to`."""
    return builder.inttoptr(builder.add(base, offset), to.as_pointer())


@intrinsic
def _pointer(typing, address, kind):
    """The address (int64) as a pointer to numbers of the type `kind`."""

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return types.CPointer(kind.instance_type)(types.int64, kind), codegen


@njit
def array_at(address, size, kind):
    """The array (size,) of numbers of the type `kind` that lies at `address`."""
    return carray(_pointer(address, kind), (size,))


@njit
def vector_at(address, size):
    """The float32 array (size,) that lies at `address`."""
    return carray(_pointer(address, float32), (size,))


@njit
def matrix_at(address, rows, columns):
    """The C-contiguous float32 array (rows, columns) that lies at `address`."""
    return carray(_pointer(address, float32), (rows, columns))


@njit
def integers_at(address, size):
    """The int64 array (size,) that lies at `address`."""
    return carray(_pointer(address, int64), (size,))


@njit
def reals_at(address, size):
    """The float64 array (size,) that lies at `address`."""
    return carray(_pointer(address, float64), (size,))


@intrinsic
def call(typing, address, operands):
    """Call the function that lies at `address` with a tuple of int64."""

    def codegen(context, builder, signature, args):
        values = cgutils.unpack_tuple(builder, args[1])
        function = ir.FunctionType(ir.VoidType(), [I64] * len(values))
        builder.call(builder.inttoptr(args[0], function.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(types.int64, operands), codegen
