"""The kernels as the steps of a `program`: each reads its operands from a row of integers, and does its work.

A row holds the address of the op's code, then its operands in the order of the contract: an array as address, rows
and columns, a whole number as itself. All ops have one signature: the addresses of the row, of the scalars' integers
and reals, of memory for products, and of the code that does products.
"""

from collections.abc import Callable
from types import ModuleType

import numpy as np

from fastvae.kernels.cpu import activations, adam, dense, latent, likelihoods, minibatch, noise, sigma
from fastvae.kernels.cpu.addresses import call, integers_at, matrix_at, reals_at, vector_at
from fastvae.kernels.cpu.compiler import Native, as_part, native, part
from fastvae.kernels.cpu.minibatch import count_outside, gathering
from fastvae.kernels.philox import LATENT
from fastvae.kernels.scalars import (
    ADAM_STEP,
    BETA1,
    BETA2,
    EPSILON,
    EXAMPLE_WEIGHT,
    FACTOR,
    FIRST_ROW,
    GRAD_SCALE,
    KL_WEIGHT,
    LEARNING_RATE,
    NOISE_STEP,
    OUTSIDE,
    SEED,
    SIGMA,
    SOURCE,
    SOURCE_COLUMN,
    SOURCE_ROW,
    WEIGHT_DECAY,
    Scalars,
)

LONGEST = 1 + 8 * 3 + 2  # numbers in a row: those of dense_adam_inplace
INTEGERS, REALS = (len(array) for array in (Scalars().integers, Scalars().reals))
SIGNATURE = "void(int64, int64, int64, int64, int64)"

adam_factors, adam_inplace = as_part(adam.factors), as_part(adam.adam_inplace)
divergence, reparameterize = as_part(latent.divergence), as_part(latent.reparameterize)
latent_backward = as_part(latent.backward)
bernoulli_forward, squared_error_forward = (
    as_part(likelihoods.bernoulli_forward), as_part(likelihoods.squared_error_forward)
)  # fmt: skip
bernoulli_forward_backward = as_part(likelihoods.bernoulli_forward_backward)
squared_error_forward_backward = as_part(likelihoods.squared_error_forward_backward)
binarize_inplace, threshold_inplace = as_part(noise.binarize_inplace), as_part(minibatch.threshold_inplace)
sigma_forward, sigma_backward = as_part(sigma.sigma_forward), as_part(sigma.sigma_backward)
sigma_optimal, sigma_remember = as_part(sigma.sigma_optimal), as_part(sigma.sigma_remember)
gaussian_forward = as_part(sigma.gaussian_forward)
gaussian_forward_backward = as_part(sigma.gaussian_forward_backward)
sigmoid_inplace, scale_inplace = as_part(likelihoods.sigmoid_inplace), as_part(likelihoods.scale_inplace)

OPS: dict[str, Native] = {}


def op(function: Callable) -> Callable:
    """Register an op under its name in the contract."""
    OPS[function.__name__.removeprefix("_")] = native(SIGNATURE)(function)
    return function


@part
def matrix(row, place):
    """The array operand that starts at `place` of a row, (rows, columns)."""
    return matrix_at(row[place], row[place + 1], row[place + 2])


@part
def vector(row, place):
    """The array operand that starts at `place` of a row, as one line."""
    return vector_at(row[place], row[place + 1] * row[place + 2])


@op
def _dense_forward(at_row, integers, reals, room, multiply):
    row = integers_at(at_row, LONGEST)
    x, weight, bias = matrix(row, 1), matrix(row, 4), vector(row, 7)
    dense.forward(x, weight, bias, row[10], matrix(row, 11), matrix(row, 14), room, multiply)


@op
def _dense_accumulate(at_row, integers, reals, room, multiply):
    row = integers_at(at_row, LONGEST)
    dense.accumulate(matrix(row, 1), matrix(row, 4), matrix(row, 7), room, multiply)


@op
def _dense_backward_input(at_row, integers, reals, room, multiply):
    row = integers_at(at_row, LONGEST)
    saved, weight, d_out, d_x = matrix(row, 1), matrix(row, 4), matrix(row, 8), matrix(row, 12)
    dense.backward_input(saved, weight, row[7], d_out, row[11], d_x, room, multiply)


