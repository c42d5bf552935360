"""Units that a row's columns move one after the other, as NADE has them: 13% of the columns are 1, as in MNIST, and
only these cost sigmoids. NumPy works out those of every column."""

import numpy as np

from benchmarks.cases import Case, Op
from benchmarks.devices import ours
from fastvae.kernels.ops import CHUNK

LIT = 0.13


def inputs(s):
    """x (B, D); weight, output_weight (D, H), biases (H,) and (D,); d_logits (B, D)."""
    scale = np.float32(0.05)
    weights = [scale * s.normals(*shape, seed=i) for i, shape in enumerate([(s.D, s.H), (s.H,), (s.D, s.H), (s.D,)])]
    return (s.data() < LIT).astype(np.float32), *weights, s.normals(s.B, s.D)


def carried(s):
    return np.empty((s.B, -(-s.D // CHUNK) * s.H), np.float32)


def gradients(s):
    return [np.empty(shape, np.float32) for shape in ((s.D, s.H), (s.H,), (s.D, s.H), (s.D,))]


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def forward_fastvae(on, s):
    *given, _ = inputs(s)
    logits = np.empty((s.B, s.D), np.float32)
    return on.case(on.program("prefix_forward", *given, carried(s), logits), lambda: [logits])


def forward_numpy(s):
    x, weight, bias, v, b, _ = inputs(s)
    logits, a = np.empty((s.B, s.D), np.float32), np.empty((s.B, s.H), np.float32)

    def step():
        a[:] = bias
        for d in range(s.D):
            logits[:, d] = sigmoid(a) @ v[d] + b[d]
            a[:] += x[:, d, None] * weight[d]

    return Case(step, lambda: [logits])


def backward_fastvae(on, s):
    *given, d_logits = inputs(s)
    kept, made = carried(s), gradients(s)
    on.program("prefix_forward", *given, kept, np.empty((s.B, s.D), np.float32)).run()
    x, weight, _, v, _ = given
    return on.case(on.program("prefix_backward", x, weight, v, kept, d_logits, 0, s.H, 0, *made), lambda: made)


def backward_numpy(s):
    x, weight, bias, v, _, d_logits = inputs(s)
    d_weight, d_bias, d_v, d_b = made = gradients(s)
    before = np.concatenate([np.zeros((1, s.H), np.float32), weight[:-1]])

    def step():
        a, units = np.tile(bias, (s.B, 1)), []
        for d in range(s.D):
            a += x[:, d - 1, None] * before[d] if d else 0
            units.append(a.copy())
        d_a = np.zeros_like(a)
        for d in reversed(range(s.D)):
            h = sigmoid(units[d])
            d_weight[d] = x[:, d] @ d_a
            d_v[d] = d_logits[:, d] @ h
            d_a += d_logits[:, d, None] * v[d] * h * (1 - h)
        d_bias[:], d_b[:] = d_a.sum(axis=0), d_logits.sum(axis=0)

    return Case(step, lambda: made)


OPS = {
    "prefix_forward": Op("flop", lambda s: 2 * s.B * s.D * s.H, {**ours(forward_fastvae), "numpy": forward_numpy}),
    "prefix_backward": Op("flop", lambda s: 4 * s.B * s.D * s.H, {**ours(backward_fastvae), "numpy": backward_numpy}),
}


def test_prefix(measure):
    measure()
