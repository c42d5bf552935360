"""Which kernels run: chosen once, explicitly, by the argument `device`."""

from dataclasses import dataclass
from types import ModuleType

from fastvae.errors import check_name


@dataclass(frozen=True)
class Backend:
    """A device's name and the module that implements the contract of `fastvae.kernels` there."""

    name: str
    kernels: ModuleType


def select(device: str = "auto") -> Backend:
    """Return the backend for `device`: "auto" or "cpu".

    "cuda" is refused, never replaced: this version has no CUDA kernels. "auto" therefore means the CPU.
    """
    check_name("device", device, ("auto", "cpu", "cuda"))
    if device == "cuda":
        raise ValueError("device='cuda' is not available: this version has no CUDA kernels yet; use device='cpu'")
    from fastvae.kernels import cpu

    return Backend("cpu", cpu)
