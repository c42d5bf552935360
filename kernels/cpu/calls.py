"""Single kernels of the dense layer, called from Python: programs of one call."""

from fastvae.kernels.cpu.program import Program
from fastvae.kernels.scalars import ADAM_STEP, BETA1, BETA2, EPSILON, LEARNING_RATE, WEIGHT_DECAY, Scalars


def _run(op, scalars, *operands):
    program = Program(scalars)
    program.add(op, *operands)
    program.run()


def dense_forward(x, weight, bias, activation, out, saved):
    """See the contract in `fastvae.kernels`."""
    _run("dense_forward", Scalars(), x, weight, bias, activation, out, saved)


def dense_backward_input(saved, weight, activation, d_out, more, d_x):
    """See the contract in `fastvae.kernels`."""
    _run("dense_backward_input", Scalars(), saved, weight, activation, d_out, more, d_x)


def dense_backward_weight(x, d_a, first, last, d_weight, d_bias):
    """See the contract in `fastvae.kernels`."""
    _run("dense_backward_weight", Scalars(), x, d_a, first, last, d_weight, d_bias)


def dense_adam_inplace(
    x, d_a, first, last, weight, m_weight, v_weight, bias, m_bias, v_bias,
    step, learning_rate, beta1, beta2, epsilon, weight_decay,
):  # fmt: skip
    """See the contract in `fastvae.kernels`."""
    scalars = Scalars()
    scalars.integers[ADAM_STEP] = step
    numbers = learning_rate, beta1, beta2, epsilon, weight_decay
    scalars.reals[[LEARNING_RATE, BETA1, BETA2, EPSILON, WEIGHT_DECAY]] = numbers
    arrays = weight, m_weight, v_weight, bias, m_bias, v_bias
    _run("dense_adam_inplace", scalars, x, d_a, first, last, *arrays)
