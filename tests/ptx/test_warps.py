"""What the lanes of a warp do together, against values worked out by hand."""

import numpy as np
import pytest

from tests.ptx import Pointer, PtxError, launch
from tests.ptx.handwritten import program

LANES = np.arange(32, dtype=np.uint32)


def shuffled(code, values=LANES + 100, width=32, order="lockstep"):
    """What 32 lanes (or more) get from a shuffle of %r1 into %r2, and whether it came from inside."""
    out, inside = np.zeros(len(values), np.uint32), np.zeros(len(values), np.uint32)
    body = f"""
    mov.u32 %r0, %tid.x;
    ld.param.u64 %rd0, [n0]; ld.param.u64 %rd1, [n1]; ld.param.u64 %rd2, [n2];
    mul.wide.u32 %rd3, %r0, 4;
    add.u64 %rd0, %rd0, %rd3; add.u64 %rd1, %rd1, %rd3; add.u64 %rd2, %rd2, %rd3;
    ld.global.u32 %r1, [%rd0];
    {code}
    selp.u32 %r3, 1, 0, %p0;
    st.global.u32 [%rd1], %r2;
    st.global.u32 [%rd2], %r3;"""
    launch(program(body, ["u64"] * 3), 1, len(values), [Pointer(values), Pointer(out), Pointer(inside)], order=order)
    return out, inside


