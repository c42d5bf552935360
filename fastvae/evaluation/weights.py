"""Weights of samples of z, log w = log p(x|z) + log p(z) - log r(z), as passes of the engine over pieces of the data.

A piece of the examples is read once, in the model's units; then come samples, some of each example in one program.
Sample k of example i is drawn at (seed, stream, step k, row i): how the work is cut changes no bit.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.engine import EVALUATION
from fastvae.evaluation.accumulator import Accumulator, joined
from fastvae.evaluation.observer import Observer, watching
from fastvae.evaluation.result import LogLikelihood
from fastvae.kernels.formulas import LOGVAR_HIGHEST, LOGVAR_LOWEST
from fastvae.kernels.memory import empty
from fastvae.kernels.philox import PROPOSAL
from fastvae.kernels.slots import Slots
from fastvae.models.vae_network import VAENetwork
from fastvae.passes import ROW, Arena, Pass

EXAMPLES = 256  # of a piece
ROWS, MANY = 512, 1 << 30  # whose largest product says how many threads there are; more than are done at a time
CACHED = 256  # rows that the processor takes at a time, whose outputs are to stay in its caches: 4% of the time
OUTPUTS = 1 << 17  # numbers that the decoder gives, about, which NumPy looks at together
CHUNKS = 32  # of so many, in one program: it returns to Python some ten times a second


class Weights:
    """log w of samples of z for the examples of one piece after the other, each read once.

    The programs that run at a time, one for each thread, take the same examples and different samples: so one example
    keeps all threads busy too.

    Parameters
    ----------
    network
        Of a fitted model.
    rows
        Examples of the largest piece.
    workers, threads
        What runs programs, and how many at a time.
    seed
        Of the noise.

    Attributes
    ----------
    first, rows
        Where the piece begins, and how many examples it has.
    """

    def __init__(self, network: VAENetwork, rows: int, workers: Any, threads: int, seed: np.uint64):
        self._network, self._workers, self._threads = network, workers, threads
        self._seed = np.uint64(seed).view(np.int64)
        self._data = {name: empty(rows, columns) for name, columns in network.inputs.items() if name != "z"}
        self._mu, self._logvar = (empty(rows, network.inputs["z"]) for _ in range(2))
        self._most = network.backend.pieces(MANY, network.largest_product(ROWS), network.widest)[1]
        if network.kernels.ON_HOST:
            self._most = min(self._most, CACHED)
        self._arenas = [Arena(self._most) for _ in range(threads)]
        self._passes: dict[tuple[Any, ...], tuple[Pass, list[np.ndarray]]] = {}
        self.first, self.rows = 0, 0

    def read(self, examples: Examples, first: int, rows: int) -> None:
        """Go on to the examples first ... first + rows - 1."""
        if rows != self.rows:
            self._passes.clear()
        self.first, self.rows = first, rows
        indices = np.arange(first, first + rows, dtype=np.int64)
        for name, data in self._data.items():
            examples.of(name).fill(indices, data[:rows], EVALUATION, first)
            self._network.kernels.upload(data[:rows])

    def encode(self) -> tuple[np.ndarray, np.ndarray]:
        """mu and logvar (n, Z) of q(z|x), the latter limited to [-30, 20]."""
        p, (mu, logvar) = self._pass(("encode",), self._network.encode)
        p.run(self._workers)
        return mu.copy(), np.clip(logvar, LOGVAR_LOWEST, LOGVAR_HIGHEST)

    def propose(self, mu: np.ndarray | float, logvar: np.ndarray | float) -> None:
        """Have z drawn from r = N(mu, exp(logvar)), (n, Z), from now on."""
        for own, given in ((self._mu, mu), (self._logvar, logvar)):
            own[: self.rows] = given
            self._network.kernels.upload(own[: self.rows])

    @property
    def at_once(self) -> int:
        """Samples of each example that are best asked for together."""
        return self._threads * CHUNKS * self._repeats

    @property
    def _repeats(self) -> int:
        """Samples of each example that go through the decoder together."""
        return max(1, self._most // self.rows)

    def log_weights(self, stream: int, first: int, count: int) -> np.ndarray:
        """log w (n, count) float64, in the model's units, of the samples first ... first + count - 1 of each."""
        log_ratio, nll = self.terms(stream, first, count)
        return np.subtract(log_ratio, nll, dtype=np.float64)

    def terms(self, stream: int, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """log p(z) - log r(z) and -log p(x|z), (n, count) float32, in the model's units, of these samples.

        log p(z) - log r(z) = 1/2 sum_Z (eps^2 - z^2 + logvar), z = mu + exp(logvar / 2) eps.
        """
        found = np.empty((self.rows, count), np.float32), np.empty((self.rows, count), np.float32)
        done = 0
        while done < count:
            left = min(count - done, self.at_once)
            cuts = [done + left * i // self._threads for i in range(self._threads + 1)]
            places = [(start, stop) for start, stop in itertools.pairwise(cuts) if start < stop]
            running = []
            for thread, (start, stop) in enumerate(places):
                p, results = self._pass((thread, stop - start), self._write, thread)
                for name, value in (("stream", stream), ("step", first + start), ("first row", self.first)):
                    p.slots[name] = value
                running.append((p, results))
            self._workers.run_programs([p.programs[0] for p, _ in running])
            for (start, _), (_, results) in zip(places, running, strict=True):
                for out, parts in zip(found, (results[::2], results[1::2]), strict=True):
                    place = start
                    for part in parts:
                        samples = len(part) // self.rows
                        out[:, place : place + samples] = part.reshape(self.rows, samples)
                        place += samples
            done += left
        return found

    @property
    def x(self) -> np.ndarray:
        """The examples of the piece in the model's units (n, D) float32."""
        return self._data["x"][: self.rows]

    @property
    def decoded_at_once(self) -> int:
        """Samples of each example that are best asked for together, of `outputs`."""
        return max(self._repeats, OUTPUTS // (self.rows * self._network.inputs["x"]))

    def outputs(self, stream: int, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """log p(z) - log r(z) (n, count), and what the decoder makes of z (n, count, A), float32, of the samples that
        `terms` takes; they hold until something else is asked for."""
        p, (log_ratio, a) = self._pass(("outputs", count), self._write_outputs)
        for name, value in (("stream", stream), ("step", first), ("first row", self.first)):
            p.slots[name] = value
        p.run(self._workers)
        return log_ratio.reshape(self.rows, count), a.reshape(self.rows, count, -1)

    def noise(self, stream: int, sample: int) -> np.ndarray:
        """eps (n, Z) of one sample of each example."""
        eps = empty(self.rows, self._mu.shape[1])
        self._network.kernels.normal_noise(self._seed.view(np.uint64), stream, sample, self.first, eps)
        return eps

    def _pass(self, key: tuple[Any, ...], write: Callable[..., list[np.ndarray]], thread: int = 0) -> Any:
        """A pass and what its writer returned, written down when it is first wanted."""
        if key not in self._passes:
            inputs = {name: lambda p, d=data: p.cut(d[: p.rows]) for name, data in self._data.items()}
            given = Slots(), self.rows, inputs, 1, self._arenas[thread]
            p = Pass(self._network.backend, *given, backward=False)
            self._passes[key] = p, write(p, *key[1:])
            p.finish()
            p.slots["seed"] = self._seed
        return self._passes[key]

    def _write(self, p: Pass, count: int) -> list[np.ndarray]:
        """Write so many samples, `_repeats` of each example at a time: each time log p(z) - log r(z) and
        -log p(x|z), (n times samples,)."""
        network, x, condition = self._network, p.input("x"), self._network.condition_of(p)
        mu, logvar = p.cut(self._mu[: p.rows]), p.cut(self._logvar[: p.rows])
        starts = range(0, count, self._repeats)
        samples = [min(self._repeats, count - start) for start in starts]
        results = [p.empty(repeats=some) for some in samples for _ in range(2)]
        mark, stream = p.mark(), p.slots.whole("stream")
        for i, (start, some) in enumerate(zip(starts, samples, strict=True)):
            p.rewind(mark)
            z, (log_ratio, nll) = p.empty(mu.shape[1], repeats=some), results[2 * i : 2 * i + 2]
            p.add("latent_samples_forward", mu, logvar, None, p.seed, stream, p.step + start, ROW, z, log_ratio)
            network.likelihood.nll(p, x, network.decoded(p, z, condition)[0], nll)
        return p.returns(*results)

    def _write_outputs(self, p: Pass, count: int) -> list[np.ndarray]:
        """Write log p(z) - log r(z) (n count,) and the decoder's outputs (n count, A)."""
        mu, logvar = p.cut(self._mu[: p.rows]), p.cut(self._logvar[: p.rows])
        z, log_ratio = p.empty(mu.shape[1], repeats=count), p.empty(repeats=count)
        stream = p.slots.whole("stream")
        p.add("latent_samples_forward", mu, logvar, None, p.seed, stream, p.step, ROW, z, log_ratio)
        return p.returns(log_ratio, self._network.decoded(p, z, self._network.condition_of(p))[0])


def pieces(network: VAENetwork, examples: Examples, seed: np.uint64) -> Iterator[Weights]:
    """The examples, piece by piece, each read and ready."""
    count = len(examples)
    rows = min(count, EXAMPLES)
    threads = network.backend.pieces(ROWS, network.largest_product(ROWS), network.widest)[0]
    network.upload_parameters()
    with network.backend.passing(threads) as workers:
        weights = Weights(network, rows, workers, threads, seed)
        for first in range(0, count, rows):
            weights.read(examples, first, min(rows, count - first))
            yield weights


def sample_bound(network: VAENetwork, examples: Examples, samples: int, repetitions: int = 1) -> np.ndarray:
    """log 1/K sum_k w_k (N,), K = `samples` draws of q(z|x), the mean over some `repetitions`, in nats of the user's
    units: the bound that importance weighted autoencoders are trained by. -inf or NaN where float32 overflows."""
    found = []
    for piece in pieces(network, examples, network.seed):
        piece.propose(*piece.encode())
        logs = [piece.log_weights(PROPOSAL, i * samples, samples) for i in range(repetitions)]
        found.append(np.mean([np.logaddexp.reduce(log_w, axis=1) for log_w in logs], axis=0))
    return np.concatenate(found) - np.log(samples) - network.log_jacobian


def check_finite(values: np.ndarray, first: int) -> None:
    """Raise `ValueError` where values (n, ...) of the examples from `first` on are not finite."""
    wrong = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if wrong.any():
        raise ValueError(
            f"row {first + int(wrong.argmax())} lies so far from the data of the training that float32 overflows: "
            "check its units, or leave it out"
        )


def weigh(
    method: str,
    network: VAENetwork,
    examples: Examples,
    n_samples: int,
    seed: np.uint64,
    stream: int,
    propose: Callable[[Weights], None],
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
                some = min(piece.at_once, n_samples - accumulator.added)
                accumulator.add(piece.log_weights(stream, accumulator.added, some) - network.log_jacobian)
                share = accumulator.added / n_samples
                watcher.progressed(done + int(share * piece.rows), len(examples), "examples")
            if accumulator.added < n_samples:
                break
            summaries.append(accumulator.summary())
            check_finite(summaries[-1].values, piece.first)
            done += piece.rows
    if not done:
        raise KeyboardInterrupt(f"{method}: stopped before the first examples were done")
    return LogLikelihood(
        method=method,
        kind="estimate",
        n_samples=n_samples,
        seconds=time.perf_counter() - started,
        complete=done == len(examples),
        degrees_of_freedom=n_samples - 1,
        **joined(summaries),
    )
