"""The ops of the table as functions, called from Python: each a program of one call."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae.kernels.cpu.program import Program
from fastvae.kernels.described import description, signature_of
from fastvae.kernels.ops import OPS, Operand
from fastvae.kernels.slots import Slots, Source


def function_of(name: str, program: Callable[[Slots], Any]) -> Callable[..., Any]:
    """The op as a function of its operands, by programs that `program` makes. Outputs that are not given are made
    and returned, as is a number that it leaves."""
    op = OPS[name]
    left = next((operand for operand in op.operands if operand.kind in ("counter", "result")), None)
    own = signature_of(op)
    keyword = inspect.Parameter("check", inspect.Parameter.KEYWORD_ONLY, default=True)
    signature = own.replace(parameters=[*own.parameters.values(), keyword])

    def call(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        named, slots = bound.arguments, Slots()
        sizes: dict[str, int] = {}
        operands, outputs = list[Any](), list[Any]()
        for operand in op.operands:
            if operand is left:
                value: Any = slots.whole("left") if operand.kind == "counter" else slots.real("left")
            else:
                value = named["data" if operand.kind == "source" else operand.name]
            if operand.kind == "source":
                rows, value = value, Source(slots, "rows", value.dtype)
                value.read(rows)
            if operand.optional and value is not None and not len(value):
                value = None
            if operand.output and operand.shape is not None and value is None and not operand.optional:
                value = _output(operand, sizes)
                outputs.append(value)
            if operand.shape is not None and isinstance(value, np.ndarray):
                sizes.update(zip(operand.shape, value.shape, strict=False))
            operands.append(value)
        made = program(slots)
        made.add(name, *operands, check=named["check"])
        made.returns(*[value for value in operands if isinstance(value, np.ndarray)])
        made.run()
        results = [*outputs, *([] if left is None else [slots["left"]])]
        return tuple(results) if len(results) > 1 else results[0] if results else None

    call.__name__ = call.__qualname__ = name
    call.__doc__ = description(op)
    call.__signature__ = signature  # type: ignore[attr-defined]
    return call


def _output(operand: Operand, sizes: dict[str, int]) -> np.ndarray | None:
    """An array for an output that is left out; None, which the check refuses, where its size is not known."""
    assert operand.shape is not None
    if not set(operand.shape) <= sizes.keys():
        return None
    return np.empty([sizes[letter] for letter in operand.shape], np.float32)


FUNCTIONS = {name: function_of(name, Program) for name in OPS}
