"""Contract cases of the dense layers, of columns side by side, and of the latent layer."""

from typing import Any

import numpy as np

from fastvae import reference
from fastvae.contract_cases.case import ADAM, KEY, ROW, STEP, WEIGHT, Case, Compared, garbage, normal, rounded, wide
from fastvae.contract_cases.optimizers import adam_numbers
from fastvae.kernels.formulas import ACTIVATIONS, IDENTITY, SILU

CURVED = ("tanh", "sigmoid", "softplus", "silu")

# ---- dense layers -------------------------------------------------------------------------------------------------


def activations_of(precision: str) -> dict[str, int]:
    """All; where the products round their operands, none: the code is the same, and a value that lies between two
    rounded ones may become either."""
    return ACTIVATIONS if precision == "float32" else {"identity": IDENTITY}


def _dense_forward(rng, shape, precision):
    rows, depth, columns = shape
    for name, code in activations_of(precision).items():
        x, weight, bias = normal(rng, rows, depth), normal(rng, depth, columns), normal(rng, columns)
        out = garbage(rows, columns)
        saved = garbage(rows, columns) if code == SILU else out
        a, b = rounded(x, precision), rounded(weight, precision)
        terms, argument = np.abs(a) @ np.abs(b) + np.abs(bias), a @ b + bias
        expected = reference.ACTIVATIONS[name][0](argument)
        compared = [Compared(out, expected, np.maximum(terms, np.abs(expected)))]
        compared += [Compared(saved, argument, terms)] if code == SILU else []
        about = "" if code == IDENTITY else name
        yield Case("dense_forward", (x, weight, bias, code, out, saved), compared, about)


def _dense_accumulate(rng, shape, precision):
    rows, depth, columns = shape
    x, weight, out = normal(rng, rows, depth), normal(rng, depth, columns), normal(rng, rows, columns)
    a, b, before = rounded(x, precision), rounded(weight, precision), out.astype(np.float64)
    compared = [Compared(out, before + a @ b, np.abs(before) + np.abs(a) @ np.abs(b))]
    yield Case("dense_accumulate", (x, weight, out), compared)


def _dense_backward_input(rng, shape, precision):
    """Through the activation, from what the forward saves: d_a over d_out, and d_x alone, added, or not at all."""
    rows, depth, columns = shape
    for name, code in activations_of(precision).items():
        value, derivative = reference.ACTIVATIONS[name]
        argument, weight = 3 * normal(rng, rows, columns), normal(rng, depth, columns)
        saved = argument if code == SILU else value(argument.astype(np.float64)).astype(np.float32)
        for d_x, accumulate in (
            (garbage(rows, depth), 0),
            (normal(rng, rows, depth), 1),
            (None, 0),
        ):
            d_out = normal(rng, rows, columns)
            expected = d_out * derivative(argument.astype(np.float64))
            size = np.abs(d_out.astype(np.float64)) * (2 if name in CURVED else 1)  # by a value that was rounded
            compared = [Compared(d_out, expected, size)]
            if d_x is not None:
                a, b = rounded(expected.astype(np.float32), precision), rounded(weight, precision)
                before = d_x.astype(np.float64) if accumulate else np.zeros((rows, depth))
                compared.append(Compared(d_x, before + a @ b.T, np.abs(before) + size @ np.abs(b.T)))
            operands = saved, weight, code, d_out, accumulate, d_x
            about = "" if code == IDENTITY else name
            yield Case("dense_backward_input", operands, compared, about)


