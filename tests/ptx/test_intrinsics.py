"""Real kernels with instructions of their own: vector loads, the matrix unit, asynchronous copies."""

import numpy as np
import pytest

from tests.ptx import PtxError, launch
from tests.ptx.compiling import compiled, pretend_device, why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

from llvmlite import ir
from numba import cuda, float32, int32, uint32, void
from numba.cuda import cgutils
from numba.cuda import types as ntypes
from numba.cuda.extending import intrinsic

F32, U32 = float32[::1], uint32[::1]


@pytest.fixture(params=[(8, 0), (9, 0)], ids=["sm_80", "sm_90"])
def capability(request, monkeypatch):
    """What kernels are compiled for."""
    pretend_device(monkeypatch, request.param)
    return request.param


@pytest.fixture(params=["lockstep", "warp"])
def order(request):
    return request.param


def elements_of(context, builder, array_type, array, index_type, index, count, item):
    """A pointer to `count` elements of an array, as one vector."""
    data = context.make_array(array_type)(context, builder, value=array).data
    pointer = builder.gep(data, [context.cast(builder, index, index_type, ntypes.intp)])
    return builder.bitcast(pointer, ir.VectorType(item, count).as_pointer())


@intrinsic
def load4(typing_context, array, index):
    """Four float32 in one load."""

    def generate(context, builder, signature, arguments):
        pointer = elements_of(
            context, builder, signature.args[0], arguments[0], signature.args[1], arguments[1], 4, ir.FloatType()
        )
        vector = builder.load(pointer, align=16)
        items = [builder.extract_element(vector, ir.Constant(ir.IntType(32), i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, items)

    return ntypes.UniTuple(ntypes.float32, 4)(array, index), generate


@intrinsic
def multiply_fragments(typing_context, a, b, c):
    """D = A B + C on the matrix unit: tuples of 4 and 2 registers of bfloat16 pairs, of 4 float32."""

    def generate(context, builder, signature, arguments):
        word, number = ir.IntType(32), ir.FloatType()
        result = ir.LiteralStructType([number] * 4)
        assembly = ir.InlineAsm(
            ir.FunctionType(result, [word] * 6 + [number] * 4),
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
            "{$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};",
            "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
            side_effect=True,
        )
        values = [v for argument in arguments for v in cgutils.unpack_tuple(builder, argument)]
        d = builder.call(assembly, values)
        return context.make_tuple(builder, signature.return_type, [builder.extract_value(d, i) for i in range(4)])

    return ntypes.UniTuple(ntypes.float32, 4)(a, b, c), generate


@intrinsic
def copy_async(typing_context, target, target_index, source, source_index):
    """16 bytes from global to shared memory, behind the thread's back."""

    def generate(context, builder, signature, arguments):
        types, addresses = signature.args, []
        for i in (0, 2):
            pointer = elements_of(
                context, builder, types[i], arguments[i], types[i + 1], arguments[i + 1], 4, ir.FloatType()
            )
            addresses.append(builder.ptrtoint(pointer, ir.IntType(64)))
        assembly = ir.InlineAsm(
            ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * 2),
            "{ .reg .u64 place; cvta.to.shared.u64 place, $0; cp.async.cg.shared.global [place], [$1], 16; }",
            "l,l,~{memory}",
            side_effect=True,
        )
        builder.call(assembly, addresses)
        return context.get_dummy_value()

    return void(target, target_index, source, source_index), generate


@intrinsic
def copies_arrived(typing_context):
    """Wait for all copies of this thread."""

    def generate(context, builder, signature, arguments):
        assembly = ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), "cp.async.wait_all;", "~{memory}", side_effect=True)
        builder.call(assembly, [])
        return context.get_dummy_value()

    return void(), generate


def test_vector_loads(capability):
    def kernel(x, out):
        i = cuda.grid(1)
        if 4 * i < x.size:
            v = load4(x, 4 * i)
            out[i] = v[0] + float32(2) * v[1] + float32(3) * v[2] + float32(4) * v[3]

    ptx = compiled(kernel, void(F32, F32), capability)
    assert "ld.global.v4" in ptx
    x, out = np.arange(400, dtype=np.float32), np.zeros(100, np.float32)
    counters = launch(ptx, 1, 128, [x, out], count=True)
    np.testing.assert_array_equal(out, x.reshape(-1, 4) @ np.float32([1, 2, 3, 4]))
    loads = [a for a in counters.accesses if a.kind == "load"]
    assert [(a.requests, a.sectors) for a in loads] == [(4, 50)]
    with pytest.raises(PtxError, match="misaligned"):
        launch(ptx, 1, 128, [np.arange(405, dtype=np.float32)[1:401], out])


def test_matrix_unit(capability, order):
    def kernel(a, b, out):
        lane = cuda.threadIdx.x
        i = lane * 4
        left = (uint32(a[i]), uint32(a[i + 1]), uint32(a[i + 2]), uint32(a[i + 3]))
        right = (uint32(b[2 * lane]), uint32(b[2 * lane + 1]))
        zero = (float32(0), float32(1), float32(2), float32(3))
        d = multiply_fragments(left, right, zero)
        out[i], out[i + 1], out[i + 2], out[i + 3] = d[0], d[1], d[2], d[3]

    ptx = compiled(kernel, void(U32, U32, F32), capability)
    rng = np.random.default_rng(0)
    a, b = rng.integers(-20, 20, (16, 16)), rng.integers(-20, 20, (16, 8))

    def bits(values):
        return (np.asarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint32)

    left, right, expected = [], [], []
    for lane in range(32):
        g, t = lane // 4, 2 * (lane % 4)
        for row, column in ((g, t), (g + 8, t), (g, t + 8), (g + 8, t + 8)):
            left.append(bits(a[row, column]) | bits(a[row, column + 1]) << 16)
        for row in (t, t + 8):
            right.append(bits(b[row, g]) | bits(b[row + 1, g]) << 16)
        for i, (row, column) in enumerate(((g, t), (g, t + 1), (g + 8, t), (g + 8, t + 1))):
            expected.append((a @ b)[row, column] + i)
    out = np.zeros(128, np.float32)
    launch(ptx, 1, 32, [np.array(left, np.uint32), np.array(right, np.uint32), out], order=order)
    np.testing.assert_array_equal(out, np.float32(expected))


def test_asynchronous_copies(capability, order):
    def kernel(x, out, wait):
        held = cuda.shared.array(512, float32)
        t = cuda.threadIdx.x
        copy_async(held, 4 * t, x, cuda.blockIdx.x * 512 + 4 * t)
        if wait:
            copies_arrived()
        cuda.syncthreads()
        for i in range(4):
            out[cuda.blockIdx.x * 512 + t + 128 * i] = held[511 - t - 128 * i]

    ptx = compiled(kernel, void(F32, F32, int32), capability)
    x, out = np.arange(1024, dtype=np.float32), np.zeros(1024, np.float32)
    launch(ptx, 2, 128, [x, out, 1], order=order)
    np.testing.assert_array_equal(out, x.reshape(2, 512)[:, ::-1].ravel())
    with pytest.raises(PtxError, match="under way"):
        launch(ptx, 2, 128, [x, out, 0], order=order)
