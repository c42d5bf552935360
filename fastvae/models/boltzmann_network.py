"""What Boltzmann machines of layers share: units, the weights between neighbours, centred gradients, and chains.

    -E = sum over layers of bias' units + sum over neighbours of units' W units        p = exp(-E) / Z

A gradient of log p is what -E changes by under the data less what it changes by under the model, of which chains are
drawn. All units are centred by offsets: those of the visible ones are the data's mean, those of hidden ones follow the
mean of the data's hidden units (offsets that follow the model's diverge). Montavon and Müller 2012; Melchior, Fischer
and Wiskott 2016.
"""

import functools
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from fastvae.engine import Network
from fastvae.kernels import philox
from fastvae.kernels.cpu.calls import FUNCTIONS
from fastvae.kernels.formulas import CORRUPTIONS, IDENTITY, SIGMA_RATE
from fastvae.kernels.memory import empty
from fastvae.kernels.slots import Slots
from fastvae.layers import Linear
from fastvae.layers.vector import Vector
from fastvae.likelihoods import make_likelihood
from fastvae.optimizers import Numbers
from fastvae.passes import ROW, Each, Pass

DEVIATION = 0.01  # of the weights at first
OFFSET_RATE = 0.01  # at which the offsets of hidden units follow their means
SIGMA_SHARE = 0.5 / SIGMA_RATE**2  # of the gradient of log sigma: it moves by half of what a parameter itself would
GIBBS = 1 << 30  # from which step on noise is that of chains: what is binarised at the steps before is data


