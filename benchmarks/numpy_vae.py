"""The peer that a NumPy user would write: a Bernoulli VAE D-H-Z with explicit gradients and Adam, nothing compiled."""

import numpy as np

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


class NumpyVAE:
    """Encoder and decoder with one ReLU layer each; `weights` as `sizes.Size.weights` names them."""

    def __init__(self, size, weights):
        self.p = {name: w.copy() for name, w in weights.items()}
        self.rng = np.random.default_rng(0)

    def begin(self):
        self.m = {name: np.zeros_like(w) for name, w in self.p.items()}
        self.v = {name: np.zeros_like(w) for name, w in self.p.items()}
        self.scratch = {name: np.empty_like(w) for name, w in self.p.items()}
        self.count = 0

    def on_device(self, x):
        return x

    def linear(self, name, x):
        out = x @ self.p[f"{name}.weight"]
        out += self.p[f"{name}.bias"]
        return out

    def hidden(self, name, x):
        out = self.linear(name, x)
        return np.maximum(out, 0, out=out)

    def d_linear(self, g, name, x, d_out):
        g[f"{name}.weight"], g[f"{name}.bias"] = x.T @ d_out, d_out.sum(axis=0)
        return d_out @ self.p[f"{name}.weight"].T

    def transform(self, x):
        return self.linear("mu", self.hidden("encoder.0", x))

    def decode(self, z):
        a = self.linear("decoder.1", self.hidden("decoder.0", z))
        np.negative(a, out=a)
        np.exp(a, out=a)
        a += 1
        return np.reciprocal(a, out=a)

    def sample(self, n):
        return self.decode(self.rng.standard_normal((n, len(self.p["mu.bias"])), dtype=np.float32))

    def step(self, x, noise=None):
        """One step of training on x (B, D); return the loss before it."""
        loss, gradients = self.loss_and_gradients(x, noise)
        self.adam(gradients)
        return loss

    def loss_and_gradients(self, x, noise):
        h = self.hidden("encoder.0", x)
        mu, logvar = self.linear("mu", h), self.linear("logvar", h)
        np.clip(logvar, -30, 20, out=logvar)
        eps = self.rng.standard_normal(mu.shape, dtype=np.float32) if noise is None else noise
        deviation = np.exp(0.5 * logvar)
        variance = deviation * deviation
        z = mu + deviation * eps
        g = self.hidden("decoder.0", z)
        a = self.linear("decoder.1", g)
        e = np.exp(-np.abs(a))
        nll = np.sum(np.maximum(a, 0) - x * a + np.log1p(e))
        kl = 0.5 * np.sum(variance + mu * mu - 1 - logvar)

        d, weight = {}, np.float32(1 / len(x))
        d_a = np.where(a < 0, e, 1) / (1 + e)
        d_a -= x
        d_a *= weight
        d_g = self.d_linear(d, "decoder.1", g, d_a)
        d_g *= g > 0
        d_z = self.d_linear(d, "decoder.0", z, d_g)
        d_mu = d_z + weight * mu
        d_logvar = 0.5 * (d_z * eps * deviation + weight * (variance - 1))
        d_h = self.d_linear(d, "mu", h, d_mu)
        d_h += self.d_linear(d, "logvar", h, d_logvar)
        d_h *= h > 0
        d["encoder.0.weight"], d["encoder.0.bias"] = x.T @ d_h, d_h.sum(axis=0)
        return float((nll + kl) * weight), d

    def adam(self, gradients):
        self.count += 1
        rate, correction = RATE / (1 - BETA1**self.count), (1 - BETA2**self.count) ** -0.5
        for name, p in self.p.items():
            g, m, v, s = gradients[name], self.m[name], self.v[name], self.scratch[name]
            m *= BETA1
            m += np.multiply(g, 1 - BETA1, out=s)
            v *= BETA2
            np.multiply(g, g, out=s)
            v += np.multiply(s, 1 - BETA2, out=s)
            np.sqrt(v, out=s)
            s *= correction
            s += EPSILON
            np.divide(m, s, out=s)
            s *= rate
            p -= s
