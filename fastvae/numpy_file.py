"""A trained model as two files that need NumPy alone: NAME.py with its functions, NAME.npz with its numbers."""

import inspect
import keyword
import os
import pathlib
from typing import Any, cast

import numpy as np

from fastvae.atomic import atomic_file
from fastvae.reference import LEAKY_SLOPE, LOGVAR_HIGHEST, LOGVAR_LOWEST, sigmoid, silu, softplus
from fastvae.version import VERSION

NUMPY = {  # of activations that are one expression; the others are written out as `reference` has them
    "identity": "a", "relu": "np.maximum(a, 0)", "tanh": "np.tanh(a)",
    "leaky_relu": f"np.where(a > 0, a, np.float32({LEAKY_SLOPE}) * a)",
}  # fmt: skip
HEAD = '''"""{title}, in NumPy alone.

Written by fastvae {version}; its numbers are in {data}, which must lie beside this file.

{usage}
"""

import pathlib

import numpy as np

with np.load(pathlib.Path(__file__).with_name({data!r})) as _file:
    _NUMBERS = {{name: _file[name] for name in _file.files}}
_OFFSET, _SCALE = _NUMBERS["offset"], _NUMBERS["scale"]  # (D,): the model sees (X - offset) / scale


def _rows(X, columns, name):
    X = np.asarray(X)
    if X.ndim != 2 or X.shape[1] != columns:
        raise ValueError(f"{{name}} has shape {{X.shape}}; (N, {{columns}}) is needed")
    if not np.isfinite(X).all():
        raise ValueError(f"{{name}} has values that are not finite: remove or replace them")
    return X


def _dense(x, name):
    return x @ _NUMBERS[name + ".weight"] + _NUMBERS[name + ".bias"]
''' + "".join(f"\n\n{inspect.getsource(function)}".replace("{", "{{").replace("}", "}}")
            for function in (sigmoid, softplus, silu))  # fmt: skip


def write(model: Any, path: str | os.PathLike[str]) -> tuple[pathlib.Path, pathlib.Path]:
    """Write NAME.py and NAME.npz, whose functions encode and decode as the model does, within float32 rounding.

    Parameters
    ----------
    model
        A fitted `VAE` or autoencoder without a condition. Of one that was loaded with decoder_only=True the file has
        `decode` alone.
    path
        NAME.py, or NAME; the name must be one that Python can import.

    Returns
    -------
    The two paths.

    Raises
    ------
    TypeError, ValueError
        A model that has no encoder and decoder of this kind, or has a condition; a name that is no identifier.
    FileAccessError
        It cannot be written. What stood there is unchanged.
    """
    target, beside = paths(path)
    network = model._check_fitted()
    network.parameters.bring_back()
    text, numbers = _text(model, network, beside.name)
    with atomic_file(beside) as file:
        np.savez(file, **cast(dict[str, Any], numbers))
    with atomic_file(target, "w") as file:
        file.write(text)
    return target, beside


def paths(path: str | os.PathLike[str]) -> tuple[pathlib.Path, pathlib.Path]:
    """NAME.py and NAME.npz; a `ValueError` where Python could not import the name."""
    target = pathlib.Path(path)
    target = target if target.suffix == ".py" else target.with_name(target.name + ".py")
    if not target.stem.isidentifier() or keyword.iskeyword(target.stem):
        raise ValueError(
            f"{target.name}: {target.stem!r} is no name that Python can import: take letters, digits and _"
        )
    return target, target.with_suffix(".npz")


