"""PTX to machine code by nvJitLink, which needs no device: what the code takes of one, and how much of one it fills.

    found = assembled(ptx, (9, 0))
    found.registers, found.shared, found.stack, found.spills
    occupancy(found, 256, (9, 0)).share

nvJitLink holds the assembler of the driver that comes with the same toolkit; others may count registers otherwise.
"""

import math
import re
from typing import NamedTuple

import pytest

from . import compiling

WARP = 32  # threads
REGISTERS = 65_536  # of a multiprocessor, each of 32 bits
PARTITIONS = 4  # of a multiprocessor; each has its share of the registers, and warps of its own
REGISTER_UNIT = 256  # registers of a warp are given out by so many
KB = 1024
RESERVED = KB  # bytes of shared memory that the system takes in each block, from compute capability 8.0 on


class Multiprocessor(NamedTuple):
    """What one of them holds at most at a time."""

    warps: int
    blocks: int
    shared: int  # bytes; the largest part of its cache that can be shared memory
    shared_unit: int  # bytes; blocks are given shared memory by so many


MULTIPROCESSORS = {  # by compute capability; see `occupancy`
    (7, 5): Multiprocessor(32, 16, 64 * KB, 256),
    (8, 0): Multiprocessor(64, 32, 164 * KB, 128),
    (8, 6): Multiprocessor(48, 16, 100 * KB, 128),
    (8, 9): Multiprocessor(48, 24, 100 * KB, 128),
    (9, 0): Multiprocessor(64, 32, 228 * KB, 128),
    (10, 0): Multiprocessor(64, 32, 228 * KB, 128),
    (12, 0): Multiprocessor(48, 24, 100 * KB, 128),
}
BETWEEN = {(8, 6), (8, 9), (10, 0)}  # what they hold are figures of 9.0 and 12.0: for the slow tests
EACH = [pytest.param(c, marks=pytest.mark.slow if c in BETWEEN else ()) for c in MULTIPROCESSORS]


class Assembled(NamedTuple):
    """What a kernel takes.

    Attributes
    ----------
    registers : int
        Of each thread.
    shared : int
        Bytes of shared memory of each block, without those that the system reserves.
    stack : int
        Bytes of local memory of each thread: arrays that are not in registers, and what is spilled.
    spills : int
        Bytes that are written to local memory and read again for want of registers.
    """

    registers: int
    shared: int
    stack: int
    spills: int


class Occupancy(NamedTuple):
    """How much of a multiprocessor a kernel fills: the blocks on it at a time, and their share of its warps."""

    blocks: int
    share: float


def why_not():
    """What is missing to compile and to assemble, or None."""
    if reason := compiling.why_not():
        return reason
    try:
        from cuda.bindings import nvjitlink

        nvjitlink.version()
    except Exception as error:  # of many kinds: no module, no library, or one without the function
        return f"nvJitLink is not installed: {error}"
    return None


def assembled(ptx, capability, most_registers=None):
    """What the one kernel of a PTX text takes on devices of a compute capability.

    Parameters
    ----------
    ptx : str
    capability : tuple of (int, int)
    most_registers : int, optional
        How many a thread may have, in place of what the assembler finds best.

    Raises
    ------
    ValueError
        The text cannot be assembled, or is not of one kernel.
    """
    target = re.search(r"\.target\s+(sm_\w+)", ptx)
    options = [f"-arch={target[1]}" if target else "-arch=sm_80", "-verbose", "-Xptxas=-v"]
    if most_registers is not None:
        options.append(f"-maxrregcount={most_registers}")
    log = _log(ptx.encode(), options)
    linked = re.findall(r": used (\d+) registers,.*?(\d+) stack, (\d+) bytes smem,.*?(\d+) bytes lmem", log)
    frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    if len(linked) != 1 or not frames:
        raise ValueError(f"expected figures of one kernel, got:\n{log}")
    registers, stack, shared, local = map(int, linked[0])
    if capability == (9, 0) and shared:
        shared -= RESERVED  # for that architecture alone the log counts them, where a kernel has shared memory at all
    stack = max(stack, local, *(int(frame) for frame, _, _ in frames))
    return Assembled(registers, shared, stack, sum(int(stores) + int(loads) for _, stores, loads in frames))


def _log(data, options):
    """What the assembler says."""
    from cuda.bindings import nvjitlink

    handle = nvjitlink.create(len(options), options)
    try:
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, data, len(data), "kernel")
        nvjitlink.complete(handle)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
    except nvjitlink.nvJitLinkError as error:
        log = bytearray(nvjitlink.get_error_log_size(handle))
        nvjitlink.get_error_log(handle, log)
        raise ValueError(f"{error}\n{_text(log)}") from None
    finally:
        nvjitlink.destroy(handle)
    return _text(log)


def _text(log):
    return log.rstrip(b"\0").decode()


def occupancy(found, threads, capability):
    """How much of a multiprocessor blocks of so many threads fill.

    The calculation is that of NVIDIA's `cuda_occupancy.h` (CUDA 13.0), as are the units and the most blocks; the most
    warps, the registers and the shared memory are those of the CUDA C++ Programming Guide, "Technical Specifications
    per Compute Capability". Shared memory is taken to have as much of the cache as it can, and no kernel to have more
    than one barrier.

    Parameters
    ----------
    found : Assembled
    threads : int
        Of a block.
    capability : tuple of (int, int)

    Returns
    -------
    Occupancy
        Of no blocks where not even one has room.
    """
    most = MULTIPROCESSORS[capability]
    warps = math.ceil(threads / WARP)
    registers = _whole(found.registers * WARP, REGISTER_UNIT)  # of a warp
    shared = _whole(found.shared + (RESERVED if capability >= (8, 0) else 0), most.shared_unit)
    by_registers = REGISTERS // PARTITIONS // max(1, registers) * PARTITIONS // warps
    by_shared = most.shared // max(1, shared)
    blocks = min(most.blocks, most.warps // warps, by_registers, by_shared)
    return Occupancy(blocks, blocks * warps / most.warps)


def _whole(number, unit):
    """The number, rounded up to whole units."""
    return math.ceil(number / unit) * unit
