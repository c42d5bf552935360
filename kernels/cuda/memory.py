"""Where arrays of the host have their counterparts on the device.

An array of the host is the name of one on the device. It is copied there when a program first names it; from then on
the two are apart, until somebody says which way to copy: `upload` or `download`. Views of one buffer stay views of one
buffer there. What nobody holds any more is given up there too.
"""

import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.kernels.slots import Slots

PIECE = 1 << 26  # bytes of a data set that are copied at a time
ALIGNED = 64  # bytes; a counterpart lies on its line as the array itself does


def stored(dtype: np.dtype) -> np.dtype:
    """The type in which data of that one lie on the device."""
    return np.dtype(np.uint8) if dtype == np.bool_ else dtype


def as_stored(rows: np.ndarray) -> np.ndarray:
    """Rows as they lie there: flat, of that type."""
    return np.ascontiguousarray(rows).reshape(-1).view(stored(rows.dtype))


def flat(array: Any) -> Any:
    """A C-contiguous array of the device as one line, in the type of `stored`."""
    return array.reshape(array.size).view(stored(np.dtype(array.dtype)))


@dataclass(frozen=True)
class Place:
    """An array's counterpart: from number `start` on in a flat buffer of the device, shared with others."""

    buffer: Any
    start: int


@dataclass(frozen=True, eq=False)
class Data:
    """A data set's copy, flat, in the type of `stored`, and the data set itself."""

    buffer: Any
    array: Any


def owner(array: np.ndarray) -> np.ndarray:
    """The array that owns the memory of a view."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


class Memory:
    """The counterparts on one device."""

    def __init__(self, device: Any):
        self._device = device
        self._places: dict[int, tuple[Place, weakref.ref]] = {}
        self._data: weakref.WeakValueDictionary[int, Data] = weakref.WeakValueDictionary()
        self.settings: weakref.WeakKeyDictionary[Slots, Any] = weakref.WeakKeyDictionary()  # see `settings`
        self.lock = threading.RLock()  # one program at a time; programs of many threads may want the device

    def hold(self, arrays: Iterable[np.ndarray]) -> None:
        """Have counterparts of these arrays, C-contiguous ones or views of such: those that are new side by side in
        one buffer for each type, with what stands in the arrays."""
        new = {id(root): root for root in map(owner, arrays) if id(root) not in self._places}
        for dtype in {root.dtype for root in new.values()}:
            self._place([root for root in new.values() if root.dtype == dtype], dtype)

    def _place(self, roots: list[np.ndarray], dtype: np.dtype) -> None:
        starts, end, line = [], 0, ALIGNED // dtype.itemsize
        for root in roots:
            within = root.ctypes.data % ALIGNED // dtype.itemsize
            starts.append(-(-end // line) * line + within)
            end = starts[-1] + root.size
        buffer = self._device.empty(max(1, end), dtype)
        for root, start in zip(roots, starts, strict=True):
            if root.size:
                self._device.write(buffer[start : start + root.size], root.ravel(order="K"))
            self._places[id(root)] = Place(buffer, start), weakref.ref(root, self._forgetting(id(root)))

    def _forgetting(self, key: int) -> Any:
        places = self._places
        return lambda _: places.pop(key, None)

    def place(self, array: np.ndarray) -> Place:
        """Where the counterpart of a C-contiguous array begins; `hold` it first."""
        root = owner(array)
        place = self._places[id(root)][0]
        return Place(place.buffer, place.start + (array.ctypes.data - root.ctypes.data) // array.itemsize)

    def view(self, array: np.ndarray) -> Any:
        """The counterpart itself, flat."""
        place = self.place(array)
        with self._device.explained():
            return place.buffer[place.start : place.start + array.size]

    def feed(self, size: int, dtype: np.dtype) -> Any:
        """Buffers for data that come step by step: see `device.Feed`."""
        return self._device.feed(max(1, size), dtype)

    def room(self, size: int, dtype: np.dtype) -> Any:
        """An array of the device without a counterpart."""
        return self._device.empty(max(1, size), dtype)

    def fits(self, array: Any) -> bool:
        """Whether a data set may lie on the device as a whole, a quarter of what is free left for the rest."""
        if not isinstance(array, np.ndarray):
            return True  # it is there
        return id(array) in self._data or array.nbytes <= 0.75 * self._device.free_bytes()

    def data(self, array: Any) -> "Data":
        """A copy of a data set (N, D) of any type and layout, made in pieces, as a memory map is read; the same one as
        long as somebody holds it. What is on the device is used in place."""
        if not isinstance(array, np.ndarray):
            return Data(flat(array.array), array)
        found = self._data.get(id(array))
        if found is None:
            there = self.room(array.size, stored(array.dtype))
            rows = max(1, PIECE // max(1, array[:1].nbytes))
            for start in range(0, len(array), rows):
                piece = as_stored(array[start : start + rows])
                self._device.write(there[start * array.shape[1] :][: piece.size], piece)
            found = self._data[id(array)] = Data(there, array)
        return found

    def forget(self, array: Any) -> None:
        """Have no copy of a data set that a later program would use."""
        with self.lock:
            self._data.pop(id(array), None)

    def upload(self, *arrays: np.ndarray) -> None:
        """Copy arrays to their counterparts; those without get one."""
        with self.lock:
            known = [array for array in arrays if id(owner(array)) in self._places]
            self.hold(arrays)
            for array in known:
                if array.size:
                    self._device.write(self.view(array), array.reshape(-1))

    def download(self, *arrays: np.ndarray) -> None:
        """Copy counterparts back; those without stay as they are."""
        with self.lock:
            for array in arrays:
                if array.size and id(owner(array)) in self._places:
                    self._device.read(self.view(array), array.reshape(-1))
