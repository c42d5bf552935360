"""The kernels of a training step against the float64 reference, on awkward shapes, and their speed on a usual one."""

import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae import backend, reference
from fastvae.backend import Backend
from fastvae.kernels import philox
from fastvae.kernels.formulas import ACTIVATIONS, SILU
from fastvae.kernels.scalars import (
    ADAM_STEP,
    BETA1,
    BETA2,
    EPSILON,
    EXAMPLE_WEIGHT,
    GRAD_SCALE,
    KL_WEIGHT,
    LEARNING_RATE,
    NOISE_STEP,
    SIGMA,
    WEIGHT_DECAY,
    Scalars,
)

SHAPES = [(1, 1, 1), (7, 33, 5), (13, 17, 16), (129, 31, 67), (64, 256, 40)]  # batch, inputs, outputs
USUAL = (128, 784, 400)
ROUNDING = 2.0**-24  # of float32
TOLERANCE = 16 * ROUNDING  # of the sum of the terms' absolute values
SECONDS = 0.02  # that a kernel is timed for
RUNS, REPEATS = 20, 3  # launches of a kernel on a device, one after the other, that are timed together; how often
KEY, STEP, ROW = np.uint64(2**63 + 17), 12, 1000

Compared = tuple[np.ndarray, np.ndarray, np.ndarray]  # found, expected, and the size that its rounding scales with


@dataclass(frozen=True)
class Outcome:
    """What was found of one thing: the largest error by what is allowed; at most 1 is right."""

    name: str
    error: float

    @property
    def right(self) -> bool:
        """Whether all results were within the tolerance; NaN is not."""
        return self.error <= 1


@dataclass(frozen=True)
class Result(Outcome):
    """The same of a kernel, and its speed."""

    rate: float
    unit: str  # "GFLOP/s" or "GB/s": each operand read once and each result written once


def check_all(precision: str = "float32", device: str = "cpu") -> Iterator[Result]:
    """Check the kernels one by one; with "bfloat16" those with products alone."""
    (rows, depth, columns), on = USUAL, backend.select(device, precision)
    for name, make in PRODUCTS.items():
        yield _result(name, make, on, 2 * rows * depth * columns, "GFLOP/s")
    if precision == "float32":
        for name in ACTIVATIONS:
            yield _result(f"{name}, both ways", functools.partial(_activation, name), on, 20 * rows * columns)
        for name, (make, numbers) in PASSES.items():
            yield _result(name, make, on, 4 * numbers * rows * columns)


def _result(name: str, make: Callable, on: Backend, work: int, unit: str = "GB/s") -> Result:
    worst = 0.0
    for shape in (*SHAPES, USUAL):
        program, compare = make(np.random.default_rng(list(shape)), on, *shape)
        program.run()
        if not on.kernels.ON_HOST:
            on.kernels.download(*program.operands)
        for found, expected, size in compare():
            allowed = TOLERANCE * size + 1e-37
            worst = max(worst, float(np.max(np.abs(found.astype(np.float64) - expected) / allowed, initial=0.0)))
            if not np.isfinite(found).all():
                worst = math.nan
    seconds = _seconds(program) if on.kernels.ON_HOST else _seconds_of_launches(program)
    return Result(name, worst, work / seconds / 1e9, unit)


def _seconds_of_launches(program: Any) -> float:
    """Of one run on a device, without what is copied: of many, one after the other."""
    from fastvae.kernels.cuda.driver import device

    on, best = device(), math.inf
    for _ in range(REPEATS):
        on.synchronize()
        start = time.perf_counter()
        for launch in program.launches * RUNS:
            launch.do(on)
        on.synchronize()
        best = min(best, (time.perf_counter() - start) / RUNS)
    return best


def _seconds(program: Any) -> float:
    """Of one run: the fastest of several."""
    best, until = math.inf, time.perf_counter() + SECONDS
    while time.perf_counter() < until:
        start = time.perf_counter()
        program.run()
        best = min(best, time.perf_counter() - start)
    return best


def _program(on: Backend) -> Any:
    scalars = Scalars(KEY)
    scalars.integers[NOISE_STEP] = STEP
    scalars.reals[[EXAMPLE_WEIGHT, KL_WEIGHT, SIGMA]] = 0.37, 0.37, 0.3
    return on.program(scalars)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def _garbage(*shape: int) -> np.ndarray:
    return np.full(shape, np.nan, np.float32)


