"""What a launch counts, against examples counted by hand."""

import numpy as np
import pytest

from tests.ptx import Pointer, launch
from tests.ptx.counters import bank_conflicts
from tests.ptx.handwritten import program

BEGIN = """
    mov.u32 %r0, %tid.x;  mov.u32 %r1, %ctaid.x;  mov.u32 %r2, %ntid.x;
    mad.lo.u32 %r3, %r1, %r2, %r0;
    ld.param.u64 %rd0, [n0];  ld.param.u64 %rd1, [n1];
    mov.u64 %rd5, tile;
"""


@pytest.fixture(params=["lockstep", "warp"])
def order(request):
    return request.param


def run(code, grid=1, block=32, offset=0, order="lockstep"):
    x, y = np.zeros(65536, np.uint32), np.zeros(65536, np.uint32)
    text = program(BEGIN + code, ["u64"] * 2, ".shared .align 16 .b8 tile[16384];")
    return launch(text, grid, block, [Pointer(x[offset:]), Pointer(y)], order=order, count=True)


def loads(counters):
    return [(a.requests, a.sectors, a.least_sectors) for a in counters.accesses if a.kind == "load"]


@pytest.mark.parametrize(
    ("stride", "offset", "sectors"),
    [(4, 0, 4), (4, 1, 5), (8, 0, 8), (32, 0, 32), (128, 0, 32), (0, 0, 1)],
)
def test_sectors_of_a_warps_load(stride, offset, sectors, order):
    code = f"mad.wide.u32 %rd2, %r3, {stride}, %rd0; ld.global.u32 %r4, [%rd2];"
    assert loads(run(code, offset=offset, order=order)) == [(1, sectors, 4)]
    eight = loads(run(code, grid=2, block=128, order=order))[0]
    if offset == 0:
        assert eight == (8, 8 * sectors, 32)


def test_sectors_in_any_order(order):
    """Lanes that go through their words backwards, or jump, touch no more sectors than in order."""
    for mixing in ("xor.b32 %r3, %r3, 31;", "brev.b32 %r3, %r3; shr.u32 %r3, %r3, 27;", "xor.b32 %r3, %r3, 9;"):
        code = mixing + "mad.wide.u32 %rd2, %r3, 4, %rd0; ld.global.u32 %r4, [%rd2];"
        assert loads(run(code, order=order)) == [(1, 4, 4)]


def test_vectors_and_lanes_that_are_away(order):
    wide = "mad.wide.u32 %rd2, %r3, 16, %rd0; ld.global.v4.u32 {%r4, %r5, %r6, %r7}, [%rd2];"
    assert loads(run(wide, order=order)) == [(1, 16, 16)]
    tail = "setp.ge.u32 %p0, %r3, 37; @%p0 ret; mad.wide.u32 %rd2, %r3, 4, %rd0; ld.global.u32 %r4, [%rd2];"
    counters = run(tail, block=96, order=order)
    assert loads(counters) == [(2, 5, 5)]
    assert counters.read_bytes == counters.distinct_read_bytes == 37 * 4
    assert counters.written_bytes == 0


def test_bytes_in_all_and_once(order):
    """Every thread reads its word and the first one, and writes half of the words twice."""
    code = """
    mad.wide.u32 %rd2, %r3, 4, %rd0; ld.global.u32 %r4, [%rd2]; ld.global.u32 %r5, [%rd0];
    mad.wide.u32 %rd3, %r3, 4, %rd1; st.global.u32 [%rd3], %r4;
    setp.lt.u32 %p0, %r3, 32; @%p0 st.global.u32 [%rd3], %r4;"""
    counters = run(code, grid=2, order=order)
    assert (counters.read_bytes, counters.distinct_read_bytes) == (512, 256)
    assert (counters.written_bytes, counters.distinct_written_bytes) == (384, 256)
    assert counters.total("requests", "global", "store") == 3
    assert counters.total("requests", "global") == 7


