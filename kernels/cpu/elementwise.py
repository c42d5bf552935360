"""Functions of one number, over whole matrices in place."""

from fastvae.kernels.cpu.compiler import kernel
from fastvae.kernels.formulas import exp, sigmoid


@kernel
def sigmoid_inplace(logits):
    """See the contract in `fastvae.kernels`."""
    rows, columns = logits.shape
    for i in range(rows):
        for j in range(columns):
            logits[i, j] = sigmoid(logits[i, j])


@kernel
def exp_inplace(log_rate):
    """See the contract in `fastvae.kernels`."""
    rows, columns = log_rate.shape
    for i in range(rows):
        for j in range(columns):
            log_rate[i, j] = exp(log_rate[i, j])
