"""Arithmetic of long integers: what leaves a carry (`.cc`) and what takes one (`addc`, `subc`, `madc`)."""

import numpy as np

from .decoding import spread, unknown
from .scalars import dtype_of, unsigned


def full_sum(a, b, carry):
    """a + b + carry and the new carry, for unsigned numbers."""
    total = a + b
    result = total + carry
    return result, (total < a) | (result < total)


def decode_carry(instruction, decoder, high_product):
    """A step that works on the lanes' carry flags; a subtraction leaves 1 in them where it borrows."""
    modifiers, kind = instruction.modifiers, instruction.modifiers[-1]
    name = instruction.opcode.removesuffix("c")
    takes, leaves = instruction.opcode.endswith("c"), "cc" in modifiers
    half = modifiers[0] if name == "mad" else None
    if half not in (None, "lo", "hi") or dtype_of(kind).itemsize < 4:
        raise unknown(instruction)
    dtype, bits = dtype_of(kind), unsigned(dtype_of(kind).itemsize)
    reads = [decoder.read(o, dtype) for o in instruction.operands[1:]]
    write = decoder.write(instruction.operands[0], bits)

    def step(wave, lanes):
        values = [spread(wave, lanes, read(wave, lanes)) for read in reads]
        if half:
            product = high_product(*values[:2]) if half == "hi" else values[0] * values[1]
            values = [product, values[2]]
        a, b = (np.ascontiguousarray(v).view(bits) for v in values)
        carry = wave.carry[lanes].astype(bits) if takes else bits.type(0)
        if name == "sub":
            result, without = full_sum(a, ~b, bits.type(1) - carry)
            left = ~without
        else:
            result, left = full_sum(a, b, carry)
        write(wave, lanes, result)
        if leaves:
            wave.carry[lanes] = left

    return step
