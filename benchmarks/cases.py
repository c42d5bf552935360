"""What is measured: an `Op` is one piece of work with an implementation by fastvae, by NumPy and by PyTorch.

Each `bench_<stem>.py` lists its own in `OPS`. A new implementation is an entry in `IMPLEMENTATIONS` and one in each
op that it can do.
"""

import importlib
import importlib.util
import pathlib
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sizes import Size

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # what is measured is this checkout, whatever else is installed

OURS = "fastvae"
REFERENCE = "numpy"  # what the results of the others are compared with
IMPLEMENTATIONS = {"fastvae": "fastvae", "numpy": "numpy", "torch": "torch"}  # name -> what must be importable
INSTALL = "pip install 'fastvae-engine[bench]'"


@dataclass(frozen=True)
class Case:
    """One implementation of one op, built and ready.

    `step` does the work once. `result` gives arrays that must agree between the implementations; it is called once,
    after one `step` and before anything is timed.
    """

    step: Callable[[], object]
    result: Callable[[], list[np.ndarray | float]]


@dataclass(frozen=True)
class Op:
    """A piece of work, how much of it there is at a size, and how to build each implementation.

    Parameters
    ----------
    unit
        "flop", or "byte": by the contract of `fastvae.kernels`, each input read once, each output written once.
    work
        Size to the number of those.
    build
        Implementation to a function from a size to its `Case`.
    tolerance
        Largest difference of results, relative to the largest value of each array.
    rows
        Of a batch, where it is not the size's B.
    """

    unit: str
    work: Callable[[Size], int]
    build: dict[str, Callable[[Size], Case]]
    tolerance: float = 2e-5
    rows: int | None = None

    def shape(self, size: Size) -> dict[str, int]:
        """The shape letters and their values."""
        return {"B": self.rows or size.B, "D": size.D, "H": size.H, "Z": size.Z}

    def rate(self, size: Size, seconds: float) -> tuple[str, float]:
        """("GFLOP/s" or "GB/s", how many) at `seconds` a step."""
        return ("GFLOP/s" if self.unit == "flop" else "GB/s"), self.work(size) / seconds / 1e9

    def check(self, size: Size, case: Case) -> None:
        """Do one step of `case` and raise unless its result is that of the reference."""
        reference = self.build[REFERENCE](size)
        case.step()
        reference.step()
        for actual, expected in zip(case.result(), reference.result(), strict=True):
            actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
            if actual.shape != expected.shape:
                raise AssertionError(f"shape {actual.shape}, {REFERENCE} has {expected.shape}")
            error, allowed = np.abs(actual - expected).max(), self.tolerance * np.abs(expected).max()
            if not error <= allowed:
                raise AssertionError(f"differs from {REFERENCE} by {error:.3g}, allowed are {allowed:.3g}")


def missing(implementation: str) -> str | None:
    """Why an implementation cannot run here, with the command that helps; None if it can."""
    module = IMPLEMENTATIONS[implementation]
    if importlib.util.find_spec(module) is None:
        return f"{module} is not installed: {INSTALL}"
    return None


def all_ops() -> dict[str, Op]:
    """Every op of every `bench_<stem>.py` beside this file, by name."""
    ops: dict[str, Op] = {}
    for path in sorted(HERE.glob("bench_*.py")):
        ops |= importlib.import_module(path.stem).OPS
    return ops
