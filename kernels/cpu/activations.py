"""Activations over whole matrices, forward and backward: one compiled function for each, made when it is first used.

`forward(code)` and `backward(code)` give the address of

    out = activation(out + bias); `saved` gets out + bias for silu, whose derivative cannot be told from its value
    d_out *= activation'(saved)

with operands (out, bias, saved, rows, columns) and (saved, d_out, rows, columns), arrays as addresses.
"""

from fastvae.kernels import formulas as f
from fastvae.kernels.cpu.addresses import matrix_at, vector_at
from fastvae.kernels.cpu.compiler import native

FORWARD = native("void(int64, int64, int64, int64, int64)")
BACKWARD = native("void(int64, int64, int64, int64)")


def _forward(function):
    """The pass forward with a formula of its own."""

    def activate(at_out, at_bias, at_saved, rows, columns):
        out, bias = matrix_at(at_out, rows, columns), vector_at(at_bias, columns)
        for i in range(rows):
            for j in range(columns):
                out[i, j] = function(out[i, j] + bias[j])

    return FORWARD(activate)


def _backward(derivative):
    """The pass backward with a formula of its own."""

    def deactivate(at_saved, at_d_out, rows, columns):
        saved, d_out = matrix_at(at_saved, rows, columns), matrix_at(at_d_out, rows, columns)
        for i in range(rows):
            for j in range(columns):
                d_out[i, j] *= derivative(saved[i, j])

    return BACKWARD(deactivate)


@FORWARD
def identity(at_out, at_bias, at_saved, rows, columns):
    """out += bias."""
    out, bias = matrix_at(at_out, rows, columns), vector_at(at_bias, columns)
    for i in range(rows):
        for j in range(columns):
            out[i, j] += bias[j]


@FORWARD
def silu(at_out, at_bias, at_saved, rows, columns):
    """saved = out + bias; out = silu(saved)."""
    out, bias, saved = matrix_at(at_out, rows, columns), vector_at(at_bias, columns), matrix_at(at_saved, rows, columns)
    for i in range(rows):
        for j in range(columns):
            a = out[i, j] + bias[j]
            saved[i, j] = a
            out[i, j] = f.silu(a)


@BACKWARD
def nothing(at_saved, at_d_out, rows, columns):
    """The identity's derivative is 1."""


_PASSES = {
    f.IDENTITY: (identity, nothing),
    f.RELU: (_forward(f.relu), _backward(f.d_relu)),
    f.LEAKY_RELU: (_forward(f.leaky_relu), _backward(f.d_leaky_relu)),
    f.TANH: (_forward(f.tanh), _backward(f.d_tanh)),
    f.SIGMOID: (_forward(f.sigmoid), _backward(f.d_sigmoid)),
    f.SOFTPLUS: (_forward(f.softplus), _backward(f.d_softplus)),
    f.SILU: (silu, _backward(f.d_silu)),
}


def forward(activation: int) -> int:
    """The address of the pass forward of an activation, by its number in `formulas`."""
    return _PASSES[activation][0].address


def backward(activation: int) -> int:
    """The same of its pass backward."""
    return _PASSES[activation][1].address
