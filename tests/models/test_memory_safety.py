"""No public method or attribute leads to memory that is nobody's, and no array of the user's is kept."""

import gc
import pickle
import weakref

import numpy as np
import pytest

from fastvae.data import minibatches
from fastvae.data.minibatches import Examples
from fastvae.errors import DataFileError
from fastvae.training import Observer
from tests.support.commands import python
from tests.support.models import PIXELS, TABLE, data, small

WIDE = np.random.default_rng(1).normal(size=(60, 3000)).astype(np.float32)


# ---- parameters ---------------------------------------------------------------------------------------------------


def flat(array):
    array.shape = (1, -1)


@pytest.mark.parametrize("spoil", [flat, lambda a: a.setflags(write=False), lambda a: setattr(a, "dtype", np.int32)])
def test_what_is_done_to_a_view_of_a_parameter_stays_with_it(spoil):
    vae, alone = (small("gaussian", linear=False).fit(TABLE) for _ in range(2))
    network = vae.network_
    places = [*vae.parameters().values(), *network.parameters.named_gradients().values(), network.parameters.values]
    places += vae._optimizer.state.values()
    for array in places:
        spoil(array)
    for one in (vae, alone):
        one.loss_and_gradients(TABLE, np.ones((60, 3))), one.partial_fit(TABLE)
    np.testing.assert_array_equal(vae.elbo(TABLE), alone.elbo(TABLE))
    assert vae.parameters()["mu.weight"].shape == (7, 3)
    vae.parameters()["mu.weight"][...] = 0  # but writing into one changes the model
    assert (vae.transform(TABLE) == vae.parameters()["mu.bias"]).all()


# ---- learned attributes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_features_in_", 1), ("offset_", np.zeros(10**5)), ("scale_", np.ones(10**5)), ("seed_", "a"), ("sigma_", 1.0)],
)
def test_what_was_learned_cannot_be_replaced_in_part(name, value):
    vae = small("gaussian", scale="standard").fit(TABLE)
    before = vae.elbo(TABLE)
    with pytest.raises(AttributeError, match=name):
        setattr(vae, name, value)
    for array in (vae.offset_, vae.scale_):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7.0
    np.testing.assert_array_equal(vae.elbo(TABLE), before)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(vae)).elbo(TABLE), before)


def test_another_network_is_another_model():
    vae, other = small("gaussian").fit(TABLE), small("gaussian", scale="standard").fit(WIDE)
    vae.network_ = other.network_
    assert vae.n_features_in_ == 3000
    np.testing.assert_array_equal(vae.elbo(WIDE), other.elbo(WIDE))
    with pytest.raises(ValueError, match="expecting 3000 features"):
        vae.transform(TABLE)


@pytest.mark.parametrize("change", [
    lambda n, o: setattr(n, "architecture", o.architecture),
    lambda n, o: setattr(n, "units", o.units),
    lambda n, o: setattr(n, "encoder", o.encoder),
    lambda n, o: setattr(n, "_latent_units", o.units),
])  # fmt: skip
@pytest.mark.parametrize("wider", [True, False])
def test_parts_of_another_network_do_not_fit(change, wider):
    """An error, and no memory beyond the arrays is read."""
    vae, other = small("gaussian").fit(TABLE), small("gaussian", latent_dim=9).fit(WIDE)
    X, Y = TABLE, WIDE
    if not wider:
        vae, other, X, Y = other, vae, WIDE, TABLE
    change(vae.network_, other.network_)
    refused = 0
    for use in (vae.transform, vae.elbo, vae.reconstruct, vae.partial_fit, vae.loss_and_gradients):
        for rows in (X, Y):
            try:
                use(rows)
            except ValueError:
                refused += 1
    assert refused >= 5


def test_parameters_set_after_the_fit_wait_for_the_next():
    vae = small("gaussian").fit(TABLE)
    before = vae.elbo(TABLE)
    vae.set_params(latent_dim=500, hidden=(3,), likelihood="bernoulli", sigma=9.0)
    np.testing.assert_array_equal(vae.elbo(TABLE), before)
    with pytest.raises(ValueError, match="latent_dim=500 was set after this model was fitted with latent_dim=3"):
        vae.partial_fit(TABLE)


# ---- examples -----------------------------------------------------------------------------------------------------


USES = {
    "fit_examples": lambda v, e: v.fit_examples(e, 5, 32, None, None, Observer()),
    "heldout": lambda v, e: v.fit_examples(v.examples(TABLE), 5, 32, e, None, Observer()),
    "encode_examples": lambda v, e: v.encode_examples(e),
    "elbo_examples": lambda v, e: v.elbo_examples(e),
}


def longer_units(vae):
    examples = vae.examples(TABLE)
    examples.offset, examples.scale = np.zeros(10**5, np.float32), np.ones(10**5, np.float32)
    return examples


