"""Text files as lines: plain, or packed (.gz, .bz2, .xz, a .zip of one file); in UTF-8, else in Windows-1252."""

import bz2
import contextlib
import gzip
import io
import lzma
import pathlib
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, TypeVar

from fastvae.data.files import access
from fastvae.errors import DataFileError, FileAccessError

SUFFIXES = (".csv", ".tsv", ".txt")
PACKED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
PACKED_START = {b"BZh": ".bz2", b"\xfd7zXZ\0": ".xz"}
ZIP = ".zip"
UTF8, WINDOWS = "utf-8-sig", "cp1252"
SAMPLE_LINES = 50
PIECE_CHARACTERS = 1 << 20  # parsed at a time, so that a fault is named soon
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, zipfile.BadZipFile, NotImplementedError)
Line = tuple[int, str]  # its number, from 1, and its text
Read = TypeVar("Read")


def is_text(path: pathlib.Path) -> bool:
    """Whether the name says that it is text, packed or not: `.csv`, `.csv.gz`, ...; of a `.zip`, what is inside."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes[-1:] == [ZIP]:
        with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            return any(member.lower().endswith(SUFFIXES) for member in archive.namelist())
        return False
    packed = bool(suffixes) and suffixes[-1] in PACKED
    return (suffixes[:-1] if packed else suffixes)[-1:] in [[suffix] for suffix in SUFFIXES]


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked as they are read.

    Raises
    ------
    FileAccessError
        The file cannot be read.
    DataFileError
        What it is packed in is damaged, or a `.zip` holds more than one file.
    """
    try:
        with access(path), contextlib.ExitStack() as stack:
            raw = stack.enter_context(open(path, "rb"))
            start = raw.read(8)
            raw.seek(0)
            suffix = next((s for magic, s in PACKED_START.items() if start.startswith(magic)), path.suffix.lower())
            if suffix == ZIP:
                yield stack.enter_context(_only_member(path, stack.enter_context(zipfile.ZipFile(raw))))
            elif suffix in PACKED:
                yield stack.enter_context(PACKED[suffix](raw, "rb"))
            else:
                yield raw
    except _DAMAGE as error:
        raise _damaged(path, error) from None
    except FileAccessError as error:
        if error.errno is not None:
            raise
        raise _damaged(path, error.__cause__ or error) from None


def _damaged(path: pathlib.Path, error: BaseException) -> DataFileError:
    reason = " ".join(str(error).split())[:120]
    return DataFileError(f"{path}: what it is packed in is damaged or cut off ({reason}); save or fetch it again")


def _only_member(path: pathlib.Path, archive: zipfile.ZipFile) -> IO[bytes]:
    """The one file of an archive; what macOS adds does not count."""
    members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        names = ", ".join(repr(m.filename) for m in members[:5]) + (", ..." if len(members) > 5 else "")
        raise DataFileError(f"{path}: holds {len(members)} files ({names}); unpack it and name one of them")
    if members[0].flag_bits & 1:
        raise DataFileError(f"{path}: {members[0].filename!r} in it is encrypted; unpack it first")
    return archive.open(members[0])


@contextlib.contextmanager
def opened_text(path: pathlib.Path, encoding: str, errors: str = "strict") -> Iterator[IO[str]]:
    """The text of a file, refused where it is binary."""
    with opened(path) as raw:
        buffered = io.BufferedReader(raw)  # type: ignore[type-var]
        _refuse_binary(path, buffered.peek(4096)[:4096])
        yield io.TextIOWrapper(buffered, encoding=encoding, errors=errors)


def _refuse_binary(path: pathlib.Path, start: bytes) -> None:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataFileError(f"{path}: the text is UTF-16; save it as UTF-8")
    if b"\0" in start:
        raise DataFileError(
            f"{path}: neither text nor a known binary file (a zero byte at {start.index(0)}); "
            "readable are .npy, .npz, .csv, .tsv, .txt, .parquet and IDX files"
        )


def in_its_encoding(path: pathlib.Path, read: Callable[[str], Read]) -> Read:
    """What `read` makes of the file in an encoding that it is told: UTF-8, or else Windows-1252, which is said.

    Raises
    ------
    DataFileError
        It is not UTF-8, and in Windows-1252 it cannot be read either: where the first byte is that is not UTF-8.
    """
    try:
        return read(UTF8)
    except UnicodeDecodeError:
        pass
    place = _where_not_utf8(path)
    try:
        found = read(WINDOWS)
    except (UnicodeDecodeError, DataFileError):
        raise DataFileError(f"{path}{place}; save it as UTF-8") from None
    warnings.warn(
        f"{path}{place}: read as Windows-1252 (Latin-1); if letters look wrong, save it as UTF-8", stacklevel=3
    )
    return found


def _where_not_utf8(path: pathlib.Path) -> str:
    with opened_text(path, "utf-8", "surrogateescape") as file:
        for number, line in enumerate(file, 1):
            try:
                content = line.encode("utf-8", "surrogateescape")
                content.decode("utf-8")
            except UnicodeDecodeError as error:
                return f", line {number}: byte 0x{content[error.start]:02x} at position {error.start + 1} is not UTF-8"
    return ": not UTF-8"


def pieces(file: Iterable[str]) -> Iterator[list[Line]]:
    """The lines of a table but comments (# first) and blank ones, some at a time; at least a sample the first time."""
    piece: list[Line] = []
    characters, least = 0, SAMPLE_LINES
    for number, line in enumerate(file, 1):
        if line.strip() and not line.startswith("#"):
            piece.append((number, line))
            characters += len(line)
            if characters >= PIECE_CHARACTERS and len(piece) >= least:
                yield piece
                piece, characters, least = [], 0, 1
    if piece:
        yield piece
