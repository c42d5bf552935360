"""Optimizers over a model's flat parameter buffer: named state, numbers of each step, and what they write.

What changes from step to step, bias corrections and a learning rate that follows a schedule, is worked out here in
float64 for many steps at once; kernels read it from the table of a training.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from fastvae.errors import check_name
from fastvae.kernels.memory import zeros
from fastvae.kernels.slots import Slots
from fastvae.parameters import Parameters

Numbers = np.ndarray | float  # of some steps: one for all, or one a step
MADE_AHEAD = 1024  # steps whose numbers are worked out together
SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True)
class RateSchedule:
    """By what the learning rate is multiplied in each step.

    Parameters
    ----------
    kind
        "constant"; "linear", from 1 to 0 at the end; "cosine", (1 + cos(pi t)) / 2 with t from 0 to 1 (Loshchilov and
        Hutter 2017).
    warmup
        Steps over which it grows linearly from 0 first; the fall to 0 takes the steps that remain.
    total
        Steps in all: for those that end at 0.
    begun
        After which step the first of these comes.
    """

    kind: str = "constant"
    warmup: int = 0
    total: int = 0
    begun: int = 0

    def __post_init__(self) -> None:
        check_name("schedule", self.kind, SCHEDULES)

    def factors(self, steps: np.ndarray) -> np.ndarray:
        """Those of steps (n,), which count from `begun` + 1: (n,) float64."""
        steps = steps - self.begun
        rising = np.minimum(steps / self.warmup, 1.0) if self.warmup else 1.0
        if self.kind == "constant":
            return np.broadcast_to(rising, len(steps))
        done = np.clip((steps - 1 - self.warmup) / max(1, self.total - self.warmup), 0.0, 1.0)
        return rising * (1.0 - done if self.kind == "linear" else (1.0 + np.cos(np.pi * done)) / 2)


class Optimizer:
    """Base of the optimizers.

    Parameters
    ----------
    parameters, kernels
        Of the model, and of the backend.
    learning_rate
        Times what `schedule` says.
    clip_norm
        Largest Euclidean norm of the whole gradient; a longer one is scaled down to it. None: no limit.
    schedule
        A `RateSchedule`.
    weight_decay
        Decoupled from the gradient: each step takes away rate * weight_decay of the layers' parameters; a learned sigma
        does not decay.
    average_from
        From which step on an average of the parameters is kept, in the state "average"; None for none.
    name
        Of its numbers, where a step has several optimizers.

    Attributes
    ----------
    state : dict
        Name to flat array (P,) float32: what a checkpoint stores beside the parameters.
    step_count : int
        Steps taken so far.
    """

    STATE: ClassVar[tuple[str, ...]] = ()
    NUMBERS: ClassVar[tuple[str, ...]] = ()  # real operands of its op, the scale of the gradient apart
    OP: ClassVar[str]
    DENSE: ClassVar[str | None] = None  # the op that makes a layer's gradient and uses it at once

    def __init__(
        self,
        parameters: Parameters,
        kernels: ModuleType,
        learning_rate: float = 1e-3,
        clip_norm: float | None = None,
        weight_decay: float = 0.0,
        schedule: RateSchedule | None = None,
        average_from: int | None = None,
        name: str = "optimizer",
    ):
        self.weight_decay = weight_decay
        self._parameters, self._kernels, self.name = parameters, kernels, name
        self.learning_rate, self.clip_norm = learning_rate, clip_norm
        self.schedule = schedule or RateSchedule()
        self._state = {each: zeros(parameters.values.size) for each in self.STATE}
        self.keep_average(average_from)
        self.averaged: set[tuple[int, int]] = set()  # ranges of the flat buffer that an average is taken of
        self.step_count = 0
        self._known: tuple[Any, ...] | None = None  # settings, from and to which step, and the numbers in between

    @property
    def parts(self) -> "tuple[Optimizer, ...]":
        """The optimizers of a step, in the order in which it asks for them."""
        return (self,)

    @property
    def state(self) -> dict[str, np.ndarray]:
        """As above; views."""
        self._parameters.bring_back()
        return {name: array[:] for name, array in self._state.items()}

    @property
    def has_average(self) -> bool:
        """Whether steps have been averaged."""
        return self.average_from is not None and self.step_count >= self.average_from

    def keep_average(self, average_from: int | None) -> None:
        """From which step on an average is kept from now on; None for none."""
        self.average_from = average_from
        if average_from is not None and "average" not in self._state:
            self._state["average"] = zeros(self._parameters.values.size)

    def take_average(self) -> None:
        """Have the parameters that were averaged be their average, where there is one by now."""
        for start, stop in self.averaged if self.has_average else ():
            self._parameters.values[start:stop] = self.state["average"][start:stop]

    # ---- numbers ------------------------------------------------------------------------------------------------

    def numbers(self, count: int) -> dict[str, Numbers]:
        """Slot names to the numbers of the next steps, in float64: one for all, or (count,)."""
        settings, first = self._settings(), self.step_count
        if self._known is None or self._known[0] != settings or not self._known[1] <= first <= self._known[2] - count:
            made = max(count, MADE_AHEAD)
            self._known = settings, first, first + made, self._of_steps(first + 1 + np.arange(made))
        start = first - self._known[1]
        return {
            name: values[start : start + count] if isinstance(values, np.ndarray) else values
            for name, values in self._known[3].items()
        }

    def _settings(self) -> tuple[Any, ...]:
        """What the numbers follow from, beside the step."""
        return self.learning_rate, self.clip_norm, self.weight_decay, self.schedule, self.average_from

    def _of_steps(self, steps: np.ndarray) -> dict[str, Numbers]:
        found = self._numbers(steps, self.learning_rate * self.schedule.factors(steps))
        found["largest"] = self.clip_norm or 0.0
        if self.average_from is not None:
            taken = np.maximum(steps - self.average_from + 1, 0)
            found["share"] = np.where(taken > 0, 1.0 / np.maximum(taken, 1), 0.0)
        return {f"{self.name} {name}": values for name, values in found.items()}

    def _numbers(self, steps: np.ndarray, rate: np.ndarray) -> dict[str, Numbers]:
        raise NotImplementedError

    # ---- what it writes: see `passes.Updates` -------------------------------------------------------------------

    @property
    def fused(self) -> bool:
        """Whether a layer's gradient and step are written together: not where the norm must be known first, nor where
        all gradients are made in one launch."""
        return self.DENSE is not None and self.clip_norm is None and self._kernels.ON_HOST

    def _operands(self, slots: Slots, decays: bool = True) -> list[Any]:
        return [0.0 if name == "decay" and not decays else slots.real(f"{self.name} {name}") for name in self.NUMBERS]

    def write(self, program: Any, slots: Slots, owner: Any, uses: list, part: int, parts: int) -> None:
        """Part of the step of one owner's parameters, with their gradient."""
        together = len(uses) == 1 and _is_layer(owner)
        if together:
            (x, d_a), values = uses[0], (self._parameters.values, *(self._state[name] for name in self.STATE))
            assert self.DENSE is not None
            owner.write_step(program, self.DENSE, (x, d_a), part, parts, values, self._operands(slots))
        else:
            for i, use in enumerate(uses):
                owner.write_gradient(program, use, part, parts, i > 0)
        for start, stop in owner.ranges(part, parts):
            if not together:
                self._write_step(program, slots, start, stop, _is_layer(owner))
            self._write_average(program, slots, start, stop)

    def write_norm(self, program: Any, slots: Slots, ranges: list[tuple[int, int]]) -> bool:
        """The scale of the gradient, where its norm is limited."""
        if self.clip_norm is None:
            return False
        if len(ranges) != 1:
            raise ValueError(
                f"clip_norm: the parameters of {self.name} must lie side by side, not in {len(ranges)} parts"
            )
        gradients = self._parameters.gradients[slice(*ranges[0])]
        program.add("clip_scale", gradients, slots.real(f"{self.name} largest"), self._scale(slots))
        return True

    def _scale(self, slots: Slots) -> Any:
        return slots.real(f"{self.name} scale") if self.clip_norm is not None else 1.0

    def groups(self, owners: list[Any]) -> list[tuple[bool, list[Any]]]:
        """Owners that are treated alike, with whether their parameters decay: those of layers do."""
        if not self.weight_decay:
            return [(True, owners)]
        layers = [owner for owner in owners if _is_layer(owner)]
        return [(True, layers), (False, [owner for owner in owners if owner not in layers])]

    def write_flat(self, program: Any, slots: Slots, start: int, stop: int, decays: bool = True) -> None:
        """The step of the parameters start ... stop - 1 of the flat buffer, from their gradients there."""
        self._write_step(program, slots, start, stop, decays)
        self._write_average(program, slots, start, stop)

    def _write_step(self, program: Any, slots: Slots, start: int, stop: int, decays: bool) -> None:
        flat = (self._parameters.values, self._parameters.gradients, *(self._state[name] for name in self.STATE))
        program.add(self.OP, *(array[start:stop] for array in flat), *self._operands(slots, decays), self._scale(slots))

    def _write_average(self, program: Any, slots: Slots, start: int, stop: int) -> None:
        if self.average_from is not None:
            self.averaged.add((start, stop))
            arrays = self._parameters.values[start:stop], self._state["average"][start:stop]
            program.add("average_inplace", arrays[0], slots.real(f"{self.name} share"), arrays[1])

    # ---- alone --------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Change the parameters by one step along the gradients that lie in the flat buffer."""
        slots = Slots()
        program, size = self._kernels.Program(slots), self._parameters.values.size
        self.write_norm(program, slots, [(0, size)])
        self.write_flat(program, slots, 0, size)
        for name, values in self.numbers(1).items():
            if name in slots:
                slots[name] = np.ravel(values)[0]
        arrays = self._parameters.values, *self._state.values()
        self._kernels.upload(self._parameters.gradients, *arrays)
        program.run()
        self._kernels.download(*arrays)
        self.step_count += 1


