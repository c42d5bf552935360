"""The commands on mixed tables: words, yes and no, counts and gaps, from a file to a model and back."""

import json
import pathlib
import warnings

import numpy as np
import pandas as pd
import pytest

from fastvae import TableVAE, encode, evaluate, pictures, sample, train
from fastvae.data.loading import load, load_table
from fastvae.data.mixed_tables import load_mixed
from tests.support.commands import metrics

SMALL = ["--latent-dim", "2", "--hidden", "4", "--epochs", "2", "--quiet"]
KINDS = {
    "length": "gaussian",
    "site": "categorical",
    "alive": "bernoulli",
    "eggs": "negative_binomial",
    "year": "gaussian",
}


def frame(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    size = rng.normal(size=rows)
    table = pd.DataFrame(
        {
            "name": [f"r{i}" for i in range(rows)],
            "length": (3 * size + 100).round(2),
            "site": np.array(["bog", "fen", "heath"])[np.clip(np.rint(size + 1), 0, 2).astype(int)],
            "alive": np.where(rng.random(rows) < 0.5, "yes", "no"),
            "eggs": rng.poisson(np.exp(1 + size)) * (rng.random(rows) < 0.8),
            "year": rng.integers(1998, 2003, rows),
            "kind": [f"k{i % 2}" for i in range(rows)],
        }
    )
    table.loc[2:5, "length"] = np.nan
    table.loc[[1, 7], "site"] = None
    table["eggs"] = table["eggs"].astype("Int64")
    table.loc[3, "eggs"] = pd.NA
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """t.csv and a run on it."""
    folder = tmp_path_factory.mktemp("mixed")
    frame().to_csv(folder / "t.csv", index=False)
    words = ["--data", folder / "t.csv", "--id", "name", "--labels", "kind", "--out", folder / "run", *SMALL]
    assert train.main([*map(str, words)]) == 0
    return folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def error_of(main, words, capsys):
    capsys.readouterr()
    assert main([*map(str, words)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return error


def test_a_table_with_words_and_gaps_is_trained_on_and_said(folder, capsys):
    model = TableVAE.load(folder / "run/model.npz")
    assert model.column_types_ == KINDS
    assert list(model.feature_names_in_) == list(KINDS)
    words = ["--data", str(folder / "t.csv"), "--id", "name", "--labels", "kind", *SMALL, "--json"]
    assert train.main([*words, "--column-types", "eggs=poisson", "year=category", "--hide", "0.1", "--out", "run"]) == 0
    out, error = capsys.readouterr()
    assert "7 cells taken as missing" in error
    assert "length number, site category of 3, alive binary, eggs poisson, year category of 5; seed 0" in error
    assert "held out, log p(x) of independent columns of the same kinds: " in error
    assert np.isfinite(json.loads(out)["heldout_independent"])
    model = TableVAE.load("run/model.npz")
    assert model.column_types_ == KINDS | {"eggs": "poisson", "year": "categorical"}
    assert model.hide == 0.1
    assert model.columns_.columns[4].levels == tuple(map(str, range(1998, 2003)))


@pytest.mark.parametrize("rows", [8, 30])
def test_a_model_below_independent_columns_is_said_to_have_learned_little(rows, tmp_path, capsys):
    rng, table = np.random.default_rng(0), tmp_path / "few.csv"
    lines = [f"{a:.2f},{b:.2f},{'xyz'[i % 3]}" for i, (a, b) in enumerate(rng.normal(size=(rows, 2)))]
    table.write_text("\n".join(["a,b,c", *lines]) + "\n")
    words = ["--data", table, "--out", tmp_path / "run", "--hidden", 4, "--epochs", 1, "--quiet"]
    assert train.main([*map(str, words)]) == 0
    error = capsys.readouterr().err
    figures = [float(error.split(before)[1].split()[0].strip(",")) for before in ("heldout_elbo ", "same kinds: ")]
    assert ("has learned little that helps with new rows" in error) == (figures[0] < figures[1]) == (rows == 8), error
    assert ("new rows: 6 rows are few" in error) == (rows == 8)


def test_a_run_goes_on_bit_for_bit(folder, capsys):
    words = ["--data", str(folder / "t.csv"), "--id", "name", "--labels", "kind", *SMALL]
    assert train.main([*words, "--epochs", "4", "--early-stopping", "none", "--out", "whole"]) == 0
    assert train.main([*words, "--early-stopping", "none", "--out", "half"]) == 0
    assert train.main(["--resume", "--out", "half", "--epochs", "4", "--quiet"]) == 0
    whole, half = (TableVAE.load(f"{name}/model.npz") for name in ("whole", "half"))
    assert whole.network_.parameters.values.tobytes() == half.network_.parameters.values.tobytes()
    assert whole.network_.likelihood.theta.tobytes() == half.network_.likelihood.theta.tobytes()
    assert len(metrics("half")) == 4
    other = frame()
    other["site"] = other["site"].replace("bog", "marsh")  # whose code is another
    other.to_csv("other.csv", index=False)
    error = error_of(train.main, ["--resume", "--out", "half", "--epochs", "5", "--data", "other.csv"], capsys)
    assert "the data are not those" in error
    assert "eggs=poisson" in error_of(
        train.main, ["--resume", "--out", "half", "--column-types", "eggs=poisson"], capsys
    )


def test_numbers_alone_go_the_way_of_a_vae(folder):
    numbers = frame()[["eggs", "year"]].fillna(0)
    numbers.to_csv("n.csv", index=False)
    assert train.main(["--data", "n.csv", "--out", "a", *SMALL]) == 0
    assert json.loads(pathlib.Path("a/config.json").read_text())["chosen"]["likelihood"] == "gaussian"
    assert train.main(["--data", "n.csv", "--out", "b", "--column-types", "eggs=count", *SMALL]) == 0
    assert TableVAE.load("b/model.npz").column_types_ == {"eggs": "negative_binomial", "year": "gaussian"}


@pytest.mark.parametrize(
    ("option", "value"),
    [("--likelihood", "poisson"), ("--sigma", "optimal"), ("--scale", "minmax"), ("--binarize", "0.5"),
     ("--sigma-per-column", "no")],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(folder, option, value, capsys):
    words = ["--data", folder / "t.csv", "--id", "name", "--out", "run", *SMALL, option, value]
    error = error_of(train.main, words, capsys).splitlines()[-1]
    assert f"{option} {value}: t.csv is a mixed table" in error
    assert not pathlib.Path("run").exists()


# ---- with a trained model ----------------------------------------------------------------------------------------


def test_codes_are_by_names_in_any_order(folder, capsys):
    model, data = TableVAE.load(folder / "run/model.npz"), frame()
    data[data.columns[::-1]].to_csv("other.csv", index=False)
    assert encode.main([str(folder / "run"), "other.csv", "--out", "codes.csv"]) == 0
    codes = load("codes.csv", ids="name")
    assert codes.ids.tolist() == data["name"].tolist()
    expected = model.transform(load_mixed(folder / "t.csv", drop=["name", "kind"], known=model.columns_).X)
    np.testing.assert_array_equal(codes.X.astype(np.float32), expected.astype(np.float32))
    data.loc[9, "site"] = "swamp"
    data.to_csv("other.csv", index=False)
    error = error_of(encode.main, [folder / "run", "other.csv"], capsys)
    assert "the column 'site' has 'swamp' in row 10, which the training did not have; valid: 'bog', 'fen'" in error
    data.drop(columns="alive").to_csv("other.csv", index=False)
    assert "'alive'" in error_of(encode.main, [folder / "run", "other.csv"], capsys)


def test_samples_are_complete_draws_of_the_same_kind(folder, capsys):
    assert sample.main([str(folder / "run"), "-n", "50", "--out", "s.csv"]) == 0
    table = pd.read_csv("s.csv")
    assert list(table.columns) == list(KINDS)
    assert set(table["site"]) <= {"bog", "fen", "heath"}
    assert set(table["alive"]) == {"yes", "no"}
    assert table["eggs"].dtype == table["year"].dtype == np.int64
    assert len(set(table["length"])) == 50
    assert sample.main([str(folder / "run"), "-n", "50", "--means", "--columns", "year", "site", "--out", "m.csv"]) == 0
    assert pathlib.Path("m.csv").read_text().splitlines()[0] == "year,site"
    assert "name a .csv" in error_of(sample.main, [folder / "run", "--out", "s.npy"], capsys)


def test_log_p_stands_beside_that_of_independent_columns(folder, capsys):
    words = [str(folder / "run"), str(folder / "t.csv"), "--samples", "20", "--json", "f.json"]
    assert evaluate.main(words) == 0
    found = json.loads(pathlib.Path("f.json").read_text())
    assert found["examples"] == 10
    assert "rows that the training held out" in " ".join(found["conventions"])
    data = load_mixed(folder / "t.csv", drop=["name", "kind"])
    split = json.loads(pathlib.Path(folder / "run/config.json").read_text())
    assert split["options"]["id"] == "name"
    assert np.isfinite(found["log_p"])
    assert -20 < found["rivals"]["independent columns"] < 0
    assert len(data.X) == 60


def test_annealed_importance_sampling_of_a_mixed_table(folder, capsys):
    words = [str(folder / "run"), str(folder / "t.csv"), "--rows", "3", "--seed", "1", "--json", "f.json"]
    assert evaluate.main([*words, "--samples", "2000"]) == 0
    expected = json.loads(pathlib.Path("f.json").read_text())["log_p"]
    assert evaluate.main([*words, "--method", "annealed", "--samples", "50", "--temperatures", "20"]) == 0
    found = json.loads(pathlib.Path("f.json").read_text())
    assert found["log_p"] == pytest.approx(expected, abs=0.2)
    assert found["details"]["gap"] > -0.1
    assert evaluate.main([*words, "--binarize", "0.5"]) == 2
    assert "--binarize 0.5: the model is of a mixed table" in capsys.readouterr().err


@pytest.mark.long
def test_pictures_show_each_column_beside_the_data(folder, capsys):
    words = ["--data", str(folder / "t.csv"), "--id", "name", "--labels", "kind", *SMALL, "--epochs", "1"]
    assert train.main([*words, "--out", "run"]) == 0
    written = "history.png, latent.png, latent_grid.png, metrics.jsonl, model.npz, pairs.png, reconstructions.png"
    assert f"correlations.png, {written}, report.html, samples.png" in capsys.readouterr().err
    assert sample.main(["run", "-n", "9", "--out", "s.png"]) == 0
    model, data = TableVAE.load("run/model.npz"), load_mixed(folder / "t.csv", drop=["name", "kind"])
    marginals = pictures.marginals(model, data.X, n_samples=500)
    titles = [axes.get_title() for axes in marginals.axes]
    assert titles[:5] == ["length (7% missing)", "site (3% missing)", "alive", "eggs (2% missing)", "year"]
    site, drawn = marginals.axes[1], model.sample(500, random_state=0)["site"]
    assert [label.get_text() for label in site.get_yticklabels()] == ["bog", "fen", "heath"]
    shares = frame()["site"].value_counts(normalize=True)
    bars = [*shares[["bog", "fen", "heath"]], *((drawn == level).mean() for level in ("bog", "fen", "heath"))]
    assert [bar.get_width() for bar in site.patches] == pytest.approx(bars)
    rows = model.columns_.encode(model.reconstruct(data.X))
    reconstructions = pictures.reconstructions(model, data.X)
    points, there = reconstructions.axes[0].lines[1], ~np.isnan(np.asarray(data.X[:, 0]))
    np.testing.assert_allclose(points.get_xdata(), data.X[there, 0])
    np.testing.assert_allclose(points.get_ydata(), rows[there, 0])
    shares = np.asarray(reconstructions.axes[1].images[0].get_array())
    known = np.unique(np.asarray(data.X[:, 1])[~np.isnan(data.X[:, 1])]).astype(int)
    np.testing.assert_allclose(shares.sum(axis=1)[known], 1)


# ---- what cannot be used -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        (lambda t: t.assign(note=np.nan), [], "the values of the column 'note' are all missing: leave it out (--drop"),
        (lambda t: t.assign(day="2020-01-0" + (t.index % 9 + 1).astype(str)), [], "'day' holds dates"),
        (lambda t: t.rename(columns={"kind": "a b"}).assign(**{"a b": t["name"]}), [], "--drop 'a b'"),
        (lambda t: t.assign(year=[*t["year"][:-1], "20x1"]), [], "holds numbers but in 1 cell (first: '20x1', row 60)"),
        (lambda t: t[:0], [], "holds no rows"),
        (lambda t: t[:1], [], "fitting needs at least 2"),
        (lambda t: t, ["--column-types", "egs=count"], "'egs' is no column; did you mean 'eggs'?"),
        (lambda t: t, ["--column-types", "eggs=cuont"], "'cuont' is no type: did you mean 'count'?"),
        (lambda t: t, ["--column-types", "eggs"], "expected NAME=TYPE"),
        (lambda t: t, ["--column-types", "name=category"], "the column is not learned from"),
        (lambda t: t, ["--column-types", "site=number"], "'site'"),
        (lambda t: t, ["--column-types", "length=count"], "counts are whole numbers from 0"),
        (lambda t: t, ["--column-types", "site=binary"], "to be yes or no, and has 3 values"),
    ],
)
def test_bad_tables_are_one_line_and_leave_nothing(change, words, message, capsys):
    change(frame()).to_csv("t.csv", index=False)
    command = ["--data", "t.csv", "--id", "name", "--out", "run", *SMALL, *words]
    assert message in error_of(train.main, command, capsys)
    assert not pathlib.Path("run").exists()


def test_another_encoding_and_parquet_and_packed_files():
    data = frame().replace({"site": {"fen": "Fjäll"}})
    data.to_csv("latin.csv", index=False, encoding="cp1252")
    data.to_csv("t.csv.gz", index=False)
    files, names = ["latin.csv", "t.csv.gz"], ["bog", "Fjäll", "heath"]
    pytest.importorskip("pyarrow")
    data.assign(alive=data["alive"] == "yes").to_parquet("t.parquet")
    for file in [*files, "t.parquet"]:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            found = load_mixed(file, ids="name", labels="kind")
        assert (file == "latin.csv") == any("read as Windows-1252" in str(line.message) for line in said)
        assert [column.kind for column in found.table.columns] == list(KINDS.values())
        assert sorted(found.table.columns[1].levels) == sorted(names)
        np.testing.assert_array_equal(np.isnan(found.X).sum(axis=0), [4, 2, 0, 1, 0])
        assert found.labels.tolist()[:3] == ["k0", "k1", "k0"]


def test_words_are_those_of_the_model_however_they_are_spelled():
    pathlib.Path("a.csv").write_text("code,ok\n007,Yes\n12,No\n,Yes\n007,No\n")
    model = load_mixed("a.csv", types=["code=category"]).table
    assert [column.levels for column in model.columns] == [("007", "12"), ("No", "Yes")]
    pathlib.Path("b.csv").write_text("ok,code\nYES,12\nno,007\n")
    np.testing.assert_array_equal(load_mixed("b.csv", known=model).X, [[1, 1], [0, 0]])
    assert load_table("b.csv", text=["code"])["code"].tolist() == ["12", "007"]
