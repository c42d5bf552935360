"""The network of a deep Boltzmann machine with two hidden layers, and a step of its training.

    -E(v, h1, h2) = visible' v + v' W1 h1 + b1' h1 + h1' W2 h2 + b2' h2        p(v, h1, h2) = exp(-E) / Z

The gradient of a variational bound on log p(v): expectations under q(h1) q(h2), a mean field for each row, less those
of chains that persist from step to step. All are centred. Salakhutdinov and Hinton 2009; Montavon and Müller 2012.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.engine import Network
from fastvae.kernels import cpu, philox
from fastvae.kernels.formulas import IDENTITY, SIGMOID
from fastvae.kernels.memory import empty
from fastvae.kernels.slots import Slots
from fastvae.layers import Linear
from fastvae.layers.vector import Vector
from fastvae.likelihoods import make_likelihood
from fastvae.optimizers import Numbers
from fastvae.parameters import Shape
from fastvae.passes import ROW, Pass

NAMES = "visible", "hidden.0", "hidden.1"  # of the layers
DEVIATION = 0.01  # of the weights at first
OFFSET_RATE = 0.01  # at which the offsets of hidden units follow their means
GIBBS = 1 << 30  # from which step on noise is that of chains: what is binarised at the steps before is data
INFERENCE_STEPS = 30  # of the mean field of rows outside a training


@dataclass(frozen=True)
class Architecture:
    """What decides the parameters, and what a step does."""

    inputs: int
    hidden: tuple[int, ...]
    mean_field_steps: int
    chains: int


class DBMNetwork(Network):
    """Three layers of units and the weights between them; see `engine.Network` for what each method is.

    In the order of the layers, the visible units first: `biases`, `offsets`; between them: `weights`. `log_z` is what
    was estimated of it last, with what tells the parameters.
    """

    log_z: tuple[int, float] | None = None

    def describe(self, a: Architecture, complete: bool) -> None:  # noqa: D102
        super().describe(a, True)
        self.inputs = {"x": a.inputs, "z": sum(a.hidden)}
        self.sizes = a.inputs, *a.hidden
        self.weights = [Linear(name, *self.sizes[i : i + 2]) for i, name in enumerate(NAMES[1:])]
        self.biases = [Vector(f"{name}.bias", size) for name, size in zip(NAMES, self.sizes, strict=True)]
        self.offsets = [Vector(f"{name}.offset", size) for name, size in zip(NAMES, self.sizes, strict=True)]
        self.likelihood = make_likelihood("bernoulli", 1.0, a.inputs)

    def trained(self) -> list[Any]:
        """What has a gradient."""
        return [*self.weights, *self.biases]

    def owners(self) -> Sequence[Any]:  # noqa: D102
        return [*self.trained(), *self.offsets, self.likelihood]

    def state_shapes(self) -> dict[str, Shape]:
        """Of each chain, h1: given that, v and h2 are drawn anew."""
        return {"chains": (self.architecture.chains, self.sizes[1])}

    def initialise(self, seed: np.uint64, mean: np.ndarray, rows: int) -> None:
        """Small weights; v as often 1 as in the data, by their mean (D,) over so many rows, and hidden units half."""
        for position, weight in enumerate(self.weights):
            self.kernels.normal_noise(seed, philox.INITIALISATION, position, 0, weight.weight)
            weight.weight *= np.float32(DEVIATION)
        often = (mean * rows + 0.5) / (rows + 1)
        self.biases[0].value[:], self.offsets[0].value[:] = np.log(often / (1 - often)), mean
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
    def _less(p: Pass, row: np.ndarray, x: np.ndarray, weight: float, out: np.ndarray) -> None:
        """Write weight (x - row): a gradient of squared errors."""
        p.add("squared_error_forward_backward", row, x, 0.0, 1.0, weight, p.empty(), out)

    def visible_logits(self, p: Pass, h1: np.ndarray) -> np.ndarray:
        """Write those of the means of v (B, D) given h1."""
        out = self._filled(p, self.biases[0].row)
        self._add_downwards(p, 0, h1, out)
        return out

    def mean_field(self, p: Pass, v: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Write the means of q(h1) and q(h2): `steps` times h1 given h2, then h2 given h1, from the offset of h2, which
        is near its mean over the data: from there one step goes as far as three from elsewhere."""
        below, h1, above = self._upwards(p, 0, v, IDENTITY), p.empty(self.sizes[1]), p.each(1, self.sizes[1])
        h2 = self.offsets[2].row
        p.add("dense_backward_input", h2, self.weights[1].weight, IDENTITY, h2, False, above)
        for i in range(steps):
            self._copied(p, below, h1)
            if i == 0:
                p.add("dense_accumulate", p.cut(np.ones((p.rows, 1), np.float32)), above, h1)
            else:
                self._add_downwards(p, 1, h2, h1)
            p.add("sigmoid_inplace", h1)
            h2 = self._upwards(p, 1, h1, SIGMOID) if i == 0 else h2
            if i > 0:
                p.add("dense_forward", h1, self.weights[1].weight, self.biases[2].value, SIGMOID, h2, h2)
        return h1, h2

    def gibbs(self, p: Pass, chain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Write a step of chains (B, H1): v and h2 drawn given h1, h1 given both, written over the chain. Return v, the
        means of h1 that it is drawn by, h2, and the means of v."""
        mean = self.visible_logits(p, chain)
        p.add("sigmoid_inplace", mean)
        v = self._drawn(p, mean, 0, p.empty(self.sizes[0]))
        above = self._upwards(p, 1, chain, SIGMOID)
        h2 = self._drawn(p, above, 2, above)
        h1 = self._upwards(p, 0, v, IDENTITY)
        self._add_downwards(p, 1, h2, h1)
        p.add("sigmoid_inplace", h1)
        self._drawn(p, h1, 1, chain)
        return v, h1, h2, mean

    def _drawn(self, p: Pass, mean: np.ndarray, layer: int, out: np.ndarray) -> np.ndarray:
        if out is not mean:
            self._copied(p, mean, out)
        p.add("binarize_inplace", out, p.seed, p.slots.whole("gibbs step") + (GIBBS + layer), ROW)
        return out

    # ---- a step -----------------------------------------------------------------------------------------------------

    def step(self, p: Pass, optimizers: Sequence[Any]) -> None:  # noqa: D102
        a, v, optimizer = self.architecture, p.input("x"), optimizers[0]
        if p.rows > a.chains:
            raise ValueError(f"a batch of {p.rows} rows needs as many chains; chains={a.chains}")
        h1, h2 = self.mean_field(p, v, a.mean_field_steps)
        nll = p.empty()
        self.likelihood.nll(p, v, self.visible_logits(p, h1), nll)
        p.loss(loss=(nll, p.slots.real("example weight")))
        self._gradient(p, (v, h1, h2), -1 / p.rows)
        chain = p.cut(self._state["chains"][: p.rows])
        self._gradient(p, self.gibbs(p, chain)[:3], 1 / p.rows)
        share = p.cut(np.full((p.rows, 1), 1 / p.rows, np.float32))
        for offset, h in zip(self.offsets[1:], (h1, h2), strict=True):
            mean = np.empty((offset.units, 1), np.float32)
            p.at_end("dense_backward_weight", h, share, 0, offset.units, False, mean, None)
            p.at_end("average_inplace", mean.reshape(-1), p.slots.real("offset rate"), offset.value)
        p.update(optimizer, self.trained())

    def _gradient(self, p: Pass, units: Sequence[np.ndarray], weight: float) -> None:
        """Write the gradients of `weight` times the sum over rows of -E, centred: see `centred_gradients` of
        `fastvae.reference`. With c = units less their offsets: of weights, sums of c c'; of biases, sums of
        c (1 - the centred neighbours times their offsets)."""

        def centred(i: int, scale: float) -> np.ndarray:
            out = p.empty(self.sizes[i])
            self._less(p, self.offsets[i].row, units[i], scale, out)
            return out

        c, e = [centred(i, 1.0) for i in range(3)], [centred(i, weight) for i in (1, 2)]
        less = [centred(i, -weight) for i in range(3)]
        constant, beside_h1, elsewhere = np.full(1, weight, np.float32), p.empty(1), p.empty(1)
        for i, out in ((0, beside_h1), (1, elsewhere)):
            p.add("dense_forward", less[i], self.offsets[i].column, constant, IDENTITY, out, out)
        p.add("dense_accumulate", less[2], self.offsets[2].column, beside_h1)
        for i, weights in enumerate(self.weights):
            p.gradient(weights, (c[i], e[i]))
        for i, bias in enumerate(self.biases):
            p.gradient(bias, (c[i], beside_h1 if i == 1 else elsewhere))

    def numbers(self, rows: int, progress: np.ndarray, steps: np.ndarray) -> dict[str, Numbers]:
        """See `engine.Network`; the offsets begin as plain means."""
        return super().numbers(rows, progress, steps) | {
            "offset rate": np.maximum(OFFSET_RATE, 1 / steps), "gibbs step": 3 * steps,
        }  # fmt: skip

    # ---- other passes -----------------------------------------------------------------------------------------------

    def codes(self, p: Pass) -> list[np.ndarray]:
        """Write the means of q(h1) and q(h2), side by side."""
        h1, h2 = self.mean_field(p, p.input("x"), INFERENCE_STEPS)
        out = p.empty(self.inputs["z"])
        p.add("concatenate", h1, h2, out)
        return p.returns(out)

    def inferred(self, p: Pass) -> list[np.ndarray]:
        """Write v, as it is read, and the means of q(h1)."""
        v = p.input("x")
        return p.returns(v, self.mean_field(p, v, INFERENCE_STEPS)[0])

    def decode(self, p: Pass) -> list[np.ndarray]:
        """Write the means of v given h1, the first columns of codes."""
        h1 = p.empty(self.sizes[1])
        p.add("concatenate_backward", p.input("z"), h1)
        return p.returns(self.likelihood.mean(p, self.visible_logits(p, h1)))

    def draw(self, n: int, steps: int, seed: np.uint64) -> tuple[np.ndarray, np.ndarray]:
        """v of so many chains (n, D) after so many steps, drawn, and the means that it was drawn by. They begin at h1
        as often 1 as the offsets say; no noise is that of a training with another seed."""
        threads, size = self.backend.pieces(n, self.largest_product(n), self.widest)
        self.upload_parameters()
        v, means = np.empty((n, self.sizes[0]), np.float32), np.empty((n, self.sizes[0]), np.float32)
        with self.backend.passing(threads) as workers:
            for first in range(0, n, threads * size):
                pieces = []
                for start in range(first, min(first + threads * size, n), size):
                    p = Pass(self.backend, Slots(), min(size, n - start), {}, backward=False)
                    chain = p.cut(empty(p.rows, self.sizes[1]))
                    cpu.uniform_noise(seed, philox.CHAIN, 0, start, chain)
                    chain[:] = chain <= self.offsets[1].value
                    drawn = self.gibbs(p, chain)
                    self.kernels.upload(chain)
                    pieces.append((start, p, p.returns(drawn[0], drawn[3])))
                    p.slots["seed"], p.slots["first row"] = np.uint64(seed).view(np.int64), start
                for step in range(steps):
                    for _, p, _ in pieces:
                        p.slots["gibbs step"] = 3 * step
                    workers.run_programs([p.phases[0][0] for _, p, _ in pieces])
                for start, p, results in pieces:
                    v[start : start + p.rows], means[start : start + p.rows] = results
        return v, means
