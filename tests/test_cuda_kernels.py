"""Kernels for the device, compiled by the real compiler and executed from their PTX: the checks of the contract."""

import re

import numpy as np
import pytest
from ptx import PtxError, mutants
from ptx.compiling import why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from ptx_device import PTXDevice, code_of
from test_contract import CHECKS, FIRST_ROW, SEED, SHAPES, STEP, normal

from fastvae import reference
from fastvae.kernels import cpu, philox
from fastvae.kernels.cuda import calls, dense, minibatch
from fastvae.kernels.cuda.device import KERNELS, using
from fastvae.kernels.formulas import IDENTITY, RELU, SILU, TANH
from fastvae.kernels.scalars import ADAM_STEP, BETA1, BETA2, CLIP_NORM, EPSILON, LEARNING_RATE, WEIGHT_DECAY, Scalars
from tolerances import check

ARCHITECTURES = [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 0), (12, 0)]
OPS = [op for op in CHECKS if hasattr(calls, op)]
for types in (("uint8", "float32"), ("int16", "float32"), ("float32", "float32"), ("float64", "float64")):
    minibatch.gathering(*map(np.dtype, types))  # so that it is among KERNELS


@pytest.fixture(params=[(8, 0), (9, 0)], ids=["sm_80", "sm_90"])
def device(request, monkeypatch):
    with using(PTXDevice(request.param, 0, monkeypatch)) as made:
        yield made


LONG = [op for op in OPS if op.startswith("dense")]  # a launch takes a second


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("op", [op for op in OPS if op not in LONG])
def test_op(device, op, shape):
    """Against float64, with warps in an order drawn from three seeds, and races looked for."""
    for device.seed in range(3):
        CHECKS[op](calls, np.random.default_rng(list(shape)), shape)


