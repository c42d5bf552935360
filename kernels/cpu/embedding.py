"""The ops inside other people's compiled code: in functions of numba, and from C by their addresses.

    @numba.njit
    def loss(x, logits, nll):
        cpu.bernoulli_forward(x, logits, nll)
        return nll.mean()

An op is called there with the operands of the table, as from Python; outputs that are left out are made, and returned.
Types are checked when the function is compiled, shapes when it runs. Compiled code that holds an op has addresses of
this process in it: numba does not keep it on the disk, and says so where `cache=True` was asked for.

Both kinds of calls are made from one text: a function of sizes, addresses and numbers that fills in the row of integers
which an op reads (see `ops`), gives it memory, and calls its code.
"""

import functools
import types as python_types
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import sigutils
from numba.core.ccallback import CFunc
from numba.core.errors import TypingError
from numba.core.extending import overload
from numba.np.numpy_support import as_dtype

from fastvae.kernels.cpu import activations, dense, masked, minibatch, prefix
from fastvae.kernels.cpu.addresses import I64, call, integers_at, intrinsic
from fastvae.kernels.cpu.compiler import EXACT, part
from fastvae.kernels.cpu.ops import CODE, CODES, LONGEST, SCRATCH
from fastvae.kernels.cpu.program import engine
from fastvae.kernels.described import signature_of
from fastvae.kernels.formulas import ACTIVATIONS
from fastvae.kernels.memory import LINE
from fastvae.kernels.ops import BOUND, INDEXED, OPS, Op, Operand

WHOLE, REAL = ("whole", "seed", "fixed", "activation", "derivative"), ("real",)
OWN_DTYPE = ("data", "source", "scaling")  # kinds of operands whose dtype decides about code: numba alone knows it
C_TYPES = {"seed": "uint64_t", **dict.fromkeys(REAL, "double")}  # else int64_t


# ---- addresses of this process ---------------------------------------------------------------------------------------


@intrinsic
def _address(typing: Any, key: Any) -> Any:
    """The address that `ADDRESSES` has under a key; numba keeps no code on the disk that holds one."""
    if not isinstance(key, types.Literal):
        return None
    name = key.literal_value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found = context.add_dynamic_addr(builder, _found(name), info=f"fastvae_{name}")
        return builder.ptrtoint(found, I64)

    return types.int64(key), codegen


_TABLES: dict[str, np.ndarray] = {}  # of the addresses of activations, which compiled code reads


def _found(name: str) -> int:
    """The address of an op's code, by its name; of what does products; of a table; of what draws, or gathers."""
    kind, _, rest = name.partition(" ")
    if kind == "op":
        return CODES[rest].address
    if kind == "multiply":
        return engine("float32").multiply.address
    if kind == "code":
        return CODE[rest]().address
    if kind == "gathering":
        return minibatch.gathering(*(np.dtype(dtype) for dtype in rest.split())).address
    if rest not in _TABLES:
        find = {"activation": activations.forward, "derivative": activations.backward}[rest]
        _TABLES[rest] = np.array([find(number) for number in range(len(ACTIVATIONS))], np.int64)
    return _TABLES[rest].ctypes.data


@intrinsic
def _keep(typing: Any, value: Any) -> Any:
    """Nothing, but what it is called with lives until then."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_dummy_value()

    return types.void(value), codegen


# ---- the call --------------------------------------------------------------------------------------------------------


def letters(op: Op) -> list[str]:
    """The sizes of an op's arrays, in order."""
    return list(dict.fromkeys(letter for operand in op.operands for letter in operand.shape or ()))


def _row(op: Op) -> tuple[list[str], int, int]:
    """Statements that fill in the row from variables: `at_NAME` addresses, the letters, and numbers by their names;
    how many whole and real numbers they set."""
    lines, place, wholes, reals = list[str](), 1, 0, 0

    def put(expression: str) -> None:
        nonlocal place
        lines.append(f"row[{place}] = {expression}")
        place += 1

    def number(array: str, count: int, value: str) -> None:
        lines.append(f"{array}[{count}] = {value}")
        put(f"{array}.ctypes.data + {8 * count}")

    for operand in op.operands:
        name, kind = operand.name, operand.kind
        if operand.shape is not None:
            put(f"at_{name}")
            for letter in operand.shape:
                put(f"{letter} if at_{name} else 0" if operand.optional else letter)
        elif kind in ("whole", "seed"):
            number("wholes", wholes, f"np.int64({name})")
            wholes += 1
            if kind == "whole":
                put("0")
        elif kind in ("real", "result"):
            number("reals", reals, f"float({name})" if kind == "real" else "0.0")
            reals += 1
        elif kind in ("activation", "derivative"):
            put(f"integers_at(address('table {kind}'), {len(ACTIVATIONS)})[{name}]")
        elif kind == "data":
            for what in ("at_", "rows_", "columns_"):
                put(f"{what}{name}")
        elif kind in ("indices", "scaling"):
            put(f"at_{name}")
            put(f"count_{name}")
        else:
            put(f"np.int64({name})")
    if op.name in CODE:
        put("code")
    return lines, wholes, reals


