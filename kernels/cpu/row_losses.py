"""The losses of rows on the CPU: sum and gradient in one pass over each row."""

import math
from typing import Any

import numpy as np

from fastvae.kernels.cpu.compiler import reduction
from fastvae.kernels.formulas import ZERO, f32
from fastvae.kernels.row_losses import ROW_LOSSES, RowLoss, function_of

HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
NAMES = {"ZERO": ZERO, "HALF_LOG_TWO_PI": HALF_LOG_TWO_PI, "f32": f32, "float64": np.float64, "__name__": __name__}

FORWARD = """
def {name}_forward({operands}, nll):
    (rows, columns), repeats = x.shape, len({output}) // max(len(x), 1)
{constants}
    for n in range(rows):
        for i in range(n * repeats, (n + 1) * repeats):
            total = ZERO
            for j in range(columns):
                total += {term}[0]
            nll[i] = {nll}
"""

FORWARD_BACKWARD = """
def {name}_forward_backward({operands}, weight, nll, d_{output}):
    (rows, columns), repeats = x.shape, len({output}) // max(len(x), 1)
    factor = f32({factor})
{constants}
    for n in range(rows):
        for i in range(n * repeats, (n + 1) * repeats):
            total = ZERO
            for j in range(columns):
                value, slope = {term}
                total += value
                d_{output}[i, j] = factor * {slope}
            nll[i] = {nll}
"""

# The same with the sum apart from what is written. Where a vector is read again for each row, LLVM's check at run time
# that it does not overlap the gradient is coarse: for arrays that lie close by, it takes another loop, and a sum in it
# would be added up in another order: its bits would depend on where arrays lie.
FORWARD_BACKWARD_APART = """
def {name}_forward_backward({operands}, weight, nll, d_{output}):
    (rows, columns), repeats = x.shape, len({output}) // max(len(x), 1)
    factor = f32({factor})
{constants}
    for n in range(rows):
        for i in range(n * repeats, (n + 1) * repeats):
            total = ZERO
            for j in range(columns):
                total += {term}[0]
            for j in range(columns):
                slope = {term}[1]
                d_{output}[i, j] = factor * {slope}
            nll[i] = {nll}
"""

# The sum of log sigma + log(2 pi) / 2 over the columns.
ONE_SIGMA = """
    constant = columns * (log_sigma + HALF_LOG_TWO_PI)
"""
SIGMA_OF_EACH_COLUMN = """
    constant = columns * HALF_LOG_TWO_PI
    for j in range(columns):
        constant += float64(log_sigma[j])
"""


def functions_of(loss: RowLoss) -> dict[str, Any]:
    """The two functions of a loss, by their names."""
    constants = (SIGMA_OF_EACH_COLUMN if loss.per_column else ONE_SIGMA) if loss.gaussian else ""
    if not loss.per_column:
        constants += "".join(f"    the_{name} = f32({name})\n" for name in loss.params)
    parts = {
        "name": loss.name,
        "output": loss.output,
        "operands": ", ".join(("x", loss.output, *loss.params)),
        "constants": constants,
        "term": loss.term_at("x[n, j]", f"{loss.output}[i, j]", "{}[j]" if loss.per_column else "the_{}"),
        "factor": "weight * inverse" if loss.gaussian and not loss.per_column else "weight",
        "slope": "(slope * inverse[j])" if loss.gaussian and loss.per_column else "slope",
        "nll": "f32(0.5 * total + constant)" if loss.gaussian else "total",
    }
    made = {}
    both = FORWARD_BACKWARD_APART if loss.per_column else FORWARD_BACKWARD
    for name, source in ((f"{loss.name}_forward", FORWARD), (f"{loss.name}_forward_backward", both)):
        function = function_of(source.format(**parts), name, NAMES | {"term": loss.term})
        function.__doc__ = "See the contract in `fastvae.kernels`."
        made[name] = reduction(function)
    return made


FUNCTIONS: dict[str, Any] = {name: made for loss in ROW_LOSSES for name, made in functions_of(loss).items()}
