"""A launch: blocks in waves, the lanes of a wave in step, until all have left.

The lanes of a wave are numbered with the block fastest, so that one warp of every block is a slice. All lanes at the
lowest place in the program go on together until they part, meet others, or wait: for a block's barrier, the grid's, or
for the other lanes of their warp.
"""

from functools import lru_cache

import numpy as np

from . import conversions, integers, matrix, transfers, warps  # noqa: F401  the decoders
from .arguments import arrays_in, flatten, parameter_bytes, regions_of
from .counters import Access, Counters
from .decoding import count
from .errors import PtxError
from .memory import LOCAL_BASE, SHARED_BASE, GlobalMemory, LocalMemory, SharedMemory
from .races import BEGINNING, TIME_SHIFT, block_bits
from .scheduling import Code, run
from .syntax import Program
from .transfers import Copies

MOST_BLOCKS = (2**31 - 1, 65_535, 65_535)  # of a grid, along each axis
STATIC_SHARED = 48 * 1024  # bytes a block may declare; what goes beyond must be dynamic
WAVE = {"lockstep": 1 << 15, "warp": 1 << 16}  # lanes that run together, if the grid has as many


class Launch:
    """What all blocks of a launch share."""

    def __init__(self, code, grid, block, arguments, shared, order, seed, races, counting, limit):
        program = code.program
        self.code, self.order, self.counting, self.limit = code, order, counting, limit
        self.grid, self.block = _three(grid), _three(block)
        self.threads, self.blocks = int(np.prod(self.block)), int(np.prod(self.grid))
        if self.threads > 1024:
            raise PtxError(f"{self.threads} threads are too many for a block")
        if any(n > most for n, most in zip(self.grid, MOST_BLOCKS, strict=True)):
            raise PtxError(f"a grid of {self.grid} blocks is too large: it may have {MOST_BLOCKS}")
        self.bits = block_bits(self.threads, self.blocks) if races else 0
        self.races, self.random, self.time = races, np.random.default_rng(seed), BEGINNING
        self.executed, self.steps, self._accesses = [0] * len(program.instructions), 0, {}
        arrays = list(arrays_in(arguments))
        regions, places = regions_of([*arrays, *program.constants.values()])
        self.memory = GlobalMemory(regions, races, code.granule, self.bits)
        addresses = [self.memory.address(region) + offset for region, offset in places]
        by_array = {id(a): address for a, address in zip(arrays, addresses, strict=False)}
        self.symbols = dict(zip(program.constants, addresses[len(arrays) :], strict=True))
        self.symbols |= {name: SHARED_BASE + offset for name, offset in program.shared.offsets.items()}
        self.symbols |= {name: LOCAL_BASE + offset for name, offset in program.local.offsets.items()}
        self.shared_size = program.shared.size
        if program.dynamic_shared:
            self.shared_size = -(-program.shared.size // 16) * 16
            self.symbols[program.dynamic_shared] = SHARED_BASE + self.shared_size
            self.shared_size += shared
        self.dynamic_shared = shared
        if self.shared_size - shared > STATIC_SHARED:
            raise PtxError(f"{self.shared_size - shared} bytes of static shared memory are too many for a block")
        self.parameters = parameter_bytes(program.parameters, flatten(arguments, lambda a: by_array[id(a)]))

    def access(self, instruction, kind, space):
        """The counts of an instruction's accesses to a state space."""
        key = instruction.number, space
        if key not in self._accesses:
            self._accesses[key] = Access(instruction.line, instruction.text, kind, space)
        return self._accesses[key]

    def order_of(self, n):
        """The order in which n lanes come to an atomic operation."""
        return self.random.permutation(n) if self.order == "warp" else np.arange(n)

    def counters(self):
        """The counts so far."""
        result = Counters(accesses=[self._accesses[key] for key in sorted(self._accesses)])
        for name, line, n in zip(self.code.names, self.code.lines, self.executed, strict=True):
            if n:
                result.instructions[name] += n
                result.lines[line] += n
        result.distinct_read_bytes = self.memory.distinct("read")
        result.distinct_written_bytes = self.memory.distinct("written")
        return result


class Wave:
    """The threads of some blocks, with their registers and their shared and local memory."""

    def __init__(self, launch, block_numbers):
        code, threads = launch.code, launch.threads
        self.launch, self.blocks = launch, len(block_numbers)
        self.size, self.warps = threads * self.blocks, -(-threads // 32)
        self.lane = np.arange(self.size)
        self.thread, self.block_in_wave = self.lane // self.blocks, self.lane % self.blocks
        self.block_number = block_numbers[self.block_in_wave]
        self.code = (self.block_number << launch.bits) + self.thread  # a thread's number in the search for races
        self.lane_in_warp = self.thread % 32
        self.warp_in_wave = self.thread // 32 * self.blocks + self.block_in_wave
        self.block_since, self.warp_since = np.ones(self.size, np.int64), np.ones(self.size, np.int64)
        self.warps_have_met = False
        self.fenced, self.carry = np.zeros(self.size, bool), np.zeros(self.size, bool)
        self.shared = SharedMemory(launch.shared_size, self.blocks, launch.races, code.granule, launch.bits)
        self.local = LocalMemory(code.program.local.size, self.size)
        self.copies = Copies(self.size)
        self.slots = code.allocate(self.size)
        self.passed, self._specials = {}, {}

    def numbers(self, lanes):
        """The picked lanes as an array of numbers."""
        return self.lane[lanes]

    def pass_barrier(self, lanes):
        """What the blocks of these lanes have done is ordered before what they do now."""
        self.launch.time += 1
        self.block_since[lanes] = self.launch.time << int(TIME_SHIFT)

    def pass_warp_barrier(self, lanes):
        """What the lanes have done is ordered before what their warps do now."""
        self.launch.time += 1
        self.warp_since[lanes], self.warps_have_met = self.launch.time << int(TIME_SHIFT), True

    def special(self, name, lanes):
        """A read-only register's values."""
        if name not in self._specials:
            self._specials[name] = self._special(name).astype(np.uint32)
        value = self._specials[name]
        return value[lanes] if value.ndim else value

    def _special(self, name):
        kind, _, axis = name[1:].partition(".")
        if axis in ("x", "y", "z") and kind in ("tid", "ctaid", "ntid", "nctaid"):
            shape = self.launch.grid if "cta" in kind else self.launch.block
            axis = "xyz".index(axis)
            if kind[0] == "n":
                return np.asarray(shape[axis])
            position = self.block_number if "cta" in kind else self.thread
            return position // int(np.prod(shape[:axis])) % shape[axis]
        lane, one = self.lane_in_warp.astype(np.uint64), np.uint64(1)
        values = {
            "laneid": lambda: lane,
            "warpid": lambda: self.thread // 32,
            "nwarpid": lambda: np.asarray(self.warps),
            "ARP_SZ": lambda: np.asarray(32),
            "lanemask_eq": lambda: one << lane,
            "lanemask_lt": lambda: (one << lane) - one,
            "lanemask_le": lambda: (one << (lane + one)) - one,
            "lanemask_gt": lambda: np.uint64(2**32) - (one << (lane + one)),
            "lanemask_ge": lambda: np.uint64(2**32) - (one << lane),
            "dynamic_smem_size": lambda: np.asarray(self.launch.dynamic_shared),
            "total_smem_size": lambda: np.asarray(self.launch.shared_size),
        }
        if kind not in values:
            raise PtxError(f"unknown register {name}")
        return values[kind]()

    def symbol(self, name):
        """A variable's address in its state space."""
        try:
            return self.launch.symbols[name]
        except KeyError:
            raise PtxError(f"unknown name {name}") from None

    def parameter(self, name, offset, dtype, lanes):
        """A kernel's parameter, or what a call has returned."""
        if name in self.launch.parameters:
            return np.frombuffer(self.launch.parameters[name], dtype, 1, offset)[0]
        if name not in self.passed:
            raise PtxError(f"no parameter {name}")
        return dtype.type(self.passed[name])

    def pass_argument(self, name, value):
        """Arguments of the calls that are known are of no interest."""

    def fault(self, message, instruction, lanes, where, addresses=None):
        """Raise for the first lane of those picked that `where` names."""
        which = int(np.flatnonzero(np.broadcast_to(where, (count(self, lanes),)))[0])
        lane = self.numbers(lanes)[which]
        thread, block = int(self.thread[lane]), int(self.block_number[lane])
        at = "" if addresses is None else f", address {int(addresses[which]):#x}"
        raise PtxError(f"{message}: {instruction} (block {block}, thread {thread}{at})")


def _three(shape):
    shape = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
    return (*map(int, shape), 1, 1)[:3]


@lru_cache(maxsize=256)
def decode(text, entry=None):
    """A program ready to run; the last ones are kept."""
    return Code(Program(text, entry))


def launch(
    ptx, grid, block, arguments, *, shared=0, order="lockstep", seed=0, races=True, count=False, entry=None, limit=10**7
):
    """Run a kernel over a grid; arrays among the arguments are changed in place.

    Parameters
    ----------
    ptx : str
    grid, block : int or tuple of up to three
    arguments : list
        NumPy arrays (passed as numba.cuda passes them), numbers, tuples of these, `Pointer`. Arrays that overlap, as
        views of one buffer may, do so on the device; a view is aligned as it is in its buffer; one that is read-only
        must not be written.
    shared : int
        Bytes of dynamic shared memory.
    order : "lockstep" or "warp"
        All warps side by side, or one after the other between barriers, in an order drawn from `seed`, as are then
        the order of the blocks and of atomic operations.
    races : bool
        Whether to search for races.
    count : bool
        Whether to count memory traffic; instructions always are.
    entry : str, optional
        The kernel, if the module has several.
    limit : int
        Steps after which the program is taken to be caught in a loop.

    Returns
    -------
    Counters

    Raises
    ------
    PtxError
        Whatever the program does that it must not.
    """
    if order not in ("lockstep", "warp"):
        raise ValueError(f"order must be 'lockstep' or 'warp', not {order!r}")
    code = ptx if isinstance(ptx, Code) else decode(ptx, entry)
    with np.errstate(all="ignore"):
        state = Launch(code, grid, block, arguments, shared, order, seed, races, count, limit)
        numbers = np.arange(state.blocks)
        if order == "warp":
            numbers = state.random.permutation(numbers)
        together = state.blocks if code.whole_grid else max(WAVE[order] // state.threads, 1)
        for first in range(0, state.blocks, together):
            run(Wave(state, numbers[first : first + together]))
    state.memory.copy_back()
    return state.counters()
