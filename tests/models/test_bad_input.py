"""Bad input to the estimator: a ValueError or TypeError that names the argument and what was found."""

import numpy as np
import pytest

from fastvae import VAE
from fastvae.errors import FileAccessError, ModelFileError, check_name

RNG = np.random.default_rng(0)
X = RNG.random((40, 5))
GAUSSIAN = {"likelihood": "gaussian"}


class Sparse:
    def toarray(self):
        return X


class Tensor:
    requires_grad = True


class Foreign:
    def __array__(self, *arguments, **keywords):
        raise TypeError("Got unsupported ScalarType BFloat16")


def changed(value, *places):
    result = X.copy()
    for place in places:
        result[place] = value
    return result


def fitted(**settings):
    return VAE(2, (4,), epochs=1, batch_size=8, random_state=0, **settings).fit(X)


DATA = {
    "nan": (changed(np.nan, (3, 1), (7, 0)), {}, ValueError, r"X has 2 entries .*NaN at row 3, column 1"),
    "infinite": (changed(np.inf, (0, 4)), GAUSSIAN, ValueError, r"X has 1 entry .*inf at row 0, column 4"),
    "too large for float32": (changed(1e300, (1, 2)), GAUSSIAN, ValueError, r"1 entry .*1e\+300 at row 1, column 2"),
    "empty": (np.empty((0, 5)), {}, ValueError, r"X is empty: 0 sample\(s\) \(shape=\(0, 5\)\) while a minimum of 1"),
    "no features": (
        np.empty((5, 0)),
        {},
        ValueError,
        r"X is empty: 0 feature\(s\) \(shape=\(5, 0\)\) while a minimum of 1",
    ),
    "one example": (X[:1], {}, ValueError, r"X has 1 sample \(shape \(1, 5\)\); fitting needs at least 2"),
    "1-D": (X[0], {}, ValueError, r"X has shape \(5,\), 1-D; .*reshape"),
    "0-D": (np.float32(3), {}, ValueError, r"X has shape \(\), 0-D"),
    "3-D": (X.reshape(8, 5, 5), {}, ValueError, r"X has shape \(8, 5, 5\), 3-D; .*flat"),
    "objects beside numbers": (
        np.array([[1.0, {}]], object),
        {},
        TypeError,
        r"argument must be a string or a real number",
    ),
    "string": (X.astype(str), {}, TypeError, r"X has dtype <U32, numbers as text .*X.astype\('float64'\)"),
    "string list": (X.astype(str).tolist(), {}, TypeError, r"numpy.asarray\(X\).astype\('float64'\)"),
    "text": (np.array([["a", "b"]] * 3), {}, TypeError, r"X has dtype <U1, text \(first: 'a'\).*categories"),
    "bytes": (np.array([[b"a"]] * 3), {}, TypeError, r"X has dtype |S1, text"),
    "complex": (X + 0j, {}, TypeError, r"X has dtype complex128.*numpy.hstack\(\[X.real, X.imag\]\)"),
    "dates": (np.array([["2020-01-01"]] * 3, "M8[D]"), {}, TypeError, r"X has dtype datetime64\[D\], dates.*seconds"),
    "durations": (np.array([[1]] * 3, "m8[s]"), {}, TypeError, r"durations.*seconds: X / numpy.timedelta64"),
    "nothing": (None, {}, TypeError, r"X has dtype object; .*pass a table"),
    "a path": ("table.csv", {}, TypeError, r"to read a file, fastvae.data.loading.load\(path\).X"),
    "a generator": ((row for row in X), {}, TypeError, r"pass an array or a table, not a generator"),
    "dictionaries": ([{"a": 1}, {"a": 2}], {}, TypeError, r"dictionaries.*pandas.DataFrame"),
    "records": (np.zeros(3, [("a", "f4")]), {}, TypeError, r"records.*structured_to_unstructured"),
    "None in a list": (
        [[1.0, 2.0], [3.0, None]],
        {},
        ValueError,
        r"1 missing value \(first: None at row 1, column 1\)",
    ),
    "mixed": ([[1.0, "a"]], {}, TypeError, r"text \(first: '1.0'\)|text \(first: 'a'\)"),
    "objects": (np.array([[1.0, "a"]], object), {}, TypeError, r"Python objects \(first: a str, 'a';"),
    "a sparse matrix": (Sparse(), {}, TypeError, r"X is a sparse Sparse: pass X.toarray\(\)"),
    "a tensor with gradients": (Tensor(), {}, TypeError, r"requires gradients: pass X.detach\(\)"),
    "a tensor of another type": (Foreign(), {}, TypeError, r"X \(Foreign\) cannot be read .*unsupported ScalarType"),
    "ragged": ([[1.0, 2.0], [3.0]], {}, ValueError, r"X is not an array: .*length: row 0 has 2 values, row 1 has 1$"),
    "of two depths": ([[1.0, 2.0], 3.0], {}, ValueError, r"X is not an array: its rows differ in length or depth$"),
    "masked": (np.ma.masked_less(X, 0.5), {}, ValueError, r"X has \d+ masked entries"),
    "below 0": (changed(-0.5, (2, 2)), {}, ValueError, r"X has values in \[-0.5, .*likelihood='bernoulli'"),
    "above 1": (X * 255, {}, ValueError, r"X has values in \[.*, 25\d.*likelihood='bernoulli'"),
    "constant column": (
        changed(0.25, (slice(None), 3)),
        GAUSSIAN | {"scale": "standard"},
        ValueError,
        r"scale='standard' .* 1 of 5 columns are constant \(first: column 3, always 0.25",
    ),
    "large constant column": (
        changed(1e6 + 0.1, (slice(None), 3)),
        GAUSSIAN | {"scale": "standard"},
        ValueError,
        r"column 3, always 1e\+06",
    ),
}


