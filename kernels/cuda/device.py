"""The seam to the device: the one file that imports numba.cuda.

Kernels are written with what is named here. `Kernel` knows how each is compiled; in the simulator
(NUMBA_ENABLE_CUDASIM=1), which knows neither shuffles nor vector loads, the same names stand for plain code.
"""

import contextlib
import functools
import importlib.metadata
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numba import cuda as numba_cuda
from numba import float32, int64, uint32
from numba.core import config

from fastvae.kernels.cuda.memory import Memory
from fastvae.kernels.formulas import bfloat16_pair

cuda: Any = numba_cuda
SIMULATED = bool(config.ENABLE_CUDASIM)

# Types of the arguments of kernels.
FLOATS, INTEGERS, COUNT, REAL = float32[::1], int64[::1], uint32, float32

WARP = 32  # threads that go in step
ALL = np.uint32(0xFFFFFFFF)  # of them
VECTOR = np.uint32(4)  # numbers of float32 in 128 bits
LEAST = {"float32": (7, 5), "bfloat16": (8, 0)}  # compute capability


class Kernel:
    """A function that runs on the device, with the types of its arguments, the threads of its blocks, and the least
    compute capability that has its instructions."""

    def __init__(
        self, function: Callable, types: tuple, block: tuple[int, ...] | None = None, least: tuple[int, int] = (7, 5)
    ):
        self.py_func, self.types, self.block, self.least = function, types, block, least
        self.__doc__, self.__name__ = function.__doc__, function.__name__

    @functools.cached_property
    def dispatcher(self) -> Any:
        """What numba.cuda launches: the code that tests execute, compiled when this is first asked for."""
        options = {} if SIMULATED else {"lto": False}
        return cuda.jit(self.types, **options)(self.py_func)


KERNELS: list[Kernel] = []


def kernel(
    *types: Any, block: tuple[int, ...] | None = None, least: tuple[int, int] = (7, 5)
) -> Callable[[Callable], Kernel]:
    """Compile a function for the device, as a kernel with arguments of these types; `block` is the threads it is
    launched with, by which tests work out how much of a device it fills; see `Kernel` for `least`."""

    def decorate(function: Callable) -> Kernel:
        KERNELS.append(Kernel(function, types, block, least))
        return KERNELS[-1]

    return decorate


part = cuda.jit(device=True)  # a function that kernels call


