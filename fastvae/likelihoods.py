"""p(x|z): what the decoder's outputs mean. Each likelihood turns them into nats, gradients and a mean.

All of them write `forward`, `forward_backward` and `mean_inplace` down in a program, as a layer does, and have
`shapes`, `bind` and `initialise` like one, for those with parameters of their own.
"""

import math

import numpy as np

from fastvae.errors import check_name
from fastvae.kernels import formulas
from fastvae.kernels.scalars import HALF_LOG_TWO_PI, LEAST_ABOVE, LOG_SIGMA_LOWEST, MEMORY, PLAIN_SIGMA
from fastvae.layers import Program
from fastvae.parameters import Parameters, Shape

LOG_SIGMA_HIGHEST = 700.0  # beyond which a learned one has diverged: a float64 does not hold e^710


class Bernoulli:
    """Bernoulli(x; sigmoid(a)), a the decoder's outputs: nll = sum_D softplus(a) - x a, for x in [0, 1].

    Between 0 and 1 it is the usual cross-entropy of a pixel taken as a probability. It is a probability mass, not a
    density: scaling of the data does not enter it.
    """

    def shapes(self) -> dict[str, Shape]:
        """No parameters of its own."""
        return {}

    def bind(self, parameters: Parameters) -> None:
        """Nothing to take."""

    def initialise(self, spread: float) -> None:
        """Nothing to set."""

    def log_jacobian(self, scale: np.ndarray) -> float:
        """0: a probability mass does not change with the units of x."""
        return 0.0

    def output_bias(self, mean: np.ndarray) -> np.ndarray:
        """logit(mean), with the mean kept off 0 and 1."""
        p = np.clip(mean, 1e-3, 1 - 1e-3)
        return np.log(p / (1 - p))

    waits = False  # for the whole batch, before the backward pass
    fixed = True  # nothing is left to do once nll is known: see `conclude`
    values: tuple[np.ndarray, ...] = ()  # its own parameters, and their gradients
    gradients: tuple[np.ndarray, ...] = ()
    sigma = training_sigma = 1.0  # not used

    def forward(self, program: Program, x: np.ndarray, logits: np.ndarray, nll: np.ndarray) -> None:
        """Write down: nll (B,)."""
        program.add("bernoulli_forward", x, logits, nll)

    def forward_backward(
        self, program: Program, x: np.ndarray, logits: np.ndarray, nll: np.ndarray, d_logits: np.ndarray
    ) -> None:
        """Write down: nll (B,) and d_logits = EXAMPLE_WEIGHT (sigmoid(a) - x)."""
        program.add("bernoulli_forward_backward", x, logits, nll, d_logits)

    def conclude(self, nll: np.ndarray, columns: int, step: int, part: float = 1.0) -> float:
        """Nothing is left to do."""
        return 1.0

    def mean_inplace(self, program: Program, logits: np.ndarray) -> None:
        """Write down: the logits become the mean of p(x|z)."""
        program.add("sigmoid_inplace", logits)


