"""Floating-point instructions of the interpreter against values worked out by hand."""

import math
from fractions import Fraction

import numpy as np
import pytest

from tests.ptx.handwritten import evaluate

F16, F32, F64 = np.float16, np.float32, np.float64
TINY = 2.0**-140  # a denormal of float32
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("code", "operands", "expected"),
    [
        ("add.f32 %d, %a, %b;", ([1.5, 2.0**24], [2.25, 1.0]), [3.75, 2.0**24]),
        ("add.rz.f32 %d, %a, %b;", ([2.0**24, -(2.0**24)], [3.0, -3.0]), [2.0**24 + 2, -(2.0**24) - 2]),
        ("add.rm.f32 %d, %a, %b;", ([2.0**24, -(2.0**24)], [3.0, -3.0]), [2.0**24 + 2, -(2.0**24) - 4]),
        ("add.rp.f32 %d, %a, %b;", ([2.0**24, -(2.0**24)], [1.0, -1.0]), [2.0**24 + 2, -(2.0**24)]),
        ("sub.f32 %d, %a, %b;", ([1.0], [0.25]), [0.75]),
        ("mul.f32 %d, %a, %b;", ([1.5, TINY], [-2.0, 1.0]), [-3.0, TINY]),
        ("mul.ftz.f32 %d, %a, %b;", ([TINY, 2.0**-100, -TINY], [2.0**100, 2.0**-30, 1.0]), [0.0, 0.0, -0.0]),
        ("mul.sat.f32 %d, %a, %b;", ([3.0, -3.0, 0.5, NAN], [1.0] * 4), [1.0, 0.0, 0.5, 0.0]),
        ("div.rn.f32 %d, %a, %b;", ([1.0, 1.0], [3.0, 0.0]), [F32(1 / 3), INF]),
        ("div.full.f32 %d, %a, %b;", ([1.0], [4.0]), [0.25]),
        ("div.approx.ftz.f32 %d, %a, %b;", ([1.0, 1.0], [4.0, TINY]), [0.25, INF]),
        ("min.f32 %d, %a, %b;", ([1.0, NAN], [2.0, 2.0]), [1.0, 2.0]),
        ("max.f32 %d, %a, %b;", ([1.0, NAN], [2.0, 2.0]), [2.0, 2.0]),
        ("max.NaN.f32 %d, %a, %b;", ([1.0, NAN], [2.0, 2.0]), [2.0, NAN]),
        ("neg.f32 %d, %a;", ([0.0, 2.0],), [-0.0, -2.0]),
        ("abs.f32 %d, %a;", ([-2.0, -0.0],), [2.0, 0.0]),
        ("copysign.f32 %d, %a, %b;", ([-1.0], [3.0]), [-3.0]),
        ("sqrt.rn.f32 %d, %a;", ([9.0, -1.0],), [3.0, NAN]),
        ("sqrt.approx.ftz.f32 %d, %a;", ([2.0, TINY],), [F32(math.sqrt(2)), 0.0]),
        ("rsqrt.approx.f32 %d, %a;", ([4.0, 0.0],), [0.5, INF]),
        ("rcp.rn.f32 %d, %a;", ([8.0, 3.0],), [0.125, F32(1 / 3)]),
        ("rcp.approx.ftz.f32 %d, %a;", ([8.0, -0.0],), [0.125, -INF]),
        ("ex2.approx.f32 %d, %a;", ([3.0, 0.5, -INF],), [8.0, F32(math.sqrt(2)), 0.0]),
        ("ex2.approx.ftz.f32 %d, %a;", ([-140.0],), [0.0]),
        ("lg2.approx.f32 %d, %a;", ([8.0, 0.0],), [3.0, -INF]),
        ("sin.approx.f32 %d, %a;", ([1.0],), [F32(math.sin(1))]),
        ("cos.approx.f32 %d, %a;", ([1.0],), [F32(math.cos(1))]),
        ("tanh.approx.f32 %d, %a;", ([0.5],), [F32(math.tanh(0.5))]),
        ("fma.rn.f32 %d, %a, %b, %c;", ([3.0], [5.0], [-1.0]), [14.0]),
        ("fma.rm.f32 %d, %a, %b, %c;", ([2.0**12], [2.0**12], [1.0]), [2.0**24]),
        ("fma.rp.f32 %d, %a, %b, %c;", ([2.0**12], [2.0**12], [1.0]), [2.0**24 + 2]),
        ("mad.rn.f32 %d, %a, %b, %c;", ([3.0], [5.0], [-1.0]), [14.0]),
    ],
)
def test_float32(code, operands, expected):
    got = evaluate(code, F32, *[np.array(x, F32) for x in operands])
    np.testing.assert_array_equal(got, np.array(expected, F32))
    numbers = ~np.isnan(got)
    np.testing.assert_array_equal(np.signbit(got)[numbers], np.signbit(np.array(expected, F32))[numbers])


def correctly_rounded(x, dtype):
    """The float nearest to a fraction, ties to even."""
    near = dtype(float(x))
    choices = [np.nextafter(near, dtype(-INF)), near, np.nextafter(near, dtype(INF))]
    return min(choices, key=lambda f: (abs(Fraction(float(f)) - x), int(f.view(f"u{f.itemsize}")) & 1))


