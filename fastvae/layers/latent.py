"""The latent layer: z drawn from q(z|x) by reparameterization, once or several times; and the KL to the prior."""

from collections.abc import Callable

import numpy as np

from fastvae.kernels.philox import LATENT, SAMPLES
from fastvae.kernels.slots import Slot
from fastvae.passes import ROW, Each, Pass, Row

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


def latent_samples(
    p: Pass,
    mu: np.ndarray,
    logvar: np.ndarray,
    samples: int,
    stream: int = SAMPLES,
    first_sample: Slot | None = None,
    noise: np.ndarray | None = None,
    log_ratio: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, Callable[..., tuple[np.ndarray, np.ndarray]]]:
    """Write `samples` = K draws of z an example, (B K, Z), and log p(z) - log q(z|x) of each, (B K,), in nats: row
    i K + k is sample k of example i.

    Parameters
    ----------
    mu, logvar : (B, Z)
        Of q(z|x), a diagonal Gaussian.
    samples
        K.
    stream, first_sample
        Of the noise, which is drawn at (stream, first_sample + k, row of the example, column). By default the number
        "first sample" says which: a step of a training sets it.
    noise : (B K, Z), optional
        Used instead of drawing.
    log_ratio
        Where to write, a buffer of the pass; a new one by default.

    Returns
    -------
    z, log_ratio, back
        `back(d_z, weights, doubly, kl_weight, counted)` writes the backward and returns d_mu and d_logvar: see
        `latent_samples_backward` of the contract for what is not given by default.
    """
    columns = mu.shape[1]
    z = p.empty(columns, repeats=samples)
    log_ratio = p.empty(repeats=samples) if log_ratio is None else log_ratio
    draw = noise, p.seed, stream, p.slots.whole("first sample") if first_sample is None else first_sample, ROW
    p.add("latent_samples_forward", mu, logvar, *draw, z, log_ratio)

    def backprop(
        d_z: np.ndarray, weights: np.ndarray | None = None, doubly: bool = False, kl_weight: float | Slot = 0.0,
        counted: Each | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
        d_mu, d_logvar = p.empty(columns), p.empty(columns)
        how = weights, int(doubly), kl_weight, counted
        p.add("latent_samples_backward", mu, logvar, d_z, *draw, *how, d_mu, d_logvar)
        return d_mu, d_logvar

    return z, log_ratio, backprop
