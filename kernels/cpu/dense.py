"""Dense layer: the products through NumPy's BLAS, everything else of the layer in one pass each."""

import numpy as np

from fastvae.kernels import formulas as f
from fastvae.kernels.cpu.compiler import kernel


@kernel
def bias_activation_inplace(out, bias, activation, saved):
    """out = activation(out + bias). `saved` gets out + bias where the backward needs it (silu); else it is not read."""
    rows, columns = out.shape
    for i in range(rows):
        if activation == f.IDENTITY:
            for j in range(columns):
                out[i, j] += bias[j]
        elif activation == f.RELU:
            for j in range(columns):
                out[i, j] = f.relu(out[i, j] + bias[j])
        elif activation == f.LEAKY_RELU:
            for j in range(columns):
                out[i, j] = f.leaky_relu(out[i, j] + bias[j])
        elif activation == f.TANH:
            for j in range(columns):
                out[i, j] = f.tanh(out[i, j] + bias[j])
        elif activation == f.SIGMOID:
            for j in range(columns):
                out[i, j] = f.sigmoid(out[i, j] + bias[j])
        elif activation == f.SOFTPLUS:
            for j in range(columns):
                out[i, j] = f.softplus(out[i, j] + bias[j])
        elif activation == f.SILU:
            for j in range(columns):
                a = out[i, j] + bias[j]
                saved[i, j] = a
                out[i, j] = f.silu(a)


@kernel
def activation_bias_backward_inplace(saved, activation, d_out, d_bias):
    """d_out *= activation'(saved), and d_bias = its sum over the batch."""
    rows, columns = d_out.shape
    for j in range(columns):
        d_bias[j] = f.ZERO
    for i in range(rows):
        if activation == f.RELU:
            for j in range(columns):
                d_out[i, j] *= f.d_relu(saved[i, j])
        elif activation == f.LEAKY_RELU:
            for j in range(columns):
                d_out[i, j] *= f.d_leaky_relu(saved[i, j])
        elif activation == f.TANH:
            for j in range(columns):
                d_out[i, j] *= f.d_tanh(saved[i, j])
        elif activation == f.SIGMOID:
            for j in range(columns):
                d_out[i, j] *= f.d_sigmoid(saved[i, j])
        elif activation == f.SOFTPLUS:
            for j in range(columns):
                d_out[i, j] *= f.d_softplus(saved[i, j])
        elif activation == f.SILU:
            for j in range(columns):
                d_out[i, j] *= f.d_silu(saved[i, j])
        for j in range(columns):
            d_bias[j] += d_out[i, j]


def dense_forward(x, weight, bias, activation, out, saved):
    """See the contract in `fastvae.kernels`."""
    np.matmul(x, weight, out=out)
    bias_activation_inplace(out, bias, activation, saved)


def dense_backward(x, saved, weight, activation, d_out, d_x, d_weight, d_bias):
    """See the contract in `fastvae.kernels`."""
    activation_bias_backward_inplace(saved, activation, d_out, d_bias)
    np.matmul(x.T, d_out, out=d_weight)
    if d_x is not None:
        np.matmul(d_out, weight.T, out=d_x)
