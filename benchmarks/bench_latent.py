"""The latent layer: noise, z = mu + exp(logvar / 2) eps and the KL; and its backward. The same of several samples an
example, with their importance weights.

fastvae draws the noise inside both passes; the others draw it once, store it, and read it again. With a given eps all
must agree.
"""

import numpy as np

from benchmarks.cases import Case, Op
from benchmarks.devices import ours
from fastvae.kernels import philox

PLACE = np.uint64(7), philox.LATENT, 0, 0  # of the noise: seed, stream, step, first row


def inputs(s):
    """mu, logvar, d_z and the eps of the check: (B, Z) each."""
    mu, logvar, d_z, eps = (s.normals(s.B, s.Z, seed=i) for i in range(4))
    return mu, logvar - 1, d_z, eps


def checked(given, *outputs):
    """What fastvae is compared by: the outputs of a program with the given eps."""
    given.returns(*outputs)

    def result():
        given.run()
        return list(outputs)

    return result


def forward_fastvae(on, s):
    mu, logvar, _, eps = inputs(s)
    z, kl = np.empty_like(mu), np.empty(s.B, np.float32)

    drawn, given = (on.program("latent_forward", mu, logvar, noise, *PLACE, z, kl) for noise in (None, eps))
    return on.case(drawn, checked(given, z, kl))


def forward_numpy(s):
    mu, logvar, _, eps = inputs(s)
    rng, noise, z = np.random.default_rng(0), np.empty_like(mu), np.empty_like(mu)

    def layer(noise):
        np.multiply(logvar, 0.5, out=z)
        np.exp(z, out=z)
        np.multiply(z, noise, out=z)
        np.add(z, mu, out=z)
        return [z, 0.5 * np.sum(np.exp(logvar) + mu * mu - 1 - logvar, axis=1)]

    return Case(lambda: layer(rng.standard_normal(out=noise, dtype=np.float32)), lambda: layer(eps))


def forward_torch(s):
    import torch

    mu, logvar, _, eps = map(torch.from_numpy, inputs(s))

    def layer(noise):
        z = mu + torch.exp(0.5 * logvar) * noise
        return z, 0.5 * torch.sum(logvar.exp() + mu * mu - 1 - logvar, dim=1)

    return Case(lambda: layer(torch.randn_like(mu)), lambda: [a.numpy() for a in layer(eps)])


def backward_fastvae(on, s):
    mu, logvar, d_z, eps = inputs(s)
    d_mu, d_logvar = np.empty_like(mu), np.empty_like(mu)
    drawn, given = (
        on.program("latent_backward", mu, logvar, d_z, noise, *PLACE, 1.0, d_mu, d_logvar) for noise in (None, eps)
    )
    return on.case(drawn, checked(given, d_mu, d_logvar))


def backward_numpy(s):
    mu, logvar, d_z, eps = inputs(s)
    d_mu, d_logvar = np.empty_like(mu), np.empty_like(mu)

    def step():
        np.add(d_z, mu, out=d_mu)
        deviation = np.exp(0.5 * logvar)
        np.multiply(d_z, eps, out=d_logvar)
        np.multiply(d_logvar, deviation, out=d_logvar)
        np.add(d_logvar, deviation * deviation - 1, out=d_logvar)
        np.multiply(d_logvar, 0.5, out=d_logvar)

    return Case(step, lambda: [d_mu, d_logvar])


def backward_torch(s):
    import torch

    mu, logvar, d_z, eps = map(torch.from_numpy, inputs(s))
    leaves = [mu.requires_grad_(), logvar.requires_grad_()]
    z = mu + torch.exp(0.5 * logvar) * eps
    kl = 0.5 * torch.sum(logvar.exp() + mu * mu - 1 - logvar)

    def step():
        return torch.autograd.grad([z, kl], leaves, [d_z, torch.ones(())], retain_graph=True)

    return Case(step, lambda: [a.numpy() for a in step()])


SAMPLES = 5  # of an example, where there are several


