"""The commands on tables: which columns are taken, and which rows were held out."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from fastvae import VAE, encode, evaluate, sample, train
from fastvae.data.loading import load
from fastvae.run_data import RunData, trained_rows

SMALL = ["--latent-dim", "2", "--hidden", "4", "--epochs", "1", "--quiet"]


def write(path, rows, order=("name", "a", "b", "c", "town", "y"), count=120, seed=0):
    rng = np.random.default_rng(seed)
    columns = {"name": [f"r{i}" for i in range(count)], "town": [f"t{i % 3}" for i in range(count)]}
    columns |= {name: rng.normal(size=count).round(4).tolist() for name in "abc"}
    columns["y"] = [i % 2 for i in range(count)]
    lines = [",".join(order), *(",".join(str(columns[name][i]) for name in order) for i in rows)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """t.csv and a run on its columns a, b, c."""
    folder = tmp_path_factory.mktemp("table")
    table = write(folder / "t.csv", range(120))
    words = ["--data", table, "--id", "name", "--drop", "town", "--labels", "y", "--out", str(folder / "run"), *SMALL]
    assert train.main(words) == 0
    return folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def figures(*words):
    assert evaluate.main([*map(str, words), "--samples", "20", "--json", "f.json"]) == 0
    return json.loads(pathlib.Path("f.json").read_text())


def test_a_run_knows_its_columns(folder):
    config = json.loads((folder / "run/config.json").read_text())["options"]
    assert (config["id"], config["drop"], config["labels"]) == ("name", ["town"], "y")
    assert list(VAE.load(folder / "run/model.npz").feature_names_in_) == ["a", "b", "c"]
    assert train.main(["--resume", "--out", str(folder / "run"), "--quiet"]) == 0


def test_of_the_training_s_own_table_the_rows_held_out_are_evaluated(folder, capsys):
    """Also where the file is another now; labels, names and what was dropped need not be said again."""
    shutil.copy(folder / "t.csv", "copy.csv")
    for source in (folder / "t.csv", "copy.csv"):
        found = figures(folder / "run", source)
        assert found["examples"] == 12
        assert f"rows that the training held out of {source}: 12 examples" in found["conventions"]
    found = figures(folder / "run", folder / "t.csv", "--part", "train")
    assert found["examples"] == 108
    assert any("the model was trained on these rows" in line for line in found["conventions"])
    other = write(pathlib.Path("other.csv"), range(50), seed=1)
    found = figures(folder / "run", other)
    assert found["examples"] == 50
    assert {"other.csv: 50 examples", "none of them was trained on"} <= {*found["conventions"]}


def test_rivals_of_another_table_learn_from_the_rows_that_were_trained_on(folder):
    """As long as they are there; else from one half of the table for the other."""
    rows = write(pathlib.Path("both.csv"), range(50), seed=1)
    with open(rows, "a") as both, open(folder / "t.csv") as trained:
        both.writelines(list(trained)[1:])
    found = figures(folder / "run", rows)
    assert any(line.startswith("108 of them were trained on") for line in found["conventions"])
    data, model = load(folder / "t.csv", columns=["a", "b", "c"]), VAE.load(folder / "run/model.npz")
    X = RunData.beside(folder / "run/model.npz").split(data, model.metadata_["fingerprint"], None).X
    other = load("both.csv", columns=["a", "b", "c"]).X
    apart = -0.5 * (np.square((other - X.mean(0)) / X.std(0)) + np.log(2 * np.pi * X.var(0)))
    assert found["rivals"]["independent columns"] == pytest.approx(apart.sum(axis=1).mean(), rel=1e-4)
    assert any("fitted to the rows that were trained on" in line for line in found["conventions"])
    shutil.copy(folder / "run/model.npz", "alone.npz")
    found = figures("alone.npz", rows)
    assert any("fitted to every other example" in line for line in found["conventions"])


def test_rows_that_chose_the_epoch_are_named(folder):
    found = figures(folder / "run", folder / "t.csv")
    assert any("chose the epoch that was kept" in line for line in found["conventions"]) == (
        json.loads((folder / "run/config.json").read_text())["options"]["early_stopping"] != "none"
    )


def test_the_split_is_that_of_the_training(folder):
    data = load(folder / "t.csv", columns=["a", "b", "c"])
    model, run = VAE.load(folder / "run/model.npz"), RunData.beside(folder / "run/model.npz")
    found = run.split(data, model.metadata_["fingerprint"], None)
    assert len(found.X) == 108
    np.testing.assert_array_equal(data.X[found.places_held_out], found.held_out)
    seen = trained_rows(found.X, data.X)
    assert np.flatnonzero(~seen).tolist() == found.places_held_out.tolist()
    changed = load(write(pathlib.Path("changed.csv"), range(119)), columns=["a", "b", "c"])
    assert run.split(changed, model.metadata_["fingerprint"], None) is None
    assert RunData.beside(folder / "elsewhere.npz") is None


def test_columns_are_taken_by_their_names(folder, capsys):
    """Whatever stands beside them, in any order; other tables' columns of labels and names count as such."""
    order = ("y", "c", "extra", "a", "name", "b")
    text = pathlib.Path(write(pathlib.Path("o.csv"), range(120), [n if n != "extra" else "town" for n in order]))
    text.write_text(text.read_text().replace("town", "extra", 1))
    assert encode.main([str(folder / "run"), str(folder / "t.csv"), "--out", "a.npy"]) == 0
    assert capsys.readouterr().err.count("\n") == 1
    assert encode.main([str(folder / "run"), "o.csv", "--out", "b.npy"]) == 0
    error = capsys.readouterr().err
    assert "left out of o.csv: 'extra', which the model was not trained on" in error
    assert "taken in the order of the model's training" in error
    np.testing.assert_array_equal(np.load("a.npy"), np.load("b.npy"))


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".parquet"])
def test_codes_and_samples_as_tables(folder, ending):
    """Each number reads back as the same float32; rows have their names, columns theirs."""
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    model, data = VAE.load(folder / "run/model.npz"), load(folder / "t.csv", columns=["a", "b", "c"])
    assert encode.main([str(folder / "run"), str(folder / "t.csv"), "--out", f"codes{ending}"]) == 0
    codes = load(f"codes{ending}", ids="name")
    assert codes.column_names == ("vae0", "vae1")
    assert codes.ids.tolist() == [f"r{i}" for i in range(120)]
    np.testing.assert_array_equal(codes.X.astype(np.float32), model.transform(data.X.astype(np.float32)))
    words = [str(folder / "run"), "-n", "5", "--seed", "3", "--out", f"samples{ending}"]
    assert sample.main([*words, "--means"]) == 0
    np.testing.assert_array_equal(load(f"samples{ending}").X.astype(np.float32), model.sample(5, random_state=3))
    assert sample.main(words) == 0  # of a table complete draws
    found, expected = load(f"samples{ending}"), model.sample(5, random_state=3, noise=True)
    assert found.column_names == ("a", "b", "c")
    np.testing.assert_array_equal(found.X.astype(expected.dtype), expected)
    assert sample.main([*words, "--drop", "b"]) == 0
    assert load(f"samples{ending}").column_names == ("a", "c")


