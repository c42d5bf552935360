"""The autoencoder (Rumelhart, Hinton and Williams 1986): what is left of x after it went through a narrow code.

h = encoder(x)        a = decoder(h)        loss = mean over the batch of nll(x; a)

With no hidden layer and a Gaussian likelihood it is principal component analysis (Bourlard and Kamp 1988; Baldi and
Hornik 1989). What other autoencoders share with it is here too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.engine import Network
from fastvae.layers import LAYERS, MLP, Half, Width, activations, mirrored
from fastvae.likelihoods import LIKELIHOODS, make_likelihood
from fastvae.models.abilities import Abilities
from fastvae.models.absent import absent
from fastvae.models.duration import AUTO
from fastvae.models.settings import check_integer, checked_names, widths
from fastvae.models.with_likelihood import LikelihoodEstimator
from fastvae.passes import Pass


@dataclass(frozen=True)
class Architecture:
    """What decides the parameters, and what the loss is."""

    inputs: int
    hidden: tuple[Width, ...]
    latent_dim: int
    activation: str
    likelihood: str
    sigma: float | str


class AutoencoderNetwork(Network):
    """Encoder and decoder; see `engine.Network` for what each method is."""

    def describe(self, a: Any, complete: bool) -> None:  # noqa: D102
        super().describe(a, complete)
        self.inputs = {"x": a.inputs, "z": a.latent_dim}
        self.encoder = MLP("encoder", (a.inputs, *a.hidden, a.latent_dim), a.activation, self.code_activation())
        self.decoder = MLP("decoder", (a.latent_dim, *mirrored(a.hidden), a.inputs), a.activation, "identity")
        self.likelihood = make_likelihood(a.likelihood, a.sigma, a.inputs)

    def code_activation(self) -> str:
        """The activation of the codes."""
        return "identity"

    def owners(self) -> Sequence[Any]:  # noqa: D102
        return [*(self.encoder.layers if self.complete else []), *self.decoder.layers, self.likelihood]

    def step(self, p: Pass, optimizers: Sequence[Any]) -> None:  # noqa: D102
        x, weight = p.input("x"), p.slots.real("example weight")
        h, back_h = self.encoder(p, self.shown(p, self.likelihood.seen(p, x)))
        p.note("latent", h, name="h")
        out, back_out = self.decoder(p, h)
        nll, d_out = self.likelihood.loss(p, x, out, weight)
        p.loss(loss=(nll, weight))
        d_h = back_out(d_out)
        self.penalise(p, h, d_h)
        back_h(d_h, inputs=False)
        p.update(optimizers[0], self.owners())

    def shown(self, p: Pass, x: np.ndarray) -> np.ndarray:
        """Write what the encoder is shown of x (B, D) in a step."""
        return x

    def penalise(self, p: Pass, h: np.ndarray, d_h: np.ndarray) -> None:
        """Write what is minimised beside the nll, of the codes h (B, Z), and add its gradient to d_h (B, Z)."""

    def codes(self, p: Pass) -> list[np.ndarray]:  # noqa: D102
        return p.returns(self._reconstructed(p)[0])

    def wiring(self) -> dict[str, Half]:
        """See `engine.Network`."""
        halves = {"decode": Half.of(self.decoder.layers, "mean")}
        return halves | ({"encode": Half.of(self.encoder.layers, "codes")} if self.complete else {})

    def nll(self, p: Pass) -> list[np.ndarray]:
        """Write the nll (B,) of x under its own reconstruction."""
        return p.returns(self.likelihood.nll(p, p.input("x"), self._reconstructed(p)[1], p.empty()))

    def heldout_loss(self, p: Pass) -> list[np.ndarray]:
        """Write what a step minimises, (B,) or several whose mean it is, of rows that are held out."""
        x = p.input("x")
        h = self.encoder(p, self.shown(p, self.likelihood.seen(p, x)))[0]
        return p.returns(self.likelihood.nll(p, x, self.decoder(p, h)[0], p.empty()))

    def reconstruction(self, p: Pass) -> list[np.ndarray]:
        """Write the mean (B, D) of p(x|h) given the code of x, in the model's units."""
        return p.returns(self.likelihood.mean(p, self._reconstructed(p)[1]))

    def _reconstructed(self, p: Pass) -> tuple[np.ndarray, np.ndarray]:
        """The codes of x, and the decoder's outputs."""
        h = self.encoder(p, self.likelihood.seen(p, p.input("x")))[0]
        return h, self.decoder(p, h)[0]


