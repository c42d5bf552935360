"""A certificate: what estimators of log p(x) claim, tried on linear VAEs, where log p(x) is known exactly.

Each claim is one that a fault in an estimator breaks: a lost constant, a sign, draws that are used twice, an error bar
that is too short. Everything goes through the estimators that users call. The seed is fixed: on the same machine the
same figures come out.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.evaluation import weights as weights_module
from fastvae.evaluation.accumulator import BLOCK, Accumulator
from fastvae.evaluation.annealed import annealed, bracket, simulated
from fastvae.evaluation.elbo import elbo
from fastvae.evaluation.importance import importance
from fastvae.evaluation.linear import LinearVAE
from fastvae.evaluation.naive import naive
from fastvae.evaluation.observer import Unobserved
from fastvae.evaluation.parzen import parzen
from fastvae.evaluation.result import INTERVAL, LogLikelihood
from fastvae.kernels.philox import PILOT, PROPOSAL

WORK = 4e12  # floating-point operations of all draws together, about: a minute of two cores has ten times as many
GAP = 0.97  # nats between log p(x) and the ELBO, where W can have it
SHAPES, TOO_NARROW, HOPELESS = (0.3, 0.5, 0.65), 0.8, 0.95  # of the tails of weights of q, before it is widened
EVERY_ROW = 2999  # samples, a number that divides into no blocks
ERRORS = 4.0  # standard errors that a mean may be off
WHOLE = Unobserved()  # no claim rests on a part of its draws


@dataclass(frozen=True)
class Claim:
    """What was claimed, what was found, and whether that agrees."""

    name: str
    claimed: str
    found: str
    passed: bool


@dataclass(frozen=True)
class Trial:
    """What all claims are tried with.

    Attributes
    ----------
    latent_dim
        Z, of the linear VAEs of the user's own size.
    seed
        Of all draws.
    replicates
        Independent repetitions behind a coverage.
    samples
        K.
    models
        Linear VAEs behind the k-hats.
    device
        Where they compute.
    """

    latent_dim: int = 20
    seed: int = 1
    replicates: int = 2000
    samples: int = 5000
    models: int = 20
    device: str = "auto"

    @property
    def columns(self) -> int:
        """D."""
        return max(10, 5 * self.latent_dim) if self.latent_dim <= 100 else 2 * self.latent_dim

    def linear(self) -> LinearVAE:
        """A linear VAE of the user's latent size."""
        return LinearVAE.drawn(self.columns, self.latent_dim, GAP, self.seed, device=self.device)

    def mild(self, latent_dim: int, columns: int) -> LinearVAE:
        """One whose posterior is not much narrower than the prior: from that, weights have finite variances."""
        rng = np.random.default_rng(self.seed)
        weight = (0.5 * rng.normal(size=(columns, latent_dim))).astype(np.float32)
        return LinearVAE(weight.astype(np.float64), np.zeros(columns), device=self.device)

    def coverage_replicates(self) -> int:
        """As many as the time allows: models of hundreds of dimensions get fewer."""
        draw = 2.0 * self.columns * self.latent_dim * self.samples
        return int(max(200, min(self.replicates, WORK / (2 * len(SHAPES) * draw))))


def claims(trial: Trial | None = None) -> Iterator[Claim]:
    """All claims, one after the other, as they are tried."""
    trial = trial or Trial()
    for check in CHECKS:
        try:
            yield from check(trial)
        except Exception as error:  # whatever a fault in an estimator raises
            found = f"{type(error).__name__}: {' '.join(str(error).split())[:60]}"
            yield Claim(check.__name__, "it can be tried", found, False)


# ---- weights, whatever they are of ------------------------------------------------------------------------------


