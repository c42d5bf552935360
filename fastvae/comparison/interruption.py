"""Ctrl-C while one of several models is trained and measured: it ends that one; soon after again, the command."""

import time
from types import FrameType, TracebackType
from typing import Any, Self

from fastvae.evaluation.observer import ProgressObserver as EvaluationProgress
from fastvae.progress import Interruptible, ProgressObserver
from fastvae.training import State

SOON = 2.0  # seconds


class Interruption(Interruptible):
    """A context around one model. `last` is when the Ctrl-C before it came, of another model."""

    def __init__(self, last: float | None = None) -> None:
        super().__init__()
        self.last = last

    def __enter__(self) -> Self:
        self.take_over()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.give_back()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        before, self.last = self.last, time.monotonic()
        super()._on_signal(number, frame)
        if before is not None and self.last - before < SOON:
            raise KeyboardInterrupt

    def check(self) -> None:
        """Raise `Stopped` after Ctrl-C: between two measures."""
        if self.stop_requested():
            raise Stopped


class Stopped(Exception):  # noqa: N818
    """The model at hand was ended by Ctrl-C."""


class TrainingProgress(ProgressObserver):
    """Progress of a training, which ends by Ctrl-C, or at a time by `time.perf_counter()`."""

    def __init__(self, interruption: Interruption, deadline: float):
        super().__init__()
        self._interruption, self.deadline = interruption, deadline

    def epoch_finished(self, state: State, record: dict[str, float]) -> None:
        """Show it, of short epochs one every some seconds."""
        now = time.monotonic()
        if self._bar is None and now - self._printed < SOON and state.epoch < self._schedule.epochs:
            return
        super().epoch_finished(state, record)

    def stop_requested(self) -> bool:
        """True after Ctrl-C, or too late."""
        return self._interruption.stop_requested() or time.perf_counter() > self.deadline


class MeasuringProgress(EvaluationProgress):
    """Progress of an evaluation, which ends by Ctrl-C."""

    def __init__(self, interruption: Interruption, what: str = ""):
        super().__init__(what)
        self._interruption = interruption

    def stop_requested(self) -> bool:
        """True after Ctrl-C."""
        return self._interruption.stop_requested()


def observer(interruption: Any, title: str) -> MeasuringProgress:
    """For the measures of a model of that title."""
    return MeasuringProgress(interruption, title)
