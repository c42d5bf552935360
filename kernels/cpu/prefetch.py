"""Memory that will be wanted soon, brought into the first cache meanwhile. No address is wrong: what cannot be had does
not come, and nothing else happens."""

from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastvae.kernels.cpu.addresses import I32, I64, intrinsic, number

LINE = 64  # bytes


def fetch(builder, address, *, to_write=False):
    """The instruction for the line of `address`; `to_write` takes it away from the other cores at once."""
    data = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [data, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    first_cache, of_data = 3, 1
    how = (ir.Constant(I32, n) for n in (int(to_write), first_cache, of_data))
    builder.call(function, [builder.inttoptr(address, data), *how])


@intrinsic
def fetch_to_write(typing, address, lines):
    """Have so many lines of memory come that will be read and written."""

    def codegen(context, builder, signature, args):
        address, lines = args
        with cgutils.for_range(builder, lines, intp=I64) as loop:
            fetch(builder, builder.add(address, builder.mul(loop.index, number(LINE))), to_write=True)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen
