"""The device on the stand-in driver, as one of some compute capability, that notes what is launched on it."""

import os

import numpy as np

from fastvae.kernels.cuda.driver import Device, compiled, cuda
from fastvae.kernels.cuda.steps import GRAPH_VARIABLE
from tests import fake_driver
from tests.ptx import launch


def code_of(kernel, capability, monkeypatch=None) -> str:
    """The PTX of a kernel."""
    return compiled(kernel, capability).ptx


class PTXDevice(Device):
    """Kernels compiled for a compute capability, executed as `launch` of `ptx` does it; nothing else is replaced.

    In the order "lockstep" a whole model costs a quarter of what it does with warps one after the other, in an order
    drawn from `seed`, which is for the kernels by themselves. Races are found in either.

    Attributes
    ----------
    launched : list of str
        The names of kernels.
    counters : list of Counters
        Of what was executed, in that order.
    reached : dict
        Lines of each kernel's code.
    changed : dict
        Kernels whose code is another than the compiler's.
    read_by : callable
        Called with each kernel that is executed, and its arguments as arrays of the host.
    """

    def __init__(self, capability, seed, monkeypatch, races=True, count=True, order="warp"):
        super().__init__()
        self.state = fake_driver.load_for(self)
        monkeypatch.setattr(self.state, "watcher", self)
        if GRAPH_VARIABLE not in os.environ:
            monkeypatch.setenv(GRAPH_VARIABLE, "0")  # the check of a graph does a step four times more
        self.seed, self._capability = seed, capability
        self._how = {"order": order, "races": races, "count": count}
        self.counters, self.changed, self.reached, self.launched = [], {}, {}, []
        self.read_by = lambda kernel, arguments: None

    def capability(self):
        return self._capability

    @property
    def copies(self):
        """Between host and device."""
        return self.state.get("copies_in") + self.state.get("copies_out")

    @property
    def room(self):
        """Bytes that are left."""
        return self.free_bytes()

    @room.setter
    def room(self, free):
        cuda.current_context().deallocations.clear()
        self.state.limit(min(free, 2**33))

    def launch(self, chosen, grid, block, arguments):
        """Arrays of the host may be among the arguments: they go there and come back."""
        there = {id(a): self.upload(a) for a in arguments if isinstance(a, np.ndarray)}
        self.launched.append(chosen.__name__)
        super().launch(chosen, grid, block, [there.get(id(a), a) for a in arguments])
        for array in arguments:
            if id(array) in there and array.size and array.flags.writeable:
                self.read(there[id(array)], array)

    def read(self, there, array):
        super().read(there, array)
        self.state.check()

    def synchronize(self):
        super().synchronize()
        self.state.check()

    def execute(self, launched, arguments):
        """In place of the driver's."""
        name, how = launched.kernel.__name__, self._how | {"seed": self.seed}
        code = self.changed.get(name) or launched.code.ptx
        if self.changed:
            how["limit"] = 100_000  # a fault may be a loop without end
        self.read_by(name, arguments)
        self.counters.append(launch(code, launched.grid, launched.block, arguments, **how))
        self.reached.setdefault(name, set()).update(self.counters[-1].lines)


def for_models(monkeypatch, capability=(8, 0), kind=PTXDevice):
    """A device for whole models: without orders of warps and counts of traffic, which the kernels' own tests have."""
    return kind(capability, 0, monkeypatch, count=False, order="lockstep")


class OfAnotherLibrary:
    """An array as other libraries have it, which nothing but the device can read."""

    def __init__(self, array):
        self.there = cuda.device_array(array.shape, array.dtype, strides=array.strides)
        self.there.copy_to_device(array)
        self.__cuda_array_interface__ = self.there.__cuda_array_interface__

    def __array__(self, *args, **kwargs):
        raise TypeError("this array is on the device")
