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
from fastvae.evaluation.accumulator import Summary, joined
from fastvae.evaluation.chains import SCHEDULES, Bounds, Settings, run
from fastvae.evaluation.densities import Data, decoded
from fastvae.evaluation.observer import Observer, watching
from fastvae.evaluation.result import LogLikelihood
from fastvae.kernels import philox
from fastvae.kernels.memory import empty
from fastvae.models.settings import check_integer, seed_from
from fastvae.models.vae_network import VAENetwork

STARTS = ("auto", "q", "prior")
LOWER, UPPER = "lower bound", "upper bound"
FEWEST = 4  # chains from whose weights a standard error is told
N_TEMPERATURES, N_CHAINS, N_LEAPFROG, N_SIMULATED = 200, 8, 4, 32


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        """Its bounds, a line each. The arrays are attributes."""
        return (
            f"<Bracket: {self.n_temperatures:,} temperatures, {self.n_chains:,} chains\n {self.lower}\n {self.upper}>"
        )

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
    observer: Observer | None = None,
) -> LogLikelihood:
    """log p(x) >= E log 1/K sum_k w_k of each example, by annealed importance sampling.

    Step sizes are adapted for each example in a pilot, by chains that are thrown away; where those lie further apart
    than q(z|x) is wide, it is widened, but no dimension beyond the prior. The noise of an example belongs
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
        r: "q" for q(z|x), widened where it is too narrow, or "prior". "auto": "q" unless the model has no encoder.
    schedule
        "linear" or "sigmoid": see `chains.temperatures`.
    seed
        Of all noise.
    n_simulated
        Examples drawn from the model, on which `bracket` tells how far this bound is below another from above; 0 for
        none. On real data, which may be unlike the model's own, no such bound can be had. Where there is a condition,
        theirs are those of the first examples.
    observer
        See `fastvae.evaluation.observer.Observer`. None: the first Ctrl-C returns what is done.

    Returns
    -------
    LogLikelihood
        Its kind is "lower bound", its `n_samples` are K. Of few chains, up to 20, no `khat` is told, and the standard
        error rests on them alone; its interval is that of Student's t with K - 1 degrees of freedom. For linear VAEs,
        with 3 temperatures and 4 to 20 chains, 94 to 95% of 3,000 intervals of 95% held log p(x). Below 4 chains there
        is no error. `details` has the settings, the acceptance, and the gap on simulated examples with
        its standard error, in nats.

    Raises
    ------
    TypeError, ValueError
        Numbers that are not whole, or below 1; names that are not known; start="q" without an encoder; another model's
        examples.
    """
    network = model._check_fitted()
    settings = _checked(network, n_temperatures, n_chains, n_leapfrog, start, schedule, seed)
    check_integer("n_simulated", n_simulated, 0)
    examples = model._accepted(network, examples)
    names = [name for name in network.inputs if name != "z"]

    def fill(first: int, rows: int) -> Data:
        data = {name: empty(rows, network.inputs[name]) for name in names}
        for name, out in data.items():
            examples.of(name).fill(np.arange(first, first + rows, dtype=np.int64), out, EVALUATION, first)
        return data

    begun, count = time.perf_counter(), len(examples)
    with watching(observer) as watcher:
        bounds = run(network, settings, fill, count, _progress(watcher, count, "examples"))
        details = _details(settings, bounds)
        if n_simulated and bounds.done == count:
            condition = examples.condition_rows
            rows = None if condition is None else condition[np.arange(n_simulated) % len(condition)]
            found = _bracket(network, settings, n_simulated, rows, watcher, "simulated examples")
            if found is not None and found.complete:
                details |= {"gap": found.gap, "gap error": found.gap_error, "gap examples": n_simulated}
    if not bounds.done:
        raise KeyboardInterrupt("annealed: stopped before the first examples were done")
    return _result(LOWER, bounds.lower, settings, count, time.perf_counter() - begun, details)


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
    condition: Any = None,
    observer: Observer | None = None,
) -> Bracket:
    """Bounds of log p(x) from both sides for examples that are drawn from the model: z from the prior, x from p(x|z).

    For other parameters, the noise and what is raised see `annealed`.

    Parameters
    ----------
    model
        A fitted VAE; one without encoder starts from the prior.
    n_examples
        How many.
    condition
        Of a model that was fitted with one: for each of the examples, or one for all.
    """
    network = model._check_fitted()
    settings = _checked(network, n_temperatures, n_chains, n_leapfrog, start, schedule, seed)
    check_integer("n_examples", n_examples, 1)
    rows = model._condition_rows(network, condition, n_examples)
    with watching(observer) as watcher:
        found = _bracket(network, settings, n_examples, rows, watcher, "examples")
    if found is None:
        raise KeyboardInterrupt("bracket: stopped before the first examples were done")
    return found


