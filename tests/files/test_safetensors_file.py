"""A model as safetensors: the same model comes back, bit for bit; what is damaged or foreign is refused in one line."""

import hashlib
import json
import random
import sys

import numpy as np
import pytest

from fastvae import DBM, MADE, VAE, Autoencoder
from fastvae.__main__ import main
from fastvae.errors import FileAccessError, MissingPackageError, ModelFileError, NotFittedError
from fastvae.export import to_safetensors
from fastvae.models.registry import load
from tests.support.exported import BINARY, REAL, SMALL, TEXT, fitted

package = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
NAMES = [
    "gaussian",
    "far from 0, tanh",
    "one sigma, five latents",
    "poisson",
    "labels",
    "booleans",
    "numbers",
    "sparse",
    "gan",
    "rbm",
]


@pytest.fixture
def file(tmp_path):
    return to_safetensors(fitted("labels")[0], tmp_path / "model")[0]


@pytest.mark.parametrize("name", [*NAMES, "MADE", "DBM"])
def test_the_same_model_comes_back(name, tmp_path):
    others = {
        "MADE": MADE((8,), order="random", epochs=1, random_state=3),
        "DBM": DBM((5, 4), epochs=1, random_state=0),
    }
    model = others[name].fit(BINARY) if name in others else fitted(name)[0]
    (path,) = to_safetensors(model, tmp_path / "model.safetensors")
    assert path.name == "model.safetensors"
    found = load(path)
    assert type(found) is type(model)
    model.save(tmp_path / "model.npz")
    load(tmp_path / "model.npz").save(tmp_path / "one.npz")  # in which a whole number that stands for a float is one
    found.save(tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    first, again = (
        to_safetensors(each, tmp_path / name)[0] for each, name in ((found, "first"), (load(path), "again"))
    )
    assert again.read_bytes() == first.read_bytes()
    assert (found.network_.parameters.values == model.network_.parameters.values).all()


def test_others_read_the_parameters_by_name(file):
    arrays, model = package.load_file(file), fitted("labels")[0]
    assert set(model.parameters()) <= set(arrays)
    for name, values in model.parameters().items():
        assert (arrays[name] == values).all()
        assert arrays[name].dtype == np.float32
    with package.safe_open(file, framework="np") as opened:
        said = json.loads(opened.metadata()["fastvae"])
    assert said["content"]["model"] == "VAE"
    assert said["content"]["params"]["likelihood"] == "gaussian"


def test_an_estimator_reads_it_and_the_decoder_alone(file):
    model = fitted("labels")[0]
    half = VAE.load(file, decoder_only=True)
    Z = np.random.default_rng(0).normal(size=(4, 2))
    assert (half.decode(Z, "oak") == model.decode(Z, "oak")).all()
    with pytest.raises(NotFittedError, match="decoder_only"):
        half.transform(REAL, TEXT)
    with pytest.raises(NotFittedError, match="decoder_only"):
        to_safetensors(half, file.with_name("half"))
    with pytest.raises(ModelFileError, match="does not describe a Autoencoder: model is 'VAE'"):
        Autoencoder.load(file)


def refusal(path):
    """What is said where a file is refused; None where it is read."""
    try:
        load(path)
    except ModelFileError as error:
        return str(error)
    return None


def test_no_byte_can_change_unnoticed(file):
    """Of the header, of the numbers, and of what lies between; and no byte can be missing or too many."""
    content, model = file.read_bytes(), fitted("labels")[0].network_.parameters.values
    head, generator = int.from_bytes(content[:8], "little") + 8, random.Random(0)
    places = [*range(24), *generator.sample(range(24, head), 150), *generator.sample(range(head, len(content)), 150)]
    refused = 0
    for place in places:
        altered = bytearray(content)
        altered[place] ^= 1 << generator.randrange(8)
        file.write_bytes(altered)
        said = refusal(file)
        refused += said is not None
        if said is None:  # a byte of the description of the format's own, the library's version say
            assert (load(file).network_.parameters.values == model).all()
        else:
            assert str(file) in said
            assert "\n" not in said
    assert refused > 0.97 * len(places)
    for changed in (content[:-1], content[: head // 2], content[:9], content + b"\0"):
        file.write_bytes(changed)
        with pytest.raises(ModelFileError, match=r"model.safetensors"):
            load(file)


def described(text):
    return {"fastvae": text}


EMPTY = f'"format_version": 1, "content": {{}}, "content_sha256": "{hashlib.sha256(b"{}").hexdigest()}"'


@pytest.mark.parametrize(("metadata", "said"), [
    (None, "not one that fastvae wrote"),
    ({"format": "pt"}, "not one that fastvae wrote"),
    (described("{"), "not valid JSON"),
    (described("[]"), "without a valid format version"),
    (described('{"format_version": 2}'), "written by a newer fastvae, format 2; .* upgrade fastvae"),
    (described('{"format_version": 1, "content": {}}'), "without a model"),
    (described('{"format_version": 1, "content": {}, "sha256": {}, "content_sha256": "0"}'), "is damaged"),
    (described(f'{{{EMPTY}, "sha256": {{}}}}'), "other arrays"),
    (described(f'{{{EMPTY}, "sha256": {{"weight": "0"}}}}'), "array 'weight' is not what was"),
])  # fmt: skip
def test_foreign_files_are_refused(metadata, said, tmp_path):
    path = tmp_path / "other.safetensors"
    package.save_file({"weight": np.zeros((2, 2), np.float32)}, path, metadata)
    with pytest.raises(ModelFileError, match=said):
        VAE.load(path)


def test_the_command_and_what_it_refuses(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted("labels")[0].save("model.npz")
    assert main(["export", "model.npz", "--out", "m.safetensors"]) == 0
    assert main(["sample", "m.safetensors", "--condition", "oak", "-n", "3", "--out", "s.npy"]) == 0
    assert main(["export", "m.safetensors", "--out", "again.py"]) == 0
    capsys.readouterr()
    assert main(["export", "m.safetensors", "--out", "m.safetensors"]) == 2
    assert "is what is read" in capsys.readouterr().err
    for path, error, said in (
        ("x.npz", ValueError, "ends in .safetensors, not in .npz"),
        ("no/x.safetensors", FileAccessError, "the folder"),
        (".", ValueError, "is a folder: give the name"),
    ):
        with pytest.raises(error, match=said):
            to_safetensors(fitted("labels")[0], path)
    (tmp_path / "f.safetensors").mkdir()
    with pytest.raises(FileAccessError, match="it is a folder"):
        to_safetensors(fitted("labels")[0], "f")
    with pytest.raises(FileAccessError, match="it is a folder"):
        load("f.safetensors")
    with pytest.raises(FileAccessError, match=r"nosuch\.safetensors"):
        load("nosuch.safetensors")
    with pytest.raises(NotFittedError, match="is not fitted"):
        to_safetensors(VAE(**SMALL), "x")
    with pytest.raises(TypeError, match="a str is no model of fastvae"):
        to_safetensors("model", "x")


def test_without_the_package_it_says_what_is_missing(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for action in (lambda: load(file), lambda: to_safetensors(fitted("labels")[0], file)):
        with pytest.raises(MissingPackageError, match="pip install safetensors"):
            action()
