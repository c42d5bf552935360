"""The seam to the device: the one file that imports numba.cuda.

A kernel is compiled to PTX, which tests execute, and that is assembled, kept on the disk, loaded and launched: there is
no second way. All that a device does goes through the methods of `Device`, and all work goes to its one stream.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import pickle
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from cuda import core
from cuda.bindings import driver
from numba import cuda as numba_cuda

from fastvae.kernels.cpu import cache
from fastvae.kernels.cuda.declaration import LEAST, Code, Kernel
from fastvae.kernels.cuda.memory import Memory

cuda: Any = numba_cuda

ENTRY = re.compile(r"\.entry\s+([\w$]+)")
# After one of these errors every call of the driver fails, until the process ends.
FATAL = re.compile(
    r"CUDA_ERROR_(ILLEGAL_ADDRESS|ILLEGAL_INSTRUCTION|MISALIGNED_ADDRESS|INVALID_ADDRESS_SPACE|INVALID_PC|LAUNCH_FAILED|"
    r"LAUNCH_TIMEOUT|HARDWARE_STACK_ERROR|ASSERT|ECC_UNCORRECTABLE|NVLINK_UNCORRECTABLE|CONTEXT_IS_DESTROYED)"
)
FORKED = (
    "this process was forked from one that uses the GPU, and CUDA does not work after a fork: start processes by "
    "'spawn' or 'forkserver' (multiprocessing.get_context), or fork before the GPU is used"
)


class DeviceError(RuntimeError):
    """The device cannot be used any more in this process."""


# ---- code -----------------------------------------------------------------------------------------------------------


def target(capability: tuple[int, int]) -> tuple:
    """What the compiler is told of a compute capability: from 9.0 on, all instructions of just that architecture."""
    return (*capability, "a") if capability >= (9, 0) else capability


@functools.cache
def _versions() -> tuple:
    """Of all that makes code of a kernel."""
    from cuda.bindings import nvjitlink

    return (*cache.VERSIONS, importlib.metadata.version("numba-cuda"), cuda.runtime.get_version(), nvjitlink.version())


_compiling = threading.Lock()


def compiled(chosen: Kernel, capability: tuple[int, int]) -> Code:
    """A kernel's code for devices of a compute capability: made now, or by an earlier process that kept it."""
    with _compiling:
        if capability not in chosen.codes:
            chosen.codes[capability] = _kept(chosen, capability)
        return chosen.codes[capability]


def _kept(chosen: Kernel, capability: tuple[int, int]) -> Code:
    if not chosen.py_func.__module__.startswith("fastvae.kernels."):  # of others the sources are not known
        return _made(chosen, capability)
    key = repr((chosen.py_func.__module__, chosen.types, capability, cache.DEVICE_DIGEST, _versions()))
    digest = hashlib.sha256(key.encode()).hexdigest()[:24]
    name = f"cuda.{chosen.__name__}-{cache.DEVICE_DIGEST[:12]}-{digest}{cache.ENDING}"
    for folder in cache.folders():
        data = folder.read(name)
        if data is not None:
            return Code(*pickle.loads(data))
    code = _made(chosen, capability)
    cache.keep(name, pickle.dumps(tuple(code)))
    return code


def _made(chosen: Kernel, capability: tuple[int, int]) -> Code:
    ptx = cuda.compile_ptx(chosen.py_func, chosen.types, cc=target(capability))[0]
    options = core.LinkerOptions(arch="sm_" + "".join(map(str, target(capability))))
    cubin = core.Linker(core.ObjectCode.from_ptx(ptx.encode()), options=options).link("cubin").code
    return Code(ENTRY.findall(ptx)[0], ptx, bytes(cubin))


def _nothing() -> None:
    """A kernel."""


NOTHING = Kernel(_nothing, ())


def _parameters(chosen: Kernel, arguments: Sequence[Any]) -> Iterator[Any]:
    """Arguments as numba's compiler takes them: an array is seven numbers, most of which flat ones do not need."""
    for kind, argument in zip(chosen.types, arguments, strict=True):
        if hasattr(kind, "ndim"):
            if argument.dtype.name != kind.dtype.name or argument.ndim != 1:
                raise TypeError(f"{chosen.__name__}: {kind} is needed, {argument.ndim}-D {argument.dtype} was given")
            address, item = argument.device_ctypes_pointer.value or 0, argument.dtype.itemsize
            yield from (0, 0, argument.size, item, address, argument.size, item)
        else:
            yield getattr(np, kind.name)(argument)


# ---- the device -----------------------------------------------------------------------------------------------------


def _or_unknown(ask: Callable[[], Any]) -> Any:
    """What a question gives; a report is worth more than its parts."""
    try:
        return ask()
    except Exception as error:
        return f"unknown ({error})"


