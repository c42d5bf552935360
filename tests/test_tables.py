"""Arrays and tables in files: what is taken, what is refused, and where the fault is said to be."""

import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastvae.data.tables import load_npy, load_npz, load_text, npz_array
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


def test_npz_in_fortran_order(tmp_path):
    images = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    np.testing.assert_array_equal(load_npz(save(tmp_path / "a.npz", x=images)).X, images.reshape(2, 12))


# text


def write(tmp_path, text, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("header", [None, ("length", "width", "größe")])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", " ", "   "])
def test_delimiters_headers_and_line_ends(tmp_path, delimiter, header, end, mark):
    lines = ([header] if header else []) + [("1", "2.5", "-3e2"), ("4", "5", "6")]
    path = write(tmp_path, mark + end.join(delimiter.join(line) for line in lines) + end)
    data = load_text(path)
    np.testing.assert_array_equal(data.X, [[1, 2.5, -300], [4, 5, 6]])
    assert data.X.dtype == np.float64
    assert data.column_names == header
    assert data.labels is None
    assert data.value_range is None


def test_comments_blank_lines_and_one_column(tmp_path):
    np.testing.assert_array_equal(load_text(write(tmp_path, "# made by hand\n\n1\n  \n2\n")).X, [[1], [2]])
    np.testing.assert_array_equal(load_text(write(tmp_path, "7,8")).X, [[7, 8]])


def test_quoted_cells(tmp_path):
    data = load_text(write(tmp_path, '"a, b","c"\n"1","2"\n3,4\n'))
    assert data.column_names == ("a, b", "c")
    np.testing.assert_array_equal(data.X, [[1, 2], [3, 4]])


def test_a_table_written_by_numpy(tmp_path):
    X = np.random.default_rng(0).normal(size=(100, 7))
    np.savetxt(tmp_path / "a.txt", X, header="seven columns")
    np.testing.assert_array_equal(load_text(tmp_path / "a.txt").X, X)


IRIS = "length,width,species\n5.1,3.5,setosa\n4.9,3.0,setosa\n6.3,3.3,C# virginica\n"


@pytest.mark.parametrize("labels", ["species", "3", 3, -1, "-1"])
def test_a_text_column_as_labels(tmp_path, labels):
    data = load_text(write(tmp_path, IRIS), labels)
    np.testing.assert_array_equal(data.X, [[5.1, 3.5], [4.9, 3.0], [6.3, 3.3]])
    assert data.labels.tolist() == ["setosa", "setosa", "C# virginica"]
    assert data.column_names == ("length", "width")


def test_number_labels_keep_their_kind(tmp_path):
    path = write(tmp_path, "1,2.5,a\n0,3.5,\n")
    assert load_text(path, 3).labels.tolist() == ["a", ""]
    path = write(tmp_path, "1,2.5\n0,3.5\n")
    assert load_text(path, 1).labels.dtype == np.int64
    assert load_text(path, 2).labels.dtype == np.float64
    np.testing.assert_array_equal(load_text(path, 2).X, [[1], [0]])


@pytest.mark.parametrize(
    ("labels", "fragment"),
    [("specie", "did you mean 'species'"), ("4", "columns are 1 to 3"), (0, "columns are 1 to 3"), ("-4", "1 to 3")],
)
def test_labels_that_are_no_column(tmp_path, labels, fragment):
    assert fragment in refusal(load_text, write(tmp_path, IRIS), labels)


def test_labels_by_name_need_a_header(tmp_path):
    assert "no header" in refusal(load_text, write(tmp_path, "1,2\n"), "species")
    assert "nothing is left" in refusal(load_text, write(tmp_path, "1\n2\n"), 1)


@pytest.mark.parametrize(
    ("text", "fragments"),
    [
        (IRIS, ["line 2, column 3 ('species'): 'setosa' is not a number"]),
        ("1,2\n3,x4\n", ["line 2, column 2: 'x4' is not a number"]),
        ("# note\n\na,b\n1,2\n3,4\n5,6,7\n", ["line 6: 3 columns", "the header has 2"]),
        ("1,2\n3\n", ["line 2: 1 columns", "first row has 2"]),
        ("1,2\n3\n4\n5\n", ["line 2: 1 columns", "first row has 2"]),
        ("1,5;2\n3;4\n", ["line 1, column 1: '1,5'", "decimals with a point"]),
        ("a,b,c\n1,2\n3,4\n", ["line 2: 2 columns", "the header has 3"]),
        ("a,b\n1,\n,4\n5,6\n,\n", ["line 2, column 2 ('b'): ''", "4 cells are empty"]),
        ("a,b\n1,2\n3,NA\n", ["line 3, column 2 ('b'): 'NA'", "1 cell is empty"]),
        ("1,2\n3,nan\n", ["line 2, column 2: 'nan'", "1 cell is"]),
        ("1,2\n3,-inf\n", ["line 2, column 2: '-inf'"]),
        ("1,2\n3,1e999\n", ["line 2, column 2: '1e999'"]),
        ("1,5;2,5\n3,5;4,5\n", ["line 1, column 1: '1,5'", "decimals with a point"]),
        ("label,0,1\n5,2,3\n", ["line 1, column 1: 'label'", "not taken for a header"]),
        ("1,1_000\n", ["'1_000' is not a number"]),
        ("1,0x10\n", ["'0x10' is not a number"]),
        ("a,b\n", ["no rows, only the header 'a,b'"]),
        ("\n\n# nothing\n", ["holds no rows"]),
        (b"1,2\n3,\xe4\n", ["line 2: byte 0xe4 at position 3 is not UTF-8"]),
        ("1,2\n".encode("utf-16"), ["UTF-16"]),
        (b"\x7fELF\0\0\0", ["neither text"]),
        ("1," + "x" * 300 + "\n", ["x..."]),
        ("<!DOCTYPE html>\n<html><body>404</body></html>\n", ["where the header has 2"]),
    ],
)
def test_faults_are_named_with_their_place(tmp_path, text, fragments):
    message = refusal(load_text, write(tmp_path, text))
    for fragment in fragments:
        assert fragment in message
    assert len(message) < 300 + len(str(tmp_path))


def test_a_fault_deep_in_the_file(tmp_path):
    path = write(tmp_path, "a,b\n" + "1,2\n" * 10_000 + "1,two\n" + "1,2\n" * 10)
    assert "line 10002, column 2 ('b'): 'two'" in refusal(load_text, path)
    path = write(tmp_path, b"a,b\n" + b"1,2\n" * 100_000 + b"1,\xff\n")
    assert "line 100002: byte 0xff" in refusal(load_text, path)
    path = write(tmp_path, IRIS + "1,2,3,4\n")
    assert "line 5: 4 columns" in refusal(load_text, path, "species")


def test_the_slow_pass_reads_what_the_fast_one_cannot(tmp_path, monkeypatch):
    path = write(tmp_path, IRIS)
    monkeypatch.setattr("fastvae.data.tables._parse", lambda *_: None)
    data = load_text(path, "species")
    np.testing.assert_array_equal(data.X, [[5.1, 3.5], [4.9, 3.0], [6.3, 3.3]])
    assert data.labels.tolist() == ["setosa", "setosa", "C# virginica"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet='0123456789.,;\t "\n-eEa#_\r', min_size=1, max_size=40))
def test_any_text_is_read_or_refused(tmp_path, text):
    path = write(tmp_path, text)
    values, message = np.zeros((1, 1)), ""
    try:
        values = load_text(path).X
    except DataFileError as error:
        message = str(error)
    assert "\n" not in message
    assert values.ndim == 2
    assert np.isfinite(values).all()
