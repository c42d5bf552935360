"""Whether the machine has the memory that somebody asks for: the system might only notice when it ends the process."""

import os
import sys


def physical_memory() -> int:
    """Bytes of the machine's memory; a number beyond all where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return sys.maxsize


def check_memory(needed: int, what: str, advice: str, verb: str = "takes") -> None:
    """Raise `ValueError` where `what` takes more bytes than there are."""
    there = physical_memory()
    if needed > there:
        amount = f"{needed / 1e9:,.0f} GB" if needed < 1e15 else "more than a million GB"
        raise ValueError(f"{what} {verb} {amount}, this machine has {there / 1e9:,.0f} GB of memory: {advice}")
