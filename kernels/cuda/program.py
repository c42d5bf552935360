"""Programs on the device: calls that are written down once become launches, as few as there can be."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.kernels.cuda import minibatch, prefix, sums
from fastvae.kernels.cuda.declaration import WARP, blocks
from fastvae.kernels.cuda.driver import Device, device
from fastvae.kernels.cuda.fusion import Products
from fastvae.kernels.cuda.launches import Launch, arguments_of, launch_of
from fastvae.kernels.cuda.memory import Memory, as_stored, flat, stored
from fastvae.kernels.cuda.settings import Norm, Settings
from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slots, Source


@dataclass
class Streamed:
    """Rows of a data set that does not fit: fetched for each step, into one of two buffers."""

    data: np.ndarray
    indices: np.ndarray
    feed: Any
    launches: list[Launch]  # of `gather`, from each buffer

    def send(self, slot: int, indices: np.ndarray) -> None:
        """Fetch the rows and have them copied to the device."""
        self.feed.wait_for_staging(slot)
        self.feed.staging[slot][...] = as_stored(self.data[indices])
        self.feed.send(slot)

    def gather(self, slot: int, on: Device) -> None:
        """Bring them into the model's units."""
        self.feed.wait(slot)
        self.launches[slot].do(on)
        self.feed.release(slot)


@dataclass
class Read:
    """Rows that are given from run to run: the launch that reads them, and room for them."""

    source: Source
    launch: Launch
    room: Any


class Plan(Products):
    """The launches of a program, made from its calls one after the other."""

    def __init__(self, memory: Memory, settings: Settings, precision: str, slots: Slots):
        super().__init__(memory, settings, precision)
        self._slots = slots
        self.read: list[Read] = []
        self.counters: list[int] = []  # places of numbers that launches count
        self.norms: list[Norm] = []
        self.streamed: Streamed | None = None

    def add(self, op: str, operands: tuple) -> None:
        """The next call."""
        own = getattr(self, f"_{op}", None)
        if own is not None:
            own(*operands)
        elif OPS[op].operands[-1].name == "grad_scale":
            self._step(op, operands)
        else:
            self._launch(launch_of(op, operands, self._memory, self._settings, self._slots))

    def finish(self) -> list[Launch]:
        """All launches."""
        self._flush()
        return self.launches

    def _dense_adam_inplace(self, x, d_a, first, last, *operands) -> None:
        self._layer_adam(lambda *d: self._dense_backward_weight(x, d_a, first, last, False, *d), first, last, *operands)

    def _masked_adam_inplace(self, x, d_a, first, last, depths, *operands) -> None:
        of_weight = x, d_a, first, last, False, depths
        self._layer_adam(lambda *d: self._masked_backward_weight(*of_weight, *d), first, last, *operands)

    def _layer_adam(self, backward, first, last, weight, m_w, v_w, bias, m_b, v_b, *numbers) -> None:
        """Rows of a layer's gradient, and Adam's step with them."""
        own, (d_weight, d_bias) = slice(first, last), self._like(weight, bias)
        backward(d_weight, d_bias)
        if first < last:
            self.add(
                "adam_inplace",
                (
                    weight[own].reshape(-1),
                    d_weight[own].reshape(-1),
                    *(array[own].reshape(-1) for array in (m_w, v_w)),
                    *numbers,
                    1.0,
                ),
            )
        if d_bias is not None and first == 0 < last:
            self.add("adam_inplace", (bias, d_bias, m_b, v_b, *numbers, 1.0))

    def _prefix_backward(
        self, x, weight, output_weight, carried, d_logits, first, last, accumulate, *gradients
    ) -> None:
        """What later chunks say of each, on which the chunks depend then, and not on each other."""
        if first >= last:
            return
        (rows, columns), (units, kept) = x.shape, (weight.shape[1], carried.shape[1])
        later, sizes = self._like(carried, None)[0], [rows, columns, units, kept]
        given = [self._memory.view(array) for array in (x, weight, output_weight, carried, d_logits, later)]
        tiles, chunks = blocks(last - first, WARP), kept // units
        self._launch(Launch(prefix.prefix_later, (blocks(rows, prefix.ROWS), tiles), [*given, first, last, *sizes]))
        made = [self._memory.view(array) for array in gradients]
        how = first, last, int(accumulate), *sizes
        self._launch(Launch(prefix.prefix_gradients, (tiles, chunks), [*given, *made, *how]))

    def _clip_scale(self, grads, largest, scale) -> None:
        """The sums of squares of blocks; what steps by the gradient adds them up."""
        self.norms.append(self._settings.norm(self._slots.real_operand(largest).place, scale.place))
        grid = min(sums.PARTS, blocks(grads.size, 4 * sums.FLAT))
        arguments = [self._memory.view(grads), self.norms[-1].parts, grads.size]
        self._launch(Launch(sums.square_parts, (grid,), arguments))

    def _step(self, op: str, operands: tuple) -> None:
        """A step of an optimizer, with the norm that its gradient must not exceed."""
        scale = self._slots.real_operand(operands[-1])
        norm = self._settings.norms.get(scale.place)
        if norm:
            operands = (*operands[:-1], 1.0)
        launch = launch_of(op, operands, self._memory, self._settings, self._slots)
        place = len(arguments_of(op, operands, self._memory, self._settings, self._slots))
        launch.arguments.insert(place, norm.largest if norm else 0)
        if norm:
            launch.arguments[place + 2] = norm.parts
        self._launch(launch)

    def _gather(self, data, indices, offset, scale, out) -> None:
        if self._memory.fits(data):
            copy = self._memory.data(data)
            self.kept.append(copy)
            self._gathered(copy.buffer, data.dtype, self._memory.view(indices), 1, offset, scale, out)
            return
        if self.streamed is not None:
            raise ValueError("two data sets of one step do not fit on the GPU: use device='cpu'")
        feed = self._memory.feed(out.size, stored(data.dtype))
        for slot in range(2):  # a launch for each buffer, of which one is made
            self._gathered(feed.buffers[slot], data.dtype, self._settings.no_indices, 0, offset, scale, out)
        second = self.launches.pop()
        self.streamed = Streamed(data, indices, feed, [self.launches[-1], second])

    def _gathered(self, values, dtype, indices, chosen, offset, scale, out) -> None:
        kernel = minibatch.gathering(stored(dtype), offset.dtype)
        views = [self._memory.view(array) for array in (offset, scale, out)]
        arguments = [values, indices, chosen, *views, *out.shape]
        self._launch(Launch(kernel, (blocks(len(out), minibatch.ROWS),), arguments))

    def _read_rows(self, source, offset, scale, lowest, highest, outside, out) -> None:
        room = self._memory.room(out.size, stored(source.dtype))
        self._gathered(room, source.dtype, self._settings.no_indices, 0, offset, scale, out)
        self.read.append(Read(source, self.launches[-1], room))
        self.counters.append(outside.place)
        limits = [self._slots.real_operand(limit).place for limit in (lowest, highest)]
        numbers = [outside.place, self._settings.integers, self._settings.reals]
        arguments = [self._memory.view(out), *limits, *numbers, *out.shape]
        self._launch(Launch(minibatch.count_outside, (blocks(len(out), minibatch.ROWS),), arguments))


