"""Reading PTX: what a program consists of, names in their scopes, and what is refused."""

import numpy as np
import pytest

from tests.ptx import Pointer, PtxError, decode, launch
from tests.ptx.handwritten import HEADER, evaluate, program
from tests.ptx.syntax import Program

U32 = np.uint32


def test_a_program():
    text = """// a comment; with .entry in it
.version 8.0
.target sm_90
.address_size 64
.extern .shared .align 16 .b8 more[];
.shared .align 8 .b8 tile[100];
.global .align 4 .b8 table[8] = {1, 2, 0, 0, 3, 4, 0, 0};

.func other(.param .b32 n) { .reg .b32 %r<2>; ret; }

.visible .entry first(.param .u64 first_0, .param .f32 first_1)
.maxntid 256, 1, 1
{
    .reg .b32 %r<3>;   .reg .pred p;
    .local .align 16 .b8 own[20];
    mov.u32 %r1, 5; mov.u32 %r2, 6;  // two on a line
$L__BB0_1:
    @!p bra.uni $L__BB0_1;
    ret;
}
.entry second() { ret; }
"""
    first = Program(text)
    assert first.name == "first"
    assert [(p.name, p.type, p.size) for p in first.parameters] == [("first_0", "u64", 8), ("first_1", "f32", 4)]
    assert first.registers == ["b32", "b32", "b32", "pred"]
    assert [(i.opcode, i.modifiers, i.line) for i in first.instructions] == [
        ("mov", ("u32",), 16),
        ("mov", ("u32",), 16),
        ("bra", ("uni",), 18),
        ("ret", (), 19),
    ]
    assert first.instructions[2].guard.negated
    assert first.instructions[2].operands[0].resolve() == 2
    assert str(first.instructions[0]) == "line 16: mov.u32 %r1, 5"
    assert (first.shared.offsets, first.shared.size) == ({"tile": 0}, 100)
    assert (first.local.offsets, first.local.size) == ({"own": 0}, 20)
    assert first.dynamic_shared == "more"
    assert first.constants["table"].view(U32).tolist() == [513, 1027]
    assert Program(text, "second").name == "second"
    with pytest.raises(PtxError, match="no kernel third"):
        Program(text, "third")


def test_names_in_inner_scopes():
    """As inline assembly declares them: the same names again, the outer ones untouched."""
    code = """
    .reg .b32 x; .reg .pred q;
    mov.b32 x, 1;
    { .reg .b32 x; mov.b32 x, 7; { .reg .b32 x; mov.b32 x, 8; } add.u32 %d, %a, x; }
    setp.eq.u32 q, %a, 0;
    { .reg .pred q; setp.eq.u32 q, %a, 1; @q bra DONE; add.u32 %d, %d, 100; DONE: }
    { .reg .pred q; setp.eq.u32 q, %a, 2; @q bra DONE; add.u32 %d, %d, 1000; DONE: }
    @q add.u32 %d, %d, 10000;
    { @q bra OUT; }
    add.u32 %d, %d, x;
OUT:"""
    assert evaluate(code, U32, U32([0, 1, 2])).tolist() == [11107, 1009, 110]


def test_parameters_of_all_kinds():
    text = program(
        """
    ld.param.u64 %rd0, [n0];
    ld.param.s32 %r0, [n1];  ld.param.f32 %f0, [n2];  ld.param.f64 %fd0, [n3];  ld.param.u8 %h0, [n4];
    ld.param.v2.u32 {%r1, %r2}, [n5];
    cvt.rn.f64.s32 %fd1, %r0;  cvt.f64.f32 %fd2, %f0;  cvt.rn.f64.u16 %fd3, %h0;
    cvt.rn.f64.u32 %fd4, %r1;  cvt.rn.f64.u32 %fd5, %r2;
    st.global.v2.f64 [%rd0], {%fd1, %fd2};  st.global.v2.f64 [%rd0+16], {%fd0, %fd3};
    st.global.v2.f64 [%rd0+32], {%fd4, %fd5};""",
        ["u64", "s32", "f32", "f64", "u8", "u64"],
    )
    out = np.zeros(6)
    launch(text, 1, 1, [Pointer(out), -3, 0.5, 0.25, True, (7 << 32) + 6])
    assert out.tolist() == [-3, 0.5, 0.25, 1, 6, 7]
    launch(text, 1, 1, [Pointer(out), np.int32(-4), np.float32(1.5), np.float64(2), np.bool_(0), b"\1\0\0\0\2"])
    assert out.tolist() == [-4, 1.5, 2, 0, 1, 2]
    with pytest.raises(PtxError, match="takes 6 parameters, 2 were given"):
        launch(text, 1, 1, [Pointer(out), 1])


