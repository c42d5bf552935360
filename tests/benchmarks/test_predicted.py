"""The counts behind the predicted times, against the compiled kernels, executed by an interpreter."""

import subprocess
import sys

import numpy as np
import pytest

from tests.ptx import launch
from tests.ptx.assembling import assembled, occupancy
from tests.ptx.assembling import why_not as why_not_assembled
from tests.ptx.compiling import pretend_device, why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from benchmarks import predicted
from benchmarks.h100 import CLOCK, INNER, PAGE, SHARED, Work, work
from benchmarks.predicted import SecondCache, recorded, terms
from benchmarks.sizes import SIZES, Size
from fastvae.kernels.cuda.driver import compiled

CAPABILITY = (9, 0)
WHOLE = Size("whole", 128, 64, 128, 64)  # all lanes have work, all numbers of a tile count, rows are whole sectors
PARTS = Size("parts", 72, 80, 12, 37)  # none of that
SMALL = ("next_step", "losses")  # of one block, whose threads have little to do, some more than others


@pytest.fixture(scope="module", params=[(WHOLE, "float32"), (PARTS, "float32"), (WHOLE, "bfloat16")], ids=str)
def executed(request):
    """The launches of a step: noted, predicted, counted."""
    size, precision = request.param
    found = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        pretend_device(monkeypatch, CAPABILITY)
        for one in recorded(size, precision):
            if precision == "float32" or "bfloat16" in one.name:
                code = compiled(one.kernel, CAPABILITY).ptx
                counters = launch(code, one.grid, one.block, one.arguments, races=False, count=True)
                found.append((one, work(one.name, one.arguments), counters))
    return size, found


def threads(one):
    return int(np.prod(one.grid) * np.prod(one.block))


def moved(one, counters, kind):
    """Bytes of the sectors of global memory that are asked for; of products, without those of their table."""
    accesses = [a for a in counters.accesses if a.space == "global" and a.kind == kind]
    return 32 * sum(a.sectors for a in accesses if one.name not in INNER or "f32" in a.text)


def union(ranges):
    """How many bytes there are in ranges that may overlap."""
    total = end = 0
    for start, size in sorted(ranges):
        total += max(0, start + size - max(start, end))
        end = max(end, start + size)
    return total


def test_blocks(executed):
    for one, made, _ in executed[1]:
        assert (made.blocks, 32 * made.warps) == (np.prod(one.grid), np.prod(one.block)), one.name


def test_traffic_to_the_second_cache(executed):
    """Exact for rows of whole sectors that begin with one; others move up to a third more."""
    size, found = executed
    for one, made, counters in found:
        anywhere = one.name in SMALL or one.name.startswith("gather")  # indices and scales may begin anywhere
        more = 1.0 if size is WHOLE and not anywhere else 1.34
        for kind, expected in (("load", made.loaded), ("store", made.stored)):
            assert expected <= moved(one, counters, kind) <= more * expected, (one.name, kind)


def test_bytes_of_memory(executed):
    """Each counted once: what is read, but for tables and single numbers, and what is written."""
    for one, made, counters in executed[1]:
        table = one.arguments[5].nbytes if one.name in INNER else 0
        read, written = union(made.reads) + made.fresh, union(made.writes)
        assert read == pytest.approx(counters.distinct_read_bytes, abs=table + 150), one.name
        assert written == pytest.approx(counters.distinct_written_bytes, abs=8), one.name


def test_arithmetic_and_shared_memory(executed):
    """Exact."""
    for one, made, counters in executed[1]:
        if one.name in (*INNER, "losses"):
            assert made.shared == counters.total("bytes", "shared"), one.name
        if one.name in INNER:
            mma = sum(n for name, n in counters.instructions.items() if name.startswith("mma.sync"))
            assert (made.fma, made.mma) == (counters.instructions["fma.rn.f32"], mma / 32 * 2 * 16 * 8 * 16)
            assert counters.bank_conflicts == 0


def test_instructions(executed):
    """Of the warp that has most; where all have the same, that is what a thread executes."""
    size, found = executed
    for one, made, counters in found:
        each = counters.executed / threads(one)
        if size is WHOLE and one.name not in SMALL:
            assert made.instructions == pytest.approx(each, rel=0.06), one.name
        else:
            assert made.instructions > 0.94 * each, one.name


