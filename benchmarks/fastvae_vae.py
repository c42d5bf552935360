"""fastvae itself, with the interface that the peers have, so that all are measured by the same lines."""

import contextlib

import numpy as np

from fastvae import VAE
from fastvae.training import AHEAD

FLOPS_AHEAD = {"cpu": 1e9, "cuda": 1e12}  # of the steps that are done at a time: about what `fit` does
TEAMS = contextlib.ExitStack()  # of the case that is built: the process has no more threads than processors


def team(workers):
    """These workers, until the next case is built."""
    TEAMS.close()
    return TEAMS.enter_context(workers)


class FastVAE:
    """A `VAE` with the given weights, over data (N, D) of bytes that it draws from, or over the same B rows."""

    precision, device = "float32", "cpu"

    def __init__(self, size, weights, data=None):
        TEAMS.close()  # what this case is about may want the threads
        scale = None if data is None else (0, 255)
        self.size = size
        self.vae = VAE(
            latent_dim=size.Z,
            hidden=(size.H,),
            batch_size=size.B,
            scale=scale,
            precision=self.precision,
            device=self.device,
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
        network.workers = team(network.backend.workers(s.B, network.largest_product(s.B)))
        most = min(AHEAD, len(self.examples) // s.B) if self.draws else AHEAD
        self.ahead = int(np.clip(FLOPS_AHEAD[self.device] / s.step_flops, 1, most))
        self.order = np.tile(np.arange(s.B, dtype=np.int64), (self.ahead, 1))
        self.indices, self.next_step, self.position = self.order[0].copy(), 1, 0
        network.allocate(s.B, [self.vae._make_optimizer()], self.examples, self.indices)

    def on_device(self, x):
        return x

    def first_step(self, noise):
        """One step on the first B rows; return the loss before it."""
        network = self.vae.network_

        def write(p, optimizers):
            network.step(p, optimizers, p.cut(noise))

        (losses,) = network.steps(self.next_step, self.order[:1], np.zeros(1), write)
        self.next_step += 1
        return losses["loss"]

    def steps(self):
        """`ahead` steps as `fit` does them, a few at a time without Python in between; return the last loss."""
        count, left = self.size.B * self.ahead, self.order
        if self.draws:
            self.examples.order(0, self.position, self.order.reshape(-1))
            self.position = (self.position + count) % (len(self.examples) - count + 1)
        while len(left):
            losses = self.vae.network_.steps(self.next_step, left, np.zeros(len(left)))
            self.next_step += len(losses)
            left = left[len(losses) :]
        return losses[-1]["loss"]


class FastVAEInBfloat16(FastVAE):
    """The same with products of bfloat16."""

    precision = "bfloat16"


class FastVAEOnCuda(FastVAE):
    """The same on a GPU."""

    device = "cuda"


class FastVAEOnCudaInBfloat16(FastVAEOnCuda):
    """There with products of bfloat16."""

    precision = "bfloat16"