@pytest.mark.parametrize("case", DATA)
def test_data(case):
    bad, settings, error, message = DATA[case]
    with pytest.raises(error, match=message) as info:
        VAE(2, (4,), epochs=1, batch_size=8, **settings).fit(bad)
    assert "\n" not in str(info.value)


def test_only_a_word_is_taken_for_another_word():
    for value in (float("nan"), True, -1, None, [1]):
        with pytest.raises(ValueError, match=r"activation=.* is not known: valid: 'tanh', 'relu', 'l1', 'none'"):
            check_name("activation", value, ("tanh", "relu", "l1", "none"))
    with pytest.raises(ValueError, match="did you mean 'tanh'"):
        check_name("activation", "Tan", ("tanh", "relu"))


SETTINGS = [
    ({"latent_dim": 0}, ValueError, r"latent_dim=0 must be at least 1"),
    ({"latent_dim": -3}, ValueError, r"latent_dim=-3 must be at least 1"),
    ({"latent_dim": 2.5}, TypeError, r"latent_dim=2.5 must be a whole number"),
    ({"latent_dim": True}, TypeError, r"latent_dim=True must be a whole number"),
    ({"hidden": (4, 0)}, ValueError, r"hidden\[1\]=0 must be at least 1"),
    ({"hidden": 400}, TypeError, r"hidden=400 must be a tuple"),
    ({"hidden": "400"}, TypeError, r"hidden='400' must be a tuple"),
    ({"decoder_hidden": (-1,)}, ValueError, r"decoder_hidden\[0\]=-1 must be at least 1"),
    ({"activation": "rleu"}, ValueError, r"activation='rleu' is not known: did you mean 'relu'\?"),
    ({"activation": None}, ValueError, r"activation=None is not known"),
    ({"likelihood": "bernouli"}, ValueError, r"likelihood='bernouli' is not known: did you mean 'bernoulli'\?"),
    ({"likelihood": "gaussian", "sigma": 0}, ValueError, r"sigma=0 must be a positive number"),
    ({"sigma": -1.0}, ValueError, r"sigma=-1.0 must be a positive number"),
    ({"sigma": float("nan")}, ValueError, r"sigma=nan must be a positive number"),
    ({"sigma": "learnt"}, ValueError, r"sigma='learnt' is not known: did you mean 'learned'\?"),
    ({"sigma": None}, ValueError, r"sigma=None must be a positive number"),
    ({"beta": -0.1}, ValueError, r"beta=-0.1 must be at least 0"),
    ({"beta": "1"}, TypeError, r"beta='1' must be a number"),
    ({"kl_warmup_epochs": -1}, ValueError, r"kl_warmup_epochs=-1 must be at least 0"),
    ({"epochs": 0}, ValueError, r"epochs=0 must be at least 1"),
    ({"batch_size": 0}, ValueError, r"batch_size=0 must be at least 1"),
    ({"batch_size": 41}, ValueError, r"batch_size=41 is larger than the data \(40 examples\): use at most 40"),
    ({"learning_rate": 0}, ValueError, r"learning_rate=0 must be greater than 0"),
    ({"learning_rate": float("inf")}, ValueError, r"learning_rate=inf must be"),
    ({"clip_norm": 0.0}, ValueError, r"clip_norm=0.0 must be greater than 0"),
    ({"scale": "standart"}, ValueError, r"scale='standart' is not known: did you mean 'standard'\?"),
    ({"scale": (1, 1)}, ValueError, r"scale=\(1, 1\): expected finite numbers"),
    ({"scale": 3.0}, ValueError, r"scale=3.0 is not known"),
    ({"precision": "float16"}, ValueError, r"precision='float16' is not known: did you mean '\w*float\w*'"),
    ({"device": "gpu"}, ValueError, r"device='gpu' is not known: .*'cuda'"),
    ({"device": "cuda"}, ValueError, r"device='cuda' cannot be had"),
    ({"random_state": -1}, ValueError, r"random_state=-1 must be at least 0"),
    ({"random_state": 2**64}, ValueError, r"random_state=18446744073709551616 must be at most"),
    ({"random_state": "0"}, TypeError, r"random_state='0' must be a whole number"),
]


@pytest.mark.parametrize(("settings", "error", "message"), SETTINGS, ids=[str(s[0]) for s in SETTINGS])
def test_settings(settings, error, message):
    with pytest.raises(error, match=message) as info:
        VAE(**({"latent_dim": 2, "hidden": (4,), "batch_size": 8, "epochs": 1} | settings)).fit(X)
    assert "\n" not in str(info.value)


