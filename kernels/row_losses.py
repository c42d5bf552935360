"""The losses of rows, as one table: each is a scalar formula, of which both backends make their loops.

Those are written out as source, as somebody would write them by hand, and then compiled: so each has the operands that
the contract names, and the inner loop has nothing but arithmetic, which vectorises.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastvae.kernels.formulas import bernoulli_term, divergence_term, poisson_term, squared_error_term
from fastvae.kernels.mixed import continuous_bernoulli_term


@dataclass(frozen=True)
class RowLoss:
    """nll (B,) of x (N, D), given what a network puts out (B, D), and the gradient by that: K rows for each of x.

    Attributes
    ----------
    name
        `name_forward` and `name_forward_backward` in the contract.
    term
        A formula of (x, output, params ...) at one place, which gives one term of the nll and its slope by the output.
    output
        How the contract names what the network puts out.
    params
        Names of further operands: real numbers, or vectors (D,) where `per_column`.
    gaussian
        Whether `params` are log sigma and 1 / sigma. The term is given the latter alone, and its value and slope are
        the residual's square and the residual in units of sigma. The rest of the nll, log sigma + log(2 pi) / 2 a
        place, is added to half of the squares' sum, in float64 where a backend has it.
    """

    name: str
    term: Any
    output: str
    params: tuple[str, ...] = ()
    per_column: bool = False
    gaussian: bool = False

    def term_at(self, x: str, output: str, param: str) -> str:
        """The source of a call of the term, by that of x and of the output at a place, and how one writes a parameter
        there."""
        return f"term({', '.join([x, output, *(param.format(name) for name in self.params[self.gaussian :])])})"


DEVIATION = ("log_sigma", "inverse")
ROW_LOSSES = (
    RowLoss("bernoulli", bernoulli_term, "logits"),
    RowLoss("poisson", poisson_term, "log_rate"),
    RowLoss("continuous_bernoulli", continuous_bernoulli_term, "logits"),
    RowLoss("divergence", divergence_term, "mean"),
    RowLoss("squared_error", squared_error_term, "xhat", DEVIATION, gaussian=True),
    RowLoss("gaussian", squared_error_term, "xhat", DEVIATION, per_column=True, gaussian=True),
)


def function_of(source: str, name: str, names: dict[str, Any]) -> Callable:
    """The function of that name which a source defines, its module's `names` and others at hand."""
    defined = dict(names)
    exec(compile(source, f"<{names['__name__']}.{name}>", "exec"), defined)
    return defined[name]
