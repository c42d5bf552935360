"""MNIST: found in a folder, or downloaded once; whatever its way, the checksum decides."""

import contextlib
import functools
import hashlib
import http.client
import importlib.util
import math
import os
import pathlib
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fastvae.data.arrays import npz_array, npz_headers
from fastvae.data.dataset import DataSet
from fastvae.data.files import access
from fastvae.data.idx import idx_header, read_idx
from fastvae.errors import DataFileError, FileAccessError
from fastvae.standard_error import is_terminal, say
from fastvae.version import VERSION

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
DATA_VARIABLE, URL_VARIABLE = "FASTVAE_DATA", "FASTVAE_MNIST_URL"
_NPZ = "mnist.npz"
_CHUNK = 1 << 16


class Part(NamedTuple):
    """One of the four arrays: its name in an `.npz`, its shape, the SHA-256 of its uncompressed IDX file."""

    key: str
    shape: tuple[int, ...]
    sha256: str


PARTS = {
    "train-images-idx3-ubyte": Part(
        "x_train", (60000, 28, 28), "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
    ),
    "train-labels-idx1-ubyte": Part(
        "y_train", (60000,), "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
    ),
    "t10k-images-idx3-ubyte": Part(
        "x_test", (10000, 28, 28), "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
    ),
    "t10k-labels-idx1-ubyte": Part(
        "y_test", (10000,), "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
    ),
}


def cache_folder() -> pathlib.Path:
    """Return the user's cache folder for fastvae, which need not exist: XDG_CACHE_HOME, or what the system uses."""
    chosen = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", "")
    if os.path.isabs(chosen):  # the XDG rule: a relative one is ignored
        return pathlib.Path(chosen) / "fastvae"
    usual = {"win32": "AppData/Local", "darwin": "Library/Caches"}.get(sys.platform, ".cache")
    try:
        return pathlib.Path.home() / usual / "fastvae"
    except RuntimeError as error:
        raise FileAccessError(f"no home folder for the cache ({error}); set {DATA_VARIABLE} to a folder") from None


def load_mnist(
    folders: Sequence[str | os.PathLike[str]] | None = None,
    mirrors: Sequence[str] = MIRRORS,
    progress: bool | None = None,
    parts: Mapping[str, Part] = PARTS,
    timeout: float = 30.0,
) -> DataSet:
    """Return MNIST: 60000 training images, 10000 held-out test images, labels of both, all uint8.

    Each of the four IDX files, compressed or not, is looked for in each folder in turn, then in the folder's
    `mnist.npz` (arrays x_train, y_train, x_test, y_test), then downloaded into the last folder.

    Parameters
    ----------
    folders : sequence of paths, optional
        The last is the cache: files in it that fail their checksum are removed and downloaded again. The others are
        the user's and are never changed. By default the folder named by the environment variable FASTVAE_DATA, if
        set, and the user's cache folder.
    mirrors : sequence of str
        Addresses under which the compressed files lie, tried in turn. The environment variable FASTVAE_MNIST_URL
        replaces the default ones.
    progress : bool, optional
        False: nothing is written to standard error.
    parts : mapping of file name to Part
        What belongs to the data set, and the checksums.
    timeout : float
        Seconds for which a server may stay silent.

    Returns
    -------
    DataSet
        X (60000, 784), a read-only memory map where the file is uncompressed.

    Raises
    ------
    FileAccessError
        A file or the cache cannot be read or written, or no mirror gave a file.
    DataFileError
        A file in the user's folder is not the published one.
    """
    if mirrors is MIRRORS and os.environ.get(URL_VARIABLE):
        mirrors = (os.environ[URL_VARIABLE],)
    *own, cache = _default_folders() if folders is None else map(pathlib.Path, folders)
    found: dict[str, np.ndarray] = {}
    for folder in own:
        _look(folder, parts, found)
    _look(cache, parts, found, lambda path, error: _discard(path, error, progress))
    for name, part in parts.items():
        if part.key not in found:
            found.update(_download(name, part, cache, mirrors, progress, timeout))
    return DataSet.from_arrays("mnist", found["x_train"], found["y_train"], found["x_test"], found["y_test"])


def _default_folders() -> list[pathlib.Path]:
    chosen = os.environ.get(DATA_VARIABLE)
    if not chosen:
        return [cache_folder()]
    folder = pathlib.Path(os.path.expanduser(chosen))
    if not folder.is_dir():
        raise FileAccessError(f"the environment variable {DATA_VARIABLE} names {chosen!r}, which is not a folder")
    return [folder, cache_folder()]


def _look(
    folder: pathlib.Path,
    parts: Mapping[str, Part],
    found: dict[str, np.ndarray],
    discard: Callable[[pathlib.Path, DataFileError], None] | None = None,
) -> None:
    """Add to `found` what lies in `folder`. Without `discard` a file that fails its checksum is an error."""

    def check(path: pathlib.Path, read: Callable[[], dict[str, np.ndarray]]) -> None:
        try:
            found.update(read())
        except DataFileError as error:
            if discard is None:
                raise DataFileError(
                    f"{error} (fastvae never changes this folder: replace or remove the file)"
                ) from None
            discard(path, error)

    for name, part in parts.items():
        for spelling in (name, name.replace("-idx", ".idx")):
            for path in (folder / spelling, folder / f"{spelling}.gz"):
                if part.key not in found and _exists(path):
                    check(path, functools.partial(_read_part, path, part))
    missing = [part for part in parts.values() if part.key not in found]
    npz = folder / _NPZ
    if missing and _exists(npz):
        check(npz, functools.partial(_read_npz, npz, missing))


