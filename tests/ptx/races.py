"""Races: two threads at one place in memory, one of them writing, with nothing that orders them.

Time is a counter that barriers advance. For every granule of memory (a word, or less where the program has narrower
accesses) three records are kept, of the last write, the last reads and the last atomic operations: who, when, and for
several threads what they have in common. An access by the same thread, or one before the block's last barrier (or the
warp's last `bar.warp.sync`, within the warp), is ordered before the present one; so is one by another block that has
been published with a fence and an atomic operation which this block has met. All else at the same place is a race,
except reads among themselves, atomics among themselves, and writes of what is there already.

A record is an int64: time << 30 | level << 28 | thread. The level says who else shares it: nobody, threads of the
warp, of the block, of other blocks. Threads are numbered so that those of a warp differ in the lowest five bits and
those of a block in the lowest `bits`; the later of two records is the larger one.
"""

import numpy as np

from .errors import PtxError

LEVEL_SHIFT, TIME_SHIFT = np.int64(28), np.int64(30)
THREAD, LEVEL = np.int64(2**28 - 1), np.int64(3 << 28)
ALONE, WARP, BLOCK, BLOCKS = range(4)
BEGINNING = 2  # the time at which a launch starts; before it is what has been published
PENDING = 512  # reads that wait to be put on record, at most
KINDS = {"write": "written", "read": "read", "atomic": "used atomically"}


def block_bits(threads, blocks):
    """How many bits tell the threads of a block apart, at least those of a warp."""
    bits = max(5, (threads - 1).bit_length())
    if blocks << bits > int(THREAD):
        raise PtxError(f"{threads * blocks} threads are more than the search for races can tell apart")
    return bits


