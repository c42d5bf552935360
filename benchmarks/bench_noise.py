"""Arrays (B, D) of normals, and dynamic binarisation. The draws differ, so it is their moments that must agree."""

import numpy as np

from benchmarks.cases import Case, Op
from benchmarks.devices import ours
from fastvae.kernels import philox

SEED = np.uint64(7)


def moments(values):
    """Mean plus 1, so that it can be compared relatively, and variance."""
    return [1 + values.mean(dtype=np.float64), values.var(dtype=np.float64)]


def normal_fastvae(on, s):
    out = np.empty((s.B, s.D), np.float32)
    return on.case(on.program("normal_noise", SEED, philox.PRIOR, 0, 0, out), lambda: moments(out))


def normal_numpy(s):
    out, rng = np.empty((s.B, s.D), np.float32), np.random.default_rng(0)
    return Case(lambda: rng.standard_normal(out=out, dtype=np.float32), lambda: moments(out))


def normal_torch(s):
    import torch

    out = torch.empty((s.B, s.D))
    torch.manual_seed(0)
    return Case(out.normal_, lambda: moments(out.numpy()))


def binarize_fastvae(on, s):
    x = s.data()
    return on.case(on.program("binarize_inplace", x, SEED, 0, 0), lambda: moments(x))


def binarize_numpy(s):
    x, rng = s.data(), np.random.default_rng(0)
    uniforms = np.empty_like(x)

    def step():
        rng.random(out=uniforms, dtype=np.float32)
        np.less(uniforms, x, out=x)

    return Case(step, lambda: moments(x))


def binarize_torch(s):
    import torch

    x = torch.from_numpy(s.data())
    torch.manual_seed(0)
    return Case(lambda: torch.bernoulli(x, out=x), lambda: moments(x.numpy()))


OPS = {
    "normal_noise": Op(
        "byte",
        lambda s: 4 * s.B * s.D,
        {**ours(normal_fastvae), "numpy": normal_numpy, "torch": normal_torch},
        tolerance=0.2,
    ),
    "binarize_inplace": Op(
        "byte",
        lambda s: 4 * 2 * s.B * s.D,
        {**ours(binarize_fastvae), "numpy": binarize_numpy, "torch": binarize_torch},
        tolerance=0.1,
    ),
}


def test_noise(measure):
    measure()
