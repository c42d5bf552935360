"""Conversions, comparisons, selections and moves of the interpreter against values worked out by hand."""

import math

import numpy as np
import pytest

from tests.ptx import PtxError
from tests.ptx.handwritten import evaluate

F16, F32, F64 = np.float16, np.float32, np.float64
U8, U16, U32, U64, S8, S16, S32, S64 = (np.dtype(c).type for c in ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8"))
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("kinds", "result", "dtype", "values", "expected"),
    [
        ("s64.s32", S64, S32, [-1, 5], [-1, 5]),
        ("u64.u32", U64, U32, [2**32 - 1], [2**32 - 1]),
        ("u32.u64", U32, U64, [2**40 + 7], [7]),
        ("s32.s16", S32, S16, [-2], [-2]),
        ("u32.u16", U32, U16, [65535], [65535]),
        ("s16.s32", S16, S32, [65537], [1]),
        ("sat.u8.s32", U16, S32, [-5, 300, 7], [0, 255, 7]),
        ("sat.s16.s32", S16, S32, [-40000, 40000], [-32768, 32767]),
        ("rn.f32.s32", F32, S32, [2**24 + 1, -3], [2.0**24, -3.0]),
        ("rp.f32.s32", F32, S32, [2**24 + 1], [2.0**24 + 2]),
        ("rn.f32.u32", F32, U32, [2**32 - 1], [2.0**32]),
        ("rz.f32.u32", F32, U32, [2**32 - 1], [2.0**32 - 256]),
        ("rn.f32.u64", F32, U64, [2**63], [2.0**63]),
        ("rn.f64.s32", F64, S32, [-7], [-7.0]),
        ("rzi.s32.f32", S32, F32, [2.9, -2.9, 3e9, -3e9, NAN], [2, -2, 2**31 - 1, -(2**31), 0]),
        ("rni.s32.f32", S32, F32, [2.5, 3.5, -2.5], [2, 4, -2]),
        ("rmi.s32.f32", S32, F32, [-2.1], [-3]),
        ("rpi.s32.f32", S32, F32, [2.1], [3]),
        ("rzi.u32.f32", U32, F32, [-1.0, 4e9, 5e9], [0, 4 * 10**9, 2**32 - 1]),
        ("rzi.s64.f32", S64, F32, [1e20, -1e20, 2.0**40], [2**63 - 1, -(2**63), 2**40]),
        ("rzi.u64.f64", U64, F64, [2.0**64, 2.0**63], [2**64 - 1, 2**63]),
        ("rzi.ftz.u32.f32", U32, F32, [2.0**-140], [0]),
        ("rni.f32.f32", F32, F32, [2.5, -0.4], [2.0, -0.0]),
        ("rmi.f32.f32", F32, F32, [-2.5], [-3.0]),
        ("rzi.f32.f32", F32, F32, [-2.5], [-2.0]),
        ("rpi.ftz.f32.f32", F32, F32, [2.0**-140], [0.0]),
        ("sat.f32.f32", F32, F32, [2.0, -1.0, 0.25, NAN], [1.0, 0.0, 0.25, 0.0]),
        ("f64.f32", F64, F32, [0.5], [0.5]),
        ("rn.f32.f64", F32, F64, [1 + 2.0**-24, 1 + 2.0**-23], [1.0, 1 + 2.0**-23]),
        ("rz.f32.f64", F32, F64, [1 + 2.0**-23.5, -1 - 2.0**-23.5], [1.0, -1.0]),
        ("rp.f32.f64", F32, F64, [1 + 2.0**-40], [1 + 2.0**-23]),
        ("rm.f32.f64", F32, F64, [-1 - 2.0**-40], [-1 - 2.0**-23]),
        ("rn.f16.f32", F16, F32, [1 + 2.0**-11, 1e9], [1.0, INF]),
        ("rz.f16.f32", F16, F32, [1 + 2.0**-10.5], [1.0]),
        ("f32.f16", F32, F16, [0.333], [F32(F16(0.333))]),
        ("rn.bf16.f32", U16, F32, [1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, -INF], [0x3F80, 0x3F80, 0x3F82, 0xFF80]),
        ("rn.bf16.f32", U16, F32, [NAN, 3.4e38], [0x7FFF, 0x7F80]),
        ("rz.bf16.f32", U16, F32, [1 + 3 * 2.0**-8], [0x3F81]),
        ("f32.bf16", F32, U16, [0x3F80, 0xC040], [1.0, -3.0]),
    ],
)
def test_cvt(kinds, result, dtype, values, expected):
    got = evaluate(f"cvt.{kinds} %d, %a;", result, np.array(values, dtype))
    np.testing.assert_array_equal(got, np.array(expected, result))
    if np.dtype(result).kind == "f":
        np.testing.assert_array_equal(np.signbit(got), np.signbit(np.array(expected, result)))


