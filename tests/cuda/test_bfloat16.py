"""Products in bfloat16 on the device, compiled by the real compiler and executed from their PTX.

Against float64 products of the rounded operands; a product of two bfloat16 is exact in float32, so what is left is the
rounding of sums.
"""

import itertools
import re

import numpy as np
import pytest

from fastvae import reference
from fastvae.kernels.formulas import IDENTITY, RELU, SILU, TANH, bfloat16
from tests.fake_driver import why_not
from tests.ptx import PtxError, mutants
from tests.ptx.assembling import EACH

REASON = why_not()
if REASON is None:
    from fastvae.kernels.cuda import dense, dense_bfloat16
    from tests.cuda.ptx_device import PTXDevice, code_of

compiled = pytest.mark.skipif(REASON is not None, reason=str(REASON))
LAYOUTS = list(itertools.product((False, True), repeat=2))  # whether A and B lie along the sum
TOLERANCE = 3e-6  # of the sum of the terms' absolute values


def rounded(x):
    """The nearest bfloat16, to even, in float64."""
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32).astype(np.float64)


def near(found, expected, allowed):
    """Where a number is as expected, which may be infinite or NaN."""
    with np.errstate(invalid="ignore"):
        return (np.abs(found - expected) <= allowed) | (found == expected) | (np.isnan(found) & np.isnan(expected))


class Launch:
    """Arrays and a table of products, as they grow; nothing begins where its array does."""

    def __init__(self, rng, a_along, b_along):
        self.rng, self.a_along, self.b_along = rng, a_along, b_along
        self.parts = {name: [self.normal(4)] for name in ("a", "b", "c", "before", "after")}
        self.rows, self.expected = [], []

    def normal(self, *shape):
        return self.rng.standard_normal(shape, np.float32)

    def put(self, name, array):
        """Where it begins: where it may be read by fours."""
        parts = self.parts[name]
        parts.append(np.full(-sum(x.size for x in parts) % 4, 7, np.float32))
        parts.append(np.ascontiguousarray(array, np.float32).ravel())
        return sum(x.size for x in parts[:-1])

    def operand(self, name, matrix, rest):
        """Where it begins, and from row to row: with a `rest`, a number that leaves it when divided by four. Nobody may
        use what lies between rows and after the last."""
        more = 0 if rest is None else (rest - matrix.shape[1]) % 4
        rows = np.pad(matrix, ((0, 1), (0, more)), constant_values=np.nan)
        return self.put(name, rows), rows.shape[1]

    def add(self, pairs, mode, code=IDENTITY, flag=1, rest=None):
        """A product of one or two pairs of operands (M, K), (K, N)."""
        table, total, size, sums, sizes = [], 0.0, 0.0, 0.0, 0.0
        for a, b in pairs:
            (m, depth), n = a.shape, b.shape[1]
            own = self.operand("a", a if self.a_along else a.T, rest)
            table.append((depth, *own, *self.operand("b", b.T if self.b_along else b, rest)))
            left, right = rounded(a), rounded(b)
            total, size = total + left @ right, size + np.abs(left) @ np.abs(right)
            sums, sizes = sums + b.sum(axis=0, dtype=float), sizes + np.abs(b).sum(axis=0, dtype=float)
        found, saved, line = self.normal(m, n), self.normal(m, n), self.normal(n)
        place, extra, bias = self.put("c", found), flag, 0
        if mode == dense.FORWARD:
            extra, bias = self.put("after", saved), self.put("before", line)
            total, size = total + line, size + np.abs(line)
            if code == SILU:
                self.expected.append(("after", extra, total, TOLERANCE * size))
                total = total * reference.sigmoid(total)
            elif code == TANH:
                total = np.tanh(total)
        elif mode == dense.GRADIENT:
            bias = self.put("after", line)
            if flag:
                self.expected.append(("after", bias, sums, 6e-7 * sizes))  # of numbers that are not rounded
        else:
            extra = self.put("before", saved)
            if mode == dense.ADDED:
                total, size = total + found, size + np.abs(found)
            slopes = {IDENTITY: np.ones_like(saved), TANH: 1 - saved.astype(float) ** 2, RELU: saved > 0}
            total, size = total * slopes[code], size * (1 + saved.astype(float) ** 2)
        self.rows.append(dense.row((m, n), table, mode, code, place, extra, bias))
        self.expected.append(("c", place, total, TOLERANCE * size + 1e-37))

    def run(self, launch):
        """Launch, and compare everything: what was not to be written is as it was."""
        arrays = {name: np.concatenate([*parts, self.normal(4)]) for name, parts in self.parts.items()}
        before, (table, tiles) = {name: array.copy() for name, array in arrays.items()}, dense.table_of(self.rows)
        arguments = [*arrays.values(), table, len(self.rows)]
        launch(dense_bfloat16.product(self.a_along, self.b_along), (tiles,), (dense.THREADS,), arguments)
        for name, place, result, allowed in self.expected:
            own = slice(place, place + result.size)
            found = arrays[name][own].reshape(result.shape)
            wrong = np.argwhere(~near(found, result, allowed))
            assert not len(wrong), (name, result.shape, len(wrong), wrong[0])
            before[name][own] = arrays[name][own]
        for name, array in before.items():
            np.testing.assert_array_equal(arrays[name], array)