@op
def _dense_backward_weight(at_row, integers, reals, room, multiply):
    row = integers_at(at_row, LONGEST)
    x, d_a, d_weight, d_bias = matrix(row, 1), matrix(row, 4), matrix(row, 9), vector(row, 12)
    dense.backward_weight(x, d_a, row[7], row[8], d_weight, d_bias, room, multiply)


@op
def _dense_adam_inplace(at_row, integers, reals, room, multiply):
    row, n, r = integers_at(at_row, LONGEST), integers_at(integers, INTEGERS), reals_at(reals, REALS)
    chosen = adam_factors(n[ADAM_STEP], r[LEARNING_RATE], r[BETA1], r[BETA2], r[EPSILON], r[WEIGHT_DECAY])
    weight, m_weight, v_weight = matrix(row, 9), matrix(row, 12), matrix(row, 15)
    bias, m_bias, v_bias = vector(row, 18), vector(row, 21), vector(row, 24)
    x, d_a = matrix(row, 1), matrix(row, 4)
    dense.adam(x, d_a, row[7], row[8], weight, m_weight, v_weight, bias, m_bias, v_bias, chosen, room, multiply)


@op
def _normal_noise(at_row, integers, reals, room, multiply):
    row, n = integers_at(at_row, LONGEST), integers_at(integers, INTEGERS)
    call(row[1], (0, n[SEED], row[2], n[NOISE_STEP], n[FIRST_ROW] + row[3], row[4], row[5], row[6]))


@op
def _latent_forward(at_row, integers, reals, room, multiply):
    row, n = integers_at(at_row, LONGEST), integers_at(integers, INTEGERS)
    mu, logvar, z, kl, rows, columns = matrix(row, 1), matrix(row, 4), matrix(row, 12), vector(row, 15), row[2], row[3]
    call(row[7], (row[8], n[SEED], LATENT, n[NOISE_STEP], n[FIRST_ROW] + row[11], row[12], rows, columns))
    divergence(mu, logvar, kl)
    reparameterize(mu, logvar, z)


@op
def _latent_backward(at_row, integers, reals, room, multiply):
    row, n, r = integers_at(at_row, LONGEST), integers_at(integers, INTEGERS), reals_at(reals, REALS)
    mu, logvar, d_z, d_mu, d_logvar = (
        matrix(row, 1), matrix(row, 4), matrix(row, 7), matrix(row, 15), matrix(row, 18)
    )  # fmt: skip
    call(row[10], (row[11], n[SEED], LATENT, n[NOISE_STEP], n[FIRST_ROW] + row[14], row[18], row[2], row[3]))
    latent_backward(mu, logvar, d_z, r[KL_WEIGHT], d_mu, d_logvar)


@op
def _squared_error_forward(at_row, integers, reals, room, multiply):
    row, r = integers_at(at_row, LONGEST), reals_at(reals, REALS)
    squared_error_forward(matrix(row, 1), matrix(row, 4), r[SIGMA], vector(row, 7))


@op
def _squared_error_forward_backward(at_row, integers, reals, room, multiply):
    row, r = integers_at(at_row, LONGEST), reals_at(reals, REALS)
    x, xhat, nll, d_xhat = matrix(row, 1), matrix(row, 4), vector(row, 7), matrix(row, 10)
    squared_error_forward_backward(x, xhat, r[SIGMA], r[EXAMPLE_WEIGHT], nll, d_xhat)


@op
def _sigma_forward(at_row, integers, reals, room, multiply):
    row = integers_at(at_row, LONGEST)
    sigma_forward(vector(row, 1), vector(row, 4), vector(row, 7), vector(row, 10))


@op
def _gaussian_forward(at_row, integers, reals, room, multiply):
    row = integers_at(at_row, LONGEST)
    gaussian_forward(matrix(row, 1), matrix(row, 4), vector(row, 7), vector(row, 10), vector(row, 13))


