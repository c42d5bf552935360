"""Arrays as text within a page: named pieces of bytes, deflated together, in base 85.

The alphabet is that of `base64.b85encode` with / for <, which HTML might take for a tag. What is read back: a header of
JSON, [{"name", "dtype", "shape", "start"}], behind its length (4 bytes, little-endian), then the pieces.
"""

import base64
import json
import zlib

import numpy as np

DTYPES = {"float32": "<f4", "float64": "<f8", "int8": "|i1", "uint8": "|u1"}


def deflated(data: bytes, repeats: bool = True) -> bytes:
    """zlib's format: what browsers call "deflate". Without a search for repeats, where numbers are like noise: of codes
    of weights that takes 12% less."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_DEFAULT_STRATEGY if repeats else zlib.Z_HUFFMAN_ONLY)
    return packer.compress(data) + packer.flush()


def packed(arrays: dict[str, np.ndarray], repeats: bool = True) -> str:
    """The text of these arrays; `readArchive` of archive.js reads it."""
    entries, pieces, start = [], [], 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array, DTYPES[array.dtype.name]).tobytes()
        entries.append({"name": name, "dtype": array.dtype.name, "shape": array.shape, "start": start})
        pieces.append(data + bytes(-len(data) % 8))  # so that each begins where its numbers may lie
        start += len(pieces[-1])
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-(len(header) + 4) % 8)
    data = deflated(len(header).to_bytes(4, "little") + header + b"".join(pieces), repeats)
    return base64.b85encode(data).decode().replace("<", "/")
