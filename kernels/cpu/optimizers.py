"""Optimizers over the flat parameter buffer, and the norm of the flat gradient."""

import math

import numpy as np

from fastvae.kernels.cpu.compiler import as_part, kernel, part, reduction
from fastvae.kernels.cpu.prefetch import LINE, fetch_to_write
from fastvae.kernels.cpu.processor import UNIT
from fastvae.kernels.formulas import adam_moved, averaged, f32, sgd_moved

AT_ONCE, AHEAD = 256, 512  # numbers moved between two looks ahead, and how far one looks
FEW = 1 << 14  # so many lie in the second cache from step to step
LOOKS_AHEAD = UNIT.looks_ahead


@part
def in_float32(rate, correction, new1, keep2, new2, decay, epsilon):
    """What a step multiplies by, see `formulas.adam_moved`."""
    return f32(rate), f32(correction), f32(new1), f32(keep2), f32(new2), f32(decay), f32(epsilon)


@part
def move_few(params, grads, m, v, scale, chosen):
    """One step of Adam over arrays (n,), with the numbers of `in_float32`."""
    for i in range(params.size):
        params[i], m[i], v[i] = adam_moved(params[i], grads[i], m[i], v[i], scale, chosen)


@part
def move(params, grads, m, v, scale, chosen):
    """`move_few` for more than the caches hold: what comes next is asked for meanwhile, to be written.

    That takes 7% off a step of training (784-400-20, batch 128, two threads of AVX-512); asked for to be read, it would
    add 10%.
    """
    if not LOOKS_AHEAD or params.size < FEW:
        move_few(params, grads, m, v, scale, chosen)
        return
    for start in range(0, params.size, AT_ONCE):
        stop = min(start + AT_ONCE, params.size)
        lines = (4 * min(AT_ONCE, params.size - start - AHEAD) + LINE - 1) // LINE
        for array in (params, m, v):
            fetch_to_write(array.ctypes.data + 4 * (start + AHEAD), lines)
        move_few(params[start:stop], grads[start:stop], m[start:stop], v[start:stop], scale, chosen)


@kernel
def adam_inplace(params, grads, m, v, rate, correction, new1, keep2, new2, decay, epsilon, grad_scale):
    """See the contract in `fastvae.kernels`."""
    chosen = in_float32(rate, correction, new1, keep2, new2, decay, epsilon)
    move(params, grads, m, v, f32(grad_scale), chosen)


@reduction
def squared_norm(grads):
    """See the contract in `fastvae.kernels`."""
    total = 0.0
    for i in range(grads.size):
        total += np.float64(grads[i]) * np.float64(grads[i])
    return total


norm_squared = as_part(squared_norm)


@kernel
def clip_scale(grads, largest, scale):
    """See the contract in `fastvae.kernels`."""
    norm = math.sqrt(norm_squared(grads))
    scale[0] = largest / norm if norm > largest else 1.0


@kernel
def sgd_inplace(params, grads, velocity, rate, momentum, ahead, decay, grad_scale):
    """See the contract in `fastvae.kernels`."""
    numbers = f32(rate), f32(momentum), f32(ahead), f32(decay)
    for i in range(params.size):
        params[i], velocity[i] = sgd_moved(params[i], grads[i], velocity[i], f32(grad_scale), *numbers)


@kernel
def average_inplace(params, share, average):
    """See the contract in `fastvae.kernels`."""
    for i in range(params.size):
        average[i] = averaged(average[i], params[i], f32(share))