def several_products(launch, a_along, b_along):
    """Of awkward shapes, with one or two pairs of operands each, every one with another end; and small ones with all
    tails of fours and units, read by fours or one by one."""
    products = Launch(np.random.default_rng(0), a_along, b_along)
    for m, n, depths, mode, code, flag in (
        (70, 66, (45,), dense.GRADIENT, IDENTITY, 1),
        (2, 5, (2, 1), dense.ADDED, TANH, 0),
        (64, 8, (32, 36), dense.FORWARD, SILU, 0),
        (3, 129, (64,), dense.BACKWARD, RELU, 0),
        (33, 17, (31, 33), dense.GRADIENT, IDENTITY, 0),
        (1, 1, (1,), dense.FORWARD, TANH, 0),
    ):
        pairs = [(products.normal(m, depth), products.normal(depth, n)) for depth in depths]
        products.add(pairs, mode, code, flag)
    for i, depth in enumerate((1, 2, 3, 4, 6, 8, 17, 18, 19, 20, 29, 31)):
        m, n = 49 + i, 64 - i
        for rest in (0, 1):
            pairs = [(products.normal(m, k), products.normal(k, n)) for k in (depth, 32 - depth)]
            products.add(pairs, dense.GRADIENT, rest=rest)
    products.run(launch)


@pytest.fixture(params=[(8, 0), (9, 0)], ids=["sm_80", "sm_90"])
def device(request, monkeypatch):
    """With warps in an order drawn from a seed, and races looked for."""
    return PTXDevice(request.param, 0, monkeypatch)


@compiled
@pytest.mark.parametrize(("a_along", "b_along"), LAYOUTS)
def test_several_products_in_one_launch(device, a_along, b_along):
    """For every way in which operands may lie; no bank of shared memory is met twice, by 128 bits or by 32."""
    several_products(device.launch, a_along, b_along)
    shared = [a for a in device.counters[-1].accesses if a.space == "shared" and a.requests]
    assert sum(a.wavefronts for a in shared) == 0
    assert sum(".v4." in a.text and a.kind == "load" for a in shared) >= 16  # fragments: 8, in the loop and after it
    assert sum(".v4." in a.text and a.kind == "store" for a in shared) >= 16


@compiled
@pytest.mark.slow
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 33, 5), (65, 31, 64), (129, 97, 66), (64, 256, 40)], ids=str)
@pytest.mark.parametrize(("a_along", "b_along"), LAYOUTS)
def test_shapes(device, a_along, b_along, shape):
    """One product, in three orders of the warps."""
    m, depth, n = shape
    for device.seed in range(3):
        products = Launch(np.random.default_rng(list(shape)), a_along, b_along)
        for mode in (dense.FORWARD, dense.BACKWARD, dense.ADDED, dense.GRADIENT):
            products.add([(products.normal(m, depth), products.normal(depth, n))], mode)
        products.run(device.launch)