def test_a_fused_multiply_add_rounds_once():
    """8384513 x 8392705 = 2^46 + 1: beside 1, float64 loses the 1 and would leave a tie between two float32."""
    a = np.array([8384513, -8384513, 8384513], F32) * F32(2.0**-35)
    b = np.array([8392705, 8392705, 8392705], F32) * F32(2.0**-35)
    c = np.array([1, 1 + 2.0**-22, -1 - 2.0**-22], F32)
    got = evaluate("fma.rn.f32 %d, %a, %b, %c;", F32, a, b, c)
    assert got.tolist() == [1 + 2.0**-23, 1 + 2.0**-23, -1 - 2.0**-23]
    assert (a.astype(F64) * b + c).astype(F32).tolist() == [1.0, 1 + 2.0**-22, -1 - 2.0**-22]
    assert evaluate("fma.rn.f32 %d, %a, %b, %c;", F32, -a[:1], b[:1], -c[:1]).tolist() == [-1 - 2.0**-23]


@pytest.mark.parametrize(("kind", "dtype"), [("f32", F32), ("f64", F64)])
def test_fused_multiply_adds_of_random_numbers(kind, dtype):
    rng = np.random.default_rng(0)
    n = 400
    a, b = (rng.choice([-1, 1], n) * rng.integers(1, 2**12, n) * 2.0 ** rng.integers(-20, 20, n) for _ in range(2))
    c = rng.choice([-1, 1], n) * (1 + rng.integers(0, 4, n) * 2.0**-23) * 2.0 ** rng.integers(-40, 40, n)
    a, b, c = a.astype(dtype), b.astype(dtype), c.astype(dtype)
    got = evaluate(f"fma.rn.{kind} %d, %a, %b, %c;", dtype, a, b, c)
    for x, y, z, d in zip(a, b, c, got, strict=True):
        assert d == correctly_rounded(Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z)), dtype)


def test_fused_multiply_adds_into_denormals():
    a = F32([2.0**-75, 3 * 2.0**-75, 2.0**-75])
    b = F32([2.0**-75, 2.0**-75, 2.0**-75])
    c = F32([2.0**-149, 2.0**-149, 0.0])
    got = evaluate("fma.rn.f32 %d, %a, %b, %c;", F32, a, b, c)
    assert (got / F32(2.0**-149)).tolist() == [2.0, 2.0, 0.0]  # 1.5, 2.5 and 0.5 units: ties to even
    a, b, c = F32([8384513 * 2.0**-98]), F32([8392705 * 2.0**-98]), F32([2.0**-127 + 2.0**-148])
    got = evaluate("fma.rn.f32 %d, %a, %b, %c;", F32, a, b, c)
    assert (got / F32(2.0**-149)).tolist() == [2.0**22 + 3]  # a little more than half a unit above 2^22 + 2


@pytest.mark.parametrize(
    ("code", "operands", "expected"),
    [
        ("add.f64 %d, %a, %b;", ([1.0], [2.0**-52]), [1 + 2.0**-52]),
        ("mul.f64 %d, %a, %b;", ([3.0], [0.1]), [3.0 * 0.1]),
        ("div.rn.f64 %d, %a, %b;", ([1.0], [3.0]), [1 / 3]),
        ("sqrt.rn.f64 %d, %a;", ([2.0],), [math.sqrt(2)]),
        ("fma.rn.f64 %d, %a, %b, %c;", ([1 + 2.0**-52], [1 + 2.0**-52], [-1.0 - 2.0**-51]), [2.0**-104]),
        ("min.f64 %d, %a, %b;", ([1.0], [NAN]), [1.0]),
    ],
)
def test_float64(code, operands, expected):
    np.testing.assert_array_equal(evaluate(code, F64, *[np.array(x, F64) for x in operands]), expected)


def test_float16():
    a, b = np.array([1.5, 65504], F16), np.array([2.0, 65504], F16)
    assert evaluate("add.f16 %d, %a, %b;", F16, a, b).tolist() == [3.5, INF]
    assert evaluate("fma.rn.f16 %d, %a, %b, %a;", F16, a[:1], b[:1]).tolist() == [4.5]


def test_bfloat16():
    """1 + 1/128 is the number after 1; half of the way there goes back to the even one."""
    a, b = np.array([0x3F80, 0x3F80], np.uint16), np.array([0x3B80, 0x3BC0], np.uint16)  # 1; 1/256, 1.5/256
    assert [hex(x) for x in evaluate("add.bf16 %d, %a, %b;", np.uint16, a, b)] == ["0x3f80", "0x3f81"]
    assert [hex(x) for x in evaluate("fma.rn.bf16 %d, %a, %a, %b;", np.uint16, a, b)] == ["0x3f80", "0x3f81"]


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("finite", [1, 0, 0, 1, 1]),
        ("infinite", [0, 1, 0, 0, 0]),
        ("number", [1, 1, 0, 1, 1]),
        ("notanumber", [0, 0, 1, 0, 0]),
        ("normal", [1, 0, 0, 0, 0]),
        ("subnormal", [0, 0, 0, 1, 0]),
    ],
)
def test_kinds_of_numbers(test, expected):
    code = f".reg .pred q; testp.{test}.f32 q, %a; selp.u32 %d, 1, 0, q;"
    assert evaluate(code, np.uint32, np.array([1.0, INF, NAN, TINY, 0.0], F32)).tolist() == expected
