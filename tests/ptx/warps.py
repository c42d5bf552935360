"""What the lanes of a warp do together: shuffles, votes, matches, `bar.warp.sync`."""

import numpy as np

from .decoding import opcode, spread, unknown
from .nodes import Pair

ALL = np.uint32(0xFFFFFFFF)


class WarpStep:
    """A step that takes place when all lanes named by a mask are there.

    Parameters
    ----------
    step : function (wave, lanes)
    mask : function (wave, lanes), or None for the whole warp
    """

    def __init__(self, step, mask=None):
        self.step, self._mask = step, mask

    def __call__(self, wave, lanes):
        self.step(wave, lanes)

    def mask(self, wave, lanes):
        """The lanes that each lane names, as bits."""
        return spread(wave, lanes, ALL if self._mask is None else self._mask(wave, lanes))


def warp_table(wave, lanes, values, filler=0):
    """Values of the lanes as an array (warps, 32); lanes that are not there get the filler."""
    values = np.asarray(values)
    table = np.full((wave.warps * wave.blocks, 32), filler, values.dtype)
    table[wave.warp_in_wave[lanes], wave.lane_in_warp[lanes]] = values
    return table


def ballot(wave, lanes, values):
    """The lanes of each lane's warp whose value is true, as bits."""
    bits = np.bincount(
        wave.warp_in_wave[lanes], np.ldexp(spread(wave, lanes, values).astype(np.float64), wave.lane_in_warp[lanes])
    )
    return bits.astype(np.int64).astype(np.uint32)[wave.warp_in_wave[lanes]]


def shuffle_source(mode, lane, by, control):
    """The lane that `shfl` takes from, and whether it lies in the segment; else the lane keeps its own value.

    `control` holds the clamp in bits 0 to 4 and the segment's mask in bits 8 to 12.
    """
    clamp, segment, by = control & 31, (control >> 8) & 31, by & 31
    lowest = lane & segment
    highest = lowest | (clamp & ~segment)
    if mode == "up":
        source = lane - by
        inside = source >= highest
    else:
        source = {"down": lane + by, "bfly": lane ^ by, "idx": lowest | (by & ~segment & 31)}[mode]
        inside = source <= highest
    return np.where(inside, source, lane), inside


@opcode("shfl")
def decode_shuffle(instruction, decoder):
    """`shfl.sync`: a value from another lane of the warp."""
    if instruction.modifiers[0] != "sync" or instruction.modifiers[2] != "b32":
        raise unknown(instruction)
    mode = instruction.modifiers[1]
    value, by, control, mask = (decoder.read(o, "u32") for o in instruction.operands[1:5])
    target = instruction.operands[0]
    target, inside = (target.first, target.second) if isinstance(target, Pair) else (target, None)
    write = decoder.write(target, "u32")
    write_inside = decoder.write(inside, "pred") if inside else None

    def step(wave, lanes):
        lane = wave.lane_in_warp[lanes]
        source, within = shuffle_source(
            mode, lane, np.asarray(by(wave, lanes)).astype(np.int64), np.asarray(control(wave, lanes)).astype(np.int64)
        )
        numbers = wave.numbers(lanes)
        held, there = np.zeros(wave.size + 1, np.uint32), np.zeros(wave.size + 1, bool)
        held[numbers], there[numbers] = value(wave, lanes), True
        taken = np.minimum(numbers + (source - lane) * wave.blocks, wave.size)
        if not there[taken].all():
            wave.fault("shuffle from a lane that is not there", instruction, lanes, ~there[taken])
        write(wave, lanes, held[taken])
        if write_inside:
            write_inside(wave, lanes, within)

    return WarpStep(step, mask)


@opcode("vote")
def decode_vote(instruction, decoder):
    """`vote.sync`: all, any, uni or ballot of a predicate."""
    if instruction.modifiers[0] != "sync":
        raise unknown(instruction)
    mode = instruction.modifiers[1]
    predicate, mask = decoder.read(instruction.operands[1], "pred"), decoder.read(instruction.operands[2], "u32")
    write = decoder.write(instruction.operands[0], "u32" if mode == "ballot" else "pred")

    def step(wave, lanes):
        yes, here = ballot(wave, lanes, predicate(wave, lanes)), ballot(wave, lanes, True)
        result = {"ballot": yes, "any": yes != 0, "all": yes == here, "uni": (yes == here) | (yes == 0)}[mode]
        write(wave, lanes, result)

    return WarpStep(step, mask)


@opcode("match")
def decode_match(instruction, decoder):
    """`match.sync`: which lanes hold the same value (any), or whether all do (all)."""
    mode, _, kind = instruction.modifiers
    target = instruction.operands[0]
    target, same = (target.first, target.second) if isinstance(target, Pair) else (target, None)
    value, mask = decoder.read(instruction.operands[1], kind), decoder.read(instruction.operands[2], "u32")
    write, write_same = decoder.write(target, "u32"), decoder.write(same, "pred") if same else None

    def step(wave, lanes):
        mine = spread(wave, lanes, value(wave, lanes))
        table = warp_table(wave, lanes, mine)[wave.warp_in_wave[lanes]]
        here = warp_table(wave, lanes, np.ones(len(mine), bool))[wave.warp_in_wave[lanes]]
        equal = here & (table == mine[:, None])
        bits = (equal * (np.uint64(1) << np.arange(32, dtype=np.uint64))).sum(axis=1).astype(np.uint32)
        everyone = (equal == here).all(axis=1)
        write(wave, lanes, np.where(everyone, bits, np.uint32(0)) if mode == "all" else bits)
        if write_same:
            write_same(wave, lanes, everyone)

    return WarpStep(step, mask)


@opcode("activemask")
def decode_activemask(instruction, decoder):
    """The lanes of the warp that are here now."""
    write = decoder.write(instruction.operands[0], "u32")
    return lambda wave, lanes: write(wave, lanes, ballot(wave, lanes, True))


def decode_warp_barrier(instruction, decoder):
    """`bar.warp.sync`: the lanes' accesses before it are ordered before those after it."""

    def step(wave, lanes):
        wave.pass_warp_barrier(lanes)

    return WarpStep(step, decoder.read(instruction.operands[0], "u32"))
