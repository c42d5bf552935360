"""Tables whose columns are numbers, words, or missing: from text of any packing, and from Parquet."""

import bz2
import gzip
import importlib.util
import lzma
import math
import zipfile

import numpy as np
import pytest

from fastvae.data import parquet
from fastvae.data.frame import Table
from fastvae.data.loading import is_table, load, load_table
from fastvae.errors import DataFileError, MissingLibraryError

NUMBERS = "a,b\n1.5,-2\n3e2,4\n"
MIXED = 'name,height,n,smokes,town\n007,1.5,3,Yes,Köln\nA8,2.25,NA,no,?\nA9,,5,YES,"Bonn, a"\n'


def write(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(path, **how):
    with pytest.raises(DataFileError) as caught:
        load_table(path, **how)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same(column, expected):
    return all(a == b or (a != a and b != b) for a, b in zip(column.tolist(), expected, strict=True))


def check_mixed(table):
    assert table.columns == ("height", "n", "smokes", "town")
    assert (table.rows, table.ids.tolist(), table.id_name) == (3, ["007", "A8", "A9"], "name")
    assert [table.kind(c) for c in table] == ["number", "number", "yes/no", "text"]
    assert same(table["height"], [1.5, 2.25, math.nan])
    assert same(table["n"], [3, math.nan, 5])
    assert table["smokes"].tolist() == ["Yes", "no", "Yes"]
    assert table["town"].tolist() == ["Köln", None, "Bonn, a"]
    assert table.missing("town").tolist() == [False, True, False]


def test_kinds_of_columns_and_what_is_missing(tmp_path):
    table = load_table(write(tmp_path / "t.csv", MIXED), ids="name")
    check_mixed(table)
    (remark,) = table.remarks
    assert "3 cells taken as missing (empty cells, 'NA', '?'): 'height' (1), 'n' (1), 'town' (1)" in remark
    assert load_table(write(tmp_path / "t.csv", NUMBERS)).remarks == ()


def packed(path, content):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside.csv", content)
            archive.writestr("__MACOSX/._inside.csv", b"\0")
    else:
        path.write_bytes({".gz": gzip, ".bz2": bz2, ".xz": lzma}[path.suffix].compress(content))
    return path


@pytest.mark.parametrize("name", ["t.csv.gz", "t.tsv.bz2", "t.txt.xz", "T.CSV.GZ", "t.zip", "t.xz"])
def test_packed_text(tmp_path, name):
    path = tmp_path / name.lower()
    check_mixed(load_table(packed(path, MIXED.encode()), ids="name"))
    np.testing.assert_array_equal(load(packed(path, NUMBERS.encode())).X, [[1.5, -2], [300, 4]])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "damaged or cut off" in refusal(path) or name == "t.zip"


def test_an_archive_of_two_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("a.csv", NUMBERS)
        archive.writestr("b.csv", NUMBERS)
    assert "holds 2 files ('a.csv', 'b.csv'); unpack it" in refusal(tmp_path / "t.zip")


def test_a_file_in_windows_letters_is_read_and_that_is_said(tmp_path):
    path = write(tmp_path / "t.csv", MIXED.encode("cp1252"))
    with pytest.warns(UserWarning, match=r"line 2: byte 0xf6 at position 16 is not UTF-8: read as Windows-1252"):
        check_mixed(load_table(path, ids="name"))
    with pytest.warns(UserWarning, match="read as Windows-1252"):
        assert load(write(tmp_path / "n.csv", "größe;b\n1;2\n".encode("latin-1"))).column_names == ("größe", "b")


def test_a_byte_that_no_encoding_knows_is_named(tmp_path):
    assert "line 3: byte 0x81 at position 1 is not UTF-8" in refusal(write(tmp_path / "t.csv", b"a;b\nx;1\n\x81;2\n"))


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_decimal_commas_where_nothing_else_can_be_meant(tmp_path, delimiter):
    text = MIXED.replace(",", delimiter).replace(".", ",").replace(f"Bonn{delimiter}", "Bonn,")
    check_mixed(load_table(write(tmp_path / "t.csv", text), ids="name"))
    path = write(tmp_path / "n.csv", delimiter.join(["1,5", "2"]) + "\n" + delimiter.join(["-1,25e1", "1,000"]) + "\n")
    np.testing.assert_array_equal(load(path).X, [[1.5, 2], [-12.5, 1]])


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ('a,b\n1,x\n"1,234",y\n', "line 3, column 1 ('a'): '1,234' may be meant with a decimal mark"),
        ("a;b\n1,500;2\n3;4\n", "line 2, column 1 ('a'): '1,500' may be meant"),
        ("a;b\n1,5;2\n1.234,5;4\n", "line 3, column 1 ('a'): '1.234,5' may be meant"),
        ("a,b\n1,inf\n", "line 2, column 2 ('b'): 'inf' is not finite"),
        ("a,b\n1,2\n3\n", "line 3: 1 columns, where the header has 2"),
        ("a,a\n1,x\n", "two columns are called 'a'"),
        ('a,b\n"x,1\n', "a quote in the line is not closed"),
    ],
)
def test_faults(tmp_path, text, fragment):
    assert fragment in refusal(write(tmp_path / "t.csv", text))


