"""Faults put into programs: each kind on a small example, and all of them noticed."""

import numpy as np
import pytest

from tests.ptx import Pointer, PtxError, launch
from tests.ptx.handwritten import program
from tests.ptx.mutations import KINDS, mutants

# A block's dot product of x and y, in order of lanes and warps, times 2 plus 1.
DOT = program(
    """
    mov.u32 %r0, %tid.x;
    ld.param.u64 %rd0, [n0]; ld.param.u64 %rd1, [n1]; ld.param.u64 %rd2, [n2]; ld.param.u32 %r1, [n3];
    mul.wide.u32 %rd3, %r0, 4;
    add.s64 %rd4, %rd0, %rd3;
    add.s64 %rd5, %rd1, %rd3;
    mov.f32 %f0, 0f00000000;
    setp.ge.u32 %p0, %r0, %r1;
    @%p0 bra $SUM;
    ld.global.f32 %f1, [%rd4];
    ld.global.f32 %f2, [%rd5];
    fma.rn.f32 %f0, %f1, %f2, 0f3F000000;
$SUM:
    shfl.sync.down.b32 %f3, %f0, 16, 31, -1;
    add.f32 %f0, %f0, %f3;
    shfl.sync.down.b32 %f3, %f0, 8, 31, -1;
    add.f32 %f0, %f0, %f3;
    shfl.sync.down.b32 %f3, %f0, 4, 31, -1;
    add.f32 %f0, %f0, %f3;
    shfl.sync.down.b32 %f3, %f0, 2, 31, -1;
    add.f32 %f0, %f0, %f3;
    shfl.sync.down.b32 %f3, %f0, 1, 31, -1;
    add.f32 %f0, %f0, %f3;
    and.b32 %r2, %r0, 31;
    shr.u32 %r3, %r0, 5;
    mov.u64 %rd6, tile;
    mad.wide.u32 %rd6, %r3, 4, %rd6;
    setp.ne.u32 %p1, %r2, 0;
    @!%p1 st.shared.f32 [%rd6], %f0;
    bar.sync 0;
    setp.gt.u32 %p2, %r0, 0;
    @%p2 ret;
    ld.shared.f32 %f4, [tile];
    ld.shared.f32 %f5, [tile+4];
    add.f32 %f4, %f4, %f5;
    red.global.add.f32 [%rd2], %f4;""",
    ["u64", "u64", "u64", "u32"],
    ".shared .align 4 .b8 tile[8];",
)


def is_right(text):
    """Whether the program gives the right sums, for a full block and one with a tail."""
    for n in (64, 41):
        rng = np.random.default_rng(n)
        x, y = rng.integers(1, 9, (2, n)).astype(np.float32)
        out = np.zeros(1, np.float32)
        for order in ("lockstep", "warp"):
            out[0] = 0
            try:
                launch(text, 1, 64, [Pointer(x), Pointer(y), Pointer(out), n], order=order)
            except PtxError:
                return False
            if out[0] != x @ y + n / 2:
                return False
    return True


def test_all_mutants_are_noticed():
    assert is_right(DOT)
    found = list(mutants(DOT))
    assert {m.kind for m in found} == set(KINDS)
    assert [str(m) for m in found if is_right(m.text)] == []


def test_mutants_differ_in_one_line():
    lines = DOT.split("\n")
    for mutant in mutants(DOT):
        changed = [i for i, (a, b) in enumerate(zip(lines, mutant.text.split("\n"), strict=True)) if a != b]
        assert changed == [mutant.line - 1]
        assert lines[changed[0]] == mutant.before != mutant.after


def test_the_same_mutants_each_time():
    assert list(mutants(DOT)) == list(mutants(DOT))
    some = list(mutants(DOT, ["fma", "barrier"]))
    assert [m.kind for m in some] == ["fma", "barrier"]
    assert [m for m in mutants(DOT) if m.kind in ("fma", "barrier")] == some


@pytest.mark.parametrize(
    ("line", "kind", "expected"),
    [
        ("bar.sync 0;", "barrier", ["// bar.sync 0;"]),
        ("  bar.warp.sync -1;", "barrier", ["// bar.warp.sync -1;"]),
        ("cp.async.wait_group 1;", "barrier", ["// cp.async.wait_group 1;"]),
        ("setp.lt.s32 %p1, %r1, 5;", "comparison", ["setp.ge.s32 %p1, %r1, 5;", "setp.le.s32 %p1, %r1, 5;"]),
        ("setp.ne.s64 %p1, %rd1, 5;", "comparison", ["setp.eq.s64 %p1, %rd1, 5;"]),
        ("ld.global.f32 %f1, [%rd1];", "offset", ["ld.global.f32 %f1, [%rd1+4];"]),
        ("ld.shared.f32 %f1, [tile+64];", "offset", ["ld.shared.f32 %f1, [tile+68];"]),
        ("st.global.f32 [%rd1+-4], %f1;", "offset", ["st.global.f32 [%rd1+0], %f1;"]),
        ("@%p1 st.shared.f32 [%rd1+8], %f1;", "offset", ["@%p1 st.shared.f32 [%rd1+12], %f1;"]),
        ("ld.param.u64 %rd1, [n0];", "offset", []),
        (
            "shfl.sync.bfly.b32 %r2|%p1, %r1, 16, 31, -1;",
            "shuffle",
            ["shfl.sync.bfly.b32 %r2|%p1, %r1, 17, 31, -1;", "shfl.sync.bfly.b32 %r2|%p1, %r1, 16, 31, 65535;"],
        ),
        ("add.s64 %rd3, %rd1, %rd2;", "address", ["mov.u64 %rd3, %rd1;", "mov.u64 %rd3, %rd2;"]),
        ("add.s64 %rd3, %rd1, 16;", "address", ["mov.u64 %rd3, %rd1;"]),
        ("mad.lo.s32 %r4, %r1, %r2, %r3;", "address", ["mul.lo.s32 %r4, %r1, %r2;"]),
        ("fma.rn.ftz.f32 %f4, %f1, %f2, %f3;", "fma", ["mul.rn.ftz.f32 %f4, %f1, %f2;"]),
        ("@%p1 bra $L;", "predicate", ["@!%p1 bra $L;"]),
        ("@!%p1 bra $L;", "predicate", ["@%p1 bra $L;"]),
        ("// bar.sync 0;", "barrier", []),
        ("add.f32 %f3, %f1, %f2;", "address", []),
    ],
)
def test_kinds(line, kind, expected):
    assert [m.after for m in mutants(line, [kind])] == expected
