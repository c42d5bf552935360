"""The latent layer: z drawn from q(z|x) by reparameterization, and the KL to the prior."""

from collections.abc import Callable

import numpy as np

from fastvae.kernels.philox import LATENT
from fastvae.kernels.slots import Slot
from fastvae.passes import ROW, Pass, Row

Back = Callable[[np.ndarray, float | Slot], tuple[np.ndarray, np.ndarray]]


def latent(
    p: Pass,
    mu: np.ndarray,
    logvar: np.ndarray,
    stream: int = LATENT,
    noise: np.ndarray | None = None,
    first_row: Row = ROW,
    z: np.ndarray | None = None,
    kl: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, Back]:
    """Write z = mu + exp(logvar / 2) noise (B, Z) and the KL of each example (B,), in nats.

    Parameters
    ----------
    mu, logvar : (B, Z)
        Of q(z|x), a diagonal Gaussian.
    stream
        Of the noise, which is drawn at (stream, the pass' step, row, column): two draws in one step need two streams,
        or rows that are apart.
    noise : (B, Z), optional
        Used instead of drawing.
    first_row
        Of the noise.
    z, kl
        Where to write, buffers of the pass; new ones by default.

    Returns
    -------
    z, kl, back
        `back(d_z, kl_weight)` writes the backward and returns d_mu and d_logvar: those of the losses that gave d_z, and
        of `kl_weight` times the KL.
    """
    columns = mu.shape[1]
    z, kl = p.empty(columns) if z is None else z, p.empty() if kl is None else kl
    if noise is None and p.backward and p.backend.kernels.KEEPS_NOISE:
        noise = p.empty(columns)
        p.add("normal_noise", p.seed, stream, p.step, first_row, noise)
    draw = noise, p.seed, stream, p.step, first_row
    p.add("latent_forward", mu, logvar, *draw, z, kl)

    def backprop(d_z: np.ndarray, kl_weight: float | Slot) -> tuple[np.ndarray, np.ndarray]:
        d_mu, d_logvar = p.empty(columns), p.empty(columns)
        p.add("latent_backward", mu, logvar, d_z, *draw, kl_weight, d_mu, d_logvar)
        return d_mu, d_logvar

    return z, kl, backprop
