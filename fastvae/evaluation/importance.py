"""log p(x) by importance sampling, with z from q(z|x), widened where that is too narrow.

    log p(x) = log E_r[w],    w = p(x|z) p(z) / r(z),    r = N(mu, c v),    q(z|x) = N(mu, v)

Variational inference makes q too narrow, as it avoids what the posterior avoids: of the weights then a few outweigh the
rest, their variance may be infinite, and an interval that is called 95% holds 80%. So a pilot tries several factors c
for each example, and its draws are not used again. No dimension becomes wider than the prior: one that says nothing of
x, whose q is the prior, stays exact. How the pilot chooses: `fastvae.evaluation.widening`.
"""

from typing import Any

from fastvae.data.minibatches import Examples
from fastvae.evaluation.observer import Observer
from fastvae.evaluation.result import LogLikelihood
from fastvae.evaluation.weights import Weights, weigh
from fastvae.evaluation.widening import pilot_samples, propose_widened
from fastvae.kernels.philox import PROPOSAL
from fastvae.models.settings import check_integer, check_number, seed_from

AUTO = "auto"
ENOUGH = 200  # samples for intervals of 95% that hold about as often
UNWIDENED = "holds log p(x) in 95% only where the proposal is wide enough, which no pilot saw to; else in 65 to 90%"
FEW = "holds log p(x) in 90 to 92%, as the samples are few"


def importance(
    model: Any,
    examples: Examples,
    n_samples: int = 5000,
    *,
    seed: Any = 0,
    widen: float | str = AUTO,
    observer: Observer | None = None,
) -> LogLikelihood:
    """log 1/K sum_k p(x|z_k) p(z_k) / r(z_k), z_k ~ r = N(mu, c v), K = `n_samples` draws for each example.

    Parameters
    ----------
    model
        A fitted VAE, with its encoder.
    examples
        What `model.examples(X)` returned.
    n_samples
        K; exactly so many, without the pilot's.
    seed
        Of the draws: those of an example belong to its place, whatever the others are.
    widen
        c, by which q's variances v are multiplied, but not beyond 1, the prior's. "auto": chosen for each example by a
        pilot of a tenth of `n_samples`, at least 32 and at most 256; 1 for less than 64 samples.
    observer
        See `fastvae.evaluation.observer.Observer`. None: the first Ctrl-C returns what is done.

    Returns
    -------
    LogLikelihood
        In nats of the user's units. `details` has `widen`, and the draws of an example's pilot. Intervals of 95% rest
        on the widening: of a q that is too narrow, with a tail of k = 0.6 to 0.65, 87 to 91% of those of 5,000 samples
        held log p(x) with c = 1, and 65%, with k = 0.65, of those of 40, which no pilot precedes. With few samples they
        are too short for a q that a pilot widens too: with k = 0.3 to 0.65, 92 to 93% of those of 200 to 300 samples
        held it, 91% of those of 100, and 90 to 91% of those of 64. `details["interval"]` says so where c is fixed, or
        the samples are fewer than 200.
    """
    network = model._check_complete()
    check_integer("n_samples", n_samples, 1)
    factor = fixed_factor(widen)
    examples = model._accepted(network, examples)
    pilot = pilot_samples(n_samples) if factor is None else 0

    def propose(weights: Weights) -> None:
        propose_widened(weights, n_samples, factor)

    found = weigh("importance", network, examples, n_samples, seed_from(seed), PROPOSAL, propose, observer)
    found.details.update({"widen": AUTO if factor is None else factor, "pilot": pilot})
    if not pilot:
        found.details["interval"] = UNWIDENED
    elif n_samples < ENOUGH:
        found.details["interval"] = FEW
    return found


def fixed_factor(widen: float | str) -> float | None:
    """The factor that the user wants, above 0; None for "auto"."""
    if isinstance(widen, str):
        if widen != AUTO:
            raise ValueError(f"widen={widen!r} must be a positive number or 'auto'")
        return None
    return check_number("widen", widen, 0, inclusive=False)