class Device:
    """A GPU: where arrays go, and what launches kernels. Tests have others."""

    def __init__(self) -> None:
        self.memory = Memory(self)
        self._loaded: dict[Kernel, Any] = {}
        self._failed: str | None = None
        self._process: int | None = None  # which has used it
        self._building: Any = None  # the graph that launches become a part of

    @functools.cached_property
    def stream(self) -> Any:
        """What all launches and copies go to, but for those of a `Feed`, which are told to wait."""
        return cuda.stream()

    @functools.cached_property
    def _launching(self) -> Any:
        """The same, as what launches kernels has it."""
        return core.Stream.from_handle(int(self.stream))

    def _unusable(self) -> str | None:
        """Why nothing can be done here any more."""
        if self._process not in (None, os.getpid()):
            self._give_up(FORKED)
        return self._failed

    def _give_up(self, reason: str) -> None:
        """Ask the driver no more, nor let numba-cuda free anything: each array would be an error of its own."""
        from numba.cuda.core import config

        self._failed, self._process = reason, os.getpid()
        config.CUDA_DEALLOCS_COUNT, config.CUDA_DEALLOCS_RATIO = sys.maxsize, float(sys.maxsize)

    @contextlib.contextmanager
    def explained(self, wanted: int = 0) -> Iterator[None]:
        """Around calls of the driver, which may want so many bytes: say what its errors mean, and what to do. A
        `DeviceError` is for good: the driver is asked no more."""
        if reason := self._unusable():
            raise DeviceError(reason)
        self._process = os.getpid()
        try:
            yield
        except DeviceError:
            raise
        except Exception as error:
            said = str(error)
            if "OUT_OF_MEMORY" in said or isinstance(error, MemoryError):
                raise MemoryError(
                    f"the GPU has too little free memory: {wanted / 1e6:.0f} MB are wanted at once. Use a smaller "
                    "batch_size, end what else runs there, or use device='cpu'"
                ) from None
            if "before forking" in said:
                self._give_up(FORKED)
                raise DeviceError(FORKED) from None
            if found := FATAL.search(said):
                self._give_up(
                    f"the GPU has failed ({found[0]}), and nothing works there until this process ends: start Python "
                    "again. What has been saved is whole; models still have what they were before the last training"
                )
                raise DeviceError(self._failed) from error
            raise

    def fault(self) -> str | None:
        """What keeps numba.cuda from working here, and what to do; None where nothing does."""
        if reason := self._unusable():
            return reason
        available = cuda.is_available()  # asked first: it starts the driver
        if found := cuda.cuda_error():
            said = str(found).strip().splitlines()[0].rstrip(".:")
            if "NO_DEVICE" in said:
                return "NVIDIA's driver is there, but shows no GPU: see what `nvidia-smi` and CUDA_VISIBLE_DEVICES say"
            if "NOT_INITIALIZED" in said:
                return FORKED
            return f"no NVIDIA driver is found ({said}): install the driver of the GPU"
        if not available:
            return "the GPU, or a library of CUDA, is not found: install the driver, and pip install 'numba-cuda[cu13]'"
        try:
            with self.explained():
                cuda.current_context()
        except (DeviceError, MemoryError) as error:  # of this process, whoever has used the device in it
            return str(error)
        return self._too_old("float32") or self._compiler_fault

    @functools.cached_property
    def _compiler_fault(self) -> str | None:
        """What keeps the compiler from working: asked once, by a kernel that does nothing."""
        try:
            compiled(NOTHING, self.capability())
        except Exception as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0].split(": ")[0].rstrip(".:")
            return f"the compiler of CUDA is not complete ({said}): pip install 'numba-cuda[cu13]'"
        return None

    def capability(self) -> tuple[int, int]:
        """The compute capability."""
        return cuda.get_current_device().compute_capability

    def missing(self, precision: str) -> str | None:
        """Why models cannot run here in a precision; None where they can."""
        return self.fault() or self._too_old(precision)

    def _too_old(self, precision: str) -> str | None:
        if self.capability() >= LEAST[precision]:
            return None
        found, needed = (".".join(map(str, numbers)) for numbers in (self.capability(), LEAST[precision]))
        return f"the GPU has compute capability {found}; precision={precision!r} needs {needed} or later"

    def describe(self) -> dict[str, Any]:
        """What the device and its software are."""
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

    def upload(self, array: np.ndarray) -> Any:
        """A copy of a flat array on the device."""
        there = self.empty(array.size, array.dtype)
        self.write(there, array)
        return there

    def empty(self, size: int, dtype: np.dtype) -> Any:
        """A flat array on the device, not initialised, or `MemoryError`. A part of one is `array[start:stop]`."""
        with self.explained(size * np.dtype(dtype).itemsize):
            return cuda.device_array(size, dtype)

    def write(self, there: Any, array: np.ndarray) -> None:
        """Copy a flat array to the device, after everything that was launched before; the array may change then."""
        with self.explained():
            there.copy_to_device(np.ascontiguousarray(array), stream=self.stream)
            self.stream.synchronize()

    def read(self, there: Any, array: np.ndarray) -> None:
        """Copy from the device into a flat, contiguous array: after everything that was launched before."""
        with self.explained():
            there.copy_to_host(array, stream=self.stream)
            self.stream.synchronize()

    def adopt(self, array: Any) -> Any:
        """An array of another library that lies on this device (CUDA array interface), after what its stream does;
        where it names none, after everything that was launched on the device."""
        interface = array.__cuda_array_interface__
        stream = interface.get("stream") if interface.get("version", 0) >= 3 else None
        with self.explained():
            self._check_place(interface["data"][0])
            (cuda.external_stream(stream) if stream else cuda.current_context()).synchronize()
            return cuda.as_cuda_array(array, sync=False).bind(0)

    def _check_place(self, address: int) -> None:
        """Raise `ValueError` unless an address is one of this device; 0 is that of no numbers."""
        own = cuda.get_current_device().id
        attribute = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
        error, found = driver.cuPointerGetAttribute(attribute, address) if address else (0, own)
        if error:
            raise ValueError(f"the driver knows no memory at its address {address:#x}")
        if int(found) != own:
            raise ValueError(f"it lies on GPU {int(found)}, while GPU {own} is used here")

    def free_bytes(self) -> float:
        """Memory that is free on the device."""
        with self.explained():
            return cuda.current_context().get_memory_info().free

    def feed(self, size: int, dtype: np.dtype) -> "Feed":
        """Two buffers of so many numbers for data that come from the host step by step."""
        return Feed(self, size, dtype)

    def launch(self, chosen: Kernel, grid: tuple, block: tuple, arguments: list) -> None:
        """Run a kernel over a grid of blocks."""
        with self.explained():
            cuda.current_context()  # every thread needs it
            if chosen not in self._loaded:
                code = compiled(chosen, self.capability())
                self._loaded[chosen] = core.ObjectCode.from_cubin(code.cubin).get_kernel(code.entry)
            to = self._launching if self._building is None else self._building
            config = core.LaunchConfig(grid=grid, block=block)
            core.launch(to, config, self._loaded[chosen], *_parameters(chosen, arguments))

    def synchronize(self) -> None:
        """Wait for everything that was launched."""
        with self.explained():
            self.stream.synchronize()

    def graph(self, launches: Sequence[Any]) -> Callable[[], None]:
        """A CUDA graph of launches, which `do(device)`; to be called as often as they are wanted."""
        with self.explained():
            device = core.Device(cuda.get_current_device().id)
            device.set_current()
            self._building = builder = device.create_graph_builder()
            builder.begin_building()
        try:
            for launch in launches:
                launch.do(self)
        finally:
            self._building = None
            builder.end_building()
        graph = builder.complete()

        def run(_: Any = launches) -> None:  # whose arguments must stay where they are
            with self.explained():
                cuda.current_context()
                graph.launch(self._launching)

        return run