@op
def _gaussian_forward_backward(at_row, integers, reals, room, multiply):
    row, r = integers_at(at_row, LONGEST), reals_at(reals, REALS)
    x, xhat, log_sigma, inverse = matrix(row, 1), matrix(row, 4), vector(row, 7), vector(row, 10)
    gaussian_forward_backward(x, xhat, log_sigma, inverse, r[EXAMPLE_WEIGHT], vector(row, 13), matrix(row, 16))


@op
def _sigma_backward(at_row, integers, reals, room, multiply):
    row, r = integers_at(at_row, LONGEST), reals_at(reals, REALS)
    d_xhat, inverse, parameter, lowest = matrix(row, 1), vector(row, 4), vector(row, 7), vector(row, 10)
    sigma_backward(d_xhat, inverse, parameter, lowest, r[EXAMPLE_WEIGHT], vector(row, 13))


@op
def _sigma_optimal(at_row, integers, reals, room, multiply):
    row = integers_at(at_row, LONGEST)
    sigma_optimal(matrix(row, 1), matrix(row, 4), vector(row, 7), vector(row, 10), vector(row, 13))


@op
def _sigma_remember(at_row, integers, reals, room, multiply):
    row, n = integers_at(at_row, LONGEST), integers_at(integers, INTEGERS)
    share = reals_at(at_row + 8 * 4, 1)[0]
    sigma_remember(vector(row, 1), share, vector(row, 5), n[NOISE_STEP], vector(row, 8))


@op
def _bernoulli_forward(at_row, integers, reals, room, multiply):
    row = integers_at(at_row, LONGEST)
    bernoulli_forward(matrix(row, 1), matrix(row, 4), vector(row, 7))


@op
def _bernoulli_forward_backward(at_row, integers, reals, room, multiply):
    row, r = integers_at(at_row, LONGEST), reals_at(reals, REALS)
    x, logits, nll, d_logits = matrix(row, 1), matrix(row, 4), vector(row, 7), matrix(row, 10)
    bernoulli_forward_backward(x, logits, r[EXAMPLE_WEIGHT], nll, d_logits)


@op
def _sigmoid_inplace(at_row, integers, reals, room, multiply):
    sigmoid_inplace(matrix(integers_at(at_row, LONGEST), 1))


@op
def _scale_inplace(at_row, integers, reals, room, multiply):
    scale_inplace(matrix(integers_at(at_row, LONGEST), 1), reals_at(reals, REALS)[FACTOR])


@op
def _adam_inplace(at_row, integers, reals, room, multiply):
    row, n, r = integers_at(at_row, LONGEST), integers_at(integers, INTEGERS), reals_at(reals, REALS)
    params, grads, m, v = vector(row, 1), vector(row, 4), vector(row, 7), vector(row, 10)
    rate, decay, scale = r[LEARNING_RATE], r[WEIGHT_DECAY], r[GRAD_SCALE]
    adam_inplace(params, grads, m, v, n[ADAM_STEP], rate, r[BETA1], r[BETA2], r[EPSILON], decay, scale)


@op
def _gather(at_row, integers, reals, room, multiply):
    row = integers_at(at_row, LONGEST)
    call(row[1], (row[2], row[3], row[4], row[5], row[6], row[7], row[8], row[9], row[10]))


@op
def _read_rows(at_row, integers, reals, room, multiply):
    row, n = integers_at(at_row, LONGEST), integers_at(integers, INTEGERS)
    out, limits = matrix(row, 7), reals_at(at_row + 8 * 5, 2)
    call(row[1], (n[SOURCE], n[SOURCE_ROW], n[SOURCE_COLUMN], 0, row[8], row[2], row[3], row[4], row[7]))
    n[OUTSIDE] += count_outside(out, limits[0], limits[1])


@op
def _binarize_inplace(at_row, integers, reals, room, multiply):
    row, n = integers_at(at_row, LONGEST), integers_at(integers, INTEGERS)
    binarize_inplace(matrix(row, 1), np.uint64(row[4]), n[NOISE_STEP], n[FIRST_ROW] + row[5])


@op
def _threshold_inplace(at_row, integers, reals, room, multiply):
    row = integers_at(at_row, LONGEST)
    threshold_inplace(matrix(row, 1), reals_at(at_row + 8 * 4, 1)[0])


