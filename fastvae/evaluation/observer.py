"""What a person sees while an evaluation goes on, and how Ctrl-C ends it: with what is done."""

import contextlib
import sys
import time
from types import TracebackType
from typing import Any, Protocol, Self, TextIO

from fastvae.progress import Interruptible
from fastvae.standard_error import is_terminal, say


class Observer(Protocol):
    """What may watch an evaluation."""

    def progressed(self, done: int, count: int, unit: str) -> None:
        """So many of `count` are done, "examples" say."""

    def stop_requested(self) -> bool:
        """True ends the evaluation with what is done; asked between pieces of work."""


class Unobserved:
    """Watches nothing: an evaluation is whole, or Ctrl-C ends it as anything else, by `KeyboardInterrupt`."""

    def progressed(self, done: int, count: int, unit: str) -> None:
        """Nobody asks."""

    def stop_requested(self) -> bool:
        """False."""
        return False


class InterruptibleObserver(Interruptible):
    """Has Ctrl-C end an evaluation, of which what is done is returned. A context manager, which may be entered again
    within itself."""

    FIRST = "the first example was done"

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def __enter__(self) -> Self:
        if self._depth == 0:
            self.take_over()
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.give_back()

    def progressed(self, done: int, count: int, unit: str) -> None:
        """Once something is done, there is something to keep."""
        if done:
            self._keep_on()


class ProgressObserver(InterruptibleObserver):
    """Says now and then how far it is: on a terminal in one line that is written over, else in a line each."""

    def __init__(self, what: str = "", stream: TextIO | None = None, interval: float | None = None) -> None:
        super().__init__()
        self.what, self.stream = what, sys.stderr if stream is None else stream
        self._inline = is_terminal(self.stream)
        self._interval = (0.2 if self._inline else 10.0) if interval is None else interval
        self._started = self._said = time.monotonic()
        self._width = 0

    def begin(self, what: str) -> None:
        """From now on it is about something else."""
        self.what, self._started = what, time.monotonic()

    def progressed(self, done: int, count: int, unit: str) -> None:
        """Say it, unless something was said just before."""
        super().progressed(done, count, unit)
        now = time.monotonic()
        if now - self._said < self._interval and not (self._inline and done == count):
            return
        self._said = now
        left = f", {(now - self._started) / done * (count - done):.0f} s left" if 0 < done < count else ""
        line = f"{self.what}{': ' if self.what else ''}{done:,} of {count:,} {unit}{left}"
        if self._inline:
            self._write(line, done == count)
        else:
            say(line, self.stream)

    def _write(self, line: str, last: bool) -> None:
        with contextlib.suppress(OSError, ValueError):
            self.stream.write("\r" + line.ljust(self._width) + ("\n" if last else ""))
            self.stream.flush()
        self._width = 0 if last else len(line)


def watching(observer: Any) -> Any:
    """A context manager that gives an observer: that one; for None one that takes Ctrl-C as a request to stop."""
    if observer is None:
        return InterruptibleObserver()
    return observer if hasattr(observer, "__enter__") else contextlib.nullcontext(observer)
