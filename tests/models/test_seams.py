"""Models that the package does not have, each in a few lines over its passes: that they can be said is what is tested.

A GAN's step (two networks, two optimizers, losses in two phases), importance weights of several draws a row, and the
gradient of log p(x, z) by z; against float64 NumPy.
"""

import numpy as np
import pytest

from fastvae import VAE, backend, reference
from fastvae.data.minibatches import Examples
from fastvae.data.scaling import Units
from fastvae.engine import Network
from fastvae.kernels import cpu
from fastvae.kernels.philox import LATENT, PRIOR
from fastvae.kernels.slots import Slots
from fastvae.layers import MLP, latent
from fastvae.optimizers import SGD
from fastvae.passes import ROW, Pass
from tests.support.tolerances import check

RNG = np.random.default_rng(0)
ROWS, COLUMNS, Z, HIDDEN, RATE = 12, 5, 3, 7, 0.1


# ---- a GAN ------------------------------------------------------------------------------------------------------


class GAN(Network):
    """Goodfellow et al. 2014, with the loss of the generator that does not saturate: -log D(G(z))."""

    def describe(self, architecture, complete):
        super().describe(architecture, complete)
        self.inputs = {"x": COLUMNS}
        self.discriminator = MLP("discriminator", (COLUMNS, HIDDEN, 1), "tanh", "identity")
        self.generator = MLP("generator", (Z, HIDDEN, COLUMNS), "tanh", "identity")

    def owners(self):
        return [*self.discriminator.layers, *self.generator.layers]

    def step(self, p, optimizers):
        weight, z = p.slots.real("example weight"), p.empty(Z)
        p.add("normal_noise", p.seed, PRIOR, p.step, ROW, z)
        fake, back_generator = self.generator(p, z)
        for name, sample, target in (("real", p.input("x"), 1.0), ("fake", fake, 0.0), ("generator", fake, 1.0)):
            if name == "generator":
                p.update(optimizers[0], self.discriminator.layers)
            a, back = self.discriminator(p, sample)
            labels, loss, d_a = p.cut(np.full((p.rows, 1), target, np.float32)), p.empty(), p.empty(1)
            p.add("bernoulli_forward_backward", labels, a, weight, loss, d_a)
            p.loss(**{name: (loss, weight)})
            d_sample = back(d_a, inputs=name == "generator")
        p.drop_gradients(self.discriminator.layers)
        back_generator(d_sample, inputs=False)
        p.update(optimizers[1], self.generator.layers)


def networks(parameters, prefix, x):
    """An MLP of two layers in float64."""
    weights = [parameters[f"{prefix}.{i}.{kind}"] for i in (0, 1) for kind in ("weight", "bias")]
    return np.tanh(x @ weights[0] + weights[1]) @ weights[2] + weights[3]


def by_differences(loss, parameters, prefix, step=1e-5):
    """The gradient of a loss by the parameters whose names begin so."""
    gradients = {}
    for name in [name for name in parameters if name.startswith(prefix)]:
        gradients[name] = np.zeros_like(parameters[name])
        for place in np.ndindex(parameters[name].shape):
            sides = []
            for sign in (1, -1):
                parameters[name][place] += sign * step
                sides.append(loss(parameters))
                parameters[name][place] -= sign * step
            gradients[name][place] = (sides[0] - sides[1]) / (2 * step)
    return gradients


@pytest.mark.parametrize("threads", [1, 2])
def test_a_step_of_a_gan(threads, monkeypatch):
    network, x = GAN(None, backend.select()), RNG.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    network.prepare(np.uint64(7), Units(np.zeros(COLUMNS), np.ones(COLUMNS)))
    network.initialise_layers(network.seed, np.ones(COLUMNS), np.zeros(COLUMNS))
    before = {name: values.astype(float) for name, values in network.parameters.named_values().items()}
    network.workers.count = threads
    both = [SGD(network.parameters, cpu, RATE, momentum=0.0, name=name) for name in ("discriminator", "generator")]
    examples = Examples(x, network.units.offset, network.units.scale, network.seed, cpu)
    network.allocate(ROWS, both, examples, np.empty(ROWS, np.int64))
    (losses,) = network.steps(1, np.arange(ROWS)[None], np.zeros(1))
    assert len(network._pass(ROWS).phases) == 6  # rows, gradients and steps of each
    z = np.empty((ROWS, Z), np.float32)
    cpu.normal_noise(network.seed, PRIOR, 1, 0, z)

    def softplus(a):
        return np.logaddexp(0, a).mean()

    def of_discriminator(q):
        fake = networks(before, "generator", z.astype(float))
        return softplus(-networks(q, "discriminator", x.astype(float))) + softplus(networks(q, "discriminator", fake))

    expected = {name: values.copy() for name, values in before.items()}
    for name, gradient in by_differences(of_discriminator, before, "discriminator").items():
        expected[name] -= RATE * gradient

    def of_generator(q):
        return softplus(-networks(expected, "discriminator", networks(q, "generator", z.astype(float))))

    assert losses["real"] + losses["fake"] == pytest.approx(of_discriminator(before), rel=1e-5)
    assert losses["generator"] == pytest.approx(of_generator(before), rel=1e-5)
    for name, gradient in by_differences(of_generator, before, "generator").items():
        expected[name] -= RATE * gradient
    for name, values in network.parameters.named_values().items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-6, err_msg=name)


