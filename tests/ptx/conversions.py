"""Moves, conversions between types, comparisons and selections."""

import numpy as np

from .decoding import opcode, unknown
from .floats import DIRECTIONS, flushed, rounded, saturated
from .memory import LOCAL_WINDOW, SHARED_WINDOW
from .nodes import Pair, Vector
from .scalars import dtype_of, from_bfloat16, to_bfloat16, unsigned

TO_INTEGER = {"rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil}
WINDOWS = {"shared": SHARED_WINDOW, "local": LOCAL_WINDOW}


@opcode("mov")
def decode_mov(instruction, decoder):
    """A move; with a vector on one side, words are packed into a longer one or taken from it."""
    target, source = instruction.operands
    kind = instruction.modifiers[-1]
    if isinstance(source, Vector):
        return _pack(target, source.items, dtype_of(kind), decoder)
    if isinstance(target, Vector):
        return _unpack(target.items, source, dtype_of(kind), decoder)
    read, write = decoder.read(source, kind), decoder.write(target, kind)
    return lambda wave, lanes: write(wave, lanes, read(wave, lanes))


def _pack(target, items, whole, decoder):
    part = unsigned(whole.itemsize // len(items))
    reads, write = [decoder.read(item, part) for item in items], decoder.write(target, whole)
    distances = [whole.type(8 * part.itemsize * i) for i in range(len(items))]

    def step(wave, lanes):
        parts = (read(wave, lanes).astype(whole) << by for read, by in zip(reads, distances, strict=True))
        write(wave, lanes, np.bitwise_or.reduce(np.broadcast_arrays(*parts)))

    return step


def _unpack(items, source, whole, decoder):
    part = unsigned(whole.itemsize // len(items))
    read, writes = decoder.read(source, whole), [decoder.write(item, part) for item in items]

    def step(wave, lanes):
        value = read(wave, lanes)
        for i, write in enumerate(writes):
            write(wave, lanes, (value >> whole.type(8 * part.itemsize * i)).astype(part))

    return step


@opcode("cvta")
def decode_cvta(instruction, decoder):
    """Addresses between a state space's own and the generic ones."""
    space = instruction.modifiers[1 if instruction.modifiers[0] == "to" else 0]
    window = np.uint64(WINDOWS.get(space.split("::")[0], 0))
    read, write = decoder.read(instruction.operands[1], "u64"), decoder.write(instruction.operands[0], "u64")
    if instruction.modifiers[0] == "to":
        return lambda wave, lanes: write(wave, lanes, read(wave, lanes) - window)
    return lambda wave, lanes: write(wave, lanes, read(wave, lanes) + window)


@opcode("cvt")
def decode_cvt(instruction, decoder):
    """`cvt`: between any two types, and two float32 into a pair of half the width."""
    *modifiers, target, source = instruction.modifiers
    if not set(modifiers) <= {"rn", "ftz", "sat"} | DIRECTIONS | set(TO_INTEGER):
        raise unknown(instruction)
    write = decoder.write(instruction.operands[0], target)
    if target in ("bf16x2", "f16x2"):
        if source != "f32":
            raise unknown(instruction)
        upper, lower = (decoder.read(o, source) for o in instruction.operands[1:])
        narrow = _narrow(target[:-2], modifiers)
        return lambda wave, lanes: write(
            wave,
            lanes,
            narrow(upper(wave, lanes)).astype(np.uint32) << np.uint32(16) | narrow(lower(wave, lanes)),
        )
    read, convert = decoder.read(instruction.operands[1], source), _conversion(target, source, modifiers)
    return lambda wave, lanes: write(wave, lanes, convert(read(wave, lanes)))


def _narrow(kind, modifiers):
    """float32 to the bits of a 16-bit float."""
    rounding = "rz" if "rz" in modifiers else "rn"
    if kind == "bf16":
        return lambda x: to_bfloat16(x, rounding)
    if rounding == "rn":
        return lambda x: np.asarray(x).astype(np.float16).view(np.uint16)
    return lambda x: rounded(np.asarray(x).astype(np.float64), np.dtype(np.float16), rounding).view(np.uint16)


def _conversion(target, source, modifiers):
    into, out = dtype_of(target), dtype_of(source)
    if source == "bf16":
        return lambda x: _conversion(target, "f32", modifiers)(from_bfloat16(x))
    if target == "bf16":
        narrow = _narrow("bf16", modifiers)
        return lambda x: narrow(np.asarray(x).astype(np.float32))
    integral = next((TO_INTEGER[m] for m in modifiers if m in TO_INTEGER), None)
    direction = next((m for m in modifiers if m in DIRECTIONS), None)
    flush, saturate = "ftz" in modifiers, "sat" in modifiers
    if into.kind == "f":
        return _to_float(into, out, integral, direction, flush, saturate)
    if out.kind == "f":
        return lambda x: _clamped(integral(np.asarray(flushed(x) if flush else x).astype(np.float64)), into)
    if saturate:
        low, high = np.iinfo(into).min, np.iinfo(into).max
        low, high = max(low, np.iinfo(out).min), min(high, np.iinfo(out).max)
        return lambda x: np.clip(x, out.type(low), out.type(high)).astype(into)
    return lambda x: x.astype(into)


def _to_float(into, out, integral, direction, flush, saturate):
    def convert(x):
        x = np.asarray(x)
        if flush and out == np.float32:
            x = flushed(x)
        if integral:
            x = integral(x)
        x = rounded(x.astype(np.float64), into, direction) if direction else x.astype(into)
        if saturate:
            x = saturated(x)
        return flushed(x) if flush and into == np.float32 else x

    return convert


def _clamped(x, into):
    """Whole float64 numbers as integers: what is too large is held at the limit, NaN is 0."""
    low, high = np.iinfo(into).min, np.iinfo(into).max
    inside = np.where(np.isnan(x) | (x < float(low)) | (x >= float(high)), 0.0, x).astype(into)
    return np.where(x < float(low), into.type(low), np.where(x >= float(high), into.type(high), inside))


COMPARISONS = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
}
LOGIC = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}


def comparison(name, dtype):
    """A comparison by its PTX name; of floats, the plain ones are false for NaN and those that end in u true."""
    if dtype.kind != "f":
        return COMPARISONS[name]
    if name == "nan":
        return lambda a, b: np.isnan(a) | np.isnan(b)
    if name == "num":
        return lambda a, b: ~(np.isnan(a) | np.isnan(b))
    if name == "ne":
        return lambda a, b: (a < b) | (a > b)
    if name == "neu":
        return np.not_equal
    if name.endswith("u"):
        opposite = COMPARISONS[{"eq": "ne", "lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}[name[:-1]]]
        if name == "equ":
            return lambda a, b: ~((a < b) | (a > b))
        return lambda a, b: ~opposite(a, b)
    return COMPARISONS[name]


@opcode("setp")
def decode_setp(instruction, decoder):
    """A comparison into a predicate, possibly joined with another predicate, and into its opposite."""
    modifiers, kind = [m for m in instruction.modifiers[:-1] if m != "ftz"], instruction.modifiers[-1]
    dtype = dtype_of(kind)
    compare, flush = comparison(modifiers[0], dtype), "ftz" in instruction.modifiers
    a, b = (decoder.read(o, dtype) for o in instruction.operands[1:3])
    join = LOGIC[modifiers[1]] if len(modifiers) > 1 else None
    other = decoder.read(instruction.operands[3], "pred") if join else None
    target = instruction.operands[0]
    targets = (target.first, target.second) if isinstance(target, Pair) else (target,)
    writes = [decoder.write(t, "pred") for t in targets]

    def step(wave, lanes):
        x, y = a(wave, lanes), b(wave, lanes)
        holds = compare(flushed(x), flushed(y)) if flush else compare(x, y)
        for write, value in zip(writes, (holds, None), strict=False):
            value = ~np.asarray(holds) if value is None else value
            write(wave, lanes, join(value, other(wave, lanes)) if join else value)

    return step


@opcode("selp")
def decode_selp(instruction, decoder):
    """One of two values by a predicate."""
    kind = instruction.modifiers[-1]
    a, b = (decoder.read(o, kind) for o in instruction.operands[1:3])
    choice, write = decoder.read(instruction.operands[3], "pred"), decoder.write(instruction.operands[0], kind)
    return lambda wave, lanes: write(wave, lanes, np.where(choice(wave, lanes), a(wave, lanes), b(wave, lanes)))


@opcode("slct")
def decode_slct(instruction, decoder):
    """One of two values by a third one's sign; a NaN takes the second."""
    *_, kind, sign = instruction.modifiers
    a, b = (decoder.read(o, kind) for o in instruction.operands[1:3])
    c, write = decoder.read(instruction.operands[3], sign), decoder.write(instruction.operands[0], kind)
    return lambda wave, lanes: write(wave, lanes, np.where(c(wave, lanes) >= 0, a(wave, lanes), b(wave, lanes)))
