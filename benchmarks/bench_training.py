"""One whole training step: forward, backward, Adam, and the loss read back as a float. Bernoulli, ReLU.

From the same weights and with the same noise, the losses of the first steps must agree to 1e-4.
"""

import numpy as np
from bench_inference import fitted
from cases import Case, Op
from numpy_vae import NumpyVAE

from fastvae.training import Batch
from fastvae.workers import Workers, shares_for

CHECKED = 4  # steps


def losses(s, step):
    """Losses of the first steps with a given noise; called before any other step."""
    return [step(s.normals(s.B, s.Z, seed=i)) for i in range(CHECKED)]


def step_fastvae(s):
    x = s.data()
    vae = fitted(s)
    network, optimizer = vae.network_, vae._make_optimizer()
    network.workers = Workers(shares_for(s.B, network.largest_product(s.B))).__enter__()  # until the process ends
    network.allocate(s.B, optimizer)
    batch = Batch.of(x, 0, 0.0)

    def step(noise=None):
        batch.step += 1
        return network.step(batch, noise)["loss"]

    first = losses(s, step)
    batch.fill = lambda start, stop, out: None  # from now on the data are there, as the others' are
    return Case(step, lambda: [np.array(first)])


def step_numpy(s):
    x = s.data()
    vae = NumpyVAE(s.weights())
    first = losses(s, lambda noise: vae.step(x, noise))
    return Case(lambda: vae.step(x), lambda: [np.array(first)])


def step_torch(s):
    import torch
    from torch_vae import TorchVAE

    x = torch.from_numpy(s.data())
    vae = TorchVAE(s, s.weights())
    first = losses(s, lambda noise: vae.step(x, torch.from_numpy(noise)))
    return Case(lambda: vae.step(x), lambda: [np.array(first)])


OPS = {
    "step": Op(
        "flop",
        lambda s: s.step_flops,
        {"fastvae": step_fastvae, "numpy": step_numpy, "torch": step_torch},
        tolerance=1e-4,
    )
}


def test_training(measure):
    measure()
