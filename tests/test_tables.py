"""Tables in text files: what is taken, what is refused, and where the fault is said to be."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastvae.data.tables import load_text
from fastvae.errors import DataFileError


def refusal(load, path, *arguments):
    with pytest.raises(DataFileError) as caught:
        load(path, *arguments)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


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
