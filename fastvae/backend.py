"""Which kernels run, and in which precision their products: chosen once, explicitly."""

import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from fastvae.errors import check_name

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Backend:
    """A device's name, the module that implements the contract of `fastvae.kernels` there, and the precision."""

    name: str
    kernels: ModuleType
    precision: str = "float32"

    def program(self, scalars: Any) -> Any:
        """A new program, see the contract, whose products have this precision."""
        return self.kernels.Program(scalars, self.precision)


def select(device: str = "auto", precision: str = "float32") -> Backend:
    """Return the backend for `device`: "auto" or "cpu", and `precision`: "float32" or "bfloat16".

    "cuda" is refused, never replaced: no model runs on a GPU in this version. So "auto" means the CPU. "bfloat16" is
    refused on a processor without instructions for it: elsewhere it would be slower than float32, and less precise.
    """
    check_name("device", device, ("auto", "cpu", "cuda"))
    check_name("precision", precision, PRECISIONS)
    if device == "cuda":
        raise ValueError("device='cuda' is not available: no model runs on a GPU in this version; use device='cpu'")
    from fastvae.kernels import cpu
    from fastvae.kernels.cpu import processor
    from fastvae.kernels.cpu.program import missing

    processor.check()
    if reason := missing(precision):
        raise ValueError(f"precision={precision!r} cannot be had: {reason}; use precision='float32'")
    return Backend("cpu", cpu, precision)


def select_for_file(device: str, precision: str) -> Backend:
    """The backend for a model that was trained in `precision`, perhaps on another processor: with a warning, float32
    where this one lacks it. The weights in a file are float32 in any case."""
    try:
        return select(device, precision)
    except ValueError:
        from fastvae.kernels.cpu.program import missing

        if precision not in PRECISIONS[1:] or device == "cuda" or not (reason := missing(precision)):
            raise
        warnings.warn(f"this model was trained in {precision}, but {reason}; it computes in float32 here", stacklevel=2)
        return select(device)
