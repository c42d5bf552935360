"""The training loop: batches, schedule, checkpoints, divergence. It knows no model, only `Trainable`.

All of a run's state is in `State`, the parameters and the optimizer's moments; everything random is a function of
(seed, epoch, step). So a run that continues from any checkpoint goes through the same numbers as one that was never
interrupted.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.declared import LARGEST
from fastvae.errors import DivergenceError
from fastvae.exclusion import Exclusion
from fastvae.optimizers import Optimizer
from fastvae.parameters import Parameters

AHEAD = 100  # steps at a time, at most


class Trainable(Protocol):
    """What the loop asks of a model."""

    parameters: Parameters
    exclusion: Exclusion

    @property
    def steps_ahead(self) -> bool:
        """Whether `steps` does more than one step in a call."""

    def steps(self, first: int, order: np.ndarray, progress: np.ndarray) -> list[dict[str, float]]:
        """Change the parameters by some of the steps on the examples of `order` (n, B), at least one, the first of
        which has that number, at a progress (n,) in epochs. For each step, return "loss" and its parts before it, means
        over the batch in nats. After a loss that is not finite nothing is changed."""

    def faults(self, rows: int) -> str:
        """Name the first place where a number is not finite, after a loss that was not, of a batch of so many rows."""


@dataclass
class Schedule:
    """What the user asked for: epochs in all, examples a step, and when to stop early."""

    epochs: int
    batch_size: int  # at most: an epoch's batches are as even as they can be
    patience: int | None = None  # epochs without a better held-out ELBO
    warmup: float = 0.0  # epochs over which the loss changes, and which patience does not judge
    heldout: str = "heldout_elbo"  # what a record calls the held-out score

    def cut(self, count: int, position: int) -> tuple[int, int]:
        """Rows of the batch that begins at that position of an epoch of `count` examples, and how many batches of as
        many rows come one after the other from there.

        Batches differ by one row at most, the longer ones come first: a short last one would weigh its rows more.
        """
        batches = -(-count // self.batch_size)
        rows, longer = divmod(count, batches)
        end = longer * (rows + 1)
        if position < end:
            return min(rows + 1, count - position), max(1, (end - position) // (rows + 1))
        return min(rows, count - position), max(1, (count - position) // rows)


@dataclass
class State:
    """How far a run has come. JSON can hold it but for `ARRAYS` and the records, which are arrays in a file."""

    ARRAYS: ClassVar = ("best_values", "best_state")

    epoch: int = 0  # epochs finished
    position: int = 0  # examples of the current epoch that are done
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)  # of the current epoch's losses, weighted by example
    seconds: float = 0.0  # of the current epoch
    records: list[dict[str, float]] = field(default_factory=list)  # one a finished epoch
    best_elbo: float | None = None
    best_epoch: int = 0
    best_optimizer_steps: int = 0
    stopped_early: bool = False
    judged_from: int = 0  # an epoch before which patience does not count
    cycle_epoch: int = 0  # epochs, and steps of the optimizer, after which the present `fit` began
    cycle_step: int = 0
    best_values: np.ndarray | None = None  # parameters at the best held-out ELBO, with early stopping
    best_state: dict[str, np.ndarray] = field(default_factory=dict)  # of the optimizer at that time

    def begin_epoch(self) -> None:
        """Forget a part of an epoch, and that a run stopped early: what comes is an epoch of its own."""
        self.position, self.sums, self.seconds, self.stopped_early = 0, {}, 0.0, False

    def begin_cycle(self, steps: int) -> None:
        """What comes is a training of its own that goes on from here, after so many steps of the optimizer: its rows
        may be others, so that no score of before counts."""
        self.begin_epoch()
        self.cycle_epoch, self.cycle_step, self.judged_from = self.epoch, steps, self.epoch
        self.best_elbo, self.best_epoch, self.best_optimizer_steps = None, 0, 0
        self.best_values, self.best_state = None, {}

    def take_back_early_stop(self) -> None:
        """Let a run that stopped early go on: patience counts anew."""
        self.stopped_early, self.judged_from = False, self.epoch

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        """Of a pickle; those of earlier versions have Adam's moments as attributes."""
        older = {name: attributes.pop(f"best_{name}", None) for name in ("first_moment", "second_moment")}
        kept = {name: array for name, array in older.items() if array is not None}
        vars(self).update({"best_state": kept} | attributes)

    def remember_best(self, elbo: float, model: Trainable, optimizer: Optimizer) -> None:
        """Keep copies of the parameters and of the optimizer as they are after this epoch."""
        self.best_elbo, self.best_epoch, self.best_optimizer_steps = elbo, self.epoch, optimizer.step_count
        self.best_values = model.parameters.values.copy()
        self.best_state = {name: array.copy() for name, array in optimizer.state.items()}

    def return_to_best(self, model: Trainable, optimizer: Optimizer) -> bool:
        """Go back to what `remember_best` has kept, if anything: a training that goes on continues from there. Return
        whether there was anything."""
        if self.best_values is not None:
            model.parameters.values[:] = self.best_values
        if self.best_state:
            for name, array in optimizer.state.items():
                array[:] = self.best_state[name]
            optimizer.step_count = self.best_optimizer_steps
        return self.best_values is not None

    def to_json(self) -> dict[str, Any]:
        """Everything but the records and the arrays."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("records", *self.ARRAYS)}

    def check(self, examples: int | None = None) -> None:
        """Raise a `ValueError` that names the field where no training, on so many examples, can have left this: a loop
        that went on from there might not end."""
        known, begun = self.best_elbo is not None, self.epoch + (self.position > 0)
        for name, value, least, most in (
            ("epoch", self.epoch, len(self.records), len(self.records)),
            ("position", self.position, 0, LARGEST if examples is None else examples),
            ("step", self.step, begun, LARGEST),
            ("best_epoch", self.best_epoch, 0, self.epoch if known else 0),
            ("judged_from", self.judged_from, 0, self.epoch),
            ("cycle_epoch", self.cycle_epoch, 0, self.epoch),
            ("cycle_step", self.cycle_step, 0, self.step),
            ("best_optimizer_steps", self.best_optimizer_steps, 0, self.step),
        ):
            if not least <= value <= most:
                raise ValueError(f"the state of training has {name}={value}; expected {least} ... {most}")
        if ("loss" in self.sums) != (self.position > 0) or not self.seconds >= 0:
            rest = f"sums={self.sums}, seconds={self.seconds}"
            raise ValueError(f"the state of training has position={self.position}, {rest}, which do not fit together")


def spoken(heldout: str) -> str:
    """What a held-out score is called in a sentence: "held-out ELBO" for "heldout_elbo"."""
    word = heldout.removeprefix("heldout_")
    return f"held-out {word.upper() if word == 'elbo' else word}"


class Observer:
    """What may watch a run; this one does nothing. `stop_requested` is asked after each step.

    Attributes
    ----------
    interval
        Seconds within which it need not hear of each step: small ones are then done several at a time.
    """

    interval = 0.0

    def started(self, state: State, schedule: Schedule, examples: int) -> None:
        """Before the first step."""

    def stepped(self, state: State, examples: int) -> None:
        """After each step, or some, with the examples that they used."""

    def epoch_finished(self, state: State, record: dict[str, float]) -> None:
        """After each epoch."""

    def stopped(self, state: State) -> None:
        """After the last step, also on the way out of an error, were it of `started`."""

    def stop_requested(self) -> bool:
        """True ends the run after this step, in a state that can be continued."""
        return False


def train(
    model: Trainable,
    examples: Examples,
    optimizer: Optimizer,
    schedule: Schedule,
    state: State,
    observer: Observer,
    heldout_score: Callable[[], float] | None = None,
) -> None:
    """Train from `state` to the end of the schedule, until it should stop early, or until the observer asks.

    Each epoch goes once through a new permutation of the examples, in batches that differ by one row at most.
    Whoever wants model, optimizer and `state` as they are between two steps gets that by `model.exclusion`.

    Raises
    ------
    DivergenceError
        A loss is not finite. The message names epoch, step, part of the loss and layer.
    ValueError
        `state` is none that a training on these examples can have left.
    """
    state.check(len(examples))
    count, size = len(examples), schedule.batch_size
    most = max(1, min(AHEAD, examples.room // size))
    ordered = np.empty(most * size, np.int64)
    parts: dict[str, float] = {"loss": math.nan}  # of the last step
    try:
        observer.started(state, schedule, count)
        with np.errstate(all="ignore"):  # a loss that is not finite gets one error, below
            begins = state.position == 0 and state.epoch == state.cycle_epoch == state.judged_from
            judged = state.best_elbo is not None or state.epoch < schedule.warmup
            if schedule.patience is not None and heldout_score and begins and not judged:
                _judge(heldout_score(), model, optimizer, state)  # the start may be the best there is
            while state.epoch < schedule.epochs and not state.stopped_early:
                started, ahead = time.perf_counter() - state.seconds, 1
                while state.position < count:
                    before, seconds = state.position, state.seconds
                    rows, alike = schedule.cut(count, before)
                    ahead = min(ahead, alike) if model.steps_ahead else 1
                    progress = state.epoch + (before + rows * np.arange(ahead)) / count
                    model.exclusion.let_others()
                    with model.exclusion.lock:
                        chosen = ordered[: ahead * rows]
                        examples.order(state.epoch, before, chosen)
                        examples.fetch(chosen)
                        for parts in model.steps(state.step + 1, chosen.reshape(ahead, rows), progress):
                            if not math.isfinite(parts["loss"]):
                                raise DivergenceError(_divergence(model, rows, parts, state))
                            state.step += 1
                            state.position += rows
                            for name, value in parts.items():
                                state.sums[name] = state.sums.get(name, 0.0) + rows * value
                    state.seconds = time.perf_counter() - started
                    each = (state.seconds - seconds) * rows / (state.position - before)
                    ahead = max(1, min(most, int(observer.interval / each))) if each > 0 else 1
                    observer.stepped(state, state.position - before)
                    if observer.stop_requested():
                        return
                if not np.isfinite(model.parameters.values).all():
                    raise DivergenceError(_divergence(model, rows, parts, state))
                for name, moments in optimizer.state.items():
                    if not np.isfinite(moments).all():
                        raise DivergenceError(_overflow(model, name, moments, state))
                _finish_epoch(model, optimizer, schedule, state, observer, count, heldout_score)
                if observer.stop_requested():
                    return
    finally:
        observer.stopped(state)


def _judge(elbo: float, model: Trainable, optimizer: Optimizer, state: State) -> None:
    if math.isfinite(elbo) and (state.best_elbo is None or elbo > state.best_elbo):
        state.remember_best(elbo, model, optimizer)


def _finish_epoch(
    model: Trainable,
    optimizer: Optimizer,
    schedule: Schedule,
    state: State,
    observer: Observer,
    count: int,
    heldout_score: Callable[[], float] | None,
) -> None:
    record: dict[str, float] = {"epoch": state.epoch + 1}
    record |= {name: total / count for name, total in state.sums.items()}
    record[schedule.heldout] = heldout_score() if heldout_score else math.nan
    record |= {"images_per_second": count / max(state.seconds, 1e-9), "seconds": state.seconds}
    with model.exclusion.lock:
        state.records.append(record)
        state.epoch, state.position, state.sums, state.seconds = state.epoch + 1, 0, {}, 0.0
        if schedule.patience is not None and heldout_score and state.epoch > schedule.warmup:
            _judge(record[schedule.heldout], model, optimizer, state)
            judged_from = max(state.best_epoch, state.judged_from, math.floor(schedule.warmup))
            state.stopped_early = state.epoch - judged_from >= schedule.patience
    observer.epoch_finished(state, record)


def _overflow(model: Trainable, what: str, moments: np.ndarray, state: State) -> str:
    """Weights whose second moment is infinite would never move again, and nothing else would tell."""
    name = next(name for name, values in model.parameters.views(moments).items() if not np.isfinite(values).all())
    return (
        f"training diverged in epoch {state.epoch + 1}, step {state.step}: the gradient of {name!r} is too large for "
        f"float32, its square overflows in the optimizer's {what}. Try scale='standard', or clip_norm=1"
    )


def _divergence(model: Trainable, rows: int, parts: dict[str, float], state: State) -> str:
    bad = [name for name, value in parts.items() if not math.isfinite(value) and name != "loss"]
    values = ", ".join(f"{name} = {parts[name]}" for name in bad or ["loss"])
    return (
        f"training diverged in epoch {state.epoch + 1}, step {state.step + 1}: {values}; {model.faults(rows)}. Try a "
        "smaller learning_rate, clip_norm=1, or scale='standard' if the data's values are large"
    )
