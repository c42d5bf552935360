"""The commands that use a trained model."""

import pathlib

import numpy as np
import pytest

from fastvae import VAE, encode, sample, train
from fastvae.data import datasets


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "model.npz"
    vae = VAE(3, (16,), epochs=2, scale=(0, 16), random_state=0).fit(datasets.load("digits").X)
    vae.metadata_ = {"image_shape": [8, 8]}
    vae.save(path)
    return path


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_samples_as_numbers(model):
    assert sample.main([str(model), "-n", "5", "--out", "s.npy", "--seed", "3"]) == 0
    np.testing.assert_array_equal(np.load("s.npy"), VAE.load(model).sample(5, random_state=3))
    assert sample.main([str(model.parent), "-n", "5", "--out", "t.npy", "--seed", "3"]) == 0
    assert pathlib.Path("s.npy").read_bytes() == pathlib.Path("t.npy").read_bytes()


@pytest.mark.parametrize("count", [1, 5, 64, 100])
def test_samples_as_a_picture(model, count):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'fastvae-engine[plot]'")
    assert sample.main([str(model), "-n", str(count), "--out", "s.png"]) == 0
    assert pathlib.Path("s.png").read_bytes().startswith(b"\x89PNG")


def test_codes(model):
    vae, data = VAE.load(model), datasets.load("digits")
    mu, logvar = vae.encode(data.X)
    assert encode.main([str(model), "digits", "--out", "c.npy"]) == 0
    np.testing.assert_array_equal(np.load("c.npy"), mu)
    assert encode.main([str(model), "digits", "--out", "c.npz"]) == 0
    with np.load("c.npz", allow_pickle=False) as codes:
        assert set(codes) == {"mu", "logvar", "elbo", "labels"}
        np.testing.assert_array_equal(codes["logvar"], logvar)
        np.testing.assert_array_equal(codes["elbo"], vae.elbo(data.X))
        np.testing.assert_array_equal(codes["labels"], data.labels)


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        (sample, ["missing.npz"], "missing.npz"),
        (sample, ["MODEL", "-n", "0"], "-n 0: must be at least 1"),
        (sample, ["MODEL", "-n", "many"], "-n"),
        (sample, ["MODEL", "--out", "s.gif"], "the ending '.gif' is not known"),
        (sample, ["MODEL", "--out", "nowhere/s.npy"], "nowhere"),
        (sample, ["MODEL", "--seed", "-1"], "random_state=-1"),
        (sample, ["MODEL", "--device", "cuda"], "device='cuda' cannot be had"),
        (sample, ["text.npz"], "text.npz"),
        (encode, ["MODEL", "digit"], "did you mean 'digits'"),
        (encode, ["MODEL", "x.npy"], "X has 5 features (shape (30, 5)); the model was fitted on 64"),
        (encode, ["MODEL", "digits", "--out", "c.csv"], "the ending '.csv' is not known"),
        (encode, ["MODEL", "digits", "--part", "test"], "has no test part"),
        (encode, ["MODEL", "x.npy", "--out", "x.npy"], "--out x.npy: that is what is read; give another name"),
        (encode, ["MODEL"], "data"),
    ],
)
def test_wrong_arguments_give_one_line_and_exit_code_2(model, command, words, message, capsys):
    pathlib.Path("text.npz").write_text("hello")
    np.save("x.npy", np.zeros((30, 5)))
    try:
        code = command.main([str(model) if w == "MODEL" else w for w in words])
    except SystemExit as exit_:
        code = exit_.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert {p.name for p in pathlib.Path().iterdir()} == {"text.npz", "x.npy"}


def table(path, header, rows):
    path.write_text("\n".join([",".join(header), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return str(path)


def test_the_columns_of_a_table_go_by_their_names(tmp_path, monkeypatch, capsys):
    """In another order they are put in that of the training; others are refused."""
    monkeypatch.chdir(tmp_path)
    rows, names = np.random.default_rng(0).normal(size=(200, 3)).round(3), ["a", "b", "c"]
    known, order = table(tmp_path / "known.csv", names, rows), [2, 0, 1]
    small = ["--latent-dim", "2", "--hidden", "4", "--epochs", "1", "--out", "run", "--quiet"]
    assert train.main(["--data", known, *small]) == 0
    turned = table(tmp_path / "turned.csv", [names[i] for i in order], rows[:, order])
    found = []
    for source in (known, turned):
        assert encode.main(["run", source, "--out", "codes.npy"]) == 0
        found.append(np.load("codes.npy"))
    np.testing.assert_array_equal(*found)
    assert "are taken in the order of the model's training" in capsys.readouterr().err
    for header in (["a", "b", "x"], ["a", "b", "b"]):
        assert encode.main(["run", table(tmp_path / "other.csv", header, rows)]) == 2
        assert "the model was trained on 'a', 'b', 'c': give it these" in capsys.readouterr().err
