"""Adam over the flat parameter buffer, and the norm of the flat gradient."""

import numpy as np

from fastvae.kernels.cpu.compiler import kernel, reduction
from fastvae.kernels.formulas import f32, relu


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
    """One step of Adam over arrays (n,), with the numbers that `factors` gives.

    No sum here has two products: which of them were fused would be the compiler's choice, and might differ between the
    vectors and the rest of an array; results would depend on where it is cut among threads.
    """
    rate, correction, new1, keep2, new2, decay, tiny = chosen
    for i in range(params.size):
        g = grads[i] * scale
        first = m[i] + new1 * (g - m[i])
        second = keep2 * v[i] + relu(new2 * g * g)  # relu changes nothing, but keeps the two products apart
        m[i] = first
        v[i] = second
        params[i] -= rate * first / (np.sqrt(second) * correction + tiny) + decay * params[i]


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
