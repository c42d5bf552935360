"""Loads, stores, atomic operations and asynchronous copies."""

import numpy as np

from .counters import record
from .decoding import count, opcode, spread, unknown
from .memory import FILLER, choose
from .nodes import Symbol, Vector
from .scalars import dtype_of, unsigned

SPACES = ("global", "shared", "local", "param", "const")
STRONG = {"volatile", "relaxed", "acquire", "release", "acq_rel"}


def state_space(instruction):
    """The state space that an instruction names; "" for generic addresses."""
    named = (m.split("::")[0] for m in instruction.modifiers)
    return next((m for m in named if m in SPACES), "")


def access_width(instruction):
    """Bytes of one element, and how many elements a thread moves."""
    lengths = {"v2": 2, "v4": 4, "v8": 8}
    length = next((lengths[m] for m in instruction.modifiers if m in lengths), 1)
    return dtype_of(instruction.modifiers[-1]).itemsize, length


def _items(operand):
    return operand.items if isinstance(operand, Vector) else (operand,)


class Access:
    """What loads and stores share: from addresses to places, with all checks and counts on the way."""

    def __init__(self, instruction, address, width, kind):
        self.instruction, self.address, self.width, self.kind = instruction, address, width, kind
        self.space = state_space(instruction)
        strong = not STRONG.isdisjoint(instruction.modifiers)
        self.race = "atomic" if kind == "atomic" or strong else {"load": "read", "store": "write"}[kind]

    def places(self, wave, lanes, unchanged=None):
        """The state space and the positions of the lanes in it. `unchanged` as in `Races.note`, with both given."""
        addresses = self.address(wave, lanes)
        space, addresses = choose(self.space, wave, lanes, addresses, self.instruction)
        positions = space.locate(wave, lanes, addresses, self.width, self.instruction)
        self.check(space, wave, lanes, positions, unchanged)
        return space, positions

    def check(self, space, wave, lanes, positions, unchanged=None):
        """Note the access for races, unwritten memory and the counts."""
        if space.name == "shared":
            if self.kind == "store":
                space.check_arrived(wave, lanes, positions, self.width, self.instruction)
            else:
                space.check_read(wave, lanes, positions, self.width, self.instruction)
        if space.races:
            same = None if unchanged is None else lambda: unchanged(space, positions)
            space.races.note(self.race, wave, lanes, positions, self.width, self.instruction, same)
        if wave.launch.counting:
            record(wave.launch.access(self.instruction, self.kind, space.name), wave, lanes, positions, self.width)
            if space.name == "global":
                for part in range(0, self.width, 8):
                    for direction in {"load": ["read"], "store": ["written"]}.get(self.kind, ["read", "written"]):
                        space.touch(direction, positions + part, min(self.width, 8))


@opcode("ld", "ldu")
def decode_load(instruction, decoder):
    """Loads of one, two or four elements; of a parameter's."""
    size, length = access_width(instruction)
    dtype, targets = dtype_of(instruction.modifiers[-1]), _items(instruction.operands[0])
    writes = [decoder.write(t, dtype) for t in targets]
    if state_space(instruction) == "param":
        base, offset = instruction.operands[1].base, instruction.operands[1].offset
        name, offset = base.name, offset + base.offset

        def load_parameter(wave, lanes):
            for i, write in enumerate(writes):
                write(wave, lanes, wave.parameter(name, offset + i * size, dtype, lanes))

        return load_parameter
    access = Access(instruction, decoder.address(instruction.operands[1]), size * length, "load")

    def load(wave, lanes):
        space, positions = access.places(wave, lanes)
        values, at = space.view(dtype), positions // size
        for i, write in enumerate(writes):
            write(wave, lanes, values[at + i])

    return load


