"""A model as safetensors: its arrays by name, as other libraries read them; all else of it is in the metadata.

The metadata have one entry, "fastvae": JSON with versions, what a model's own file has as its header ("content"), and
the SHA-256 of that and of each array. `load` of an estimator, and of `models.registry`, reads such a file as it reads a
`.npz`. The digests find damage, which the format itself would not notice in the numbers; they are no signature.
"""

import hashlib
import json
import os
import pathlib
import stat
from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae import persistence
from fastvae.atomic import access_error, atomic_file, check_writable, checked_path
from fastvae.errors import MissingPackageError, ModelFileError
from fastvae.export.paths import named
from fastvae.version import VERSION

FORMAT_VERSION, ENTRY = 1, "fastvae"
LONGEST = 1 << 26  # bytes of the header of such a file


def write(model: Any, path: str | os.PathLike[str]) -> tuple[pathlib.Path]:
    """Write any model that `save` can write, whole: what is loaded from it is the same, bit for bit.

    Parameters
    ----------
    model
        A fitted estimator.
    path
        NAME.safetensors, or NAME.

    Returns
    -------
    The path.

    Raises
    ------
    MissingPackageError
        The package safetensors is not installed.
    TypeError, ValueError
        A model that cannot be saved; another ending.
    FileAccessError
        It cannot be written. What stood there is unchanged.
    """
    (target,) = paths(path)
    save = library().numpy.save
    if not hasattr(model, "_contents"):
        raise TypeError(f"a {type(model).__name__} is no model of fastvae: pass a fitted estimator")
    model = model._copy_with(vars(model))
    network = model._check_complete()
    check_writable(target)
    header, arrays = network.exclusion.between_steps(model._contents)
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    table = {name: _digest(array) for name, array in arrays.items()}
    document = {"format_version": FORMAT_VERSION, "library_version": VERSION, "sha256": table, "content": header}
    document["content_sha256"] = hashlib.sha256(persistence.encoded(header)).hexdigest()
    content = save(arrays, {ENTRY: persistence.encoded(document).decode()})
    with atomic_file(target) as file:
        file.write(content)
    return (target,)


def paths(path: str | os.PathLike[str]) -> tuple[pathlib.Path]:
    """NAME.safetensors."""
    return (named(path, ".safetensors", "safetensors"),)


def library() -> Any:
    """The package safetensors."""
    try:
        import safetensors.numpy
    except ImportError as error:
        raise MissingPackageError(f"safetensors needs its package: pip install safetensors ({error})") from None
    return safetensors


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()


def recognised(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of safetensors, by how it begins: the length of its header, and that."""
    try:
        name = checked_path(path)
        if not stat.S_ISREG(os.stat(name).st_mode):
            return False
        with open(name, "rb") as file:
            start = file.read(9)
    except OSError:
        return False  # whoever reads it says what is wrong
    return len(start) == 9 and start[8:] == b"{" and 2 <= int.from_bytes(start[:8], "little") <= LONGEST


def read(
    path: str | os.PathLike[str], names: Callable[[str], bool] | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a model; of the arrays, only those for which ``names(name)`` is true.

    Raises
    ------
    ModelFileError
        The file is damaged, of another program, or newer than this version reads.
    MissingPackageError, FileAccessError
        The package safetensors is not installed; the file cannot be read.
    """
    name = checked_path(path)
    package = library()
    try:
        with package.safe_open(name, framework="np") as file:
            document = _document(file.metadata() or {})
            table = document["sha256"]
            if set(table) != set(file.keys()):
                raise ModelFileError("lists other arrays than it has: it was altered")
            arrays = {}
            for array in table:
                if names is None or names(array):
                    arrays[array] = _array(file, array, table[array])
    except ModelFileError as error:
        raise ModelFileError(f"{name!r} {error}") from None
    except OSError as error:
        raise access_error(error, "could not read the file", "", name) from error
    except package.SafetensorError as error:
        raise ModelFileError(
            f"{name!r} is damaged, or no whole file of safetensors: {error}; use another copy"
        ) from None
    return document["content"], arrays


def _document(metadata: dict[str, str]) -> dict[str, Any]:
    """What the metadata say; a refusal is raised as what follows the file's name in the message."""
    text = metadata.get(ENTRY)
    if text is None:
        raise ModelFileError("is a file of safetensors, but not one that fastvae wrote: it does not describe a model")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ModelFileError("has a description that is not valid JSON: it was altered") from None
    version = document.get("format_version") if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        raise ModelFileError("has a description without a valid format version: it was altered")
    if version > FORMAT_VERSION:
        reads = f"this version ({VERSION}) reads up to {FORMAT_VERSION}"
        raise ModelFileError(f"was written by a newer fastvae, format {version}; {reads}: upgrade fastvae")
    table = document.get("sha256")
    if not isinstance(document.get("content"), dict) or not isinstance(table, dict):
        raise ModelFileError("has a description without a model: it was altered")
    if document.get("content_sha256") != hashlib.sha256(persistence.encoded(document["content"])).hexdigest():
        raise ModelFileError("is damaged, or its description was altered; use another copy")
    return document


def _array(file: Any, name: str, digest: object) -> np.ndarray:
    array: np.ndarray = file.get_tensor(name)
    if _digest(array) != digest:
        raise ModelFileError(f"is damaged: array {name!r} is not what was written; use another copy")
    return array
