"""Programs on the device: calls that are written down once become launches, as few as there can be.

What is written down one after the other is put together where nothing between needs the result: products into one
launch (mu and logvar, the gradients of all weights, both parts of the gradient that mu and logvar pass back), and an
activation's derivative into the product whose result it multiplies.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastvae.kernels.cuda import adam, dense, dense_bfloat16, likelihoods, minibatch, sigma, sums
from fastvae.kernels.cuda.declaration import WARP, Kernel, blocks
from fastvae.kernels.cuda.driver import Device, device
from fastvae.kernels.cuda.latent import ROWS, latent_backward, latent_forward
from fastvae.kernels.cuda.memory import Memory, Place, as_stored, flat, stored
from fastvae.kernels.cuda.noise import FLAT, NORMAL, binarize_inplace, draw
from fastvae.kernels.cuda.settings import Settings
from fastvae.kernels.formulas import IDENTITY, SILU
from fastvae.kernels.memory import empty
from fastvae.kernels.scalars import FACTOR, OUTSIDE, Scalars

MOST_BLOCKS = 1024  # of a kernel that goes over a flat buffer
MOST_ROWS = 65_535  # blocks along the second axis of a grid: more there cannot be


@dataclass
class Launch:
    """A kernel with all that it is launched with."""

    kernel: Kernel
    grid: tuple[int, ...]
    arguments: list[Any]

    def do(self, on: Device) -> None:
        """Launch it."""
        assert self.kernel.block is not None
        on.launch(self.kernel, self.grid, self.kernel.block, self.arguments)


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


def overlap(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two C-contiguous arrays share memory."""
    begin, start = one.ctypes.data, other.ctypes.data
    return begin < start + other.nbytes and start < begin + one.nbytes