class Gaussian:
    """N(x; f(z), sigma^2 I): nll = ||x - f||^2 / (2 sigma^2) + D log sigma + D/2 log(2 pi).

    Parameters
    ----------
    sigma
        Standard deviation in the model's units (after scaling), > 0.
        "learned": one more parameter, log sigma = -6 + softplus(parameter + 6), which cannot fall below -6.
        "optimal": each batch has its best one, sigma^2 = mean of (x - f)^2 over batch and D, for which nll is
        D/2 (log(2 pi sigma^2) + 1) in the mean; outside training the running mean of sigma^2 counts. Both start from
        the spread of the data.
    """

    NAME = "log_sigma"
    CHOICES = ("learned", "optimal")

    def __init__(self, sigma: float | str = 1.0):
        if isinstance(sigma, str):
            check_name("sigma", sigma, self.CHOICES)
        elif isinstance(sigma, bool) or not (
            isinstance(sigma, int | float | np.number) and math.isfinite(sigma) and sigma > 0
        ):
            raise ValueError(f"sigma={sigma!r} must be a positive number (a deviation), 'learned' or 'optimal'")
        self._sigma = sigma
        self.waits, self.fixed = sigma == "optimal", not isinstance(sigma, str)
        self.values: tuple[np.ndarray, ...] = ()
        self.gradients: tuple[np.ndarray, ...] = ()

    def shapes(self) -> dict[str, Shape]:
        """One parameter unless sigma is fixed."""
        return {self.NAME: (1,)} if isinstance(self._sigma, str) else {}

    def bind(self, parameters: Parameters) -> None:
        """Take the views."""
        if isinstance(self._sigma, str):
            self._parameter, self._gradient = parameters.value(self.NAME), parameters.gradient(self.NAME)
            self.values, self.gradients = (self._parameter,), (self._gradient,)

    def initialise(self, spread: float) -> None:
        """Start from sigma = `spread`, the root mean square deviation of the data from their mean, in model units."""
        if isinstance(self._sigma, str):
            self._remember(max(spread, 1e-2))

    def _remember(self, sigma: float) -> None:
        self._parameter[0] = formulas.soft_parameter.py_func(math.log(sigma), LOG_SIGMA_LOWEST, LEAST_ABOVE)

    @property
    def _log_sigma(self) -> float:
        return float(formulas.soft_log_sigma.py_func(np.float64(self._parameter[0]), LOG_SIGMA_LOWEST))

    @property
    def sigma(self) -> float:
        """The standard deviation in use, in the model's units."""
        if isinstance(self._sigma, str):
            log_sigma = self._log_sigma
            return math.exp(log_sigma) if log_sigma < LOG_SIGMA_HIGHEST else math.inf  # which the loss will show
        return float(self._sigma)

    @property
    def training_sigma(self) -> float:
        """The one that `forward_backward` is run with: an optimal sigma is not known yet, see `conclude`."""
        return PLAIN_SIGMA if self.waits else self.sigma

    def log_jacobian(self, scale: np.ndarray) -> float:
        """sum_D log(scale): added to the nll of scaled data, it gives the nll in the user's units."""
        return float(np.log(scale.astype(np.float64)).sum())

    def output_bias(self, mean: np.ndarray) -> np.ndarray:
        """The mean itself."""
        return mean

    def forward(self, program: Program, x: np.ndarray, xhat: np.ndarray, nll: np.ndarray) -> None:
        """Write down: nll (B,) under SIGMA."""
        program.add("squared_error_forward", x, xhat, nll)

    def forward_backward(
        self, program: Program, x: np.ndarray, xhat: np.ndarray, nll: np.ndarray, d_xhat: np.ndarray
    ) -> None:
        """Write down: nll (B,) and d_xhat = EXAMPLE_WEIGHT (xhat - x) / SIGMA^2."""
        program.add("squared_error_forward_backward", x, xhat, nll, d_xhat)

    def conclude(self, nll: np.ndarray, columns: int, step: int, part: float = 1.0) -> float:
        """What needs the whole batch: the gradient of a learned log sigma, or the optimal sigma.

        Parameters
        ----------
        nll : (B,)
            As `forward_backward` left it for all rows; with an optimal sigma, overwritten by the nll under it.
        columns
            D.
        step
            Of training, from 1. The first one sets the running mean of an optimal sigma^2; step 0 leaves it alone.
        part
            Rows of this batch by the rows of a whole one: the weight of a short batch in the running mean.

        Returns
        -------
        float
            By what `d_xhat` must still be multiplied: 1 with a sigma that was known. At the optimal sigma the loss
            does not change with it, so nothing else is added to `d_xhat`.
        """
        if not isinstance(self._sigma, str):
            return 1.0
        size, total = len(nll) * columns, float(np.add.reduce(nll, dtype=np.float64))
        if self._sigma == "learned":
            slope = formulas.soft_slope.py_func(np.float64(self._parameter[0]), LOG_SIGMA_LOWEST)
            made = formulas.learned_sigma_gradient.py_func
            self._gradient[0] = made(total, size, len(nll), self._log_sigma, slope, HALF_LOG_TWO_PI)
            return 1.0
        variance = formulas.optimal_variance.py_func(total, size, math.pi, math.exp(2 * LOG_SIGMA_LOWEST))
        factor = PLAIN_SIGMA**2 / variance
        nll *= np.float32(factor)
        nll += np.float32(formulas.optimal_constant.py_func(np.float64(variance), columns, HALF_LOG_TWO_PI))
        self._gradient[0] = 0.0
        if step > 0 and math.isfinite(variance):
            old, seen = np.float64(self.sigma**2), np.float64(variance)
            new = formulas.remembered_variance.py_func(old, seen, np.float64(step), np.float64(part), 1.0 - MEMORY)
            self._remember(math.sqrt(new))
        return factor

    def mean_inplace(self, program: Program, xhat: np.ndarray) -> None:
        """The decoder's outputs are the mean already."""


def make_likelihood(name: str, sigma: float | str) -> Bernoulli | Gaussian:
    """The likelihood of that name: "bernoulli" or "gaussian"."""
    check_name("likelihood", name, ("bernoulli", "gaussian"))
    gaussian = Gaussian(sigma)  # also for Bernoulli: a wrong sigma is refused, not ignored
    return gaussian if name == "gaussian" else Bernoulli()
