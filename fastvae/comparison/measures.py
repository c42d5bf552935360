"""The measures of one model: a dict that JSON can hold, whose entries are None where a model has no such thing."""

import dataclasses
import inspect
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae.comparison.interruption import Interruption, observer
from fastvae.comparison.subject import Subject
from fastvae.evaluation.partition import BRACKET, LOWER
from fastvae.evaluation.parzen import parzen
from fastvae.evaluation.quality import panel
from fastvae.evaluation.result import LogLikelihood

TIMED = 1000  # samples
MOST_COMPARED, MOST_WINDOWS, MOST_SCORED, MOST_RECONSTRUCTED = 1000, 2000, 1000, 5000
SALT_AND_PEPPER, NOISE = 0.2, 0.5  # share of binary values that are replaced by a fair coin; deviation beside 1
FEWEST, PILOT = 16, 4  # rows
SHARE = 0.35  # of the budget, that log p(x) may take
SHOWN = 12  # samples of a picture
CHAINS, TEMPERATURES = 100, (100, 10_000)  # behind a partition function; temperatures at least and at most
DRAWS = 5000, 1000  # of z an image of MNIST's size, and of smaller rows


def _error(values: np.ndarray) -> float | None:
    """Standard error of the mean over rows."""
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


class Subjected:
    """A model as the measures use it: given labels where it wants some."""

    def __init__(self, model: Any, subject: Subject, conditional: bool = False):
        self.model, self.subject, self.conditional = model, subject, conditional

    def _labels(self, labels: np.ndarray | None) -> dict[str, Any]:
        return {"condition": labels} if self.conditional else {}

    def reconstruct(self, X: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
        """Each row given back, (N, D)."""
        return self.model.reconstruct(X, **self._labels(labels))

    def sample(self, n: int, seed: int, noise: bool = True) -> np.ndarray:
        """Complete draws (n, D), or without `noise`, where a model has them, means of p(x|z)."""
        known, how = inspect.signature(self.model.sample).parameters, dict[str, Any]()
        if self.conditional and self.subject.labels is not None:
            how["condition"] = np.random.default_rng([seed, 4]).choice(self.subject.labels, n)
        if "noise" in known:
            how["noise"] = noise
        return np.asarray(self.model.sample(n, random_state=seed, **how), np.float32)

    def evaluate(self, X: np.ndarray, labels: np.ndarray | None, **how: Any) -> LogLikelihood:
        """log p(x) of each row."""
        known = inspect.signature(self.model.evaluate).parameters
        given = {name: value for name, value in how.items() if name in known}
        return self.model.evaluate(X, **given, **self._labels(labels))


def corrupted(subject: Subject, X: np.ndarray, seed: int) -> np.ndarray:
    """Rows with salt and pepper on a fifth of their values where they are binary, else with noise of deviation 1/2."""
    random = np.random.default_rng([seed, 5])
    if subject.kind == "bernoulli":
        coins = random.integers(0, 2, X.shape).astype(np.float32)
        return np.where(random.random(X.shape) < SALT_AND_PEPPER, coins, X).astype(np.float32)
    return (X + NOISE * random.standard_normal(X.shape)).astype(np.float32)


def reconstruction(used: Subjected, seed: int) -> dict[str, Any]:
    """Squared error of a row given back, and of a corrupted one before and after: means, with their errors."""
    subject = used.subject
    X = subject.test[:MOST_RECONSTRUCTED]
    labels = None if subject.test_labels is None else subject.test_labels[: len(X)]
    noisy = corrupted(subject, X, seed)

    def squares(rows: np.ndarray) -> np.ndarray:
        return np.square(rows.astype(np.float64) - X).sum(axis=1)

    before = squares(noisy)
    plain, after = squares(used.reconstruct(X, labels)), squares(used.reconstruct(noisy, labels))
    return {
        "reconstruction_l2": float(plain.mean()), "reconstruction_l2_error": _error(plain),
        "corrupted_l2": float(before.mean()), "denoised_l2": float(after.mean()),
        "denoising_gain": float((before - after).mean()), "denoising_gain_error": _error(before - after),
    }  # fmt: skip


def log_likelihood(used: Subjected, budget: float, seed: int, watcher: Any, kind: str) -> dict[str, Any]:
    """log p(x) of as many test rows as can be evaluated in a share of the budget, at least `FEWEST`."""
    subject = used.subject
    test, labels = subject.test, subject.test_labels
    known = inspect.signature(used.model.evaluate).parameters
    if "temperatures" in known:  # log Z costs the same for one row and for all
        found = _by_partition(used, budget, seed, watcher)
        return likelihood_figures(found, _kind_of(found, kind), subject.log_jacobian)
    how: dict[str, Any] = {"n_samples": DRAWS[0] if subject.columns >= 400 else DRAWS[1], "random_state": seed}
    how |= {"observer": watcher}

    def evaluated(rows: int) -> LogLikelihood:
        return used.evaluate(test[:rows], None if labels is None else labels[:rows], **how)

    fewest = min(FEWEST, len(test))
    evaluated(min(PILOT, len(test)))  # which compiles
    began = time.perf_counter()
    found = evaluated(fewest)
    each = (time.perf_counter() - began) / fewest
    rows = min(len(test), max(fewest, int(SHARE * budget / max(each, 1e-9))))
    if rows > fewest:
        found = evaluated(rows)
    return likelihood_figures(found, kind, subject.log_jacobian)


def _kind_of(found: LogLikelihood, kind: str) -> str:
    """What log Z makes of the kind that the model has: few hidden units make it exact, and many a bound a bracket."""
    if found.kind == "exact" or not found.complete:
        return found.kind
    return f"{BRACKET} of the {kind}" if found.kind == LOWER and found.n_samples else kind


def _by_partition(used: Subjected, budget: float, seed: int, watcher: Any) -> LogLikelihood:
    """Of all test rows, by annealing through as many temperatures as a share of the budget allows."""
    test, how = used.subject.test, {"n_samples": CHAINS, "random_state": seed, "observer": watcher}
    used.evaluate(test[:PILOT], None, temperatures=2, **how)  # which compiles
    began = time.perf_counter()
    used.evaluate(test[:PILOT], None, temperatures=TEMPERATURES[0], **how)
    each = (time.perf_counter() - began) / TEMPERATURES[0]
    count = int(min(max(SHARE * budget / max(each, 1e-9), TEMPERATURES[0]), TEMPERATURES[1]))
    return used.evaluate(test, None, temperatures=count, **how)


def likelihood_figures(found: LogLikelihood, kind: str, log_jacobian: float) -> dict[str, Any]:
    """What is kept of a result; `log_jacobian` is taken off its values."""
    unreliable = int(found.unreliable.sum())
    return {
        "log_likelihood": _finite(found.mean - log_jacobian), "log_likelihood_kind": kind,
        "log_likelihood_method": found.method, "log_likelihood_samples": found.n_samples,
        "monte_carlo_error": _finite(found.mean_mcse), "sampling_error": _finite(found.mean_sampling_error),
        "log_likelihood_rows": len(found), "log_likelihood_unreliable": unreliable,
        "log_likelihood_details": {
            name: value - (log_jacobian if name.startswith("mean") else 0.0) if isinstance(value, float) else value
            for name, value in found.details.items()
            if isinstance(value, int | float | str)
        },
    }  # fmt: skip


def samples_of(used: Subjected, seed: int) -> dict[str, Any]:
    """Time of samples."""
    used.sample(10, seed)
    began = time.perf_counter()
    used.sample(TIMED, seed)
    return {"seconds_per_1000_samples": time.perf_counter() - began}


def windows(used: Subjected, seed: int, watcher: Any) -> dict[str, Any]:
    """A Parzen window over means of samples, as published figures are; no likelihood of the model."""
    subject = used.subject
    found = parzen(
        used.sample(MOST_WINDOWS, seed + 1, noise=False), subject.test[:MOST_SCORED],
        subject.validation[: MOST_SCORED // 2], observer=watcher,
    )  # fmt: skip
    return {
        "parzen": _finite(found.mean - subject.log_jacobian), "parzen_error": _finite(found.mean_sampling_error),
        "parzen_samples": MOST_WINDOWS, "parzen_bandwidth": found.details["bandwidth"],
    }  # fmt: skip


def quality(used: Subjected, seed: int, watcher: Any) -> dict[str, Any]:
    """The panel: each measure beside the same of real data."""
    subject = used.subject
    held = subject.test[: 2 * MOST_COMPARED]
    measures = panel(
        used.sample(min(MOST_COMPARED, len(held) // 2), seed + 2), held, subject.seen, permutations=200, seed=seed,
        observer=watcher,
    )  # fmt: skip
    found = [dataclasses.asdict(measure) for measure in measures]
    return {"quality": [_plain(measure) for measure in found]}


def _plain(value: Any) -> Any:
    """For JSON: no NaN, no NumPy."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return _finite(value) if isinstance(value, float) else value


def measure(
    model: Any, subject: Subject, budget: float, seed: int, interruption: Interruption, title: str,
    conditional: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """All figures of a trained estimator.

    Raises
    ------
    Stopped
        Ctrl-C came.
    """
    used, able = Subjected(model, subject, conditional), type(model).ABILITIES
    figures: dict[str, Any] = {
        "parameters": int(model.network_.parameters.values.size),
        "codes": able.codes, "reconstructs": able.reconstructs, "samples": able.samples, "density": able.density,
        "passes": {"one pass": 1, "column by column": subject.columns}.get(able.samples),
    }  # fmt: skip
    steps: list[Callable[[Any], dict[str, Any]]] = []
    if able.reconstructs:
        steps.append(lambda watcher: reconstruction(used, seed))
    if able.samples != "none":
        steps += [
            lambda watcher: samples_of(used, seed), lambda watcher: windows(used, seed, watcher),
            lambda watcher: quality(used, seed, watcher),
        ]  # fmt: skip
    if able.density != "none":
        kind = able.density + (" of log p(x|label)" if conditional else "")
        steps.append(lambda watcher: log_likelihood(used, budget, seed, watcher, kind))
    return figures | _all(steps, interruption, title)


def measure_baseline(
    baseline: Any, subject: Subject, seed: int, interruption: Interruption, title: str
) -> dict[str, Any]:
    """The same of a baseline."""
    used = Subjected(baseline, subject)
    steps: list[Callable[[Any], dict[str, Any]]] = []
    if hasattr(baseline, "reconstruct"):
        steps.append(lambda watcher: reconstruction(used, seed))
    draws = hasattr(baseline, "sample")
    if draws:
        steps += [
            lambda watcher: samples_of(used, seed), lambda watcher: windows(used, seed, watcher),
            lambda watcher: quality(used, seed, watcher),
            lambda watcher: likelihood_figures(baseline.evaluate(subject.test), "exact", 0.0),
        ]  # fmt: skip
    figures = {
        "parameters": baseline.parameters, "codes": not draws, "reconstructs": not draws,
        "samples": "one pass" if draws else "none", "density": "exact" if draws else "none",
        "passes": 1 if draws else None,
    }  # fmt: skip
    return figures | _all(steps, interruption, title)


def _all(steps: list[Callable[[Any], dict[str, Any]]], interruption: Interruption, title: str) -> dict[str, Any]:
    """The figures of all steps; one that cannot be taken is a remark, and the others are."""
    found: dict[str, Any] = {}
    remarks = []
    for step in steps:
        try:
            with observer(interruption, title) as watcher:
                found |= step(watcher)
        except (ValueError, ArithmeticError, MemoryError) as error:
            remarks.append(f"not measured: {error or type(error).__name__}")
        interruption.check()
    return found | {"measuring_remarks": remarks}