@opcode("st")
def decode_store(instruction, decoder):
    """Stores of one, two or four elements; of an argument for a call."""
    size, length = access_width(instruction)
    dtype = dtype_of(instruction.modifiers[-1])
    reads = [decoder.read(item, dtype) for item in _items(instruction.operands[1])]
    if state_space(instruction) == "param":
        base = instruction.operands[0].base
        if not isinstance(base, Symbol):
            raise unknown(instruction)
        return lambda wave, lanes: wave.pass_argument(base.name, reads[0](wave, lanes))
    access, bits = Access(instruction, decoder.address(instruction.operands[0]), size * length, "store"), unsigned(size)

    def store(wave, lanes):
        values = [spread(wave, lanes, read(wave, lanes)).view(bits) for read in reads]

        def unchanged(space, positions):
            held, at = space.view(bits), positions // size
            return np.logical_and.reduce([held[at + i] == value for i, value in enumerate(values)])

        space, positions = access.places(wave, lanes, unchanged)
        held, at = space.view(bits), positions // size
        for i, value in enumerate(values):
            held[at + i] = value
        if space.name == "shared":
            space.mark_written(positions, size * length)
        elif space.name == "global":
            wave.fenced[lanes] = False
        if space.races and access.race == "write":
            lost = ~unchanged(space, positions)
            if lost.any():
                message = f"race in {space.name} memory: another thread writes the same place at once"
                wave.fault(message, instruction, lanes, lost, space.addresses(positions))

    return store


def _combined(name, dtype):
    """What an atomic operation stores, from what it finds and its operands."""
    one = dtype.type(1)
    return {
        "add": lambda old, x, _: old + x,
        "min": lambda old, x, _: np.minimum(old, x),
        "max": lambda old, x, _: np.maximum(old, x),
        "and": lambda old, x, _: old & x,
        "or": lambda old, x, _: old | x,
        "xor": lambda old, x, _: old ^ x,
        "exch": lambda old, x, _: x,
        "cas": lambda old, x, y: np.where(old == x, y, old),
        "inc": lambda old, x, _: np.where(old >= x, dtype.type(0), old + one),
        "dec": lambda old, x, _: np.where((old == 0) | (old > x), x, old - one),
    }[name]


IN_PLACE = {
    "add": np.add,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
}


@opcode("atom", "red")
def decode_atomic(instruction, decoder):
    """Atomic operations, one lane after the other where they meet."""
    operands = list(instruction.operands)
    target = operands.pop(0) if instruction.opcode == "atom" else None
    names = ("add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec")
    name = next((m for m in instruction.modifiers if m in names), None)
    kind = instruction.modifiers[-1]
    if name is None or kind in ("bf16", "bf16x2", "f16x2") or access_width(instruction)[1] > 1:
        raise unknown(instruction)
    dtype = dtype_of(kind)
    access = Access(instruction, decoder.address(operands[0]), dtype.itemsize, "atomic")
    reads = [decoder.read(o, dtype) for o in operands[1:]]
    combine = _combined(name, dtype)
    write = decoder.write(target, dtype) if decoder.is_read(target) else None

    def step(wave, lanes):
        space, positions = access.places(wave, lanes)
        order = wave.launch.order_of(count(wave, lanes))
        numbers = wave.numbers(lanes)
        if space.name == "global" and space.races:
            space.races.meet(wave, numbers[order], positions[order], wave.fenced[numbers[order]])
            wave.fenced[lanes] = False
        held, at = space.view(dtype), positions // dtype.itemsize
        x, y = (spread(wave, lanes, read(wave, lanes)) for read in (reads * 2)[:2])
        if write is None and name in IN_PLACE:
            IN_PLACE[name].at(held, at[order], x[order])
            return
        old = np.empty(len(at), dtype)
        for turn in _turns(at, order):
            old[turn] = held[at[turn]]
            held[at[turn]] = combine(old[turn], x[turn], y[turn])
        if write:
            write(wave, lanes, old)

    return step


def _turns(at, order):
    """Lanes in rounds, so that no two of a round are at the same place and the order is kept."""
    sort = order[np.argsort(at[order], kind="stable")]
    new = np.flatnonzero(np.diff(at[sort], prepend=-1))
    rank = np.arange(len(sort)) - np.repeat(new, np.diff(new, append=len(sort)))
    return [sort[rank == r] for r in range(int(rank.max()) + 1)] if len(sort) else []