def _text(model: Any, network: Any, data: str) -> tuple[str, dict[str, np.ndarray]]:
    """The file, and the numbers that it reads."""
    kind = type(model).__name__
    if not hasattr(network, "decoder") or not hasattr(network.decoder, "layers"):
        raise TypeError(f"a {kind} has no encoder and decoder that could be written as a file of NumPy")
    if getattr(network, "condition", None) is not None:
        raise ValueError(f"this {kind} has a condition, which a file of NumPy does not know: save it with save(path)")
    numbers = {"offset": network.units.offset, "scale": network.units.scale}
    columns, codes = network.architecture.inputs, network.inputs["z"]
    is_vae = hasattr(network, "mu")
    usage = [f"decode(Z)     of codes (N, {codes}) the mean of p(x|z), (N, {columns}), in the units of the data"]
    body = [_decode(network, columns, codes, numbers)]
    if network.complete:
        what = "mu and logvar of q(z|x)" if is_vae else "the codes"
        usage.insert(0, f"encode(X)     of rows (N, {columns}), in the units of the data, {what}, (N, {codes})")
        usage.append("reconstruct(X)     decode of " + ("mu" if is_vae else "encode(X)"))
        body.insert(0, _encode(network, columns, is_vae, numbers))
        body.append(f"def reconstruct(X):\n    return decode(encode(X){'[0]' if is_vae else ''})\n")
    if is_vae:
        usage.append("sample(n, seed=None)     decode of n draws from N(0, I)")
        body.append(
            "def sample(n, seed=None):\n"
            f"    return decode(np.random.default_rng(seed).standard_normal((n, {codes}), np.float32))\n"
        )
    names = getattr(model, "_feature_names", None)
    if names is not None:
        usage.append(f"columns: {', '.join(map(str, names))}")
    head = HEAD.format(title=f"A trained {kind}", version=VERSION, data=data, usage="\n".join(usage))
    return head + "".join(f"\n\n{part}" for part in body), numbers


def _layers(layers: list[Any], numbers: dict[str, np.ndarray], variable: str) -> list[str]:
    lines = []
    for layer in layers:
        numbers |= {f"{layer.name}.weight": layer.weight, f"{layer.name}.bias": layer.bias}
        lines.append(f"a = _dense({variable}, {layer.name!r})")
        if layer.activation != "identity":
            lines.append(f"a = {NUMPY.get(layer.activation, layer.activation + '(a)')}")
        variable = "a"
    return lines


def _path(path: Any, numbers: dict[str, np.ndarray], variable: str) -> str:
    numbers[f"{path.name}.weight"] = path.weight
    return f" + {variable} @ _NUMBERS[{path.name + '.weight'!r}]"


def _encode(network: Any, columns: int, is_vae: bool, numbers: dict[str, np.ndarray]) -> str:
    lines = [
        f"X = _rows(X, {columns}, 'X')",
        "u = ((X - _OFFSET) / _SCALE).astype(np.float32)",
    ]
    if network.likelihood.NUMPY_SEEN != "u":
        lines.append(f"u = {network.likelihood.NUMPY_SEEN}")
    lines += _layers(network.encoder.layers, numbers, "u")
    if not is_vae:
        return _function("encode(X)", [*lines, "return a"])
    h = "a" if network.encoder.layers else "u"
    linear = "" if network.mu_linear is None else _path(network.mu_linear, numbers, "u")
    for layer in (network.mu, network.logvar):
        numbers |= {f"{layer.name}.weight": layer.weight, f"{layer.name}.bias": layer.bias}
    lines.append(f"mu = _dense({h}, {network.mu.name!r}){linear}")
    lines.append(f"logvar = np.clip(_dense({h}, {network.logvar.name!r}), {LOGVAR_LOWEST:g}, {LOGVAR_HIGHEST:g})")
    return _function("encode(X)", [*lines, "return mu, logvar"])


def _decode(network: Any, columns: int, codes: int, numbers: dict[str, np.ndarray]) -> str:
    lines = [f"Z = _rows(Z, {codes}, 'Z').astype(np.float32)", *_layers(network.decoder.layers, numbers, "Z")]
    linear = getattr(network.decoder, "linear", None)
    if linear is not None:
        lines.append(f"a = a{_path(linear, numbers, 'Z')}")
    lines.append(f"mean = {network.likelihood.NUMPY_MEAN}")
    dtype = np.dtype(network.units.dtype).name
    lines.append(f"return mean * _SCALE.astype(np.{dtype}) + _OFFSET.astype(np.{dtype})")
    return _function("decode(Z)", lines)


def _function(head: str, lines: list[str]) -> str:
    return "\n".join([f"def {head}:", *(f"    {line}" for line in lines)]) + "\n"
