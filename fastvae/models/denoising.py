"""The denoising autoencoder (Vincent et al. 2008, 2010): the input is found again though the encoder saw it corrupted.

h = encoder(corrupted x)        a = decoder(h)        loss = mean over the batch of nll(x; a)

So p(x|h) is learned given a corrupted x. Corrupting and drawing in turn is a Markov chain whose states come to be
distributed as the data (Bengio, Yao, Alain and Vincent 2013). With Gaussian noise the reconstruction r(x) tells where
the density rises: (r(x) - x) / amount^2 (Vincent 2011; Alain and Bengio 2014).
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastvae.data.validation import as_examples, check_values
from fastvae.kernels import philox
from fastvae.kernels.formulas import CORRUPTIONS
from fastvae.layers import Width
from fastvae.models.abilities import Abilities
from fastvae.models.autoencoder import Architecture, AutoencoderNetwork, ReconstructingEstimator
from fastvae.models.chains import ChainSampler
from fastvae.models.settings import check_number, checked_names, seed_from
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
        p.add("corrupt", x, *how, p.seed, philox.CORRUPTION, p.step, ROW, noisy)
        return noisy

    def transition(self, p: Pass) -> np.ndarray:
        """Write the mean (B, D) of p(x'|h), h that of "x" (B, D) after its corruption."""
        h = self.encoder(p, self.shown(p, self.likelihood.seen(p, p.input("x"))))[0]
        return self.likelihood.mean(p, self.decoder(p, h)[0])


class DenoisingAutoencoder(ChainSampler, ReconstructingEstimator):
    """Denoising autoencoder: arguments as `Autoencoder`, and the `corruption` of what the encoder sees, in the model's
    units: "masking", 0 with probability `amount`; "salt_and_pepper", then 0 or 1; "gaussian", x + amount N(0, 1).

    `sample` runs a Markov chain. Under a Gaussian likelihood its draws are as wide as `sigma`: for samples choose
    sigma="learned".
    """

    amount: float
    OLDER: ClassVar[dict[str, Any]] = ReconstructingEstimator.OLDER | {"sigma": 1.0}
    NAME, NETWORK, ABILITIES = "DenoisingAutoencoder", DenoisingNetwork, Abilities(True, True, "chain", "none")
    PORTABLE = True

    def __init__(
        self, latent_dim: int = 20, hidden: tuple[Width, ...] = (400,), activation: str = "auto",
        likelihood: str = "bernoulli", corruption: str = "masking", amount: float = 0.3, epochs: int | str = "auto",
        batch_size: int | str = "auto", learning_rate: float = 1e-3, clip_norm: float | None = None,
        scale: Any = "auto", precision: str = "float32", device: str = "auto", random_state: Any = None,
        verbose: bool | int = 0, early_stopping: bool | str = "auto", validation_fraction: float = 0.1,
        optimizer: str = "adam", weight_decay: float = 0.0, schedule: str = "constant", warmup_steps: int = 0,
        average: float = 0.0, sigma: float | str = 1.0,
        warm_start: bool = False,
    ):  # fmt: skip
        self._store(locals())

    def _architecture(self, columns: int) -> DenoisingArchitecture:
        common, (corruption,) = self._common(), checked_names(self.get_params(), corruption=CORRUPTIONS)
        amount = check_number("amount", self.amount, 0, True, np.inf if corruption == "gaussian" else 1)
        return DenoisingArchitecture(columns, **common, corruption=corruption, amount=amount)

    # ---- use ----------------------------------------------------------------------------------------------------

    def corrupt(self, X: Any, random_state: Any = None) -> np.ndarray:
        """Return rows as the encoder sees them in training, (N, D) in the user's units: corrupted by the noise of a
        seed or generator, of the model's own seed without one. Counts are refused, which are corrupted as log(1 + x).
        """
        network = self._check_fitted()
        self._check_names(X)
        X = self._checked(network, X)
        if network.likelihood.WHOLE:
            raise ValueError("corrupt: this model corrupts log(1 + x), not the counts x: there are none to show")
        a, units = network.architecture, network.units
        x = np.ascontiguousarray((np.asarray(X, np.float64) - units.offset) / units.scale, np.float32)
        seed = network.seed if random_state is None else seed_from(random_state)
        noisy, out = np.empty_like(x), np.empty(x.shape, units.dtype)
        how = CORRUPTIONS[a.corruption], a.amount, seed, philox.CORRUPTION, 0, 0
        network.kernels.corrupt(x, *how, noisy)
        units.to_user(noisy, out)
        return out

    def denoise(self, X: Any) -> np.ndarray:
        """Return the mean of p(x|h) given corrupted rows (N, D), in the user's units: as `reconstruct`, but with
        corruption="gaussian" also of values beyond the range of the data, as such noise makes them."""
        network = self._check_complete()
        if network.architecture.corruption != "gaussian" or network.likelihood.WHOLE:
            return self.reconstruct(X)
        self._check_names(X)
        X = self._as_rows(network, X)
        check_values(X, "X")
        out = np.empty(np.shape(X), network.units.dtype)
        network.units.to_user(self._results(network, X, {}, "reconstruction", network.reconstruction, X.shape[1]), out)
        return out

    def score_function(self, X: Any) -> np.ndarray:
        """Return (r(x) - x) / amount^2, the gradient of a log density by x, (N, D) float64 in the user's units.

        The density is that of the data with the corruption's noise added, exactly so for the r of least squared error
        (Vincent 2011); where the noise is little, that of the data (Alain and Bengio 2014). It needs
        corruption="gaussian", amount > 0 and likelihood="gaussian", whose nll is a squared error.
        """
        network = self._check_complete()
        a = network.architecture
        if a.corruption != "gaussian" or a.likelihood != "gaussian" or a.amount == 0:
            raise TypeError(
                "score_function needs corruption='gaussian' with amount > 0 and likelihood='gaussian': this model has "
                f"corruption={a.corruption!r}, amount={a.amount:g}, likelihood={a.likelihood!r}, whose reconstruction "
                "is no step along the gradient of a density"
            )
        r = self.denoise(X).astype(np.float64)
        noise = a.amount * network.units.scale
        return (r - np.asarray(as_examples(X), np.float64)) / noise**2
