"""Arguments of a constructor, checked when they are used: each refusal names the argument and the value."""

import math
import secrets
from typing import Any

import numpy as np

LARGEST_SEED = 2**64 - 1


def check_integer(argument: str, value: object, lowest: int) -> int:
    """Return `value` as an int; raise a `ValueError` or `TypeError` that names it unless it is one >= `lowest`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{argument}={value!r} must be a whole number, at least {lowest}")
    if value < lowest:
        raise ValueError(f"{argument}={value!r} must be at least {lowest}")
    return int(value)


def check_number(argument: str, value: object, lowest: float, inclusive: bool = True) -> float:
    """Return `value` as a float; raise unless it is finite and >= `lowest` (> `lowest` if not `inclusive`)."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{argument}={value!r} must be a number")
    if not math.isfinite(value):
        raise ValueError(f"{argument}={value!r} must be a finite number")
    if not (value >= lowest if inclusive else value > lowest):
        raise ValueError(f"{argument}={value!r} must be {'at least' if inclusive else 'greater than'} {lowest:g}")
    return float(value)


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


def plain(value: Any) -> Any:
    """The same value in types that JSON knows: NumPy's numbers and arrays, and tuples, at any depth."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value
