"""Parameters of a likelihood that are logarithms, one for all columns or one a column, and cannot fall without end."""

from typing import Any, ClassVar

import numpy as np

from fastvae.kernels import formulas
from fastvae.kernels.formulas import LEAST_ABOVE, SIGMA_RATE
from fastvae.likelihoods.base import Likelihood
from fastvae.parameters import Parameters


class SoftLikelihood(Likelihood):
    """Base of likelihoods with such parameters: a log = lowest + softplus(10 parameter - lowest), `size` of them.

    Attributes
    ----------
    parameter, lowest : (S,) float32
    """

    PARAMETER: ClassVar[str] = "sigma.parameter"
    LOWEST: ClassVar[str] = "sigma.lowest"
    parameter: np.ndarray
    lowest: np.ndarray

    def bind(self, parameters: Parameters, kernels: Any) -> None:
        """Take the views."""
        self.parameter, self._gradient = parameters.value(self.PARAMETER), parameters.gradient(self.PARAMETER)
        self._start = parameters.start([self.PARAMETER])

    def set_logs(self, logs: np.ndarray) -> None:
        """Have these logarithms (S,)."""
        for k, (log, lowest) in enumerate(zip(logs, self.lowest.astype(np.float64), strict=True)):
            self.parameter[k] = formulas.soft_parameter.py_func(log, lowest, LEAST_ABOVE) / SIGMA_RATE

    @property
    def logs(self) -> np.ndarray:
        """The logarithms (S,), float64."""
        pairs = zip(SIGMA_RATE * self.parameter.astype(np.float64), self.lowest.astype(np.float64), strict=True)
        return np.array([formulas.soft_log_sigma.py_func(parameter, lowest) for parameter, lowest in pairs])

    def write_gradient(self, program: Any, use: Any, part: int, parts: int, accumulate: bool) -> None:
        """See `passes.Owner`; `use`: the op that writes the gradient, and its operands but the last."""
        if part > 0:
            return
        op, *operands = use
        out = np.empty_like(self._gradient) if accumulate else self._gradient
        program.add(op, *operands, out)
        if accumulate:  # a step of -1 along it
            nothing = (0.0, 0.0, 0.0, 1.0)  # momentum, what is ahead, decay; and the gradient as it is
            program.add("sgd_inplace", self._gradient, out, np.zeros_like(out), -1.0, *nothing)

    def ranges(self, part: int, parts: int) -> list[tuple[int, int]]:
        """See `passes.Owner`."""
        return [(self._start, self._start + len(self.lowest))] if part == 0 else []
