"""The ops on the CPU to a type checker: made of the table, by `fastvae.kernels.described.stub`."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastvae.kernels.cpu.embedding import address as address
from fastvae.kernels.cpu.embedding import header as header
from fastvae.kernels.cpu.embedding import prototype as prototype
from fastvae.kernels.cpu.minibatch import shuffled_indices as shuffled_indices
from fastvae.kernels.cpu.optimizers import squared_norm as squared_norm
from fastvae.kernels.cpu.program import Program as Program
from fastvae.kernels.cpu.sums import total as total

__all__ = [
    "adam_inplace",
    "address",
    "average_inplace",
    "bernoulli_forward",
    "bernoulli_forward_backward",
    "binarize_inplace",
    "clip_scale",
    "concatenate",
    "concatenate_backward",
    "continuous_bernoulli_forward",
    "continuous_bernoulli_forward_backward",
    "continuous_mean_inplace",
    "corrupt",
    "dense_accumulate",
    "dense_adam_inplace",
    "dense_backward_input",
    "dense_backward_weight",
    "dense_forward",
    "divergence_forward",
    "divergence_forward_backward",
    "exp_inplace",
    "free_bits",
    "gather",
    "gaussian_forward",
    "gaussian_forward_backward",
    "header",
    "importance_weights",
    "kl_forward",
    "latent_backward",
    "latent_forward",
    "latent_samples_backward",
    "latent_samples_forward",
    "log1p",
    "masked_accumulate",
    "masked_adam_inplace",
    "masked_backward_input",
    "masked_backward_weight",
    "masked_forward",
    "mixed_forward",
    "mixed_forward_backward",
    "mixed_inputs",
    "mixed_parameter_backward",
    "normal_noise",
    "poisson_forward",
    "poisson_forward_backward",
    "prefix_backward",
    "prefix_forward",
    "prototype",
    "read_rows",
    "scale_rows_inplace",
    "sgd_inplace",
    "shuffled_indices",
    "sigma_backward",
    "sigma_forward",
    "sigma_optimal",
    "sigma_remember",
    "sigmoid_inplace",
    "squared_error_forward",
    "squared_error_forward_backward",
    "squared_norm",
    "take_columns",
    "tanh_inplace",
    "threshold_inplace",
    "total",
    "uniform_noise",
]
Array = npt.NDArray[np.float32]
KEEPS_NOISE: bool
ON_HOST: bool

def upload(*arrays: npt.NDArray[Any]) -> None: ...
def forget(array: Any) -> None: ...
def download(*arrays: npt.NDArray[Any]) -> None: ...
def dense_forward(
    x: Array,
    weight: Array,
    bias: Array,
    activation: int,
    out: Array | None = None,
    saved: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def dense_accumulate(
    x: Array,
    weight: Array,
    out: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def dense_backward_input(
    saved: Array,
    weight: Array,
    activation: int,
    d_out: Array,
    accumulate: int,
    d_x: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def dense_backward_weight(
    x: Array,
    d_a: Array,
    first: int,
    last: int,
    accumulate: int,
    d_weight: Array | None = None,
    d_bias: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def dense_adam_inplace(
    x: Array,
    d_a: Array,
    first: int,
    last: int,
    weight: Array,
    m_weight: Array,
    v_weight: Array,
    bias: Array | None,
    m_bias: Array | None,
    v_bias: Array | None,
    rate: float | np.floating[Any],
    correction: float | np.floating[Any],
    new1: float | np.floating[Any],
    keep2: float | np.floating[Any],
    new2: float | np.floating[Any],
    decay: float | np.floating[Any],
    epsilon: float | np.floating[Any],
    *,
    check: bool = True,
) -> Any: ...
def masked_forward(
    x: Array,
    weight: Array,
    bias: Array,
    activation: int,
    depths: npt.NDArray[np.int64],
    out: Array | None = None,
    saved: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def masked_accumulate(
    x: Array,
    weight: Array,
    depths: npt.NDArray[np.int64],
    out: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def masked_backward_input(
    saved: Array,
    weight: Array,
    activation: int,
    depths: npt.NDArray[np.int64],
    d_out: Array,
    accumulate: int,
    d_x: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def masked_backward_weight(
    x: Array,
    d_a: Array,
    first: int,
    last: int,
    accumulate: int,
    depths: npt.NDArray[np.int64],
    d_weight: Array | None = None,
    d_bias: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def masked_adam_inplace(
    x: Array,
    d_a: Array,
    first: int,
    last: int,
    depths: npt.NDArray[np.int64],
    weight: Array,
    m_weight: Array,
    v_weight: Array,
    bias: Array | None,
    m_bias: Array | None,
    v_bias: Array | None,
    rate: float | np.floating[Any],
    correction: float | np.floating[Any],
    new1: float | np.floating[Any],
    keep2: float | np.floating[Any],
    new2: float | np.floating[Any],
    decay: float | np.floating[Any],
    epsilon: float | np.floating[Any],
    *,
    check: bool = True,
) -> Any: ...
def take_columns(
    x: Array,
    order: npt.NDArray[np.int64],
    out: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def concatenate(
    a: Array,
    b: Array,
    out: Array,
    *,
    check: bool = True,
) -> Any: ...
def concatenate_backward(
    d_out: Array,
    d_a: Array,
    *,
    check: bool = True,
) -> Any: ...
def prefix_forward(
    x: Array,
    weight: Array,
    bias: Array,
    output_weight: Array,
    output_bias: Array,
    carried: Array,
    logits: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def prefix_backward(
    x: Array,
    weight: Array,
    output_weight: Array,
    carried: Array,
    d_logits: Array,
    first: int,
    last: int,
    accumulate: int,
    d_weight: Array | None = None,
    d_bias: Array | None = None,
    d_output_weight: Array | None = None,
    d_output_bias: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def latent_forward(
    mu: Array,
    logvar: Array,
    noise: Array | None,
    seed: int | np.uint64,
    stream: int | np.integer[Any],
    step: int | np.integer[Any],
    first_row: int | np.integer[Any],
    z: Array | None = None,
    kl: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def latent_backward(
    mu: Array,
    logvar: Array,
    d_z: Array,
    noise: Array | None,
    seed: int | np.uint64,
    stream: int | np.integer[Any],
    step: int | np.integer[Any],
    first_row: int | np.integer[Any],
    kl_weight: float | np.floating[Any],
    d_mu: Array | None = None,
    d_logvar: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def latent_samples_forward(
    mu: Array,
    logvar: Array,
    noise: Array | None,
    seed: int | np.uint64,
    stream: int | np.integer[Any],
    first_sample: int | np.integer[Any],
    first_row: int | np.integer[Any],
    z: Array,
    log_ratio: Array,
    *,
    check: bool = True,
) -> Any: ...
def importance_weights(
    log_ratio: Array,
    nll: Array,
    weight: float | np.floating[Any],
    bound: Array,
    weights: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def latent_samples_backward(
    mu: Array,
    logvar: Array,
    d_z: Array,
    noise: Array | None,
    seed: int | np.uint64,
    stream: int | np.integer[Any],
    first_sample: int | np.integer[Any],
    first_row: int | np.integer[Any],
    weights: Array | None,
    doubly: int,
    kl_weight: float | np.floating[Any],
    counted: Array | None,
    d_mu: Array | None = None,
    d_logvar: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def kl_forward(
    mu: Array,
    logvar: Array,
    kl: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def free_bits(
    mu: Array,
    logvar: Array,
    least: float | np.floating[Any],
    counted: Array | None = None,
    lacking: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def scale_rows_inplace(
    scale: Array,
    x: Array,
    *,
    check: bool = True,
) -> Any: ...
def sigma_forward(
    parameter: Array,
    lowest: Array,
    log_sigma: Array,
    inverse: Array,
    *,
    check: bool = True,
) -> Any: ...
def sigma_backward(
    d_xhat: Array,
    inverse: Array,
    parameter: Array,
    lowest: Array,
    weight: float | np.floating[Any],
    weights: Array | None,
    d_parameter: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def sigma_optimal(
    x: Array,
    xhat: Array,
    lowest: Array,
    log_sigma: Array | None = None,
    inverse: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def sigma_remember(
    log_sigma: Array,
    share: float | np.floating[Any],
    lowest: Array,
    step: int | np.integer[Any],
    parameter: Array,
    *,
    check: bool = True,
) -> Any: ...
def mixed_inputs(
    x: Array,
    centre: Array,
    inverse: Array,
    kinds: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    out: Array,
    *,
    check: bool = True,
) -> Any: ...
def mixed_forward(
    x: Array,
    a: Array,
    theta: Array,
    log_scale: Array,
    kinds: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    nll: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def mixed_forward_backward(
    x: Array,
    a: Array,
    theta: Array,
    log_scale: Array,
    kinds: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    weight: float | np.floating[Any],
    nll: Array | None = None,
    d_a: Array | None = None,
    d_theta: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def mixed_parameter_backward(
    d_theta: Array,
    parameter: Array,
    lowest: Array,
    d_parameter: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def adam_inplace(
    params: Array,
    grads: Array,
    m: Array,
    v: Array,
    rate: float | np.floating[Any],
    correction: float | np.floating[Any],
    new1: float | np.floating[Any],
    keep2: float | np.floating[Any],
    new2: float | np.floating[Any],
    decay: float | np.floating[Any],
    epsilon: float | np.floating[Any],
    grad_scale: float | np.floating[Any],
    *,
    check: bool = True,
) -> Any: ...
def sgd_inplace(
    params: Array,
    grads: Array,
    velocity: Array,
    rate: float | np.floating[Any],
    momentum: float | np.floating[Any],
    ahead: float | np.floating[Any],
    decay: float | np.floating[Any],
    grad_scale: float | np.floating[Any],
    *,
    check: bool = True,
) -> Any: ...
def average_inplace(
    params: Array,
    share: float | np.floating[Any],
    average: Array,
    *,
    check: bool = True,
) -> Any: ...
def clip_scale(
    grads: Array,
    largest: float | np.floating[Any],
    *,
    check: bool = True,
) -> Any: ...
def normal_noise(
    seed: int | np.uint64,
    stream: int | np.integer[Any],
    step: int | np.integer[Any],
    first_row: int | np.integer[Any],
    out: Array,
    *,
    check: bool = True,
) -> Any: ...
def uniform_noise(
    seed: int | np.uint64,
    stream: int | np.integer[Any],
    step: int | np.integer[Any],
    first_row: int | np.integer[Any],
    out: Array,
    *,
    check: bool = True,
) -> Any: ...
def corrupt(
    x: Array,
    kind: int,
    amount: float | np.floating[Any],
    seed: int | np.uint64,
    stream: int | np.integer[Any],
    step: int | np.integer[Any],
    first_row: int | np.integer[Any],
    out: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def binarize_inplace(
    x: Array,
    seed: int | np.uint64,
    step: int | np.integer[Any],
    first_row: int | np.integer[Any],
    *,
    check: bool = True,
) -> Any: ...
def threshold_inplace(
    x: Array,
    threshold: float | np.floating[Any],
    *,
    check: bool = True,
) -> Any: ...
def gather(
    data: npt.NDArray[Any],
    indices: npt.NDArray[np.int64],
    offset: npt.NDArray[Any],
    scale: npt.NDArray[Any],
    out: Array,
    *,
    check: bool = True,
) -> Any: ...
def read_rows(
    data: npt.NDArray[Any],
    offset: npt.NDArray[Any],
    scale: npt.NDArray[Any],
    lowest: float | np.floating[Any],
    highest: float | np.floating[Any],
    out: Array,
    *,
    check: bool = True,
) -> Any: ...
def bernoulli_forward(
    x: Array,
    logits: Array,
    nll: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def bernoulli_forward_backward(
    x: Array,
    logits: Array,
    weight: float | np.floating[Any],
    nll: Array | None = None,
    d_logits: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def poisson_forward(
    x: Array,
    log_rate: Array,
    nll: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def poisson_forward_backward(
    x: Array,
    log_rate: Array,
    weight: float | np.floating[Any],
    nll: Array | None = None,
    d_log_rate: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def continuous_bernoulli_forward(
    x: Array,
    logits: Array,
    nll: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def continuous_bernoulli_forward_backward(
    x: Array,
    logits: Array,
    weight: float | np.floating[Any],
    nll: Array | None = None,
    d_logits: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def divergence_forward(
    x: Array,
    mean: Array,
    nll: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def divergence_forward_backward(
    x: Array,
    mean: Array,
    weight: float | np.floating[Any],
    nll: Array | None = None,
    d_mean: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def squared_error_forward(
    x: Array,
    xhat: Array,
    log_sigma: float | np.floating[Any],
    inverse: float | np.floating[Any],
    nll: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def squared_error_forward_backward(
    x: Array,
    xhat: Array,
    log_sigma: float | np.floating[Any],
    inverse: float | np.floating[Any],
    weight: float | np.floating[Any],
    nll: Array | None = None,
    d_xhat: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def gaussian_forward(
    x: Array,
    xhat: Array,
    log_sigma: Array,
    inverse: Array,
    nll: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def gaussian_forward_backward(
    x: Array,
    xhat: Array,
    log_sigma: Array,
    inverse: Array,
    weight: float | np.floating[Any],
    nll: Array | None = None,
    d_xhat: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
def sigmoid_inplace(
    x: Array,
    *,
    check: bool = True,
) -> Any: ...
def exp_inplace(
    x: Array,
    *,
    check: bool = True,
) -> Any: ...
def tanh_inplace(
    x: Array,
    *,
    check: bool = True,
) -> Any: ...
def continuous_mean_inplace(
    x: Array,
    *,
    check: bool = True,
) -> Any: ...
def log1p(
    x: Array,
    out: Array | None = None,
    *,
    check: bool = True,
) -> Any: ...
