"""fastvae itself, with the interface that the peers have, so that all are measured by the same lines."""

import contextlib

import numpy as np

from fastvae import VAE
from fastvae.training import Batch
from fastvae.workers import Workers, shares_for

TEAMS = contextlib.ExitStack()  # of the case that is built: the process has no more threads than processors


def team(shares):
    """Workers for so many shares, until the next case is built."""
    TEAMS.close()
    return TEAMS.enter_context(Workers(shares))


class FastVAE:
    """A `VAE` with the given weights; `data` (N, D) of bytes is what it draws batches from, if anything."""

    precision = "float32"

    def __init__(self, size, weights, data=None):
        scale = None if data is None else (0, 255)
        self.size = size
        self.vae = VAE(
            latent_dim=size.Z,
            hidden=(size.H,),
            batch_size=size.B,
            scale=scale,
            precision=self.precision,
            random_state=0,
        )
        self.examples = self.vae.initialize(size.data(max(2, size.B)) if data is None else data)
        self.draws = data is not None
        for name, values in weights.items():
            self.vae.parameters()[name][...] = values
        self.transform, self.decode, self.sample = self.vae.transform, self.vae.decode, self.vae.sample

    def begin(self):
        """What `fit` does before the first step."""
        s, network = self.size, self.vae.network_
        network.workers = team(shares_for(s.B, network.largest_product(s.B)))
        self.indices = np.arange(s.B, dtype=np.int64)
        examples = self.examples if self.draws else None
        network.allocate(s.B, self.vae._make_optimizer(), examples, self.indices)
        self.batch, self.position, self.held = Batch(s.B, self.fill, 0, 0.0), 0, None

    def on_device(self, x):
        return x

    def fill(self, start, stop, out):
        """Copy the batch to where the network reads it, unless it lies there from the step before, as a peer's does."""
        if self.held is not self.x:
            out[...], self.held = self.x[start:stop], self.x

    def step(self, x, noise=None):
        """One step of training on x (B, D); return the loss before it."""
        self.x, self.batch.step = x, self.batch.step + 1
        return self.vae.network_.step(self.batch, noise)["loss"]

    def drawn_batch(self):
        """Choose the next rows of a shuffled epoch: the step itself reads and scales them."""
        self.examples.order(0, self.position, self.indices)
        self.position = (self.position + self.size.B) % (len(self.examples) - self.size.B + 1)


class FastVAEInBfloat16(FastVAE):
    """The same with products of bfloat16."""

    precision = "bfloat16"