class Plan:
    """The launches of a program, made from its calls one after the other."""

    def __init__(self, memory: Memory, settings: Settings, precision: str):
        self.launches: list[Launch] = []
        self._memory, self._settings, self._precision = memory, settings, precision
        self._waiting: list[Product] = []  # products that may share a launch
        self.kept: list[Any] = []  # what nobody else holds
        self.source: Launch | None = None  # what reads the data of `read_rows`, and room for them
        self.room: Any = None
        self.streamed: Streamed | None = None

    def add(self, op: str, operands: tuple) -> None:
        """The next call."""
        getattr(self, f"_{op}")(*operands)

    def finish(self) -> list[Launch]:
        """All launches."""
        self._flush()
        return self.launches

    # ---- products ---------------------------------------------------------------------------------------------------

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
        if self._waiting and not self._goes_with(product):
            self._flush()
        self._waiting.append(product)

    def _goes_with(self, product: Product) -> bool:
        if product.kernel is not self._waiting[0].kernel:
            return False
        for other in self._waiting:
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
            if len(last.pairs) == 1 and own[1].buffer is other[1].buffer and own[3].buffer is other[3].buffer:
                last.pairs.append(other)
                last.reads += made.reads
                return
        self._wait(made)

    def _dense_backward_input(self, saved, weight, code, d_out, more, d_x) -> None:
        rows, depth = d_out.shape
        if code != IDENTITY and not self._multiply_by_derivative(saved, code, d_out):
            self._flush()
            arguments = [self._view(saved), self._view(d_out), code, d_out.size]
            self._over(dense.derivative_inplace, d_out.size, dense.THREADS, arguments)
        if d_x is None:
            return
        pair = depth, self._memory.place(d_out), depth, self._memory.place(weight), depth
        mode = dense.ADDED if more else dense.BACKWARD
        made = Product(self._kernel(True, True), (rows, len(weight)), [pair], d_x, mode, reads=[d_out, weight])
        if more:
            self._wait_or_join(made)
        else:
            self._wait(made)

    def _multiply_by_derivative(self, saved: np.ndarray, code: int, d_out: np.ndarray) -> bool:
        """Whether the product that makes d_out can do it."""
        last = self._waiting[-1] if self._waiting else None
        backward = (dense.BACKWARD, dense.ADDED)
        if last is None or last.out is not d_out or last.mode not in backward or last.code != IDENTITY:
            return False
        last.code, last.before = code, saved
        last.reads.append(saved)
        return True

    def _dense_backward_weight(self, x, d_a, first, last, d_weight, d_bias) -> None:
        if first >= last:
            return
        (depth, step), columns = x.shape, d_a.shape[1]
        a = self._memory.place(x)
        pair = depth, Place(a.buffer, a.start + first), step, self._memory.place(d_a), columns
        kernel, out = self._kernel(False, False), d_weight[first:last]
        flag = int(first == 0 and d_bias is not None)
        made = Product(kernel, (last - first, columns), [pair], out, dense.GRADIENT, after=d_bias, flag=flag)
        made.reads = [x, d_a]
        self._wait(made)

    # ---- everything else --------------------------------------------------------------------------------------------

    def _view(self, array: np.ndarray | None) -> Any:
        return self._settings.nothing if array is None else self._memory.view(array)

    def _launch(self, kernel: Kernel, grid: tuple, arguments: list) -> None:
        self._flush()
        self.launches.append(Launch(kernel, grid, arguments))

    def _dense_adam_inplace(self, x, d_a, first, last, weight, m_weight, v_weight, bias, m_bias, v_bias) -> None:
        own, d_weight = slice(first, last), empty(*weight.shape)
        d_bias = None if bias is None else empty(*bias.shape)
        made = [d_weight] if d_bias is None else [d_weight, d_bias]
        self.kept += made
        self._memory.hold(made)
        self._dense_backward_weight(x, d_a, first, last, d_weight, d_bias)
        if first < last:
            self._adam_inplace(weight[own], d_weight[own], m_weight[own], v_weight[own])
        if d_bias is not None and first == 0 < last:
            self._adam_inplace(bias, d_bias, m_bias, v_bias)

    def _over(self, kernel: Kernel, size: int, each: int, arguments: list) -> None:
        """Over so many numbers, `each` of which a block takes at a time."""
        if size >= 1 << 32:  # kernels count them in 32 bits
            raise ValueError(f"an array of {size:,} numbers is too large for a GPU: use a smaller batch_size")
        self._launch(kernel, (min(MOST_BLOCKS, blocks(size, each)),), arguments)

    def _latent_forward(self, mu, logvar, noise, first_row, z, kl) -> None:
        given = [self._view(noise), int(noise is not None), self._settings.integers, int(first_row)]
        arguments = [self._view(mu), self._view(logvar), *given, self._view(z), self._view(kl), *mu.shape]
        self._launch(latent_forward, (blocks(len(mu), ROWS),), arguments)

    def _latent_backward(self, mu, logvar, d_z, noise, first_row, d_mu, d_logvar) -> None:
        given = [self._view(noise), int(noise is not None), self._settings.integers, self._settings.reals]
        arrays = [self._view(array) for array in (mu, logvar, d_z)]
        arguments = [*arrays, *given, int(first_row), self._view(d_mu), self._view(d_logvar), *mu.shape]
        self._launch(latent_backward, (blocks(len(mu), ROWS),), arguments)

    def _likelihood(self, kernel, inputs, nll, gradient) -> None:
        arrays = [*map(self._view, inputs), self._settings.reals, self._view(nll), self._view(gradient)]
        rows, columns = inputs[0].shape
        grid = (blocks(rows, likelihoods.ROWS),)
        self._launch(kernel, grid, [*arrays, int(gradient is not None), rows, columns])

    def _squared_error_forward(self, x, xhat, nll) -> None:
        self._likelihood(likelihoods.squared_error, (x, xhat), nll, None)

    def _squared_error_forward_backward(self, x, xhat, nll, d_xhat) -> None:
        self._likelihood(likelihoods.squared_error, (x, xhat), nll, d_xhat)

    def _gaussian_forward(self, x, xhat, log_sigma, inverse, nll) -> None:
        self._likelihood(likelihoods.gaussian, (x, xhat, log_sigma, inverse), nll, None)

    def _gaussian_forward_backward(self, x, xhat, log_sigma, inverse, nll, d_xhat) -> None:
        self._likelihood(likelihoods.gaussian, (x, xhat, log_sigma, inverse), nll, d_xhat)

    def _sigma_forward(self, parameter, lowest, log_sigma, inverse) -> None:
        arrays, columns = [self._view(array) for array in (parameter, lowest, log_sigma, inverse)], log_sigma.size
        self._launch(sigma.sigma_forward, (blocks(columns, sigma.THREADS),), [*arrays, parameter.size, columns])

    def _sigma_backward(self, d_xhat, inverse, parameter, lowest, d_parameter) -> None:
        arrays = [self._view(array) for array in (d_xhat, inverse, parameter, lowest)]
        arguments = [*arrays, self._settings.reals, self._view(d_parameter), parameter.size, *d_xhat.shape]
        self._launch(sigma.sigma_backward, (blocks(parameter.size, WARP),), arguments)

    def _sigma_optimal(self, x, xhat, lowest, log_sigma, inverse) -> None:
        arrays = [self._view(array) for array in (x, xhat, lowest, log_sigma, inverse)]
        self._launch(sigma.sigma_optimal, (blocks(lowest.size, WARP),), [*arrays, lowest.size, *x.shape])

    def _sigma_remember(self, log_sigma, share, lowest, parameter) -> None:
        live = [self._settings.integers, self._settings.state, self._view(parameter), parameter.size]
        arguments = [self._view(log_sigma), np.float32(share), self._view(lowest), *live]
        self._launch(sigma.sigma_remember, (blocks(parameter.size, sigma.THREADS),), arguments)

    def _bernoulli_forward(self, x, logits, nll) -> None:
        self._likelihood(likelihoods.bernoulli, (x, logits), nll, None)

    def _bernoulli_forward_backward(self, x, logits, nll, d_logits) -> None:
        self._likelihood(likelihoods.bernoulli, (x, logits), nll, d_logits)

    def _sigmoid_inplace(self, logits) -> None:
        self._over(likelihoods.sigmoid_inplace, logits.size, 4 * likelihoods.FLAT, [self._view(logits), logits.size])

    def _scale_inplace(self, x) -> None:
        arguments = [self._view(x), self._settings.reals, FACTOR, x.size]
        self._over(likelihoods.scale_inplace, x.size, 4 * likelihoods.FLAT, arguments)

    def _gradient_norm(self, grads) -> None:
        grid = min(sums.PARTS, blocks(grads.size, 4 * sums.FLAT))
        self._launch(sums.square_parts, (grid,), [self._view(grads), self._settings.parts, grads.size])

    def _adam_inplace(self, params, grads, m, v) -> None:
        arrays = [self._view(array) for array in (params, grads, m, v)]
        arguments = [*arrays, self._settings.reals, self._settings.parts, self._settings.state, params.size]
        self._over(adam.adam_inplace, params.size, 4 * WARP * adam.WARPS, arguments)

    def _by_blocks_of_noise(self, shape: tuple[int, int]) -> tuple[int, int]:
        return blocks(shape[1], 4 * FLAT), min(MOST_ROWS, max(1, shape[0]))

    def _normal_noise(self, stream, first_row, out) -> None:
        arguments = [self._view(out), self._settings.integers, int(stream), NORMAL, int(first_row), *out.shape]
        self._launch(draw, self._by_blocks_of_noise(out.shape), arguments)

    def _binarize_inplace(self, x, seed, first_row) -> None:
        arguments = [self._view(x), np.uint64(seed), self._settings.integers, int(first_row), *x.shape]
        self._launch(binarize_inplace, self._by_blocks_of_noise(x.shape), arguments)

    def _threshold_inplace(self, x, threshold) -> None:
        arguments = [self._view(x), np.float32(threshold), x.size]
        self._over(minibatch.threshold_inplace, x.size, minibatch.FLAT, arguments)

    def _gather(self, data, indices, offset, scale, out) -> None:
        if self._memory.fits(data):
            copy = self._memory.data(data)
            self.kept.append(copy)
            self._gathered(copy.buffer, data.dtype, self._view(indices), 1, offset, scale, out)
            return
        feed = self._memory.feed(out.size, stored(data.dtype))
        for slot in range(2):  # a launch for each buffer, of which one is made
            self._gathered(feed.buffers[slot], data.dtype, self._settings.no_indices, 0, offset, scale, out)
        second = self.launches.pop()
        self.streamed = Streamed(data, indices, feed, [self.launches[-1], second])

    def _gathered(self, values, dtype, indices, chosen, offset, scale, out) -> None:
        kernel = minibatch.gathering(stored(dtype), offset.dtype)
        arguments = [values, indices, chosen, self._view(offset), self._view(scale), self._view(out), *out.shape]
        self._launch(kernel, (blocks(len(out), minibatch.ROWS),), arguments)

    def _read_rows(self, dtype, offset, scale, lowest, highest, out) -> None:
        self.room = self._memory.room(out.size, stored(dtype))
        self._gathered(self.room, dtype, self._settings.no_indices, 0, offset, scale, out)
        self.source = self.launches[-1]
        limits = [np.float32(lowest), np.float32(highest)]
        arguments = [self._view(out), *limits, self._settings.integers, *out.shape]
        self._launch(minibatch.count_outside, (blocks(len(out), minibatch.ROWS),), arguments)


