"""p(x|z): what the decoder's outputs mean. Each likelihood turns them into nats, gradients and a mean.

All of them write `forward`, `forward_backward` and `mean_inplace` down in a program, as a layer does, and have
`shapes`, `bind` and `initialise` like one, for those with parameters of their own.
"""

import math
from typing import Any

import numpy as np

from fastvae.errors import check_name
from fastvae.kernels import formulas
from fastvae.kernels.memory import empty
from fastvae.kernels.scalars import LEAST_ABOVE, SIGMA_RATE
from fastvae.layers import Program
from fastvae.parameters import Parameters, Shape

LOG_SIGMA_LOWEST = -9.0  # of a sigma that is not fixed, relative to the spread of its column
LOG_SIGMA_HIGHEST = 700.0  # beyond which a learned one has diverged: a float64 does not hold e^710

Scratch = tuple[np.ndarray, np.ndarray]  # log_sigma (D,) and 1 / sigma (D,) of a batch, a pair for each thread


class Bernoulli:
    """Bernoulli(x; sigmoid(a)), a the decoder's outputs: nll = sum_D softplus(a) - x a, for x in [0, 1].

    Between 0 and 1 it is the usual cross-entropy of a pixel taken as a probability. It is a probability mass, not a
    density: scaling of the data does not enter it.
    """

    waits = False  # for the whole batch, before the backward pass
    sigma: Any = 1.0  # not used
    fixed_sigma, size = 1.0, 1

    def set_sigma(self, sigma: np.ndarray | float) -> None:
        """Nothing to set."""

    def shapes(self) -> dict[str, Shape]:
        """No parameters of its own."""
        return {}

    def constants(self) -> dict[str, np.ndarray]:
        """Arrays that belong to a model beside its parameters: none."""
        return {}

    def bind(self, parameters: Parameters) -> None:
        """Nothing to take."""

    def initialise(self, deviation: np.ndarray) -> None:
        """Nothing to set."""

    def log_jacobian(self, scale: np.ndarray) -> float:
        """0: a probability mass does not change with the units of x."""
        return 0.0

    def output_bias(self, mean: np.ndarray) -> np.ndarray:
        """logit(mean), with the mean kept off 0 and 1."""
        p = np.clip(mean, 1e-3, 1 - 1e-3)
        return np.log(p / (1 - p))

    def output_gain(self) -> float | np.ndarray:
        """By what the weights of the decoder's last layer are multiplied: 1."""
        return 1.0

    def scratch(self) -> Scratch | None:
        """What a thread needs beside the batch: nothing."""
        return None

    def forward(
        self, program: Program, x: np.ndarray, logits: np.ndarray, nll: np.ndarray, scratch: Scratch | None
    ) -> None:
        """Write down: nll (B,)."""
        program.add("bernoulli_forward", x, logits, nll)

    def optimum(self, program: Program, x: np.ndarray, logits: np.ndarray, scratch: Scratch | None) -> None:
        """Nothing is known of a whole batch alone."""

    def forward_backward(
        self,
        program: Program,
        x: np.ndarray,
        logits: np.ndarray,
        nll: np.ndarray,
        d_logits: np.ndarray,
        scratch: Scratch | None,
    ) -> None:
        """Write down: nll (B,) and d_logits = EXAMPLE_WEIGHT (sigmoid(a) - x)."""
        program.add("bernoulli_forward_backward", x, logits, nll, d_logits)

    def gradients(self, program: Program, d_logits: np.ndarray, scratch: Scratch | None) -> None:
        """No parameters of its own."""

    def remember(self, program: Program, share: float, scratch: Scratch | None) -> None:
        """Nothing to keep of a batch."""

    def mean_inplace(self, program: Program, logits: np.ndarray) -> None:
        """Write down: the logits become the mean of p(x|z)."""
        program.add("sigmoid_inplace", logits)


