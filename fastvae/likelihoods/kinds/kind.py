"""What a kind of column brings."""

from typing import ClassVar

import numpy as np


class Kind:
    """Base of the kinds. Outputs a are (N, K), with K levels of a category, else K = 1; theta is a number.

    Attributes
    ----------
    NAME
        Of the likelihood.
    """

    NAME: ClassVar[str]

    def mean(self, a: np.ndarray, theta: float) -> np.ndarray:
        """The mean of p(x|z) (N,), of a category the probabilities of its levels (N, K)."""
        raise NotImplementedError

    def draw(self, a: np.ndarray, theta: float, rng: np.random.Generator) -> np.ndarray:
        """Values (N,) from p(x|z)."""
        raise NotImplementedError

    def guess(self, a: np.ndarray, theta: float) -> np.ndarray:
        """The best single value (N,): the mean, or the most probable value of what is a choice."""
        return self.mean(a, theta)

    def start(self, x: np.ndarray, levels: int) -> tuple[np.ndarray, float, float | np.ndarray]:
        """From all values x (N,) that are there: outputs (K,) at which p(x|z) is as wide as they are, theta, and by how
        much an output changes where what the encoder sees does, a number or (K,)."""
        raise NotImplementedError