def _call(op: Op) -> list[str]:
    """Statements that fill in the row and call the op; what it leaves is `reals[-1]`."""
    lines, wholes, reals = _row(op)
    size = f"scratch_size({', '.join(SCRATCH[op.name][1])})" if op.name in SCRATCH else "0"
    return [
        f"row, wholes = np.zeros({LONGEST}, np.int64), np.zeros({wholes + 1}, np.int64)",
        f"reals = np.zeros({reals + 1}, np.float64)",
        *lines,
        f"scratch = np.empty({size} + {LINE}, np.float32)",
        f"at_scratch = (scratch.ctypes.data + {4 * LINE - 1}) // {4 * LINE} * {4 * LINE}",
        f"call(address('op {op.name}'), (row.ctypes.data, at_scratch, address('multiply')))",
        "keep(row); keep(wholes); keep(scratch)",
    ]


def _scope(op: Op) -> dict[str, Any]:
    scope = {"np": np, "address": _address, "call": call, "keep": _keep, "integers_at": integers_at}
    if op.name in SCRATCH:
        scope["scratch_size"] = _scratch_size(op.name)
    return scope


@functools.cache
def _scratch_size(name: str) -> Any:
    """What `ops.SCRATCH` says of an op, for compiled code: of its sizes."""
    given, sizes = SCRATCH[name]
    inner = {"panel": part(masked.panel), "block": part(masked.block), "of_prefix": njit(prefix.scratch_for)}
    inner["gradient_block"] = part(dense.gradient_block)
    needed = njit(python_types.FunctionType(given.__code__, given.__globals__ | inner))
    scope = {"needed": needed, "of_product": njit(engine("float32").scratch_for)}
    listed = ", ".join(sizes)
    return njit(_made("size", [f"def size({listed}):", f"  return needed(of_product, {listed})"], scope))


def _made(name: str, text: list[str], scope: dict[str, Any]) -> Callable[..., Any]:
    exec("\n".join(text), scope)
    made: Callable[..., Any] = scope[name]
    return made


# ---- in functions of numba -------------------------------------------------------------------------------------------


def _refuse(op: Op, operand: Operand, found: Any, wanted: str) -> None:
    raise TypingError(f"{op.name}: {operand.name} is {found}; {wanted} is needed")


def _check_type(op: Op, operand: Operand, found: Any) -> None:
    """Raise `TypingError` unless a value of this type of numba can be the operand."""
    absent = found is None or isinstance(found, types.NoneType | types.Omitted)
    if operand.shape is not None:
        if absent and (operand.optional or operand.output):
            return
        right = isinstance(found, types.Array) and found.dtype == types.float32 and found.ndim == len(operand.shape)
        if not right or found.layout != "C" or (operand.output and not found.mutable):
            _refuse(op, operand, found, f"a C-contiguous array ({', '.join(operand.shape)}) of float32")
    elif operand.kind == "indices":
        if not (isinstance(found, types.Array) and found.dtype == types.int64 and found.ndim == 1):
            _refuse(op, operand, found, "an array (n,) of int64")
    elif operand.kind in ("data", "scaling"):
        if not (isinstance(found, types.Array) and found.ndim == (2 if operand.kind == "data" else 1)):
            _refuse(op, operand, found, "an array")
    elif operand.kind in WHOLE and not isinstance(found, types.Integer | types.Boolean | types.Omitted):
        _refuse(op, operand, found, "a whole number")
    elif operand.kind in REAL and not isinstance(found, types.Number | types.Omitted):
        _refuse(op, operand, found, "a number")


