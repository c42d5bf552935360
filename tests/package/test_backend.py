"""Which kernels run."""

import numpy as np
import pytest

from fastvae import VAE, backend
from fastvae.kernels import cpu


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_cpu(device):
    chosen = backend.select(device)
    assert chosen.name == "cpu"
    assert chosen.kernels is cpu


def test_cuda_is_refused_and_never_replaced():
    with pytest.raises(ValueError, match="device='cuda' cannot be had: .*use device='cpu'"):
        VAE(device="cuda").fit(np.zeros((200, 3)))
