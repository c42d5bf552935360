"""Loads, stores, atomics and asynchronous copies of the interpreter, and what it refuses of them."""

import numpy as np
import pytest

from tests.ptx import Pointer, PtxError, launch
from tests.ptx.handwritten import program

SHARED = ".shared .align 16 .b8 tile[1024];"
BEGIN = """
    mov.u32 %r0, %tid.x;
    ld.param.u64 %rd0, [n0]; ld.param.u64 %rd1, [n1];
    mul.wide.u32 %rd2, %r0, 4;
    add.u64 %rd3, %rd0, %rd2;  add.u64 %rd4, %rd1, %rd2;
    mov.u64 %rd5, tile;
    add.u64 %rd6, %rd5, %rd2;
"""


def run(code, x, out, block=32, grid=1, **options):
    """Threads with their element's address in x (%rd3), in out (%rd4) and in shared memory (%rd6)."""
    return launch(program(BEGIN + code, ["u64"] * 2, SHARED), grid, block, [Pointer(x), Pointer(out)], **options)


def words(n=32):
    return np.arange(n, dtype=np.uint32) + 1, np.zeros(n, np.uint32)


@pytest.mark.parametrize("kind", ["u8", "s8", "u16", "s16", "u32", "f32", "u64", "f64"])
def test_every_width(kind):
    dtype = np.dtype({"u": "u", "s": "i", "f": "f"}[kind[0]] + str(int(kind[1:]) // 8))
    x = np.array([1, 2, 100, -1 if dtype.kind == "i" else 255] * 8).astype(dtype)
    out = np.zeros(32, np.int64 if dtype.kind in "iu" else dtype)
    register = {"f32": "%f0", "f64": "%fd0"}.get(kind, "%rd9")
    code = f"""
    mov.u32 %r0, %tid.x;
    ld.param.u64 %rd0, [n0]; ld.param.u64 %rd1, [n1];
    mad.wide.u32 %rd0, %r0, {dtype.itemsize}, %rd0; mad.wide.u32 %rd1, %r0, {out.itemsize}, %rd1;
    ld.global.nc.{kind} {register}, [%rd0];
    st.global.b{8 * out.itemsize} [%rd1], {register};"""
    launch(program(code, ["u64"] * 2), 1, 32, [Pointer(x), Pointer(out)])
    np.testing.assert_array_equal(out, x)


def test_vectors():
    x, out = np.arange(128, dtype=np.float32), np.zeros(128, np.float32)
    code = """
    mul.wide.u32 %rd2, %r0, 16;
    add.u64 %rd3, %rd0, %rd2;  add.u64 %rd4, %rd1, %rd2;  add.u64 %rd6, %rd5, %rd2;
    ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%rd3];
    st.shared.v4.f32 [%rd6], {%f3, %f2, %f1, %f0};
    ld.shared.v2.f32 {%f4, %f5}, [%rd6+8];
    ld.shared.v2.f32 {%f6, _}, [%rd6];
    st.global.v4.f32 [%rd4], {%f4, %f5, %f6, %f6};"""
    run(code, x, out)
    rows = x.reshape(32, 4)
    np.testing.assert_array_equal(out.reshape(32, 4), rows[:, [1, 0, 3, 3]])


def test_generic_addresses():
    x, out = words()
    code = """
    ld.global.u32 %r1, [%rd3];
    cvta.shared.u64 %rd7, %rd6;
    st.u32 [%rd7], %r1;
    cvta.to.shared.u64 %rd8, %rd7;
    ld.shared.u32 %r2, [%rd8];
    cvta.global.u64 %rd9, %rd4;
    st.u32 [%rd9], %r2;"""
    run(code, x, out)
    np.testing.assert_array_equal(out, x)
    mixed = "cvta.shared.u64 %rd7, %rd6; setp.lt.u32 %p0, %r0, 9; selp.b64 %rd8, %rd7, %rd4, %p0; st.u32 [%rd8], %r0;"
    with pytest.raises(PtxError, match=r"several state spaces.*thread 9"):
        run(mixed, x, out)


def test_local_memory_is_each_threads_own():
    x, out = words()
    code = """
    .local .align 8 .b8 own[16];
    mov.u64 %rd7, own;
    cvta.local.u64 %rd8, %rd7;
    ld.global.u32 %r1, [%rd3];
    st.local.u32 [%rd7+4], %r1;
    ld.u32 %r2, [%rd8+4];
    st.global.u32 [%rd4], %r2;"""
    counters = run(code, x, out, count=True)
    np.testing.assert_array_equal(out, x)
    assert counters.local_bytes == 2 * 4 * 32
    with pytest.raises(PtxError, match="local access out of bounds"):
        run(code.replace("[%rd7+4]", "[%rd7+16]"), x, out)


def test_variables_of_the_module():
    x, out = words()
    declarations = SHARED + ".global .align 4 .u32 table[4] = {5, 6, 7, 8};\n.const .align 2 .b16 pair[2] = {3, -1};"
    code = """
    and.b32 %r1, %r0, 3;
    mov.u64 %rd7, table;
    mad.wide.u32 %rd7, %r1, 4, %rd7;
    ld.global.u32 %r2, [%rd7];
    ld.const.s16 %r3, [pair+2];
    add.u32 %r2, %r2, %r3;
    st.global.u32 [%rd4], %r2;"""
    launch(program(BEGIN + code, ["u64"] * 2, declarations), 1, 32, [Pointer(x), Pointer(out)])
    assert out.tolist() == [4, 5, 6, 7] * 8


def test_dynamic_shared_memory():
    x, out = words()
    code = "st.shared.u32 [%rd6], %r0; ld.shared.u32 %r1, [%rd6]; st.global.u32 [%rd4], %r1;"
    declarations = ".shared .align 4 .b8 fixed[20];\n.extern .shared .align 16 .b8 more[];"
    text = program(BEGIN.replace("tile", "more") + code, ["u64"] * 2, declarations)
    launch(text, 1, 32, [Pointer(x), Pointer(out)], shared=128)
    assert out.tolist() == list(range(32))
    with pytest.raises(PtxError, match=r"shared access out of bounds.*thread 31"):
        launch(text, 1, 32, [Pointer(x), Pointer(out)], shared=124)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("ld.global.u32 %r1, [%rd3+4];", r"global access out of bounds: line \d+: ld.*thread 31, address 0x"),
        ("ld.global.u32 %r1, [%rd3+-4];", "global access out of bounds.*thread 0"),
        ("st.global.u32 [%rd4+4], %r0;", "global access out of bounds.*thread 31"),
        ("ld.global.u32 %r1, [%rd3+2];", "misaligned global access.*thread 0"),
        ("ld.global.u32 %r1, [8];", "global access out of bounds"),
        ("ld.global.v2.u32 {%r1, %r2}, [%rd3];", "misaligned global access.*thread 1"),
        ("st.shared.u32 [%rd6+1000], %r0;", "shared access out of bounds.*thread 6"),
        ("st.shared.u32 [%rd6+2], %r0;", "misaligned shared access"),
        ("ld.shared.u32 %r1, [%rd6];", "shared memory read before it was written.*ld.shared.u32.*thread 0"),
        ("atom.global.add.u32 %r1, [%rd3+4], 1;", "global access out of bounds"),
        ("trap;", "trap"),
    ],
)
def test_refused(code, message):
    with pytest.raises(PtxError, match=message):
        run(code, *words())


