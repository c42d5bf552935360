"""What a kind of column brings."""

from typing import ClassVar

import numpy as np


class Kind:
    """Base of the kinds. Outputs a are (N, K), with K levels of a category, else K = 1; theta is a number.

    Attributes
    ----------
    NAME
        Of the likelihood.
    WORD
        What a user may call the type of column, beside that.
    SUPPORT, WHOLE
        Least and largest value, and whether they are whole numbers.
    LEVELS
        Whether values stand for the levels of a choice.
    OUTPUT_PER_LEVEL
        Whether each level has an output of the decoder.
    LOG_MEAN
        Whether an output is the logarithm of a mean, or of the odds of a level.
    DEVIATION
        Whether theta is the logarithm of a standard deviation, and x may be scaled.
    """

    NAME: ClassVar[str]
    WORD: ClassVar[str | None] = None
    SUPPORT: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    WHOLE: ClassVar[bool] = False
    LEVELS: ClassVar[bool] = False
    OUTPUT_PER_LEVEL: ClassVar[bool] = False
    LOG_MEAN: ClassVar[bool] = False
    DEVIATION: ClassVar[bool] = False

    def mean(self, a: np.ndarray, theta: float) -> np.ndarray:
        """The mean of p(x|z) (N,), of a category the probabilities of its levels (N, K)."""
        raise NotImplementedError

    def best(self, mean: np.ndarray) -> np.ndarray:
        """The best single value (N,) where the mean is that: itself, or the most probable value of a choice."""
        return mean

    def draw(self, a: np.ndarray, theta: float, rng: np.random.Generator) -> np.ndarray:
        """Values (N,) from p(x|z)."""
        raise NotImplementedError

    def seen(self, x: np.ndarray) -> np.ndarray:
        """What an encoder is given of x (N,), before it is centred and scaled."""
        return x

    def start(self, x: np.ndarray, levels: int) -> tuple[np.ndarray, float, float | np.ndarray]:
        """From all values x (N,) that are there: outputs (K,) at which p(x|z) is as wide as they are, theta, and by how
        much an output changes where what the encoder sees does, a number or (K,)."""
        raise NotImplementedError
