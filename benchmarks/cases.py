"""What is measured: an `Op` is one piece of work, done by fastvae and by its peers.

Each `bench_<stem>.py` lists its own in `OPS`. A new implementation is an entry in `IMPLEMENTATIONS` and one in each
op that it can do.
"""

import functools
import importlib
import importlib.util
import os
import pathlib
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.sizes import Size

HERE = pathlib.Path(__file__).resolve().parent

OURS, OURS_ON_GPU = "fastvae", "fastvae_cuda"
REFERENCE = "numpy"  # what the results of the others are compared with
WITHOUT_OPS = ("bench_start",)
INSTALL = "pip install -e '.[bench]'"


def bfloat16_refused() -> str | None:
    """Why fastvae does not train in bfloat16 here, in its own words."""
    from fastvae import VAE

    model = VAE(latent_dim=1, hidden=(1,), batch_size=2, precision="bfloat16")
    try:
        model.initialize(np.zeros((2, 1)))
    except ValueError as error:
        return str(error)
    return None


def cuda_missing(precision: str = "float32") -> str | None:
    """Why fastvae does not run on a GPU here, in its own words."""
    from fastvae import backend

    return backend.missing_cuda(precision)


def bfloat16_emulated() -> str | None:
    """Why a peer is not measured in bfloat16 here: it would compute with it, but several times slower than without."""
    features = machine.describe_machine()["features"]
    if any(name.endswith("bf16") for name in features):
        return None
    return "this processor has no instructions for bfloat16"


def compiler_missing() -> str | None:
    """Why torch.compile cannot run here."""
    compiler = os.environ.get("CXX") or ("clang++" if sys.platform == "darwin" else "g++")
    return None if shutil.which(compiler) else f"torch.compile needs a C++ compiler: there is no {compiler}"


@dataclass(frozen=True)
class Implementation:
    """Somebody who does the work.

    Parameters
    ----------
    module
        What must be importable.
    model
        "file:class" of its VAE, in this folder.
    dtype
        Of the products.
    obstacle
        Gives another reason why it cannot run here, or None.
    device
        "cpu" or "cuda".
    """

    module: str
    model: str
    dtype: str = "float32"
    obstacle: Callable[[], str | None] = lambda: None
    device: str = "cpu"


IMPLEMENTATIONS = {
    "fastvae": Implementation("fastvae", "fastvae_vae:FastVAE"),
    "numpy": Implementation("numpy", "numpy_vae:NumpyVAE"),
    "torch": Implementation("torch", "torch_vae:TorchVAE"),
    "torch_compile": Implementation("torch", "torch_compile_vae:CompiledTorchVAE", obstacle=compiler_missing),
    "jax": Implementation("jax", "jax_vae:JaxVAE"),
    "jax_scan": Implementation("jax", "jax_scan_vae:JaxScanVAE"),
    "fastvae_bf16": Implementation("fastvae", "fastvae_vae:FastVAEInBfloat16", "bfloat16", bfloat16_refused),
    "torch_bf16": Implementation("torch", "torch_bf16_vae:TorchVAEInBfloat16", "bfloat16", bfloat16_emulated),
    "fastvae_cuda": Implementation("fastvae", "fastvae_vae:FastVAEOnCuda", obstacle=cuda_missing, device="cuda"),
    "fastvae_cuda_bf16": Implementation(
        "fastvae",
        "fastvae_vae:FastVAEOnCudaInBfloat16",
        "bfloat16",
        functools.partial(cuda_missing, "bfloat16"),
        "cuda",
    ),
}


