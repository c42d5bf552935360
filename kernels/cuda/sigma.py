"""A sigma that is not fixed, on the device: what `fastvae.likelihoods` concludes from a whole batch."""

import math

import numpy as np

from fastvae.kernels.cuda.device import COUNT, FLOATS, INTEGERS, REAL, cuda, kernel, part
from fastvae.kernels.cuda.settings import INVERSE_SIGMA, LOG_SIGMA, SLOPE, STOPPED
from fastvae.kernels.cuda.sums import FLAT, leave_sum, plus
from fastvae.kernels.formulas import HALF, ONE, TWO, ZERO, f32, sigmoid, softplus
from fastvae.kernels.scalars import EXAMPLE_WEIGHT, HALF_LOG_TWO_PI, LOG_SIGMA_LOWEST, MEMORY, NOISE_STEP, PLAIN_SIGMA

FIXED, LEARNED, OPTIMAL = range(3)
LOWEST, CONSTANT, KEPT = np.float32(LOG_SIGMA_LOWEST), np.float32(HALF_LOG_TWO_PI), np.float32(1.0 - MEMORY)
PI, PLAIN_VARIANCE = np.float32(math.pi), np.float32(PLAIN_SIGMA**2)
LEAST_VARIANCE, CLOSEST = np.float32(math.exp(2 * LOG_SIGMA_LOWEST)), np.float32(1e-3)
u32 = np.uint32


@part
def log_sigma_of(parameter):
    """log sigma = -6 + softplus(parameter + 6)."""
    return LOWEST + softplus(parameter - LOWEST)


@part
def set_sigma(parameter, reals):
    """Have the likelihood use a learned sigma."""
    log_sigma = log_sigma_of(parameter)
    inverse = math.exp(-log_sigma)
    reals[INVERSE_SIGMA], reals[SLOPE], reals[LOG_SIGMA] = inverse, reals[EXAMPLE_WEIGHT] * inverse, log_sigma


@kernel(COUNT, FLOATS, FLOATS, FLOATS, FLOATS, INTEGERS, INTEGERS, FLOATS, FLOATS, REAL, COUNT, COUNT, block=(FLAT,))
def conclude(mode, nll, kl, d_xhat, reals, integers, state, parameter, gradient, share, rows, columns):
    """One block does what `Gaussian.conclude` does, from the nll of all rows.

    LEARNED: the gradient of the parameter. OPTIMAL: the best sigma of the batch; nll and d_xhat, which were made with
    PLAIN_SIGMA, become those under it, and the parameter remembers it, a short batch by its `share` of a whole one.
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
    if mode == u32(LEARNED):
        if thread == u32(0):
            constant = size * (log_sigma_of(parameter[0]) + CONSTANT)
            slope = sigmoid(parameter[0] - LOWEST)
            gradient[0] = (size - TWO * (total - constant)) * slope / f32(rows)
        return
    variance = total / (PI * size)
    if variance < LEAST_VARIANCE:
        variance = LEAST_VARIANCE
    factor, constant = PLAIN_VARIANCE / variance, f32(columns) * (HALF * math.log(variance) + CONSTANT)
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
        moves = variance - variance + found[2] == ZERO and not state[STOPPED]
        if moves:
            new = ONE
            if integers[NOISE_STEP] != 1:
                least = ONE / f32(integers[NOISE_STEP])
                new = share * (KEPT if least < KEPT else least)
            sigma = math.exp(log_sigma_of(parameter[0]))
            above = HALF * math.log((ONE - new) * sigma * sigma + new * variance) - LOWEST
            above = above if above > CLOSEST else CLOSEST
            parameter[0] = above + math.log(-math.expm1(-above)) + LOWEST  # softplus undone
