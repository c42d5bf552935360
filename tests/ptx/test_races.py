"""Races in shared and global memory: each kind found once, and not found in the program that is put right."""

import numpy as np
import pytest

from tests.ptx import Pointer, PtxError, launch
from tests.ptx.handwritten import program

TILE = ".shared .align 16 .b8 tile[1024];"
BEGIN = """
    mov.u32 %r0, %tid.x;  mov.u32 %r1, %ctaid.x;  mov.u32 %r2, %ntid.x;
    mad.lo.u32 %r3, %r1, %r2, %r0;
    ld.param.u64 %rd0, [n0];  ld.param.u64 %rd1, [n1];
    mul.wide.u32 %rd2, %r0, 4;
    mov.u64 %rd5, tile;
    add.u64 %rd6, %rd5, %rd2;       // the thread's word of shared memory
    mad.wide.u32 %rd3, %r3, 4, %rd0; // its word of x
    mad.wide.u32 %rd4, %r3, 4, %rd1; // its word of y
    setp.eq.u32 %p0, %r0, 0;
"""


def run(code, grid=1, block=64, order="lockstep", seed=0, races=True):
    x, y = np.zeros(1024, np.uint32), np.zeros(1024, np.uint32)
    text = program(BEGIN + code, ["u64"] * 2, TILE)
    launch(text, grid, block, [Pointer(x), Pointer(y)], order=order, seed=seed, races=races)
    return x, y


@pytest.fixture(params=["lockstep", "warp"])
def order(request):
    return request.param


def check(wrong, message, right, order="lockstep", **sizes):
    """The first program races, and does not when not looked at; the second does not race."""
    with pytest.raises(PtxError, match=message):
        run(wrong, order=order, **sizes)
    if order == "lockstep":
        run(wrong, races=False, **sizes)
    for seed in range(3):
        run(right, order=order, seed=seed, **sizes)


NEXT = "xor.b32 %r4, %r0, {0};  mad.wide.u32 %rd7, %r4, 4, %rd5;"


@pytest.mark.parametrize("distance", [1, 32])
def test_shared_memory_read_after_a_write(order, distance):
    code = "st.shared.u32 [%rd6], %r0; {} " + NEXT.format(distance) + "ld.shared.u32 %r5, [%rd7];"
    message = "race in shared memory|shared memory read before it was written"
    if order == "lockstep":
        message = r"race in shared memory: written before by block 0 thread \d+.*ld.shared.*block 0, thread 0, address"
    check(code.format(""), message, code.format("bar.sync 0;"), order)


@pytest.mark.parametrize("distance", [1, 32])
def test_shared_memory_written_after_a_read(order, distance):
    begin = "st.shared.u32 [%rd6], %r0; bar.sync 0; " + NEXT.format(distance)
    code = begin + "ld.shared.u32 %r5, [%rd7]; {} st.shared.u32 [%rd6], 1;"
    check(code.format(""), "race in shared memory: (read|written) before", code.format("bar.sync 0;"), order)


def test_shared_memory_written_after_many_have_read_it(order):
    begin = "@%p0 st.shared.u32 [%rd5], 7; bar.sync 0; ld.shared.u32 %r5, [%rd5]; {} @%p0 st.shared.u32 [%rd5], 1;"
    check(begin.format(""), "race in shared memory: read before", begin.format("bar.sync 0;"), order)


def test_shared_memory_written_twice(order):
    check(
        "st.shared.u32 [%rd5], %r0;",
        "race in shared memory: (another thread writes the same place at once|written before)",
        "st.shared.u32 [%rd5], 7;",
        order,
    )
    code = "@%p0 st.shared.u32 [%rd5], 7; {} setp.eq.u32 %p1, %r0, 40; @%p1 st.shared.u32 [%rd5], 8;"
    check(code.format(""), "race in shared memory: written before", code.format("bar.sync 0;"), order)


def test_several_generations_of_one_buffer(order):
    """Each round's write must wait for the reads of the round before."""
    loop = """
    mov.u32 %r6, 0;
$LOOP:
    st.shared.u32 [%rd6], %r6;
    bar.sync 0;
    xor.b32 %r4, %r0, 33;  mad.wide.u32 %rd7, %r4, 4, %rd5;
    ld.shared.u32 %r5, [%rd7];
    {}
    add.u32 %r6, %r6, 1;
    setp.lt.u32 %p1, %r6, 3;
    @%p1 bra $LOOP;
    """
    check(loop.format(""), "race in shared memory: (read|written) before", loop.format("bar.sync 0;"), order)


def test_a_warps_barrier_orders_within_the_warp_alone(order):
    code = "st.shared.u32 [%rd6], %r0; bar.warp.sync -1; " + NEXT + "ld.shared.u32 %r5, [%rd7];"
    run(code.format(1), order=order)
    with pytest.raises(PtxError, match="race in shared memory|before it was written"):
        run(code.format(32), order=order)
    with pytest.raises(PtxError, match="race in shared memory"):
        run(code.format(1).replace("bar.warp.sync -1;", ""), order=order)


