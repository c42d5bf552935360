"""The numbers that change from step to step, as kernels on the device read them.

A row of `fastvae.kernels.slots` becomes two of the same places: `integers` (int64), and `reals` in float32. Kernels are
given places: of a whole number also what is added to it.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.kernels.cuda.driver import Device, device
from fastvae.kernels.cuda.instructions import part
from fastvae.kernels.cuda.sums import PARTS, sum_of
from fastvae.kernels.slots import CAPACITY, Slots

PLACE, STOPPED = range(2)  # in `state`: the next step of a table, and whether the loss has stopped being finite
u32 = np.uint32


@part
def whole(integers, place, offset):
    """A whole number, modulo 2^32."""
    return u32(u32(integers[place]) + offset)


def reals_of(slots: Slots, table: np.ndarray) -> np.ndarray:
    """The real numbers of rows (n, U) in float32, and 0 where there are whole ones."""
    reals, places = np.zeros(table.shape, np.float32), slots.real_places
    places = places[places < table.shape[1]]
    with np.errstate(over="ignore"):
        reals[:, places] = table.view(np.float64)[:, places]
    return reals


@dataclass(frozen=True)
class Norm:
    """A gradient's norm.

    Attributes
    ----------
    parts : (2 PARTS,) float32
        The sums of squares that it is made of: pairs of `sums.square_parts`; 0 where no block writes.
    largest, scale
        Places of real numbers: what the norm must not exceed, and what the gradient is multiplied by for that.
    """

    parts: Any
    largest: int
    scale: int

    def leave_scale(self, on: Device, slots: Slots) -> None:
        """Work out the scale on the host: for who reads it there."""
        parts = np.empty(2 * PARTS, np.float32)
        on.read(self.parts, parts)
        norm, largest = math.sqrt(sum_of(parts)), slots.reals[self.largest]
        slots.reals[self.scale] = largest / norm if norm > largest else 1.0


class Settings:
    """What launches read that changes from step to step: the counterparts of `Slots` on the device.

    Attributes
    ----------
    integers, reals : (CAPACITY,)
        As above.
    state (2,) int64
        See `steps`: the number of the next step of a table, and whether the loss has stopped being finite.
    parts, nothing, no_indices
        Arguments that do not count; the first is as large as `Norm.parts`.
    norms
        The place of a gradient's scale to the `Norm` that it follows from.
    """

    def __init__(self, on: Device):
        self._on, self._last = on, b""
        self.integers, self.reals = self._on.upload(np.zeros(CAPACITY, np.int64)), self._floats(CAPACITY)
        self.state, self.no_indices = (self._on.upload(np.zeros(2, np.int64)) for _ in range(2))
        self.parts, self.nothing = self._floats(2 * PARTS), self._floats(4)
        self.norms: dict[int, Norm] = {}

    @staticmethod
    def of(slots: Slots) -> "Settings":
        """Those of `slots` on the device in use."""
        made = device().memory.settings
        if slots not in made:
            made[slots] = Settings(device())
        return made[slots]

    def norm(self, largest: int, scale: int) -> "Norm":
        """The norm of another gradient, in the place of what that scale followed from."""
        self.norms[scale] = Norm(self._floats(2 * PARTS), largest, scale)
        return self.norms[scale]

    def _floats(self, size: int) -> Any:
        return self._on.upload(np.zeros(size, np.float32))

    def upload(self, slots: Slots) -> None:
        """Write what stands in `slots` now, where that is not there already."""
        wanted = slots.row.tobytes()
        if wanted != self._last:
            self._on.write(self.integers, slots.row)
            self._on.write(self.reals, reals_of(slots, slots.row[None])[0])
            self._last = wanted

    def changed(self) -> None:
        """Kernels have written over it."""
        self._last = b""

    def download(self, slots: Slots, places: list[int]) -> None:
        """Read back some of the whole numbers."""
        integers = np.empty_like(slots.row)
        self._on.read(self.integers, integers)
        if (integers[places] != slots.row[places]).any():
            slots.row[places] = integers[places]
            self.changed()
