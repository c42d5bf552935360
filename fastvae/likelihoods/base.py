"""p(x|z): what the decoder's outputs mean. A likelihood turns them into nats, gradients, a mean and draws."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from fastvae.kernels import philox
from fastvae.kernels.formulas import IDENTITY
from fastvae.kernels.slots import Slot
from fastvae.parameters import Parameters, Shape
from fastvae.passes import Pass

Weigh = Callable[[np.ndarray], np.ndarray]


def _repeated(p: Pass, rows: int) -> np.ndarray | None:
    """Write the weights of a pass for so many rows, some for each of its own; None where it has none."""
    if p.weights is None or rows == len(p.weights):
        return p.weights
    each = rows // len(p.weights)
    out, one = p.empty(each), np.ones((1, each), np.float32)
    p.add("dense_forward", p.cut(p.weights.reshape(-1, 1)), one, np.zeros(each, np.float32), IDENTITY, out, out)
    return p.cut(out.reshape(-1))


class Likelihood:
    """Base of the likelihoods; what is here holds for one without parameters of its own.

    Attributes
    ----------
    NAME
        What the user calls it.
    SUPPORT
        Least and largest value of x, in the model's units.
    WHOLE
        Whether x are whole numbers.
    DENSITY
        Whether p(x|z) is a density, which changes with the units of x; else a probability.
    SCALING
        The scaling that suits, where the user leaves that open.
    HAS_SIGMA
        Whether it has a standard deviation sigma that the user may choose.
    LEARNS
        Whether it may learn a parameter for each column.
    SEEN, MEAN
        What `seen` and `mean` do, by the name of a function of one number: see `export.portable`. Without a MEAN of its
        own a model is not exported.
    LINEAR
        Whether a decoder that begins at probabilistic PCA makes sense: its outputs are the mean of a Gaussian.
    """

    NAME: ClassVar[str]
    SUPPORT: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    WHOLE: ClassVar[bool] = False
    DENSITY: ClassVar[bool] = False
    SCALING: ClassVar[str | None] = None
    HAS_SIGMA: ClassVar[bool] = False
    LEARNS: ClassVar[bool] = False
    LINEAR: ClassVar[bool] = False
    SEEN: ClassVar[str] = "identity"
    MEAN: ClassVar[str]

    def __init__(self, columns: int = 1):
        self.columns = columns

    @property
    def inputs(self) -> int:
        """How many numbers an encoder is given of a row."""
        return self.columns

    @property
    def outputs(self) -> int:
        """How many a decoder gives for a row."""
        return self.columns

    # ---- in a pass: x (N, D) the data, a (B, D) the decoder's outputs, of one row or more for each of x -----------

    def seen(self, p: Pass, x: np.ndarray) -> np.ndarray:
        """What an encoder is given of the data: x itself, or what is written of them."""
        return x

    def loss(
        self, p: Pass, x: np.ndarray, a: np.ndarray, weight: float | Slot, weigh: Weigh | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write nll (B,), in nats, and d_a (B, D), the gradient of `weight` times their sum; with `weigh`, which writes
        weights (B,) from nll, of their weighted sum, where the weights count as constants. Where the rows of the pass
        have weights, nll is multiplied by them at last, and d_a too, or, with `weigh`, what that writes has them."""
        nll, d_a = p.beside(a), p.beside(a, a.shape[1])
        p.add(f"{self.NAME}_forward_backward", x, a, weight, nll, d_a)
        self._weigh(p, nll, d_a, weigh)
        return nll, d_a

    @staticmethod
    def _weigh(p: Pass, nll: np.ndarray, d_a: np.ndarray, weigh: Weigh | None) -> np.ndarray | None:
        """Write the weights of rows, if they have any: the gradient is multiplied by them, nll by those of the pass."""
        weights = _repeated(p, len(nll)) if weigh is None else weigh(nll)
        if weights is not None:
            p.add("scale_rows_inplace", weights, d_a)
            p.weigh(nll)
        return weights

    def nll_and_gradient(self, p: Pass, x: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Write nll (B,), as `nll` does, and d_a (B, D), the gradient of its sum; parameters of one's own have none."""
        return self.loss(p, x, a, 1.0)

    def nll(self, p: Pass, x: np.ndarray, a: np.ndarray, nll: np.ndarray) -> np.ndarray:
        """Write nll (B,), in nats."""
        p.add(f"{self.NAME}_forward", x, a, nll)
        return nll

    def mean(self, p: Pass, a: np.ndarray) -> np.ndarray:
        """Write the mean of p(x|z) over a."""
        raise NotImplementedError

    # ---- over arrays of the host --------------------------------------------------------------------------------

    def draw(
        self, mean: np.ndarray, kernels: Any, seed: np.uint64, call: int, columns: slice = slice(None)
    ) -> np.ndarray:
        """Draw x (N, D) from p(x|z), by its mean in the model's units; the noise is that of a call of that number.
        `columns`: which of all these are."""
        raise NotImplementedError

    def intercept(self, mean: np.ndarray) -> np.ndarray:
        """The decoder's outputs (D,) at which the mean of p(x|z) is that of the data."""
        raise NotImplementedError

    def output_gain(self) -> float | np.ndarray:
        """By what the weights of the decoder's last layer are multiplied at first, a number or one a column."""
        return 1.0

    def terms(self, x: np.ndarray, a: np.ndarray) -> np.ndarray:
        """log p(x_j|z) of each of the C columns that the user knows (N, C) float64, in nats of the model's units, from
        data x (N, D) and the decoder's outputs a (N, A): -nll is their sum over j. A column that is missing has 0. By
        the formulas of `fastvae.reference`, in NumPy: for explanations of rows."""
        raise NotImplementedError

    def log_jacobian_terms(self, scale: np.ndarray) -> np.ndarray:
        """What `terms` of scaled data have too much (C,), beside those of the user's units: log(scale) of a density, 0
        of a probability."""
        logs = np.log(scale.astype(np.float64))
        return logs if self.DENSITY else np.zeros_like(logs)

    def log_jacobian(self, scale: np.ndarray) -> float:
        """What the nll of scaled data lacks to be that of the user's units: the sum of `log_jacobian_terms`."""
        return float(self.log_jacobian_terms(scale).sum())

    def check(
        self,
        X: Any,
        found: tuple[np.ndarray, np.ndarray],
        scaling: tuple[np.ndarray, np.ndarray],
        name: str = "X",
        asked: Any = None,
    ) -> None:
        """Raise `ValueError` where data X (N, D) are none that it can have made, from the smallest and largest value of
        each column that were found in them, and offset and scale (D,), which follow from what the user `asked`."""

    # ---- parameters of its own, for which `write_gradient` and `ranges` of `passes.Owner` are needed too -----------

    sigma: Any = 1.0  # not used
    size = 1

    def set_sigma(self, sigma: np.ndarray | float) -> None:
        """Nothing to set."""

    def shapes(self) -> dict[str, Shape]:
        """Names and shapes of the parameters."""
        return {}

    def constants(self) -> dict[str, np.ndarray]:
        """Arrays that belong to a model beside its parameters."""
        return {}

    def bind(self, parameters: Parameters, kernels: Any) -> None:
        """Take the views of the parameters."""

    def initialise(self, deviation: np.ndarray, mean: np.ndarray) -> None:
        """Start from the mean (D,) of the data and their deviation from it, in model units."""

    def uniform(self, shape: tuple[int, ...], kernels: Any, seed: np.uint64, call: int) -> np.ndarray:
        """Uniform noise in (0, 1] for `draw`, float32."""
        noise = np.empty(shape, np.float32)
        kernels.uniform_noise(seed, philox.OBSERVATION, call, 0, noise)
        return noise
