"""What a person sees while a model trains, and how Ctrl-C ends it: after the step, with nothing lost."""

import math
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, TextIO

from fastvae.kernels.cpu import compiler
from fastvae.standard_error import is_terminal, say
from fastvae.training import Observer, Schedule, State, spoken


class Interruptible:
    """Turns the first SIGINT into a request to stop; the second acts as usual.

    While what was begun is being compiled, which takes long, it ends it at once: there is nothing to keep.

    Only where nobody else has taken the signal over, and only in the main thread: Python allows no other.
    """

    SIGNALS: tuple[int, ...] = (signal.SIGINT,)
    NOBODYS: tuple[Any, ...] = (signal.default_int_handler, signal.SIG_DFL)
    FIRST = "the first step"  # before which there is nothing to keep

    def __init__(self) -> None:
        self.interrupted: int | None = None
        self._previous: dict[int, Any] = {}

    def take_over(self) -> None:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            for number in self.SIGNALS:
                if signal.getsignal(number) in self.NOBODYS:
                    self._previous[number] = signal.signal(number, self._on_signal)
            compiler.WHILE_COMPILING.append(self._give_up)

    def give_back(self) -> None:
        """Give the signals back."""
        self._restore()
        self._keep_on()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.interrupted = number
        self._restore()

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    def _give_up(self) -> None:
        if self.interrupted == signal.SIGINT:
            raise KeyboardInterrupt(f"interrupted before {self.FIRST}")
        if self.interrupted is not None:
            raise SystemExit(128 + self.interrupted)

    def _keep_on(self) -> None:
        """From now on there is something to keep."""
        if self._give_up in compiler.WHILE_COMPILING:
            compiler.WHILE_COMPILING.remove(self._give_up)

    def stop_requested(self) -> bool:
        """True after a signal."""
        return self.interrupted is not None


class InterruptibleObserver(Interruptible, Observer):
    """Has Ctrl-C end a training after the step."""

    interval = 0.02

    def started(self, state: State, schedule: Schedule, examples: int) -> None:
        """Take the signals over."""
        self.take_over()

    def stepped(self, state: State, examples: int) -> None:
        """From now on there is something to keep."""
        self._keep_on()

    def stopped(self, state: State) -> None:
        """Give the signals back."""
        self.give_back()


def notebook_bar() -> Any:
    """tqdm's bar for notebooks, in one that can show it, by ipywidgets; else None."""
    try:
        if "IPKernelApp" not in sys.modules["IPython"].get_ipython().config:
            return None
        from tqdm.notebook import IProgress, tqdm
    except Exception:  # no notebook, or one without tqdm, or of whatever version
        return None
    return None if IProgress is None else tqdm


FEW_EPOCHS = 200  # each has a line; of more, one a second


class ProgressObserver(InterruptibleObserver):
    """A bar on a terminal or in a notebook, where tqdm is installed; else, and when piped, one plain line an epoch."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self.stream, self.quiet = sys.stderr if stream is None else stream, False
        self._bar: Any = None
        self._printed = -math.inf

    def started(self, state: State, schedule: Schedule, examples: int) -> None:
        """Open the bar."""
        super().started(state, schedule, examples)
        self._schedule = schedule
        self._stepped = False
        self._since: tuple[float, int] | None = None  # time and epoch of the first end of an epoch that was seen
        if not self.quiet:
            bar = self._kind_of_bar()
            if bar is None:
                return
            self._bar = bar(
                total=schedule.epochs * examples,
                initial=state.epoch * examples + state.position,
                desc=f"{state.epoch + 1}/{schedule.epochs}",
                bar_format="{desc} {percentage:3.0f}%|{bar}|{rate_fmt}, {remaining} left{postfix}",
                unit=" examples",
                unit_scale=True,
                file=self.stream,
                mininterval=0.2,
                dynamic_ncols=True,
            )

    def _kind_of_bar(self) -> Any:
        """tqdm's for a terminal or a notebook, or None where lines are better, or there is no tqdm."""
        if self.stream is sys.stderr and (bar := notebook_bar()) is not None:
            return bar
        if not is_terminal(self.stream):
            return None
        try:
            from tqdm import tqdm
        except ImportError:
            return None
        return tqdm

    def stepped(self, state: State, examples: int) -> None:
        """Advance the bar."""
        super().stepped(state, examples)
        if self._bar is not None:
            if not self._stepped:
                self._bar.unpause()  # the first step may have compiled the kernels, which is no part of the rate
            self._bar.update(examples)
        self._stepped = True

    def epoch_finished(self, state: State, record: dict[str, float]) -> None:
        """Show the epoch's figures."""
        heldout, parts = self._schedule.heldout, [name for name in record if name not in self._not_shown()]
        figures = "  ".join(f"{name} {record[name]:.3f}" for name in parts)
        if not math.isnan(record[heldout]):
            figures += f"  {spoken(heldout)} {record[heldout]:.3f}"
        if self._bar is not None:
            brief = " ".join(f"{name} {record[name]:.1f}" for name in parts)  # 80 columns hold it
            if not math.isnan(record[heldout]):
                brief += f" {spoken(heldout).removeprefix('held-out ')} {record[heldout]:.1f}"
            self._bar.set_description_str(f"{min(state.epoch + 1, self._schedule.epochs)}/{self._schedule.epochs}")
            self._bar.set_postfix_str(brief)
            return
        last, now = state.epoch >= self._schedule.epochs or state.stopped_early, time.monotonic()
        if self.quiet or not (last or self._schedule.epochs <= FEW_EPOCHS or now - self._printed >= 1.0):
            return
        self._printed = now
        line = f"epoch {state.epoch}/{self._schedule.epochs}  {figures}  {record['images_per_second']:,.0f} examples/s"
        say(line + self._left(state.epoch), self.stream)

    def _not_shown(self) -> tuple[str, ...]:
        """Of a record, what is no loss."""
        return "epoch", self._schedule.heldout, "images_per_second", "seconds"

    def _left(self, epoch: int) -> str:
        """The time that is left, by whole epochs of this process without the first, which may have compiled kernels or
        been done in part before."""
        left, now = self._schedule.epochs - epoch, time.perf_counter()
        if left == 0:
            return "  0 s left"
        if self._since is None:
            self._since = now, epoch
            return ""
        then, first = self._since
        return f"  {(now - then) / (epoch - first) * left:.0f} s left"

    def stopped(self, state: State) -> None:
        """Close the bar."""
        super().stopped(state)
        if self._bar is not None:
            self._bar.close()
            self._bar = None
