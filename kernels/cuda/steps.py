"""Steps of training on the device, many of them without the host.

A table has the numbers of each step, and the rows of the data that it uses. It is copied once; the first launch of a
step takes its line of it. The losses stay on the device until the last step is launched. When one is not finite, a flag
is set at which Adam does nothing any more.

The launches of a step become a CUDA graph: one launch. The first one is compared with the plain step, bit for bit, and
dropped with a warning where it differs. With FASTVAE_CUDA_GRAPH=0 each is launched by itself.
"""

import os
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from fastvae.kernels.cuda.declaration import COUNT, FLOATS, INTEGERS, kernel
from fastvae.kernels.cuda.driver import DeviceError, cuda, device
from fastvae.kernels.cuda.launches import UPDATES, Launch
from fastvae.kernels.cuda.program import Program
from fastvae.kernels.cuda.settings import PLACE, STOPPED, Settings, reals_of
from fastvae.kernels.cuda.sums import FLAT, leave_sum, plus, square_parts, sum_of_squares
from fastvae.kernels.formulas import ZERO
from fastvae.kernels.slots import Slots, Watched

GRAPH_VARIABLE = "FASTVAE_CUDA_GRAPH"  # 0: no step is a CUDA graph
INSTEAD = f"its kernels are launched one by one, as with {GRAPH_VARIABLE}=0"
MOST, MOST_INDICES = 128, 1 << 20  # steps of a call, and rows of the data that they name together
u32, u64, i64 = np.uint32, np.uint64, np.int64


@kernel(INTEGERS, FLOATS, INTEGERS, INTEGERS, INTEGERS, FLOATS, INTEGERS, COUNT, COUNT, block=(FLAT,))
def next_step(table, table_reals, order, state, integers, reals, indices, batch, used):
    """One block takes the line `state[PLACE]` of the tables, `used` numbers each, and counts it."""
    thread, place = u32(cuda.threadIdx.x), u64(state[PLACE])
    cuda.syncthreads()
    if thread < used:
        integers[thread] = table[place * u64(used) + u64(thread)]
        reals[thread] = table_reals[place * u64(used) + u64(thread)]
    k = thread
    while k < batch:
        indices[k] = order[place * u64(batch) + u64(k)]
        k = u32(k + u32(FLAT))
    if thread == u32(0):
        state[PLACE] = i64(place) + i64(1)


@kernel(
    FLOATS, FLOATS, COUNT, COUNT, COUNT, FLOATS, INTEGERS, FLOATS, COUNT, COUNT, COUNT, FLOATS, FLOATS, COUNT,
    block=(FLAT,),
)  # fmt: skip
def losses(
    one, other, both, one_weight, other_weight, reals, state, sums, first, count, rows, grads, parts, size,
):  # fmt: skip
    """The last block adds up one or two losses of a step, of `rows` examples, writes the sums as pairs to its line of
    `sums`, at the numbers `first` on of `count`, and sets the flag where they are not finite with their weights. The
    blocks before it, where there are any, leave `sums.square_parts` of the gradient."""
    highs = cuda.shared.array(FLAT, np.float32)
    lows = cuda.shared.array(FLAT, np.float32)
    thread, block, last = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x), u32(cuda.gridDim.x) - u32(1)
    k, high, low, other_high, other_low = thread, ZERO, ZERO, ZERO, ZERO
    if block < last:
        high, low = sum_of_squares(grads, u32(cuda.grid(1)), u32(last * u32(FLAT)), size)
        leave_sum(parts, i64(block) * i64(2), high, low, highs, lows)
        return
    while k < rows:
        high, low = plus(high, low, one[k])
        if both:
            other_high, other_low = plus(other_high, other_low, other[k])
        k = u32(k + u32(FLAT))
    place = ((state[PLACE] - i64(1)) * i64(count) + i64(first)) * i64(2)
    leave_sum(sums, place, high, low, highs, lows)
    if both:
        leave_sum(sums, place + i64(2), other_high, other_low, highs, lows)
    if thread == u32(0):
        loss = reals[one_weight] * sums[place]
        if both:
            loss += reals[other_weight] * sums[place + i64(2)]
        if loss - loss != ZERO:  # infinity, NaN
            state[STOPPED] = i64(1)