def test_the_end_of_a_vector_counts():
    x, out = np.zeros(33, np.uint32), np.zeros(32, np.uint32)
    with pytest.raises(PtxError, match=r"global access out of bounds.*thread 16"):
        run("mad.wide.u32 %rd7, %r0, 8, %rd0; ld.global.v2.u32 {%r1, %r2}, [%rd7];", x, out)
    pairs = "mad.wide.u32 %rd7, %r0, 8, %rd5; st.shared.u32 [%rd7], 1; {} ld.shared.v2.u32 {{%r1, %r2}}, [%rd7];"
    with pytest.raises(PtxError, match="before it was written"):
        run(pairs.format(""), *words())
    run(pairs.format("st.shared.u32 [%rd7+4], 1;"), *words())


def test_what_is_refused_leaves_the_arrays_alone():
    x, out = words()
    with pytest.raises(PtxError):
        run("st.global.u32 [%rd4], 9; st.global.u32 [%rd4+4], 9;", x, out)
    assert not out.any()


def test_arrays_that_are_read_only():
    x, out = words()
    x.flags.writeable = False
    run("ld.global.u32 %r1, [%rd3]; st.global.u32 [%rd4], %r1;", x, out)
    np.testing.assert_array_equal(out, x)
    with pytest.raises(PtxError, match="read-only"):
        run("st.global.u32 [%rd3], 5;", x, out)


def test_views_are_aligned_as_in_their_buffer():
    code = "setp.ne.u32 %p0, %r0, 0; @%p0 ret; ld.global.v4.u32 {%r1, _, _, %r4}, [%rd3]; st.global.u32 [%rd4], %r4;"
    buffer, out = np.arange(64, dtype=np.uint32), np.zeros(32, np.uint32)
    run(code, buffer[4:], out)
    assert out[0] == 7
    with pytest.raises(PtxError, match="misaligned"):
        run(code, buffer[2:], out)


@pytest.mark.parametrize("order", ["lockstep", "warp"])
@pytest.mark.parametrize(
    ("operation", "kind", "operand", "expected"),
    [
        ("add", "u32", "%r0", 10 + sum(range(64))),
        ("min", "s32", "%r0", 0),
        ("max", "u32", "%r0", 63),
        ("and", "b32", "14", 10),
        ("or", "b32", "%r0", 63),
        ("xor", "b32", "5", 10),
        ("inc", "u32", "12", (10 + 64) % 13),
        ("dec", "u32", "63", (10 - 64) % 64),
    ],
)
def test_atomics(operation, kind, operand, expected, order):
    plain = f"red.global.{operation}.{kind} [%rd0], {operand};"
    fetching = f"atom.global.{operation}.{kind} %r1, [%rd0], {operand}; st.global.u32 [%rd4], %r1;"
    for code in (plain, fetching):
        x, out = np.array([10], np.uint32), np.zeros(64, np.uint32)
        run(code, x, out, block=64, order=order)
        assert x[0] == expected


