"""The contract of `fastvae.kernels` on the CPU: numba loops, and NumPy's BLAS for the products."""

from fastvae.kernels.cpu.adam import adam_inplace, squared_norm
from fastvae.kernels.cpu.dense import dense_backward, dense_forward
from fastvae.kernels.cpu.latent import latent_backward, latent_forward
from fastvae.kernels.cpu.likelihoods import (
    bernoulli_forward,
    bernoulli_forward_backward,
    sigmoid_inplace,
    squared_error_forward,
    squared_error_forward_backward,
)
from fastvae.kernels.cpu.minibatch import gather, shuffled_indices, threshold_inplace
from fastvae.kernels.cpu.noise import binarize_inplace, normal_noise, uniform_noise

__all__ = [
    "adam_inplace",
    "bernoulli_forward",
    "bernoulli_forward_backward",
    "binarize_inplace",
    "dense_backward",
    "dense_forward",
    "gather",
    "latent_backward",
    "latent_forward",
    "normal_noise",
    "shuffled_indices",
    "sigmoid_inplace",
    "squared_error_forward",
    "squared_error_forward_backward",
    "squared_norm",
    "threshold_inplace",
    "uniform_noise",
]
