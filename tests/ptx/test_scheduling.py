"""Which threads run when: branches that part and meet, barriers, orders, grids."""

import numpy as np
import pytest

from tests.ptx import Pointer, PtxError, launch
from tests.ptx.handwritten import evaluate, program

U32 = np.uint32


@pytest.fixture(params=["lockstep", "warp"])
def order(request):
    return request.param


def run(code, n, grid=1, block=64, order="lockstep", **options):
    """Threads with their number in %r3 and the address of their word in %rd1; %p0 in the block's first thread."""
    begin = """
    mov.u32 %r0, %tid.x;  mov.u32 %r1, %ctaid.x;  mov.u32 %r2, %ntid.x;
    mad.lo.u32 %r3, %r1, %r2, %r0;
    ld.param.u64 %rd0, [n0];
    mad.wide.u32 %rd1, %r3, 4, %rd0;
    setp.eq.u32 %p0, %r0, 0;
    """
    out = np.zeros(n, U32)
    counters = launch(program(begin + code, ["u64"]), grid, block, [Pointer(out)], order=order, **options)
    return out, counters


def test_loops_of_different_lengths():
    """3n + 1 until 1 is reached: every thread leaves its loop when it has to."""
    code = """
    .reg .pred q; .reg .b32 x, odd;
    mov.u32 %d, 0; mov.u32 x, %a;
$LOOP:
    setp.eq.u32 q, x, 1;
    @q bra $END;
    and.b32 odd, x, 1;
    setp.eq.u32 q, odd, 1;
    @q bra $ODD;
    shr.u32 x, x, 1;
    bra $NEXT;
$ODD:
    mad.lo.u32 x, x, 3, 1;
$NEXT:
    add.u32 %d, %d, 1;
    bra $LOOP;
$END:"""

    def steps(x):
        n = 0
        while x != 1:
            x, n = (3 * x + 1 if x % 2 else x // 2), n + 1
        return n

    numbers = np.arange(1, 101, dtype=U32)
    assert evaluate(code, U32, numbers).tolist() == [steps(int(x)) for x in numbers]


def test_threads_that_part_meet_again():
    """After each branch, also an inner one, the whole warp goes on together."""
    code = """
    setp.lt.u32 %p1, %r0, 40; setp.lt.u32 %p2, %r0, 20;
    @%p1 bra $A;
    add.u32 %r4, %r4, 1;
    bra $END;
$A: @%p2 bra $B;
    add.u32 %r4, %r4, 2;
$B: activemask.b32 %r5;
    add.u32 %r4, %r4, 3;
$END: activemask.b32 %r6;
    st.global.u32 [%rd1], %r5; st.global.u32 [%rd1+256], %r6;"""
    out, _ = run(code, 128)
    assert [hex(x) for x in out[[0, 39, 40, 63]]] == ["0xffffffff", "0xff", "0x0", "0x0"]
    assert [hex(x) for x in set(out[64:])] == ["0xffffffff"]


def test_threads_that_leave_early(order):
    code = "and.b32 %r4, %r3, 3; setp.eq.u32 %p1, %r4, 0; @%p1 ret; st.global.u32 [%rd1], %r3;"
    out, counters = run(code, 128, 2, order=order)
    expected = np.arange(128) * (np.arange(128) % 4 > 0)
    np.testing.assert_array_equal(out, expected)
    assert counters.instructions["st.global.u32"] == 96


def test_a_barrier_after_some_have_left(order):
    """Threads that have left are not waited for."""
    code = "setp.gt.u32 %p1, %r0, 40; @%p1 exit; bar.sync 0; st.global.u32 [%rd1], 1;"
    assert run(code, 64, order=order)[0].sum() == 41


def test_different_barriers(order):
    code = "setp.lt.u32 %p1, %r0, 32; @%p1 bra $A; bar.sync 0; bra $B;\n$A: bar.sync 0;\n$B: ret;"
    with pytest.raises(PtxError, match=r"wait at different barriers, others at line \d+: bar.sync 0.*block 0, thread"):
        run(code, 64, order=order)


def test_a_barrier_under_a_branch_that_all_take(order):
    code = "setp.lt.u32 %p1, %r1, 1; @%p1 bra $A; bar.sync 0; bra $B; $A: barrier.sync 0; $B: st.global.u32 [%rd1], 1;"
    assert run(code, 128, grid=2, order=order)[0].all()


@pytest.mark.parametrize(
    ("name", "expected"), [("popc.u32 %r5", [10, 64]), ("and.pred %p2", [0, 1]), ("or.pred %p2", [1, 1])]
)
def test_barriers_that_count(name, expected, order):
    code = f"""
    setp.lt.u32 %p1, %r0, 10; setp.eq.u32 %p3, %r1, 1; or.pred %p1, %p1, %p3;
    barrier.cta.red.{name}, 0, %p1;
    @!%p1 mov.u32 %r6, 0;
    {"selp.u32 %r5, 1, 0, %p2;" if "pred" in name else ""}
    st.global.u32 [%rd1], %r5;"""
    out, _ = run(code, 128, grid=2, order=order)
    assert out.reshape(2, 64).tolist() == [[e] * 64 for e in expected]


def test_the_order_of_warps_is_drawn_from_the_seed():
    """Each warp takes a number when it comes."""
    code = """
    and.b32 %r4, %r0, 31; setp.ne.u32 %p1, %r4, 0; @%p1 ret;
    atom.global.add.u32 %r5, [%rd0], 1;
    shr.u32 %r6, %r3, 5; mad.wide.u32 %rd2, %r6, 4, %rd0; st.global.u32 [%rd2+4], %r5;"""
    orders = set()
    for seed in range(6):
        out, _ = run(code, 9, grid=2, block=128, order="warp", seed=seed)
        again, _ = run(code, 9, grid=2, block=128, order="warp", seed=seed)
        assert sorted(out[1:]) == list(range(8))
        np.testing.assert_array_equal(out, again)
        orders.add(tuple(out))
    assert len(orders) > 3
    assert run(code, 9, grid=2, block=128)[0][1:].tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    with pytest.raises(ValueError, match="'lockstep' or 'warp'"):
        run(code, 9, order="reverse")


def test_more_blocks_than_run_at_once(order):
    out, counters = run("st.global.u32 [%rd1], %r3;", 200 * 512, grid=200, block=512, order=order)
    np.testing.assert_array_equal(out, np.arange(200 * 512))
    assert counters.instructions["st.global.u32"] == 200 * 512


GRID = """
    st.global.u32 [%rd1], %r3;
    { .param .b64 gp; .param .b32 retval0;
      call.uni (retval0), cudaCGSynchronize, (gp, gp);
      ld.param.b32 %r9, [retval0]; }
    xor.b32 %r4, %r3, 64;  mad.wide.u32 %rd2, %r4, 4, %rd0;
    ld.global.u32 %r5, [%rd2];
    st.global.u32 [%rd1+512], %r5;
"""


def test_the_grids_barrier(order):
    out, _ = run(GRID, 256, grid=2, order=order)
    assert out[128:].tolist() == [*range(64, 128), *range(64)]
    without = "\n".join(line for line in GRID.splitlines() if "call" not in line and "retval0" not in line)
    with pytest.raises(PtxError, match="race in global memory"):
        run(without.replace("}", ""), 256, grid=2, order=order)


def test_a_block_that_leaves_before_the_grids_barrier(order):
    with pytest.raises(PtxError, match="some blocks have left"):
        run("setp.eq.u32 %p1, %r1, 1; @%p1 ret;" + GRID, 256, grid=2, order=order)


def test_what_no_block_may_have():
    with pytest.raises(PtxError, match="1056 threads are too many"):
        run("", 64, block=1056)
    text = program("", declarations=".shared .align 4 .b8 tile[49156];")
    with pytest.raises(PtxError, match="49156 bytes of static shared memory are too many"):
        launch(text, 1, 32, [])
    with pytest.raises(PtxError, match="65536"):
        launch(program(""), (1, 65_536), 32, [])


def test_endless_loops():
    with pytest.raises(PtxError, match="endless loop"):
        run("$L: bra $L;", 64, limit=1000)
    code = "$L: ld.global.u32 %r4, [%rd1]; setp.eq.u32 %p1, %r4, 0; @%p1 bra $L;"
    with pytest.raises(PtxError, match="endless loop"):
        run(code, 64, limit=1000)