def test_shuffles_order_nothing():
    code = "st.shared.u32 [%rd6], %r0; shfl.sync.bfly.b32 %r7, %r0, 1, 31, -1; " + NEXT + "ld.shared.u32 %r5, [%rd7];"
    with pytest.raises(PtxError, match="race in shared memory"):
        run(code.format(1))


def test_a_warps_readers_before_its_barrier(order):
    """All lanes of a warp read a word, then one of them writes it."""
    begin = "and.b32 %r4, %r0, 31; setp.eq.u32 %p2, %r4, 0; shr.u32 %r5, %r0, 5; mad.wide.u32 %rd7, %r5, 4, %rd5;"
    begin += "@%p2 st.shared.u32 [%rd7], %r0; bar.warp.sync -1; ld.shared.u32 %r6, [%rd7]; "
    check(
        begin + "@%p2 st.shared.u32 [%rd7], 77;",
        "race in shared memory: read before",
        begin + "bar.warp.sync -1; @%p2 st.shared.u32 [%rd7], 77;",
        order,
    )


def test_atomics_beside_plain_accesses(order):
    start = "@%p0 st.shared.u32 [%rd5], 0; bar.sync 0; "
    code = start + "red.shared.add.u32 [%rd5], 1; {} ld.shared.u32 %r5, [%rd5]; st.global.u32 [%rd4], %r5;"
    check(code.format(""), "race in shared memory: used atomically before", code.format("bar.sync 0;"), order)
    code = start + "@%p0 st.shared.u32 [%rd5], 5; {} red.shared.add.u32 [%rd5], 1;"
    check(code.format(""), "race in shared memory: (written|used atomically)", code.format("bar.sync 0;"), order)


def test_narrow_accesses_are_told_apart():
    """Neighbouring halves of a word are two places, unless the program knows no halves."""
    code = "mad.wide.u32 %rd7, %r0, 2, %rd5; st.shared.u16 [%rd7], %r0; "
    run(code + "mad.wide.u32 %rd8, %r3, 2, %rd0; st.global.u16 [%rd8], %r0;")


ELSEWHERE = "xor.b32 %r4, %r3, {}; mad.wide.u32 %rd7, %r4, 4, %rd0; ld.global.u32 %r5, [%rd7];"
BLOCKS = {"grid": 3, "block": 64}


def test_global_memory_written_by_two_blocks(order):
    same = "mad.wide.u32 %rd7, %r0, 4, %rd0; st.global.u32 [%rd7], {};"
    check(same.format("%r1"), r"race in global memory: .*st.global.u32 \[%rd7\]", same.format("%r0"), order, **BLOCKS)


def test_global_memory_read_from_another_block(order):
    code = "st.global.u32 [%rd3], %r0; bar.sync 0; " + ELSEWHERE
    check(code.format(64), "race in global memory: (written|read) before", code.format(32), order, grid=4)


def test_global_memory_within_a_block(order):
    code = "st.global.u32 [%rd3], %r0; {} " + ELSEWHERE.replace("{}", "32")
    check(code.format(""), "race in global memory", code.format("bar.sync 0;"), order)


def test_what_all_blocks_read_one_must_not_write(order):
    code = "ld.global.u32 %r5, [{}]; setp.eq.u32 %p1, %r3, 70; @%p1 st.global.u32 [%rd0], 9;"
    check(code.format("%rd0"), "race in global memory", code.format("%rd3+400"), order, **BLOCKS)


def test_blocks_of_different_waves():
    """More blocks than run at once: the last ones still race with the first."""
    code = "setp.eq.u32 %p1, %r1, {0}; @%p1 st.global.u32 [%rd0], %r3;"
    both = code.format(0) + code.format(99)
    with pytest.raises(PtxError, match=r"race in global memory: written before by block 0 thread 511.*.block 99,"):
        run(
            "add.u32 %r9, %r2, -1; setp.eq.u32 %p2, %r0, %r9; @!%p2 ret;" + both,
            grid=100,
            block=512,
        )


def test_atomics_among_themselves(order):
    x, _ = run("red.global.add.u32 [%rd0], 1;", grid=5, order=order)
    assert x[0] == 5 * 64


LAST = """
    @!%p0 ret;
    mad.wide.u32 %rd7, %r1, 4, %rd1;
    st.global.u32 [%rd7+4], %r1;     // a block's part of y
    {}
    atom.global.add.u32 %r4, [%rd0], 1;
    setp.ne.u32 %p1, %r4, 3;
    @%p1 ret;
    ld.global.u32 %r5, [%rd1+4];  ld.global.u32 %r6, [%rd1+8];
    ld.global.u32 %r7, [%rd1+12]; ld.global.u32 %r8, [%rd1+16];
    add.u32 %r5, %r5, %r6; add.u32 %r5, %r5, %r7; add.u32 %r5, %r5, %r8;
    st.global.u32 [%rd1], %r5;
"""


