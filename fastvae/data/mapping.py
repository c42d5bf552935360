"""Files that are mapped into memory: a part that another program cuts off can no longer be read.

The system then ends the process (SIGBUS), which nothing in Python can prevent. So rows are copied before anything is
done with them, and the size of the file is looked at before and after: what remains is a cut within the copy itself.
"""

import mmap
from typing import Any

import numpy as np

from fastvae.errors import DataFileError


def mapping_of(X: Any) -> mmap.mmap | None:
    """The map that an array, or what it is a view of, lies in; None for one in memory."""
    while X is not None and not isinstance(X, mmap.mmap):
        X = X.obj if isinstance(X, memoryview) else getattr(X, "base", None)
    return X


def check_size(mapping: mmap.mmap | None, X: Any, name: str = "X") -> None:
    """Raise `DataFileError` where the file of a map has become shorter than the map."""
    if mapping is None:
        return
    try:
        size = mapping.size()
    except (ValueError, OSError):  # it keeps no file descriptor: nobody knows
        return
    if size < len(mapping):
        while X is not None and not isinstance(X, np.memmap):
            X = getattr(X, "base", None)
        where = "" if X is None or X.filename is None else f" ({X.filename})"
        raise DataFileError(
            f"{name} is mapped from a file that another program has cut short{where}: it has {size} bytes, "
            f"{len(mapping)} are mapped. Write it anew and load it again; what the model has learned before is kept"
        )
