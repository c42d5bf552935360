"""The contract of `fastvae.kernels` on numba.cuda.

Models use its programs: there an array of the host is the name of one on the device, see `memory`. Functions over
arrays of the host are the CPU's, which has them at hand; `calls` has those that go to the device and back, for
comparisons.
"""

from fastvae.kernels.cpu import (
    adam_inplace,
    bernoulli_forward,
    bernoulli_forward_backward,
    binarize_inplace,
    dense_adam_inplace,
    dense_backward_input,
    dense_backward_weight,
    dense_forward,
    gather,
    latent_backward,
    latent_forward,
    normal_noise,
    read_rows,
    scale_inplace,
    shuffled_indices,
    sigmoid_inplace,
    squared_error_forward,
    squared_error_forward_backward,
    squared_norm,
    threshold_inplace,
    total,
    uniform_noise,
)
from fastvae.kernels.cuda.device import device
from fastvae.kernels.cuda.program import Program

KEEPS_NOISE = False  # it is drawn in registers, where it is used
ON_HOST = False

__all__ = [
    "Program",
    "adam_inplace",
    "bernoulli_forward",
    "bernoulli_forward_backward",
    "binarize_inplace",
    "dense_adam_inplace",
    "dense_backward_input",
    "dense_backward_weight",
    "dense_forward",
    "download",
    "forget",
    "gather",
    "latent_backward",
    "latent_forward",
    "normal_noise",
    "read_rows",
    "scale_inplace",
    "shuffled_indices",
    "sigmoid_inplace",
    "squared_error_forward",
    "squared_error_forward_backward",
    "squared_norm",
    "threshold_inplace",
    "total",
    "uniform_noise",
    "upload",
]


def upload(*arrays):
    """See the contract in `fastvae.kernels`."""
    device().memory.upload(*arrays)


def forget(array):
    """See the contract in `fastvae.kernels`."""
    device().memory.forget(array)


def download(*arrays):
    """See the contract in `fastvae.kernels`."""
    device().memory.download(*arrays)
