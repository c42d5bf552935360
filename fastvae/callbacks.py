"""What a user has called while a model is fitted: functions of (model, record), or objects with methods.

They hear of a training by the same `Observer` as everything else that watches one.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

import numpy as np

from fastvae.training import Observer, Schedule, State

METHODS = ("on_train_begin", "on_epoch_end", "on_train_end")


class OnTrainBegin(Protocol):
    """An object that is told that a training begins."""

    def on_train_begin(self, model: Any) -> Any:
        """Before the first step."""


class OnEpochEnd(Protocol):
    """An object that is told of each epoch."""

    def on_epoch_end(self, model: Any, record: dict[str, float]) -> Any:
        """After an epoch. `record` is its entry of `history_`, a copy. True ends the training."""


class OnTrainEnd(Protocol):
    """An object that is told that a training has ended."""

    def on_train_end(self, model: Any) -> Any:
        """After the last step and the return to the best parameters; also where an error ends the training."""


Callback = Callable[[Any, dict[str, float]], Any] | OnEpochEnd | OnTrainBegin | OnTrainEnd
Callbacks = Callback | Iterable[Callback] | None


def listed(callbacks: Callbacks) -> list[Callback]:
    """Callbacks as a list.

    Raises
    ------
    TypeError
        One is neither a function nor has one of the methods.
    """
    if callbacks is None:
        return []
    alone = callable(callbacks) or any(hasattr(callbacks, name) for name in METHODS)
    if not alone and (isinstance(callbacks, str) or not isinstance(callbacks, Iterable)):
        raise TypeError(f"callbacks={callbacks!r} is none, nor a list of some: {_expected()}")
    found = cast("list[Callback]", [callbacks] if alone else list(cast("Iterable[Callback]", callbacks)))
    for i, each in enumerate(found):
        if isinstance(each, type):
            raise TypeError(f"callbacks[{i}] is the class {each.__name__}: pass an instance of it, {each.__name__}()")
        if not callable(each) and not any(callable(getattr(each, name, None)) for name in METHODS):
            raise TypeError(f"callbacks[{i}] is of type {type(each).__name__}: {_expected()}")
    return found


def _expected() -> str:
    return f"expected a function of (model, record), called after each epoch, or an object with {', '.join(METHODS)}"


class CallbackObserver(Observer):
    """Tells callbacks of a training that another observer watches too.

    Parameters
    ----------
    callbacks
        As `listed` gives them.
    model
        The estimator that is trained.
    observer
        The other one.
    """

    def __init__(self, callbacks: list[Callback], model: Any, observer: Observer):
        self._callbacks, self._model, self._observer = callbacks, model, observer
        self._epochs, self._begun = 0, False

    @property
    def interval(self) -> float:  # type: ignore[override]
        """That of the other observer."""
        return self._observer.interval

    def started(self, state: State, schedule: Schedule, examples: int) -> None:
        """Tell all that a training begins."""
        self._observer.started(state, schedule, examples)
        self._epochs, self._begun = schedule.epochs, True
        self._tell("on_train_begin")

    def stepped(self, state: State, examples: int) -> None:
        """See `Observer`."""
        self._observer.stepped(state, examples)

    def epoch_finished(self, state: State, record: dict[str, float]) -> None:
        """Tell all; where one returns True, the training ends."""
        self._observer.epoch_finished(state, record)
        for i, each in enumerate(self._callbacks):
            hear = getattr(each, "on_epoch_end", each if callable(each) else None)
            answer = None if hear is None else hear(self._model, dict(record))
            if answer is not None and not isinstance(answer, bool | np.bool_):
                raise TypeError(
                    f"callbacks[{i}] returned {answer!r} after epoch {state.epoch}: expected True, to end the "
                    "training, or False or None, to go on"
                )
            if answer and state.epoch < self._epochs:
                state.stopped_early = True

    def stopped(self, state: State) -> None:
        """See `Observer`."""
        self._observer.stopped(state)

    def stop_requested(self) -> bool:
        """See `Observer`."""
        return self._observer.stop_requested()

    def ended(self) -> None:
        """Tell all that the training which has begun is over."""
        begun, self._begun = self._begun, False
        if begun:
            self._tell("on_train_end")

    def _tell(self, name: str) -> None:
        for each in self._callbacks:
            method = getattr(each, name, None)
            if method is not None:
                method(self._model)
