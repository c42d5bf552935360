"""Instructions to steps: Python functions that do one instruction for many threads at once.

A step is called as `step(wave, lanes)`. `wave` holds the threads that run together; `lanes` picks those of them that
are at this instruction: a slice, or an array of their numbers. Everything that depends on the text alone (types,
operands, modifiers) is settled when the program is decoded, so that a step only moves arrays.

The values of a register are one array over the wave's lanes; a *slot* is such an array seen as one dtype. Steps name
slots by number, and the wave makes the arrays.
"""

import numpy as np

from .errors import PtxError
from .nodes import Address, Literal, Register, Sink, Special, Symbol, Vector
from .scalars import dtype_of, literal, unsigned

DECODERS = {}


def opcode(*names):
    """Register a decoder, `decode(instruction, decoder)`, that returns the step of one instruction."""

    def register(decode):
        for name in names:
            DECODERS[name] = decode
        return decode

    return register


def unknown(instruction):
    """The error for what no decoder understands."""
    return PtxError(f"unknown opcode: {instruction}")


def count(wave, lanes):
    """How many lanes are picked."""
    return lanes.stop - lanes.start if isinstance(lanes, slice) else len(lanes)


def spread(wave, lanes, value):
    """A value as an array over the picked lanes."""
    shape = (count(wave, lanes),)
    return value if np.shape(value) == shape else np.broadcast_to(value, shape)


class Decoder:
    """Turns the operands of one program into functions that read and write slots."""

    def __init__(self, program):
        self.program = program
        self.slots = {}  # (register, dtype) to the slot's number
        self.read_registers = {i.guard.index for i in program.instructions if i.guard}
        for instruction in program.instructions:
            for position, operand in enumerate(instruction.operands):
                if position or instruction.opcode in ("st", "red", "cp") or isinstance(operand, Address):
                    self._mark_read(operand)

    def _mark_read(self, operand):
        if isinstance(operand, Register):
            self.read_registers.add(operand.index)
        elif isinstance(operand, Address):
            self._mark_read(operand.base)
        elif isinstance(operand, Vector):
            for item in operand.items:
                self._mark_read(item)

    def step(self, instruction):
        """The step of an instruction."""
        decode = DECODERS.get(instruction.opcode)
        if decode is None:
            raise unknown(instruction)
        try:
            return decode(instruction, self)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise PtxError(f"cannot decode {instruction}: {error!r}") from error

    def slot(self, register, dtype):
        """The number of a register's array seen as a dtype of its size."""
        return self.slots.setdefault((register.index, np.dtype(dtype)), len(self.slots))

    def register_dtype(self, register):
        """Bits of a register's size; bool for a predicate."""
        dtype = dtype_of(self.program.registers[register.index])
        return dtype if dtype.kind == "b" else unsigned(dtype.itemsize)

    def read(self, operand, dtype):
        """A function `(wave, lanes)` that gives an operand's values as a dtype (or a PTX type's)."""
        dtype = dtype_of(dtype) if isinstance(dtype, str) else np.dtype(dtype)
        if isinstance(operand, Register):
            return self._read_register(operand, dtype)
        if isinstance(operand, Special):
            name = operand.name
            return lambda wave, lanes: wave.special(name, lanes).astype(dtype)
        if isinstance(operand, Literal):
            value = literal(operand.text, dtype)
            return lambda wave, lanes: value
        if isinstance(operand, Symbol):
            name, offset = operand.name, operand.offset
            return lambda wave, lanes: dtype.type(wave.symbol(name) + offset)
        raise PtxError(f"cannot read {operand}")

    def _read_register(self, register, dtype):
        own = self.register_dtype(register)
        if own.itemsize == dtype.itemsize:
            slot = self.slot(register, dtype)
            if register.negated:
                return lambda wave, lanes: ~wave.slots[slot][lanes]
            return lambda wave, lanes: wave.slots[slot][lanes]
        slot, bits = self.slot(register, own), unsigned(dtype.itemsize)
        return lambda wave, lanes: wave.slots[slot][lanes].astype(bits).view(dtype)

    def write(self, operand, dtype):
        """A function `(wave, lanes, values)` that stores values of a dtype.

        Values of a narrower integer type fill the register by their sign or by zeros, as PTX has it.
        """
        dtype = dtype_of(dtype) if isinstance(dtype, str) else np.dtype(dtype)
        if isinstance(operand, Sink):
            return lambda wave, lanes, values: None
        if not isinstance(operand, Register):
            raise PtxError(f"not a destination: {operand}")
        own = self.register_dtype(operand)
        if dtype.itemsize == own.itemsize:
            slot = self.slot(operand, dtype)
        elif dtype.kind in "iu":
            slot = self.slot(operand, f"{dtype.kind}{own.itemsize}")
        else:
            slot, bits = self.slot(operand, own), unsigned(dtype.itemsize)

            def write_bits(wave, lanes, values):
                wave.slots[slot][lanes] = np.asarray(values, dtype).view(bits)

            return write_bits

        def write(wave, lanes, values):
            wave.slots[slot][lanes] = values

        return write

    def address(self, operand):
        """A function `(wave, lanes)` that gives the addresses of a bracketed operand, one a lane, as uint64."""
        if not isinstance(operand, Address):
            raise PtxError(f"not an address: {operand}")
        base, offset = self.read(operand.base, np.uint64), np.uint64(operand.offset & (2**64 - 1))
        return lambda wave, lanes: spread(wave, lanes, base(wave, lanes) + offset)

    def is_read(self, operand):
        """Whether any instruction reads what is stored there."""
        return isinstance(operand, Register) and operand.index in self.read_registers