def test_samples_of_a_condition_have_it_beside_them(tmp_path):
    table = write(tmp_path / "t.csv", range(60))
    assert train.main(["--data", table, "--columns", "a", "b", "--condition", "town", "--out", "run", *SMALL]) == 0
    assert sample.main(["run", "-n", "2", "--condition", "t1", "--condition", "t0", "--out", "s.csv"]) == 0
    found = load("s.csv", labels="town")
    assert found.column_names == ("a", "b")
    assert found.labels.tolist() == ["t1", "t1", "t0", "t0"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--drop", "a"], "--drop a: the model was trained on this column"),
        (["--columns", "a", "b"], "has the columns 'a', 'b'; the model was trained on 'a', 'b', 'c': give it these"),
        (["--columns", "a", "b", "d"], "columns='d' is no column"),
        (["--id", "nme"], "ids='nme' is no column; did you mean 'name'?"),
    ],
)
def test_columns_that_do_not_fit(folder, words, message, capsys):
    assert encode.main([str(folder / "run"), str(folder / "t.csv"), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_column_has_the_nearest_name_beside_it(folder, capsys):
    path = pathlib.Path(write(pathlib.Path("n.csv"), range(30)))
    path.write_text(path.read_text().replace(",a,", ",aa,", 1))
    assert encode.main([str(folder / "run"), "n.csv"]) == 2
    assert (
        "the model was trained on 'a', 'b', 'c': give it these; 'a' is missing: did you mean 'aa'?"
        in capsys.readouterr().err
    )


def test_training_on_some_columns(tmp_path, capsys):
    table = write(tmp_path / "t.csv", range(60))
    assert train.main(["--data", table, "--columns", "c", "a", "--out", "run", *SMALL]) == 0
    assert list(VAE.load("run/model.npz").feature_names_in_) == ["c", "a"]
    assert train.main(["--data", table, "--out", "other", *SMALL]) == 2
    assert "(first: 'r0'), as names of rows have: say so (--id name), leave it out" in capsys.readouterr().err
    assert train.main(["--data", "digits", "--columns", "a", "--out", "other", *SMALL]) == 2
    assert "choose within a table" in capsys.readouterr().err
