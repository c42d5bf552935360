"""Functions of one number, over whole matrices in place."""

from typing import Any

from fastvae.kernels.cpu.compiler import kernel
from fastvae.kernels.ops import INPLACE


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


FUNCTIONS = {name: _elementwise(function, name) for name, function in INPLACE.items()}
