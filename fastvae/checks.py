"""Every op of the contract against the float64 reference, on awkward shapes, and its speed on a usual one."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae import backend
from fastvae.backend import Backend
from fastvae.contract_cases import PRODUCTS, Case, Shape, cases_of
from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slots

SHAPES: list[Shape] = [(1, 1, 1), (7, 33, 5), (13, 17, 16), (129, 31, 67), (64, 256, 40)]
USUAL: Shape = (128, 784, 400)
FEW = 8  # rows of it for ops whose reference has a number for each row, column and unit
ROUNDING = 2.0**-24  # of float32
TOLERANCE = 16 * ROUNDING  # of the size that a case's rounding scales with
SECONDS = 0.02  # that an op is timed for
RUNS, REPEATS = 20, 3  # launches of a kernel on a device, one after the other, that are timed together; how often


@dataclass(frozen=True)
class Outcome:
    """What was found of one thing: the largest error by what is allowed; at most 1 is right."""

    name: str
    error: float

    @property
    def right(self) -> bool:
        """Whether all results were within the tolerance; NaN is not."""
        return self.error <= 1


@dataclass(frozen=True)
class Result(Outcome):
    """The same of an op, and its speed."""

    rate: float
    unit: str  # "GFLOP/s" or "GB/s": each operand read once and each result written once


def check_all(precision: str = "float32", device: str = "cpu") -> Iterator[Result]:
    """Check the ops one by one; with "bfloat16" those with products alone."""
    on = backend.select(device, precision)
    for op in PRODUCTS if precision == "bfloat16" else OPS:
        yield from _results(op, on)


def _results(op: str, on: Backend) -> Iterator[Result]:
    """Of an op: the worst error and the speed of all its cases of one name."""
    worst, usual = dict[str, float](), dict[str, Case]()
    whole = rows, depth, columns = (min(FEW, USUAL[0]), *USUAL[1:]) if op.startswith("prefix_") else USUAL
    for shape in (*SHAPES, whole):
        for case in cases_of(op, shape, on.precision):
            worst[case.name] = _worse(worst.get(case.name, 0.0), _error(case, on))
            if shape == whole:
                usual.setdefault(case.name, case)
    for name, case in usual.items():
        if case.about:  # an activation, which is seen beside a thin product alone
            case = next(thin for thin in cases_of(op, (rows, 1, columns), on.precision) if thin.name == name)
            _error(case, on)
        if op in PRODUCTS and not case.about:
            work, unit = 2 * rows * depth * columns, "GFLOP/s"
        else:
            work, unit = case.moved_bytes, "GB/s"
        yield Result(name, worst[name], work / _seconds(_program(case, on)[0], on) / 1e9, unit)


def _worse(error: float, other: float) -> float:
    return math.nan if math.isnan(error) or math.isnan(other) else max(error, other)


def _error(case: Case, on: Backend) -> float:
    """The largest error of a case by what is allowed; NaN where one is found that is not expected, or misses."""
    program, slots = _program(case, on)
    program.run()
    error = 0.0
    for found, expected, size in case.compared(case.left(slots)):
        found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
        if (np.isfinite(found) != np.isfinite(expected)).any():
            return math.nan
        by = np.abs(found - expected) / (TOLERANCE * np.asarray(size) + 1e-37)
        error = max(error, float(np.max(by, initial=0.0, where=np.isfinite(expected))))
    return error


def _program(case: Case, on: Backend) -> tuple[Any, Slots]:
    """A program that does a case once, and its numbers."""
    slots = Slots()
    program = on.program(slots)
    case.write(program, slots)
    return program, slots


def _seconds(program: Any, on: Backend) -> float:
    """Of one run: the fastest of several; on a device without what is copied, of many one after the other."""
    if not on.kernels.ON_HOST:
        return _seconds_of_launches(program)
    best, until = math.inf, time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        start = time.perf_counter()
        program.run()
        best = min(best, time.perf_counter() - start)
    return best


def _seconds_of_launches(program: Any) -> float:
    from fastvae.kernels.cuda.driver import device

    on, best = device(), math.inf
    for _ in range(REPEATS):
        on.synchronize()
        start = time.perf_counter()
        for launch in program.launches * RUNS:
            launch.do(on)
        on.synchronize()
        best = min(best, (time.perf_counter() - start) / RUNS)
    return best
