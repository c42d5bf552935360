"""Threads that share a batch: each takes some of its rows through a whole pass.

The batch is cut by examples, not by operation: a thread keeps its rows in its own cache, and the threads meet after
each phase of a step. A thread that waits spins for some microseconds, then blocks on a lock or yields the processor.

The whole process has one set of helper threads, one fewer than processors. Whoever runs a model borrows those that are
idle, and does the rest alone: many callers at once do not multiply the threads. How many helpers there are changes
nothing in any result. After an error, one of a signal handler say, they are waited for: their jobs are short. NumPy's
BLAS, where it does the products, has one thread meanwhile: OpenBLAS's own wait for each other by spinning, and where
another process wants a core too that costs nearly everything.
"""

import _thread
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from fastvae.kernels.cpu import blas, team
from fastvae.kernels.cpu.processor import BLAS, CHOSEN, UNIT
from fastvae.kernels.cpu.processor_count import processors
from fastvae.kernels.cpu.program import Program, jobs
from fastvae.kernels.slots import Slots, Watched

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
    """A thread that waits for work, does it, and waits again; it ends with the process.

    A signal handler may raise between any two lines of whoever uses it. So each call here can be made again, and what
    the thread works on is kept until it is known to be done.
    """

    def __init__(self, name: str):
        self._name, self._mailbox = name, team.mailbox()
        self.address = self._mailbox.ctypes.data
        self.reset()

    def reset(self) -> None:
        """Have no thread and no job, as after a fork: no thread outlives it."""
        self._start, self._done, self._running = (threading.Lock() for _ in range(3))
        self._start.acquire(), self._done.acquire()
        self._mailbox[...] = 0
        self._mailbox[team.DONE] = team.FINISHED
        self._work: object = None
        self.fault: BaseException | None = None
        self.borrower: Callable[[], object] = lambda: None  # a weak reference

    def start(self) -> None:
        """Have a thread. Raises `RuntimeError` where the system gives no more."""
        if not self._running.locked():  # `threading.Thread.start` does not survive being interrupted
            _thread.start_new_thread(self._serve, ())

    def _serve(self) -> None:
        if not self._running.acquire(blocking=False):
            return  # there is one, of somebody who was interrupted
        threading.current_thread().name = self._name
        try:
            with np.errstate(all="ignore"):  # overflow shows in the loss, once; this state belongs to a thread
                while True:
                    self._start.acquire()
                    while team.serve(self.address, team.LINGER) == team.WAKE:
                        _let_through(self._done)
        except BaseException as error:  # compiled code that cannot be loaded, say: whoever waits is told
            self.fault = error
            self._mailbox[team.DONE] = team.FINISHED
            _let_through(self._done)

    def begin(self, job: int, work: object) -> None:
        """Let the thread do a job; `work` is what must stay alive meanwhile."""
        if self._work is not None:
            self.settle()
        self._work = work
        if team.post(self.address, job):
            self._wake()

    def _wake(self) -> None:
        self.start()
        _let_through(self._start)

    def finish(self) -> None:
        """Wait until it is done."""
        while self.fault is None and not team.await_done(self.address, team.PATIENCE):
            self._done.acquire()
        self._work = None
        if self.fault is not None:
            raise RuntimeError(f"a helper thread ended ({self.fault})") from self.fault

    def finish_beside(self, job: int) -> None:
        """Do a job of one's own, then wait."""
        team.run_beside(job, self.address, team.PATIENCE)
        self.finish()

    def hold(self) -> None:
        """Have the thread look for work, where it sleeps, and go on with that until it is let go."""
        self._mailbox[team.HELD] = 1
        if self._mailbox[team.STATE] == team.ASLEEP:
            self.begin(team.EMPTY_JOB.ctypes.data, team.EMPTY_JOB)
            self.finish()

    def let_go(self) -> None:
        """Allow it to sleep."""
        self._mailbox[team.HELD] = 0

    def settle(self) -> None:
        """Wait until it is idle, wherever whoever used it was interrupted."""
        self.let_go()
        if self._work is not None:
            self._wake()
            self.finish()


def _let_through(lock: threading.Lock) -> None:
    """Release a lock that somebody waits for, or will; it may be released already."""
    with contextlib.suppress(RuntimeError):
        lock.release()