def _exists(path: pathlib.Path) -> bool:
    with access(path):
        return path.exists()


def _discard(path: pathlib.Path, error: DataFileError, progress: bool | None) -> None:
    _say(f"{error}: removed", progress)
    with access(path):
        path.unlink()


def _read_part(path: pathlib.Path, part: Part) -> dict[str, np.ndarray]:
    return {part.key: _verified(path, read_idx(path, max_bytes=math.prod(part.shape)), part)}


def _read_npz(path: pathlib.Path, parts: Sequence[Part]) -> dict[str, np.ndarray]:
    arrays, headers = {}, npz_headers(path)
    for part in parts:
        header = headers.get(part.key)
        if header is None or header.shape != part.shape or header.dtype.kind not in "iu":  # before it is unpacked
            found = f"{header.shape} {header.dtype}" if header else "nothing"
            raise DataFileError(f"{path}: not MNIST: {part.key} should be {part.shape} uint8, found {found}")
        arrays[part.key] = _verified(path, npz_array(path, part.key).astype(np.uint8, copy=False), part)
    return arrays


def _verified(path: pathlib.Path, array: np.ndarray, part: Part) -> np.ndarray:
    """Return `array` if its bytes as an IDX file have the checksum of the part."""
    digest = hashlib.sha256(idx_header(array))
    digest.update(np.ascontiguousarray(array).data)
    if digest.hexdigest() != part.sha256:
        raise DataFileError(
            f"{path}: not MNIST's {part.key}, or altered: SHA-256 {digest.hexdigest()[:16]}..., "
            f"expected {part.sha256[:16]}..."
        )
    return array


def _say(line: str, progress: bool | None) -> None:
    if progress is not False:
        say(f"fastvae: {line}")


def _download(
    name: str, part: Part, folder: pathlib.Path, mirrors: Sequence[str], progress: bool | None, timeout: float
) -> dict[str, np.ndarray]:
    """Fetch one compressed file into `folder`: it appears there whole and verified, or not at all."""
    with access(folder):
        folder.mkdir(parents=True, exist_ok=True)
    target, reasons = folder / f"{name}.gz", []
    limit = math.prod(part.shape) + _CHUNK  # a compressed file that is longer than the plain one is another one
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{target.name}"
        with _temporary(target) as path:
            try:
                _fetch(url, path, limit, progress, timeout)
                arrays = _read_part(path, part)
            except _ServerError as error:
                reasons.append(f"{url}: {error}")
            except DataFileError as error:
                reasons.append(f"{url}: {str(error).removeprefix(f'{path}: ')}")
            else:
                with access(target):
                    os.replace(path, target)
                return arrays
    raise FileAccessError(
        f"{target.name} of MNIST could not be downloaded ({'; '.join(reasons) or 'no mirrors'}); put "
        f"{', '.join(f'{n}.gz' for n in PARTS)} or {_NPZ} into a folder and name it in the environment variable "
        f"{DATA_VARIABLE}, or put them into {folder}"
    )


@contextlib.contextmanager
def _temporary(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """Give an empty file in the folder of `target`, which is gone at the end unless it was moved."""
    with access(target.parent):
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name + ".", suffix=".part")
    os.close(handle)
    path = pathlib.Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


class _ServerError(Exception):
    """A mirror did not give the file: the reason, for a person."""


@contextlib.contextmanager
def _server_errors(timeout: float) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        with error:  # it holds the connection
            raise _ServerError(f"HTTP {error.code} {error.reason}") from None
    except TimeoutError:
        raise _ServerError(f"no answer for {timeout:g} s") from None
    except urllib.error.URLError as error:
        reason = f"no answer for {timeout:g} s" if isinstance(error.reason, TimeoutError) else str(error.reason)
        raise _ServerError(" ".join(reason.split())) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _ServerError(" ".join(f"{type(error).__name__}: {error}".split())) from None


def _fetch(url: str, path: pathlib.Path, limit: int, progress: bool | None, timeout: float) -> None:
    received = 0
    with contextlib.ExitStack() as stack:
        with _server_errors(timeout):
            request = urllib.request.Request(url, headers={"User-Agent": f"fastvae/{VERSION}"})
            response = stack.enter_context(urllib.request.urlopen(request, timeout=timeout))
        announced = response.headers.get("Content-Length") or ""
        total = int(announced) if announced.isdecimal() else None
        advance = stack.enter_context(_progress_bar(url, total, progress))
        with access(path):
            file = stack.enter_context(open(path, "wb", buffering=0))  # a full disk shows at the write, not at close
        while True:
            with _server_errors(timeout):
                block = response.read(_CHUNK)
            if not block:
                break
            received += len(block)
            if received > limit:
                raise _ServerError(f"more than {limit} bytes came: not the file that is wanted")
            with access(path):
                file.write(block)
            advance(len(block))
    if total is not None and received < total:
        raise _ServerError(f"cut off: {received} of {total} bytes came")
    if received == 0:
        raise _ServerError("the answer is empty")


@contextlib.contextmanager
def _progress_bar(url: str, total: int | None, progress: bool | None) -> Iterator[Callable[[int], object]]:
    """Give a function to call with the number of bytes that came: it moves a bar where there is one."""
    if progress is not False and is_terminal(sys.stderr) and importlib.util.find_spec("tqdm"):
        from tqdm import tqdm

        with tqdm(total=total, unit="B", unit_scale=True, desc=url.rsplit("/", 1)[-1], file=sys.stderr) as bar:
            yield bar.update
    else:
        _say(f"downloading {url}" + (f" ({total} bytes)" if total is not None else ""), progress)
        yield lambda _: None
