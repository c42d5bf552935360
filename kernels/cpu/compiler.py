"""How the CPU kernels are compiled: one decorator.

`error_model="numpy"` matters most: with Python's, every division carries a test for zero, and the loops around it do
not vectorise (measured: 20 times slower for the Bernoulli kernel).
"""

import contextlib
import os
import threading
from collections.abc import Callable
from typing import Any

from llvmlite.binding import ffi
from numba import njit, types
from numba.core import sigutils
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock

from fastvae.kernels.cpu.cache import Cache

NUMPY: Any = "numpy"  # the error model
EXACT = {"contract"}  # a product and a sum may fuse; nothing else is relaxed
ANY_ORDER = {"contract", "reassoc", "nsz"}  # terms of a sum may be added in another, but fixed, order


WHILE_COMPILING: list[Callable[[], None]] = []  # called again and again by the main thread while it waits; may raise


def interruptible(work: Callable[[], Any]) -> Any:
    """What `work` returns, done by a thread of its own while the main thread waits, and hears of signals.

    While it compiles it would not: LLVM takes seconds for one function, and an exception of a signal handler is lost
    where LLVM is calling Python. After an exception the thread goes on; what it makes is kept for whoever asks next.
    """
    if threading.current_thread() is not threading.main_thread() or global_compiler_lock.is_locked():
        return work()  # locked: as a part of what this thread compiles
    outcome: list[Any] = []
    done = threading.Event()

    def do() -> None:
        try:
            outcome.extend((work(), None))
        except BaseException as error:
            outcome.extend((None, error))
        done.set()

    for ask in WHILE_COMPILING:
        ask()
    threading.Thread(target=do, daemon=True, name="fastvae-compiler").start()
    while not done.wait(0.1):  # on Windows signals are heard of in between
        for ask in WHILE_COMPILING:
            ask()
    result, error = outcome
    if error is not None:
        raise error
    return result


def _compiled(function, fastmath):
    dispatcher: Any = njit(nogil=True, error_model=NUMPY, fastmath=fastmath)(function)
    compiling = dispatcher.compile
    dispatcher.compile = lambda signature: interruptible(lambda: compiling(signature))
    if function.__module__.startswith("fastvae.kernels."):  # of others the sources are not known
        dispatcher._cache = Cache(function)
    return dispatcher


def kernel(function):
    """Compile an elementwise kernel: nothing but `EXACT`."""
    return _compiled(function, EXACT)


def reduction(function):
    """Compile a kernel with a sum over the row: `ANY_ORDER`.

    NaN and infinity keep their meaning: a loss that is not finite must be seen.
    """
    return _compiled(function, ANY_ORDER)


def part(function):
    """Compile a function that kernels call; it is compiled into each of them and has no file of its own.

    Once for each types of operands: numba itself would make one for every constant that is passed.
    """
    return _once_for_types(njit(nogil=True, error_model=NUMPY, fastmath=EXACT)(function))


def _once_for_types(dispatcher):
    template = dispatcher.get_call_template
    dispatcher.get_call_template = lambda args, kws: template(tuple(types.unliteral(a) for a in args), kws)
    return dispatcher


def as_part(compiled):
    """A kernel as a `part` of others: numba would else keep a file for it that nobody reads."""
    options = {name: compiled.targetoptions[name] for name in ("nogil", "error_model", "fastmath")}
    return _once_for_types(njit(**options)(compiled.py_func))


_lock = threading.RLock()  # two threads may want the same function for the first time


class _ForkLocks:
    """Locks that are taken around a fork: one that another thread holds would stay locked in the child for ever.

    In the order in which they are taken within each other; a fork so waits for the end of a compilation.
    """

    def __init__(self, *locks: Any):
        self.locks = list(locks)
        self._held = contextlib.ExitStack()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self._acquire, after_in_parent=self._release, after_in_child=self._release)

    def _acquire(self) -> None:
        for lock in self.locks:
            self._held.enter_context(lock)

    def _release(self) -> None:
        self._held.close()


FORK_LOCKS = _ForkLocks(_lock, global_compiler_lock, getattr(ffi.lib, "_lock", contextlib.nullcontext()))


class Native:
    """A function that compiled code calls by its `address`; compiled when that is first wanted."""

    def __init__(self, function, signature, fastmath):
        self.py_func, self._signature, self._fastmath = function, signature, fastmath
        self._compiled: Any = None

    @property
    def address(self) -> int:
        """Where the machine code lies, in this process."""
        with _lock:
            return self._compile().address

    def _compile(self) -> Any:
        if self._compiled is None:
            options = {"nopython": True, "error_model": NUMPY, "fastmath": self._fastmath}
            made: Any = CFunc(self.py_func, sigutils.normalize_signature(self._signature), locals={}, options=options)
            made._cache = Cache(self.py_func)
            interruptible(made.compile)
            self._compiled = made
        return self._compiled


def native(signature, fastmath=EXACT):
    """Compile a function by itself: whoever calls it, by its address, need not be compiled with it.

    So each is compiled once, and only if it is used.
    """
    return lambda function: Native(function, signature, fastmath)


def is_cached(compiled):
    """True where an earlier process has compiled this kernel, for whatever types, and kept the code."""
    return Cache(compiled.py_func).holds_any()
