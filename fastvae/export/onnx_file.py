"""A trained model as ONNX, a file for each of its functions: NAME.encoder.onnx, NAME.decoder.onnx, NAME.score.onnx.

    encoder    x (N, D), in the user's units    ->    mu, logvar (N, Z); of other models than a VAE codes (N, Z)
    decoder    z (N, Z)                         ->    mean (N, D) of p(x|z), in the user's units
    score      x (N, D)                         ->    score (N,), see `portable`

With a condition all have a second input, "condition": labels (N,), int64, bool or string, or numbers (N, C). Rows are
float; double where a column lies so far from 0 that float32 would not hold its differences. ONNX knows no errors: of a
row that the model refuses all outputs are NaN or infinite.
"""

import json
import math
import os
import pathlib
from typing import Any

import numpy as np

from fastvae.atomic import atomic_file, check_writable
from fastvae.data.condition import Labels, Vectors
from fastvae.data.scaling import ROUNDING, WIDE
from fastvae.errors import MissingPackageError
from fastvae.export.paths import named
from fastvae.export.portable import Portable, portable
from fastvae.layers import Half, Layer
from fastvae.reference import LEAKY_SLOPE, LOGVAR_HIGHEST, LOGVAR_LOWEST
from fastvae.version import VERSION

OPSET, IR_VERSION = 19, 9  # of 2023: strings can be compared from this one on
MOST_BYTES = (1 << 31) - (1 << 20)  # of one file, by protobuf
OPERATORS = {"relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid", "softplus": "Softplus", "exp": "Exp"}
F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


def write(model: Any, path: str | os.PathLike[str]) -> tuple[pathlib.Path, ...]:
    """Write the functions that a model has as ONNX; they compute what it does, within float32 rounding.

    Parameters
    ----------
    model
        A fitted `VAE`, autoencoder, `GAN` or `RBM`; of one that was loaded with decoder_only=True the decoder alone.
    path
        NAME.onnx, or NAME.

    Returns
    -------
    The paths: NAME.encoder.onnx, NAME.decoder.onnx, NAME.score.onnx, those of them that there are.

    Raises
    ------
    MissingPackageError
        The package onnx is not installed; reading the files needs another, onnxruntime say.
    TypeError, ValueError
        A model that cannot be exported, or is too large; another ending.
    FileAccessError
        A file cannot be written. What stood there is unchanged.
    """
    targets = paths(path)
    library()
    found = portable(model)
    made = {"decoder": _decoder(found)}
    made |= {} if found.encoder is None else {"encoder": _encoder(found)}
    made |= {"score": _score(found)} if found.scores else {}
    chosen = {target: made[name] for name, target in targets.items() if name in made}
    for target in chosen:
        check_writable(target)
    for target, graph in chosen.items():
        content = graph.serialized(found)
        with atomic_file(target) as file:
            file.write(content)
    return tuple(chosen)


def paths(path: str | os.PathLike[str]) -> dict[str, pathlib.Path]:
    """Name of each function to the file that it would be written to."""
    target = named(path, ".onnx", "ONNX")
    stem = target.name.removesuffix(".onnx")
    return {name: target.with_name(f"{stem}.{name}.onnx") for name in ("encoder", "decoder", "score")}


def library() -> Any:
    """The package onnx."""
    try:
        import onnx
    except ImportError as error:
        raise MissingPackageError(f"ONNX needs the package onnx: pip install onnx ({error})") from None
    return onnx


