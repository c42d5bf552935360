"""Contract cases: for every op of the table, calls with operands on given shapes, and what must come of them.

A case is one call: its operands as the table of ops has them, and what the float64 reference expects of every array
that the op writes, with the size that rounding scales with. Whoever runs it says on what and in which way: `selfcheck`
as a program on any device, the tests also as a function. A new op needs a function in one of these modules that makes
its cases: of a generator, a shape and a precision.
"""

from collections.abc import Callable, Iterator

import numpy as np

from fastvae.contract_cases import data, layers, losses, masked, mixed, optimizers, prefix
from fastvae.contract_cases.case import ADAM, KEY, LEAVE, LEFT, Case, Compared, Shape, rounded
from fastvae.contract_cases.optimizers import adam_numbers
from fastvae.kernels.ops import OPS

__all__ = [
    "ADAM", "CASES", "KEY", "LEAVE", "LEFT", "PRODUCTS", "Case", "Compared", "Shape", "adam_numbers", "cases_of",
    "rounded",
]  # fmt: skip

PRODUCTS = tuple(name for name in OPS if name.startswith(("dense_", "masked_")))
CASES: dict[str, Callable[[np.random.Generator, Shape, str], Iterator[Case]]] = {
    **layers.CASES,
    **masked.CASES,
    **prefix.CASES,
    **losses.CASES,
    **mixed.CASES,
    **optimizers.CASES,
    **data.CASES,
}


def cases_of(op: str, shape: Shape, precision: str = "float32") -> Iterator[Case]:
    """The cases of an op on a shape (B, D, H); for products of operands that are rounded to the precision."""
    yield from CASES[op](np.random.default_rng(list(shape)), shape, precision)
