"""What begins and ends a step on the device: its line of the tables, its losses, the optimizers."""

import numpy as np
import pytest

from tests.fake_driver import why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from fastvae.kernels import cpu, cuda
from fastvae.kernels.cuda import optimizers, steps, sums
from fastvae.kernels.cuda.driver import using
from fastvae.kernels.memory import empty
from fastvae.kernels.slots import CAPACITY, Slots
from tests.cuda.ptx_device import PTXDevice
from tests.cuda.test_kernels import normal
from tests.support.tolerances import check


@pytest.fixture(params=[(8, 0), (9, 0)], ids=["sm_80", "sm_90"])
def device(request, monkeypatch):
    with using(PTXDevice(request.param, 0, monkeypatch)) as made:
        yield made


# ---- optimizers -----------------------------------------------------------------------------------------------------

NUMBERS = {  # those of a step, but the scale of the gradient
    "adam_inplace": (0.02, 1.3, 0.15, 0.97, 0.03, 2e-3, 1e-3),
    "sgd_inplace": (0.02, 0.85, 0.85, 0.1),
}


@pytest.mark.parametrize("largest", [0.5, 1e9])
@pytest.mark.parametrize("op", NUMBERS)
def test_optimizers_clip_without_the_host(device, op, largest):
    check_clipped(op, largest)


def check_clipped(op, largest):
    """Over several blocks: of two gradients one after the other, each by its own norm, with all parts of it or few."""
    rng, slots, before, expected, found = np.random.default_rng(0), Slots(), [], [], []
    program = cuda.Program(slots)
    for name, size in (("long", 131_075), ("short", 1030)):  # all parts of the norm have a share, and some two
        arrays = [normal(rng, size) for _ in range(4 if op == "adam_inplace" else 3)]
        arrays[-1] **= 2
        expected += (other := [array.copy() for array in arrays])
        before += [array.copy() for array in arrays]
        norm = np.linalg.norm(arrays[1].astype(float))
        getattr(cpu, op)(*other, *NUMBERS[op], min(1.0, largest / norm))
        program.add("clip_scale", arrays[1], largest, slots.real(name))
        program.add(op, *arrays, *NUMBERS[op], slots.real(name))
        found += arrays
    program.run()
    cuda.download(*program.operands)
    for array, other, old in zip(found, expected, before, strict=True):
        check(array, other, "adam", np.abs(other) + np.abs(old) + 0.01)


@pytest.mark.parametrize("op", [*NUMBERS, "average_inplace", "add_inplace"])
def test_optimizers_take_several_numbers_a_thread(device, op):
    check_flat(device, op)


def check_flat(device, op):
    """In few blocks, and with a rest."""
    rng, size, grid, place = np.random.default_rng(0), 4 * 2 * 256 + 3, (2,), 5
    arrays = [normal(rng, size) for _ in range({"adam_inplace": 4, "sgd_inplace": 3}.get(op, 2))]
    arrays[-1] **= 2
    before, expected = ([array.copy() for array in arrays] for _ in range(2))
    numbers = NUMBERS.get(op, (0.3,))
    reals, state, parts = normal(rng, CAPACITY), np.zeros(2, np.int64), np.full(2 * sums.PARTS, np.nan, np.float32)
    reals[place : place + len(numbers)] = numbers
    reals[0], reals[place + len(numbers)] = 0, 0.4
    places = list(range(place, place + len(numbers)))
    if op in NUMBERS:
        getattr(cpu, op)(*expected, *numbers, 0.4)
        arguments = [*arrays, *places, place + len(numbers), 0, reals, parts, state, size]
    elif op == "average_inplace":
        cpu.average_inplace(expected[0], 0.3, expected[1])
        arguments = [arrays[0], place, arrays[1], reals, state, size]
    else:
        expected[1] += expected[0]
        arguments = [*arrays, size]
    kernel = getattr(optimizers, op)
    device.launch(kernel, grid, kernel.block, arguments)
    for array, other, old in zip(arrays, expected, before, strict=True):
        check(array, other, "adam", np.abs(other) + np.abs(old) + 0.01)


@pytest.mark.parametrize("begin", [1, 2])
@pytest.mark.parametrize("op", ["adam_inplace", "sigmoid_inplace", "clip_scale"])
def test_arrays_may_begin_anywhere(device, op, begin):
    """Also where four numbers at a time cannot be read, as a piece of a layer's weight does; or one of several."""
    check_beginnings(op, begin)


