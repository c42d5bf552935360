"""Kernels for the device, compiled by the real compiler and executed from their PTX: the checks of the contract."""

import numpy as np
import pytest

from tests.fake_driver import why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from fastvae import reference
from fastvae.contract_cases import cases_of
from fastvae.contract_cases.case import KEY, ROW, STEP
from fastvae.kernels import cpu, cuda, philox
from fastvae.kernels.cuda import calls, dense, launches, minibatch, sigma
from fastvae.kernels.cuda.declaration import KERNELS
from fastvae.kernels.cuda.driver import using
from fastvae.kernels.formulas import IDENTITY, RELU, SILU, TANH
from fastvae.kernels.memory import empty
from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slots
from tests.cuda.ptx_device import PTXDevice, code_of
from tests.ptx.assembling import EACH
from tests.support.contract import SHAPES, as_a_function, check_op
from tests.support.tolerances import check

for types in (("uint8", "float32"), ("int16", "float32"), ("float32", "float32"), ("float64", "float64")):
    minibatch.gathering(*map(np.dtype, types))  # so that it is among KERNELS


@pytest.fixture(params=[(8, 0), (9, 0)], ids=["sm_80", "sm_90"])
def device(request, monkeypatch):
    with using(PTXDevice(request.param, 0, monkeypatch)) as made:
        yield made


def seeds(device):
    """Of three orders of the warps; code for the later architecture is executed in one of them."""
    return range(3 if device.capability() == (8, 0) else 1)


def normal(rng, *shape):
    return rng.standard_normal(shape, np.float32)


def on_device(kernels, case):
    """Do a case as models do: by a program, with every number in a slot."""
    slots = Slots()
    program = cuda.Program(slots)
    case.write(program, slots)
    program.run()
    cuda.download(*program.operands)
    return case.left(slots)


LONG = [op for op in OPS if op.startswith(("dense", "masked", "prefix"))]  # a launch takes a second


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("op", [op for op in OPS if op not in LONG])
def test_op(device, op, shape):
    """Against float64, with warps in an order drawn from three seeds, and races looked for."""
    for seed in seeds(device):
        device.seed = seed
        check_op(cuda, op, shape, [on_device])


@pytest.mark.parametrize("op", ["latent_backward", "clip_scale", "sgd_inplace", "poisson_forward", "read_rows"])
def test_functions_do_what_programs_do(op, monkeypatch):
    """With an operand of each kind."""
    with using(PTXDevice((8, 0), 1, monkeypatch)):
        check_op(calls, op, (3, 4, 3), [on_device, as_a_function])


@pytest.mark.parametrize("op", OPS)
def test_every_op_is_launched(op, monkeypatch):
    """By a program of its cases; one alone may have nothing to do."""
    device = PTXDevice((8, 0), 0, monkeypatch)
    monkeypatch.setattr(device, "launch", lambda *launched: device.launched.append(launched))
    with using(device):
        for case in cases_of(op, (3, 4, 3)):
            on_device(cuda, case)
    assert device.launched


@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 33, 23)], ids=str)
@pytest.mark.parametrize("op", LONG)
def test_op_of_layers(op, shape, monkeypatch):
    """The same for one architecture and one order."""
    with using(PTXDevice((8, 0), 1, monkeypatch)):
        check_op(cuda, op, shape, [on_device])


@pytest.mark.parametrize("op", ["prefix_forward", "prefix_backward"])
def test_prefixes_in_chunks(op, monkeypatch):
    """More columns than one chunk has; the forward's units in several turns are among the long ones."""
    with using(PTXDevice((8, 0), 1, monkeypatch)):
        check_op(cuda, op, (2, 70, 3), [on_device])


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("op", LONG)
def test_op_of_layers_in_three_orders(device, op, shape):
    for device.seed in range(3):
        check_op(cuda, op, shape, [on_device])


@pytest.mark.parametrize("shape", [(3, 1), (5, 8), (2, 21)], ids=str)
def test_noise_is_that_of_the_cpu(device, shape):
    found, expected = (np.empty(shape, np.float32) for _ in range(2))
    for kernels, out in ((calls, found), (cpu, expected)):
        kernels.uniform_noise(KEY, philox.PRIOR, STEP, ROW, out)
    np.testing.assert_array_equal(found, expected)  # one word each, exactly
    for kernels, x in ((calls, found), (cpu, expected)):
        kernels.binarize_inplace(x, KEY, STEP, ROW)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("op", ["normal_noise", "uniform_noise", "binarize_inplace", "corrupt"])
def test_more_rows_than_a_grid_has(device, op, monkeypatch):
    monkeypatch.setattr(launches, "MOST_ROWS", 3)
    check_op(cuda, op, (7, 33, 1), [on_device])


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 100, 1025])
@pytest.mark.parametrize("epoch", [0, 7])
def test_the_order_is_that_of_the_cpu(device, count, epoch):
    check_order(count, epoch)


