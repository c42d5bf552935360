"""Optimizers: one step."""

import numpy as np


def adam(
    params, grads, m, v, step, learning_rate, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0, grad_scale=1.0
):
    """The parameters and both moments after one step; steps count from 1."""
    g = grad_scale * grads
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    mhat, vhat = m / (1 - beta1**step), v / (1 - beta2**step)
    return params - learning_rate * (mhat / (np.sqrt(vhat) + epsilon) + weight_decay * params), m, v


def sgd(params, grads, velocity, learning_rate, momentum=0.9, nesterov=False, weight_decay=0.0, grad_scale=1.0):
    """The parameters and the velocity after one step. Sutskever et al. 2013, with the rate outside the velocity."""
    g = grad_scale * grads
    velocity = momentum * velocity + g
    direction = g + momentum * velocity if nesterov else velocity
    return params - learning_rate * (direction + weight_decay * params), velocity


def averaged(average, params, share):
    """The average of parameters after those of one more step, which count as `share` of it."""
    return (1 - share) * average + share * params


def clip_scale(grads, largest):
    """By what a gradient is multiplied so that its Euclidean norm is at most `largest`. Pascanu et al. 2013."""
    norm = np.sqrt((grads**2).sum())
    return largest / norm if norm > largest else 1.0
