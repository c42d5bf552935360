"""The numbers that change from step to step, where a program of any backend reads them."""

import numpy as np

# Places in `Scalars.integers` and `Scalars.reals`.
SEED, NOISE_STEP, FIRST_ROW, ADAM_STEP, SOURCE, SOURCE_ROW, SOURCE_COLUMN, OUTSIDE = range(8)
EXAMPLE_WEIGHT, KL_WEIGHT, SIGMA, FACTOR, LEARNING_RATE, BETA1, BETA2, EPSILON, WEIGHT_DECAY, GRAD_SCALE = range(10)
CLIP_NORM = 10  # 0 for no limit; read by programs that are not ON_HOST alone

# Of a Gaussian likelihood whose sigma is not fixed: see `fastvae.likelihoods`.
LEAST_ABOVE = 1e-3  # by which a log sigma that is set lies above its lowest
SIGMA_RATE = 10.0  # a learned log sigma moves by so many learning rates a step
MEMORY = 0.9  # of the running mean behind an optimal sigma, a step: about the last ten batches count


class Scalars:
    """`integers` (int64; a seed by its bits) and `reals` (float64), at the places named in this module.

    `read_rows` reads at the address SOURCE, with SOURCE_ROW and SOURCE_COLUMN bytes from one row and one column to the
    next, and counts in OUTSIDE.
    """

    def __init__(self, seed: np.uint64 | int = 0):
        self.integers, self.reals = np.zeros(8, np.int64), np.zeros(11)
        self.integers.view(np.uint64)[SEED] = seed
        self.reals[GRAD_SCALE] = 1.0