@compiled
@pytest.mark.parametrize(("a_along", "b_along"), LAYOUTS)
def test_rounding(device, a_along, b_along):
    """To the nearest, to even; infinities stay, NaN stays NaN, what is too large becomes infinite, nothing 0."""
    half = np.float32(1 + 2.0**-8)  # between 1 and 1 + 2^-7
    values = [0, 1, -2.5, np.inf, -np.inf, 2.0**-133, half, -half, 1 + 3 * 2.0**-8, 3.4e38, -3.4e38, 1e-40, np.pi]
    values += [np.nextafter(half, np.float32(2)), np.nextafter(half, np.float32(0)), np.nan]
    bits = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF], np.uint32)  # NaN, of which a cut makes infinities
    values = np.concatenate([np.array(values, np.float32), bits.view(np.float32)])
    expected = np.array([bfloat16(value) for value in values])
    for of_a in (True, False):
        column, one = values[:, None], np.ones((1, 1), np.float32)
        a, b = (column, one) if of_a else (one, column.T)
        out, nothing = np.full(values.size, 7, np.float32), np.zeros(1, np.float32)
        pair = 1, 0, 1 if a_along else len(a), 0, 1 if b_along else b.shape[1]
        table, tiles = dense.table_of([dense.row((len(a), b.shape[1]), [pair], dense.BACKWARD, IDENTITY, 0, 0, 0)])
        arguments = [a.ravel(), b.ravel(), out, nothing, nothing, table, 1]
        device.launch(dense_bfloat16.product(a_along, b_along), (tiles,), (dense.THREADS,), arguments)
        np.testing.assert_array_equal(out, expected)


@compiled
@pytest.mark.parametrize(("a_along", "b_along"), LAYOUTS)
def test_what_is_not_finite_stays_in_its_row_and_column(device, a_along, b_along):
    """Also where the sum ends within a unit, and where tiles end beside it."""
    products = Launch(np.random.default_rng(0), a_along, b_along)
    a, b = products.normal(66, 37), products.normal(37, 66)
    a[3, 36], b[36, 65] = np.nan, np.nan
    a[64, 0], b[0, 5], a[64, 20], b[20, 5] = np.inf, 1, 1, -np.inf
    with np.errstate(invalid="ignore"):
        for pairs in ([(a, b)], [(a[1:4], b[:, :7]), (a[61:64], b[:, 59:])]):
            products.add(pairs, dense.BACKWARD)
    expected = products.expected[0][2]
    assert np.isnan(expected).sum() == 66 + 65 + 1  # a row, a column, and where infinities of both signs meet
    assert np.isinf(expected).sum() == 64 + 64
    products.run(device.launch)


@compiled
@pytest.mark.parametrize(("a_along", "b_along"), LAYOUTS)
def test_operands_are_read_once_in_whole_sectors(device, a_along, b_along):
    products = Launch(np.random.default_rng(0), a_along, b_along)
    for name in "ab":
        products.parts[name] = [products.normal(8)]  # so that rows begin where sectors do
    products.add([(products.normal(64, 64), products.normal(64, 64))], dense.BACKWARD)
    products.run(device.launch)
    reads = [a for a in device.counters[-1].accesses if a.kind == "load" and a.space == "global" and ".f32" in a.text]
    assert all(".v4." in a.text for a in reads if a.requests)
    assert sum(a.bytes for a in reads) == 2 * 4 * 64 * 64
    assert all(a.sectors == a.least_sectors for a in reads)


# ---- what the compiler makes of it --------------------------------------------------------------------------------


