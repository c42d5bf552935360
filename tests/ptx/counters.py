"""What a launch counts: instructions, memory traffic, bank conflicts."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from .decoding import count

SECTOR = 32  # bytes that global memory moves at once
BANKS, WORD = 32, 4  # of shared memory


@dataclass
class Access:
    """The traffic of one load, store or atomic instruction in one state space.

    Attributes
    ----------
    line, text : int, str
        The instruction.
    kind : str
        "load", "store" or "atomic".
    space : str
        "global", "shared" or "local".
    lanes : int
        How often a thread executed it.
    requests : int
        How often a warp executed it.
    bytes : int
        What all threads asked for.
    sectors : int
        32-byte sectors of global memory that the requests touched.
    least_sectors : int
        Sectors that the same lanes would touch side by side, from a sector's beginning.
    wavefronts : int
        Passes through shared memory beyond those that the width of the access takes: the bank conflicts.
    """

    line: int
    text: str
    kind: str
    space: str
    lanes: int = 0
    requests: int = 0
    bytes: int = 0
    sectors: int = 0
    least_sectors: int = 0
    wavefronts: int = 0


@dataclass
class Counters:
    """The counts of one launch; all but those of instructions only if it was asked to count.

    Attributes
    ----------
    instructions : Counter of str to int
        Executed instructions by opcode and modifiers ("fma.rn.f32"), one for every thread.
    lines : Counter of int to int
        The same by the text's lines: a line that is not there was never reached.
    accesses : list of Access
    read_bytes, written_bytes : int
        Bytes of global memory, as often as threads asked for them; an atomic operation does both.
    distinct_read_bytes, distinct_written_bytes : int
        Bytes of global memory, each counted once.
    """

    instructions: Counter = field(default_factory=Counter)
    lines: Counter = field(default_factory=Counter)
    accesses: list = field(default_factory=list)
    distinct_read_bytes: int = 0
    distinct_written_bytes: int = 0

    def total(self, attribute, space, *kinds):
        """The sum of an attribute over the accesses to a state space."""
        return sum(getattr(a, attribute) for a in self.accesses if a.space == space and (not kinds or a.kind in kinds))

    @property
    def executed(self):
        """Instructions in all, one for every thread."""
        return sum(self.instructions.values())

    @property
    def read_bytes(self):
        return self.total("bytes", "global", "load", "atomic")

    @property
    def written_bytes(self):
        return self.total("bytes", "global", "store", "atomic")

    @property
    def local_bytes(self):
        """Bytes loaded from and stored to local memory."""
        return self.total("bytes", "local")

    @property
    def bank_conflicts(self):
        """Extra passes through shared memory."""
        return self.total("wavefronts", "shared")


def record(access, wave, lanes, positions, width):
    """Add one execution of an access to its counts."""
    n = count(wave, lanes)
    access.lanes += n
    access.bytes += n * width
    if access.space == "local" or not n:
        return
    warps, within = wave.warp_in_wave[lanes], wave.lane_in_warp[lanes]
    active = np.bincount(warps)
    access.requests += int(np.count_nonzero(active))
    if access.space == "global":
        access.least_sectors += int((-(-active * width // SECTOR)).sum())
        access.sectors += _sectors(wave, lanes, positions // SECTOR)
    else:
        access.wavefronts += bank_conflicts(warps, within, positions, width)


def _sectors(wave, lanes, sectors):
    """How many different sectors the lanes of each warp touch, summed over the warps."""
    table = np.full(wave.warps * 32 * wave.blocks, -1, np.int64)
    table[lanes] = sectors
    table = table.reshape(wave.warps, 32, wave.blocks)
    if (np.diff(table, axis=1) < 0).any():
        table = np.sort(table, axis=1)
    first = (table[:, :1] >= 0).sum()
    return int(first + (np.diff(table, axis=1) != 0).sum())


def bank_conflicts(warps, within, positions, width):
    """Extra passes through shared memory for one access.

    A warp's access of 4 bytes takes one pass, of 8 two (a half-warp each), of 16 four (a quarter-warp each). In each,
    a bank gives one word; lanes that want the same word share it.
    """
    together = 32 * WORD // max(width, WORD)  # lanes in one pass
    group = warps * (32 // together) + within // together
    words = positions // WORD
    words = (words[:, None] + np.arange(max(width // WORD, 1))).ravel()
    bank = np.repeat(group, max(width // WORD, 1)) * BANKS + words % BANKS
    holder = np.zeros(int(bank.max()) + 1, np.int64)
    holder[bank] = words
    if (holder[bank] == words).all():
        return 0
    pairs = np.unique(np.stack([bank, words]), axis=1)[0]
    per_bank = np.bincount(pairs, minlength=-(-(int(pairs.max()) + 1) // BANKS) * BANKS)
    return int(np.maximum(per_bank.reshape(-1, BANKS).max(axis=1) - 1, 0).sum())
