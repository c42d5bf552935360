"""What is asked of formulas when they are registered: each message says where one fails, what was found, what to do."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae.own.formulas import Formula
from fastvae.reference import sigmoid

APART = 0.0137  # outputs lie so far from round numbers, where formulas may have kinks
OUTPUTS = np.linspace(-12.0, 12.0, 33) + APART
OFFSETS = (-1.3, 0.0, 0.7)  # of parameters from their start
STEP = 1e-5  # of differences
SLOPE, ROUNDED = 1e-5, 1e-8  # allowed of a slope: by its size, and by that of the value
NARROW = 1e-3  # of float32, by the size of what is found
AWAY, MASS = 0.02, 4001  # allowed of the sum of all probabilities; places of an integral
MOST_COUNT = 4000
KNOWN: dict[str, Callable[[np.ndarray], np.ndarray]] = {"sigmoid": sigmoid, "exp": np.exp, "log1p": np.log1p}
LEAST = (-6.0, -0.7, 0.0, 1.1, 3.3)  # outputs at which probabilities are added up


def points(support: tuple[float, float], whole: bool) -> np.ndarray:
    """Values of x to look at."""
    least, most = support
    if whole:
        start = least if math.isfinite(least) else -20.0
        found = start + np.array([0.0, 1.0, 2.0, 3.0, 7.0, 20.0, 100.0])
    elif math.isfinite(least) and math.isfinite(most):
        return np.linspace(least, most, 9)
    elif math.isfinite(least) or math.isfinite(most):
        apart = np.array([1e-3, 0.1, 0.5, 1.0, 2.0, 5.0, 20.0])
        return least + apart if math.isfinite(least) else most - apart
    else:
        found = np.array([-20.0, -3.0, -1.0, -0.25, 0.0, 0.5, 1.0, 2.0, 5.0, 20.0])
    return found[(found >= least) & (found <= most)]


def starts(kind: Any) -> list[float]:
    """The parameters' starts, where they are numbers; else as of columns with the deviation 1 and the mean 0."""
    found = []
    for name, start in kind.PARAMETERS.items():
        try:
            value = start(np.ones(1), np.zeros(1)) if callable(start) else start
            found.append(float(np.ravel(np.asarray(value, np.float64))[0]))
        except (TypeError, ValueError, IndexError) as error:
            raise TypeError(f"{kind.__qualname__}.PARAMETERS[{name!r}]: {start!r} gives no number: {error}") from None
    return found


def _place(names: list[str], values: Any) -> str:
    return ", ".join(f"{name} = {float(value):.6g}" for name, value in zip(names, values, strict=True))


def check_term(kind: Any, term: Formula) -> None:
    """Numbers, as many as there must be, finite, with slopes that are those of the value."""
    names, count = term.parameters, 2 + len(kind.PARAMETERS)
    first = starts(kind)
    grid = [points(kind.SUPPORT, kind.WHOLE), OUTPUTS]
    grid += [start + np.array(OFFSETS) for start in first]
    given = [array.ravel() for array in np.meshgrid(*grid, indexing="ij")]
    one = call(term, *(array[0] for array in given))
    found = len(one) if isinstance(one, tuple | list) else 1
    needed = ", ".join(["the nll of one x", "its derivative by a", *(f"by {name}" for name in kind.PARAMETERS)])
    if found != count or not isinstance(one, tuple):
        raise TypeError(f"{term.where} returned {one!r}; {count} numbers are needed: {needed}")
    for value in one:
        if np.ndim(value) or not isinstance(value, int | float | np.number | np.bool_):
            raise TypeError(f"{term.where} returned {one!r}; {count} real numbers are needed: {needed}")
    with np.errstate(all="ignore"):
        results = term.over(*given)
        for result, what in zip(results, needed.split(", "), strict=True):
            _check_finite(term.where, names, given, result, what)
        for k in range(1, count):
            moved = [list(given), list(given)]
            for sign, arrays in zip((1, -1), moved, strict=True):
                arrays[k] = arrays[k] + sign * STEP
            above, below = (term.over(*arrays)[0] for arrays in moved)
            expected = (above - below) / (2 * STEP)
            allowed = SLOPE * (1 + np.abs(expected)) + ROUNDED * np.abs(results[0])
            wrong = np.flatnonzero(~(np.abs(results[k] - expected) <= allowed))
            if len(wrong):
                at = wrong[0]
                raise ValueError(
                    f"{term.where}: at {_place(names, [array[at] for array in given])} its number {k + 1} is "
                    f"{results[k][at]:.6g}, and the nll changes by {expected[at]:.6g} with {names[k]}: it must be the "
                    f"derivative of the nll by {names[k]}"
                )
    _check_narrow(term, names, given, results)