@pytest.mark.parametrize("order", ["lockstep", "warp"])
def test_atomics_give_what_they_found(order):
    x, out = np.zeros(4, np.uint32), np.zeros(64, np.uint32)
    code = "and.b32 %r2, %r0, 3; mad.wide.u32 %rd7, %r2, 4, %rd0; "
    code += "atom.global.add.u32 %r1, [%rd7], 1; st.global.u32 [%rd4], %r1;"
    run(code, x, out, block=64, order=order, seed=5)
    assert x.tolist() == [16] * 4
    for column in out.reshape(16, 4).T:
        assert sorted(column) == list(range(16))
    in_order = out.reshape(16, 4)[:, 0].tolist() == list(range(16))
    assert in_order == (order == "lockstep")


def test_exchange_and_compare():
    x, out = np.zeros(1, np.uint32), np.zeros(32, np.uint32)
    run("add.u32 %r2, %r0, 1; atom.global.exch.b32 %r1, [%rd0], %r2; st.global.u32 [%rd4], %r1;", x, out)
    assert sorted([*out, x[0]]) == list(range(33))
    x[0], out[:] = 0, 0
    run("add.u32 %r2, %r0, 1; atom.global.cas.b32 %r1, [%rd0], %r0, %r2; st.global.u32 [%rd4], %r1;", x, out)
    assert x[0] == 32
    assert out.tolist() == list(range(32))


def test_float_and_shared_atomics():
    x, out = np.ones(32, np.float32), np.zeros(32, np.float32)
    code = """
    setp.ne.u32 %p0, %r0, 0;
    @!%p0 st.shared.f32 [%rd5], 0f00000000;
    bar.sync 0;
    ld.global.f32 %f0, [%rd3];
    atom.shared.add.f32 %f1, [%rd5], %f0;
    bar.sync 0;
    ld.shared.f32 %f2, [%rd5];
    st.global.f32 [%rd4], %f2;"""
    run(code, x, out)
    assert out.tolist() == [32.0] * 32


COPY = """
    mul.wide.u32 %rd2, %r0, 16;
    add.u64 %rd3, %rd0, %rd2;  add.u64 %rd4, %rd1, %rd2;  add.u64 %rd6, %rd5, %rd2;
    cp.async.cg.shared.global [%rd6], [%rd3], 16;
    cp.async.commit_group;
    cp.async.cg.shared.global [%rd6+512], [%rd3], 16, 8;
    cp.async.commit_group;
"""
FIRST = "ld.shared.v4.u32 {%r1, %r2, %r3, %r4}, [%rd6]; st.global.v4.u32 [%rd4], {%r1, %r2, %r3, %r4};"
SECOND = FIRST.replace("[%rd6]", "[%rd6+512]")


def test_asynchronous_copies_arrive_in_groups():
    x, out = words(128)
    run(COPY + "cp.async.wait_group 1;" + FIRST, x, out)
    np.testing.assert_array_equal(out, x)
    run(COPY + "cp.async.wait_group 0;" + SECOND, x, out)
    np.testing.assert_array_equal(out.reshape(32, 4), np.where(np.arange(4) < 2, x.reshape(32, 4), 0))
    run(COPY + "cp.async.wait_all;" + SECOND, x, out)
    with pytest.raises(PtxError, match=r"while a copy to it is under way.*thread 0"):
        run(COPY + "cp.async.wait_group 1;" + SECOND, x, out)
    with pytest.raises(PtxError, match="while a copy to it is under way"):
        run(COPY + FIRST, x, out)
    with pytest.raises(PtxError, match="while a copy to it is under way"):
        run(COPY + "st.shared.u32 [%rd6], 1;", x, out)


def test_asynchronous_copies_need_a_barrier_for_other_threads():
    x, out = words(128)
    other = "xor.b32 %r5, %r0, 1; mad.wide.u32 %rd6, %r5, 16, %rd5;" + FIRST
    run(COPY + "cp.async.wait_all; bar.sync 0;" + other, x, out)
    np.testing.assert_array_equal(out.reshape(16, 2, 4), x.reshape(16, 2, 4)[:, ::-1])
    with pytest.raises(PtxError, match="race in shared memory"):
        run(COPY + "cp.async.wait_all;" + other, x, out)


def test_a_wait_for_one_thread_is_none_for_others():
    half = COPY + "setp.lt.u32 %p0, %r0, 16; @%p0 bra $SKIP; cp.async.wait_all;\n$SKIP:" + FIRST
    with pytest.raises(PtxError, match=r"under way.*thread 0"):
        run(half, *words(128))


@pytest.mark.parametrize("code", ["cp.async.bulk.commit_group", "st.global.v4.u32 [%rd3]", "ld.global.q32 %r1, [%rd3]"])
def test_what_cannot_be_read_is_refused(code):
    with pytest.raises(PtxError, match=r"unknown|cannot decode"):
        run(f"{code};", *words())