def test_dates_beside_decimal_commas_are_text(tmp_path):
    table = load_table(write(tmp_path / "t.csv", "day;a\n12.03.2024;1,5\n13.03.2024;2,5\n"))
    assert table["day"].tolist() == ["12.03.2024", "13.03.2024"]
    assert table["a"].tolist() == [1.5, 2.5]


def test_a_column_that_turns_out_as_text_was_text_from_its_beginning(tmp_path, monkeypatch):
    """Also where many numbers were read of it before; what is missing is counted once."""
    monkeypatch.setattr("fastvae.data.lines.PIECE_CHARACTERS", 100)
    rows = [f"{i / 4},{i:03d},{i % 2}" for i in range(400)]
    rows[7], rows[300], rows[390] = "NA,007,?", "1,x,0", "1,2,no"
    table = load_table(write(tmp_path / "t.csv", "a,b,c\n" + "\n".join(rows) + "\n"))
    assert [table.kind(c) for c in table] == ["number", "text", "text"]
    assert table["b"].tolist() == [row.split(",")[1] for row in rows]
    assert table["a"][8] == 2.0
    assert "2 cells taken as missing" in table.remarks[0]


def test_a_number_is_the_nearest_float64(tmp_path):
    X = np.random.default_rng(0).normal(size=(50, 2)) * 10.0 ** np.arange(-30, 20)[:, None]
    rows = "".join(f"{a!r},{b!r},{'' if i % 3 else 'w'}\n" for i, (a, b) in enumerate(X.tolist()))
    table = load_table(write(tmp_path / "t.csv", "a,b,c\n" + rows))
    np.testing.assert_array_equal(np.column_stack([table["a"], table["b"]]), X)


def test_choosing_columns(tmp_path):
    path = write(tmp_path / "t.csv", MIXED)
    assert load_table(path, columns=["n", "height"]).columns == ("n", "height")
    assert load_table(path, columns=[3, -1]).columns == ("n", "town")
    table = load_table(path, drop=["town", 1])
    assert table.columns == ("height", "n", "smokes")
    assert table.ids is None
    assert "columns='hight' is no column; did you mean 'height'?" in refusal(path, columns=["hight"])
    assert "drop='9'" in refusal(path, drop=["9"])
    assert "columns and drop both name 'n'" in refusal(path, columns=["n"], drop=["n"])
    assert "columns and ids both name 'n'" in refusal(path, columns=["n"], ids="n")
    assert "nothing is left" in refusal(path, drop=["name", "height", "n", "smokes"], ids="town")
    without = write(tmp_path / "w.csv", "1,x\n2,y\n")
    assert load_table(without).columns == ("column 1", "column 2")
    assert not load_table(without).named
    assert "no header" in refusal(without, ids="z")


def test_columns_of_numbers_are_chosen_before_others_are_looked_at(tmp_path):
    path = write(tmp_path / "t.csv", "id,a,town,b,y\nr1,1,x,2.5,u\nr2,3,,4.5,v\n")
    for how in ({"columns": ["b", "a"]}, {"drop": ["town"]}):
        data = load(path, labels="y", ids="id", **how)
        assert data.ids.tolist() == ["r1", "r2"]
        assert data.labels.tolist() == ["u", "v"]
        order = [1, 0] if "columns" in how else [0, 1]
        np.testing.assert_array_equal(data.X, np.array([[1, 2.5], [3, 4.5]])[:, order])
        assert data.column_names == tuple("ab"[j] for j in order)
    with pytest.raises(DataFileError, match=r"line 2, column 3 \('town'\): 'x' is not a number"):
        load(path, labels="y", ids="id")
    with pytest.raises(ValueError, match="choose within a table"):
        load("digits", drop=["a"])
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    with pytest.raises(DataFileError, match="chooses within a table"):
        load(tmp_path / "x.npy", columns=["a"])
    assert "no table, but NPY" in refusal(tmp_path / "x.npy")
    assert is_table(path)
    assert not is_table(tmp_path / "x.npy")
    assert not is_table("digits")


