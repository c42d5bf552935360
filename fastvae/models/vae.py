"""The variational autoencoder: its networks, its loss, and its estimator.

p(z) = N(0, I), p(x|z) Bernoulli or Gaussian with a decoder, q(z|x) a diagonal Gaussian with an encoder; the loss is
the mean over the batch of nll + beta kl. Kingma and Welling 2014; Rezende, Mohamed and Wierstra 2014.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae import backend, blas
from fastvae.data.minibatches import BATCH, Examples
from fastvae.data.validation import as_examples, check_values
from fastvae.errors import check_name
from fastvae.kernels import philox
from fastvae.kernels.formulas import ACTIVATIONS
from fastvae.layers import MLP, Buffers, Dense
from fastvae.likelihoods import make_likelihood
from fastvae.models.base import Estimator, check_integer, check_number, seed_from
from fastvae.parameters import Parameters, Shape
from fastvae.training import Batch

EVALUATION = 0  # the step of all noise outside training, whose steps count from 1


@dataclass(frozen=True)
class Architecture:
    """What decides the names and shapes of the parameters, and the likelihood."""

    inputs: int
    hidden: tuple[int, ...]
    latent_dim: int
    decoder_hidden: tuple[int, ...]
    activation: str
    likelihood: str
    sigma: float | str


class Workspace:
    """The buffers of one batch through the whole model; for each smaller batch, views of the same memory."""

    def __init__(self, network: "VAENetwork", batch: int):
        latent = network.architecture.latent_dim
        self.encoder = network.encoder.buffers(batch) if network.complete else []
        self.mu, self.logvar = network.mu.buffers(batch), network.logvar.buffers(batch)
        self.decoder = network.decoder.buffers(batch)
        self.z, self.d_z = (np.empty((batch, latent), np.float32) for _ in range(2))
        self.d_h_logvar = np.empty((batch, network.encoder.outputs if network.encoder.layers else 0), np.float32)
        self.kl, self.nll = (np.empty(batch, np.float32) for _ in range(2))

    def rows(self, count: int) -> "Workspace":
        """Views of the first `count` rows."""
        view = object.__new__(Workspace)
        for name, value in vars(self).items():
            if isinstance(value, list):
                setattr(view, name, [b.rows(count) for b in value])
            else:
                setattr(view, name, value.rows(count) if isinstance(value, Buffers) else value[:count])
        return view


class VAENetwork:
    """Encoder, latent layer and decoder over one flat parameter buffer: what `fastvae.training` trains.

    Parameters
    ----------
    architecture
        Shapes and names.
    chosen
        The backend.
    decoder_only
        Leave out the encoder: no parameters, no buffers for it.
    """

    def __init__(self, architecture: Architecture, chosen: backend.Backend, decoder_only: bool = False):
        self._describe(architecture, decoder_only)
        self.kernels = chosen.kernels
        self.parameters = Parameters(self.shapes())
        for layer in self._layers():
            layer.bind(self.parameters, self.kernels)
        self.likelihood.bind(self.parameters, self.kernels)
        self._workspaces: dict[int, Workspace] = {}

    def _describe(self, a: Architecture, decoder_only: bool) -> None:
        self.architecture, self.complete = a, not decoder_only
        self.encoder = MLP("encoder", (a.inputs, *a.hidden), a.activation)
        self.mu = Dense("mu", self.encoder.outputs, a.latent_dim)
        self.logvar = Dense("logvar", self.encoder.outputs, a.latent_dim)
        self.decoder = MLP("decoder", (a.latent_dim, *a.decoder_hidden, a.inputs), a.activation, "identity")
        self.likelihood = make_likelihood(a.likelihood, a.sigma)

    def _layers(self) -> list[Dense]:
        head = [*self.encoder.layers, self.mu, self.logvar] if self.complete else []
        return head + self.decoder.layers

    def shapes(self) -> dict[str, Shape]:
        """Names and shapes of all parameters, in order of use."""
        shapes: dict[str, Shape] = {}
        for layer in self._layers():
            shapes |= layer.shapes()
        return shapes | self.likelihood.shapes()

    @classmethod
    def expected_shapes(cls, architecture: Architecture, decoder_only: bool) -> dict[str, Shape]:
        """The same for an architecture, without allocating anything."""
        network = object.__new__(cls)
        network._describe(architecture, decoder_only)
        return network.shapes()

    def initialise(self, seed: np.uint64, mean: np.ndarray, spread: float) -> None:
        """Draw the weights; the output bias starts where the decoder gives the data's mean (D,), in model units, and a
        sigma that is not fixed at `spread`, the root mean square deviation from it."""
        for position, layer in enumerate(self._layers()):
            layer.initialise(seed, position)
        self.likelihood.initialise(spread)
        self.decoder.layers[-1].bias[:] = self.likelihood.output_bias(mean)

    def prepare(self, seed: np.uint64, log_jacobian: float, beta: float = 1.0, kl_warmup_epochs: float = 0.0) -> None:
        """Set what the loss needs: the noise's key, the constant of the user's units, and the weight of the KL."""
        self.seed, self.log_jacobian = seed, log_jacobian
        self.beta, self.kl_warmup_epochs = beta, kl_warmup_epochs

    def allocate(self, batch: int) -> None:
        """Have the buffers for batches of up to `batch` rows."""
        self._workspaces = {batch: Workspace(self, batch)}

    def _workspace(self, rows: int) -> Workspace:
        if rows not in self._workspaces:
            largest = max(self._workspaces, default=0)
            if rows > largest:
                self.allocate(rows)
            else:
                self._workspaces[rows] = self._workspaces[largest].rows(rows)
        return self._workspaces[rows]

    def kl_weight(self, progress: float) -> float:
        """beta, reached linearly over the first `kl_warmup_epochs`."""
        return self.beta * min(1.0, progress / self.kl_warmup_epochs) if self.kl_warmup_epochs else self.beta

    def largest_product(self, rows: int) -> float:
        """Floating-point operations of the largest matrix product for a batch."""
        return 2.0 * rows * max(layer.inputs * layer.outputs for layer in self._layers())

    # ---- passes over one batch ----------------------------------------------------------------------------------

    def encode(self, x: np.ndarray, w: Workspace) -> None:
        """Fill `w.mu` and `w.logvar` (not limited yet)."""
        h = self.encoder.forward(x, w.encoder)
        self.mu.forward(h, w.mu)
        self.logvar.forward(h, w.logvar)

    def decode(self, z: np.ndarray, w: Workspace) -> np.ndarray:
        """Return the decoder's outputs (logits for Bernoulli), a buffer of `w`."""
        return self.decoder.forward(z, w.decoder)

    def loss_and_gradients(self, batch: Batch, noise: np.ndarray | None = None) -> dict[str, float]:
        """Fill the gradients; return "loss", "nll" and "kl": means over the batch, nats, user's units."""
        x, rows = batch.x, len(batch.x)
        w = self._workspace(rows)
        weight, kl_weight = 1.0 / rows, self.kl_weight(batch.progress)
        self.encode(x, w)
        key = (noise, self.seed, batch.step, 0)
        self.kernels.latent_forward(w.mu.out, w.logvar.out, *key, w.z, w.kl)
        self.likelihood.forward_backward(x, self.decode(w.z, w), weight, w.nll, w.decoder[-1].d_out)

        self.decoder.backward(w.z, w.decoder, w.d_z)
        self.kernels.latent_backward(
            w.mu.out, w.logvar.out, w.d_z, *key, kl_weight * weight, w.mu.d_out, w.logvar.d_out
        )
        if w.encoder:
            h = w.encoder[-1]
            self.mu.backward(h.out, w.mu, h.d_out)
            self.logvar.backward(h.out, w.logvar, w.d_h_logvar)
            np.add(h.d_out, w.d_h_logvar, out=h.d_out)
            self.encoder.backward(x, w.encoder, None)
        else:
            self.mu.backward(x, w.mu, None)
            self.logvar.backward(x, w.logvar, None)

        nll = float(np.add.reduce(w.nll, dtype=np.float64)) * weight + self.log_jacobian
        kl = float(np.add.reduce(w.kl, dtype=np.float64)) * weight
        return {"loss": nll + kl_weight * kl, "nll": nll, "kl": kl}

    def elbo(self, x: np.ndarray, w: Workspace, first_row: int, out: np.ndarray) -> None:
        """Write -(nll + kl) of each row, from one sample of z each."""
        self.encode(x, w)
        self.kernels.latent_forward(w.mu.out, w.logvar.out, None, self.seed, EVALUATION, first_row, w.z, w.kl)
        self.likelihood.forward(x, self.decode(w.z, w), w.nll)
        np.add(w.nll, w.kl, out=out)
        np.negative(out, out=out)
        out -= self.log_jacobian

    def faults(self, batch: Batch) -> str:
        """Name the first layer with a parameter, or else with an output, that is not finite."""
        for name, values in self.parameters.named_values().items():
            if not np.isfinite(values).all():
                return f"layer {name.rsplit('.', 1)[0]!r} has a {name.rsplit('.', 1)[-1]} that is not finite"
        w = self._workspace(len(batch.x))
        outputs = [*zip(self.encoder.layers, w.encoder, strict=True), (self.mu, w.mu), (self.logvar, w.logvar)]
        for layer, buffers in [*outputs, *zip(self.decoder.layers, w.decoder, strict=True)]:
            if not np.isfinite(buffers.out).all():
                return f"the output of layer {layer.name!r} is not finite"
        return f"layer {self.decoder.layers[-1].name!r} gives outputs whose loss overflows"


