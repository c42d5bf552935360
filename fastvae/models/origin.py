"""Where a model's likelihood, layers and activations come from that are not the package's: see `fastvae.own`."""

import pathlib
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
        {"kind": kind, "name": cls.NAME, "module": _module_of(cls), "class": cls.__qualname__}
        for kind, cls in classes_of(network)
    ]


def _module_of(cls: Any) -> str:
    """The module to import; that of a program by its file, where it has one."""
    name: str = cls.__module__
    file = getattr(sys.modules.get(name), "__file__", None) if name == "__main__" else None
    return pathlib.Path(file).stem if file else name


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
    missing = [each for each in stored if each["name"] not in TABLES[each["kind"]]]
    if missing:
        named = " and ".join(f"the {each['kind']} {each['name']!r}" for each in missing)
        homes: dict[str, list[str]] = {}
        for each in missing:
            homes.setdefault(each["module"], []).append(each["class"])
        first = "; ".join(
            f"{'run the code' if module == '__main__' else f'import {module}'}, which defines {' and '.join(classes)}"
            for module, classes in homes.items()
        )
        raise ModelFileError(
            f"{path}: this {model} was saved with {named} of somebody's own, not registered here: first {first}"
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