# ---- a table as a thing ------------------------------------------------------------------------------------------


def test_a_table_from_columns():
    table = Table({"a": [1, 2, 3], "b": np.array(["x", None, "y"], object), "c": np.array([True, False, True])})
    assert same(table["a"], [1, 2, 3]) or table.kind("a") == "text"
    part = table.select(["c", "b"]).take([2, 0])
    assert part.columns == ("c", "b")
    assert part["c"].tolist() == ["true", "true"]
    assert part["b"].tolist() == ["y", "x"]
    assert table.drop(["b"]).columns == ("a", "c")
    assert len(table) == 3
    assert table.rows == 3
    with pytest.raises(KeyError, match="did you mean 'a'"):
        table["aa"]
    with pytest.raises(DataFileError, match="no column"):
        table.drop(["x"])
    with pytest.raises(ValueError, match="'a' has 2 rows, 'b' 1"):
        Table({"a": [1.0, 2.0], "b": [1.0]})


def test_numbers_of_a_table():
    table = Table({"a": np.array([1.0, np.nan]), "b": np.array(["x", "y"], object), "c": np.array([3, 4])})
    np.testing.assert_array_equal(table.select(["c"]).numbers(), [[3], [4]])
    with pytest.raises(DataFileError, match=r"'b' holds text \(first: 'x'\)"):
        table.numbers()
    with pytest.raises(DataFileError, match=r"1 number missing \(first: row 2, column 'a'\)"):
        table.drop(["b"]).numbers()


# ---- Parquet ------------------------------------------------------------------------------------------------------


@pytest.fixture
def parquet_file(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = {
        "name": ["007", "A8", "A9"],
        "height": [1.5, 2.25, None],
        "n": [3, None, 5],
        "smokes": ["Yes", "no", "Yes"],
        "town": pa.array(["Köln", None, "Bonn, a"]).dictionary_encode(),
        "ok": [True, None, False],
        "y": [0, 1, 0],
        "big": [2**60, 1, 2],
        "when": pa.array([0, 1, 2], pa.timestamp("s")),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


@pytest.mark.parametrize("library", ["polars", "pyarrow", "pandas"])
def test_parquet_by_each_library(parquet_file, library, monkeypatch):
    pytest.importorskip(library)
    real = importlib.util.find_spec
    others = {"polars", "pyarrow", "pandas"} - {library}
    monkeypatch.setattr(parquet.importlib.util, "find_spec", lambda name: None if name in others else real(name))
    wanted = ["height", "n", "smokes", "town"]
    check_mixed(load_table(parquet_file, columns=wanted, ids="name"))
    table = load_table(parquet_file, columns=["ok"])
    assert table["ok"].tolist() == ["true", None, "false"]
    assert table.kind("ok") == "yes/no"
    data = load(parquet_file, labels="town", columns=["y"], ids="big")
    assert data.X.tolist() == [[0], [1], [0]]
    assert data.labels.tolist() == ["Köln", "", "Bonn, a"]
    assert data.ids.tolist() == [str(2**60), "1", "2"]
    assert "whole numbers beyond 2^53" in refusal(parquet_file, columns=["big"])
    assert "neither numbers nor text" in refusal(parquet_file, columns=["when"])
    assert "did you mean 'height'?" in refusal(parquet_file, columns=["heigt"])
    whole = parquet_file.read_bytes()
    parquet_file.write_bytes(whole[:-30])
    assert "not a readable Parquet file" in refusal(parquet_file)


def test_parquet_without_a_library_says_what_to_install(tmp_path, monkeypatch):
    path = write(tmp_path / "t.parquet", parquet.START)
    monkeypatch.setattr(parquet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'fastvae-engine\[parquet\]'"):
        load_table(path)
    assert "no Parquet file" in refusal(write(path, "1,2\n"))
