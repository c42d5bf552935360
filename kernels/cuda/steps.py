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
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from fastvae.kernels.cuda.adam import adam_inplace
from fastvae.kernels.cuda.declaration import COUNT, FLOATS, INTEGERS, kernel
from fastvae.kernels.cuda.driver import DeviceError, cuda, device
from fastvae.kernels.cuda.program import Launch, Program
from fastvae.kernels.cuda.settings import PLACE, SIZE, STOPPED, Settings, reals_of
from fastvae.kernels.cuda.sums import FLAT, leave_sum, plus, square_parts, sum_of_squares
from fastvae.kernels.formulas import ZERO
from fastvae.kernels.scalars import ADAM_STEP, EXAMPLE_WEIGHT, KL_WEIGHT, NOISE_STEP, Scalars

GRAPH_VARIABLE = "FASTVAE_CUDA_GRAPH"  # 0: no step is a CUDA graph
INSTEAD = f"its kernels are launched one by one, as with {GRAPH_VARIABLE}=0"
INTEGER_COUNT = len(Scalars().integers)
MOST, MOST_INDICES = 128, 1 << 20  # steps of a call, and rows of the data that they name together
SUMS = 4  # numbers that a step leaves: the sum of nll as a pair, that of kl as a pair
u32, u64, i64 = np.uint32, np.uint64, np.int64


@kernel(INTEGERS, FLOATS, INTEGERS, INTEGERS, INTEGERS, FLOATS, INTEGERS, COUNT, block=(FLAT,))
def next_step(table, table_reals, order, state, integers, reals, indices, batch):
    """One block takes the line `state[PLACE]` of the tables, and counts it."""
    thread, place = u32(cuda.threadIdx.x), u64(state[PLACE])
    cuda.syncthreads()
    if thread < u32(INTEGER_COUNT):
        integers[thread] = table[place * u64(INTEGER_COUNT) + u64(thread)]
    if thread < u32(SIZE):
        reals[thread] = table_reals[place * u64(SIZE) + u64(thread)]
    k = thread
    while k < batch:
        indices[k] = order[place * u64(batch) + u64(k)]
        k = u32(k + u32(FLAT))
    if thread == u32(0):
        state[PLACE] = i64(place) + i64(1)


