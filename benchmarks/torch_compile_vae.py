"""The PyTorch peer with its loss, forward and backward, compiled by torch.compile. Adam is the fused one."""

import torch

from benchmarks.torch_vae import TorchVAE


class CompiledTorchVAE(TorchVAE):
    """Compiled at the first step, for its shapes alone; PyTorch keeps the outcome in a folder for later processes."""

    def begin(self):
        super().begin()
        self.loss = torch.compile(self.loss, dynamic=False)