if SIMULATED:

    @part
    def load4(array, k):
        """Four numbers from place k of an array, a multiple of four."""
        if k % 4:
            raise IndexError(f"place {k} is no multiple of four")
        return array[k], array[k + 1], array[k + 2], array[k + 3]

    @part
    def store4(array, k, values):
        """Write four numbers to place k of an array, a multiple of four."""
        if k % 4:
            raise IndexError(f"place {k} is no multiple of four")
        for i in range(4):
            array[k + i] = values[i]

    @part
    def sum_of_warp(value):
        """The sum over the warp, for each of its threads; pairwise, so in one order. All threads of the block call it,
        which has whole warps."""
        shared = cuda.shared.array(1024, np.float64)  # for as many threads as a block may have
        thread = cuda.threadIdx.x + cuda.blockDim.x * (cuda.threadIdx.y + cuda.blockDim.y * cuda.threadIdx.z)
        lane, lanes = thread % WARP, np.arange(WARP)
        shared[thread] = value
        cuda.syncthreads()
        values = shared[thread - lane + lanes].astype(np.asarray(value).dtype)
        cuda.syncthreads()
        for offset in (16, 8, 4, 2, 1):
            values = values + values[lanes ^ offset]
        return values[lane]

    @part
    def add_products(sums, a, b):
        """The tile `sums`, row after row, with every product of a number of `a` and one of `b` added."""
        wide = len(b)
        return tuple(np.float32(s + a[i // wide] * b[i % wide]) for i, s in enumerate(sums))

    @part
    def bfloat16_word(low, high):
        """Two numbers rounded to bfloat16, as the bits of one float32, `low` in the lower half."""
        return np.uint32(bfloat16_pair(low, high)).view(np.float32)

    @part
    def mma(sums, a, b):
        """A warp's product of matrices in bfloat16: `sums` + A B, (16, 8) with 16 steps of the sum, whose fragments the
        threads hold as PTX's m16n8k16 has them: 4, 4 and 2 words each. All threads of the block call it."""
        shared, thread = cuda.shared.array((1024, 6), np.float32), cuda.threadIdx.x
        shared[thread] = *a, *b
        cuda.syncthreads()
        first = thread - thread % WARP
        halves = np.array(shared[first : first + WARP]).view(np.uint16).reshape(WARP, 6, 2)
        cuda.syncthreads()
        numbers = (halves.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        row, column = thread % WARP // 4, thread % 4 * 2  # four lanes hold a row of A, and four a column of B

        def one(i):
            left, right = 4 * row, 4 * (column + i % 2)
            return (numbers[left : left + 4, i // 2 : 4 : 2] * numbers[right : right + 4, 4:]).sum()

        return tuple(np.float32(s + one(i)) for i, s in enumerate(sums))

    def shared_floats(size: int) -> Callable:
        """What gives a kernel so many numbers in the shared memory of its block, to be read by fours."""
        return part(lambda: cuda.shared.array(size, np.float32))

else:
    from llvmlite import ir
    from numba.cuda import cgutils, types
    from numba.cuda.extending import intrinsic

    SHARED_SPACE = 3  # of addresses

    def shared_floats(size: int) -> Callable:
        """What gives a kernel so many numbers in the shared memory of its block, to be read by fours."""

        @intrinsic
        def shared(typing):
            kind = types.Array(types.float32, 1, "C")

            def codegen(context, builder, signature, args):
                words = ir.ArrayType(ir.FloatType(), size)
                name = builder.module.get_unique_name("shared_floats")
                memory = cgutils.add_global_variable(builder.module, words, name, addrspace=SHARED_SPACE)
                memory.align, memory.initializer = 16, ir.Constant(words, ir.Undefined)
                data = builder.addrspacecast(memory, ir.FloatType().as_pointer())
                number = [context.get_constant(types.intp, n) for n in (size, 4)]
                array = context.make_array(kind)(context, builder)
                context.populate_array(
                    array, data=data, shape=number[:1], strides=number[1:], itemsize=number[1], meminfo=None
                )
                return array._getvalue()

            return kind(), codegen

        return shared

    def _pointer(context, builder, kind, array, place):
        data = context.make_array(kind)(context, builder, value=array).data
        return builder.bitcast(builder.gep(data, [place]), ir.VectorType(ir.FloatType(), 4).as_pointer())

    @intrinsic
    def load4(typing, array, k):
        """Four numbers from place k of an array, a multiple of four."""

        def codegen(context, builder, signature, args):
            place = context.cast(builder, args[1], signature.args[1], types.uint64)
            vector = builder.load(_pointer(context, builder, signature.args[0], args[0], place), align=16)
            numbers = [builder.extract_element(vector, ir.Constant(ir.IntType(32), i)) for i in range(4)]
            return context.make_tuple(builder, signature.return_type, numbers)

        return types.UniTuple(types.float32, 4)(array, k), codegen

    @intrinsic
    def store4(typing, array, k, values):
        """Write four numbers to place k of an array, a multiple of four."""

        def codegen(context, builder, signature, args):
            place = context.cast(builder, args[1], signature.args[1], types.uint64)
            vector = ir.Constant(ir.VectorType(ir.FloatType(), 4), ir.Undefined)
            for i, number in enumerate(cgutils.unpack_tuple(builder, args[2])):
                number = context.cast(builder, number, signature.args[2].dtype, types.float32)
                vector = builder.insert_element(vector, number, ir.Constant(ir.IntType(32), i))
            builder.store(vector, _pointer(context, builder, signature.args[0], args[0], place), align=16)
            return context.get_dummy_value()

        return types.void(array, k, values), codegen

    @intrinsic
    def add_products(typing, sums, a, b):
        """The tile `sums`, row after row, with every product of a number of `a` and one of `b` added."""

        def codegen(context, builder, signature, args):
            tile, left, right = (cgutils.unpack_tuple(builder, arg) for arg in args)
            pairs = [(x, y) for x in left for y in right]
            added = [builder.fma(x, y, s) for (x, y), s in zip(pairs, tile, strict=True)]
            return context.make_tuple(builder, signature.return_type, added)

        return sums(sums, a, b), codegen

    @intrinsic
    def bfloat16_word(typing, low, high):
        """Two numbers rounded to bfloat16, as the bits of one float32, `low` in the lower half."""

        def codegen(context, builder, signature, args):
            kind = ir.FunctionType(ir.IntType(32), [ir.FloatType()] * 2)
            code = ir.InlineAsm(kind, "cvt.rn.bf16x2.f32 $0, $1, $2;", "=r,f,f")
            return builder.bitcast(builder.call(code, [args[1], args[0]]), ir.FloatType())

        return types.float32(types.float32, types.float32), codegen

    @intrinsic
    def mma(typing, sums, a, b):
        """A warp's product of matrices in bfloat16: `sums` + A B, (16, 8) with 16 steps of the sum, whose fragments the
        threads hold as PTX's m16n8k16 has them: 4, 4 and 2 words each. All threads of the warp call it."""

        def codegen(context, builder, signature, args):
            real, word = ir.FloatType(), ir.IntType(32)
            tile, left, right = (cgutils.unpack_tuple(builder, arg) for arg in args)
            words = [builder.bitcast(x, word) for x in left + right]
            kind = ir.FunctionType(ir.LiteralStructType([real] * 4), [word] * 6 + [real] * 4)
            code = ir.InlineAsm(
                kind,
                "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};",
                "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f",
            )
            found = builder.call(code, words + tile, attrs=["convergent"])
            return context.make_tuple(builder, signature.return_type, cgutils.unpack_tuple(builder, found, 4))

        return sums(sums, a, b), codegen

    @part
    def sum_of_warp(value):
        """The sum over the warp, for each of its threads; pairwise, so in one order."""
        for offset in (16, 8, 4, 2, 1):
            value += cuda.shfl_xor_sync(ALL, value, offset)
        return value


def _or_unknown(ask: Callable[[], Any]) -> Any:
    """What a question gives; a report is worth more than its parts."""
    try:
        return ask()
    except Exception as error:
        return f"unknown ({error})"


@contextlib.contextmanager
def _no_word_of_small_grids() -> Iterator[None]:
    """numba warns where a grid has fewer blocks than devices have multiprocessors; small models have such grids."""
    if SIMULATED:
        yield
        return
    from numba.cuda.core import config as settings

    before, settings.CUDA_LOW_OCCUPANCY_WARNINGS = settings.CUDA_LOW_OCCUPANCY_WARNINGS, 0
    try:
        yield
    finally:
        settings.CUDA_LOW_OCCUPANCY_WARNINGS = before


def blocks(count: int, each: int) -> int:
    """How many blocks it takes for `count`, where a block does `each` of them."""
    return max(1, math.ceil(count / each))


def _nothing() -> None:
    """A kernel."""


class Device:
    """A GPU: where arrays go, and what launches kernels. Tests have others."""

    def __init__(self) -> None:
        self.memory = Memory(self)
        self._configured: dict[tuple, Any] = {}

    @functools.cached_property
    def stream(self) -> Any:
        """What all launches go to. Copies of other streams wait for it only where they are told to; those of `read`
        and `write` always."""
        return 0 if SIMULATED else cuda.stream()

    def fault(self) -> str | None:
        """What keeps numba.cuda from working here, and what to do; None where nothing does."""
        if SIMULATED:
            return None
        if found := cuda.cuda_error():
            said = str(found).strip().splitlines()[0].rstrip(".:")
            return f"no NVIDIA driver is found ({said}): install the driver of the GPU"
        if not cuda.is_available():
            return "the GPU, or a library of CUDA, is not found: install the driver, and pip install 'numba-cuda[cu13]'"
        return self._compiler_fault

    @functools.cached_property
    def _compiler_fault(self) -> str | None:
        """What keeps the compiler from working: asked once, by a kernel that does nothing."""
        try:
            cuda.compile_ptx(_nothing, (), cc=self.capability())
        except Exception as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0].split(": ")[0].rstrip(".:")
            return f"the compiler of CUDA is not complete ({said}): pip install 'numba-cuda[cu13]'"
        return None

    def capability(self) -> tuple[int, int]:
        """The compute capability."""
        return (8, 0) if SIMULATED else cuda.get_current_device().compute_capability

    def missing(self, precision: str) -> str | None:
        """Why models cannot run here in a precision; None where they can."""
        if fault := self.fault():
            return fault
        capability, least = self.capability(), LEAST[precision]
        if capability < least:
            found, needed = (".".join(map(str, numbers)) for numbers in (capability, least))
            return f"the GPU has compute capability {found}; precision={precision!r} needs {needed} or later"
        return None

    def upload(self, array: np.ndarray) -> Any:
        """A copy of a flat array on the device."""
        there = self.empty(array.size, array.dtype)
        self.write(there, array)
        return there

    def empty(self, size: int, dtype: np.dtype) -> Any:
        """A flat array on the device, not initialised. A part of one is `array[start:stop]`.

        Raises
        ------
        MemoryError
            The device has too little: the message says how much is wanted.
        """
        with self.explained(size * np.dtype(dtype).itemsize):
            return cuda.device_array(size, dtype)

    def write(self, there: Any, array: np.ndarray) -> None:
        """Copy a flat array to the device."""
        there.copy_to_device(np.ascontiguousarray(array))

    def read(self, there: Any, array: np.ndarray) -> None:
        """Copy from the device into a flat, contiguous array: after everything that was launched before."""
        there.copy_to_host(array)

    @contextlib.contextmanager
    def explained(self, wanted: int) -> Iterator[None]:
        """Say what to do where so many bytes cannot be had."""
        try:
            yield
        except Exception as error:
            if "OUT_OF_MEMORY" in str(error) or isinstance(error, MemoryError):
                raise MemoryError(
                    f"the GPU has too little free memory: {wanted / 1e6:.0f} MB are wanted at once. Use a smaller "
                    "batch_size, end what else runs there, or use device='cpu'"
                ) from None
            raise

    def launch(self, chosen: Kernel, grid: tuple, block: tuple, arguments: list) -> None:
        """Run a kernel over a grid of blocks."""
        if SIMULATED:  # there numbers keep the types that they come with
            pairs = zip(chosen.types, arguments, strict=True)
            arguments = [a if hasattr(kind, "ndim") else kind(a) for kind, a in pairs]
        key = chosen, grid, block
        if key not in self._configured:
            with _no_word_of_small_grids():
                self._configured[key] = chosen.dispatcher[grid, block, self.stream]
        self._configured[key](*arguments)

    def adopt(self, array: Any) -> Any:
        """An array of another library that lies on this device (CUDA array interface), after what its stream does."""
        if SIMULATED:
            raise TypeError("numba's simulator reads no array of a device")
        return cuda.as_cuda_array(array).bind(0)  # to the stream whose copies wait; its own was waited for just now

    def synchronize(self) -> None:
        """Wait for everything that was launched."""
        if not SIMULATED:
            self.stream.synchronize()

    def describe(self) -> dict[str, Any]:
        """What the device and its software are."""
        if SIMULATED:
            return {"name": "numba's simulator"}
        from numba.cuda.cudadrv.driver import get_version

        found = cuda.get_current_device()
        asked = {
            "name": lambda: found.name.decode() if isinstance(found.name, bytes) else str(found.name),
            "compute_capability": lambda: ".".join(map(str, self.capability())),
            "multiprocessors": lambda: int(found.MULTIPROCESSOR_COUNT),
            "memory_bytes": lambda: int(cuda.current_context().get_memory_info().total),
            "free_bytes": lambda: int(self.free_bytes()),
            "driver": lambda: ".".join(map(str, get_version())),
            "toolkit": lambda: ".".join(map(str, cuda.runtime.get_version())),
            "numba-cuda": lambda: importlib.metadata.version("numba-cuda"),
        }
        return {name: _or_unknown(ask) for name, ask in asked.items()}

    def graph(self, launches: Sequence[Any]) -> Callable[[], None]:
        """A CUDA graph of launches, which `do(device)`; to be called as often as they are wanted."""
        import cuda.core as core

        device = core.Device()
        device.set_current()
        plain, builder = self.stream, device.create_graph_builder()
        builder.begin_building()
        self.stream, configured, self._configured = builder, self._configured, {}
        try:
            for launch in launches:
                launch.do(self)
        finally:
            self.stream, self._configured = plain, configured
            builder.end_building()
        graph, stream = builder.complete(), core.Stream.from_handle(int(plain))

        def run(_: Any = launches) -> None:  # whose arguments must stay where they are
            graph.launch(stream)

        return run

    def free_bytes(self) -> float:
        """Memory that is free on the device."""
        return math.inf if SIMULATED else cuda.current_context().get_memory_info().free

    def feed(self, size: int, dtype: np.dtype) -> "Feed":
        """Two buffers of so many numbers for data that come from the host step by step."""
        return Feed(self, size, dtype)


class Feed:
    """Two buffers on the device, one filled while the other is read: for rows of data that are too many for it.

    The host writes into `staging[slot]`, which is pinned; `send` copies it on a stream of its own; a launch that reads
    `buffers[slot]` comes after `wait`, and is followed by `release`.
    """

    def __init__(self, on: Device, size: int, dtype: np.dtype):
        self.buffers = [on.empty(size, dtype) for _ in range(2)]
        with on.explained(2 * size * np.dtype(dtype).itemsize):
            self.staging = [cuda.pinned_array(size, dtype) for _ in range(2)]
        self._on, self._stream = on, 0 if SIMULATED else cuda.stream()
        self._sent, self._read = ([cuda.event(timing=False) for _ in range(2)] for _ in range(2))

    def wait_for_staging(self, slot: int) -> None:
        """Until what stood there has left it."""
        self._sent[slot].synchronize()

    def send(self, slot: int) -> None:
        """Copy it, once the launches that read the buffer are done."""
        self._read[slot].wait(self._stream)
        self.buffers[slot].copy_to_device(self.staging[slot], stream=self._stream)
        self._sent[slot].record(self._stream)

    def wait(self, slot: int) -> None:
        """Have what is launched from now on come after the copy."""
        self._sent[slot].wait(self._on.stream)

    def release(self, slot: int) -> None:
        """The launches that read the buffer have been made."""
        self._read[slot].record(self._on.stream)


_used: list[Device] = [Device()]


def device() -> Device:
    """The device in use."""
    return _used[-1]


@contextlib.contextmanager
def using(other: Device) -> Iterator[Device]:
    """Within the block, another device."""
    _used.append(other)
    try:
        yield other
    finally:
        _used.pop()
