"""Functions of the contract over arrays of the host: each uploads, launches and downloads. For tests, comparisons."""

import numpy as np

from fastvae.kernels.cuda import adam, dense, likelihoods, minibatch, sigma, sums
from fastvae.kernels.cuda.declaration import WARP, Kernel, blocks
from fastvae.kernels.cuda.driver import device
from fastvae.kernels.cuda.latent import ROWS
from fastvae.kernels.cuda.latent import latent_backward as latent_backward_kernel
from fastvae.kernels.cuda.latent import latent_forward as latent_forward_kernel
from fastvae.kernels.cuda.noise import FLAT, NORMAL, UNIFORM, draw
from fastvae.kernels.cuda.noise import binarize_inplace as binarize_kernel
from fastvae.kernels.cuda.program import MOST_BLOCKS, MOST_ROWS
from fastvae.kernels.cuda.settings import SIZE, reals_of
from fastvae.kernels.formulas import IDENTITY, SILU
from fastvae.kernels.scalars import (
    ADAM_STEP,
    BETA1,
    BETA2,
    CLIP_NORM,
    EPSILON,
    EXAMPLE_WEIGHT,
    FACTOR,
    GRAD_SCALE,
    KL_WEIGHT,
    LEARNING_RATE,
    NOISE_STEP,
    OUTSIDE,
    SIGMA,
    WEIGHT_DECAY,
    Scalars,
)


def _launch(kernel: Kernel, grid: tuple, block: tuple, inputs: list, outputs: list) -> None:
    """Run a kernel: arguments in order, arrays among them flat; those of `outputs` come back."""
    there = {id(a): device().upload(a.reshape(-1)) for a in inputs if isinstance(a, np.ndarray)}
    arguments = [there[id(a)] if isinstance(a, np.ndarray) else a for a in inputs]
    device().launch(kernel, grid, block, arguments)
    for array in outputs:
        device().read(there[id(array)], array.reshape(-1))


def _settings(scalars: Scalars) -> np.ndarray:
    reals = np.empty(SIZE, np.float32)
    reals_of(scalars, reals)
    return reals


def _rows(array: np.ndarray) -> tuple[tuple, tuple]:
    """Grid and block of a kernel with a warp for each row."""
    return (blocks(len(array), ROWS),), (WARP, ROWS)


def _noise(seed: np.uint64, step: int) -> Scalars:
    scalars = Scalars(seed)
    scalars.integers[NOISE_STEP] = step
    return scalars


def _product(kernel, row, a, b, c, before, after, outputs):
    table, tiles = dense.table_of([row])
    nothing = np.zeros(1, np.float32)
    arrays = [nothing if array is None else array for array in (a, b, c, before, after)]
    _launch(kernel, (tiles,), (dense.THREADS,), [*arrays, table, 1], outputs)


def dense_forward(x, weight, bias, activation, out, saved):
    """See the contract in `fastvae.kernels`."""
    (rows, depth), columns = x.shape, weight.shape[1]
    row = dense.row((rows, columns), [(depth, 0, depth, 0, columns)], dense.FORWARD, activation, 0, 0, 0)
    silu = activation == SILU
    outputs = [out, saved] if silu else [out]
    _product(dense.FORWARDS, row, x, weight, out, bias, saved if silu else None, outputs)


def dense_accumulate(x, weight, out):
    """See the contract in `fastvae.kernels`."""
    (rows, depth), columns = x.shape, weight.shape[1]
    row = dense.row((rows, columns), [(depth, 0, depth, 0, columns)], dense.ADDED, IDENTITY, 0, 0, 0)
    _product(dense.FORWARDS, row, x, weight, out, None, None, [out])


def dense_backward_input(saved, weight, activation, d_out, more, d_x):
    """See the contract in `fastvae.kernels`."""
    rows, depth = d_out.shape
    if activation != IDENTITY:
        grid = (min(MOST_BLOCKS, blocks(d_out.size, dense.THREADS)),)
        inputs = [saved, d_out, activation, d_out.size]
        _launch(dense.derivative_inplace, grid, (dense.THREADS,), inputs, [d_out])
    if d_x is not None:
        mode = dense.ADDED if more else dense.BACKWARD
        row = dense.row((rows, len(weight)), [(depth, 0, depth, 0, depth)], mode, IDENTITY, 0, 0, 0)
        _product(dense.BACKWARDS, row, d_out, weight, d_x, None, None, [d_x])


