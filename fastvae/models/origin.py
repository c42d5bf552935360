"""Where a model's likelihood, layers and activations come from that are not the package's: see `fastvae.own`."""

import sys
from collections.abc import Mapping
from typing import Any

from fastvae.declared import declared
from fastvae.errors import ModelFileError
from fastvae.layers import LAYERS
from fastvae.likelihoods import LIKELIHOODS

PACKAGE = "fastvae."
TABLES: dict[str, Mapping[str, Any]] = {"likelihood": LIKELIHOODS, "layer": LAYERS}


def classes_of(network: Any) -> list[tuple[str, Any]]:
    """Kind and class of all that a network has of others', in order, each once."""
    found = dict.fromkeys(
        ("likelihood" if part is network.likelihood else "layer", type(part))
        for part in [*network.owners(), *[network.likelihood] * (network.likelihood is not None)]
    )
    return [(kind, cls) for kind, cls in found if TABLES[kind].get(getattr(cls, "NAME", "")) is cls
            and not cls.__module__.startswith(PACKAGE)]  # fmt: skip


def origins(network: Any) -> list[dict[str, str]]:
    """What a file says of them: names alone, which nobody ever imports."""
    return [
        {"kind": kind, "name": cls.NAME, "module": cls.__module__, "class": cls.__qualname__}
        for kind, cls in classes_of(network)
    ]


def check_origins(path: Any, header: Mapping[str, Any], model: str) -> None:
    """Raise `ModelFileError` where something is not registered that the file's model has."""
    if "own" not in header:
        return
    try:
        stored = declared("own", header["own"], list[dict[str, str]])
        for each in stored:
            if set(each) != {"kind", "name", "module", "class"} or each["kind"] not in TABLES:
                raise ValueError(f"own has {each}; expected a kind, a name, a module and a class")
    except ValueError as error:
        raise ModelFileError(f"{path}: it does not describe a {model}: {error}") from None
    for each in stored:
        if each["name"] not in TABLES[each["kind"]]:
            where = f"import {each['module']}" if each["module"] != "__main__" else "run the program"
            raise ModelFileError(
                f"{path}: this {model} was saved with a {each['kind']} of its own, {each['name']!r}, which is not "
                f"registered here: first {where} that defines the class {each['class']}"
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


def _is_found(cls: Any) -> bool:
    there: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        there = getattr(there, name, None)
    return there is cls
