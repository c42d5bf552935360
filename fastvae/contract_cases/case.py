"""What a contract case is: a call with its operands, and what is to be compared when it has run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slots, Source

KEY, STEP, ROW = np.uint64(2**63 + 2**31 + 17), 12, 1000
WEIGHT, SIGMA = 0.37, 0.3  # no powers of two: a factor that is left out, or taken twice, shows
ADAM: Any = (3, 0.02, 0.85, 0.97, 1e-3, 0.1)  # step, learning rate, betas, epsilon, weight decay
AHEAD = 5  # what is added to a whole number in a slot
LEFT, LEAVE = "left", ("counter", "result")  # the slot of the number that an op leaves; kinds of its operand

Shape = tuple[int, int, int]  # B, D, H


class Compared(NamedTuple):
    """An array that an op has written beside what it should be; where that is NaN, nothing may be written."""

    found: Any
    expected: Any
    size: Any  # of the terms that were added up: what rounding errors scale with; 0 where the bits must be the same


@dataclass(frozen=True)
class Case:
    """One call of an op.

    Parameters
    ----------
    op
        Its name.
    operands
        As the table has them; the place of a number that the op leaves is None, a `Source` is the rows.
    expected
        What is to be compared when the op has run; or a function of that number that says it then.
    about
        What tells the case from others of the op, where it deserves a line of its own.
    """

    op: str
    operands: tuple
    expected: list[Compared] | Callable[[Any], list[Compared]]
    about: str = ""
    before: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "before", [array.copy() for array in self.arrays])

    @property
    def name(self) -> str:
        """The op's, and what the case is about."""
        return f"{self.op}, {self.about}" if self.about else self.op

    @property
    def arrays(self) -> list[np.ndarray]:
        """Its arrays, each once."""
        return list({id(value): value for value in self.operands if isinstance(value, np.ndarray)}.values())

    def write(self, program: Any, slots: Slots) -> None:
        """Have a program make the call, with every number in a slot, as the steps of a training have them; its arrays
        hold their results after each run."""
        operands = list[Any]()
        for operand, value in zip(OPS[self.op].operands, self.operands, strict=True):
            if operand.kind == "source":
                source = Source(slots, operand.name, value.dtype)
                source.read(value)
                value = source
            elif operand.kind in LEAVE:
                value = slots.whole(LEFT) if operand.kind == "counter" else slots.real(LEFT)
            elif operand.kind == "real":
                slot = slots.real(operand.name)
                slots[operand.name], value = value, slot
            elif operand.kind == "whole":
                slot = slots.whole(operand.name)
                slots[operand.name], value = value - AHEAD, slot + AHEAD
            elif operand.kind == "seed":
                slot = slots.whole(operand.name)
                slots[operand.name], value = int(np.uint64(value).view(np.int64)), slot
            operands.append(value)
        program.add(self.op, *operands)
        program.returns(*[operand for operand in operands if isinstance(operand, np.ndarray)])

    def left(self, slots: Slots) -> float | None:
        """The number that the op has left in the slots of its program, if it leaves one."""
        return slots[LEFT] if any(operand.kind in LEAVE for operand in OPS[self.op].operands) else None

    def compared(self, left: Any = None) -> list[Compared]:
        """After a run that has left that number: what `expected` names, and all other arrays, which must be what they
        were."""
        compared = self.expected(left) if callable(self.expected) else self.expected
        written = {id(each.found) for each in compared}
        pairs = zip(self.arrays, self.before, strict=True)
        same = [Compared(array, before, 0.0) for array, before in pairs if id(array) not in written]
        return [*compared, *same]

    @property
    def moved_bytes(self) -> int:
        """Bytes read and written, after a run: an array that was changed twice, one that had no values before once."""
        total = 0
        for array, before in zip(self.arrays, self.before, strict=True):
            changed = array.tobytes() != before.tobytes()
            total += array.nbytes * (2 if changed and not _is_garbage(before) else 1)
        return total


def _is_garbage(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and bool(np.isnan(array).all())


def rounded(x: np.ndarray, precision: str) -> np.ndarray:
    """What a product sees of x, in float64."""
    if precision == "bfloat16":
        bits = x.view(np.uint32).astype(np.uint64)
        x = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)
    return x.astype(np.float64)


def normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """An operand (*shape) of N(0, 1), float32."""
    return rng.standard_normal(shape, np.float32)


def garbage(*shape: int) -> np.ndarray:
    """An output: one that is not written to shows."""
    return np.full(shape, np.nan, np.float32)


def wide(*arrays: np.ndarray) -> Any:
    """The same arrays in float64."""
    return [array.astype(np.float64) for array in arrays]
