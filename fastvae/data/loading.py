"""How a name or a path becomes a data set."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

from fastvae.data.arrays import load_npy, load_npz
from fastvae.data.dataset import DataSet
from fastvae.data.digits import load_digits
from fastvae.data.files import access, regular_file
from fastvae.data.idx import load_idx
from fastvae.data.tables import load_text
from fastvae.errors import DataFileError, FileAccessError, closest

NAMES = ("digits", "mnist")
LABELS = "labels"  # the condition that a data set's own labels are
_KIND_OF_SUFFIX = {".npy": "npy", ".npz": "npz", ".csv": "text", ".tsv": "text", ".txt": "text"}
_KIND_OF_START = {b"\x93NUMPY": "npy", b"PK\x03\x04": "npz", b"PK\x05\x06": "npz", b"\x1f\x8b": "idx", b"\0\0": "idx"}


def load(
    name_or_path: str | os.PathLike[str],
    array: str | None = None,
    labels: str | int | None = None,
    progress: bool | None = None,
    header: str | bool = "auto",
    condition: Sequence[str | int] | None = None,
) -> DataSet:
    """Load a data set by name or from a file.

    Parameters
    ----------
    name_or_path : str or PathLike
        "digits" (built in), "mnist" (downloaded once), or the path of a `.npy`, `.npz`, `.csv`, `.tsv`, `.txt` or IDX
        file. A file that is called like a data set is reached as `./mnist`. What a suffix does not tell, the first
        bytes do.
    array : str, optional
        The array of an `.npz` that holds the examples.
    labels : str or int, optional
        The array of an `.npz`, or the column of a text table, that holds the labels. A column is its name or its
        number, from 1; -1 is the last.
    progress : bool, optional
        False keeps the download of "mnist" quiet.
    header : "auto", "yes" or "no", or a bool
        Whether the first line of a text table names its columns: see `fastvae.data.tables.load_text`.
    condition : sequence of str or int, optional
        What a conditional model is given: ["labels"], those of the data set; or the arrays of an `.npz`, or the columns
        of a text table, which are then none of the examples.

    Returns
    -------
    DataSet

    Raises
    ------
    FileAccessError
        The file is missing or unreadable, or MNIST could not be downloaded.
    DataFileError
        The content is not what it should be.
    """
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(f"a data set is a name or a path, not {type(name_or_path).__name__}")
    names = () if condition is None else tuple(condition)
    text = os.fsdecode(name_or_path)
    if name_or_path in NAMES:
        if names == (LABELS,):
            return _conditioned_by_labels(load(name_or_path, progress=progress))
        if names:
            raise ValueError(f"condition={list(names)} chooses within a file; {text!r} has its labels: {LABELS!r}")
        if array is not None or labels is not None or header != "auto":
            raise ValueError(f"array, labels and header choose within a file; {text!r} comes with its own")
        if text == "digits":
            return load_digits()
        from fastvae.data.mnist import load_mnist  # it alone needs the network, whose modules take long to import

        return load_mnist(progress=progress)
    is_bare = not pathlib.Path(text).suffix and not any(c in text for c in "/\\\0")
    if is_bare and not os.path.lexists(text):
        raise FileAccessError(f"{text!r} is neither a data set nor a file: {closest(text, NAMES)}, or a path")
    path = regular_file(text)
    kind = _kind(path)
    if array is not None and kind != "npz":
        raise DataFileError(f"{path}: array={array!r} chooses within an .npz; this file holds one array")
    if labels is not None and kind not in ("npz", "text"):
        raise DataFileError(f"{path}: labels={labels!r} chooses within an .npz or a text table; this file is neither")
    if names == (LABELS,) and (kind == "npz" or labels is not None):
        return _conditioned_by_labels(load(path, array, labels, header=header))
    if names and kind not in ("npz", "text"):
        raise DataFileError(f"{path}: a condition is an array of an .npz or a column of a text table; it is neither")
    if header != "auto" and kind != "text":
        raise DataFileError(f"{path}: header={header!r} is for text tables; this file is none")
    if kind == "idx":
        return load_idx(path)
    if kind == "npy":
        return load_npy(path)
    if kind == "npz":
        return load_npz(path, array, None if labels is None else str(labels), tuple(map(str, names)))
    return load_text(path, labels, header, names)


def _conditioned_by_labels(data: DataSet) -> DataSet:
    if data.labels is None:
        raise DataFileError(f"{data.name}: it has no labels that could be the condition; name them, labels= (--labels)")
    return dataclasses.replace(data, condition=data.labels, condition_heldout=data.labels_heldout)


def _kind(path: pathlib.Path) -> str:
    if path.suffix.lower() in _KIND_OF_SUFFIX:
        return _KIND_OF_SUFFIX[path.suffix.lower()]
    with access(path), open(path, "rb") as file:
        start = file.read(8)
    for magic, kind in _KIND_OF_START.items():
        if start.startswith(magic):
            return kind
    # A damaged IDX file should be told so, not be taken for a table.
    return "idx" if any(word in path.name.lower() for word in ("idx", "ubyte", ".gz")) else "text"
