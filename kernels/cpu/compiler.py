"""How the CPU kernels are compiled: one decorator.

`error_model="numpy"` matters most: with Python's, every division carries a test for zero, and the loops around it do
not vectorise (measured: 20 times slower for the Bernoulli kernel).

numba's on-disk cache looks at the time stamp of the file that holds a function, not of the files whose functions it
inlines. Here the scalar maths stands in other files, so the cache key also holds a digest of those.
"""

import hashlib
import pathlib
from typing import Any

from numba import njit
from numba.core.caching import FunctionCache

from fastvae.kernels import formulas, philox

_SHARED = (formulas.__file__, philox.__file__, __file__)
SHARED_DIGEST = hashlib.sha256(b"".join(pathlib.Path(f).read_bytes() for f in _SHARED)).hexdigest()


class _DigestCache(FunctionCache):
    """numba's file cache, with the digest of the shared sources in every key."""

    def _index_key(self, sig, codegen):
        return (*super()._index_key(sig, codegen), SHARED_DIGEST)


def _compiled(function, fastmath):
    dispatcher: Any = njit(nogil=True, error_model="numpy", fastmath=fastmath)(function)
    dispatcher._cache = _DigestCache(function)
    return dispatcher


def kernel(function):
    """Compile an elementwise kernel. `contract` lets a product and a sum fuse; nothing else is relaxed."""
    return _compiled(function, {"contract"})


def reduction(function):
    """Compile a kernel with a sum over the row: terms may be added in another, but fixed, order (`reassoc`, `nsz`).

    NaN and infinity keep their meaning: a loss that is not finite must be seen.
    """
    return _compiled(function, {"contract", "reassoc", "nsz"})


def is_cached(compiled):
    """True where the on-disk cache has an index for this kernel: an earlier process has compiled it."""
    name = compiled.py_func.__qualname__
    return any(pathlib.Path(compiled.stats.cache_path).glob(f"*.{name}-*.nbi"))
