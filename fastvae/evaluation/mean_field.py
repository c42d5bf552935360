"""A lower bound on log p(v) of a deep Boltzmann machine: by a mean field for each row, and log Z by annealed importance
sampling. Salakhutdinov and Hinton 2009, section 3.2."""

import numpy as np

from fastvae.data.binary import check_binary
from fastvae.data.minibatches import Examples
from fastvae.evaluation.bipartite import FEW, LEAST_MEAN, Bipartite, enumerated
from fastvae.models.dbm_network import NAMES, DBMNetwork
from fastvae.reference import softplus


def machine_of(network: DBMNetwork) -> Bipartite:
    """The network as h1 on one side, and v and h2 on the other; the machine without weights has the offsets as means,
    which are near those of the data and, with them, those of a model that fits."""
    parameters = {name: values.astype(np.float64) for name, values in network.parameters.named_values().items()}
    weights = parameters["hidden.0.weight"].T, parameters["hidden.1.weight"]
    means = {name: np.clip(parameters[f"{name}.offset"], LEAST_MEAN, 1 - LEAST_MEAN) for name in NAMES}
    first = {name: np.log(mean / (1 - mean)) for name, mean in means.items()}
    return Bipartite(
        np.ascontiguousarray(np.concatenate(weights, axis=1), np.float32),
        parameters["hidden.0.bias"],
        np.concatenate([parameters["visible.bias"], parameters["hidden.1.bias"]]),
        first["hidden.0"],
        np.concatenate([first["visible"], first["hidden.1"]]),
    )


def exact_log_z(network: DBMNetwork) -> float | None:
    """log Z, by a sum over all states of h1; None where it has more than 20 units."""
    if network.sizes[1] > FEW:
        return None
    machine = machine_of(network)
    return enumerated(machine.transposed.astype(np.float64), machine.b, machine.a)


def unnormalised(network: DBMNetwork, examples: Examples) -> np.ndarray:
    """The bound but for log Z, (N,) float64: with m the means of q(h1), and q(h2) the best there is beside it,

    visible' v + m' (W1' v + b1) + H(m) + sum_k softplus(b2 + m' W2)_k
    """
    if examples.binarize is None:
        check_binary(examples.X, network.units, "DBM")
    found = np.empty(len(examples))
    q = {name: values.astype(np.float64) for name, values in network.parameters.named_values().items()}

    def keep(start: int, stop: int, v: np.ndarray, h1: np.ndarray) -> None:
        v, m = v.astype(np.float64), h1.astype(np.float64)
        linear = v @ q["visible.bias"] + np.sum(m * (v @ q["hidden.0.weight"] + q["hidden.0.bias"]), axis=1)
        least = np.finfo(np.float64).tiny
        entropies = -m * np.log(np.maximum(m, least)) - (1 - m) * np.log(np.maximum(1 - m, least))
        above = softplus(q["hidden.1.bias"] + m @ q["hidden.1.weight"])
        found[start:stop] = linear + entropies.sum(axis=1) + above.sum(axis=1)

    network.over(examples.X, "inferred", network.inferred, keep, binarize=examples.binarize)
    return found
