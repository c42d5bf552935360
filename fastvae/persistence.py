"""One model file: written atomically, read without trusting it, never a pickle.

A container is a stored (not compressed) zip of ``.npy`` members; plain ``np.load(path, allow_pickle=False)`` reads it::

    header.npy   uint8 (n,)    UTF-8 JSON: format, versions, kind, each array's dtype, shape and SHA-256, the content
    digest.npy   uint8 (32,)   SHA-256 of the header's bytes
    <name>.npy   one for each array, sorted by name, little-endian, C order

Header and arrays determine every byte: fixed timestamps, 64-bit zip fields throughout, our own ``.npy`` header. So
the reader interprets no zip structure: it computes what must stand where and compares. A member that is compressed,
encrypted, renamed, missing, doubled, added or moved is a difference like any other, and nothing is allocated before
the size of the file agrees with the header. The digests find accidents; they are no signature.

Later formats keep `header.npy` and `digest.npy` first and in this form, so that this version can say who wrote them.
"""

import errno
import hashlib
import json
import math
import os
import re
import stat
import struct
import zlib
from collections.abc import Callable, Collection, Mapping
from typing import IO, Any, NamedTuple

import numpy as np

from fastvae.atomic import access_error, atomic_file, checked_path
from fastvae.errors import ModelFileError
from fastvae.version import VERSION

FORMAT_VERSION = 1
HEADER_LIMIT = 1 << 25  # bytes: names and ranges of some hundred thousand columns; early versions read up to 1 MiB
ARRAY_LIMIT = 4096
_DTYPES = ("|b1", "|i1", "<i2", "<i4", "<i8", "|u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8")
_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]|\.(?!\.|npy\Z|\Z)){0,199}")  # no path, nothing np.load would shorten


# ---- the layout of a container, the same for writing and reading -----------------------------------------------------


class _Member(NamedTuple):
    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def npy_header(self) -> bytes:
        """Write it here: NumPy's own differs between versions, and its parser may warn."""
        text = f"{{'descr': '{self.dtype}', 'fortran_order': False, 'shape': {self.shape}, }}".encode()
        text += b" " * (-(len(text) + 11) % 64) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text

    def start(self, crc: int) -> bytes:
        """All that precedes the array's bytes: the zip's local header (dated 1980-01-01) and the npy header."""
        name, npy, none = self.name.encode(), self.npy_header(), 0xFFFFFFFF
        size = len(npy) + self.nbytes
        local = struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 0x21, crc, none, none, len(name), 20)
        return local + name + struct.pack("<2H2Q", 1, 16, size, size) + npy

    def entry(self, crc: int) -> bytes:
        """Its entry in the zip's central directory: 46 bytes, of which 16 to 19 are the CRC, the name, 28 bytes."""
        name, none, size = self.name.encode(), 0xFFFFFFFF, len(self.npy_header()) + self.nbytes
        fields = (b"PK\1\2", 0x32D, 45, 0, 0, 0, 0x21, crc, none, none, len(name), 28, 0, 0, 0, 0o644 << 16, none)
        return struct.pack("<4s6H3I5H2I", *fields) + name + struct.pack("<2H3Q", 1, 24, size, size, self.offset)


def _layout(header_size: int, arrays: Mapping[str, tuple[str, tuple[int, ...]]]) -> tuple[list[_Member], int]:
    """Return every member in order with its place, and where the central directory begins."""
    members, offset = [], 0
    specifications = {"header": ("|u1", (header_size,)), "digest": ("|u1", (32,)), **arrays}
    for name, (dtype, shape) in specifications.items():
        members.append(member := _Member(f"{name}.npy", dtype, shape, offset))
        offset += len(member.start(0)) + member.nbytes
    return members, offset


def _directory(members: list[_Member], crcs: list[int], offset: int) -> bytes:
    """Return all that follows the last array: the central directory and the zip's two end records."""
    entries = b"".join(member.entry(crc) for member, crc in zip(members, crcs, strict=True))
    count, size = len(members), len(entries)
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 0x32D, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, offset + size, 1)
    return entries + end64 + locator + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *[0xFFFF] * 2, *[0xFFFFFFFF] * 2, 0)


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _valid_name(name: object) -> bool:
    return isinstance(name, str) and bool(_NAME.fullmatch(name)) and name not in ("header", "digest")


# ---- writing ---------------------------------------------------------------------------------------------------------


def encoded(header: Mapping[str, Any]) -> bytes:
    """`header` as the JSON of a file; raises a `ValueError` where JSON cannot hold it, or the file's header not all of
    it."""
    try:
        text = json.dumps(header, allow_nan=False, sort_keys=True).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        raise ValueError(f"the header cannot be stored as JSON: {exc}") from exc
    if len(text) > HEADER_LIMIT:
        what = "names, ranges of columns or metadata are too many or too long"
        raise ValueError(f"the header takes {len(text)} bytes of JSON, at most {HEADER_LIMIT} fit: {what}")
    return text