class VAE(Estimator):
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
        "bernoulli", for data in [0, 1], or "gaussian".
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
        "float32".
    device
        "auto" or "cpu".
    random_state
        None, an integer in 0 ... 2**64 - 1, or a NumPy generator. The same seed, machine and number of BLAS threads
        give bit-identical parameters.
    verbose
        0: silent; 1: progress on standard error.

    Attributes
    ----------
    history_ : dict of arrays, one entry an epoch
    n_features_in_, offset_, scale_, seed_
        What `fit` learned beside the parameters.

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
        return VAENetwork(self._architecture(columns), backend.select(self.device))

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

    def _batches(self, examples: Examples) -> Any:
        """Yield (start, stop, x, workspace) over all examples, in order, in buffers that are used again."""
        size = min(BATCH, len(examples))
        x = np.empty((size, examples.X.shape[1]), np.float32)
        workspace = Workspace(self.network_, size)
        with blas.suited_to(self.network_.largest_product(size)):
            for start in range(0, len(examples), size):
                stop = min(start + size, len(examples))
                if stop - start < size:
                    x, workspace = x[: stop - start], workspace.rows(stop - start)
                examples.fill(np.arange(start, stop), x, EVALUATION, start)
                yield start, stop, x, workspace

    def encode(self, X: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return mu and logvar of q(z|x), each (N, Z) float32; logvar is limited to [-30, 20]."""
        examples = self.examples(X)
        mu, logvar = (np.empty((len(examples), self.network_.architecture.latent_dim), np.float32) for _ in range(2))
        for start, stop, x, w in self._batches(examples):
            self.network_.encode(x, w)
            mu[start:stop] = w.mu.out
            np.clip(w.logvar.out, -30, 20, out=logvar[start:stop])
        return mu, logvar

    def transform(self, X: Any) -> np.ndarray:
        """Return mu, the mean of q(z|x): (N, Z) float32."""
        return self.encode(X)[0]

    def fit_transform(self, X: Any, y: Any = None) -> np.ndarray:
        """`fit`, then `transform` of the same `X`."""
        return self.fit(X, y).transform(X)

    def decode(self, Z: Any) -> np.ndarray:
        """Return the mean of p(x|z) for each row of `Z` (N, Z): (N, D) float32, in the user's units."""
        self._check_fitted()
        Z = as_examples(Z, "Z", self.network_.architecture.latent_dim)
        check_values(Z, "Z")
        out = np.empty((len(Z), self.n_features_in_), np.float32)
        workspace = Workspace(self.network_, min(BATCH, len(Z)))
        with blas.suited_to(self.network_.largest_product(len(workspace.z))):
            for start in range(0, len(Z), BATCH):
                z = np.ascontiguousarray(Z[start : start + BATCH], np.float32)
                w = workspace if len(z) == len(workspace.z) else workspace.rows(len(z))
                x = self.network_.decode(z, w)
                self.network_.likelihood.mean_inplace(x)
                np.multiply(x, self.scale_, out=out[start : start + BATCH], casting="same_kind")
        return np.add(out, self.offset_, out=out, casting="same_kind")

    inverse_transform = decode

    def reconstruct(self, X: Any) -> np.ndarray:
        """Return decode(transform(X)): (N, D) float32, in the user's units."""
        return self.decode(self.transform(X))

    def sample(self, n: int = 1, random_state: Any = None) -> np.ndarray:
        """Draw z from the prior and return the mean of p(x|z): (n, D) float32, in the user's units.

        Without `random_state` the draws go on from call to call, from the model's own seed.
        """
        self._check_fitted()
        check_integer("n", n, 1)
        seed, call = (self.seed_, self._draws) if random_state is None else (seed_from(random_state), 0)
        self._draws += random_state is None
        z = np.empty((n, self.network_.architecture.latent_dim), np.float32)
        self.network_.kernels.normal_noise(seed, philox.PRIOR, call, 0, z)
        return self.decode(z)

    def elbo(self, X: Any) -> np.ndarray:
        """Return the ELBO of each example, (N,) float64, in nats: a lower bound of log p(x) in the user's units.

        E_q[log p(x|z)] - KL[q(z|x) || p(z)] from one sample of z an example. The noise belongs to the model's seed and
        the row: the same call gives the same numbers, however many rows are computed at a time.
        """
        return self.elbo_examples(self.examples(X))

    def elbo_examples(self, examples: Examples) -> np.ndarray:
        """`elbo` of examples that are in the model's units already."""
        out = np.empty(len(examples))
        for start, stop, x, w in self._batches(examples):
            self.network_.elbo(x, w, start, out[start:stop])
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

        Notes
        -----
        With sigma="optimal" a call moves the running mean of sigma, as a training step does.
        """
        examples = self.examples(X)
        x = np.empty(examples.X.shape, np.float32)
        examples.fill(np.arange(len(x)), x, EVALUATION, 0)
        if noise is not None:
            noise = np.ascontiguousarray(as_examples(noise, "noise", self.network_.architecture.latent_dim), np.float32)
            if len(noise) != len(x):
                raise ValueError(f"noise has {len(noise)} rows (shape {noise.shape}); X has {len(x)}")
        with blas.suited_to(self.network_.largest_product(len(x))):
            parts = self.network_.loss_and_gradients(Batch(x, EVALUATION, float("inf")), noise)
        gradients = {name: g.copy() for name, g in self.network_.parameters.named_gradients().items()}
        return parts.pop("loss"), parts, gradients


def _widths(argument: str, value: Any) -> tuple[int, ...]:
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        raise TypeError(f"{argument}={value!r} must be a tuple of layer widths, such as (400,) or () for none")
    return tuple(check_integer(f"{argument}[{i}]", width, 1) for i, width in enumerate(value))
