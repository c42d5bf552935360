"""The network of a variational autoencoder: encoder, latent layer and decoder.

    h = encoder(x)        mu, logvar = two Dense layers of h        z = mu + exp(logvar / 2) eps        decoder(z)

p(z) = N(0, I), p(x|z) a likelihood, q(z|x) a diagonal Gaussian; the loss is that of an objective (see `objectives`), by
default the mean over the batch of nll + beta kl. Kingma and Welling 2014; Rezende, Mohamed and Wierstra 2014.
"""

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.engine import Network
from fastvae.kernels.memory import empty
from fastvae.layers import MLP, RECTIFIERS, Dense, Half, Layer, Linear, Width, joined, latent
from fastvae.likelihoods import Likelihood, make_likelihood
from fastvae.models.linear_start import LinearStart
from fastvae.models.objectives import ELBO, Objective
from fastvae.optimizers import Numbers, Optimizer
from fastvae.passes import Backprop, Pass, Row

INITS = ("small", "he")  # of the weights: see `VAE`
MOST_DRAWS, ROWS_APART = 16, 1 << 27  # draws of z in one pass, and how far apart the rows of their noise are
PAIRS = 4  # of points for a score, at most
SMALL, SMALL_FIRST = 0.3, 0.4  # of what is drawn: for mu, logvar and the last layer; for the decoder's first layer


@functools.cache
def symmetric_points(latent_dim: int) -> tuple[np.ndarray, ...]:
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
    found = tuple(sign * point for point in points for sign in (np.float32(1), np.float32(-1)))
    for point in found:
        point.setflags(write=False)
    return found


@dataclass(frozen=True)
class Architecture:
    """What decides the names and shapes of the parameters, and the likelihood."""

    inputs: int
    hidden: tuple[Width, ...]
    latent_dim: int
    decoder_hidden: tuple[Width, ...]
    activation: str
    likelihood: str
    sigma: float | str
    sigma_per_column: bool = False
    linear: bool = False  # a linear path beside encoder and decoder
    conditions: int = 0  # C, columns of the condition that both are given, too


