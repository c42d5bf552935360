"""Contract cases of units that a row's columns move one after the other."""

from typing import Any

import numpy as np

from fastvae import reference
from fastvae.contract_cases.case import Case, Compared, garbage, normal, wide
from fastvae.contract_cases.layers import pieces_of
from fastvae.kernels.ops import CHUNK


def _operands(rng, shape, scale):
    """x, weight, bias, output_weight, output_bias; and in float64: units (B, D, H), and how far rounding reaches their
    arguments, as a share of the sigmoid's slope."""
    rows, depth, columns = shape
    x = (rng.random((rows, depth)) < rng.random((rows, 1))).astype(np.float32)  # few of some rows, and most of others
    weight = np.float32(scale) * normal(rng, depth, columns)
    given = x, weight, normal(rng, columns), normal(rng, depth, columns), normal(rng, depth)
    _, weight64, bias64, *_ = exact = wide(*given)
    h = reference.prefix_units(exact[0], weight64, bias64)
    moved = np.abs(bias64) + np.cumsum(exact[0][:, :, None] * np.abs(weight64), axis=1)
    return given, exact, h, 1 + moved


def _arguments(x, weight, bias):
    """a at the beginning of each chunk, (B, K), and the size of its terms."""
    before = np.concatenate([np.zeros((1, *weight.shape[1:])), weight])[: len(weight)]
    seen = np.concatenate([np.zeros((len(x), 1)), x], axis=1)[:, : x.shape[1]]
    found = [np.cumsum(seen[:, :, None] * w, axis=1)[:, ::CHUNK] + b
             for w, b in ((before, bias), (np.abs(before), np.abs(bias)))]  # fmt: skip
    return [array.reshape(len(x), -1) for array in found]


def _scales():
    """Of weights: usual ones, and such that units are far from 0 and 1 and back within a chunk."""
    return (0.3, ""), (20.0, "large weights")


def _prefix_forward(rng, shape, precision):
    for scale, about in _scales():
        given, exact, h, moved = _operands(rng, shape, scale)
        carried, logits = garbage(shape[0], -(-shape[1] // CHUNK) * shape[2]), garbage(*shape[:2])
        arguments, terms = _arguments(*exact[:3])
        reached = h + h * (1 - h) * moved  # by rounding: of a unit, and of its argument
        size = np.abs(exact[4]) + np.einsum("bdh,dh->bd", reached, np.abs(exact[3]))
        compared = [Compared(carried, arguments, terms), Compared(logits, reference.prefix_forward(*exact), size)]
        yield Case("prefix_forward", (*given, carried, logits), compared, about)


def _prefix_backward(rng, shape, precision):
    rows, depth, columns = shape
    for scale, about in _scales():
        (x, weight, _, output_weight, _), exact, h, moved = _operands(rng, shape, scale)
        carried = _arguments(*exact[:3])[0].astype(np.float32)
        d_logits = normal(rng, rows, depth)
        g = d_logits.astype(np.float64)
        known: Any = (*exact[:4], g)
        expected = reference.prefix_backward(*known)
        rounding = h + h * (1 - h) * (1 + moved)  # 1 - h of an h that was rounded, and what else reaches it
        slope = np.abs(g)[:, :, None] * np.abs(exact[3]) * rounding
        later = np.cumsum(slope[:, ::-1], axis=1)[:, ::-1]
        sizes = (
            np.einsum("bd,bdh->dh", exact[0], later),
            slope.sum(axis=(0, 1)),
            np.einsum("bd,bdh->dh", np.abs(g), h + h * (1 - h) * moved),
            np.abs(g).sum(axis=0),
        )
        for accumulate in (0, 1):
            make = normal if accumulate else lambda _, *shape: garbage(*shape)
            for first, last in [(0, columns)] if accumulate or about else pieces_of(columns):
                gradients = make(rng, depth, columns), make(rng, columns), make(rng, depth, columns), make(rng, depth)
                own, output = slice(first, last), slice(0, depth if first == 0 < last else 0)
                parts = (slice(None), own), (own,), (slice(None), own), (output,)
                compared = [
                    _compared(array, values, size, part, accumulate)
                    for array, values, size, part in zip(gradients, expected, sizes, parts, strict=True)
                ]
                operands = x, weight, output_weight, carried, d_logits, first, last, accumulate, *gradients
                yield Case("prefix_backward", operands, compared, about)


def _compared(array, values, size, part, accumulate):
    """What a gradient should be of which one part is written, or added to."""
    expected, allowed = array.astype(np.float64), np.zeros(array.shape)
    before = expected[part] * accumulate if accumulate else 0.0
    expected[part], allowed[part] = before + values[part], np.abs(before) + size[part]
    return Compared(array, expected, allowed)


CASES = {"prefix_forward": _prefix_forward, "prefix_backward": _prefix_backward}
