"""Frames of pandas and polars: names of columns are remembered and compared, values converted, codes are frames."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

from fastvae import VAE
from fastvae.data import conversion
from fastvae.errors import NotFittedError

pd = pytest.importorskip("pandas", reason="pandas is not installed")
RNG = np.random.default_rng(0)
A = RNG.random((40, 3))
FRAME = pd.DataFrame(A, columns=list("abc"), index=range(100, 140))
MIXED = pd.get_dummies(FRAME.assign(k=list("xy") * 20))


def small(**settings):
    return VAE(2, (4,), likelihood="gaussian", epochs=1, batch_size=8, random_state=0, **settings)


def polars(frame):
    pl = pytest.importorskip("polars", reason="polars is not installed")
    return pl.DataFrame({name: list(frame[name]) for name in frame.columns})


# ---- names of columns --------------------------------------------------------------------------------------------

USES = ["transform", "encode", "elbo", "score_samples", "score", "reconstruct", "partial_fit", "loss_and_gradients"]


@pytest.mark.parametrize("make", [lambda frame: frame, polars], ids=["pandas", "polars"])
@pytest.mark.parametrize("use", USES)
def test_columns_must_be_those_of_fit(use, make):
    vae = small().fit(make(FRAME))
    assert vae.feature_names_in_.tolist() == ["a", "b", "c"]
    assert vae.feature_names_in_.dtype == object
    getattr(vae, use)(make(FRAME))
    getattr(vae, use)(A)  # nothing to compare
    for other, message in (
        (FRAME[["c", "b", "a"]], "X has its columns in another order .*column 0 is 'c', was 'a'; pass X.list"),
        (FRAME.rename(columns={"b": "B"}), "X has other columns .*; unexpected: 'B'; missing: 'b'"),
        (FRAME[["a", "b"]], "X has other columns .*; missing: 'c'"),
        (FRAME.assign(d=1.0), "X has other columns .*; unexpected: 'd'"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            getattr(vae, use)(make(other))
        assert "\n" not in str(caught.value)


def test_many_names_are_not_all_shown():
    names = [f"c{i}" for i in range(1000)]
    with pytest.raises(ValueError, match=r"missing: 'c0', .*'c4', \.\.\. \(1000 in all\)"):
        conversion.check_names(["x"] * 1000, names)
    with pytest.raises(ValueError, match="X has 3 columns, the model was fitted on 2; 'a' twice"):
        conversion.check_names(["a", "b", "a"], ["a", "b"])


def test_held_out_columns_are_compared_too():
    with pytest.raises(ValueError, match="heldout has its columns in another order"):
        small().fit(FRAME, heldout=FRAME[["b", "a", "c"]])


def test_a_fit_without_names_forgets_them():
    vae = small()
    assert not hasattr(vae, "feature_names_in_")
    assert hasattr(vae.fit(FRAME), "feature_names_in_")
    with pytest.raises(ValueError, match="batch_size=99"):
        vae.set_params(batch_size=99).fit(A)
    assert vae.feature_names_in_.tolist() == ["a", "b", "c"]  # a refused fit changes nothing
    assert not hasattr(vae.set_params(batch_size=8).fit(A), "feature_names_in_")
    assert not hasattr(vae.fit(pd.DataFrame(A)), "feature_names_in_")  # names that are numbers are none
    vae.transform(FRAME[["c", "b", "a"]])
    with pytest.raises(TypeError, match="some names of the columns are text and some are not"):
        vae.fit(pd.DataFrame(A, columns=["a", 1, 2]))


def test_names_are_part_of_the_model(tmp_path):
    vae = small().fit(FRAME.rename(columns={"b": "größe, \n"}))
    vae.save(tmp_path / "model.npz")
    for other in (VAE.load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(vae)), copy.deepcopy(vae)):
        assert other.feature_names_in_.tolist() == ["a", "größe, \n", "c"]
        with pytest.raises(ValueError, match="missing: 'größe"):
            other.transform(FRAME)
    small().fit(A).save(tmp_path / "model.npz")
    assert not hasattr(VAE.load(tmp_path / "model.npz"), "feature_names_in_")


def test_columns_of_a_table_that_a_command_trained_on(tmp_path, capsys):
    from fastvae import encode, train

    FRAME.to_csv(tmp_path / "t.csv", index=False)
    FRAME[["c", "a", "b"]].to_csv(tmp_path / "moved.csv", index=False)
    FRAME[["a", "b"]].assign(d=1).to_csv(tmp_path / "other.csv", index=False)
    words = ["--data", str(tmp_path / "t.csv"), "--epochs", "1", "--hidden", "4", "--latent-dim", "2", "--quiet"]
    assert train.main([*words, "--out", str(tmp_path / "run")]) == 0
    vae = VAE.load(tmp_path / "run/model.npz")
    with pytest.raises(ValueError, match="X has its columns in another order"):
        vae.transform(FRAME[["c", "a", "b"]])
    small().fit(FRAME).save(tmp_path / "own.npz")
    for model in (tmp_path / "run", tmp_path / "own.npz"):
        codes = []
        for table in ("t.csv", "moved.csv"):
            out = tmp_path / "codes.npy"
            assert encode.main([str(model), str(tmp_path / table), "--out", str(out)]) == 0
            codes.append(np.load(out))
        np.testing.assert_array_equal(*codes)
        assert encode.main([str(model), str(tmp_path / "other.csv"), "--out", str(tmp_path / "codes.npy")]) == 2
        assert "the model was trained on 'a', 'b', 'c'" in capsys.readouterr().err


# ---- frames that come back ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_output_as_a_frame(container):
    library = pytest.importorskip(container, reason=f"{container} is not installed")
    vae = small().fit(FRAME)
    codes = vae.transform(FRAME)
    assert type(codes) is np.ndarray
    assert vae.set_output(transform=container) is vae
    for copied in (vae, pickle.loads(pickle.dumps(vae)), vae.set_output(transform=None)):
        found = copied.transform(FRAME)
        assert isinstance(found, library.DataFrame)
        assert list(found.columns) == ["vae0", "vae1"]
        np.testing.assert_array_equal(found.to_numpy(), codes)
    if container == "pandas":
        assert found.index.equals(FRAME.index)
        assert vae.transform(A).index.equals(pd.RangeIndex(40))
    assert isinstance(small().set_output(transform=container).fit_transform(A), library.DataFrame)
    np.testing.assert_array_equal(vae.reconstruct(FRAME), vae.decode(codes))
    assert vae.score(FRAME) == pytest.approx(vae.score(A))
    assert type(vae.set_output(transform="default").transform(FRAME)) is np.ndarray
    with pytest.raises(ValueError, match="transform='panda' is not known: did you mean 'pandas'"):
        vae.set_output(transform="panda")
    with pytest.raises(NotFittedError):
        small().set_output(transform=container).transform(FRAME)


def test_output_as_scikit_learn_says():
    sklearn = pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    vae = small()
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(vae.fit_transform(FRAME), pd.DataFrame)
        assert type(vae.set_output(transform="default").transform(FRAME)) is np.ndarray
    pipeline = make_pipeline(StandardScaler(), small()).set_output(transform="pandas").fit(FRAME)
    assert list(pipeline.transform(FRAME).columns) == ["vae0", "vae1"]
    assert pipeline[-1].feature_names_in_.tolist() == ["a", "b", "c"]
    assert isinstance(sklearn.base.clone(pipeline[-1]).fit(FRAME).transform(FRAME), pd.DataFrame)


def test_neither_library_is_imported_nor_needed():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['pandas', 'polars', 'sklearn', 'scipy']));"
        "import numpy as np; from fastvae import VAE; X = np.random.default_rng(0).random((20, 3));"
        "vae = VAE(2, (4,), epochs=1, batch_size=10).fit(X); assert vae.transform(X).shape == (20, 2);"
        "vae.set_output(transform='pandas'); vae.transform(X)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: transform output as 'pandas' was set, which needs it: pip install pandas" in found.stderr


# ---- values ------------------------------------------------------------------------------------------------------

TAKEN = {
    "nullable": (FRAME.convert_dtypes(), A),
    "bool beside float": (MIXED, MIXED.to_numpy(float)),
    "whole, nullable, bool": (
        pd.DataFrame({"a": pd.array([1, 2], "Int8"), "b": [True, False], "c": pd.array([True, False], "boolean")}),
        np.array([[1, 1, 1], [2, 0, 0]], np.int8),
    ),
    "bool": (
        pd.DataFrame({"a": [True, False], "b": pd.array([False, True], "boolean")}),
        np.array([[1, 0], [0, 1]], bool),
    ),
    "sparse": (FRAME.astype(pd.SparseDtype(float)), A),
    "objects": (FRAME.astype(object), A),
    "float32": (FRAME.astype("float32"), A.astype("float32")),
}


@pytest.mark.parametrize("case", TAKEN)
def test_frames_of_numbers(case):
    frame, expected = TAKEN[case]
    found = conversion.as_array(frame)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype
    assert np.shares_memory(conversion.as_array(FRAME), FRAME.to_numpy())


def test_frames_of_polars():
    np.testing.assert_array_equal(conversion.as_array(polars(MIXED)), MIXED.to_numpy(float))
    np.testing.assert_array_equal(conversion.as_array(polars(FRAME)), A)
    with pytest.raises(ValueError, match=r"X has 2 missing values \(first: row 1, column 'a'\)"):
        conversion.as_array(polars(pd.DataFrame({"a": [1, None], "b": [True, None]}, dtype=object)))
    for values, message in ((["x", "y"], "text .first: 'x'"), ([[1], [2]], "Python objects")):
        with pytest.raises(TypeError, match=f"X has a column 'a' that holds {message}"):
            conversion.as_array(polars(pd.DataFrame({"a": values})))
    with pytest.raises(TypeError, match=r"pass X.collect\(\)"):
        conversion.as_array(polars(FRAME).lazy())


def missing(frame, *places):
    for row, column in places:
        frame.loc[row, column] = pd.NA
    return frame


REFUSED = {
    "missing": (
        missing(FRAME.convert_dtypes(), (103, "b"), (100, "c")),
        r"X has 2 missing values \(first: row 3, column 'b'\): fill or remove them",
    ),
    "missing bool": (
        pd.DataFrame({"a": pd.array([True, None], "boolean")}),
        r"X has 1 missing value \(first: row 1, column 'a'\)",
    ),
    "missing object": (pd.DataFrame({"a": [1, None]}, dtype=object), r"1 missing value \(first: row 1, column 'a'\)"),
    "categories": (
        FRAME.assign(k=pd.Categorical(list("xy") * 20)),
        r"column 'k' that holds categories; .*pandas.get_dummies\(X, columns=\['k'\]\)",
    ),
    "text": (FRAME.assign(k="x", l="y"), r"column 'k' that holds text \(first: 'x'\); .* \(and 'l'\)"),
    "numbers as text": (FRAME.assign(k="1.5"), r"column 'k' that holds numbers as text .*X\['k'\].astype\('float64'\)"),
    "dates": (FRAME.assign(k=pd.Timestamp("2020-01-01")), "column 'k' that holds dates or times .*seconds"),
    "dates of a zone": (FRAME.assign(k=pd.Timestamp("2020-01-01", tz="UTC")), "column 'k' that holds dates or times"),
    "durations": (FRAME.assign(k=pd.Timedelta(1, "s")), "column 'k' that holds dates or times"),
    "complex": (FRAME.assign(k=1j), r"column 'k' that holds complex numbers.*; .*X\['k'\].real"),
    "one column": (FRAME["a"], r"X has shape \(40,\), 1-D; .*X.to_frame\(\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_frames_that_hold_something_else(case):
    frame, message = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        small().fit(frame)
    assert "\n" not in str(caught.value)
