"""Gaussian: real data, with a standard deviation that is fixed, learned, or the best one of each batch."""

import math
from typing import Any

import numpy as np

from fastvae import reference
from fastvae.errors import check_name
from fastvae.kernels import philox
from fastvae.kernels.slots import Slot
from fastvae.likelihoods.base import Weigh
from fastvae.likelihoods.soft import SoftLikelihood
from fastvae.parameters import Parameters, Shape
from fastvae.passes import Each, Pass, Whole

LOG_SIGMA_LOWEST = -9.0  # of a sigma that is not fixed, relative to the spread of its column
LOG_SIGMA_HIGHEST = 700.0  # beyond which a learned one has diverged: a float64 does not hold e^710


class Gaussian(SoftLikelihood):
    """N(x; f(z), diag(sigma^2)): nll = sum_D (x - f)^2 / (2 sigma^2) + log sigma + log(2 pi) / 2.

    Parameters
    ----------
    sigma
        Standard deviation in the model's units (after scaling), > 0, the same for all columns.
        "learned": a parameter, log sigma = lowest + softplus(10 parameter - lowest), which cannot fall below `lowest`:
        9 less than the logarithm of the data's spread, so that units do not matter.
        "optimal": each batch has its best one, sigma^2 = mean of (x - f)^2 over the batch (Rybkin et al. 2021);
        outside training the running mean of sigma^2 counts. Both start from the spread of the data.
    columns
        D.
    per_column
        Whether each column has a sigma of its own; only where it is not fixed.
    """

    NAME, DENSITY, SCALING, HAS_SIGMA, LINEAR, LEARNS = "gaussian", True, "standard", True, True, True
    MEAN = "identity"
    CHOICES = ("learned", "optimal")

    def __init__(self, sigma: float | str = 1.0, columns: int = 1, per_column: bool = False):
        if isinstance(sigma, str):
            check_name("sigma", sigma, self.CHOICES)
        elif isinstance(sigma, bool) or not (
            isinstance(sigma, int | float | np.number) and math.isfinite(sigma) and sigma > 0
        ):
            raise ValueError(f"sigma={sigma!r} must be a positive number (a deviation), 'learned' or 'optimal'")
        super().__init__(columns)
        self._sigma: Any = sigma
        self.columns, self._fixed = columns, not isinstance(sigma, str)
        self._optimal = sigma == "optimal"
        self.size = columns if per_column else 1
        self.lowest = np.empty(self.size, np.float32)
        self.lowest[:] = LOG_SIGMA_LOWEST

    def shapes(self) -> dict[str, Shape]:
        """One parameter, or one a column, unless sigma is fixed."""
        return {} if self._fixed else {self.PARAMETER: (self.size,)}

    def constants(self) -> dict[str, np.ndarray]:
        """The lowest log sigma (S,), unless sigma is fixed."""
        return {} if self._fixed else {self.LOWEST: self.lowest}

    def bind(self, parameters: Parameters, kernels: Any) -> None:
        """Take the views."""
        if not self._fixed:
            super().bind(parameters, kernels)

    def initialise(self, deviation: np.ndarray, mean: np.ndarray) -> None:
        """Start from the deviation (D,) of the data from their mean, in model units; one that is 0 counts as the root
        mean square of all."""
        whole = math.sqrt(float(np.mean(np.square(deviation)))) or 1.0
        self.spread = np.where(deviation > 1e-6 * whole, deviation, whole)
        if not self._fixed:
            spread = self.spread if self.size > 1 else np.array([whole])
            self.lowest[:] = np.log(spread) + LOG_SIGMA_LOWEST
            self.set_sigma(spread)

    def set_sigma(self, sigma: np.ndarray | float) -> None:
        """Have this sigma, a number or (S,), unless it is fixed."""
        if not self._fixed:
            self.set_logs(np.broadcast_to(np.log(sigma), self.size))

    @property
    def sigma(self) -> Any:
        """The standard deviation in use, in the model's units: a float, or (D,) where each column has its own."""
        if self._fixed:
            return float(self._sigma)
        # one that has diverged is infinite, which the loss will show
        found = np.array([math.exp(s) if s < LOG_SIGMA_HIGHEST else math.inf for s in self.logs])
        return found if self.size > 1 else float(found[0])

    # ---- in a pass ----------------------------------------------------------------------------------------------

    def loss(
        self, p: Pass, x: np.ndarray, a: np.ndarray, weight: float | Slot, weigh: Weigh | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Write nll (B,) and d_a = weight (a - x) / sigma^2, times the weights of rows that `weigh` writes. An optimal
        sigma is that of the whole batch: the loss does not change with it, and nothing else is added; after the step
        the parameter moves towards it. It goes with no weights: they would depend on it, and it on them."""
        nll, d_a = p.beside(a), p.beside(a, a.shape[1])
        if self._fixed:
            p.add("squared_error_forward_backward", x, a, *self._constants(), weight, nll, d_a)
            self._weigh(p, nll, d_a, weigh)
            return nll, d_a
        scales = self._scales(p)
        if self._optimal:
            if weigh is not None or p.weights is not None:
                raise ValueError("an optimal sigma goes with rows of the same weight")
            p.meet()
            p.add("sigma_optimal", Whole(x), Whole(a), self.lowest, *scales)
            p.at_end("sigma_remember", scales[0], p.rows / p.largest, self.lowest, p.step, self.parameter)
        else:
            p.add("sigma_forward", self.parameter, self.lowest, *scales)
        p.add("gaussian_forward_backward", x, a, *scales, weight, nll, d_a)
        weights = self._weigh(p, nll, d_a, weigh)
        if not self._optimal:
            p.gradient(self, self.use_of(d_a, scales[1][0], weight, weights))
        return nll, d_a

    def nll_and_gradient(self, p: Pass, x: np.ndarray, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Write nll (B,) and d_a (B, D) at the sigma in use, an optimal one too: it is not that of these rows."""
        if self._fixed:
            return self.loss(p, x, a, 1.0)
        nll, d_a, scales = p.beside(a), p.beside(a, a.shape[1]), self._scales(p)
        p.add("sigma_forward", self.parameter, self.lowest, *scales)
        p.add("gaussian_forward_backward", x, a, *scales, 1.0, nll, d_a)
        return nll, d_a

    def nll(self, p: Pass, x: np.ndarray, a: np.ndarray, nll: np.ndarray) -> np.ndarray:
        """Write nll (B,)."""
        if self._fixed:
            p.add("squared_error_forward", x, a, *self._constants(), nll)
        else:
            scales = self._scales(p)
            p.add("sigma_forward", self.parameter, self.lowest, *scales)
            p.add("gaussian_forward", x, a, *scales, nll)
        return nll

    def _constants(self) -> tuple[float, float]:
        return math.log(self._sigma), 1.0 / self._sigma

    def _scales(self, p: Pass) -> tuple[Each, Each]:
        """log sigma (D,) and 1 / sigma (D,), for each share."""
        return p.each(self.columns), p.each(self.columns)

    def mean(self, p: Pass, a: np.ndarray) -> np.ndarray:
        """The decoder's outputs are the mean already."""
        return a

    def use_of(self, d_a: np.ndarray, inverse: Any, weight: Any, weights: np.ndarray | None) -> tuple[Any, ...]:
        """What `Pass.gradient` is given of a learned sigma: from the d_a (B, D) of all rows, see `sigma_backward`."""
        return "sigma_backward", d_a, inverse, self.parameter, self.lowest, weight, weights

    # ---- over arrays of the host --------------------------------------------------------------------------------

    def terms(self, x: np.ndarray, a: np.ndarray) -> np.ndarray:
        """See `Likelihood.terms`, at the sigma in use."""
        return reference.gaussian_terms(x.astype(np.float64), a.astype(np.float64), self.sigma)

    def draw(
        self, mean: np.ndarray, kernels: Any, seed: np.uint64, call: int, columns: slice = slice(None)
    ) -> np.ndarray:
        """mean + sigma N(0, 1)."""
        noise = np.empty(mean.shape, np.float32)
        kernels.normal_noise(seed, philox.OBSERVATION, call, 0, noise)
        sigma = np.asarray(self.sigma, mean.dtype)
        return mean + (sigma[columns] if sigma.ndim else sigma) * noise

    def intercept(self, mean: np.ndarray) -> np.ndarray:
        """The mean itself."""
        return mean

    def output_gain(self) -> float | np.ndarray:
        """The data's spread (D,)."""
        return self.spread
