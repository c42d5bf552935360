"""Formulas of one's own: functions of numbers, written in plain NumPy, as both of what a formula is needed as.

    def term(x, a):
        return np.abs(x - a) + np.log(2.0), np.sign(a - x)

As Python it runs as it stands, in float64: the reference. For the compiled loops it is copied with float32 in the place
of its numbers, so that nothing is promoted, and with functions of `fastvae.kernels.formulas` in the place of NumPy's
and `math`'s, so that the loops around it vectorise. Functions that it calls are copied likewise.
"""

import dis
import functools
import hashlib
import inspect
import itertools
import math
import pathlib
import types
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError

from fastvae.kernels import formulas
from fastvae.kernels.cpu.cache import ENDING, SHARED_DIGEST, VERSIONS, Cache
from fastvae.kernels.cpu.processor import UNIT
from fastvae.kernels.formulas import ONE, ZERO, exp, f32, formula
from fastvae.version import VERSION

SOURCES = [file.read_bytes() for file in sorted(pathlib.Path(__file__).parent.glob("*.py"))]  # what writes the loops
OWN_DIGEST = hashlib.sha256(b"".join([VERSION.encode(), *SOURCES])).hexdigest()
LEAST_NORMAL, INFINITY, NOTHING = f32(2.0**-126), f32(math.inf), f32(math.nan)
RAISED, LOG_RAISED = f32(2.0**24), f32(24.0 * math.log(2.0))


# ---- NumPy's functions of one number, over the whole of float32 -----------------------------------------------------


@formula
def log(x):
    """ln x; at most 3 ulp. -inf at 0, NaN below."""
    small = x < LEAST_NORMAL
    found = formulas.log(x * RAISED if small else x) - (LOG_RAISED if small else ZERO)
    found = found if x < INFINITY else x  # NaN, too
    return (-INFINITY if x == ZERO else NOTHING) if x <= ZERO else found


@formula
def log1p(x):
    """ln(1 + x); at most 6 ulp. With u = 1 + x rounded it is ln u x / (u - 1) (Kahan)."""
    u = ONE + x
    apart = u - ONE
    usual = apart != ZERO and u < INFINITY
    found = log(u) * (x / (apart if usual else ONE))
    return x if apart == ZERO else (log(u) if u == INFINITY else found)


@formula
def expm1(x):
    """e^x - 1; at most 6 ulp. With u = e^x rounded it is (u - 1) x / ln u (Kahan)."""
    u = exp(x)
    apart = u - ONE
    inner = apart != ZERO and abs(x) < ONE
    found = apart * (x / (formulas.log(u) if inner else ONE))
    return found if inner else (x if apart == ZERO else apart)


@formula
def logaddexp(a, b):
    """ln(e^a + e^b)."""
    larger = a if a > b else b
    apart = a - b
    return larger + formulas.log1p_unit(exp(-abs(apart))) + (apart - apart)


@formula
def lgamma(x):
    """ln Gamma(x) for x > 0; NaN elsewhere."""
    found = formulas.log_gamma(x if x >= LEAST_NORMAL else ONE)
    return found if x >= LEAST_NORMAL else (-log(x) if x > ZERO else NOTHING)


FASTER = {  # by the names that they have in NumPy and in math
    "exp": exp, "log": log, "log1p": log1p, "expm1": expm1, "tanh": formulas.tanh, "logaddexp": logaddexp,
    "lgamma": lgamma,
}  # fmt: skip
EXACT = {  # what functions of `fastvae.kernels.formulas` are in float64
    "exp": np.exp, "log": np.log, "tanh": np.tanh, "log_one_plus": np.log1p, "log1p_unit": np.log1p,
    "log_gamma": math.lgamma, "sigmoid": lambda a: 0.5 * (1.0 + np.tanh(0.5 * a)),
    "softplus": lambda a: np.logaddexp(0.0, a), "silu": lambda a: a * 0.5 * (1.0 + np.tanh(0.5 * a)),
    "log_parts": lambda x: (np.log(x), 0.0), "exp_tail": lambda r: (np.expm1(r) - r) / r**2 if abs(r) > 1e-4 else 0.5,
    "log_factorial_excess": lambda x, log_x: math.lgamma(x + 1.0) - (x * log_x - x if x > 0 else 0.0),
}  # fmt: skip


