"""Optimizers over a parameter buffer: clipping, decay, schedules, averages; beside PyTorch's, and in plain float64."""

from itertools import pairwise

import numpy as np
import pytest

from fastvae import reference
from fastvae.kernels.cpu.workers import Workers
from fastvae.kernels.slots import Slots
from fastvae.optimizers import OPTIMIZERS, SGD, Adam, RateSchedule
from fastvae.parameters import Parameters
from tests.support.passes import Reconstruction
from tests.support.tolerances import check_same


def made(kernels, size=6, kind=Adam, **settings):
    parameters = Parameters({"p": (size,)})
    parameters.values[:] = np.linspace(-1, 1, size)
    return parameters, kind(parameters, kernels, **settings)


def run(kernels, gradients, kind=Adam, **settings):
    """Parameters after one step for each row of gradients."""
    parameters, optimizer = made(kernels, gradients.shape[1], kind, **settings)
    for row in gradients:
        parameters.gradients[:] = row
        optimizer.step()
    return parameters.values.copy()


def expected(gradients, **settings):
    p = np.linspace(-1, 1, gradients.shape[1]).astype(np.float32).astype(float)
    m = v = np.zeros(gradients.shape[1])
    for step, row in enumerate(gradients, start=1):
        p, m, v = reference.adam(p, row, m, v, step, **settings)
    return p


def random_gradients(steps=20, size=6):
    return np.random.default_rng(0).normal(size=(steps, size)).astype(np.float32)


def test_starts_at_nothing(kernels):
    for kind, names in ((Adam, ("first_moment", "second_moment")), (SGD, ("velocity",))):
        parameters, optimizer = made(kernels, kind=kind, average_from=1)
        assert optimizer.step_count == 0
        assert tuple(optimizer.state) == (*names, "average")
        assert "average" not in made(kernels, kind=kind)[1].state
        for array in optimizer.state.values():
            assert array.shape == parameters.values.shape
            assert array.dtype == np.float32
            assert not array.any()
        for one, other in pairwise(optimizer.state.values()):
            assert not np.shares_memory(one, other)


def test_defaults_are_those_of_the_paper(kernels):
    gradients = random_gradients()
    np.testing.assert_allclose(run(kernels, gradients), expected(gradients, learning_rate=1e-3), rtol=0, atol=3e-7)


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 0.03},
        {"learning_rate": 0.03, "weight_decay": 0.1},
        {"learning_rate": 0.03, "beta1": 0.5, "beta2": 0.9, "epsilon": 1e-2},
    ],
    ids=["rate", "decay", "betas"],
)
def test_settings(kernels, settings):
    gradients = random_gradients()
    found = run(kernels, gradients, **settings)
    np.testing.assert_allclose(found, expected(gradients, **settings), rtol=0, atol=1e-6)
    assert np.abs(found - run(kernels, gradients)).max() > 0.01


def test_state_after_steps(kernels):
    parameters, optimizer = made(kernels)
    gradients = random_gradients(3)
    for row in gradients:
        parameters.gradients[:] = row
        optimizer.step()
    assert optimizer.step_count == 3
    m = 0.1 * (gradients[2] + 0.9 * gradients[1] + 0.81 * gradients[0])
    v = 0.001 * (gradients[2] ** 2 + 0.999 * gradients[1] ** 2 + 0.998001 * gradients[0] ** 2)
    np.testing.assert_allclose(optimizer.state["first_moment"], m, rtol=1e-5)
    np.testing.assert_allclose(optimizer.state["second_moment"], v, rtol=1e-5)


def test_the_learning_rate_may_change_between_steps(kernels):
    parameters, optimizer = made(kernels)
    parameters.gradients[:] = 1
    optimizer.step()
    before = parameters.values.copy()
    optimizer.learning_rate = 0.0
    optimizer.step()
    np.testing.assert_array_equal(parameters.values, before)