class Races:
    """The records of one piece of memory.

    Parameters
    ----------
    size : int
        Bytes.
    granule : int
        Bytes that share a record.
    bits : int
        Of a thread's number within its block.
    name : str
        "global", or "shared": then no two blocks meet there.
    """

    def __init__(self, size, granule, bits, name):
        self.granule, self.bits, self.name = granule, bits, name
        self.records = {kind: np.zeros(size // granule, np.int64) for kind in KINDS}
        self.used = dict.fromkeys(KINDS, False)
        self.marked = np.zeros(size // granule, bool)  # where reads are pending
        self.pending = []  # reads since the last barrier that are not on record yet: (lanes, granules, time)
        self.seen = None  # seen[a, b]: block a knows what block b did before that time
        self.published = {}  # position of an atomic to what one learns who meets it

    def forget(self):
        """All threads have met: nothing before can race with anything after."""
        for record in self.records.values():
            record[:] = 0
        self.used = dict.fromkeys(KINDS, False)

    def settle(self):
        """All threads have passed a barrier: what is pending need not go on record."""
        if self.pending:
            self.pending.clear()
            self.marked[:] = False

    def note(self, kind, wave, lanes, positions, width, instruction, unchanged=None):
        """Record accesses of `width` bytes and raise if one of them races.

        `unchanged()` tells the lanes whose write leaves what is there.
        """
        first = positions // self.granule
        for part in range(max(width // self.granule, 1)):
            self._note(kind, wave, lanes, first + part if part else first, instruction, unchanged)

    def _note(self, kind, wave, lanes, at, instruction, unchanged):
        if kind != "read" and self.pending and np.count_nonzero(self.marked[at]):
            self._record_pending(wave)
        for other in {"read": ("write", "atomic"), "atomic": ("write", "read")}.get(kind, KINDS):
            if self.used[other]:
                self._check(other, wave, lanes, at, instruction, unchanged if other == "write" else None)
        time = wave.launch.time << int(TIME_SHIFT)
        if kind == "read" and self.name == "shared":
            self.marked[at] = True
            self.pending.append((lanes, at, time))
            if len(self.pending) > PENDING:
                self._record_pending(wave)
            return
        if kind == "write":
            self.records[kind][at] = wave.code[lanes] + time
        else:
            self._join(self.records[kind], wave.code[lanes] + time, wave, lanes, at)
        self.used[kind] = True

    def _record_pending(self, wave):
        """Put pending reads on record. Most never are: a barrier comes before anything is written to their places."""
        for lanes, at, time in self.pending:
            self._join(self.records["read"], wave.code[lanes] + time, wave, lanes, at)
        self.used["read"] = True
        self.settle()

    def _check(self, kind, wave, lanes, at, instruction, unchanged):
        old = self.records[kind][at]
        racing = self._unordered(old, wave, lanes)
        if racing is None or not np.count_nonzero(racing):
            return
        if unchanged is not None:
            racing &= ~unchanged()
        if np.count_nonzero(racing):
            which = int(np.flatnonzero(racing)[0])
            block, thread = divmod(int(old[which]) & int(THREAD), 1 << self.bits)
            others = " and others" if int(old[which]) & int(LEVEL) else ""
            space = wave.shared if self.name == "shared" else wave.launch.memory
            wave.fault(
                f"race in {self.name} memory: {KINDS[kind]} before by block {block} thread {thread}{others}, "
                "with nothing in between that orders it",
                instruction,
                wave.numbers(lanes)[which : which + 1],
                True,
                space.addresses(at[which : which + 1] * self.granule),
            )

    def _relation(self, a, b):
        """What the threads of two records have in common, as a level."""
        apart = (a ^ b) & THREAD
        return (apart > 0) + (apart >= 32).astype(np.int64) + (apart >> self.bits > 0)

    def _unordered(self, old, wave, lanes):
        """Which records are of other threads and not ordered before the lanes; None if none is."""
        since = wave.block_since[lanes]
        if self.name == "shared":
            recent = old >= since
        else:
            recent = old != 0
        if not np.count_nonzero(recent):
            return None
        level, relation = (old & LEVEL) >> LEVEL_SHIFT, self._relation(old, wave.code[lanes])
        ordered = (relation == ALONE) & (level == ALONE)
        ordered |= (old < since) & (np.maximum(relation, level) < BLOCKS)
        if wave.warps_have_met:
            ordered |= (old < wave.warp_since[lanes]) & (np.maximum(relation, level) < BLOCK)
        if self.seen is not None:
            other = (old & THREAD) >> self.bits
            known = self.seen[wave.block_number[lanes], other] > old >> TIME_SHIFT
            ordered |= known & (relation == BLOCKS) & (level < BLOCKS)
        return recent & ~ordered

    def _join(self, records, stamp, wave, lanes, at):
        """Add the lanes to those on record, where these still count."""
        old = records[at]
        if self.name == "shared":
            settled = (old >= wave.block_since[lanes]) & (old & (np.int64(BLOCK) << LEVEL_SHIFT) != 0)
        else:
            settled = old & LEVEL == LEVEL
        if np.count_nonzero(settled) == len(at):
            return
        counts = self._unordered(old, wave, lanes)
        if counts is not None and np.count_nonzero(counts):
            level = np.maximum((old & LEVEL) >> LEVEL_SHIFT, self._relation(old, stamp))
            stamp = stamp + np.where(counts, level << LEVEL_SHIFT, 0)
        records[at] = stamp
        last = records[at]
        clash = last != stamp
        if not np.count_nonzero(clash):
            return
        last, mine, at = last[clash], stamp[clash], at[clash]  # several lanes at one place: the highest level stays
        level = self._relation(last, mine)
        if counts is not None:
            level = np.maximum(level, np.maximum(last & LEVEL, mine & LEVEL) >> LEVEL_SHIFT)
        joined = (last & ~LEVEL) | (level << LEVEL_SHIFT)
        for height in (WARP, BLOCK, BLOCKS):
            there = level == height
            n = np.count_nonzero(there)
            if n == len(at):
                records[at] = joined
            elif n:
                records[at[there]] = joined[there]

    def meet(self, wave, lanes, positions, fenced):
        """Let atomics carry order between blocks, in the order in which they took place.

        A thread that has passed a fence publishes what it did before, and what its block did before its last barrier;
        a thread that comes to the same place afterwards knows it, and its block with it.
        """
        if not fenced.any() and not self.published:
            return
        blocks = wave.launch.blocks
        if self.seen is None:
            self.seen = np.zeros((blocks, blocks), np.int64)
        if fenced.any():
            releasing = np.zeros(blocks << self.bits, bool)
            releasing[wave.code[lanes[fenced]]] = True
            for kind in ("write", "read"):
                record = self.records[kind]
                own = np.flatnonzero(releasing[record & THREAD] & (record & LEVEL == 0) & (record != 0))
                record[own] = (record[own] & THREAD) | np.int64(BEGINNING - 1) << TIME_SHIFT
        for lane, position, releases in zip(lanes, positions, fenced, strict=True):
            block = wave.block_number[lane]
            clock = self.published.get(int(position))
            if clock is not None:
                np.maximum(self.seen[block], clock, out=self.seen[block])
            if releases:
                known = self.seen[block].copy()
                known[block] = max(known[block], wave.block_since[lane] >> TIME_SHIFT, BEGINNING)
                self.published[int(position)] = known if clock is None else np.maximum(clock, known)
