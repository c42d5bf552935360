"""Images that come as rows of a table."""

import pathlib

import numpy as np
import pytest

from fastvae import VAE, sample, train
from fastvae.data.loading import load

SMALL = ["--latent-dim", "2", "--hidden", "4", "--epochs", "1", "--quiet", "--header", "no"]


def write(path, X):
    np.savetxt(path, X, fmt="%d", delimiter=",")
    return str(path)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("shape", "stored"), [((8, 8), [8, 8]), ((4, 16, 1), [4, 16])])
def test_rows_of_a_table_are_images(shape, stored):
    table = write("d.csv", load("digits").X[:60])
    words = ["--image-shape", *map(str, shape)]
    assert train.main(["--data", table, "--out", "run", *words, *SMALL]) == 0
    model = VAE.load("run/model.npz")
    assert model.metadata_["image_shape"] == stored
    assert model.likelihood == "bernoulli"
    assert train.main(["--resume", "--out", "run", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("most", "words", "said"),
    [
        (16, [], "no value is above 16, of 255 that 8 bits hold: if 16 is full ink or white, add --scale 0 16"),
        (100, [], "add --scale 0 100"),
        (16, ["--scale", "0", "16"], None),
        (16, ["--scale", "0", "255"], None),
        (200, [], None),
    ],
)
def test_images_that_their_type_makes_nearly_black_are_named(most, words, said, capsys):
    images = np.random.default_rng(0).integers(0, most + 1, (40, 4, 5)).astype(np.uint8)
    images[0, 0, 0] = most
    np.save("i.npy", images)
    assert train.main(["--data", "i.npy", "--out", "run", *words, *SMALL[:-2]]) == 0
    err = capsys.readouterr().err
    assert (said is None and "full ink" not in err) or said in err


def test_pictures_in_colour():
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'fastvae-engine[plot]'")
    rng = np.random.default_rng(0)
    table = write("c.csv", rng.integers(0, 256, (40, 3 * 4 * 3)))
    assert train.main(["--data", table, "--out", "run", "--image-shape", "3", "4", "3", *SMALL]) == 0
    for name in ("samples.png", "reconstructions.png"):
        assert pathlib.Path("run", name).read_bytes().startswith(b"\x89PNG")
    assert sample.main(["run", "-n", "5", "--out", "s.png"]) == 0


@pytest.mark.parametrize(
    ("data", "shape", "message"),
    [
        ("d.csv", ["8", "9"], "--image-shape 8 9: 8 x 9 is 72; d.csv has 64 columns"),
        ("d.csv", ["64"], "expected HEIGHT WIDTH, and 3 for images in colour"),
        ("d.csv", ["4", "4", "4"], "expected HEIGHT WIDTH"),
        ("d.csv", ["-8", "-8"], "expected HEIGHT WIDTH"),
        ("d.csv", ["8", "x"], "--image-shape"),
        ("words.csv", ["1", "2"], "words.csv is a mixed table"),
    ],
)
def test_shapes_that_do_not_fit(data, shape, message, capsys):
    write("d.csv", load("digits").X[:20])
    pathlib.Path("words.csv").write_text("a,b\n1,x\n2,y\n3,x\n4,x\n")
    try:
        code = train.main(["--data", data, "--out", "run", "--image-shape", *shape, *SMALL[:-2]])
    except SystemExit as end:
        code = end.code
    assert code == 2
    assert message in capsys.readouterr().err
    assert not pathlib.Path("run").exists()


def test_what_is_of_images_already(capsys):
    assert train.main(["--data", "digits", "--out", "run", "--image-shape", "8", "8", *SMALL[:-2]]) == 2
    assert "digits is of images already, 8 x 8: leave it out" in capsys.readouterr().err
