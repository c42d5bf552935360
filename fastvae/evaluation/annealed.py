"""Annealed importance sampling of log p(x), and the bracket that it makes with its reverse.

    f_t(z) = r(z)^(1 - beta_t) p(x, z)^beta_t,     0 = beta_0 < ... < beta_T = 1,     r = q(z|x), or the prior
    log w = sum_t (beta_t - beta_(t-1)) (log p(x, z_(t-1)) - log r(z_(t-1))),     z_0 from r,     z_t from z_(t-1)

by a transition that leaves f_t as it is, Hamiltonian Monte Carlo: then E[w] = p(x), however few the temperatures, and
the log of the mean of K weights is a lower bound of log p(x) in expectation. A chain that goes from an exact draw of
p(z|x) back to r has E[1 / w] = 1 / p(x): such draws exist where z and then x are drawn from the model. Put in the place
of one of the K chains it makes the mean's logarithm an upper bound, by the same weights otherwise.

Neal 2001; Wu, Burda, Salakhutdinov and Grosse 2017; Grosse, Ancha and Roy 2016 (bidirectional Monte Carlo); Brekelmans,
Huang, Ghassemi, Ver Steeg, Grosse and Makhzani 2022 (the upper bound by several chains).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.engine import EVALUATION
from fastvae.errors import check_name
from fastvae.evaluation.hmc import PILOT_CHAINS, Noise, Path, State, adapted_steps, move
from fastvae.evaluation.joint import Likelihoods, decoded, encoded
from fastvae.evaluation.result import LogLikelihood
from fastvae.kernels import philox
from fastvae.kernels.formulas import LOGVAR_HIGHEST, LOGVAR_LOWEST
from fastvae.kernels.memory import empty
from fastvae.models.settings import check_integer, seed_from

STARTS, SCHEDULES = ("auto", "q", "prior"), ("linear", "sigmoid")
SIGMOID = 4.0  # its ends before they are moved to 0 and 1 (Grosse, Maddison and Salakhutdinov 2013)
FORWARD, REVERSE, PILOT = range(3)  # uses of noise
SIMULATED, BLOCK = 4, 8  # added to them: for data that are simulated; for each further block of chains
CHAINS = 256  # of an example, in one block
NUMBERS = 1 << 20  # in the widest array of a piece, about
N_TEMPERATURES, N_CHAINS, N_LEAPFROG, N_SIMULATED = 200, 8, 4, 32


@dataclass(frozen=True)
class Settings:
    """How chains are run: see `annealed`."""

    n_temperatures: int
    n_chains: int
    n_leapfrog: int
    start: str
    schedule: str
    seed: np.uint64

    @property
    def betas(self) -> np.ndarray:
        """beta_0 ... beta_T (T + 1,)."""
        return temperatures(self.n_temperatures, self.schedule)


@dataclass(frozen=True)
class Bracket:
    """Bounds of log p(x) from below and above, on the same examples, which were drawn from the model.

    P(lower >= log p(x) + t) and P(upper <= log p(x) - t) are at most e^-t for each example, by Markov's inequality.

    Attributes
    ----------
    lower, upper
        Annealed importance sampling, and with the reverse chain in the place of one of its chains.
    acceptance, reverse_acceptance : (T - 1,)
        Mean probability with which proposals were accepted, for beta_1 ... beta_(T - 1).
    n_temperatures, n_chains, n_leapfrog
        T; K; and leapfrog steps a transition.
    start, schedule
        Of the path.
    """

    lower: LogLikelihood
    upper: LogLikelihood
    acceptance: np.ndarray
    reverse_acceptance: np.ndarray
    n_temperatures: int
    n_chains: int
    n_leapfrog: int
    start: str
    schedule: str

    @property
    def gaps(self) -> np.ndarray:
        """upper - lower (N,), in nats; of single examples it may be negative, in expectation it is not."""
        return self.upper.values - self.lower.values

    @property
    def gap(self) -> float:
        """The mean of `gaps`: in expectation, log p(x) is no further from either bound."""
        return float(np.mean(self.gaps))

    @property
    def gap_error(self) -> float:
        """Standard error of `gap` over examples and chains; NaN for one example."""
        return float(np.std(self.gaps, ddof=1) / math.sqrt(len(self.gaps))) if len(self.gaps) > 1 else math.nan

    @property
    def ess(self) -> np.ndarray:
        """Effective sample sizes (N,) of the weights of the K chains."""
        return self.lower.ess

    @property
    def complete(self) -> bool:
        """False where it was stopped."""
        return self.lower.complete

    @property
    def seconds(self) -> float:
        """Wall-clock time of both bounds together."""
        return self.lower.seconds


def temperatures(count: int, schedule: str = "linear") -> np.ndarray:
    """0 = beta_0 < ... < beta_T = 1, (T + 1,), for T = `count`: t / T, or a sigmoid of it, which is dense at both ends
    (Grosse, Maddison and Salakhutdinov 2013)."""
    betas = np.arange(count + 1) / count
    if schedule == "sigmoid":
        betas = 1.0 / (1.0 + np.exp(-SIGMOID * (2.0 * betas - 1.0)))
        betas = (betas - betas[0]) / (betas[-1] - betas[0])
    return betas


def annealed(
    model: Any,
    examples: Examples,
    *,
    n_temperatures: int = N_TEMPERATURES,
    n_chains: int = N_CHAINS,
    n_leapfrog: int = N_LEAPFROG,
    start: str = "auto",
    schedule: str = "linear",
    seed: Any = 0,
    n_simulated: int = N_SIMULATED,
    observer: Any = None,
) -> LogLikelihood:
    """log p(x) >= E log 1/K sum_k w_k of each example, by annealed importance sampling.

    Step sizes are adapted for each example in a pilot, by chains that are thrown away. The noise of an example belongs
    to the seed and its row: neither the number of threads nor how examples are cut into pieces changes a bit.

    Parameters
    ----------
    model
        A fitted VAE.
    examples
        From `model.examples(X)`.
    n_temperatures
        T. With 1 it is importance sampling from r.
    n_chains
        K, for each example.
    n_leapfrog
        Leapfrog steps, and so gradients of log p(x|z), in each of T - 1 transitions.
    start
        r: "q" for q(z|x), or "prior". "auto": "q" unless the model has no encoder.
    schedule
        "linear" or "sigmoid": see `temperatures`.
    seed
        Of all noise.
    n_simulated
        Examples drawn from the model, on which `bracket` tells how far this bound is below another from above; 0 for
        none. On real data, which may be unlike the model's own, no such bound can be had.
    observer
        progressed(done, count, unit), and stop_requested(): see `evaluation`.

    Returns
    -------
    LogLikelihood
        Its kind is "lower bound", its `n_samples` are K; of weights that are so few, `khat` is not told. `details` has
        the settings, the acceptance, and the gap on simulated examples with its standard error, in nats.

    Raises
    ------
    TypeError, ValueError
        Numbers that are not whole, or below 1; names that are not known; start="q" without an encoder; another model's
        examples; data for which the decoder overflows.
    """
    network = model._check_fitted()
    settings = _checked(network, n_temperatures, n_chains, n_leapfrog, start, schedule, seed)
    check_integer("n_simulated", n_simulated, 0)
    examples = model._accepted(network, examples)

    def fill(first: int, rows: int) -> np.ndarray:
        x = empty(rows, network.inputs["x"])
        examples.fill(np.arange(first, first + rows, dtype=np.int64), x, EVALUATION, first)
        return x

    begun = time.perf_counter()
    sums, _, acceptance = _run(network, fill, len(examples), settings, observer, 0)
    details: dict[str, Any] = _details(settings, acceptance)
    if n_simulated and sums.complete:
        found = bracket(model, n_simulated, **_arguments(settings), observer=observer)
        if len(found.gaps):
            details |= {"gap": found.gap, "gap error": found.gap_error, "gap examples": len(found.gaps)}
    return sums.result(network.log_jacobian, settings, "lower bound", time.perf_counter() - begun, details)


def bracket(
    model: Any,
    n_examples: int = 100,
    *,
    n_temperatures: int = N_TEMPERATURES,
    n_chains: int = N_CHAINS,
    n_leapfrog: int = N_LEAPFROG,
    start: str = "auto",
    schedule: str = "linear",
    seed: Any = 0,
    observer: Any = None,
) -> Bracket:
    """Bounds of log p(x) from both sides for examples that are drawn from the model: z from the prior, x from p(x|z).

    For other parameters, the noise and what is raised see `annealed`.

    Parameters
    ----------
    model
        A fitted VAE; one without encoder starts from the prior.
    n_examples
        How many.
    """
    network = model._check_fitted()
    settings = _checked(network, n_temperatures, n_chains, n_leapfrog, start, schedule, seed)
    check_integer("n_examples", n_examples, 1)
    begun = time.perf_counter()
    z, x = simulated(network, n_examples, settings.seed)

    def fill(first: int, rows: int) -> np.ndarray:
        return x[first : first + rows]

    lower, upper, acceptance = _run(network, fill, n_examples, settings, observer, SIMULATED, z)
    seconds, details = time.perf_counter() - begun, _details(settings, acceptance)
    results = [
        sums.result(network.log_jacobian, settings, kind, seconds, details)
        for sums, kind in ((lower, "lower bound"), (upper, "upper bound"))
    ]
    numbers = settings.n_temperatures, settings.n_chains, settings.n_leapfrog, settings.start, settings.schedule
    return Bracket(*results, *acceptance, *numbers)


def simulated(network: Any, count: int, seed: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    """z (N, Z) from the prior and x (N, D) float32 from p(x|z), in the model's units: z is an exact draw of p(z|x)."""
    z = np.empty((count, network.inputs["z"]), np.float32)
    network.kernels.normal_noise(seed, philox.PRIOR, 0, 0, z)
    network.parameters.bring_back()
    return z, network.likelihood.draw(decoded(network, z), network.kernels, seed, 0)


