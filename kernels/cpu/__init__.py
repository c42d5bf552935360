"""The contract of `fastvae.kernels` on the CPU."""

from fastvae.kernels.cpu.adam import adam_inplace, squared_norm
from fastvae.kernels.cpu.calls import (
    dense_accumulate,
    dense_adam_inplace,
    dense_backward_input,
    dense_backward_weight,
    dense_forward,
    gather,
    latent_backward,
    latent_forward,
    normal_noise,
    read_rows,
)
from fastvae.kernels.cpu.likelihoods import (
    bernoulli_forward,
    bernoulli_forward_backward,
    scale_inplace,
    sigmoid_inplace,
    squared_error_forward,
    squared_error_forward_backward,
    total,
)
from fastvae.kernels.cpu.minibatch import shuffled_indices, threshold_inplace
from fastvae.kernels.cpu.noise import binarize_inplace, uniform_noise
from fastvae.kernels.cpu.program import Program
from fastvae.kernels.cpu.sigma import (
    gaussian_forward,
    gaussian_forward_backward,
    sigma_backward,
    sigma_forward,
    sigma_optimal,
    sigma_remember,
)

KEEPS_NOISE = True  # to draw a normal takes as long as to read a thousand bytes
ON_HOST = True

__all__ = [
    "Program",
    "adam_inplace",
    "bernoulli_forward",
    "bernoulli_forward_backward",
    "binarize_inplace",
    "dense_accumulate",
    "dense_adam_inplace",
    "dense_backward_input",
    "dense_backward_weight",
    "dense_forward",
    "download",
    "forget",
    "gather",
    "gaussian_forward",
    "gaussian_forward_backward",
    "latent_backward",
    "latent_forward",
    "normal_noise",
    "read_rows",
    "scale_inplace",
    "shuffled_indices",
    "sigma_backward",
    "sigma_forward",
    "sigma_optimal",
    "sigma_remember",
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
    """See the contract in `fastvae.kernels`: there is nothing to do."""


def forget(array):
    """See the contract in `fastvae.kernels`: there is nothing to do."""


def download(*arrays):
    """See the contract in `fastvae.kernels`: there is nothing to do."""
