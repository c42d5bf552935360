"""Who may change a model, and when: one training at a time, and whoever wants a copy gets it between two steps."""

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import TypeVar

from fastvae.errors import TrainingInProgressError
from fastvae.kernels.cpu.compiler import FORK_LOCKS

Result = TypeVar("Result")
POLL = 2e-4  # seconds


class Exclusion:
    """Of one model, which threads may share. Each step of a training holds `lock`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._trainings: dict[object, int] = {}  # to the thread; the first has the model, the others are refused
        self._waiting: dict[object, None] = {}  # for the end of a step
        _every[id(self)] = weakref.ref(self)

    def alone(self, model: str, training: Callable[[], Result]) -> Result:
        """Run what changes the model; `TrainingInProgressError` where something does already, in this thread too."""
        token, thread = object(), threading.get_ident()
        try:  # removed whatever a signal handler raises, and wherever
            self._trainings[token] = thread
            (first, owner), *_ = list(self._trainings.items())
            if first is not token:
                raise TrainingInProgressError(_refusal(model, owner == thread))
            return training()
        finally:
            self._trainings.pop(token, None)

    def between_steps(self, action: Callable[[], Result]) -> Result:
        """Run something while no step is being made."""
        token = object()
        try:
            self._waiting[token] = None
            with self.lock:
                return action()
        finally:
            self._waiting.pop(token, None)

    def let_others(self) -> None:
        """Before a step: let those have the lock who wait for it now. It would not go to them by itself."""
        for token in list(self._waiting):
            while token in self._waiting:
                time.sleep(POLL)

    def forget_other_threads(self) -> None:
        """In the child of a fork, which has this thread alone."""
        thread, self.lock = threading.get_ident(), threading.RLock()
        self._trainings = {token: owner for token, owner in self._trainings.items() if owner == thread}
        self._waiting.clear()


def _refusal(model: str, own: bool) -> str:
    if own:
        return (
            f"this {model} is being trained by this very thread: what observes a training cannot train the same model"
        )
    return (
        f"this {model} is being trained by another thread: wait until that is done, or train a copy (copy.deepcopy of "
        "it, or another one with the same parameters)"
    )


# No WeakSet: it runs Python where an object goes, and what a signal handler raises there is lost. The place of one that
# is gone is taken by the next at its address.
_every: dict[int, "weakref.ref[Exclusion]"] = {}


def _all() -> list[Exclusion]:
    return [exclusion for reference in list(_every.values()) if (exclusion := reference())]


class _BetweenAllSteps:
    """A context around a fork: the child finds each model as it is between two steps."""

    def __enter__(self) -> None:
        self._process, self._held = os.getpid(), contextlib.ExitStack()
        for exclusion in _all():
            self._held.enter_context(exclusion.lock)

    def __exit__(self, *error: object) -> None:
        self._held.close()
        if os.getpid() != self._process:
            for exclusion in _all():
                exclusion.forget_other_threads()


FORK_LOCKS.locks.insert(0, _BetweenAllSteps())  # a step may have to wait for a compilation, not the other way round