class Graph:
    """Nodes that are added one after the other; a name stands for what a node gives."""

    def __init__(self, name: str) -> None:
        self.name, self._onnx = name, library()
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._numbers: dict[str, np.ndarray] = {}

    def input(self, name: str, dtype: Any, columns: int | None) -> str:
        """An input (N, columns), or (N,) where there are none."""
        self._inputs.append(self._value(name, dtype, columns))
        return name

    def output(self, value: str, name: str, dtype: Any, columns: int | None) -> None:
        """Give what a node gives as an output."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._value(name, dtype, columns))

    def _value(self, name: str, dtype: Any, columns: int | None) -> Any:
        helper, dtype = self._onnx.helper, np.dtype(dtype)
        kind = self._onnx.TensorProto.STRING if dtype.kind == "U" else helper.np_dtype_to_tensor_dtype(dtype)
        return helper.make_tensor_value_info(name, kind, ["N"] if columns is None else ["N", columns])

    def number(self, values: Any, dtype: Any = F32, name: str | None = None) -> str:
        """Constant values, under a name of theirs where they have one."""
        array = np.asarray(values) if dtype is None else np.asarray(values, dtype)
        name = name or f"constant.{len(self._numbers)}"
        self._numbers[name] = array
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """What an operator gives of these."""
        name = f"{operator.lower()}.{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def cast(self, value: str, dtype: Any) -> str:
        """The same numbers in another type."""
        return self.add("Cast", value, to=self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def along(self, value: str, axis: int) -> str:
        """With another axis of length 1."""
        return self.add("Unsqueeze", value, self.number([axis], np.int64))

    def total(self, value: str, axis: int, keep: bool = False, how: str = "ReduceSum") -> str:
        """The sum along an axis."""
        return self.add(how, value, self.number([axis], np.int64), keepdims=int(keep))

    def serialized(self, m: Portable) -> bytes:
        """The file; a `ValueError` where it would be larger than such a file can be."""
        size = sum(array.nbytes for array in self._numbers.values())
        if size > MOST_BYTES:
            raise ValueError(f"the {self.name} has {size:,} bytes of parameters; a file of ONNX holds 2 GiB")
        helper, tensors = self._onnx.helper, []
        for name, array in self._numbers.items():
            given = array.astype(object) if array.dtype.kind == "U" else array
            tensors.append(self._onnx.numpy_helper.from_array(given, name))
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, tensors)
        opset = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="fastvae",
                                 producer_version=VERSION, doc_string=f"{self.name} of a trained {m.kind}")  # fmt: skip
        helper.set_model_props(made, facts(m))
        self._onnx.checker.check_model(made)
        content: bytes = made.SerializeToString()
        return content


def facts(m: Portable) -> dict[str, str]:
    """The metadata of each file, as text; lists as JSON."""
    found = {"fastvae_version": VERSION} | m.facts()
    if m.names is not None:
        found["feature_names"] = json.dumps(m.names)
    if m.likelihood == "gaussian":
        found["sigma"] = json.dumps(np.broadcast_to(m.sigma * m.units.scale, m.columns).tolist())
    if isinstance(m.condition, Labels):
        found["labels"] = json.dumps(m.condition.classes.tolist())
    elif m.condition is not None:
        found["condition"] = m.condition.described
    return found


# ---- the functions --------------------------------------------------------------------------------------------------


def _encoder(m: Portable) -> Graph:
    g = Graph("encoder")
    u, guard = _scaled(g, m)
    beside, guard = _condition(g, m, guard)
    for name, value in _heads(g, m, u, beside).items():
        g.output(g.add("Add", value, guard), name, F32, m.codes)
    return g


def _decoder(m: Portable) -> Graph:
    g = Graph("decoder")
    z = g.input("z", F32, m.codes)
    beside, guard = _condition(g, m, _finite(g, z))
    a = _outputs(g, m, z if beside is None else g.add("Concat", z, beside, axis=1))
    mean, dtype = g.add("Add", _mean(g, m, a), guard), np.dtype(m.units.dtype)
    if not m.units.same:
        mean = mean if dtype == F32 else g.cast(mean, dtype)
        mean = g.add("Mul", mean, g.number(m.units.scale, dtype))
        mean = g.add("Add", mean, g.number(m.units.offset, dtype))
    g.output(mean, "mean", dtype, m.columns)
    return g


def _score(m: Portable) -> Graph:
    g = Graph("score")
    u, guard = _scaled(g, m)
    beside, guard = _condition(g, m, guard)
    heads = _heads(g, m, u, beside)
    if m.points is None:
        (z,) = heads.values()
        found = _nll(g, m, u, _outputs(g, m, z), 1)
    else:
        mu, logvar = heads["mu"], heads["logvar"]
        excess = g.add("Sub", g.add("Exp", logvar), g.add("Add", logvar, g.number(1)))
        kl = g.add("Mul", g.number(0.5), g.total(g.add("Add", excess, g.add("Mul", mu, mu)), 1))
        deviation = g.add("Exp", g.add("Mul", g.number(0.5), logvar))
        drawn = g.add("Mul", g.along(deviation, 1), g.number(m.points[None], name="points"))
        z, (count, codes) = g.add("Add", g.along(mu, 1), drawn), m.points.shape
        if beside is not None:
            c = g.add("Expand", g.along(beside, 1), g.number([1, count, 1], np.int64))
            z, codes = g.add("Concat", z, c, axis=2), codes + (0 if m.condition is None else m.condition.columns)
        a = _outputs(g, m, g.add("Reshape", z, g.number([-1, codes], np.int64)))
        a = g.add("Reshape", a, g.number([-1, count, m.columns], np.int64))
        nll = g.total(_nll(g, m, g.along(u, 1), a, 2), 1, how="ReduceMean")
        found = g.add("Add", nll, kl)
    score = g.add("Sub", g.add("Neg", found), g.number(m.log_jacobian))
    g.output(g.add("Add", score, g.add("Squeeze", guard, g.number([1], np.int64))), "score", F32, None)
    return g


# ---- what they are made of ------------------------------------------------------------------------------------------


def _finite(g: Graph, values: str, dtype: Any = F32) -> str:
    """0 (N, 1) for rows of finite numbers, else NaN."""
    return g.total(g.add("Mul", values, g.number(0, dtype)), 1, keep=True)


def _where(g: Graph, right: str) -> str:
    """0 (N, 1) for rows where all is right, else NaN."""
    return g.total(g.add("Where", right, g.number(0), g.number(math.nan)), 1, keep=True)


def _scaled(g: Graph, m: Portable) -> tuple[str, str]:
    """The rows in the model's units, float32, and 0 (N, 1) for each that the model takes, else NaN."""
    dtype = np.dtype(m.units.dtype)
    x = g.input("x", dtype, m.columns)
    guard = None
    if m.clips:
        guard = _finite(g, x, dtype)
        x = g.add(
            "Max", g.add("Min", x, g.number(m.units.offset + m.units.scale, dtype)), g.number(m.units.offset, dtype)
        )
    u = x
    if not m.units.same:
        u = g.add("Div", g.add("Sub", x, g.number(m.units.offset, dtype)), g.number(m.units.scale, dtype))
    u = u if dtype == F32 else g.cast(u, F32)
    if m.whole:
        whole = g.add("Equal", g.add("Sub", u, g.add("Floor", u)), g.number(0))
        guard = _where(g, g.add("And", whole, g.add("GreaterOrEqual", u, g.number(0))))
    elif guard is None and m.unit_range:
        away = g.add("Abs", g.add("Sub", u, g.number(0.5)))
        guard = _where(g, g.add("LessOrEqual", away, g.number(0.5 + ROUNDING)))
    guard = _finite(g, u) if guard is None else guard
    return u, guard if dtype == F32 or not m.clips else g.cast(guard, F32)


