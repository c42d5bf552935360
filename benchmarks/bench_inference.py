"""A fitted model in use, from NumPy arrays to NumPy arrays: transform, decode and sample, of 1, 128 and 4096 rows."""

import functools

import numpy as np

from benchmarks.cases import Case, Op, model

ROWS = (1, 128, 4096)
IMPLEMENTATIONS = ("fastvae", "numpy", "torch", "jax", "fastvae_cuda")


def case(method, rows, implementation, s):
    """`method` of that implementation on `rows` rows. Samples are random: their mean is what must agree."""
    call = getattr(model(implementation, s), method)
    if method == "sample":
        return Case(lambda: call(rows), lambda: [np.mean(call(4096))])
    argument = s.data(rows) if method == "transform" else s.normals(rows, s.Z)
    return Case(lambda: call(argument), lambda: [call(argument)])


def flops(method, rows, s):
    """Of the products."""
    encoder, decoder = s.D * s.H + s.H * s.Z, s.Z * s.H + s.H * s.D
    return 2 * rows * (encoder if method == "transform" else decoder)


OPS = {
    f"{method}_{rows}": Op(
        "flop",
        functools.partial(flops, method, rows),
        {implementation: functools.partial(case, method, rows, implementation) for implementation in IMPLEMENTATIONS},
        tolerance=0.02 if method == "sample" else 2e-5,
        rows=rows,
    )
    for method in ("transform", "decode", "sample")
    for rows in ROWS
}


def test_inference(measure):
    measure()
