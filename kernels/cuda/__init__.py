"""The contract of `fastvae.kernels` on numba.cuda.

Models use its programs: there an array of the host is the name of one on the device, see `memory`. Functions over
arrays of the host are the CPU's, which has them at hand; `calls` has those that go to the device and back, for
comparisons.
"""

from typing import Any

import numpy as np

from fastvae.kernels import cpu
from fastvae.kernels.cpu import *  # noqa: F403
from fastvae.kernels.cuda.driver import device
from fastvae.kernels.cuda.program import Program as Program

KEEPS_NOISE = False  # it is drawn in registers, where it is used
ON_HOST = False

__all__ = cpu.__all__


def upload(*arrays: np.ndarray) -> None:
    """See the contract in `fastvae.kernels`."""
    device().memory.upload(*arrays)


def forget(array: Any) -> None:
    """See the contract in `fastvae.kernels`."""
    device().memory.forget(array)


def download(*arrays: np.ndarray) -> None:
    """See the contract in `fastvae.kernels`."""
    device().memory.download(*arrays)