def _bracket(
    network: VAENetwork, settings: Settings, count: int, condition: np.ndarray | None, watcher: Observer, unit: str
) -> Bracket | None:
    """None where it was stopped before an example was done."""
    begun = time.perf_counter()
    z, x = simulated(network, count, settings.seed, condition)
    whole = {"x": x} | ({} if condition is None else {"condition": condition})

    def fill(first: int, rows: int) -> Data:
        return {name: values[first : first + rows] for name, values in whole.items()}

    bounds = run(network, settings, fill, count, _progress(watcher, count, unit), z)
    if not bounds.done:
        return None
    rest = settings, count, time.perf_counter() - begun, _details(settings, bounds)
    lower, upper = _result(LOWER, bounds.lower, *rest), _result(UPPER, bounds.upper, *rest)
    forward, reverse = bounds.acceptance
    numbers = settings.n_temperatures, settings.n_chains, settings.n_leapfrog
    return Bracket(lower, upper, forward, reverse, *numbers, settings.start, settings.schedule)


def simulated(
    network: VAENetwork, count: int, seed: np.uint64, condition: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """z (N, Z) from the prior and x (N, D) float32 from p(x|z), in the model's units: z is an exact draw of p(z|x). The
    condition (N, C) is as the network reads it."""
    z = np.empty((count, network.inputs["z"]), np.float32)
    network.kernels.normal_noise(seed, philox.PRIOR, 0, 0, z)
    network.parameters.bring_back()
    return z, network.likelihood.draw(decoded(network, z, condition), network.kernels, seed, 0)


# ---- arguments and results --------------------------------------------------------------------------------------


def _checked(
    network: VAENetwork, n_temperatures: Any, n_chains: Any, n_leapfrog: Any, start: Any, schedule: Any, seed: Any
) -> Settings:
    count = check_integer("n_temperatures", n_temperatures, 1)
    chains, leaps = check_integer("n_chains", n_chains, 1), check_integer("n_leapfrog", n_leapfrog, 1)
    check_name("start", start, STARTS)
    check_name("schedule", schedule, SCHEDULES)
    if start == "q" and not network.complete:
        raise ValueError(
            "start='q' needs the encoder, and this model was loaded with decoder_only=True: load it whole, or pass "
            "start='prior'"
        )
    if start == "auto":
        start = "q" if network.complete else "prior"
    return Settings(count, chains, leaps, start, schedule, seed_from(seed))


def _progress(watcher: Observer, count: int, unit: str) -> Callable[[int], bool]:
    """Tells the observer how many are done, and says whether to go on."""

    def progressed(done: int) -> bool:
        watcher.progressed(done, count, unit)
        return not watcher.stop_requested()

    return progressed


def _details(settings: Settings, bounds: Bounds) -> dict[str, Any]:
    details: dict[str, Any] = vars(settings) | {"seed": int(settings.seed)}
    rates = bounds.acceptance[0]
    if len(rates):
        details |= {"acceptance": float(rates.mean()), "lowest acceptance": float(rates.min())}
    return details


def _result(
    kind: str, found: list[Summary], settings: Settings, count: int, seconds: float, details: dict[str, Any]
) -> LogLikelihood:
    """What summaries of pieces say of all examples. Of upper bounds nothing that needs chains that are alike, as the
    reverse one is none: neither k-hat nor bounds by fewer of them."""
    columns, chains = joined(found), settings.n_chains
    if kind == UPPER:
        columns["khat"][:], columns["bounds"] = np.nan, {}
    few = np.isnan(columns["khat"]) & (columns["ess"] > 0)  # for k-hat: the error by the delta method alone
    if chains >= FEWEST:
        columns["mcse"][few] = np.sqrt(np.maximum(chains / columns["ess"][few] - 1.0, 0.0) / (chains - 1.0))
    complete = len(columns["values"]) == count
    return LogLikelihood("annealed", kind, **columns, n_samples=chains, seconds=seconds, complete=complete,
                         details=details, degrees_of_freedom=chains - 1)  # fmt: skip
