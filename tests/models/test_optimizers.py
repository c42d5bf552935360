"""Adam over a parameter buffer: clipping, decay, and PyTorch's beside it."""

from itertools import pairwise

import numpy as np
import pytest

from fastvae import reference
from fastvae.kernels.scalars import Scalars
from fastvae.optimizers import Adam
from fastvae.parameters import Parameters


def made(kernels, size=6, **settings):
    parameters = Parameters({"p": (size,)})
    parameters.values[:] = np.linspace(-1, 1, size)
    return parameters, Adam(parameters, kernels, **settings)


def run(kernels, gradients, **settings):
    """Parameters after one step for each row of gradients."""
    parameters, optimizer = made(kernels, gradients.shape[1], **settings)
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
    parameters, optimizer = made(kernels)
    assert optimizer.step_count == 0
    for moment in (optimizer.first_moment, optimizer.second_moment):
        assert moment.shape == parameters.values.shape
        assert moment.dtype == np.float32
        assert not moment.any()
    assert not np.shares_memory(optimizer.first_moment, optimizer.second_moment)


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
    np.testing.assert_allclose(optimizer.first_moment, m, rtol=1e-5)
    np.testing.assert_allclose(optimizer.second_moment, v, rtol=1e-5)


def test_the_learning_rate_may_change_between_steps(kernels):
    parameters, optimizer = made(kernels)
    parameters.gradients[:] = 1
    optimizer.step()
    before = parameters.values.copy()
    optimizer.learning_rate = 0.0
    optimizer.step()
    np.testing.assert_array_equal(parameters.values, before)


@pytest.mark.parametrize("clip_norm", [None, 0.7])
@pytest.mark.parametrize("cuts", [(0, 6), (0, 1, 6), (0, 0, 2, 3, 6)], ids=str)
def test_a_step_in_pieces_is_the_same_step(kernels, cuts, clip_norm):
    """As threads share it: the step is counted and the norm taken once, over all parameters."""
    found = []
    for pieces in ((0, 6), cuts):
        parameters, optimizer = made(kernels, clip_norm=clip_norm, weight_decay=0.1)
        scalars = Scalars()
        programs = [kernels.Program(scalars) for _ in pieces[1:]]
        for program, (start, stop) in zip(programs, pairwise(pieces), strict=True):
            optimizer.record(program, start, stop)
        for row in random_gradients(3):
            parameters.gradients[:] = row
            optimizer.begin_step(scalars)
            for program in programs:
                program.run()
        assert optimizer.step_count == 3
        found.append(parameters.values.copy())
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(found[0], run(kernels, random_gradients(3), clip_norm=clip_norm, weight_decay=0.1))


# ---- clipping ----------------------------------------------------------------------------------------------------


def test_a_long_gradient_is_shortened(kernels):
    """To the norm, all of it together: 3, 4, ... has norm 5 and is scaled by 2 / 5."""
    gradients = np.array([[3, 4, 0]], np.float32)
    parameters, optimizer = made(kernels, 3, clip_norm=2.0)
    parameters.gradients[:] = gradients[0]
    optimizer.step()
    np.testing.assert_allclose(optimizer.first_moment, [0.12, 0.16, 0], rtol=3e-7)
    np.testing.assert_allclose(optimizer.second_moment, [0.00144, 0.00256, 0], rtol=3e-7)
    np.testing.assert_array_equal(parameters.gradients, gradients[0])


@pytest.mark.parametrize("clip_norm", [5.0, 5.1, 1e9, None])
def test_a_short_gradient_is_left_alone(kernels, clip_norm):
    parameters, optimizer = made(kernels, 3, clip_norm=clip_norm)
    parameters.gradients[:] = [3, 4, 0]
    optimizer.step()
    np.testing.assert_allclose(optimizer.first_moment, [0.3, 0.4, 0], rtol=2e-7)


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