@kernel(FLOATS, FLOATS, FLOATS, INTEGERS, FLOATS, COUNT, FLOATS, FLOATS, COUNT, block=(FLAT,))
def losses(nll, kl, reals, state, sums, rows, grads, parts, size):
    """The last block adds up the nll and kl of a step, writes both to its line of `sums`, and sets the flag where the
    loss is not finite. The blocks before it, where there are any, leave `sums.square_parts` of the gradient."""
    highs = cuda.shared.array(FLAT, np.float32)
    lows = cuda.shared.array(FLAT, np.float32)
    thread, block, last = u32(cuda.threadIdx.x), u32(cuda.blockIdx.x), u32(cuda.gridDim.x) - u32(1)
    k, high, low, other_high, other_low = thread, ZERO, ZERO, ZERO, ZERO
    if block < last:
        high, low = sum_of_squares(grads, u32(cuda.grid(1)), u32(last * u32(FLAT)), size)
        leave_sum(parts, i64(block) * i64(2), high, low, highs, lows)
        return
    while k < rows:
        high, low = plus(high, low, nll[k])
        other_high, other_low = plus(other_high, other_low, kl[k])
        k = u32(k + u32(FLAT))
    place = (state[PLACE] - i64(1)) * i64(SUMS)
    leave_sum(sums, place, high, low, highs, lows)
    leave_sum(sums, place + i64(2), other_high, other_low, highs, lows)
    if thread == u32(0):
        loss = reals[EXAMPLE_WEIGHT] * sums[place] + reals[KL_WEIGHT] * sums[place + i64(2)]
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

    def __init__(self, shares: Any, indices: np.ndarray, most: int):
        on, scalars = device(), shares.scalars
        self._on, self.most, self._scalars = on, most, scalars
        programs = [*shares.forward, *shares.backward, *shares.gradients, *shares.adam]
        on.memory.hold([array for program in programs for array in program.operands])  # at once, so in one buffer
        adam = [launch for program in shares.adam for launch in program.launches]
        norm = [launch for launch in adam if launch.kernel is square_parts]  # done in one launch with the losses
        self._settings = settings = Settings.of(scalars)
        batch = indices.size
        self._table = on.upload(np.zeros((most, INTEGER_COUNT), np.int64).reshape(-1))
        self._reals = on.upload(np.zeros(most * SIZE, np.float32))
        self._order = on.upload(np.zeros(max(1, most * batch), np.int64))
        self._sums = on.upload(np.zeros(most * SUMS, np.float32))
        on.memory.hold([indices])
        chosen = on.memory.view(indices) if batch else settings.no_indices
        tables = [self._table, self._reals, self._order, settings.state]
        sums = [on.memory.view(shares.nll), on.memory.view(shares.kl)]
        forward, backward, gradients = (
            [launch for program in programs for launch in program.launches]
            for programs in (shares.forward, shares.backward, shares.gradients)
        )
        first = Launch(next_step, (1,), [*tables, settings.integers, settings.reals, chosen, batch])
        grads, parts, size = norm[0].arguments if norm else (settings.nothing, settings.parts, 0)
        grid = norm[0].grid[0] + 1 if norm else 1
        arguments = [*sums, settings.reals, settings.state, self._sums, len(shares.nll), grads, parts, size]
        summed = Launch(losses, (grid,), arguments)
        self._graph: Callable[[], None] | None = None
        self._streamed = next((program.streamed for program in shares.forward if program.streamed), None)
        adam = [launch for launch in adam if launch.kernel is not square_parts]
        self.launches = [first, *forward, *backward, *gradients, summed, *adam]

    def _chosen(self) -> Callable[[], None]:
        """What does a step: their graph where that is asked for and right, else its launches."""
        if self._graph is None:
            self._graph = self._checked_graph() if graph_is_asked_for() else self._do
        return self._graph

    def _checked_graph(self) -> Callable[[], None]:
        """The step as a graph, if that leaves every bit as the launches do; else these, with a warning."""
        expected = self._tried(self._do)  # which also loads all code: not allowed while capturing
        try:
            graph = self._on.graph(self.launches)
            found = self._tried(graph)
        except DeviceError:
            raise
        except Exception as error:
            said = " ".join(str(error).split())
            warnings.warn(f"a step cannot be captured as a CUDA graph ({said}): {INSTEAD}", stacklevel=2)
            return self._do
        if expected != found:
            warnings.warn(f"a step captured as a CUDA graph gives other numbers: {INSTEAD}", stacklevel=2)
            return self._do
        return graph

    def _tried(self, do: Callable[[], None]) -> list[bytes]:
        """What a step leaves of parameters, moments and losses, which are afterwards as they were."""
        params, _, m, v = next(launch.arguments[:4] for launch in self.launches if launch.kernel is adam_inplace)
        places = [params, m, v, self._settings.state, self._sums]
        before, after = ([np.empty(len(place), place.dtype) for place in places] for _ in range(2))
        for place, array in zip(places, before, strict=True):
            self._on.read(place, array)

        def restore() -> None:
            for place, array in zip(places, before, strict=True):
                self._on.write(place, array)

        try:
            self._on.write(params, np.float32(-0.5) * before[0])
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

    def run(self, kl_weights: np.ndarray, order: np.ndarray) -> np.ndarray:
        """Do a step for each of the weights; return the sums (n, 2) of nll and kl."""
        count, scalars, on = len(kl_weights), self._scalars, self._on
        table, reals = np.empty((count, INTEGER_COUNT), np.int64), np.empty((count, SIZE), np.float32)
        for i in range(count):
            if i:
                scalars.integers[[NOISE_STEP, ADAM_STEP]] += 1
                scalars.reals[KL_WEIGHT] = kl_weights[i] * scalars.reals[EXAMPLE_WEIGHT]
            table[i] = scalars.integers
            reals_of(scalars, reals[i])
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
        pairs = np.empty(count * SUMS, np.float32)
        on.read(self._sums[: pairs.size], pairs)
        highs, lows = pairs.astype(np.float64).reshape(-1, 2, 2).transpose(2, 0, 1)
        return np.where(np.isfinite(lows), highs + lows, highs)


class Stream:
    """What runs programs on the device: in order, from one thread; the place of `fastvae.workers.Workers`."""

    CAN_STEP: ClassVar[bool] = True
    count = 1

    def __init__(self) -> None:
        self._steps: weakref.WeakKeyDictionary[Any, Steps] = weakref.WeakKeyDictionary()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    @staticmethod
    def run_programs(programs: list[Program]) -> None:
        """Run them."""
        for program in programs:
            program.run()

    def run_steps(
        self, shares: Any, kl_weights: np.ndarray, order: np.ndarray, indices: np.ndarray, sums: np.ndarray
    ) -> tuple[int, int]:
        """Steps of training, one for each of `kl_weights`; return how many were begun, and how many done: it ends with
        a loss that is not finite. `sums` (n, 2) gets those of nll and kl."""
        with device().memory.lock:
            steps = self._steps.get(shares)
            if steps is None or steps.most < len(kl_weights) or steps._on is not device():
                most = max(len(kl_weights), min(MOST, MOST_INDICES // max(1, indices.size)))
                steps = self._steps[shares] = Steps(shares, indices, most)
            sums[...] = steps.run(kl_weights, order if order.size else indices)
        with np.errstate(all="ignore"):
            wrong = np.flatnonzero(~np.isfinite(sums[:, 0] + kl_weights * sums[:, 1]))
        return (int(wrong[0]) + 1, int(wrong[0])) if len(wrong) else (len(kl_weights), len(kl_weights))
