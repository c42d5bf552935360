"""The numbers that change from step to step, as kernels on the device read them: `reals` in float32.

The integers are those of `fastvae.kernels.scalars`. The reals begin with the ones there; behind them stands what a
kernel would else have to work out in float64, which devices do slowly.
"""

import math

import numpy as np

from fastvae.kernels.scalars import (
    ADAM_STEP,
    BETA1,
    BETA2,
    EPSILON,
    EXAMPLE_WEIGHT,
    LEARNING_RATE,
    SIGMA,
    WEIGHT_DECAY,
    Scalars,
)

COMMON = len(Scalars().reals)
INVERSE_SIGMA, SLOPE, LOG_SIGMA, RATE, CORRECTION, NEW1, KEEP2, NEW2, DECAY = range(COMMON, COMMON + 9)
SIZE = COMMON + 9


def reals_of(scalars: Scalars, out: np.ndarray) -> None:
    """Write the reals of a step into `out` (SIZE,) float32, worked out in float64."""
    reals, step = scalars.reals, int(scalars.integers[ADAM_STEP])
    sigma, beta1, beta2, rate = (float(reals[place]) for place in (SIGMA, BETA1, BETA2, LEARNING_RATE))
    out[:COMMON] = reals
    out[INVERSE_SIGMA], out[SLOPE] = (1.0 / sigma, reals[EXAMPLE_WEIGHT] / sigma) if sigma > 0 else (0.0, 0.0)
    out[LOG_SIGMA] = math.log(sigma) if sigma > 0 else 0.0
    out[RATE] = rate / (1.0 - beta1**step) if step else 0.0
    out[CORRECTION] = 1.0 / math.sqrt(1.0 - beta2**step) if step else 0.0
    out[NEW1], out[KEEP2], out[NEW2] = 1.0 - beta1, beta2, 1.0 - beta2
    out[DECAY] = rate * reals[WEIGHT_DECAY]
    out[EPSILON] = reals[EPSILON]