def call(function: Formula, *values: Any) -> Any:
    """What it gives in float64; whatever it raises is said with its place."""
    try:
        with np.errstate(all="ignore"):
            return function(*(np.float64(value) for value in values))
    except Exception as error:
        place = _place(function.parameters, values)
        raise TypeError(f"{function.where} fails at {place}: {type(error).__name__}: {error}") from error


def _check_finite(where: str, names: list[str], given: list[np.ndarray], result: np.ndarray, what: str) -> None:
    wrong = np.flatnonzero(~np.isfinite(result))
    if len(wrong):
        place = _place(names, [array[wrong[0]] for array in given])
        raise ValueError(f"{where}: {what} is {result[wrong[0]]:g} at {place}; it must be finite over the support")


def _check_narrow(function: Formula, names: list[str], given: list[np.ndarray], exact: Any) -> None:
    """It compiles, and gives the same in float32."""
    narrow = [np.ravel(function.in_float32(*values)) for values in zip(*given, strict=True)]
    for k, result in enumerate(exact):
        found = np.array([values[k] for values in narrow], np.float64)
        size = 1 + np.abs(result) + (np.abs(exact[0]) if k == 0 else 0)
        wrong = np.flatnonzero(~(np.abs(found - result) <= NARROW * size))
        if len(wrong):
            at = wrong[0]
            place = _place(names, [array[at] for array in given])
            raise ValueError(
                f"{function.where}: at {place} its number {k + 1} is {result[at]:.6g} in float64 and {found[at]:.6g} "
                "in float32, in which it is compiled: write it so that it neither overflows nor cancels there"
            )


def check_function(function: Formula, places: np.ndarray, what: str, narrow: bool = True) -> None:
    """A number, finite at all places, the same in float32 where that is to be looked at."""
    one = call(function, places[0])
    if np.ndim(one) or not isinstance(one, int | float | np.number):
        raise TypeError(f"{function.where} returned {one!r}; a number is needed: {what}")
    (found,) = function.over(places)
    _check_finite(function.where, function.parameters, [places], found, what.split(" of ")[0])
    if narrow:
        _check_narrow(function, function.parameters, [places], (found,))


def check_known(kind: Any, attribute: str, method: str) -> None:
    """What a class says that a formula is, by name, it must be."""
    name = vars(kind).get(attribute)
    if name in (None, "identity", "own"):
        return
    if name not in KNOWN or method not in kind.FORMULAS:
        known = " or ".join(map(repr, KNOWN))
        raise ValueError(f"{kind.__qualname__}.{attribute} is {name!r}; {known} is needed, or nothing")
    at = points(kind.SUPPORT, kind.WHOLE) if method == "encoder_input" else OUTPUTS
    with np.errstate(all="ignore"):
        said, found = KNOWN[name](at), kind.FORMULAS[method].over(at)[0]
    if not np.allclose(said, found, rtol=1e-6, atol=1e-6):
        worst = int(np.argmax(~np.isclose(said, found, rtol=1e-6, atol=1e-6)))
        raise ValueError(
            f"{kind.__qualname__}.{attribute}: {name} is {said[worst]:.6g} at {at[worst]:.6g}, where {method} gives "
            f"{found[worst]:.6g}"
        )