class Feed:
    """Two buffers on the device, one filled while the other is read: for rows of data that are too many for it.

    The host writes into `staging[slot]`, which is pinned; `send` copies it on a stream of its own; a launch that reads
    `buffers[slot]` comes after `wait`, and is followed by `release`.
    """

    def __init__(self, on: Device, size: int, dtype: np.dtype):
        self.buffers = [on.empty(size, dtype) for _ in range(2)]
        with on.explained(2 * size * np.dtype(dtype).itemsize):
            self.staging = [cuda.pinned_array(size, dtype) for _ in range(2)]
            self._on, self._stream = on, cuda.stream()
            self._sent, self._read = ([cuda.event(timing=False) for _ in range(2)] for _ in range(2))

    def wait_for_staging(self, slot: int) -> None:
        """Until what stood there has left it."""
        with self._on.explained():
            self._sent[slot].synchronize()

    def send(self, slot: int) -> None:
        """Copy it, once the launches that read the buffer are done."""
        with self._on.explained():
            self._read[slot].wait(self._stream)
            self.buffers[slot].copy_to_device(self.staging[slot], stream=self._stream)
            self._sent[slot].record(self._stream)

    def wait(self, slot: int) -> None:
        """Have what is launched from now on come after the copy."""
        with self._on.explained():
            self._sent[slot].wait(self._on.stream)

    def release(self, slot: int) -> None:
        """The launches that read the buffer have been made."""
        with self._on.explained():
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