def _in_float32(module: types.ModuleType) -> types.ModuleType:
    """NumPy or `math` with constants in float32, and with functions that vectorise."""
    made = types.ModuleType(f"{module.__name__} in float32")
    for name in dir(module):
        value = getattr(module, name)
        made.__dict__[name] = f32(value) if isinstance(value, float) else FASTER.get(name, value)
    return made


MODULES = {module.__name__: (module, _in_float32(module)) for module in (np, math)}
ORIGINALS = {id(getattr(module, name)): fast for module in (np, math) for name, fast in FASTER.items()
             if hasattr(module, name)}  # fmt: skip


# ---- copies ---------------------------------------------------------------------------------------------------------


class DigestCache(Cache):
    """Code on the disk, by a digest of all that it is made of; without one it is not kept."""

    def __init__(self, function: Any, digest: str | None):
        super().__init__(function)
        self._digest = digest

    def _file_name(self, types: Any, codegen: Any) -> str:
        key = repr((self._digest, types, codegen.magic_tuple(), SHARED_DIGEST, OWN_DIGEST, UNIT.name, VERSIONS))
        return f"{self.prefix()}{hashlib.sha256(key.encode()).hexdigest()[:24]}{ENDING}"

    def load_overload(self, types: Any, target_context: Any) -> Any:
        """See `Cache`."""
        return super().load_overload(types, target_context) if self._digest else None

    def save_overload(self, types: Any, compiled: Any) -> None:
        """See `Cache`."""
        if self._digest:
            super().save_overload(types, compiled)