def check_beginnings(op, begin):
    found = []
    for spoiled in range(4 if op == "adam_inplace" else 1):
        for kernels in (cuda, cpu):
            arrays = [empty(70) for _ in range(4 if op == "adam_inplace" else 1)]
            for i, array in enumerate(arrays):
                array[...] = np.random.default_rng(i).random(70)
            own = [array[begin * (i == spoiled) :][:67] for i, array in enumerate(arrays)]
            program, scale = kernels.Program(slots := Slots()), slots.real("scale")
            if op == "adam_inplace":
                program.add(op, *own, *NUMBERS[op], 1.0)
            elif op == "clip_scale":
                program.add(op, own[0], 0.5, scale)
            else:
                program.add(op, own[0][None])
            program.returns(*own)
            program.run()
            found.append(np.array([*np.concatenate(arrays), slots["scale"]]))
        np.testing.assert_allclose(*found[-2:], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("op", [*NUMBERS, "average_inplace"])
def test_optimizers_do_nothing_once_a_loss_was_not_finite(device, op):
    check_stopped(device, op)


def check_stopped(device, op):
    arrays = list(np.random.default_rng(0).random((4, 70), np.float32))
    before, reals, state = np.array(arrays), np.ones(CAPACITY, np.float32), np.array([3, 1])
    if op == "average_inplace":
        arguments = [arrays[0], 1, arrays[1], reals, state, 70]
    else:
        given = arrays if op == "adam_inplace" else arrays[:3]
        places = [1] * (len(NUMBERS[op]) + 2)
        arguments = [*given, *places, reals, np.ones(2 * sums.PARTS, np.float32), state, 70]
    kernel = getattr(optimizers, op)
    device.launch(kernel, (1,), kernel.block, arguments)
    np.testing.assert_array_equal(arrays, before)


# ---- the ends of a step -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [0, 2])
@pytest.mark.parametrize(("batch", "used"), [(0, 1), (30, 17), (300, CAPACITY)])
def test_a_step_takes_its_line_of_the_tables(device, place, batch, used):
    check_next_step(device, place, batch, used)


def check_next_step(device, place, batch, used):
    rng, lines = np.random.default_rng(place), 3
    integers, reals = np.full(CAPACITY, 7), np.full(CAPACITY, 7, np.float32)
    table = rng.integers(-(2**62), 2**62, (lines, used))
    table_reals, order = normal(rng, lines, used), rng.integers(0, 2**40, (lines, batch))
    state, indices = np.array([place, 7]), np.zeros(batch + 1, np.int64)
    tables = [table.reshape(-1), table_reals.reshape(-1), order.reshape(-1)]
    arguments = [*tables, state, integers, reals, indices, batch, used]
    device.launch(steps.next_step, (1,), steps.next_step.block, arguments)
    for found, expected in ((integers[:used], table), (reals[:used], table_reals), (indices[:-1], order)):
        np.testing.assert_array_equal(found, expected[place])
    assert (integers[used:] == 7).all()
    assert (reals[used:] == 7).all()
    assert state.tolist() == [place + 1, 7]
    assert indices[-1] == 0


@pytest.mark.parametrize(("bad", "place"), [(None, 0), (np.inf, 1), (np.nan, 2), (-np.inf, 0)])
@pytest.mark.parametrize(("size", "both"), [(0, 1), (2051, 1), (2051, 0)])
def test_losses_of_a_step(device, bad, place, size, both):
    """One or two, with the sum of the gradient's squares or without; and whether the loss is finite."""
    check_losses(device, bad, place, size, both)


def check_losses(device, bad, place, size, both):
    rng, rows, blocks, count, first = np.random.default_rng(place), 301, 3, 4, 1
    one, other, grads = (rng.lognormal(0, 3, n).astype(np.float32) for n in (rows, rows, size + 1))
    reals, state = np.full(CAPACITY, np.nan, np.float32), np.array([place + 1, 0])
    lines = np.full((3, count, 2), -1, np.float32)
    if bad is not None:
        (one, other)[place % 2 * both][rows - 1] = bad
    if not both:
        other[:] = np.nan
    reals[[3, 9]] = 0.5, 0.25 if both else np.nan
    parts, grid = np.zeros(2 * blocks + 1, np.float32), (blocks + 1 if size else 1,)
    numbers = [both, 3, 9, reals, state, lines.reshape(-1), first, count, rows]
    device.launch(steps.losses, grid, steps.losses.block, [one, other, *numbers, grads, parts, size])
    assert state.tolist() == [place + 1, int(bad is not None)]
    line = lines[place, first : first + 1 + both].astype(float)
    if bad is None:
        check(line.sum(axis=1), np.array([one.astype(float).sum(), other.astype(float).sum()])[: 1 + both], "exact")
    else:
        np.testing.assert_equal(line[place % 2 * both, 0], bad)
    lines[place, first : first + 1 + both] = -1
    assert (lines == -1).all()
    check(parts.astype(float).sum(), (grads[:size].astype(float) ** 2).sum(), "exact")
    assert parts[-1] == 0


@pytest.mark.parametrize("weight", [0, 1])
def test_a_loss_counts_with_its_weight(device, weight):
    check_weights(device, weight)


def check_weights(device, weight):
    """The flag is set where a sum that is finite is not with its weight, of either of two."""
    values, reals = np.full(40, 1e30, np.float32), np.ones(CAPACITY, np.float32)
    reals[1 + weight] = 1e10
    state, found = np.array([1, 0]), np.zeros(4, np.float32)
    numbers = [1, 1, 2, reals, state, found, 0, 2, len(values)]
    nothing = np.zeros(4, np.float32)
    arguments = [values, values.copy(), *numbers, nothing, nothing.copy(), 0]
    device.launch(steps.losses, (1,), steps.losses.block, arguments)
    assert np.isfinite(found).all()
    assert state.tolist() == [1, 1]
