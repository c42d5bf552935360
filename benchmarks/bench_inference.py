"""A fitted model in use, from NumPy arrays to NumPy arrays: transform, decode and sample, of 1 row and of 4096."""

import functools

import numpy as np
from cases import Case, Op
from numpy_vae import NumpyVAE

from fastvae import VAE

ROWS = (1, 4096)


def fitted(s):
    """A `VAE` with the shared weights."""
    vae = VAE(latent_dim=s.Z, hidden=(s.H,), batch_size=s.B, random_state=0)
    vae.initialize(s.data())
    for name, values in s.weights().items():
        vae.parameters()[name][...] = values
    return vae


def torch_peer(s):
    """The PyTorch VAE with the shared weights."""
    from torch_vae import TorchVAE

    return TorchVAE(s, s.weights())


MODELS = {"fastvae": fitted, "numpy": lambda s: NumpyVAE(s.weights()), "torch": torch_peer}


def case(method, rows, implementation, s):
    """`method` of that implementation on `rows` rows. Samples are random: their mean is what must agree."""
    model = MODELS[implementation](s)
    call = getattr(model, method)
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
        {implementation: functools.partial(case, method, rows, implementation) for implementation in MODELS},
        tolerance=0.02 if method == "sample" else 2e-5,
        rows=rows,
    )
    for method in ("transform", "decode", "sample")
    for rows in ROWS
}


def test_inference(measure):
    measure()
