"""The generative adversarial network (Goodfellow et al. 2014) as an estimator; what it computes: `gan_network`."""

from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.data.scaling import check_unit_range
from fastvae.engine import EVALUATION
from fastvae.errors import check_name
from fastvae.kernels import philox
from fastvae.layers import LAYERS, Width, activations, mirrored
from fastvae.models.abilities import Abilities
from fastvae.models.absent import absent
from fastvae.models.duration import LEAST_EPOCHS, STEPS
from fastvae.models.gan_network import DISCRIMINATOR, GENERATOR, OUTPUTS, Architecture, GANNetwork
from fastvae.models.rows import finite
from fastvae.models.saving import SavedEstimator
from fastvae.models.settings import check_integer, check_number, checked_names, widths
from fastvae.optimizers import OPTIMIZERS, Optimizer, RateSchedule, Several

WON, LOST_LOSS = 0.99, 3.0  # accuracy of a discriminator that has won, and the generator's loss then, in nats
LOOKED_AT, ALIKE = (
    500,
    0.05,
)  # samples that are looked at, and the share of the data's variance below which they are one
SETTINGS = "output='sigmoid'", "output='identity'"  # that with a range, and that without
MEMORISED = 0.25  # by which the accuracy on held-out rows lies below that on those of the training


class GAN(SavedEstimator):
    """Generative adversarial network.

    A generator G makes rows of z ~ N(0, I); a discriminator D learns to tell them from those of the data, and G to be
    taken for them. It samples in one pass, and does nothing else: it has no density and no codes.

    Parameters
    ----------
    latent_dim
        Z, the dimension of z.
    hidden, discriminator_hidden
        Widths of the hidden layers of G, and of D: None mirrors G's.
    activation, discriminator_activation
        "identity", "relu", "leaky_relu", "tanh", "sigmoid", "softplus" or "silu".
    output
        Of G: "sigmoid" for data in [0, 1], to which `scale` can bring others; "identity" for real numbers.
    epochs, batch_size
        "auto": batches of 128, or 64 where data are few; at least 20 epochs and 20,000 steps. The end is not found by
        itself, as no figure of a training says when samples are best.
    learning_rate, discriminator_learning_rate
        Of G, and of D: None for the same (Heusel et al. 2017: that of D may be the larger one).
    beta1
        Of Adam, for both (Radford et al. 2016: 0.5 where 0.9 oscillates); with optimizer="sgd" the momentum.
    label_smoothing
        What D is to take rows of the data for is 1 - label_smoothing instead of 1; generated ones stay 0 (Salimans et
        al. 2016, one-sided). Its best loss is then not 0.
    instance_noise, noise_epochs
        Deviation, in the model's units, of normal noise that D sees on all rows, of the data and of G, which makes both
        distributions overlap (Sonderby et al. 2017; Arjovsky and Bottou 2017); it falls linearly to 0 over so many
        epochs, or stays where that is 0.
    clip_norm
        Largest norm of the gradient of each of both; None for no limit.
    scale
        As `VAE` has it; "auto": None for "sigmoid", "standard" for "identity".
    precision, device, random_state, verbose, optimizer, weight_decay, schedule, warmup_steps, warm_start
        As `VAE` has them.
    average
        A share of the steps, the last ones, over which the parameters of G are averaged; 0 for none.

    Attributes
    ----------
    history_ : dict of arrays, one entry an epoch
        "discriminator_loss" and "generator_loss" (2 log 2 and log 2 at the equilibrium), "loss", their sum;
        "accuracy_real" and "accuracy_generated", the share of rows that D is right about, 1/2 at the equilibrium;
        "heldout_accuracy", the share of held-out rows that D takes for data. Where that lies far below "accuracy_real",
        D knows its rows by heart. It is no score that a training could be stopped by.
    n_features_in_, offset_, scale_, seed_, feature_names_in_
        As `VAE` has them.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(256, 5)).astype("float32")
    >>> gan = GAN(latent_dim=4, hidden=(16,), output="identity", epochs=2, random_state=0).fit(X)
    >>> gan.sample(3).shape, gan.discriminate(X).shape
    ((3, 5), (256,))
    """

    NAME, NETWORK, ABILITIES = "GAN", GANNetwork, Abilities(False, False, "one pass", "none")
    PORTABLE = True
    LOSSES = ("loss", "discriminator_loss", "generator_loss", "accuracy_real", "accuracy_generated")
    HELDOUT = "heldout_accuracy"
    CHANGEABLE = SavedEstimator.CHANGEABLE | {
        "discriminator_learning_rate", "beta1", "label_smoothing", "instance_noise", "noise_epochs",
    }  # fmt: skip
    output: str
    discriminator_learning_rate: float | None
    beta1: float
    label_smoothing: float
    instance_noise: float
    noise_epochs: float
    early_stopping, validation_fraction = False, 0.1  # no arguments: there is nothing to stop by

    def __init__(
        self, latent_dim: int = 100, hidden: tuple[Width, ...] = (256, 512),
        discriminator_hidden: tuple[Width, ...] | None = None, activation: str = "relu",
        discriminator_activation: str = "leaky_relu", output: str = "sigmoid", epochs: int | str = "auto",
        batch_size: int | str = "auto", learning_rate: float = 2e-4, discriminator_learning_rate: float | None = None,
        beta1: float = 0.5, label_smoothing: float = 0.1, instance_noise: float = 0.0, noise_epochs: float = 0.0,
        clip_norm: float | None = None, scale: Any = "auto", precision: str = "float32", device: str = "auto",
        random_state: Any = None, verbose: bool | int = 0, optimizer: str = "adam", weight_decay: float = 0.0,
        schedule: str = "constant", warmup_steps: int = 0, average: float = 0.0,
        warm_start: bool = False,
    ):  # fmt: skip
        self._store(locals())

    # ---- what `hooks` asks for ----------------------------------------------------------------------------------

    def _architecture(self, columns: int) -> Architecture:
        given = self.get_params()
        known = activations()
        names = checked_names(given, activation=known, discriminator_activation=known, output=OUTPUTS)
        latent_dim = check_integer("latent_dim", given["latent_dim"], 1)
        hidden = widths("hidden", given["hidden"], LAYERS)
        of_d = given["discriminator_hidden"]
        of_d = mirrored(hidden) if of_d is None else widths("discriminator_hidden", of_d, LAYERS)
        return Architecture(columns, latent_dim, hidden, of_d, *names)

    def _check_settings(self) -> None:
        super()._check_settings()
        self._architecture(1)
        if self.discriminator_learning_rate is not None:
            rate = check_number("discriminator_learning_rate", self.discriminator_learning_rate, 0, inclusive=False)
            if self.weight_decay * rate >= 1:
                found = f"weight_decay={self.weight_decay!r} times discriminator_learning_rate={rate:g}"
                raise ValueError(f"{found} must be less than 1: it is what each step takes away of the weights")
        for name, most in (("beta1", 1.0), ("label_smoothing", 0.5)):
            if check_number(name, getattr(self, name), 0) >= most:
                raise ValueError(f"{name}={getattr(self, name)!r} must be less than {most:g}")
        check_number("instance_noise", self.instance_noise, 0)
        check_number("noise_epochs", self.noise_epochs, 0)

    def _begin(self, network: GANNetwork, X: Any, units: Any, facts: Any, seed: np.uint64, *condition: Any) -> None:
        network.initialise_layers(seed, facts.deviation, facts.mean)
        network.data_variance = float(np.square(facts.deviation / units.scale).sum())

    def _suited_scale(self) -> Any:
        check_name("output", self.output, tuple(OUTPUTS))
        return OUTPUTS[self.output]

    def _fills_unit_range(self, network: GANNetwork) -> bool:
        return network.architecture.output == "sigmoid"

    def _check_range(self, network: GANNetwork, X: Any, found: Any, scaled: Any, name: str = "X") -> None:
        if self._fills_unit_range(network):
            (smallest, largest), (offset, scale) = found, scaled
            check_unit_range(smallest, largest, offset, scale, name, self._scale(), SETTINGS)

    def _set_objective(self, network: GANNetwork) -> None:
        network.label_smoothing, network.instance_noise = float(self.label_smoothing), float(self.instance_noise)
        network.noise_epochs = float(self.noise_epochs)

    @staticmethod
    def _left_out() -> tuple[str, ...]:
        return (*SavedEstimator._left_out(), f"{DISCRIMINATOR}.")

    # ---- training -----------------------------------------------------------------------------------------------

    def _rates(self) -> dict[str, float]:
        """The learning rate of each network, in the order in which a step trains them."""
        own = self.discriminator_learning_rate
        return {DISCRIMINATOR: self.learning_rate if own is None else own, GENERATOR: self.learning_rate}

    def _make_optimizer(self) -> Optimizer:
        network, kind = self.network_, OPTIMIZERS[self.optimizer]
        settings: dict[str, Any] = {"momentum" if self.optimizer == "sgd" else "beta1": float(self.beta1)}
        settings |= {"weight_decay": float(self.weight_decay), "clip_norm": self.clip_norm}
        averages = {GENERATOR: 1} if self.average else {}
        return Several(*(
            kind(network.parameters, network.kernels, rate, name=name, average_from=averages.get(name), **settings)
            for name, rate in self._rates().items()
        ))  # fmt: skip

    def _set_optimizer(self, optimizer: Optimizer, steps: int, begun: int = 0) -> None:
        average_from = self._average_from(steps, begun)
        for part in optimizer.parts:
            part.learning_rate, part.clip_norm = self._rates()[part.name], self.clip_norm
            part.weight_decay = float(self.weight_decay)
            setattr(part, "momentum" if self.optimizer == "sgd" else "beta1", float(self.beta1))
            part.schedule = RateSchedule(self.schedule, int(self.warmup_steps), steps - begun, begun)
            part.keep_average(average_from if part.name == GENERATOR else None)

    def plan(self, rows: int) -> tuple[int, int, int]:
        """Epochs, batch size, and epochs of patience, which are not used."""
        _, batch_size, patience = super().plan(rows)
        enough = max(LEAST_EPOCHS, -(-STEPS // -(-rows // batch_size)))
        return enough if isinstance(self.epochs, str) else int(self.epochs), batch_size, patience

    def _fit(self, X: Any, heldout: Any, patience: int | None, *beside: Any) -> None:
        self._refuse_patience(patience)
        super()._fit(X, heldout, patience, *beside)

    def _train(self, network: Any, examples: Examples, epochs: int, batch_size: int, heldout: Any, patience: int | None,
               observer: Any) -> None:  # fmt: skip
        self._refuse_patience(patience)
        super()._train(network, examples, epochs, batch_size, heldout, None, observer)

    @staticmethod
    def _refuse_patience(patience: int | None) -> None:
        if patience is not None:
            raise TypeError(
                f"patience={patience!r}: a GAN has no score of held-out rows that says when to stop, as it has no "
                "density; leave it out, choose the epochs, and look at samples; or use a VAE, which stops by its ELBO"
            )

    def score_examples(self, examples: Examples) -> np.ndarray:
        """1 for each row that the discriminator takes for one of the data, else 0: (N,)."""
        network = self._check_complete()
        examples = self._accepted(network, examples)
        found = self._results(network, examples.X, {"binarize": examples.binarize}, "logits", network.logits, 1)
        return (found[:, 0] > 0).astype(np.float64)

    def _remarks_of_progress(self) -> list[str]:
        """What the accuracies and samples say: the losses do not fall while samples become better."""
        history, network = self.history_, self.network_
        if not len(history["loss"]):
            return []
        last = max(1, len(history["loss"]) // 10)
        end = {name: float(values[-last:].mean()) for name, values in history.items()}
        lines = []
        right = min(end["accuracy_real"], end["accuracy_generated"])
        if right > WON and end["generator_loss"] > LOST_LOSS:
            lines.append(
                f"the discriminator has won: it is right about {100 * right:.1f}% of all rows, of the data and "
                f"generated, and the generator's loss is {end['generator_loss']:.2f} nats. Try {self._tries_when_won()}"
            )
        share = self._variance() / network.data_variance if network.data_variance else 1.0
        if share < ALIKE:
            lines.append(
                f"the generated rows are all alike: their variance is {100 * share:.2g}% of that of the data. The "
                "generator has collapsed onto a point: try a smaller learning_rate, a larger batch_size, "
                f"{self._tries_when_won()}, or another seed"
            )
        if np.isfinite(end["heldout_accuracy"]) and end["accuracy_real"] - end["heldout_accuracy"] > MEMORISED:
            lines.append(
                f"the discriminator knows its rows by heart: it takes {100 * end['accuracy_real']:.0f}% of them for "
                f"data, and {100 * end['heldout_accuracy']:.0f}% of the rows that are held out. Try fewer epochs, "
                "smaller discriminator_hidden, instance_noise, or more data"
            )
        return lines

    def _tries_when_won(self) -> str:
        """What to try where the discriminator is too strong."""
        tries = ["a smaller discriminator_learning_rate", "smaller discriminator_hidden"]
        tries += [f"{name}=0.1" for name in ("label_smoothing", "instance_noise") if not getattr(self, name)]
        return ", ".join(tries)

    def _variance(self) -> float:
        """Of all columns of some generated rows together, in the model's units."""
        network = self.network_
        rows = self._generated(network, LOOKED_AT, network.seed, philox.GENERATED, EVALUATION)
        return float((rows.astype(np.float64) / network.units.scale).var(axis=0).sum())

    # ---- use ----------------------------------------------------------------------------------------------------

    def sample(self, n: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw z and return G(z): (n, D) float32, in the user's units.

        `random_state`: a seed or generator of this call. None: by the model's own, as `VAE.sample` has it.
        """
        network = self._check_fitted()
        self._check_samples(network, n, network.architecture.latent_dim)
        seed, call = self._noise_of_call(random_state)
        return self._generated(network, n, seed, philox.PRIOR, call)

    def _generated(self, network: GANNetwork, n: int, seed: np.uint64, stream: int, step: int) -> np.ndarray:
        z = np.empty((n, network.architecture.latent_dim), np.float32)
        network.kernels.normal_noise(seed, stream, step, 0, z)
        return self._decode(network, z)

    def discriminate(self, X: Any) -> np.ndarray:
        """The discriminator's logit that each row is of the data, (N,) float64: above 0 it takes it for one.

        Of the best D for a fixed G it would be log p(x) - log p_G(x) (Goodfellow et al. 2014, proposition 1), without
        label smoothing and instance noise. It is no density: it says what distinguishes data from samples.
        """
        network, X, how = self._data(X)
        return finite(self._results(network, X, how, "logits", network.logits, 1)[:, 0].astype(np.float64), X)

    # ---- what it cannot do --------------------------------------------------------------------------------------

    score_samples = score = evaluate = absent(
        "a GAN has no density: it samples, and gives no p(x) for a row. Use a VAE, whose evaluate(X) estimates log "
        "p(x), or a MADE, which has it exactly; discriminate(X) has the discriminator's logits, which are none"
    )
    transform = fit_transform = reconstruct = get_feature_names_out = set_output = absent(
        "a GAN has no encoder: it makes rows of z, by sample(n) and decode(Z), and finds no z of a row. For codes "
        "and reconstructions use a VAE or an autoencoder"
    )