# ---- a VAE's estimators -----------------------------------------------------------------------------------------


def trained():
    X = (RNG.random((40, COLUMNS)) < 0.4).astype(np.float32)
    return VAE(Z, (HIDDEN,), activation="tanh", epochs=2, random_state=3).fit(X), X


def test_importance_weights_of_several_draws():
    """log p(x|z) + log p(z) - log q(z|x) for each draw of z from q(z|x); no two draws share their noise."""
    (vae, X), draws, network = trained(), 4, None
    network = vae.network_

    def weights(p):
        x = p.input("x")
        mu, logvar = network._encoded(p, x)
        zeros, results = p.cut(np.zeros((p.rows, Z), np.float32)), [mu, logvar]
        for k in range(draws):
            noise, parts = p.empty(Z), [p.empty() for _ in range(3)]
            p.add("normal_noise", p.seed, LATENT + (k << 8), p.step, ROW, noise)
            z = latent(p, mu, logvar, noise=noise)[0]
            network.likelihood.nll(p, x, network.decoder(p, z)[0], parts[0])
            p.add("squared_error_forward", z, zeros, 0.0, 1.0, parts[1])  # -log p(z)
            p.add("squared_error_forward", noise, zeros, 0.0, 1.0, parts[2])  # -log q(z|x), but for logvar / 2
            results += parts
        return p.returns(*results)

    found = np.empty((len(X), draws))

    def keep(start, stop, mu, logvar, *parts):
        for k in range(draws):
            nll, prior, posterior = parts[3 * k : 3 * k + 3]
            found[start:stop, k] = -nll - prior + posterior + logvar.sum(axis=1) / 2

    network.over(X, "importance", weights, keep)
    q, (mu, logvar) = {n: v.astype(float) for n, v in vae.parameters().items()}, vae.encode(X)
    seen = []
    for k in range(draws):
        eps = np.empty((len(X), Z), np.float32)
        cpu.normal_noise(vae.seed_, LATENT + (k << 8), 0, 0, eps)
        seen.append(eps)
        z = mu.astype(float) + np.exp(logvar / 2.0) * eps
        a = networks(q, "decoder", z)
        nll = reference.bernoulli_forward_backward(X.astype(float), a)[0]
        ratio = -(z**2).sum(axis=1) / 2 + (eps.astype(float) ** 2 + logvar).sum(axis=1) / 2
        check(found[:, k].astype(np.float32), -nll + ratio, "dense", np.abs(nll) + np.abs(ratio) + 10)
    assert all(
        abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.5 for one in seen for other in seen if one is not other
    )


def test_the_gradient_of_log_p_by_z():
    """d log p(x, z) / d z = -d nll / d z - z, through a decoder whose weights have no gradient."""
    vae, X = trained()
    network, z = vae.network_, RNG.normal(size=(9, Z)).astype(np.float32)
    x = X[:9].copy()

    p = Pass(network.backend, Slots(), 9, {"x": lambda p: p.cut(x), "z": lambda p: p.cut(z)})
    a, back = network.decoder(p, p.input("z"))
    nll, d_a = network.likelihood.loss(p, p.input("x"), a, 1.0)
    d_z = back(d_a)
    with network.backend.passing(1) as workers:
        p.run(workers)
    q = {name: values.astype(float) for name, values in vae.parameters().items()}
    for place in np.ndindex(z.shape):
        sides = []
        for sign in (1, -1):
            moved = z.astype(float)
            moved[place] += sign * 1e-5
            sides.append(-reference.bernoulli_forward_backward(x.astype(float), networks(q, "decoder", moved))[0].sum()
                         - (moved**2).sum() / 2)  # fmt: skip
        assert -d_z[place] - z[place] == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4, abs=1e-5)
    assert np.isfinite(nll).all()
