"""The process that one implementation is measured in: `python worker.py IMPLEMENTATION`, driven by `workers.py`.

One JSON object a line on standard input, one a line back: {"do": "describe"}, {"do": "build", ...}, {"do": "round"}.
It answers a round only when its threads have come to rest: the pools of OpenMP and OpenBLAS go on spinning for some
time after their last task, and would take the cores from whoever is measured next.
"""

import contextlib
import json
import os
import sys
import time
import traceback

import machine
from cases import OURS, REFERENCE, Case, all_ops
from sizes import SIZES

WARM_UP = 0.1  # fraction of a round's steps that come before it, untimed: they wake threads and fill caches


class Session:
    """What the process holds between two lines: one built case, and how many steps make a round."""

    def __init__(self, implementation: str):
        self.implementation, self.ops = implementation, all_ops()

    def describe(self) -> dict[str, object]:
        """Versions and threads of this implementation."""
        return machine.describe_implementation(self.implementation)

    def build(self, op: str, size: str, round_seconds: float) -> dict[str, object]:
        """Build, check against the reference, compile and warm up; choose the steps of a round."""
        chosen, shape = self.ops[op], SIZES[size]
        self.case: Case = chosen.build[self.implementation](shape)
        if self.implementation != REFERENCE:
            chosen.check(shape, self.case)
        self.steps = 1
        while (seconds := self._timed(self.steps)) < round_seconds / 4:  # the first ones compile
            self.steps *= 2
        self.steps = max(1, round(self.steps * round_seconds / seconds))
        self._timed(self.steps)
        settle()
        return {"steps": self.steps}

    def round(self) -> dict[str, float]:
        """Seconds a step, over one round."""
        self._timed(max(1, int(WARM_UP * self.steps)))
        seconds = self._timed(self.steps)
        settle()
        return {"seconds": seconds / self.steps}

    def _timed(self, steps: int) -> float:
        step = self.case.step
        started = time.perf_counter()
        for _ in range(steps):
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