def test_a_fence_and_an_atomic_publish(order):
    """The block that comes last reads what the others have left."""
    check(LAST.format(""), "race in global memory: written before", LAST.format("membar.gl;"), order, grid=4)
    check(LAST.format("fence.acq_rel.cta;"), "race in global memory", LAST.format("fence.acq_rel.gpu;"), order, grid=4)
    late = LAST.format("membar.gl;").replace("membar.gl;", "membar.gl; st.global.u32 [%rd7+4], %r1;", 1)
    with pytest.raises(PtxError, match="race in global memory"):
        run(late.replace("[%rd7+4], %r1;     //", "[%rd7+64], %r1; //"), grid=4, order=order)
    for seed in range(3):
        assert run(LAST.format("membar.gl;"), grid=4, order=order, seed=seed)[1][0] == 6


def test_a_fence_publishes_no_other_threads_writes(order):
    """What the rest of the block has written is published only after the block's barrier."""
    code = """
    st.global.u32 [%rd4], %r3;
    {}
    @!%p0 ret;
    membar.gl;
    atom.global.add.u32 %r4, [%rd0], 1;
    setp.ne.u32 %p1, %r4, 3;
    @%p1 ret;
    xor.b32 %r6, %r1, 1;
    mad.lo.u32 %r6, %r6, %r2, 5;
    mad.wide.u32 %rd7, %r6, 4, %rd1;
    ld.global.u32 %r7, [%rd7];   // what thread 5 of another block has written
    """
    check(code.format(""), "race in global memory: written before", code.format("bar.sync 0;"), order, grid=4)


def test_a_fence_publishes_no_other_threads_reads():
    """Block 0 reads a word that block 1 writes when it comes second."""
    code = """
    setp.eq.u32 %p1, %r1, 0; setp.ne.u32 %p2, %r0, 63;
    @%p1 ld.global.u32 %r4, [%rd1];
    {}
    @%p2 ret;
    membar.gl;
    atom.global.add.u32 %r4, [%rd0], 1;
    setp.eq.u32 %p3, %r4, 1;
    @%p3 st.global.u32 [%rd1], 9;
    """
    check(code.format(""), "race in global memory: read before by block 0", code.format("bar.sync 0;"), grid=2)


@pytest.mark.parametrize("writer", [5, 40])
def test_a_warps_barrier_does_not_wait_for_other_warps_reads(writer):
    """Both warps read a word, at once or one after the other; a thread of one writes it after its warp's barrier."""
    begin = f"setp.lt.u32 %p1, %r0, 32; setp.eq.u32 %p2, %r0, {writer}; @%p0 st.shared.u32 [%rd5], 1; bar.sync 0;"
    end = " bar.warp.sync -1; {} @%p2 st.shared.u32 [%rd5], 2;"
    at_once = begin + "ld.shared.u32 %r4, [%rd5];" + end
    in_turn = begin + "@%p1 ld.shared.u32 %r4, [%rd5]; @!%p1 ld.shared.u32 %r4, [%rd5];" + end
    backwards = begin + "@!%p1 ld.shared.u32 %r4, [%rd5]; @%p1 ld.shared.u32 %r4, [%rd5];" + end
    for code in (at_once, in_turn, backwards):
        check(code.format(""), "race in shared memory: read before", code.format("bar.sync 0;"))


def test_reads_before_a_barrier_do_not_hide_later_ones(order):
    """All read a word; after the barrier one thread reads it again, and another one must not write it."""
    code = """
    st.shared.u32 [%rd6], %r0;
    bar.sync 0;
    ld.shared.u32 %r4, [%rd5+16]; ld.shared.u32 %r5, [%rd6]; st.shared.u32 [%rd6+256], %r5; st.shared.u32 [%rd6], %r5;
    bar.sync 0;
    setp.eq.u32 %p1, %r0, 9; setp.eq.u32 %p2, %r0, 7;
    @%p1 ld.shared.u32 %r4, [%rd5+16];
    {}
    @%p2 st.shared.u32 [%rd5+16], 1;"""
    first = code.replace("st.shared.u32 [%rd6], %r5;", "@!%p3 st.shared.u32 [%rd6], %r5;")
    first = first.replace("    bar", "    setp.eq.u32 %p3, %r0, 4;\n    bar", 1)  # thread 4's word is the one
    check(first.format(""), "race in shared memory: (read|written) before", first.format("bar.sync 0;"), order)


def test_many_reads_between_two_barriers(order, monkeypatch):
    """What is read goes on record when it has become much, and is not forgotten."""
    monkeypatch.setattr("tests.ptx.races.PENDING", 3)
    begin = "st.shared.u32 [%rd6], %r0; bar.sync 0; xor.b32 %r4, %r0, 40; mad.wide.u32 %rd7, %r4, 4, %rd5;"
    begin += "ld.shared.u32 %r5, [%rd7];" + "ld.shared.u32 %r6, [%rd6];" * 8
    code = begin + "{} setp.eq.u32 %p1, %r0, 3; @%p1 st.shared.u32 [%rd6], 1;"
    check(
        code.format(""),
        r"race in shared memory: read before by block 0 thread \d+ and others",
        code.format("bar.sync 0;"),
        order,
    )
