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
        ("1,500;2\n3;4\n", ["line 1, column 1: '1,500'", "decimals with a point"]),
        ("1,5;2.5\n3;4\n", ["line 1, column 1: '1,5'", "decimals with a point"]),
        ("1,5;2\n" * 60 + "2.5;3\n", ["line 61, column 1: '2.5'", "other decimals of the table have a comma"]),
        ("a,b,c\n1,2\n3,4\n", ["line 2: 2 columns", "the header has 3"]),
        ("a,b\n1,\n,4\n5,6\n,\n", ["line 2, column 2 ('b'): ''", "4 cells are empty"]),
        ("a,b\n1,2\n3,NA\n", ["line 3, column 2 ('b'): 'NA'", "1 cell is empty"]),
        ("1,2\n3,nan\n", ["line 2, column 2: 'nan'", "1 cell is"]),
        ("1,2\n3,-inf\n", ["line 2, column 2: '-inf'"]),
        ("1,2\n3,1e999\n", ["line 2, column 2: '1e999'"]),
        ("label,3,1\n5,2,3\n", ["line 1, column 1: 'label'", "if the line names the columns, say header='yes'"]),
        ('1,2\n3,"4\n', ["line 2, column 2: '\"4'", "a quote in the line is not closed"]),
        ('a,b\n"3\n",4\n', ["line 2: 1 columns", "a quote in the line is not closed"]),
        ("1,2\n3,4\0\n", ["a zero byte"]),
        ("1,2\n" * 2000 + "3,\0\n", ["line 2001, column 2: '\\x00' is not a number"]),
        ("a,b\r1,2\r3,x\r", ["line 3, column 2 ('b'): 'x'"]),
        (b"1,2\r3,4\r\xff,6\r", ["line 3: byte 0xff at position 1"]),
        ("\ufeff\ufeff1,2\n3,4\n", ["line 1, column 1: '\\ufeff1' is not a number"]),
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


def test_a_missing_cell_is_named_without_reading_on(tmp_path):
    """What follows the piece with the fault is not parsed: a number of cells is then a least one."""
    rows = ["0.5,0.25\n"] * 300_000
    rows[5] = rows[7] = "0.5,\n"
    message = refusal(load_text, write(tmp_path, "".join(rows)))
    assert "line 6, column 2: '': at least 2 cells are empty" in message


def test_pieces_are_one_table(tmp_path, monkeypatch):
    """Pieces of a few lines give what the whole gives, with labels, a piece that only Python reads, and names."""
    rows = [f"{i},{i / 4},l{i % 3}" for i in range(500)]
    rows[333] = "333,\uff18\uff13.25,l0"  # full-width digits, which NumPy does not read
    path = write(tmp_path, "a,b,c\n" + "\n".join(rows) + "\n")
    monkeypatch.setattr("fastvae.data.lines.PIECE_CHARACTERS", 100)
    data = load_text(path, "c")
    np.testing.assert_array_equal(data.X, np.arange(500)[:, None] / [1, 4])
    assert data.labels.tolist() == [f"l{i % 3}" for i in range(500)]
    assert data.X.flags.writeable
    with open(path, "a") as file:
        file.write("500,x,l0\n")
    assert "line 502, column 2 ('b'): 'x'" in refusal(load_text, path, "c")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", " "])
def test_a_table_may_be_wide(tmp_path, delimiter):
    """Lines of 200,000 characters and more, quoted or not, with a header; no setting of the process is changed."""
    import csv

    limit = csv.field_size_limit()
    row = delimiter.join(["0.12345"] * 25_000)
    names = delimiter.join(f"c{i}" for i in range(25_000))
    for head in ("", names + "\n"):
        data = load_text(write(tmp_path, head + f"{row}\n" * 3))
        assert data.X.shape == (3, 25_000)
        assert (data.X == 0.12345).all()
    if delimiter != " ":
        names = delimiter.join(f'"c{delimiter}{i}"' for i in range(25_000))
        assert load_text(write(tmp_path, f"{names}\n{row}\n")).column_names[-1] == f"c{delimiter}24999"
        data = load_text(write(tmp_path, f'1{delimiter}2{delimiter}"{"x" * 140_000}"\n'), 3)
        assert data.labels.tolist() == ["x" * 140_000]
    assert csv.field_size_limit() == limit


def test_what_cuts_every_line_cuts_the_table(tmp_path):
    path = write(tmp_path, 'x1 "q,"\n7. 1e-5\n-1.24 -2\n')
    np.testing.assert_array_equal(load_text(path).X, [[7, 1e-5], [-1.24, -2]])
    for labels in (1, -1):
        assert load_text(path, labels).X.shape == (2, 1)
    np.testing.assert_array_equal(load_text(write(tmp_path, "1, 2\n3, 4\n")).X, [[1, 2], [3, 4]])


def test_digits_grouped_by_underscores_are_text(tmp_path):
    assert load_text(write(tmp_path, "1,1_0\n2,2_0\n"), 2).labels.tolist() == ["1_0", "2_0"]


def test_the_slow_pass_reads_what_the_fast_one_cannot(tmp_path, monkeypatch):
    path = write(tmp_path, IRIS)
    monkeypatch.setattr("fastvae.data.tables.parse", lambda *_: None)
    data = load_text(path, "species")
    np.testing.assert_array_equal(data.X, [[5.1, 3.5], [4.9, 3.0], [6.3, 3.3]])
    assert data.labels.tolist() == ["setosa", "setosa", "C# virginica"]


CELLS = [
    "1",
    "2.5",
    "-3e2",
    "7.",
    "0",
    "a",
    "x1",
    '"',
    '""',
    '"q,"',
    '"1"',
    "NA",
    "nan",
    "1e999",
    "1,5",
    "\0",
    "\uff11",
]
BETWEEN = [",", ",", ";", "\t", " ", "\n", "\n", "\r", "\r\n", "#", "\ufeff", "\x85", ""]


@pytest.mark.filterwarnings("ignore:.*the first line is taken", "ignore:.*read as Windows-1252")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(CELLS), st.sampled_from(BETWEEN)), min_size=1, max_size=20),
    st.sampled_from([None, "1", "-1", "a", 2, ""]),
    st.sampled_from(["auto", "yes", "no"]),
    st.binary(max_size=1),
)
def test_any_text_is_read_or_refused(tmp_path, cells, labels, header, end):
    path = write(tmp_path, "".join(map("".join, cells)).encode() + end)
    try:
        data = load_text(path, labels, header)
    except DataFileError as error:
        assert str(path) in str(error)  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert data.X.ndim == 2
        assert np.isfinite(data.X).all()
        assert data.labels is None or len(data.labels) == len(data.X)
