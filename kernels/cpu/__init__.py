"""The contract of `fastvae.kernels` on the CPU."""

from fastvae.kernels.cpu.calls import FUNCTIONS
from fastvae.kernels.cpu.embedding import address as address
from fastvae.kernels.cpu.embedding import header as header
from fastvae.kernels.cpu.embedding import make_callable
from fastvae.kernels.cpu.embedding import prototype as prototype
from fastvae.kernels.cpu.minibatch import shuffled_indices as shuffled_indices
from fastvae.kernels.cpu.optimizers import squared_norm as squared_norm
from fastvae.kernels.cpu.program import Program as Program
from fastvae.kernels.cpu.sums import total as total

KEEPS_NOISE = True  # to draw a normal takes as long as to read a thousand bytes
ON_HOST = True

globals().update(FUNCTIONS)
for _name, _function in FUNCTIONS.items():
    make_callable(_name, _function)
__all__ = sorted(
    [
        *FUNCTIONS,
        "Program",
        "address",
        "download",
        "header",
        "prototype",
        "forget",
        "shuffled_indices",
        "squared_norm",
        "total",
        "upload",
    ]
)


def upload(*arrays):
    """See the contract in `fastvae.kernels`: there is nothing to do."""


def forget(array):
    """See the contract in `fastvae.kernels`: there is nothing to do."""


def download(*arrays):
    """See the contract in `fastvae.kernels`: there is nothing to do."""
