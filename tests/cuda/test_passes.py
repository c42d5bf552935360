"""Passes on the device: what is put into one launch, and steps of other models than a VAE's, against the CPU."""

import numpy as np
import pytest

from tests.fake_driver import why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from fastvae.backend import Backend
from fastvae.kernels import cpu, cuda
from fastvae.kernels.cuda.driver import using
from fastvae.kernels.formulas import IDENTITY, TANH
from fastvae.kernels.slots import Slots
from tests.cuda.ptx_device import for_models
from tests.models.test_passes import adversaries


@pytest.fixture
def device(monkeypatch):
    with using(for_models(monkeypatch)) as made:
        yield made


# ---- two optimizers and losses of two phases ------------------------------------------------------------------------

X = np.random.default_rng(4).normal(size=(20, 3)).astype(np.float32)
ORDER = np.random.default_rng(5).integers(0, 20, (6, 7))
ON_DEVICE = Backend("cuda", cuda)


def check_network(found, expected):
    """Parameters, states of the optimizers, and losses."""
    (network, optimizers, losses), (other, others, other_losses) = found, expected
    np.testing.assert_allclose(network.parameters.values, other.parameters.values, rtol=1e-4, atol=1e-5)
    for one, two in zip(optimizers, others, strict=True):
        assert one.step_count == two.step_count
        for name, values in two.state.items():
            np.testing.assert_allclose(one.state[name], values, rtol=1e-3, atol=1e-5)
    assert len(losses) == len(other_losses)
    for one, two in zip(losses, other_losses, strict=True):
        assert one == pytest.approx(two, rel=1e-4)


@pytest.mark.parametrize("clip_norm", [None, 0.05])
def test_two_optimizers_in_one_step(device, clip_norm):
    """Each with a norm of its own, losses before each of them; several steps in a call."""
    expected = adversaries(1, 6, X, ORDER, clip_norm=clip_norm)
    found = adversaries(1, 4, X, ORDER, backend=ON_DEVICE, clip_norm=clip_norm)
    check_network(found, expected)
    steps = device.launched[device.launched.index("next_step") :]
    step = steps[: steps.index("next_step", 1)]
    optimizers = [name for name in step if name in ("losses", "square_parts", "adam_inplace", "sgd_inplace")]
    assert optimizers == ["losses", "adam_inplace", "losses", "sgd_inplace"]  # norms are taken with the losses


def test_averages_of_parameters(device):
    """From the third step on."""
    check_network(*(adversaries(1, 6, X, ORDER, backend=on, average_from=3) for on in (ON_DEVICE, None)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_ends_the_steps(device, bad):
    """In the third step."""
    data = X.copy()
    data[19, 1] = bad
    order = ORDER % 19
    order[2, 4] = 19
    found = []
    for steps, on in ((2, None), (3, ON_DEVICE)):
        with np.errstate(invalid="ignore"):
            network, optimizers, losses = adversaries(1, 6, data, order[:steps], backend=on)
        assert [np.isfinite(each["loss"]) for each in losses] == [True, True, False][:steps]
        assert [optimizer.step_count for optimizer in optimizers] == [2, 2]
        found.append(network.parameters.values)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-5)


# ---- products that share a launch -----------------------------------------------------------------------------------


def on_both(write, apart=()):
    """What a program leaves in its arrays, on the device and on the CPU: `write` adds its calls, and returns arrays, of
    which some lie in buffers of their own."""
    found = []
    for kernels in (cuda, cpu):
        rng, program = np.random.default_rng(0), kernels.Program(Slots())
        arrays = [rng.normal(size=(5, 5)).astype(np.float32) for _ in range(9)]
        for place in apart:
            kernels.upload(arrays[place])
        write(program, arrays)
        program.returns(*arrays)
        program.run()
        found.append(arrays)
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_a_product_that_reads_what_another_makes_waits_for_it(device):
    """Also where it would be added to one that does not."""

    def write(program, arrays):
        saved, d_y, weight, d_h, d_a, second, d_x, third, _ = arrays
        program.add("dense_backward_input", saved, weight, IDENTITY, d_y, 0, d_h)
        program.add("dense_backward_input", saved, second, IDENTITY, d_a, 0, d_x)
        program.add("dense_backward_input", saved, third, IDENTITY, d_h, 1, d_x)

    on_both(write)
    assert len(device.launched) == 2


def test_derivatives_of_arrays_in_several_buffers_are_not_taken_in_one_launch(device):
    def write(program, arrays):
        one, other, weight, d_y, d_h, d_a, d_x, _, _ = arrays
        for saved, d_out, d_in in ((one, d_y, d_h), (other, d_a, d_x)):
            program.add("dense_backward_input", saved, weight, IDENTITY, d_out, 0, d_in)
            program.add("dense_backward_input", saved, weight, TANH, d_in, 0, None)

    on_both(write)
    assert len(device.launched) == 1
    on_both(write, apart=[0])


@pytest.mark.parametrize("biased", [True, False])
def test_several_uses_of_one_weight_add_up(device, biased):
    """Each gradient from the second on is made by itself, a part of a weight's too."""

    def write(program, arrays):
        x, d_a, other_x, other_d, weight = arrays[:5]
        bias = arrays[5][0] if biased else None
        for first, last in ((0, 2), (2, 5)):
            program.add("dense_backward_weight", x, d_a, first, last, 0, weight, bias)
            program.add("dense_backward_weight", other_x, other_d, first, last, 1, weight, bias)

    on_both(write)
