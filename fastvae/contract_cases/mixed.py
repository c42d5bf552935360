"""Contract cases of rows whose columns are of several kinds."""

import numpy as np

from fastvae import reference
from fastvae.contract_cases.case import WEIGHT, Case, Compared, garbage, normal, wide
from fastvae.kernels.mixed import CATEGORICAL, KINDS, LOG_SIZE_HIGHEST, LOG_SIZE_LOWEST

NAMES = list(KINDS)
MISSING, MOST_LEVELS = 0.2, 4
FAR = 500.0  # the largest count that is drawn, about


def _columns(rng, columns):
    """Kinds (D,), where the outputs of each column stop, and its levels, 1 for what is no category."""
    kinds = np.arange(columns) % len(KINDS) if columns >= len(KINDS) else rng.integers(0, len(KINDS), columns)
    kinds = rng.permutation(kinds)
    levels = np.where(kinds == CATEGORICAL, rng.integers(2, MOST_LEVELS + 1, columns), 1)
    return kinds.astype(np.int64), np.cumsum(levels).astype(np.int64), levels


def _values(rng, rows, kinds, levels):
    """x (N, D), some of them missing, each of its column's kind."""
    x = np.empty((rows, len(kinds)), np.float32)
    for j, kind in enumerate(kinds):
        if NAMES[kind] in reference.mixed.COUNTS:
            x[:, j] = rng.poisson(np.minimum(rng.lognormal(1, 2, rows), FAR))
        elif NAMES[kind] in ("bernoulli", "categorical"):
            x[:, j] = rng.integers(0, max(2, levels[j]), rows)
        else:
            x[:, j] = normal(rng, rows) if NAMES[kind] == "gaussian" else rng.random(rows)
    x[rng.random(x.shape) < MISSING] = np.nan
    return x


def _outputs(rng, x, samples, kinds, stops):
    """a (B, A): of counts not far from their logarithms, else N(0, 2^2)."""
    a = 2 * normal(rng, len(x) * samples, int(stops[-1]))
    each = np.repeat(x, samples, axis=0)
    for j, (kind, stop) in enumerate(zip(kinds, stops, strict=True)):
        if NAMES[kind] in reference.mixed.COUNTS:
            known = np.nan_to_num(each[:, j])
            a[:, stop - 1] = np.log(known + 0.5) + normal(rng, len(each))
    return a


def _losses(backward):
    def make(rng, shape, precision):
        kinds, stops, levels = _columns(rng, shape[1])
        x, theta = _values(rng, shape[0], kinds, levels), rng.uniform(-2, 3, shape[1]).astype(np.float32)
        theta[::5] = rng.choice([LOG_SIZE_LOWEST - 1, LOG_SIZE_HIGHEST + 1]) if shape[1] > 1 else theta[::5]
        theta = np.where(kinds == KINDS["gaussian"], np.clip(theta, -2, 3), theta)
        for samples in (1, 3):
            a, nll = _outputs(rng, x, samples, kinds, stops), garbage(shape[0] * samples)
            x64, a64 = wide(np.repeat(x, samples, axis=0), a)
            names = [NAMES[kind] for kind in kinds]
            log_scale = normal(rng, shape[1])
            terms, d_a, d_theta = reference.mixed_terms(x64, a64, theta.astype(float), names, stops)
            terms += np.where(np.isnan(x64), 0, log_scale.astype(float))
            size = _sizes(x64, a64, theta, names, stops)
            compared = [Compared(nll, terms.sum(axis=1), (np.abs(terms) + size).sum(axis=1))]
            inputs = x, a, theta, log_scale, kinds, stops
            if not backward:
                yield Case("mixed_forward", (*inputs, nll), compared)
                continue
            by_a, by_theta = garbage(*a.shape), garbage(*terms.shape)
            of_a = np.repeat(size, np.diff(stops, prepend=0), axis=1)
            compared += [
                Compared(by_a, WEIGHT * d_a, WEIGHT * (of_a + np.abs(d_a))),
                Compared(by_theta, WEIGHT * d_theta, WEIGHT * (size + np.abs(d_theta))),
            ]
            yield Case("mixed_forward_backward", (*inputs, WEIGHT, nll, by_a, by_theta), compared)

    return make


def _sizes(x, a, theta, names, stops):
    """What rounding errors scale with, (B, D): 1, of counts also x and their mean, of a Gaussian r^2 and 1 / sigma^2;
    0 where x is missing."""
    size = np.ones(x.shape)
    for j, (name, stop) in enumerate(zip(names, stops, strict=True)):
        if name in reference.mixed.COUNTS:
            size[:, j] += x[:, j] + np.exp(a[:, stop - 1])
        elif name == "gaussian":
            inverse = np.exp(-float(theta[j]))
            distance = np.abs(x[:, j]) + np.abs(a[:, stop - 1])
            size[:, j] += (1 + distance + distance**2) * inverse**2 * (1 + abs(float(theta[j])))
        else:
            size[:, j] += np.abs(a[:, stop - 1])
    return np.where(np.isnan(x), 0.0, size)


def _inputs(rng, shape, precision):
    """Some columns have a place that says whether they are missing."""
    rows, columns, _ = shape
    kinds, stops, levels = _columns(rng, columns)
    x, centre, inverse = _values(rng, rows, kinds, levels), normal(rng, columns), normal(rng, columns)
    ends = np.cumsum(levels + rng.integers(0, 2, columns)).astype(np.int64)
    out, names = garbage(rows, int(ends[-1])), [NAMES[kind] for kind in kinds]
    x64, centre64, inverse64 = wide(x, centre, inverse)
    expected = reference.mixed_inputs(x64, centre64, inverse64, names, stops, ends)
    size = reference.mixed_inputs(np.abs(x64), -np.abs(centre64), np.abs(inverse64), names, stops, ends)
    yield Case("mixed_inputs", (x, centre, inverse, kinds, stops, ends, out), [Compared(out, expected, size)])


def _parameter_backward(rng, shape, precision):
    d_theta, out = normal(rng, *shape[:2]), garbage(shape[1])
    parameter = rng.uniform(-1.2, 0.3, shape[1]).astype(np.float32)
    lowest = rng.uniform(-9, -4, shape[1]).astype(np.float32)
    slope = reference.soft_sigma(*wide(parameter, lowest))[1]
    exact = d_theta.astype(np.float64)
    size = slope * np.abs(exact).sum(axis=0) * (10 * np.abs(parameter) + np.abs(lowest) + 1)
    expected = [Compared(out, slope * exact.sum(axis=0), size)]
    yield Case("mixed_parameter_backward", (d_theta, parameter, lowest, out), expected)


CASES = {
    "mixed_inputs": _inputs,
    "mixed_forward": _losses(False),
    "mixed_forward_backward": _losses(True),
    "mixed_parameter_backward": _parameter_backward,
}
