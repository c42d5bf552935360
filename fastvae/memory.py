"""Whether the machine has the memory that somebody asks for: the system might only notice when it ends the process."""

import contextlib
import os
import pathlib
import sys

# what a container or a job may use, in control groups of version 2 and 1
LIMITS = "sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"
PIECE = 4  # a piece of samples takes this part of the memory, at most


def physical_memory(system: pathlib.Path = pathlib.Path("/")) -> int:
    """Bytes of memory that this process may use: the machine's, or what its container leaves of them; a number beyond
    all where the system does not say."""
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        there = sys.maxsize
    for name in LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such group; or "max"
            there = min(there, int((system / name).read_text()))
    return there


def check_memory(needed: int, what: str, advice: str, verb: str = "takes") -> None:
    """Raise `ValueError` where `what` takes more bytes than there are."""
    there = physical_memory()
    if needed > there:
        amount = f"{needed / 1e9:,.0f} GB" if needed < 1e15 else "more than a million GB"
        raise ValueError(f"{what} {verb} {amount}, this machine has {there / 1e9:,.0f} GB of memory: {advice}")


def check_samples(n: int, columns: int, row_bytes: int) -> None:
    """Raise `ValueError` where n samples (n, columns), which take `row_bytes` each while they are drawn, do not fit."""
    piece = max(1, physical_memory() // PIECE // max(1, row_bytes))
    digits = 10 ** (len(str(piece)) - 1)
    size = piece // digits * digits
    advice = f"draw them in pieces, sample({size}) several times, each of which has draws of its own"
    check_memory(n * row_bytes, f"n={n} samples of {columns} values", advice, "take")