def test_a_refused_fit_leaves_the_earlier_model():
    vae = fitted()
    before = vae.transform(X)
    with pytest.raises(ValueError, match="NaN at row 3"):
        vae.fit(changed(np.nan, (3, 1)))
    with pytest.raises(ValueError, match="batch_size=99"):
        vae.set_params(batch_size=99).fit(X)
    assert (vae.transform(X) == before).all()


USES = [
    (
        lambda v: v.transform(X[:, :4]),
        r"X has 4 features, but VAE is expecting 5 features as input \(shape \(40, 4\)\)",
    ),
    (lambda v: v.elbo(changed(np.nan, (9, 0))), r"X has 1 entry .*row 9, column 0"),
    (lambda v: v.transform(X * 3), r"X has values in .*likelihood='bernoulli'"),
    (lambda v: v.transform(X[0]), r"Reshape your data: one example"),
    (lambda v: v.decode(np.zeros((2, 3))), r"Z has 3 features, but the model is expecting 2 features"),
    (lambda v: v.decode(np.full((1, 2), np.inf)), r"Z has 2 entries .*inf at row 0, column 0"),
    (lambda v: v.partial_fit(X[:, 1:]), r"X has 4 features"),
    (lambda v: v.fit(X, heldout=X[:, 1:]), r"heldout has 4 features"),
    (lambda v: v.fit(X, heldout=X, patience=0), r"patience=0 must be at least 1"),
    (lambda v: v.loss_and_gradients(X, np.zeros((3, 2))), r"noise has 3 rows .*X has 40"),
    (lambda v: v.loss_and_gradients(X, np.zeros((40, 3))), r"noise has 3 features"),
    (lambda v: v.sample(0), r"n=0 must be at least 1"),
    (lambda v: v.sample(2, random_state=-5), r"random_state=-5"),
]


@pytest.mark.parametrize(("use", "message"), USES)
def test_use(use, message):
    with pytest.raises(ValueError, match=message):
        use(fitted())


def test_files(tmp_path):
    with pytest.raises(FileAccessError, match="missing.npz"):
        VAE.load(tmp_path / "missing.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ModelFileError, match="text.npz"):
        VAE.load(tmp_path / "text.npz")
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    with pytest.raises(ModelFileError, match="foreign.npz"):
        VAE.load(tmp_path / "foreign.npz")
    with pytest.raises(FileAccessError, match="no-folder"):
        fitted().save(tmp_path / "no-folder" / "model.npz")


def test_a_full_disk_leaves_the_earlier_file(tmp_path, monkeypatch):
    import errno
    import os

    vae = fitted()
    vae.save(tmp_path / "model.npz")
    before = (tmp_path / "model.npz").read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileAccessError, match=r"[Nn]o space left on device") as info:
        vae.partial_fit(X).save(tmp_path / "model.npz")
    assert isinstance(info.value, ValueError)
    assert (tmp_path / "model.npz").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model.npz"]


def test_a_header_that_lies_is_refused_before_anything_is_allocated(tmp_path):
    """A file with right digests, made by somebody who wants memory for a decoder of 10^15 parameters."""
    from fastvae import persistence

    vae = fitted()
    header, arrays = vae._contents()
    for change in (
        {"architecture": header["architecture"] | {"latent_dim": 10**12, "hidden": [10**12]}},
        {"architecture": header["architecture"] | {"hidden": [4] * 100000}},
        {"architecture": header["architecture"] | {"activation": "os.system"}},
        {"architecture": 3},
        {"params": {"unknown": 1}},
        {"params": None},
        {"seed": -1},
        {"seed": "x"},
        {"model": "GAN"},
        {"metadata": 5},
    ):
        persistence.write_container(tmp_path / "model.npz", "model", header | change, arrays)
        with pytest.raises(ModelFileError, match=r"model\.npz"):
            VAE.load(tmp_path / "model.npz")
    for missing in ("mu.weight", "scaling.scale", "decoder.0.bias"):
        persistence.write_container(
            tmp_path / "model.npz", "model", header, {k: v for k, v in arrays.items() if k != missing}
        )
        with pytest.raises(ModelFileError, match=missing):
            VAE.load(tmp_path / "model.npz")


@pytest.mark.parametrize("use", ["transform", "encode", "elbo", "score", "reconstruct"])
@pytest.mark.parametrize(("value", "message"), [(np.nan, "1 entry"), (np.inf, "1 entry"), (1.5, "bernoulli")])
def test_a_bad_value_in_a_late_piece_is_found(use, value, message):
    """More rows than are computed at a time, the bad one among the last, in every dtype that can hold it."""
    many = np.tile(X, (40, 1))
    many[1590, 3] = value
    vae = fitted()
    for dtype in (np.float64, np.float32, np.float16, ">f4"):
        with pytest.raises(ValueError, match=message) as info:
            getattr(vae, use)(many.astype(dtype))
        if message == "1 entry":
            assert "row 1590, column 3" in str(info.value)
