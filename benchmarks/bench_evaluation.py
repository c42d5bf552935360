"""log p(x) of some rows by importance sampling, 500 samples each, beside plain NumPy and PyTorch.

The whole test set of MNIST: `likelihood.py`.
"""

import functools

import numpy as np

from benchmarks.cases import Case, Op
from benchmarks.peer_likelihoods import Torch, numpy_batched

ROWS, SAMPLES = (64, 512), 500


def case(rows, implementation, s):
    """Draws are random: the mean over the rows is what must agree."""
    from fastvae import VAE

    X = (s.data(rows) > 0.5).astype(np.float32)
    model = VAE(s.Z, (s.H,), activation="tanh", likelihood="bernoulli", random_state=0)
    model.initialize(X)
    if implementation == "fastvae":
        return Case(lambda: model.score_samples(X, method="importance", n_samples=SAMPLES), lambda: [means(model, X)])
    weights = {name: np.array(value) for name, value in model.parameters().items()}
    call = functools.partial(numpy_batched, weights) if implementation == "numpy" else Torch(weights).batched
    return Case(lambda: call(X, SAMPLES), lambda: [np.mean(call(X, 4 * SAMPLES))])


def means(model, X):
    """The mean over the rows."""
    return np.mean(model.score_samples(X, method="importance", n_samples=4 * SAMPLES))


def flops(rows, s):
    """Of the decoder's products."""
    return 2 * rows * SAMPLES * (s.Z * s.H + s.H * s.D)


OPS = {
    f"importance_{rows}": Op(
        "flop",
        functools.partial(flops, rows),
        {name: functools.partial(case, rows, name) for name in ("fastvae", "numpy", "torch")},
        tolerance=0.02,
        rows=rows,
    )
    for rows in ROWS
}


def test_evaluation(measure):
    measure()
