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
        self._value_views = self._views(self.values, shapes)
        self._gradient_views = self._views(self.gradients, shapes)

    @staticmethod
    def _views(flat: np.ndarray, shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
        views, start = {}, 0
        for name, shape in shapes.items():
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

    def another_gradient(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """A second flat buffer (P,) for gradients and its named views: for a thread's share of a batch."""
        flat = np.zeros_like(self.gradients)
        return flat, self._views(flat, {name: view.shape for name, view in self._value_views.items()})

    def value(self, name: str) -> np.ndarray:
        """View of one parameter's values."""
        return self._value_views[name]

    def gradient(self, name: str) -> np.ndarray:
        """View of one parameter's gradient."""
        return self._gradient_views[name]
