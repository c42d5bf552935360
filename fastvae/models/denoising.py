"""The denoising autoencoder (Vincent et al. 2008, 2010): the input is found again though the encoder saw it corrupted.

h = encoder(corrupted x)        a = decoder(h)        loss = mean over the batch of nll(x; a)
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.kernels.formulas import CORRUPTIONS
from fastvae.kernels.philox import CORRUPTION
from fastvae.models.abilities import Abilities
from fastvae.models.autoencoder import Architecture, Autoencoder, AutoencoderNetwork
from fastvae.models.settings import check_number, checked_names
from fastvae.passes import ROW, Pass


@dataclass(frozen=True)
class DenoisingArchitecture(Architecture):
    """That of an autoencoder, and how what it sees is corrupted."""

    corruption: str
    amount: float


class DenoisingNetwork(AutoencoderNetwork):
    """Encoder and decoder; see `engine.Network` for what each method is."""

    def shown(self, p: Pass, x: np.ndarray) -> np.ndarray:  # noqa: D102
        a = self.architecture
        noisy, how = p.empty(a.inputs), (CORRUPTIONS[a.corruption], a.amount)
        p.add("corrupt", x, *how, p.seed, CORRUPTION, p.step, ROW, noisy)
        return noisy


class DenoisingAutoencoder(Autoencoder):
    """Denoising autoencoder: arguments as `VAE`, and the `corruption` of what the encoder sees: "masking", 0 with
    probability `amount`; "salt_and_pepper", then 0 or 1; "gaussian", x + amount N(0, 1)."""

    amount: float
    NAME, NETWORK, ABILITIES = "DenoisingAutoencoder", DenoisingNetwork, Abilities(True, True, "none", "none")

    def __init__(
        self, latent_dim: int = 20, hidden: tuple[int, ...] = (400,), activation: str = "relu",
        likelihood: str = "bernoulli", corruption: str = "masking", amount: float = 0.3, epochs: int | str = "auto",
        batch_size: int | str = "auto", learning_rate: float = 1e-3, clip_norm: float | None = None,
        scale: Any = "auto", precision: str = "float32", device: str = "auto", random_state: Any = None,
        verbose: bool | int = 0, early_stopping: bool | str = "auto", validation_fraction: float = 0.1,
        optimizer: str = "adam", weight_decay: float = 0.0, schedule: str = "constant", warmup_steps: int = 0,
        average: float = 0.0,
    ):  # fmt: skip
        self._store(locals())

    def _architecture(self, columns: int) -> DenoisingArchitecture:
        common, (corruption,) = self._common(), checked_names(self.get_params(), corruption=CORRUPTIONS)
        amount = check_number("amount", self.amount, 0, True, np.inf if corruption == "gaussian" else 1)
        return DenoisingArchitecture(columns, **common, corruption=corruption, amount=amount)
