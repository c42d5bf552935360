"""A model as a file of NumPy: it gives what the model gives, in a process that has neither fastvae nor numba, and
refuses what the model refuses."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from fastvae import DBM, GSN, MADE, NADE, VAE, Autoencoder, TableVAE
from fastvae.__main__ import main
from fastvae.errors import FileAccessError, NotFittedError
from fastvae.export import to_numpy
from fastvae.models.registry import load
from tests.support.exported import BINARY, COUNTS, MODELS, NAMES, REAL, SMALL, TEXT, extreme, fitted, methods

RNG = np.random.default_rng(1)
ALONE = """
import sys
sys.modules["numba"] = sys.modules["fastvae"] = None
import numpy as np
import written
given = np.load("given.npz")
beside = [given["condition"]] if "condition" in given else []
found = {"decode": written.decode(given["Z"], *beside)}
if hasattr(written, "encode"):
    codes = written.encode(given["X"], *beside)
    found |= {"codes": codes} if isinstance(codes, np.ndarray) else {"codes": codes[0], "logvar": codes[1]}
    found["back"] = written.reconstruct(given["X"], *beside)
if hasattr(written, "score"):
    found["score"] = written.score(given["X"], *beside)
np.savez("found.npz", **found)
assert not {"scipy", "numba.core"} & set(sys.modules)
"""


def imported(path):
    """The functions of a written file."""
    scope = {"__file__": str(path), "__name__": path.stem}
    exec(path.read_text(), scope)
    return scope


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Name of a model to the functions of its file."""
    folder, found = tmp_path_factory.mktemp("written"), {}

    def get(name):
        if name not in found:
            found[name] = imported(to_numpy(fitted(name)[0], folder / f"model_{len(found)}")[0])
        return found[name]

    return get


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
def test_it_gives_what_the_model_gives(name, tmp_path):
    model, X, condition = fitted(name)
    far = X * 7 if "gaussian" in str(model) and name != "range" else X  # beyond the data of the training
    rows, Z = (
        np.concatenate([X, far]),
        RNG.normal(size=(180, model.network_.inputs["z"])) * np.repeat([1, 8], 90)[:, None],
    )
    given = {"X": rows, "Z": Z}
    beside = [] if condition is None else [np.concatenate([condition, condition])]
    to_numpy(model, tmp_path / "written")
    np.savez(tmp_path / "given.npz", **given, **({} if condition is None else {"condition": beside[0]}))
    done = subprocess.run([sys.executable, "-W", "error", "-c", ALONE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    expected = {"decode": model.decode(Z, *beside)}
    if "encode" in methods(model):
        expected |= {"codes": model.transform(rows, *beside), "back": model.reconstruct(rows, *beside)}
    if isinstance(model, VAE):
        expected["logvar"] = model.encode(rows, *beside)[1]
    if "score" in methods(model):
        expected["score"] = model.score_samples(rows, *beside)
    assert set(expected) == set(found.files)
    for what, wanted in expected.items():
        size = np.abs(wanted).max(axis=0)
        assert (np.abs(found[what] - wanted) <= 1e-5 * np.maximum(size, 1e-30)).all(), what
        assert found[what].dtype == wanted.dtype
        assert np.ptp(wanted) > 0


def outcome(method, *arguments):
    """What a call gives, in arrays; None where it is refused."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = method(*arguments)
    except ValueError:
        return None
    return found if isinstance(found, tuple) else (found,)


def check_alike(model, what, found, wanted, place):
    """Both refuse, or both give the same but for 1e-5 of the largest number of the row, in the model's units."""
    assert (found is None) == (wanted is None), f"{what}: {place}: {'refused' if found is None else 'not refused'}"
    for one, two in zip(found or (), wanted or (), strict=True):
        assert one.dtype == two.dtype
        if what in ("decode", "reconstruct"):
            units = model.network_.units
            one, two = ((values - units.offset) / units.scale for values in (one, two))
            rate = getattr(model, "likelihood", "") == "poisson"  # relative to its logarithm, of which it is the power
            size = np.abs(two) * (1 + np.abs(np.log(two + 1e-30))) if rate else np.abs(two).max()
        else:
            size = np.abs(two).max()
        assert (np.abs(one - two) <= 1e-5 * np.maximum(size, 1.0)).all(), f"{what}: {place}: {one} is not {two}"


@pytest.mark.parametrize("name", NAMES)
def test_extreme_rows_and_codes(name, written):
    (model, X, condition), file = fitted(name), written(name)
    beside = [] if condition is None else [condition[:1]]
    for what, method in methods(model).items():
        rows, names = extreme(RNG.normal(size=(9, 5)) if what == "decode" else X)
        for row, place in zip(rows, names, strict=True):
            row = np.resize(row, model.network_.inputs["z"]) if what == "decode" else row
            for dtype in (np.float64, np.float32):
                with np.errstate(over="ignore"):
                    given = row[None].astype(dtype)
                found, wanted = (outcome(f, given, *beside) for f in (file[what], method))
                check_alike(model, what, found, wanted, f"{place} in {dtype.__name__}")


@pytest.mark.parametrize("name", ["labels", "whole numbers", "booleans", "numbers", "one number"])
def test_conditions_are_taken_and_refused_alike(name, written):
    (model, X, condition), file = fitted(name), written(name)
    for given in (
        condition[:3], condition[:3].tolist(), condition[0], condition[:1], condition[:2], condition[:3, None], "yew",
        "oak", 7, True, 0.5, [0.5, 0.5], [1e300, 0.0], [[1.0, np.nan]] * 3, [1.0, 2.0, 3.0], np.array([1, 0, 1]),
        [True, False, True], np.zeros((3, 3)), np.inf, 1e39, ["ash", "oak", "elm"], None,
    ):  # fmt: skip
        expected = refused = None
        try:
            expected = model.transform(X[:3], given) if given is not None else None
        except (TypeError, ValueError) as error:
            refused = type(error)
        if expected is None:
            with pytest.raises((TypeError, ValueError)):
                file["encode"](X[:3], given)
        else:
            assert refused is None
            np.testing.assert_allclose(file["encode"](X[:3], given)[0], expected, rtol=1e-5, atol=1e-5)
    assert file["sample"](4, condition[0], 0).shape == (4, 5)
    assert (file["sample"](90, condition, 0) != file["sample"](90, condition[::-1], 0)).any()


def test_what_a_file_says_of_values_that_it_does_not_take(written):
    with pytest.raises(ValueError, match=r"X has values in \[-?\d.*, 3\], beyond the range"):
        written("bernoulli")["encode"](BINARY + 2)
    with pytest.raises(ValueError, match="no counts"):
        written("poisson")["score"](COUNTS + 0.5)
    with pytest.warns(UserWarning, match="up to .* times its width; each is taken as the nearest end"):
        written("minmax")["encode"](REAL * 2)
    with pytest.raises(ValueError, match="float32 overflows .first: row 1."):
        written("gaussian")["decode"](np.array([[0, 0], [3e38, 3e38]]))
    with pytest.raises(TypeError, match="dtype <U3; numbers are needed"):
        written("gaussian")["decode"](np.array([["oak", "elm"]]))
    with pytest.raises(ValueError, match=r"Z has shape \(2, 3\); \(N, 2\) is needed"):
        written("gaussian")["decode"](np.zeros((2, 3)))
    with pytest.raises(
        ValueError, match="label .*'yew'.*, which the model was not fitted on; known: .'ash' 'elm' 'oak'."
    ):
        written("labels")["encode"](REAL[:1], "yew")


def test_names_of_columns_are_data_and_no_code(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    names = ["a", '"""\nraise SystemExit("b")\n"""', "c'", "\\N", "{e}"]
    model = Autoencoder(likelihood="gaussian", **SMALL).fit(pandas.DataFrame(REAL, columns=names))
    assert imported(to_numpy(model, tmp_path / "named.py")[0])["COLUMNS"] == names


def test_the_command_and_what_it_refuses(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some").mkdir()
    VAE(likelihood="gaussian", **SMALL).fit(REAL).save("model.npz")
    Autoencoder(likelihood="gaussian", **SMALL).fit(REAL).save("other.npz")
    assert main(["export", "model.npz", "--out", "vae_model.py"]) == 0
    assert "import vae_model" in capsys.readouterr().err
    assert main(["export", "other.npz", "--out", "ae_model"]) == 0
    text = (tmp_path / "ae_model.py").read_text()
    assert "A trained Autoencoder" in text
    assert "fastvae" not in text.split('"""')[2]
    for words, said in {
        ("model.npz", "model.py"): "is what is read",
        ("model.npz", "my-model.py"): "'my-model' is no name that Python can import",
        ("nosuch.npz", "x.py"): "nosuch.npz",
        ("model.npz", "x.pt"): "the ending '.pt' is not known; valid: .py, .onnx, .safetensors",
        ("model.npz", "no/x.py"): "the folder",
        ("vae_model.py", "x.py"): "is a text file",
        ("model.npz", "."): ". is a folder: give the name of a file in it, NAME.py",
        ("model.npz", "some/"): "some is a folder",
    }.items():
        capsys.readouterr()
        assert main(["export", words[0], "--out", words[1]]) == 2
        line = capsys.readouterr().err
        assert said in line
        assert line.count("\n") == 1
    (tmp_path / "folder.py").mkdir()
    assert main(["export", "model.npz", "--out", "folder.py"]) == 2
    assert "folder.py" in capsys.readouterr().err
    assert not (tmp_path / "folder.npz").exists()
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    text = capsys.readouterr().out
    assert all(word in text for word in ("NAME.py", "NAME.encoder.onnx", "NAME.safetensors"))


class Derived(VAE):
    """Whose methods may be anything."""


class Mixed(Autoencoder):
    """The same."""


def test_models_without_such_a_file(tmp_path):
    for model in (MADE(likelihood="gaussian"), NADE(), DBM(), GSN()):
        with pytest.raises(TypeError, match=f"a {model.NAME} cannot be exported: what it computes is not an encoder"):
            to_numpy(model, tmp_path / "x")
    for kind in (Derived, Mixed):
        model = kind(likelihood="gaussian", **SMALL).fit(REAL)
        with pytest.raises(TypeError, match=f"a {kind.__name__} cannot be exported: it inherits from another"):
            to_numpy(model, tmp_path / "x")
    with pytest.raises(TypeError, match="a TableVAE cannot be exported: no format knows what it adds to a VAE"):
        to_numpy(TableVAE(), tmp_path / "x")
    with pytest.raises(NotFittedError, match="is not fitted"):
        to_numpy(VAE(), tmp_path / "x")
    with pytest.raises(TypeError, match="a dict is no model of fastvae"):
        to_numpy({}, tmp_path / "x")
    with pytest.raises(FileAccessError, match="the folder .* does not exist"):
        to_numpy(fitted("gaussian")[0], tmp_path / "no" / "x")
    with pytest.raises(ValueError, match="ends in .py, not in .onnx"):
        to_numpy(fitted("gaussian")[0], tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("known", "said"), [
    ("ACTIVATIONS", "no format knows relu"), ("MEANS", "no format knows likelihood 'gaussian'"), ("SEEN", "'gaussian'"),
])  # fmt: skip
def test_parts_that_no_format_knows(known, said, tmp_path, monkeypatch):
    monkeypatch.setattr(f"fastvae.export.portable.{known}", {"identity"} if known == "ACTIVATIONS" else ())
    with pytest.raises(TypeError, match=f"this VAE cannot be exported: .*{said}"):
        to_numpy(fitted("gaussian")[0], tmp_path / "x")


def test_what_is_loaded_as_a_decoder_alone(tmp_path):
    vae = VAE(likelihood="gaussian", **SMALL).fit(REAL, condition=TEXT)
    vae.save(tmp_path / "model.npz")
    scope = imported(to_numpy(load(tmp_path / "model.npz", decoder_only=True), tmp_path / "half.py")[0])
    assert not {"encode", "score", "reconstruct"} & set(scope)
    drawn = scope["sample"](4, "elm", 0)
    assert drawn.shape == (4, 5)