def check_order(count, epoch):
    for start in (0, min(3, count - 1)):
        found, expected = (np.empty(count - start, np.int64) for _ in range(2))
        for kernels, out in ((calls, found), (cpu, expected)):
            kernels.shuffled_indices(KEY, epoch, count, start, out)
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


@pytest.mark.parametrize("size", [1, 2, 301])
def test_sigma_of_more_columns_than_a_block_has(device, size):
    check_sigma(size)


def check_sigma(size):
    """As on the CPU, for one of all columns or one each, over several blocks."""
    rng, rows, columns = np.random.default_rng(size), 19, max(size, 70)
    columns = size if size > 1 else columns
    x, xhat, lowest = normal(rng, rows, columns), normal(rng, rows, columns), normal(rng, size) - 4
    parameter, found = normal(rng, size) / 5, []
    for kernels in (calls, cpu):
        made = [np.full(columns, np.nan, np.float32) for _ in range(4)]
        kernels.sigma_optimal(x, xhat, lowest, *made[:2])
        kernels.sigma_forward(parameter, lowest, *made[2:])
        gradient, memory = np.full(size, np.nan, np.float32), parameter.copy()
        kernels.sigma_backward(x, made[3], parameter, lowest, 0.37, None, gradient)
        kernels.sigma_remember(made[0], 0.75, lowest, 3, memory)
        found.append([*made, gradient, memory])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_sigma_stays_where_the_loss_was_not_finite(device):
    check_remembered(device)


def check_remembered(device):
    """It moves only as long as the flag is not set."""
    seen, lowest, before = np.float32([0.5, -2, 1]), np.float32([-9, -8, -7]), np.float32([-0.1, 0.2, 0.0])
    integers, reals = np.zeros(8, np.int64), np.full(8, np.nan, np.float32)
    integers[3], reals[2] = 4, 1.0
    for stopped in (0, 1):
        parameter, state = before.copy(), np.array([4, stopped])
        arguments = [seen, 2, lowest, 3, 1, parameter, integers, reals, state, len(parameter)]
        device.launch(sigma.sigma_remember, (1,), sigma.sigma_remember.block, arguments)
        assert (parameter != before).all() == (not stopped)
        assert (parameter == before).all() == bool(stopped)


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


SINGLY = (
    "next_step",
    "importance_weights",
    "free_bits",
    "sgd_inplace",
    "average_inplace",
    "add_inplace",
    "corrupt",
    "sigma_backward",
    "sigma_forward",
    "sigma_optimal",
    "sigma_remember",
    "concatenate",
    "concatenate_backward",
    "take_columns",
    "mixed_inputs",
    "mixed_forward",
    "mixed_forward_backward",
    "mixed_parameter_backward",
    "cut_columns",
    "prefix_forward",
    "prefix_later",
    "prefix_gradients",
    "draw",
    "binarize_inplace",
    "derivative_inplace",
    "shuffled_indices",
    "count_outside",
    "threshold_inplace",
)


@pytest.mark.parametrize("capability", EACH, ids=str)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.__name__)
def test_code(kernel, capability, monkeypatch):
    """For every architecture: nothing in float64, nothing in local memory, 128 bits at a time where that can be."""
    if capability < kernel.least:
        pytest.skip(f"needs {kernel.least}")
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
    x, mu, logvar, out, other = (empty(rows, columns) for _ in range(5))
    for array in (x, mu, logvar):
        array[...] = rng.random((rows, columns))
    flat, size, place = [empty(x.size) for _ in range(4)], 4 * x.size, (KEY, philox.LATENT, STEP, ROW)
    for array in flat:
        array[...] = rng.random(x.size)
    sums = empty(rows)
    for run, read, written in (
        (lambda: calls.latent_forward(mu, logvar, None, *place, out, sums), 2 * size, size),
        (lambda: calls.latent_backward(mu, logvar, x, None, *place, 0.1, out, other), 3 * size, 2 * size),
        (lambda: calls.adam_inplace(*flat, 0.02, 1.3, 0.15, 0.97, 0.03, 2e-3, 1e-3, 1.0), 4 * size, 3 * size),
    ):
        run()
        counters = device.counters[-1]
        assert counters.distinct_written_bytes <= written + 4 * rows
        assert counters.written_bytes <= 1.05 * (written + 4 * rows)
        wide = [a for a in counters.accesses if a.space == "global" and ".v4." in a.text]
        assert sum(a.bytes for a in wide if a.kind == "load") == read
        assert all(a.sectors == a.least_sectors for a in wide)
