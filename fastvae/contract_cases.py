"""Contract cases: for every op of the table, calls with operands on given shapes, and what must come of them.

A case is one call: its operands as the table of ops has them, and what the float64 reference expects of every array
that the op writes, with the size that rounding scales with. Whoever runs it says on what and in which way: `selfcheck`
as a program on any device, the tests also as a function. A new op needs a function here that makes its cases.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fastvae import reference
from fastvae.kernels import philox
from fastvae.kernels.formulas import ACTIVATIONS, IDENTITY, SILU
from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slots, Source

KEY, STEP, ROW = np.uint64(2**63 + 2**31 + 17), 12, 1000
WEIGHT, SIGMA = 0.37, 0.3  # no powers of two: a factor that is left out, or taken twice, shows
ADAM: Any = (3, 0.02, 0.85, 0.97, 1e-3, 0.1)  # step, learning rate, betas, epsilon, weight decay
AHEAD = 5  # what is added to a whole number in a slot
LEFT, LEAVE = "left", ("counter", "result")  # the slot of the number that an op leaves; kinds of its operand
PRODUCTS = tuple(name for name in OPS if name.startswith("dense_"))
CURVED = ("tanh", "sigmoid", "softplus", "silu")

Shape = tuple[int, int, int]  # B, D, H


class Compared(NamedTuple):
    """An array that an op has written beside what it should be; where that is NaN, nothing may be written."""

    found: Any
    expected: Any
    size: Any  # of the terms that were added up: what rounding errors scale with; 0 where the bits must be the same


@dataclass(frozen=True)
class Case:
    """One call of an op.

    Parameters
    ----------
    op
        Its name.
    operands
        As the table has them; the place of a number that the op leaves is None, a `Source` is the rows.
    expected
        What is to be compared when the op has run; or a function of that number that says it then.
    about
        What tells the case from others of the op, where it deserves a line of its own.
    """

    op: str
    operands: tuple
    expected: list[Compared] | Callable[[Any], list[Compared]]
    about: str = ""
    before: list[np.ndarray] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "before", [array.copy() for array in self.arrays])

    @property
    def name(self) -> str:
        """The op's, and what the case is about."""
        return f"{self.op}, {self.about}" if self.about else self.op

    @property
    def arrays(self) -> list[np.ndarray]:
        """Its arrays, each once."""
        return list({id(value): value for value in self.operands if isinstance(value, np.ndarray)}.values())

    def write(self, program: Any, slots: Slots) -> None:
        """Have a program make the call, with every number in a slot, as the steps of a training have them; its arrays
        hold their results after each run."""
        operands = list[Any]()
        for operand, value in zip(OPS[self.op].operands, self.operands, strict=True):
            if operand.kind == "source":
                source = Source(slots, operand.name, value.dtype)
                source.read(value)
                value = source
            elif operand.kind in LEAVE:
                value = slots.whole(LEFT) if operand.kind == "counter" else slots.real(LEFT)
            elif operand.kind == "real":
                slot = slots.real(operand.name)
                slots[operand.name], value = value, slot
            elif operand.kind == "whole":
                slot = slots.whole(operand.name)
                slots[operand.name], value = value - AHEAD, slot + AHEAD
            elif operand.kind == "seed":
                slot = slots.whole(operand.name)
                slots[operand.name], value = int(np.uint64(value).view(np.int64)), slot
            operands.append(value)
        program.add(self.op, *operands)
        program.returns(*[operand for operand in operands if isinstance(operand, np.ndarray)])

    def left(self, slots: Slots) -> float | None:
        """The number that the op has left in the slots of its program, if it leaves one."""
        return slots[LEFT] if any(operand.kind in LEAVE for operand in OPS[self.op].operands) else None

    def compared(self, left: Any = None) -> list[Compared]:
        """After a run that has left that number: what `expected` names, and all other arrays, which must be what they
        were."""
        compared = self.expected(left) if callable(self.expected) else self.expected
        written = {id(each.found) for each in compared}
        pairs = zip(self.arrays, self.before, strict=True)
        same = [Compared(array, before, 0.0) for array, before in pairs if id(array) not in written]
        return [*compared, *same]

    @property
    def moved_bytes(self) -> int:
        """Bytes read and written, after a run: an array that was changed twice, one that had no values before once."""
        total = 0
        for array, before in zip(self.arrays, self.before, strict=True):
            changed = array.tobytes() != before.tobytes()
            total += array.nbytes * (2 if changed and not _is_garbage(before) else 1)
        return total


