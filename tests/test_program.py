"""Programs: calls in order, as often as wanted, over arrays that stay alive, with the numbers that stand there by then."""

import gc
import threading
import weakref

import numpy as np
import pytest

from fastvae.kernels import philox
from fastvae.kernels.formulas import ACTIVATIONS, SILU
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
    SEED,
    SIGMA,
    WEIGHT_DECAY,
    Scalars,
)

KEY = np.uint64(2**63 + 17)
ROWS, D, H = 5, 7, 6
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def unit(*shape):
    return RNG.random(shape, np.float32)


def number(value):
    """An array of one number, and what doubles or compares it in a program."""
    return np.full((1, 1), value, np.float32)


def scalars(**changes):
    """All different, and none of them 0 or 1."""
    made = Scalars(KEY)
    made.integers[[NOISE_STEP, FIRST_ROW, ADAM_STEP]] = 12, 100, 3
    places = [EXAMPLE_WEIGHT, KL_WEIGHT, SIGMA, FACTOR, LEARNING_RATE, BETA1, BETA2, EPSILON, WEIGHT_DECAY, GRAD_SCALE]
    made.reals[places] = 0.37, 0.21, 0.3, 1.7, 0.02, 0.85, 0.97, 1e-3, 0.1, 0.4
    return made


# op -> its operands in a program, and those of the function of that name, where `...` stands for an array of the first
ADAM = (3, 0.02, 0.85, 0.97, 1e-3, 0.1)
X, WEIGHT, D_A = normal(ROWS, D), normal(D, H), normal(ROWS, H)
MU, LOGVAR, D_Z, NOISE = normal(ROWS, H), normal(ROWS, H), normal(ROWS, H), normal(ROWS, H)
OPERANDS = {
    "dense_forward": ((X, WEIGHT, normal(H), SILU, normal(ROWS, H), normal(ROWS, H)), (0, 1, 2, 3, 4, 5)),
    "dense_backward_input": ((MU, WEIGHT, SILU, D_A, 1, normal(ROWS, D)), (0, 1, 2, 3, 4, 5)),
    "dense_backward_weight": ((X, D_A, 0, D, normal(D, H), normal(H)), (0, 1, 2, 3, 4, 5)),
    "dense_adam_inplace": (
        (X, D_A, 0, D, WEIGHT, normal(D, H), unit(D, H), normal(H), normal(H), unit(H)),
        (*range(10), *map(str, ADAM)),
    ),
    "latent_forward": ((MU, LOGVAR, NOISE, 7, normal(ROWS, H), normal(ROWS)), (0, 1, 2, KEY, "12", "107", 4, 5)),
    "latent_backward": (
        (MU, LOGVAR, D_Z, NOISE, 7, normal(ROWS, H), normal(ROWS, H)), (0, 1, 2, 3, KEY, "12", "107", "0.21", 5, 6)
    ),
    "squared_error_forward": ((X, normal(ROWS, D), normal(ROWS)), (0, 1, "0.3", 2)),
    "squared_error_forward_backward": (
        (X, normal(ROWS, D), normal(ROWS), normal(ROWS, D)), (0, 1, "0.3", "0.37", 2, 3)
    ),
    "bernoulli_forward": ((unit(ROWS, D), X, normal(ROWS)), (0, 1, 2)),
    "bernoulli_forward_backward": ((unit(ROWS, D), X, normal(ROWS), normal(ROWS, D)), (0, 1, "0.37", 2, 3)),
    "sigmoid_inplace": ((X,), (0,)),
    "scale_inplace": ((X,), (0, "1.7")),
    "adam_inplace": ((normal(30), normal(30), normal(30), unit(30)), (0, 1, 2, 3, *map(str, ADAM), "0.4")),
    "normal_noise": ((philox.PRIOR, normal(ROWS, D)), (KEY, 0, "12", "100", 1)),
    "binarize_inplace": ((unit(ROWS, D), 7), (0, KEY, "12", "107")),
    "threshold_inplace": ((unit(ROWS, D), 0.3), (0, 1)),
    "gather": (
        (np.arange(60, dtype=np.uint8).reshape(12, 5), np.array([3, 0, 11]), normal(5), unit(5) + 1, normal(3, 5)),
        (0, 1, 2, 3, 4),
    ),
}  # fmt: skip


def copied(operands):
    return [operand.copy() if isinstance(operand, np.ndarray) else operand for operand in operands]