@pytest.mark.parametrize("order", ["lockstep", "warp"])
@pytest.mark.parametrize(
    ("mode", "by", "control", "source", "inside"),
    [
        ("idx", 5, 31, np.full(32, 5), np.ones(32)),
        ("idx", 37, 31, np.full(32, 5), np.ones(32)),  # modulo 32
        ("idx", 3, 0x181F, LANES // 8 * 8 + 3, np.ones(32)),  # segments of 8
        ("bfly", 1, 31, LANES ^ 1, np.ones(32)),
        ("bfly", 16, 31, LANES ^ 16, np.ones(32)),
        ("bfly", 16, 0x0F, np.where(LANES < 16, LANES, LANES ^ 16), LANES >= 16),  # beyond the clamp: one's own
        ("down", 1, 31, np.minimum(LANES + 1, 31), LANES < 31),
        ("down", 4, 0x181F, np.where(LANES % 8 < 4, LANES + 4, LANES), LANES % 8 < 4),
        ("up", 1, 0, np.maximum(LANES.astype(int) - 1, 0), LANES > 0),
        ("up", 4, 0x1800, np.where(LANES % 8 >= 4, LANES - 4, LANES), LANES % 8 >= 4),
    ],
)
def test_shuffles(mode, by, control, source, inside, order):
    code = f"shfl.sync.{mode}.b32 %r2|%p0, %r1, {by}, {control}, -1;"
    for values in (LANES + 100, np.arange(64, dtype=np.uint32) + 7):
        got, within = shuffled(code, values, order=order)
        warps = values.reshape(-1, 32)
        np.testing.assert_array_equal(got.reshape(-1, 32), warps[:, np.asarray(source, int)])
        np.testing.assert_array_equal(within.reshape(-1, 32), np.broadcast_to(inside, warps.shape))


def test_a_warp_that_is_not_full():
    got, _ = shuffled("shfl.sync.idx.b32 %r2, %r1, 3, 31, -1;", np.arange(40, dtype=np.uint32))
    assert got.tolist() == [3] * 32 + [35] * 8
    with pytest.raises(PtxError, match=r"lane that is not there.*block 0, thread 32"):
        shuffled("shfl.sync.idx.b32 %r2, %r1, 20, 31, -1;", np.arange(40, dtype=np.uint32))


def test_the_full_mask_in_a_warp_that_is_not_full():
    """It names the lanes that there are, also where the warp comes alone."""
    code = "setp.ge.u32 %p1, %r0, 32; @%p1 shfl.sync.down.b32 %r2, %r1, 1, 31, -1;"
    with pytest.raises(PtxError, match=r"lane that is not there.*thread 39"):
        shuffled(code, np.arange(40, dtype=np.uint32))
    got, _ = shuffled(code.replace("down.b32 %r2, %r1, 1", "bfly.b32 %r2, %r1, 1"), np.arange(40, dtype=np.uint32))
    assert got.tolist() == [0] * 32 + [33, 32, 35, 34, 37, 36, 39, 38]


def test_lanes_that_come_later_are_waited_for():
    """The two halves of a warp come to one shuffle by different ways, the longer one before it in the text."""
    code = """
    setp.lt.u32 %p1, %r0, 16;
    @%p1 bra $SECOND;
    bra $JOIN;
$SECOND:
    add.u32 %r1, %r1, 1000;
    bra $JOIN;
$JOIN:
    shfl.sync.bfly.b32 %r2, %r1, 16, 31, -1;"""
    got, _ = shuffled(code, LANES)
    assert got.tolist() == [*range(16, 32), *range(1000, 1016)]


def test_a_mask_that_names_lanes_which_do_not_come():
    half = "setp.lt.u32 %p1, %r0, 16; @%p1 shfl.sync.idx.b32 %r2, %r1, 0, 31, {};"
    with pytest.raises(PtxError, match=r"lanes that do not come.*shfl.sync.*thread 0"):
        shuffled(half.format("-1"))
    assert shuffled(half.format("0xFFFF"))[0].tolist() == [100] * 16 + [0] * 16


def test_a_mask_that_does_not_name_its_own_lane():
    with pytest.raises(PtxError, match=r"does not name itself.*thread 16"):
        shuffled("shfl.sync.idx.b32 %r2, %r1, 0, 31, 0xFFFF;")


def test_a_mask_that_names_lanes_which_have_left():
    code = "setp.lt.u32 %p1, %r0, 8; @%p1 ret; shfl.sync.idx.b32 %r2, %r1, 9, 31, {};"
    with pytest.raises(PtxError, match="lanes that do not come"):
        shuffled(code.format("-1"))
    assert shuffled(code.format("0xFFFFFF00"))[0].tolist() == [0] * 8 + [109] * 24


@pytest.mark.parametrize(
    ("vote", "expected"),
    [("any.pred %p1, %p2", 1), ("all.pred %p1, %p2", 0), ("uni.pred %p1, %p2", 0), ("all.pred %p1, %p3", 1)],
)
def test_votes(vote, expected):
    code = f"""setp.lt.u32 %p2, %r0, 3; setp.lt.u32 %p3, %r0, 99;
    vote.sync.{vote}, -1; selp.u32 %r2, 1, 0, %p1;"""
    assert shuffled(code)[0].tolist() == [expected] * 32


def test_ballots():
    code = "setp.ge.u32 %p2, %r0, 28; vote.sync.ballot.b32 %r2, %p2, -1;"
    assert [hex(x) for x in set(shuffled(code)[0])] == ["0xf0000000"]
    code = "setp.ge.u32 %p2, %r0, 28; @%p2 activemask.b32 %r2;"
    assert [hex(x) for x in shuffled(code)[0][[0, 28]]] == ["0x0", "0xf0000000"]


def test_matches():
    values = np.array([7, 8, 7, 9] * 8, np.uint32)
    got = shuffled("match.any.sync.b32 %r2, %r1, -1;", values)[0]
    assert [hex(x) for x in got[:4]] == ["0x55555555", "0x22222222", "0x55555555", "0x88888888"]
    got, same = shuffled("match.all.sync.b32 %r2|%p0, %r1, -1;", values)
    assert not got.any()
    assert not same.any()
    got, same = shuffled("match.all.sync.b32 %r2|%p0, %r1, -1;", np.full(32, 5, np.uint32))
    assert [hex(x) for x in set(got)] == ["0xffffffff"]
    assert same.all()


def test_registers_of_a_lane():
    for name, expected in (
        ("laneid", LANES),
        ("lanemask_lt", (1 << LANES.astype(np.uint64)) - 1),
        ("lanemask_eq", 1 << LANES.astype(np.uint64)),
        ("lanemask_le", (2 << LANES.astype(np.uint64)) - 1),
        ("lanemask_gt", 2**32 - (2 << LANES.astype(np.uint64))),
        ("lanemask_ge", 2**32 - (1 << LANES.astype(np.uint64))),
    ):
        np.testing.assert_array_equal(shuffled(f"mov.u32 %r2, %{name};")[0], expected)
    assert set(shuffled("mov.u32 %r2, WARP_SZ;")[0]) == {32}
    with pytest.raises(PtxError, match="unknown register %clock"):
        shuffled("mov.u32 %r2, %clock;")
