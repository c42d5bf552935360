"""Arguments of a constructor, checked when they are used: each refusal names the argument and the value."""

import decimal
import math
import numbers
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fastvae.errors import check_name

LARGEST_SEED = 2**64 - 1
MOST_LAYERS = 1000  # each way: a file has room for so many


def check_integer(argument: str, value: object, lowest: int) -> int:
    """Return `value` as an int; raise a `ValueError` or `TypeError` that names it unless it is one >= `lowest`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{argument}={value!r} must be a whole number, at least {lowest}")
    if value < lowest:
        raise ValueError(f"{argument}={value!r} must be at least {lowest}")
    return int(value)


def check_flag(argument: str, value: object) -> bool:
    """Return True or False, of Python or NumPy, as Python's."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{argument}={value!r} must be True or False")
    return bool(value)


def check_number(
    argument: str, value: object, lowest: float, inclusive: bool = True, highest: float = math.inf
) -> float:
    """Return `value` as a float; raise unless it is finite, >= `lowest` (> `lowest` if not `inclusive`) and <=
    `highest`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{argument}={value!r} must be a number")
    if not math.isfinite(value):
        raise ValueError(f"{argument}={value!r} must be a finite number")
    if not (value >= lowest if inclusive else value > lowest):
        raise ValueError(f"{argument}={value!r} must be {'at least' if inclusive else 'greater than'} {lowest:g}")
    if value > highest:
        raise ValueError(f"{argument}={value!r} must be at most {highest:g}")
    return float(value)


def checked_names(given: Mapping[str, Any], **known: Iterable[str]) -> Any:
    """The values of some arguments, each of which must be among the names that are known of it."""
    for argument, names in known.items():
        check_name(argument, given[argument], tuple(names))
    return [given[argument] for argument in known]


def seed_from(random_state: object) -> np.uint64:
    """The 64-bit seed of a run: `random_state` itself, drawn from a generator, or fresh if None."""
    if random_state is None:
        return np.uint64(secrets.randbits(64))
    if isinstance(random_state, np.random.Generator):
        return np.uint64(random_state.integers(0, LARGEST_SEED, dtype=np.uint64, endpoint=True))
    if isinstance(random_state, np.random.RandomState):
        return np.uint64(random_state.randint(0, 2**32, dtype=np.uint64))
    seed = check_integer("random_state", random_state, 0)
    if seed > LARGEST_SEED:
        raise ValueError(f"random_state={seed} must be at most 2**64 - 1")
    return np.uint64(seed)


def plain(value: Any, place: str = "it") -> Any:
    """The same value in types that JSON knows, at any depth: of NumPy's numbers and arrays and whatever gives itself as
    one, of tuples, ranges and fractions. Raises a `TypeError` or `ValueError` that names `place` where there is none.
    """
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        if array.dtype.kind in "biu" or (array.dtype.kind == "f" and np.isfinite(array).all()):
            return array.astype(float).tolist() if array.dtype.kind == "f" else array.tolist()
        value = array.tolist() if array.dtype.kind in "UO" else float("nan") if array.dtype.kind == "f" else value
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{place} is {value}; a file holds finite numbers")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{place} has the key {key!r}; a file holds text as keys")
        return {str(key): plain(v, f"{place}[{key!r}]") for key, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        return [plain(v, f"{place}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, numbers.Real | decimal.Decimal):
        return plain(float(value), place)
    raise TypeError(
        f"{place} is of type {type(value).__name__}, which no model file holds; use None, numbers, text, and lists and "
        "dicts of them"
    )


def widths(argument: str, value: Any, own: Collection[str] = ()) -> tuple[Any, ...]:
    """The widths of layers as a tuple; () for none. `own`: names of layers that may
    stand behind a width."""
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        raise TypeError(f"{argument}={value!r} must be a tuple of layer widths, such as (400,) or () for none")
    widths = tuple(value)
    if len(widths) > MOST_LAYERS:
        raise ValueError(f"{argument} has {len(widths)} layers; at most {MOST_LAYERS}")
    for i, width in enumerate(widths):
        if i and own and isinstance(width, str):
            check_name(f"{argument}[{i}]", width, own)
        else:
            check_integer(f"{argument}[{i}]", width, 1)
    return tuple(width if isinstance(width, str) else int(width) for width in widths)