def figures(trial: Trial) -> Iterator[Claim]:
    """value, error, effective sample size and bounds, against the formulas over all weights at once."""
    worst = 0.0
    for samples in (3 * BLOCK + 57, BLOCK - 56):
        given = 0.5 * np.random.default_rng(trial.seed).normal(size=(40, samples)) - 1234.5
        accumulator = Accumulator(len(given), samples)
        for start in range(0, samples, 100):
            accumulator.add(given[:, start : start + 100])
        found, w = accumulator.summary(), np.exp(given + 1234.5)
        known = ~np.isnan(found.mcse)
        error = w.std(axis=1, ddof=1) / w.mean(axis=1) / math.sqrt(samples)
        nested = 1 << (samples.bit_length() - 1)
        off = [
            found.values / (np.log(w.mean(axis=1)) - 1234.5) - 1.0,
            found.ess / (w.sum(axis=1) ** 2 / np.square(w).sum(axis=1)) - 1.0,
            found.mcse[known] / error[known] - 1.0,
            np.array([float(known.mean() < 0.8)]),
        ]
        for k, bound in found.bounds.items():
            exact = np.log(w[:, :nested].reshape(len(w), -1, k).mean(axis=2)).mean(axis=1) - 1234.5
            off.append(bound / exact - 1.0)
        worst = max(worst, float(np.abs(np.concatenate(off)).max()))
    yield Claim("figures", "value, error, ESS, bounds: the formulas', to 1e-9", f"{worst:.1e} apart", worst < 1e-9)
    steps = np.diff(list(found.bounds.values()), axis=0)
    yield Claim(
        "bounds",
        "the bound of k samples never decreases in k",
        f"least step {steps.min():.2g}",
        bool((steps >= 0).all()),
    )
    values, mcse, ess, khat = (np.array(a) for a in ([1.0, 3.0], [0.3, 0.4], [9.0, 9.0], [0.1, 0.9]))
    result = LogLikelihood("importance", "estimate", values, mcse, ess, khat, 5000, 0.0)
    right = [
        result.mean == 2.0,
        math.isclose(result.mean_mcse, 0.25),
        math.isclose(result.mean_sampling_error, 1.0),
        math.isclose(float(result.interval[0, 1]), 1.0 + 1.96 * 0.3, rel_tol=1e-4),
        result.unreliable.tolist() == [False, True],
        math.isclose(result.threshold, 0.7),
    ]
    yield Claim("errors of the mean", "sqrt(sum mcse^2) / N, and sd / sqrt(N)", f"{sum(right)} of 6 right", all(right))


def tails(trial: Trial) -> Iterator[Claim]:
    """k-hat against the closed form 1 - 1 / rho, for linear VAEs with the best diagonal q."""
    found = []
    for i in range(trial.models):
        gap = (0.3, 0.5, 0.7, 0.97)[i % 4]
        linear = LinearVAE.drawn(trial.columns, trial.latent_dim, gap, trial.seed + i)
        variances = linear.variances
        if not 0.1 < linear.tail_shape(variances) < 0.65:
            variances = linear.with_tail((0.2, 0.35, 0.5, 0.6)[i % 4])
        X = linear.draw(64, trial.seed + i)
        estimate = _importance(linear, X, trial.samples, trial.seed, variances, widen=1.0)
        found.append(estimate.khat.mean() - linear.tail_shape(variances))
    worst = float(np.abs(found).max())
    claimed = f"within 0.1 of 1 - 1/rho, for {trial.models} linear VAEs"
    yield Claim("k-hat", claimed, f"at most {worst:.3f} apart, mean {np.mean(found):+.3f}", worst < 0.1)


# ---- estimators -------------------------------------------------------------------------------------------------


def unbiased(trial: Trial) -> Iterator[Claim]:
    """E[w] = p(x), over 10^4 replicates: each is the same row at another place."""
    linear = trial.linear()
    x, count = linear.draw(1, trial.seed), 5 * trial.replicates
    variances = linear.with_tail(0.3)
    few = trial.mild(min(trial.latent_dim, 2), 3)
    y = few.draw(1, trial.seed)

    def tiled(row: np.ndarray) -> np.ndarray:
        return np.repeat(row, count, axis=0)

    model, narrow, small = linear.estimator(variances), few.estimator(few.with_tail(0.6)), few.estimator()
    estimates: list[tuple[str, LinearVAE, np.ndarray, Any]] = [
        ("importance", linear, x, _estimate(importance, model, tiled(x), 20, trial.seed, widen=1.0)),
        ("importance, widened", linear, x, _estimate(importance, model, tiled(x), 20, trial.seed, widen=1.3)),
        ("importance, by a pilot", few, y, _estimate(importance, narrow, tiled(y), 320, trial.seed)),
        ("naive", few, y, _estimate(naive, small, tiled(y), 10, trial.seed)),
    ]
    settings: dict[str, Any] = {"n_temperatures": 4, "n_chains": 1, "n_leapfrog": 2, "n_simulated": 0, "start": "prior"}
    estimates.append(
        ("annealed", few, y, annealed(small, small.examples(tiled(y)), seed=trial.seed, observer=WHOLE, **settings))
    )
    for name, of, row, estimate in estimates:
        ratios = np.exp(estimate.values - of.log_density(row)[0])
        yield _mean_is(f"unbiased: {name}", f"mean of w / p(x) over {count:,} replicates is 1", ratios, 1.0)
    many = np.repeat(y, 4 * count, axis=0)
    square = _estimate(naive, small, many, 1, trial.seed + 1).values - few.naive_log_square(y)[0] / 2
    yield _mean_is("naive: variance", "E[p(x|z)^2] is its closed form", np.exp(2.0 * square), 1.0)