def other_rows(vae):
    examples = vae.examples(TABLE)
    examples.X = TABLE[:, :1]
    return examples


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (lambda vae: small("gaussian").initialize(WIDE), "has 3000 features; the model has 12: take this model's own"),
        (lambda vae: small("gaussian").initialize(TABLE[:, :1]), "has 1 features; the model has 12"),
        (lambda vae: small("gaussian", scale=None).initialize(TABLE), "is scaled as another model's"),
        (longer_units, "is scaled as another model's"),
        (other_rows, "has 1 features"),
        (lambda vae: TABLE, "is a ndarray: pass what initialize.X. or examples.X. has returned"),
    ],
)
def test_examples_of_another_model_are_refused(use, examples, message):
    vae = small("gaussian").fit(TABLE)
    before = vae.elbo(TABLE)
    with pytest.raises((ValueError, TypeError), match=message):
        USES[use](vae, examples(vae))
    np.testing.assert_array_equal(vae.elbo(TABLE), before)


@pytest.mark.parametrize("size", [0, -1, 1.5, "16"])
def test_a_batch_size_that_is_none(size):
    vae = small("gaussian").fit(TABLE)
    with pytest.raises((ValueError, TypeError), match="batch_size="):
        vae.fit_examples(vae.examples(TABLE), 9, size, None, None, Observer())


ROWS = np.arange(3)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, ">f4"])
@pytest.mark.parametrize(
    ("rows", "out"),
    [
        (np.array([10**9]), np.empty((1, 12), np.float32)),
        (np.array([60]), np.empty((1, 12), np.float32)),
        (np.array([-1]), np.empty((1, 12), np.float32)),
        (np.array([-(2**63)]), np.empty((1, 12), np.float32)),
        (ROWS.astype(np.int32), np.empty((3, 12), np.float32)),
        (ROWS.astype(float), np.empty((3, 12), np.float32)),
        (ROWS[:, None], np.empty((3, 12), np.float32)),
        (ROWS, np.empty((2, 12), np.float32)),
        (ROWS, np.empty((3, 11), np.float32)),
        (ROWS, np.empty((3, 12))),
        (ROWS, np.empty((12, 3), np.float32).T),
        (ROWS, np.empty((6, 12), np.float32)[::2]),
        (ROWS, np.broadcast_to(np.float32(0), (3, 12))),
        (ROWS, np.empty(36, np.float32)),
    ],
)
def test_rows_that_cannot_be_had(kind, rows, out):
    examples = small("gaussian").fit(TABLE).examples(TABLE.astype(kind))
    with pytest.raises((IndexError, ValueError, TypeError)):
        examples.fill(rows, out, 0, 0)


@pytest.mark.parametrize("start", [-1, 58, 61, 2**62, -(2**63)])
def test_positions_that_do_not_exist(start):
    """They would be walked over for ever."""
    with pytest.raises(IndexError, match="there are no positions"):
        small("gaussian").fit(TABLE).examples(TABLE).order(0, start, np.empty(3, np.int64))


def test_an_array_that_is_reshaped_meanwhile():
    X = TABLE.copy()
    vae, alone = small("gaussian"), small("gaussian").fit(TABLE)

    class Reshape(Observer):
        def stepped(self, state, examples):
            X.shape = (1, -1)

    vae.fit_examples(vae.initialize(X), 2, 16, None, None, Reshape())
    np.testing.assert_array_equal(vae.elbo(TABLE), alone.elbo(TABLE))


def test_examples_hold_no_wrong_scaling():
    vae = small("gaussian").fit(TABLE)
    examples = Examples(TABLE, np.zeros(3), np.ones(3), vae.seed_, vae.network_.kernels)
    with pytest.raises(ValueError, match="gather: data, indices, offset, scale, out are"):
        examples.fill(ROWS, np.empty((3, 12), np.float32), 0, 0)


# ---- what is kept -------------------------------------------------------------------------------------------------


ON_DATA = {
    "transform": lambda v, X: v.transform(X),
    "encode": lambda v, X: v.encode(X),
    "elbo": lambda v, X: v.elbo(X),
    "score": lambda v, X: v.score(X),
    "reconstruct": lambda v, X: v.reconstruct(X),
    "check": lambda v, X: v.check(X) is None,
    "loss_and_gradients": lambda v, X: v.loss_and_gradients(X),
    "partial_fit": lambda v, X: v.partial_fit(X),
    "fit": lambda v, X: v.fit(X, heldout=X),
    "examples": lambda v, X: v.elbo_examples(v.examples(X)),
    "initialize": lambda v, X: v.initialize(X) is None,
    "fit_examples": lambda v, X: v.fit_examples(v.examples(X), 9, 16, v.examples(X), None, Observer()),
}


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("use", ON_DATA)
def test_no_array_of_the_user_is_kept(use, likelihood):
    """Not even until the next garbage collection; of float32, and of a type that is converted."""
    vae = small(likelihood).fit(data(likelihood))
    ON_DATA[use](vae, data(likelihood))
    for kind in (np.float32, np.float16):
        X = np.tile(data(likelihood), (30, 1)).astype(kind)
        alive = weakref.ref(X)
        gc.disable()
        try:
            ON_DATA[use](vae, X)
            del X
            assert alive() is None
        finally:
            gc.enable()


