"""A model as ONNX: onnx finds nothing wrong, and onnxruntime gives what the model gives; where that refuses, NaN."""

import json
import sys

import numpy as np
import pytest

from fastvae import MADE, VAE
from fastvae.__main__ import main
from fastvae.errors import FileAccessError, MissingPackageError
from fastvae.export import to_onnx
from fastvae.models.registry import load
from tests.files.test_numpy_file import check_alike, outcome
from tests.support.exported import NAMES, REAL, SMALL, TEXT, extreme, fitted, methods

RNG = np.random.default_rng(2)


@pytest.fixture(scope="module")
def runtime():
    pytest.importorskip("onnx", reason="onnx is not installed")
    return pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.fixture(scope="module")
def sessions(runtime, tmp_path_factory):
    """Name of a model to its functions, as onnxruntime has them."""
    folder, found = tmp_path_factory.mktemp("onnx"), {}

    def get(name):
        if name not in found:
            written = to_onnx(fitted(name)[0], folder / f"{len(found)}.onnx")
            found[name] = {p.name.split(".")[1]: session(runtime, p) for p in written}
        return found[name]

    return get


def session(runtime, path):
    import onnx

    onnx.checker.check_model(str(path), full_check=True)
    return runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def call(s, rows, condition=None):
    """The outputs for rows, which have the type that the file asks for; and that type."""
    (first, *second), kinds = s.get_inputs(), {"tensor(double)": np.float64, "tensor(float)": np.float32}
    with np.errstate(over="ignore"):
        given = {first.name: np.asarray(rows, kinds[first.type])}
        if second:
            condition = np.asarray(condition)
            given["condition"] = condition.astype(object) if condition.dtype.kind == "U" else condition
            if condition.dtype.kind == "f":
                given["condition"] = condition.reshape(len(rows), -1).astype(kinds[second[0].type])
    return tuple(s.run(None, given)), given[first.name]


def refusing(found):
    """None where not all is finite: what a model that refuses would give."""
    return found if all(np.isfinite(values).all() for values in found) else None


FUNCTIONS = {"encoder": "encode", "decoder": "decode", "score": "score"}


@pytest.mark.parametrize("name", NAMES)
def test_it_gives_what_the_model_gives(name, sessions):
    (model, X, condition), files = fitted(name), sessions(name)
    known = methods(model)
    assert {FUNCTIONS[f] for f in files} == set(known) - {"reconstruct"}
    for function, s in files.items():
        rows = RNG.normal(size=(90, model.network_.inputs["z"])) * 4 if function == "decoder" else X
        for count in (90, 1, 7):
            beside = [] if condition is None else [condition[:count]]
            found, given = call(s, rows[:count], *beside)
            wanted = outcome(known[FUNCTIONS[function]], given, *beside)
            assert [o.shape[0] for o in found] == [count] * len(found)
            assert np.ptp(wanted[0]) > 0 or count == 1
            if function == "score":
                assert (np.abs(found[0] - wanted[0]) <= 1e-5 * np.maximum(1, np.abs(wanted[0]))).all()
            else:
                for i in range(count):
                    one = tuple(values[i : i + 1].astype(w.dtype) for values, w in zip(found, wanted, strict=True))
                    two = tuple(values[i : i + 1] for values in wanted)
                    check_alike(model, FUNCTIONS[function], one, two, f"row {i}")


@pytest.mark.parametrize("name", NAMES)
def test_extreme_rows_and_codes(name, sessions):
    """A row at a time, and all at once: no row changes what another gives."""
    (model, X, condition), files = fitted(name), sessions(name)
    beside = [] if condition is None else [condition[:1]]
    for function, s in files.items():
        rows, names = extreme(RNG.normal(size=(9, 5)) if function == "decoder" else X)
        rows = [np.resize(row, model.network_.inputs["z"]) if function == "decoder" else row for row in rows]
        together, _ = call(s, rows, *(np.repeat(c, len(rows), axis=0) for c in beside))
        for i, (row, place) in enumerate(zip(rows, names, strict=True)):
            found, given = call(s, row[None], *beside)
            wanted = outcome(methods(model)[FUNCTIONS[function]], given, *beside)
            found = refusing(found)
            saturated = found is None and wanted is not None and (np.abs(given) > 1e30).any()
            if not saturated:  # a tanh of what float32 does not hold is 1, to the model
                same = found and tuple(v.astype(w.dtype) for v, w in zip(found, wanted or found, strict=True))
                check_alike(model, FUNCTIONS[function], same, wanted, place)
            for one, all_rows in zip(found or (), together, strict=bool(found)):
                np.testing.assert_allclose(all_rows[i], one[0], rtol=1e-5, atol=1e-5 * np.abs(one).max())