def _operand(x: np.ndarray, precision: str) -> np.ndarray:
    """What a product sees of x, in float64."""
    if precision == "bfloat16":
        bits = x.view(np.uint32).astype(np.uint64)
        x = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)
    return x.astype(np.float64)


# ---- products: what a check is: the program that does the work once, and what to compare afterwards ---------------


def _forward(rng, on, rows, depth, columns):
    x, weight, bias, out = (
        _normal(rng, rows, depth),
        _normal(rng, depth, columns),
        _normal(rng, columns),
        _garbage(rows, columns),
    )
    program = _program(on)
    program.add("dense_forward", x, weight, bias, ACTIVATIONS["identity"], out, out)
    a, b = _operand(x, on.precision), _operand(weight, on.precision)
    return program, lambda: [(out, a @ b + bias, np.abs(a) @ np.abs(b) + np.abs(bias))]


def _accumulate(rng, on, rows, depth, columns):
    x, weight, out = _normal(rng, rows, depth), _normal(rng, depth, columns), _normal(rng, rows, columns)
    before, program = out.astype(np.float64), _program(on)
    program.add("dense_accumulate", x, weight, out)
    a, b = _operand(x, on.precision), _operand(weight, on.precision)
    return program, lambda: [(out, before + a @ b, np.abs(before) + np.abs(a) @ np.abs(b))]


def _backward_input(rng, on, rows, depth, columns):
    weight, d_out, d_x = _normal(rng, depth, columns), _normal(rng, rows, columns), _garbage(rows, depth)
    program = _program(on)
    program.add("dense_backward_input", d_out, weight, ACTIVATIONS["identity"], d_out, 0, d_x)
    a, b = _operand(d_out, on.precision), _operand(weight, on.precision)
    return program, lambda: [(d_x, a @ b.T, np.abs(a) @ np.abs(b.T))]


def _backward_weight(rng, on, rows, depth, columns):
    x, d_a, d_weight, d_bias = (
        _normal(rng, rows, depth),
        _normal(rng, rows, columns),
        _garbage(depth, columns),
        _garbage(columns),
    )
    program = _program(on)
    program.add("dense_backward_weight", x, d_a, 0, depth, d_weight, d_bias)
    a, b = _operand(x, on.precision), _operand(d_a, on.precision)
    exact = d_a.astype(np.float64)
    return program, lambda: [
        (d_weight, a.T @ b, np.abs(a.T) @ np.abs(b)), (d_bias, exact.sum(0), np.abs(exact).sum(0))
    ]  # fmt: skip


def _adam_fused(rng, on, rows, depth, columns):
    x, d_a, settings = _normal(rng, rows, depth), _normal(rng, rows, columns), (3, 0.02, 0.85, 0.97, 1e-3, 0.1, 1.0)
    shapes = [(depth, columns)] * 3 + [(columns,)] * 3
    arrays = [_normal(rng, *shape) for shape in shapes]
    for v in (arrays[2], arrays[5]):
        np.abs(v, out=v)
        v += np.float32(0.01)
    before = [a.astype(np.float64) for a in arrays]
    a, b = _operand(x, on.precision), _operand(d_a, on.precision)
    gradients, terms = (a.T @ b, d_a.astype(np.float64).sum(0)), (np.abs(a.T) @ np.abs(b), np.abs(d_a).sum(0))
    program = _adam_program(on, settings)
    program.add("dense_adam_inplace", x, d_a, 0, depth, *arrays)

    def compare() -> list[Compared]:
        found = []
        for i, gradient, size in zip((0, 3), gradients, terms, strict=True):
            expected: Any = reference.adam(before[i], gradient, before[i + 1], before[i + 2], *settings)
            spread = 1 + size * (1 + size)  # how far the gradient's own rounding reaches
            found += [(got, want, spread) for got, want in zip(arrays[i : i + 3], expected, strict=True)]
        return found

    return program, compare


PRODUCTS = {
    "dense_forward": _forward,
    "dense_accumulate": _accumulate,
    "dense_backward_input": _backward_input,
    "dense_backward_weight": _backward_weight,
    "dense_adam_inplace": _adam_fused,
}


# ---- everything else, over (rows, columns) ------------------------------------------------------------------------


