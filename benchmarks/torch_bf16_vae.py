"""The PyTorch peer under autocast: products in bfloat16, weights, sums and Adam in float32."""

import torch

from benchmarks.torch_vae import TorchVAE


class TorchVAEInBfloat16(TorchVAE):
    """The same modules and the same weights."""

    def loss(self, x, noise):
        with torch.autocast("cpu", torch.bfloat16):
            return super().loss(x, noise)
