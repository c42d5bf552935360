"""How many threads NumPy's BLAS uses while a model runs.

OpenBLAS's threads wait for each other by spinning. For small products that costs more than it brings, and where another
process wants a core too it costs everything: measured on two cores with one busy neighbour, a training on 8x8 digits
took 0.6 s with one thread and 45 to 90 s with two. So small products get one thread. Which products are small depends
on their size alone, never on the load: results stay the same from run to run.
"""

import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator

import numpy as np

SMALL_PRODUCT = 2e7  # floating-point operations; above it a second thread wins on a quiet machine

_lock = threading.Lock()
_holders = 0
_before = 0


@functools.cache
def _control() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """OpenBLAS's own (get, set) for its number of threads, or None where NumPy uses another library."""
    core = getattr(np, "_core", None) or np.core
    try:
        library = ctypes.CDLL(core._multiarray_umath.__file__)
    except OSError:
        return None
    for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("scipy_", ""), ("", "")):
        with contextlib.suppress(AttributeError):  # a name that this build does not have
            return (
                getattr(library, f"{prefix}openblas_get_num_threads{suffix}"),
                getattr(library, f"{prefix}openblas_set_num_threads{suffix}"),
            )
    return None


def threads() -> int | None:
    """Threads of the next product, or None where they cannot be known."""
    control = _control()
    return control[0]() if control else None


@contextlib.contextmanager
def suited_to(operations: float) -> Iterator[None]:
    """Within the block, one thread if the largest product has fewer than `SMALL_PRODUCT` operations."""
    control = _control() if operations < SMALL_PRODUCT else None
    if control is None:
        yield
        return
    global _holders, _before
    get, set_ = control
    with _lock:
        if _holders == 0:
            _before = get()
            set_(1)
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                set_(_before)
