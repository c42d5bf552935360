"""Contract cases of dense layers whose weight is a staircase, and of columns in another order."""

from typing import Any

import numpy as np

from fastvae import reference
from fastvae.contract_cases.case import ADAM, Case, Compared, garbage, normal, rounded
from fastvae.contract_cases.layers import activations_of, adam_compared, of_bias, part_of, pieces_of
from fastvae.contract_cases.optimizers import adam_numbers
from fastvae.kernels.formulas import IDENTITY, SILU


def _staircases(rng, depth, columns):
    """Depths in order, with a mask: any of them, none, all; the first is tried in all ways, the others in one."""
    ends = np.zeros(columns, np.int64), np.full(columns, depth)
    for i, depths in enumerate((np.sort(rng.integers(0, depth + 1, columns)), *ends)):
        yield depths, reference.staircase(depths, depth), slice(None if i == 0 else 1)


def _masked_forward(rng, shape, precision):
    rows, depth, columns = shape
    for depths, mask, ways in _staircases(rng, depth, columns):
        for name, code in list(activations_of(precision).items())[ways]:
            x, bias, out = normal(rng, rows, depth), normal(rng, columns), garbage(rows, columns)
            weight = normal(rng, depth, columns) * mask.astype(np.float32)
            saved = garbage(rows, columns) if code == SILU else out
            a, b = rounded(x, precision), rounded(weight, precision)
            terms, argument = np.abs(a) @ np.abs(b) + np.abs(bias), a @ (b * mask) + bias
            expected = reference.masked_forward(a, b, bias.astype(float), name, mask)
            compared = [Compared(out, expected, np.maximum(terms, np.abs(expected)))]
            compared += [Compared(saved, argument, terms)] if code == SILU else []
            about = "" if code == IDENTITY else name
            yield Case("masked_forward", (x, weight, bias, code, depths, out, saved), compared, about)


def _masked_accumulate(rng, shape, precision):
    rows, depth, columns = shape
    for depths, mask, _ in _staircases(rng, depth, columns):
        x, out = normal(rng, rows, depth), normal(rng, rows, columns)
        weight = normal(rng, depth, columns) * mask.astype(np.float32)
        a, b, before = rounded(x, precision), rounded(weight, precision), out.astype(np.float64)
        compared = [Compared(out, before + a @ (b * mask), np.abs(before) + np.abs(a) @ np.abs(b))]
        yield Case("masked_accumulate", (x, weight, depths, out), compared)


def _masked_backward_input(rng, shape, precision):
    """d_x alone, added, or not at all; through one activation: the code of all is that of `dense_backward_input`."""
    rows, depth, columns = shape
    for depths, mask, ways in _staircases(rng, depth, columns):
        weight, argument = normal(rng, depth, columns) * mask.astype(np.float32), normal(rng, rows, columns)
        for name, code in list(activations_of(precision).items())[ways]:
            if name not in ("identity", "relu"):
                continue
            value, derivative = reference.ACTIVATIONS[name]
            saved = value(argument.astype(np.float64)).astype(np.float32)
            for d_x, accumulate in ((garbage(rows, depth), 0), (normal(rng, rows, depth), 1), (None, 0)):
                d_out = normal(rng, rows, columns)
                expected = d_out * derivative(argument.astype(np.float64))
                compared = [Compared(d_out, expected, np.abs(d_out.astype(np.float64)))]
                if d_x is not None:
                    a, b = rounded(expected.astype(np.float32), precision), rounded(weight, precision)
                    before = d_x.astype(np.float64) if accumulate else np.zeros((rows, depth))
                    size = np.abs(before) + np.abs(a) @ np.abs(b.T)
                    compared.append(Compared(d_x, before + a @ (b * mask).T, size))
                operands = saved, weight, code, depths, d_out, accumulate, d_x
                yield Case("masked_backward_input", operands, compared, "" if code == IDENTITY else name)


def _gradients(x, d_a, mask, precision):
    """Of weight and bias, with what their rounding errors scale with."""
    a, b, exact = rounded(x, precision), rounded(d_a, precision), d_a.astype(np.float64)
    of_weight = (a.T @ b) * mask, (np.abs(a.T) @ np.abs(b)) * mask
    return of_weight, (exact.sum(0), np.abs(exact).sum(0))


def _masked_backward_weight(rng, shape, precision):
    """Zeros, exactly, where nothing is connected."""
    rows, depth, columns = shape
    for depths, mask, ways in _staircases(rng, depth, columns):
        x, d_a = normal(rng, rows, depth), normal(rng, rows, columns)
        (product, size), (sums, sizes) = _gradients(x, d_a, mask, precision)
        for accumulate in (0, 1):
            make = normal if accumulate else lambda _, *shape: garbage(*shape)
            for first, last in pieces_of(depth)[ways]:
                for d_bias in (make(rng, columns), None):
                    d_weight = make(rng, depth, columns)
                    if accumulate:
                        d_weight *= mask.astype(np.float32)
                    compared = [part_of(d_weight, product, size, slice(first, last), accumulate)]
                    if d_bias is not None:
                        compared.append(part_of(d_bias, sums, sizes, of_bias(first, columns), accumulate))
                    operands = x, d_a, first, last, accumulate, depths, d_weight, d_bias
                    yield Case("masked_backward_weight", operands, compared)


def _masked_adam_inplace(rng, shape, precision):
    """What is not connected, and has no moments, stays 0."""
    rows, depth, columns = shape
    for depths, mask, ways in _staircases(rng, depth, columns):
        x, d_a = normal(rng, rows, depth), normal(rng, rows, columns)
        gradients = _gradients(x, d_a, mask, precision)
        for first, last in pieces_of(depth)[ways]:
            for biased in (True, False):
                arrays, compared = list[list[Any]](), list[Compared]()
                parts = slice(first, last), of_bias(first, columns)
                for (gradient, size), part in zip(gradients, parts, strict=True):
                    before = [normal(rng, *gradient.shape) for _ in range(3)]
                    before[2] = np.abs(before[2]) + np.float32(0.01)
                    if gradient.ndim == 2:
                        before = [array * mask.astype(np.float32) for array in before]
                    arrays.append(before)
                    compared += adam_compared(before, gradient, size, part)
                if not biased:
                    arrays[1], compared = [None] * 3, compared[:3]
                operands = x, d_a, first, last, depths, *arrays[0], *arrays[1], *adam_numbers(*ADAM)
                yield Case("masked_adam_inplace", operands, compared)


def _take_columns(rng, shape, precision):
    rows, columns, _ = shape
    x, order, out = normal(rng, rows, columns), rng.permutation(columns), garbage(rows, columns)
    yield Case("take_columns", (x, order, out), [Compared(out, x[:, order], 0.0)])


CASES = {
    "masked_forward": _masked_forward,
    "masked_accumulate": _masked_accumulate,
    "masked_backward_input": _masked_backward_input,
    "masked_backward_weight": _masked_backward_weight,
    "masked_adam_inplace": _masked_adam_inplace,
    "take_columns": _take_columns,
}
