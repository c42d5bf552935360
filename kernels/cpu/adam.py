"""Adam over the flat parameter buffer, and the norm of the flat gradient."""

import numpy as np

from fastvae.kernels.cpu.compiler import kernel, reduction
from fastvae.kernels.formulas import adam_moved, f32


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


@kernel
def move(params, grads, m, v, scale, chosen):
    """One step of Adam over arrays (n,), with the numbers that `factors` gives."""
    for i in range(params.size):
        params[i], m[i], v[i] = adam_moved(params[i], grads[i], m[i], v[i], scale, chosen)


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
