"""The losses of rows for the device, compiled by the real compiler and executed from their PTX."""

import numpy as np
import pytest

from tests.ptx.compiling import why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from fastvae import reference
from fastvae.kernels.cuda import declaration, driver, elementwise
from fastvae.kernels.cuda.declaration import KERNELS, WARP, blocks
from fastvae.kernels.cuda.driver import using
from fastvae.kernels.cuda.row_losses import KERNEL, ROWS, kernel_of
from fastvae.kernels.row_losses import ROW_LOSSES
from tests.cuda.ptx_device import PTXDevice, code_of
from tests.cuda.test_kernels import seeds
from tests.kernels.test_row_losses import (
    LINES,
    LOSSES,
    SHAPES,
    check_bad_values,
    check_by_hand,
    check_far_out,
    check_line,
    check_loss,
)
from tests.ptx.assembling import EACH
from tests.support.tolerances import check

LOSS = {loss.name: loss for loss in ROW_LOSSES}


@pytest.fixture(params=[(8, 0), (9, 0)], ids=["sm_80", "sm_90"])
def device(request, monkeypatch):
    with using(PTXDevice(request.param, 0, monkeypatch)) as made:
        yield made


def runner(device, kernels=KERNEL, losses=LOSS):
    """`run` of test_row_losses: real numbers stand in `reals`, at places in another order than the operands'."""

    def run(name, x, out, params, weight=None):
        backward = int(weight is not None)
        nll, gradient = np.full(len(x), np.nan, np.float32), np.full(x.size if backward else 1, np.nan, np.float32)
        if losses[name].per_column:
            reals, operands = np.float32([7, weight or 0]), list(params)
        else:
            reals, operands = np.float32([7, weight or 0, *params[::-1]]), list(range(1 + len(params), 1, -1))
        arguments = [x.reshape(-1).copy(), out.reshape(-1).copy(), *operands, 1, nll, gradient, reals, backward]
        grid, block = (blocks(len(x), ROWS),), (WARP, ROWS)
        device.launch(kernels[name], grid, block, [*arguments, len(out) // len(x), *out.shape])
        return nll, gradient.reshape(x.shape) if backward else None

    return run


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_loss(device, name, shape):
    for seed in seeds(device):
        device.seed = seed
        check_loss(runner(device), name, shape)


def test_by_hand(device):
    check_by_hand(runner(device))


def test_far_out(device):
    check_far_out(runner(device))


def test_bad_values(device):
    check_bad_values(runner(device))


LINE_KERNELS = {each: kernel_of(loss) for each, loss in LINES.items()}
for made in LINE_KERNELS.values():
    KERNELS.remove(made)


@pytest.mark.parametrize("columns", [1, 16, 37])
@pytest.mark.parametrize("each", [False, True])
def test_a_loss_with_parameters(device, each, columns, monkeypatch):
    monkeypatch.setattr(driver, "_kept", driver._made)  # the digest of the sources does not know this one's term
    monkeypatch.setattr(declaration, "KERNELS", [LINE_KERNELS[each]])
    check_line(runner(device, {"line": LINE_KERNELS[each]}, {"line": LINES[each]}), each, columns)


INPLACE = {
    "sigmoid_inplace": reference.sigmoid,
    "exp_inplace": np.exp,
    "tanh_inplace": np.tanh,
    "continuous_mean_inplace": lambda a: reference.mixed.continuous_bernoulli(0 * a, a, 0.0)[1],
    "log1p": np.log1p,
}


@pytest.mark.parametrize("name", elementwise.KERNEL)
@pytest.mark.parametrize("size", [1, 3, 4, 1031, 5000])
def test_elementwise(device, name, size):
    check_elementwise(device, name, size)


def check_elementwise(device, name, size):
    x = np.random.default_rng(0).normal(0, 5, size).astype(np.float32)
    x = np.floor(np.abs(x)) if name == "log1p" else x  # of counts
    expected, out = INPLACE[name](x.astype(float)), np.full(size, np.nan, np.float32)
    arrays = [x, out] if name == "log1p" else [x]
    device.launch(elementwise.KERNEL[name], (2,), (elementwise.FLAT,), [*arrays, size])
    check(arrays[-1], expected, "likelihood")


@pytest.mark.parametrize("capability", EACH, ids=str)
@pytest.mark.parametrize("name", [*KERNEL, *elementwise.KERNEL])
def test_code(name, capability, monkeypatch):
    kernel = KERNEL.get(name) or elementwise.KERNEL[name]
    code = code_of(kernel, capability, monkeypatch)
    body = code[code.index(".entry") :]
    assert kernel.__name__ == name
    assert ".f64" not in body
    assert ".local" not in body
    assert "call" not in body
    assert "ld.global.v4.f32" in body


@pytest.mark.parametrize("columns", [64, 136])
@pytest.mark.parametrize("name", LOSSES)
def test_traffic_is_the_least_there_can_be(device, name, columns):
    """Each input read once, each output written once, by 128 bits."""
    rows = 6
    (x, out, params), _, _ = LOSSES[name](np.random.default_rng(0), (rows, columns))
    runner(device)(name, x, out, params, 0.37)
    counters, vectors = device.counters[-1], len(params) * LOSS[name].per_column
    wide = [a for a in counters.accesses if a.space == "global" and ".v4." in a.text]
    assert sum(a.bytes for a in wide if a.kind == "load") == (2 + vectors) * x.nbytes
    assert counters.distinct_written_bytes == x.nbytes + 4 * rows
    assert all(a.sectors == a.least_sectors for a in wide)
