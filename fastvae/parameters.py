"""One flat buffer for all parameters of a model, one for their gradients, and named views into both."""

import math
from collections.abc import Mapping

import numpy as np

Shape = tuple[int, ...]


class Parameters:
    """Named float32 arrays that live one after the other in two flat buffers.

    Parameters
    ----------
    shapes
        Name to shape, in order of use.

    Attributes
    ----------
    values, gradients : (P,) float32
        The flat buffers: what the optimizer walks over and a checkpoint stores.
    """

    def __init__(self, shapes: Mapping[str, Shape]):
        total = sum(math.prod(shape) for shape in shapes.values())
        self.values = np.zeros(total, np.float32)
        self.gradients = np.zeros(total, np.float32)
        self._shapes = dict(shapes)
        self._value_views = self.views(self.values)
        self._gradient_views = self.views(self.gradients)

    def views(self, flat: np.ndarray) -> dict[str, np.ndarray]:
        """Name to view of another flat buffer (P,) in the same order, an optimizer's moments say."""
        views, start = {}, 0
        for name, shape in self._shapes.items():
            stop = start + math.prod(shape)
            views[name] = flat[start:stop].reshape(shape)
            start = stop
        return views

    def named_values(self) -> dict[str, np.ndarray]:
        """Name to view of its values: writing into the view changes the model."""
        return dict(self._value_views)

    def named_gradients(self) -> dict[str, np.ndarray]:
        """Name to view of its gradient, overwritten by the next backward pass."""
        return dict(self._gradient_views)

    def value(self, name: str) -> np.ndarray:
        """View of one parameter's values."""
        return self._value_views[name]

    def gradient(self, name: str) -> np.ndarray:
        """View of one parameter's gradient."""
        return self._gradient_views[name]
