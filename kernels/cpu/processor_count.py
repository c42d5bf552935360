"""How many processors this process may use: what the machine has, less what somebody has set as a limit."""

import contextlib
import functools
import math
import os
import pathlib
from collections.abc import Iterator

from fastvae.kernels.cpu import blas

VARIABLE = "FASTVAE_THREADS"
LIMITS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
OPENBLAS_MOST = 64  # threads that NumPy's wheels are built for: no limit that anybody has set


def processors() -> int:
    """What FASTVAE_THREADS says; without it, the smallest of these, at least 1:

    - the processors that the system lets this process run on (in Python 3.13, also PYTHON_CPU_COUNT);
    - a quota of processor time that its control groups have (`docker run --cpus`, Kubernetes, systemd), rounded up;
    - the environment variables OMP_NUM_THREADS, NUMBA_NUM_THREADS and LOKY_MAX_CPU_COUNT, where they are whole numbers:
      joblib sets them in its worker processes, so that all workers together use each processor once;
    - the threads that NumPy's OpenBLAS has at the moment: `threadpoolctl.threadpool_limits` and OPENBLAS_NUM_THREADS
      set them.
    """
    asked = os.environ.get(VARIABLE)
    if asked:
        if not asked.isdecimal() or int(asked) < 1:
            raise ValueError(f"{VARIABLE}={asked!r} must be a whole number, at least 1")
        return int(asked)
    limits = [available(), quota() or math.inf, *_variables()]
    threads = blas.threads_allowed()
    if threads is not None and threads < OPENBLAS_MOST:
        limits.append(threads)
    return max(1, math.ceil(min(limits)))


def available() -> int:
    """Processors that the system lets this process run on."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _variables() -> Iterator[int]:
    for variable in LIMITS:
        first = os.environ.get(variable, "").split(",")[0].strip()  # of OpenMP's levels of nesting
        if first.isdecimal() and int(first) > 0:
            yield int(first)


@functools.cache
def quota(system: pathlib.Path = pathlib.Path("/")) -> float | None:
    """Processors' worth of time that Linux gives to the control groups of this process; None without a limit."""
    try:
        return min(_quotas(system), default=None)
    except (OSError, ValueError, IndexError):  # not Linux, or not as it was when this was written
        return None


def _quotas(system: pathlib.Path) -> Iterator[float]:
    paths: dict[str, str] = {}  # of this process in each hierarchy: "" is that of version 2
    for line in (system / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    for line in (system / "proc/self/mountinfo").read_text().splitlines():
        mount, _, kind = line.partition(" - ")
        root, point = mount.split()[3:5]
        name, *_, options = kind.split()
        if name == "cgroup2":
            path, files = paths.get("", "/"), ["cpu.max"]
        elif name == "cgroup" and "cpu" in options.split(","):
            path, files = paths.get("cpu", "/"), ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        inside = pathlib.PurePosixPath(path)  # or, in a container, outside: then the mount shows a part of that
        inside = inside.relative_to(root) if inside.is_relative_to(root) else pathlib.PurePosixPath()
        for group in (inside, *inside.parents):
            folder = system / point.lstrip("/") / group
            yield from _quota_of(*(folder / file for file in files))


def _quota_of(*files: pathlib.Path) -> Iterator[float]:
    """Quota by period, where there is one: "max 100000" in one file, or -1 in the first of two, are none."""
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        allowed, period = (float(word) for word in " ".join(file.read_text() for file in files).split())
        if 0 < allowed < math.inf:
            yield allowed / period
