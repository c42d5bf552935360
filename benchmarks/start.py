"""A process that does one thing for the first time and ends.

`python -m benchmarks.start IMPLEMENTATION WHAT MODEL_FILE`, in this checkout. Ours is used as its users do;
the peers train their first step.
"""

import os
import sys

from benchmarks.cases import OURS, model
from benchmarks.sizes import SIZES

SIZE = SIZES["XS"]


def first_step(implementation: str) -> None:
    if implementation == OURS:
        from fastvae import VAE

        vae = VAE(latent_dim=SIZE.Z, hidden=(SIZE.H,), batch_size=SIZE.B, random_state=0)
        vae.partial_fit(SIZE.data())
    else:
        peer = model(implementation, SIZE)
        peer.begin()
        peer.step(peer.on_device(SIZE.data()))


def first_transform(file: str) -> None:
    """Of one row, by a model from a file."""
    from fastvae import VAE

    VAE.load(file).transform(SIZE.data(1))


if __name__ == "__main__":
    if sys.argv[2] == "first step":
        first_step(sys.argv[1])
    else:
        first_transform(sys.argv[3])
    os._exit(0)  # without the time that a library takes to leave
