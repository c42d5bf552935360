"""Minibatches from 60,000 examples: B rows of bytes gathered and scaled, and the order of a whole epoch."""

import numpy as np

from benchmarks.cases import Case, Op
from benchmarks.devices import ours

EXAMPLES = 60_000
SEED = np.uint64(7)


def inputs(s):
    """data (N, D) uint8, indices (B,), offset and scale (D,) float32."""
    rng = np.random.default_rng(5)
    data = rng.integers(0, 256, (EXAMPLES, s.D), dtype=np.uint8)
    return data, rng.integers(0, EXAMPLES, s.B), np.full(s.D, 8, np.float32), np.full(s.D, 255, np.float32)


def gather_fastvae(on, s):
    data, indices, offset, scale = inputs(s)
    out = np.empty((s.B, s.D), np.float32)
    return on.case(on.program("gather", data, indices, offset, scale, out), lambda: [out])


def gather_numpy(s):
    data, indices, offset, scale = inputs(s)
    out = np.empty((s.B, s.D), np.float32)

    def step():
        np.subtract(data[indices], offset, out=out)
        np.divide(out, scale, out=out)

    return Case(step, lambda: [out])


def gather_torch(s):
    import torch

    data, indices, offset, scale = map(torch.from_numpy, inputs(s))
    out = torch.empty((s.B, s.D))
    return Case(lambda: torch.sub(data[indices], offset, out=out).div_(scale), lambda: [out.numpy()])


def shuffle_fastvae(on, s):
    """A function, not a program: on a GPU it includes the copies to the device and back."""
    out, epoch, functions = np.empty(EXAMPLES, np.int64), 0, on.functions

    def step():
        nonlocal epoch
        epoch += 1
        functions.shuffled_indices(SEED, epoch, EXAMPLES, 0, out)

    return Case(step, lambda: [np.sort(out)])


def shuffle_numpy(s):
    rng = np.random.default_rng(0)
    return Case(lambda: rng.permutation(EXAMPLES), lambda: [np.sort(rng.permutation(EXAMPLES))])


def shuffle_torch(s):
    import torch

    return Case(lambda: torch.randperm(EXAMPLES), lambda: [np.sort(torch.randperm(EXAMPLES).numpy())])


OPS = {
    "gather": Op(
        "byte",
        lambda s: s.B * s.D * (1 + 4) + 8 * s.B + 8 * s.D,
        {**ours(gather_fastvae), "numpy": gather_numpy, "torch": gather_torch},
    ),
    "shuffled_indices": Op(
        "byte",
        lambda s: 8 * EXAMPLES,
        {**ours(shuffle_fastvae), "numpy": shuffle_numpy, "torch": shuffle_torch},
        tolerance=0.0,
    ),
}


def test_minibatch(measure):
    measure()
