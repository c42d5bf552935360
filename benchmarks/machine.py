"""What the figures belong to: processor, cores, instruction sets, threads, versions."""

import importlib.metadata
import os
import pathlib
import platform

FEATURES = ("avx2", "avx512f", "avx512bf16", "amx-tile", "amx-bf16", "neon", "sve")


def describe_machine() -> dict[str, object]:
    """Processor, cores, features, system."""
    from llvmlite import binding  # comes with numba

    features = binding.get_host_cpu_features()
    return {
        "processor": processor_name(),
        "architecture": binding.get_host_cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
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
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def describe_implementation(implementation: str) -> dict[str, object]:
    """Versions and threads of one implementation, in the process that runs it."""
    if implementation == "torch":
        import torch

        return {"versions": {"torch": torch.__version__}, "threads": torch.get_num_threads(), "pool": "OpenMP"}
    if implementation == "fastvae":
        from fastvae.workers import processors

        versions = {name: importlib.metadata.version(name) for name in ("numpy", "numba")}
        return {"versions": versions, "threads": processors(), "pool": "fastvae's own, one BLAS thread in each"}
    threads, pool = blas_threads()
    return {"versions": {"numpy": importlib.metadata.version("numpy")}, "threads": threads, "pool": pool}


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
