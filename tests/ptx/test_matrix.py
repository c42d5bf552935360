"""Matrix products of a warp: the fragments against NumPy's product, with matrices that have no symmetry."""

import numpy as np
import pytest

from tests.ptx import Pointer, PtxError, launch
from tests.ptx.handwritten import program
from tests.ptx.scalars import to_bfloat16

ADDRESSES = """
    mov.u32 %r0, %tid.x;
    ld.param.u64 %rd0, [n0]; ld.param.u64 %rd1, [n1]; ld.param.u64 %rd2, [n2]; ld.param.u64 %rd3, [n3];
    shr.u32 %r1, %r0, 2;       // g
    and.b32 %r2, %r0, 3;       // t
"""

# A is stored by rows, B by columns, so that a register's two elements lie side by side; C and D by rows.
PRODUCT = (
    ADDRESSES
    + """
    mad.lo.u32 %r3, %r1, 32, 0;   mad.lo.u32 %r3, %r2, 4, %r3;  cvt.u64.u32 %rd4, %r3;
    add.u64 %rd4, %rd0, %rd4;
    ld.global.u32 %r10, [%rd4]; ld.global.u32 %r11, [%rd4+256];
    ld.global.u32 %r12, [%rd4+16]; ld.global.u32 %r13, [%rd4+272];
    cvt.u64.u32 %rd5, %r3;  add.u64 %rd5, %rd1, %rd5;
    ld.global.u32 %r14, [%rd5]; ld.global.u32 %r15, [%rd5+16];
    mul.lo.u32 %r4, %r1, 32;  mad.lo.u32 %r4, %r2, 8, %r4;  cvt.u64.u32 %rd6, %r4;
    add.u64 %rd7, %rd2, %rd6; add.u64 %rd8, %rd3, %rd6;
    ld.global.v2.f32 {%f0, %f1}, [%rd7]; ld.global.v2.f32 {%f2, %f3}, [%rd7+256];
    mma.sync.aligned.m16n8k16.row.col.f32.KIND.KIND.f32
        {%f4, %f5, %f6, %f7}, {%r10, %r11, %r12, %r13}, {%r14, %r15}, {%f0, %f1, %f2, %f3};
    st.global.v2.f32 [%rd8], {%f4, %f5}; st.global.v2.f32 [%rd8+256], {%f6, %f7};"""
)


@pytest.mark.parametrize("order", ["lockstep", "warp"])
@pytest.mark.parametrize("kind", ["bf16", "f16"])
def test_product(kind, order):
    rng = np.random.default_rng(1)
    a, b = rng.integers(-30, 30, (16, 16)).astype(np.float32), rng.integers(-30, 30, (16, 8)).astype(np.float32)
    c, d = rng.integers(-30, 30, (16, 8)).astype(np.float32), np.zeros((16, 8), np.float32)
    narrow = to_bfloat16 if kind == "bf16" else lambda x: np.asarray(x, np.float16)
    stored = [narrow(a), np.ascontiguousarray(narrow(b).T), c, d]
    launch(program(PRODUCT.replace("KIND", kind), ["u64"] * 4), 1, 32, [Pointer(x) for x in stored], order=order)
    np.testing.assert_array_equal(d, a @ b + c)


def test_single_elements():
    """Each element of A times a row of B lands in its row, each of B in its column."""
    text = program(PRODUCT.replace("KIND", "bf16"), ["u64"] * 4)
    for row, k, column in ((0, 0, 0), (3, 5, 2), (11, 9, 7), (15, 15, 6), (8, 1, 1)):
        a, b = np.zeros((16, 16), np.float32), np.zeros((16, 8), np.float32)
        a[row, k], b[k, column] = 3, 7
        d = np.zeros((16, 8), np.float32)
        stored = [to_bfloat16(a), np.ascontiguousarray(to_bfloat16(b).T), np.zeros_like(d), d]
        launch(text, 1, 32, [Pointer(x) for x in stored])
        assert np.argwhere(d).tolist() == [[row, column]]
        assert d[row, column] == 21


def test_half_a_warp_cannot_multiply():
    body = PRODUCT.replace("KIND", "bf16").replace("    mma", "    setp.lt.u32 %p0, %r0, 16;\n    @%p0 mma")
    stored = [np.zeros((16, 16), np.uint16), np.zeros((8, 16), np.uint16), *np.zeros((2, 16, 8), np.float32)]
    with pytest.raises(PtxError, match="lanes that do not come"):
        launch(program(body, ["u64"] * 4), 1, 32, [Pointer(x) for x in stored])


@pytest.mark.parametrize("shape", ["m16n8k8.row.col.f32.bf16.bf16.f32", "m16n8k16.row.col.f16.f16.f16.f16"])
def test_other_products_are_refused(shape):
    body = PRODUCT.replace("m16n8k16.row.col.f32.KIND.KIND.f32", shape)
    with pytest.raises(PtxError, match="unknown opcode"):
        launch(program(body, ["u64"] * 4), 1, 32, [Pointer(np.zeros(1))] * 4)


@pytest.mark.parametrize("transposed", [False, True])
def test_ldmatrix(transposed):
    """Four 8 x 8 matrices, a row's address from each lane: lane 4g + t gets elements 2t and 2t + 1 of row g."""
    body = """
    mov.u32 %r0, %tid.x;
    ld.param.u64 %rd0, [n0]; ld.param.u64 %rd1, [n1];
    mul.wide.u32 %rd2, %r0, 16;
    add.u64 %rd0, %rd0, %rd2; add.u64 %rd1, %rd1, %rd2;
    ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd0];
    mov.u64 %rd3, tile;
    add.u64 %rd3, %rd3, %rd2;
    st.shared.v4.u32 [%rd3], {%r1, %r2, %r3, %r4};
    bar.warp.sync -1;
    ldmatrix.sync.aligned.m8n8.x4TRANS.shared.b16 {%r1, %r2, %r3, %r4}, [%rd3];
    st.global.v4.u32 [%rd1], {%r1, %r2, %r3, %r4};"""
    text = program(
        body.replace("TRANS", ".trans" if transposed else ""), ["u64"] * 2, ".shared .align 16 .b8 tile[512];"
    )
    matrices, out = np.arange(256, dtype=np.uint16).reshape(4, 8, 8), np.zeros((32, 4, 2), np.uint16)
    launch(text, 1, 32, [Pointer(matrices), Pointer(out)])
    source = matrices.transpose(0, 2, 1) if transposed else matrices
    for lane in range(32):
        g, t = lane // 4, lane % 4
        np.testing.assert_array_equal(out[lane], source[:, g, 2 * t : 2 * t + 2])
