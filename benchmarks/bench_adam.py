"""One step of Adam over the flat buffer of all parameters of the model."""

import numpy as np

from benchmarks.cases import Case, Op
from benchmarks.devices import ours
from fastvae.kernels import scalars

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


def inputs(s):
    """Parameters and gradients, (P,) each."""
    return s.normals(s.parameters), s.normals(s.parameters, seed=4)


def adam_fastvae(on, s):
    """The first step of a training, again and again: its work is that of any other."""
    params, grads = inputs(s)
    m, v, chosen = np.zeros_like(params), np.zeros_like(params), scalars.Scalars()
    chosen.integers[scalars.ADAM_STEP] = 1
    places = [scalars.LEARNING_RATE, scalars.BETA1, scalars.BETA2, scalars.EPSILON]
    chosen.reals[places] = RATE, BETA1, BETA2, EPSILON
    return on.case(on.program("adam_inplace", params, grads, m, v, scalars=chosen), lambda: [params])


def adam_numpy(s):
    params, grads = inputs(s)
    m, v, scratch, update = (np.zeros_like(params) for _ in range(4))
    count = 0

    def step():
        nonlocal count
        count += 1
        np.multiply(m, BETA1, out=m)
        np.add(m, np.multiply(grads, 1 - BETA1, out=scratch), out=m)
        np.multiply(v, BETA2, out=v)
        np.multiply(grads, grads, out=scratch)
        np.add(v, np.multiply(scratch, 1 - BETA2, out=scratch), out=v)
        np.sqrt(v, out=scratch)
        np.multiply(scratch, (1 - BETA2**count) ** -0.5, out=scratch)
        np.divide(m, np.add(scratch, EPSILON, out=scratch), out=update)
        np.subtract(params, np.multiply(update, RATE / (1 - BETA1**count), out=update), out=params)

    return Case(step, lambda: [params])


def adam_torch(s):
    import torch

    params, grads = map(torch.from_numpy, inputs(s))
    params.grad = grads
    optimizer = torch.optim.Adam([params], lr=RATE, betas=(BETA1, BETA2), eps=EPSILON, fused=True)
    return Case(optimizer.step, lambda: [params.numpy()])


OPS = {
    "adam_inplace": Op(
        "byte",
        lambda s: 4 * 7 * s.parameters,
        {**ours(adam_fastvae), "numpy": adam_numpy, "torch": adam_torch},
    )
}


def test_adam(measure):
    measure()