def test_nor_after_an_error_nor_latents():
    vae = small().fit(PIXELS)
    for name, rows in (("transform", PIXELS), ("elbo", PIXELS), ("decode", np.ones((60, 3), np.float32))):
        X = rows.copy()
        X[50, 1] = np.nan
        alive = weakref.ref(X)
        try:
            getattr(vae, name)(X)
        except ValueError:
            pass
        else:
            raise AssertionError
        X = rows.copy()
        getattr(vae, name)(X)
        assert alive() is None
        alive = weakref.ref(X)
        del X
        assert alive() is None


# ---- mapped files -------------------------------------------------------------------------------------------------


@pytest.fixture
def mapped(tmp_path):
    path = tmp_path / "X.npy"
    np.save(path, np.random.default_rng(0).random((3000, 12), np.float32))
    return np.load(path, mmap_mode="r"), path


def cut(path, size=4096):
    with open(path, "r+b") as file:
        file.truncate(size)


@pytest.mark.parametrize("use", [u for u in ON_DATA if u not in ("initialize",)])
def test_a_mapped_file_that_was_cut_short_is_an_error(mapped, use):
    """Instead of the end of the process, before a row is read; a view of it, too."""
    X, path = mapped
    vae = small("gaussian").fit(X)
    before = vae.elbo(TABLE)
    for rows in (X, X[100:], np.asarray(X)[:, :], X[::2]):
        cut(path)
        with pytest.raises(DataFileError, match="is mapped from a file that another program has cut short"):
            ON_DATA[use](vae, rows)
        np.testing.assert_array_equal(vae.elbo(TABLE), before)


def test_a_file_that_is_cut_during_a_training(mapped):
    X, path = mapped
    vae = small("gaussian", epochs=50)

    class Cut(Observer):
        def stepped(self, state, examples):
            if state.step == 300:
                cut(path)

    with pytest.raises(DataFileError, match=r"cut short .*X\.npy.: it has 4096 bytes, 144128 are mapped"):
        vae.fit_examples(vae.initialize(X), 50, 16, None, None, Cut())
    assert vae.n_steps_ == 300
    assert np.isfinite(vae.transform(TABLE)).all()


@pytest.mark.parametrize("binarize", [None, "dynamic"])
@pytest.mark.parametrize("kind", [np.float32, np.float16, ">f4", np.uint8])
@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.5}, {"likelihood": "gaussian", "sigma": "optimal"}], ids=str)
def test_a_mapped_file_trains_as_an_array_in_memory(tmp_path, settings, kind, binarize, monkeypatch):
    """Bit for bit; also where few rows are copied at a time, and with two models in turn."""
    monkeypatch.setattr(minibatches, "STAGED_BYTES", 3000)
    X = (np.random.default_rng(0).random((203, 12)) * 1.99).astype(kind) / np.asarray(2, kind)
    np.save(tmp_path / "X.npy", X.astype(kind))
    mapped, found = np.load(tmp_path / "X.npy", mmap_mode="r"), []

    class Patient(Observer):
        interval = 10.0

        def stepped(self, state, examples):
            if state.step > 8 and len(found) == 1:
                other = small(**settings)
                other.initialize(rows)
                other.fit_examples(self.examples, 1, 10, None, None, Observer())

    for rows in (np.array(mapped), mapped):
        vae, observer = small(**settings), Patient()
        observer.examples = vae.initialize(rows, binarize)
        vae.fit_examples(observer.examples, 2, 16, None, None, observer)
        found.append(vae)
    np.testing.assert_array_equal(*(v.network_.parameters.values for v in found))
    np.testing.assert_array_equal(*(v.history_["loss"] for v in found))


def test_a_file_that_is_replaced_or_grows_is_read_on(mapped):
    X, path = mapped
    expected = small("gaussian").fit(np.array(X)).transform(TABLE)
    with open(path, "ab") as file:
        file.write(b"more")
    np.testing.assert_array_equal(small("gaussian").fit(X).transform(TABLE), expected)
    path.unlink()
    path.write_bytes(b"another")
    np.testing.assert_array_equal(small("gaussian").fit(X).transform(TABLE), expected)


def test_helpers_in_processes(tmp_path):
    """With helper threads the same: nothing is kept."""
    script = """
        import gc, weakref
        import numpy as np
        from fastvae import VAE
        from fastvae.kernels.cpu import workers
        X = np.random.default_rng(0).random((1500, 64), dtype="f4")
        vae = VAE(latent_dim=8, hidden=(256,), epochs=1, random_state=0).fit(X)
        gc.disable()
        for use in (vae.transform, vae.elbo, vae.reconstruct, vae.partial_fit, vae.loss_and_gradients):
            Y = X.copy()
            alive = weakref.ref(Y)
            use(Y)
            del Y
            assert alive() is None, use
        assert workers.POOL._helpers
        print("done")
    """
    assert python(script, FASTVAE_THREADS="3", timeout=100) == "done\n"