def _is_layer(owner: Any) -> bool:
    """Whether its parameters are weights of a layer; a likelihood's are not."""
    return hasattr(owner, "arrays") or getattr(owner, "apart", False)


class Adam(Optimizer):
    """Adam with bias correction and decoupled weight decay: Kingma and Ba 2015; Loshchilov and Hutter 2019 (AdamW).

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
    params -= rate (mhat / (sqrt(vhat) + epsilon) + weight_decay params), with mhat = m / (1 - beta1^t) and
    vhat = v / (1 - beta2^t)
    """

    STATE = ("first_moment", "second_moment")
    NUMBERS = ("rate", "correction", "new1", "keep2", "new2", "decay", "epsilon")
    OP, DENSE = "adam_inplace", "dense_adam_inplace"

    def __init__(
        self,
        parameters: Parameters,
        kernels: ModuleType,
        learning_rate: float = 1e-3,
        clip_norm: float | None = None,
        weight_decay: float = 0.0,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        **others: Any,
    ):
        super().__init__(parameters, kernels, learning_rate, clip_norm, weight_decay, **others)
        self.beta1, self.beta2, self.epsilon = beta1, beta2, epsilon

    def _settings(self) -> tuple[Any, ...]:
        return *super()._settings(), self.beta1, self.beta2, self.epsilon

    def _numbers(self, steps: np.ndarray, rate: np.ndarray) -> dict[str, Numbers]:
        return {
            "rate": rate / (1.0 - self.beta1**steps),
            "correction": 1.0 / np.sqrt(1.0 - self.beta2**steps),
            "new1": 1.0 - self.beta1,
            "keep2": self.beta2,
            "new2": 1.0 - self.beta2,
            "decay": rate * self.weight_decay,
            "epsilon": self.epsilon,
        }


