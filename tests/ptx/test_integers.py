"""Integer instructions of the interpreter against values worked out by hand."""

import numpy as np
import pytest

from tests.ptx import PtxError
from tests.ptx.handwritten import evaluate

U16, U32, U64, S16, S32, S64 = np.uint16, np.uint32, np.uint64, np.int16, np.int32, np.int64


@pytest.mark.parametrize(
    ("code", "dtype", "operands", "expected"),
    [
        ("add.s32 %d, %a, %b;", S32, ([2**31 - 1, -5], [1, 3]), [-(2**31), -2]),
        ("add.u64 %d, %a, %b;", U64, ([2**64 - 1], [2]), [1]),
        ("sub.s32 %d, %a, %b;", S32, ([3, -(2**31)], [5, 1]), [-2, 2**31 - 1]),
        ("sub.u16 %d, %a, %b;", U16, ([0], [1]), [65535]),
        ("mul.lo.s32 %d, %a, %b;", S32, ([65536, -3], [65536, 7]), [0, -21]),
        ("mul.lo.u64 %d, %a, %b;", U64, ([2**63 + 3], [2]), [6]),
        ("mul.hi.u32 %d, %a, %b;", U32, ([2**32 - 1, 2**16], [2**32 - 1, 2**16]), [2**32 - 2, 1]),
        ("mul.hi.s32 %d, %a, %b;", S32, ([-1, -(2**31)], [1, 2]), [-1, -1]),
        ("mul.hi.u64 %d, %a, %b;", U64, ([2**64 - 1, 2**32, 7], [2**64 - 1, 2**32, 9]), [2**64 - 2, 1, 0]),
        ("mul.hi.s64 %d, %a, %b;", S64, ([-1, -(2**63), -(2**63)], [5, 2, -(2**63)]), [-1, -1, 2**62]),
        ("mad.lo.s32 %d, %a, %b, %c;", S32, ([3, -3], [5, 5], [7, 7]), [22, -8]),
        ("mad.hi.u32 %d, %a, %b, %c;", U32, ([2**31], [4], [9]), [11]),
        ("div.s32 %d, %a, %b;", S32, ([7, -7, 7, -7], [2, 2, -2, -2]), [3, -3, -3, 3]),
        ("div.u32 %d, %a, %b;", U32, ([2**32 - 1], [2]), [2**31 - 1]),
        ("rem.s32 %d, %a, %b;", S32, ([7, -7, 7, -7], [3, 3, -3, -3]), [1, -1, 1, -1]),
        ("rem.u64 %d, %a, %b;", U64, ([2**64 - 1], [10]), [5]),
        ("min.s32 %d, %a, %b;", S32, ([-1], [1]), [-1]),
        ("min.u32 %d, %a, %b;", U32, ([2**32 - 1], [1]), [1]),
        ("max.s64 %d, %a, %b;", S64, ([-1], [1]), [1]),
        ("abs.s32 %d, %a;", S32, ([-5, 5],), [5, 5]),
        ("neg.s32 %d, %a;", S32, ([-5, 5],), [5, -5]),
        ("and.b32 %d, %a, %b;", U32, ([12], [10]), [8]),
        ("or.b32 %d, %a, %b;", U32, ([12], [10]), [14]),
        ("xor.b32 %d, %a, %b;", U32, ([12], [10]), [6]),
        ("not.b32 %d, %a;", U32, ([12],), [2**32 - 13]),
        ("brev.b32 %d, %a;", U32, ([1, 6],), [2**31, 0x60000000]),
        ("brev.b64 %d, %a;", U64, ([1],), [2**63]),
        ("lop3.b32 %d, %a, %b, %c, 0xEA;", U32, ([12], [10], [1]), [9]),  # (a and b) or c
        ("lop3.b32 %d, %a, %b, %c, 0x96;", U32, ([12], [10], [1]), [7]),  # a xor b xor c
        ("lop3.b32 %d, %a, %b, %c, 0x1;", U32, ([12], [10], [1]), [2**32 - 16]),  # none of the three
        ("prmt.b32 %d, %a, %b, 0x3210;", U32, ([0x44332211], [0x88776655]), [0x44332211]),
        ("prmt.b32 %d, %a, %b, 0x7654;", U32, ([0x44332211], [0x88776655]), [0x88776655]),
        ("prmt.b32 %d, %a, %b, 0x5410;", U32, ([0x44332211], [0x88776655]), [0x66552211]),
        ("prmt.b32 %d, %a, %b, 0xF8B0;", U32, ([0x44332211], [0x88776655]), [0xFF000011]),  # signs of bytes 7, 0, 3
        ("shf.l.wrap.b32 %d, %a, %b, %c;", U32, ([0x80000001], [0x0000000F], [36]), [0xF8]),
        ("shf.l.clamp.b32 %d, %a, %b, %c;", U32, ([0x80000001], [0x0000000F], [36]), [0x80000001]),
        ("shf.r.wrap.b32 %d, %a, %b, %c;", U32, ([0x80000001], [0x0000000F], [4]), [0xF8000000]),
        ("shf.r.clamp.b32 %d, %a, %b, %c;", U32, ([0x80000001], [0x0000000F], [99]), [0xF]),
        ("bfi.b32 %d, %a, %b, 8, 4;", U32, ([0x35], [0xFFFFFFFF]), [0xFFFFF5FF]),
        ("bfi.b32 %d, %a, %b, 28, 8;", U32, ([0x35], [0]), [0x50000000]),
        ("bfi.b32 %d, %a, %b, 4, 0;", U32, ([0x35], [7]), [7]),
        ("bfi.b64 %d, %a, %b, 32, 32;", U64, ([3], [5]), [3 * 2**32 + 5]),
    ],
)
def test_one_type(code, dtype, operands, expected):
    assert evaluate(code, dtype, *[np.array(x, dtype) for x in operands]).tolist() == expected


