"""A stand-in for NVIDIA's driver: the real `Device` runs on it, and kernels are executed by the interpreter of PTX.

    with using(Device()) as device:
        state = fake_driver.load_for(device)

`cuda.c` is the driver; gcc makes the library of it, in a temporary folder. Here is what Python does for it: finding the
PTX of what is loaded, and executing launches. An exception of the interpreter, as for a race, is kept and raised by
`check`, and the driver goes on; with `failing` it is an error that ends the driver's life, as on a device.
"""

import atexit
import ctypes
import functools
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field

import numpy as np

from tests.ptx import compiling, launch

HERE = pathlib.Path(__file__).parent
FOLDER = "FAKE_DRIVER"  # a variable: where a process before this one has built the library
LAUNCH_FAILED = 719

LOAD = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p, ctypes.c_size_t)
LAUNCH = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_long, *[ctypes.c_void_p] * 3)
RUN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_long, ctypes.c_int)


def why_not():
    """What is missing, or None."""
    if importlib.util.find_spec("numba_cuda") is None:
        return "numba-cuda is not installed"
    if not sys.platform.startswith("linux"):
        return "the stand-in driver is for Linux"
    if shutil.which("gcc") is None:
        return "there is no gcc, which builds the stand-in driver"
    return compiling.why_not()


@functools.cache
def folder():
    """Where the library lies, built if need be."""
    if FOLDER in os.environ:
        return pathlib.Path(os.environ[FOLDER])
    made = pathlib.Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    options = ["-O1", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
    subprocess.run(["gcc", *options, "-o", made / "libcuda.so.1", HERE / "cuda.c", "-ldl"], check=True)
    return made


@dataclass
class Launched:
    """A kernel that was launched, with copies of its arguments: numbers, or where an array lies and what it is."""

    code: object
    kernel: object
    grid: tuple
    block: tuple
    arguments: list
    seed: int
    watcher: object


@dataclass
class State:
    """What the driver is to do, and what it has done."""

    library: ctypes.CDLL
    how: dict = field(default_factory=lambda: {"order": "lockstep", "races": False})
    seed: int = 0  # of the order of warps
    failing: bool = False  # an exception of the interpreter ends the driver's life
    watcher: object = None  # with a method `execute(launched, arguments)`, in place of the interpreter
    errors: list = field(default_factory=list)
    codes: list = field(default_factory=list)
    pending: dict = field(default_factory=dict)
    count: int = 0

    def get(self, name, kind=ctypes.c_long):
        """One of the driver's numbers."""
        return kind.in_dll(self.library, name).value

    def set(self, name, value, kind=ctypes.c_int):
        """Change one of them."""
        kind.in_dll(self.library, name).value = value

    def limit(self, free):
        """Have so many bytes left."""
        used = self.get("memory_used", ctypes.c_size_t)
        self.set("memory_limit", min(2**33, used + free), ctypes.c_size_t)

    def check(self):
        """Raise what the interpreter has found."""
        if self.errors:
            errors, self.errors = self.errors, []
            raise errors[0]

    def array(self, address, dtype, size):
        """An array of the device, as one of the host."""
        if not size:
            return np.zeros(0, dtype)
        whole = ctypes.c_size_t()
        start = self.library.block_start(address, ctypes.byref(whole))
        if not start or address + size * dtype.itemsize > start + whole.value:
            raise ValueError(f"{size} numbers from {address:#x} on are not in memory of the device")
        held = np.frombuffer((ctypes.c_uint8 * whole.value).from_address(start), np.uint8)
        return held[address - start :][: size * dtype.itemsize].view(dtype)

    # ---- what the driver asks ---------------------------------------------------------------------------------------

    def on_load(self, address, size):
        from fastvae.kernels.cuda.declaration import KERNELS

        image = ctypes.string_at(address, size)
        for kernel in KERNELS:
            for code in kernel.codes.values():
                if code.cubin.startswith(image):
                    self.codes.append((kernel, code))
                    return len(self.codes) - 1
        return -1

    def on_launch(self, number, values, grid, block):
        kernel, code = self.codes[number]
        grid, block = ((ctypes.c_uint * 3).from_address(sizes)[:] for sizes in (grid, block))
        addresses = iter((ctypes.c_void_p * 100).from_address(values))
        arguments = [self._argument(kind, addresses) for kind in kernel.types]
        self.count += 1
        launched = Launched(code, kernel, tuple(grid), tuple(block), arguments, self.seed, self.watcher)
        self.pending[self.count] = launched
        return self.count

    @staticmethod
    def _argument(kind, addresses):
        from numba.np.numpy_support import as_dtype

        if not hasattr(kind, "ndim"):
            dtype = as_dtype(kind)
            return np.frombuffer(ctypes.string_at(next(addresses), dtype.itemsize), dtype)[0]
        dtype, words = as_dtype(kind.dtype), [ctypes.c_uint64.from_address(next(addresses)).value for _ in range(7)]
        _, _, size, item, address, shape, stride = words
        assert (shape, stride, item) == (size, dtype.itemsize, dtype.itemsize)
        return address, dtype, size

    def on_run(self, number, again):
        launched = self.pending[number] if again else self.pending.pop(number)
        try:
            arguments = [self.array(*a) if isinstance(a, tuple) else a for a in launched.arguments]
            execute = self.execute if launched.watcher is None else launched.watcher.execute
            execute(launched, arguments)
        except Exception as error:
            self.errors.append(error)
            return LAUNCH_FAILED if self.failing else 0
        return 0

    def execute(self, launched, arguments):
        """Run a kernel."""
        return launch(launched.code.ptx, launched.grid, launched.block, arguments, seed=launched.seed, **self.how)


LOADED = []


def load(**numbers):
    """Let this process have the driver, and return its `State`; where one is loaded under that name, nobody looks for
    another. `numbers` are the driver's own, to be set before it is asked for anything."""
    if LOADED:
        return LOADED[0]
    library = ctypes.CDLL(str(folder() / "libcuda.so.1"), mode=ctypes.RTLD_GLOBAL)
    library.block_start.argtypes, library.block_start.restype = [ctypes.c_uint64, ctypes.c_void_p], ctypes.c_uint64
    library.move_to_device.argtypes = [ctypes.c_uint64, ctypes.c_int]
    state = State(library)
    for name, value in numbers.items():
        state.set(name, value)
    state.callbacks = LOAD(state.on_load), LAUNCH(state.on_launch), RUN(state.on_run)
    for name, callback in zip(("on_load", "on_launch", "on_run"), state.callbacks, strict=True):
        state.set(name, ctypes.cast(callback, ctypes.c_void_p).value, ctypes.c_void_p)
    LOADED.append(state)
    if "numba.cuda" in sys.modules:  # which has looked for a driver by now
        sys.modules["numba.cuda.cudadrv.driver"].driver.__init__()
    return state


def load_for(device):
    """The same for one device of this process, and the tests that use it: others find no driver."""
    from fastvae.kernels.cuda import driver

    state = load()
    driver._used[0].fault = lambda: "no NVIDIA driver is found"
    assert device is not driver._used[0]
    return state


def in_a_process(code, **environment):
    """The lines that a process prints which runs this code on the driver, as `state`; beside them nothing is said."""
    first = f"from tests import fake_driver\nstate = fake_driver.load(**{environment.pop('numbers', {})})\n"
    environment = os.environ | {FOLDER: str(folder()), "PYTHONPATH": str(HERE.parents[1])} | environment
    command = [sys.executable, "-W", "error", "-c", first + code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout.splitlines()
