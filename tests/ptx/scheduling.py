"""Which lanes run when, and what happens where they wait for each other."""

import numpy as np

from .decoding import Decoder, count
from .errors import PtxError
from .scalars import dtype_of, unsigned
from .transfers import state_space
from .warps import WarpStep, ballot, decode_warp_barrier

STEP, BRANCH, EXIT, WARP, BARRIER, GRID = range(6)  # what an instruction is to the scheduler
RUNNING, AT_WARP, AT_BARRIER, AT_GRID, LEFT = range(5)  # what a lane does
NOTHING_TO_DO = {"pragma", "prefetch", "prefetchu", "nanosleep", "applypriority", "discard"}


class Code:
    """A program with its steps."""

    def __init__(self, program):
        self.program = program
        decoder = Decoder(program)
        self.kinds, self.steps, self.guards, self.targets = [], [], [], []
        self.whole_grid = False
        for instruction in program.instructions:
            kind, step = self._classify(instruction, decoder)
            self.kinds.append(kind)
            self.steps.append(step)
            guard = instruction.guard
            self.guards.append((decoder.slot(guard, np.bool_), guard.negated) if guard else None)
            self.targets.append(instruction.operands[0].resolve() if kind == BRANCH else None)
        self._lay_out(decoder.slots)
        self.lines = [i.line for i in program.instructions]
        self.names = [".".join((i.opcode, *i.modifiers)) for i in program.instructions]
        accesses = [i for i in program.instructions if i.opcode in ("ld", "st", "atom", "red")]
        self.granule = min([4, *map(_width, accesses)])  # bytes told apart in the search for races

    def _classify(self, instruction, decoder):
        """What the scheduler takes an instruction for, and its step."""
        opcode = instruction.opcode
        if opcode == "bra":
            return BRANCH, None
        if opcode in ("ret", "exit"):
            return EXIT, None
        if opcode in ("bar", "barrier"):
            return self._barrier(instruction, decoder)
        if opcode == "call":
            return self._call(instruction)
        if opcode == "trap":
            return STEP, lambda wave, lanes: wave.fault("trap", instruction, lanes, True)
        if opcode in NOTHING_TO_DO:
            return STEP, lambda wave, lanes: None
        step = decoder.step(instruction)
        return (WARP if isinstance(step, WarpStep) else STEP), step

    def _barrier(self, instruction, decoder):
        modifiers = [m for m in instruction.modifiers if m not in ("cta", "aligned")]
        if modifiers[:1] == ["warp"]:
            return WARP, decode_warp_barrier(instruction, decoder)
        if modifiers == ["sync"] and len(instruction.operands) == 1:
            return BARRIER, None
        if modifiers[:1] == ["red"] and len(instruction.operands) == 3:
            return BARRIER, _reduction(modifiers[1], instruction, decoder)
        raise PtxError(f"unknown opcode: {instruction}")

    def _call(self, instruction):
        """The two functions of numba.cuda's cooperative groups are all that can be called."""
        names = instruction.operands
        result = names[0]
        if "cudaCGGetIntrinsicHandle" in names:
            return STEP, lambda wave, lanes: wave.passed.update({result: 1})
        if "cudaCGSynchronize" in names:
            self.whole_grid = True
            return GRID, lambda wave, lanes: wave.passed.update({result: 0})
        raise PtxError(f"unknown function: {instruction}")

    def _lay_out(self, slots):
        """Registers of one size as the rows of one array: how many there are, and the row and dtype of each slot."""
        self.registers, self.views, self.rows, row_of = {}, {}, [], {}
        for register, dtype in slots:
            bits = dtype if dtype.kind == "b" else unsigned(dtype.itemsize)
            self.views[dtype] = bits
            if register not in row_of:
                row_of[register] = self.registers.get(bits, 0)
                self.registers[bits] = row_of[register] + 1
            self.rows.append((row_of[register], dtype))

    def allocate(self, lanes):
        """The registers of so many lanes, as the slots that the steps use."""
        blocks = {bits: np.zeros((n, lanes), bits) for bits, n in self.registers.items()}
        rows = {dtype: list(blocks[bits].view(dtype)) for dtype, bits in self.views.items()}
        return [rows[dtype][row] for row, dtype in self.rows]


