"""How long a model is trained, where nobody says it; and what should be said when it has been."""

from typing import Any

import numpy as np

from fastvae.errors import check_name
from fastvae.models.settings import check_integer, check_number
from fastvae.optimizers import SCHEDULES
from fastvae.training import spoken

AUTO = "auto"
MOST_BATCH, LEAST_BATCH = 128, 64
STEPS, FEW_STEPS, LEAST_EPOCHS = 20_000, 1_000, 20
PATIENT_STEPS, LEAST_PATIENCE = 3_000, 10
LEAST_TO_SPLIT = 20  # rows; fewer are all trained on
ENOUGH_TO_JUDGE, STEPS_TO_JUDGE = 20, 200  # epochs and steps behind a remark that a training still improves


class Duration:
    """The part of an estimator that decides when a training ends."""

    __slots__ = ()
    epochs: int | str
    batch_size: int | str
    early_stopping: bool | str
    validation_fraction: float
    average: float
    schedule: str
    warmup_steps: int
    learning_rate: float
    heldout_name: str
    history_: Any
    n_steps_: Any
    stopped_early_: Any

    def _check_duration(self) -> None:
        for name, value in (("epochs", self.epochs), ("batch_size", self.batch_size)):
            if isinstance(value, str):
                check_name(name, value, (AUTO,))
            else:
                check_integer(name, value, 1)
        if self.early_stopping != AUTO and not isinstance(self.early_stopping, bool | np.bool_):
            raise ValueError(f"early_stopping={self.early_stopping!r} must be True, False or 'auto'")
        check_number("validation_fraction", self.validation_fraction, 0, inclusive=False)
        if self.validation_fraction >= 1:
            raise ValueError(f"validation_fraction={self.validation_fraction!r} must be less than 1")

    def _batches(self) -> tuple[int, int]:
        """Rows of a batch where that is "auto": of few data, and of many."""
        return LEAST_BATCH, MOST_BATCH

    def plan(self, rows: int) -> tuple[int, int, int]:
        """Epochs, batch size, and epochs of patience for so many rows, where they are "auto".

        Batches of 128; where data are few, smaller ones, of which some fit into an epoch. At least 20 epochs and 20,000
        steps; patience for 3,000 steps and 10 epochs. Without rows to validate on, where few steps already overfit a
        small table, 1,000 steps.
        """
        batch_size = self.batch_size
        if isinstance(batch_size, str):
            least, most = self._batches()
            batch_size = min(most, rows) if rows > 4 * most else max(1, min(least, rows))
        steps = -(-rows // batch_size)
        epochs = self.epochs
        if isinstance(epochs, str):
            wanted = STEPS if self._stops_early(rows) else FEW_STEPS
            epochs = max(LEAST_EPOCHS, -(-wanted // steps))
        return int(epochs), int(batch_size), max(LEAST_PATIENCE, -(-PATIENT_STEPS // steps))

    def _stops_early(self, rows: int) -> bool:
        if self.early_stopping == AUTO:
            to_the_end = self.average or self.schedule != SCHEDULES[0]
            return self.epochs == AUTO and rows >= LEAST_TO_SPLIT and not to_the_end
        return bool(self.early_stopping)

    def remarks(self) -> list[str]:
        """What should be known of the training that has ended: a line each."""
        return [*self._remarks_of_steps(), *self._remarks_of_progress()]

    def _remarks_of_steps(self) -> list[str]:
        """Where a training had fewer steps than an argument wants."""
        lines = list[str]()
        if self.warmup_steps > self.n_steps_ > 0:
            lines.append(
                f"warmup_steps={self.warmup_steps} is longer than the training ({self.n_steps_} steps): the learning "
                f"rate never reached {self.learning_rate:g}"
            )
        if self.average and self.stopped_early_:
            lines.append(f"average={self.average:g} was not taken: the training ended before its last steps came")
        return lines

    def _remarks_of_progress(self) -> list[str]:
        """Where more steps would have made it better."""
        history, lines = self.history_, list[str]()
        epochs = len(history["loss"])
        if epochs < ENOUGH_TO_JUDGE or self.n_steps_ < STEPS_TO_JUDGE or self.stopped_early_:
            return lines
        judged, name = -history[self.heldout_name], f"the {spoken(self.heldout_name)}"
        if not np.isfinite(judged).all():
            judged, name = history["loss"], "the loss"
        last = max(ENOUGH_TO_JUDGE // 4, epochs // 10)
        gain = judged[-2 * last : -last].mean() - judged[-last:].mean()
        if gain > max(0.05, 0.01 * (judged[0] - judged.min())):
            more = f"epochs than {epochs}, or a larger learning_rate than {self.learning_rate:g}, would make it better"
            if name == "the loss":  # which also falls where a model only learns its rows by heart
                more += "; whether new rows gain, only rows that are held back can tell: early_stopping=True"
            so_far = f"by {gain:.2f} nats from the last but one {last} epochs to the last"
            lines.append(f"{name} still improves: {so_far}. More {more}")
        return lines