class Pool:
    """The helpers of this process: made when they are first wanted, lent to one borrower at a time."""

    def __init__(self) -> None:
        self._helpers: list[Helper] = []
        self.forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Have none: threads do not outlive a fork. Whoever forked while it used some gets them new threads."""
        for helper in self._helpers:
            helper.reset()
        self._lock, self._helpers = threading.Lock(), []

    def borrow(self, borrower: object, count: int) -> list[Helper]:
        """Up to `count` helpers that nobody uses, until they are given back or the borrower is gone; fewer, or none,
        where others have them."""
        lent: list[Helper] = []
        with self._lock, contextlib.suppress(RuntimeError):  # the system gives no more threads
            self._helpers = [helper for helper in self._helpers if helper.fault is None]
            free = [helper for helper in self._helpers if helper.borrower() is None]
            while len(lent) < count and (free or len(self._helpers) < processors() - 1):
                if not free:
                    free.append(Helper(f"fastvae-{len(self._helpers) + 1}"))
                    self._helpers.append(free[0])
                free[0].start()
                free[0].borrower = weakref.ref(borrower)
                lent.append(free.pop(0))
        return lent

    @staticmethod
    def give_back(helpers: list[Helper]) -> None:
        """Take them back for the next borrower, once they are idle."""
        late: BaseException | None = None
        for helper in helpers:
            try:
                helper.settle()
            except BaseException as error:  # of a signal handler: the others go back too
                late = error
            helper.borrower = lambda: None
        if late is not None:
            try:
                raise late
            finally:
                del late  # its traceback holds this frame


POOL = Pool()


class Workers:
    """Runs the programs of `count` shares, with the help of idle threads; a context manager."""

    def __init__(self, count: int = 1):
        self.count = count
        self._helpers: list[Helper] = []
        self._boxes = np.zeros(0, np.int64)
        self._prepared: tuple[Any, ...] | None = (
            None  # phases and losses of the last steps, and as compiled code has them
        )
        self._single = blas.one_thread() if CHOSEN == BLAS else contextlib.nullcontext()

    def __enter__(self) -> Self:
        if self.count > 1:
            self._helpers = POOL.borrow(self, self.count - 1)
        self._boxes = np.array([helper.address for helper in self._helpers], np.int64)
        self._single.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            POOL.give_back(self._helpers)
        finally:
            self._helpers, self._boxes = [], np.zeros(0, np.int64)
            self._single.__exit__(kind, error, traceback)

    def run_programs(self, programs: Sequence[Any]) -> None:
        """Run one program for each share, or fewer: threads meet without the interpreter."""
        helpers = self._helpers
        if not helpers:
            for program in programs:
                program.run()
            return
        busy = helpers[: len(programs) - 1]
        for helper, program in zip(busy, programs[1:], strict=False):
            helper.begin(program.job, (program, [source.rows for source in program.sources]))
        for program in programs[len(busy) + 1 :]:
            program.run()
        if busy:
            busy[0].finish_beside(programs[0].job)
        else:
            programs[0].run()
        for helper in busy[1:]:
            helper.finish()

    def run_steps(
        self,
        phases: Sequence[Sequence[Program]],
        slots: Slots,
        table: np.ndarray,
        order: np.ndarray,
        indices: np.ndarray,
        watched: Sequence[Watched],
        sums: np.ndarray,
    ) -> tuple[int, int]:
        """See the contract in `fastvae.kernels`. Without a clock to wait by, all is done in this thread."""
        if self._prepared is None or self._prepared[0] is not phases or self._prepared[1] is not watched:
            losses = np.array([each.words for each in watched], np.int64).reshape(-1, 4)
            self._prepared = phases, watched, jobs(phases), losses
        helpers = self._helpers if team.CLOCK is not None else []
        boxes = self._boxes[: len(helpers)]
        try:
            for helper in helpers:
                helper.hold()
            return team.steps(self._prepared[2], boxes, slots.row, table, order, indices, self._prepared[3], sums)
        finally:
            for helper in helpers:
                helper.let_go()


class Alone:
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


ALONE = Alone()


def workers_for(count: int) -> Workers | Alone:
    """Who runs the programs of `count` shares."""
    return ALONE if count == 1 and CHOSEN != BLAS else Workers(count)
