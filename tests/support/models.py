"""Small data and a small model that several tests share."""

import numpy as np

from fastvae import VAE
from fastvae.training import Observer

RNG = np.random.default_rng(20)
PIXELS = RNG.random((60, 12)).astype(np.float32)
TABLE = RNG.normal(size=(60, 12)).astype(np.float32) + np.float32(1)


def small(likelihood="bernoulli", **settings):
    defaults = {"latent_dim": 3, "hidden": (9, 7), "epochs": 2, "batch_size": 16, "random_state": 1}
    return VAE(likelihood=likelihood, **(defaults | settings))


def data(likelihood):
    return PIXELS if likelihood == "bernoulli" else TABLE


class StopAfter(Observer):
    """Asks to stop after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def stepped(self, state, examples):
        self.left -= 1

    def stop_requested(self):
        return self.left <= 0
