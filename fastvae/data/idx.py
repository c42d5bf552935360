"""The IDX format, in which MNIST and its relatives come.

Two zero bytes, a dtype code, the number of dimensions, each dimension as a big-endian uint32, then the values,
big-endian, last dimension fastest.
"""

import gzip
import math
import os
import pathlib
import re
import struct
import zlib
from typing import IO

import numpy as np

from fastvae.data.dataset import DataSet
from fastvae.data.files import access, regular_file
from fastvae.errors import DataFileError

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
_MOST_DIMENSIONS = 16
_MOST_DEFLATED = 1032  # deflate cannot make more bytes than this out of one


def idx_header(array: np.ndarray) -> bytes:
    """Return the IDX header of `array`; header and big-endian values together are the file."""
    code = next(code for code, name in DTYPES.items() if np.dtype(name) == array.dtype.newbyteorder(">"))
    return struct.pack(f">4B{array.ndim}I", 0, 0, code, array.ndim, *array.shape)


def read_idx(path: str | os.PathLike[str], max_bytes: int | None = None) -> np.ndarray:
    """Read one array, without a pass over the values.

    Parameters
    ----------
    path : str or PathLike
        An IDX file, gzip-compressed or not: its first bytes tell.
    max_bytes : int, optional
        Refuse a file whose values take more than this.

    Returns
    -------
    ndarray
        In the shape and dtype of the file (big-endian where the format says so). A read-only memory map, or an array
        in memory where the file is compressed.

    Raises
    ------
    FileAccessError
        The file cannot be read.
    DataFileError
        It is not IDX, is longer or shorter than its header says, or is damaged. Nothing is allocated on the word of
        the header alone.
    """
    path = regular_file(path)
    with access(path), open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        compressed = file.read(2) == GZIP_MAGIC
        file.seek(0)
        if compressed:
            return _read_compressed(path, file, size, max_bytes)
        dtype, shape, start = _read_header(path, file, max_bytes)
        wanted = start + math.prod(shape) * dtype.itemsize
        if size != wanted:
            raise DataFileError(_wrong_size(path, shape, dtype, wanted, f"{size} bytes", size < wanted))
        return np.memmap(path, dtype, "r", start, shape)


def _read_compressed(path: pathlib.Path, file: IO[bytes], size: int, max_bytes: int | None) -> np.ndarray:
    try:
        with gzip.GzipFile(fileobj=file) as plain:
            dtype, shape, start = _read_header(path, plain, max_bytes)
            count = math.prod(shape) * dtype.itemsize
            if start + count > size * _MOST_DEFLATED:
                found = f"{size} compressed bytes that cannot hold them"
                raise DataFileError(_wrong_size(path, shape, dtype, start + count, found, True))
            try:
                buffer = np.empty(count, np.uint8)
            except MemoryError:
                raise DataFileError(
                    f"{path}: {count} bytes of values do not fit into memory; decompress the file, then it is mapped"
                ) from None
            view, filled = buffer.data, 0
            while filled < count and (step := plain.readinto(view[filled : filled + (1 << 20)])):
                filled += step
            if filled < count:
                found = f"{start + filled} bytes after decompression"
                raise DataFileError(_wrong_size(path, shape, dtype, start + count, found, True))
            if plain.read(1):  # also makes gzip check its own checksum at the end
                found = "more after decompression"
                raise DataFileError(_wrong_size(path, shape, dtype, start + count, found, False))
    except EOFError:
        raise DataFileError(f"{path}: the gzip stream is cut off after {size} bytes; fetch the file again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataFileError(f"{path}: the gzip stream is damaged ({error}); fetch the file again") from None
    return buffer.view(dtype).reshape(shape)


def _read_header(
    path: pathlib.Path, file: IO[bytes] | gzip.GzipFile, max_bytes: int | None
) -> tuple[np.dtype, tuple[int, ...], int]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataFileError(f"{path}: not an IDX file: it begins with {magic!r}, where IDX has two zero bytes")
    code, n_dims = magic[2], magic[3]
    if code not in DTYPES:
        valid = ", ".join(f"0x{c:02x}" for c in DTYPES)
        raise DataFileError(f"{path}: not an IDX file: the dtype code is 0x{code:02x}; valid: {valid}")
    if not 1 <= n_dims <= _MOST_DIMENSIONS:
        raise DataFileError(f"{path}: the IDX header says {n_dims} dimensions; 1 to {_MOST_DIMENSIONS} can be read")
    sizes = file.read(4 * n_dims)
    if len(sizes) < 4 * n_dims:
        raise DataFileError(f"{path}: cut off in the IDX header: {4 + len(sizes)} of {4 + 4 * n_dims} bytes are there")
    dtype, shape = np.dtype(DTYPES[code]), struct.unpack(f">{n_dims}I", sizes)
    count = math.prod(shape) * dtype.itemsize  # Python integers: nothing overflows
    if count == 0:
        raise DataFileError(f"{path}: the IDX header says shape {shape}, which holds no values")
    if max_bytes is not None and count > max_bytes:
        raise DataFileError(f"{path}: the IDX header says {count} bytes of values; at most {max_bytes} belong here")
    return dtype, shape, 4 + 4 * n_dims


def _wrong_size(
    path: pathlib.Path, shape: tuple[int, ...], dtype: np.dtype, wanted: int, found: str, is_short: bool
) -> str:
    fault = "cut off" if is_short else "too long"
    return f"{path}: {fault}: shape {shape} of {dtype.name} takes {wanted} bytes with the header, found {found}"


def load_idx(path: str | os.PathLike[str]) -> DataSet:
    """Load images (N, H, W) or a table (N, D) from an IDX file, with the labels beside it.

    Labels come from the file whose name has `labels-idx1` for `images-idx3`, compressed or not, where there is one.

    Raises
    ------
    FileAccessError, DataFileError
        As `read_idx`; also where the labels are not one for each example.
    """
    path = pathlib.Path(path)
    array = read_idx(path)
    if array.ndim == 1:
        raise DataFileError(f"{path}: holds one number for each example, as labels do; name the file with the images")
    labels = None
    beside, is_paired = re.subn(r"images([-.])idx\d", r"labels\1idx1", path.name)
    if is_paired:
        stem = beside.removesuffix(".gz")
        found = [p for p in (path.with_name(stem), path.with_name(stem + ".gz")) if p.exists()]
        if found:
            labels = read_idx(found[0])
            path = found[0] if labels.shape != array.shape[:1] else path  # the message names the file at fault
    return DataSet.from_arrays(path.name, array, labels, where=path)
