"""Chains of annealed importance sampling: their weights, piece by piece of the examples. See `annealed`."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.evaluation.accumulator import Accumulator, Summary
from fastvae.evaluation.densities import CodeDensity, Data, encoded
from fastvae.evaluation.hmc import PILOT_CHAINS, Noise, Path, State, adapted_steps, move, widening
from fastvae.evaluation.weights import check_finite
from fastvae.kernels import philox
from fastvae.models.vae_network import VAENetwork

SCHEDULES = ("linear", "sigmoid")
SIGMOID = 4.0  # its ends before they are moved to 0 and 1 (Grosse, Maddison and Salakhutdinov 2013)
FORWARD, REVERSE, PILOT, SECOND_PILOT = range(4)  # uses of noise, each with numbers of its own
SIMULATED, BLOCK = 4, 8  # added to them: for data that are simulated; for each further block of chains
CHAINS = 256  # of an example, in one block
NUMBERS = 1 << 20  # in the widest array of a piece, about


@dataclass(frozen=True)
class Settings:
    """How chains are run: see `annealed.annealed`."""

    n_temperatures: int
    n_chains: int
    n_leapfrog: int
    start: str
    schedule: str
    seed: np.uint64


def temperatures(count: int, schedule: str = "linear") -> np.ndarray:
    """0 = beta_0 < ... < beta_T = 1, (T + 1,), for T = `count`: t / T, or a sigmoid of it, which is dense at both ends
    (Grosse, Maddison and Salakhutdinov 2013)."""
    betas = np.arange(count + 1) / count
    if schedule == "sigmoid":
        betas = 1.0 / (1.0 + np.exp(-SIGMOID * (2.0 * betas - 1.0)))
        betas = (betas - betas[0]) / (betas[-1] - betas[0])
    return betas


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """Somebody asked for an end."""


class Piece:
    """The chains of some examples, those from row `first` on.

    Parameters
    ----------
    use
        Added to the uses of noise.
    data
        Of the examples.
    workers
        What runs the shares of `density`.
    """

    def __init__(
        self,
        network: VAENetwork,
        settings: Settings,
        use: int,
        first: int,
        data: Data,
        density: CodeDensity,
        workers: Any,
    ):
        self._network, self._settings, self._use = network, settings, use
        self.first, self.rows, self._data = first, len(data["x"]), data
        self._density, self._workers = density, workers
        self._betas = temperatures(settings.n_temperatures, settings.schedule)
        self._path, self._steps = self._adapted()

    def _adapted(self) -> tuple[Path, np.ndarray]:
        """The path, scaled by q where there is an encoder, and step sizes (n, T + 1). Where the chains of the pilot
        say that q is too narrow, both are those of a wider one, but no wider than the prior."""
        path = self._path_of()
        self._density.hold(self._data, PILOT_CHAINS)
        steps, z = self._pilot(path, PILOT)
        factors = widening(z, path.scale)
        wider = factors > 1.0
        if not wider.any():
            return path, steps
        scale = np.minimum(path.scale * factors, np.maximum(path.scale, 1.0))
        path = Path(path.mean, scale if self._settings.start == "q" else path.deviation, scale)
        return path, np.where(wider[:, 0], self._pilot(path, SECOND_PILOT)[0], steps)

    def _pilot(self, path: Path, use: int) -> tuple[np.ndarray, np.ndarray]:
        noise = self._noise((use, PILOT_CHAINS))
        return adapted_steps(path, self._betas, noise, self._settings.n_leapfrog, self._evaluate)

    def _path_of(self) -> Path:
        """From the prior, or from q."""
        shape = self.rows, 1, self._network.inputs["z"]
        prior = np.zeros(shape), np.ones(shape)
        if not self._network.complete:
            return Path(prior[0], prior[1], prior[1])
        mu, logvar = encoded(self._network, self._data)
        deviation = np.exp(0.5 * logvar).reshape(shape)
        mean, base = (mu.reshape(shape), deviation) if self._settings.start == "q" else prior
        return Path(mean, base, deviation)

    def _noise(self, *uses: tuple[int, int]) -> Noise:
        uses = tuple((self._use + use, chains) for use, chains in uses)
        kernels, columns = self._network.kernels, self._network.inputs["z"]
        return Noise(kernels, self._settings.seed, uses, self.first, self.rows, columns)

    def _evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        log_likelihood, gradient = self._density(z, self._workers)
        return log_likelihood, gradient

    def blocks(self, exact: np.ndarray | None, watch: Callable[[float], None]) -> Iterator[tuple[np.ndarray, ...]]:
        """What `_block` gives of one block of chains after the other; the first one with the reverse chains, where
        there is an exact draw of p(z|x) for each example of the piece (n, Z). watch(share) is told how much of this is
        done, after each temperature."""
        starts = range(0, self._settings.n_chains, CHAINS)
        for block in range(len(starts)):

            def of_all(share: float, block: int = block) -> None:
                watch((block + share) / len(starts))

            chains = min(CHAINS, self._settings.n_chains - starts[block])
            yield self._block(BLOCK * block, chains, exact if block == 0 else None, of_all)

    def _block(
        self, use: int, chains: int, exact: np.ndarray | None, watch: Callable[[float], None]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """log w (n, C) of chains; log w (n, R) of the reverse chain, R = 1 or none; and the sums of probabilities of
        acceptance, forward and reverse (2, T - 1). Both kinds of chains run beside each other."""
        betas, T, reverses = self._betas, self._settings.n_temperatures, int(exact is not None)
        forward = use + FORWARD, chains
        noise = self._noise(forward, *[(use + REVERSE, 1)] * reverses)

        def of_each(ahead: np.ndarray, back: np.ndarray) -> np.ndarray:
            """Numbers (..., C + R) of each chain, by those of a forward and of a reverse one."""
            return np.stack([ahead] * chains + [back] * reverses, axis=-1)

        self._density.hold(self._data, chains + reverses)
        z = self._path.mean + self._path.deviation * self._noise(forward).normals(philox.CHAIN, 0)
        if exact is not None:
            z = np.concatenate([z, exact[:, None]], axis=1)
        state, rates = State(z, *self._evaluate(z)), np.zeros((2, T - 1))
        log_weights = np.zeros((self.rows, chains + reverses))
        for t in range(1, T + 1):
            back = T - t  # the reverse chain comes from beta_(back + 1)
            log_weights += of_each(betas[t] - betas[t - 1], betas[back + 1] - betas[back]) * self._path.log_ratio(state)
            if t < T:
                beta, step = of_each(betas[t], betas[back]), of_each(self._steps[:, t], self._steps[:, back])
                given = self._path, beta, state, step, noise, t, self._settings.n_leapfrog, self._evaluate
                state, probability = move(*given)
                rates[0, t - 1] = probability[:, :chains].sum()
                rates[1, back - 1] = probability[:, chains:].sum()
            watch(t / T)
        return log_weights[:, :chains], log_weights[:, chains:], rates


class Bounds:
    """log p(x) of examples from weights, piece by piece: from those of the chains, and from those with the reverse
    chain in the place of the first one.

    Attributes
    ----------
    lower, upper
        Of each piece that is done.
    done
        Examples.
    acceptance : (2, T - 1)
        Mean probabilities, forward and reverse.
    """

    def __init__(self, settings: Settings):
        self._chains = settings.n_chains
        self.lower: list[Summary] = []
        self.upper: list[Summary] = []
        self.done = 0
        self.acceptance = np.zeros((2, settings.n_temperatures - 1))

    def add(self, rows: int, blocks: Iterator[tuple[np.ndarray, ...]], log_jacobian: float) -> None:
        """Add a piece; nothing of it where that is stopped."""
        lower, upper = (Accumulator(rows, self._chains) for _ in range(2))
        total = np.zeros_like(self.acceptance)
        for log_weights, reverse, rates in blocks:
            lower.add(log_weights - log_jacobian)
            with_reverse = np.concatenate([reverse, log_weights[:, reverse.shape[1] :]], axis=1)
            upper.add(with_reverse - log_jacobian)
            total += rates
        self.lower.append(lower.summary())
        check_finite(self.lower[-1].values, self.done)
        self.upper.append(upper.summary())
        before, self.done = self.done, self.done + rows
        means = total / (rows * np.array([[self._chains], [1]]))
        self.acceptance += (means - self.acceptance) * (rows / (before + rows))


def run(
    network: VAENetwork,
    settings: Settings,
    fill: Callable[[int, int], Data],
    count: int,
    progressed: Callable[[int], bool],
    exact: np.ndarray | None = None,
) -> Bounds:
    """The bounds of so many examples, which fill(first, rows) reads; with an exact draw of p(z|x) for each (N, Z) the
    upper ones too. progressed(done) is told how many are done, and says whether to go on."""
    bounds, use = Bounds(settings), 0 if exact is None else SIMULATED
    chains = min(settings.n_chains, CHAINS) + (exact is not None)
    size = max(1, min(count, NUMBERS // network.widest // chains))
    density = CodeDensity(network, size * max(chains, PILOT_CHAINS))
    ends = [*range(0, count, size), count]
    with network.backend.passing(density.shares) as workers:
        for first, stop in itertools.pairwise(ends):

            def watch(share: float, first: int = first, rows: int = stop - first) -> None:
                if not progressed(first + int(share * rows)):
                    raise Stopped

            piece = Piece(network, settings, use, first, fill(first, stop - first), density, workers)
            try:
                blocks = piece.blocks(None if exact is None else exact[first:stop], watch)
                bounds.add(piece.rows, blocks, network.log_jacobian)
            except Stopped:
                break
    return bounds