class Formula:
    """A function of numbers as Python in float64, `exact`, and for compiled loops in float32, `compiled`.

    Parameters
    ----------
    function
        A Python function, or one that numba has compiled.
    where
        What messages call it.

    Attributes
    ----------
    digest
        Of all that it depends on; None where that is not known. What is compiled is kept on the disk by it.
    """

    def __init__(self, function: Any, where: str):
        self.where, self.function = where, _python(function)
        if not isinstance(self.function, types.FunctionType):
            raise TypeError(f"{where} is {function!r}; a function is needed")
        self.exact: Callable[..., Any] = _copied(self.function, _exact, {}, _whole)
        self.digest = digest_of(self.function)
        self._narrow: Any = None
        self._alone: Any = None

    @property
    def compiled(self) -> Any:
        """For compiled callers: of float32, in float32."""
        if self._narrow is None:
            self._narrow = formula(_copied(self.function, _narrow, {}, _narrowed))
        return self._narrow

    def in_float32(self, *values: Any) -> Any:
        """It as the loops have it, called from Python. Raises `TypeError` where numba cannot compile it."""
        if self._alone is None:
            names = ", ".join(self.parameters)
            scope = {"formula": self.compiled, "__name__": __name__}
            exec(f"def alone({names}):\n    return formula({names})", scope)
            self._alone = formula(scope["alone"])
            self._alone._cache = DigestCache(scope["alone"], self.digest and f"alone {self.digest}")
        try:
            return self._alone(*map(f32, values))
        except NumbaError as error:
            raise TypeError(f"{self.where} cannot be compiled by numba: {message_of(error)}") from error

    @property
    def parameters(self) -> list[str]:
        """The names of its operands."""
        return list(inspect.signature(self.function).parameters)

    def check_parameters(self, expected: list[str]) -> None:
        """Raise `TypeError` unless it takes as many operands as these."""
        found = self.parameters
        if len(found) != len(expected):
            said = "; make it a @staticmethod" if found[:1] == ["self"] else ""
            raise TypeError(f"{self.where} takes ({', '.join(found)}); it must take ({', '.join(expected)}){said}")

    def over(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """What it gives over arrays that go together, in float64: all at once, or one by one where it branches."""
        given = np.broadcast_arrays(*(np.asarray(array, np.float64) for array in arrays))
        with np.errstate(all="ignore"):
            one = self(*(array.flat[0] for array in given))
            count = len(one) if isinstance(one, tuple) else 1
            try:
                whole = self.exact(*given)
                found = [np.asarray(each, np.float64) for each in (whole if isinstance(whole, tuple) else (whole,))]
                if len(found) == count and all(each.shape in ((), given[0].shape) for each in found):
                    return tuple(np.broadcast_to(each, given[0].shape) for each in found)
            except (TypeError, ValueError):  # a truth of many, a function of one number
                pass
            found = np.vectorize(self.__call__, otypes=[np.float64] * count)(*given)
        return tuple(found) if isinstance(found, tuple) else (found,)

    def __call__(self, *values: Any) -> Any:
        """It, in float64."""
        return self.exact(*map(np.float64, values))


def _python(function: Any) -> Any:
    function = inspect.unwrap(function)
    return function.py_func if isinstance(function, Dispatcher) else function


def _whole(function: types.FunctionType) -> types.CodeType:
    return function.__code__


def _copied(
    function: types.FunctionType,
    replaced: Callable[[Any, bool], Any],
    seen: dict[int, Any],
    code: Callable[[types.FunctionType], types.CodeType],
) -> types.FunctionType:
    """A function with other things under the names of its module and of what encloses it, and in those it calls."""
    if id(function) in seen:
        return seen[id(function)]
    scope = dict(function.__globals__)
    cells = tuple(types.CellType() for _ in function.__closure__ or ())
    made = types.FunctionType(code(function), scope, function.__name__, function.__defaults__, cells or None)
    made.__kwdefaults__ = function.__kwdefaults__
    seen[id(function)] = made

    counts = _loops(function.__code__)

    def other(value: Any) -> Any:
        found = replaced(value, counts)
        inner = _python(value)
        if (
            found is not value
            or not isinstance(inner, types.FunctionType)
            or (_of_kernels(value) and code is not _whole)
        ):
            return found
        made = _copied(inner, replaced, seen, code)
        return made if code is _whole else formula(made)

    for name in _names(function.__code__) & scope.keys():
        scope[name] = other(scope[name])
    for cell, old in zip(cells, function.__closure__ or (), strict=True):
        cell.cell_contents = other(old.cell_contents)
    return made


def _of_kernels(value: Any) -> bool:
    return getattr(_python(value), "__module__", None) == formulas.__name__


def _names(code: types.CodeType) -> set[str]:
    """The names of a module that code asks for, inner functions included."""
    inner = (_names(const) for const in code.co_consts if isinstance(const, types.CodeType))
    return set(code.co_names).union(*inner)


@functools.cache
def _exact_formulas() -> types.ModuleType:
    """`fastvae.kernels.formulas` in float64."""
    made = types.ModuleType(f"{formulas.__name__} in float64")
    seen: dict[int, Any] = {}
    for name, value in vars(formulas).items():
        of_numbers = isinstance(value, Dispatcher) and name not in EXACT
        copied = _copied(_python(value), _exact, seen, _whole) if of_numbers else value
        setattr(made, name, EXACT.get(name, copied) if isinstance(value, Dispatcher) else _exact(copied, False))
    return made


def _exact(value: Any, counts: bool) -> Any:
    """What stands for a thing in float64."""
    if value is formulas:
        return _exact_formulas()
    if isinstance(value, np.float32):
        return np.float64(value)
    return EXACT.get(value.__name__, value) if _of_kernels(value) else value


def _narrow(value: Any, counts: bool) -> Any:
    """What stands for a thing in float32; `counts`: whole numbers may count a loop."""
    if isinstance(value, types.ModuleType):
        found = MODULES.get(value.__name__)
        return found[1] if found else value
    if type(value) is float or isinstance(value, np.float64) or (type(value) is int and not counts):
        return f32(value)
    return ORIGINALS.get(id(value), value)


def _loops(code: types.CodeType) -> bool:
    names = {step.opname for step in dis.get_instructions(code)}
    return bool(names & {"FOR_ITER", "GET_ITER"}) or any("JUMP_BACKWARD" in name for name in names)


def _narrowed(function: types.FunctionType) -> types.CodeType:
    """Its code with float32 in the place of its numbers. Whole ones stay what they are where they are exponents or
    places, or where there is a loop that they may count."""
    code = function.__code__
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("CACHE", "EXTENDED_ARG")]
    counts = _loops(code)
    consts = [f32(const) if type(const) is float else const for const in code.co_consts]
    text = bytearray(code.co_code)
    for step, after in itertools.pairwise(steps):
        if step.opname not in ("LOAD_CONST", "LOAD_SMALL_INT") or type(step.argval) is not int or counts:
            continue
        exponent = after.opname == "BINARY_OP" and after.argrepr in ("**", "**=")
        if exponent or "SUBSCR" in after.opname or after.argrepr == "[]" or len(consts) > 255:
            continue
        text[step.offset] = dis.opmap["LOAD_CONST"]
        text[step.offset + 1] = len(consts)
        consts.append(f32(step.argval))
    return code.replace(co_consts=tuple(consts), co_code=bytes(text))


