"""How many threads NumPy's BLAS uses: one while a model runs, whose own threads share the work (see `workers`)."""

import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator

import numpy as np

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
def one_thread() -> Iterator[None]:
    """Within the block, one thread; the number before comes back when the last of several blocks ends."""
    control = _control()
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