def _activation(name, rng, on, rows, depth, columns):
    code, bias = ACTIVATIONS[name], _normal(rng, columns)
    zeros, nothing = np.zeros((rows, 1), np.float32), np.zeros((1, columns), np.float32)
    out, d_out = _garbage(rows, columns), _normal(rng, rows, columns)
    saved, kept = (_garbage(rows, columns) if code == SILU else out), d_out.astype(np.float64)
    program = _program(on)
    program.add("dense_forward", zeros, nothing, bias, code, out, saved)
    program.add("dense_backward_input", saved, nothing, code, d_out, 0, None)
    value, derivative = reference.ACTIVATIONS[name]
    a = np.broadcast_to(bias.astype(np.float64), (rows, columns))
    return program, lambda: [
        (out, value(a), np.abs(value(a)) + np.abs(a)), (d_out, kept * derivative(a), np.abs(kept) * (1 + np.abs(a)))
    ]  # fmt: skip


def _latent(rng, on, rows, depth, columns):
    mu, logvar, d_z = _normal(rng, rows, columns), 3 * _normal(rng, rows, columns), _normal(rng, rows, columns)
    z, kl, d_mu, d_logvar = _garbage(rows, columns), _garbage(rows), _garbage(rows, columns), _garbage(rows, columns)
    program = _program(on)
    program.add("latent_forward", mu, logvar, None, ROW, z, kl)
    program.add("latent_backward", mu, logvar, d_z, None, ROW, d_mu, d_logvar)
    m, v, d = (a.astype(np.float64) for a in (mu, logvar, d_z))
    eps = reference.normals(KEY, reference.LATENT, STEP, ROW, mu.shape)

    def compare() -> list[Compared]:
        expected_z, expected_kl = reference.latent_forward(m, v, eps)
        expected_mu, expected_logvar = reference.latent_backward(m, v, eps, d, 0.37)
        size = np.exp(v / 2) * np.maximum(np.abs(eps), 1)
        return [
            (z, expected_z, np.abs(m) + size),
            (kl, expected_kl, np.abs(expected_kl)),
            (d_mu, expected_mu, np.abs(d) + np.abs(m)),
            (d_logvar, expected_logvar, np.abs(d) * size + np.abs(np.expm1(v))),
        ]

    return program, compare


def _bernoulli(rng, on, rows, depth, columns):
    x, logits = rng.random((rows, columns), np.float32), 4 * _normal(rng, rows, columns)
    nll, d_logits = _garbage(rows), _garbage(rows, columns)
    program = _program(on)
    program.add("bernoulli_forward_backward", x, logits, nll, d_logits)

    def compare() -> list[Compared]:
        expected, slope = reference.bernoulli_forward_backward(x.astype(np.float64), logits.astype(np.float64))
        return [(nll, expected, np.abs(expected)), (d_logits, 0.37 * slope, np.ones_like(slope))]

    return program, compare


def _squared_error(rng, on, rows, depth, columns):
    x, xhat = _normal(rng, rows, columns), _normal(rng, rows, columns)
    nll, d_xhat = _garbage(rows), _garbage(rows, columns)
    program = _program(on)
    program.add("squared_error_forward_backward", x, xhat, nll, d_xhat)

    def compare() -> list[Compared]:
        expected, slope = reference.squared_error_forward_backward(x.astype(np.float64), xhat.astype(np.float64), 0.3)
        return [(nll, expected, np.abs(expected) + 3 * columns), (d_xhat, 0.37 * slope, 1 + np.abs(slope))]

    return program, compare


def _gaussian(rng, on, rows, depth, columns):
    x, xhat, log_sigma = _normal(rng, rows, columns), _normal(rng, rows, columns), _normal(rng, columns)
    inverse, nll, d_xhat = np.exp(-log_sigma), _garbage(rows), _garbage(rows, columns)
    program = _program(on)
    program.add("gaussian_forward_backward", x, xhat, log_sigma, inverse, nll, d_xhat)

    def compare() -> list[Compared]:
        logs, scaled = log_sigma.astype(np.float64), (xhat.astype(np.float64) - x) * inverse.astype(np.float64)
        terms = scaled**2 / 2 + logs + math.log(2 * math.pi) / 2
        sizes = (scaled**2 / 2 + np.abs(logs) + 1).sum(1)
        return [(nll, terms.sum(1), sizes), (d_xhat, 0.37 * scaled * inverse, np.abs(scaled * inverse))]

    return program, compare