def test_two_float32_into_one_register():
    """The first goes into the upper half."""
    got = evaluate("cvt.rn.bf16x2.f32 %d, %a, %b;", U32, F32([1.0, 1 + 2.0**-8]), F32([-2.0, 3.0]))
    assert [hex(x) for x in got] == ["0x3f80c000", "0x3f804040"]
    got = evaluate("cvt.rn.f16x2.f32 %d, %a, %b;", U32, F32([1.0]), F32([-2.0]))
    assert [hex(x) for x in got] == ["0x3c00c000"]


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        ("eq", [0, 1, 0, 0]),
        ("ne", [1, 0, 1, 0]),
        ("lt", [1, 0, 0, 0]),
        ("le", [1, 1, 0, 0]),
        ("gt", [0, 0, 1, 0]),
        ("ge", [0, 1, 1, 0]),
        ("equ", [0, 1, 0, 1]),
        ("neu", [1, 0, 1, 1]),
        ("ltu", [1, 0, 0, 1]),
        ("leu", [1, 1, 0, 1]),
        ("gtu", [0, 0, 1, 1]),
        ("geu", [0, 1, 1, 1]),
        ("num", [1, 1, 1, 0]),
        ("nan", [0, 0, 0, 1]),
    ],
)
def test_comparisons_of_floats(comparison, expected):
    """1 with 2, 2 with 2, 3 with 2, NaN with 2."""
    code = f".reg .pred q; setp.{comparison}.f32 q, %a, %b; selp.u32 %d, 1, 0, q;"
    assert evaluate(code, U32, F32([1, 2, 3, NAN]), F32([2] * 4)).tolist() == expected


@pytest.mark.parametrize(
    ("comparison", "dtype", "expected"),
    [
        ("lt.s32", S32, [1, 0, 0]),
        ("lt.u32", U32, [0, 0, 1]),
        ("lo.u32", U32, [0, 0, 1]),
        ("ls.u32", U32, [0, 1, 1]),
        ("hi.u32", U32, [1, 0, 0]),
        ("hs.u32", U32, [1, 1, 0]),
        ("ge.s64", S64, [0, 1, 1]),
        ("eq.b32", U32, [0, 1, 0]),
    ],
)
def test_comparisons_of_integers(comparison, dtype, expected):
    """-1 with 2, 2 with 2, 2 with -1."""
    a, b = (np.array(x, f"i{np.dtype(dtype).itemsize}").view(dtype) for x in ([-1, 2, 2], [2, 2, -1]))
    code = f".reg .pred q; setp.{comparison} q, %a, %b; selp.u32 %d, 1, 0, q;"
    assert evaluate(code, U32, a, b).tolist() == expected


def test_comparisons_joined_with_a_predicate():
    code = """.reg .pred q, r, s;
    setp.ne.u32 q, %b, 0;
    setp.lt.and.s32 r|s, %a, 5, q;
    .reg .b32 x, y;
    selp.u32 x, 1, 0, r;
    selp.u32 y, 2, 0, s;
    setp.ge.or.s32 r, %a, 5, !q;
    @r add.u32 x, x, 4;
    or.b32 %d, x, y;"""
    got = evaluate(code, U32, S32([1, 9, 1, 9]), U32([1, 1, 0, 0]))
    assert got.tolist() == [1, 2 + 4, 4, 4]


def test_predicates():
    code = """.reg .pred q, r, s;
    setp.ne.u32 q, %a, 0;
    setp.ne.u32 r, %b, 0;
    and.pred s, q, !r;
    not.pred s, s;
    xor.pred s, s, r;
    selp.u32 %d, 1, 0, s;"""
    assert evaluate(code, U32, U32([0, 0, 1, 1]), U32([0, 1, 0, 1])).tolist() == [1, 0, 0, 0]


def test_selections():
    got = evaluate("slct.f32.s32 %d, %a, %b, %c;", F32, F32([1] * 3), F32([2] * 3), S32([0, 5, -1]))
    assert got.tolist() == [1, 1, 2]
    got = evaluate("slct.u32.f32 %d, %a, %b, %c;", U32, U32([1] * 3), U32([2] * 3), F32([-0.0, -1, NAN]))
    assert got.tolist() == [1, 2, 2]


def test_moves_of_parts():
    code = """.reg .b32 low, high; .reg .b16 h<4>;
    mov.b64 {low, high}, %a;
    mov.b32 {h0, h1}, low;
    mov.b32 {h2, _}, high;
    mov.b64 %d, {h1, h0, h2, h2};"""
    assert evaluate(code, U64, U64([0x1111222233334444])).tolist() == [0x2222222244443333]


def test_literals():
    assert evaluate("mov.f32 %d, 0f3FC00000;", F32, F32([0])).tolist() == [1.5]
    assert evaluate("mov.f64 %d, 0d3FF8000000000000;", F64, F64([0])).tolist() == [1.5]
    assert evaluate("mov.b32 %d, 0x80000000;", U32, U32([0])).tolist() == [2**31]
    assert evaluate("mov.s64 %d, -2;", S64, S64([0])).tolist() == [-2]
    assert evaluate("add.u32 %d, %a, -1;", U32, U32([7])).tolist() == [6]


@pytest.mark.parametrize("code", ["rna.tf32.f32 %d, %a", "rn.relu.bf16.f32 %d, %a", "rn.e4m3x2.f32 %d, %a, %a"])
def test_unknown_conversions_are_refused(code):
    with pytest.raises(PtxError, match="unknown"):
        evaluate(f"cvt.{code};", U32, F32([1]))
