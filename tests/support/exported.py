"""Small models of every kind that is exported, with rows to ask them about: usual ones, and extreme ones."""

import numpy as np
import pytest

from fastvae import GAN, RBM, VAE, Autoencoder, DenoisingAutoencoder, SparseAutoencoder

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(90, 5)).cumsum(axis=1) * [1, 10, 100, 1e-3, 1] + [0, 5, 1e6, 0, -3]
BINARY, COUNTS = (np.median(REAL, axis=0) < REAL).astype(np.float32), RNG.poisson(4, (90, 5)).astype(float)
TIMES = REAL + [1.7e9, 0, 0, 0, 0]  # of which float32 would not hold the differences
SMALL = {"hidden": (8,), "latent_dim": 2, "epochs": 3, "batch_size": 30, "random_state": 0}
TEXT, NUMBERS = np.array(["ash", "elm", "oak"])[np.arange(90) % 3], RNG.normal(size=(90, 2)) * [1, 1e3] + [0, 2e3]
G, B = {"likelihood": "gaussian"}, {"likelihood": "bernoulli"}

MODELS = {
    "gaussian": (VAE(**G, **SMALL), REAL, None),
    "two layers, silu, no linear path": (
        VAE(**G, activation="silu", linear=False, **SMALL | {"hidden": (8, 6)}), REAL, None,
    ),
    "no hidden layer": (VAE(**G, **SMALL | {"hidden": ()}), REAL, None),
    "far from 0, tanh": (VAE(**G, activation="tanh", sigma=0.5, **SMALL), TIMES, None),
    "one sigma, five latents": (
        VAE(**G, sigma="optimal", sigma_per_column=False, **SMALL | {"latent_dim": 5}), REAL, None,
    ),
    "bernoulli": (VAE(**B, activation="leaky_relu", **SMALL), BINARY, None),
    "minmax": (VAE(**B, scale="minmax", activation="softplus", **SMALL), REAL, None),
    "range": (VAE(**B, scale=(0, 16), activation="identity", **SMALL), COUNTS.clip(0, 16), None),
    "poisson": (VAE(likelihood="poisson", activation="sigmoid", **SMALL), COUNTS, None),
    "large counts": (VAE(likelihood="poisson", **SMALL), COUNTS * 1000, None),
    "rates beyond e^30": (VAE(likelihood="poisson", **SMALL), COUNTS, None),
    "labels": (VAE(**G, **SMALL), REAL, TEXT),
    "whole numbers": (VAE(**B, **SMALL | {"hidden": ()}), BINARY, np.arange(90) % 4 - 2),
    "booleans": (VAE(likelihood="poisson", **SMALL), COUNTS, np.arange(90) % 2 == 0),
    "numbers": (VAE(**G, activation="silu", **SMALL), REAL, NUMBERS),
    "one number": (VAE(**B, **SMALL), BINARY, NUMBERS[:, 1]),
    "autoencoder": (Autoencoder(**G, **SMALL), REAL, None),
    "sparse": (SparseAutoencoder(**B, **SMALL), BINARY, None),
    "denoising": (DenoisingAutoencoder(**G, corruption="gaussian", amount=0.2, **SMALL), REAL, None),
    "gan": (GAN(2, (8,), epochs=2, random_state=0), BINARY, None),
    "gan of real rows": (GAN(2, (8,), output="identity", epochs=2, random_state=0), REAL, None),
    "rbm": (RBM(4, epochs=2, random_state=0), BINARY, None),
    "rbm of real rows": (RBM(4, visible="gaussian", epochs=2, random_state=0), REAL, None),
}  # fmt: skip

USUAL = {"gaussian", "far from 0, tanh", "minmax", "poisson", "labels", "numbers", "autoencoder", "gan", "rbm"}
NAMES = [name if name in USUAL else pytest.param(name, marks=pytest.mark.long) for name in MODELS]


def fitted(name):
    """The model of that name, its data and its condition."""
    model, X, condition = MODELS[name]
    if not model.__sklearn_is_fitted__():
        model.fit(X, condition=condition)
        if name == "rates beyond e^30":
            model.parameters()["decoder.1.bias"][:2] = 32, 29
    return model, X, condition


def methods(model):
    """What the model answers, by the names of the exported files."""
    found = {"decode": model.decode}
    if hasattr(model, "transform"):
        found |= {"encode": getattr(model, "encode", model.transform), "reconstruct": model.reconstruct}
        if hasattr(model, "score_samples") and not isinstance(model, RBM):
            found["score"] = model.score_samples
    return found


def extreme(X):
    """Rows that are unlike the data X, or of values that a model refuses: (rows, what each is)."""
    row, spread = X[0].astype(np.float64), np.std(X, axis=0) + 1e-9
    found = {"usual": row, "zeros": row * 0, "negative zeros": row * -0.0, "denormal": row * 0 + 1e-40}
    for far in (1, 10, 1e3, 1e6):
        found |= {
            f"{far:g} deviations": row + far * spread,
            f"{far:g} below": row - np.roll(far * spread * [1, -1, 1, 1, -1], 1),
        }
    for value in (
        1e30,
        -1e30,
        3e38,
        -3e38,
        1e39,
        np.inf,
        -np.inf,
        np.nan,
        0.5,
        1 + 1e-7,
        1.0000005,
        1.01,
        -1e-7,
        -0.01,
    ):
        found[f"a value of {value!r}"] = np.where(np.arange(5) == 1, value, row)
    found |= {f"all {value:g}": row * 0 + value for value in (1e20, -1e30, 7, 1e6, 1e12)}
    return list(found.values()), list(found)