# ---- what a function depends on -------------------------------------------------------------------------------------


def digest_of(function: Any) -> str | None:
    """A digest of a function and of all that it calls and reads; None where it reads what nobody can tell."""
    found: list[str] = []
    return hashlib.sha256("\n".join(found).encode()).hexdigest() if _gather(_python(function), found, set()) else None


def _gather(function: Any, found: list[str], seen: set[int]) -> bool:
    if id(function) in seen:
        return True
    seen.add(id(function))
    code = function.__code__
    found.append(_told(code))
    more = tuple((function.__kwdefaults__ or {}).items())
    if not _told_value((function.__defaults__, more), "defaults", found, seen):
        return False
    scope = function.__globals__
    for name in sorted(_names(code) & scope.keys()):
        if not _told_value(scope[name], name, found, seen):
            return False
    cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
    return all(_told_value(cell.cell_contents, name, found, seen) for name, cell in cells)


def _told(code: types.CodeType) -> str:
    consts = [_told(const) if isinstance(const, types.CodeType) else repr(const) for const in code.co_consts]
    return repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars, consts))


def _told_value(value: Any, name: str, found: list[str], seen: set[int]) -> bool:
    if isinstance(value, types.ModuleType):
        found.append(f"{name}: module {value.__name__} {getattr(value, '__version__', '')}")
        return f"{value.__name__}.".startswith(("numpy.", "math.", "numba.", "fastvae.kernels."))
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        found.append(f"{name}: {type(value).__name__} {value!r}")
        return True
    if isinstance(value, tuple):
        return all(_told_value(one, f"{name}[{i}]", found, seen) for i, one in enumerate(value))
    inner = _python(value)
    module = str(getattr(inner, "__module__", None))
    if module.startswith("fastvae.kernels") or module in ("builtins", "math") or isinstance(value, np.ufunc):
        found.append(f"{name}: {module}.{getattr(inner, '__name__', '')}")
        return True
    if isinstance(value, type) and issubclass(value, np.generic):
        found.append(f"{name}: {value.__name__}")
        return True
    found.append(f"{name}: {sorted(getattr(value, 'targetoptions', {}).items())}")
    return isinstance(inner, types.FunctionType) and _gather(inner, found, seen)


def message_of(error: BaseException) -> str:
    """What numba says, in a line, and where."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    useless = ("Failed in", "During:", "Overload", "raised from", "File", "- Resolution", "<source", "[1]", "Use of")
    told = [line for line in lines if not line.startswith(useless)] or lines or [type(error).__name__]
    places = [line for line in lines if line.startswith("File ") and "<" not in line]
    return told[0][:200] + (f" ({places[0].rstrip(':')})" if places else "")
