"""The state spaces: global, shared and local memory, with the checks that every access passes.

Global memory holds copies of a launch's arrays, each in a place of its own with a forbidden margin around it. Shared
memory is one piece a block, local memory one piece a thread.
"""

import numpy as np

from .decoding import count
from .errors import PtxError
from .races import Races
from .scalars import unsigned

GLOBAL_BASE = 0x10000000
LOCAL_WINDOW = 0x6000000000000000  # where generic addresses mean local memory
SHARED_WINDOW = 0x7000000000000000  # ... and shared memory
SHARED_BASE = 1024  # where a block's variables begin: what lies before is not the program's
LOCAL_BASE = 64
PAGE = 256  # device allocations begin at multiples of it
FILLER = 0xCD  # what memory holds that nobody has written


class Space:
    """Bytes that threads load and store, and the views of them by dtype."""

    name = ""
    races = None

    def __init__(self, size, filler=0):
        self.bytes = np.full(-(-max(size, 1) // 16) * 16, filler, np.uint8)
        self._views = {}

    def view(self, dtype):
        """The bytes as an array of a dtype."""
        if dtype not in self._views:
            self._views[dtype] = self.bytes.view(dtype)
        return self._views[dtype]

    def locate(self, wave, lanes, addresses, width, instruction):
        """Positions in `bytes` of accesses of `width` bytes, checked for alignment and bounds."""
        if width > 1:
            beside = addresses & np.uint64(width - 1)
            if np.count_nonzero(beside):
                wave.fault(f"misaligned {self.name} access", instruction, lanes, beside, addresses)
        positions = addresses.view(np.int64)
        outside = self.outside(wave, lanes, positions, width)
        if np.count_nonzero(outside):
            wave.fault(f"{self.name} access out of bounds", instruction, lanes, outside, addresses)
        return self.positions(wave, lanes, positions)


class GlobalMemory(Space):
    """The arrays of one launch.

    Parameters
    ----------
    regions : list of (uint8 array, int)
        Bytes, and their offset in the allocation they belong to: placed so that they are aligned as there.
    races : bool
    granule, bits : int
        As in `Races`.
    """

    name = "global"

    def __init__(self, regions, races, granule, bits):
        self.regions, end = [], PAGE
        for region, offset in regions:
            start = end + offset % PAGE
            self.regions.append((start, region))
            end = -(-(start + region.size) // PAGE) * PAGE + PAGE
        super().__init__(end)
        self.valid = np.zeros(self.bytes.size, bool)
        for start, region in self.regions:
            self.bytes[start : start + region.size] = region
            self.valid[start : start + region.size] = True
        self.races = Races(self.bytes.size, granule, bits, "global") if races else None
        self.touched = {}

    def address(self, number):
        """Where a region lies."""
        return GLOBAL_BASE + self.regions[number][0]

    def copy_back(self):
        """Give the regions what the launch has stored; those that are read-only must be as they were."""
        for start, region in self.regions:
            stored = self.bytes[start : start + region.size]
            if region.flags.writeable:
                region[:] = stored
            elif not np.array_equal(region, stored):
                raise PtxError("the kernel has written to an array that is read-only")

    def outside(self, wave, lanes, positions, width):
        positions = positions - GLOBAL_BASE
        outside = (positions < 0) | (positions + width > self.bytes.size)
        if not np.count_nonzero(outside):
            outside = ~(self.valid[positions] & self.valid[positions + (width - 1)])
        return outside

    def positions(self, wave, lanes, positions):
        return positions - GLOBAL_BASE

    def addresses(self, positions):
        """What the program calls these positions."""
        return positions + GLOBAL_BASE

    def touch(self, direction, positions, size):
        """Mark bytes as read or written."""
        if direction not in self.touched:
            self.touched[direction] = np.zeros(self.bytes.size, np.uint8)
        marks = self.touched[direction].view(unsigned(size))
        marks[positions // size] = unsigned(size).type(2 ** (8 * size) // 255)

    def distinct(self, direction):
        """How many bytes were read or written at least once."""
        return int(self.touched[direction].sum()) if direction in self.touched else 0


class SharedMemory(Space):
    """The shared memory of a wave's blocks."""

    name = "shared"

    def __init__(self, size, blocks, races, granule, bits):
        self.size, self.stride = size, -(-max(size, 1) // 16) * 16
        super().__init__(self.stride * blocks, FILLER)
        self.written = np.zeros(self.bytes.size, bool)
        self.arriving = None  # bytes of asynchronous copies under way
        self.races = Races(self.bytes.size, granule, bits, "shared") if races else None

    def outside(self, wave, lanes, positions, width):
        return (positions < SHARED_BASE) | (positions + width > SHARED_BASE + self.size)

    def positions(self, wave, lanes, positions):
        return positions + (wave.block_in_wave[lanes] * self.stride - SHARED_BASE)

    def addresses(self, positions):
        """What the program calls these positions."""
        return positions % self.stride + SHARED_BASE

    def check_read(self, wave, lanes, positions, width, instruction):
        """What is read must have been written, and have arrived."""
        never = ~self.written[positions]
        if width > 1:
            never |= ~self.written[positions + (width - 1)]
        if np.count_nonzero(never):
            message = "shared memory read before it was written"
            wave.fault(message, instruction, lanes, never, self.addresses(positions))
        self.check_arrived(wave, lanes, positions, width, instruction)

    def check_arrived(self, wave, lanes, positions, width, instruction):
        """No asynchronous copy to the place may be under way."""
        if self.arriving is not None:
            early = self.arriving[positions] | self.arriving[positions + (width - 1)]
            if np.count_nonzero(early):
                message = "shared memory used while a copy to it is under way"
                wave.fault(message, instruction, lanes, early, self.addresses(positions))

    def mark_written(self, positions, width):
        marks = self.written.view(unsigned(min(width, 8)))
        for part in range(0, width, 8):
            marks[(positions + part) // min(width, 8)] = unsigned(min(width, 8)).type(2 ** (8 * min(width, 8)) // 255)


class LocalMemory(Space):
    """The local memory of a wave's threads."""

    name = "local"

    def __init__(self, size, lanes):
        self.size, self.stride = size, -(-max(size, 1) // 16) * 16
        super().__init__(self.stride * lanes, FILLER)

    def outside(self, wave, lanes, positions, width):
        return (positions < LOCAL_BASE) | (positions + width > LOCAL_BASE + self.size)

    def positions(self, wave, lanes, positions):
        return positions - LOCAL_BASE + wave.lane[lanes] * self.stride


def choose(space, wave, lanes, addresses, instruction):
    """The state space of an access and its addresses there; generic ones are told by their window."""
    if space == "shared":
        return wave.shared, addresses
    if space == "local":
        return wave.local, addresses
    if space in ("global", "const"):
        return wave.launch.memory, addresses
    if not count(wave, lanes):
        return wave.launch.memory, addresses
    window = addresses >> np.uint64(60)
    if (window != window[0]).any():
        wave.fault("one access to several state spaces", instruction, lanes, window != window[0], addresses)
    if window[0] == SHARED_WINDOW >> 60:
        return wave.shared, addresses - np.uint64(SHARED_WINDOW)
    if window[0] == LOCAL_WINDOW >> 60:
        return wave.local, addresses - np.uint64(LOCAL_WINDOW)
    return wave.launch.memory, addresses
