"""Contract cases of the optimizers, and of what scales a gradient."""

import math
from typing import Any

import numpy as np

from fastvae import reference
from fastvae.contract_cases.case import ADAM, Case, Compared, garbage, normal, wide


def adam_numbers(
    step: int, learning_rate: float, beta1: float, beta2: float, epsilon: float, weight_decay: float
) -> tuple[float, ...]:
    """The operands of Adam's ops, from what the reference takes."""
    rate, correction = learning_rate / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step)
    return rate, correction, 1 - beta1, beta2, 1 - beta2, learning_rate * weight_decay, epsilon


def _adam_inplace(rng, shape, precision):
    params, grads, m = (normal(rng, math.prod(shape[1:])) for _ in range(3))
    v = np.abs(normal(rng, len(params))) + np.float32(0.01)
    before = wide(params, grads, m, v)
    settings: Any = (*ADAM, 0.4)
    expected: Any = reference.adam(*before, *settings)
    terms = 0.85 * np.abs(before[2]) + 0.15 * 0.4 * np.abs(before[1])  # of the first moment, which may cancel
    sizes = np.abs(before[0]) + 0.02 * terms / np.sqrt(expected[2]), terms, expected[2]
    compared = [Compared(*each) for each in zip((params, m, v), expected, sizes, strict=True)]
    yield Case("adam_inplace", (params, grads, m, v, *adam_numbers(*ADAM), 0.4), compared)


def _sgd_inplace(rng, shape, precision):
    """With momentum of both kinds."""
    for ahead in (0.0, 0.85):
        params, grads, velocity = (normal(rng, math.prod(shape[1:])) for _ in range(3))
        settings: Any = (0.02, 0.85, ahead > 0, 0.1, 0.4)
        before = wide(params, grads, velocity)
        expected_params, expected_velocity = reference.sgd(*before, *settings)
        terms = 0.4 * np.abs(before[1]) + 0.85 * np.abs(before[2])
        compared = [
            Compared(params, expected_params, np.abs(before[0]) + 0.02 * terms),
            Compared(velocity, expected_velocity, terms),
        ]
        yield Case("sgd_inplace", (params, grads, velocity, 0.02, 0.85, ahead, 0.1, 0.4), compared)


def _average_inplace(rng, shape, precision):
    """It moves; with 1 it begins, whatever stood there; with 0 it stays."""
    for share in (0.3, 1.0, 0.0):
        params, average = (normal(rng, math.prod(shape[1:])) for _ in range(2))
        if share == 1:
            average = garbage(len(params))
        expected = (
            params if share == 1 else reference.averaged(average.astype(np.float64), params.astype(np.float64), share)
        )
        size = (share not in (0, 1)) * (np.abs(params) + np.abs(average))
        compared = [Compared(average, expected, np.nan_to_num(size))]
        yield Case("average_inplace", (params, share, average), compared)


def _clip_scale(rng, shape, precision):
    """Of a gradient that is too long, and of one that is not."""
    grads = normal(rng, math.prod(shape[1:]))
    norm = math.sqrt(np.square(grads.astype(np.float64)).sum())
    for largest in (0.3 * norm, 1.5 * norm):
        expected = np.float64(reference.clip_scale(grads.astype(np.float64), largest))

        def compare(left, expected=expected):
            return [Compared(np.float64(left), expected, expected)]

        yield Case("clip_scale", (grads, largest, None), compare)


CASES = {
    "adam_inplace": _adam_inplace,
    "sgd_inplace": _sgd_inplace,
    "average_inplace": _average_inplace,
    "clip_scale": _clip_scale,
}
