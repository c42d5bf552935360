"""Threads that share a batch: each takes some of its rows through a whole pass.

The batch is cut by examples, not by operation: a thread keeps its rows in its own cache, and the threads meet twice a
step. They look for each other for some microseconds, then wait on locks or let others run.

The whole process has one set of helper threads, one fewer than processors. Whoever runs a model borrows those that are
idle, and does the rest alone: many callers at once do not multiply the threads. How many helpers there are changes
nothing in any result. NumPy's BLAS, where it does the products, has one thread meanwhile: OpenBLAS's own wait for each
other by spinning, and where another process wants a core too that costs nearly everything.
"""

import contextlib
import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, ClassVar, Self

import numpy as np

from fastvae.kernels.cpu import blas, team
from fastvae.kernels.cpu.processor import BLAS, CHOSEN, UNIT
from fastvae.processor_count import processors

SMALLEST_SHARE = 16  # rows; fewer make the products inefficient
SMALL_PRODUCT = UNIT.small_product  # of a pass' largest one; below, a second thread brings nothing


def shares_for(rows: int, operations: float) -> int:
    """Into how many shares to cut `rows` whose largest matrix product has so many floating-point operations.

    It depends on sizes and on `processors()` alone: never on the load, so that results stay the same from run to run
    also where a BLAS adds up in an order of its own.
    """
    most = rows // SMALLEST_SHARE
    return 1 if most < 2 or operations < SMALL_PRODUCT else min(processors(), most)


class Helper:
    """A thread that waits for work, does it, and waits again; it ends with the process."""

    def __init__(self, name: str):
        self._start, self._done = threading.Lock(), threading.Lock()
        self._start.acquire(), self._done.acquire()
        self._mailbox, self.process = team.mailbox(), os.getpid()
        self._address = self._mailbox.ctypes.data
        threading.Thread(target=self._serve, daemon=True, name=name).start()

    def _serve(self) -> None:
        with np.errstate(all="ignore"):  # overflow shows in the loss, once; this state belongs to a thread
            while True:
                self._start.acquire()
                while team.serve(self._address, team.LINGER) == team.WAKE:
                    self._done.release()

    def begin(self, job: int) -> None:
        """Let the thread do the job of a program."""
        if team.post(self._address, job):
            self._start.release()

    @property
    def address(self) -> int:
        """Of the mailbox."""
        return self._address

    def hold(self) -> None:
        """Have the thread look for work, where it sleeps, and go on with that until it is let go."""
        self._mailbox[team.HELD] = 1
        if self._mailbox[team.STATE] == team.ASLEEP:
            self.begin(team.NOTHING.ctypes.data)
            self.finish()

    def let_go(self) -> None:
        """Allow it to sleep."""
        self._mailbox[team.HELD] = 0

    def finish(self) -> None:
        """Wait until it is done."""
        if not team.await_done(self._address, team.PATIENCE):
            self._done.acquire()

    def finish_beside(self, job: int) -> None:
        """Do a job of one's own, then wait."""
        if not team.run_beside(job, self._address, team.PATIENCE):
            self._done.acquire()


class Pool:
    """The helpers of this process: made when they are first wanted, lent to one caller at a time."""

    def __init__(self) -> None:
        self.forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Have none: threads do not outlive a fork."""
        self._lock, self._idle, self._made = threading.Lock(), list[Helper](), 0
        self._lost: list[tuple[list[Helper], object]] = []

    def borrow(self, count: int) -> list[Helper]:
        """Up to `count` helpers that nobody uses; fewer, or none, where others have them."""
        with self._lock:
            while len(self._idle) < count and self._made < processors() - 1:
                try:
                    self._idle.append(Helper(f"fastvae-{self._made + 1}"))
                except RuntimeError:  # the system gives no more threads
                    break
                self._made += 1
            count = max(0, min(count, len(self._idle)))
            lent, self._idle = self._idle[:count], self._idle[count:]
        return lent

    def lose(self, helpers: list[Helper], work: object) -> None:
        """Leave them to end their work, which is kept for that, and never lend them again."""
        with self._lock:
            self._made -= len(helpers)
            self._lost.append((helpers, work))

    def give_back(self, helpers: list[Helper]) -> None:
        """Take them back for the next caller."""
        with self._lock:
            self._idle += [helper for helper in helpers if helper.process == os.getpid()]  # not over a fork


POOL = Pool()


class Workers:
    """Runs the programs of `count` shares, with the help of idle threads; a context manager."""

    CAN_STEP: ClassVar[bool] = team.CLOCK is not None  # else `run_programs`, twice

    def __init__(self, count: int = 1):
        self.count = count
        self._helpers: list[Helper] = []
        self._boxes = np.zeros(0, np.int64)
        self._single = blas.one_thread() if CHOSEN == BLAS else contextlib.nullcontext()

    def __enter__(self) -> Self:
        if self.count > 1:
            self._helpers = POOL.borrow(self.count - 1)
        self._boxes = np.array([helper.address for helper in self._helpers], np.int64)
        self._single.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        POOL.give_back(self._helpers)
        self._helpers = []
        self._single.__exit__(kind, error, traceback)

    def run_programs(self, programs: Sequence[Any]) -> None:
        """Run one program for each share, or fewer: threads meet without the interpreter."""
        helpers = self._helpers
        if not helpers:
            for program in programs:
                program.run()
            return
        try:
            busy = helpers[: len(programs) - 1]
            for helper, program in zip(busy, programs[1:], strict=False):
                helper.begin(program.job)
            for program in programs[len(busy) + 1 :]:
                program.run()
            if busy:
                busy[0].finish_beside(programs[0].job)
            else:
                programs[0].run()
            for helper in busy[1:]:
                helper.finish()
        except BaseException:
            self._lose_helpers(programs)
            raise

    def run_steps(
        self, shares: Any, kl_weights: np.ndarray, order: np.ndarray, indices: np.ndarray, sums: np.ndarray
    ) -> tuple[int, int]:
        """Steps of training in one call: see `team.steps`. Only where CAN_STEP.

        `shares` has arrays of jobs, `forward_jobs` and `adam_jobs`, the `scalars` that they read, and what the first
        ones write: `nll` and `kl`.
        """
        scalars, jobs = shares.scalars, (shares.forward_jobs, shares.adam_jobs)
        try:
            for helper in self._helpers:
                helper.hold()
            given = scalars.integers, scalars.reals, kl_weights, order, indices
            result = team.steps(*jobs, self._boxes, *given, shares.nll, shares.kl, sums)
            for helper in self._helpers:
                helper.let_go()
            return result
        except BaseException:
            self._lose_helpers(shares)
            raise

    def _lose_helpers(self, work: object) -> None:
        """After Ctrl-C while waiting: nobody knows any more who is where. What they may still do must stay alive."""
        for helper in self._helpers:
            helper.let_go()
        POOL.lose(self._helpers, work)
        self._helpers, self._boxes = [], np.zeros(0, np.int64)


class _Alone:
    """`Workers` of one thread where nothing else has one too: nothing to set up."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    @staticmethod
    def run_programs(programs: Sequence[Any]) -> None:
        """Run them."""
        for program in programs:
            program.run()


ALONE = _Alone()


def workers_for(count: int) -> Workers | _Alone:
    """Who runs the programs of `count` shares."""
    return ALONE if count == 1 and CHOSEN != BLAS else Workers(count)