def check_normalised(kind: Any, term: Formula) -> None:
    """The probabilities of all x add up to 1: else scores were no nats of p(x|z)."""
    if not kind.NORMALISED:
        return
    first = starts(kind)
    least, most = kind.SUPPORT
    for a in LEAST:
        x, width = _places(least, most, kind)
        with np.errstate(all="ignore"):
            values = np.array([term.in_float32(one, a, *first)[0] for one in x], np.float64)
            parts = np.exp(-values) * width
        mass = float(np.nansum(parts))
        if kind.WHOLE and parts[-1] > 1e-6 * mass:  # more than could be counted
            continue
        if not abs(mass - 1) <= AWAY:
            place = _place(["a", *kind.PARAMETERS], [a, *first])
            what = "exp(-nll), integrated over" if kind.DENSITY else "exp(-nll), added up over"
            raise ValueError(
                f"{term.where}: at {place} {what} all x, is {mass:.4g}, not 1: a constant is missing, log({mass:.4g}) "
                f"to be added, or DENSITY={kind.DENSITY}, WHOLE={kind.WHOLE}, SUPPORT={kind.SUPPORT} are not right. A "
                "loss that is no likelihood says NORMALISED = False"
            )


def _places(least: float, most: float, kind: Any) -> tuple[np.ndarray, np.ndarray]:
    """Where the probabilities are added up, and by what each is multiplied."""
    if kind.WHOLE:
        start = least if math.isfinite(least) else -MOST_COUNT / 2
        stop = min(most, start + MOST_COUNT)
        x = np.arange(start, stop + 1)
        return x, np.ones_like(x)
    if not kind.DENSITY:  # of numbers between two ends, as a pixel that is taken as a probability: the ends count
        return np.array([least, most]), np.ones(2)
    t = np.linspace(-1.0, 1.0, MASS)[1:-1]
    if math.isfinite(least) and math.isfinite(most):
        x = least + (most - least) * (t + 1) / 2
        return x, np.full_like(x, (most - least) / (MASS - 1))
    t = 40.0 * t
    step = 80.0 / (MASS - 1)
    if math.isfinite(least) or math.isfinite(most):
        x = np.exp(t)
        return (least + x if math.isfinite(least) else most - x), x * step
    return np.sinh(t), np.cosh(t) * step


def probe(kind: Any) -> list[float]:
    """What a likelihood's formulas give at a few places."""
    x, a = points(kind.SUPPORT, kind.WHOLE)[:3], OUTPUTS[[5, 16, 20]]
    values = [*kind.FORMULAS["term"].over(x, a, *starts(kind)), *kind.FORMULAS["inverse_link"].over(a)]
    if "encoder_input" in kind.FORMULAS:
        values += kind.FORMULAS["encoder_input"].over(x)
    return [float(value) for array in values for value in array]


def check_activation(formula: Formula) -> list[float]:
    """Two numbers, finite, the second the derivative of the first; the same in float32. Return it at a few places."""
    one = call(formula, OUTPUTS[0])
    if not isinstance(one, tuple) or len(one) != 2 or any(np.ndim(value) for value in one):
        raise TypeError(f"{formula.where} returned {one!r}; two numbers are needed: the activation, and its derivative")
    value, slope = formula.over(OUTPUTS)
    for result, what in ((value, "the activation"), (slope, "its derivative")):
        _check_finite(formula.where, ["a"], [OUTPUTS], result, what)
    expected = (formula.over(OUTPUTS + STEP)[0] - formula.over(OUTPUTS - STEP)[0]) / (2 * STEP)
    wrong = np.flatnonzero(~(np.abs(slope - expected) <= SLOPE * (1 + np.abs(expected)) + ROUNDED * np.abs(value)))
    if len(wrong):
        at = wrong[0]
        raise ValueError(
            f"{formula.where}: at a = {OUTPUTS[at]:.6g} its second number is {slope[at]:.6g}, and the first changes by "
            f"{expected[at]:.6g} with a: it must be the derivative"
        )
    _check_narrow(formula, ["a"], [OUTPUTS], (value, slope))
    return [float(each) for each in value[[5, 16, 20]]]
