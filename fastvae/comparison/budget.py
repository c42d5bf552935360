"""How many epochs fill a budget of seconds: steps of a model that is thrown away are timed, once they are compiled.

A schedule that falls to 0 must know the last step before the first. So the time of an epoch is measured first, and as
many are trained as fit.
"""

import math
import time
from dataclasses import dataclass
from typing import Any

from fastvae.progress import InterruptibleObserver
from fastvae.training import Schedule, State

SHARE, LEAST, MOST = 0.08, 0.2, 4.0  # of the budget that the timing may take, and seconds
RESERVE = 0.95  # of the budget that is planned for: what else goes on on the machine is not known
UNCOUNTED = 2  # epochs before the clock starts: the first ones compile what scores the held-out rows
ENDLESS = 10**6  # epochs


class BudgetError(ValueError):
    """A budget is too short for one epoch."""


@dataclass(frozen=True)
class Plan:
    """What a budget buys."""

    epochs: int
    epoch_seconds: float


class Timing(InterruptibleObserver):
    """Counts examples and time, and ends the training that is timed after some seconds."""

    def __init__(self, seconds: float, interruption: Any):
        super().__init__()
        self._seconds, self._interruption = seconds, interruption
        self._began: float | None = None
        self.examples, self.elapsed = 0, 0.0

    def started(self, state: State, schedule: Schedule, examples: int) -> None:
        """See `training.Observer`."""
        super().started(state, schedule, examples)
        self.rows = examples

    def stepped(self, state: State, examples: int) -> None:
        """Count; the clock starts behind the first call, which compiles."""
        super().stepped(state, examples)
        now = time.perf_counter()
        if self._began is None:
            self._began = now
            return
        self.examples, self.elapsed = self.examples + examples, now - self._began

    def epoch_finished(self, state: State, record: dict[str, float]) -> None:
        """Start the clock anew behind what compiles."""
        if state.epoch == UNCOUNTED:
            self._began, self.examples, self.elapsed = time.perf_counter(), 0, 0.0

    def stop_requested(self) -> bool:
        """Whether it has been long enough."""
        return self._interruption.stop_requested() or (self.elapsed >= self._seconds and self.examples > 0)


def plan(model: Any, examples: Any, held: Any, budget: float, interruption: Any) -> Plan:
    """How many epochs fit into a budget of seconds; `model` is initialised, and thrown away by the caller.

    Raises
    ------
    BudgetError
        Not even one.
    """
    scoring = 0.0
    if held is not None:
        model.score_examples(held)
        began = time.perf_counter()
        model.score_examples(held)
        scoring = time.perf_counter() - began
    timing = Timing(min(max(LEAST, SHARE * budget), MOST), interruption)
    size = int(model.batch_size)
    model.fit_examples(examples, ENDLESS, size, held, None if held is None else ENDLESS, timing)
    interruption.check()
    each = timing.elapsed / max(1, timing.examples) * timing.rows
    if timing.rows > timing.examples:  # else the time has it in it
        each += scoring
    epochs = math.floor(RESERVE * budget / each)
    if epochs < 1:
        raise BudgetError(
            f"a budget of {budget:g} s is too short for one epoch, which takes {each:.3g} s here: give --budget "
            f"{math.ceil(each / RESERVE * 100) / 100:g} or more"
        )
    return Plan(epochs, each)
