"""A trained model as two files that need NumPy alone: NAME.py with its functions, NAME.npz with its numbers."""

import inspect
import keyword
import os
import pathlib
from typing import Any, cast

import numpy as np

from fastvae.atomic import atomic_file, check_writable
from fastvae.data.condition import KINDS, Labels, Vectors
from fastvae.data.scaling import ROUNDING
from fastvae.data.validation import LARGEST
from fastvae.export import numpy_parts as parts
from fastvae.export.paths import named
from fastvae.export.portable import Portable, portable
from fastvae.layers import Half, Layer
from fastvae.reference import LEAKY_SLOPE, LOGVAR_HIGHEST, LOGVAR_LOWEST, sigmoid, silu, softplus
from fastvae.version import VERSION

EXPRESSIONS = {  # of one array; those of `reference` that are longer are written out as functions
    "relu": "np.maximum({0}, 0)", "tanh": "np.tanh({0})", "exp": "np.exp({0})", "log1p": "np.log1p({0})",
    "leaky_relu": f"np.where({{0}} > 0, {{0}}, np.float32({LEAKY_SLOPE}) * {{0}})",
}  # fmt: skip
FUNCTIONS = {"sigmoid": [sigmoid], "softplus": [softplus], "silu": [sigmoid, silu]}
HEAD = '''"""A trained {kind}, in NumPy alone.

Written by fastvae {version}; its numbers are in {data}, which must lie beside this file.

{usage}
"""

import pathlib
{imports}
import numpy as np

with np.load(pathlib.Path(__file__).with_name({data!r})) as _file:
    _NUMBERS = {{name: _file[name] for name in _file.files}}
_LARGEST, _QUIET = {largest!r}, np.errstate(all="ignore")  # of float32; what overflows is refused in the end
{constants}'''


def write(model: Any, path: str | os.PathLike[str]) -> tuple[pathlib.Path, pathlib.Path]:
    """Write NAME.py and NAME.npz, whose functions compute what the model does, within float32 rounding: `encode`,
    `decode`, `reconstruct`, `sample` and `score`, as far as the model has them. What the model refuses they refuse.

    Parameters
    ----------
    model
        A fitted `VAE`, autoencoder, `GAN` or `RBM`. Of one that was loaded with decoder_only=True the file has `decode`
        and `sample` alone.
    path
        NAME.py, or NAME; the name must be one that Python can import.

    Returns
    -------
    The two paths.

    Raises
    ------
    TypeError, ValueError
        A model that cannot be exported; a name that is no identifier, or has another ending.
    FileAccessError
        It cannot be written. What stood there is unchanged.
    """
    target, beside = paths(path)
    found = portable(model)
    check_writable(target)
    numbers: dict[str, np.ndarray] = {}
    text = _text(found, beside.name, numbers)
    with atomic_file(beside) as file:
        np.savez(file, **cast(dict[str, Any], numbers))
    with atomic_file(target, "w") as file:
        file.write(text)
    return target, beside


def paths(path: str | os.PathLike[str]) -> tuple[pathlib.Path, pathlib.Path]:
    """NAME.py and NAME.npz; a `ValueError` where Python could not import the name."""
    target = named(path, ".py", "NumPy")
    if not target.stem.isidentifier() or keyword.iskeyword(target.stem):
        raise ValueError(
            f"{target.name}: {target.stem!r} is no name that Python can import: take letters, digits and _"
        )
    return target, target.with_suffix(".npz")


