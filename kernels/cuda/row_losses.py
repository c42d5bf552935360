"""The losses of rows on the device: a warp for each row, one pass over it, the gradient in the same pass.

Kernels are named as the losses; each does `name_forward` of the contract, or `name_forward_backward` where `backward`
is 1, of `rows` rows of output, `repeats` for each row of x. Real numbers are given as their places in `reals`.
"""

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, WARP, Kernel, kernel
from fastvae.kernels.cuda.driver import cuda
from fastvae.kernels.cuda.instructions import VECTOR, load4, store4, sum_of_warp
from fastvae.kernels.formulas import HALF, HALF_LOG_TWO_PI, ZERO, f32
from fastvae.kernels.row_losses import ROW_LOSSES, RowLoss, function_of

ROWS = 4  # of a block of (WARP, ROWS) threads
NAMES = {"VECTOR": VECTOR, "WARP": WARP, "ROWS": ROWS, "HALF": HALF, "HALF_LOG_TWO_PI": HALF_LOG_TWO_PI, "ZERO": ZERO}
NAMES |= {"cuda": cuda, "load4": load4, "store4": store4, "sum_of_warp": sum_of_warp, "f32": f32}
NAMES |= {"u32": np.uint32, "u64": np.uint64, "__name__": __name__}

SOURCE = """
def {name}(x, {output}, {operands}weight_place, nll, d_{output}, reals, backward, repeats, rows, columns):
    lane, row = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x) * u32(ROWS) + u32(cuda.threadIdx.y)
    total, logs, start = ZERO, ZERO, u64(row) * u64(columns)
    of_x = u64(row // repeats) * u64(columns)
{reals}
    weight = {weight}
    if row < rows:
        if columns % VECTOR == u32(0):
            c = u32(lane * VECTOR)
            while c < columns:
                k = start + u64(c)
{loads}
                value0, slope0 = {term0}
                value1, slope1 = {term1}
                value2, slope2 = {term2}
                value3, slope3 = {term3}
                total += (value0 + value1) + (value2 + value3)
                {logs4}
                if backward:
                    store4(d_{output}, k, (weight * {d0}, weight * {d1}, weight * {d2}, weight * {d3}))
                c = u32(c + u32(WARP) * VECTOR)
        else:
            c = lane
            while c < columns:
                k = start + u64(c)
                value, slope = {term}
                total += value
                {logs}
                if backward:
                    d_{output}[k] = weight * {d}
                c = u32(c + u32(WARP))
    total = sum_of_warp(total)
    {constant}
    if row < rows and lane == u32(0):
        nll[row] = {nll}
"""


def _lines(loss: RowLoss) -> dict[str, str]:
    """What stands in the source for a loss."""
    each, gaussian, a = loss.per_column, loss.gaussian, loss.output
    reals, vectors = ((), loss.params) if each else (loss.params, ())
    loads = {"x": "of_x + u64(c)", a: "k"} | dict.fromkeys(vectors, "u64(c)")
    lines = {
        "name": loss.name,
        "output": a,
        "operands": "".join(f"{name}, " if each else f"{name}_place, " for name in loss.params),
        "reals": "\n".join(f"    {name} = reals[{name}_place]" for name in reals),
        "weight": "reals[weight_place]" + (" * inverse" if gaussian and not each else ""),
        "loads": "\n".join(
            f"                {', '.join(f'{name}{i}' for i in range(4))} = load4({name}, {place})"
            for name, place in loads.items()
        ),
        "logs4": "", "logs": "", "constant": "", "nll": "total",
    }  # fmt: skip
    for i in range(4):
        lines[f"term{i}"] = loss.term_at(f"x{i}", f"{a}{i}", f"{{}}{i}" if each else "{}")
        lines[f"d{i}"] = f"(slope{i} * inverse{i})" if gaussian and each else f"slope{i}"
    lines["term"] = loss.term_at("x[of_x + u64(c)]", f"{a}[k]", "{}[c]" if each else "{}")
    lines["d"] = "(slope * inverse[c])" if gaussian and each else "slope"
    if gaussian:
        lines["nll"] = "HALF * total + constant"
        lines["constant"] = "constant = f32(columns) * (log_sigma + HALF_LOG_TWO_PI)"
    if gaussian and each:
        lines["logs4"] = "logs += (log_sigma0 + log_sigma1) + (log_sigma2 + log_sigma3)"
        lines["logs"] = "logs += log_sigma[c]"
        lines["constant"] = "constant = sum_of_warp(logs) + f32(columns) * HALF_LOG_TWO_PI"
    return lines


def kernel_of(loss: RowLoss) -> Kernel:
    """The kernel of a loss."""
    function = function_of(SOURCE.format(**_lines(loss)), loss.name, NAMES | {"term": loss.term})
    function.__doc__ = "See the contract in `fastvae.kernels`."
    params = (FLOATS if loss.per_column else COUNT,) * len(loss.params)
    types = FLOATS, FLOATS, *params, COUNT, FLOATS, FLOATS, FLOATS, COUNT, COUNT, COUNT, COUNT
    return kernel(*types, block=(WARP, ROWS))(function)


KERNEL: dict[str, Kernel] = {loss.name: kernel_of(loss) for loss in ROW_LOSSES}
