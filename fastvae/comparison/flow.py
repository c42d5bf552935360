"""The training step of a network as a flow of values, followed over its recording: what is made of what, and the costs.

A network writes its step on a pass that does not keep the ops but works out, op by op, which value each array holds by
then: the value that a layer, a draw or a cost makes of others. Gradients are values that no cost is made of, so that
nothing has to tell forward from backward.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastvae.comparison.rules import Rules
from fastvae.comparison.values import COST, DATA, LATENT, WATCHED, Value
from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slot, Slots
from fastvae.passes import Each, Pass, Whole

LAST = 1 << 62  # the number of what comes after all ops
AT_THE_END = 1e9  # epochs: when the weights of the costs have come to what they stay at
DATA_SIDE, MODEL_SIDE = "data", "model"  # of a difference of energies


@dataclass(frozen=True)
class Cost:
    """A value that is minimised, with its weight in the loss, by the `update` of that number."""

    value: Value
    weight: float
    update: int


@dataclass(frozen=True)
class Flow:
    """What `followed` finds.

    Attributes
    ----------
    costs
        In the order in which they are told.
    updates
        The roles of what each optimizer's step trains.
    sides
        Of a difference of energies: its units under the data, and under the model.
    kept
        Values that are kept for the next step, and what stands in their place by then.
    """

    costs: list[Cost]
    updates: list[list[str]]
    sides: dict[str, list[Value]]
    kept: list[tuple[Value, Value]]


def followed(network: Any) -> Flow:
    """The flow of a network's step, at the weights that its costs have at the end of a training."""
    p = Trace(network)
    network.step(p, [None, None])
    return Flow(p.costs(), p.updates, p.sides, p.kept())


class Trace(Pass):
    """A pass of one row that works out what the arrays hold, and keeps no op."""

    def __init__(self, network: Any):
        self._network = network
        self._values = Rules(network.role, network.parameters.named_values())
        super().__init__(network.backend, Slots(), 1, {name: self._reader(name) for name in network.inputs})
        self._watched: list[tuple[str, Value | None, int, int]] = []
        self.updates: list[list[str]] = []
        self.sides: dict[str, list[Value]] = {}
        self._state = []
        for name, array in network.state.items():
            how = {"lines": ("from the step before",), "widths": array.shape[-1:]}
            self._values.put(array, LATENT, ("state", name), name, **how)
            self._state.append((self._values.value(array), array))

    # ---- what a step calls ----------------------------------------------------------------------------------------

    def add(self, op: str, *operands: Any) -> None:
        """Note what an op makes of its operands."""
        named = {}
        for operand, value in zip(OPS[op].operands, operands, strict=True):
            value = value.array if isinstance(value, Whole) else value
            named[operand.name] = value[0] if isinstance(value, Each) else value
        self._values.apply(op, named)

    def at_end(self, op: str, *operands: Any) -> None:
        """Nothing: no cost is made of it."""

    def note(self, what: str, *arrays: np.ndarray, name: str = "", weight: float = 0.0) -> None:
        """See `Pass.note`: a value of that kind is made of the array; or the units of a side of the energies are."""
        if what == "energy":
            side, self._energy_name = DATA_SIDE if weight < 0 else MODEL_SIDE, name
            self.sides[side] = [value for value in map(self._values.value, arrays) if value is not None]
            return
        for array in arrays:
            source = self._values.value(array)
            self._values.put(array, what, (what, name), name, (source,), widths=array.shape[-1:])

    def loss(self, **parts: tuple[np.ndarray, float | Slot]) -> None:
        """Note what is watched."""
        for name, (values, _) in parts.items():
            self._watched.append((name, self._values.value(values), values.size, len(self.updates)))

    def update(self, optimizer: Any, owners: Sequence[Any]) -> None:
        """Note what is trained."""
        trained = [owner for owner in owners if self._gradients.pop(owner, None) and hasattr(owner, "weight_name")]
        self.updates.append(list(dict.fromkeys(self._network.role(owner.name, False) for owner in trained)))

    def _reader(self, name: str) -> Callable[[Pass], np.ndarray]:
        def write(p: Pass) -> np.ndarray:
            columns = self._network.inputs[name]
            rows = p.empty(columns)
            title, lines = ("c", ("condition",)) if name == "condition" else (name, ())
            self._values.put(rows, DATA, ("input", name), title, lines=(*lines, f"{columns} columns"))
            return rows

        return write

    # ---- afterwards -----------------------------------------------------------------------------------------------

    def costs(self) -> list[Cost]:
        """What is minimised: values on which the reported loss depends and which have a gradient; the energies."""
        found, slopes = [], self._slopes()
        for name, value, size, update in self._watched:
            if value is None or value.kind == WATCHED or not slopes[name]:
                continue
            cost = value
            if value.kind != COST:
                cost = replace(value, kind=COST, title=name, lines=(value.title,), widths=())
            found.append(Cost(cost, slopes[name] * size, update))
        if self.sides:
            data, model = self.sides[DATA_SIDE], self.sides[MODEL_SIDE]
            energies = [self._energy(units, mark) for units, mark in ((data, ""), (model, "′"))]
            lines = (" − ".join(energies),)
            value = Value(COST, ("energy",), f"{self._energy_name} difference", (*data, *model), lines, born=LAST)
            found.append(Cost(value, 1.0, len(self.updates) - 1))
        return found

    @staticmethod
    def _energy(units: list[Value], mark: str) -> str:
        names = [unit.title if unit.kind == DATA else f"{unit.role or unit.title}{mark}" for unit in units]
        return f"E({', '.join(names)})"

    def _slopes(self) -> dict[str, float]:
        """By how much the loss that is reported changes with each sum that is watched."""
        zero = {name: np.zeros(1) for name, *_ in self._watched}
        progress = np.array([AT_THE_END])

        def loss(sums: dict[str, np.ndarray]) -> float:
            return float(np.ravel(self._network.report(sums, 1, progress)["loss"])[0])

        at_zero = loss(zero)
        return {name: round(loss(zero | {name: np.ones(1)}) - at_zero, 9) for name in zero}

    def kept(self) -> list[tuple[Value, Value]]:
        """Of each state that steps carry on: its value at the beginning, and at the end."""
        pairs = [(first, self._values.value(array)) for first, array in self._state]
        return [(first, last) for first, last in pairs if first is not None and last is not None and first is not last]
