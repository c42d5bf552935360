"""The scalar types of PTX as NumPy dtypes, literals, and bfloat16, which NumPy does not have."""

import numpy as np

from .errors import PtxError

DTYPES = {
    name: np.dtype(code)
    for name, code in {
        "pred": "?",
        "u8": "u1",
        "u16": "u2",
        "u32": "u4",
        "u64": "u8",
        "s8": "i1",
        "s16": "i2",
        "s32": "i4",
        "s64": "i8",
        "b8": "u1",
        "b16": "u2",
        "b32": "u4",
        "b64": "u8",
        "f16": "f2",
        "f32": "f4",
        "f64": "f8",
        "bf16": "u2",  # its bits
        "f16x2": "u4",
        "bf16x2": "u4",
    }.items()
}


def dtype_of(name):
    """The dtype that a PTX type is computed in; for packed types and bfloat16 that of its bits."""
    try:
        return DTYPES[name]
    except KeyError:
        raise PtxError(f"unknown type .{name}") from None


def unsigned(itemsize):
    """The dtype of raw bits."""
    return np.dtype(f"u{itemsize}")


def literal(text, dtype):
    """A number as PTX writes it (decimal, 0x, 0f3F800000, 0d3FF0000000000000), as a NumPy scalar of the dtype."""
    if text[:2] in ("0f", "0F"):
        value = np.uint32(int(text[2:], 16)).view(np.float32)
        return dtype.type(value) if dtype.kind == "f" else value.view(np.uint32).astype(unsigned(dtype.itemsize))
    if text[:2] in ("0d", "0D"):
        return np.uint64(int(text[2:], 16)).view(dtype)
    try:
        value = int(text.rstrip("U"), 0)
    except ValueError:
        try:
            return dtype.type(float(text))
        except ValueError:
            raise PtxError(f"not a number: {text}") from None
    if dtype.kind == "f":
        return dtype.type(value)
    if dtype.kind == "b":
        return np.bool_(value)
    return unsigned(dtype.itemsize).type(value & ((1 << 8 * dtype.itemsize) - 1)).view(dtype)


def from_bfloat16(bits):
    """Bits of bfloat16 numbers as float32."""
    return (np.asarray(bits).astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bfloat16(values, rounding="rn"):
    """Bits of float32 numbers as bfloat16: rounded to nearest even, or cut off (rounding "rz")."""
    values = np.asarray(values, np.float32)
    bits = values.view(np.uint32)
    if rounding == "rn":
        bits = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return np.where(np.isnan(values), np.uint16(0x7FFF), (bits >> np.uint32(16)).astype(np.uint16))