def _text(m: Portable, data: str, numbers: dict[str, np.ndarray]) -> str:
    """The file; the numbers that it reads are added to `numbers`."""
    beside, more = ("", "") if m.condition is None else (", condition", ", condition, seed=None")
    more = more or ", seed=None"
    usage = [
        f"decode(Z{beside})     of codes (N, {m.codes}) the mean of p(x|z), (N, {m.columns}), in the units of the data"
    ]
    body = [_decode(m, numbers)]
    if m.encoder is not None:
        heads = "mu and logvar of q(z|x)" if m.is_vae else "the codes"
        usage.insert(
            0, f"encode(X{beside})     of rows (N, {m.columns}), in the units of the data, {heads}, (N, {m.codes})"
        )
        usage.append(f"reconstruct(X{beside})     decode of " + ("mu" if m.is_vae else "encode(X)"))
        body = [_scaled(m), _encode(m, numbers), *body]
        first = "[0]" if m.is_vae else ""
        body.append(f"def reconstruct(X{beside}):\n    return decode(encode(X{beside}){first}{beside})\n")
    if m.prior:
        of = " of the condition, a label or vector for all or one for each" if beside else ""
        usage.append(f"sample(n{more})     decode of n draws from N(0, I){of}")
        body.append(
            f"def sample(n{more}):\n"
            f"    return decode(np.random.default_rng(seed).standard_normal((n, {m.codes}), np.float32){beside})\n"
        )
    if m.scores:
        what = "the ELBO, a lower bound of log p(x)" if m.is_vae else "log p(x) given its own code, which is no density"
        usage.append(f"score(X{beside})     {what}, (N,) in nats of the units of the data: low ones are odd")
        body.append(_score(m, numbers))
    if isinstance(m.condition, Labels):
        numbers["labels"] = m.condition.classes
        usage.append(f"condition     labels, {KINDS[m.condition.classes.dtype.kind]}: one for each row, or one for all")
        body.insert(0, parts.LABELS.replace("KINDS", repr("iu" if m.condition.classes.dtype.kind == "i" else
                                                          m.condition.classes.dtype.kind)))  # fmt: skip
    elif isinstance(m.condition, Vectors):
        numbers |= {"condition.offset": m.condition.offset, "condition.scale": m.condition.scale}
        usage.append(f"condition     floats, (N, {m.condition.columns}): one row for each row, or one for all")
        body.insert(0, parts.VECTORS)
    names = {"sigmoid"} & {m.mean} | {layer.activation for layer in m.layers}
    names |= {"softplus"} if m.scores and m.likelihood == "bernoulli" else set()
    functions = list(dict.fromkeys(f for name in FUNCTIONS if name in names for f in FUNCTIONS[name]))
    head = HEAD.format(
        kind=m.kind, version=VERSION, data=data, usage="\n".join(usage), largest=LARGEST,
        constants=_constants(m, numbers),
        imports="import warnings\n" if m.clips and m.encoder is not None else "",
    )  # fmt: skip
    pieces = [parts.ROWS, *(inspect.getsource(function) for function in functions), *body]
    return head + "".join(f"\n\n{piece.strip()}\n" for piece in pieces)


def _constants(m: Portable, numbers: dict[str, np.ndarray]) -> str:
    numbers |= {"offset": m.units.offset, "scale": m.units.scale}
    lines = [
        "# (D,), in both arithmetics of the model, which sees (X - offset) / scale",
        "_UNITS = {k: (_NUMBERS['offset'].astype(k), _NUMBERS['scale'].astype(k)) for k in (np.float32, np.float64)}",
    ]
    if m.names is not None:
        lines.append(f"COLUMNS = {m.names!r}")
    return "\n".join(lines) + "\n"


def _applied(name: str, to: str) -> str:
    """A function of one array as an expression."""
    return to if name == "identity" else EXPRESSIONS.get(name, name + "({0})").format(to)


def _layer(layer: Layer, to: str, numbers: dict[str, np.ndarray], given: str = "") -> str:
    """A layer of the variable `to` as an expression, without its activation; `given`: what its half is given."""
    numbers |= {f"{layer.name}.weight": layer.weight, f"{layer.name}.bias": layer.bias}
    text = f"{to} @ _NUMBERS[{layer.name + '.weight'!r}] + _NUMBERS[{layer.name + '.bias'!r}]"
    if layer.beside is not None:
        numbers[f"{layer.name}.linear"] = layer.beside
        text += f" + {given} @ _NUMBERS[{layer.name + '.linear'!r}]"
    return text


def _activated(layer: Layer, to: str, numbers: dict[str, np.ndarray], given: str) -> str:
    """The same with its activation."""
    text = _layer(layer, to, numbers, given)
    return text if layer.activation == "identity" else _applied(layer.activation, f"({text})")