class SGD(Optimizer):
    """Stochastic gradient descent with momentum and decoupled weight decay.

    velocity = momentum velocity + g;  params -= rate (velocity + weight_decay params)

    With `nesterov`, g + momentum velocity stands in the place of velocity (Sutskever et al. 2013).
    """

    STATE, NUMBERS, OP = ("velocity",), ("rate", "momentum", "ahead", "decay"), "sgd_inplace"

    def __init__(
        self,
        parameters: Parameters,
        kernels: ModuleType,
        learning_rate: float = 1e-2,
        clip_norm: float | None = None,
        momentum: float = 0.9,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        **others: Any,
    ):
        super().__init__(parameters, kernels, learning_rate, clip_norm, weight_decay, **others)
        self.momentum, self.nesterov = momentum, nesterov

    def _settings(self) -> tuple[Any, ...]:
        return *super()._settings(), self.momentum, self.nesterov

    def _numbers(self, steps: np.ndarray, rate: np.ndarray) -> dict[str, Numbers]:
        ahead = self.momentum if self.nesterov else 0.0
        return {"rate": rate, "momentum": self.momentum, "ahead": ahead, "decay": self.weight_decay}


class Several(Optimizer):
    """The optimizers of a step that has several, each of parameters of its own, as one: what is kept is the state of
    each, "NAME.first_moment" say by its name, and their steps are taken together."""

    def __init__(self, *parts: Optimizer):
        self._parts = parts

    @property
    def parts(self) -> tuple[Optimizer, ...]:
        """As given."""
        return self._parts

    @property
    def state(self) -> dict[str, np.ndarray]:
        """That of each."""
        return {f"{part.name}.{name}": array for part in self.parts for name, array in part.state.items()}

    @property
    def step_count(self) -> int:
        """Steps taken so far."""
        return self.parts[0].step_count

    @step_count.setter
    def step_count(self, count: int) -> None:
        for part in self.parts:
            part.step_count = count

    @property
    def has_average(self) -> bool:
        """Whether steps have been averaged."""
        return any(part.has_average for part in self.parts)

    @property
    def averaged(self) -> set[tuple[int, int]]:  # type: ignore[override]
        """Ranges of the flat buffer that an average is taken of."""
        return set().union(*(part.averaged for part in self.parts))

    def take_average(self) -> None:
        """Each takes that of its own parameters."""
        for part in self.parts:
            part.take_average()


OPTIMIZERS: dict[str, type[Optimizer]] = {"adam": Adam, "sgd": SGD}