def dense_backward_weight(x, d_a, first, last, d_weight, d_bias):
    """See the contract in `fastvae.kernels`."""
    if first >= last:
        return
    (depth, step), columns = x.shape, d_a.shape[1]
    pair, summing = (depth, first, step, 0, columns), int(first == 0 and d_bias is not None)
    row = dense.row((last - first, columns), [pair], dense.GRADIENT, 0, first * columns, summing, 0)
    outputs = [d_weight] if d_bias is None else [d_weight, d_bias]
    _product(dense.GRADIENTS, row, x, d_a, d_weight, None, d_bias, outputs)


def dense_adam_inplace(
    x, d_a, first, last, weight, m_weight, v_weight, bias, m_bias, v_bias,
    step, learning_rate, beta1, beta2, epsilon, weight_decay,
):  # fmt: skip
    """See the contract in `fastvae.kernels`."""
    if first >= last:
        return
    settings = step, learning_rate, beta1, beta2, epsilon, weight_decay, 1.0
    d_weight, d_bias = np.empty_like(weight), None if bias is None else np.empty_like(bias)
    dense_backward_weight(x, d_a, first, last, d_weight, d_bias)
    own = slice(first, last)
    adam_inplace(weight[own], d_weight[own], m_weight[own], v_weight[own], *settings)
    if first == 0 and bias is not None:
        adam_inplace(bias, d_bias, m_bias, v_bias, *settings)


def latent_forward(mu, logvar, noise, seed, step, first_row, z, kl):
    """See the contract in `fastvae.kernels`."""
    scalars, given = _noise(seed, step), int(len(noise) > 0)
    inputs = [mu, logvar, noise if given else np.zeros(1, np.float32), given, scalars.integers, int(first_row), z, kl]
    _launch(latent_forward_kernel, *_rows(mu), [*inputs, *mu.shape], [z, kl])


def latent_backward(mu, logvar, d_z, noise, seed, step, first_row, kl_weight, d_mu, d_logvar):
    """See the contract in `fastvae.kernels`."""
    scalars, given = _noise(seed, step), int(len(noise) > 0)
    scalars.reals[KL_WEIGHT] = kl_weight
    inputs = [mu, logvar, d_z, noise if given else np.zeros(1, np.float32), given, scalars.integers, _settings(scalars)]
    outputs = [d_mu, d_logvar]
    _launch(latent_backward_kernel, *_rows(mu), [*inputs, int(first_row), *outputs, *mu.shape], outputs)


def _likelihood(kernel, arrays, deviation, weight, nll, gradient):
    scalars, backward, x = Scalars(), int(gradient is not None), arrays[0]
    scalars.reals[SIGMA], scalars.reals[EXAMPLE_WEIGHT] = deviation, weight
    outputs = [nll, gradient] if backward else [nll]
    results = nll, gradient if backward else np.zeros(1, np.float32)
    _launch(kernel, *_rows(x), [*arrays, _settings(scalars), *results, backward, *x.shape], outputs)


def squared_error_forward(x, xhat, sigma, nll):
    """See the contract in `fastvae.kernels`."""
    _likelihood(likelihoods.squared_error, (x, xhat), sigma, 1.0, nll, None)


def squared_error_forward_backward(x, xhat, sigma, weight, nll, d_xhat):
    """See the contract in `fastvae.kernels`."""
    _likelihood(likelihoods.squared_error, (x, xhat), sigma, weight, nll, d_xhat)


def gaussian_forward(x, xhat, log_sigma, inverse, nll):
    """See the contract in `fastvae.kernels`."""
    _likelihood(likelihoods.gaussian, (x, xhat, log_sigma, inverse), 1.0, 1.0, nll, None)


