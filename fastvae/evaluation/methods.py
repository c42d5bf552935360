"""The estimators of log p(x) by name, with what is checked before any of them begins."""

import inspect
import warnings
from collections.abc import Callable
from typing import Any

from fastvae.data.minibatches import Examples
from fastvae.errors import EvaluationWarning, check_name
from fastvae.evaluation.accumulator import BLOCK
from fastvae.evaluation.annealed import N_CHAINS, annealed
from fastvae.evaluation.elbo import elbo
from fastvae.evaluation.grid import grid_step
from fastvae.evaluation.importance import importance
from fastvae.evaluation.naive import naive
from fastvae.evaluation.observer import Observer
from fastvae.evaluation.pareto import tail_length
from fastvae.evaluation.result import LogLikelihood
from fastvae.evaluation.weights import EXAMPLES
from fastvae.memory import check_memory
from fastvae.models.settings import check_integer

METHODS: dict[str, Callable[..., LogLikelihood]] = {
    "importance": importance, "naive": naive, "annealed": annealed, "elbo": elbo,
}  # fmt: skip
SAMPLES = {"importance": 5000, "naive": 5000, "annealed": N_CHAINS, "elbo": 100}  # by default
COUNTS = {"annealed": "n_chains"}  # what the number of samples is called elsewhere
MOST_SAMPLES = 2**32  # that noise can be told apart of


def log_likelihood(
    model: Any,
    examples: Examples,
    method: str = "importance",
    n_samples: int | None = None,
    *,
    seed: Any = 0,
    observer: Observer | None = None,
    **options: Any,
) -> LogLikelihood:
    """log p(x) of each example by the estimator of that name; `options` are its own.

    Raises
    ------
    ValueError, TypeError
        An unknown name; a number of samples that is none, or for which there is not memory; a decoder alone, where q is
        needed.
    """
    check_method(method)
    count = SAMPLES[method] if n_samples is None else check_integer("n_samples", n_samples, 1)
    if count > MOST_SAMPLES:
        raise ValueError(f"n_samples={count} must be at most {MOST_SAMPLES}: beyond, the noise repeats itself")
    check_memory(
        needed_bytes(len(examples), model.network_.architecture.latent_dim, count), f"n_samples={count}", "take fewer"
    )
    if on_a_grid(model, examples.X):
        warnings.warn(
            "the data lie on a grid, as of 8 bits, and the likelihood is a density, which may grow without limit at "
            "the points of a grid: add uniform noise as wide as its step, before training too (dequantisation)",
            EvaluationWarning,
            stacklevel=3,
        )
    known = inspect.signature(METHODS[method]).parameters
    if unknown := [name for name in options if name not in known]:
        fixed = ("model", "examples", "seed", "observer", "n_samples", COUNTS.get(method))
        valid = ", ".join(name for name in known if name not in fixed) or "none"
        raise TypeError(f"method={method!r} has no option {unknown[0]!r}; its options: {valid}")
    given = {COUNTS.get(method, "n_samples"): count, "seed": seed, "observer": observer}
    return METHODS[method](model, examples, **given, **options)


def check_method(method: Any) -> None:
    """Raise `ValueError` unless there is an estimator of that name."""
    check_name("method", method, tuple(METHODS))


def needed_bytes(rows: int, latent_dim: int, samples: int) -> int:
    """What an estimate keeps of its examples, and of the weights of those that are being weighed; about."""
    kept = rows * (latent_dim + 5 + samples.bit_length())
    return 8 * (kept + 4 * min(rows, EXAMPLES) * (tail_length(samples) + BLOCK))


def on_a_grid(model: Any, X: Any) -> bool:
    """Whether a model with a density is given data on a grid."""
    return model.network_.likelihood.DENSITY and grid_step(X) is not None
