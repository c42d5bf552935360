"""The process that one implementation is measured in, driven by `workers.py`.

`python -m benchmarks.worker IMPLEMENTATION`; one JSON object a line on standard input, one a line back:
{"do": "describe"}, {"do": "build", ...}, {"do": "round"}, {"do": "memory"}. It answers a round only when its threads
have come to rest: the pools of OpenMP and OpenBLAS go on spinning for some time after their last task, and would take
the cores from whoever is measured next.
"""

import contextlib
import json
import os
import sys
import time
import traceback

from benchmarks import machine
from benchmarks.cases import IMPLEMENTATIONS, OURS, REFERENCE, Case, ops_of
from benchmarks.sizes import Size

WARM_UP = 0.1  # fraction of a round's calls that come before it, untimed: they wake threads and fill caches
LONG = 0.1  # seconds of a call that does not notice those


class Session:
    """What the process holds between two lines: one built case, and how many calls of its step make a round."""

    def __init__(self, implementation: str):
        self.implementation = implementation
        self.case: Case | None = None

    def describe(self) -> dict[str, object]:
        """Versions and threads of this implementation, and the memory that the process holds from the start."""
        chosen = IMPLEMENTATIONS[self.implementation]
        about = machine.describe_implementation(chosen.module, chosen.device)
        machine.reset_peak_memory()
        return about | {"memory_at_start": machine.peak_memory()}

    def build(self, stem: str, op: str, size: dict, round_seconds: float) -> dict[str, float]:
        """Build, check against the reference, compile and warm up; choose the calls of a round, and say how long one
        takes."""
        self.case = None  # give its memory back first
        chosen, shape = ops_of(stem)[op], Size(**size)
        self.case = chosen.build[self.implementation](shape)
        if self.implementation != REFERENCE:
            chosen.check(shape, self.case, IMPLEMENTATIONS[self.implementation].dtype)
        self.calls = 1
        while (seconds := self._timed(self.calls)) < round_seconds / 4:  # the first ones compile
            self.calls *= 2
        call = seconds / self.calls
        self.calls = max(1, round(round_seconds / call))
        self.warm_up = max(1, int(WARM_UP * self.calls)) if call < LONG else 0
        machine.reset_peak_memory()
        seconds = self._timed(self.warm_up + self.calls)
        settle()
        return {"seconds": seconds}

    def round(self) -> dict[str, float]:
        """Seconds a step, over one round."""
        assert self.case is not None
        self._timed(self.warm_up)
        seconds = self._timed(self.calls)
        settle()
        return {"seconds": seconds / (self.calls * self.case.repeats)}

    def memory(self) -> dict[str, int | None]:
        """The largest number of bytes that the process has held since the case was built and warm."""
        return {"peak": machine.peak_memory()}

    def _timed(self, calls: int) -> float:
        step = self.case.step
        started = time.perf_counter()
        for _ in range(calls):
            step()
        return time.perf_counter() - started


def settle() -> None:
    """Return when no thread of this process is busy any more, after a second at the latest."""
    for _ in range(200):
        before = time.process_time()
        time.sleep(0.005)
        if time.process_time() - before < 0.001:
            return


def main(implementation: str) -> None:
    """Answer line by line until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not get among the answers
    session = Session(implementation)
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = getattr(session, message.pop("do"))(**message)
        except Exception:
            answer = {"error": traceback.format_exc()}
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else OURS)