@pytest.mark.parametrize("clip_norm", [None, 0.7])
@pytest.mark.parametrize("cuts", [(0, 1, 70), (0, 0, 2, 33, 70), (0, 13, 26, 39, 70)], ids=str)
@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_a_step_in_pieces_is_the_same_step(kernels, kind, cuts, clip_norm):
    """As threads share it: bit for bit; the norm is taken once, over all parameters."""
    found, settings = [], {"kind": kind, "clip_norm": clip_norm, "weight_decay": 0.1, "average_from": 2}
    settings |= {"nesterov": True} if kind is SGD else {}
    for pieces in ((0, 70), cuts):
        parameters, optimizer = made(kernels, 70, **settings)
        slots = Slots()
        programs = [kernels.Program(slots) for _ in pieces]
        assert optimizer.write_norm(programs[0], slots, [(0, 70)]) == (clip_norm is not None)
        for program, (start, stop) in zip(programs[1:], pairwise(pieces), strict=True):
            optimizer.write_flat(program, slots, start, stop)
        for row in random_gradients(3, 70):
            parameters.gradients[:] = row
            for name, values in optimizer.numbers(1).items():
                if name in slots:
                    slots[name] = np.ravel(values)[0]
            optimizer.step_count += 1
            for program in programs:
                program.run()
        found.append([parameters.values.copy(), *optimizer.state.values()])
    np.testing.assert_equal(*found)
    np.testing.assert_array_equal(found[0][0], run(kernels, random_gradients(3, 70), **settings))


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_the_state_is_a_view(kernels, kind):
    """Whoever reshapes it changes nothing else; whoever writes into it does."""
    optimizer = made(kernels, kind=kind)[1]
    for name in kind.STATE:
        optimizer.state[name].shape = (2, 3)
        optimizer.state[name][:] = 7
        np.testing.assert_array_equal(optimizer.state[name], np.full(6, 7))


# ---- clipping ----------------------------------------------------------------------------------------------------


def test_a_long_gradient_is_shortened(kernels):
    """To the norm, all of it together: 3, 4, ... has norm 5 and is scaled by 2 / 5."""
    gradients = np.array([[3, 4, 0]], np.float32)
    parameters, optimizer = made(kernels, 3, clip_norm=2.0)
    parameters.gradients[:] = gradients[0]
    optimizer.step()
    np.testing.assert_allclose(optimizer.state["first_moment"], [0.12, 0.16, 0], rtol=3e-7)
    np.testing.assert_allclose(optimizer.state["second_moment"], [0.00144, 0.00256, 0], rtol=3e-7)
    np.testing.assert_array_equal(parameters.gradients, gradients[0])


@pytest.mark.parametrize("clip_norm", [5.0, 5.1, 1e9, None])
def test_a_short_gradient_is_left_alone(kernels, clip_norm):
    parameters, optimizer = made(kernels, 3, clip_norm=clip_norm)
    parameters.gradients[:] = [3, 4, 0]
    optimizer.step()
    np.testing.assert_allclose(optimizer.state["first_moment"], [0.3, 0.4, 0], rtol=2e-7)


def test_no_gradient_with_clipping(kernels):
    parameters, optimizer = made(kernels, 3, clip_norm=1.0)
    before = parameters.values.copy()
    optimizer.step()
    np.testing.assert_array_equal(parameters.values, before)


def test_nan_is_seen_in_spite_of_clipping(kernels):
    parameters, optimizer = made(kernels, 3, clip_norm=1.0)
    parameters.gradients[:] = [1, np.nan, 1]
    optimizer.step()
    assert np.isnan(parameters.values[1])


# ---- PyTorch -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip_norm", [None, 0.7])
@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_torch(kernels, weight_decay, clip_norm):
    """Twenty steps; torch.optim.AdamW decays as ours does, and without decay it is Adam."""
    torch = pytest.importorskip("torch")
    gradients = random_gradients(20, 50) * np.float32(0.1)
    settings = {"weight_decay": weight_decay, "eps": 1e-7, "betas": (0.8, 0.95), "lr": 0.02}
    p = torch.nn.Parameter(torch.linspace(-1, 1, 50))
    p.data = torch.from_numpy(np.linspace(-1, 1, 50).astype(np.float32))
    optimizer = torch.optim.AdamW([p], **settings) if weight_decay else torch.optim.Adam([p], **settings)
    for row in gradients:
        p.grad = torch.from_numpy(row.copy())
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_([p], clip_norm)
        optimizer.step()
    ours = {"learning_rate": 0.02, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-7, "weight_decay": weight_decay}
    found = run(kernels, gradients, clip_norm=clip_norm, **ours)
    np.testing.assert_allclose(found, p.detach().numpy(), rtol=0, atol=2e-6)


