"""One flat buffer for all parameters of a model, one for their gradients, and named views into both."""

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from fastvae.kernels.memory import LINE, zeros
from fastvae.memory import check_memory

Shape = tuple[int, ...]


class Parameters:
    """Named float32 arrays that live one after the other in two flat buffers, each on a line of the cache of its own:
    what lies between them is 0 and stays so.

    Parameters
    ----------
    shapes
        Name to shape, in order of use.

    Attributes
    ----------
    values, gradients : (P,) float32
        The flat buffers: what the optimizer walks over and a checkpoint stores.
    bring_back
        Called before anybody looks at the values: to be set by whoever changes them elsewhere.

    Raises
    ------
    ValueError
        More parameters than there is memory for.
    """

    def __init__(self, shapes: Mapping[str, Shape]):
        self._shapes, self._starts, total = dict(shapes), dict[str, int](), 0
        for name, shape in shapes.items():
            self._starts[name] = -(-total // LINE) * LINE
            total = self._starts[name] + math.prod(shape)
        check_memory(2 * 4 * total, f"a model of {total:,} parameters", "give it smaller layers")
        self._values, self.gradients = zeros(total), zeros(total)
        self.bring_back: Callable[[], None] = lambda: None

    def views(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Name to view of another flat buffer (P,) in the same order, an optimizer's moments say. New views each time:
        whoever reshapes one, or makes it read-only, does that to his own."""
        return {name: self._view(flat, name) for name in self._shapes}

    def _view(self, flat: np.ndarray, name: str) -> np.ndarray:
        start, shape = self._starts[name], self._shapes[name]
        return flat[start : start + math.prod(shape)].reshape(shape)

    @property
    def values(self) -> np.ndarray:
        """The flat buffer of the values, a view: whoever reshapes it changes nothing else."""
        self.bring_back()
        return self._values[:]

    def start(self, names: Iterable[str]) -> int:
        """Where the first of these parameters begins in a flat buffer; its end, where there is none."""
        return min((self._starts[name] for name in names), default=self._values.size)

    def named_values(self) -> dict[str, np.ndarray]:
        """Name to view of its values: writing into the view changes the model."""
        self.bring_back()
        return self.views(self._values)

    def named_gradients(self) -> dict[str, np.ndarray]:
        """Name to view of its gradient, overwritten by the next backward pass."""
        return self.views(self.gradients)

    def value(self, name: str) -> np.ndarray:
        """View of one parameter's values."""
        return self._view(self._values, name)

    def gradient(self, name: str) -> np.ndarray:
        """View of one parameter's gradient."""
        return self._view(self.gradients, name)