def apart(trial: Trial) -> Iterator[Claim]:
    """No two draws are one: the pilot's and those that are weighed, those of other samples, of other examples."""
    asked, seen, original = [], [], weights_module.Weights.terms

    def spy(self: Any, stream: int, first: int, count: int) -> Any:
        asked.append((stream, first, count))
        found = original(self, stream, first, count)
        seen.append((stream, found[1].copy()))
        return found

    linear = trial.mild(2, 10)
    X = np.repeat(linear.draw(1, trial.seed), weights_module.EXAMPLES + 9, axis=0)
    weights_module.Weights.terms = spy  # type: ignore[method-assign]
    try:
        _importance(linear, X, 340, trial.seed, linear.with_tail(0.6))
    finally:
        weights_module.Weights.terms = original  # type: ignore[method-assign]
    count = {stream: sum(n for s, _, n in asked if s == stream) for stream in (PILOT, PROPOSAL)}
    expected = {PILOT: 2 * 34, PROPOSAL: 2 * 340}  # in two pieces
    drawn = [np.unique(np.concatenate([a.ravel() for s, a in seen if s == stream])) for stream in (PILOT, PROPOSAL)]
    shared = len(np.intersect1d(drawn[0], drawn[1])) / len(drawn[0])
    repeated = 1.0 - len(drawn[1]) / (340 * len(X))  # but for rounding to float32
    found = f"{shared:.1%} of the pilot's among the others, {repeated:.1%} repeated"
    passed = count == expected and shared < 0.2 and repeated < 0.2
    yield Claim("draws", "a pilot's are not used again, and no two examples share any", found, passed)