def graph_is_asked_for() -> bool:
    """Whether steps are to be CUDA graphs: unless the environment says otherwise."""
    asked = os.environ.get(GRAPH_VARIABLE) or "1"
    if asked not in ("0", "1"):
        raise ValueError(f"{GRAPH_VARIABLE}={asked!r} must be 0 or 1")
    return asked == "1"


class Steps:
    """The launches of a step, and the tables that they read; for as many steps at a time as there is room."""

    def __init__(
        self,
        phases: Sequence[Sequence[Program]],
        slots: Slots,
        indices: np.ndarray,
        watched: Sequence[Watched],
        most: int,
    ):
        on = device()
        self._on, self.most, self._slots = on, most, slots
        programs = [program for phase in phases for program in phase]
        on.memory.hold([array for program in programs for array in program.operands])  # at once, so in one buffer
        by_phase = [[launch for program in phase for launch in program.launches] for phase in phases]
        self._settings = settings = Settings.of(slots)
        batch, self.used, self.losses = indices.size, slots.used, len(watched)
        self._table = on.upload(np.zeros(most * self.used, np.int64))
        self._reals = on.upload(np.zeros(most * self.used, np.float32))
        self._order = on.upload(np.zeros(max(1, most * batch), np.int64))
        self._sums = on.upload(np.zeros(max(1, 2 * most * self.losses), np.float32))
        on.memory.hold([indices])
        chosen = on.memory.view(indices) if batch else settings.no_indices
        tables = [self._table, self._reals, self._order, settings.state]
        self._graph: Callable[[], None] | None = None
        self._decided = False  # whether a step is a graph
        self._streamed = next((program.streamed for program in programs if program.streamed), None)
        first = Launch(next_step, (1,), [*tables, settings.integers, settings.reals, chosen, batch, self.used])
        self.launches = [first, *self._with_losses(by_phase, watched)]

    def _with_losses(self, by_phase: list[list[Launch]], watched: Sequence[Watched]) -> list[Launch]:
        """The launches of the phases, and those that add up the losses: before what changes parameters, in one launch
        with the norm of the gradient."""
        found, waiting = list[Launch](), list[tuple[int, Watched]]()
        for phase, launches in enumerate(by_phase):
            for launch in launches:
                if waiting and launch.kernel is square_parts:
                    found += self._summed(waiting, launch)
                    waiting = []
                    continue
                if waiting and launch.kernel in UPDATES:
                    found += self._summed(waiting, None)
                    waiting = []
                found.append(launch)
            waiting += [(i, each) for i, each in enumerate(watched) if each.phase == phase]
        return found + (self._summed(waiting, None) if waiting else [])

    def _summed(self, waiting: list[tuple[int, Watched]], norm: Launch | None) -> list[Launch]:
        """Launches that add up losses, two each where they follow each other and are as long; the last one with the
        norm."""
        settings, launches = self._settings, list[Launch]()
        while waiting:
            first, length = waiting[0][0], len(waiting[0][1].values)
            alike = [(i, len(watched.values)) for i, watched in waiting[:2]] == [(first, length), (first + 1, length)]
            pair = waiting[: 2 if alike else 1]
            waiting = waiting[len(pair) :]
            views = [self._on.memory.view(watched.values) for _, watched in pair] + [settings.nothing]
            weights = [watched.weight.place for _, watched in pair] + [0]
            grads, parts, size = norm.arguments if norm and not waiting else (settings.nothing, settings.parts, 0)
            grid = norm.grid[0] + 1 if norm and not waiting else 1
            numbers = [first, self.losses, length]
            arguments = [*views[:2], len(pair) - 1, *weights[:2], settings.reals, settings.state, self._sums, *numbers]
            launches.append(Launch(losses, (grid,), [*arguments, grads, parts, size]))
        return launches

    def _chosen(self) -> Callable[[], None]:
        """What does a step: their graph where that is asked for and right, else its launches."""
        if not self._decided:
            self._graph = self._checked_graph() if graph_is_asked_for() else None
            self._decided = True
        return self._graph or self._do  # not kept: arrays are to be freed when nobody holds these steps any more

    def _checked_graph(self) -> Callable[[], None] | None:
        """The step as a graph, if that leaves every bit as the launches do; else None, with a warning."""
        expected = self._tried(self._do)  # which also loads all code: not allowed while capturing
        try:
            graph = self._on.graph(self.launches)
            found = self._tried(graph)
        except DeviceError:
            raise
        except Exception as error:
            said = " ".join(str(error).split())
            warnings.warn(f"a step cannot be captured as a CUDA graph ({said}): {INSTEAD}", stacklevel=2)
            return None
        if expected != found:
            warnings.warn(f"a step captured as a CUDA graph gives other numbers: {INSTEAD}", stacklevel=2)
            return None
        return graph

    def _tried(self, do: Callable[[], None]) -> list[bytes]:
        """What a step leaves of parameters, moments and losses, which are afterwards as they were."""
        updated = [launch.arguments for launch in self.launches if launch.kernel in UPDATES]
        arrays = [array for arguments in updated for array in arguments if getattr(array, "dtype", None) == np.float32]
        params, places = updated[0][0], [*arrays, self._settings.state, self._sums]
        before, after = ([np.empty(len(place), place.dtype) for place in places] for _ in range(2))
        for place, array in zip(places, before, strict=True):
            self._on.read(place, array)

        def restore() -> None:
            for place, array in zip(places, before, strict=True):
                self._on.write(place, array)

        try:
            self._on.write(params, np.float32(-0.5) * before[0])  # the first of `places`
            self._do()  # so that what is left of another step does not pass for this one's
            restore()
            do()
            for place, array in zip(places, after, strict=True):
                self._on.read(place, array)
        finally:
            restore()
        return [array.tobytes() for array in after]

    def _do(self, slot: int = 0) -> None:
        """One step."""
        for launch in self.launches:
            if self._streamed is not None and launch is self._streamed.launches[0]:
                self._streamed.gather(slot, self._on)
            else:
                launch.do(self._on)

    def run(self, table: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Do a step for each row of the table (n, U); return the sums (n, losses) over the batch."""
        count, on = len(table), self._on
        reals = reals_of(self._slots, table)
        on.write(self._settings.state, np.zeros(2, np.int64))
        on.write(self._table[: table.size], table.reshape(-1))
        on.write(self._reals[: reals.size], reals.reshape(-1))
        if order.size:  # else the host has written the rows of the data themselves
            on.write(self._order[: order.size], order.reshape(-1))
        if self._streamed is None:
            do = self._chosen()
            for _ in range(count):
                do()
        else:
            rows = order.reshape(count, -1)
            self._streamed.send(0, rows[0])
            for i in range(count):
                if i + 1 < count:  # while this step runs
                    self._streamed.send((i + 1) % 2, rows[i + 1])
                self._do(i % 2)
        self._settings.changed()
        pairs = np.empty(2 * count * self.losses, np.float32)
        on.read(self._sums[: pairs.size], pairs)
        highs, lows = pairs.astype(np.float64).reshape(count, self.losses, 2).transpose(2, 0, 1)
        return np.where(np.isfinite(lows), highs + lows, highs)


class Stream:
    """What runs programs on the device: in order, from one thread; the place of `kernels.cpu.workers.Workers`."""

    count = 1

    def __init__(self) -> None:
        self._steps: weakref.WeakKeyDictionary[Program, Steps] = weakref.WeakKeyDictionary()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    @staticmethod
    def run_programs(programs: Sequence[Program]) -> None:
        """Run them."""
        for program in programs:
            program.run()

    def run_steps(
        self,
        phases: Sequence[Sequence[Program]],
        slots: Slots,
        table: np.ndarray,
        order: np.ndarray,
        indices: np.ndarray,
        watched: Sequence[Watched],
        sums: np.ndarray,
    ) -> tuple[int, int]:
        """See the contract in `fastvae.kernels`."""
        with device().memory.lock:
            key = phases[0][0]
            steps = self._steps.get(key)
            if steps is None or steps.most < len(table) or steps._on is not device() or steps.used != table.shape[1]:
                most = max(len(table), min(MOST, MOST_INDICES // max(1, indices.size)))
                steps = self._steps[key] = Steps(phases, slots, indices, watched, most)
            sums[...] = steps.run(table, order if order.size else indices)
        weights = [table.view(np.float64)[:, each.weight.place] for each in watched]
        with np.errstate(all="ignore"):
            losses = sum(weight * sums[:, i] for i, weight in enumerate(weights))
            wrong = np.flatnonzero(~np.isfinite(losses))
        return (int(wrong[0]) + 1, int(wrong[0])) if len(wrong) else (len(table), len(table))
