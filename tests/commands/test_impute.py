"""Filling in the gaps of a file: whatever else it holds stays as it was."""

import gzip
import importlib.util
import pathlib

import numpy as np
import pandas as pd
import pytest

from fastvae import TableVAE, impute, train
from fastvae.data.mixed_tables import load_mixed

SMALL = ["--latent-dim", "1", "--hidden", "4", "--epochs", "2", "--quiet"]
TEXT = '''# measured by hand
id; site ;length;eggs;ok;note
"a;1";bog;1,50;3;yes;NA
a2;fen;;0;no;"x, y"

a3;;2,25;;;z
a4;fen;1,75;5;yes;
a5;bog;1,00;0;no;"say ""no"""
a6;bog;3,00;1;yes;NA
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("impute")
    (folder / "t.csv").write_text(TEXT)
    words = ["--data", folder / "t.csv", "--id", "id", "--drop", "note", "--out", folder / "run", *SMALL]
    assert train.main([*map(str, words)]) == 0
    return folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def filled(*words):
    assert impute.main([*map(str, words)]) == 0


def error_of(words, capsys):
    capsys.readouterr()
    assert impute.main([*map(str, words)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_only_the_gaps_change(folder, capsys):
    filled(folder / "run", folder / "t.csv")
    out = capsys.readouterr().out
    assert "4 values filled in, in 2 of 6 rows, by the best single value of each" in out
    assert "of 2 rows (Pareto k-hat above" in out
    before = [line for line in TEXT.splitlines() if line and not line.startswith("#")]
    after = pathlib.Path("filled.csv").read_text().splitlines()
    assert [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [2, 3]
    row = after[2].split(";")
    assert [row[0], row[1], row[3], row[4], row[5]] == ["a2", "fen", "0", "no", "x, y"]
    assert 0 < float(row[2].replace(",", ".")) < 4  # with the table's decimal comma
    row = after[3].split(";")
    assert row[1] in ("bog", "fen")
    assert int(row[3]) >= 0
    assert row[4] in ("yes", "no")


def test_what_is_filled_in_is_what_the_model_says(folder, capsys):
    model = TableVAE.load(folder / "run/model.npz")
    X = load_mixed(folder / "t.csv", ids="id", drop=["note"], known=model.columns_).X
    found = model.impute(X, 3, 50, random_state=7, return_result=True)
    filled(folder / "run", folder / "t.csv", "--out", "f.csv.gz", "--draws", "3", "--samples", "50", "--seed", "7")
    assert not pathlib.Path("f.csv.gz").exists()
    for i, values in enumerate(found.drawn, 1):
        name = f"f-{i}.csv.gz"
        assert gzip.decompress(pathlib.Path(name).read_bytes()).startswith(b"id; site ;length")
        read = load_mixed(name, ids="id", drop=["note"], known=model.columns_).X
        np.testing.assert_allclose(read, values, rtol=2e-3)
    assert "by 3 draws from p(missing | rest)" in capsys.readouterr().out


def test_another_table_with_its_columns_elsewhere_and_nothing_missing(folder, capsys):
    pathlib.Path("o.csv").write_text("x,ok,eggs,site,length\n1.0,TRUE,,bog,1e0\n2,FALSE,2,fen,\n3,,0,,\n")
    filled(folder / "run", "o.csv")
    lines = [line.split(",") for line in pathlib.Path("filled.csv").read_text().splitlines()]
    assert lines[1][:2] + lines[1][3:] == ["1.0", "TRUE", "bog", "1e0"]
    assert lines[2][:4] == ["2", "FALSE", "2", "fen"]
    assert lines[3][1] in ("TRUE", "FALSE")
    pathlib.Path("w.csv").write_text("ok,eggs,site,length\nyes,1,bog,1\n")
    filled(folder / "run", "w.csv", "--out", "w2.csv")
    assert pathlib.Path("w2.csv").read_text() == pathlib.Path("w.csv").read_text()
    assert "no value is missing" in capsys.readouterr().out


@pytest.mark.parametrize("library", ["pyarrow", "polars"])
def test_parquet_keeps_its_types(folder, library, monkeypatch):
    pytest.importorskip("pyarrow")
    pytest.importorskip("polars")
    table = pd.DataFrame(
        {
            "day": pd.to_datetime(["2020-01-01", "2020-01-02", None]),
            "ok": pd.array([True, None, False], "boolean"),
            "eggs": pd.array([1, None, 3], "Int32"),
            "site": pd.Categorical(["bog", None, "fen"]),
            "length": [1.5, np.nan, 2.0],
        }
    )
    table.to_parquet("t.parquet")
    hidden, find = {"pyarrow": "polars", "polars": "pyarrow"}[library], importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None if name == hidden else find(name))
        filled(folder / "run", "t.parquet", "--out", "f.parquet")
    found = pd.read_parquet("f.parquet")
    assert found.loc[[0, 2]].astype(object).equals(table.loc[[0, 2]].astype(object))
    assert not found.drop(columns="day").isna().to_numpy().any()
    assert found["eggs"].dtype.itemsize == 4
    assert found["day"].isna().tolist() == [False, False, True]
    assert str(found["ok"].dtype) in ("bool", "boolean")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{t}", "--out", "f.tsv"], "cut by ';'"),
        (["{t}", "--out", "f.npy"], "'.npy' is not known"),
        (["{t}", "--draws", "0"], "--draws"),
        (["{t}", "--samples", "1"], "--samples"),
        (["{t}", "--out", "{t}"], "that is what is read"),
        (["digits"], "digits is no table"),
        (["nosuch.csv"], "nosuch.csv"),
        (["{o}"], "has no column 'site', which the model was trained on; did you mean 'sites'?"),
        (["{n}"], "has no column 'site', which the model was trained on; of other columns"),
        (["{t}", "--condition", "ok"], "the model has no condition"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(folder, words, message, capsys):
    (folder / "o.csv").write_text(TEXT.replace("site ", "sites"))
    (folder / "n.csv").write_text(TEXT.replace("site ", "where"))
    words = [word.replace("{t}", str(folder / "t.csv")).replace("{o}", str(folder / "o.csv")) for word in words]
    words = [word.replace("{n}", str(folder / "n.csv")) for word in words]
    assert message in error_of([folder / "run", *words], capsys)
    assert not list(pathlib.Path().iterdir())
    assert (folder / "t.csv").read_text() == TEXT


def test_text_is_not_written_as_parquet(folder, capsys):
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    assert "name a .csv" in error_of([folder / "run", folder / "t.csv", "--out", "f.parquet"], capsys)


def test_models_that_know_no_gaps(folder, tmp_path, capsys):
    pathlib.Path("n.csv").write_text("a,b\n" + "".join(f"{i},{i * i}.5\n" for i in range(20)))
    pathlib.Path("g.csv").write_text("a,b\n1,\n2,4.5\n")
    for name, more in (("v", []), ("t", ["--column-types", "a=number"]), ("h", ["--hide", "0.2"])):
        assert train.main(["--data", "n.csv", "--out", name, *SMALL, *more]) == 0
    assert "a VAE of numbers, which knows nothing of gaps" in error_of(["v", "g.csv"], capsys)
    assert "lacks values of 'b', of which the training had all: train with --hide 0.2" in error_of(
        ["t", "g.csv"], capsys
    )
    filled("h", "g.csv")
    pathlib.Path("c.csv").write_text("length,site,eggs,ok\n1,bog,1,yes\n")
    assert impute.main([str(folder / "run"), "c.csv", "--out", "c2.csv"]) == 0


def test_a_model_with_a_condition(tmp_path):
    rows = "".join(f"{'' if i == 3 else i},{'ab'[i % 2]},{i % 3}.5\n" for i in range(20))
    pathlib.Path("t.csv").write_text("x,c,y\n" + rows)
    assert train.main(["--data", "t.csv", "--condition", "c", "--out", "run", *SMALL]) == 0
    filled("run", "t.csv")
    lines = pathlib.Path("filled.csv").read_text().splitlines()
    assert lines[4].split(",")[1:] == ["b", "0.5"]
    assert lines[4].split(",")[0]
