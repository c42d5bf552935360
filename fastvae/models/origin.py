"""Where a model's likelihood, layers and activations come from that are not the package's: see `fastvae.own`."""

import pathlib
import sys
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastvae.declared import declared, from_fields
from fastvae.errors import ModelFileError, check_name
from fastvae.layers import LAYERS
from fastvae.likelihoods import LIKELIHOODS

PACKAGE = "fastvae."
TABLES: dict[str, Mapping[str, Any]] = {"likelihood": LIKELIHOODS, "layer": LAYERS}


@dataclass(frozen=True)
class Origin:
    """One of them as a file has it: kind, name, where its class is from, and what it computes of some numbers."""

    kind: str
    name: str
    module: str
    home: str
    probe: list[float]

    def __post_init__(self) -> None:
        check_name("own.kind", self.kind, TABLES)


def classes_of(network: Any) -> list[tuple[str, Any]]:
    """Kind and class of all that a network has of others', in order, each once."""
    found = dict.fromkeys(
        ("likelihood" if part is network.likelihood else "layer", type(part))
        for part in [*network.owners(), *[network.likelihood] * (network.likelihood is not None)]
    )
    return [(kind, cls) for kind, cls in found if TABLES[kind].get(getattr(cls, "NAME", "")) is cls
            and not cls.__module__.startswith(PACKAGE)]  # fmt: skip


def origins(network: Any) -> list[dict[str, Any]]:
    """What a file says of them: names, which nobody ever imports, and what they compute of some numbers."""
    return [
        asdict(Origin(kind, cls.NAME, _module_of(cls), cls.__qualname__, cls.PROBE))
        for kind, cls in classes_of(network)
    ]


def _module_of(cls: Any) -> str:
    """The module to import; that of a program by its file, where it has one."""
    name: str = cls.__module__
    file = getattr(sys.modules.get(name), "__file__", None) if name == "__main__" else None
    return pathlib.Path(file).stem if file else name


def check_origins(path: Any, header: Mapping[str, Any], model: str) -> None:
    """Raise `ModelFileError` where something is not registered that the file's model has; warn where it computes
    something else than where the model was saved."""
    if "own" not in header:
        return
    try:
        given = declared("own", header["own"], list[Any])
        stored = [from_fields(Origin, f"own[{i}]", each) for i, each in enumerate(given)]
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{path}: it does not describe a {model}: {error}") from None
    missing = [each for each in stored if each.name not in TABLES[each.kind]]
    if missing:
        named = " and ".join(f"the {each.kind} {each.name!r}" for each in missing)
        homes: dict[str, list[str]] = {}
        for each in missing:
            homes.setdefault(each.module, []).append(each.home)
        first = "; ".join(
            f"{'run the code' if module == '__main__' else f'import {module}'}, which defines {' and '.join(classes)}"
            for module, classes in homes.items()
        )
        unknown = ModelFileError(
            f"{path}: this {model} was saved with {named} of somebody's own, not registered here: first {first}"
        )
        names = [part for module in homes for part in module.split(".")]
        if "__main__" not in homes and all(name.isidentifier() for name in names):  # a file may say anything
            unknown.modules = tuple(homes)
        raise unknown
    for each in stored:
        found = getattr(TABLES[each.kind][each.name], "PROBE", [])
        if len(found) != len(each.probe) or not np.allclose(found, each.probe, rtol=1e-6, atol=1e-9):
            warnings.warn(
                f"{path}: the {each.kind} {each.name!r} computes something else here than where this {model} was saved "
                f"({each.home} of {each.module}): so does the model, until it is loaded with that one",
                stacklevel=4,
            )


def importable(*arguments: Mapping[str, Any]) -> tuple[Any, ...]:
    """Those classes that arguments of an estimator name, and a pickle finds again, and so registers, by importing their
    modules."""
    found = dict[Any, None]()
    for value in (value for given in arguments for value in given.values()):
        for name in value if isinstance(value, tuple | list) else [value]:
            for table in TABLES.values():
                cls = table.get(name) if isinstance(name, str) else None
                if cls is not None and not cls.__module__.startswith(PACKAGE) and _is_found(cls):
                    found[cls] = None
    return tuple(found)


def register_again(classes: tuple[Any, ...]) -> None:
    """Register the classes of a pickle, where importing their modules has not done so."""
    for cls in classes:
        if not any(cls.NAME in table for table in TABLES.values()):
            from fastvae.own import register

            register(cls)


def _is_found(cls: Any) -> bool:
    there: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        there = getattr(there, name, None)
    return there is cls