@pytest.mark.parametrize(("name", "wrong"), [("labels", "yew"), ("whole numbers", 9), ("numbers", np.nan)])
def test_rows_of_unknown_conditions_are_nan(name, wrong, sessions):
    (_, X, condition), files = fitted(name), sessions(name)
    given = condition[:3].copy()
    given[1] = wrong
    for function, s in files.items():
        rows = X[:3] if function != "decoder" else np.zeros((3, 2))
        for values in call(s, rows, given)[0]:
            assert np.isnan(values[1]).all()
            assert np.isfinite(values[[0, 2]]).all()


def test_what_the_files_say_of_themselves(runtime, tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    import onnx

    model = VAE(likelihood="gaussian", **SMALL).fit(
        pandas.DataFrame(REAL, columns=list("abcd") + ["é"]), condition=TEXT
    )
    encoder, decoder, score = to_onnx(model, tmp_path / "table")
    assert [p.name for p in (encoder, decoder, score)] == [
        "table.encoder.onnx",
        "table.decoder.onnx",
        "table.score.onnx",
    ]
    said = {p.key: p.value for p in onnx.load(encoder).metadata_props}
    assert said["model"] == "VAE"
    assert said["likelihood"] == "gaussian"
    assert json.loads(said["feature_names"]) == ["a", "b", "c", "d", "é"]
    assert json.loads(said["labels"]) == ["ash", "elm", "oak"]
    np.testing.assert_allclose(json.loads(said["sigma"]), model.sigma_ * model.scale_)
    s = session(runtime, encoder)
    assert [(i.name, i.shape) for i in s.get_inputs()] == [("x", ["N", 5]), ("condition", ["N"])]
    assert [o.name for o in s.get_outputs()] == ["mu", "logvar"]
    assert [o.name for o in session(runtime, decoder).get_outputs()] == ["mean"]


def test_the_command_and_what_it_refuses(runtime, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fitted("gaussian")[0].save("model.npz")
    assert main(["export", "model.npz", "--out", "m.onnx"]) == 0
    assert "m.encoder.onnx, m.decoder.onnx, m.score.onnx" in capsys.readouterr().err
    load("model.npz", decoder_only=True)
    with pytest.raises(ValueError, match="ends in .onnx, not in .py"):
        to_onnx(fitted("gaussian")[0], "m.py")
    with pytest.raises(FileAccessError, match="the folder .* does not exist"):
        to_onnx(fitted("gaussian")[0], "no/m.onnx")
    with pytest.raises(ValueError, match="is a folder: give the name of a file in it, NAME.onnx"):
        to_onnx(fitted("gaussian")[0], tmp_path)
    assert [p.name for p in to_onnx(load("model.npz", decoder_only=True), "half")] == ["half.decoder.onnx"]
    (tmp_path / "f.decoder.onnx").mkdir()
    assert main(["export", "model.npz", "--out", "f.onnx"]) == 2
    assert "f.decoder.onnx" in capsys.readouterr().err
    assert not (tmp_path / "f.encoder.onnx").exists()
    with pytest.raises(TypeError, match="a MADE cannot be exported"):
        to_onnx(MADE(likelihood="gaussian"), "x.onnx")


def test_without_the_package_it_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    fitted("gaussian")[0].save(tmp_path / "model.npz")
    with pytest.raises(MissingPackageError, match="ONNX needs the package onnx: pip install onnx"):
        to_onnx(fitted("gaussian")[0], tmp_path / "x")
    assert main(["export", str(tmp_path / "model.npz"), "--out", str(tmp_path / "x.onnx")]) == 2
    assert "pip install onnx" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.onnx"))