def _condition(g: Graph, m: Portable, guard: str) -> tuple[str | None, str]:
    """The condition as the model reads it (N, C), and what `guard` is with it; None without."""
    if isinstance(m.condition, Labels):
        classes = m.condition.classes
        given = g.along(g.input("condition", classes.dtype, None), 1)
        hit = g.cast(g.add("Equal", given, g.number(classes[None], None, "labels")), F32)
        known = g.add("Greater", g.total(hit, 1, keep=True), g.number(0.5))
        guard = g.add("Add", guard, _where(g, known))
        return g.add("Mul", hit, g.number(math.sqrt(m.condition.columns))), guard
    if isinstance(m.condition, Vectors):
        c = m.condition
        dtype = F64 if (np.abs(c.offset) > WIDE * c.scale).any() else F32
        given = g.input("condition", dtype, c.columns)
        given = given if dtype == F64 else g.cast(given, F64)
        seen = g.add("Div", g.add("Sub", given, g.number(c.offset, F64)), g.number(c.scale, F64))
        seen = g.cast(seen, F32)
        return seen, g.add("Add", guard, _finite(g, seen))
    return None, guard


def _heads(g: Graph, m: Portable, u: str, beside: str | None) -> dict[str, str]:
    """What the encoder gives of rows in the model's units; logvar limited."""
    assert m.encoder is not None
    seen = u if m.seen == "identity" else g.add("Log", g.add("Add", u, g.number(1)))
    seen = seen if beside is None else g.add("Concat", seen, beside, axis=1)
    h = _through(g, m.encoder, seen)
    found = {name: _layer(g, layer, h, seen) for name, layer in m.encoder.heads.items()}
    if "logvar" in found:
        found["logvar"] = g.add("Clip", found["logvar"], g.number(LOGVAR_LOWEST), g.number(LOGVAR_HIGHEST))
    return found