@opcode("membar", "fence")
def decode_fence(instruction, decoder):
    """Fences: they order a thread's own accesses; a later atomic operation publishes them (see `Races.meet`)."""
    wide = {"gl", "sys", "gpu"} & set(instruction.modifiers)

    def step(wave, lanes):
        if wide:
            wave.fenced[lanes] = True

    return step


class Copies:
    """Asynchronous copies under way in a wave: begun, put into groups, arriving when they are waited for."""

    def __init__(self, lanes):
        self.group = np.zeros(lanes, np.int64)  # the group that each lane's next copy goes into
        self.begun = []  # [lanes, group, positions in shared memory, bytes of each]

    def wait(self, wave, lanes, pending, instruction):
        """Let all groups of the lanes arrive but the `pending` youngest."""
        waiting = np.zeros(len(self.group), bool)
        waiting[lanes] = True
        rest = []
        for who, group, positions, data in self.begun:
            done = waiting[who] & (group < self.group[who] - pending)
            if done.any():
                self._arrive(wave, who[done], positions[done], data[done], instruction)
            if not done.all():
                rest.append((who[~done], group[~done], positions[~done], data[~done]))
        self.begun = rest

    def _arrive(self, wave, who, positions, data, instruction):
        shared, width = wave.shared, data.shape[1]
        places = positions[:, None] + np.arange(width)
        shared.bytes[places] = data
        shared.arriving[places] = False
        shared.written[places] = True
        if shared.races:
            shared.races.note("write", wave, who, positions, width, instruction)


@opcode("cp")
def decode_copy(instruction, decoder):
    """`cp.async`: the data are taken at once but arrive only when they are waited for.

    Until then the place must be neither read nor written; afterwards the copy counts as a write by its thread.
    """
    modifiers = instruction.modifiers
    if modifiers[:1] != ("async",) or "bulk" in modifiers or "mbarrier" in modifiers:
        raise unknown(instruction)
    if "commit_group" in modifiers:
        return _commit
    if "wait_all" in modifiers or "wait_group" in modifiers:
        return _wait(instruction)
    size = int(instruction.operands[2].text)
    if len(instruction.operands) > 4 or size not in (4, 8, 16):
        raise unknown(instruction)
    filled = decoder.read(instruction.operands[3], "u32") if len(instruction.operands) == 4 else None
    target, source = (decoder.address(o) for o in instruction.operands[:2])
    into, out = Access(instruction, target, size, "store"), Access(instruction, source, size, "load")
    into.space, out.space = "shared", "global"

    def step(wave, lanes):
        numbers = wave.numbers(lanes)
        amount = spread(wave, lanes, np.uint32(size) if filled is None else filled(wave, lanes)).astype(np.int64)
        data = np.zeros((len(numbers), size), np.uint8)
        some = amount > 0
        if some.any():
            memory, positions = out.places(wave, numbers[some])
            data[some] = memory.bytes[positions[:, None] + np.arange(size)]
        data[np.arange(size) >= amount[:, None]] = 0
        shared, positions = into.places(wave, lanes)
        places = positions[:, None] + np.arange(size)
        if shared.arriving is None:
            shared.arriving = np.zeros(shared.bytes.size, bool)
        shared.arriving[places], shared.written[places], shared.bytes[places] = True, True, FILLER
        wave.copies.begun.append((numbers, wave.copies.group[numbers], positions.copy(), data))

    return step


def _commit(wave, lanes):
    wave.copies.group[lanes] += 1


def _wait(instruction):
    if "wait_all" in instruction.modifiers:

        def wait_all(wave, lanes):
            _commit(wave, lanes)
            wave.copies.wait(wave, lanes, 0, instruction)

        return wait_all
    pending = int(instruction.operands[0].text)
    return lambda wave, lanes: wave.copies.wait(wave, lanes, pending, instruction)