def several(s):
    """mu, logvar (B, Z); d_z and the eps of the check (B K, Z), weights (B K,)."""
    mu, logvar = s.normals(s.B, s.Z, seed=0), s.normals(s.B, s.Z, seed=1) - 1
    d_z, eps = (s.normals(s.B * SAMPLES, s.Z, seed=i) for i in (2, 3))
    return mu, logvar, d_z, eps, np.abs(s.normals(s.B * SAMPLES, seed=4))


def samples_forward_fastvae(on, s):
    mu, logvar, _, eps, _ = several(s)
    z, log_ratio = np.empty_like(eps), np.empty(len(eps), np.float32)
    drawn, given = (
        on.program("latent_samples_forward", mu, logvar, noise, *PLACE, z, log_ratio) for noise in (None, eps)
    )
    return on.case(drawn, checked(given, z, log_ratio))


def samples_forward_numpy(s):
    mu, logvar, _, eps, _ = several(s)
    rng, noise = np.random.default_rng(0), np.empty_like(eps)

    def layer(noise):
        each = noise.reshape(s.B, SAMPLES, s.Z)
        z = mu[:, None] + np.exp(0.5 * logvar)[:, None] * each
        return [z.reshape(noise.shape), 0.5 * (each**2 - z**2 + logvar[:, None]).sum(axis=2).ravel()]

    return Case(lambda: layer(rng.standard_normal(out=noise, dtype=np.float32)), lambda: layer(eps))


def samples_backward_fastvae(on, s):
    mu, logvar, d_z, eps, weights = several(s)
    out = np.empty_like(mu), np.empty_like(mu)
    drawn, given = (
        on.program("latent_samples_backward", mu, logvar, d_z, noise, *PLACE, weights, 0, 0.0, None, *out)
        for noise in (None, eps)
    )
    return on.case(drawn, checked(given, *out))


def samples_backward_numpy(s):
    mu, logvar, d_z, eps, weights = several(s)
    d_z, eps, a = (array.reshape(s.B, SAMPLES, -1) for array in (d_z, eps, weights))

    def step():
        deviation = np.exp(0.5 * logvar)[:, None]
        g = d_z + a * (mu[:, None] + deviation * eps)
        return [g.sum(axis=1), 0.5 * (g * eps * deviation - a).sum(axis=1)]

    return Case(step, step)


def weights_fastvae(on, s):
    _, _, _, _, nll = several(s)
    bound, weights = np.empty(s.B, np.float32), np.empty_like(nll)
    return on.case(
        on.program("importance_weights", nll[::-1].copy(), nll, 1 / s.B, bound, weights), lambda: [bound, weights]
    )


def weights_numpy(s):
    _, _, _, _, nll = several(s)
    log_ratio = nll[::-1].copy()

    def step():
        log_w = (log_ratio - nll).reshape(s.B, SAMPLES)
        highest = log_w.max(axis=1, keepdims=True)
        w = np.exp(log_w - highest)
        total = w.sum(axis=1, keepdims=True)
        return [-(highest + np.log(total / SAMPLES)).ravel(), (w / (total * s.B)).ravel()]

    return Case(step, step)


OPS = {
    "latent_forward": Op(
        "byte",
        lambda s: 4 * (3 * s.B * s.Z + s.B),
        {**ours(forward_fastvae), "numpy": forward_numpy, "torch": forward_torch},
    ),
    "latent_backward": Op(
        "byte",
        lambda s: 4 * 5 * s.B * s.Z,
        {**ours(backward_fastvae), "numpy": backward_numpy, "torch": backward_torch},
    ),
    "latent_samples_forward": Op(
        "byte",
        lambda s: 4 * s.B * (2 * s.Z + SAMPLES * (s.Z + 1)),
        {**ours(samples_forward_fastvae), "numpy": samples_forward_numpy},
    ),
    "latent_samples_backward": Op(
        "byte",
        lambda s: 4 * s.B * (4 * s.Z + SAMPLES * (s.Z + 1)),
        {**ours(samples_backward_fastvae), "numpy": samples_backward_numpy},
    ),
    "importance_weights": Op(
        "byte", lambda s: 4 * s.B * (3 * SAMPLES + 1), {**ours(weights_fastvae), "numpy": weights_numpy}
    ),
}


def test_latent(measure):
    measure()