class Program:
    """Calls of kernels, written down by `add` and done in order by `run`; see the contract in `fastvae.kernels`."""

    def __init__(self, scalars: Scalars, precision: str = "float32"):
        self.scalars, self._precision = scalars, precision
        self._calls: list[tuple[str, tuple]] = []
        self._results: tuple[np.ndarray, ...] = ()
        self._rows: Any = None
        self._plan: Plan | None = None

    def add(self, op: str, *operands: Any) -> None:
        """Write down a call. Operands as in the contract, without the scalars that `Scalars` holds."""
        if not hasattr(Plan, f"_{op}"):
            raise KeyError(op)
        for operand in operands:
            if isinstance(operand, np.ndarray) and op != "gather" and not operand.flags.c_contiguous:
                raise TypeError(f"{op}: an operand has strides {operand.strides}; a C-contiguous one is needed")
        self._calls.append((op, operands))
        self._plan = None

    def returns(self, *arrays: np.ndarray) -> None:
        """Have these arrays hold their results after each run."""
        self._results += arrays

    def read(self, rows: Any) -> None:
        """The data that `read_rows` reads from now on."""
        self._rows = rows

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
                plan = Plan(memory, Settings.of(self.scalars), self._precision)
                for op, operands in self._calls:
                    plan.add(op, operands)
                plan.finish()
                self._plan = plan
        return self._plan

    def _source(self, on: Device, plan: Plan) -> Any:
        """The rows that are to be read, flat: where they lie, if that is on the device, or copied there."""
        if not isinstance(self._rows, np.ndarray):
            return flat(self._rows.array)
        on.write(plan.room, as_stored(self._rows))
        return plan.room

    def run(self) -> None:
        """Do all calls, and wait for those results that are to be returned."""
        on, plan = device(), self._planned()
        with on.memory.lock:
            settings = Settings.of(self.scalars)
            settings.upload(self.scalars)
            if plan.streamed is not None:
                plan.streamed.send(0, plan.streamed.indices)
            try:
                if plan.source is not None:
                    plan.source.arguments[0] = self._source(on, plan)
                for launch in plan.launches:
                    if plan.streamed is not None and launch is plan.streamed.launches[0]:
                        plan.streamed.gather(0, on)
                    else:
                        launch.do(on)
            finally:
                if plan.source is not None:  # the caller's rows are his
                    plan.source.arguments[0], self._rows = plan.room, None
            on.memory.download(*self._results)
            if plan.source is not None:
                settings.download(self.scalars, OUTSIDE)
