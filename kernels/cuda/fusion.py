"""Products of matrices that share a launch, and what is fused into them.

What is written down one after the other is put together where nothing between needs the result: products into one
launch (mu and logvar, the gradients of all weights, both parts of the gradient that mu and logvar pass back), and an
activation's derivative into the product whose result it multiplies.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fastvae.kernels.cuda import columns, dense, dense_bfloat16, optimizers
from fastvae.kernels.cuda.declaration import Kernel, blocks
from fastvae.kernels.cuda.driver import device
from fastvae.kernels.cuda.launches import VECTORS, Launch, flat_grid
from fastvae.kernels.cuda.memory import Memory, Place
from fastvae.kernels.cuda.settings import Settings
from fastvae.kernels.formulas import IDENTITY, SILU
from fastvae.kernels.memory import empty


@dataclass
class Product:
    """A product of matrices that is not launched yet: see `dense`."""

    kernel: Kernel
    shape: tuple[int, int]
    pairs: list[tuple[int, Place, int, Place, int]]  # K, A, its step, B, its step
    out: np.ndarray
    mode: int
    code: int = IDENTITY
    before: np.ndarray | None = None
    after: np.ndarray | None = None
    flag: int = 0  # of GRADIENT: whether `after` gets the sums of B
    reads: list[np.ndarray] = field(default_factory=list)

    @property
    def writes(self) -> list[np.ndarray]:
        """Arrays that it changes."""
        return [self.out] if self.after is None else [self.out, self.after]

    def row(self, memory: Memory) -> list[int]:
        """Its row of the launch's table."""
        places = [None if array is None else memory.place(array).start for array in (self.before, self.after)]
        before, after = (0 if place is None else place for place in places)
        if self.mode == dense.FORWARD:
            extra, bias = after, before
        elif self.mode == dense.GRADIENT:
            extra, bias = self.flag, after
        else:
            extra, bias = before, 0
        pairs = [(depth, a.start, a_step, b.start, b_step) for depth, a, a_step, b, b_step in self.pairs]
        return dense.row(self.shape, pairs, self.mode, self.code, memory.place(self.out).start, extra, bias)

    def buffers(self, memory: Memory) -> list[Any]:
        """The buffers that its places are in: a, b, c, before, after."""
        others = [None if array is None else memory.place(array).buffer for array in (self.before, self.after)]
        return [self.pairs[0][1].buffer, self.pairs[0][3].buffer, memory.place(self.out).buffer, *others]


