"""A sigma that is not fixed, on the device: what `fastvae.likelihoods` concludes from a whole batch."""

import math

import numpy as np

from fastvae.kernels.cuda.device import COUNT, FLOATS, INTEGERS, REAL, cuda, kernel, part
from fastvae.kernels.cuda.settings import INVERSE_SIGMA, LOG_SIGMA, SLOPE, STOPPED
from fastvae.kernels.cuda.sums import FLAT, leave_sum, plus
from fastvae.kernels.formulas import (
    HALF,
    TWO,
    ZERO,
    f32,
    learned_sigma_gradient,
    optimal_constant,
    optimal_variance,
    remembered_variance,
    soft_log_sigma,
    soft_parameter,
    soft_slope,
)
from fastvae.kernels.scalars import (
    EXAMPLE_WEIGHT,
    HALF_LOG_TWO_PI,
    LEAST_ABOVE,
    LOG_SIGMA_LOWEST,
    MEMORY,
    NOISE_STEP,
    PLAIN_SIGMA,
)

LOWEST, CONSTANT, NEW = f32(LOG_SIGMA_LOWEST), f32(HALF_LOG_TWO_PI), f32(1.0 - MEMORY)
PI, PLAIN_VARIANCE = f32(math.pi), f32(PLAIN_SIGMA**2)
LEAST_VARIANCE, LEAST = f32(math.exp(2 * LOG_SIGMA_LOWEST)), f32(LEAST_ABOVE)
u32 = np.uint32


@part
def set_sigma(parameter, reals):
    """Have the likelihood use a learned sigma."""
    log_sigma = soft_log_sigma(parameter, LOWEST)
    inverse = math.exp(-log_sigma)
    reals[INVERSE_SIGMA], reals[SLOPE], reals[LOG_SIGMA] = inverse, reals[EXAMPLE_WEIGHT] * inverse, log_sigma


@kernel(COUNT, FLOATS, FLOATS, FLOATS, FLOATS, INTEGERS, INTEGERS, FLOATS, FLOATS, REAL, COUNT, COUNT, block=(FLAT,))
def conclude(learned, nll, kl, d_xhat, reals, integers, state, parameter, gradient, share, rows, columns):
    """One block does what `Gaussian.conclude` does, from the nll of all rows.

    Where `learned` is 1, the gradient of the parameter. Else the best sigma of the batch: nll and d_xhat, which were
    made with PLAIN_SIGMA, become those under it, and the parameter remembers it, a short batch by its `share` of a
    whole one.
    """
    highs = cuda.shared.array(FLAT, np.float32)
    lows = cuda.shared.array(FLAT, np.float32)  # in a line of its own: the simulator tells arrays apart by that
    found = cuda.shared.array(4, np.float32)
    thread = u32(cuda.threadIdx.x)
    k, high, low, other = thread, ZERO, ZERO, ZERO
    while k < rows:
        high, low = plus(high, low, nll[k])
        other += kl[k] - kl[k]  # NaN, where kl is not finite
        k = u32(k + u32(FLAT))
    leave_sum(found, 0, high, low, highs, lows)
    leave_sum(found, 2, other, ZERO, highs, lows)
    cuda.syncthreads()
    size, total = f32(rows) * f32(columns), found[0] + found[1]
    if learned:
        if thread == u32(0):
            log_sigma = soft_log_sigma(parameter[0], LOWEST)
            slope = soft_slope(parameter[0], LOWEST)
            gradient[0] = learned_sigma_gradient(total, size, f32(rows), log_sigma, slope, CONSTANT)
        return
    variance = optimal_variance(total, size, PI, LEAST_VARIANCE)
    factor, constant = PLAIN_VARIANCE / variance, optimal_constant(variance, f32(columns), CONSTANT)
    k = thread
    while k < rows:
        nll[k] = nll[k] * factor + constant
        k = u32(k + u32(FLAT))
    k = thread
    while k < rows * columns:
        d_xhat[k] *= factor
        k = u32(k + u32(FLAT))
    if thread == u32(0):
        gradient[0] = ZERO
        if variance - variance + found[2] == ZERO and not state[STOPPED]:
            old = math.exp(TWO * soft_log_sigma(parameter[0], LOWEST))
            new = remembered_variance(old, variance, f32(integers[NOISE_STEP]), share, NEW)
            parameter[0] = soft_parameter(HALF * math.log(new), LOWEST, LEAST)
