"""The sparse autoencoder: a wide code of which little is active for a row.

h = act(encoder(x)) >= 0        a = decoder(h)        loss = mean over the batch of nll(x; a) + weight * penalty

"kl"    sum_j KL[Bernoulli(rho) || Bernoulli(m_j)], m_j the mean of h_j over the batch, with sigmoid codes: each unit is
        to be active in a share rho of the rows (Lee, Ekanadham and Ng 2008; Ng 2011, "Sparse autoencoder").
"l1"    mean over the batch of sum_j h_j, with rectified codes: most are exactly 0 for a row.

Both can be met by small codes and a large decoder as well as by sparse ones: an L1 penalty alone, and a mean activation
of rho by units that are near rho for all rows. Against that are a small weight of the penalty, few epochs, and, with
"l1", `weight_decay`. "l1" gives the sparser rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae import reference
from fastvae.data.minibatches import Examples
from fastvae.errors import check_name
from fastvae.kernels.formulas import IDENTITY, LEAST_MEAN, MOST_MEAN
from fastvae.kernels.memory import zeros
from fastvae.layers import Width
from fastvae.models.abilities import Abilities
from fastvae.models.autoencoder import Architecture, Autoencoder, AutoencoderNetwork
from fastvae.models.duration import AUTO
from fastvae.models.settings import check_number, checked_names
from fastvae.passes import Pass, Whole

PENALTIES = {"kl": "sigmoid", "l1": "relu"}  # and the activation of the codes
WEIGHTS = {"kl": 1.0, "l1": 0.1}  # that "auto" stands for


@dataclass(frozen=True)
class SparseArchitecture(Architecture):
    """That of an autoencoder, and the penalty."""

    penalty: str
    rho: float
    weight: float


class SparseNetwork(AutoencoderNetwork):
    """Encoder and decoder; see `engine.Network` for what each method is."""

    def code_activation(self) -> str:  # noqa: D102
        return PENALTIES[self.architecture.penalty]

    def penalise(self, p: Pass, h: np.ndarray, d_h: np.ndarray) -> None:  # noqa: D102
        (self._divergence if self.architecture.penalty == "kl" else self._sum)(p, h, d_h)

    def _divergence(self, p: Pass, h: np.ndarray, d_h: np.ndarray) -> None:
        """The mean is that of the whole batch, so that all threads meet; each then makes the same of it."""
        a, codes = self.architecture, h.shape[1]
        share, rho = p.shares(), np.full((1, codes), a.rho, np.float32)
        mean, d_mean, divergence = p.each(1, codes), p.each(1, codes), p.each(1)
        p.meet()
        p.add("dense_backward_weight", Whole(share), Whole(h), 0, 1, 0, mean, None)
        p.add("divergence_forward_backward", rho, mean, a.weight, divergence, d_mean)
        p.add("dense_accumulate", share, d_mean, d_h)
        p.loss(penalty=(divergence[0], a.weight))

    def _sum(self, p: Pass, h: np.ndarray, d_h: np.ndarray) -> None:
        """Of codes that are never negative, the sum of absolute values is a product by 1, and so is its gradient."""
        weight, total = np.float32(self.architecture.weight / p.rows), p.empty(1)
        ones, slope = np.ones((h.shape[1], 1), np.float32), np.full((1, h.shape[1]), weight, np.float32)
        p.add("dense_forward", h, ones, zeros(1), IDENTITY, total, total)
        p.weigh(total)
        every = np.ones((p.rows, 1), np.float32) if p.weights is None else p.weights.reshape(-1, 1)
        p.add("dense_accumulate", p.cut(every), slope, d_h)
        p.loss(penalty=(total[:, 0], self.architecture.weight / p.rows))

    def heldout_loss(self, p: Pass) -> list[np.ndarray]:
        """Write the nll (B,) and the codes (B, Z), whose penalty is that of all rows."""
        h, a = self._reconstructed(p)
        return p.returns(self.likelihood.nll(p, p.input("x"), a, p.empty()), h)

    def report(self, sums: dict[str, np.ndarray], rows: int, progress: np.ndarray) -> dict[str, np.ndarray]:
        """Means over the batch: "loss", and of it "nll" and, before its weight, "penalty"."""
        nll = sums["loss"] / rows + self.log_jacobian
        penalty = sums["penalty"] / (1 if self.architecture.penalty == "kl" else rows)
        return {"loss": nll + self.architecture.weight * penalty, "nll": nll, "penalty": penalty}


class SparseAutoencoder(Autoencoder):
    """Sparse autoencoder: arguments as `Autoencoder`, and the `penalty` that is added to its loss `weight` times: "kl",
    the divergence of each unit's mean activation from `rho`, or "l1", the sum of activations. "auto" is a weight of 1
    for "kl" and of 0.1 for "l1", nats a unit of activation. See `models.sparse`.

    `history_` has "nll" and "penalty" beside the loss; `transform(X).mean(axis=0)` is the mean activation.
    """

    NAME, NETWORK, ABILITIES = "SparseAutoencoder", SparseNetwork, Abilities(True, True, "none", "none")
    PORTABLE = True
    LOSSES = ("loss", "nll", "penalty")
    rho: float
    weight: float | str

    def __init__(
        self, latent_dim: int = 100, hidden: tuple[Width, ...] = (), activation: str = "auto",
        likelihood: str = "bernoulli", penalty: str = "kl", rho: float = 0.05, weight: float | str = "auto",
        epochs: int | str = "auto", batch_size: int | str = "auto", learning_rate: float = 1e-3,
        clip_norm: float | None = None, scale: Any = "auto", precision: str = "float32", device: str = "auto",
        random_state: Any = None, verbose: bool | int = 0, early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1, optimizer: str = "adam", weight_decay: float = 0.0,
        schedule: str = "constant", warmup_steps: int = 0, average: float = 0.0, sigma: float | str = 1.0,
        warm_start: bool = False,
    ):  # fmt: skip
        self._store(locals())

    def score_examples(self, examples: Examples) -> np.ndarray:
        """What training minimises, negative, of each of the examples, (N,) float64; the penalty "kl" is that of all of
        them together."""
        network = self._check_complete()
        examples = self._accepted(network, examples)
        a, nll, penalty = network.architecture, np.empty(len(examples)), np.empty(len(examples))
        total, weights = np.zeros(a.latent_dim), examples.weights

        def keep(start: int, stop: int, found: np.ndarray, h: np.ndarray) -> None:
            nll[start:stop], penalty[start:stop] = found, h.sum(axis=1, dtype=np.float64)
            total[:] += h.sum(axis=0, dtype=np.float64) if weights is None else weights[start:stop] @ h

        network.over(examples.X, "heldout_loss", network.heldout_loss, keep, binarize=examples.binarize)
        if a.penalty == "kl":
            mean = np.clip(total / len(examples), LEAST_MEAN, MOST_MEAN)
            penalty[:] = reference.divergence_forward_backward(a.rho, mean[None])[0]
        return -(nll + a.weight * penalty) - network.log_jacobian

    def _architecture(self, columns: int) -> SparseArchitecture:
        common, (penalty,) = self._common(), checked_names(self.get_params(), penalty=PENALTIES)
        rho = check_number("rho", self.rho, 0, False)
        if rho >= 1:
            raise ValueError(f"rho={self.rho!r} must be less than 1: it is the share of rows in which a unit is active")
        if isinstance(self.weight, str):
            check_name("weight", self.weight, (AUTO,))
        weight = WEIGHTS[penalty] if isinstance(self.weight, str) else check_number("weight", self.weight, 0)
        return SparseArchitecture(columns, **common, penalty=penalty, rho=rho, weight=weight)

    def _begin(self, network: SparseNetwork, X: Any, units: Any, facts: Any, seed: np.uint64, *condition: Any) -> None:
        super()._begin(network, X, units, facts, seed, *condition)
        if network.architecture.penalty == "kl":  # the mean activation begins near rho
            network.encoder.layers[-1].bias[:] = np.log(network.architecture.rho / (1 - network.architecture.rho))