def _text(op: Op, given: dict[str, Any]) -> list[str]:
    """The op as a function of numba, for operands of these types."""
    left = [operand for operand in op.operands if operand.kind == "result"]
    outputs = [operand for operand in op.operands if operand.output and operand.shape is not None]
    body, known, kept = list[str](), dict[str, str](), list[str]()

    def absent(operand: Operand) -> bool:
        found = given.get(operand.name)
        return found is None or isinstance(found, types.NoneType) or (
            isinstance(found, types.Omitted) and found.value is None
        )  # fmt: skip

    for operand in op.operands:
        name = operand.name
        if operand.shape is not None and not absent(operand):
            for axis, letter in enumerate(operand.shape):
                if letter not in known:
                    body.append(f"{letter} = {name}.shape[{axis}]")
                    known[letter] = name
                else:
                    wrong = f"{op.name}: {name} has another {letter} than {known[letter]}: ({', '.join(operand.shape)})"
                    body.append(f"if {name}.shape[{axis}] != {letter}:\n  raise ValueError({wrong!r})")
    for operand in op.operands:
        name = operand.name
        if operand.shape is not None:
            if absent(operand):
                if operand.optional:
                    body.append(f"at_{name} = 0")
                    continue
                unknown = [letter for letter in operand.shape if letter not in known]
                if unknown:
                    raise TypingError(f"{op.name}: {name} must be given: its size {', '.join(unknown)} is not known")
                body.append(f"made_{name} = np.empty(({', '.join(operand.shape)},), np.float32)")
                body.append(f"at_{name} = made_{name}.ctypes.data")
            else:
                body += [f"made_{name} = {name}", f"at_{name} = {name}.ctypes.data"]
            kept.append(f"made_{name}")
        elif operand.kind in ("data", "indices", "scaling"):
            body.append(f"at_{name} = {name}.ctypes.data")
            kept.append(name)
            if operand.kind == "data":
                body.append(f"rows_{name}, columns_{name} = {name}.strides")
            else:
                body.append(f"count_{name} = len({name})")
        elif operand.kind in ("activation", "derivative"):
            wrong = f"{op.name}: {name} must be from 0 to {len(ACTIVATIONS) - 1}: a number of formulas.ACTIVATIONS"
            body.append(f"if {name} < 0 or {name} >= {len(ACTIVATIONS)}:\n  raise ValueError({wrong!r})")
    body += _bounds(op, known)
    if op.name in CODE:
        if "data" in given:
            offset = given["offset"]
            if given["scale"] != offset:
                raise TypingError(f"{op.name}: offset and scale are {offset} and {given['scale']}; two alike needed")
            body.append(f"code = address('gathering {as_dtype(given['data'].dtype)} {as_dtype(offset.dtype)}')")
        else:
            body.append(f"code = address('code {op.name}')")
    body += _call(op)
    body += [f"keep({name})" for name in kept]
    returned = [f"made_{operand.name}" for operand in outputs if absent(operand) and not operand.optional]
    returned += ["reals[-2]"] * len(left)
    body.append(f"keep(reals)\nresult = {', '.join(returned) or 'None'}\nreturn result")
    lines = [line for piece in body for line in piece.split("\n")]
    signature = ", ".join(f"{name}{'' if p.default is p.empty else '=None'}" for name, p in
                          signature_of(op).parameters.items())  # fmt: skip
    return [f"def {op.name}({signature}):", *(f"  {line}" for line in lines)]


def _bounds(op: Op, known: dict[str, str]) -> list[str]:
    """Statements that check sizes which go with each other, as `Op.check` does."""
    found = []

    def check(wrong: str, words: str) -> None:
        found.append(f"if {wrong}:\n  raise ValueError({f'{op.name}: {words}'!r})")

    for bound in BOUND:
        if bound.holds_for(known):
            check(f"not ({bound.rule})", bound.words.format(**{letter: letter for letter in bound.letters}))
    for operand in op.operands:
        if operand.name in INDEXED:
            letter = INDEXED[operand.name]
            check(f"len({operand.name}) != {letter}", f"{operand.name} must be ({letter},)")
    if op.name == "gather":
        check("len(indices) != B or data.shape[1] != D or len(offset) != D or len(scale) != D",
              "data (N, D), indices (n,), offset and scale (D,), out (n, D) needed")  # fmt: skip
    return found