class Gaussian:
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

    NAME, LOWEST = "sigma.parameter", "sigma.lowest"
    CHOICES = ("learned", "optimal")

    def __init__(self, sigma: float | str = 1.0, columns: int = 1, per_column: bool = False):
        if isinstance(sigma, str):
            check_name("sigma", sigma, self.CHOICES)
        elif isinstance(sigma, bool) or not (
            isinstance(sigma, int | float | np.number) and math.isfinite(sigma) and sigma > 0
        ):
            raise ValueError(f"sigma={sigma!r} must be a positive number (a deviation), 'learned' or 'optimal'")
        self._sigma, self._columns, self._fixed = sigma, columns, not isinstance(sigma, str)
        self.waits = sigma == "optimal"
        self.size = columns if per_column else 1
        self.lowest = empty(self.size)
        self.lowest[:] = LOG_SIGMA_LOWEST

    def shapes(self) -> dict[str, Shape]:
        """One parameter, or one a column, unless sigma is fixed."""
        return {} if self._fixed else {self.NAME: (self.size,)}

    def constants(self) -> dict[str, np.ndarray]:
        """The lowest log sigma (S,), unless sigma is fixed."""
        return {} if self._fixed else {self.LOWEST: self.lowest}

    def bind(self, parameters: Parameters) -> None:
        """Take the views."""
        if not self._fixed:
            self._parameter, self._gradient = parameters.value(self.NAME), parameters.gradient(self.NAME)

    def initialise(self, deviation: np.ndarray) -> None:
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
            logs = np.broadcast_to(np.log(sigma), self.size)
            for k, (log_sigma, lowest) in enumerate(zip(logs, self.lowest.astype(np.float64), strict=True)):
                self._parameter[k] = formulas.soft_parameter.py_func(log_sigma, lowest, LEAST_ABOVE) / SIGMA_RATE

    @property
    def sigma(self) -> Any:
        """The standard deviation in use, in the model's units: a float, or (D,) where each column has its own."""
        if self._fixed:
            return float(self._sigma)
        logs = [
            formulas.soft_log_sigma.py_func(SIGMA_RATE * float(p), np.float64(lowest))
            for p, lowest in zip(self._parameter, self.lowest, strict=True)
        ]
        # one that has diverged is infinite, which the loss will show
        found = np.array([math.exp(s) if s < LOG_SIGMA_HIGHEST else math.inf for s in logs])
        return found if self.size > 1 else float(found[0])

    @property
    def fixed_sigma(self) -> float:
        """The one that SIGMA holds; 1 where it is not fixed and nobody reads it."""
        return float(self._sigma) if self._fixed else 1.0

    def log_jacobian(self, scale: np.ndarray) -> float:
        """sum_D log(scale): added to the nll of scaled data, it gives the nll in the user's units."""
        return float(np.log(scale.astype(np.float64)).sum())

    def output_bias(self, mean: np.ndarray) -> np.ndarray:
        """The mean itself."""
        return mean

    def output_gain(self) -> float | np.ndarray:
        """By what the weights of the decoder's last layer are multiplied: the data's spread (D,)."""
        return self.spread

    def scratch(self) -> Scratch | None:
        """What a thread needs beside the batch."""
        return None if self._fixed else (empty(self._columns), empty(self._columns))

    def forward(
        self, program: Program, x: np.ndarray, xhat: np.ndarray, nll: np.ndarray, scratch: Scratch | None
    ) -> None:
        """Write down: nll (B,) under SIGMA, or that of the parameter."""
        if scratch is None:
            program.add("squared_error_forward", x, xhat, nll)
        else:
            program.add("sigma_forward", self._parameter, self.lowest, *scratch)
            program.add("gaussian_forward", x, xhat, *scratch, nll)

    def optimum(self, program: Program, x: np.ndarray, xhat: np.ndarray, scratch: Scratch | None) -> None:
        """Write down: an optimal sigma, the best one of a whole batch (B, D), for `forward_backward`."""
        if scratch is not None and self.waits:
            program.add("sigma_optimal", x, xhat, self.lowest, *scratch)

    def forward_backward(
        self,
        program: Program,
        x: np.ndarray,
        xhat: np.ndarray,
        nll: np.ndarray,
        d_xhat: np.ndarray,
        scratch: Scratch | None,
    ) -> None:
        """Write down: nll (B,) and d_xhat = EXAMPLE_WEIGHT (xhat - x) / sigma^2. At the optimal sigma the loss does not
        change with it: nothing else is added."""
        if scratch is None:
            program.add("squared_error_forward_backward", x, xhat, nll, d_xhat)
            return
        if not self.waits:
            program.add("sigma_forward", self._parameter, self.lowest, *scratch)
        program.add("gaussian_forward_backward", x, xhat, *scratch, nll, d_xhat)

    def gradients(self, program: Program, d_xhat: np.ndarray, scratch: Scratch | None) -> None:
        """Write down: the gradient of the parameter, from the d_xhat (B, D) of all rows."""
        if scratch is not None and not self.waits:
            program.add("sigma_backward", d_xhat, scratch[1], self._parameter, self.lowest, self._gradient)

    def remember(self, program: Program, share: float, scratch: Scratch | None) -> None:
        """Write down: an optimal sigma moves towards that of a batch, which is `share` of a whole one."""
        if scratch is not None and self.waits:
            program.add("sigma_remember", scratch[0], share, self.lowest, self._parameter)

    def mean_inplace(self, program: Program, xhat: np.ndarray) -> None:
        """The decoder's outputs are the mean already."""


def make_likelihood(name: str, sigma: float | str, columns: int = 1, per_column: bool = False) -> Bernoulli | Gaussian:
    """The likelihood of that name: "bernoulli" or "gaussian"."""
    check_name("likelihood", name, ("bernoulli", "gaussian"))
    gaussian = Gaussian(sigma, columns, per_column)  # also for Bernoulli: a wrong sigma is refused, not ignored
    return gaussian if name == "gaussian" else Bernoulli()