def pieces_of(depth: int) -> list[tuple[int, int]]:
    """Rows of a weight (D, H): all of them, a half, single ones at both ends, none."""
    return [(0, depth), (depth // 2, depth), (0, 1), (max(1, depth - 1), depth), (depth, depth)]


def of_bias(first: int, columns: int) -> slice:
    """Which part of the bias belongs to such a piece: whoever has row 0 has all of it."""
    return slice(0, 0 if first else columns)


def _dense_backward_weight(rng, shape, precision):
    rows, depth, columns = shape
    x, d_a = normal(rng, rows, depth), normal(rng, rows, columns)
    a, b, exact = rounded(x, precision), rounded(d_a, precision), d_a.astype(np.float64)
    product, size, sums, sizes = a.T @ b, np.abs(a.T) @ np.abs(b), exact.sum(0), np.abs(exact).sum(0)
    for accumulate in (0, 1):
        make = normal if accumulate else lambda _, *shape: garbage(*shape)
        for first, last in pieces_of(depth):
            for d_bias in (make(rng, columns), None):
                d_weight = make(rng, depth, columns)
                compared = [part_of(d_weight, product, size, slice(first, last), accumulate)]
                if d_bias is not None:
                    compared.append(part_of(d_bias, sums, sizes, of_bias(first, columns), accumulate))
                operands = x, d_a, first, last, accumulate, d_weight, d_bias
                yield Case("dense_backward_weight", operands, compared)


def part_of(array: np.ndarray, values: np.ndarray, sizes: np.ndarray, part: slice, accumulate: int) -> Compared:
    """What an array should be of which one part is written, or added to."""
    expected, allowed = array.astype(np.float64), np.zeros(array.shape)
    before = expected[part] * accumulate if accumulate else 0.0
    expected[part], allowed[part] = before + values[part], np.abs(before) + sizes[part]
    return Compared(array, expected, allowed)


def _dense_adam_inplace(rng, shape, precision):
    rows, depth, columns = shape
    x, d_a = normal(rng, rows, depth), normal(rng, rows, columns)
    a, b, exact = rounded(x, precision), rounded(d_a, precision), d_a.astype(np.float64)
    gradients = (a.T @ b, np.abs(a.T) @ np.abs(b)), (exact.sum(0), np.abs(exact).sum(0))
    for first, last in pieces_of(depth):
        for biased in (True, False):
            arrays, compared = list[list[Any]](), list[Compared]()
            for (gradient, size), part in zip(gradients, (slice(first, last), of_bias(first, columns)), strict=True):
                before = [normal(rng, *gradient.shape) for _ in range(3)]
                before[2] = np.abs(before[2]) + np.float32(0.01)
                arrays.append(before)
                compared += adam_compared(before, gradient, size, part)
            if not biased:
                arrays[1], compared = [None] * 3, compared[:3]
            operands = x, d_a, first, last, *arrays[0], *arrays[1], *adam_numbers(*ADAM)
            yield Case("dense_adam_inplace", operands, compared)


def adam_compared(arrays, gradient, size, part):
    """Parameters and moments, of which a part has moved: how far the gradient's own rounding reaches each of them."""
    before = wide(*arrays)
    after: Any = reference.adam(before[0], gradient, *before[1:], *ADAM)
    sizes = (
        np.abs(before[0]) + np.abs(after[0] - before[0]) + ADAM[1] * size / np.sqrt(np.where(after[2], after[2], 1)),
        np.abs(before[1]) + size,
        before[2] + size**2,
    )
    for array, old, new, allowed in zip(arrays, before, after, sizes, strict=True):
        expected, sizes_there = old.copy(), np.zeros(old.shape)
        expected[part], sizes_there[part] = new[part], allowed[part]
        yield Compared(array, expected, sizes_there)


# ---- columns side by side -----------------------------------------------------------------------------------------


def _concatenate(rng, shape, precision):
    """A row of b beside each row of a, and beside several."""
    rows, depth, columns = shape
    for repeats in (1, 3):
        a, b = normal(rng, rows * repeats, depth), normal(rng, rows, columns)
        out = garbage(rows * repeats, depth + columns)
        yield Case("concatenate", (a, b, out), [Compared(out, reference.concatenate(*wide(a, b)), 0.0)])


def _concatenate_backward(rng, shape, precision):
    rows, depth, columns = shape
    d_out, d_a = normal(rng, rows, depth + columns), garbage(rows, depth)
    expected = reference.concatenate_backward(d_out, depth)
    yield Case("concatenate_backward", (d_out, d_a), [Compared(d_a, expected, 0.0)])


# ---- the latent layer ---------------------------------------------------------------------------------------------


def _latent_inputs(rng, shape):
    """mu, logvar, and noise, as an operand beside what it is: drawn by the op, and given."""
    mu, logvar = normal(rng, *shape), 3 * normal(rng, *shape)
    given = normal(rng, *shape)
    yield mu, logvar, None, reference.normals(KEY, reference.LATENT, STEP, ROW, shape)
    yield mu, logvar, given, given.astype(np.float64)


PLACE = KEY, reference.LATENT, STEP, ROW


def _latent_forward(rng, shape, precision):
    rows, depth, _ = shape
    for mu, logvar, noise, truth in _latent_inputs(rng, (rows, depth)):
        z, kl = garbage(rows, depth), garbage(rows)
        m, v = wide(mu, logvar)
        expected_z, expected_kl = reference.latent_forward(m, v, truth)
        compared = [
            Compared(z, expected_z, np.abs(m) + np.exp(v / 2) * np.maximum(np.abs(truth), 1)),
            Compared(kl, expected_kl, expected_kl),
        ]
        yield Case("latent_forward", (mu, logvar, noise, *PLACE, z, kl), compared)


def _latent_backward(rng, shape, precision):
    rows, depth, _ = shape
    for mu, logvar, noise, truth in _latent_inputs(rng, (rows, depth)):
        d_z, d_mu, d_logvar = normal(rng, rows, depth), garbage(rows, depth), garbage(rows, depth)
        m, v, d = wide(mu, logvar, d_z)
        expected_mu, expected_logvar = reference.latent_backward(m, v, truth, d, WEIGHT)
        reparameterization = np.abs(d) * np.maximum(np.abs(truth), 1) * np.exp(v / 2)
        compared = [
            Compared(d_mu, expected_mu, np.abs(d) + WEIGHT * np.abs(m)),
            Compared(d_logvar, expected_logvar, reparameterization + WEIGHT * np.abs(np.expm1(v))),
        ]
        operands = mu, logvar, d_z, noise, *PLACE, WEIGHT, d_mu, d_logvar
        yield Case("latent_backward", operands, compared)


# ---- several samples of z an example ------------------------------------------------------------------------------


def _several(rng, shape):
    """mu and logvar (N, Z), and noise for some samples each, as an operand beside what it is: drawn by the op, and
    given."""
    rows, depth, _ = shape
    for samples in (1, 3):
        mu, logvar, given = normal(rng, rows, depth), 3 * normal(rng, rows, depth), normal(rng, rows * samples, depth)
        yield mu, logvar, None, reference.sample_normals(*PLACE, samples, (rows, depth))
        yield mu, logvar, given, given.astype(np.float64)


def _latent_samples_forward(rng, shape, precision):
    for mu, logvar, noise, truth in _several(rng, shape):
        z, log_ratio = garbage(*truth.shape), garbage(len(truth))
        m, v = wide(mu, logvar)
        expected_z, expected_ratio = reference.latent_samples_forward(m, v, truth)
        radius = np.maximum(np.abs(truth), 1)
        each, deviation = (reference.repeated(a, len(truth)) for a in (np.abs(m), np.exp(v / 2)))
        size = each + deviation * radius
        squares = (
            (size + radius) * (np.abs(truth) + np.abs(expected_z)) + np.abs(reference.repeated(v, len(truth)))
        ) / 2
        compared = [Compared(z, expected_z, size), Compared(log_ratio, expected_ratio, squares.sum(axis=1))]
        yield Case("latent_samples_forward", (mu, logvar, noise, *PLACE, z, log_ratio), compared)


def _latent_samples_backward(rng, shape, precision):
    """Gradients of the KL, all of it or of some dimensions, and of weighed samples, also doubly reparameterized."""
    ways = (False, False, 0.0), (False, False, WEIGHT), (True, False, 0.0), (True, True, 0.0)
    for turn, (mu, logvar, noise, truth) in enumerate(_several(rng, shape)):
        for weighted, doubly, kl_weight in ways:
            rows, depth = mu.shape
            weights = rng.random(len(truth), np.float32) + np.float32(0.01) if weighted else None
            counted = (rng.random(depth) < 0.5).astype(np.float32) if kl_weight and turn % 2 else None
            d_z, d_mu, d_logvar = normal(rng, *truth.shape), garbage(rows, depth), garbage(rows, depth)
            m, v, d = wide(mu, logvar, d_z)
            a = np.zeros(len(d)) if weights is None else weights.astype(np.float64)
            some = 1.0 if counted is None else counted.astype(np.float64)
            how = None if weights is None else a, doubly, kl_weight, some
            expected = reference.latent_samples_backward(m, v, truth, d, *how)
            deviation, radius = reference.repeated(np.exp(v / 2), len(d)), np.maximum(np.abs(truth), 1)
            lead = reference.repeated(np.abs(m), len(d)) + (deviation + (1 / deviation if doubly else 0)) * radius
            each = np.abs(d) + a[:, None] * lead
            by_logvar = each * radius * deviation + a[:, None]
            of_mu, of_logvar = (t.reshape(rows, -1, depth).sum(axis=1) for t in (each, by_logvar))
            compared = [
                Compared(d_mu, expected[0], of_mu + kl_weight * np.abs(m)),
                Compared(d_logvar, expected[1], of_logvar + kl_weight * np.abs(np.expm1(v))),
            ]
            operands = mu, logvar, d_z, noise, *PLACE, weights, int(doubly), kl_weight, counted, d_mu, d_logvar
            about = "doubly reparameterized" if doubly else "weighed" if weighted else "kl" if kl_weight else ""
            yield Case("latent_samples_backward", operands, compared, about)


def _kl_forward(rng, shape, precision):
    mu, logvar, kl = normal(rng, *shape[:2]), 3 * normal(rng, *shape[:2]), garbage(shape[0])
    expected = reference.kl_terms(*wide(mu, logvar)).sum(axis=1)
    yield Case("kl_forward", (mu, logvar, kl), [Compared(kl, expected, expected)])


def _free_bits(rng, shape, precision):
    """Some dimensions are above, some below."""
    rows, depth = shape[:2]
    mu, logvar = normal(rng, rows, depth) * rng.random(depth, np.float32), normal(rng, rows, depth)
    counted, lacking = garbage(depth), garbage(depth)
    kl = reference.kl_terms(*wide(mu, logvar))
    least = float(np.float32(np.median(kl.mean(axis=0)) * 1.1))
    exact_mu, exact_logvar = wide(mu, logvar)
    above, lacks = reference.free_bits(exact_mu, exact_logvar, least)
    compared = [Compared(counted, above, 0.0), Compared(lacking, lacks, kl.sum(axis=0) + rows * least)]
    yield Case("free_bits", (mu, logvar, least, counted, lacking), compared)


def _importance_weights(rng, shape, precision):
    """Of one sample an example, and of many; some weights are nearly all of their sum."""
    rows, _, columns = shape
    for samples in sorted({1, columns}):
        count = rows * samples
        log_ratio, nll = 5 * normal(rng, count), 5 * normal(rng, count) + np.float32(90)
        bound, weights = garbage(rows), garbage(count)
        exact_ratio, exact_nll = wide(log_ratio, nll)
        expected, share = reference.importance_weights(exact_ratio, exact_nll, rows)
        size = np.abs(log_ratio.astype(np.float64)) + np.abs(nll)
        largest = size.reshape(rows, samples).max(axis=1)
        compared = [
            Compared(bound, expected, largest),
            Compared(weights, WEIGHT * share, WEIGHT * share * (1 + 2 * reference.repeated(largest, count))),
        ]
        yield Case("importance_weights", (log_ratio, nll, WEIGHT, bound, weights), compared)


CASES = {
    "dense_forward": _dense_forward,
    "dense_accumulate": _dense_accumulate,
    "dense_backward_input": _dense_backward_input,
    "dense_backward_weight": _dense_backward_weight,
    "dense_adam_inplace": _dense_adam_inplace,
    "concatenate": _concatenate,
    "concatenate_backward": _concatenate_backward,
    "latent_forward": _latent_forward,
    "latent_backward": _latent_backward,
    "latent_samples_forward": _latent_samples_forward,
    "importance_weights": _importance_weights,
    "latent_samples_backward": _latent_samples_backward,
    "kl_forward": _kl_forward,
    "free_bits": _free_bits,
}