# ---- arguments and results --------------------------------------------------------------------------------------


def _checked(
    network: Any, n_temperatures: Any, n_chains: Any, n_leapfrog: Any, start: Any, schedule: Any, seed: Any
) -> Settings:
    numbers = {"n_temperatures": n_temperatures, "n_chains": n_chains, "n_leapfrog": n_leapfrog}
    whole = [check_integer(name, value, 1) for name, value in numbers.items()]
    check_name("start", start, STARTS)
    check_name("schedule", schedule, SCHEDULES)
    if start == "q" and not network.complete:
        raise ValueError(
            "start='q' needs the encoder, and this model was loaded with decoder_only=True: load it whole, or pass "
            "start='prior'"
        )
    if start == "auto":
        start = "q" if network.complete else "prior"
    return Settings(*whole, start, schedule, seed_from(seed))


def _arguments(settings: Settings) -> dict[str, Any]:
    return vars(settings) | {"seed": int(settings.seed)}


def _details(settings: Settings, acceptance: tuple[np.ndarray, ...]) -> dict[str, Any]:
    rates = acceptance[0]
    details: dict[str, Any] = {name: value for name, value in _arguments(settings).items() if name != "n_chains"}
    if len(rates):
        details |= {"acceptance": float(rates.mean()), "lowest acceptance": float(rates.min())}
    return details


