"""Data beyond the range that a model has learned, or in other units than its training data."""

import warnings

import numpy as np
import pytest

from fastvae import VAE

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(60, 5)) * [1, 10, 1e-3, 1e3, 1] + [0, 5, 1, 1e4, -3]
BEYOND = TABLE[:50].copy()
BEYOND[7, 1], BEYOND[7, 4], BEYOND[31, 3] = 1e3, -50, 0
USES = ["transform", "elbo", "reconstruct", "score_samples"]


def fitted(X=TABLE, **settings):
    how = {"likelihood": "bernoulli", "scale": "minmax"} | settings
    return VAE(2, (4,), epochs=1, batch_size=8, random_state=0, **how).fit(X)


def inside(X, vae):
    return np.clip(X, vae.offset_, vae.offset_ + vae.scale_)


@pytest.mark.parametrize("use", USES)
def test_values_beyond_a_learned_range_are_taken_as_its_end(use):
    vae = fitted()
    with pytest.warns(
        UserWarning, match=r"X has 3 values, in 2 of 50 rows, beyond .*\(column 1: .*1000\], learned"
    ) as told:
        found = getattr(vae, use)(BEYOND)
    assert len(told) == 1
    np.testing.assert_array_equal(found, getattr(vae, use)(inside(BEYOND, vae)))
    ordinary = np.delete(np.arange(50), [7, 31])
    np.testing.assert_array_equal(found[ordinary], getattr(vae, use)(TABLE[:50])[ordinary])


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int16", "uint8", ">f4"])
def test_a_row_gets_the_same_number_alone_and_among_others(dtype, monkeypatch):
    from fastvae import backend

    numbers = RNG.integers(1, 100, (60, 5)).astype(dtype)
    vae, more = fitted(numbers), np.vstack([numbers, numbers[:3] + numbers.dtype.type(101)])
    with pytest.warns(UserWarning, match="beyond the range of the training data"):
        whole = vae.transform(more)
    alone = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monkeypatch.setattr(backend, "CPU_PIECE", 7)
        pieces = vae.transform(more)
        alone = np.vstack([vae.transform(row[None]) for row in more])
    np.testing.assert_array_equal(pieces, whole)
    np.testing.assert_array_equal(alone, whole)
    np.testing.assert_array_equal(whole[:60], vae.transform(numbers))


def test_every_way_in_takes_them(tmp_path):
    vae = fitted()
    vae.save(tmp_path / "model.npz")
    expected = vae.transform(inside(BEYOND, vae))
    for model in (vae, VAE.load(tmp_path / "model.npz")):
        with pytest.warns(UserWarning, match="X has 3 values"):
            np.testing.assert_array_equal(model.encode(BEYOND)[0], expected)
        with pytest.warns(UserWarning, match="X has 3 values"):
            assert np.isfinite(model.loss_and_gradients(BEYOND)[0])
        with pytest.warns(UserWarning, match="X has 3 values"):
            model.partial_fit(BEYOND)
    assert BEYOND[7, 1] == 1e3
    with pytest.warns(UserWarning, match="heldout has 3 values"):
        VAE(2, (4,), epochs=1, batch_size=8, scale="minmax").fit(TABLE, heldout=BEYOND)


def test_what_is_no_number_is_still_refused():
    broken = BEYOND.copy()
    broken[40, 2] = np.nan
    for use in USES:
        with pytest.raises(ValueError, match=r"1 entry .*NaN at row 40, column 2"):
            getattr(fitted(), use)(broken)


def test_cross_validation_of_a_bernoulli_model():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from sklearn.model_selection import cross_val_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = cross_val_score(VAE(2, (4,), epochs=1, batch_size=8, scale="minmax", random_state=0), TABLE, cv=4)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    ("scale", "X", "advice"),
    [
        (None, TABLE, r"scale them, for example with scale='minmax'"),
        ("standard", TABLE, r"scale them to it with scale='minmax'"),
        ((0, 0.5), TABLE, r"the range that scale= gives must hold them all: widen it"),
    ],
)
def test_advice_does_not_name_what_is_set(scale, X, advice):
    pixels = RNG.random((60, 5)) / 2
    with pytest.raises(ValueError, match=rf"likelihood='bernoulli' needs values in \[0, 1\]: {advice}"):
        fitted(X, scale=scale)
    if scale != "standard":
        with pytest.raises(ValueError, match=rf"needs values in \[0, 1\]: {advice}"):
            fitted(pixels, scale=scale).transform(TABLE)


