"""A dense layer D -> H with ReLU: product, bias and activation; its backward with all gradients; and a linear path."""

import numpy as np

from benchmarks.cases import Case, Op
from benchmarks.devices import ours
from fastvae.kernels.formulas import RELU


def inputs(s):
    """x (B, D), weight (D, H), bias (H,), d_out (B, H)."""
    weights = s.weights()
    return s.data(), weights["encoder.0.weight"], weights["encoder.0.bias"], s.normals(s.B, s.H)


def forward_fastvae(on, s):
    x, weight, bias, _ = inputs(s)
    out = np.empty((s.B, s.H), np.float32)
    return on.case(on.program("dense_forward", x, weight, bias, RELU, out, out), lambda: [out])


def forward_numpy(s):
    x, weight, bias, _ = inputs(s)
    out = np.empty((s.B, s.H), np.float32)

    def step():
        np.matmul(x, weight, out=out)
        np.add(out, bias, out=out)
        np.maximum(out, 0, out=out)

    return Case(step, lambda: [out])


def forward_torch(s):
    import torch
    from torch.nn import functional

    x, weight, bias, _ = map(torch.from_numpy, inputs(s))
    weight = weight.T.contiguous()  # (outputs, inputs), as torch has it

    def step():
        return functional.relu(functional.linear(x, weight, bias))

    return Case(step, lambda: [step().numpy()])


def backward_fastvae(on, s):
    x, weight, bias, d_out = inputs(s)
    out, d_x, d_weight, d_bias = np.empty_like(d_out), np.empty_like(x), np.empty_like(weight), np.empty_like(bias)
    on.program("dense_forward", x, weight, bias, RELU, out, out).run()
    backward = on.program("dense_backward_input", out, weight, RELU, d_out, 0, d_x)
    backward.add("dense_backward_weight", x, d_out, 0, s.D, 0, d_weight, d_bias)
    return on.case(backward, lambda: [d_x, d_weight, d_bias])


def backward_numpy(s):
    x, weight, bias, d_out = inputs(s)
    d_x, d_weight, d_bias = np.empty_like(x), np.empty_like(weight), np.empty_like(bias)
    out = np.maximum(x @ weight + bias, 0)

    def step():
        np.multiply(d_out, out > 0, out=d_out)
        np.matmul(x.T, d_out, out=d_weight)
        np.sum(d_out, axis=0, out=d_bias)
        np.matmul(d_out, weight.T, out=d_x)

    return Case(step, lambda: [d_x, d_weight, d_bias])


def backward_torch(s):
    import torch
    from torch.nn import functional

    x, weight, bias, d_out = map(torch.from_numpy, inputs(s))
    leaves = [x.requires_grad_(), weight.T.contiguous().requires_grad_(), bias.requires_grad_()]
    out = functional.relu(functional.linear(*leaves))

    def step():
        return torch.autograd.grad(out, leaves, d_out, retain_graph=True)

    def result():
        d_x, d_weight, d_bias = step()
        return [d_x.numpy(), d_weight.numpy().T, d_bias.numpy()]

    return Case(step, result)


def accumulate_fastvae(on, s):
    x, weight, _, out = inputs(s)
    return on.case(on.program("dense_accumulate", x, weight, out), lambda: [out])


def accumulate_numpy(s):
    x, weight, _, out = inputs(s)
    product = np.empty_like(out)

    def step():
        np.matmul(x, weight, out=product)
        np.add(out, product, out=out)

    return Case(step, lambda: [out])


def accumulate_torch(s):
    import torch

    x, weight, _, out = map(torch.from_numpy, inputs(s))
    return Case(lambda: out.addmm_(x, weight), lambda: [out.numpy()])


OPS = {
    "dense_forward": Op(
        "flop",
        lambda s: 2 * s.B * s.D * s.H,
        {**ours(forward_fastvae), "numpy": forward_numpy, "torch": forward_torch},
    ),
    "dense_accumulate": Op(
        "flop",
        lambda s: 2 * s.B * s.D * s.H,
        {**ours(accumulate_fastvae), "numpy": accumulate_numpy, "torch": accumulate_torch},
    ),
    "dense_backward": Op(
        "flop",
        lambda s: 4 * s.B * s.D * s.H,
        {**ours(backward_fastvae), "numpy": backward_numpy, "torch": backward_torch},
    ),
}


def test_dense(measure):
    measure()