def _sigma(rng, on, rows, depth, columns):
    """A sigma for each column: as a parameter, with its gradient, and the best one, which another parameter keeps."""
    x, xhat, lowest = _normal(rng, rows, columns), _normal(rng, rows, columns), _normal(rng, columns) - 4
    parameter, d_parameter, kept = _normal(rng, columns) / 10, _garbage(columns), np.zeros(columns, np.float32)
    log_sigma, inverse, best, inverse_best = (_garbage(columns) for _ in range(4))
    program = _program(on)
    program.add("sigma_forward", parameter, lowest, log_sigma, inverse)
    program.add("sigma_backward", x, inverse, parameter, lowest, d_parameter)
    program.add("sigma_optimal", x, xhat, lowest, best, inverse_best)
    program.add("sigma_remember", best, 0.75, lowest, kept)
    before, p, low = kept.astype(np.float64), parameter.astype(np.float64), lowest.astype(np.float64)
    sigma, slope = reference.soft_sigma(p, low)
    exact = reference.optimal_sigma(x.astype(np.float64), xhat.astype(np.float64), low)
    remembered = reference.remembered_sigma(reference.soft_sigma(before, low)[0], exact, STEP, 0.75)

    def compare() -> list[Compared]:
        squares = ((x.astype(np.float64) * sigma / 0.37) ** 2).sum(0)
        size, gradient = 8 + np.abs(low) + 10 * np.abs(p), 0.37 * slope * (rows - squares)
        found = np.log(reference.soft_sigma(kept.astype(np.float64), low)[0])
        return [
            (log_sigma, np.log(sigma), size),
            (inverse, 1 / sigma, size / sigma),
            (d_parameter, gradient, 0.37 * slope * (rows + squares) * size),
            (best, np.log(exact), size),
            (inverse_best, 1 / exact, size / exact),
            (found, np.log(remembered), size),
        ]

    return program, compare


def _sigmoid(rng, on, rows, depth, columns):
    logits = 5 * _normal(rng, rows, columns)
    expected, program = reference.sigmoid(logits.astype(np.float64)), _program(on)
    program.add("sigmoid_inplace", logits)
    return program, lambda: [(logits, expected, expected)]


def _binarize(rng, on, rows, depth, columns):
    x = rng.random((rows, columns), np.float32)
    drawn = reference.words(KEY, philox.BINARIZATION, STEP, ROW, x.shape) // 256 / 2.0**24 < x
    program = _program(on)
    program.add("binarize_inplace", x, int(KEY), ROW)
    return program, lambda: [(x, drawn, np.zeros(x.shape))]


def _adam(rng, on, rows, depth, columns):
    params, grads, m = (_normal(rng, rows * columns) for _ in range(3))
    v = np.abs(_normal(rng, rows * columns)) + np.float32(0.01)
    before = [a.astype(np.float64) for a in (params, grads, m, v)]
    settings: Any = (3, 0.02, 0.85, 0.97, 1e-3, 0.1, 0.4)
    expected: Any = reference.adam(*before, *settings)
    program = _adam_program(on, settings)
    program.add("adam_inplace", params, grads, m, v)
    sizes = [np.abs(a) + np.abs(b) for a, b in zip(expected, (before[0], before[2], before[3]), strict=True)]
    return program, lambda: list(zip((params, m, v), expected, sizes, strict=True))


def _adam_program(on: Backend, settings: tuple) -> Any:
    program = _program(on)
    program.scalars.integers[ADAM_STEP] = settings[0]
    program.scalars.reals[[LEARNING_RATE, BETA1, BETA2, EPSILON, WEIGHT_DECAY, GRAD_SCALE]] = settings[1:]
    return program


def _gather(rng, on, rows, depth, columns):
    data, indices = rng.integers(0, 256, (2 * rows, columns), dtype=np.uint8), rng.integers(0, 2 * rows, rows)
    offset, scale, out = _normal(rng, columns), 1 + rng.random(columns, np.float32), _garbage(rows, columns)
    program, exact = _program(on), [a.astype(np.float64) for a in (data[indices], offset, scale)]
    program.add("gather", data, indices, offset, scale, out)
    expected = (exact[0] - exact[1]) / exact[2]
    return program, lambda: [(out, expected, (exact[0] + np.abs(exact[1])) / exact[2])]


PASSES = {  # name -> check, and numbers that are read or written for each of (rows, columns)
    "latent layer, both ways": (_latent, 9),
    "bernoulli_forward_backward": (_bernoulli, 3),
    "squared_error_forward_backward": (_squared_error, 3),
    "gaussian_forward_backward": (_gaussian, 3),
    "a sigma a column, all of it": (_sigma, 3),
    "sigmoid_inplace": (_sigmoid, 2),
    "binarize_inplace": (_binarize, 2),
    "adam_inplace": (_adam, 7),
    "gather": (_gather, 2),
}
