"""What the processes of test_concurrency.py import: a model that is large enough for threads to share, and its uses."""

import os
import threading

import numpy as np

from fastvae import VAE
from fastvae.kernels.cpu import workers

THREADS = 3
os.environ["FASTVAE_THREADS"] = str(THREADS)
X = np.random.default_rng(0).random((1100, 300)).astype(np.float32)

# each call with a number of rows of its own, or with the same as another
USES = {
    "transform": lambda vae, i: vae.transform(X[: 1100 - 7 * i]),
    "decode": lambda vae, i: vae.decode(np.random.default_rng(i).normal(size=(600 + i, 4))),
    "elbo": lambda vae, i: vae.elbo(X[i : i + 550]),
    "sample": lambda vae, i: vae.sample(700, random_state=i),
    "one row": lambda vae, i: vae.elbo(X[i : i + 1]),
}


def made():
    """A fitted model, in whose training all threads took part."""
    vae = VAE(4, (200,), epochs=1, batch_size=128, random_state=0).fit(X)
    assert workers.shares_for(128, vae.network_.largest_product(128)) == workers.processors() == THREADS
    return vae


def parameters(_=None):
    """The bits that training gives."""
    return made().network_.parameters.values.tobytes()


def use(vae, i):
    """The bits of everything that can be asked of a model, or of the file of one."""
    vae = vae if isinstance(vae, VAE) else VAE.load(vae)
    return {name: function(vae, i).tobytes() for name, function in USES.items()}


def helpers():
    """Names of the helper threads in this process."""
    return [t.name for t in threading.enumerate() if t.name.startswith("fastvae-")]
