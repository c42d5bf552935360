"""The denoising autoencoder (Vincent et al. 2008, 2010): the input is found again though the encoder saw it corrupted.

h = encoder(corrupted x)        a = decoder(h)        loss = mean over the batch of nll(x; a)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.engine import Network
from fastvae.kernels.formulas import ACTIVATIONS, CORRUPTIONS
from fastvae.kernels.philox import CORRUPTION
from fastvae.layers import MLP
from fastvae.likelihoods import LIKELIHOODS, make_likelihood
from fastvae.models.abilities import Abilities
from fastvae.models.settings import check_integer, check_number, checked_names, widths
from fastvae.models.with_likelihood import LikelihoodEstimator
from fastvae.passes import ROW, Pass


@dataclass(frozen=True)
class Architecture:
    """What decides the parameters, and what the loss is."""

    inputs: int
    hidden: tuple[int, ...]
    latent_dim: int
    activation: str
    likelihood: str
    corruption: str
    amount: float


class DenoisingNetwork(Network):
    """Encoder and decoder; see `engine.Network` for what each method is."""

    def describe(self, a: Architecture, complete: bool) -> None:  # noqa: D102
        super().describe(a, True)
        self.inputs = {"x": a.inputs, "z": a.latent_dim}
        self.encoder = MLP("encoder", (a.inputs, *a.hidden, a.latent_dim), a.activation, "identity")
        self.decoder = MLP("decoder", (a.latent_dim, *a.hidden[::-1], a.inputs), a.activation, "identity")
        self.likelihood = make_likelihood(a.likelihood, 1.0, a.inputs)

    def owners(self) -> Sequence[Any]:  # noqa: D102
        return [*self.encoder.layers, *self.decoder.layers, self.likelihood]

    def step(self, p: Pass, optimizers: Sequence[Any]) -> None:  # noqa: D102
        a, x, weight = self.architecture, p.input("x"), p.slots.real("example weight")
        noisy, how = p.empty(a.inputs), (CORRUPTIONS[a.corruption], a.amount)
        p.add("corrupt", self.likelihood.seen(p, x), *how, p.seed, CORRUPTION, p.step, ROW, noisy)
        h, back_h = self.encoder(p, noisy)
        out, back_out = self.decoder(p, h)
        nll, d_out = self.likelihood.loss(p, x, out, weight)
        p.loss(loss=(nll, weight))
        back_h(back_out(d_out), inputs=False)
        p.update(optimizers[0], self.owners())

    def codes(self, p: Pass) -> list[np.ndarray]:  # noqa: D102
        return p.returns(self.encoder(p, self.likelihood.seen(p, p.input("x")))[0])

    def nll(self, p: Pass) -> list[np.ndarray]:  # noqa: D102
        out = self.decoder(p, self.encoder(p, self.likelihood.seen(p, p.input("x")))[0])[0]
        return p.returns(self.likelihood.nll(p, p.input("x"), out, p.empty()))


class DenoisingAutoencoder(LikelihoodEstimator):
    """Denoising autoencoder: arguments as `VAE`, and the `corruption` of what the encoder sees: "masking", 0 with
    probability `amount`; "salt_and_pepper", then 0 or 1; "gaussian", x + amount N(0, 1)."""

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

    def _architecture(self, columns: int) -> Architecture:
        given = self.get_params()
        names = checked_names(given, activation=ACTIVATIONS, likelihood=LIKELIHOODS, corruption=CORRUPTIONS)
        sizes = widths("hidden", given["hidden"]), check_integer("latent_dim", given["latent_dim"], 1)
        amount = check_number("amount", given["amount"], 0, True, np.inf if given["corruption"] == "gaussian" else 1)
        return Architecture(columns, *sizes, *names, amount)  # type: ignore[call-arg]

    def _begin(self, network: DenoisingNetwork, X: Any, units: Any, facts: Any, seed: np.uint64) -> None:
        network.initialise_layers(seed, facts.deviation / units.scale, (facts.mean - units.offset) / units.scale)
        network.decoder.layers[-1].bias[:] = network.likelihood.intercept((facts.mean - units.offset) / units.scale)

    def score_samples(self, X: Any) -> np.ndarray:
        """-nll of each row under its own reconstruction, (N,), in nats of the user's units: it is no log p(x)."""
        network, X, how = self._data(X)
        return -self._results(network, X, how, "nll", network.nll, 1)[:, 0].astype(float) - network.log_jacobian
