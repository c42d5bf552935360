"""The numbers that change from step to step, as kernels on the device read them: `reals` in float32.

The integers are those of `fastvae.kernels.scalars`. The reals begin with the ones there; behind them stands what a
kernel would else have to work out in float64, which devices do slowly.
"""

import math
from typing import Any

import numpy as np

from fastvae.kernels.cuda.driver import Device, device
from fastvae.kernels.cuda.sums import PARTS
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
PLACE, STOPPED = range(2)  # in `state`: the next step of a table, and whether the loss has stopped being finite


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


class Settings:
    """What launches read that changes from step to step: the counterparts of a `Scalars` on the device.

    Attributes
    ----------
    integers, reals
        As above.
    state (2,) int64
        See `steps`: the number of the next step of a table, and whether the loss has stopped being finite.
    parts
        Room for the sums of squares that the norm of the gradient is made of; 0 where no block writes.
    nothing, no_indices
        Arguments that do not count.
    """

    def __init__(self, on: Device):
        self._on, self._last = on, b""
        self.integers, self.reals = self._on.upload(np.zeros(len(Scalars().integers), np.int64)), self._floats(SIZE)
        self.state, self.no_indices = (self._on.upload(np.zeros(2, np.int64)) for _ in range(2))
        self.parts, self.nothing = self._floats(2 * PARTS), self._floats(4)

    @staticmethod
    def of(scalars: Scalars) -> "Settings":
        """Those of `scalars` on the device in use."""
        made = device().memory.settings
        if scalars not in made:
            made[scalars] = Settings(device())
        return made[scalars]

    def _floats(self, size: int) -> Any:
        return self._on.upload(np.zeros(size, np.float32))

    def upload(self, scalars: Scalars) -> None:
        """Write what stands in `scalars` now, where that is not there already."""
        reals = np.empty(SIZE, np.float32)
        reals_of(scalars, reals)
        wanted = scalars.integers.tobytes() + reals.tobytes()
        if wanted != self._last:
            self._on.write(self.integers, scalars.integers)
            self._on.write(self.reals, reals)
            self._last = wanted

    def changed(self) -> None:
        """Kernels have written over it."""
        self._last = b""

    def download(self, scalars: Scalars, place: int) -> None:
        """Read back one of the integers."""
        integers = np.empty_like(scalars.integers)
        self._on.read(self.integers, integers)
        if integers[place] != scalars.integers[place]:
            scalars.integers[place] = integers[place]
            self.changed()
