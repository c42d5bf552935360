"""One step of each optimizer over the flat buffer of all parameters of the model, and what scales a long gradient."""

import numpy as np

from benchmarks.cases import Case, Op
from benchmarks.devices import ours
from fastvae.contract_cases import adam_numbers
from fastvae.kernels.slots import Slots

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
MOMENTUM, LARGEST = 0.9, 1.0


def inputs(s):
    """Parameters and gradients, (P,) each."""
    return s.normals(s.parameters), s.normals(s.parameters, seed=4)


def adam_fastvae(on, s):
    """The first step of a training, again and again: its work is that of any other."""
    params, grads = inputs(s)
    m, v, numbers = np.zeros_like(params), np.zeros_like(params), adam_numbers(1, RATE, BETA1, BETA2, EPSILON, 0.0)
    return on.case(on.program("adam_inplace", params, grads, m, v, *numbers, 1.0), lambda: [params])


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


def sgd_fastvae(on, s):
    params, grads = inputs(s)
    velocity, numbers = np.zeros_like(params), (RATE, MOMENTUM, 0.0, 0.0, 1.0)
    return on.case(on.program("sgd_inplace", params, grads, velocity, *numbers), lambda: [params])


def sgd_numpy(s):
    params, grads = inputs(s)
    velocity, update = np.zeros_like(params), np.zeros_like(params)

    def step():
        np.multiply(velocity, MOMENTUM, out=velocity)
        np.add(velocity, grads, out=velocity)
        np.subtract(params, np.multiply(velocity, RATE, out=update), out=params)

    return Case(step, lambda: [params])


def sgd_torch(s):
    import torch

    params, grads = map(torch.from_numpy, inputs(s))
    params.grad = grads
    optimizer = torch.optim.SGD([params], lr=RATE, momentum=MOMENTUM, fused=True)
    return Case(optimizer.step, lambda: [params.numpy()])


def clip_fastvae(on, s):
    (_, grads), slots = inputs(s), Slots()
    program = on.program("clip_scale", grads, LARGEST, slots.real("scale"), slots=slots)
    return on.case(program, lambda: [slots["scale"]])


def clip_numpy(s):
    _, grads = inputs(s)

    def scale():
        return min(1.0, LARGEST / np.sqrt(np.dot(grads, grads)))

    return Case(scale, lambda: [scale()])


def clip_torch(s):
    import torch

    _, grads = map(torch.from_numpy, inputs(s))

    def scale():
        return torch.clamp(LARGEST / torch.linalg.vector_norm(grads), max=1.0)

    return Case(scale, lambda: [scale().numpy()])


OPS = {
    "adam_inplace": Op(
        "byte",
        lambda s: 4 * 7 * s.parameters,
        {**ours(adam_fastvae), "numpy": adam_numpy, "torch": adam_torch},
    ),
    "sgd_inplace": Op(
        "byte",
        lambda s: 4 * 5 * s.parameters,
        {**ours(sgd_fastvae), "numpy": sgd_numpy, "torch": sgd_torch},
    ),
    "clip_scale": Op(
        "byte",
        lambda s: 4 * s.parameters,
        {**ours(clip_fastvae), "numpy": clip_numpy, "torch": clip_torch},
    ),
}


def test_optimizers(measure):
    measure()
