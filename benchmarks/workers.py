"""One process for each implementation, so that no two thread pools ever run at the same time."""

import contextlib
import dataclasses
import json
import os
import statistics
import subprocess
import sys

from benchmarks.cases import HERE, homes
from benchmarks.sizes import Size

ROUND_SECONDS = 0.025
THREAD_SETTINGS = (
    "FASTVAE_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",  # XLA
)


class WorkerError(RuntimeError):
    """A worker failed; the message is its traceback."""


class Worker:
    """A process that measures one implementation. It waits for its next line without using a core.

    Parameters
    ----------
    implementation
        A name of `cases.IMPLEMENTATIONS`.
    threads
        What its libraries are told to use; None: what each chooses itself.
    """

    def __init__(self, implementation: str, threads: int | None = None):
        self.implementation = implementation
        settings = dict.fromkeys(THREAD_SETTINGS, str(threads)) if threads else {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", implementation],
            cwd=HERE.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | settings,
        )
        self._built: tuple[str, Size, float] | None = None
        self._seconds = 0.0
        self.description = self._ask(do="describe")

    def _ask(self, **message: object) -> dict:
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"the process of {self.implementation} ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerError(f"{self.implementation}, {message}:\n{answer['error']}")
        return answer

    def build(self, op: str, size: Size, round_seconds: float = ROUND_SECONDS) -> float:
        """Have the case built, checked and warm; return about how many seconds a round will take."""
        if self._built != (op, size, round_seconds):
            self._built = None
            message = {"stem": homes()[op], "op": op, "size": dataclasses.asdict(size), "round_seconds": round_seconds}
            self._seconds = self._ask(do="build", **message)["seconds"]
            self._built = (op, size, round_seconds)
        return self._seconds

    def round(self) -> float:
        """Seconds a step, over one round, by the clock of the process itself."""
        return self._ask(do="round")["seconds"]

    def peak_memory(self) -> int | None:
        """The most bytes that the process has held at a time since the case was built and warm."""
        return self._ask(do="memory")["peak"]

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Workers:
    """A worker for each implementation that was asked for, started when it is first needed."""

    def __init__(self, threads: int | None = None):
        self._threads = threads
        self._workers: dict[str, Worker] = {}

    def __getitem__(self, implementation: str) -> Worker:
        if implementation not in self._workers:
            self._workers[implementation] = Worker(implementation, self._threads)
        return self._workers[implementation]

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers.values():
            worker.close()
        self._workers.clear()


def ratios(theirs: list[float], ours: list[float]) -> dict[str, float]:
    """A peer's time divided by ours, round by round: above 1, fastvae is faster. Median, min and max over the rounds,
    and of each one's fastest round, which is what other programs on the machine disturb least."""
    values = [a / b for a, b in zip(theirs, ours, strict=True)]
    fastest = min(theirs) / min(ours)
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "fastest": fastest}
