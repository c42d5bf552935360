"""The variational autoencoder as an estimator."""

import warnings
from typing import Any, ClassVar

import numpy as np

from fastvae import backend
from fastvae.data.minibatches import Examples
from fastvae.data.scaling import Units
from fastvae.data.validation import Statistics, as_examples
from fastvae.data.weights import as_weights, normalised
from fastvae.engine import EVALUATION
from fastvae.errors import TrainingWarning, check_name
from fastvae.kernels import philox
from fastvae.kernels.formulas import SIGMA_RATE
from fastvae.kernels.memory import empty
from fastvae.layers import LAYERS, Width, activations, mirrored
from fastvae.likelihoods import LIKELIHOODS, Gaussian, make_likelihood
from fastvae.models.abilities import Abilities
from fastvae.models.duration import AUTO
from fastvae.models.evaluated import Evaluated
from fastvae.models.linear_start import probabilistic_pca
from fastvae.models.objectives import ELBO, objective_of
from fastvae.models.settings import check_integer, widths
from fastvae.models.vae_network import INITS, Architecture, VAENetwork
from fastvae.models.with_likelihood import LikelihoodEstimator

COLLAPSED = 0.05  # nats of KL an example: less is a posterior that has collapsed
COLLAPSED_STEPS, STEPS_WITH_BETA = 500, 100  # after which that is said; where beta > 1 gives a reason
FIRST_GRADIENT = 2**31  # the step of the noise of the first gradient that is asked for: no training comes so far
UNSUITED = 30.0  # deviations of columns beyond this, or below its inverse, are said
OLDER_SIGMA, OLDER_LOWEST = "log_sigma", -6.0  # of a sigma that is not fixed, in files of earlier versions