class BoltzmannNetwork(Network):
    """Layers of units and the weights between them; see `engine.Network` for what each method is.

    In the order of the layers, the visible units first: `biases`, `offsets`; between them: `weights`. `log_z` is what
    was estimated of it last, with what tells the parameters.
    """

    DRAWS: int  # of units in a step of training, each with noise of its own
    log_z: tuple[int, Any] | None = None
    centred = True
    ENERGY: ClassVar[str] = "energy"  # of which the gradient is a difference

    def describe_units(
        self, names: Sequence[str], sizes: Sequence[int], visible: str = "bernoulli", sigma: float | str = 1.0
    ) -> None:
        """Set the units of layers, and what kind the visible ones are: "bernoulli"; or "gaussian", which are the values
        of rows by sigma, a number or "learned" for each column, so that their variance given h is 1."""
        self.sizes = tuple(sizes)
        self.weights = [Linear(name, *pair) for name, pair in zip(names[1:], pairwise(sizes), strict=True)]
        self.biases = [Vector(f"{name}.bias", size) for name, size in zip(names, sizes, strict=True)]
        self.offsets = [Vector(f"{name}.offset", size) for name, size in zip(names, sizes, strict=True)]
        self.likelihood = make_likelihood(visible, sigma, sizes[0], per_column=True)

    def trained(self) -> list[Any]:
        """What has a gradient."""
        return [*self.weights, *self.biases]

    def role(self, name: str, downwards: bool) -> str:
        """The letter of the units that a weight leads to."""
        layer = [bias.name for bias in self.biases].index(f"{name}.bias") - downwards
        return "v" if layer == 0 else "h" if len(self.weights) == 1 else f"h{'₀₁₂₃₄₅₆₇₈₉'[layer]}"

    def owners(self) -> Sequence[Any]:  # noqa: D102
        return [*self.trained(), self.likelihood, *self.offsets]

    @property
    def is_binary(self) -> bool:
        """Whether the visible units are 0 or 1."""
        return bool(self.likelihood.SUPPORT == (0, 1))

    @property
    def sigma(self) -> np.ndarray:
        """What a real value of a row is divided by, (D,) float64, in the model's units; 1 of a binary one."""
        sigma = 1.0 if self.is_binary else self.likelihood.sigma
        return np.broadcast_to(np.asarray(sigma, np.float64), self.sizes[0])

    def initialise(self, seed: np.uint64, mean: np.ndarray, deviation: np.ndarray, rows: int) -> None:
        """Small weights; v with the mean and deviation (D,) of the data, so many rows, and hidden units as often 1 as
        0."""
        self.likelihood.initialise(deviation, mean)
        if self._learns_sigma:  # of a column that never changes the data say nothing
            still, spread = deviation < self.likelihood.spread, self.likelihood.spread
            self.likelihood.lowest[still] = np.log(spread[still])
            self.likelihood.set_sigma(spread)
        for position, weight in enumerate(self.weights):
            self.kernels.normal_noise(seed, philox.INITIALISATION, position, 0, weight.weight)
            weight.weight *= np.float32(DEVIATION)
        often = (mean * rows + 0.5) / (rows + 1)
        self.biases[0].value[:] = np.log(often / (1 - often)) if self.is_binary else mean / self.sigma
        self.offsets[0].value[:] = mean
        for offset in self.offsets[1:]:
            offset.value[:] = 0.5

    # ---- what a step is made of: units are rows (B, H) --------------------------------------------------------------

    def _upwards(self, p: Pass, i: int, x: np.ndarray, activation: int) -> np.ndarray:
        """Write what layer i + 1 gets from below, its bias with it."""
        out = p.beside(x, self.sizes[i + 1])
        p.add("dense_forward", x, self.weights[i].weight, self.biases[i + 1].value, activation, out, out)
        return out

    def _add_downwards(self, p: Pass, i: int, x: np.ndarray, out: np.ndarray) -> None:
        """Write that `out`, of layer i, has added what it gets from layer i + 1."""
        p.add("dense_backward_input", x, self.weights[i].weight, IDENTITY, x, True, out)

    @staticmethod
    def _copied(p: Pass, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        out = p.beside(x, x.shape[1]) if out is None else out
        p.add("concatenate_backward", x, out)
        return out

    def _filled(self, p: Pass, row: np.ndarray) -> np.ndarray:
        """Write rows (B, H) that are all alike."""
        out = p.empty(row.shape[1])
        self._less(p, row, p.cut(np.zeros((p.rows, row.shape[1]), np.float32)), -1.0, out)
        return out

    @staticmethod
    def _less(p: Pass, row: Any, x: np.ndarray, weight: float, out: Any, nll: Any = None) -> None:
        """Write weight (x - row): a gradient of squared errors."""
        p.add("squared_error_forward_backward", row, x, 0.0, 1.0, weight, p.empty() if nll is None else nll, out)

    # ---- values of real rows, and the visible units, which are these by sigma -----------------------------------

    @functools.cached_property
    def _row(self) -> tuple[np.ndarray, np.ndarray]:
        """A row of 0, (1, D), and 1 (D,)."""
        return np.zeros((1, self.sizes[0]), np.float32), np.ones(self.sizes[0], np.float32)

    def _log_sigma(self, p: Pass) -> Each:
        """Write the logarithms of a learned sigma, (D,), for each share."""
        scales = p.each(self.sizes[0]), p.each(self.sizes[0])
        p.add("sigma_forward", self.likelihood.parameter, self.likelihood.lowest, *scales)
        return scales[0]

    def scaled(self, p: Pass, x: Any, power: float, out: Any = None) -> Any:
        """Write x sigma^power, of rows (B, D) or one (1, D), as ops do that divide by a square: of sigma^(-power / 2).
        Where sigma is 1, x is returned."""
        if not self._learns_sigma and (self.sigma == 1).all():
            return x
        zero, ones = self._row
        if self._learns_sigma:
            logs, inverse = self._log_sigma(p), p.each(1, self.sizes[0])
            self._less(p, as_rows(logs), zero, -0.5 * power, inverse, p.each(1))
            p.add("exp_inplace", inverse)
            inverse = Each(row.reshape(-1) for row in inverse)
        else:
            inverse = np.power(self.sigma, 0.5 * power).astype(np.float32)
        nll, out = (p.beside(x), p.beside(x, self.sizes[0])) if out is None else (p.each(1), out)
        p.add("gaussian_forward_backward", zero, x, ones, inverse, 1.0, nll, out)
        return out

    @property
    def _learns_sigma(self) -> bool:
        return not self.is_binary and bool(self.likelihood.shapes())

    def visible_offset(self, p: Pass) -> Any:
        """Write the offsets of v, (1, D)."""
        return self.scaled(p, self.offsets[0].row, -1.0, p.each(1, self.sizes[0]))

    def loss(self, p: Pass, v: np.ndarray, h: np.ndarray) -> None:
        """Write the loss, which is only looked at: -log p of rows given the means of h given them. And the gradient of
        a learned log sigma: the variance of a column is to be

        sigma^2 = mean of (x - offset) (x - m),        m = the mean of x given h

        as it is where log p is largest with weights and biases of v as they are: under the model the mean of this
        product given h is sigma^2 itself, so that no chain is needed. It is half the sum of (x - m)^2 and
        (x - offset)^2 less (m - offset)^2, with a row of zeros for what these lack of the 1.
        """
        nll, m = p.empty(), self.visible_logits(p, h)
        if not self._learns_sigma:
            self.likelihood.nll(p, self.scaled(p, v, 1.0), self.scaled(p, m, 1.0), nll)
        else:
            (zero, ones), offset, weight = self._row, self.visible_offset(p), 0.5 * SIGMA_SHARE / p.rows
            d = [p.empty(self.sizes[0]) for _ in range(3)]
            p.add("gaussian_forward_backward", v, m, self._log_sigma(p), ones, weight, nll, d[0])
            self._less(p, offset, v, weight, d[1])
            self._less(p, offset, m, -weight, d[2])
            p.weigh(*d)
            for rows, share in zip(d, (weight, weight, -weight), strict=True):
                p.gradient(self.likelihood, self.likelihood.use_of(rows, ones, share, p.weights))
            lacking = zero if p.weights is None else p.cut(np.zeros((p.rows, self.sizes[0]), np.float32))
            each = weight * p.rows / len(lacking)
            p.gradient(self.likelihood, self.likelihood.use_of(lacking, ones, each, p.weights))
        p.weigh(nll)
        p.loss(loss=(nll, p.slots.real("example weight")))

    def visible_logits(self, p: Pass, h1: np.ndarray) -> np.ndarray:
        """Write those of the means of v (B, D) given h1."""
        out = self._filled(p, self.biases[0].row)
        self._add_downwards(p, 0, h1, out)
        return out

    def visible_mean(self, p: Pass, h1: np.ndarray) -> np.ndarray:
        """Write that of v (B, D) given h1."""
        return self.likelihood.mean(p, self.visible_logits(p, h1))

    def _drawn(self, p: Pass, mean: np.ndarray, draw: int, out: np.ndarray) -> np.ndarray:
        """Write units of 0 and 1 with that mean; `draw` is its number among those of a step."""
        if out is not mean:
            self._copied(p, mean, out)
        p.add("binarize_inplace", out, p.seed, p.slots.whole("gibbs step") + (GIBBS + draw), ROW)
        return out

    def _drawn_visible(self, p: Pass, mean: np.ndarray, draw: int) -> np.ndarray:
        """Write v with that mean (B, D)."""
        out = p.empty(self.sizes[0])
        if self.is_binary:
            return self._drawn(p, mean, draw, out)
        step = p.slots.whole("gibbs step") + (GIBBS + draw)
        p.add("corrupt", mean, CORRUPTIONS["gaussian"], 1.0, p.seed, philox.OBSERVATION, step, ROW, out)
        return out

    def gibbs(self, p: Pass, chain: np.ndarray) -> tuple[np.ndarray, ...]:
        """Write a step of chains h1 (B, H1), over which it is written. Return v, the means of h1 that it is drawn by,
        units of further layers, and last the means of v."""
        raise NotImplementedError

    def gradient(self, p: Pass, units: Sequence[np.ndarray], weight: float, weigh: bool) -> None:
        """Write the gradients of `weight` times the sum over rows of -E, which with `weigh` is one by the weights of
        rows that have some; centred: see `dbm_centred_gradients` of `fastvae.reference`. With c = units less their
        offsets: of weights, sums of c c'; of biases, sums of c (1 - the centred neighbours times their offsets)."""
        p.note("energy", *units, name=self.ENERGY, weight=weight)
        layers = range(len(self.sizes))
        rows: list[Any] = [offset.row if self.centred else np.zeros_like(offset.row) for offset in self.offsets]
        if self.centred:
            rows[0] = self.visible_offset(p)

        def less(i: int, scale: float) -> np.ndarray:
            out = p.empty(self.sizes[i])
            self._less(p, rows[i], units[i], scale, out)
            return out

        c = [less(i, 1.0) for i in layers]
        for i, weights in enumerate(self.weights):
            above = less(i + 1, weight)
            p.weigh(*[above] * weigh)
            p.gradient(weights, (c[i], above))
        constant, away = np.full(1, weight, np.float32), [less(i, -weight) for i in layers]
        columns = [as_columns(row) for row in rows]
        for i, bias in enumerate(self.biases):
            first, *others = [j for j in (i - 1, i + 1) if 0 <= j < len(self.sizes)]
            share = p.empty(1)
            p.add("dense_forward", away[first], columns[first], constant, IDENTITY, share, share)
            for j in others:
                p.add("dense_accumulate", away[j], columns[j], share)
            p.weigh(*[share] * weigh)
            p.gradient(bias, (c[i], share))

    def follow(self, p: Pass, hidden: Sequence[np.ndarray]) -> None:
        """Write that the offsets of hidden units follow the means of these units of the data."""
        share = p.shares()
        for offset, h in zip(self.offsets[1:], hidden, strict=True):
            mean = np.empty((offset.units, 1), np.float32)
            p.at_end("dense_backward_weight", h, share, 0, offset.units, False, mean, None)
            p.at_end("average_inplace", mean.reshape(-1), p.slots.real("offset rate"), offset.value)

    def chain(self, p: Pass) -> np.ndarray:
        """The chains of a batch."""
        chains = self._state["chains"]
        if p.rows > len(chains):
            raise ValueError(
                f"a batch of {p.rows} rows needs as many chains; chains={len(chains)}: give chains={p.rows}, or a "
                f"batch_size of at most {len(chains)}"
            )
        return p.cut(chains[: p.rows])

    def numbers(self, rows: int, progress: np.ndarray, steps: np.ndarray) -> dict[str, Numbers]:
        """See `engine.Network`; the offsets begin as plain means."""
        return super().numbers(rows, progress, steps) | {
            "offset rate": np.maximum(OFFSET_RATE, 1 / steps), "gibbs step": self.DRAWS * steps,
        }  # fmt: skip

    def draw(
        self, n: int, steps: int, seed: np.uint64, start: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of so many chains (n, D) after so many steps, drawn, and the means they were drawn by. They begin at h1
        with means `start` (n, H1), or as often 1 as the offsets say; no noise is that of a training with another
        seed."""
        threads, size = self.backend.pieces(n, self.largest_product(n), self.widest)
        self.upload_parameters()
        v, means = np.empty((n, self.sizes[0]), np.float32), np.empty((n, self.sizes[0]), np.float32)
        with self.backend.passing(threads) as workers:
            for first in range(0, n, threads * size):
                pieces = []
                for at in range(first, min(first + threads * size, n), size):
                    p = Pass(self.backend, Slots(), min(size, n - at), {}, backward=False)
                    chain = p.cut(empty(p.rows, self.sizes[1]))
                    FUNCTIONS["uniform_noise"](seed, philox.CHAIN, 0, at, chain)
                    chain[:] = chain <= (self.offsets[1].value if start is None else start[at : at + p.rows])
                    drawn = self.gibbs(p, chain)
                    self.kernels.upload(chain)
                    pieces.append((at, p, p.returns(drawn[0], drawn[-1])))
                    p.slots["seed"], p.slots["first row"] = np.uint64(seed).view(np.int64), at
                for step in range(steps):
                    for _, p, _ in pieces:
                        p.slots["gibbs step"] = self.DRAWS * step
                    workers.run_programs([p.phases[0][0] for _, p, _ in pieces])
                for at, p, results in pieces:
                    v[at : at + p.rows], means[at : at + p.rows] = results
        sigma = self.sigma.astype(np.float32)
        return v * sigma, means * sigma


def as_rows(vectors: Any) -> Any:
    """Vectors (D,) as rows (1, D), for each share or for all."""
    return Each(map(as_rows, vectors)) if isinstance(vectors, Each) else vectors.reshape(1, -1)


def as_columns(vectors: Any) -> Any:
    """The same as columns (D, 1)."""
    return Each(map(as_columns, vectors)) if isinstance(vectors, Each) else vectors.reshape(-1, 1)
