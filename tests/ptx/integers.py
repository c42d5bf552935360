"""Integer arithmetic, logic and bit fields."""

import numpy as np

from .carries import decode_carry
from .decoding import opcode, unknown
from .floats import decode_float
from .scalars import dtype_of, unsigned


def high_product(a, b):
    """The upper half of a product, for 16, 32 and 64 bits."""
    a, b = np.asarray(a), np.asarray(b)
    bits = 8 * a.dtype.itemsize
    if bits < 64:
        wide = np.dtype(f"{a.dtype.kind}{a.dtype.itemsize * 2}")
        return ((a.astype(wide) * b.astype(wide)) >> wide.type(bits)).astype(a.dtype)
    half, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    x, y = a.view(np.uint64), b.view(np.uint64)
    low = (x & mask) * (y & mask)
    cross = (x >> half) * (y & mask) + (low >> half)
    other = (x & mask) * (y >> half) + (cross & mask)
    high = (x >> half) * (y >> half) + (cross >> half) + (other >> half)
    if a.dtype.kind == "i":
        high = high - np.where(a < 0, y, np.uint64(0)) - np.where(b < 0, x, np.uint64(0))
    return high.view(a.dtype)


def quotient(a, b):
    """Division that rounds towards zero; what a division by zero gives is not specified."""
    q = a // b
    return q + ((a - q * b != 0) & ((a < 0) != (b < 0))) if np.asarray(a).dtype.kind == "i" else q


def shift(name):
    """`shl` or `shr`; distances of the width or more shift everything out."""

    def apply(a, distance):
        a = np.asarray(a)
        bits = 8 * a.dtype.itemsize
        within = distance < bits
        by = np.where(within, distance, 0).astype(a.dtype)
        if name == "shl":
            return np.where(within, a << by, a.dtype.type(0))
        return np.where(within, a >> by, a >> a.dtype.type(bits - 1) if a.dtype.kind == "i" else a.dtype.type(0))

    return apply


def population_count(a):
    """How many bits are set."""
    a = np.asarray(a)
    return sum(((a >> a.dtype.type(i)) & a.dtype.type(1)).astype(np.uint32) for i in range(8 * a.dtype.itemsize))


def leading_zeros(a):
    """How many bits above the highest set one."""
    a = np.asarray(a)
    for i in (1, 2, 4, 8, 16, 32):
        if i < 8 * a.dtype.itemsize:
            a = a | (a >> a.dtype.type(i))
    return np.uint32(8 * a.dtype.itemsize) - population_count(a)


def reversed_bits(a):
    """The bits in the opposite order."""
    a = np.asarray(a)
    bits, one, result = 8 * a.dtype.itemsize, a.dtype.type(1), np.zeros_like(a)
    for i in range(bits):
        result |= ((a >> a.dtype.type(i)) & one) << a.dtype.type(bits - 1 - i)
    return result


def extracted_field(a, start, length):
    """`bfe`: a field of bits, filled with zeros, or with its uppermost bit where the type is signed."""
    a = np.asarray(a)
    bits = 8 * a.dtype.itemsize
    start, length = (np.asarray(n).astype(np.int64) & 255 for n in (start, length))
    position = np.arange(bits).reshape(-1, *[1] * np.ndim(a + start + length))
    raw = a.view(unsigned(a.dtype.itemsize))
    source = np.minimum(start + position, bits - 1)
    fill = (raw >> np.clip(start + length - 1, 0, bits - 1).astype(raw.dtype)) & raw.dtype.type(1)
    fill = np.where(length == 0, raw.dtype.type(0), fill) if a.dtype.kind == "i" else raw.dtype.type(0)
    inside = (position < length) & (start + position < bits)
    bit = np.where(inside, (raw >> source.astype(raw.dtype)) & raw.dtype.type(1), fill)
    return np.bitwise_or.reduce(bit << position.astype(raw.dtype), axis=0).view(a.dtype)