def gaussian_forward_backward(x, xhat, log_sigma, inverse, weight, nll, d_xhat):
    """See the contract in `fastvae.kernels`."""
    _likelihood(likelihoods.gaussian, (x, xhat, log_sigma, inverse), 1.0, weight, nll, d_xhat)


def sigma_forward(parameter, lowest, log_sigma, inverse):
    """See the contract in `fastvae.kernels`."""
    grid, arrays = (blocks(log_sigma.size, sigma.THREADS),), [parameter, lowest, log_sigma, inverse]
    arguments = [*arrays, parameter.size, log_sigma.size]
    _launch(sigma.sigma_forward, grid, (sigma.THREADS,), arguments, [log_sigma, inverse])


def sigma_backward(d_xhat, inverse, parameter, lowest, weight, d_parameter):
    """See the contract in `fastvae.kernels`."""
    scalars, grid = Scalars(), (blocks(parameter.size, WARP),)
    scalars.reals[EXAMPLE_WEIGHT] = weight
    arrays = [d_xhat, inverse, parameter, lowest, _settings(scalars), d_parameter]
    arguments = [*arrays, parameter.size, *d_xhat.shape]
    _launch(sigma.sigma_backward, grid, (WARP, sigma.SLICES), arguments, [d_parameter])


def sigma_optimal(x, xhat, lowest, log_sigma, inverse):
    """See the contract in `fastvae.kernels`."""
    grid, arguments = (blocks(lowest.size, WARP),), [x, xhat, lowest, log_sigma, inverse, lowest.size, *x.shape]
    _launch(sigma.sigma_optimal, grid, (WARP, sigma.SLICES), arguments, [log_sigma, inverse])


def sigma_remember(log_sigma, share, lowest, step, parameter):
    """See the contract in `fastvae.kernels`."""
    grid, live = (blocks(parameter.size, sigma.THREADS),), [_noise(np.uint64(0), step).integers, np.zeros(2, np.int64)]
    arguments = [log_sigma, np.float32(share), lowest, *live, parameter, parameter.size]
    _launch(sigma.sigma_remember, grid, (sigma.THREADS,), arguments, [parameter])


def bernoulli_forward(x, logits, nll):
    """See the contract in `fastvae.kernels`."""
    _likelihood(likelihoods.bernoulli, (x, logits), 1.0, 1.0, nll, None)


def bernoulli_forward_backward(x, logits, weight, nll, d_logits):
    """See the contract in `fastvae.kernels`."""
    _likelihood(likelihoods.bernoulli, (x, logits), 1.0, weight, nll, d_logits)


def sigmoid_inplace(logits):
    """See the contract in `fastvae.kernels`."""
    grid = (min(MOST_BLOCKS, blocks(logits.size, 4 * likelihoods.FLAT)),)
    _launch(likelihoods.sigmoid_inplace, grid, (likelihoods.FLAT,), [logits, logits.size], [logits])


def scale_inplace(x, factor):
    """See the contract in `fastvae.kernels`."""
    grid, scalars = (min(MOST_BLOCKS, blocks(x.size, 4 * likelihoods.FLAT)),), Scalars()
    scalars.reals[FACTOR] = factor
    _launch(likelihoods.scale_inplace, grid, (likelihoods.FLAT,), [x, _settings(scalars), FACTOR, x.size], [x])


def adam_inplace(params, grads, m, v, step, learning_rate, beta1, beta2, epsilon, weight_decay, grad_scale):
    """See the contract in `fastvae.kernels`."""
    scalars = Scalars()
    scalars.integers[ADAM_STEP] = step
    numbers = learning_rate, beta1, beta2, epsilon, weight_decay
    scalars.reals[[LEARNING_RATE, BETA1, BETA2, EPSILON, WEIGHT_DECAY]] = numbers
    scalars.reals[GRAD_SCALE] = grad_scale
    adam_with_clipping(params, grads, m, v, scalars)