def test_a_table_that_a_command_trained_on_may_have_unseen_values(tmp_path, capsys):
    from fastvae import encode, train

    np.savetxt(tmp_path / "t.csv", TABLE, delimiter=",")
    np.savetxt(tmp_path / "more.csv", BEYOND, delimiter=",")
    words = [
        "--data",
        str(tmp_path / "t.csv"),
        "--likelihood",
        "bernoulli",
        "--epochs",
        "1",
        "--hidden",
        "4",
        "--quiet",
    ]
    for how, expected in (["auto"], 0), (["-1000000", "1000000"], 0), (["-90", "20000"], 2):
        out = tmp_path / "-".join(how)
        assert train.main([*words, "--out", str(out), "--scale", *how]) == 0
        BEYOND[7, 4] = -100
        np.savetxt(tmp_path / "more.csv", BEYOND, delimiter=",")
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            assert encode.main([str(out), str(tmp_path / "more.csv"), "--out", str(tmp_path / "c.npy")]) == expected
        said = capsys.readouterr().err
        assert ("beyond the range" in said) == (how == ["auto"])
        assert ("widen it" in said) == (expected == 2)


def test_a_large_constant_column_has_a_range_too():
    from fastvae.data.dataset import DataSet
    from fastvae.data.preparation import suitable_scale

    X = np.array([[1e17, 0.0], [1e17, 2.0]])
    low, high = suitable_scale("minmax", "bernoulli", DataSet("t", X), X.min(0), X.max(0))
    assert fitted(np.repeat(X, 9, axis=0), scale=(low, high)).transform(X).shape == (2, 2)
    assert all(a < b for a, b in zip(low, high, strict=True))


# ---- other units -------------------------------------------------------------------------------------------------

PIXELS = RNG.integers(0, 256, (60, 16))
PIXELS[0], PIXELS[1] = 0, 255
GAUSSIAN = {"likelihood": "gaussian"}
KINDS = {
    "given": {"scale": (0, 255)},
    "given, gaussian": {"scale": (0, 255)} | GAUSSIAN,
    "learned": {"scale": "minmax"},
    "standardised": {"scale": "standard"} | GAUSSIAN,
    "as they are": {"scale": None} | GAUSSIAN,
}


@pytest.mark.parametrize("kind", KINDS)
def test_data_in_other_units_are_named(kind, tmp_path):
    vae, units = fitted(PIXELS, **KINDS[kind]), PIXELS / 255
    vae.save(tmp_path / "model.npz")
    message = r"X has values in \[0, 1\], the model was trained on data in \[0, 255\]: the units seem to be others"
    for model in (vae, VAE.load(tmp_path / "model.npz")):
        for use in (*USES, "encode", "partial_fit"):
            with pytest.warns(UserWarning, match=message) as told:
                getattr(model, use)(units)
            assert len(told) == 1
    with pytest.warns(UserWarning, match="heldout has values in"):
        VAE(**vae.get_params()).fit(PIXELS, heldout=units)


def test_pixels_for_a_model_of_numbers_up_to_one():
    units = PIXELS / 255
    for settings in ({"scale": "standard"}, {"scale": None}, {"scale": (0, 1)}):
        with pytest.warns(UserWarning, match=r"X has values in \[0, 255\], the model was trained on data in \[0, 1\]"):
            fitted(units, **GAUSSIAN, **settings).transform(PIXELS)
    with pytest.raises(ValueError, match="bernoulli"):
        fitted(units, scale=None).transform(PIXELS)


def test_a_range_that_the_data_to_fit_do_not_use():
    with pytest.warns(UserWarning, match=r"X has values in \[0, 1\], the model is to scale, by scale=, \[0, 255\]"):
        fitted(PIXELS / 255, scale=(0, 255))


def test_data_in_the_same_units_are_not_remarked_on():
    vae = fitted(PIXELS, scale=(0, 255))
    for X in (PIXELS, PIXELS[:1], PIXELS // 100, np.zeros((10, 16)), np.zeros((10, 16), bool), PIXELS[:3] / 255):
        vae.transform(X)
    table = fitted(RNG.random((60, 16)), scale="standard", **GAUSSIAN)
    odd = RNG.random((60, 16))
    odd[3, 4] = 1e4
    table.transform(odd)
    table.transform(odd - 0.5)
    fitted(TABLE, scale="standard", **GAUSSIAN).transform(RNG.random((60, 5)))
