"""Values out of a file against the types that are declared for them; what is refused is named by its place."""

import contextlib
import dataclasses
import reprlib
import sys
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
LARGEST = 2**53  # of a whole number: no count comes near, and int64 and float64 both hold it
_WORDS = {int: f"a whole number in 0 ... {LARGEST}", float: "a finite number", bool: "true or false", str: "text"}


def declared(place: str, value: Any, kind: Any) -> Any:
    """Return `value`, as JSON gives it, as one of the type `kind`; raise a `ValueError` that names `place` otherwise.

    `kind` is int (0 ... 2^53), float (finite), bool, str, None, Any, `list[kind]`, `tuple[kind, ...]`,
    `dict[str, kind]`, or a union of such, of which the first that fits is taken.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if kind is Any or (kind in (None, type(None)) and value is None) or (kind in (bool, str) and type(value) is kind):
        return value
    if kind is int and type(value) is int and 0 <= value <= LARGEST:
        return value
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if origin in (list, tuple) and isinstance(value, list | tuple):
        return origin(declared(f"{place}[{i}]", one, parts[0]) for i, one in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {name: declared(f"{place}.{name}", one, parts[1]) for name, one in value.items()}
    if origin in (Union, types.UnionType):
        for part in parts:
            with contextlib.suppress(ValueError):
                return declared(place, value, part)
    raise ValueError(f"{place} is {reprlib.repr(value)}; expected {_words(kind)}")


def from_fields(kind: type[T], place: str, fields: Any, **others: Any) -> T:
    """An instance of the dataclass `kind` from a dict of its fields, each checked; `others` are what no JSON holds."""
    hints = get_type_hints(kind)
    names = {f.name for f in dataclasses.fields(kind)} - set(others)  # type: ignore[arg-type]
    found = declared(place, fields, dict[str, Any])
    for name in found:
        if name not in names:
            raise ValueError(f"{place}.{name} is not known")
    return kind(**{name: declared(f"{place}.{name}", one, hints[name]) for name, one in found.items()}, **others)


def entry(place: str, fields: Mapping[str, Any], name: str, kind: Any) -> Any:
    """The entry `name` of a dict, which must be there; `place` names the dict, "" the whole header."""
    where = f"{place}.{name}" if place else name
    if name not in fields:
        raise ValueError(f"{where} is missing")
    return declared(where, fields[name], kind)


def _words(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(part) for part in parts)
    if origin in (list, tuple):
        return f"a list, each of it {_words(parts[0])}"
    if origin is dict:
        return "a set of names with values"
    return "nothing" if kind in (None, type(None)) else _WORDS.get(kind, str(kind))