def make_callable(name: str, function: Callable[..., Any]) -> None:
    """Have numba know the op when compiled code calls `function`."""
    op = OPS[name]
    if any(operand.kind in ("source", "counter") for operand in op.operands):
        return
    names = list(signature_of(op).parameters)

    def typed(*args: Any, **kwargs: Any) -> Any:
        given = dict(zip(names, args, strict=False)) | kwargs
        for operand in op.operands:
            if operand.kind != "result":
                _check_type(op, operand, given.get(operand.name))
        return _made(name, _text(op, given), _scope(op))

    own = signature_of(op).parameters.values()
    listed = ", ".join(p.name if p.default is p.empty else f"{p.name}=None" for p in own)
    passed = ", ".join(f"{p.name}={p.name}" for p in own)
    typing = _made("typed", [f"def typed({listed}):", f"  return inner({passed})"], {"inner": typed})
    overload(function, jit_options={"error_model": "numpy", "fastmath": EXACT}, strict=True)(typing)


# ---- from C ----------------------------------------------------------------------------------------------------------


def prototype(name: str) -> str:
    """The declaration of an op as a function of C: the sizes of its arrays, in order, then its operands.

    Arrays are C-contiguous, of float, or of int64_t where they are indices; NULL for one that may be left out. What an
    op leaves is returned. Nothing is checked.

    Raises
    ------
    ValueError
        Unknown, or an op whose code depends on the dtype of the user's data.
    """
    op = _for_c(name)
    found = [f"int64_t {letter}" for letter in letters(op)]
    returned = "void"
    for operand in op.operands:
        const = "" if operand.output or "inplace" in name or name.endswith("backward_input") else "const "
        if operand.shape is not None:
            found.append(f"{const}float *{operand.name}")
        elif operand.kind == "indices":
            found.append(f"const int64_t *{operand.name}")
        elif operand.kind == "result":
            returned = "double"
        else:
            found.append(f"{C_TYPES.get(operand.kind, 'int64_t')} {operand.name}")
    return f"{returned} {name}({', '.join(found)})"


def _for_c(name: str) -> Op:
    if name not in OPS:
        raise ValueError(f"{name!r} is no op: {', '.join(OPS)}")
    op = OPS[name]
    if any(operand.kind in (*OWN_DTYPE, "counter") for operand in op.operands):
        raise ValueError(f"{name} has code of its own for each dtype of the data, and no address: call it from Python")
    return op


_FOR_C: dict[str, Any] = {}


def address(name: str) -> int:
    """Where an op lies in this process as a function of C, see `prototype`; compiled when it is first asked for."""
    if name not in _FOR_C:
        op = _for_c(name)
        arguments, body = list(letters(op)), list[str]()
        signature: list[Any] = [types.int64] * len(arguments)
        for operand in op.operands:
            if operand.kind == "result":
                continue
            array = operand.shape is not None or operand.kind == "indices"
            arguments.append(f"at_{operand.name}" if array else operand.name)
            signature.append(types.float64 if operand.kind == "real" else types.int64)
            if operand.kind == "indices":
                body.append(f"count_{operand.name} = {INDEXED[operand.name]}")
        if name in CODE:
            body.append(f"code = address('code {name}')")
        left = any(operand.kind == "result" for operand in op.operands)
        body += [*_call(op), "left = reals[-2]", "keep(reals)" + ("\nreturn left" if left else "")]
        lines = [line for piece in body for line in piece.split("\n")]
        text = [f"def {name}({', '.join(arguments)}):", *(f"  {line}" for line in lines)]
        made: Any = CFunc(
            _made(name, text, _scope(op)),
            sigutils.normalize_signature((types.float64 if left else types.void)(*signature)),
            locals={},
            options={"nopython": True, "error_model": "numpy", "fastmath": EXACT},
        )
        made.compile()
        _FOR_C[name] = made
    return int(_FOR_C[name].address)


def header() -> str:
    """Declarations of all ops that can be called from C, as pointers: the text of a header."""
    lines = ["/* Ops of fastvae as functions of C. Each is a pointer: set it to fastvae.kernels.cpu.address(NAME). */"]
    lines += ["#include <stdint.h>", ""]
    for name in OPS:
        try:
            declared = prototype(name)
        except ValueError:
            continue
        returned, _, rest = declared.partition(f" {name}(")
        lines.append(f"typedef {returned} (*fastvae_{name})({rest};")
    return "\n".join(lines) + "\n"