@pytest.mark.parametrize(
    ("code", "dtype", "result", "operands", "expected"),
    [
        ("mul.wide.s32 %d, %a, %b;", S32, S64, ([-3, 2**31 - 1], [2**30, 2**31 - 1]), [-3 * 2**30, (2**31 - 1) ** 2]),
        ("mul.wide.u32 %d, %a, %b;", U32, U64, ([2**32 - 1], [2**32 - 1]), [(2**32 - 1) ** 2]),
        ("mul.wide.u16 %d, %a, %b;", U16, U32, ([65535], [65535]), [65535**2]),
        ("mad.wide.u32 %d, %a, %b, 5;", U32, U64, ([2**31], [4]), [2**33 + 5]),
        ("mad.wide.s32 %d, %a, %b, -5;", S32, S64, ([-2], [4]), [-13]),
        ("popc.b32 %d, %a;", U32, U32, ([0, 5, 2**32 - 1],), [0, 2, 32]),
        ("popc.b64 %d, %a;", U64, U32, ([2**64 - 1],), [64]),
        ("clz.b32 %d, %a;", U32, U32, ([0, 1, 2**31],), [32, 31, 0]),
        ("clz.b64 %d, %a;", U64, U32, ([1],), [63]),
    ],
)
def test_two_types(code, dtype, result, operands, expected):
    assert evaluate(code, result, *[np.array(x, dtype) for x in operands]).tolist() == expected


@pytest.mark.parametrize(
    ("code", "dtype", "operand", "distance", "expected"),
    [
        ("shl.b32 %d, %a, %b;", U32, 0x80000001, [0, 4, 31, 32, 40], [0x80000001, 16, 2**31, 0, 0]),
        ("shl.b64 %d, %a, %b;", U64, 3, [63, 64], [2**63, 0]),
        ("shr.u32 %d, %a, %b;", U32, 0x80000001, [0, 4, 32], [0x80000001, 0x08000000, 0]),
        ("shr.s32 %d, %a, %b;", S32, -16, [2, 31, 32, 99], [-4, -1, -1, -1]),
        ("shr.s64 %d, %a, %b;", S64, -16, [2, 64], [-4, -1]),
        ("shl.b16 %d, %a, %b;", U16, 3, [15, 16], [2**15, 0]),
    ],
)
def test_shifts_beyond_the_width(code, dtype, operand, distance, expected):
    assert evaluate(code, dtype, np.full(len(distance), operand, dtype), np.uint32(distance)).tolist() == expected


@pytest.mark.parametrize(
    ("kind", "dtype", "value", "start", "length", "expected"),
    [
        ("u32", U32, 0xABCD1234, 8, 8, 0x12),
        ("u32", U32, 0xABCD1234, 28, 8, 0xA),
        ("u32", U32, 0xABCD1234, 0, 0, 0),
        ("u32", U32, 0xABCD1234, 0, 32, 0xABCD1234),
        ("s32", S32, 0x000000F0, 4, 4, -1),
        ("s32", S32, 0x00000070, 4, 4, 7),
        ("s32", S32, -(2**31), 31, 5, -1),
        ("s32", S32, -1, 3, 0, 0),
        ("u64", U64, 2**63, 60, 4, 8),
        ("s64", S64, -(2**63), 60, 4, -8),
    ],
)
def test_fields(kind, dtype, value, start, length, expected):
    got = evaluate(f"bfe.{kind} %d, %a, %b, %c;", dtype, dtype(value), U32(start), U32(length))
    assert got.tolist() == [expected]


def test_sums_of_128_bits():
    """Two words at a time, the carry from one to the next."""
    code = ".reg .b64 %low; add.cc.u64 %low, %a, %b; addc.u64 %d, %a, %c;"
    a, b, c = np.array([[2**64 - 1, 1], [1, 1], [5, 5]], U64)
    assert evaluate(code, U64, a, b, c).tolist() == [5, 6]


def test_differences_of_64_bits_from_words():
    code = ".reg .b32 %low; sub.cc.u32 %low, %a, %b; subc.u32 %d, %c, 0;"
    a, b, c = np.array([[0, 5], [1, 1], [7, 7]], U32)
    assert evaluate(code, U32, a, b, c).tolist() == [6, 7]


def test_products_of_long_integers():
    """(a 2^32 + a) b for 32-bit words: the upper word of the lower product carries into the next."""
    code = ".reg .b32 %low; mad.lo.cc.u32 %low, %a, %b, %c; madc.hi.u32 %d, %a, %b, 0;"
    a, b, c = (np.array([x], U32) for x in (2**32 - 1, 2**32 - 1, 2**32 - 1))
    assert evaluate(code, U32, a, b, c).tolist() == [2**32 - 1]  # (2^32 - 1)^2 + 2^32 - 1 = (2^32 - 1) 2^32


@pytest.mark.parametrize("code", ["add.sat.s32 %d, %a, %b", "dp4a.u32.u32 %d, %a, %b, %a", "mul24.lo.s32 %d, %a, %b"])
def test_unknown_instructions_are_refused(code):
    with pytest.raises(PtxError, match="unknown opcode"):
        evaluate(f"{code};", S32, S32([1]), S32([1]))