def room_of(name: str, operands: tuple, engine: ModuleType) -> int:
    """Numbers of 32 bits that the products of a call need, by the module that does them; 0 for an op without."""
    if name in ("dense_forward", "dense_accumulate"):
        x, weight = operands[:2]
        product = len(x) * weight.shape[1] if name == "dense_accumulate" else 0
        return engine.room_for(len(x), *weight.shape) + product
    if name == "dense_backward_input":
        columns, depth = operands[1].shape
        return engine.room_for(len(operands[3]), depth, columns)
    if name in ("dense_backward_weight", "dense_adam_inplace"):
        depth, columns = operands[1].shape
        tall, wide = dense.gradient_block(columns)
        return engine.room_for(max(tall, operands[0].shape[1]), depth, columns) + max(tall * wide, columns)
    return 0


def bits(real: float) -> int:
    """A real number as a row holds it."""
    return int(np.float64(real).view(np.int64))


def translated(name: str, operands: tuple) -> tuple:
    """Operands as a row holds them, where those of the contract are something else: the address of an activation's code
    for its number, that which draws noise, places and strides of data of any type, a real number or a seed by its
    bits."""
    if name == "dense_forward":
        x, weight = operands[:2]
        if x.shape[1:] != weight.shape[:1]:
            raise ValueError(f"dense_forward: x is {x.shape}, weight {weight.shape}; (B, D) and (D, H) needed")
        return (*operands[:3], activations.forward(operands[3]), *operands[4:])
    if name == "dense_backward_input":
        return (*operands[:2], activations.backward(operands[2]), *operands[3:])
    if name == "normal_noise":
        return noise.draw.address, *operands
    if name == "latent_forward":
        return (*operands[:2], noise.draw.address, *operands[2:])
    if name == "latent_backward":
        return (*operands[:3], noise.draw.address, *operands[3:])
    if name == "gather":
        data, indices, offset, scale, out = operands
        if indices.dtype != np.int64 or out.dtype != np.float32 or scale.dtype != offset.dtype:
            found = ", ".join(str(array.dtype) for array in (indices, offset, scale, out))
            raise TypeError(f"gather: indices, offset, scale, out are {found}; int64, two alike and float32 needed")
        if not all(array.flags.c_contiguous for array in operands[1:]) or not out.flags.writeable:
            raise TypeError("gather: indices, offset, scale and out must be C-contiguous, out writeable")
        wanted = [(len(indices),), data.shape[1:], data.shape[1:], (len(indices), *data.shape[1:])]
        if data.ndim != 2 or [array.shape for array in operands[1:]] != wanted:
            shapes = ", ".join(str(array.shape) for array in operands)
            raise ValueError(
                f"gather: data, indices, offset, scale, out are {shapes}; (N, D), (n,), (D,), (D,), (n, D)"
            )
        code, places = gathering(data.dtype, offset.dtype).address, (data.ctypes.data, *data.strides)
        scaling = offset.ctypes.data, scale.ctypes.data
        return code, *places, indices.ctypes.data, len(indices), *scaling, len(offset), out.ctypes.data
    if name == "read_rows":
        dtype, offset, scale, lowest, highest, out = operands
        if offset.dtype != scale.dtype or not (offset.flags.c_contiguous and scale.flags.c_contiguous):
            raise TypeError(f"read_rows: offset is {offset.dtype}, scale {scale.dtype}; two alike, C-contiguous needed")
        if not offset.shape == scale.shape == out.shape[1:]:
            raise ValueError(f"read_rows: offset, scale, out are {offset.shape}, {scale.shape}, {out.shape}; D alike")
        code, scaling = gathering(dtype, offset.dtype).address, (offset.ctypes.data, scale.ctypes.data)
        return code, *scaling, len(offset), bits(lowest), bits(highest), out
    if name == "binarize_inplace":
        return operands[0], int(np.uint64(operands[1]).view(np.int64)), operands[2]
    if name == "sigma_remember":
        return operands[0], bits(operands[1]), *operands[2:]
    if name == "threshold_inplace":
        return operands[0], bits(operands[1])
    return operands
