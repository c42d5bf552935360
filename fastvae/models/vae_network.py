"""The network of a variational autoencoder: encoder, latent layer and decoder, forward and backward by hand.

    h = encoder(x)        mu, logvar = two Dense layers of h        z = mu + exp(logvar / 2) eps        decoder(z)

p(z) = N(0, I), p(x|z) Bernoulli or Gaussian, q(z|x) a diagonal Gaussian; the loss is the mean over the batch of
nll + beta kl. Kingma and Welling 2014; Rezende, Mohamed and Wierstra 2014.

A step has two parts, and threads meet after each: every thread takes its rows of the batch forward and backward, then
its rows of every weight through their gradient, a product over the whole batch, and Adam's step with it. So nothing
depends on the number of threads, not even the order in which a sum is added up.
"""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastvae import backend
from fastvae.data.minibatches import Examples, write_binarization
from fastvae.data.scaling import Units
from fastvae.data.validation import LARGEST
from fastvae.exclusion import Exclusion
from fastvae.kernels.memory import empty
from fastvae.kernels.philox import LATENT
from fastvae.kernels.scalars import EXAMPLE_WEIGHT, KL_WEIGHT, NOISE_STEP, SIGMA
from fastvae.layers import MLP, RECTIFIERS, Buffers, Dense, Linear, Program
from fastvae.likelihoods import Scratch, make_likelihood
from fastvae.models.linear_start import LinearStart
from fastvae.models.shares import Shares
from fastvae.models.workspace import Workspace
from fastvae.optimizers import Adam
from fastvae.parameters import Parameters, Shape
from fastvae.training import Batch

NOTHING = np.empty((1, 0), np.int64)  # no rows to be chosen
KEPT_SIZES = 4  # of workspaces that wait for the next call
INITS = ("small", "he")  # of the weights: see `VAE`
MOST_DRAWS, ROWS_APART = 16, 1 << 27  # draws of z in one pass, and how far apart the rows of their noise are
PAIRS = 4  # of points for a score, at most
SMALL, SMALL_FIRST = 0.3, 0.4  # of what is drawn: for mu, logvar and the last layer; for the decoder's first layer