def inserted_field(a, b, start, length):
    """`bfi`: `b` with `length` bits of `a` in it from `start` on."""
    b = np.asarray(b)
    bits = 8 * b.dtype.itemsize
    start, length = (np.asarray(n).astype(np.int64) & 255 for n in (start, length))
    ones = ~b.dtype.type(0)
    shl, shr = shift("shl"), shift("shr")
    mask = shl(shr(ones, np.clip(bits - length, 0, bits)), start)
    return (b & ~mask) | (shl(np.asarray(a) + b.dtype.type(0), start) & mask)


def lookup(table):
    """`lop3`: any function of three bits; bit 4a + 2b + c of the table is its value."""

    def apply(a, b, c):
        result = np.uint32(0)
        for row in range(8):
            if table >> row & 1:
                terms = (x if row >> bit & 1 else ~x for x, bit in ((a, 2), (b, 1), (c, 0)))
                x, y, z = terms
                result = result | (x & y & z)
        return result

    return apply


def permuted_bytes(a, b, selector):
    """`prmt`: four bytes picked from the eight of (b, a); bit 3 of a choice spreads that byte's sign instead."""
    both = np.asarray(a).astype(np.uint64) | (np.asarray(b).astype(np.uint64) << np.uint64(32))
    result = np.uint32(0)
    for i in range(4):
        choice = (np.asarray(selector) >> np.uint32(4 * i)) & np.uint32(15)
        byte = (both >> (np.uint64(8) * (choice & np.uint32(7)).astype(np.uint64))) & np.uint64(255)
        sign = np.where(byte >> np.uint64(7), np.uint64(255), np.uint64(0))
        chosen = np.where(choice & np.uint32(8), sign, byte).astype(np.uint32)
        result = result | (chosen << np.uint32(8 * i))
    return result


def funnel_shift(name, clamp):
    """`shf.l` and `shf.r`: the upper or lower word of (b, a) shifted; distances wrap at 32 or are held there."""

    def apply(a, b, distance):
        by = np.minimum(distance, np.uint32(32)) if clamp else distance & np.uint32(31)
        by = np.asarray(by).astype(np.uint64)
        both = np.asarray(a).astype(np.uint64) | (np.asarray(b).astype(np.uint64) << np.uint64(32))
        if name == "l":
            return ((both << by) >> np.uint64(32)).astype(np.uint32)
        return (both >> by).astype(np.uint32)

    return apply


BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "min": np.minimum,
    "max": np.maximum,
    "div": quotient,
    "rem": lambda a, b: a - quotient(a, b) * b,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}
UNARY = {"not": np.invert, "neg": np.negative, "abs": np.abs}
COUNTING = {"popc": population_count, "clz": leading_zeros}


def _apply(function, reads, write):
    """A step that stores a function of its operands."""
    if len(reads) == 1:
        (a,) = reads
        return lambda wave, lanes: write(wave, lanes, function(a(wave, lanes)))
    if len(reads) == 2:
        a, b = reads
        return lambda wave, lanes: write(wave, lanes, function(a(wave, lanes), b(wave, lanes)))
    return lambda wave, lanes: write(wave, lanes, function(*[read(wave, lanes) for read in reads]))


def _operands(instruction, decoder, types):
    return [decoder.read(o, t) for o, t in zip(instruction.operands[1:], types, strict=False)]


@opcode("add", "sub", "min", "max", "div", "rem", "and", "or", "xor", "not", "neg", "abs")
def decode_arithmetic(instruction, decoder):
    """Operations that have one type throughout."""
    kind = instruction.modifiers[-1]
    dtype = dtype_of(kind)
    if dtype.kind == "f" or kind in ("bf16", "f16x2", "bf16x2"):
        return decode_float(instruction, decoder)
    if "cc" in instruction.modifiers:
        return decode_carry(instruction, decoder, high_product)
    if len(instruction.modifiers) != 1:
        raise unknown(instruction)
    function = BINARY.get(instruction.opcode) or UNARY[instruction.opcode]
    return _apply(function, _operands(instruction, decoder, [kind] * 2), decoder.write(instruction.operands[0], kind))