@dataclass(frozen=True)
class Case:
    """One implementation of one op, built and ready.

    `step` does the work `repeats` times. `result` gives arrays that must agree between the implementations; it is
    called once, after one `step` and before anything is timed. Where the work changes its own operands, so that to
    repeat it would give something else, `once` does it once, and is called instead of that step.
    """

    step: Callable[[], object]
    result: Callable[[], list[np.ndarray | float]]
    repeats: int = 1
    once: Callable[[], object] | None = None


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
    bfloat16_tolerance
        The same for an implementation in bfloat16, which has 8 bits.
    rows
        Of a batch, where it is not the size's B.
    """

    unit: str
    work: Callable[[Size], int]
    build: dict[str, Callable[[Size], Case]]
    tolerance: float = 2e-5
    bfloat16_tolerance: float = 2e-3
    rows: int | None = None

    def shape(self, size: Size) -> dict[str, int]:
        """The shape letters and their values."""
        return {"B": self.rows or size.B, "D": size.D, "H": size.H, "Z": size.Z}

    def rate(self, size: Size, seconds: float) -> tuple[str, float]:
        """("GFLOP/s" or "GB/s", how many) at `seconds` a step."""
        return ("GFLOP/s" if self.unit == "flop" else "GB/s"), self.work(size) / seconds / 1e9

    def check(self, size: Size, case: Case, dtype: str) -> None:
        """Do one step of `case` and raise unless its result is that of the reference."""
        reference = self.build[REFERENCE](size)
        tolerance = self.bfloat16_tolerance if dtype == "bfloat16" else self.tolerance
        (case.once or case.step)()
        reference.step()
        for actual, expected in zip(case.result(), reference.result(), strict=True):
            actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
            if actual.shape != expected.shape:
                raise AssertionError(f"shape {actual.shape}, {REFERENCE} has {expected.shape}")
            error, allowed = np.abs(actual - expected).max(), tolerance * np.abs(expected).max()
            if not error <= allowed:
                raise AssertionError(f"differs from {REFERENCE} by {error:.3g}, allowed are {allowed:.3g}")


@dataclass(frozen=True)
class Point:
    """One op at one size by one implementation: what a benchmark measures.

    `series` is what grows along with its neighbours, if anything; `threads` None is what the implementation chooses.
    """

    op: str
    size: Size
    implementation: str
    series: str = ""
    threads: int | None = None
    rounds: int = 7

    @property
    def name(self) -> str:
        """Of the test."""
        threads = f"{self.threads}-threads" if self.threads else ""
        return "-".join(filter(None, (self.series, self.size.name, threads, self.op, self.implementation)))


@functools.cache
def missing(implementation: str) -> str | None:
    """Why an implementation cannot run here, with the command that helps; None if it can."""
    chosen = IMPLEMENTATIONS[implementation]
    if importlib.util.find_spec(chosen.module) is None:
        return f"{chosen.module} is not installed: {INSTALL}"
    return chosen.obstacle()


def rival(implementation: str) -> str:
    """Whose rounds alternate with those of an implementation: fastvae on the CPU, in the same precision where it has
    that there."""
    for name, other in IMPLEMENTATIONS.items():
        same = (other.module, other.device, other.dtype) == (OURS, "cpu", IMPLEMENTATIONS[implementation].dtype)
        if same and name != implementation and not missing(name):
            return name
    return OURS


def model(implementation: str, size: Size) -> Any:
    """The VAE of an implementation, with the weights that all of them start from."""
    stem, name = IMPLEMENTATIONS[implementation].model.split(":")
    return getattr(importlib.import_module(f"benchmarks.{stem}"), name)(size, size.weights())


def ops_of(stem: str) -> dict[str, Op]:
    """The ops of one `bench_<stem>.py`; a process that measures imports no more than it needs."""
    return importlib.import_module(f"benchmarks.{stem}").OPS


@functools.cache
def homes() -> dict[str, str]:
    """Every op of every `bench_<stem>.py` beside this file: its name, and the stem of its file."""
    stems = sorted({path.stem for path in HERE.glob("bench_*.py")} - {*WITHOUT_OPS})
    return {op: stem for stem in stems for op in ops_of(stem)}


def all_ops() -> dict[str, Op]:
    """The same, the ops themselves."""
    return {name: ops_of(stem)[name] for name, stem in homes().items()}