class VAENetwork(Network):
    """Encoder, latent layer and decoder; without the encoder where it is not `complete`.

    With a condition c, both are given it too: q(z|x, c) and p(x|z, c), with p(z) as it is. Kingma, Mohamed, Rezende and
    Welling 2014; Sohn, Lee and Yan 2015.
    """

    def describe(self, a: Architecture, complete: bool) -> None:
        """See `engine.Network`."""
        super().describe(a, complete)
        self.inputs = {"x": a.inputs, "z": a.latent_dim} | ({"condition": a.conditions} if a.conditions else {})
        self.likelihood = self._likelihood(a)
        seen = self.likelihood.inputs + a.conditions
        self.encoder = MLP("encoder", (seen, *a.hidden), a.activation)
        self.mu = Dense("mu", self.encoder.outputs, a.latent_dim)
        self.logvar = Dense("logvar", self.encoder.outputs, a.latent_dim)
        self.mu_linear = Linear("mu.linear", seen, a.latent_dim) if a.linear and a.hidden else None
        widths = a.latent_dim + a.conditions, *a.decoder_hidden, self.likelihood.outputs
        self.decoder = MLP("decoder", widths, a.activation, "identity", a.linear)
        self.objective: Objective = ELBO()

    def _likelihood(self, a: Any) -> Likelihood:
        return make_likelihood(a.likelihood, a.sigma, a.inputs, a.sigma_per_column)

    def _layers(self) -> list[Dense]:
        head = [*self.encoder.layers, self.mu, self.logvar] if self.complete else []
        return head + self.decoder.layers

    def _paths(self) -> list[Linear]:
        """The linear paths."""
        paths = [self.mu_linear if self.complete else None, self.decoder.linear]
        return [path for path in paths if path is not None]

    def owners(self) -> list[Any]:
        """All that has parameters, in order."""
        return [*self._layers(), *self._paths(), self.likelihood]

    def initialise(self, seed: np.uint64, mean: np.ndarray, deviation: np.ndarray, init: str = "small") -> None:
        """Draw the weights; the output bias starts where the decoder gives the data's mean (D,), in model units, and a
        sigma that is not fixed at their deviation (D,) from it. `init`: see `INITS`."""
        small = init == "small" and self.architecture.activation in RECTIFIERS
        self.likelihood.initialise(deviation, mean)
        last = self.decoder.layers[-1]
        gains = {layer.name: SMALL if small else 1.0 for layer in (self.mu, self.logvar, last)}
        if small and last is not self.decoder.layers[0]:
            gains[self.decoder.layers[0].name] = SMALL_FIRST
        for position, layer in enumerate(self._layers()):
            gain = gains.get(layer.name, 1.0)
            layer.initialise(seed, position, gain * self.likelihood.output_gain() if layer is last else gain)
        for path in self._paths():
            path.initialise(seed, 0)
        last.bias[:] = self.likelihood.intercept(mean)

    def start_from(self, start: LinearStart) -> None:
        """Begin at a linear model: what goes beside it starts at 0."""
        by_condition = -start.condition @ start.encoder
        encoder = np.concatenate((start.encoder, by_condition))
        decoder = np.concatenate((start.decoder, start.condition))
        self._begin_linear(start, encoder, decoder, start.mean)
        self.likelihood.set_sigma(start.sigma[: self.likelihood.size])

    def _begin_linear(self, start: LinearStart, encoder: np.ndarray, decoder: np.ndarray, bias: np.ndarray) -> None:
        """Have the linear paths these weights, (inputs + C, Z) and (Z + C, outputs), and the decoder's outputs this
        bias, all else of them from the linear model; what goes beside it starts at 0."""
        for layer in (self.mu, self.logvar, self.decoder.layers[-1]):
            layer.weight[:] = 0
        (self.mu if self.mu_linear is None else self.mu_linear).weight[:] = encoder
        (self.decoder.linear or self.decoder.layers[-1]).weight[:] = decoder
        self.mu.bias[:], self.logvar.bias[:] = -start.mean @ start.encoder, start.logvar
        self.decoder.layers[-1].bias[:] = bias

    def role(self, name: str, downwards: bool) -> str:  # noqa: D102
        return {"mu": "μ", "logvar": "log σ²"}.get(name.split(".")[0], name.split(".")[0])

    # ---- a step -------------------------------------------------------------------------------------------------

    def step(self, p: Pass, optimizers: Sequence[Optimizer | None], noise: np.ndarray | None = None) -> None:
        """Write a step; with `noise` (B K, Z) instead of drawn noise, K rows an example."""
        x, c = self.shown(p, p.input("x")), self.condition_of(p)
        seen = self.seen(p, x, c)
        h, back_h = self.encoder(p, seen)
        mu, back_mu = self._mu(p, seen, h)
        logvar, back_logvar = self.logvar(p, h)
        d_mu, d_logvar = self.objective.write(self, p, x, c, mu, logvar, noise)
        hidden = bool(self.encoder.layers)
        back_h(back_logvar(d_logvar, hidden, back_mu(d_mu, hidden)), inputs=False)
        p.update(optimizers[0], self._in_order())

    def shown(self, p: Pass, x: np.ndarray) -> np.ndarray:
        """Write what is trained on of the rows x (B, D): themselves."""
        return x

    def written_by(self) -> Hashable:
        """See `engine.Network`."""
        return type(self.objective), tuple(vars(self.objective).values())

    def condition_of(self, p: Pass) -> np.ndarray | None:
        """The condition (B, C) of each row, as it is read; None for a model without."""
        return p.input("condition") if "condition" in self.inputs else None

    def seen(self, p: Pass, x: np.ndarray, c: np.ndarray | None) -> np.ndarray:
        """Write what the encoder is given: x as the likelihood has it, and the condition beside it."""
        seen = self.likelihood.seen(p, x)
        return seen if c is None else joined(p, seen, c)[0]

    def decoded(self, p: Pass, z: np.ndarray, c: np.ndarray | None) -> tuple[np.ndarray, Backprop]:
        """Write the decoder of z (B, Z), or of K rows of z for each row of c (B, C), with the condition beside them;
        what it returns writes the gradient of z alone."""
        if c is None:
            return self.decoder(p, z)
        both, back_z = joined(p, z, c)
        a, back = self.decoder(p, both)
        return a, lambda d_a: back_z(back(d_a))

    def _mu(self, p: Pass, x: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, Backprop]:
        mu, back = self.mu(p, h)
        if self.mu_linear is None:
            return mu, back
        back_linear = self.mu_linear(p, x, mu)[1]

        def backprop(d_out: np.ndarray, inputs: bool = True) -> np.ndarray | None:
            back_linear(d_out, inputs=False)
            return back(d_out, inputs)

        return mu, backprop

    def _in_order(self) -> list[Any]:
        """All that has parameters, in the order of use."""
        paths = [] if self.mu_linear is None else [self.mu_linear]
        return [*self.encoder.layers, self.mu, *paths, self.logvar, *self.decoder.owners(), self.likelihood]

    def numbers(self, rows: int, progress: np.ndarray, steps: np.ndarray) -> dict[str, Numbers]:
        """See `engine.Network`."""
        return super().numbers(rows, progress, steps) | self.objective.numbers(rows, progress, steps)

    def report(self, sums: dict[str, np.ndarray], rows: int, progress: np.ndarray) -> dict[str, np.ndarray]:
        """Means over the batch, in nats of the user's units: "loss", "nll" and "kl"."""
        return self.objective.report(sums, rows, progress, self.log_jacobian)

    # ---- other passes -------------------------------------------------------------------------------------------

    def codes(self, p: Pass) -> list[np.ndarray]:
        """Write mu (B, Z) of q(z|x)."""
        seen = self.seen(p, p.input("x"), self.condition_of(p))
        mu = self._mu(p, seen, self.encoder(p, seen)[0])[0]
        return p.returns(mu)

    def decode(self, p: Pass) -> list[np.ndarray]:
        """See `engine.Network`; with a condition beside the codes."""
        z = p.input("z")
        return p.returns(self.likelihood.mean(p, self.decoded(p, z, self.condition_of(p))[0]))

    def wiring(self) -> dict[str, Half]:
        """See `engine.Network`; the encoder has two heads."""
        halves = {"decode": Half.of(self.decoder.layers, "mean", self.decoder.linear)}
        if self.complete:
            heads = {"mu": Layer.of(self.mu, self.mu_linear), "logvar": Layer.of(self.logvar)}
            halves["encode"] = Half([Layer.of(layer) for layer in self.encoder.layers], heads)
        return halves

    def encode(self, p: Pass) -> list[np.ndarray]:
        """Write mu and logvar (B, Z) of q(z|x), the latter not limited."""
        mu, logvar = self._encoded(p, p.input("x"), self.condition_of(p))
        return p.returns(mu, logvar)

    def _encoded(self, p: Pass, x: np.ndarray, c: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        seen = self.seen(p, x, c)
        h = self.encoder(p, seen)[0]
        return self._mu(p, seen, h)[0], self.logvar(p, h)[0]

    def elbo(self, p: Pass, draws: int | Sequence[np.ndarray]) -> list[np.ndarray]:
        """Write the kl (B,), then the nll (B,) of each of so many draws of z, or of z at given points eps (Z,)."""
        x, c = p.input("x"), self.condition_of(p)
        mu, logvar = self._encoded(p, x, c)
        points = [None] * draws if isinstance(draws, int) else draws
        z, kl, nlls = p.empty(mu.shape[1]), p.empty(), [p.empty() for _ in points]
        mark = p.mark()
        for i, (point, nll) in enumerate(zip(points, nlls, strict=True)):
            p.rewind(mark)
            noise = None
            if point is not None:
                noise = empty(p.rows, mu.shape[1])
                noise[:] = point
            latent(p, mu, logvar, noise=noise, first_row=Row(i * ROWS_APART), z=z, kl=kl)
            self.likelihood.nll(p, x, self.decoded(p, z, c)[0], nll)
        return p.returns(kl, *nlls)