class VAE(Evaluated):
    """Variational autoencoder.

    loss = mean over the batch of nll + beta kl, in nats with all constants; or, by `objective`, a tighter bound of
    log p(x).

    `fit(X, condition=C)` makes it conditional: p(x|z, c) and q(z|x, c), with c beside what encoder and decoder are
    given, and p(z) = N(0, I) as ever (Kingma, Mohamed, Rezende and Welling 2014; Sohn, Lee and Yan 2015).

    Parameters
    ----------
    latent_dim
        Z, the dimension of the latent code.
    hidden
        Widths of the encoder's hidden layers; () gives a linear VAE. Behind a width may stand the name of a layer of
        one's own, (64, "layer_norm", 64): see `fastvae.own`, as for activations and likelihoods of one's own.
    activation
        "identity", "relu", "leaky_relu", "tanh", "sigmoid", "softplus" or "silu".
    likelihood
        "bernoulli", for data in [0, 1]; "gaussian"; "poisson" or "negative_binomial", for counts, of which the encoder
        sees log(1 + x), the latter with a dispersion for each column; or "continuous_bernoulli", a density of [0, 1].
        Where scale="minmax" has learned what becomes [0, 1], values beyond it, which come later, are taken as the
        nearest end, with a warning.
    sigma
        Gaussian only: the standard deviation of p(x|z) in the model's units (after `scale`); "learned", as a parameter;
        or "optimal", the best one of each batch in closed form (Rybkin et al. 2021). The latter two begin at that of
        the data, or of the linear start, and stay above e^-9 of the data's.
    beta
        Weight of the KL in the loss (Higgins et al. 2017). The ELBO always has weight 1.
    kl_warmup_epochs
        Epochs over which the weight grows from 0 to beta.
    epochs, batch_size, learning_rate
        Of Adam; batches are drawn without replacement, and differ by one row at most. "auto": batches of 128, or 64
        where data are few; at least 20 epochs and 20,000 steps, most of which early stopping saves.
    clip_norm
        Largest norm of the gradient; None for no limit.
    scale
        None, "standard" (each column to mean 0, deviation 1), "minmax" (each column to [0, 1]) or (low, high) (one
        range to [0, 1]). "auto": standard for "gaussian", where constant columns are only centred; None for
        "bernoulli". Stored with the model, undone by `decode`; densities stay those of the user's units.
    decoder_hidden
        Widths of the decoder's hidden layers; None mirrors the encoder.
    precision
        Of the matrix products' operands: "float32", or "bfloat16" on a processor with AMX or AVX-512 BF16, or a GPU of
        compute capability 8.0 or later. Sums, weights and everything else are float32 in both.
    device
        "cpu", "cuda" (a GPU of compute capability 7.5 or later, with the extra "cuda"), or "auto", the CPU.
    random_state
        None, an integer in 0 ... 2**64 - 1, or a NumPy generator. The same seed, versions and machine give
        bit-identical parameters, whatever the number of threads (FASTVAE_THREADS; default: all cores). `sample` without
        a seed of its own follows it too.
    verbose
        0 or False: silent; 1 or True: progress on standard error.
    sigma_per_column
        Whether each column has a sigma of its own, where that is learned or optimal. False suits images.
    linear
        Gaussian only: whether encoder and decoder have a linear path beside the network, which begins at probabilistic
        PCA while the network's last layers begin at 0: the ELBO before the first step is the log-likelihood of
        probabilistic PCA (Tipping and Bishop 1999), where the posterior is exact. "auto": True for "gaussian".
    init
        Of the weights. "he": normal, with variance 2 / inputs before a rectifier and 2 / (inputs + outputs) elsewhere
        (He et al. 2015; Glorot and Bengio 2010). "small": with a rectifier, 0.3 times that in mu, logvar and the
        decoder's last layer, 0.4 times in its first, whose input is not rectified.
    early_stopping
        Whether `fit` keeps a `validation_fraction` of the rows back and ends where their ELBO does, at its best
        parameters. "auto": where epochs is "auto" and there are at least 20 rows, but not with a schedule that falls or
        an average, which need the end.
    optimizer
        "adam", or "sgd": gradient descent with momentum 0.9, whose learning_rate depends on the data and is found by
        trying; with clip_norm=1 it rarely diverges.
    weight_decay
        Decoupled from the gradient (AdamW): each step takes away learning_rate weight_decay times the layers' weights
        and biases.
    schedule, warmup_steps
        By what the learning rate is multiplied: "constant", or falling to 0 at the end of the epochs, "linear" or
        "cosine"; it grows linearly over the first `warmup_steps`.
    average
        A share of the steps, the last ones, whose parameters are averaged (Polyak and Juditsky 1992); 0 for none. Taken
        at the end; with early stopping, where they score better on the rows that are held out.
    objective
        "elbo"; "iwae", the mean over the batch of -log 1/K sum_k w_k, with w_k = p(x|z_k) p(z_k) / q(z_k|x) of
        K = `n_samples` draws z_k from q(z|x) (Burda, Grosse and Salakhutdinov 2016); or "dreg", the same loss and
        decoder's gradient, with a gradient of the encoder that does not drown in noise as K grows (Tucker, Lawson, Gu
        and Maddison 2019). The latter two are bounds of log p(x) that rise with K; they go with beta=1 and a sigma that
        is not "optimal". A step costs about K times the decoder's. What is held out is then scored by the same bound,
        "heldout_bound" in `history_`; "nll" and "kl" there are means under q(z|x), the loss is less than their sum.
    n_samples
        K, of z for an example in a step; with "elbo", the nll is the mean over them.
    free_bits
        "elbo" only: nats of KL that each latent dimension may have, in the mean over a batch, before they count: the
        loss has max(free_bits, mean of the KL) in their place (Kingma et al. 2016). "kl" in `history_` has all of it.
    warm_start
        Whether a further `fit` goes on, instead of starting anew: from the parameters and moments that are there, under
        the scaling and condition of the first one, for as many epochs more. Epochs and `history_` count on; `schedule`,
        `warmup_steps`, `average` and early stopping begin again. On the same rows, without these four, two fits of 5
        epochs make the bits of one of 10. Only arguments of how it is trained may be changed (see `set_params`).

    Attributes
    ----------
    history_ : dict of arrays, one entry an epoch
    sigma_
        The standard deviation in use, a number or (D,), in the model's units.
    n_features_in_, offset_, scale_, seed_
        What `fit` learned beside the parameters.
    feature_names_in_ : (D,) array of str
        Where X was a frame of pandas or polars with names of columns: frames that come later must have the same ones.
    classes_ : (C,) array
        Where the condition was labels: the distinct ones, sorted.
    condition_names_ : (C,) array of str
        Where the condition was a frame: names of its columns.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(256, 5)).astype("float32")
    >>> vae = VAE(latent_dim=2, hidden=(16,), likelihood="gaussian", epochs=2, random_state=0).fit(X)
    >>> vae.transform(X).shape, vae.sample(3).shape, vae.elbo(X).shape
    ((256, 2), (3, 5), (256,))
    """

    NAME, ABILITIES, PORTABLE = "VAE", Abilities(True, True, "one pass", "bound"), True
    NETWORK, LOSSES, HELDOUT = VAENetwork, ("loss", "nll", "kl"), "heldout_elbo"
    OLDER: ClassVar = {
        "sigma_per_column": False, "linear": False, "init": "he", "early_stopping": False, "validation_fraction": 0.1,
        "optimizer": "adam", "weight_decay": 0.0, "schedule": "constant", "warmup_steps": 0, "average": 0.0,
        "objective": "elbo", "n_samples": 1, "free_bits": 0.0, "warm_start": False,
    }  # fmt: skip
    CHANGEABLE = LikelihoodEstimator.CHANGEABLE | {"beta", "kl_warmup_epochs", "n_samples", "free_bits"}

    def __init__(
        self,
        latent_dim: int = 20,
        hidden: tuple[Width, ...] = (400,),
        activation: str = "relu",
        likelihood: str = "bernoulli",
        sigma: float | str = "learned",
        beta: float = 1.0,
        kl_warmup_epochs: float = 0,
        epochs: int | str = "auto",
        batch_size: int | str = "auto",
        learning_rate: float = 1e-3,
        clip_norm: float | None = None,
        scale: Any = "auto",
        decoder_hidden: tuple[Width, ...] | None = None,
        precision: str = "float32",
        device: str = "auto",
        random_state: Any = None,
        verbose: bool | int = 0,
        sigma_per_column: bool = True,
        linear: bool | str = "auto",
        init: str = "small",
        early_stopping: bool | str = "auto",
        validation_fraction: float = 0.1,
        optimizer: str = "adam",
        weight_decay: float = 0.0,
        schedule: str = "constant",
        warmup_steps: int = 0,
        average: float = 0.0,
        objective: str = "elbo",
        n_samples: int = 1,
        free_bits: float = 0.0,
        warm_start: bool = False,
    ):
        self.latent_dim = latent_dim
        self.hidden = hidden
        self.activation = activation
        self.likelihood = likelihood
        self.sigma = sigma
        self.beta = beta
        self.kl_warmup_epochs = kl_warmup_epochs
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.clip_norm = clip_norm
        self.scale = scale
        self.decoder_hidden = decoder_hidden
        self.precision = precision
        self.device = device
        self.random_state = random_state
        self.verbose = verbose
        self.sigma_per_column = sigma_per_column
        self.linear = linear
        self.init = init
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.warmup_steps = warmup_steps
        self.average = average
        self.objective = objective
        self.n_samples = n_samples
        self.free_bits = free_bits
        self.warm_start = warm_start

    # ---- what `hooks` asks for ----------------------------------------------------------------------------------

    def _latent_dim(self, columns: int) -> int:
        """Z, of data with so many columns."""
        return check_integer("latent_dim", self.latent_dim, 1)

    def _architecture(self, columns: int) -> Architecture:
        latent_dim, names = self._latent_dim(columns), (self.activation, self.likelihood)
        check_name("activation", self.activation, activations())
        hidden, given = widths("hidden", self.hidden, LAYERS), self.decoder_hidden
        decoder_hidden = mirrored(hidden) if given is None else widths("decoder_hidden", given, LAYERS)
        make_likelihood(self.likelihood, self.sigma)  # names and values are checked there
        check_name("init", self.init, INITS)
        for name, value, valid in (
            ("sigma_per_column", self.sigma_per_column, (True, False)),
            ("linear", self.linear, (True, False, AUTO)),
        ):
            if not any(value is v or (isinstance(value, str | np.bool_) and value == v) for v in valid):
                raise ValueError(f"{name}={value!r} must be {' or '.join(map(repr, valid))}")
        kind = LIKELIHOODS[self.likelihood]
        if self.linear is True and not kind.LINEAR:
            suited = " or ".join(repr(name) for name, other in LIKELIHOODS.items() if other.LINEAR)
            raise ValueError(f"linear=True needs likelihood={suited}, not {self.likelihood!r}: leave it at 'auto'")
        sigma = self.sigma if isinstance(self.sigma, str) else float(self.sigma)
        linear = kind.LINEAR if self.linear == AUTO else bool(self.linear)
        per_column = kind.HAS_SIGMA and isinstance(sigma, str) and bool(self.sigma_per_column)
        return Architecture(columns, hidden, latent_dim, decoder_hidden, *names, sigma, per_column, linear)

    def _begin(
        self, network: VAENetwork, X: Any, units: Units, facts: Statistics, seed: np.uint64, *condition: np.ndarray
    ) -> None:
        deviation, mean = facts.deviation / units.scale, (facts.mean - units.offset) / units.scale
        least, most = float(deviation.min()), float(deviation.max())
        if (
            self.scale is None
            and network.likelihood.SCALING == "standard"
            and (least < 1 / UNSUITED or most > UNSUITED)
        ):
            warnings.warn(
                f"scale=None: the columns are trained on as they are, with deviations from {least:.3g} to {most:.3g}; "
                "Adam's steps suit deviations near 1: pass scale='auto', which changes no unit of what you get",
                TrainingWarning,
                stacklevel=2,
            )
        network.initialise(seed, mean, deviation, self.init)
        a = network.architecture
        if a.linear:
            unit = network.likelihood.output_gain() if a.sigma_per_column else 1.0
            unit = np.broadcast_to(unit, a.inputs)
            sigma = None if isinstance(a.sigma, str) else a.sigma
            c = condition[0] if condition else None
            pca = probabilistic_pca(X, units, mean, unit, a.latent_dim, sigma, seed, c, facts.weights)
            network.start_from(pca)

    def _check_settings(self) -> None:
        super()._check_settings()
        objective_of(self)
        self._architecture(1)

    def _check_weighted(self) -> None:
        super()._check_weighted()
        if self.free_bits:
            raise ValueError(
                f"sample_weight goes with no free_bits={self.free_bits!r}, a bound for the mean over rows that count "
                "alike: set free_bits=0"
            )

    @property
    def heldout_name(self) -> str:  # type: ignore[override]
        """What `history_` calls the held-out score: of the objective that the model was fitted with."""
        fitted = getattr(self, "_fitted", {}).get("objective", self.objective)
        return self.HELDOUT if fitted == ELBO.NAME else "heldout_bound"

    @property
    def sigma_(self) -> Any:
        """Standard deviation of p(x|z) in the model's units, for a Gaussian likelihood: a number, or (D,) where each
        column has its own; times `scale_`, it is in the user's."""
        network = self._check_fitted()
        network.parameters.bring_back()
        return network.likelihood.sigma

    def _set_objective(self, network: VAENetwork) -> None:
        network.objective = objective_of(self)

    def _warmup(self) -> float:
        return float(self.kl_warmup_epochs)

    def remarks(self) -> list[str]:
        """What should be known of the training that has ended: a line each."""
        lines, history = super().remarks(), self.history_
        if self.kl_warmup_epochs >= len(history["kl"]) > 0 and not self.stopped_early_:
            lines.append(
                f"kl_warmup_epochs={self.kl_warmup_epochs:g} is not shorter than the training ({len(history['kl'])} "
                f"epochs): the weight of the KL never reached beta={self.beta:g}"
            )
        enough = STEPS_WITH_BETA if self.beta > 1 else COLLAPSED_STEPS
        if self.n_steps_ >= enough and len(history["kl"]) and history["kl"][-1] < COLLAPSED:
            lines.append(
                f"the posterior has collapsed: the KL is {history['kl'][-1]:.2g} nats, so that the codes say nothing "
                "of the data and every reconstruction is their mean. Either no column depends on another, or the model "
                f"does not fit: try {self.collapse_tries()}"
            )
        return lines

    def collapse_tries(self) -> str:
        """What to try where the posterior has collapsed."""
        others = {"sigma": "learned", "scale": AUTO, "init": "small"}
        tries = ["beta=1"] if self.beta > 1 else []
        tries += [f"{name}={value!r}" for name, value in others.items() if getattr(self, name) != value]
        tries += ["free_bits"] if self.free_bits == 0 and self.objective == "elbo" else []
        return ", ".join([*tries, "kl_warmup_epochs", "smaller or more hidden layers", "another seed"])

    @staticmethod
    def _left_out() -> tuple[str, ...]:
        return (*LikelihoodEstimator._left_out(), "encoder.", "mu.", "logvar.")

    @classmethod
    def _network_from(
        cls, architecture: Architecture, arrays: dict[str, np.ndarray], chosen: backend.Backend, decoder_only: bool
    ) -> VAENetwork:
        if OLDER_SIGMA in arrays:
            older = {Gaussian.PARAMETER: arrays[OLDER_SIGMA] / np.float32(SIGMA_RATE)}
            arrays = arrays | older | {Gaussian.LOWEST: np.array([OLDER_LOWEST], np.float32)}
        network: VAENetwork = super()._network_from(architecture, arrays, chosen, decoder_only)
        if np.isinf(network.likelihood.sigma).any():
            raise ValueError(f"array {Gaussian.PARAMETER!r} has values of which no float64 holds the exponential")
        return network

    # ---- use ----------------------------------------------------------------------------------------------------

    def sample(
        self, n: int | None = None, random_state: Any = None, noise: bool = False, condition: Any = None
    ) -> np.ndarray:
        """Draw z from the prior and return the mean of p(x|z), or p(x|z, c): (n, D) float32, in the user's units.

        Parameters
        ----------
        n
            How many. None: as many as there are conditions, or 1.
        random_state
            A seed or generator of this call. None: by the model's own `random_state`. Where that is None, every call
            draws anew, in whatever process. Where it is an integer, the draws are reproducible: they go on from call to
            call, and each process that loads or inherits the model begins, or goes on, with the same ones: give it a
            seed of its own there. A generator is drawn from; a file does not hold it, a model from one has None.
        noise
            True: draw x from p(x|z) too, instead of taking its mean: complete draws from the model, as wide as it says
            the data are; with "bernoulli", the two ends of the range.
        condition
            Of a model that was fitted with one: a label or vector for all samples, or one for each. The same seed draws
            the same z, whatever the condition.
        """
        network, z, rows, noise_of = self._from_prior(n, random_state, condition, 3 if noise else 0)
        x = self._decode(network, z, rows)
        if noise:
            self._draw_observations(network, x, *noise_of)
        return x

    def _from_prior(
        self, n: int | None, random_state: Any, condition: Any, beside: int = 0
    ) -> tuple[Any, np.ndarray, np.ndarray | None, tuple[np.uint64, int]]:
        """The network, z (n, Z) from the prior, the condition of each as the network reads it, and the seed and the
        number of the call, by which other noise is drawn; `beside`: numbers for each of a sample that are needed."""
        network = self._check_fitted()
        rows = self._condition_rows(network, condition, None if n is None else check_integer("n", n, 1))
        n = n or (1 if rows is None else len(rows))
        self._check_samples(network, n, network.architecture.latent_dim + beside * network.inputs["x"])
        seed, call = self._noise_of_call(random_state)
        z = np.empty((n, network.architecture.latent_dim), np.float32)
        network.kernels.normal_noise(seed, philox.PRIOR, call, 0, z)
        return network, z, rows, (seed, call)

    @staticmethod
    def _draw_observations(network: VAENetwork, mean: np.ndarray, seed: np.uint64, call: int) -> None:
        """Write a draw from p(x|z) over its mean (n, D), both in the user's units."""
        offset, scale = network.units.offset.astype(mean.dtype), network.units.scale.astype(mean.dtype)
        network.parameters.bring_back()
        mean[:] = network.likelihood.draw((mean - offset) / scale, network.kernels, seed, call) * scale + offset

    def loss_and_gradients(
        self, X: Any, noise: Any = None, condition: Any = None, sample_weight: Any = None
    ) -> tuple[float, dict[str, float], dict[str, np.ndarray]]:
        """One forward and backward pass, for comparisons and for optimizers of one's own. Of several threads that ask
        one model, or train it, each has its turn.

        Parameters
        ----------
        X : (B, D)
            In the user's units.
        noise : (B, Z), (B, K, Z) or (B K, Z), optional
            eps of z = mu + exp(logvar / 2) eps, for each of K = `n_samples`: row i K + k is sample k of example i.
            None: drawn from the model's seed, anew in each call.
        condition
            As `transform` has it.
        sample_weight : (B,), optional
            As `fit` has it: all means below are then sum_i w_i m_i / sum_i w_i.

        Returns
        -------
        loss
            Mean over the batch of the objective's loss: of nll + beta kl, say; in nats.
        parts
            "nll" and "kl", means over the batch.
        gradients
            Name to array, the loss differentiated by each of `parameters()`; copies.
        """
        network = self._check_complete()
        self._check_names(X)
        X, units = self._checked(network, X), network.units
        self._warn_of_other_units(network, X)
        examples, c = Examples(X, units.offset, units.scale, network.seed, network.kernels), None
        rows, objective = self._condition_rows(network, condition, len(X)), objective_of(self)
        if noise is not None:
            noise = self._noise(noise, len(X), objective.samples, network.architecture.latent_dim)
        places, weights = np.arange(len(X), dtype=np.int64), None
        if sample_weight is not None:
            self._check_weighted()
            counts = as_weights(sample_weight, len(X))
            places = np.flatnonzero(counts)
            if noise is not None and len(places) < len(X):
                noise = aligned(noise.reshape(len(X), -1)[places]).reshape(-1, noise.shape[1])
            weights = aligned(normalised(counts[places])[:, None]).reshape(-1)
        if rows is not None:
            c = aligned(rows[places])
        x = empty(len(places), X.shape[1])
        examples.fill(places, x, EVALUATION, 0)

        def compute() -> tuple[dict[str, float], dict[str, np.ndarray]]:
            step, self._gradients = FIRST_GRADIENT + self._gradients, self._gradients + 1
            trained, network.objective = network.objective, objective
            write = None if noise is None else lambda p: network.step(p, [None], p.cut(noise))
            try:
                parts = network.loss_and_gradients(x, step, float("inf"), write, c, weights)
            finally:
                network.objective = trained  # a training may be going on
            return parts, {name: g.copy() for name, g in network.parameters.named_gradients().items()}

        parts, gradients = network.exclusion.between_steps(compute)
        return parts.pop("loss"), parts, gradients

    @staticmethod
    def _noise(given: Any, rows: int, samples: int, latent_dim: int) -> np.ndarray:
        """Given noise as kernels want it, (B K, Z), memory of our own."""
        shape = np.shape(given)
        if len(shape) == 3 and shape[:2] == (rows, samples):
            given = np.reshape(given, (rows * samples, -1))
        checked = as_examples(given, "noise", latent_dim)
        if len(checked) != rows * samples:
            wanted = f"X has {rows}" if samples == 1 else f"X has {rows}, n_samples={samples}: {rows * samples} needed"
            raise ValueError(f"noise has {len(checked)} rows (shape {shape}); {wanted}")
        return aligned(checked)


def aligned(rows: np.ndarray) -> np.ndarray:
    """A copy of rows (N, C) as kernels want them, float32."""
    out = empty(*rows.shape)
    out[...] = rows
    return out