class _Sums:
    """log sum w and log sum w^2 of the weights of each example (N,), to which more are added."""

    def __init__(self, count: int):
        self.first, self.second = np.full(count, -np.inf), np.full(count, -np.inf)
        self.done, self.complete = 0, True

    def add(self, first_row: int, log_weights: np.ndarray) -> None:
        """Add weights (n, C) of the examples from `first_row` on."""
        for total, factor in ((self.first, 1.0), (self.second, 2.0)):
            rows = total[first_row : first_row + len(log_weights)]
            for chain in factor * log_weights.T:
                np.logaddexp(rows, chain, out=rows)

    def result(
        self, log_jacobian: float, settings: Settings, kind: str, seconds: float, details: dict[str, Any]
    ) -> LogLikelihood:
        """The logarithm of the mean weight; its error by the delta method, sd(w) / (sqrt(K) mean(w))."""
        first, second, chains = self.first[: self.done], self.second[: self.done], settings.n_chains
        with np.errstate(invalid="ignore"):  # of an example whose weights are all 0
            ess = np.exp(2.0 * first - second)
        error = np.full(len(first), np.nan)
        if chains > 1:
            error = np.sqrt(np.maximum(1.0 / ess - 1.0 / chains, 0.0) * (chains / (chains - 1.0)))
        values, nothing = first - math.log(chains) - log_jacobian, np.full(len(first), np.nan)
        return LogLikelihood("annealed", kind, values, error, ess, nothing, chains, seconds, {}, self.complete, details)


# ---- chains -----------------------------------------------------------------------------------------------------


