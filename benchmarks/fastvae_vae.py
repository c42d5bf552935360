"""fastvae itself, with the interface that the peers have, so that all are measured by the same lines."""

import numpy as np

from fastvae import VAE
from fastvae.training import Batch
from fastvae.workers import Workers, shares_for


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
        for name, values in weights.items():
            self.vae.parameters()[name][...] = values
        self.transform, self.decode, self.sample = self.vae.transform, self.vae.decode, self.vae.sample

    def begin(self):
        """What `fit` does before the first step."""
        s, network = self.size, self.vae.network_
        network.workers = Workers(shares_for(s.B, network.largest_product(s.B))).__enter__()  # until the process ends
        network.allocate(s.B)
        self.optimizer = self.vae._make_optimizer()
        self.batch, self.position = Batch(np.empty((s.B, s.D), np.float32), 0, 0.0), 0
        self.indices = np.empty(s.B, np.int64)

    def on_device(self, x):
        return x

    def step(self, x, noise=None):
        """One step of training on x (B, D); return the loss before it."""
        self.batch.x, self.batch.step = x, self.batch.step + 1
        loss = self.vae.network_.loss_and_gradients(self.batch, noise)["loss"]
        self.optimizer.step()
        return loss

    def drawn_batch(self):
        """The next rows of a shuffled epoch, scaled: (B, D)."""
        self.examples.order(0, self.position, self.indices)
        self.examples.fill(self.indices, self.batch.x, self.batch.step + 1, 0)
        self.position = (self.position + self.size.B) % (len(self.examples) - self.size.B + 1)
        return self.batch.x


class FastVAEInBfloat16(FastVAE):
    """The same with products of bfloat16."""

    precision = "bfloat16"
