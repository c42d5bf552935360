"""Ops of one's own: rows that enter the table at run time, each with a function over arrays, under its contract.

An op is compiled by itself and called by its address, so that nothing else is compiled again. Passes, programs, calls
from Python and from functions of numba treat it as any other, on the CPU; what the table checks of operands, it checks
of these. Compiled code is kept on the disk under a digest of the function and of all that it calls.
"""

import functools
import hashlib
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

from numba import njit
from numba.core import sigutils
from numba.core.ccallback import CFunc
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError

from fastvae.errors import closest
from fastvae.kernels import cpu, described
from fastvae.kernels.cpu import ops as on_cpu
from fastvae.kernels.cpu.calls import function_of
from fastvae.kernels.cpu.compiler import EXACT, NUMPY, Native, as_part, interruptible
from fastvae.kernels.cpu.embedding import make_callable
from fastvae.kernels.cpu.program import Program
from fastvae.kernels.ops import KINDS, OPS, Op
from fastvae.own.formulas import DigestCache, digest_of, message_of

NAME = re.compile(r"[a-z][a-z0-9_]*")
OWN: dict[str, Any] = {}  # name of each op that is not the package's to who has registered it
NOT_HERE = ("source", "counter", "data", "scaling", "activation", "derivative", "indices")  # kinds, of own ops
KEPT: list[Any] = []  # code that programs may still call by its address


class OwnCode(Native):
    """The code of an op of one's own; what numba cannot compile is said with the op's name."""

    def __init__(self, function: Any, digest: str | None, where: str):
        super().__init__(function, on_cpu.SIGNATURE, EXACT)
        self._digest, self._where = digest, where

    def _compile(self) -> Any:
        if self._compiled is None:
            options = {"nopython": True, "error_model": NUMPY, "fastmath": EXACT}
            signature = sigutils.normalize_signature(self._signature)
            made: Any = CFunc(self.py_func, signature, locals={}, options=options)
            made._cache = DigestCache(self.py_func, self._digest)
            try:
                interruptible(made.compile)
            except NumbaError as error:
                raise TypeError(f"{self._where} cannot be compiled by numba: {message_of(error)}") from error
            self._compiled = made
        return self._compiled


def check_new(name: Any, what: str, owner: Any, taken: Any) -> None:
    """Raise unless `name` is free for `owner`, or was its own before: the same name in the same module, as where a
    cell of a notebook runs again."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"{what} {name!r}: a name of lower-case letters, digits and _ is needed, such as 'student_t'")
    if name in taken and not same_place(taken[name], owner):
        raise ValueError(f"{what} {name!r} exists already ({said(taken[name])}): take another name")


def same_place(one: Any, other: Any) -> bool:
    """Whether two functions or classes stand at the same place: one is the other's later edition. A program's own file
    is the module of its name."""
    return not _is_package(one) and _home(one) == _home(other)


def _home(owner: Any) -> tuple[Any, Any]:
    module = getattr(owner, "__module__", None)
    return getattr(sys.modules.get(module or ""), "__file__", None) or module, getattr(owner, "__qualname__", owner)


def _is_package(owner: Any) -> bool:
    return str(getattr(owner, "__module__", "")).startswith("fastvae.")


def said(owner: Any) -> str:
    """Where a function or class is from."""
    module = str(getattr(owner, "__module__", ""))
    return "of the package" if _is_package(owner) else f"{module}.{getattr(owner, '__qualname__', owner)}"


def add_op(
    name: str, row: str, work: Any, owner: Any, about: str, where: str, digest: str | None = None
) -> Callable[..., Any]:
    """Enter an op into the table, and return it as a function that is called from Python.

    Parameters
    ----------
    name, row
        As `kernels.ops` has them.
    work
        A dispatcher of numba: what does it.
    owner
        Who registers it.
    about
        What `help` says of it.
    where
        What messages call the function.
    digest
        Of the function; None: its code is not kept on the disk.
    """
    taken = {op: OWN.get(op, Op) for op in OPS}
    check_new(name, "op", owner, taken)
    op = Op(name, row)
    size = 1 + sum(on_cpu._read(operand)[0] for operand in op.operands)
    if size > on_cpu.LONGEST:
        raise ValueError(f"op {name!r} has operands of {size} numbers; there is room for {on_cpu.LONGEST}")
    OPS[name], on_cpu.FUNCTIONS[name], OWN[name] = op, work, owner
    reader = on_cpu._compiled(name).py_func
    whole = None if digest is None else hashlib.sha256(f"{name} {row} {digest}".encode()).hexdigest()
    on_cpu.CODES[name] = OwnCode(reader, whole, where)
    KEPT.append(on_cpu.CODES[name])
    described._PARAGRAPHS[name] = about
    function = function_of(name, Program)
    make_callable(name, function)
    setattr(cpu, name, function)
    return function


def remove_op(name: str) -> None:
    """Take an op of one's own out of the table again. Passes that are written down keep it."""
    if name not in OWN:
        raise ValueError(f"op {name!r} is none of one's own: {closest(name, OWN)}")
    for table in (OPS, on_cpu.FUNCTIONS, OWN, on_cpu.CODES, described._PARAGRAPHS):
        del table[name]
    delattr(cpu, name)


