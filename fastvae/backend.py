"""Which kernels run, and in which precision their products: chosen once, explicitly."""

import functools
import importlib.util
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from fastvae.errors import check_name

INSTALL_CUDA = "pip install 'numba-cuda[cu13]'"  # with the compiler; the driver's version decides between cu12 and cu13
PRECISIONS = ("float32", "bfloat16")
DEVICES = ("auto", "cpu", "cuda")
CPU_PIECE, CUDA_PIECE = 512, 8192  # rows that a pass does at a time
CUDA_NUMBERS = 1 << 26  # in the widest array of such a piece on a GPU, at most


@dataclass(frozen=True)
class Backend:
    """A device's name, the module that implements the contract of `fastvae.kernels` there, and the precision."""

    name: str
    kernels: ModuleType
    precision: str = "float32"

    def program(self, scalars: Any) -> Any:
        """A new program, see the contract, whose products have this precision."""
        return self.kernels.Program(scalars, self.precision)

    def workers(self, rows: int = 0, operations: float = 0.0) -> Any:
        """What runs the programs of a training on batches of `rows`, the largest product of which has so many
        operations; without them, one after the other. A context manager."""
        if not self.kernels.ON_HOST:
            return _stream()
        found = _cpu()
        return found.Workers(found.shares_for(rows, operations))

    def pieces(self, rows: int, operations: float, widest: int) -> tuple[int, int]:
        """For a pass over so many rows, in arrays up to `widest` wide: how many programs to run at a time, and of how
        many rows each."""
        if not self.kernels.ON_HOST:
            return 1, min(rows, CUDA_PIECE, max(1, CUDA_NUMBERS // widest))
        count = _cpu().shares_for(rows, operations)
        return count, min(CPU_PIECE, -(-rows // count))

    def passing(self, count: int) -> Any:
        """What runs so many programs at a time. A context manager."""
        if not self.kernels.ON_HOST:
            return _stream()
        return _cpu().workers_for(count)


@functools.cache
def _cpu() -> Any:
    """The module of the workers: to import it is to compile, and to look for it takes longer than a small pass."""
    from fastvae.kernels.cpu import workers

    return workers


def _stream() -> Any:
    from fastvae.kernels.cuda.steps import Stream

    return Stream()


def check_names(device: Any, precision: Any) -> None:
    """Raise `ValueError` unless there are such a device and precision, here or elsewhere."""
    if isinstance(device, str) and device.lower().split(":")[0] in ("gpu", "nvidia", "cuda") and device != "cuda":
        raise ValueError(f"device={device!r} is not known: did you mean 'cuda'?")
    check_name("device", device, DEVICES)
    check_name("precision", precision, PRECISIONS)


def select(device: str = "auto", precision: str = "float32") -> Backend:
    """Return the backend for `device`: "auto", "cpu" or "cuda", and `precision`: "float32" or "bfloat16".

    "auto" means the CPU: the GPU's kernels have been executed from their compiled code, but not yet on hardware. "cuda"
    is refused where it cannot be had, never replaced. "bfloat16" is refused on a processor without instructions for it:
    elsewhere it would be slower than float32, and less precise.
    """
    check_names(device, precision)
    if device == "cuda":
        if reason := missing_cuda(precision):
            raise ValueError(f"device='cuda' cannot be had: {reason}; or use device='cpu'")
        from fastvae.kernels import cuda
        from fastvae.kernels.cuda.steps import graph_is_asked_for

        graph_is_asked_for()  # a wrong variable is refused before anything is done
        return Backend("cuda", cuda, precision)
    from fastvae.kernels import cpu
    from fastvae.kernels.cpu import processor
    from fastvae.kernels.cpu.program import missing

    processor.check()
    if reason := missing(precision):
        raise ValueError(f"precision={precision!r} cannot be had: {reason}; use precision='float32'")
    return Backend("cpu", cpu, precision)


def missing_cuda(precision: str = "float32") -> str | None:
    """Why no model can run on a GPU here, and what to do; None where one can."""
    if importlib.util.find_spec("numba_cuda") is None:
        return f"numba-cuda is not installed: {INSTALL_CUDA}"
    try:
        from fastvae.kernels.cuda.driver import device

        return device().missing(precision)
    except Exception as error:  # it loads libraries of CUDA, and says so in many ways where they are missing
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        return f"numba-cuda cannot work here ({lines[0].split(': ')[0].rstrip('.:')}): {INSTALL_CUDA}"


def select_for_file(device: str, precision: str) -> Backend:
    """The backend for a model that was trained in `precision`, perhaps on another machine: with a warning, float32
    where the processor lacks it, and the CPU where there is no GPU. The weights in a file are float32 in any case."""
    if device == "cuda" and (reason := missing_cuda()):
        warnings.warn(f"this model is set to device='cuda', but {reason}; it computes on the CPU here", stacklevel=2)
        device = "cpu"
    try:
        return select(device, precision)
    except ValueError:
        reason = missing_cuda(precision) if device == "cuda" else _missing_on_cpu(precision)
        if precision not in PRECISIONS[1:] or not reason:
            raise
        warnings.warn(f"this model was trained in {precision}, but {reason}; it computes in float32 here", stacklevel=2)
        return select(device)


def _missing_on_cpu(precision: str) -> str | None:
    from fastvae.kernels.cpu.program import missing

    return missing(precision)