def _width(instruction):
    """Bytes of an element that an instruction moves."""
    if state_space(instruction) == "param":
        return 4
    return dtype_of(instruction.modifiers[-1]).itemsize


def _reduction(name, instruction, decoder):
    """`bar.red`: how many threads of the block hold a predicate (popc), all of them (and), any (or)."""
    predicate = decoder.read(instruction.operands[2], "pred")
    write = decoder.write(instruction.operands[0], "u32" if name == "popc" else "pred")

    def step(wave, lanes):
        block = wave.block_in_wave[lanes]
        holding = np.bincount(block, predicate(wave, lanes), minlength=wave.blocks)[block]
        total = np.bincount(block, minlength=wave.blocks)[block]
        result = {"popc": holding.astype(np.uint32), "and": holding == total, "or": holding > 0}[name]
        write(wave, lanes, result)

    return step


def run(wave):
    """Execute a wave's threads from the kernel's first instruction until all have left."""
    Scheduler(wave).run()


class Scheduler:
    """The lanes' places in the program, and what each of them does."""

    def __init__(self, wave):
        self.wave, self.launch, self.code = wave, wave.launch, wave.launch.code
        self.end = len(self.code.steps)
        self.place = np.zeros(wave.size, np.int64)
        self.state = np.full(wave.size, RUNNING, np.int8)
        self.warp = None  # the warp that is on, where they take turns
        self.existing = ballot(wave, slice(0, wave.size), True)

    def run(self):
        while True:
            region = self._region()
            if region is None:
                if not self._release():
                    return
                continue
            running = self.state[region] == RUNNING
            if not running.any():
                self._rejoin(region)
                continue
            places = self.place[region]
            if running.all() and (places == places[0]).all():
                self._advance(region, int(places[0]), self.end + 1)
                continue
            first = int(places[running].min())
            here = running & (places == first)
            others = places[running & ~here]
            lanes = region if here.all() else self.wave.lane[region][here]
            self._advance(lanes, first, int(others.min()) if others.size else self.end + 1)

    def _region(self):
        """The lanes to go on with: all, or a warp of every block; None if all wait at barriers or have left."""
        wave = self.wave
        able = self.state <= AT_WARP
        if self.launch.order == "lockstep":
            return slice(0, wave.size) if able.any() else None
        step = 32 * wave.blocks
        if self.warp is None or not able[self.warp].any():
            starts = range(0, wave.size, step)
            warps = [slice(s, min(s + step, wave.size)) for s in starts]
            warps = [w for w in warps if able[w].any()]
            if not warps:
                return None
            self.warp = warps[self.launch.random.integers(len(warps))]
        return self.warp

    def _advance(self, lanes, at, other):
        """Run lanes that are at one place until they part, wait, leave, or meet those at the place `other`."""
        wave, code, executed = self.wave, self.code, self.launch.executed
        kinds, steps, guards = code.kinds, code.steps, code.guards
        n = count(wave, lanes)
        while at < self.end:
            if at == other:
                self.place[lanes] = at
                return
            executed[at] += n
            self.launch.steps += 1
            kind, picked, guard = kinds[at], lanes, guards[at]
            if guard is not None:
                holds = wave.slots[guard[0]][lanes]
                holds = ~holds if guard[1] else holds
                holding = np.count_nonzero(holds)
                if not holding:
                    at += 1
                    continue
                if holding < n:
                    picked = wave.lane[lanes][holds]
            if kind == STEP:
                steps[at](wave, picked)
                at += 1
                continue
            if self.launch.steps > self.launch.limit:
                raise PtxError(f"an endless loop? {self.launch.limit} steps were made")
            if kind == BRANCH:
                target = code.targets[at]
                if picked is not lanes:
                    staying = wave.lane[lanes][~holds]
                    lanes, later = (picked, staying) if target <= at else (staying, picked)
                    target, elsewhere = min(target, at + 1), max(target, at + 1)
                    self.place[later] = elsewhere
                    other, n = min(other, elsewhere), len(lanes)
                at = target
                if at > other:
                    self.place[lanes] = at
                    return
                continue
            if kind == WARP and not self._missing(picked, at).any():
                steps[at](wave, picked)
                at += 1
                continue
            if picked is not lanes:
                self.place[wave.lane[lanes][~holds]] = at + 1
            self._stop(kind, picked, at)
            return
        self.state[lanes] = LEFT

    def _stop(self, kind, lanes, at):
        """Lanes leave, wait at a barrier, or do something with the rest of their warp."""
        self.place[lanes] = at
        if kind == EXIT:
            self.state[lanes] = LEFT
        elif kind == WARP:
            missing = self._missing(lanes, at)
            if missing.any():
                waiting = self.wave.lane[lanes][missing]
                self.state[waiting] = AT_WARP
                lanes = self.wave.lane[lanes][~missing]
            if count(self.wave, lanes):
                self.code.steps[at](self.wave, lanes)
                self.place[lanes] = at + 1
        else:
            self.state[lanes] = AT_BARRIER if kind == BARRIER else AT_GRID

    def _missing(self, lanes, at):
        """Which lanes name others in their masks that are not among them."""
        wave = self.wave
        mask, lane = self.code.steps[at].mask(wave, lanes), wave.lane_in_warp[lanes].astype(np.uint32)
        unnamed = (mask >> lane) & np.uint32(1) == 0
        if unnamed.any():
            wave.fault("a lane's mask does not name itself", self.code.program.instructions[at], lanes, unnamed)
        if isinstance(lanes, slice):
            return np.zeros(1, bool)
        return (mask & self.existing[lanes] & ~ballot(wave, lanes, True)) != 0

    def _rejoin(self, region):
        """No lane of the region runs, and some wait for others of their warp: go on with those that are complete."""
        waiting = self.wave.lane[region][self.state[region] == AT_WARP]
        for at in np.unique(self.place[waiting]):
            lanes = waiting[self.place[waiting] == at]
            missing = self._missing(lanes, at)
            if not missing.all():
                self.state[lanes[~missing]] = RUNNING
                self._stop(WARP, lanes[~missing], int(at))
                return
        instruction = self.code.program.instructions[int(self.place[waiting].min())]
        lanes = waiting[self.place[waiting] == self.place[waiting].min()]
        self.wave.fault("the mask names lanes that do not come here", instruction, lanes, True)

    def _release(self):
        """All lanes wait at barriers or have left: let them through. False when all have left."""
        wave, instructions = self.wave, self.code.program.instructions
        waiting = np.flatnonzero(self.state != LEFT)
        if not waiting.size:
            return False
        block, at = wave.block_in_wave[waiting], self.place[waiting]
        first = np.full(wave.blocks, self.end)
        np.minimum.at(first, block, at)
        apart = at != first[block]
        if apart.any():
            wave.fault(
                f"threads of a block wait at different barriers, others at {instructions[int(first[block][apart][0])]}",
                instructions[int(at[apart][0])],
                waiting,
                apart,
            )
        grid = self.state[waiting] == AT_GRID
        if not grid.all():
            waiting = waiting[~grid]
        elif len(waiting) < wave.size and len(np.unique(block)) < wave.blocks:
            raise PtxError(f"some blocks have left and others wait for them: {instructions[int(at[0])]}")
        wave.pass_barrier(waiting)
        if wave.shared.races:
            wave.shared.races.settle()  # also for blocks that wait for the grid: they do nothing before
        for place in np.unique(self.place[waiting]):
            lanes = waiting[self.place[waiting] == place]
            if self.code.steps[place]:
                self.code.steps[place](wave, lanes)
        if grid.all() and self.launch.memory.races:
            self.launch.memory.races.forget()
        self.place[waiting] += 1
        self.state[waiting] = RUNNING
        self.warp = None
        return True