class ReconstructingEstimator(LikelihoodEstimator):
    """What estimators share that give each row back from a code of it, and have no density."""

    # ---- what `hooks` asks for ----------------------------------------------------------------------------------

    def _common(self) -> dict[str, Any]:
        """What every autoencoder's architecture has beside the columns, checked."""
        given = self.get_params()
        names = checked_names(given, activation=(*activations(), AUTO), likelihood=LIKELIHOODS)
        suited = "tanh" if LIKELIHOODS[names[1]].LINEAR else "relu"
        activation = suited if names[0] == AUTO else names[0]
        hidden = widths("hidden", given["hidden"], LAYERS)
        latent_dim = check_integer("latent_dim", given["latent_dim"], 1)
        make_likelihood(given["likelihood"], given["sigma"])  # which checks it
        sigma = given["sigma"] if isinstance(given["sigma"], str) else float(given["sigma"])
        found = {"hidden": hidden, "latent_dim": latent_dim, "activation": activation, "likelihood": names[1]}
        return found | {"sigma": sigma}

    def _begin(self, network: Any, X: Any, units: Any, facts: Any, seed: np.uint64, *condition: Any) -> None:
        network.initialise_layers(seed, facts.deviation / units.scale, (facts.mean - units.offset) / units.scale)
        network.decoder.layers[-1].bias[:] = network.likelihood.intercept((facts.mean - units.offset) / units.scale)

    @staticmethod
    def _left_out() -> tuple[str, ...]:
        return (*LikelihoodEstimator._left_out(), "encoder.")

    # ---- use ----------------------------------------------------------------------------------------------------

    def score_samples(self, X: Any) -> np.ndarray:
        """-nll of each row under its own reconstruction, (N,) float64, in nats of the user's units.

        It is no log p(x), nor a bound of one: the code of x is computed from x and costs nothing here, so that a wider
        code is always better, and the exponentials of the scores of all x need not add up to 1. Compare scores of one
        model alone: rows with a low one are unlike those of the training.
        """
        network, X, how = self._data(X)
        found: np.ndarray = self._results(network, X, how, "nll", network.nll, 1)[:, 0]
        return -found.astype(float) - network.log_jacobian

    def score_examples(self, examples: Examples) -> np.ndarray:
        """What training minimises, negative, of each of the examples, (N,) float64: the same corruptions each time, and
        penalties too. Training stops by it, so that it must not be another loss."""
        network = self._check_complete()
        examples = self._accepted(network, examples)
        found = np.empty(len(examples))

        def keep(start: int, stop: int, *losses: np.ndarray) -> None:
            found[start:stop] = np.mean(losses, axis=0, dtype=np.float64)

        network.over(examples.X, "heldout_loss", network.heldout_loss, keep, binarize=examples.binarize)
        return -found - network.log_jacobian

    evaluate = absent(
        "{name} has no density p(x), so that nothing can be evaluated: use a VAE, whose evaluate estimates log p(x); "
        "score_samples(X) has the nll of each row under its own reconstruction"
    )


class Autoencoder(ReconstructingEstimator):
    """Autoencoder: arguments as `VAE`, with one `sigma` for all columns, by default 1: then the loss of a Gaussian is
    half the squared error in the model's units. Its codes are real numbers of any scale, of which it knows no
    distribution: it compresses, reconstructs and scores, and does not sample.

    activation="auto" is "tanh" for a Gaussian likelihood, else "relu": of small tables tanh gives rows back about as
    well as so many principal components or better, relu with 1.6 times their error; of images relu does better.
    """

    NAME, NETWORK, ABILITIES = "Autoencoder", AutoencoderNetwork, Abilities(True, True, "none", "none")
    PORTABLE = True

    def __init__(
        self, latent_dim: int = 20, hidden: tuple[Width, ...] = (400,), activation: str = "auto",
        likelihood: str = "bernoulli", epochs: int | str = "auto", batch_size: int | str = "auto",
        learning_rate: float = 1e-3, clip_norm: float | None = None, scale: Any = "auto", precision: str = "float32",
        device: str = "auto", random_state: Any = None, verbose: bool | int = 0, early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1, optimizer: str = "adam", weight_decay: float = 0.0,
        schedule: str = "constant", warmup_steps: int = 0, average: float = 0.0, sigma: float | str = 1.0,
        warm_start: bool = False,
    ):  # fmt: skip
        self._store(locals())

    def _architecture(self, columns: int) -> Any:
        return Architecture(columns, **self._common())

    sample = absent(
        "{name} cannot sample: it has no distribution over its codes to draw from. Use a VAE, which has one, or a "
        "DenoisingAutoencoder, which draws by a Markov chain; decode(Z) gives what codes of your own stand for"
    )
