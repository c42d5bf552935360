"""The engine in a loop that is not its own: a layer, a likelihood, a source of data and an optimizer of somebody's own.

python embedded.py model.npz         and later, in any program that imports this file: VAE.load("model.npz")
"""

import sys

import numpy as np

from fastvae import VAE
from fastvae.own import Layer, Likelihood, check_gradients, register


@register
class Laplace(Likelihood):
    """Laplace(x; a, b), with a scale b of each column that is learned: nll = sum_D |x - a| / b + log 2b."""

    NAME, DENSITY, SCALING, LINEAR = "laplace", True, "standard", True
    PARAMETERS = {"log_b": lambda deviation, mean: np.log(deviation / np.sqrt(2))}

    @staticmethod
    def term(x, a, log_b):  # the nll of one number; its derivatives by a and by log_b
        r = (x - a) * np.exp(-log_b)
        return np.abs(r) + log_b + np.log(2), -np.sign(r) * np.exp(-log_b), 1 - np.abs(r)

    @staticmethod
    def inverse_link(a):  # the mean
        return a

    @staticmethod
    def sample(mean, rng, log_b):
        return rng.laplace(mean, np.exp(log_b))


@register
class LayerNorm(Layer):
    """out = gain (x - mean) / deviation + shift, of each row (Ba, Kiros and Hinton 2016)."""

    NAME, ROW, START = "layer_norm", "x:B,D gain:D shift:D -> out:B,D normal:B,D scale:B", {"gain": 1.0}

    @staticmethod
    def forward(x, gain, shift, out, normal, scale):
        for i in range(len(x)):
            scale[i] = 1 / np.sqrt(x[i].var() + 1e-5)
            normal[i] = (x[i] - x[i].mean()) * scale[i]
            out[i] = gain * normal[i] + shift

    @staticmethod
    def backward(x, gain, shift, out, normal, scale, d_out, d_x):
        for i in range(len(x)):
            d = gain * d_out[i]
            d_x[i] = scale[i] * (d - d.mean() - normal[i] * (normal[i] * d).mean())

    @staticmethod
    def gradient(x, gain, shift, out, normal, scale, d_out, d_gain, d_shift):
        d_gain[:], d_shift[:] = 0, 0
        for i in range(len(x)):
            d_gain += d_out[i] * normal[i]
            d_shift += d_out[i]


def batches(rng):
    """Rows without end, 64 at a time, which nobody keeps: eight columns around a curve, with the noise of a Laplace."""
    mixing = np.random.default_rng(1).normal(size=(3, 8))
    while True:
        t = rng.uniform(0, 6, 64)
        yield np.c_[np.cos(t), np.sin(t), t] @ mixing + rng.laplace(scale=0.1, size=(64, 8))


class Lion:
    """Steps by the sign of a moving mean of the gradients (Chen et al. 2023)."""

    def __init__(self, parameters):
        self.parameters, self.means = parameters, {name: np.zeros_like(p) for name, p in parameters.items()}

    def step(self, gradients, rate):
        for name, gradient in gradients.items():
            mean = self.means[name]
            self.parameters[name] -= rate * np.sign(0.9 * mean + 0.1 * gradient)
            mean += 0.01 * (gradient - mean)


if __name__ == "__main__":
    data = batches(np.random.default_rng(0))
    held_out = np.concatenate([next(data) for _ in range(4)])
    hidden = (32, "layer_norm")
    vae = VAE(latent_dim=2, hidden=hidden, activation="silu", likelihood="laplace", random_state=0)
    vae.initialize(np.concatenate([next(data) for _ in range(8)]))  # scaling, and the first parameters
    print("at first", vae.score(held_out), "nats a row")
    errors = check_gradients(vae, held_out[:32])
    print("gradients are right to", max(errors[name] for name in ("decoder.1.gain", "laplace.log_b")))
    optimizer = Lion(vae.parameters())
    for step in range(600):
        loss, parts, gradients = vae.loss_and_gradients(next(data))
        optimizer.step(gradients, 1e-3 * (1 - step / 600))
    print("trained", vae.score(held_out), "nats a row")
    vae.save(sys.argv[1])
