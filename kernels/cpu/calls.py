"""The ops of the table as functions, called from Python: each a program of one call."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae.kernels.cpu.program import Program
from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slots, Source


def function_of(name: str, program: Callable[[Slots], Any]) -> Callable[..., Any]:
    """The op as a function of its operands, by programs that `program` makes. A number that it leaves is returned."""
    op = OPS[name]
    left = next((operand for operand in op.operands if operand.kind in ("counter", "result")), None)
    given = [operand for operand in op.operands if operand is not left]
    parameters = [inspect.Parameter(_argument(operand), inspect.Parameter.POSITIONAL_OR_KEYWORD) for operand in given]
    signature = inspect.Signature(parameters)

    def call(*args: Any, **kwargs: Any) -> Any:
        named = signature.bind(*args, **kwargs).arguments
        slots, operands = Slots(), []
        for operand in op.operands:
            if operand is left:
                value: Any = slots.whole("left") if operand.kind == "counter" else slots.real("left")
            else:
                value = named[_argument(operand)]
            if operand.kind == "source":
                rows, value = value, Source(slots, "rows", value.dtype)
                value.read(rows)
            if operand.optional and value is not None and not len(value):
                value = None
            operands.append(value)
        made = program(slots)
        made.add(name, *operands)
        made.returns(*[value for value in operands if isinstance(value, np.ndarray)])
        made.run()
        return None if left is None else slots["left"]

    call.__name__ = call.__qualname__ = name
    call.__doc__ = "See the contract in `fastvae.kernels`."
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def _argument(operand: Any) -> str:
    """What a function calls an operand."""
    return "data" if operand.kind == "source" else operand.name


FUNCTIONS = {name: function_of(name, Program) for name in OPS}
