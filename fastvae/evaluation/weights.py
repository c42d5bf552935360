"""Weights of samples of z, log w = log p(x|z) + log p(z) - log r(z), as passes of the engine over pieces of the data.

A piece of the examples is read once, in the model's units; then come samples, some of each example in one program.
Sample k of example i is drawn at (seed, stream, step k, row i): how the work is cut changes no bit.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.engine import EVALUATION
from fastvae.evaluation.accumulator import Accumulator
from fastvae.evaluation.observer import Observer, watching
from fastvae.evaluation.result import LogLikelihood
from fastvae.kernels.formulas import LOGVAR_HIGHEST, LOGVAR_LOWEST
from fastvae.kernels.memory import empty, zeros
from fastvae.kernels.slots import Slots
from fastvae.layers import latent
from fastvae.models.vae_network import VAENetwork
from fastvae.passes import ROW, Pass

UNROLLED = 16  # samples of each example in one program
BETWEEN = 64  # samples between two questions to the observer


class Piece:
    """Some examples of a network, read and ready to be encoded, and to be weighed as often as one likes.

    Parameters
    ----------
    network
        Of a fitted model.
    rows
        Examples of the largest piece.
    workers, shares
        What runs programs, and into how many each piece is cut.
    seed
        Of the noise.

    Attributes
    ----------
    first, rows
        Where the piece begins, and how many examples it has.
    """

    def __init__(self, network: VAENetwork, rows: int, workers: Any, shares: int, seed: np.uint64):
        self._network, self._workers, self._shares, self._seed = network, workers, shares, seed
        latent_dim = network.inputs["z"]
        self._data = {name: empty(rows, columns) for name, columns in network.inputs.items() if name != "z"}
        self._mu, self._logvar, self._zeros = (zeros(rows, latent_dim) for _ in range(3))
        self._passes: dict[tuple[Any, ...], tuple[Pass, Any]] = {}
        self.first, self.rows = 0, 0

    def read(self, examples: Examples, first: int, rows: int) -> None:
        """Read the examples first ... first + rows - 1."""
        if rows != self.rows:
            self._passes.clear()
        self.first, self.rows = first, rows
        indices = np.arange(first, first + rows, dtype=np.int64)
        for name, data in self._data.items():
            examples.of(name).fill(indices, data[:rows], EVALUATION, first)
            self._network.kernels.upload(data[:rows])

    def encode(self) -> tuple[np.ndarray, np.ndarray]:
        """mu and logvar (n, Z) of q(z|x), the latter limited to [-30, 20]."""
        mu, logvar = self._run(("encode",), self._network.encode)
        return mu.copy(), np.clip(logvar, LOGVAR_LOWEST, LOGVAR_HIGHEST)

    def propose(self, mu: np.ndarray | float, logvar: np.ndarray | float) -> None:
        """Have z drawn from r = N(mu, exp(logvar)), (n, Z), from now on."""
        for own, given in ((self._mu, mu), (self._logvar, logvar)):
            own[: self.rows] = given
            self._network.kernels.upload(own[: self.rows])
        self._half_log_det = 0.5 * self._logvar[: self.rows].sum(axis=1, dtype=np.float64)[:, None]

    def log_weights(self, stream: int, first: int, count: int) -> np.ndarray:
        """log w (n, count) float64, in the model's units, of the samples first ... first + count - 1 of each example.

        log p(z) - log r(z) = 1/2 sum_Z (eps^2 - z^2 + logvar), z = mu + exp(logvar / 2) eps.
        """
        found = np.empty((self.rows, count))
        for start in range(0, count, UNROLLED):
            some = min(UNROLLED, count - start)
            write = lambda p, some=some: self._write(p, stream, some)  # noqa: E731
            results = self._run(("weights", stream, some), write, first + start)
            for k in range(some):
                of_noise, of_code, nll = results[3 * k : 3 * k + 3]
                found[:, start + k] = of_noise.astype(np.float64) - of_code - nll
        return found + self._half_log_det

    def noise(self, stream: int, sample: int) -> np.ndarray:
        """eps (n, Z) of one sample of each example."""
        eps = empty(self.rows, self._mu.shape[1])
        self._network.kernels.normal_noise(self._seed, stream, sample, self.first, eps)
        return eps

    def _run(self, key: tuple[Any, ...], write: Callable[[Pass], Any], step: int = EVALUATION) -> Any:
        """Run a pass, which is written down when it is first wanted; return what its writer returned."""
        if key not in self._passes:
            inputs = {name: lambda p, d=data: p.cut(d[: p.rows]) for name, data in self._data.items()}
            shares = min(self._shares, self.rows)
            p = Pass(self._network.backend, Slots(), self.rows, inputs, shares, backward=False)
            self._passes[key] = p, write(p)
            p.finish()
        p, results = self._passes[key]
        seed = np.uint64(self._seed).view(np.int64)
        for name, value in (("seed", seed), ("step", step), ("first row", self.first)):
            p.slots[name] = value
        p.run(self._workers)
        return results

    def _write(self, p: Pass, stream: int, count: int) -> list[np.ndarray]:
        """Write so many samples: of each -log N(eps; 0, I), -log p(z) and -log p(x|z), (n,)."""
        network, x = self._network, p.input("x")
        condition = network.condition_of(p)
        mu, logvar, nothing = (p.cut(array[: p.rows]) for array in (self._mu, self._logvar, self._zeros))
        results = [p.empty() for _ in range(3 * count)]
        eps, z, kl = p.empty(mu.shape[1]), p.empty(mu.shape[1]), p.empty()
        mark = p.mark()
        for k in range(count):
            p.rewind(mark)
            of_noise, of_code, nll = results[3 * k : 3 * k + 3]
            p.add("normal_noise", p.seed, stream, p.step + k, ROW, eps)
            latent(p, mu, logvar, noise=eps, z=z, kl=kl)
            p.add("squared_error_forward", nothing, eps, 0.0, 1.0, of_noise)
            p.add("squared_error_forward", nothing, z, 0.0, 1.0, of_code)
            network.likelihood.nll(p, x, network.decoded(p, z, condition)[0], nll)
        return p.returns(*results)


def pieces(network: VAENetwork, examples: Examples, seed: np.uint64) -> Iterator[Piece]:
    """The examples, piece by piece, each read and ready."""
    count = len(examples)
    shares, size = network.backend.pieces(count, network.largest_product(count), network.widest)
    rows = min(count, shares * size)
    network.upload_parameters()
    with network.backend.passing(shares) as workers:
        piece = Piece(network, rows, workers, shares, seed)
        for first in range(0, count, rows):
            piece.read(examples, first, min(rows, count - first))
            yield piece


def weigh(
    method: str,
    network: VAENetwork,
    examples: Examples,
    n_samples: int,
    seed: np.uint64,
    stream: int,
    propose: Callable[[Piece], None],
    observer: Observer | None = None,
) -> LogLikelihood:
    """log p(x) of each example, in nats of the user's units, from `n_samples` weights of draws from what `propose` has
    set for its piece. Raises `KeyboardInterrupt` where it was stopped before a piece was done."""
    started, summaries, done = time.perf_counter(), [], 0
    with watching(observer) as watcher:
        for piece in pieces(network, examples, seed):
            propose(piece)
            accumulator = Accumulator(piece.rows, n_samples)
            while accumulator.added < n_samples and not watcher.stop_requested():
                some = min(BETWEEN, n_samples - accumulator.added)
                accumulator.add(piece.log_weights(stream, accumulator.added, some) - network.log_jacobian)
                share = accumulator.added / n_samples
                watcher.progressed(done + int(share * piece.rows), len(examples), "examples")
            if accumulator.added < n_samples:
                break
            summaries.append(accumulator.summary())
            done += piece.rows
    if not done:
        raise KeyboardInterrupt(f"{method}: stopped before the first examples were done")
    columns = {
        name: np.concatenate([getattr(s, name) for s in summaries]) for name in ("values", "mcse", "ess", "khat")
    }
    bounds = {k: np.concatenate([s.bounds[k] for s in summaries]) for k in summaries[0].bounds}
    return LogLikelihood(
        method=method,
        kind="estimate",
        n_samples=n_samples,
        seconds=time.perf_counter() - started,
        bounds=bounds,
        complete=done == len(examples),
        **columns,
    )