@pytest.mark.parametrize("clip_norm", [None, 0.7])
@pytest.mark.parametrize("nesterov", [False, True])
def test_torch_sgd(kernels, nesterov, clip_norm):
    torch = pytest.importorskip("torch")
    gradients = random_gradients(20, 50) * np.float32(0.1)
    p = torch.nn.Parameter(torch.from_numpy(np.linspace(-1, 1, 50).astype(np.float32)))
    optimizer = torch.optim.SGD([p], lr=0.02, momentum=0.8, nesterov=nesterov)
    for row in gradients:
        p.grad = torch.from_numpy(row.copy())
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_([p], clip_norm)
        optimizer.step()
    settings = {"learning_rate": 0.02, "momentum": 0.8, "nesterov": nesterov, "clip_norm": clip_norm}
    np.testing.assert_allclose(run(kernels, gradients, SGD, **settings), p.detach().numpy(), rtol=0, atol=2e-6)


# ---- plain float64 -----------------------------------------------------------------------------------------------


def clipped(gradient, clip_norm):
    norm = np.linalg.norm(gradient)
    return gradient if clip_norm is None or norm <= clip_norm else gradient * (clip_norm / norm)


def plain_adam(p, state, gradient, step, rate, weight_decay=0.0):
    m, v = state or (np.zeros_like(p), np.zeros_like(p))
    p, m, v = reference.adam(p, gradient, m, v, step, rate, weight_decay=weight_decay)
    return p, (m, v)


def plain_sgd(p, state, gradient, step, rate, momentum=0.9, nesterov=False, weight_decay=0.0):
    velocity = momentum * (0.0 if state is None else state) + gradient
    direction = gradient + momentum * velocity if nesterov else velocity
    return p - rate * (direction + weight_decay * p), velocity


PLAIN = {Adam: plain_adam, SGD: plain_sgd}
KINDS = [
    (Adam, {}),
    (Adam, {"weight_decay": 0.3}),
    (SGD, {"momentum": 0.0}),
    (SGD, {"momentum": 0.8}),
    (SGD, {"momentum": 0.8, "nesterov": True}),
    (SGD, {"momentum": 0.8, "nesterov": True, "weight_decay": 0.3}),
]
kinds = pytest.mark.parametrize(("kind", "settings"), KINDS, ids=[f"{k.__name__} {s}" for k, s in KINDS])


@kinds
@pytest.mark.parametrize("clip_norm", [None, 1.5])
def test_steps_along_given_gradients(kernels, kind, settings, clip_norm):
    p, state, gradients = np.linspace(-1, 1, 6).astype(np.float32).astype(float), None, random_gradients()
    for step, row in enumerate(gradients, start=1):
        p, state = PLAIN[kind](p, state, clipped(row.astype(float), clip_norm), step, 0.02, **settings)
    found = run(kernels, gradients, kind, learning_rate=0.02, clip_norm=clip_norm, **settings)
    np.testing.assert_allclose(found, p, rtol=0, atol=2e-6)


# ---- schedules ---------------------------------------------------------------------------------------------------


def test_factors_by_hand():
    for schedule, expected in (
        (RateSchedule(), [1, 1, 1, 1, 1, 1, 1]),
        (RateSchedule("constant", warmup=4), [0.25, 0.5, 0.75, 1, 1, 1, 1]),
        (RateSchedule("linear", total=4), [1, 0.75, 0.5, 0.25, 0, 0, 0]),
        (RateSchedule("linear", warmup=2, total=6), [0.5, 1, 1, 0.75, 0.5, 0.25, 0]),
        (RateSchedule("cosine", total=4), [1, 0.5 + 0.125**0.5, 0.5, 0.5 - 0.125**0.5, 0, 0, 0]),
        (RateSchedule("cosine", warmup=3, total=5), [1 / 3, 2 / 3, 1, 1, 0.5, 0, 0]),
        (RateSchedule("linear", warmup=9, total=5), [1 / 9, 2 / 9, 3 / 9, 4 / 9, 5 / 9, 6 / 9, 7 / 9]),
    ):
        np.testing.assert_allclose(schedule.factors(1 + np.arange(7)), expected, rtol=1e-12, atol=1e-15)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        RateSchedule("cosin")


