"""NumPy's OpenBLAS: its matrix product for compiled code, and how many threads it uses."""

import contextlib
import ctypes
import functools
import threading
from collections.abc import Callable, Iterator

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils

from fastvae.kernels.cpu.addresses import F32, I32, I64, intrinsic
from fastvae.kernels.cpu.compiler import FORK_LOCKS, native
from fastvae.kernels.cpu.products import OF_COLUMNS, PLAIN, TRANSPOSED, apart

_lock = threading.RLock()
FORK_LOCKS.locks.append(_lock)
_holders = 0
_before = 0
ROW_MAJOR, NO_TRANSPOSE, TRANSPOSE = 101, 111, 112  # of the C interface
SYMBOL = "fastvae_cblas_sgemm"


@functools.cache
def _library() -> tuple[ctypes.CDLL, str, str] | None:
    """OpenBLAS with the prefix and suffix of its names, or None where NumPy uses another library."""
    core = getattr(np, "_core", None) or np.core
    try:
        library = ctypes.CDLL(core._multiarray_umath.__file__)
    except OSError:
        return None
    for prefix, suffix in (("scipy_", "64_"), ("", "64_"), ("scipy_", ""), ("", "")):
        if hasattr(library, f"{prefix}openblas_get_num_threads{suffix}"):
            return library, prefix, suffix
    return None


@functools.cache
def _control() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """OpenBLAS's own (get, set) for its number of threads, or None where NumPy uses another library."""
    openblas = _library()
    if openblas is None:
        return None
    library, prefix, suffix = openblas
    return tuple(getattr(library, f"{prefix}openblas_{verb}_num_threads{suffix}") for verb in ("get", "set"))


@functools.cache
def _has_threads() -> bool:
    openblas = _library()
    if openblas is None:
        return True
    library, prefix, suffix = openblas
    parallel = getattr(library, f"{prefix}openblas_get_parallel{suffix}", None)
    return parallel is None or parallel() != 0


@functools.cache
def sgemm_address() -> int:
    """Address of OpenBLAS's `cblas_sgemm` with 64-bit integers; 0 where there is none."""
    openblas = _library()
    if openblas is None or openblas[2] != "64_":
        return 0
    library, prefix, suffix = openblas
    function = getattr(library, f"{prefix}cblas_sgemm{suffix}", None)
    return 0 if function is None else ctypes.cast(function, ctypes.c_void_p).value or 0


@intrinsic
def sgemm(typing, transpose_a, transpose_b, rows, columns, depth, a, lda, b, ldb, accumulate, c, ldc):
    """C = A B, added to C where `accumulate` is 1.

    `transpose_a` and `transpose_b` are NO_TRANSPOSE or TRANSPOSE; `lda`, `ldb`, `ldc` the numbers from row to row.
    """

    def codegen(context, builder, signature, args):
        transpose_a, transpose_b, rows, columns, depth, a, lda, b, ldb, accumulate, c, ldc = args
        data = ir.IntType(8).as_pointer()
        operands = [I32, I32, I32, I64, I64, I64, F32, data, I64, data, I64, F32, data, I64]
        called = cgutils.get_or_insert_function(builder.module, ir.FunctionType(ir.VoidType(), operands), SYMBOL)
        a, b, c = (builder.inttoptr(address, data) for address in (a, b, c))
        transpose_a, transpose_b = (builder.trunc(operation, I32) for operation in (transpose_a, transpose_b))
        alpha, beta = ir.Constant(F32, 1.0), builder.sitofp(accumulate, F32)
        order = ir.Constant(I32, ROW_MAJOR)
        operations, sizes = [order, transpose_a, transpose_b], [rows, columns, depth]
        builder.call(called, [*operations, *sizes, alpha, a, lda, b, ldb, beta, c, ldc])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 12), codegen


@native("void(" + ", ".join(["int64"] * 11) + ")")
def multiply(kind, a, b, out, rows, depth, columns, first, whole, across, scratch):
    """What `products.multiply` does, by OpenBLAS. Make its address known with `announce` first."""
    if kind == PLAIN:
        a_row, b_row = apart(whole, depth), apart(across, columns)
        sgemm(NO_TRANSPOSE, NO_TRANSPOSE, rows, columns, depth, a, a_row, b, b_row, 0, out, columns)
    elif kind == TRANSPOSED:
        a_row, b_row = apart(whole, depth), apart(across, depth)
        sgemm(NO_TRANSPOSE, TRANSPOSE, rows, columns, depth, a, a_row, b, b_row, first, out, columns)
    elif kind == OF_COLUMNS:
        sgemm(TRANSPOSE, NO_TRANSPOSE, rows, columns, depth, a + 4 * first, whole, b, across, 0, out, columns)


def scratch_for(rows, depth, columns):
    """OpenBLAS has memory of its own."""
    return 0


def announce() -> bool:
    """Tell the compiler where OpenBLAS's product lies; False where NumPy has none that can be called."""
    address = sgemm_address()
    if address:
        binding.add_symbol(SYMBOL, address)
    return bool(address)


def threads() -> int | None:
    """Threads of the next product, or None where they cannot be known."""
    control = _control()
    return control[0]() if control else None


def threads_allowed() -> int | None:
    """Threads that others have set, whether or not it has one at the moment (see `one_thread`); None where that is not
    known, or where it was built without threads."""
    control = _control() if _has_threads() else None
    held = _holders
    now = control[0]() if control else None
    return _before if held or _holders else now


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
        _holders += 1
        set_(1)
    try:
        yield
    finally:
        with _lock:
            if _holders == 1:
                set_(_before)
            _holders -= 1