def op(row: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function over arrays as an op of the table, under its own name: a decorator.

        @op("x:B,D -> out:B,D")
        def centred(x, out):
            for i in range(x.shape[0]):
                out[i] = x[i] - x[i].mean()

    Passes then write it by `p.add("centred", x, out)`, functions of numba call it, and so does Python:
    `centred(x)` makes what is left out behind the arrow.

    Parameters
    ----------
    row
        The operands in order: arrays of float32 by the letters of their shape, which mean the same number throughout,
        with a question mark where None may be given, which is an array without rows then; numbers as `name:whole`,
        `name:real`, `seed` or `name:fixed` (a whole number that stays); what is written behind the arrow. B are rows
        that threads share: a function must treat each by itself.

    Raises
    ------
    TypeError, ValueError
        The row says what no table can have, or other operands than the function; the name is taken. What numba cannot
        compile is said when the op is first used.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = getattr(function, "__name__", "")
        return array_op(name, row, function, function, f"op {name!r}")

    return register


def array_op(name: str, row: str, function: Any, owner: Any, where: str) -> Callable[..., Any]:
    """`op`, of a function that is a part of something: see `add_op`."""
    python = function.py_func if isinstance(function, Dispatcher) else inspect.unwrap(function)
    found = Op(name, row)
    for operand in found.operands:
        if operand.kind in NOT_HERE or (operand.shape is None and operand.kind not in KINDS):
            raise ValueError(f"{where}: {operand.name}:{operand.kind} is nothing that an op of one's own can have")
        if operand.shape is not None and not all(re.fullmatch("[A-Z]", letter) for letter in operand.shape):
            wanted = "letters, such as B,D"
            raise ValueError(f"{where}: the shape of {operand.name} is {','.join(operand.shape)!r}; {wanted} needed")
        if operand.shape is not None and len(operand.shape) > 2:
            raise ValueError(f"{where}: {operand.name} has {len(operand.shape)} axes; at most 2")
    names, taken = [operand.name for operand in found.operands], list(inspect.signature(python).parameters)
    if names != taken:
        raise TypeError(f"{where} takes ({', '.join(taken)}), but the row says ({', '.join(names)})")
    work = as_part(function) if isinstance(function, Dispatcher) else _part(python)
    about = inspect.getdoc(python) or f"An op that {said(owner)} has registered."
    return add_op(name, row, work, owner, about, where, digest_of(python))


@functools.cache
def _part(function: Any) -> Any:
    return as_part(njit(nogil=True, error_model=NUMPY, fastmath=EXACT)(function))