def calibrated(trial: Trial) -> Iterator[Claim]:
    """Intervals of 95% cover 93 to 97%, whatever the tail of q's weights; the error falls; above, there is none."""
    linear, count = trial.linear(), trial.coverage_replicates()
    X = np.repeat(linear.draw(1, trial.seed), count, axis=0)
    truth = linear.log_density(X[:1])[0]
    margin = 2.0 * math.sqrt(0.95 * 0.05 / count)
    for shape in SHAPES:
        variances = linear.with_tail(shape)
        auto = _importance(linear, X, trial.samples, trial.seed, variances)
        inside = np.abs(auto.values - truth) < INTERVAL * auto.mcse
        cover, known = float(inside.sum() / max(1, (~auto.unreliable).sum())), float((~auto.unreliable).mean())
        claimed = f"93 to 97% (+-{margin:.1%}) of {count:,} intervals of 95% hold log p(x)"
        found = f"{cover:.1%} (of {known:.1%} that have one)"
        passed = 0.93 - margin <= cover <= 0.97 + margin and known > 0.9
        yield Claim(f"coverage: q with k = {shape}", claimed, found, passed)
    few, variances = X[: max(100, count // 4)], linear.with_tail(TOO_NARROW)
    auto, plain = (
        _importance(linear, few, trial.samples, trial.seed, variances, **options) for options in ({}, {"widen": 1.0})
    )
    rmse = [math.sqrt(float(np.square(estimate.values - truth).mean())) for estimate in (auto, plain)]
    found, passed = f"rmse {rmse[0]:.4f} for {rmse[1]:.4f}", rmse[0] < rmse[1] / 3.0
    yield Claim(f"widening: q with k = {TOO_NARROW}", "less than a third of the error without", found, passed)
    hopeless = _importance(linear, few, trial.samples, trial.seed, linear.with_tail(HOPELESS), widen=1.0)
    refused = float(np.isnan(hopeless.mcse).mean())
    claimed = "k-hat refuses an error to 80% of the rows"
    yield Claim(f"refusal: q with k = {HOPELESS}", claimed, f"{refused:.1%} refused", refused > 0.8)


def pieces(trial: Trial) -> Iterator[Claim]:
    """Different rows, in several pieces: each is near its own log p(x), by its own error."""
    linear = trial.linear()
    X = linear.draw(2 * weights_module.EXAMPLES + 44, trial.seed)
    truth, model = linear.log_density(X), linear.estimator(linear.with_tail(0.4))
    found = _estimate(importance, model, X, EVERY_ROW, trial.seed)
    scores = (found.values - truth) / found.mcse
    known = np.isfinite(scores)
    spread = float(np.sqrt(np.square(scores[known]).mean()))
    passed = len(found) == len(X) and 0.8 < spread < 1.3 and np.abs(scores[known]).max() < 6 and known.mean() > 0.9
    yield Claim(
        "every row", f"{len(X)} rows off by their errors", f"root mean square {spread:.2f} errors", bool(passed)
    )
    first = _estimate(importance, model, X[:3], EVERY_ROW, trial.seed).values
    other = _estimate(importance, model, X[:3], EVERY_ROW, trial.seed + 1).values
    passed = bool((first == found.values[:3]).all() and (first != other).all())
    yield Claim("the same draws", "a row has the same value beside others, bit by bit", f"{passed}", passed)


def exact(trial: Trial) -> Iterator[Claim]:
    """Where q is the posterior, all weights are p(x)."""
    rng = np.random.default_rng(trial.seed)
    weight = np.linalg.qr(rng.normal(size=(trial.columns, trial.latent_dim)))[0].astype(np.float32).astype(np.float64)
    linear = LinearVAE(2.0 * weight, np.zeros(trial.columns), 0.5, trial.device)
    X = linear.draw(50, trial.seed)
    found = _importance(linear, X, 500, trial.seed)
    off, error = float(np.abs(found.values - linear.log_density(X)).max()), float(found.mcse.max())
    passed = off < 1e-3 and error < 1e-4
    yield Claim("exact posterior", "no variance: log p(x) itself", f"{off:.1e} nats off, error {error:.1e}", passed)


def split(trial: Trial) -> Iterator[Claim]:
    """log p(x) - ELBO is the gap in closed form, and the KL of each dimension is."""
    linear = trial.linear()
    X = linear.draw(300, trial.seed)
    model = linear.estimator()
    found = elbo(model, model.examples(X), 50, seed=trial.seed, observer=WHOLE)
    off = found.values - (linear.log_density(X) - linear.gap)
    scores = off / found.mcse
    spread = float(np.sqrt(np.square(scores).mean()))
    passed = abs(off.mean()) < ERRORS * found.mean_mcse and 0.85 < spread < 1.15
    yield Claim(
        "ELBO", "log p(x) less the gap, by its errors", f"off by {off.mean():+.4f}, {spread:.2f} errors", passed
    )
    mu, v = (X - linear.mean) @ np.linalg.solve(linear.precision, linear.weight.T).T / linear.sigma**2, linear.variances
    apart = float(np.abs(found.kl - 0.5 * (v + mu**2 - 1.0 - np.log(v))).max())
    passed = apart < 1e-3 and bool(np.allclose(found.values, found.reconstruction - found.kl.sum(axis=1)))
    yield Claim("KL per dimension", "its closed form", f"{apart:.1e} nats apart", passed)


def units(trial: Trial) -> Iterator[Claim]:
    """Data times c: log p moves by -D log c."""
    linear, factor = trial.mild(3, 10), 3.0
    X, worst = linear.draw(40, trial.seed), 0.0
    methods: list[tuple[Any, dict[str, Any]]] = [
        (importance, {"n_samples": 200}),
        (naive, {"n_samples": 200}),
        (elbo, {"n_samples": 20}),
        (annealed, {"n_temperatures": 3, "n_chains": 2, "n_simulated": 0}),
    ]
    for method, options in methods:
        one, other = (
            method(model, model.examples(c * X), seed=trial.seed, observer=WHOLE, **options)
            for c, model in ((1.0, linear.estimator()), (factor, linear.estimator(unit=factor)))
        )
        moved = other.values - one.values + len(linear.mean) * math.log(factor)
        worst = max(worst, float(np.abs(moved).max()))
    yield Claim("units", "data times 3: log p(x) moves by -D log 3", f"{worst:.1e} nats off", worst < 2e-3)


def windows(trial: Trial) -> Iterator[Claim]:
    """A Parzen window, by its formula."""
    rng = np.random.default_rng(trial.seed)
    samples, X, held = (rng.normal(size=(count, 3)) for count in (301, 20, 90))
    found = parzen(samples, X, held, observer=WHOLE)
    h = found.details["bandwidth"]

    def window(rows: np.ndarray, width: float) -> np.ndarray:
        kernel = np.exp(-np.square(rows[:, None] - samples).sum(axis=2) / (2.0 * width**2))
        return np.log(kernel.mean(axis=1)) - 1.5 * math.log(2.0 * math.pi * width**2)

    apart = float(np.abs(found.values - window(X, h)).max())
    best = max((0.8, 1.0, 1.25), key=lambda factor: window(held, factor * h).mean())
    passed = apart < 1e-9 and best == 1.0
    yield Claim("Parzen window", "its formula, with the best bandwidth", f"{apart:.1e} nats apart", passed)


def bracketed(trial: Trial) -> Iterator[Claim]:
    """Annealed importance sampling and its reverse hold log p(x) between them, and close on it."""
    linear, count = trial.mild(min(trial.latent_dim, 4), 8), trial.replicates
    model = linear.estimator()
    settings: dict[str, Any] = {"n_chains": 2, "n_leapfrog": 2, "start": "prior", "seed": trial.seed, "observer": WHOLE}
    found = bracket(model, count, n_temperatures=5, **settings)
    truth = linear.log_density(simulated(model.network_, count, np.uint64(trial.seed))[1])
    lower, upper = found.lower.values - truth, found.upper.values - truth
    for name, beyond in (("lower", lower), ("upper", -upper)):
        yield _mean_is(
            f"bracket: {name}", f"E[exp] of what the {name} bound is beyond log p(x) is 1", np.exp(beyond), 1.0
        )
        shares = {t: float((beyond >= t).mean()) for t in (0.5, 1.0, 2.0)}
        allowed = {t: math.exp(-t) + ERRORS * math.sqrt(math.exp(-t) / count) for t in shares}
        shown = ", ".join(f"{share:.1%} by {t:g}" for t, share in shares.items())
        passed = all(share <= allowed[t] for t, share in shares.items())
        yield Claim(f"Markov: {name}", f"beyond log p(x) by t nats in at most e^-t of {count:,}", shown, passed)
    closer = bracket(model, 50, n_temperatures=60, **settings)
    passed = -0.05 < closer.gap < 0.5 * found.gap
    claimed = "60 temperatures leave less than half the gap of 5"
    yield Claim("bracket: closes", claimed, f"{closer.gap:.3f} nats for {found.gap:.3f}", passed)


CHECKS: tuple[Callable[[Trial], Iterator[Claim]], ...] = (
    figures, exact, split, units, windows, apart, pieces, unbiased, tails, bracketed, calibrated,
)  # fmt: skip


# ---- shared -----------------------------------------------------------------------------------------------------


def _estimate(method: Any, model: Any, X: np.ndarray, samples: int, seed: int, **options: Any) -> LogLikelihood:
    return method(model, model.examples(X), samples, seed=seed, observer=WHOLE, **options)


def _importance(
    linear: LinearVAE, X: np.ndarray, samples: int, seed: int, variances: np.ndarray | None = None, **options: Any
) -> LogLikelihood:
    return _estimate(importance, linear.estimator(variances), X, samples, seed, **options)


def _mean_is(name: str, claimed: str, values: np.ndarray, expected: float) -> Claim:
    """Whether a mean is what it should be, by its own standard error."""
    error = float(values.std(ddof=1) / math.sqrt(len(values)))
    mean = float(values.mean())
    return Claim(name, claimed, f"{mean:.4f} +- {error:.4f}", abs(mean - expected) < ERRORS * error)
