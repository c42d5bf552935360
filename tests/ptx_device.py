"""A device made of the interpreter: kernels compiled for a GPU run on arrays of the host, so whole models can."""

import numpy as np
from ptx import launch
from ptx.compiling import compiled, pretend_device

from fastvae.kernels.cuda.declaration import Kernel
from fastvae.kernels.cuda.driver import Device


def code_of(kernel: Kernel, capability, monkeypatch) -> str:
    """The PTX of a kernel."""
    pretend_device(monkeypatch, capability)
    return compiled(kernel.py_func, kernel.types, capability)


class PTXDevice(Device):
    """Executes the PTX of kernels over arrays of its own: nothing comes or goes but by copying."""

    def __init__(self, capability, seed, monkeypatch, races=True, count=True):
        super().__init__()
        self.seed, self._capability, self._monkeypatch = seed, capability, monkeypatch
        self._how = {"order": "warp", "races": races, "count": count}
        self.counters, self.changed = [], {}  # of launches; kernels whose code is another than the compiler's
        self.reached = {}  # lines of each kernel's code
        self.launched = []  # kernels
        self.copies = 0  # between host and device
        self.read_by = lambda kernel, arguments: None  # called for each launch
        self.room = np.inf  # bytes that are left

    def fault(self):
        return None

    def capability(self):
        return self._capability

    def empty(self, size, dtype):
        with self.explained(size * np.dtype(dtype).itemsize):
            self.room -= size * np.dtype(dtype).itemsize
            if self.room < 0:
                raise RuntimeError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY")
            made = np.empty(size, dtype)
            made[...] = np.nan if made.dtype.kind == "f" else 99
            return made

    def write(self, there, array):
        self.copies += 1
        there[...] = array

    def read(self, there, array):
        self.copies += 1
        array[...] = there

    def adopt(self, array):
        return array.there

    def synchronize(self):
        pass

    def describe(self):
        return {"name": "an interpreter of PTX"}

    def graph(self, launches):
        return lambda: [launch.do(self) for launch in launches]

    def free_bytes(self):
        return self.room

    def feed(self, size, dtype):
        return PTXFeed(self, size, dtype)

    def launch(self, chosen, grid, block, arguments):
        code = self.changed.get(chosen.__name__) or code_of(chosen, self._capability, self._monkeypatch)
        how = self._how | {"seed": self.seed}
        if self.changed:
            how["limit"] = 100_000  # a fault may be a loop without end
        self.launched.append(chosen.__name__)
        self.read_by(chosen.__name__, arguments)
        self.counters.append(launch(code, grid, block, arguments, **how))
        self.reached.setdefault(chosen.__name__, set()).update(self.counters[-1].lines)


class There(np.ndarray):
    """An array of the host that says that it is one of the device."""

    def is_c_contiguous(self):
        return self.flags.c_contiguous

    def copy_to_host(self):
        return np.array(self)


class OfAnotherLibrary:
    """An array as other libraries have it, which nothing but the device can read."""

    def __init__(self, array):
        self.there = array.view(There)
        self.__cuda_array_interface__ = {"shape": array.shape, "typestr": array.dtype.str, "version": 3}

    def __array__(self, *args, **kwargs):
        raise TypeError("this array is on the device")


class PTXFeed:
    """A feed whose copies happen as late as they may: a launch that does not wait for them finds what was there."""

    def __init__(self, device, size, dtype):
        self.buffers = [device.empty(size, dtype) for _ in range(2)]
        self.staging = [np.zeros(size, dtype) for _ in range(2)]
        self._sent, self.log = [False, False], []

    def wait_for_staging(self, slot):
        self.log.append("staging")
        assert not self._sent[slot], "what is in the staging buffer has not been copied yet"

    def send(self, slot):
        self._sent[slot] = True

    def wait(self, slot):
        assert self._sent[slot], "nothing is on its way"
        self.buffers[slot][...] = self.staging[slot]
        self._sent[slot] = False
        self.log.append("copied")

    def release(self, slot):
        self.buffers[slot][...] = np.nan if self.buffers[slot].dtype.kind == "f" else 77