def test_operations(executed):
    """Those of float32, a multiply-add counted as two; of products, what is not a tile's rest."""
    size, found = executed
    for one, made, counters in found:
        done = [(name, n) for name, n in counters.instructions.items() if name.endswith(".f32")]
        done = [(name.split(".")[0], n) for name, n in done]
        flops = sum(
            n * (1 + (name == "fma")) for name, n in done if name in ("fma", "add", "sub", "mul", "div", "sqrt")
        )
        if one.name in INNER:
            assert made.flops <= max(2 * made.fma, made.mma)
            assert size is not WHOLE or made.flops == max(2 * made.fma, made.mma)
        elif size is WHOLE and one.name not in SMALL:
            assert made.flops == pytest.approx(flops, rel=0.1), one.name


def test_rounds_of_the_inner_loop(executed):
    """In float32 each takes two steps of the sum, and waits for shared memory twice."""
    for one, _, counters in executed[1]:
        if one.name in ("dense_along_across", "dense_along_along"):
            steps = {-(-int(row[5]) // 16) + -(-int(row[12]) // 16) for row in one.arguments[5].reshape(-1, 22)}
            loads = [a.lanes for a in counters.accesses if a.space == "shared" and a.kind == "load" and ".v4" in a.text]
            assert max(loads) == 8 * max(1, max(steps) - 1) * threads(one), one.name
            assert INNER[one.name].waits == 8 * 2 * SHARED


@pytest.mark.skipif(why_not_assembled() is not None, reason=str(why_not_assembled()))
def test_blocks_on_a_multiprocessor(executed, monkeypatch):
    pretend_device(monkeypatch, CAPABILITY)
    for one, made, _ in executed[1]:
        found = assembled(compiled(one.kernel, CAPABILITY).ptx, CAPABILITY)
        assert made.resident == occupancy(found, int(np.prod(one.block)), CAPABILITY).blocks, one.name


# ---- from counts to seconds, worked out by hand ----------------------------------------------------------------------


def test_terms():
    """200 blocks: 2 on the fullest multiprocessor, and 2 waves where it has room for one."""
    made = Work(200, 4, 1, instructions=300, waits=100, loaded=5.5e6, stored=0, fma=200 * 1280, shared=200 * 2560)
    found = {name: seconds * CLOCK for name, seconds in terms(made, 3.35e6).items()}
    assert found == pytest.approx({
        "latency": 2 * 400, "issue": 2 * 300, "FMA": 2 * 10, "matrix units": 0, "shared memory": 2 * 20,
        "L2": 1e-6 * CLOCK, "DRAM": 1e-6 * CLOCK,
    })  # fmt: skip


def test_second_cache(monkeypatch):
    """What fits stays, and is not written back; what does not fit comes again each time, and goes."""
    monkeypatch.setattr(predicted, "L2_BYTES", 4 * PAGE)
    reads, changes, fresh = (Work(1, 1, 1) for _ in range(3))
    reads.reads, changes.writes, fresh.fresh = [(0, 2 * PAGE)], [(2 * PAGE, 2 * PAGE)], 3 * PAGE
    cache = SecondCache()
    assert [cache.use(made) / PAGE for made in (reads, changes, reads, changes)] == [2, 0, 0, 0]
    assert cache.use(fresh) / PAGE == 3 + 1  # the pages that were read leave first, then one that was changed
    assert cache.use(reads) / PAGE == 2 + 1


def test_more_blocks_are_faster():
    """The model's main finding: with a batch of M, products leave most multiprocessors idle."""
    found = predicted.predicted(recorded(SIZES["M"]))
    products = [one for one in found if one.launched.name in INNER]
    assert {one.bound for one in products[:-1]} == {"few blocks"}
    assert products[0].made.blocks == 2 * 7  # 128 x 400 in tiles of 64 x 64


# ---- the command -----------------------------------------------------------------------------------------------------


def test_every_line_says_what_it_is():
    """A table a size, its sums, and that it is a prediction; without a GPU, and without the toolkit's compiler."""
    command = [sys.executable, predicted.__file__, "--size", "XS", "--precision", "float32"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()
    assert lines[1].startswith("PREDICTED for an H100")
    assert "not measured" in lines[1]
    assert len(lines) == 3 + len(recorded(SIZES["XS"])) + 2
    assert "15 launches" in lines[-2]
    assert "graph" in lines[-1]


def test_kernels_without_formulas_are_refused():
    with pytest.raises(NotImplementedError, match="no formulas for squared_error"):
        work("squared_error", [])
