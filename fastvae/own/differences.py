"""Gradients held against differences: of the functions of a layer, when it is registered, and of whole models."""

from typing import Any

import numpy as np

STEP, ALLOWED = 1e-4, 1e-3  # of differences in float64; of a gradient, by its size
SIZES = {"B": 3, "D": 4, "H": 5}
ROUNDING = 2.0**-22  # of a loss, by its size
TRIED = (0.3, 0.1, 0.03)  # steps of a model's parameters, in float32, by their size


def check_layer(kind: Any) -> list[float]:
    """Raise where a layer's functions do not give the gradients of its forward, in float64, as Python; return some of
    its outputs.

    Raises
    ------
    ValueError
        An output is not finite, or not written; a row depends on others; a gradient is not what differences give. The
        message says which, where, and both numbers.
    TypeError
        A function raises something.
    """
    rng, where = np.random.default_rng(0), kind.__qualname__
    inputs = [operand for operand in kind.OPERANDS.operands if not operand.output]
    outs = [operand for operand in kind.OPERANDS.operands if operand.output]
    given = {operand.name: rng.normal(size=[SIZES[letter] for letter in operand.shape]) for operand in inputs}
    if "noise" in given and kind.NOISE == "uniform":
        given["noise"] = rng.random(given["noise"].shape)
    x = inputs[0].name

    def forward(values: dict[str, np.ndarray]) -> list[np.ndarray]:
        rows = len(values[x])
        made = [np.full([rows, *(SIZES[letter] for letter in operand.shape[1:])], np.nan) for operand in outs]
        _done(kind, "forward", [*(array.copy() for array in values.values()), *made])
        return made

    found = forward(given)
    for operand, array in zip(outs, found, strict=True):
        if not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise ValueError(f"{where}.forward: {operand.name}{list(place)} is not finite, or was not written")
    alone = forward({name: array[1:2] if name in (x, "noise") else array for name, array in given.items()})
    if any(not np.allclose(one, whole[1:2]) for one, whole in zip(alone, found, strict=True)):
        raise ValueError(f"{where}.forward: a row of {x} gives something else alone than beside others: threads share "
                         "the rows, so that each must be treated by itself")  # fmt: skip
    d_out = rng.normal(size=found[0].shape)
    before = [*(array.copy() for array in given.values()), *found, d_out]
    params = [operand.name for operand in inputs[1:] if operand.name != "noise"]
    for way, wanted in (("backward", [x]), ("gradient", params)):
        if not wanted:
            continue
        made = [np.full(given[name].shape, np.nan) for name in wanted]
        arrays = [array.copy() for array in before]
        _done(kind, way, [*arrays, *made])
        if any(not np.array_equal(one, other) for one, other in zip(arrays, before, strict=True)):
            raise ValueError(f"{where}.{way} changes its inputs: it must write its last operands alone")
        for name, gradient in zip(wanted, made, strict=True):
            _compare(f"{where}.{way}", name, gradient, _differences(forward, given, name, d_out))
    return [float(value) for value in found[0].ravel()[:4]]


def _done(kind: Any, way: str, arrays: list[np.ndarray]) -> None:
    function = getattr(kind, way)
    function = getattr(function, "py_func", function)
    try:
        with np.errstate(all="ignore"):
            function(*arrays)
    except Exception as error:
        sizes = ", ".join(f"{letter} = {size}" for letter, size in SIZES.items())
        raise TypeError(f"{kind.__qualname__}.{way} fails ({sizes}): {type(error).__name__}: {error}") from error


def _differences(forward: Any, given: dict[str, np.ndarray], name: str, d_out: np.ndarray) -> np.ndarray:
    expected = np.empty_like(given[name])
    for place in np.ndindex(expected.shape):
        sides = []
        for sign in (1, -1):
            moved = given[name].copy()
            moved[place] += sign * STEP
            sides.append(float((forward(given | {name: moved})[0] * d_out).sum()))
        expected[place] = (sides[0] - sides[1]) / (2 * STEP)
    return expected


def _compare(where: str, name: str, found: np.ndarray, expected: np.ndarray) -> None:
    wrong = np.argwhere(~(np.abs(found - expected) <= ALLOWED * (1 + np.abs(expected))))
    if len(wrong):
        place = tuple(int(i) for i in wrong[0])
        what = "was not written" if np.isnan(found[place]) else f"is {found[place]:.6g}"
        raise ValueError(f"{where}: d_{name}{list(place)} {what}, where differences of forward give "
                         f"{expected[place]:.6g}")  # fmt: skip


def check_gradients(model: Any, X: Any, condition: Any = None, seed: int = 0) -> dict[str, float]:
    """Hold the gradients of a model's loss against differences of that loss, for a layer, a likelihood or a network of
    one's own.

    Each parameter, an array, is moved along a random direction, forwards and backwards; the noise stays the same. The
    loss is of float32: what its rounding alone can make of the differences is no error, so that a gradient of next to
    nothing tells nothing, as before the first steps those of an encoder whose decoder begins at 0.

    Parameters
    ----------
    model
        An estimator that is initialised or fitted, or a `Network` that is prepared. Its parameters are as before
        afterwards.
    X : (B, D)
        Some rows, in the user's units; of a network, float32 in its own.
    condition
        Of an estimator's rows, as its `transform` has it; of a network's, (B, C) float32.
    seed
        Of the directions.

    Returns
    -------
    Name of each parameter to how far the derivative along the direction is from the differences, by the larger: right
    ones are below 1e-2, where nothing has a kink.
    """
    network, x, c = _parts(model, X, condition)
    rng = np.random.default_rng(seed)

    def loss() -> float:
        return float(network.loss_and_gradients(x, 1, float("inf"), None, c)["loss"])

    loss()
    values = network.parameters.named_values()
    gradients = {name: gradient.astype(float) for name, gradient in network.parameters.named_gradients().items()}
    found = {}
    for name, value in values.items():
        kept = value.copy()
        direction = rng.normal(size=value.shape) + np.sign(gradients[name])
        direction /= np.sqrt(np.mean(np.square(direction))) * np.sqrt(value.size)
        expected, errors = float((gradients[name] * direction).sum()), []
        for step in TRIED:
            sides = []
            for far in (1, -1, 2, -2):
                value[...] = kept + far * step * direction
                sides.append(loss())
                value[...] = kept
            near, wide = (sides[0] - sides[1]) / (2 * step), (sides[2] - sides[3]) / (4 * step)
            difference = (4 * near - wide) / 3
            size, rounded = max(abs(difference), abs(expected), 1e-30), ROUNDING * (1 + max(map(abs, sides))) / step
            errors.append(max(0.0, abs(difference - expected) - rounded) / size)
        found[name] = min(errors)
    return found


def _parts(model: Any, X: Any, condition: Any) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """The network, and rows in its units."""
    if not hasattr(model, "network_"):
        return model, X, condition
    network, examples = model.network_, model.examples(X, condition=condition)
    x = np.empty(np.shape(X), np.float32)
    examples.fill(np.arange(len(x), dtype=np.int64), x, 0, 0)
    rows = examples.condition_rows
    return network, x, None if rows is None else np.ascontiguousarray(rows, np.float32)