def test_atomics_read_and_write():
    counters = run("red.global.add.u32 [%rd0], 1;")
    assert counters.read_bytes == counters.written_bytes == 128
    assert counters.distinct_read_bytes == counters.distinct_written_bytes == 4


def test_instructions(order):
    code = "setp.lt.u32 %p0, %r0, 10; @%p0 add.u32 %r4, %r4, 1; @!%p0 bra $END; mul.lo.u32 %r4, %r4, 3;\n$END:"
    counters = run(code, grid=3, order=order)
    assert counters.instructions["setp.lt.u32"] == 96
    assert counters.instructions["mul.lo.u32"] == 30
    assert counters.instructions["bra"] == 96
    assert counters.instructions["ret"] == 96
    assert counters.executed == sum(counters.instructions.values())


def test_lines_that_were_reached():
    text = program("mov.u32 %r0, 1; setp.eq.u32 %p0, %r0, 1;\n@%p0 bra $END;\nadd.u32 %r0, %r0, 1;\n$END:")
    lines = launch(text, 1, 32, []).lines
    first = next(i for i, line in enumerate(text.split("\n"), 1) if "mov.u32" in line)
    assert lines == {first: 64, first + 1: 32, first + 4: 32}


@pytest.mark.parametrize(
    ("width", "stride", "extra"),
    [
        (4, 4, 0),  # one word after the other
        (4, 0, 0),  # all the same word
        (4, 8, 1),  # two words in every other bank
        (4, 16, 3),
        (4, 128, 31),  # all in one bank
        (4, 132, 0),  # a row of 33 words
        (8, 8, 0),  # two half-warps, each over all banks
        (8, 16, 2),  # in each half-warp two words a bank
        (16, 16, 0),  # four quarter-warps
        (16, 32, 4),
        (16, 80, 0),  # rows of 20 words: eight lanes begin in banks 0, 20, 8, 28, 16, 4, 24, 12
        (2, 2, 0),  # two lanes share a word
        (2, 256, 31),
    ],
)
def test_bank_conflicts(width, stride, extra, order):
    warps, lanes = np.zeros(32, int), np.arange(32)
    assert bank_conflicts(warps, lanes, lanes * stride, width) == extra
    if stride % width:
        return
    kind, registers = {
        2: ("u16", "%r4"),
        4: ("u32", "%r4"),
        8: ("v2.u32", "{%r4, %r5}"),
        16: ("v4.u32", "{%r4, %r5, %r6, %r7}"),
    }[width]
    code = f"and.b32 %r8, %r0, 31; mad.wide.u32 %rd2, %r8, {stride}, %rd5; st.shared.{kind} [%rd2], {registers};"
    code += f"bar.sync 0; ld.shared.{kind} {registers}, [%rd2];"
    counters = run(code, grid=3, block=64, order=order)
    assert [(a.kind, a.requests, a.wavefronts) for a in counters.accesses] == [
        ("store", 6, 6 * extra),
        ("load", 6, 6 * extra),
    ]
    assert counters.bank_conflicts == 12 * extra


def test_asynchronous_copies_count_on_both_sides():
    code = """
    mad.wide.u32 %rd2, %r0, 16, %rd0; mad.wide.u32 %rd6, %r0, 16, %rd5;
    cp.async.cg.shared.global [%rd6], [%rd2], 16; cp.async.wait_all;"""
    counters = run(code)
    assert [(a.space, a.kind, a.bytes, a.sectors, a.wavefronts) for a in counters.accesses] == [
        ("global", "load", 512, 16, 0),
        ("shared", "store", 512, 0, 0),
    ]
    assert counters.distinct_read_bytes == 512


def test_without_counting_there_are_instructions_alone():
    text = program("ld.param.u64 %rd0, [n0]; ld.global.u32 %r0, [%rd0];", ["u64"])
    counters = launch(text, 1, 32, [Pointer(np.zeros(1, np.uint32))])
    assert counters.accesses == []
    assert counters.read_bytes == 0
    assert counters.instructions["ld.global.u32"] == 32
