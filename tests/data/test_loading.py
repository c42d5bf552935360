"""From a name or a path to a data set."""

import errno
import gzip
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import fastvae
from fastvae.data.dataset import DataSet
from fastvae.data.idx import idx_header
from fastvae.data.loading import load
from fastvae.errors import DataFileError, FileAccessError

ROOT = pathlib.Path(fastvae.__file__).parent.parent


def message(error_type, *arguments, **keywords):
    with pytest.raises(error_type) as caught:
        load(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_digits():
    data = load("digits")
    assert data.name == "digits"
    assert data.X.shape == (1797, 64)
    assert data.X.dtype == np.uint8
    assert (data.X.min(), data.X.max()) == data.value_range == (0, 16)
    assert data.image_shape == (8, 8)
    np.testing.assert_array_equal(data.labels[:10], range(10))
    assert np.bincount(data.labels).sum() == 1797
    # the first image of the published file, a zero
    np.testing.assert_array_equal(data.X[0, :16], [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0])
    assert data.X_heldout is None


def test_importing_the_package_does_not_import_the_readers():
    code = "import sys, fastvae; sys.exit(any(name.startswith('fastvae.data.') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_digits_import_no_network():
    code = (
        "import sys; from fastvae.data.loading import load; load('digits'); sys.exit('urllib.request' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize(("wrong", "right"), [("mnits", "mnist"), ("digit", "digits"), ("MNIST", "mnist")])
def test_a_wrong_name_gets_the_nearest(wrong, right):
    assert f"did you mean {right!r}?" in message(FileAccessError, wrong)


def test_a_missing_file_is_called_so(tmp_path, monkeypatch):
    with pytest.raises(FileAccessError, match="no such file") as caught:
        load(tmp_path / "x.npy")
    assert caught.value.errno == errno.ENOENT
    assert caught.value.filename == str(tmp_path / "x.npy")
    monkeypatch.chdir(tmp_path)
    assert f"looked in {tmp_path}" in message(FileAccessError, "mnist.npz")
    assert "no such file" in message(FileAccessError, "folder/mnist")


def test_what_is_not_a_file(tmp_path):
    assert "folder" in message(FileAccessError, tmp_path)
    assert "not a path" in message(FileAccessError, "a\0b")
    assert "neither a data set nor a file" in message(FileAccessError, "")
    assert "pipe or a device" in message(FileAccessError, os.devnull) or sys.platform == "win32"
    (tmp_path / "empty.csv").touch()
    assert "empty" in message(DataFileError, tmp_path / "empty.csv")
    with pytest.raises(TypeError, match="not int"):
        load(3)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read every file")
def test_no_permission(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("1,2\n")
    path.chmod(0)
    with pytest.raises(FileAccessError, match="permission denied") as caught:
        load(path)
    assert caught.value.errno == errno.EACCES


def test_an_error_of_the_system_keeps_its_number(tmp_path, monkeypatch):
    path = tmp_path / "x.csv"
    path.write_text("1,2\n")

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(FileAccessError) as caught:
        load(path)
    assert caught.value.errno == errno.EACCES
    assert str(caught.value) == f"{path}: permission denied"


def test_a_file_named_like_a_data_set_needs_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").write_text("1,2\n")
    assert load("digits").X.shape == (1797, 64)
    assert load("./digits").X.shape == (1, 2)


def test_the_first_bytes_decide_where_the_suffix_does_not(tmp_path):
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "b.npz", array)
    idx = idx_header(array) + array.tobytes()
    contents = [(tmp_path / "a.npy").read_bytes(), (tmp_path / "b.npz").read_bytes(), idx, gzip.compress(idx)]
    contents.append("\n".join(",".join(map(str, row)) for row in array).encode())
    for number, content in enumerate(contents):
        path = tmp_path / f"file{number}.data"
        path.write_bytes(content)
        np.testing.assert_array_equal(load(path).X, array)
        np.testing.assert_array_equal(load(str(path)).X, array)


def test_a_damaged_idx_file_is_not_taken_for_a_table(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_text("<html>no such page</html>")
    assert "not an IDX file" in message(DataFileError, path)


def test_array_and_labels_where_there_is_nothing_to_choose(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 2)))
    assert "array='x'" in message(DataFileError, tmp_path / "a.npy", array="x")
    assert "labels='x'" in message(DataFileError, tmp_path / "a.npy", labels="x")
    assert "digits" in message(ValueError, "digits", labels="x")


@pytest.mark.parametrize(
    ("array", "fragment"),
    [
        (np.ones(3), "1 dimensions"),
        (np.ones((1, 2, 3, 4)), "4 dimensions"),
        (np.ones((2, 2), complex), "complex128, not real numbers"),
        (np.array([["a", "b"]]), "not real numbers"),
        (np.ones((0, 3)), "no values"),
        (np.ones((3, 0)), "no values"),
    ],
)
def test_arrays_that_are_no_examples(array, fragment):
    with pytest.raises(DataFileError, match=fragment):
        DataSet.from_arrays("a", array)


def test_counts_that_differ():
    X = np.ones((3, 2))
    with pytest.raises(DataFileError, match=r"labels have shape \(2,\); 3 examples"):
        DataSet.from_arrays("a", X, np.ones(2))
    with pytest.raises(DataFileError, match="training rows are"):
        DataSet.from_arrays("a", X, heldout=np.ones((3, 3)))
    with pytest.raises(DataFileError, match="training rows are"):
        DataSet.from_arrays("a", np.ones((2, 2, 3)), heldout=np.ones((2, 3, 2)))


def test_known_ranges():
    assert DataSet.from_arrays("a", np.ones((2, 3, 3), np.uint8)).value_range == (0, 255)
    assert DataSet.from_arrays("a", np.ones((2, 9), np.uint8)).value_range is None
    assert DataSet.from_arrays("a", np.ones((2, 3, 3), np.int16)).value_range is None
    assert DataSet.from_arrays("a", np.ones((2, 3, 3), np.float32)).value_range is None
    assert DataSet.from_arrays("a", np.ones((2, 9), bool)).value_range == (0, 1)