def symmetric_points(latent_dim: int) -> list[np.ndarray]:
    """Points eps (Z,) of equal weight at which E[f(mu + sigma eps)] is taken instead of drawing eps from N(0, I).

    They come in pairs +-b, the b with entries +-1 from columns of a Hadamard matrix: all odd terms of f cancel, squares
    eps_k^2 have their mean 1 exactly, and products eps_k eps_l have their mean 0 unless k and l share a column, of
    which there are `PAIRS`. So f may be any cubic polynomial where Z <= PAIRS; for larger Z the products of few of its
    dimensions remain, with signs that alternate.
    """
    pairs = 1
    while pairs < min(latent_dim, PAIRS):
        pairs *= 2
    k = np.arange(latent_dim)
    flips = np.array([bin(i).count("1") for i in k // pairs])
    points = []
    for i in range(pairs):
        signs = np.array([bin(i & j).count("1") for j in k % pairs]) + flips
        points.append((1.0 - 2.0 * (signs % 2)).astype(np.float32))
    return [sign * point for point in points for sign in (np.float32(1), np.float32(-1))]


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
    sigma_per_column: bool = False
    linear: bool = False  # a linear path beside encoder and decoder


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
        self.backend, self.kernels, self.exclusion = chosen, chosen.kernels, Exclusion()
        self.parameters = Parameters(self.shapes())
        for layer in self._with_paths():
            layer.bind(self.parameters, self.kernels)
        self.likelihood.bind(self.parameters)
        self.workers, self.seed = chosen.workers(), np.uint64(0)
        self._away = self._newer = False  # the parameters, while they are trained elsewhere; see `allocate`
        self._largest_weight = max(layer.inputs * layer.outputs for layer in self._layers())
        self.widest = max(max(layer.inputs, layer.outputs) for layer in self._layers())
        self._latent_units = Units(np.zeros(architecture.latent_dim), np.ones(architecture.latent_dim))
        self._idle: dict[int, list[Workspace]] = {}
        self.allocate(0)

    def _describe(self, a: Architecture, decoder_only: bool) -> None:
        self.architecture, self.complete = a, not decoder_only
        self.encoder = MLP("encoder", (a.inputs, *a.hidden), a.activation)
        self.mu = Dense("mu", self.encoder.outputs, a.latent_dim)
        self.logvar = Dense("logvar", self.encoder.outputs, a.latent_dim)
        self.mu_linear = Linear("mu.linear", a.inputs, a.latent_dim) if a.linear and a.hidden else None
        widths = a.latent_dim, *a.decoder_hidden, a.inputs
        self.decoder = MLP("decoder", widths, a.activation, "identity", a.linear)
        self.likelihood = make_likelihood(a.likelihood, a.sigma, a.inputs, a.sigma_per_column)

    def _layers(self) -> list[Dense]:
        head = [*self.encoder.layers, self.mu, self.logvar] if self.complete else []
        return head + self.decoder.layers

    def _paths(self) -> list[Linear]:
        """The linear paths."""
        paths = [self.mu_linear if self.complete else None, self.decoder.linear]
        return [path for path in paths if path is not None]

    def _with_paths(self) -> list[Dense | Linear]:
        return [*self._layers(), *self._paths()]

    def shapes(self) -> dict[str, Shape]:
        """Names and shapes of all parameters, in order of use."""
        shapes: dict[str, Shape] = {}
        for layer in self._with_paths():
            shapes |= layer.shapes()
        return shapes | self.likelihood.shapes()

    @classmethod
    def expected_shapes(cls, architecture: Architecture, decoder_only: bool) -> dict[str, Shape]:
        """The same for an architecture, without allocating anything."""
        network = object.__new__(cls)
        network._describe(architecture, decoder_only)
        return network.shapes()

    def initialise(self, seed: np.uint64, mean: np.ndarray, deviation: np.ndarray, init: str = "small") -> None:
        """Draw the weights; the output bias starts where the decoder gives the data's mean (D,), in model units, and a
        sigma that is not fixed at their deviation (D,) from it. `init`: see `INITS`."""
        small = init == "small" and self.architecture.activation in RECTIFIERS
        self.likelihood.initialise(deviation)
        last = self.decoder.layers[-1]
        gains = {layer.name: SMALL if small else 1.0 for layer in (self.mu, self.logvar, last)}
        if small and last is not self.decoder.layers[0]:
            gains[self.decoder.layers[0].name] = SMALL_FIRST
        for position, layer in enumerate(self._layers()):
            gain = gains.get(layer.name, 1.0)
            layer.initialise(seed, position, gain * self.likelihood.output_gain() if layer is last else gain)
        for path in self._paths():
            path.weight[:] = 0
        last.bias[:] = self.likelihood.output_bias(mean)

    def start_from(self, start: LinearStart) -> None:
        """Begin at a linear model: what goes beside it starts at 0."""
        for layer in (self.mu, self.logvar, self.decoder.layers[-1]):
            layer.weight[:] = 0
        (self.mu if self.mu_linear is None else self.mu_linear).weight[:] = start.encoder
        (self.decoder.linear or self.decoder.layers[-1]).weight[:] = start.decoder
        self.mu.bias[:], self.logvar.bias[:] = -start.mean @ start.encoder, start.logvar
        self.decoder.layers[-1].bias[:] = start.mean
        self.likelihood.set_sigma(start.sigma[: self.likelihood.size])

    def prepare(self, seed: np.uint64, units: Units, beta: float = 1.0, kl_warmup_epochs: float = 0.0) -> None:
        """Set what the passes need: the noise's key, the user's units, and the weight of the KL."""
        self.seed, self.units, self.log_jacobian = seed, units, self.likelihood.log_jacobian(units.scale)
        self.weigh_kl(beta, kl_warmup_epochs)
        self._idle.clear()  # workspaces know the seed and the units
        self.allocate(0)

    def weigh_kl(self, beta: float, kl_warmup_epochs: float) -> None:
        """Set the weight of the KL alone."""
        self.beta, self.kl_warmup_epochs = beta, kl_warmup_epochs

    def kl_weight(self, progress: float) -> float:
        """beta, reached linearly over the first `kl_warmup_epochs`."""
        return self.beta * min(1.0, progress / self.kl_warmup_epochs) if self.kl_warmup_epochs else self.beta

    def largest_product(self, rows: int) -> float:
        """Floating-point operations of the largest matrix product for a batch."""
        return 2.0 * rows * self._largest_weight

    # ---- passes without a backward ------------------------------------------------------------------------------

    def limits(self, name: str) -> tuple[float, float]:
        """Between what the data of a pass lie, in the model's units, where nothing is wrong."""
        return (0.0, 1.0) if name != "decode" and self.architecture.likelihood == "bernoulli" else (-LARGEST, LARGEST)

    def write(
        self, name: str, program: Program, w: Workspace, dtype: np.dtype, binarize: str | float | None, draws: int
    ) -> None:
        """Write a pass down: "mean" (data to mu), "encode" (data to mu and logvar, not limited), "decode" (z to the
        mean of p(x|z)), "elbo" (data to `nlls` and kl, from so many draws of z each), "score" (the same at the points
        of `symmetric_points`); `dtype` is that of the data or z."""
        units, to = (self._latent_units, w.z) if name == "decode" else (self.units, w.x)
        program.add("read_rows", dtype, *units.pair(dtype), *self.limits(name), to)
        write_binarization(program, to, binarize, self.seed, 0)
        if name == "decode":
            self.likelihood.mean_inplace(program, self.decoder.forward(program, w.z, w.decoder))
            program.returns(w.decoder[-1].out)
            return
        h = self.encoder.forward(program, w.x, w.encoder)
        self._write_mu(program, w, h)
        if name != "mean":
            self.logvar.forward(program, h, w.logvar)
        if name in ("mean", "encode"):
            program.returns(w.mu.out, *[w.logvar.out] * (name == "encode"))
            return
        points = symmetric_points(w.z.shape[1]) if name == "score" else [None] * draws
        w.nlls += [empty(len(w.x)) for _ in range(len(points) - len(w.nlls))]
        for i, (point, nll) in enumerate(zip(points, w.nlls, strict=False)):
            noise = None
            if point is not None:
                noise = empty(*w.z.shape)
                noise[:] = point
            program.add("latent_forward", w.mu.out, w.logvar.out, noise, i * ROWS_APART, w.z, w.kl)
            self.likelihood.forward(program, w.x, self.decoder.forward(program, w.z, w.decoder), nll, w.scratch)
        program.returns(*w.nlls[: len(points)], w.kl)

    def prepare_passes(self) -> None:
        """Before programs of passes are run: where they work elsewhere, the parameters go there."""
        if self._away:
            return
        self.kernels.upload(self.parameters.values, *self.likelihood.constants().values())

    def borrow(self, rows: int) -> Workspace:
        """Buffers for `rows` rows and passes over them, nobody else's until they are given back."""
        try:
            return self._idle[rows].pop()  # atomic: many threads may run one model
        except LookupError:
            return Workspace(self, rows, self.seed, backward=False)

    def give_back(self, w: Workspace) -> None:
        """Keep `w` for the next call."""
        rows = len(w.x)
        self._idle.setdefault(rows, []).append(w)
        if len(self._idle) > KEPT_SIZES:
            with contextlib.suppress(KeyError, RuntimeError, StopIteration):
                del self._idle[next(size for size in self._idle if size != rows)]

    # ---- training -----------------------------------------------------------------------------------------------

    def allocate(
        self,
        batch: int,
        optimizer: Adam | None = None,
        examples: Examples | None = None,
        indices: np.ndarray | None = None,
    ) -> None:
        """Have the buffers for training on batches of up to `batch` rows, cut into shares for `workers`; `step` then
        trains with `optimizer`, on the rows of `examples` that stand in `indices` (batch,)."""
        try:
            self.parameters.bring_back()
        finally:
            self._away = self._newer = False
        self._largest, self._workspace = batch, Workspace(self, batch, self.seed)
        self._optimizer, self._cuts = optimizer, dict[int, Shares]()
        clips = optimizer is not None and optimizer.clip_norm is not None and self.kernels.ON_HOST
        known = not self.likelihood.waits or not self.kernels.ON_HOST  # there, all launches follow each other
        self._at_once = optimizer is not None and not clips and known and self.workers.CAN_STEP
        self._source = None if examples is None or indices is None or not examples.direct else (examples, indices)
        self.parameters.bring_back = self._bring_back
        if optimizer is not None and not self.kernels.ON_HOST:
            if examples is not None:
                self.kernels.forget(examples.X)  # it may have changed since an earlier training
            constants = self.likelihood.constants().values()
            self.kernels.upload(self.parameters.gradients, *constants, *self._trained(optimizer))
            self._away = True

    def _trained(self, optimizer: Adam) -> list[np.ndarray]:
        return [self.parameters.values, optimizer.first_moment, optimizer.second_moment]

    def _bring_back(self) -> None:
        """Have the newest parameters and moments here."""
        if self._newer and self._optimizer is not None:
            self._newer = False
            self.kernels.download(*self._trained(self._optimizer))

    def _cut(self, rows: int, noise: np.ndarray | None = None) -> Shares:
        """The shares of a batch of so many rows; written down once for every number of rows."""
        if rows > self._largest:
            self.allocate(rows, self._optimizer)
        if noise is not None:
            return self._write_shares(self._workspace.rows(0, rows), noise)
        if rows not in self._cuts:
            self._cuts[rows] = self._write_shares(self._workspace.rows(0, rows), None)
        return self._cuts[rows]

    def _write_shares(self, whole: Workspace, noise: np.ndarray | None) -> Shares:
        rows, count, waits = len(whole.x), self.workers.count, self.likelihood.waits
        if noise is not None:
            self.kernels.upload(noise)
        source = self._source if whole.scalars is self._workspace.scalars else None

        def program() -> Program:
            return self.backend.program(whole.scalars)

        shares = Shares(whole.scalars, whole.x, whole.nll, whole.kl, source is None, [], [], [], [])
        scratch = None
        for part in range(count):
            start, stop = rows * part // count, rows * (part + 1) // count
            w, given = whole.rows(start, stop), None if noise is None else noise[start:stop]
            forward, gradients, adam = program(), program(), program()
            shares.forward.append(forward)
            if given is None and self.kernels.KEEPS_NOISE:
                given = w.noise
                forward.add("normal_noise", LATENT, start, given)
            if source is not None:
                source[0].write(forward, source[1][start:stop], start, w.x)
            self._write_forward(forward, w, start, given)
            if waits:
                shares.backward.append(program())
            self._write_backward(shares.backward[-1] if waits else forward, whole, w, start, given)
            for layer, x, buffers in self._inputs(whole):
                layer.gradients(gradients, x, buffers, part, count)
            if part == 0:
                scratch = w.scratch  # every thread's is the same
                self.likelihood.gradients(gradients, whole.decoder[-1].d_out, scratch)
            shares.gradients.append(gradients)
            if self._optimizer is not None:
                self._write_adam(adam, whole, part, count, self._optimizer, scratch)
                if part == 0:
                    self.likelihood.remember(adam, rows / max(self._largest, rows), scratch)
                shares.adam.append(adam)
        return shares

    def _write_mu(self, program: Program, w: Workspace, h: np.ndarray) -> None:
        self.mu.forward(program, h, w.mu)
        if self.mu_linear is not None:
            self.mu_linear.forward(program, w.x, w.mu)

    def _inputs(self, w: Workspace) -> Iterator[tuple[Dense | Linear, np.ndarray, Buffers]]:
        """Each layer with its input and its buffers."""
        yield from self.encoder.with_inputs(w.x, w.encoder)
        h = w.encoder[-1].out if w.encoder else w.x
        yield self.mu, h, w.mu
        if self.mu_linear is not None:
            yield self.mu_linear, w.x, w.mu
        yield self.logvar, h, w.logvar
        yield from self.decoder.with_inputs(w.z, w.decoder)

    def _write_forward(self, program: Program, w: Workspace, first_row: int, noise: np.ndarray | None) -> None:
        """Rows forward, to the decoder's outputs."""
        h = self.encoder.forward(program, w.x, w.encoder)
        self._write_mu(program, w, h)
        self.logvar.forward(program, h, w.logvar)
        program.add("latent_forward", w.mu.out, w.logvar.out, noise, first_row, w.z, w.kl)
        self.decoder.forward(program, w.z, w.decoder)

    def _write_backward(
        self, program: Program, whole: Workspace, w: Workspace, first_row: int, noise: np.ndarray | None
    ) -> None:
        """The same rows to the loss of each, and backward to the gradient before each layer's activation."""
        self.likelihood.optimum(program, whole.x, whole.decoder[-1].out, w.scratch)
        last = w.decoder[-1]
        self.likelihood.forward_backward(program, w.x, last.out, w.nll, last.d_out, w.scratch)
        self.decoder.backward(program, w.decoder, w.d_z)
        operands = (w.mu.out, w.logvar.out, w.d_z, noise, first_row, w.mu.d_out, w.logvar.d_out)
        program.add("latent_backward", *operands)
        d_h = w.encoder[-1].d_out if w.encoder else None
        self.mu.backward(program, w.mu, d_h)
        self.logvar.backward(program, w.logvar, d_h, more=True)
        self.encoder.backward(program, w.encoder, None)

    def _write_adam(
        self, program: Program, whole: Workspace, part: int, parts: int, optimizer: Adam, scratch: Scratch | None
    ) -> None:
        """Part of a step of Adam: from the layers' inputs and gradients at once, or from the flat gradient where its
        norm must be known first."""
        own, size = self.parameters.start(self.likelihood.shapes()), self.parameters.values.size
        if self.likelihood.waits:  # an optimal sigma has no gradient, and is remembered by one thread alone
            size = own
        if optimizer.clip_norm is not None or not self.kernels.ON_HOST:
            optimizer.record(program, size * part // parts, size * (part + 1) // parts)
            return
        for layer, x, buffers in self._inputs(whole):
            layer.adam(program, x, buffers, part, parts, optimizer.first_moment, optimizer.second_moment)
        if own < size and part == 0:
            self.likelihood.gradients(program, whole.decoder[-1].d_out, scratch)
            optimizer.record(program, own, size)

    def loss_and_gradients(self, batch: Batch, noise: np.ndarray | None = None) -> dict[str, float]:
        """Fill the gradients; return "loss", "nll" and "kl": means over the batch, nats, user's units.

        Between the steps of a training it has buffers of its own: nothing of the training changes.
        """
        if self._optimizer is None:
            shares = self._cut(batch.rows, noise)
        else:
            shares = self._write_shares(Workspace(self, batch.rows, self.seed), noise)
        self.prepare_passes()
        parts = self._forward_and_backward(shares, batch)
        self.workers.run_programs(shares.gradients)
        self.kernels.download(self.parameters.gradients)
        return parts

    def step(self, batch: Batch, noise: np.ndarray | None = None) -> dict[str, float]:
        """One step of the optimizer given to `allocate`; return the losses before it.

        A loss that is not finite is returned, and no parameter changed.
        """
        assert self._optimizer is not None
        shares = self._cut(batch.rows, noise)
        if self._at_once:
            return self._steps_at_once(shares, batch, NOTHING, [batch.progress])[0]
        parts = self._forward_and_backward(shares, batch)
        if math.isfinite(parts["loss"]):
            if self._optimizer.clip_norm is not None:
                self.workers.run_programs(shares.gradients)
            self._optimizer.begin_step(shares.scalars)
            self.workers.run_programs(shares.adam)
        return parts

    @property
    def steps_ahead(self) -> bool:
        """Whether `steps` can be used, since `allocate`."""
        return self._at_once and self._source is not None

    def steps(self, batch: Batch, order: np.ndarray, progress: list[float]) -> list[dict[str, float]]:
        """Steps one after the other, without Python between them: the first that of `batch`, each on the rows that
        stand in its row of `order` (n, B), and at its `progress`.

        It ends with a loss that is not finite, and may end earlier; return the losses as `step` does, one a step.
        """
        return self._steps_at_once(self._cut(batch.rows), batch, order, progress)

    def _steps_at_once(
        self, shares: Shares, batch: Batch, order: np.ndarray, progress: list[float]
    ) -> list[dict[str, float]]:
        """Where the loss is known from `nll` and `kl`, and the gradient's norm not needed."""
        assert self._optimizer is not None
        self._prepare_step(shares, batch)
        kl_weights = [self.kl_weight(done) for done in progress]
        self._optimizer.begin_step(shares.scalars)
        indices = NOTHING[0] if self._source is None else self._source[1][: batch.rows]
        sums = np.empty((len(progress), 2))
        begun, done = self.workers.run_steps(shares, np.array(kl_weights), order, indices, sums)
        self._newer = self._away
        self._optimizer.step_count += done - 1
        return [
            self._losses(nll, kl, batch.rows, kl_weight)
            for (nll, kl), kl_weight in zip(sums[:begun].tolist(), kl_weights[:begun], strict=True)
        ]

    def _losses(self, nll: float, kl: float, rows: int, kl_weight: float) -> dict[str, float]:
        mean_nll, mean_kl = nll / rows + self.log_jacobian, kl / rows
        return {"loss": mean_nll + kl_weight * mean_kl, "nll": mean_nll, "kl": mean_kl}

    def _prepare_step(self, shares: Shares, batch: Batch) -> float:
        """Set what the programs read; return the weight of the KL."""
        reals, weight, kl_weight = shares.scalars.reals, 1.0 / batch.rows, self.kl_weight(batch.progress)
        shares.scalars.integers[NOISE_STEP] = batch.step
        reals[EXAMPLE_WEIGHT], reals[KL_WEIGHT] = weight, kl_weight * weight
        reals[SIGMA] = self.likelihood.fixed_sigma
        if shares.filled:
            batch.fill(0, batch.rows, shares.x)
            self.kernels.upload(shares.x)
        return kl_weight

    def _forward_and_backward(self, shares: Shares, batch: Batch) -> dict[str, float]:
        kl_weight = self._prepare_step(shares, batch)
        self.workers.run_programs(shares.forward)
        if shares.backward:
            self.workers.run_programs(shares.backward)
        self.kernels.download(shares.nll, shares.kl)
        return self._losses(self.kernels.total(shares.nll), self.kernels.total(shares.kl), batch.rows, kl_weight)

    def faults(self, batch: Batch) -> str:
        """Name the first layer with a parameter, or else with an output, that is not finite."""
        for name, values in self.parameters.named_values().items():
            if not np.isfinite(values).all():
                return f"layer {name.rsplit('.', 1)[0]!r} has a {name.rsplit('.', 1)[-1]} that is not finite"
        for layer, _, buffers in self._inputs(self._workspace.rows(0, batch.rows)):
            self.kernels.download(buffers.out)
            if not np.isfinite(buffers.out).all():
                return f"the output of layer {layer.name!r} is not finite"
        return f"layer {self.decoder.layers[-1].name!r} gives outputs whose loss overflows"
