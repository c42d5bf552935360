"""The commands that use a trained model."""

import pathlib

import numpy as np
import pytest

from fastvae import VAE, encode, sample, train
from fastvae.data.loading import load


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "model.npz"
    vae = VAE(3, (16,), epochs=2, scale=(0, 16), random_state=0).fit(load("digits").X)
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


def test_a_picture_of_a_table_has_enough_samples_for_distributions(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'fastvae-engine[plot]'")
    X, labels = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 6
    for condition, words, said in ((None, [], "2000 samples"), (labels, ["--condition", "all"], "2496 samples")):
        vae = VAE(2, (4,), likelihood="gaussian", epochs=1, random_state=0).fit(X, condition=condition)
        vae.save(tmp_path / "m.npz")
        assert sample.main([str(tmp_path / "m.npz"), *words, "--out", "s.png"]) == 0
        assert said in capsys.readouterr().err
        assert sample.main([str(tmp_path / "m.npz"), *words, "--out", "s.npy"]) == 0
        assert f"{48 if words else 64} samples" in capsys.readouterr().err


def test_codes(model):
    vae, data = VAE.load(model), load("digits")
    mu, logvar = vae.encode(data.X)
    assert encode.main([str(model), "digits", "--out", "c.npy"]) == 0
    np.testing.assert_array_equal(np.load("c.npy"), mu)
    assert encode.main([str(model), "digits", "--out", "c.npz"]) == 0
    with np.load("c.npz", allow_pickle=False) as codes:
        assert set(codes) == {"mu", "logvar", "elbo", "labels"}
        np.testing.assert_array_equal(codes["logvar"], logvar)
        np.testing.assert_array_equal(codes["elbo"], vae.elbo(data.X))
        np.testing.assert_array_equal(codes["labels"], data.labels)


def test_a_folder_that_is_no_run_is_told_with_what_it_holds(tmp_path, capsys):
    """That of a comparison has a file for each model."""
    for names, said in (
        ([], "c: this folder holds no model.npz; name the folder of a run, or a model file"),
        (["vae.npz", "made.npz", "vae.json"], "holds no model.npz; name one of its files: c/made.npz, c/vae.npz\n"),
    ):
        pathlib.Path("c").mkdir(exist_ok=True)
        for name in names:
            pathlib.Path("c", name).write_text("")
        for command, words in (sample, ["c"]), (encode, ["c", "digits"]):
            assert command.main(words) == 2
            assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        (sample, ["missing.npz"], "missing.npz"),
        (sample, ["MODEL", "-n", "0"], "-n 0: must be at least 1"),
        (sample, ["MODEL", "-n", "many"], "-n"),
        (sample, ["MODEL", "--out", "s.gif"], "the ending '.gif' is not known"),
        (sample, ["MODEL", "--out", "nowhere/s.npy"], "nowhere"),
        (sample, ["MODEL", "--seed", "-1"], "argument --seed: '-1' must be a whole number from 0"),
        (sample, ["MODEL", "--device", "cuda"], "device='cuda' cannot be had"),
        (sample, ["text.npz"], "text.npz"),
        (encode, ["MODEL", "digit"], "did you mean 'digits'"),
        (encode, ["MODEL", "x.npy"], "X has 5 features, but VAE is expecting 64 features as input (shape (30, 5))"),
        (encode, ["MODEL", "digits", "--out", "c.xlsx"], "the ending '.xlsx' is not known"),
        (sample, ["MODEL", "--columns", "1"], "--columns and --drop choose columns of a table"),
        (sample, ["MODEL", "--out", "s.csv", "--drop", "65"], "drop='65': columns are 1 to 64"),
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


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to", None])
def test_what_is_read_is_not_written_over_by_any_name(model, link, capsys):
    """Nor are the files of a run."""
    folder = pathlib.Path("copy")
    folder.mkdir()
    (folder / "model.npz").write_bytes(model.read_bytes())
    np.save("x.npy", np.random.default_rng(0).integers(0, 17, (30, 64)).astype(float))
    before = (folder / "model.npz").read_bytes(), pathlib.Path("x.npy").read_bytes()
    outs = {"x.npy": "x.npy", "model.npz": "copy/model.npz"}
    if link:
        outs = {"data.npy": "x.npy", "link.npz": "copy/model.npz"}
        for name, target in outs.items():
            getattr(pathlib.Path(name), link)(pathlib.Path(target).resolve())
    for out in outs if link else outs.values():
        assert encode.main(["copy", "x.npy", "--out", out]) == 2
        assert "that is what is read; give another name" in capsys.readouterr().err
    if link:
        pathlib.Path("picture.npy").symlink_to((folder / "model.npz").resolve())
        assert sample.main(["copy", "--out", "picture.npy"]) == 2
        assert "that is what is read" in capsys.readouterr().err
    (folder / "checkpoint.npz").write_bytes(b"of a run")
    assert encode.main([str(model), "x.npy", "--out", "copy/checkpoint.npz"]) == 2
    assert "that is a file of the run in" in capsys.readouterr().err
    assert (folder / "checkpoint.npz").read_bytes() == b"of a run"
    assert before == ((folder / "model.npz").read_bytes(), pathlib.Path("x.npy").read_bytes())


@pytest.mark.parametrize("count", [10**12, 10**30])
def test_more_samples_than_the_memory_holds_are_refused(model, count, capsys):
    assert sample.main([str(model), "-n", str(count), "--out", "s.npy"]) == 2
    error = capsys.readouterr().err
    assert "GB of memory: draw fewer at a time" in error
    assert error.count("\n") == 1
    assert list(pathlib.Path().iterdir()) == []


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(capsys):
    for command, words in ((sample, ["missing.npz"]), (encode, ["missing.npz", "missing.npy"])):
        assert command.main([*words, "--out", "nowhere/x.npy"]) == 2
        assert "the folder" in capsys.readouterr().err
