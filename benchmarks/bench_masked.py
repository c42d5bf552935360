"""A dense layer D -> H whose weight is a staircase, as MADE has them: half of it is zeros, which peers multiply."""

import numpy as np

from benchmarks.cases import Case, Op
from benchmarks.devices import ours
from fastvae.kernels.formulas import RELU


def inputs(s):
    """x (B, D), weight (D, H), bias (H,), d_out (B, H); depths (H,), of which output j sees so many inputs."""
    weights, depths = s.weights(), np.arange(s.H, dtype=np.int64) * s.D // s.H
    weight = weights["encoder.0.weight"] * (np.arange(s.D)[:, None] < depths).astype(np.float32)
    return s.data(), weight, weights["encoder.0.bias"], s.normals(s.B, s.H), depths


def connected(s):
    """Weights that are not masked."""
    return int(inputs(s)[-1].sum())


def forward_fastvae(on, s):
    x, weight, bias, _, depths = inputs(s)
    out = np.empty((s.B, s.H), np.float32)
    return on.case(on.program("masked_forward", x, weight, bias, RELU, depths, out, out), lambda: [out])


def forward_numpy(s):
    x, weight, bias, *_ = inputs(s)
    out = np.empty((s.B, s.H), np.float32)

    def step():
        np.matmul(x, weight, out=out)
        np.add(out, bias, out=out)
        np.maximum(out, 0, out=out)

    return Case(step, lambda: [out])


def forward_torch(s):
    import torch
    from torch.nn import functional

    x, weight, bias = map(torch.from_numpy, inputs(s)[:3])
    weight = weight.T.contiguous()  # (outputs, inputs), as torch has it

    def step():
        return functional.relu(functional.linear(x, weight, bias))

    return Case(step, lambda: [step().numpy()])


def accumulate_fastvae(on, s):
    x, weight, _, out, depths = inputs(s)
    return on.case(on.program("masked_accumulate", x, weight, depths, out), lambda: [out])


def accumulate_numpy(s):
    x, weight, _, out, _ = inputs(s)
    product = np.empty_like(out)

    def step():
        np.matmul(x, weight, out=product)
        np.add(out, product, out=out)

    return Case(step, lambda: [out])


def backward_fastvae(on, s):
    x, weight, bias, d_out, depths = inputs(s)
    out, d_x, d_weight, d_bias = np.empty_like(d_out), np.empty_like(x), np.empty_like(weight), np.empty_like(bias)
    on.program("masked_forward", x, weight, bias, RELU, depths, out, out).run()
    backward = on.program("masked_backward_input", out, weight, RELU, depths, d_out, 0, d_x)
    backward.add("masked_backward_weight", x, d_out, 0, s.D, 0, depths, d_weight, d_bias)
    return on.case(backward, lambda: [d_x, d_weight, d_bias])


def backward_numpy(s):
    x, weight, bias, d_out, depths = inputs(s)
    d_x, d_weight, d_bias = np.empty_like(x), np.empty_like(weight), np.empty_like(bias)
    out, mask = np.maximum(x @ weight + bias, 0), (np.arange(s.D)[:, None] < depths).astype(np.float32)

    def step():
        np.multiply(d_out, out > 0, out=d_out)
        np.matmul(x.T, d_out, out=d_weight)
        np.multiply(d_weight, mask, out=d_weight)
        np.sum(d_out, axis=0, out=d_bias)
        np.matmul(d_out, weight.T, out=d_x)

    return Case(step, lambda: [d_x, d_weight, d_bias])


def backward_torch(s):
    import torch
    from torch.nn import functional

    x, weight, bias, d_out, depths = map(torch.from_numpy, inputs(s))
    mask = (torch.arange(s.D)[:, None] < depths).T.contiguous()
    leaves = [x.requires_grad_(), weight.T.contiguous().requires_grad_(), bias.requires_grad_()]
    out = functional.relu(functional.linear(leaves[0], leaves[1] * mask, leaves[2]))

    def step():
        return torch.autograd.grad(out, leaves, d_out, retain_graph=True)

    def result():
        d_x, d_weight, d_bias = step()
        return [d_x.numpy(), d_weight.numpy().T, d_bias.numpy()]

    return Case(step, result)


def columns_fastvae(on, s):
    x, out = s.data(), np.empty((s.B, s.D), np.float32)
    order = np.random.default_rng(0).permutation(s.D)
    return on.case(on.program("take_columns", x, order, out), lambda: [out])


def columns_numpy(s):
    x, out = s.data(), np.empty((s.B, s.D), np.float32)
    order = np.random.default_rng(0).permutation(s.D)
    return Case(lambda: np.take(x, order, axis=1, out=out), lambda: [out])


OPS = {
    "masked_forward": Op(
        "flop",
        lambda s: 2 * s.B * connected(s),
        {**ours(forward_fastvae), "numpy": forward_numpy, "torch": forward_torch},
    ),
    "masked_accumulate": Op(
        "flop", lambda s: 2 * s.B * connected(s), {**ours(accumulate_fastvae), "numpy": accumulate_numpy}
    ),
    "masked_backward": Op(
        "flop",
        lambda s: 4 * s.B * connected(s),
        {**ours(backward_fastvae), "numpy": backward_numpy, "torch": backward_torch},
    ),
    "take_columns": Op("byte", lambda s: 8 * s.B * s.D, {**ours(columns_fastvae), "numpy": columns_numpy}),
}


def test_masked(measure):
    measure()
