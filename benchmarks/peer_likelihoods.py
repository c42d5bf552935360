"""log p(x) by importance sampling as users of other libraries compute it: the peers of `fastvae.evaluation.importance`.

All take the same weights (names of `VAE.parameters`), rows in {0, 1} (N, D), and K; activations are tanh, p(x|z) is
Bernoulli, z comes from q(z|x). Each returns log 1/K sum_k w_k (N,) in nats.
"""

import math

import numpy as np

ROWS = 4096  # of samples that go through the decoder at a time, where a peer may choose
REPEATED = 100  # samples at a time in the loop over examples, as in the code of Tomczak and Welling 2018


def numpy_batched(weights, X, samples, seed=0):
    """Batches of examples and samples together, in float32 NumPy."""
    rng, values = np.random.default_rng(seed), np.empty(len(X))
    at_once = max(1, ROWS // samples)
    for start in range(0, len(X), at_once):
        x = X[start : start + at_once]
        h = x
        for w, b in _layers(weights, "encoder"):
            h = np.tanh(h @ w + b)
        mu, logvar = (h @ weights[f"{name}.weight"] + weights[f"{name}.bias"] for name in ("mu", "logvar"))
        eps = rng.standard_normal((len(x), samples, mu.shape[1]), np.float32)
        z = mu[:, None] + np.exp(logvar / 2)[:, None] * eps
        *hidden, (w, b) = _layers(weights, "decoder")
        h = z.reshape(-1, z.shape[2])
        for v, c in hidden:
            h = np.tanh(h @ v + c)
        a = (h @ w + b).reshape(len(x), samples, -1)
        nll = (np.logaddexp(0, a) - x[:, None] * a).sum(axis=2, dtype=np.float64)
        log_w = 0.5 * (np.square(eps) - np.square(z) + logvar[:, None]).sum(axis=2, dtype=np.float64) - nll
        top = log_w.max(axis=1)
        values[start : start + at_once] = top + np.log(np.exp(log_w - top[:, None]).mean(axis=1))
    return values


class Torch:
    """The network in PyTorch."""

    def __init__(self, weights):
        import torch

        self.torch = torch
        self.weights = {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}

    def _encode(self, x):
        h = x
        for w, b in _layers(self.weights, "encoder"):
            h = self.torch.tanh(self.torch.addmm(b, h, w))
        return [self.torch.addmm(self.weights[f"{n}.bias"], h, self.weights[f"{n}.weight"]) for n in ("mu", "logvar")]

    def _decode(self, z):
        *hidden, (w, b) = _layers(self.weights, "decoder")
        for v, c in hidden:
            z = self.torch.tanh(self.torch.addmm(c, z, v))
        return self.torch.addmm(b, z, w)

    def batched(self, X, samples, seed=0):
        """Batches of examples and samples together; x is not repeated where it can be broadcast."""
        torch = self.torch
        torch.manual_seed(seed)
        values, examples = [], max(1, min(len(X), 256))
        with torch.inference_mode():
            for start in range(0, len(X), examples):
                x = torch.from_numpy(X[start : start + examples])
                mu, logvar = self._encode(x)
                deviation, found = torch.exp(0.5 * logvar), []
                each = max(1, ROWS // len(x))
                for first in range(0, samples, each):
                    count = min(each, samples - first)
                    eps = torch.randn(count, *mu.shape)
                    z = torch.addcmul(mu, deviation, eps)
                    a = self._decode(z.reshape(-1, z.shape[2])).reshape(count, *x.shape)
                    nll = torch.nn.functional.binary_cross_entropy_with_logits(a, x.expand_as(a), reduction="none").sum(
                        dim=2
                    )
                    found.append(0.5 * (eps.square() - z.square() + logvar).sum(dim=2) - nll)
                values.append(torch.logsumexp(torch.cat(found).double(), dim=0) - math.log(samples))
        return torch.cat(values).numpy()

    def loop(self, X, samples, seed=0):
        """One example after the other, repeated for each sample through the whole model, as the evaluation of many
        published codes has it."""
        torch = self.torch
        torch.manual_seed(seed)
        values = np.empty(len(X))
        with torch.inference_mode():
            for i, row in enumerate(X):
                found = []
                for first in range(0, samples, REPEATED):
                    x = torch.from_numpy(row).expand(min(REPEATED, samples - first), -1).contiguous()
                    mu, logvar = self._encode(x)
                    z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
                    p = torch.sigmoid(self._decode(z)).clamp(1e-7, 1 - 1e-7)
                    log_x = (x * torch.log(p) + (1 - x) * torch.log(1 - p)).sum(dim=1)
                    log_z = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)
                    apart = (z - mu).square() / torch.exp(logvar)
                    log_q = -0.5 * (logvar + apart + math.log(2 * math.pi)).sum(dim=1)
                    found.append(log_x + log_z - log_q)
                values[i] = float(torch.logsumexp(torch.cat(found).double(), dim=0)) - math.log(samples)
        return values


def _layers(weights, name):
    """(weight, bias) of each layer of a network."""
    i = 0
    while f"{name}.{i}.weight" in weights:
        yield weights[f"{name}.{i}.weight"], weights[f"{name}.{i}.bias"]
        i += 1
