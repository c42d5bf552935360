"""Rows of tables whose columns are of several kinds: what an encoder is given, the loss with its gradient, theta's."""

import functools

import numpy as np

from benchmarks.cases import Case, Op
from benchmarks.devices import ours
from fastvae import reference
from fastvae.kernels.mixed import CATEGORICAL, KINDS

NAMES, LEVELS, MISSING = list(KINDS), 5, 0.1


@functools.cache
def inputs(s):
    """x (B, D), a tenth of it missing, kinds, stops, ends (D,), outputs a (B, A), theta and log scale (D,)."""
    rng = np.random.default_rng(0)
    kinds = (np.arange(s.D) % len(KINDS)).astype(np.int64)
    levels = np.where(kinds == CATEGORICAL, LEVELS, 1)
    x = rng.random((s.B, s.D), np.float32)
    counts = np.isin(kinds, [KINDS[name] for name in reference.mixed.COUNTS])
    x[:, counts] = rng.poisson(3.0, (s.B, counts.sum()))
    x[:, kinds == CATEGORICAL] = rng.integers(0, LEVELS, (s.B, (kinds == CATEGORICAL).sum()))
    x[rng.random(x.shape) < MISSING] = np.nan
    stops, ends = np.cumsum(levels), np.cumsum(levels + 1)
    a = rng.standard_normal((s.B, int(stops[-1])), np.float32)
    return x, kinds, stops, ends, a, np.zeros(s.D, np.float32), np.zeros(s.D, np.float32)


def loss_fastvae(on, s):
    x, kinds, stops, _, a, theta, log_scale = inputs(s)
    nll, d_a, d_theta = np.empty(s.B, np.float32), np.empty_like(a), np.empty_like(x)
    operands = x, a, theta, log_scale, kinds, stops, 1 / s.B, nll, d_a, d_theta
    return on.case(on.program("mixed_forward_backward", *operands), lambda: [nll.sum() / s.B, d_a])


def loss_numpy(s):
    x, kinds, stops, _, a, theta, _ = inputs(s)
    names = [NAMES[kind] for kind in kinds]
    found = []

    def step():
        found[:] = reference.mixed_terms(x.astype(float), a.astype(float), theta.astype(float), names, stops)

    return Case(step, lambda: [found[0].sum() / s.B, found[1] / s.B])


def inputs_fastvae(on, s):
    x, kinds, stops, ends, *_ = inputs(s)
    out, zeros = np.empty((s.B, int(ends[-1])), np.float32), np.zeros(s.D, np.float32)
    program = on.program("mixed_inputs", x, zeros, zeros + 1, kinds, stops, ends, out)
    return on.case(program, lambda: [out])


def inputs_numpy(s):
    x, kinds, stops, ends, *_ = inputs(s)
    names, zeros, found = [NAMES[kind] for kind in kinds], np.zeros(s.D), []

    def step():
        found[:] = [reference.mixed_inputs(x.astype(float), zeros, zeros + 1, names, stops, ends)]

    return Case(step, lambda: found)


def parameter_fastvae(on, s):
    x, *_, theta, _ = inputs(s)
    d_theta, out = np.nan_to_num(x), np.empty(s.D, np.float32)
    program = on.program("mixed_parameter_backward", d_theta, theta, theta - 9, out)
    return on.case(program, lambda: [out])


def parameter_numpy(s):
    x, *_, theta, _ = inputs(s)
    d_theta, out = np.nan_to_num(x), np.empty(s.D, np.float32)
    slope = reference.soft_sigma(theta.astype(float), theta.astype(float) - 9)[1]

    def step():
        np.sum(d_theta, axis=0, out=out)
        np.multiply(out, slope, out=out, casting="unsafe")

    return Case(step, lambda: [out])


def _bytes(s):
    x, _, _, ends, a, *_ = inputs(s)
    return x.size, a.size, s.B * int(ends[-1])


OPS = {
    "mixed_forward_backward": Op(
        "byte",
        lambda s: 4 * (2 * _bytes(s)[0] + 2 * _bytes(s)[1] + s.B),
        {**ours(loss_fastvae), "numpy": loss_numpy},
    ),
    "mixed_inputs": Op(
        "byte", lambda s: 4 * (_bytes(s)[0] + _bytes(s)[2]), {**ours(inputs_fastvae), "numpy": inputs_numpy}
    ),
    "mixed_parameter_backward": Op(
        "byte", lambda s: 4 * (s.B * s.D + 3 * s.D), {**ours(parameter_fastvae), "numpy": parameter_numpy}
    ),
}


def test_mixed(measure):
    measure()
