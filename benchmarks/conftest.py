"""`pytest benchmarks --benchmark-only`: every op of every `bench_<stem>.py`, by each implementation that is installed.

    pytest benchmarks --benchmark-only                     all ops at size M
    pytest benchmarks --benchmark-only --size XS,L         other sizes; `--size all` for all of `sizes.py`
    pytest benchmarks --benchmark-only --threads 1         of each implementation; for a busy machine
    pytest benchmarks --benchmark-only -k dense            one file
    pytest benchmarks --benchmark-only --benchmark-json=FILE

The seconds are those a step took by the clock of the process that ran it (see `worker.py`), never those of the pipe.
A peer's rounds alternate with rounds of fastvae: `extra_info["ratio"]` is the peer's time divided by ours.
"""

import statistics
from collections.abc import Callable, Iterator

import cases
import machine
import pytest
from sizes import DEFAULT_SIZE, SIZES
from workers import Workers, ratios

ROUNDS = 9


class Clock:
    """pytest-benchmark's timer: stands still, but for the seconds that a worker has measured."""

    def __init__(self):
        self.now = 0.0

    def read(self) -> float:
        """Seconds so far."""
        return self.now


CLOCK = Clock()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--size", default=DEFAULT_SIZE, help=f"of {', '.join(SIZES)}, separated by commas, or all")
    parser.addoption("--threads", type=int, help="of each implementation; default: what each chooses itself")


def pytest_report_header(config: pytest.Config) -> str | None:
    return machine.busy() if config.getoption("benchmark_only") else None


def asked_sizes(config: pytest.Config) -> list[str]:
    """The names after --size."""
    asked = config.getoption("--size")
    names = list(SIZES) if asked == "all" else asked.split(",")
    if unknown := [name for name in names if name not in SIZES]:
        raise pytest.UsageError(f"--size {asked}: {', '.join(unknown)} is none of {', '.join(SIZES)}, all")
    return names


def pytest_configure(config: pytest.Config) -> None:
    asked_sizes(config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "implementation" not in metafunc.fixturenames:
        return
    found = []
    for name in asked_sizes(metafunc.config):
        for op, chosen in metafunc.module.OPS.items():
            mark = pytest.mark.benchmark(timer=CLOCK.read, group=f"{op}, size {name}")
            found += [pytest.param(op, chosen, SIZES[name], i, marks=mark, id=f"{name}-{op}-{i}") for i in chosen.build]
    metafunc.parametrize(("op_name", "op", "size", "implementation"), found)


@pytest.fixture(scope="session")
def workers(request) -> Iterator[Workers]:
    """One process an implementation, for the whole session: they sleep while another one is measured."""
    with Workers(request.config.getoption("--threads")) as started:
        yield started


@pytest.fixture(scope="session")
def processor() -> str:
    return machine.processor_name()


@pytest.fixture
def measure(benchmark, workers, processor, op_name, op, size, implementation) -> Callable[[], None]:
    """A function that measures the case this test was parametrised with, and records what it belongs to."""

    def run() -> None:
        if reason := cases.missing(implementation):
            pytest.skip(reason)
        compared = [cases.OURS, implementation] if implementation != cases.OURS else [cases.OURS]
        times: dict[str, list[float]] = {name: [] for name in compared}

        def measured_round() -> None:
            seconds = workers[implementation].round()
            times[implementation].append(seconds)
            CLOCK.now += seconds

        def prepare() -> None:
            for name in compared:
                workers[name].build(op_name, size.name)  # the first time; then it is there
            if implementation != cases.OURS:
                times[cases.OURS].append(workers[cases.OURS].round())

        benchmark.pedantic(measured_round, setup=prepare, rounds=ROUNDS)
        unit, rate = op.rate(size, statistics.median(times[implementation]))
        benchmark.extra_info |= {
            "shape": op.shape(size),
            "dtype": "float32",
            "device": f"cpu: {processor}",
            **workers[implementation].description,
            unit: round(rate, 2),
        }
        if implementation != cases.OURS:
            benchmark.extra_info["ratio"] = ratios(times, implementation)

    return run
