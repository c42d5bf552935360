"""The peer that a PyTorch user would serve with: the layers of a trained VAE as a module, from and to NumPy."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from fastvae.export.portable import Portable

ACTIVATIONS = {"identity": lambda a: a, "relu": functional.relu, "silu": functional.silu, "tanh": torch.tanh}


class TorchServing(nn.Module):
    """Encoder, decoder and ELBO of a VAE without a condition; Bernoulli or Gaussian."""

    def __init__(self, m: Portable):
        super().__init__()
        self.bernoulli, self.constant = m.likelihood == "bernoulli", m.log_jacobian
        arrays = {"offset": m.units.offset, "scale": m.units.scale, "points": m.points}
        arrays["rate"] = np.broadcast_to(1 / m.sigma, m.columns)
        for name, values in arrays.items():
            self.register_buffer(name, torch.tensor(np.asarray(values, np.float32)))
        if not self.bernoulli:
            sigma = np.broadcast_to(m.sigma, m.columns)
            self.constant += float(np.log(sigma).sum()) + 0.5 * math.log(2 * math.pi) * m.columns
        self.scaled = not m.units.same
        self.halves = nn.ModuleDict({"encoder": Half(m.encoder), "decoder": Half(m.decoder)})

    def units(self, x):
        return (x - self.offset) / self.scale if self.scaled else x

    def codes(self, x):
        return self.halves["encoder"](self.units(x))[0]

    def mean(self, z):
        (a,) = self.halves["decoder"](z)
        mean = torch.sigmoid(a) if self.bernoulli else a
        return mean * self.scale + self.offset if self.scaled else mean

    def elbo(self, x):
        u = self.units(x)
        mu, logvar = self.halves["encoder"](u)
        logvar = logvar.clamp(-30, 20)
        z = mu[:, None] + torch.exp(0.5 * logvar)[:, None] * self.points
        (a,) = self.halves["decoder"](z)
        if self.bernoulli:
            target = u[:, None].expand_as(a)
            nll = functional.binary_cross_entropy_with_logits(a, target, reduction="none").sum(dim=2)
        else:
            nll = 0.5 * torch.square((u[:, None] - a) * self.rate).sum(dim=2)
        kl = 0.5 * (torch.exp(logvar) + mu * mu - 1 - logvar).sum(dim=1)
        return -(nll.mean(dim=1) + kl) - self.constant


class Half(nn.Module):
    """Layers, then heads; a linear path beside where there is one."""

    def __init__(self, half):
        super().__init__()
        self.layers = nn.ModuleList(linear(layer.weight, layer.bias) for layer in half.layers)
        self.heads = nn.ModuleList(linear(layer.weight, layer.bias) for layer in half.heads.values())
        self.besides = nn.ModuleList(
            nn.Identity() if layer.beside is None else linear(layer.beside, None) for layer in half.heads.values()
        )
        self.has_beside = [layer.beside is not None for layer in half.heads.values()]
        self.activation = ACTIVATIONS[half.layers[0].activation]

    def forward(self, x):
        h = x
        for layer in self.layers:
            h = self.activation(layer(h))
        return [
            head(h) + beside(x) if has else head(h)
            for head, beside, has in zip(self.heads, self.besides, self.has_beside, strict=True)
        ]


def linear(weight, bias):
    layer = nn.Linear(*weight.shape, bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.T.copy()))
        if bias is not None:
            layer.bias.copy_(torch.from_numpy(bias))
    return layer


def functions(m: Portable, compiled: bool) -> dict:
    """transform, decode and score_samples of arrays."""
    module = TorchServing(m).eval()
    found = {}
    for name, method in (("transform", module.codes), ("decode", module.mean), ("score_samples", module.elbo)):
        method = torch.compile(method) if compiled else method

        def call(x, method=method):
            with torch.no_grad():
                return method(torch.from_numpy(x)).numpy()

        found[name] = call
    return found
