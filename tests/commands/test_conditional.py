"""The commands with a condition: what it may be, what the files say of it, and how wrong ones are refused."""

import json
import pathlib

import numpy as np
import pytest

from fastvae import VAE, encode, evaluate, sample, train
from fastvae.data.condition import Labels, Vectors
from tests.support.commands import SMALL, parameters

RNG = np.random.default_rng(6)
ROWS = 90
KINDS = np.array(["ash", "birch", "oak"])[RNG.integers(0, 3, ROWS)]
AGES = RNG.integers(1, 90, ROWS)
HEIGHTS = RNG.normal(10, 4, ROWS).round(2)
X = RNG.normal(size=(ROWS, 4)).round(3) + HEIGHTS[:, None]
IMAGES = RNG.random((ROWS, 4, 4)).astype(np.float32)
QUIET = [*SMALL, "--quiet"]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def of_digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conditional") / "run"
    assert train.main([*QUIET, "--condition", "labels", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def table():
    lines = ["a,b,kind,c,age,d,height"]
    lines += [
        f"{x[0]},{x[1]},{kind},{x[2]},{age},{x[3]},{height}"
        for x, kind, age, height in zip(X, KINDS, AGES, HEIGHTS, strict=True)
    ]
    pathlib.Path("table.csv").write_text("\n".join(lines) + "\n")


def trained(*words, data="table.csv"):
    assert train.main(["--data", data, *QUIET, "--out", "run", *words]) == 0
    return VAE.load("run/model.npz")


def refused(command, *words, capsys):
    capsys.readouterr()
    assert command.main(list(map(str, words))) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


# ---- training ----------------------------------------------------------------------------------------------------


def test_labels_of_the_digits(of_digits):
    vae = VAE.load(of_digits / "model.npz")
    np.testing.assert_array_equal(vae.classes_, np.arange(10))
    assert vae.metadata_["condition"] == ["labels"]
    config = json.loads((of_digits / "config.json").read_text())
    assert config["options"]["condition"] == ["labels"]
    assert np.isfinite(vae.history_["heldout_elbo"]).all()


@pytest.mark.parametrize("condition", ["kind", "3"])
def test_a_column_of_text(table, condition):
    vae = trained("--condition", condition)
    assert vae.classes_.tolist() == ["ash", "birch", "oak"]
    assert list(vae.feature_names_in_) == ["a", "b", "c", "age", "d", "height"]


def test_columns_of_numbers(table):
    vae = trained("--condition", "height", "age", "--labels", "kind")
    assert list(vae.feature_names_in_) == ["a", "b", "c", "d"]
    known = vae.network_.condition
    assert isinstance(known, Vectors)
    np.testing.assert_allclose(known.offset, [HEIGHTS.mean(), AGES.mean()])
    assert encode.main(["run", "table.csv", "--labels", "kind", "--out", "codes.npz"]) == 0
    codes = np.load("codes.npz")
    expected = vae.encode(X, np.column_stack([HEIGHTS, AGES]).astype(float))
    np.testing.assert_array_equal(codes["mu"], expected[0])
    np.testing.assert_array_equal(codes["labels"], KINDS)


def test_the_labels_may_be_the_condition_too(table):
    by_name = trained("--condition", "kind", "--labels", "kind")
    assert (
        train.main(["--data", "table.csv", *QUIET, "--condition", "labels", "--labels", "kind", "--out", "same"]) == 0
    )
    np.testing.assert_array_equal(parameters("same"), by_name.network_.parameters.values)


def test_what_a_column_is_taken_for(table, capsys):
    error = refused(train, "--data", "table.csv", *QUIET, "--condition", "age", "kind", capsys=capsys)
    assert "a condition of several columns must be numbers; 'kind' holds" in error
    words = ["--data", "table.csv", *QUIET, "--labels", "kind"]
    error = refused(train, *words, "--condition", "age", capsys=capsys)
    assert "different labels in 90 rows" in error
    assert "--condition-as numbers" in error
    vae = trained("--condition", "age", "--condition-as", "numbers", "--labels", "kind")
    assert isinstance(vae.network_.condition, Vectors)
    assert encode.main(["run", "table.csv", "--labels", "kind", "--out", "codes.npy"]) == 0
    assert encode.main(["run", "table.csv", "--labels", "kind", "--condition", "age", "--out", "same.npy"]) == 0
    np.testing.assert_array_equal(np.load("codes.npy"), np.load("same.npy"))
    error = refused(
        train, "--data", "table.csv", *QUIET, "--condition", "kind", "--condition-as", "numbers", capsys=capsys
    )
    assert "--condition-as numbers: could not convert string to float" in error


def test_arrays_of_an_npz(capsys):
    c = RNG.normal(size=(ROWS, 2))
    named = {"x": IMAGES, "y": KINDS, "c": c}
    parts = {f"{name}_train": array for name, array in named.items()}
    parts |= {f"{name}_test": array[:20] for name, array in named.items()}
    np.savez("a.npz", **parts, size=HEIGHTS, wrong=HEIGHTS[:5])
    vae = trained("--condition", "c_train", data="a.npz")
    assert vae.network_.condition.columns == 2
    assert encode.main(["run", "a.npz", "--part", "test", "--out", "codes.npy"]) == 0
    assert np.load("codes.npy").shape == (20, 3)
    assert train.main(["--data", "a.npz", *QUIET, "--condition", "labels", "--out", "by-labels"]) == 0
    assert isinstance(VAE.load("by-labels/model.npz").network_.condition, Labels)
    assert train.main(["--data", "a.npz", *QUIET, "--condition", "c_train", "--out", "drawn", "--heldout", "0.2"]) == 0
    error = refused(train, "--data", "a.npz", "--condition", "size", capsys=capsys)
    assert "the test part has no condition of its own" in error
    assert "shape (5,) is no condition" in refused(train, "--data", "a.npz", "--condition", "wrong", capsys=capsys)
    assert "did you mean 'size'" in refused(train, "--data", "a.npz", "--condition", "sizes", capsys=capsys)


def test_data_without_labels(capsys):
    np.save("x.npy", X)
    assert "a condition is an array" in refused(train, "--data", "x.npy", "--condition", "labels", capsys=capsys)
    np.savez("x.npz", X=X)
    assert "has no labels" in refused(train, "--data", "x.npz", "--condition", "labels", capsys=capsys)
    assert "'digits' has its labels: 'labels'" in refused(train, "--condition", "kind", capsys=capsys)


def test_a_run_goes_on_with_its_condition(table, capsys):
    whole = ["--data", "table.csv", "--hidden", "8", "--latent-dim", "2", "--condition", "kind", "--quiet"]
    assert train.main([*whole, "--epochs", "4", "--out", "whole"]) == 0
    assert train.main([*whole, "--epochs", "2", "--out", "parts"]) == 0
    assert train.main(["--resume", "--out", "parts", "--epochs", "4", "--quiet"]) == 0
    np.testing.assert_array_equal(parameters("whole"), parameters("parts"))
    error = refused(train, "--resume", "--out", "parts", "--condition", "age", capsys=capsys)
    assert "--condition ['age'] is not what the run was started with" in error
    text = pathlib.Path("table.csv").read_text()
    pathlib.Path("table.csv").write_text(text.replace("ash", "???").replace("birch", "ash").replace("???", "birch"))
    error = refused(train, "--resume", "--out", "parts", capsys=capsys)
    assert "the data are not those that the run in parts was started with" in error


# ---- sampling, pictures --------------------------------------------------------------------------------------------


def test_samples_of_labels(of_digits):
    vae = VAE.load(of_digits / "model.npz")
    assert sample.main([str(of_digits), "--condition", "3", "-n", "5", "--out", "s.npy", "--seed", "2"]) == 0
    np.testing.assert_array_equal(np.load("s.npy"), vae.sample(5, 2, condition=3))
    assert sample.main([str(of_digits), "--condition", "3", "--condition", "7", "-n", "2", "--out", "s.npy"]) == 0
    np.testing.assert_array_equal(np.load("s.npy"), vae.sample(4, 0, condition=[3, 3, 7, 7]))
    assert sample.main([str(of_digits), "--condition", "all", "--out", "s.npy"]) == 0
    np.testing.assert_array_equal(np.load("s.npy"), vae.sample(80, 0, condition=np.repeat(np.arange(10), 8)))


def test_samples_of_numbers(table):
    vae = trained("--condition", "height", "age", "--labels", "kind")
    assert sample.main(["run", "--condition=-1.5,30", "--condition", "4,5", "-n", "3", "--out", "s.npy"]) == 0
    condition = np.repeat([[-1.5, 30], [4, 5]], 3, axis=0)
    np.testing.assert_array_equal(np.load("s.npy"), vae.sample(6, 0, condition=condition, noise=True))


def test_wrong_conditions_are_refused(of_digits, table, capsys):
    for words, message in (
        ([], "the model has a condition, labels 0, 1, 2, 3, 4, ...: name some, or all, with --condition"),
        (["--condition", "11"], "--condition: the label '11' is not known: did you mean '1'"),
        (["--condition", "all", "--condition", "3"], "the label 'all' is not known"),
    ):
        assert message in refused(sample, of_digits, *words, "--out", "s.npy", capsys=capsys)
    trained("--condition", "height", "--labels", "kind")
    for words, message in (
        ([], "vectors of 1 real number: give such numbers"),
        (["--condition", "all"], "the condition 'all' cannot be read: 1 number needed"),
    ):
        assert message in refused(sample, "run", *words, "--out", "s.npy", capsys=capsys)
    assert train.main(["--data", "table.csv", "--labels", "kind", *QUIET, "--out", "without"]) == 0
    error = refused(sample, "without", "--condition", "3", "--out", "s.npy", capsys=capsys)
    assert "the model has no condition: leave it out" in error
    error = refused(encode, "without", "table.csv", "--condition", "kind", capsys=capsys)
    assert "the model has no condition: leave it out" in error
    assert {path.name for path in pathlib.Path().iterdir()} == {"table.csv", "run", "without"}


def test_pictures_have_a_row_for_each_label(of_digits, table):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'fastvae-engine[plot]'")
    from matplotlib.image import imread

    heights = []
    for condition in (["3"], ["3", "--condition", "4"], ["all"]):
        assert sample.main([str(of_digits), "-n", "8", "--condition", *condition, "--out", "s.png"]) == 0
        heights.append(imread("s.png").shape[0])
    assert heights[0] < heights[1] < heights[2]
    for words in (["--condition", "kind"], ["--condition", "height", "--labels", "kind"]):
        assert train.main(["--data", "table.csv", *QUIET, *words, "--out", words[1]]) == 0
        for name in ("history", "samples", "reconstructions", "latent"):
            assert pathlib.Path(words[1], name + ".png").stat().st_size > 5000


def test_an_evaluation_has_pictures_of_the_table_with_its_conditions(table):
    """Of more rows too than a bracket draws."""
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'fastvae-engine[plot]'")
    trained("--condition", "kind", "--drop", "age", "height")
    words = ["--part", "train", "--samples", "20"]
    assert evaluate.main(["run", "table.csv", *words, "--out", "e"]) == 0
    names = {path.name for path in pathlib.Path("e").glob("*.png")}
    assert {"traversals.png", "marginals.png", "pairs.png", "correlations.png"} <= names
    with np.load("e/examples.npz") as found:
        rows, count = found["rows"], len(found["values"])
    assert len(set(rows.tolist())) == count < ROWS
    assert rows.max() >= count  # places in the table, of which other rows were held out
