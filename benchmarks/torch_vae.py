"""The peer that a PyTorch user would write: modules, autograd, fused Adam, eager mode."""

import torch
from torch import nn
from torch.nn import functional


class TorchVAE(nn.Module):
    """Encoder and decoder with one ReLU layer each; `weights` as `sizes.Size.weights` names them."""

    def __init__(self, size, weights):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(size.D, size.H), nn.ReLU())
        self.mu, self.logvar = nn.Linear(size.H, size.Z), nn.Linear(size.H, size.Z)
        self.decoder = nn.Sequential(nn.Linear(size.Z, size.H), nn.ReLU(), nn.Linear(size.H, size.D))
        places = {"decoder.1": "decoder.2"}  # Sequential counts the ReLU too
        state = {}
        for name, values in weights.items():
            layer, part = name.rsplit(".", 1)
            state[f"{places.get(layer, layer)}.{part}"] = torch.from_numpy(values.T.copy())
        self.load_state_dict(state)

    def begin(self):
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-3, fused=True)

    def on_device(self, x):
        return torch.from_numpy(x)

    def loss(self, x, noise):
        """Of x (B, D) with eps (B, Z), a tensor."""
        h = self.encoder(x)
        mu, logvar = self.mu(h), self.logvar(h).clamp(-30, 20)
        z = mu + torch.exp(0.5 * logvar) * noise
        nll = functional.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="sum")
        kl = 0.5 * torch.sum(logvar.exp() + mu * mu - 1 - logvar)
        return (nll + kl) / len(x)

    def step(self, x, noise=None):
        """One step of training on x (B, D); return the loss before it."""
        self.optimizer.zero_grad()
        loss = self.loss(x, torch.randn(len(x), self.mu.out_features) if noise is None else noise)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.inference_mode()
    def transform(self, x):
        """From and to NumPy, without a copy."""
        return self.mu(self.encoder(torch.from_numpy(x))).numpy()

    @torch.inference_mode()
    def decode(self, z):
        return torch.sigmoid(self.decoder(torch.from_numpy(z))).numpy()

    @torch.inference_mode()
    def sample(self, n):
        return torch.sigmoid(self.decoder(torch.randn(n, self.mu.out_features))).numpy()