def _outputs(g: Graph, m: Portable, z: str) -> str:
    """What the decoder gives of codes, before the mean is made of it."""
    (head,) = m.decoder.heads.values()
    return _layer(g, head, _through(g, m.decoder, z), z)


def _through(g: Graph, half: Half, given: str) -> str:
    h = given
    for layer in half.layers:
        h = _layer(g, layer, h, given)
    return h


def _layer(g: Graph, layer: Layer, x: str, given: str) -> str:
    weight, bias = (g.number(getattr(layer, part), name=f"{layer.name}.{part}") for part in ("weight", "bias"))
    a = g.add("Gemm", x, weight, bias)
    if layer.beside is not None:
        a = g.add("Gemm", given, g.number(layer.beside, name=f"{layer.name}.linear"), a)
    return _activated(g, layer.activation, a)


def _activated(g: Graph, name: str, a: str) -> str:
    if name == "identity":
        return a
    if name == "leaky_relu":
        return g.add("LeakyRelu", a, alpha=float(LEAKY_SLOPE))
    if name == "silu":
        return g.add("Mul", a, g.add("Sigmoid", a))
    return g.add(OPERATORS[name], a)


def _mean(g: Graph, m: Portable, a: str) -> str:
    if m.mean == "sigmoid":  # written out: the operator of some runtimes gives 0 from 1e-8 on
        return g.add("Reciprocal", g.add("Add", g.add("Exp", g.add("Neg", a)), g.number(1)))
    return _activated(g, m.mean, a)


def _nll(g: Graph, m: Portable, x: str, a: str, axis: int) -> str:
    """The nll of x, summed along an axis."""
    if m.likelihood == "gaussian":
        sigma = np.broadcast_to(m.sigma, m.columns)
        r = g.add("Mul", g.add("Sub", x, a), g.number(1 / sigma))
        constant = float(np.log(sigma).sum()) + 0.5 * math.log(2 * math.pi) * m.columns
        squares = g.total(r, axis, how="ReduceSumSquare")
        return g.add("Add", g.add("Mul", squares, g.number(0.5)), g.number(constant))
    if m.likelihood == "bernoulli":
        rest = g.add("Softplus", g.add("Neg", g.add("Abs", a)))
        return g.total(g.add("Add", rest, g.add("Sub", g.add("Relu", a), g.add("Mul", x, a))), axis)
    return _poisson(g, g.cast(x, F64), g.cast(a, F64), axis)


def _poisson(g: Graph, x: str, a: str, axis: int) -> str:
    """e^a - x a + ln x!, with its tangent above a = 30; ln x! by Stirling's series at x + 9. All in double."""

    def number(value: float) -> str:
        return g.number(value, F64)

    limited = g.add("Min", a, number(30))
    rate = g.add("Mul", g.add("Exp", limited), g.add("Add", g.add("Sub", a, limited), number(1)))
    y = g.add("Add", x, number(9))
    v = g.add("Reciprocal", y)
    w = g.add("Mul", v, v)
    series = g.add("Add", g.add("Mul", w, number(1 / 1260)), number(-1 / 360))
    series = g.add("Mul", v, g.add("Add", g.add("Mul", w, series), number(1 / 12)))
    far = g.add("Sub", g.add("Mul", g.add("Sub", y, number(0.5)), g.add("Log", y)), y)
    far = g.add("Add", far, g.add("Add", series, number(0.5 * math.log(2 * math.pi))))
    shifted = g.add("Add", g.along(x, axis + 1), g.number(np.arange(1.0, 9.0), F64))
    factorial = g.add("Sub", far, g.total(g.add("Log", shifted), axis + 1))
    terms = g.add("Add", g.add("Sub", rate, g.add("Mul", x, a)), factorial)
    return g.cast(g.total(terms, axis), F32)