@pytest.mark.parametrize("kind", OPTIMIZERS.values())
def test_the_numbers_of_many_steps_are_those_of_each(kernels, kind):
    """And go on from the steps that were taken."""
    optimizer = made(kernels, kind=kind, schedule=RateSchedule("cosine", 3, 20), average_from=5, weight_decay=0.1)[1]
    many = optimizer.numbers(12)
    for i in range(12):
        for name, values in optimizer.numbers(1).items():
            assert np.result_type(values) == np.float64
            assert np.ravel(values).tolist() == [np.broadcast_to(many[name], 12)[i]]
        optimizer.step_count += 1


# ---- in the one call for many steps ------------------------------------------------------------------------------

COLUMNS, BATCH, STEPS = 5, 8, 24
X = np.random.default_rng(2).normal(size=(40, COLUMNS)).astype(np.float32)
ORDER = np.random.default_rng(3).integers(0, 40, (STEPS, BATCH))
SCHEDULES = {
    "constant": RateSchedule(),
    "warm-up": RateSchedule("constant", 6),
    "linear": RateSchedule("linear", 0, STEPS),
    "cosine": RateSchedule("cosine", 5, STEPS),
}


def trained(orders, kind, threads=1, **settings):
    """Parameters, losses and the optimizer's state after a training of so many calls."""
    network = Reconstruction(COLUMNS, threads)
    optimizer = kind(network.parameters, network.kernels, **settings)
    losses = network.train(X, orders, optimizer)
    assert optimizer.step_count == STEPS
    return network, losses, optimizer.state


def plainly_trained(kind, settings, rate, clip_norm, schedule):
    """The same in float64: weight and bias after each step, and the losses."""
    network = Reconstruction(COLUMNS)
    weight, bias = (values.astype(float) for values in network.parameters.named_values().values())
    p, state, seen, losses = np.concatenate([weight.ravel(), bias]), None, [], []
    for step, rows in enumerate(ORDER, start=1):
        x, weight, bias = X[rows].astype(float), p[:-COLUMNS].reshape(COLUMNS, COLUMNS), p[-COLUMNS:]
        error = x @ weight + bias - x
        losses.append((error**2).sum(axis=1).mean() / 2 + COLUMNS * np.log(2 * np.pi) / 2)
        gradient = np.concatenate([(x.T @ error).ravel(), error.sum(axis=0)]) / BATCH
        factor = schedule.factors(np.array([step]))[0]
        p, state = PLAIN[kind](p, state, clipped(gradient, clip_norm), step, rate * factor, **settings)
        seen.append(p)
    return np.array(seen), losses


@kinds
@pytest.mark.parametrize("clip_norm", [None, 0.8])
@pytest.mark.parametrize("name", SCHEDULES)
def test_many_steps_in_one_call(monkeypatch, kind, settings, clip_norm, name):
    """Bit for bit those of a call each, and of two threads; in float64 the same training, with its average."""
    calls, honest = [], Workers.run_steps

    def counted(self, phases, slots, table, *rest):
        calls.append(len(table))
        return honest(self, phases, slots, table, *rest)

    monkeypatch.setattr(Workers, "run_steps", counted)
    every = settings | {"learning_rate": 0.05, "clip_norm": clip_norm, "schedule": SCHEDULES[name], "average_from": 11}
    network, losses, state = trained([ORDER], kind, **every)
    assert calls == [STEPS]
    for orders, threads in ((np.split(ORDER, STEPS), 1), (np.split(ORDER, STEPS), 2), (np.split(ORDER, [7, 20]), 1)):
        other, other_losses, other_state = trained(orders, kind, threads, **every)
        check_same(other.parameters.values, network.parameters.values)
        check_same(other_losses, losses)
        for array, wanted in zip(other_state.values(), state.values(), strict=True):
            check_same(array, wanted)

    seen, plain_losses = plainly_trained(kind, settings, 0.05, clip_norm, SCHEDULES[name])
    np.testing.assert_allclose(losses, plain_losses, rtol=1e-5)
    for flat, expected in ((network.parameters.values, seen[-1]), (state["average"], seen[10:].mean(axis=0))):
        found = np.concatenate([values.ravel() for values in network.parameters.views(flat).values()])
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    assert np.abs(seen[-1] - seen[10:].mean(axis=0)).max() > 1e-4  # the average is not the last


def test_without_an_average_there_is_none():
    assert list(trained([ORDER], SGD)[2]) == ["velocity"]