class Program:
    """Calls of kernels, written down by `add` and done in order by `run`; see the contract in `fastvae.kernels`."""

    def __init__(self, slots: Slots, precision: str = "float32"):
        self.slots, self._precision = slots, precision
        self._calls: list[tuple[str, tuple]] = []
        self._results: tuple[np.ndarray, ...] = ()
        self._plan: Plan | None = None

    def add(self, op: str, *operands: Any, check: bool = True) -> None:
        """Write down a call, with the operands that the table of ops has for it."""
        if check:
            OPS[op].check(operands)
        find = {"whole": self.slots.whole_operand, "real": self.slots.real_operand, "seed": self.slots.seed_operand}
        kinds = [operand.kind for operand in OPS[op].operands]  # numbers get their places now: tables are made of them
        placed = [find[kind](value) if kind in find else value for kind, value in zip(kinds, operands, strict=True)]
        if op.endswith("_adam_inplace") or OPS[op].operands[-1].name == "grad_scale":
            self.slots.real_operand(1.0)
        self._calls.append((op, tuple(placed)))
        self._plan = None

    def returns(self, *arrays: np.ndarray) -> None:
        """Have these arrays hold their results after each run."""
        self._results += arrays

    @property
    def sources(self) -> list[Source]:
        """The `Source` operands of its calls."""
        return [operand for _, operands in self._calls for operand in operands if isinstance(operand, Source)]

    @property
    def launches(self) -> list[Launch]:
        """What `run` launches; the device has the arrays from here on."""
        return self._planned().launches

    @property
    def operands(self) -> list[np.ndarray]:
        """All arrays that its calls name, but for data sets."""
        named = [operand for op, operands in self._calls for operand in operands[op == "gather" :]]
        return [operand for operand in named if isinstance(operand, np.ndarray)]

    @property
    def streamed(self) -> Streamed | None:
        """The data that have to be fetched for each run."""
        return self._planned().streamed

    def _planned(self) -> Plan:
        memory = device().memory
        if self._plan is None or self._plan._memory is not memory:
            with memory.lock:
                memory.hold(self.operands)
                plan = Plan(memory, Settings.of(self.slots), self._precision, self.slots)
                for op, operands in self._calls:
                    plan.add(op, operands)
                plan.finish()
                self._plan = plan
        return self._plan

    @staticmethod
    def _rows(on: Device, read: Read) -> Any:
        """The rows that are to be read, flat: where they lie, if that is on the device, or copied there."""
        rows: Any = read.source.rows
        if not isinstance(rows, np.ndarray):
            return flat(rows.array)
        on.write(read.room, as_stored(rows))
        return read.room

    def run(self) -> None:
        """Do all calls, and wait for those results that are to be returned."""
        on, plan = device(), self._planned()
        with on.memory.lock:
            settings = Settings.of(self.slots)
            settings.upload(self.slots)
            if plan.streamed is not None:
                plan.streamed.send(0, plan.streamed.indices)
            try:
                for read in plan.read:
                    read.launch.arguments[0] = self._rows(on, read)
                for launch in plan.launches:
                    if plan.streamed is not None and launch is plan.streamed.launches[0]:
                        plan.streamed.gather(0, on)
                    else:
                        launch.do(on)
            finally:
                for read in plan.read:  # the caller's rows are his
                    read.launch.arguments[0] = read.room
                    read.source.read(None)
            on.memory.download(*self._results)
            if plan.counters:
                settings.download(self.slots, plan.counters)
            for norm in plan.norms:
                norm.leave_scale(on, self.slots)
