"""The training that tests of the driver do, here and in processes of their own."""

import numpy as np

from fastvae import VAE

X = np.random.default_rng(0).random((8, 6)).astype(np.float32)


def model(**settings):
    """One that takes a step."""
    return VAE(**{"latent_dim": 2, "hidden": (5,), "batch_size": 8, "epochs": 1, "random_state": 0} | settings)


def far(found, expected):
    """How far two models are apart: the greatest difference by the greatest number of an array."""
    pairs = [(found.parameters()[name], values) for name, values in expected.parameters().items()]
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