def write_container(
    path: str | os.PathLike[str], kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write `header` and `arrays` atomically to one ``.npz``; the same content always gives the same bytes.

    Parameters
    ----------
    path : str or path-like
        Written as it is: no ending is added.
    kind : str
        What the file holds ("model", "checkpoint"): `read_container` asks for it.
    header : dict
        JSON-serialisable, keys are strings, numbers finite; the whole JSON is at most 32 MiB. Key order is not kept.
    arrays : dict of str to ndarray
        Names of letters, digits, "_", "-" and single dots, such as "encoder.0.weight"; bool, int, uint, float16 to
        float64, of any shape and byte order. At most 4096. They must not change while they are written.

    Raises
    ------
    ValueError
        The content cannot be stored. Nothing was written.
    FileAccessError
        The file could not be written. What stood at `path` is unchanged.
    """
    if not _valid_name(kind):
        raise ValueError(f"kind={kind!r} is not a name")
    if len(arrays) > ARRAY_LIMIT:
        raise ValueError(f"{len(arrays)} arrays are too many for one file: at most {ARRAY_LIMIT}")
    stored: dict[str, np.ndarray] = {}
    table: dict[str, dict[str, Any]] = {}
    for name in sorted(arrays, key=str):
        array = np.asarray(arrays[name])
        if not _valid_name(name):
            raise ValueError(f"array name {name!r}: use letters, digits, '_', '-', single dots; not 'header', 'digest'")
        dtype = array.dtype.newbyteorder("<").str
        if dtype not in _DTYPES or array.ndim > 32:
            raise ValueError(f"array {name!r} ({array.dtype}, {array.ndim} axes): only bool, int, float up to 32 axes")
        stored[name] = array = np.asarray(array, dtype=dtype, order="C")
        digest = hashlib.sha256(_bytes_of(array)).hexdigest()
        table[name] = {"dtype": dtype, "shape": list(array.shape), "sha256": digest}
    document = {"format": "fastvae", "format_version": FORMAT_VERSION, "kind": kind, "library_version": VERSION}
    text = encoded(document | {"arrays": table, "content": dict(header)})
    members, end = _layout(len(text), {name: (table[name]["dtype"], array.shape) for name, array in stored.items()})
    parts = [memoryview(text), memoryview(hashlib.sha256(text).digest()), *map(_bytes_of, stored.values())]
    crcs = [zlib.crc32(part, zlib.crc32(member.npy_header())) for member, part in zip(members, parts, strict=True)]
    with atomic_file(path) as file:
        for member, crc, part in zip(members, crcs, parts, strict=True):
            file.write(member.start(crc))
            file.write(part)
        file.write(_directory(members, crcs, end))


# ---- reading: a refusal is raised as what follows the file's name in the message -------------------------------------


def _foreign(start: bytes) -> str:
    if start.startswith(b"PK"):
        return "is a zip or .npz, but not one that fastvae wrote, or its first bytes are damaged"
    if start[0] == 0x80 and start[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return "is a Python pickle, which can run code: fastvae never opens one; save the model again with fastvae"
    if start.startswith(b"\x93NUMPY"):
        return "is a single NumPy array (.npy), not a fastvae file"
    if start.isascii() and b"\0" not in start:
        return "is a text file, not a fastvae file"
    return "is not a fastvae file, or its first bytes are damaged"


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):  # NaN, Infinity, and 1e999
        raise ValueError(f"the number {text[:20]} is not finite")
    return value


def _parse_header(text: bytes, kinds: Collection[str]) -> dict[str, Any]:
    """Return the JSON document once everything in it but the content has been checked."""
    try:
        document = json.loads(text.decode("utf-8"), parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        raise ModelFileError("has a header that is not valid JSON: save the model again") from None
    if not isinstance(document, dict) or document.get("format") != "fastvae":
        raise ModelFileError("was not written by fastvae")
    version, writer, kind = (document.get(key) for key in ("format_version", "library_version", "kind"))
    if type(version) is not int or version < 1:
        raise ModelFileError("has a header without a valid format version: it was altered")
    if version > FORMAT_VERSION:
        writer = writer if isinstance(writer, str) and re.fullmatch(r"[\w.+!-]{1,40}", writer) else "(unknown version)"
        found = f"{version}" if version < 10**9 else "unknown"
        reads = f"this version ({VERSION}) reads up to {FORMAT_VERSION}: upgrade fastvae"
        raise ModelFileError(f"was written by fastvae {writer}, format {found}; {reads}")
    if not _valid_name(kind) or not isinstance(document.get("content"), dict):
        raise ModelFileError("has a header without a valid kind or content: it was altered")
    if kind not in kinds:
        raise ModelFileError(f"holds a {kind!r}, where a {' or '.join(repr(k) for k in sorted(kinds))} is needed")
    arrays = document.get("arrays")
    if not isinstance(arrays, dict) or len(arrays) > ARRAY_LIMIT:
        raise ModelFileError(f"has a header without a valid list of arrays (at most {ARRAY_LIMIT}): it was altered")
    for name, entry in arrays.items():
        if not (_valid_name(name) and isinstance(entry, dict) and set(entry) == {"dtype", "shape", "sha256"}):
            raise ModelFileError(f"lists an array {name[:80]!r} with an invalid name or entry: it was altered")
        dtype, shape, digest = entry["dtype"], entry["shape"], entry["sha256"]
        known = isinstance(dtype, str) and dtype in _DTYPES and isinstance(digest, str)
        axes = isinstance(shape, list) and len(shape) <= 32 and all(type(n) is int and n >= 0 for n in shape)
        if not (known and axes and math.prod(max(n, 1) for n in shape) * np.dtype(dtype).itemsize < 2**63):
            raise ModelFileError(f"lists array {name!r} with an invalid dtype, shape or digest: it was altered")
    return document


def _read_array(file: IO[bytes], member: _Member, crc: int, digest: str) -> np.ndarray:
    name, start = member.name.removesuffix(".npy"), member.start(crc)
    file.seek(member.offset)
    if file.read(len(start)) != start:
        raise ModelFileError(f"is damaged: member {name!r} is not stored as fastvae stores it; use another copy")
    try:
        array = np.empty(member.shape, member.dtype)
    except MemoryError:
        raise ModelFileError(f"needs {member.nbytes} bytes of free memory for array {name!r}") from None
    complete = file.readinto(_bytes_of(array)) == member.nbytes  # type: ignore[attr-defined]
    if not complete or hashlib.sha256(_bytes_of(array)).hexdigest() != digest:
        raise ModelFileError(f"is damaged: array {name!r} does not match its SHA-256; use another copy")
    if member.dtype == "|b1" and array.view(np.uint8).max(initial=0) > 1:  # which NumPy takes for granted
        raise ModelFileError(f"has bytes other than 0 and 1 in the bool array {name!r}: it was altered")
    return array


def _read(
    file: IO[bytes], size: int, kinds: Collection[str], names: Callable[[str], bool] | None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not size:
        raise ModelFileError("is empty")
    first = file.read(60)  # the local header of header.npy, whose last 8 bytes are the member's size
    count = int.from_bytes(first[52:], "little") - len(_Member("", "|u1", (0,), 0).npy_header())
    (header, digest), end = _layout(min(max(count, 0), HEADER_LIMIT), {})
    start = header.start(int.from_bytes(first[14:18], "little"))
    if (len(first) < 60 and start.startswith(first[:14])) or (start.startswith(first) and size < end):
        raise ModelFileError(f"is truncated: it ends after {size} bytes, inside its header; use another copy")
    if not start.startswith(first):
        raise ModelFileError(_foreign(first))
    file.seek(len(start))
    text = file.read(header.nbytes)
    file.seek(end - 32)
    sha256 = file.read(32)
    if sha256 != hashlib.sha256(text).digest():
        raise ModelFileError("is damaged: its header does not match its digest; use another copy")
    document = _parse_header(text, kinds)
    table = document["arrays"]
    members, end = _layout(len(text), {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in table.items()})
    expected = end + len(_directory(members, [0] * len(members), end))
    if size != expected:
        state = "is truncated" if size < expected else "has bytes that do not belong to it"
        raise ModelFileError(f"{state}: it has {size} bytes and should have {expected}; use another copy")
    file.seek(end)
    found = file.read(expected - end)
    crcs, place = [], 16
    for member in members:
        crcs.append(int.from_bytes(found[place : place + 4], "little"))
        place += len(member.entry(0))
    front = header.start(crcs[0]) + text + digest.start(crcs[1]) + sha256
    file.seek(0)
    if found != _directory(members, crcs, end) or file.read(len(front)) != front:
        raise ModelFileError("is damaged: its list of members was altered; use another copy")
    arrays = {}
    for member, crc in zip(members[2:], crcs[2:], strict=True):
        name = member.name.removesuffix(".npy")
        if names is None or names(name):
            arrays[name] = _read_array(file, member, crc, table[name]["sha256"])
    return document["content"], arrays


def read_container(
    path: str | os.PathLike[str], kinds: Collection[str], names: Callable[[str], bool] | None = None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `write_container` wrote, or refuse it; nothing in the file is ever unpickled or executed.

    Parameters
    ----------
    path : str or path-like
        The file.
    kinds : collection of str
        The kinds that are accepted.
    names : callable, optional
        Of the arrays, only those for which ``names(name)`` is true are read; the others' bytes are not touched.

    Returns
    -------
    header : dict
        As it was given to `write_container` (tuples have become lists).
    arrays : dict of str to ndarray
        Little-endian, C-contiguous, writeable, sorted by name.

    Raises
    ------
    ModelFileError
        The file is foreign, damaged, of another kind, or newer than this version reads.
    FileAccessError
        The file is missing or cannot be read.
    """
    name = checked_path(path)
    try:
        status = os.stat(name)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait
            raise OSError(errno.EINVAL, "it is not a regular file")
        with open(name, "rb") as file:
            return _read(file, os.fstat(file.fileno()).st_size, kinds, names)
    except ModelFileError as exc:
        raise ModelFileError(f"{name!r} {exc}") from None
    except OSError as exc:
        raise access_error(exc, "could not read the file", "", name) from exc