def overlap(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two C-contiguous arrays share memory."""
    begin, start = one.ctypes.data, other.ctypes.data
    return begin < start + other.nbytes and start < begin + one.nbytes


class Products:
    """The products of a program, which wait for others to share a launch with; a base of `program.Plan`."""

    def __init__(self, memory: Memory, settings: Settings, precision: str):
        self.launches: list[Launch] = []
        self._memory, self._settings, self._precision = memory, settings, precision
        self._waiting: list[Product] = []  # products that may share a launch
        self.kept: list[Any] = []  # what nobody else holds

    def _launch(self, launch: Launch) -> None:
        self._flush()
        self.launches.append(launch)

    def _over(self, kernel: Kernel, size: int, each: int, arguments: list[Any]) -> None:
        self._launch(Launch(kernel, flat_grid(size, each), arguments))

    def _flush(self) -> None:
        if not self._waiting:
            return
        group, self._waiting = self._waiting, []
        buffers: list[Any] = [self._settings.nothing] * 5
        for product in group:
            own = product.buffers(self._memory)
            buffers = [one if other is None else other for one, other in zip(buffers, own, strict=True)]
        table, tiles = dense.table_of([product.row(self._memory) for product in group])
        arguments = [*buffers, device().upload(table), len(group)]
        self.launches.append(Launch(group[0].kernel, (tiles,), arguments))

    def _wait(self, product: Product) -> None:
        """Let a product share a launch with those that wait, where it can."""
        if self._waiting and not self._goes_with(product, self._waiting):
            self._flush()
        self._waiting.append(product)

    def _goes_with(self, product: Product, others: list[Product]) -> bool:
        for other in others:
            if product.kernel is not other.kernel:
                return False
            touched = [*product.reads, *product.writes]
            if any(overlap(a, b) for a in other.writes for b in touched):
                return False
            if any(overlap(a, b) for a in product.writes for b in other.reads):
                return False
            for one, two in zip(other.buffers(self._memory), product.buffers(self._memory), strict=True):
                if one is not None and two is not None and one is not two:
                    return False
        return True

    def _kernel(self, a_along: bool, b_along: bool) -> Kernel:
        return (dense_bfloat16 if self._precision == "bfloat16" else dense).product(a_along, b_along)

    def _dense_forward(self, x, weight, bias, code, out, saved) -> None:
        (rows, depth), columns = x.shape, weight.shape[1]
        pair = depth, self._memory.place(x), depth, self._memory.place(weight), columns
        kept = saved if code == SILU else None
        made = Product(self._kernel(True, False), (rows, columns), [pair], out, dense.FORWARD, code, bias, kept)
        made.reads = [x, weight, bias]
        self._wait(made)

    def _dense_accumulate(self, x, weight, out) -> None:
        (rows, depth), columns = x.shape, weight.shape[1]
        pair = depth, self._memory.place(x), depth, self._memory.place(weight), columns
        made = Product(self._kernel(True, False), (rows, columns), [pair], out, dense.ADDED, reads=[x, weight])
        self._wait_or_join(made)

    def _wait_or_join(self, made: Product) -> None:
        """Let a product that is added to what another has made become the second pair of operands of that one, where
        it still waits and nothing has been done with its sum."""
        last = self._waiting[-1] if self._waiting else None
        if last is not None and last.kernel is made.kernel and last.out is made.out and last.code == IDENTITY:
            own, other = last.pairs[0], made.pairs[0]
            both = replace(last, pairs=[own, other], reads=[*last.reads, *made.reads])
            apart = own[1].buffer is not other[1].buffer or own[3].buffer is not other[3].buffer
            if len(last.pairs) == 1 and not apart and self._replaces_last(both):
                return
        self._wait(made)

    def _replaces_last(self, product: Product) -> bool:
        """Let a product take the place of the last one that waits, if it still goes with those before that."""
        if fits := self._goes_with(product, self._waiting[:-1]):
            self._waiting[-1] = product
        return fits

    def _dense_backward_input(self, saved, weight, code, d_out, accumulate, d_x) -> None:
        rows, depth = d_out.shape
        if code != IDENTITY and not self._multiply_by_derivative(saved, code, d_out):
            self._flush()
            arguments = [self._memory.view(saved), self._memory.view(d_out), code, d_out.size]
            self._over(dense.derivative_inplace, d_out.size, dense.THREADS, arguments)
        if d_x is None:
            return
        pair = depth, self._memory.place(d_out), depth, self._memory.place(weight), depth
        mode = dense.ADDED if accumulate else dense.BACKWARD
        made = Product(self._kernel(True, True), (rows, len(weight)), [pair], d_x, mode, reads=[d_out, weight])
        if accumulate:
            self._wait_or_join(made)
        else:
            self._wait(made)

    def _multiply_by_derivative(self, saved: np.ndarray, code: int, d_out: np.ndarray) -> bool:
        """Whether the product that makes d_out can do it."""
        last = self._waiting[-1] if self._waiting else None
        backward = (dense.BACKWARD, dense.ADDED)
        if last is None or last.out is not d_out or last.mode not in backward or last.code != IDENTITY:
            return False
        return self._replaces_last(replace(last, code=code, before=saved, reads=[*last.reads, saved]))

    def _dense_backward_weight(self, x, d_a, first, last, accumulate, d_weight, d_bias) -> None:
        if first >= last:
            return
        if accumulate:
            self._add_gradient(x, d_a, first, last, d_weight, d_bias)
            return
        (depth, step), columns = x.shape, d_a.shape[1]
        a = self._memory.place(x)
        pair = depth, Place(a.buffer, a.start + first), step, self._memory.place(d_a), columns
        kernel, out = self._kernel(False, False), d_weight[first:last]
        flag = int(first == 0 and d_bias is not None)
        made = Product(kernel, (last - first, columns), [pair], out, dense.GRADIENT, after=d_bias, flag=flag)
        made.reads = [x, d_a]
        self._wait(made)

    def _add_gradient(self, x, d_a, first, last, d_weight, d_bias) -> None:
        """The gradient of another use of a weight: made by itself, then added."""
        made = self._like(d_weight, d_bias)
        self._dense_backward_weight(x, d_a, first, last, False, *made)
        own = slice(first, last)
        pairs: list[Any] = [(made[0][own], d_weight[own])] + [(made[1], d_bias)] * (d_bias is not None and first == 0)
        for product, total in pairs:
            arguments = [self._memory.view(product), self._memory.view(total), total.size]
            self._over(optimizers.add_inplace, total.size, VECTORS, arguments)

    # ---- of a weight that is a staircase: the zeros below are multiplied, too ---------------------------------------

    def _masked_forward(self, x, weight, bias, code, depths, out, saved) -> None:
        self._dense_forward(x, weight, bias, code, out, saved)

    def _masked_accumulate(self, x, weight, depths, out) -> None:
        self._dense_accumulate(x, weight, out)

    def _masked_backward_input(self, saved, weight, code, depths, d_out, accumulate, d_x) -> None:
        self._dense_backward_input(saved, weight, code, d_out, accumulate, d_x)

    def _masked_backward_weight(self, x, d_a, first, last, accumulate, depths, d_weight, d_bias) -> None:
        self._dense_backward_weight(x, d_a, first, last, accumulate, d_weight, d_bias)
        if first < last:
            arguments = [self._memory.view(array) for array in (d_weight[first:last], depths)]
            sizes = first, last - first, len(depths)
            grid = (blocks(last - first, columns.ROWS),)
            self._launch(Launch(columns.cut_columns, grid, [*arguments, *sizes]))

    def _like(self, weight: np.ndarray, bias: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Arrays of the device alone, as large as these."""
        made = empty(*weight.shape), None if bias is None else empty(*bias.shape)
        held = [array for array in made if array is not None]
        self.kept += held
        self._memory.hold(held)
        return made