@compiled
@pytest.mark.parametrize("capability", [each for each in EACH if each.values[0] >= (8, 0)], ids=str)
@pytest.mark.parametrize(("a_along", "b_along"), LAYOUTS)
def test_code(a_along, b_along, capability, monkeypatch):
    """Matrix units; nothing in float64, nothing in local memory."""
    kernel = dense_bfloat16.product(a_along, b_along)
    code = code_of(kernel, capability, monkeypatch)
    body = code[code.index(".entry") :]
    assert body.count("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32") == 2 * 16  # in the loop and after it
    assert "cvt.rn.bf16x2.f32" in body
    assert "ld.global.v4.f32" in body
    for other in (".f64", ".local", "call", "ld.f32", "ld.v4"):  # the last two of an unknown memory
        assert other not in body


@compiled
def test_it_is_for_devices_that_have_bfloat16():
    for a_along, b_along in LAYOUTS:
        assert dense_bfloat16.product(a_along, b_along).least == (8, 0)
        assert dense.product(a_along, b_along).least == (7, 5)


# ---- whether a fault would be noticed -----------------------------------------------------------------------------

MMA = re.compile(r"(mma\.sync\S+\s+\{[^}]+\}, )\{(\S+), (\S+), (\S+), (\S+)\}, \{(\S+), (\S+)\}")
OTHER_LANES = {
    "rows of A by 8": r"\1{\3, \2, \5, \4}, {\6, \7}",
    "steps of A by 8": r"\1{\4, \5, \2, \3}, {\6, \7}",
    "rows and steps": r"\1{\2, \4, \3, \5}, {\6, \7}",
    "steps of B by 8": r"\1{\2, \3, \4, \5}, {\7, \6}",
}


def is_noticed(device, kernel, code, a_along, b_along):
    device.changed = {kernel.__name__: code}
    try:
        with np.errstate(all="ignore"):
            several_products(device.launch, a_along, b_along)
    except (AssertionError, PtxError):
        return True
    return False


@compiled
@pytest.mark.parametrize("fault", OTHER_LANES)
def test_fragments_in_another_order_are_noticed(fault, monkeypatch):
    """In one of the products of a warp alone."""
    kernel, device = dense_bfloat16.product(True, False), PTXDevice((8, 0), 0, monkeypatch)
    code = code_of(kernel, (8, 0), monkeypatch)
    changed, count = MMA.subn(OTHER_LANES[fault], code, count=1)
    assert count == 1
    assert is_noticed(device, kernel, changed, True, False)


@compiled
@pytest.mark.parametrize("place", range(4))
def test_a_barrier_that_is_not_there_is_noticed(place, monkeypatch):
    kernel, device = dense_bfloat16.product(False, False), PTXDevice((8, 0), 0, monkeypatch)
    changed = list(mutants(code_of(kernel, (8, 0), monkeypatch), ["barrier"]))
    assert len(changed) == 4
    assert is_noticed(device, kernel, changed[place].text, False, False)


EACH = 60  # mutants of a kernel, evenly chosen


@compiled
@pytest.mark.slow
@pytest.mark.parametrize(("a_along", "b_along"), LAYOUTS)
def test_faults_are_noticed(a_along, b_along, monkeypatch):
    """A comparison flipped, an offset moved, an address term dropped, ...: who survives should change nothing."""
    kernel, device = dense_bfloat16.product(a_along, b_along), PTXDevice((8, 0), 0, monkeypatch)
    several_products(device.launch, a_along, b_along)
    reached = device.reached[kernel.__name__]
    found = [m for m in mutants(code_of(kernel, (8, 0), monkeypatch)) if m.line in reached]
    chosen = found[:: max(1, len(found) // EACH)]
    survivors = [m for m in chosen if not is_noticed(device, kernel, m.text, a_along, b_along)]
    print(f"{kernel.__name__}: {len(chosen) - len(survivors)} of {len(chosen)} noticed", *survivors, sep="\n  ")
    assert len(survivors) <= 0.12 * len(chosen)