@opcode("mul", "mad")
def decode_product(instruction, decoder):
    """`mul` and `mad`: the lower half, the upper half, or the whole of a product."""
    kind = instruction.modifiers[-1]
    dtype = dtype_of(kind)
    if dtype.kind == "f" or kind in ("bf16", "f16x2", "bf16x2"):
        return decode_float(instruction, decoder)
    half = instruction.modifiers[0]
    if "cc" in instruction.modifiers:
        return decode_carry(instruction, decoder, high_product)
    if half not in ("lo", "hi", "wide") or len(instruction.modifiers) != 2:
        raise unknown(instruction)
    result = np.dtype(f"{dtype.kind}{2 * dtype.itemsize}") if half == "wide" else dtype
    product = {"lo": np.multiply, "hi": high_product, "wide": lambda a, b: np.multiply(a, b, dtype=result)}[half]
    function = product if instruction.opcode == "mul" else lambda a, b, c: product(a, b) + c
    return _apply(
        function,
        _operands(instruction, decoder, [dtype, dtype, result]),
        decoder.write(instruction.operands[0], result),
    )


@opcode("addc", "subc", "madc")
def decode_with_carry(instruction, decoder):
    """Arithmetic that takes the carry of the instruction before."""
    return decode_carry(instruction, decoder, high_product)


@opcode("shl", "shr")
def decode_shift(instruction, decoder):
    """Shifts; the distance is 32 bits wide whatever is shifted."""
    kind = instruction.modifiers[-1]
    reads = _operands(instruction, decoder, [kind, "u32"])
    return _apply(shift(instruction.opcode), reads, decoder.write(instruction.operands[0], kind))


@opcode("popc", "clz", "brev")
def decode_bits(instruction, decoder):
    """Operations on the bits of one number."""
    kind = instruction.modifiers[-1]
    if instruction.opcode == "brev":
        return _apply(
            reversed_bits, _operands(instruction, decoder, [kind]), decoder.write(instruction.operands[0], kind)
        )
    function = COUNTING[instruction.opcode]
    return _apply(function, _operands(instruction, decoder, [kind]), decoder.write(instruction.operands[0], "u32"))


@opcode("bfe", "bfi")
def decode_field(instruction, decoder):
    """Bit fields."""
    kind = instruction.modifiers[-1]
    function, types = (extracted_field, [kind]) if instruction.opcode == "bfe" else (inserted_field, [kind] * 2)
    reads = _operands(instruction, decoder, [*types, "u32", "u32"])
    return _apply(function, reads, decoder.write(instruction.operands[0], kind))


@opcode("lop3")
def decode_lop3(instruction, decoder):
    """Logic of three operands by a table."""
    if instruction.modifiers != ("b32",):
        raise unknown(instruction)
    function = lookup(int(instruction.operands[4].text, 0))
    return _apply(function, _operands(instruction, decoder, ["u32"] * 3), decoder.write(instruction.operands[0], "u32"))


@opcode("prmt")
def decode_prmt(instruction, decoder):
    """A permutation of bytes, in the general mode."""
    if instruction.modifiers != ("b32",):
        raise unknown(instruction)
    reads = _operands(instruction, decoder, ["u32"] * 3)
    return _apply(permuted_bytes, reads, decoder.write(instruction.operands[0], "u32"))


@opcode("shf")
def decode_shf(instruction, decoder):
    """Funnel shifts."""
    direction, mode, kind = instruction.modifiers
    if kind != "b32" or mode not in ("wrap", "clamp"):
        raise unknown(instruction)
    reads = _operands(instruction, decoder, ["u32"] * 3)
    return _apply(funnel_shift(direction, mode == "clamp"), reads, decoder.write(instruction.operands[0], "u32"))