def adam_with_clipping(params, grads, m, v, scalars):
    """A step of Adam with the numbers in `scalars`, the gradient scaled down to CLIP_NORM where that is above 0."""
    block, parts = (WARP, adam.WARPS), np.zeros(2 * sums.PARTS, np.float32)
    if scalars.reals[CLIP_NORM] > 0:
        _launch(sums.square_parts, (sums.PARTS,), (sums.FLAT,), [grads, parts, grads.size], [parts])
    grid = (min(MOST_BLOCKS, blocks(params.size, 4 * WARP * adam.WARPS)),)
    arguments = [params, grads, m, v, _settings(scalars), parts, np.zeros(2, np.int64), params.size]
    _launch(adam.adam_inplace, grid, block, arguments, [params, m, v])


def _draw(kind, seed, stream, step, first_row, out):
    rows, columns = out.shape
    grid, integers = (blocks(columns, 4 * FLAT), min(MOST_ROWS, rows)), _noise(seed, step).integers
    _launch(draw, grid, (FLAT,), [out, integers, int(stream), kind, int(first_row), rows, columns], [out])


def normal_noise(seed, stream, step, first_row, out):
    """See the contract in `fastvae.kernels`."""
    _draw(NORMAL, seed, stream, step, first_row, out)


def uniform_noise(seed, stream, step, first_row, out):
    """See the contract in `fastvae.kernels`."""
    _draw(UNIFORM, seed, stream, step, first_row, out)


def binarize_inplace(x, seed, step, first_row):
    """See the contract in `fastvae.kernels`."""
    rows, columns = x.shape
    arguments = [x, np.uint64(seed), _noise(np.uint64(0), step).integers, int(first_row), rows, columns]
    _launch(binarize_kernel, (blocks(columns, 4 * FLAT), min(MOST_ROWS, rows)), (FLAT,), arguments, [x])


def threshold_inplace(x, threshold):
    """See the contract in `fastvae.kernels`."""
    grid = (min(MOST_BLOCKS, blocks(x.size, minibatch.FLAT)),)
    _launch(minibatch.threshold_inplace, grid, (minibatch.FLAT,), [x, np.float32(threshold), x.size], [x])


def shuffled_indices(seed, epoch, count, start, out):
    """See the contract in `fastvae.kernels`."""
    grid = (min(MOST_BLOCKS, blocks(out.size, minibatch.FLAT)),)
    arguments = [np.uint64(seed), int(epoch), np.uint64(count), np.uint64(start), out, out.size]
    _launch(minibatch.shuffled_indices, grid, (minibatch.FLAT,), arguments, [out])


def _gather(data, indices, offset, scale, out):
    values, (rows, columns) = np.ascontiguousarray(data), out.shape
    values = values.view(np.uint8) if values.dtype == np.bool_ else values
    chosen = int(indices is not None)
    kernel, block = minibatch.gathering(values.dtype, offset.dtype), (WARP, minibatch.ROWS)
    arguments = [values, indices if chosen else np.zeros(1, np.int64), chosen, offset, scale, out, rows, columns]
    _launch(kernel, (blocks(rows, minibatch.ROWS),), block, arguments, [out])


def gather(data, indices, offset, scale, out):
    """See the contract in `fastvae.kernels`."""
    _gather(data, indices, offset, scale, out)


def read_rows(data, offset, scale, lowest, highest, out):
    """See the contract in `fastvae.kernels`."""
    _gather(data, None, offset, scale, out)
    integers, (rows, columns) = Scalars().integers, out.shape
    arguments = [out, np.float32(lowest), np.float32(highest), integers, rows, columns]
    grid, block = (blocks(rows, minibatch.ROWS),), (WARP, minibatch.ROWS)
    _launch(minibatch.count_outside, grid, block, arguments, [integers])
    return int(integers[OUTSIDE])


def _sum(kernel, values):
    grid = min(sums.PARTS, blocks(values.size, 4 * sums.FLAT))
    parts = np.zeros(2 * grid, np.float32)
    _launch(kernel, (grid,), (sums.FLAT,), [values, parts, values.size], [parts])
    return sums.sum_of(parts)


def total(values):
    """See the contract in `fastvae.kernels`."""
    return _sum(sums.total_parts, values)


def squared_norm(grads):
    """See the contract in `fastvae.kernels`."""
    return _sum(sums.square_parts, grads)