def _is_garbage(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" and bool(np.isnan(array).all())


def cases_of(op: str, shape: Shape, precision: str = "float32") -> Iterator[Case]:
    """The cases of an op on a shape (B, D, H); for products of operands that are rounded to the precision."""
    yield from CASES[op](np.random.default_rng(list(shape)), shape, precision)


def adam_numbers(
    step: int, learning_rate: float, beta1: float, beta2: float, epsilon: float, weight_decay: float
) -> tuple[float, ...]:
    """The operands of Adam's ops, from what the reference takes."""
    rate, correction = learning_rate / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step)
    return rate, correction, 1 - beta1, beta2, 1 - beta2, learning_rate * weight_decay, epsilon


def rounded(x: np.ndarray, precision: str) -> np.ndarray:
    """What a product sees of x, in float64."""
    if precision == "bfloat16":
        bits = x.view(np.uint32).astype(np.uint64)
        x = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)
    return x.astype(np.float64)


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def _garbage(*shape: int) -> np.ndarray:
    """An output: one that is not written to shows."""
    return np.full(shape, np.nan, np.float32)


def _wide(*arrays: np.ndarray) -> Any:
    return [array.astype(np.float64) for array in arrays]


# ---- dense layers -------------------------------------------------------------------------------------------------


def _activations(precision: str) -> dict[str, int]:
    """All; where the products round their operands, none: the code is the same, and a value that lies between two
    rounded ones may become either."""
    return ACTIVATIONS if precision == "float32" else {"identity": IDENTITY}


def _dense_forward(rng, shape, precision):
    rows, depth, columns = shape
    for name, code in _activations(precision).items():
        x, weight, bias = _normal(rng, rows, depth), _normal(rng, depth, columns), _normal(rng, columns)
        out = _garbage(rows, columns)
        saved = _garbage(rows, columns) if code == SILU else out
        a, b = rounded(x, precision), rounded(weight, precision)
        terms, argument = np.abs(a) @ np.abs(b) + np.abs(bias), a @ b + bias
        expected = reference.ACTIVATIONS[name][0](argument)
        compared = [Compared(out, expected, np.maximum(terms, np.abs(expected)))]
        compared += [Compared(saved, argument, terms)] if code == SILU else []
        about = "" if code == IDENTITY else name
        yield Case("dense_forward", (x, weight, bias, code, out, saved), compared, about)


def _dense_accumulate(rng, shape, precision):
    rows, depth, columns = shape
    x, weight, out = _normal(rng, rows, depth), _normal(rng, depth, columns), _normal(rng, rows, columns)
    a, b, before = rounded(x, precision), rounded(weight, precision), out.astype(np.float64)
    compared = [Compared(out, before + a @ b, np.abs(before) + np.abs(a) @ np.abs(b))]
    yield Case("dense_accumulate", (x, weight, out), compared)


def _dense_backward_input(rng, shape, precision):
    """Through the activation, from what the forward saves: d_a over d_out, and d_x alone, added, or not at all."""
    rows, depth, columns = shape
    for name, code in _activations(precision).items():
        value, derivative = reference.ACTIVATIONS[name]
        argument, weight = 3 * _normal(rng, rows, columns), _normal(rng, depth, columns)
        saved = argument if code == SILU else value(argument.astype(np.float64)).astype(np.float32)
        for d_x, accumulate in (
            (_garbage(rows, depth), 0),
            (_normal(rng, rows, depth), 1),
            (None, 0),
        ):
            d_out = _normal(rng, rows, columns)
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


