"""log p(x) with z from the prior: log 1/K sum_k p(x|z_k). What q(z|x) is for shows beside it.

Unbiased in p(x), and useless where the posterior is narrow: for a linear VAE, p(x|z) = N(W z + m, sigma^2 I),
E[p(x|z)^2] = (4 pi sigma^2)^(-D/2) N(x; m, W W' + sigma^2 I / 2), whose ratio to p(x)^2 grows exponentially in Z.
"""

from typing import Any

from fastvae.data.minibatches import Examples
from fastvae.evaluation.observer import Observer
from fastvae.evaluation.result import LogLikelihood
from fastvae.evaluation.weights import weigh
from fastvae.kernels.philox import NAIVE
from fastvae.models.settings import check_integer, seed_from


def naive(
    model: Any, examples: Examples, n_samples: int = 5000, *, seed: Any = 0, observer: Observer | None = None
) -> LogLikelihood:
    """log 1/K sum_k p(x|z_k), z_k ~ N(0, I), K = `n_samples` draws for each example; see `importance`."""
    network = model._check_fitted()
    check_integer("n_samples", n_samples, 1)
    examples = model._accepted(network, examples)
    return weigh("naive", network, examples, n_samples, seed_from(seed), NAIVE, lambda p: p.propose(0.0, 0.0), observer)
