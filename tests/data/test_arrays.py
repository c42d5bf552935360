"""Arrays in `.npy` and `.npz` files: what is taken, and what is refused."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastvae.data.arrays import load_npy, load_npz, npz_array
from fastvae.errors import DataFileError


def refusal(load, path, *arguments):
    with pytest.raises(DataFileError) as caught:
        load(path, *arguments)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


# .npy


@pytest.mark.parametrize("dtype", ["u1", "i4", ">i2", "f2", "f4", ">f4", "f8", "?"])
def test_npy_is_mapped_as_it_is(tmp_path, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    data = load_npy(tmp_path / "a.npy")
    np.testing.assert_array_equal(data.X, array.reshape(2, 12))
    assert data.X.dtype == array.dtype
    assert data.image_shape == (3, 4)
    assert isinstance(data.X, np.memmap)
    assert not data.X.flags.writeable


def test_npy_larger_than_memory(tmp_path):
    path = tmp_path / "big.npy"
    rows = 1 << 28  # 2 TiB of zeros, as a hole
    with open(path, "wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (rows, 1024)}
        np.lib.format.write_array_header_1_0(file, header)
        try:
            file.truncate(file.tell() + rows * 1024 * 8)
        except OSError:
            pytest.skip("the file system holds no file of 2 TiB, even empty")
    data = load_npy(path)
    assert data.X.shape == (rows, 1024)
    assert data.X[rows - 1, 5] == 0


def test_npy_in_fortran_order(tmp_path):
    table = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    np.save(tmp_path / "a.npy", table)
    data = load_npy(tmp_path / "a.npy")
    np.testing.assert_array_equal(data.X, table)
    assert isinstance(data.X, np.memmap)
    np.save(tmp_path / "b.npy", np.asfortranarray(np.ones((3, 4, 5))))
    assert "Fortran" in refusal(load_npy, tmp_path / "b.npy")


def test_npy_refusals(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(100.0).reshape(10, 10))
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    assert "cut off" in refusal(load_npy, path)
    assert f"takes {len(whole)} bytes" in refusal(load_npy, path)
    assert f"found {len(whole) - 8} bytes" in refusal(load_npy, path)
    path.write_bytes(whole + b"x")
    assert "too long" in refusal(load_npy, path)
    for length in (1, 6, 9, 40):
        path.write_bytes(whole[:length])
        refusal(load_npy, path)
    path.write_bytes(b"<html>no such page</html>")
    assert "not a readable NumPy array" in refusal(load_npy, path)
    path.write_bytes(whole.replace(b"(10, 10)", b"(-1, 10)"))
    assert "negative" in refusal(load_npy, path)
    path.write_bytes(whole.replace(b"(10, 10), }      ", b"(10, 9999999999)}"))
    assert "cut off" in refusal(load_npy, path)
    np.save(path, np.array([[{}]], dtype=object))
    assert "never loaded" in refusal(load_npy, path)
    np.save(path, np.zeros((2, 2), [("a", "f4"), ("b", "f4")]))
    assert "not real numbers" in refusal(load_npy, path)
    np.save(path, np.zeros((0, 4)))
    assert "no values" in refusal(load_npy, path)
    np.save(path, np.zeros(4))
    assert "1 dimensions" in refusal(load_npy, path)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 127), st.integers(0, 255))
def test_npy_with_any_damaged_header_byte_is_read_or_refused(tmp_path, position, byte):
    path = tmp_path / "a.npy"
    np.save(path, np.ones((3, 4), np.float32))
    content = bytearray(path.read_bytes())
    content[position] = byte
    path.write_bytes(content)
    message = ""
    try:
        load_npy(path)
    except DataFileError as error:
        message = str(error)
    assert "\n" not in message


# .npz


def save(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


X, Y = np.arange(12.0).reshape(4, 3), np.array([1, 0, 1, 1])


def test_npz_with_train_and_test(tmp_path):
    images = np.arange(48, dtype=np.uint8).reshape(4, 3, 4)
    path = save(tmp_path / "a.npz", x_train=images, y_train=Y, x_test=images[:2], y_test=Y[:2], other=X)
    data = load_npz(path)
    np.testing.assert_array_equal(data.X, images.reshape(4, 12))
    np.testing.assert_array_equal(data.labels, Y)
    np.testing.assert_array_equal(data.X_heldout, images[:2].reshape(2, 12))
    np.testing.assert_array_equal(data.labels_heldout, Y[:2])
    assert data.image_shape == (3, 4)
    assert data.value_range == (0, 255)
    assert load_npz(path, "other").X.shape == (4, 3)


@pytest.mark.parametrize("name", ["x", "X", "images", "data", "whatever"])
def test_npz_finds_the_array(tmp_path, name):
    np.testing.assert_array_equal(load_npz(save(tmp_path / "a.npz", **{name: X}, y=Y)).X, X)
    if name != "whatever":
        path = save(tmp_path / "b.npz", first=X + 1, **{name: X}, labels=Y)
        np.testing.assert_array_equal(load_npz(path).X, X)
        np.testing.assert_array_equal(load_npz(path).labels, Y)


def test_npz_does_not_guess(tmp_path):
    path = save(tmp_path / "a.npz", iris_x=X, wine_x=X + 1, iris_y=Y, iris_names=np.array(["a", "b"]))
    message = refusal(load_npz, path)
    for fragment in ("--array NAME", "iris_x (4, 3) float64", "wine_x", "iris_y (4,)"):
        assert fragment in message
    assert "did you mean 'iris_x'" in refusal(load_npz, path, "iris_xx")
    np.testing.assert_array_equal(load_npz(path, "iris_x").labels, Y)
    assert load_npz(path, "wine_x").labels is None
    assert "no array has" in refusal(load_npz, save(tmp_path / "b.npz", y=Y))
    assert "1 dimensions" in refusal(load_npz, path, "iris_y")


def test_npz_with_many_arrays_is_listed_in_part(tmp_path):
    path = save(tmp_path / "a.npz", **{f"a{i}": X for i in range(50)})
    assert "and 30 more" in refusal(load_npz, path)
    assert "(50 in all)" in refusal(load_npz, path, "a77")


def test_npz_labels(tmp_path):
    path = save(tmp_path / "a.npz", x=X, y=Y, kind=Y + 5, short=Y[:2])
    np.testing.assert_array_equal(load_npz(path, labels="kind").labels, Y + 5)
    assert "labels have shape (2,)" in refusal(load_npz, path, None, "short")
    assert "holds no array 'kinds' (--labels); did you mean 'kind'" in refusal(load_npz, path, None, "kinds")
    assert load_npz(save(tmp_path / "b.npz", x=X, y=Y[:2])).labels is None


def test_npz_never_unpickles(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=X, y=np.array([{}, 1, 2, 3], dtype=object), z=np.array([[{}]], dtype=object))
    data = load_npz(path)
    np.testing.assert_array_equal(data.X, X)
    assert data.labels is None
    assert "never loaded" in refusal(load_npz, path, "z")
    assert "never loaded" in refusal(load_npz, path, "x", "y")


def test_npz_damage(tmp_path):
    path = save(tmp_path / "a.npz", x=np.random.default_rng(0).random((50, 20)))
    whole = path.read_bytes()
    for length in (4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "not a readable .npz" in refusal(load_npz, path)
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :])
    refusal(load_npz, path)
    path.write_bytes(b"<html>no such page</html>")
    assert "not a readable .npz" in refusal(load_npz, path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no arrays")
    assert "holds no arrays" in refusal(load_npz, path)


def test_npz_with_a_header_that_promises_too_much(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((10, 10)))
    content = (tmp_path / "a.npy").read_bytes().replace(b"(10, 10), }         ", b"(9999999, 999999), }")
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", content)
    assert "does not fit the 928 bytes" in refusal(load_npz, path)
    with pytest.raises(DataFileError, match="not a readable"):
        npz_array(path, "absent")


@pytest.mark.parametrize("version", [1, 2])
def test_a_header_that_claims_to_be_long_is_not_read(tmp_path, version):
    """64 MB of blanks, deflated to 64 kB, or a length that the file does not have: no memory is taken for either."""
    length = 65_000 if version == 1 else 1 << 26
    start = b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", length)
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(start)
        for _ in range(max(1, length >> 20)):
            file.write(b" " * (1 << 20))
    (tmp_path / "a.npy").write_bytes(start + b" " * 100)
    tracemalloc.start()
    try:
        assert "no array has two or three dimensions" in refusal(load_npz, path)
        assert f"said to take {length} bytes" in refusal(load_npz, path, "x")
        assert f"said to take {length} bytes" in refusal(load_npy, tmp_path / "a.npy")
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_sizes_that_an_archive_only_claims_take_no_memory(tmp_path):
    """Array header, local header and directory agree on 2^36 bytes, of which none are there."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (1 << 23, 1 << 10)})
    claimed, path = len(content.getvalue()) + (1 << 36), tmp_path / "a.npz"
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        with zipfile.ZipFile(path, "w", method) as archive:
            with archive.open("x.npy", "w", force_zip64=True) as file:
                file.write(content.getvalue())
            archive.infolist()[0].file_size = claimed
        assert "stored ones cannot hold" in refusal(load_npz, path)


def test_npz_in_fortran_order(tmp_path):
    images = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    np.testing.assert_array_equal(load_npz(save(tmp_path / "a.npz", x=images)).X, images.reshape(2, 12))