def _pieces(depth: int) -> list[tuple[int, int]]:
    """Rows of a weight (D, H): all of them, a half, single ones at both ends, none."""
    return [(0, depth), (depth // 2, depth), (0, 1), (max(1, depth - 1), depth), (depth, depth)]


def _of_bias(first: int, columns: int) -> slice:
    """Which part of the bias belongs to such a piece: whoever has row 0 has all of it."""
    return slice(0, 0 if first else columns)


def _dense_backward_weight(rng, shape, precision):
    rows, depth, columns = shape
    x, d_a = _normal(rng, rows, depth), _normal(rng, rows, columns)
    a, b, exact = rounded(x, precision), rounded(d_a, precision), d_a.astype(np.float64)
    product, size, sums, sizes = a.T @ b, np.abs(a.T) @ np.abs(b), exact.sum(0), np.abs(exact).sum(0)
    for accumulate in (0, 1):
        make = _normal if accumulate else lambda _, *shape: _garbage(*shape)
        for first, last in _pieces(depth):
            for d_bias in (make(rng, columns), None):
                d_weight = make(rng, depth, columns)
                compared = [_part(d_weight, product, size, slice(first, last), accumulate)]
                if d_bias is not None:
                    compared.append(_part(d_bias, sums, sizes, _of_bias(first, columns), accumulate))
                operands = x, d_a, first, last, accumulate, d_weight, d_bias
                yield Case("dense_backward_weight", operands, compared)


def _part(array: np.ndarray, values: np.ndarray, sizes: np.ndarray, part: slice, accumulate: int) -> Compared:
    """What an array should be of which one part is written, or added to."""
    expected, allowed = array.astype(np.float64), np.zeros(array.shape)
    before = expected[part] * accumulate if accumulate else 0.0
    expected[part], allowed[part] = before + values[part], np.abs(before) + sizes[part]
    return Compared(array, expected, allowed)


def _dense_adam_inplace(rng, shape, precision):
    rows, depth, columns = shape
    x, d_a = _normal(rng, rows, depth), _normal(rng, rows, columns)
    a, b, exact = rounded(x, precision), rounded(d_a, precision), d_a.astype(np.float64)
    gradients = (a.T @ b, np.abs(a.T) @ np.abs(b)), (exact.sum(0), np.abs(exact).sum(0))
    for first, last in _pieces(depth):
        for biased in (True, False):
            arrays, compared = list[list[Any]](), list[Compared]()
            for (gradient, size), part in zip(gradients, (slice(first, last), _of_bias(first, columns)), strict=True):
                before = [_normal(rng, *gradient.shape) for _ in range(3)]
                before[2] = np.abs(before[2]) + np.float32(0.01)
                arrays.append(before)
                compared += _adam_compared(before, gradient, size, part)
            if not biased:
                arrays[1], compared = [None] * 3, compared[:3]
            operands = x, d_a, first, last, *arrays[0], *arrays[1], *adam_numbers(*ADAM)
            yield Case("dense_adam_inplace", operands, compared)


def _adam_compared(arrays, gradient, size, part):
    """Parameters and moments, of which a part has moved: how far the gradient's own rounding reaches each of them."""
    before = _wide(*arrays)
    after: Any = reference.adam(before[0], gradient, *before[1:], *ADAM)
    sizes = (
        np.abs(before[0]) + np.abs(after[0] - before[0]) + ADAM[1] * size / np.sqrt(after[2]),
        np.abs(before[1]) + size,
        before[2] + size**2,
    )
    for array, old, new, allowed in zip(arrays, before, after, sizes, strict=True):
        expected, sizes_there = old.copy(), np.zeros(old.shape)
        expected[part], sizes_there[part] = new[part], allowed[part]
        yield Compared(array, expected, sizes_there)


# ---- the latent layer ---------------------------------------------------------------------------------------------


def _latent_inputs(rng, shape):
    """mu, logvar, and noise, as an operand beside what it is: drawn by the op, and given."""
    mu, logvar = _normal(rng, *shape), 3 * _normal(rng, *shape)
    given = _normal(rng, *shape)
    yield mu, logvar, None, reference.normals(KEY, reference.LATENT, STEP, ROW, shape)
    yield mu, logvar, given, given.astype(np.float64)


PLACE = KEY, reference.LATENT, STEP, ROW


def _latent_forward(rng, shape, precision):
    rows, depth, _ = shape
    for mu, logvar, noise, truth in _latent_inputs(rng, (rows, depth)):
        z, kl = _garbage(rows, depth), _garbage(rows)
        m, v = _wide(mu, logvar)
        expected_z, expected_kl = reference.latent_forward(m, v, truth)
        compared = [
            Compared(z, expected_z, np.abs(m) + np.exp(v / 2) * np.maximum(np.abs(truth), 1)),
            Compared(kl, expected_kl, expected_kl),
        ]
        yield Case("latent_forward", (mu, logvar, noise, *PLACE, z, kl), compared)


def _latent_backward(rng, shape, precision):
    rows, depth, _ = shape
    for mu, logvar, noise, truth in _latent_inputs(rng, (rows, depth)):
        d_z, d_mu, d_logvar = _normal(rng, rows, depth), _garbage(rows, depth), _garbage(rows, depth)
        m, v, d = _wide(mu, logvar, d_z)
        expected_mu, expected_logvar = reference.latent_backward(m, v, truth, d, WEIGHT)
        reparameterization = np.abs(d) * np.maximum(np.abs(truth), 1) * np.exp(v / 2)
        compared = [
            Compared(d_mu, expected_mu, np.abs(d) + WEIGHT * np.abs(m)),
            Compared(d_logvar, expected_logvar, reparameterization + WEIGHT * np.abs(np.expm1(v))),
        ]
        operands = mu, logvar, d_z, noise, *PLACE, WEIGHT, d_mu, d_logvar
        yield Case("latent_backward", operands, compared)


# ---- likelihoods --------------------------------------------------------------------------------------------------


def _both_ways(op, inputs, nll, slope):
    """Cases of a likelihood: `op`_forward and `op`_forward_backward are alike, but for the weight and the gradient.

    `nll` and `slope` are what is expected of nll (B,) and of its gradient (B, D), each with its size.
    """

    def make(backward):
        found = _garbage(len(nll[0]))
        compared = [Compared(found, *nll)]
        if not backward:
            return Case(f"{op}_forward", (*inputs, found), compared)
        gradient = _garbage(*slope[0].shape)
        compared.append(Compared(gradient, WEIGHT * slope[0], WEIGHT * slope[1]))
        return Case(f"{op}_forward_backward", (*inputs, WEIGHT, found, gradient), compared)

    return make


def _squared_error(rng, shape, precision):
    x, xhat = (_normal(rng, *shape[:2]) for _ in range(2))
    nll, slope = reference.squared_error_forward_backward(x.astype(np.float64), xhat.astype(np.float64), SIGMA)
    constant = shape[1] * (abs(math.log(SIGMA)) + 0.5 * math.log(2 * math.pi))
    inputs = x, xhat, math.log(SIGMA), 1 / SIGMA
    return _both_ways("squared_error", inputs, (nll, np.abs(nll) + constant), (slope, np.abs(slope)))


def _gaussian(rng, shape, precision):
    """Each column has another sigma."""
    x, xhat, log_sigma = _normal(rng, *shape[:2]), _normal(rng, *shape[:2]), _normal(rng, shape[1])
    inverse = np.exp(-log_sigma.astype(np.float64)).astype(np.float32)
    x64, xhat64, logs, inverse64 = _wide(x, xhat, log_sigma, inverse)
    halves = ((x64 - xhat64) * inverse64) ** 2 / 2  # as the op has sigma: twice rounded, which the reference has not
    exact = reference.squared_error_forward_backward(x64, xhat64, np.exp(logs))
    nll, slope = (halves + logs + math.log(2 * math.pi) / 2).sum(axis=1), (xhat64 - x64) * inverse64**2
    for ours, theirs in zip((nll, slope), exact, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    sizes = (halves + np.abs(logs) + 1).sum(axis=1)
    return _both_ways("gaussian", (x, xhat, log_sigma, inverse), (nll, sizes), (slope, np.abs(slope)))


def _bernoulli(rng, shape, precision):
    x, logits = rng.random(shape[:2], np.float32), 4 * _normal(rng, *shape[:2])
    x[:, ::3] = np.round(x[:, ::3])
    x64, logits64 = _wide(x, logits)
    nll, slope = reference.bernoulli_forward_backward(x64, logits64)
    s = reference.sigmoid(logits64)
    return _both_ways("bernoulli", (x, logits), (nll, np.abs(nll)), (slope, (1 - x64) * s + x64 * (1 - s)))


def _forward(make):
    return lambda *arguments: iter([make(*arguments)(False)])


def _forward_backward(make):
    return lambda *arguments: iter([make(*arguments)(True)])


def _poisson(rng, shape, precision):
    """Counts at rates about e, which are not quite those that they were drawn with."""
    rate = rng.lognormal(1, 1.5, shape[:2])
    x, log_rate = rng.poisson(rate).astype(np.float32), np.log(rate).astype(np.float32) + _normal(rng, *shape[:2])
    x64, log64 = _wide(x, log_rate)
    nll, slope = reference.poisson_forward_backward(x64, log64)
    return _both_ways("poisson", (x, log_rate), (nll, np.abs(nll)), (slope, x64 + np.exp(log64)))


# ---- functions of one number, over a matrix in place --------------------------------------------------------------


def _inplace(op, function, draw):
    """What makes the case of such an op, from numbers that `draw` gives."""

    def make(rng, shape, precision):
        x = draw(rng, *shape[:2])
        expected = function(x.astype(np.float64))
        yield Case(op, (x,), [Compared(x, expected, np.abs(expected))])

    return make


# ---- a sigma that is not fixed ------------------------------------------------------------------------------------


def _sigmas(rng, columns):
    """Parameters and lowest log sigma: one a column, and one for all; near their lowest, and far above."""
    for size in sorted({1, columns}, reverse=True):
        yield rng.uniform(-1.2, 0.3, size).astype(np.float32), rng.uniform(-9, -4, size).astype(np.float32)


def _sigma_forward(rng, shape, precision):
    columns = shape[1]
    for parameter, lowest in _sigmas(rng, columns):
        log_sigma, inverse = _garbage(columns), _garbage(columns)
        expected = np.log(reference.soft_sigma(*_wide(parameter, lowest))[0]) * np.ones(columns)
        size = 10 * np.abs(parameter) + np.abs(lowest) + 1
        compared = [
            Compared(log_sigma, expected, size),
            Compared(inverse, np.exp(-expected), np.exp(-expected) * size),
        ]
        yield Case("sigma_forward", (parameter, lowest, log_sigma, inverse), compared)


def _sigma_backward(rng, shape, precision):
    """As after `gaussian_forward_backward`."""
    shape = shape[:2]
    for parameter, lowest in _sigmas(rng, shape[1]):
        sigma, slope = reference.soft_sigma(*_wide(parameter, lowest))
        sigma = sigma * np.ones(shape[1])
        x, inverse, d_parameter = _normal(rng, *shape), (1 / sigma).astype(np.float32), _garbage(len(parameter))
        xhat = (x + rng.normal(size=shape) * sigma * 1.5).astype(np.float32)
        x64, xhat64, inverse64 = _wide(x, xhat, inverse)
        d_xhat = (WEIGHT * (xhat64 - x64) * inverse64**2).astype(np.float32)
        each = reference.d_log_sigma(x64, xhat64, 1 / inverse64)
        squares = (((x64 - xhat64) * inverse64) ** 2).sum(axis=0)
        if len(parameter) == 1:
            each, squares = each.sum(keepdims=True), squares.sum(keepdims=True)
        size = 10 * np.abs(parameter) + np.abs(lowest) + 4  # of the argument, whose rounding the slope has
        allowed = WEIGHT * slope * (x.size / len(parameter) + squares) * size
        compared = [Compared(d_parameter, WEIGHT * slope * each, allowed)]
        operands = d_xhat, inverse, parameter, lowest, WEIGHT, d_parameter
        yield Case("sigma_backward", operands, compared)


def _sigma_optimal(rng, shape, precision):
    """Some columns are without any error, and some sigmas would be lower than they may be."""
    shape = shape[:2]
    for lowest in (_normal(rng, shape[1]) - 9, _normal(rng, 1) - 9, np.full(1, 3, np.float32)):
        x = _normal(rng, *shape)
        xhat = x + _normal(rng, *shape) * np.exp(_normal(rng, shape[1]))
        xhat[:, ::3] = x[:, ::3]
        log_sigma, inverse = _garbage(shape[1]), _garbage(shape[1])
        expected = np.log(reference.optimal_sigma(*_wide(x, xhat, lowest))) * np.ones(shape[1])
        compared = [
            Compared(log_sigma, expected, np.abs(expected) + 1),
            Compared(inverse, np.exp(-expected), np.exp(-expected) * (np.abs(expected) + 1)),
        ]
        yield Case("sigma_optimal", (x, xhat, lowest, log_sigma, inverse), compared)


def _sigma_remember(rng, shape, precision):
    """The parameter by the sigma that it stands for: near its lowest one, many parameters are nearly the same."""
    for parameter, lowest in _sigmas(rng, shape[1]):
        for step, share in ((1, 0.25), (3, 1.0), (50, 0.75)):
            seen, kept = _normal(rng, shape[1]), parameter.copy()
            old = reference.soft_sigma(*_wide(parameter, lowest))[0]
            best = np.exp(seen[: len(old)].astype(np.float64))
            expected = np.log(reference.remembered_sigma(old, best, step, share))
            size = 10 * np.abs(parameter) + np.abs(lowest) + np.abs(expected) + 1

            def compare(_, kept=kept, lowest=lowest, expected=expected, size=size):
                log_sigma = np.log(reference.soft_sigma(*_wide(kept, lowest))[0])
                by_itself = Compared(kept, kept.copy(), 0.0)
                return [by_itself, Compared(log_sigma.astype(np.float32), expected, size)]

            yield Case("sigma_remember", (seen, share, lowest, step, kept), compare)


# ---- optimizers ---------------------------------------------------------------------------------------------------


def _adam_inplace(rng, shape, precision):
    params, grads, m = (_normal(rng, math.prod(shape[1:])) for _ in range(3))
    v = np.abs(_normal(rng, len(params))) + np.float32(0.01)
    before = _wide(params, grads, m, v)
    settings: Any = (*ADAM, 0.4)
    expected: Any = reference.adam(*before, *settings)
    terms = 0.85 * np.abs(before[2]) + 0.15 * 0.4 * np.abs(before[1])  # of the first moment, which may cancel
    sizes = np.abs(before[0]) + 0.02 * terms / np.sqrt(expected[2]), terms, expected[2]
    compared = [Compared(*each) for each in zip((params, m, v), expected, sizes, strict=True)]
    yield Case("adam_inplace", (params, grads, m, v, *adam_numbers(*ADAM), 0.4), compared)


def _sgd_inplace(rng, shape, precision):
    """With momentum of both kinds."""
    for ahead in (0.0, 0.85):
        params, grads, velocity = (_normal(rng, math.prod(shape[1:])) for _ in range(3))
        settings: Any = (0.02, 0.85, ahead > 0, 0.1, 0.4)
        before = _wide(params, grads, velocity)
        expected_params, expected_velocity = reference.sgd(*before, *settings)
        terms = 0.4 * np.abs(before[1]) + 0.85 * np.abs(before[2])
        compared = [
            Compared(params, expected_params, np.abs(before[0]) + 0.02 * terms),
            Compared(velocity, expected_velocity, terms),
        ]
        yield Case("sgd_inplace", (params, grads, velocity, 0.02, 0.85, ahead, 0.1, 0.4), compared)


def _average_inplace(rng, shape, precision):
    """It moves; with 1 it begins, whatever stood there; with 0 it stays."""
    for share in (0.3, 1.0, 0.0):
        params, average = (_normal(rng, math.prod(shape[1:])) for _ in range(2))
        if share == 1:
            average = _garbage(len(params))
        expected = (
            params if share == 1 else reference.averaged(average.astype(np.float64), params.astype(np.float64), share)
        )
        size = (share not in (0, 1)) * (np.abs(params) + np.abs(average))
        compared = [Compared(average, expected, np.nan_to_num(size))]
        yield Case("average_inplace", (params, share, average), compared)


def _clip_scale(rng, shape, precision):
    """Of a gradient that is too long, and of one that is not."""
    grads = _normal(rng, math.prod(shape[1:]))
    norm = math.sqrt(np.square(grads.astype(np.float64)).sum())
    for largest in (0.3 * norm, 1.5 * norm):
        expected = np.float64(reference.clip_scale(grads.astype(np.float64), largest))

        def compare(left, expected=expected):
            return [Compared(np.float64(left), expected, expected)]

        yield Case("clip_scale", (grads, largest, None), compare)


# ---- noise --------------------------------------------------------------------------------------------------------


def _normal_noise(rng, shape, precision):
    rows, columns, _ = shape
    out = _garbage(rows, columns)
    word = reference.words(KEY, philox.PRIOR, STEP, ROW, (rows, columns + columns % 2))
    radius = np.sqrt(-2 * np.log(reference.uniform(word[:, 0::2]))).repeat(2, axis=1)[:, :columns]
    expected = reference.normals(KEY, philox.PRIOR, STEP, ROW, (rows, columns))
    yield Case("normal_noise", (KEY, philox.PRIOR, STEP, ROW, out), [Compared(out, expected, radius)])


def _uniform_noise(rng, shape, precision):
    out = _garbage(*shape[:2])
    expected = reference.uniforms(KEY, philox.PRIOR, STEP, ROW, out.shape)
    yield Case("uniform_noise", (KEY, philox.PRIOR, STEP, ROW, out), [Compared(out, expected, 0.0)])


def _binarize_inplace(rng, shape, precision):
    x = rng.random(shape[:2], np.float32)
    expected = reference.words(KEY, reference.BINARIZATION, STEP, ROW, x.shape) // 256 / 2.0**24 < x
    yield Case("binarize_inplace", (x, KEY, STEP, ROW), [Compared(x, expected, 0.0)])


def _threshold_inplace(rng, shape, precision):
    x = rng.random(shape[:2], np.float32)
    expected = x > np.float32(SIGMA)
    yield Case("threshold_inplace", (x, SIGMA), [Compared(x, expected, 0.0)])


# ---- data ---------------------------------------------------------------------------------------------------------


def _gather(rng, shape, precision):
    """Bytes under float32, and numbers that float32 would not tell apart under float64."""
    rows, columns, _ = shape
    indices, offset = rng.integers(0, rows, rows), _normal(rng, columns)
    scale = np.float32(0.5) + rng.random(columns, np.float32)
    pixels = rng.integers(0, 256, (rows, columns)).astype(np.uint8)
    times = pixels + 1.7e9, offset.astype(np.float64) + 1.7e9, scale.astype(np.float64)
    for data, low, by in ((pixels, offset, scale), times):
        out, chosen = _garbage(rows, columns), data[indices].astype(np.float64)
        expected = (chosen - low) / by
        size = np.abs(expected) if low.dtype == np.float64 else (chosen + np.abs(low)) / by
        compared = [Compared(out, expected, size)]
        yield Case("gather", (data, indices, low, by, out), compared)


def _read_rows(rng, shape, precision):
    """Also from a view of which neither rows nor columns lie side by side."""
    rows, columns, _ = shape
    offset, scale = _normal(rng, columns), np.float32(0.5) + rng.random(columns, np.float32)
    lowest, highest = -5.0, 7.5
    whole = rng.integers(-9, 9, (2 * rows, 3 * columns)).astype(np.int16)
    for data in (whole[:rows, :columns].copy(), whole[::2, ::-3]):
        out, exact = _garbage(rows, columns), (data.astype(np.float64) - offset) / scale
        size = (np.abs(data) + np.abs(offset)) / scale

        def compare(left, out=out, exact=exact, size=size):
            outside = np.float64(((out < lowest) | (out > highest)).sum())
            return [Compared(out, exact, size), Compared(np.float64(left), outside, 0.0)]

        yield Case("read_rows", (data, offset, scale, lowest, highest, None, out), compare)


def _counts(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.floor(np.exp(4 * _normal(rng, *shape)))


CASES: dict[str, Callable[[np.random.Generator, Shape, str], Iterator[Case]]] = {
    "dense_forward": _dense_forward,
    "dense_accumulate": _dense_accumulate,
    "dense_backward_input": _dense_backward_input,
    "dense_backward_weight": _dense_backward_weight,
    "dense_adam_inplace": _dense_adam_inplace,
    "latent_forward": _latent_forward,
    "latent_backward": _latent_backward,
    "squared_error_forward": _forward(_squared_error),
    "squared_error_forward_backward": _forward_backward(_squared_error),
    "gaussian_forward": _forward(_gaussian),
    "gaussian_forward_backward": _forward_backward(_gaussian),
    "sigma_forward": _sigma_forward,
    "sigma_backward": _sigma_backward,
    "sigma_optimal": _sigma_optimal,
    "sigma_remember": _sigma_remember,
    "bernoulli_forward": _forward(_bernoulli),
    "bernoulli_forward_backward": _forward_backward(_bernoulli),
    "poisson_forward": _forward(_poisson),
    "poisson_forward_backward": _forward_backward(_poisson),
    "sigmoid_inplace": _inplace("sigmoid_inplace", reference.sigmoid, lambda rng, *shape: 5 * _normal(rng, *shape)),
    "exp_inplace": _inplace("exp_inplace", np.exp, lambda rng, *shape: 5 * _normal(rng, *shape)),
    "log1p_inplace": _inplace("log1p_inplace", np.log1p, _counts),
    "adam_inplace": _adam_inplace,
    "sgd_inplace": _sgd_inplace,
    "average_inplace": _average_inplace,
    "clip_scale": _clip_scale,
    "normal_noise": _normal_noise,
    "uniform_noise": _uniform_noise,
    "binarize_inplace": _binarize_inplace,
    "threshold_inplace": _threshold_inplace,
    "gather": _gather,
    "read_rows": _read_rows,
}
