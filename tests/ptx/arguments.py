"""A kernel's arguments as numba.cuda passes them, and where arrays lie in global memory."""

import numpy as np

from .errors import PtxError
from .scalars import dtype_of


class Pointer:
    """An array of which a kernel is given the address only, as in PTX written by hand."""

    def __init__(self, array):
        self.array = array


def root_of(array):
    """The array that owns an array's memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _bounds(array):
    """The first byte of an array and the one after its last."""
    start = array.__array_interface__["data"][0]
    if not array.size:
        return start, start
    reach = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)]
    return start + sum(r for r in reach if r < 0), start + sum(r for r in reach if r > 0) + array.itemsize


def regions_of(arrays):
    """Regions of memory for arrays, one for those that overlap.

    Returns
    -------
    regions : list of (uint8 array, int)
        The bytes, and their offset in the array that owns them: on a device allocations are aligned, views of them
        are not.
    places : list of (int, int)
        For each array the number of its region and the offset of its first element there.
    """
    spans = sorted((*_bounds(a), i) for i, a in enumerate(arrays))
    regions, places, reach = [], [None] * len(arrays), -1
    for start, end, i in spans:
        owner = root_of(arrays[i])
        if not (owner.flags.c_contiguous or owner.flags.f_contiguous):
            raise PtxError("an array's memory must be contiguous")
        owned = owner.__array_interface__["data"][0]
        if start >= reach or owned != regions[-1][1]:
            regions.append([start, owned, owner, end])
        regions[-1][3] = reach = max(end, regions[-1][3])
        places[i] = (len(regions) - 1, arrays[i].__array_interface__["data"][0] - regions[-1][0])
    pieces = []
    for start, owned, owner, end in regions:
        raw = owner.reshape(-1, order="A").view(np.uint8) if owner.size else np.zeros(0, np.uint8)
        pieces.append((raw[start - owned : end - owned], start - owned))
    return pieces, places


def flatten(arguments, address):
    """Arguments as parameters: an array as (0, 0, size, itemsize, address, shape..., strides...), a tuple as its items.

    `address(array)` gives an array's address.
    """
    for argument in arguments:
        if isinstance(argument, np.ndarray):
            yield from (0, 0, argument.size, argument.itemsize, address(argument))
            yield from argument.shape
            yield from argument.strides
        elif isinstance(argument, Pointer):
            yield address(argument.array)
        elif isinstance(argument, tuple):
            yield from flatten(argument, address)
        else:
            yield argument


def parameter_bytes(parameters, values):
    """The bytes of each parameter by its name."""
    values = list(values)
    if len(values) != len(parameters):
        raise PtxError(f"the kernel takes {len(parameters)} parameters, {len(values)} were given")
    result = {}
    for parameter, value in zip(parameters, values, strict=True):
        if isinstance(value, bytes):
            result[parameter.name] = value.ljust(parameter.size, b"\0")
            continue
        if isinstance(value, float | np.floating):
            dtype = np.dtype(f"f{parameter.size}")
        else:
            dtype, value = dtype_of(parameter.type), int(value)
            if dtype.kind != "f":
                dtype = np.dtype(f"u{parameter.size}")
                value &= (1 << 8 * parameter.size) - 1
        result[parameter.name] = np.array(value, dtype).tobytes()
    return result


def arrays_in(arguments):
    """The arrays among arguments."""
    for argument in arguments:
        if isinstance(argument, tuple):
            yield from arrays_in(argument)
        elif isinstance(argument, Pointer):
            yield argument.array
        elif isinstance(argument, np.ndarray):
            yield argument
