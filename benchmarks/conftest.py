"""`pytest benchmarks --benchmark-only`: every op of every `bench_<stem>.py`, by each implementation that runs here.

    pytest benchmarks --benchmark-only                     a step at XS to L; other ops at M; growth; starting
    pytest benchmarks --benchmark-only --size XS,L         other sizes; `--size all` for all of `sizes.py`
    pytest benchmarks --benchmark-only --threads 1         of each implementation; for a busy machine
    pytest benchmarks/bench_training.py --benchmark-only   one file
    pytest benchmarks --benchmark-only --benchmark-json=FILE

It ends with the tables of `tables.py`; `-v` adds those of pytest-benchmark. The seconds are those a step took by the
clock of the process that ran it (see `worker.py`), never those of the pipe. A peer's rounds alternate with rounds of
fastvae: `extra_info["ratio"]` is the peer's time divided by ours. fastvae on a GPU is measured where there is one, its
rounds in turn with those of fastvae on the CPU.
"""

import contextlib
import os
import statistics
from collections.abc import Callable, Iterator

import pytest

from benchmarks import cases, machine, tables
from benchmarks.cases import Point
from benchmarks.sizes import DEFAULT_SIZE, SIZES
from benchmarks.workers import THREAD_SETTINGS, Workers, ratios

TEST_SECONDS, FEWEST = 1.5, 3  # a test that would take longer has fewer rounds, but so many
FIRST = "bench_training"  # what it says of memory should not include what other ops have left


class Clock:
    """pytest-benchmark's timer: stands still, but for the seconds that a worker has measured."""

    def __init__(self):
        self.now = 0.0

    def read(self) -> float:
        """Seconds so far."""
        return self.now


CLOCK = Clock()
RESULTS = pytest.StashKey[tables.Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--size", help=f"of {', '.join(SIZES)}, separated by commas, or all")
    parser.addoption("--threads", type=int, help="of each implementation; default: what each chooses itself")


def pytest_report_header(config: pytest.Config) -> str | None:
    return machine.busy() if config.getoption("benchmark_only") else None


def asked_sizes(config: pytest.Config, default: tuple[str, ...] = (DEFAULT_SIZE,)) -> tuple[str, ...]:
    """The names after --size."""
    asked = config.getoption("--size")
    names = default if asked is None else tuple(SIZES) if asked == "all" else tuple(asked.split(","))
    if unknown := [name for name in names if name not in SIZES]:
        raise pytest.UsageError(f"--size {asked}: {', '.join(unknown)} is none of {', '.join(SIZES)}, all")
    return names


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    asked_sizes(config)
    config.stash[RESULTS] = tables.Results()
    if config.option.verbose < 1:
        config.option.benchmark_quiet = True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem != FIRST)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "point" not in metafunc.fixturenames:
        return
    points = getattr(metafunc.module, "POINTS", None)  # or else each op at each size
    if points is None:
        names = asked_sizes(metafunc.config, getattr(metafunc.module, "SIZES", (DEFAULT_SIZE,)))
        ops = metafunc.module.OPS
        points = [Point(op, SIZES[name], i) for name in names for op, chosen in ops.items() for i in chosen.build]
    mark = pytest.mark.benchmark
    found = [
        pytest.param(p, marks=mark(timer=CLOCK.read, group=f"{p.series} {p.op}, size {p.size.name}".strip()), id=p.name)
        for p in points
    ]
    metafunc.parametrize("point", found)


@pytest.fixture(scope="session")
def workers(request) -> Iterator[Callable[[int | None], Workers]]:
    """Threads to processes, one an implementation, for the whole session: they sleep while another one is measured."""
    started: dict[int | None, Workers] = {}
    with contextlib.ExitStack() as stack:

        def with_threads(threads: int | None) -> Workers:
            threads = threads or request.config.getoption("--threads")
            if threads == machine.cores() and not any(name in os.environ for name in THREAD_SETTINGS):
                threads = None  # that is what all choose themselves
            if threads not in started:
                started[threads] = stack.enter_context(Workers(threads))
            return started[threads]

        yield with_threads


@pytest.fixture(scope="session")
def results(request) -> tables.Results:
    """What the tables at the end are made of."""
    return request.config.stash[RESULTS]


@pytest.fixture(scope="session")
def processor() -> str:
    return machine.processor_name()


@pytest.fixture
def measure(benchmark, workers, results, processor, point) -> Callable[[], None]:
    """A function that measures the point this test was parametrised with, and records what it belongs to."""

    def run() -> None:
        if reason := cases.missing(point.implementation):
            pytest.skip(reason)
        op = cases.all_ops()[point.op]
        rival: str | None = cases.rival(point.implementation)
        if rival == point.implementation or rival not in op.build:
            rival = None
        pool = workers(point.threads)
        worker, times, others = pool[point.implementation], [], []
        seconds = worker.build(point.op, point.size) + (pool[rival].build(point.op, point.size) if rival else 0)

        def measured_round() -> None:
            times.append(worker.round())
            CLOCK.now += times[-1]

        def rivals_round() -> None:
            if rival:
                others.append(pool[rival].round())

        rounds = min(point.rounds, max(FEWEST, int(TEST_SECONDS / seconds)))
        benchmark.pedantic(measured_round, setup=rivals_round, rounds=rounds)
        record = tables.Record(
            point=point,
            op=op,
            seconds=statistics.median(times),
            fastest=min(times),
            against=rival,
            ratio=ratios(times, others) if rival else None,
            peak_memory=worker.peak_memory(),
            about=worker.description,
        )
        results.records.append(record)
        benchmark.extra_info |= {
            "shape": op.shape(point.size),
            "dtype": cases.IMPLEMENTATIONS[point.implementation].dtype,
            "device": f"cpu: {processor}",
            **worker.description,
            "peak_memory": record.peak_memory,
            op.unit: round(op.rate(point.size, record.seconds)[1], 2),
        }
        if record.ratio:
            benchmark.extra_info |= {"ratio": record.ratio, "against": record.against}

    return run


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    for line in tables.lines(config.stash[RESULTS]):
        terminalreporter.write_line(line)