def _through(half: Half, given: str, numbers: dict[str, np.ndarray]) -> tuple[list[str], str]:
    """Lines of the layers, and the variable that holds what the last one gives."""
    lines, to = [], given
    for layer in half.layers:
        lines.append(f"a = {_layer(layer, to, numbers)}")
        if layer.activation != "identity":
            lines.append(f"a = {_applied(layer.activation, 'a')}")
        to = "a"
    return lines, to


def _scaled(m: Portable) -> str:
    """What brings rows into the model's units."""
    checks = []
    if m.whole:
        checks.append(parts.WHOLE)
    if m.unit_range:
        checks.append((parts.CLIP if m.clips else parts.RANGE).replace("ROUNDING", f"{ROUNDING:g}").strip("\n") + "\n")
    return parts.SCALED.replace("    CHECKS\n", "".join(checks))


def _encode(m: Portable, numbers: dict[str, np.ndarray]) -> str:
    """`_heads`, from the model's units on, and `encode`."""
    assert m.encoder is not None
    beside = "" if m.condition is None else ", condition"
    lines = [f"u = {_applied(m.seen, 'u')}"] if m.seen != "identity" else []
    if beside:
        lines.append("u = _with_condition(u, condition)")
    layers, h = _through(m.encoder, "u", numbers)
    lines += layers
    for name, layer in m.encoder.heads.items():
        value = _activated(layer, h, numbers, "u")
        limits = f"{LOGVAR_LOWEST:g}, {LOGVAR_HIGHEST:g}"
        lines.append(f"{name} = np.clip({value}, {limits})" if name == "logvar" else f"{name} = {value}")
    names = list(m.encoder.heads)
    heads = _function(f"_heads(u{beside})", [*lines, f"return {', '.join(names)}{',' * (len(names) == 1)}"])
    lines = [f"X = _rows(X, {m.columns}, 'X')"]
    lines.append(f"{', '.join(names)}{',' * (len(names) == 1)} = _heads(_scaled(X){beside})")
    lines.append("return " + ", ".join(f"_checked({name}, X)" for name in names))
    return heads + "\n\n@_QUIET\n" + _function(f"encode(X{beside})", lines)


def _decode(m: Portable, numbers: dict[str, np.ndarray]) -> str:
    """`_outputs`, the decoder up to the mean, and `decode`."""
    beside = "" if m.condition is None else ", condition"
    lines, to = _through(m.decoder, "z", numbers)
    (head,) = m.decoder.heads.values()
    outputs = _function("_outputs(z)", [*lines, f"return {_activated(head, to, numbers, 'z')}"])
    kind = np.dtype(m.units.dtype).name
    z = "_float32(Z, Z, 'Z')"
    lines = [f"Z = _rows(Z, {m.codes}, 'Z')", f"z = _with_condition({z}, condition)" if beside else f"z = {z}"]
    mean = _applied(m.mean, "_outputs(z)")
    if m.units.same:
        lines.append(f"return _checked({mean}, Z)")
    else:
        lines += [f"offset, scale = _UNITS[np.{kind}]", f"return _checked({mean} * scale + offset, Z)"]
    return outputs + "\n\n@_QUIET\n" + _function(f"decode(Z{beside})", lines)


def _score(m: Portable, numbers: dict[str, np.ndarray]) -> str:
    beside = "" if m.condition is None else ", condition"
    nll = {"bernoulli": parts.BERNOULLI, "gaussian": parts.GAUSSIAN, "poisson": parts.POISSON}[m.likelihood or ""]
    if m.likelihood == "gaussian":
        numbers |= {"sigma": np.broadcast_to(m.sigma, m.columns).astype(np.float32)}
    text = nll.strip() + "\n\n\n" + (parts.NLL if m.points is None else parts.ELBO).strip()
    if m.points is not None:
        numbers["points"] = m.points
    text = text.replace("    MORE\n", "    " + parts.MORE if beside else "").replace(", BESIDE", beside)
    for word, value in (("COLUMNS", m.columns), ("CODES", m.codes), ("JACOBIAN", m.log_jacobian)):
        text = text.replace(word, repr(value))
    return text


def _function(head: str, lines: list[str]) -> str:
    return "\n".join([f"def {head}:", *(f"    {line}" for line in lines)]) + "\n"
