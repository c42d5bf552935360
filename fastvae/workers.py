"""Threads that share a batch: each takes some of its rows through a whole pass.

The batch is cut by examples, not by operation: a thread keeps its rows in its own cache, and the threads meet twice a
step. They wait on locks, so a busy neighbour costs its share of the processor and no more. NumPy's BLAS runs with one
thread meanwhile: OpenBLAS's own threads wait for each other by spinning, and where another process wants a core too
that costs nearly everything (measured on two cores with one busy neighbour: 24 ms for a product that takes 0.4 ms with
one thread).
"""

import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

import numpy as np

from fastvae import blas

SMALLEST_SHARE = 64  # rows; fewer make the products inefficient
SMALL_PRODUCT = 2e7  # floating-point operations of a pass' largest product; below, a second thread brings nothing


def shares_for(rows: int, operations: float) -> int:
    """Into how many shares to cut `rows` whose largest matrix product has so many floating-point operations.

    It depends on sizes and on the number of processors, or of the environment variable FASTVAE_THREADS, alone: never
    on the load, so that results stay the same from run to run.
    """
    if operations < SMALL_PRODUCT or blas.threads() is None:
        return 1
    return max(1, min(processors(), rows // SMALLEST_SHARE))


def processors() -> int:
    """Processors that this process may use, or what FASTVAE_THREADS says."""
    asked = os.environ.get("FASTVAE_THREADS")
    if asked is not None:
        if not asked.isdecimal() or int(asked) < 1:
            raise ValueError(f"FASTVAE_THREADS={asked!r} must be a whole number, at least 1")
        return int(asked)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """`count` threads, the caller's among them, that run one function at a time; a context manager.

    `run(work)` calls work(0) ... work(count - 1), one call a thread, and returns when all have ended; the first
    exception, by number, is raised again. NumPy's BLAS has one thread inside the context.
    """

    def __init__(self, count: int = 1):
        self.count = count
        self._work: Callable[[int], None] | None = None
        self._errors: list[BaseException | None] = [None] * count
        self._start = [threading.Lock() for _ in range(count)]
        self._done = [threading.Lock() for _ in range(count)]
        self._threads: list[threading.Thread] = []
        self._single = blas.one_thread()

    def __enter__(self) -> Self:
        self._single.__enter__()
        for lock in self._start + self._done:
            lock.acquire()
        for number in range(1, self.count):
            thread = threading.Thread(target=self._serve, args=(number,), daemon=True, name=f"fastvae-{number}")
            self._threads.append(thread)
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._work = None
        for number in range(1, self.count):
            self._start[number].release()
        while self._threads:
            self._threads.pop().join()
        self._single.__exit__(kind, error, traceback)

    def _serve(self, number: int) -> None:
        with np.errstate(all="ignore"):  # overflow shows in the loss, once; this state belongs to a thread
            while True:
                self._start[number].acquire()
                if self._work is None:
                    return
                self._call(number)
                self._done[number].release()

    def _call(self, number: int) -> None:
        assert self._work is not None
        try:
            self._work(number)
        except BaseException as error:  # handed to the caller of run
            self._errors[number] = error

    def run(self, work: Callable[[int], None]) -> None:
        """Call `work` once in each thread, with the thread's number."""
        if self.count == 1:
            work(0)
            return
        self._work = work
        for number in range(1, self.count):
            self._start[number].release()
        self._call(0)
        for number in range(1, self.count):
            self._done[number].acquire()
        for error in self._errors:
            if error is not None:
                self._errors = [None] * self.count
                raise error
