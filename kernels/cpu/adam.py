"""Adam over the flat parameter buffer, and the norm of the flat gradient."""

import numpy as np

from fastvae.kernels.cpu.compiler import kernel, part, reduction
from fastvae.kernels.cpu.prefetch import LINE, fetch_to_write
from fastvae.kernels.cpu.processor import UNIT
from fastvae.kernels.formulas import adam_moved, f32

AT_ONCE, AHEAD = 256, 512  # numbers moved between two looks ahead, and how far one looks
FEW = 1 << 14  # so many lie in the second cache from step to step
LOOKS_AHEAD = UNIT.looks_ahead


@kernel
def factors(step, learning_rate, beta1, beta2, epsilon, weight_decay):
    """What one step multiplies by: see `move`."""
    rate = f32(learning_rate / (1.0 - beta1**step))
    correction = f32(1.0 / np.sqrt(1.0 - beta2**step))
    return (
        rate,
        correction,
        f32(1.0 - beta1),
        f32(beta2),
        f32(1.0 - beta2),
        f32(learning_rate * weight_decay),
        f32(epsilon),
    )


@part
def move_few(params, grads, m, v, scale, chosen):
    """One step of Adam over arrays (n,), with the numbers that `factors` gives."""
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
def adam_inplace(params, grads, m, v, step, learning_rate, beta1, beta2, epsilon, weight_decay, grad_scale):
    """See the contract in `fastvae.kernels`."""
    chosen = factors(step, learning_rate, beta1, beta2, epsilon, weight_decay)
    move(params, grads, m, v, f32(grad_scale), chosen)


@reduction
def squared_norm(grads):
    """See the contract in `fastvae.kernels`."""
    total = 0.0
    for i in range(grads.size):
        total += np.float64(grads[i]) * np.float64(grads[i])
    return total
