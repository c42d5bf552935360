"""Kernels that are steps of programs alone, called from Python: programs of one call."""

import numpy as np

from fastvae.kernels.cpu.addresses import call
from fastvae.kernels.cpu.compiler import kernel
from fastvae.kernels.cpu.noise import draw
from fastvae.kernels.cpu.ops import translated
from fastvae.kernels.cpu.program import Program
from fastvae.kernels.scalars import (
    ADAM_STEP,
    BETA1,
    BETA2,
    EPSILON,
    FIRST_ROW,
    KL_WEIGHT,
    LEARNING_RATE,
    NOISE_STEP,
    OUTSIDE,
    SOURCE,
    SOURCE_COLUMN,
    SOURCE_ROW,
    WEIGHT_DECAY,
    Scalars,
)


@kernel
def invoke(code, operands):
    """Call what lies at an address with whole numbers."""
    call(code, operands)


def _run(op, scalars, *operands):
    program = Program(scalars)
    program.add(op, *operands)
    program.run()


def dense_forward(x, weight, bias, activation, out, saved):
    """See the contract in `fastvae.kernels`."""
    _run("dense_forward", Scalars(), x, weight, bias, activation, out, saved)


def dense_accumulate(x, weight, out):
    """See the contract in `fastvae.kernels`."""
    _run("dense_accumulate", Scalars(), x, weight, out)


def dense_backward_input(saved, weight, activation, d_out, more, d_x):
    """See the contract in `fastvae.kernels`."""
    _run("dense_backward_input", Scalars(), saved, weight, activation, d_out, more, d_x)


def dense_backward_weight(x, d_a, first, last, d_weight, d_bias):
    """See the contract in `fastvae.kernels`."""
    _run("dense_backward_weight", Scalars(), x, d_a, first, last, d_weight, d_bias)


def dense_adam_inplace(
    x, d_a, first, last, weight, m_weight, v_weight, bias, m_bias, v_bias,
    step, learning_rate, beta1, beta2, epsilon, weight_decay,
):  # fmt: skip
    """See the contract in `fastvae.kernels`."""
    scalars = Scalars()
    scalars.integers[ADAM_STEP] = step
    numbers = learning_rate, beta1, beta2, epsilon, weight_decay
    scalars.reals[[LEARNING_RATE, BETA1, BETA2, EPSILON, WEIGHT_DECAY]] = numbers
    arrays = weight, m_weight, v_weight, bias, m_bias, v_bias
    _run("dense_adam_inplace", scalars, x, d_a, first, last, *arrays)


def _noise_scalars(seed, step, first_row):
    scalars = Scalars(seed)
    scalars.integers[NOISE_STEP], scalars.integers[FIRST_ROW] = step, first_row
    return scalars


def normal_noise(seed, stream, step, first_row, out):
    """See the contract in `fastvae.kernels`."""
    key = int(np.uint64(seed).view(np.int64))
    invoke(draw.address, (0, key, int(stream), int(step), int(first_row), out.ctypes.data, *out.shape))


def latent_forward(mu, logvar, noise, seed, step, first_row, z, kl):
    """See the contract in `fastvae.kernels`."""
    noise = noise if len(noise) else None
    _run("latent_forward", _noise_scalars(seed, step, 0), mu, logvar, noise, first_row, z, kl)


def latent_backward(mu, logvar, d_z, noise, seed, step, first_row, kl_weight, d_mu, d_logvar):
    """See the contract in `fastvae.kernels`."""
    scalars, noise = _noise_scalars(seed, step, 0), noise if len(noise) else None
    scalars.reals[KL_WEIGHT] = kl_weight
    _run("latent_backward", scalars, mu, logvar, d_z, noise, first_row, d_mu, d_logvar)


def gather(data, indices, offset, scale, out):
    """See the contract in `fastvae.kernels`."""
    code, *operands = translated("gather", (data, indices, offset, scale, out))
    invoke(code, tuple(operands))


def read_rows(data, offset, scale, lowest, highest, out):
    """See the contract in `fastvae.kernels`."""
    scalars = Scalars()
    scalars.integers[[SOURCE, SOURCE_ROW, SOURCE_COLUMN]] = data.ctypes.data, *data.strides
    _run("read_rows", scalars, data.dtype, offset, scale, lowest, highest, out)
    return int(scalars.integers[OUTSIDE])
