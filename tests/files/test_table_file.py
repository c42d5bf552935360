"""Tables that are written: every number reads back as itself, and nothing is left half written."""

import gzip
import pathlib

import numpy as np
import pytest

from fastvae.data import parquet
from fastvae.data.loading import load, load_table
from fastvae.errors import FileAccessError, MissingLibraryError
from fastvae.table_file import ENDINGS, check_ending, write_table


def extreme(dtype):
    rng, info = np.random.default_rng(0), np.finfo(dtype)
    bits = rng.integers(0, 2 ** (8 * info.bits // 8) - 1, 3000, np.uint64).astype(f"u{info.bits // 8}")
    values = bits.view(dtype)
    some = np.array([0.0, -0.0, 1 / 3, 0.1, info.max, -info.max, info.tiny, info.smallest_subnormal], dtype)
    return np.concatenate([some, values[np.isfinite(values)]])


WORDS = ["plain", "a, b", 'say "a"', "x;y", " blank ", "#1", "ö\tü", "2", None, "5'"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_numbers_read_back_as_themselves(tmp_path, ending, dtype):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    values, path = extreme(dtype), tmp_path / f"t{ending}"
    write_table(path, {"a, b": values, "n": np.arange(len(values))})
    table = load_table(path)
    assert table.columns == ("a, b", "n")
    found = table["a, b"].astype(dtype)
    np.testing.assert_array_equal(found.view(f"u{found.itemsize}"), values.view(f"u{values.itemsize}"))
    np.testing.assert_array_equal(table["n"], np.arange(len(values)))


@pytest.mark.parametrize("ending", [".csv", ".tsv.gz", ".parquet"])
def test_words_and_what_is_missing(tmp_path, ending):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    words, path = np.array(WORDS, object), tmp_path / f"t{ending}"
    numbers = np.where(np.arange(len(WORDS)) == 3, np.nan, 1.5)
    write_table(path, {"w": words, "x": numbers, "id": np.array([f"r{i}" for i in range(len(WORDS))])})
    table = load_table(path, ids="id")
    stripped = ending != ".parquet"  # as the reader takes blanks off cells
    expected = [w.strip() if stripped and w else w for w in WORDS]
    assert table["w"].tolist() == expected
    np.testing.assert_array_equal(table["x"], numbers)
    assert table.ids.tolist() == [f"r{i}" for i in range(len(WORDS))]


def test_the_same_table_is_the_same_file(tmp_path):
    for name in ("a.csv.gz", "b.csv.gz"):
        write_table(tmp_path / name, {"a": np.arange(3.0)})
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.csv.gz").read_bytes()) == b"a\n0.0\n1.0\n2.0\n"
    assert load(tmp_path / "a.csv.gz").X.tolist() == [[0], [1], [2]]


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_fails_leaves_the_earlier_file(tmp_path, ending, monkeypatch):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"t{ending}"
    path.write_bytes(b"earlier")

    class Word:
        def __str__(self):
            raise KeyboardInterrupt

    columns = {"a": np.array([Word()], object)}
    if ending == ".parquet":
        monkeypatch.setattr("fastvae.table_file.write_parquet", lambda *_: str(Word()))
    with pytest.raises(KeyboardInterrupt):
        write_table(path, columns)
    assert path.read_bytes() == b"earlier"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with pytest.raises(FileAccessError, match="the folder"):
        write_table(tmp_path / "nowhere" / path.name, {"a": np.ones(2)})


def test_endings(monkeypatch):
    check_ending("--out", pathlib.Path("x.CSV"))
    check_ending("--out", pathlib.Path("x.npy"), (".npy",))
    with pytest.raises(ValueError, match=r"--out x.xlsx: the ending '.xlsx' is not known; valid: .npy, .csv, .csv.gz"):
        check_ending("--out", pathlib.Path("x.xlsx"), (".npy",))
    monkeypatch.setattr(parquet.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingLibraryError, match="writing Parquet needs"):
        check_ending("--out", pathlib.Path("x.parquet"))
