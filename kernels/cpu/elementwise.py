"""Functions of one number, over whole matrices; and rows times a number each."""

from typing import Any

from fastvae.kernels.cpu.compiler import kernel
from fastvae.kernels.ops import INPLACE, MAPPED


def _elementwise(function: Any, name: str) -> Any:
    """What writes a function of each number over it."""

    def elementwise(x):
        """See the contract in `fastvae.kernels`."""
        rows, columns = x.shape
        for i in range(rows):
            for j in range(columns):
                x[i, j] = function(x[i, j])

    elementwise.__name__ = elementwise.__qualname__ = name
    return kernel(elementwise)


FUNCTIONS: dict[str, Any] = {name: _elementwise(function, name) for name, function in INPLACE.items()}


@kernel
def scale_rows_inplace(scale, x):
    """See the contract in `fastvae.kernels`."""
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            x[i, j] *= scale[i]


FUNCTIONS["scale_rows_inplace"] = scale_rows_inplace


def _mapped(function: Any, name: str) -> Any:
    """What writes a function of each number elsewhere."""

    def mapped(x, out):
        """See the contract in `fastvae.kernels`."""
        rows, columns = x.shape
        for i in range(rows):
            for j in range(columns):
                out[i, j] = function(x[i, j])

    mapped.__name__ = mapped.__qualname__ = name
    return kernel(mapped)


FUNCTIONS |= {name: _mapped(function, name) for name, function in MAPPED.items()}