@pytest.mark.parametrize("shape", [(1, 1), (7, 33)], ids=str)
@pytest.mark.parametrize("op", LONG)
def test_op_of_layers(op, shape, monkeypatch):
    """The same for one architecture and one order."""
    with using(PTXDevice((8, 0), 1, monkeypatch)):
        CHECKS[op](calls, np.random.default_rng(list(shape)), shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("op", LONG)
def test_op_of_layers_in_three_orders(device, op, shape):
    for device.seed in range(3):
        CHECKS[op](calls, np.random.default_rng(list(shape)), shape)


@pytest.mark.parametrize("shape", [(3, 1), (5, 8), (2, 21)], ids=str)
def test_noise_is_that_of_the_cpu(device, shape):
    found, expected = (np.empty(shape, np.float32) for _ in range(2))
    for kernels, out in ((calls, found), (cpu, expected)):
        kernels.uniform_noise(SEED, philox.PRIOR, STEP, FIRST_ROW, out)
    np.testing.assert_array_equal(found, expected)  # one word each, exactly
    for kernels, x in ((calls, found), (cpu, expected)):
        kernels.binarize_inplace(x, SEED, STEP, FIRST_ROW)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("op", ["normal_noise", "uniform_noise", "binarize_inplace"])
def test_more_rows_than_a_grid_has(device, op, monkeypatch):
    monkeypatch.setattr(calls, "MOST_ROWS", 3)
    CHECKS[op](calls, np.random.default_rng(0), (7, 33))


@pytest.mark.parametrize("count", [1, 2, 100, 1025])
def test_the_order_is_that_of_the_cpu(device, count):
    check_order(count)


def check_order(count):
    found, expected = (np.empty(max(1, count - 3), np.int64) for _ in range(2))
    for kernels, out in ((calls, found), (cpu, expected)):
        kernels.shuffled_indices(SEED, 7, count, min(3, count - 1), out[: count - min(3, count - 1)])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("code", "?bBhHiIlLqQfd")
def test_rows_are_those_of_the_cpu(device, code):
    """Of every type, in every bit; but the CPU scales uint16 in float64."""
    rng, dtype = np.random.default_rng(0), np.dtype(code)
    data = (rng.random((9, 37)) * 100).astype(dtype)
    scaling = [
        rng.random(37).astype(np.float32 if dtype.itemsize <= 2 or code == "f" else np.float64) for _ in range(2)
    ]
    found, expected = (np.empty((5, 37), np.float32) for _ in range(2))
    for kernels, out in ((calls, found), (cpu, expected)):
        kernels.gather(data, np.array([3, 0, 8, 8, 1]), *scaling, out)
    np.testing.assert_array_max_ulp(found, expected, int(code == "H"))


POWERS = {"total": 1, "squared_norm": 2}


@pytest.mark.parametrize("op", POWERS)
def test_sums_hold_more_digits_than_their_terms(device, op):
    check_sum(op)


def check_sum(op):
    """Over all blocks, each thread with several shares, and a tail."""
    values = np.random.default_rng(0).lognormal(0, 4, 300_003).astype(np.float32)
    check(np.float64(getattr(calls, op)(values)), (values.astype(float) ** POWERS[op]).sum(), "exact")


@pytest.mark.parametrize("op", POWERS)
def test_sums_are_not_finite_where_a_term_is_not(device, op):
    for value in (np.inf, np.nan):
        values = np.ones(1030, np.float32)
        values[1] = value
        np.testing.assert_equal(getattr(calls, op)(values), value)


@pytest.mark.parametrize("clip_norm", [0.0, 0.5, 1e9])
def test_adam_clips_without_the_host(device, clip_norm):
    check_adam(clip_norm)


def check_adam(clip_norm):
    rng, scalars = np.random.default_rng(0), Scalars()
    scalars.integers[ADAM_STEP] = 3
    scalars.reals[[LEARNING_RATE, BETA1, BETA2, EPSILON, WEIGHT_DECAY]] = settings = 0.01, 0.9, 0.99, 1e-8, 0.1
    scalars.reals[CLIP_NORM] = clip_norm
    found = rng.normal(size=(4, 131_075)).astype(np.float32)  # all parts of the norm have a share, and some two
    found[3] **= 2
    expected = found.copy()
    calls.adam_with_clipping(*found, scalars)
    norm = np.linalg.norm(expected[1].astype(float))
    scale = clip_norm / norm if clip_norm and norm > clip_norm else 1.0
    cpu.adam_inplace(*expected, 3, *settings, scale)
    for array, other in zip(found, expected, strict=True):
        check(array, other, "adam", np.abs(other) + 0.01)


# ---- products of matrices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("b_along", [False, True])
@pytest.mark.parametrize("a_along", [False, True])
def test_several_products_in_one_launch(device, a_along, b_along):
    """Of any shapes, one or two pairs of operands each, for every way in which they may lie; no bank is met twice."""
    several_products(device, a_along, b_along)
    assert sum(a.wavefronts for a in device.counters[-1].accesses if a.space == "shared") == 0
    assert any(".v4." in a.text for a in device.counters[-1].accesses if a.space == "shared" and a.kind == "load")


def several_products(device, a_along, b_along):
    """Each with another end; nothing begins where its array does, and nothing is written beside it."""
    rng = np.random.default_rng(0)
    flat = {name: [normal(rng, 4)] for name in ("a", "b", "c", "before", "after")}
    expected, rows = [], []

    def put(name, array):
        """Where it begins; always by fours, as the operands must to be read so."""
        flat[name].append(np.full(-sum(x.size for x in flat[name]) % 4, 7, np.float32))
        place = sum(x.size for x in flat[name])
        flat[name].append(np.ascontiguousarray(array, np.float32).ravel())
        return place

    for m, n, depths, mode, code in (
        (70, 66, (45,), dense.GRADIENT, IDENTITY),
        (2, 5, (2, 1), dense.ADDED, TANH),
        (64, 8, (16, 20), dense.FORWARD, SILU),
        (3, 129, (64,), dense.BACKWARD, RELU),
    ):
        pairs, total, size, sums = [], 0.0, 0.0, 0.0
        for depth in depths:
            a, b = normal(rng, m, depth), normal(rng, depth, n)
            places = put("a", a if a_along else a.T), put("b", b.T if b_along else b)
            pairs.append((depth, places[0], depth if a_along else m, places[1], depth if b_along else n))
            total, size = total + a.astype(float) @ b, size + np.abs(a).astype(float) @ np.abs(b)
            sums = sums + b.sum(axis=0, dtype=float)
        extra, bias = 0, 0
        found, saved, line = normal(rng, m, n), normal(rng, m, n), normal(rng, n)
        place = put("c", found)
        if mode == dense.FORWARD:
            extra, bias = put("after", saved), put("before", line)
            total, size = total + line, size + np.abs(line)
            expected.append(("after", extra, total, size))
            total = total * reference.sigmoid(total)
        elif mode == dense.GRADIENT:
            extra, bias = 1, put("after", line)
            expected.append(("after", bias, sums, 45.0 * np.ones(n)))
        else:
            extra = put("before", saved)
            if mode == dense.ADDED:
                total, size = total + found, size + np.abs(found)
            total = total * (1 - saved.astype(float) ** 2 if code == TANH else saved > 0)
            size = size * (1 + saved.astype(float) ** 2)
        rows.append(dense.row((m, n), pairs, mode, code, place, extra, bias))
        expected.append(("c", place, total, size))
    arrays = {name: np.concatenate([*parts, normal(rng, 4)]) for name, parts in flat.items()}
    before, (table, tiles) = {name: array.copy() for name, array in arrays.items()}, dense.table_of(rows)
    how = (tiles,), (dense.THREADS,), [*arrays.values(), table, len(rows)]
    device.launch(dense.product(a_along, b_along), *how)
    for name, place, result, size in expected:
        own = slice(place, place + result.size)
        check(arrays[name][own].reshape(result.shape), result, "dense", size)
        before[name][own] = arrays[name][own]
    for name, array in before.items():
        np.testing.assert_array_equal(arrays[name], array)


# ---- what the compiler makes of them ------------------------------------------------------------------------------


SINGLY = ("draw", "binarize_inplace", "derivative_inplace", "shuffled_indices", "count_outside", "threshold_inplace")


@pytest.mark.parametrize("capability", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
def test_code(kernel, capability, monkeypatch):
    """For every architecture: nothing in float64, nothing in local memory, 128 bits at a time where that can be."""
    code = code_of(kernel, capability, monkeypatch)
    body = code[code.index(".entry") :]
    assert ".f64" not in body or "float64" in kernel.__name__
    assert ".local" not in body
    assert "call" not in body
    if kernel.__name__ not in SINGLY and not kernel.__name__.startswith("gather"):
        assert "ld.global.v4.f32" in body


@pytest.mark.parametrize("columns", [64, 136])
def test_traffic_is_the_least_there_can_be(device, columns):
    """Each input read once, each output written once, in whole sectors."""
    rng, rows = np.random.default_rng(0), 6
    x, mu, logvar = (rng.random((rows, columns), np.float32) for _ in range(3))
    out, other, sums = np.empty_like(x), np.empty_like(x), np.empty(rows, np.float32)
    flat, size = [x.reshape(-1).copy() for _ in range(4)], 4 * x.size
    for run, read, written in (
        (lambda: calls.latent_forward(mu, logvar, out[:0], SEED, 1, 0, out, sums), 2 * size, size),
        (lambda: calls.latent_backward(mu, logvar, x, out[:0], SEED, 1, 0, 0.1, out, other), 3 * size, 2 * size),
        (lambda: calls.bernoulli_forward_backward(x, mu, 0.1, sums, out), 2 * size, size),
        (lambda: calls.squared_error_forward_backward(x, mu, 1.0, 0.1, sums, out), 2 * size, size),
        (lambda: calls.adam_inplace(*flat, 1, 0.1, 0.9, 0.9, 1e-8, 0.0, 1.0), 4 * size, 3 * size),
    ):
        run()
        counters = device.counters[-1]
        assert counters.distinct_written_bytes <= written + 4 * rows
        assert counters.written_bytes <= 1.05 * (written + 4 * rows)
        wide = [a for a in counters.accesses if a.space == "global" and ".v4." in a.text]
        assert sum(a.bytes for a in wide if a.kind == "load") == read
        assert all(a.sectors == a.least_sectors for a in wide)


# ---- whether a fault would be noticed -----------------------------------------------------------------------------

REACHING = [(5, 1), (3, 70), (2, 67), (2, 260)]  # each tail of a row, and more columns than a warp takes at a time
USERS = {
    "latent_forward": ["latent_forward"],
    "latent_backward": ["latent_backward"],
    "bernoulli": ["bernoulli_forward", "bernoulli_forward_backward"],
    "squared_error": ["squared_error_forward", "squared_error_forward_backward"],
    "sigmoid_inplace": ["sigmoid_inplace"],
    "scale_inplace": ["scale_inplace"],
    "adam_inplace": ["adam_inplace"],
    "dense_along_across": ["dense_forward"],
    "dense_along_along": ["dense_backward_input"],
    "dense_across_across": ["dense_backward_weight"],
    "derivative_inplace": ["dense_backward_input"],
    "draw": ["normal_noise", "uniform_noise"],
    "binarize_inplace": ["binarize_inplace"],
    "threshold_inplace": ["threshold_inplace"],
    "shuffled_indices": ["shuffled_indices"],
    "gather_uint8_float32": ["gather"],
    "gather_int16_float32": ["read_rows"],
    "count_outside": ["read_rows"],
    "total_parts": ["total"],
    "square_parts": ["squared_norm"],
}
PRODUCTS = {  # how the operands lie
    "dense_forward": (True, False),
    "dense_backward_input": (True, True),
    "dense_backward_weight": (False, False),
}
MORE = {  # numbers for a second block
    "normal_noise": (1, 1030),
    "binarize_inplace": (1, 1030),
    "threshold_inplace": (5, 67),
    "gather": (9, 40),
    "read_rows": (9, 40),
}
EACH = 70  # mutants of a kernel, evenly chosen


def run_all(device, ops):
    for op in ops:
        if op in PRODUCTS:  # first: it notices most, in a second
            several_products(device, *PRODUCTS[op])
        for shape in REACHING:
            CHECKS[op](calls, np.random.default_rng(list(shape)), shape)
        if op in MORE:
            CHECKS[op](calls, np.random.default_rng(0), MORE[op])
        if op in POWERS:
            check_sum(op)
    if "shuffled_indices" in ops:
        check_order(1025)
    if "adam_inplace" in ops:
        for clip_norm in (0.5, 1e9):
            check_adam(clip_norm)


def is_equivalent(mutant):
    """Where two pieces of a continuous formula meet, it does not matter which of them the point itself belongs to."""
    found = [re.search(r"setp\.(l|g)[te]u?\.f32", line) for line in (mutant.before, mutant.after)]
    return all(found) and found[0][1] == found[1][1]


@pytest.mark.slow
@pytest.mark.parametrize("name", USERS)
def test_faults_are_noticed(name, monkeypatch):
    """A comparison flipped, an offset moved, a shuffle changed, an address term dropped, ...

    Who survives should change nothing, or no more than rounding: the 2^-33 of a uniform word, the last coefficients of
    a polynomial, the shuffle by 1 that was one, comparisons of sizes that are never equal there.
    """
    kernel = next(kernel for kernel in KERNELS if kernel.__name__ == name)
    with using(PTXDevice((8, 0), 0, monkeypatch)) as device:
        run_all(device, USERS[name])
        reached = device.reached[name]
        all_mutants = [
            m for m in mutants(code_of(kernel, (8, 0), monkeypatch)) if m.line in reached and not is_equivalent(m)
        ]
        chosen = all_mutants[:: max(1, len(all_mutants) // EACH)]
        survivors = []
        for mutant in chosen:
            device.changed = {name: mutant.text}
            with np.errstate(all="ignore"):
                try:
                    run_all(device, USERS[name])
                except (AssertionError, PtxError):
                    continue
            survivors.append(mutant)
    print(f"{name}: {len(chosen) - len(survivors)} of {len(chosen)} noticed")
    for mutant in survivors:
        print(f"  {mutant.kind}, line {mutant.line}: {mutant.before.strip()} -> {mutant.after.strip()}")
    assert len(survivors) <= 0.12 * len(chosen)
