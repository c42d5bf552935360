"""Floating-point arithmetic.

Results are rounded once, as the hardware does: where float32 is computed through float64 the second rounding is put
right. The approximate operations of the hardware (`rcp.approx`, `ex2.approx`, `sin.approx`, ...) are computed
accurately; a device may differ from them by the errors that the PTX manual states.
"""

import numpy as np

from .decoding import opcode, unknown
from .scalars import dtype_of, from_bfloat16, to_bfloat16

SMALLEST_NORMAL = np.float32(2.0**-126)
BELOW_FLOAT32, HALF_FLOAT32 = np.uint64(0x1FFFFFFF), np.uint64(0x10000000)  # the bits of float64 that float32 lacks
DIRECTIONS = {"rz", "rm", "rp"}


def flushed(x):
    """Denormals to zero of their sign (`.ftz`)."""
    small = np.abs(x) < SMALLEST_NORMAL
    return np.where(small, np.copysign(np.float32(0), x), x) if np.count_nonzero(small) else x


def saturated(x):
    """Held in [0, 1], NaN to 0 (`.sat`)."""
    return np.where(np.isnan(x), x.dtype.type(0), np.clip(x, 0, 1))


def rounded(exact, dtype, direction):
    """A value that float64 holds exactly, rounded to a narrower type in a direction other than to nearest."""
    nearest = np.asarray(exact).astype(dtype)
    back = nearest.astype(np.float64)
    low, high = (np.nextafter(nearest, dtype.type(side)) for side in (-np.inf, np.inf))
    if direction == "rm":
        return np.where(back > exact, low, nearest)
    if direction == "rp":
        return np.where(back < exact, high, nearest)
    return np.where(np.abs(back) > np.abs(exact), np.nextafter(nearest, dtype.type(0)), nearest)


def fused_float32(a, b, c):
    """a b + c for float32, as float64 that rounds to the right float32.

    The product is exact in float64. The sum is not: where it lands exactly between two float32 numbers, or among the
    denormals, the part that was lost decides, so the sum is made odd in its direction.
    """
    product = np.multiply(a, b, dtype=np.float64)
    total = np.asarray(product + c)
    bits = total.view(np.uint64)
    doubtful = (bits & BELOW_FLOAT32) == HALF_FLOAT32
    small = np.abs(total) < 2.0**-125
    if not np.count_nonzero(doubtful) and (not np.count_nonzero(small) or not (total[small] != 0).any()):
        return total
    doubtful |= small
    part = total - product
    lost = (product - (total - part)) + (c - part)
    odd = doubtful & (lost != 0) & np.isfinite(total) & ((bits & np.uint64(1)) == 0)
    away = (lost > 0) == (total > 0)
    return np.where(odd, bits + np.where(away, np.uint64(1), np.uint64(2**64 - 1)), bits).view(np.float64)


def fused_float64(a, b, c):
    """a b + c for float64, the product and the sum with their errors carried along."""
    splitter = 134217729.0
    ah, bh = (splitter * x - (splitter * x - x) for x in (a, b))
    al, bl = a - ah, b - bh
    product = a * b
    error = ((ah * bh - product) + ah * bl + al * bh) + al * bl
    total = product + c
    part = total - product
    lost = (product - (total - part)) + (c - part)
    return np.where(np.isfinite(total + error), total + (lost + error), total)


def _fma(dtype):
    if dtype == np.float64:
        return fused_float64
    return fused_float32 if dtype == np.float32 else lambda a, b, c: np.multiply(a, b, dtype=np.float64) + c


def _wide(function):
    """A function computed in float64."""
    return lambda x: function(np.asarray(x).astype(np.float64))


FUNCTIONS = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.fmin,
    "max": np.fmax,
    "neg": np.negative,
    "abs": np.abs,
    "sqrt": np.sqrt,
    "rcp": _wide(np.reciprocal),
    "rsqrt": _wide(lambda x: 1 / np.sqrt(x)),
    "ex2": _wide(np.exp2),
    "lg2": _wide(np.log2),
    "sin": _wide(np.sin),
    "cos": _wide(np.cos),
    "tanh": _wide(np.tanh),
    "copysign": lambda a, b: np.copysign(b, a),
}
NAN_PROPAGATING = {"min": np.minimum, "max": np.maximum}
MODIFIERS = {"rn", "approx", "full", "ftz", "sat", "NaN"} | DIRECTIONS


@opcode("fma", "sqrt", "rcp", "rsqrt", "ex2", "lg2", "sin", "cos", "tanh", "copysign")
def decode_float(instruction, decoder):
    """Operations of one float type throughout."""
    *modifiers, kind = instruction.modifiers
    if not set(modifiers) <= MODIFIERS or kind in ("f16x2", "bf16x2"):
        raise unknown(instruction)
    name = "fma" if instruction.opcode == "mad" else instruction.opcode
    dtype = np.dtype(np.float32) if kind == "bf16" else dtype_of(kind)
    function = _fma(dtype) if name == "fma" else FUNCTIONS[name]
    if "NaN" in modifiers:
        function = NAN_PROPAGATING[name]
    direction = next((m for m in modifiers if m in DIRECTIONS), None)
    if direction:
        function = _directed(name, function, dtype, direction)
    function = _finished(function, dtype, "ftz" in modifiers and kind == "f32", "sat" in modifiers)
    reads = [decoder.read(o, kind) for o in instruction.operands[1:]]
    write = decoder.write(instruction.operands[0], kind)
    if kind == "bf16":
        return lambda wave, lanes: write(
            wave, lanes, to_bfloat16(function(*[from_bfloat16(read(wave, lanes)) for read in reads]))
        )
    if len(reads) == 1:
        (a,) = reads
        return lambda wave, lanes: write(wave, lanes, function(a(wave, lanes)))
    if len(reads) == 2:
        a, b = reads
        return lambda wave, lanes: write(wave, lanes, function(a(wave, lanes), b(wave, lanes)))
    a, b, c = reads
    return lambda wave, lanes: write(wave, lanes, function(a(wave, lanes), b(wave, lanes), c(wave, lanes)))


def _directed(name, function, dtype, direction):
    """A function rounded in a direction; exact before where float64 holds the whole result."""
    if dtype == np.float64:
        return function

    def apply(*values):
        return rounded(function(*[np.asarray(v).astype(np.float64) for v in values]), dtype, direction)

    return apply


def _finished(function, dtype, flush, saturate):
    """A function with `.ftz` on both sides and `.sat` after it."""
    if not flush and not saturate:
        return function

    def apply(*values):
        values = [flushed(v) for v in values] if flush else values
        result = np.asarray(function(*values)).astype(dtype)
        result = saturated(result) if saturate else result
        return flushed(result) if flush else result

    return apply


@opcode("testp")
def decode_testp(instruction, decoder):
    """Which kind of number a float is."""
    tests = {
        "finite": np.isfinite,
        "infinite": np.isinf,
        "number": lambda x: ~np.isnan(x),
        "notanumber": np.isnan,
        "normal": lambda x: np.isfinite(x) & (np.abs(x) >= np.finfo(x.dtype).tiny),
        "subnormal": lambda x: (x != 0) & (np.abs(x) < np.finfo(x.dtype).tiny),
    }
    test, kind = tests[instruction.modifiers[0]], instruction.modifiers[-1]
    read, write = decoder.read(instruction.operands[1], kind), decoder.write(instruction.operands[0], "pred")
    return lambda wave, lanes: write(wave, lanes, test(read(wave, lanes)))