def _run(
    network: Any,
    fill: Callable[[int, int], np.ndarray],
    count: int,
    settings: Settings,
    observer: Any,
    use: int,
    exact: np.ndarray | None = None,
) -> tuple[_Sums, _Sums, tuple[np.ndarray, np.ndarray]]:
    """Weights of the chains of all examples, piece by piece: their sums; those with the reverse chain, from `exact`
    (N, Z), in the place of the first one; and acceptance, forward and reverse (T - 1,)."""
    lower, upper, accepted = _Sums(count), _Sums(count), np.zeros((2, settings.n_temperatures - 1))
    lanes = min(settings.n_chains, CHAINS) + (exact is not None)
    size = max(1, min(count, NUMBERS // network.widest // lanes))
    likelihoods = Likelihoods(network, size * max(lanes, PILOT_CHAINS))
    with network.backend.passing(likelihoods.shares) as workers:
        for first in range(0, count, size):
            watch = _Watch(observer, settings, first, min(size, count - first), count)
            piece = _Piece(network, likelihoods, workers, settings, use, first, fill(first, watch.rows))
            for block in range(watch.blocks):
                log_weights, reverse, rates = piece.weigh(block, watch, exact)
                if watch.stopped:
                    lower.complete = upper.complete = False
                    break
                lower.add(first, log_weights)
                if reverse is not None:
                    log_weights[:, 0] = reverse
                upper.add(first, log_weights)
                accepted += rates
            if watch.stopped:
                break
            lower.done = upper.done = first + watch.rows
    forward, backward = accepted / max(lower.done, 1)
    return lower, upper, (forward / settings.n_chains, backward)


class _Watch:
    """Tells an observer what has been done, and asks whether to go on."""

    def __init__(self, observer: Any, settings: Settings, first: int, rows: int, count: int):
        self._observer, self.rows, self.stopped = observer, rows, False
        self.blocks, self._temperatures = -(-settings.n_chains // CHAINS), settings.n_temperatures
        self._before, self._count = first * self._temperatures, count * self._temperatures

    def __call__(self, block: int, t: int) -> bool:
        """Whether to go on after temperature t of a block of chains."""
        if self._observer is not None:
            done = self.rows * (block * self._temperatures + t) // self.blocks
            self._observer.progressed(self._before + done, self._count, "temperatures")
            self.stopped = bool(self._observer.stop_requested())
        return not self.stopped


class _Piece:
    """The chains of some examples x (n, D) in the model's units, those from row `first` on."""

    def __init__(
        self,
        network: Any,
        likelihoods: Likelihoods,
        workers: Any,
        settings: Settings,
        use: int,
        first: int,
        x: np.ndarray,
    ):
        self.first, self.x, self._settings, self._use = first, x, settings, use
        self._network, self._likelihoods, self._workers = network, likelihoods, workers
        self._betas, self._path = settings.betas, self._path_of(x)
        noise = self._noise([(use + PILOT, PILOT_CHAINS)])
        likelihoods.hold(x, PILOT_CHAINS)
        self._steps = adapted_steps(self._path, self._betas, noise, settings.n_leapfrog, self._evaluate)

    def _path_of(self, x: np.ndarray) -> Path:
        shape = len(x), 1, self._network.inputs["z"]
        prior = np.zeros(shape), np.ones(shape)
        if not self._network.complete:
            return Path(*prior, prior[1])
        mu, logvar = encoded(self._network, x)
        posterior = mu.reshape(shape), np.exp(0.5 * np.clip(logvar, LOGVAR_LOWEST, LOGVAR_HIGHEST)).reshape(shape)
        return Path(*(posterior if self._settings.start == "q" else prior), posterior[1])

    def _noise(self, uses: list[tuple[int, int]]) -> Noise:
        network, (rows, _, columns) = self._network, self._path.mean.shape
        return Noise(network.kernels, self._settings.seed, uses, self.first, rows, columns)

    def _evaluate(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._likelihoods(z, self._workers)

    def weigh(
        self, block: int, watch: Callable[[int, int], bool], exact: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """log w (n, C) of a block of chains; in the first one, that of the reverse chain (n,), if there is one; and the
        sums of probabilities of acceptance, forward and reverse (2, T - 1)."""
        betas, T, n = self._betas, self._settings.n_temperatures, len(self.x)
        C = min(CHAINS, self._settings.n_chains - block * CHAINS)
        reverses = int(exact is not None and block == 0)
        use = self._use + BLOCK * block
        forward = [(use + FORWARD, C)]
        noise = self._noise(forward + [(use + REVERSE, 1)] * reverses)

        def lanes(ahead: np.ndarray, back: np.ndarray) -> np.ndarray:
            """Numbers (..., C + 1) of each chain, by those of a forward and of a reverse one."""
            return np.stack([ahead] * C + [back] * reverses, axis=-1)

        self._likelihoods.hold(self.x, C + reverses)
        z = self._path.mean + self._path.deviation * self._noise(forward).normals(philox.CHAIN, 0)
        if reverses:
            assert exact is not None
            z = np.concatenate([z, exact[self.first : self.first + n, None]], axis=1)
        state, log_weights, rates = State(z, *self._evaluate(z)), np.zeros((n, C + reverses)), np.zeros((2, T - 1))
        for t in range(1, T + 1):
            back = T - t  # the reverse chain comes from beta_(back + 1)
            log_weights += lanes(betas[t] - betas[t - 1], betas[back + 1] - betas[back]) * self._path.log_ratio(state)
            if t < T:
                step = lanes(self._steps[:, t], self._steps[:, back])
                beta, count = lanes(betas[t], betas[back]), self._settings.n_leapfrog
                state, probability = move(self._path, beta, state, step, noise, t, count, self._evaluate)
                rates[0, t - 1] = probability[:, :C].sum()
                rates[1, back - 1] = probability[:, C:].sum()
            if not watch(block, t):
                break
        return log_weights[:, :C], log_weights[:, C] if reverses else None, rates
