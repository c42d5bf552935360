"""What the figures belong to: processor, cores, instruction sets, threads, versions; and a process' memory."""

import contextlib
import ctypes
import gc
import importlib.metadata
import os
import pathlib
import platform
import sys

FEATURES = ("avx2", "avx512f", "avx512bf16", "amx-tile", "amx-bf16", "neon", "sve", "bf16")


def describe_machine() -> dict[str, object]:
    """Processor, cores, features, system."""
    from llvmlite import binding  # comes with numba

    features = binding.get_host_cpu_features()
    return {
        "processor": processor_name(),
        "architecture": binding.get_host_cpu_name(),
        "cores": cores(),
        "features": [name for name in FEATURES if features.get(name)],
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def busy() -> str | None:
    """A warning where other programs keep the processor busy, from the system's load over the last minute."""
    load, cores = (os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0), os.cpu_count() or 1
    if load < 0.25 * cores:
        return None
    return (
        f"this machine is busy: load {load:.1f} on {cores} cores. A pool with a thread on every core then waits for "
        "time slices at each barrier, and figures with more than one thread mean nothing: use --threads 1"
    )


def processor_name() -> str:
    """The name that the processor gives itself, where the system tells it."""
    from fastvae.kernels.cpu import processor

    return processor.name()


def describe_implementation(module: str, device: str = "cpu") -> dict[str, object]:
    """Versions and threads of one implementation, in the process that runs it; on a GPU, which one that is."""
    if module == "torch":
        import torch

        return {"versions": versions("torch"), "threads": torch.get_num_threads(), "pool": "OpenMP"}
    if module == "jax":
        import jax  # noqa: F401  so that `memory_at_start` includes it

        return {"versions": versions("jax", "jaxlib"), "threads": xla_threads(), "pool": "XLA's own"}
    if module == "fastvae":
        from fastvae import backend
        from fastvae.kernels.cpu.workers import processors
        from fastvae.version import VERSION

        backend.select(device)  # loads the kernels
        if device == "cuda":
            from fastvae.kernels.cuda.driver import device as device_in_use

            found = device_in_use().describe()
            gpu = {"device": f"cuda: {found['name']}", "gpu": found, "threads": 1, "pool": "which launches"}
            return {"versions": {"fastvae": VERSION} | versions("numpy", "numba", "numba-cuda")} | gpu
        return {
            "versions": {"fastvae": VERSION} | versions("numpy", "numba"),
            "threads": processors(),
            "pool": "its own",
        }
    threads, pool = blas_threads()
    return {"versions": versions("numpy"), "threads": threads, "pool": pool}


def versions(*packages: str) -> dict[str, str]:
    """What is installed of each."""
    return {name: importlib.metadata.version(name) for name in packages}


def cores() -> int | None:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def xla_threads() -> int | None:
    """XLA takes what NPROC says, or a thread for each core; it cannot be asked."""
    asked = os.environ.get("NPROC", "")
    return int(asked) if asked.isdecimal() else cores()


def blas_threads() -> tuple[int | None, str]:
    """Threads of NumPy's BLAS and its name; (None, why) without threadpoolctl, which can ask it."""
    try:
        import threadpoolctl
    except ImportError:
        return None, "BLAS, threads unknown: pip install threadpoolctl"
    pools = [p for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"]
    if not pools:
        return None, "BLAS, unknown to threadpoolctl"
    return pools[0]["num_threads"], f"{pools[0]['internal_api']} ({pools[0].get('architecture', 'unknown')})"


def reset_peak_memory() -> None:
    """Give freed memory back to the system and have `peak_memory` begin anew, where the system can do either."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int | None:
    """The most bytes that this process has held at a time since `reset_peak_memory`, or else since it began."""
    with contextlib.suppress(OSError, StopIteration):
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
