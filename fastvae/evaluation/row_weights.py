"""The importance weights of single examples, for those that want to look at them."""

from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.evaluation.importance import AUTO, fixed_factor
from fastvae.evaluation.weights import ROWS, Weights
from fastvae.evaluation.widening import propose_widened
from fastvae.kernels.philox import PROPOSAL
from fastvae.models.settings import check_integer, seed_from


def importance_weights_of(
    model: Any,
    examples: Examples,
    rows: Any,
    n_samples: int = 5000,
    *,
    seed: Any = 0,
    widen: float | str = AUTO,
) -> np.ndarray:
    """log w (R, K) float64, in nats of the user's units, of examples `rows` (R,): those that `importance` has weighed
    with the same `n_samples`, `seed` and `widen`.

    Raises
    ------
    IndexError
        A row that there is not.
    """
    network = model._check_complete()
    examples = model._accepted(network, examples)
    check_integer("n_samples", n_samples, 1)
    factor = fixed_factor(widen)
    chosen = np.atleast_1d(np.asarray(rows, np.int64))
    if len(chosen) and not (chosen.min() >= 0 and chosen.max() < len(examples)):
        raise IndexError(f"rows {chosen.min()} ... {chosen.max()} were asked for; there are {len(examples)}, from 0 on")
    found = np.empty((len(chosen), n_samples))
    threads = network.backend.pieces(ROWS, network.largest_product(ROWS), network.widest)[0]
    network.upload_parameters()
    with network.backend.passing(threads) as workers:
        weights = Weights(network, 1, workers, threads, seed_from(seed))
        for place, row in enumerate(chosen):
            weights.read(examples, int(row), 1)
            propose_widened(weights, n_samples, factor)
            found[place] = weights.log_weights(PROPOSAL, 0, n_samples)[0] - network.log_jacobian
    return found
