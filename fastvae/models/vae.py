"""The variational autoencoder as an estimator."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae import backend
from fastvae.data.minibatches import Examples
from fastvae.data.validation import as_examples, check_values
from fastvae.errors import check_name
from fastvae.kernels import philox
from fastvae.kernels.formulas import ACTIVATIONS, LOGVAR_HIGHEST, LOGVAR_LOWEST
from fastvae.kernels.memory import empty
from fastvae.likelihoods import make_likelihood
from fastvae.models.frames import framed
from fastvae.models.saving import SavedEstimator
from fastvae.models.settings import check_integer, check_number, seed_from
from fastvae.models.vae_network import Architecture, VAENetwork
from fastvae.models.workspace import EVALUATION, Workspace
from fastvae.training import Batch
from fastvae.workers import Workers


class VAE(SavedEstimator):
    """Variational autoencoder.

    loss = mean over the batch of nll + beta kl, in nats with all constants; one sample of z an example.

    Parameters
    ----------
    latent_dim
        Z, the dimension of the latent code.
    hidden
        Widths of the encoder's hidden layers; () gives a linear VAE.
    activation
        "identity", "relu", "leaky_relu", "tanh", "sigmoid", "softplus" or "silu".
    likelihood
        "bernoulli", for data in [0, 1], or "gaussian". Where scale="minmax" has learned what becomes [0, 1], values
        beyond it, which come later, are taken as the nearest end, with a warning.
    sigma
        Gaussian only: the standard deviation of p(x|z) in the model's units (after `scale`); "learned", as a parameter;
        or "optimal", the best one of each batch in closed form (Rybkin et al. 2021).
    beta
        Weight of the KL in the loss (Higgins et al. 2017). The ELBO always has weight 1.
    kl_warmup_epochs
        Epochs over which the weight grows from 0 to beta.
    epochs, batch_size, learning_rate
        Of Adam; batches are drawn without replacement.
    clip_norm
        Largest norm of the gradient; None for no limit.
    scale
        None, "standard" (each column to mean 0, deviation 1), "minmax" (each column to [0, 1]) or (low, high) (one
        range to [0, 1]). Stored with the model, undone by `decode`; densities stay those of the user's units.
    decoder_hidden
        Widths of the decoder's hidden layers; None mirrors the encoder.
    precision
        Of the matrix products' operands: "float32", or "bfloat16" on a processor with AMX or AVX-512 BF16, or a GPU of
        compute capability 8.0 or later. Sums, weights and everything else are float32 in both.
    device
        "cpu", "cuda" (a GPU of compute capability 7.5 or later, with the extra "cuda"), or "auto", the CPU.
    random_state
        None, an integer in 0 ... 2**64 - 1, or a NumPy generator. The same seed, versions and machine give
        bit-identical parameters, whatever the number of threads (FASTVAE_THREADS; default: all cores).
    verbose
        0: silent; 1: progress on standard error.

    Attributes
    ----------
    history_ : dict of arrays, one entry an epoch
    n_features_in_, offset_, scale_, seed_
        What `fit` learned beside the parameters.
    feature_names_in_ : (D,) array of str
        Where X was a frame of pandas or polars with names of columns: frames that come later must have the same ones.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(256, 5)).astype("float32")
    >>> vae = VAE(latent_dim=2, hidden=(16,), likelihood="gaussian", epochs=2, random_state=0).fit(X)
    >>> vae.transform(X).shape, vae.sample(3).shape, vae.elbo(X).shape
    ((256, 2), (3, 5), (256,))
    """

    NAME = "VAE"

    def __init__(
        self,
        latent_dim: int = 20,
        hidden: tuple[int, ...] = (400,),
        activation: str = "relu",
        likelihood: str = "bernoulli",
        sigma: float | str = 1.0,
        beta: float = 1.0,
        kl_warmup_epochs: float = 0,
        epochs: int = 20,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        clip_norm: float | None = None,
        scale: Any = None,
        decoder_hidden: tuple[int, ...] | None = None,
        precision: str = "float32",
        device: str = "auto",
        random_state: Any = None,
        verbose: int = 0,
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

    # ---- what the base asks for ---------------------------------------------------------------------------------

    def _architecture(self, columns: int) -> Architecture:
        check_integer("latent_dim", self.latent_dim, 1)
        check_name("activation", self.activation, ACTIVATIONS)
        hidden = _widths("hidden", self.hidden)
        decoder_hidden = hidden[::-1] if self.decoder_hidden is None else _widths("decoder_hidden", self.decoder_hidden)
        make_likelihood(self.likelihood, self.sigma)  # names and values are checked there
        sigma = self.sigma if isinstance(self.sigma, str) else float(self.sigma)
        return Architecture(
            columns, hidden, int(self.latent_dim), decoder_hidden, self.activation, self.likelihood, sigma
        )

    def _check_settings(self) -> None:
        super()._check_settings()
        check_number("beta", self.beta, 0)
        check_number("kl_warmup_epochs", self.kl_warmup_epochs, 0)
        self._architecture(1)

    def _make_network(self, columns: int) -> VAENetwork:
        return VAENetwork(self._architecture(columns), backend.select(self.device, self.precision))

    @staticmethod
    def _build(architecture: Architecture, chosen: backend.Backend, decoder_only: bool) -> VAENetwork:
        return VAENetwork(architecture, chosen, decoder_only)

    def _objective(self) -> dict[str, Any]:
        return {"beta": float(self.beta), "kl_warmup_epochs": float(self.kl_warmup_epochs)}

    @staticmethod
    def _generation_names() -> tuple[str, ...]:
        return ("decoder.", "scaling.", "log_sigma")

    @classmethod
    def _network_from(
        cls, architecture: dict[str, Any], arrays: dict[str, np.ndarray], chosen: backend.Backend, decoder_only: bool
    ) -> VAENetwork:
        widths = {k: tuple(architecture[k]) for k in ("hidden", "decoder_hidden")}
        built = Architecture(**{**architecture, **widths})
        expected = VAENetwork.expected_shapes(built, decoder_only)
        expected_scaling = {"scaling.offset": (built.inputs,), "scaling.scale": (built.inputs,)}
        for name, shape in {**expected, **expected_scaling}.items():
            found = arrays[name].shape if name in arrays else "nothing"
            if found != shape:
                raise ValueError(f"array {name!r} should have shape {shape}; the file has {found}")
        network = VAENetwork(built, chosen, decoder_only)
        for name in expected:
            network.parameters.value(name)[...] = arrays[name]
        return network

    # ---- use ----------------------------------------------------------------------------------------------------

    def _over(
        self,
        X: np.ndarray,
        name: str,
        keep: Callable[[int, int, Workspace], None],
        check: Callable[[], Callable[[Any], np.ndarray] | None] | None = None,
        binarize: str | float | None = None,
    ) -> None:
        """Do the pass `name` (see `VAENetwork.write`) over all rows of X in pieces, by one thread or several.

        keep(start, stop, workspace) takes what it made; `check`, where given, is called first if a value is out of
        range: it finds which, and says it, or returns how rows are brought into the range.
        """
        network, count, clip = self.network_, len(X), None
        threads, size = network.backend.pieces(count, network.largest_product(count), network.widest)
        network.prepare_passes()
        with network.backend.passing(threads) as workers:
            for first in range(0, count, threads * size):
                starts = range(first, min(first + threads * size, count), size)
                pieces = [(start, network.borrow(min(size, count - start))) for start in starts]
                workers.run_programs([w.prepare(name, X[i : i + len(w.x)], i, binarize) for i, w in pieces])
                for start, w in pieces:
                    if check is not None and not w.in_range:
                        clip, check = check(), None
                    if clip is not None and not w.in_range:
                        rows = clip(X[start : start + len(w.x)])
                        workers.run_programs([w.prepare(name, rows, start, binarize)])
                    keep(start, start + len(w.x), w)
                    network.give_back(w)

    def _data(self, X: Any) -> Any:
        """`X` as an array for a pass that begins with the encoder, its values not looked at."""
        self._check_complete()
        self._check_names(X)
        X = as_examples(X, "X", self.n_features_in_, in_place=not self.network_.kernels.ON_HOST)
        self._warn_of_other_units(X)
        return X

    def encode(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return mu and logvar of q(z|x), each (N, Z) float32; logvar is limited to [-30, 20]."""
        X = self._data(X)
        return self._encode(X, check=lambda: self._clipping(X))

    def encode_examples(self, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
        """`encode` of examples, which somebody has checked."""
        return self._encode(examples.X, binarize=examples.binarize)

    def _encode(self, X: np.ndarray, **how: Any) -> tuple[np.ndarray, np.ndarray]:
        mu, logvar = (np.empty((len(X), self.network_.architecture.latent_dim), np.float32) for _ in range(2))

        def keep(start: int, stop: int, w: Workspace) -> None:
            mu[start:stop] = w.mu.out
            np.minimum(np.maximum(w.logvar.out, LOGVAR_LOWEST), LOGVAR_HIGHEST, out=logvar[start:stop])

        self._over(X, "encode", keep, **how)
        return mu, logvar

    @framed
    def transform(self, X: Any) -> np.ndarray:
        """Return mu, the mean of q(z|x): (N, Z) float32, an array or as `set_output` says."""
        X = self._data(X)
        mu = np.empty((len(X), self.network_.architecture.latent_dim), np.float32)

        def keep(start: int, stop: int, w: Workspace) -> None:
            mu[start:stop] = w.mu.out

        self._over(X, "mean", keep, lambda: self._clipping(X))
        return mu

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """`fit`, then `transform` of the same `X`."""
        return self.fit(X, y).transform(X)

    def decode(self, Z: Any) -> np.ndarray:
        """Return the mean of p(x|z) for each row of `Z` (N, Z): (N, D), in the user's units.

        float32; float64 where a column lies so far from 0 that float32 would not hold its differences.
        """
        self._check_fitted()
        Z = as_examples(Z, "Z", self.network_.architecture.latent_dim, in_place=not self.network_.kernels.ON_HOST)
        units = self.network_.units
        out = np.empty((len(Z), self.n_features_in_), units.dtype)

        def keep(start: int, stop: int, w: Workspace) -> None:
            units.to_user(w.decoder[-1].out, out[start:stop])

        def check() -> None:
            check_values(Z, "Z")

        self._over(Z, "decode", keep, check)
        return out

    inverse_transform = decode

    def reconstruct(self, X: Any) -> np.ndarray:
        """Return decode(transform(X)): (N, D) float32, in the user's units."""
        return self.decode(self.transform(X))

    def sample(self, n: int = 1, random_state: Any = None, noise: bool = False) -> np.ndarray:
        """Draw z from the prior and return the mean of p(x|z): (n, D) float32, in the user's units.

        Parameters
        ----------
        n
            How many.
        random_state
            None: the draws go on from call to call, from the model's own seed.
        noise
            True: draw x from p(x|z) too, instead of taking its mean: complete draws from the model, as wide as it says
            the data are; with "bernoulli", the two ends of the range.
        """
        self._check_fitted()
        check_integer("n", n, 1)
        seed, call = (self.seed_, self._draws) if random_state is None else (seed_from(random_state), 0)
        self._draws += random_state is None
        z = np.empty((n, self.network_.architecture.latent_dim), np.float32)
        self.network_.kernels.normal_noise(seed, philox.PRIOR, call, 0, z)
        x = self.decode(z)
        if noise:
            self._draw_observations(x, seed, call)
        return x

    def _draw_observations(self, mean: np.ndarray, seed: np.uint64, call: int) -> None:
        """Write a draw from p(x|z) over its mean (n, D), both in the user's units."""
        kernels, scale = self.network_.kernels, self.scale_.astype(mean.dtype)
        if self.network_.architecture.likelihood == "gaussian":
            eps = np.empty(mean.shape, np.float32)
            kernels.normal_noise(seed, philox.OBSERVATION, call, 0, eps)
            mean += (self.sigma_ * scale).astype(mean.dtype) * eps
        else:
            offset, uniform = self.offset_.astype(mean.dtype), np.empty(mean.shape, np.float32)
            kernels.uniform_noise(seed, philox.OBSERVATION, call, 0, uniform)
            mean[:] = np.where(uniform <= (mean - offset) / scale, scale, 0) + offset

    def elbo(self, X: Any) -> np.ndarray:
        """Return the ELBO of each example, (N,) float64, in nats: a lower bound of log p(x) in the user's units.

        E_q[log p(x|z)] - KL[q(z|x) || p(z)] from one sample of z an example. The noise belongs to the model's seed and
        the row: the same call gives the same numbers, however many rows are computed at a time.
        """
        X = self._data(X)
        return self._elbo(X, check=lambda: self._clipping(X))

    def elbo_examples(self, examples: Examples) -> np.ndarray:
        """`elbo` of examples, which somebody has checked."""
        return self._elbo(examples.X, binarize=examples.binarize)

    def _elbo(self, X: np.ndarray, **how: Any) -> np.ndarray:
        out = np.empty(len(X))

        def keep(start: int, stop: int, w: Workspace) -> None:
            np.add(w.nll, w.kl, out=out[start:stop])

        self._over(X, "elbo", keep, **how)
        np.negative(out, out=out)
        out -= self.network_.log_jacobian
        return out

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the ELBO as the estimate (a lower bound) of log p(x): (N,) float64, nats."""
        return self.elbo(X)

    def score(self, X: Any, y: Any = None) -> float:
        """Mean of `score_samples`: larger is better."""
        return float(self.score_samples(X).mean())

    def loss_and_gradients(self, X: Any, noise: Any = None) -> tuple[float, dict[str, float], dict[str, np.ndarray]]:
        """One forward and backward pass, for comparisons and for optimizers of one's own.

        Parameters
        ----------
        X : (B, D)
            In the user's units.
        noise : (B, Z), optional
            eps of z = mu + exp(logvar / 2) eps; drawn from the model's seed if None.

        Returns
        -------
        loss
            Mean over the batch of nll + beta kl, in nats.
        parts
            "nll" and "kl", means over the batch.
        gradients
            Name to array, the loss differentiated by each of `parameters()`; copies.
        """
        self._check_names(X)
        examples = self.examples(as_examples(X))
        x = np.empty(examples.X.shape, np.float32)
        examples.fill(np.arange(len(x), dtype=np.int64), x, EVALUATION, 0)
        if noise is not None:
            given = as_examples(noise, "noise", self.network_.architecture.latent_dim)
            noise = empty(*given.shape)  # of our own, as kernels want it
            noise[...] = given
            if len(noise) != len(x):
                raise ValueError(f"noise has {len(noise)} rows (shape {noise.shape}); X has {len(x)}")
        with Workers(1):
            parts = self.network_.loss_and_gradients(Batch.of(x, EVALUATION, float("inf")), noise)
        gradients = {name: g.copy() for name, g in self.network_.parameters.named_gradients().items()}
        return parts.pop("loss"), parts, gradients


def _widths(argument: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        raise TypeError(f"{argument}={value!r} must be a tuple of layer widths, such as (400,) or () for none")
    return tuple(check_integer(f"{argument}[{i}]", width, 1) for i, width in enumerate(value))
