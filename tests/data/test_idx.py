"""The IDX reader: every dtype, and every way in which a header and a file can disagree."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastvae.data.idx import DTYPES, idx_header, load_idx, read_idx
from fastvae.errors import DataFileError, FileAccessError


def idx_bytes(array):
    return idx_header(array) + array.astype(array.dtype.newbyteorder(">")).tobytes()


def refusal(path, **arguments):
    with pytest.raises(DataFileError) as caught:
        read_idx(path, **arguments)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_file_written_by_hand(tmp_path):
    path = tmp_path / "a-idx2-short"
    path.write_bytes(bytes([0, 0, 0x0B, 2, 0, 0, 0, 2, 0, 0, 0, 3]) + bytes([0, 1, 0, 2, 0xFF, 0xFF, 1, 0, 0, 0, 0, 5]))
    np.testing.assert_array_equal(read_idx(path), [[1, 2, -1], [256, 0, 5]])


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("code", DTYPES)
@pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 3, 4), (1, 1, 1, 1)])
def test_round_trip(tmp_path, code, shape, compress):
    array = np.random.default_rng(0).integers(-100, 100, shape).astype(DTYPES[code])
    data = idx_bytes(array)
    assert data[2] == code
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(data) if compress else data)
    found = read_idx(path)
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert isinstance(found, np.memmap) is not compress
    if not compress:
        assert not found.flags.writeable


IMAGES = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


def header(code, *dims, n_dims=None):
    return bytes([0, 0, code, len(dims) if n_dims is None else n_dims]) + struct.pack(f">{len(dims)}I", *dims)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    ("data", "fragments"),
    [
        (IMAGES[:-1], ["cut off", "40 bytes", "39 bytes"]),
        (IMAGES + b"\0", ["too long", "40 bytes"]),
        (IMAGES[:10], ["cut off in the IDX header", "10 of 16"]),
        (b"\0\0\x08", ["not an IDX file"]),
        (b"<html><body>Not found</body></html>", ["not an IDX file", "<htm"]),
        (header(0x0A, 3) + b"abc", ["dtype code is 0x0a", "0x08"]),
        (header(0x08, n_dims=0) + b"a", ["0 dimensions"]),
        (header(0x08, *[1] * 17) + b"a", ["17 dimensions"]),
        (header(0x08, 0, 28, 28), ["(0, 28, 28)", "no values"]),
        (header(0x0E, *[2**32 - 1] * 5) + b"12345678", ["cut off"]),
        (header(0x08, 2**32 - 1, 2**10) + b"1", ["cut off", str(2**42 - 2**10 + 12)]),
    ],
)
def test_refusals(tmp_path, data, fragments, compress):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(data) if compress else data)
    message = refusal(path)
    for fragment in fragments:
        assert fragment in message


def test_both_sizes_are_named(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(IMAGES + b"abc")
    assert "takes 40 bytes" in refusal(path)
    assert "found 43 bytes" in refusal(path)


def test_damaged_gzip(tmp_path):
    path = tmp_path / "images.gz"
    whole = gzip.compress(idx_bytes(np.random.default_rng(0).integers(0, 256, (50, 9, 9)).astype(np.uint8)))
    for length in (3, 15, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "cut off" in refusal(path)
    path.write_bytes(whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:])  # the checksum of gzip
    assert "damaged" in refusal(path)
    path.write_bytes(whole[:200] + bytes(20) + whole[220:])
    refusal(path)


def test_a_decompression_bomb_is_refused_unread(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(header(0x08, 50_000_000) + bytes(50_000_000)))
    assert "at most 1000" in refusal(path, max_bytes=1000)
    path.write_bytes(gzip.compress(header(0x08, 10) + bytes(50_000_000)))
    assert "too long" in refusal(path, max_bytes=1000)


def test_no_file(tmp_path):
    with pytest.raises(FileAccessError, match="no such file"):
        read_idx(tmp_path / "nothing")
    (tmp_path / "empty").touch()
    with pytest.raises(DataFileError, match="empty"):
        read_idx(tmp_path / "empty")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(min_size=1, max_size=60), st.booleans(), st.booleans())
def test_any_bytes_are_read_or_refused(tmp_path, tail, is_magic, compress):
    data = (b"\0\0\x08" if is_magic else b"") + tail
    path = tmp_path / "any"
    path.write_bytes(gzip.compress(data) if compress else data)
    try:
        found = idx_bytes(np.asarray(read_idx(path)))
    except DataFileError as error:
        found, data = str(error).splitlines(), [str(error)]
    assert found == data


@pytest.mark.parametrize("label_suffix", ["", ".gz"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_labels_beside_images(tmp_path, suffix, label_suffix):
    images, labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.array([7, 3], np.uint8)
    for name, array, ending in (("images-idx3", images, suffix), ("labels-idx1", labels, label_suffix)):
        data = idx_bytes(array)
        (tmp_path / f"some-{name}-ubyte{ending}").write_bytes(gzip.compress(data) if ending else data)
    data_set = load_idx(tmp_path / f"some-images-idx3-ubyte{suffix}")
    np.testing.assert_array_equal(data_set.X, images.reshape(2, 12))
    np.testing.assert_array_equal(data_set.labels, labels)
    assert data_set.image_shape == (3, 4)
    assert data_set.value_range == (0, 255)


def test_images_without_labels_and_labels_without_images(tmp_path):
    path = tmp_path / "some-images-idx3-ubyte"
    path.write_bytes(IMAGES)
    assert load_idx(path).labels is None
    beside = tmp_path / "some-labels-idx1-ubyte"
    beside.write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    with pytest.raises(DataFileError, match=r"labels-idx1-ubyte: labels have shape \(3,\); 2 examples"):
        load_idx(path)
    with pytest.raises(DataFileError, match="name the file with the images"):
        load_idx(beside)


def test_other_integer_images_have_no_known_range(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(idx_bytes(np.ones((2, 2, 2), ">i2")))
    assert load_idx(path).value_range is None
