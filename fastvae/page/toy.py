"""A VAE in the plane, small enough that every number of a step can be read: 60 rows, 2-3-1-3-2, 31 parameters."""

from typing import Any

import numpy as np

from fastvae.reference import INITIALISATION, OBSERVATION, log_prob_pca, normals, uniforms

LAYERS = {"encoder.0": (2, 3), "mu": (3, 1), "logvar": (3, 1), "decoder.0": (1, 3), "decoder.1": (3, 2)}


def toy_model(seed: int = 0, rows: int = 60) -> dict[str, Any]:
    """What `toy.js` starts from: rows on a noisy arc, the initial parameters, and how well the simplest models do.

    Parameters
    ----------
    seed
        Of the rows, of the initial weights and of the noise of training.
    rows
        How many.

    Returns
    -------
    dict
        Numbers, lists and names alone, for `json.dumps`. `rows` (N, 2); `parameters` by name, a weight as (inputs,
        outputs); `sigma`, `beta`, `learning_rate`, `seed`; `mean` (2,), that of the rows; `line` (2, 2), two points of
        their first principal line; `middle` (2,) and `half`, a square of the plane that holds the rows; `nll`, the mean
        of -log p(x) over the rows, in nats, of the mean point ("mean") and of the line ("line"), each with the spread
        that fits the rows best.
    """
    angle = np.pi * (1.35 * uniforms(seed, OBSERVATION, 0, 0, (rows, 1)) - 0.175)
    arc = np.concatenate([1.2 * np.cos(angle), 1.2 * np.sin(angle) - 0.6], axis=1)
    x = np.round(arc + 0.08 * normals(seed, OBSERVATION, 1, 0, (rows, 2)), 4)
    parameters = {}
    for position, (name, (inputs, outputs)) in enumerate(LAYERS.items()):
        weight = normals(seed, INITIALISATION, position, 0, (inputs, outputs)) / np.sqrt(inputs)
        parameters[f"{name}.weight"] = np.round(weight, 4).tolist()
        parameters[f"{name}.bias"] = [0.0] * outputs
    mean, covariance = x.mean(axis=0), np.cov(x.T, bias=True)
    variances, directions = np.linalg.eigh(covariance)  # in ascending order
    direction = directions[:, 1] * np.sqrt(variances[1])
    around_the_mean, around_the_line = np.sqrt(variances.mean()), np.sqrt(variances[0])
    W = direction[:, None] * np.sqrt(1 - variances[0] / variances[1])
    return {
        "seed": seed,
        "rows": x.tolist(),
        "parameters": parameters,
        "sigma": 0.2,
        "beta": 1.0,
        "learning_rate": 0.01,
        "mean": mean.tolist(),
        "line": [(mean - 2.5 * direction).tolist(), (mean + 2.5 * direction).tolist()],
        "middle": ((x.min(axis=0) + x.max(axis=0)) / 2).tolist(),
        "half": float(np.ptp(x, axis=0).max() / 2 + 0.3),
        "nll": {
            "mean": -float(log_prob_pca(x, np.zeros((2, 1)), mean, around_the_mean).mean()),
            "line": -float(log_prob_pca(x, W, mean, around_the_line).mean()),
        },
    }
