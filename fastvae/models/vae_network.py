"""The network of a variational autoencoder: encoder, latent layer and decoder, forward and backward by hand.

    h = encoder(x)        mu, logvar = two Dense layers of h        z = mu + exp(logvar / 2) eps        decoder(z)

p(z) = N(0, I), p(x|z) Bernoulli or Gaussian, q(z|x) a diagonal Gaussian; the loss is the mean over the batch of
nll + beta kl. Kingma and Welling 2014; Rezende, Mohamed and Wierstra 2014.
"""

from dataclasses import dataclass

import numpy as np

from fastvae import backend
from fastvae.layers import MLP, Buffers, Dense
from fastvae.likelihoods import make_likelihood
from fastvae.parameters import Parameters, Shape
from fastvae.training import Batch
from fastvae.workers import Workers

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
    """The buffers of one batch through the whole model; without `backward`, those of the forward pass alone."""

    def __init__(self, network: "VAENetwork", batch: int, backward: bool = True):
        self.encoder = network.encoder.buffers(batch, backward) if network.complete else []
        self.mu, self.logvar = network.mu.buffers(batch, backward), network.logvar.buffers(batch, backward)
        self.decoder = network.decoder.buffers(batch, backward)
        self.z = np.empty((batch, network.architecture.latent_dim), np.float32)
        self.kl, self.nll = np.empty(batch, np.float32), np.empty(batch, np.float32)
        if backward:
            self.d_z = np.empty_like(self.z)
            self.d_h_logvar = np.empty((batch, network.encoder.outputs if network.encoder.layers else 0), np.float32)

    def rows(self, start: int, stop: int) -> "Workspace":
        """Views of the rows start ... stop - 1."""
        view = object.__new__(Workspace)
        for name, value in vars(self).items():
            if isinstance(value, list):
                setattr(view, name, [b.rows(start, stop) for b in value])
            else:
                setattr(view, name, value.rows(start, stop) if isinstance(value, Buffers) else value[start:stop])
        return view


@dataclass(frozen=True)
class Share:
    """A thread's rows of a batch, start ... stop - 1: their buffers, and where their sum of gradients goes."""

    start: int
    stop: int
    workspace: Workspace
    gradients: dict[str, np.ndarray]


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
        self.workers = Workers(1)
        self.allocate(0)

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
        """Have the buffers for training on batches of up to `batch` rows, shared by the threads of `workers`."""
        self._largest, self._workspace = batch, Workspace(self, batch)
        more = [self.parameters.another_gradient() for _ in range(1, self.workers.count)]
        self._gradients = [self.parameters.named_gradients(), *(views for _, views in more)]
        self._to_add = [flat for flat, _ in more]
        self._cuts: dict[int, list[Share]] = {}

    def _cut(self, rows: int) -> list[Share]:
        """The shares of a batch of so many rows; made once, views of the same memory for every number of rows."""
        if rows > self._largest:
            self.allocate(rows)
        if rows not in self._cuts:
            bounds = [rows * i // self.workers.count for i in range(self.workers.count + 1)]
            self._cuts[rows] = [
                Share(start, stop, self._workspace.rows(start, stop), gradients)
                for start, stop, gradients in zip(bounds[:-1], bounds[1:], self._gradients, strict=True)
            ]
        return self._cuts[rows]

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
        rows = len(batch.x)
        self._shares, self._batch, self._noise = self._cut(rows), batch, noise
        self._weight, kl_weight = 1.0 / rows, self.kl_weight(batch.progress)
        self._kl_weight = kl_weight * self._weight
        nll, kl = self._workspace.nll[:rows], self._workspace.kl[:rows]

        self.workers.run(self._forward)
        self._factor = self.likelihood.conclude(nll, batch.x.shape[1], batch.step, rows / self._largest)
        self.workers.run(self._backward)
        for more in self._to_add:
            np.add(self.parameters.gradients, more, out=self.parameters.gradients)

        mean_nll = float(np.add.reduce(nll, dtype=np.float64)) * self._weight + self.log_jacobian
        mean_kl = float(np.add.reduce(kl, dtype=np.float64)) * self._weight
        return {"loss": mean_nll + kl_weight * mean_kl, "nll": mean_nll, "kl": mean_kl}

    def _draw(self, share: Share) -> tuple[np.ndarray | None, np.uint64, int, int]:
        """The arguments that tell the latent kernels the noise of a share's rows."""
        noise = None if self._noise is None else self._noise[share.start : share.stop]
        return noise, self.seed, self._batch.step, share.start

    def _forward(self, number: int) -> None:
        """One share forward, to the loss of each row and its gradient by the decoder's outputs."""
        share = self._shares[number]
        w, x = share.workspace, self._batch.x[share.start : share.stop]
        self.encode(x, w)
        self.kernels.latent_forward(w.mu.out, w.logvar.out, *self._draw(share), w.z, w.kl)
        out = self.decode(w.z, w)
        self.likelihood.forward_backward(x, out, self._weight, w.nll, w.decoder[-1].d_out)

    def _backward(self, number: int) -> None:
        """The same share backward, into the share's own gradients."""
        share = self._shares[number]
        w, x, gradients = share.workspace, self._batch.x[share.start : share.stop], share.gradients
        if self._factor != 1.0:
            np.multiply(w.decoder[-1].d_out, np.float32(self._factor), out=w.decoder[-1].d_out)
        self.decoder.backward(w.z, w.decoder, w.d_z, gradients)
        self.kernels.latent_backward(
            w.mu.out, w.logvar.out, w.d_z, *self._draw(share), self._kl_weight, w.mu.d_out, w.logvar.d_out
        )
        if w.encoder:
            h = w.encoder[-1]
            self.mu.backward(h.out, w.mu, h.d_out, gradients)
            self.logvar.backward(h.out, w.logvar, w.d_h_logvar, gradients)
            np.add(h.d_out, w.d_h_logvar, out=h.d_out)
            self.encoder.backward(x, w.encoder, None, gradients)
        else:
            self.mu.backward(x, w.mu, None, gradients)
            self.logvar.backward(x, w.logvar, None, gradients)

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
        w = self._workspace.rows(0, len(batch.x))
        outputs = [*zip(self.encoder.layers, w.encoder, strict=True), (self.mu, w.mu), (self.logvar, w.logvar)]
        for layer, buffers in [*outputs, *zip(self.decoder.layers, w.decoder, strict=True)]:
            if not np.isfinite(buffers.out).all():
                return f"the output of layer {layer.name!r} is not finite"
        return f"layer {self.decoder.layers[-1].name!r} gives outputs whose loss overflows"