def test_arrays_as_numba_passes_them():
    """Address, shape and strides, of a tuple's items too."""
    words = ["u64", "u64", "u64", "u64", "u64", "u64", "u64", "u64", "u64"]
    loads = "".join(f"ld.param.u64 %rd{i}, [n{i}];" for i in range(9))
    stores = "".join(f"st.global.u64 [%rd4+{8 * i}], %rd{i};" for i in (2, 3, 5, 6, 7, 8))
    out = np.zeros((3, 4), np.int64)
    launch(program(loads + stores, words), 1, 1, [(out,)])
    assert out.ravel()[[2, 3, 5, 6, 7, 8]].tolist() == [12, 8, 3, 4, 32, 8]


def test_views_that_overlap_are_one_memory():
    body = """
    ld.param.u64 %rd0, [n0]; ld.param.u64 %rd1, [n1];
    ld.global.u32 %r0, [%rd0]; st.global.u32 [%rd1], 5; ld.global.u32 %r1, [%rd0]; st.global.u32 [%rd1+4], %r1;"""
    buffer = np.zeros(8, U32)
    launch(program(body, ["u64"] * 2), 1, 1, [Pointer(buffer[2:4]), Pointer(buffer[2:6])])
    assert buffer.tolist() == [0, 0, 5, 5, 0, 0, 0, 0]
    apart = np.zeros(8, U32)
    with pytest.raises(PtxError, match="out of bounds"):
        launch(program(body, ["u64"] * 2), 1, 1, [Pointer(apart[:2]), Pointer(apart[7:])])


def test_grids_of_three_dimensions():
    body = """
    ld.param.u64 %rd0, [n0];
    mov.u32 %r0, %tid.x; mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mov.u32 %r3, %ntid.x; mov.u32 %r4, %ntid.y;
    mov.u32 %r5, %ntid.z; mov.u32 %r6, %ctaid.x; mov.u32 %r7, %ctaid.y; mov.u32 %r8, %ctaid.z;
    mov.u32 %r9, %nctaid.x; mov.u32 %r10, %nctaid.y;
    mad.lo.u32 %r11, %r8, %r10, %r7; mad.lo.u32 %r11, %r11, %r9, %r6;
    mad.lo.u32 %r11, %r11, %r5, %r2; mad.lo.u32 %r11, %r11, %r4, %r1; mad.lo.u32 %r11, %r11, %r3, %r0;
    mad.wide.u32 %rd0, %r11, 4, %rd0; st.global.u32 [%rd0], %r11;"""
    for order in ("lockstep", "warp"):
        out = np.zeros(2 * 3 * 5 * 4 * 3 * 2, U32)
        launch(program(body, ["u64"]), (2, 3, 5), (4, 3, 2), [Pointer(out)], order=order)
        assert out.tolist() == list(range(out.size))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("frobnicate.b32 %r0, %r1;", "unknown opcode: line .*frobnicate"),
        ("add.u32 %r0, %r1, %nothere;", "unknown register"),
        ("@%q bra $A; $A:", "%q is not declared"),
        ("bra $NOWHERE;", r"no label \$NOWHERE"),
        ("mov.u64 %rd0, nowhere;", "unknown name nowhere"),
        ("ld.param.u32 %r0, [n9];", "no parameter n9"),
        ("add.u32 5, %r1, %r2;", "not a destination"),
        ("add.u99 %r0, %r1, %r2;", "unknown type .u99"),
        ("bar.sync 0, 64;", "unknown opcode"),
        ("call f, (%r0);", "unknown function"),
        ("{ add.u32 %r0, %r1, %r2;", "brace is not closed"),
    ],
)
def test_refused(body, message):
    with pytest.raises(PtxError, match=message):
        launch(program(body), 1, 1, [])


def test_a_program_is_read_once():
    text = HEADER + ".entry kernel() { ret; }"
    assert decode(text) is decode(text)
