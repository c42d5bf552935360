"""Files with right digests and wrong content, models of many columns, and what a training refuses to lose."""

import collections
import copy
import datetime
import decimal
import fractions
import tracemalloc

import numpy as np
import pytest

from fastvae import VAE, persistence
from fastvae.data.minibatches import Examples
from fastvae.errors import ModelFileError
from fastvae.kernels import cpu
from fastvae.training import Observer, State
from tests.support.models import PIXELS, StopAfter, data, small

NAMES = [f"column {i}" for i in range(12)]
METADATA = {"image_shape": [3, 4], "ink": True, "column_names": NAMES, "binarize": 0.5, "fingerprint": "ab"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Header and arrays of a checkpoint within the third epoch, with early stopping and every kind of metadata."""
    vae = small("gaussian", sigma="learned", scale="minmax", clip_norm=1.0)
    examples = vae.initialize(PIXELS)
    vae.metadata_ = dict(METADATA)
    vae.feature_names_in_ = np.array(NAMES, dtype=object)
    vae.fit_examples(examples, 9, 16, vae.examples(PIXELS[:20]), 5, StopAfter(10))
    assert vae._state.best_values is not None
    assert vae._state.position == 30
    path = tmp_path_factory.mktemp("files") / "checkpoint.npz"
    vae.save_checkpoint(path)
    return persistence.read_container(path, {"checkpoint"})


@pytest.fixture
def forge(checkpoint, tmp_path):
    """What `load_checkpoint` makes of a file with another value at a path, or another array."""

    def load(path, value, which=VAE.load_checkpoint):
        header, arrays = copy.deepcopy(checkpoint[0]), dict(checkpoint[1])
        inner = arrays if path[0] == "arrays" else header
        for name in path[path[0] == "arrays" : -1]:
            inner = inner[name]
        if value is MISSING:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
        persistence.write_container(tmp_path / "forged.npz", "checkpoint", header, arrays)
        return which(tmp_path / "forged.npz")

    return load


MISSING = object()
ODD = [None, True, -1, 1.5, 2**63, "nonsense", {"x": 1}, [[]], [-1]]
NUMBERS = {1.5, 2**63}
# what of ODD a field may be; everything else is refused, in each
TAKEN = {
    **dict.fromkeys(["beta", "kl_warmup_epochs", "learning_rate", "seconds", "free_bits"], NUMBERS),
    "weight_decay": {1.5},
    **dict.fromkeys(["best_elbo", "loss", "nll", "kl"], NUMBERS | {-1}),
    "clip_norm": NUMBERS | {None},
    "metadata": [{"x": 1}],
    **{name: {True} for name in ("verbose", "sigma_per_column", "linear", "early_stopping", "warm_start")},
    "decoder_hidden": {None},
    "scale": {None},
    "random_state": {None},
    "image_shape": {None},
    "ink": {None, True},
    "column_names": {None},
    "binarize": {None},
    "fingerprint": {None, "nonsense"},
    "stopped_early": {True},
}
OTHER_NAME = {
    "best_elbo": "best_elbo|best_epoch",
    "fitted": "fitted|params.x",
}  # in the message: both were said, and do not fit


def leaves(header, path=()):
    for name, value in header.items():
        yield (*path, name)
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, name))


def test_every_value_of_a_header_is_checked(checkpoint, forge):
    paths = list(leaves(checkpoint[0]))
    assert {path[-1] for path in paths} >= {
        "position",
        "latent_dim",
        "metadata",
        "fingerprint",
        "optimizer_steps",
        "kl",
    }
    for path in paths:
        name = path[-1]
        for value in ODD:
            if path in (("architecture", "linear"), ("architecture", "sigma_per_column")) and value is True:
                continue  # as it is
            if path[0] != "architecture" and any(
                value is taken or (value == taken and value is not True) for taken in TAKEN.get(name, ())
            ):
                assert isinstance(forge(path, value), VAE)
                continue
            with pytest.raises(ModelFileError, match=OTHER_NAME.get(name, name)) as caught:
                forge(path, value)
            assert "\n" not in str(caught.value)


def test_what_is_missing_is_said_or_changes_nothing(checkpoint, forge):
    expected = forge(("seed",), checkpoint[0]["seed"]).elbo(data("gaussian"))
    for path in leaves(checkpoint[0]):
        try:
            found = forge(path, MISSING)
        except ModelFileError as error:
            assert path[-1] in str(error) or path[0] == "training"  # noqa: PT017
        else:
            assert path[0] not in ("seed", "steps")
            assert path[0] != "params" or path[-1] in VAE.OLDER
            np.testing.assert_array_equal(found.elbo(data("gaussian")), expected)
    for name in checkpoint[1]:
        named = {"training": "best_epoch", "history": "history"}.get(name.split(".")[0], name)
        with pytest.raises(ModelFileError, match=named):
            forge(("arrays", name), MISSING)


RANGES = [  # of the right type, and wrong beside the rest
    ("training.position", 0, "position"),
    ("training.position", 2**60, "position"),
    ("training.epoch", 0, "epoch"),
    ("training.epoch", 3, "epoch"),
    ("training.step", 2**53, "step"),
    ("training.step", 1, "step"),
    ("training.sums", {}, "sums"),
    ("training.sums", {"loss": 1.0}, "sums"),
    ("training.sums", {"loss": 1.0, "nll": 1.0, "kl": 1.0, "x": 1.0}, "sums"),
    ("training.seconds", -1.0, "seconds"),
    ("training.best_epoch", 3, "best_epoch"),
    ("training.best_optimizer_steps", 11, "best_optimizer_steps"),
    ("training.optimizer_steps", 11, "optimizer_steps"),
    ("training.more", 1, "more"),
    ("steps", 0, "step"),
    ("seed", 2**64, "seed"),
    ("seed", 2, "random_state"),
    ("params.random_state", 2, "seed"),
    ("params.latent_dim", 4, "latent_dim"),
    ("params.hidden", [9], "hidden"),
    ("params.hidden", [9, 0], "hidden"),
    ("params.hidden", [9, True], "hidden"),
    ("params.hidden", [3] * 10**5, "hidden"),
    ("params.decoder_hidden", [9, 7], "decoder_hidden"),
    ("params.activation", "tanh", "activation"),
    ("params.likelihood", "bernoulli", "likelihood"),
    ("params.sigma", 0.0, "sigma"),
    ("params.scale", [1, 0], "scale"),
    ("params.scale", ["0", "1"], "scale"),
    ("params.scale", {"0": 0, "1": 0}, "scale"),
    ("params.epochs", 0, "epochs"),
    ("params.batch_size", 0, "batch_size"),
    ("params.learning_rate", 0.0, "learning_rate"),
    ("params.beta", -0.5, "beta"),
    ("params.device", "gpu", "device"),
    ("params.precision", "float16", "precision"),
    ("params.more", 1, "more"),
    ("fitted", {"latent_dim": 4}, "latent_dim"),
    ("fitted", {"more": 4}, "more"),
    ("architecture.inputs", 0, "inputs"),
    ("architecture.inputs", 13, "scaling.offset"),
    ("architecture.latent_dim", 0, "latent_dim"),
    ("architecture.hidden", [9], "hidden"),
    ("architecture.more", 1, "more"),
    ("metadata.image_shape", [3, 5], "image_shape"),
    ("metadata.image_shape", [12], "image_shape"),
    ("metadata.image_shape", [3.0, 4.0], "image_shape"),
    ("metadata.column_names", ["a"], "column_names"),
    ("metadata.column_names", [1] * 12, "column_names"),
    ("metadata.binarize", 1.0, "binarize"),
    ("metadata.ink", "yes", "ink"),
    ("feature_names", ["a"], "feature_names"),
    ("feature_names", [1] * 12, "feature_names"),
]


@pytest.mark.parametrize(("path", "value", "message"), RANGES)
def test_ranges_and_what_does_not_fit_together(forge, path, value, message):
    with pytest.raises(ModelFileError, match=message):
        forge(path.split("."), value)


def test_every_array_is_checked(checkpoint, forge):
    for name, array in checkpoint[1].items():
        odd = [array[:-1], array[None], array.astype("f2" if array.dtype == "f4" else "f4"), array.astype("i4")]
        if name != "history.heldout_elbo":  # of data that the model knows nothing of, it may be -inf
            odd += [np.full_like(array, value) for value in (np.nan, np.inf, -np.inf)]
        if name in ("scaling.scale", "optimizer.second_moment", "training.best_second_moment"):
            odd += [-array]
        if name == "scaling.scale":
            odd += [0 * array, array * 1e300]
        if name == "scaling.offset":
            odd += [np.full_like(array, 1e300)]
        if name == "history.epoch":
            odd += [array + 1, array[::-1]]
        if name == "log_sigma":
            odd += [np.full_like(array, 1e30)]
        for value in odd:
            with pytest.raises(ModelFileError, match=name.replace("history.epoch", "history")):
                forge(("arrays", name), value)
    for name in ("mu.weight", "history.loss", "optimizer.first_moment"):
        forge(("arrays", name), checkpoint[1][name] * np.nan, lambda path: VAE.load(path, decoder_only=True))


def test_what_a_header_only_claims_costs_no_memory(checkpoint, tmp_path):
    header, arrays = copy.deepcopy(checkpoint[0]), checkpoint[1]
    for hidden, latent_dim, inputs in (
        ([10**6, 10**6], 3, 12),
        ([9, 7], 10**9, 12),
        ([9, 7], 3, 2**50),
        ([2] * 10**5, 3, 12),
    ):
        header["architecture"] |= {"hidden": hidden, "decoder_hidden": hidden[::-1]}
        header["architecture"] |= {"latent_dim": latent_dim, "inputs": inputs}
        header["params"] |= {"hidden": hidden, "latent_dim": latent_dim}
        persistence.write_container(tmp_path / "forged.npz", "checkpoint", header, arrays)
        tracemalloc.start()
        try:
            persistence.read_container(tmp_path / "forged.npz", {"checkpoint"})
            least = tracemalloc.get_traced_memory()[1]
            tracemalloc.reset_peak()
            with pytest.raises(ModelFileError, match="should have shape|layers"):
                VAE.load(tmp_path / "forged.npz")
            assert tracemalloc.get_traced_memory()[1] < least + (1 << 24)
        finally:
            tracemalloc.stop()


# ---- going on ---------------------------------------------------------------------------------------------------


def test_a_position_beyond_the_data_is_refused_where_the_training_goes_on(forge):
    vae = forge(("training", "position"), 61)
    with pytest.raises(ValueError, match=r"position=61; expected 0 \.\.\. 60"):
        vae.fit_examples(vae.examples(PIXELS), 9, 16, None, None, Observer())


@pytest.mark.parametrize(
    "change",
    [{"position": -1}, {"epoch": -1}, {"step": -5}, {"position": 2**63}, {"sums": {}, "position": 8, "step": 3}],
)
def test_no_state_makes_the_loop_hang(change):
    vae = small()
    examples = vae.initialize(PIXELS)
    vars(vae._state).update(change)
    with pytest.raises(ValueError, match=next(iter(change))):
        vae.fit_examples(examples, 2, 16, None, None, Observer())


def test_an_epoch_that_was_done_and_not_ended_ends():
    vae = small()
    examples = vae.initialize(PIXELS)
    vae.fit_examples(examples, 2, 16, None, None, StopAfter(4))
    vae._state.epoch, vae._state.position, vae._state.records = 0, 60, []
    vae._state.sums = dict.fromkeys(("loss", "nll", "kl"), 1.0)
    vae.fit_examples(examples, 1, 16, None, None, Observer())
    assert vae.n_epochs_ == 1


def test_positions_that_are_none_of_an_epoch():
    examples = Examples(PIXELS, np.zeros(12), np.ones(12), np.uint64(0), cpu)
    for start, count in ((-1, 1), (60, 1), (0, 61), (2**62, 1)):
        with pytest.raises(IndexError, match="of (an epoch of )?60 examples"):
            examples.order(0, start, np.empty(count, np.int64))


@pytest.mark.parametrize("size", [0, -1, 1.5])
def test_a_batch_of_no_rows(size):
    vae = small()
    with pytest.raises((ValueError, TypeError), match="batch_size"):
        vae.fit_examples(vae.initialize(PIXELS), 1, size, None, None, Observer())


# ---- what can be fitted can be saved ----------------------------------------------------------------------------


def test_models_of_many_columns(tmp_path):
    count = 60_000
    X = np.random.default_rng(0).random((4, count), np.float32)
    names = [f"wavelength {i} nm" for i in range(count)]
    vae = VAE(2, (2,), scale=(X.min(0) - 0.1, X.max(0) + 0.1), epochs=1, batch_size=4, random_state=0).fit(X)
    vae.metadata_["column_names"] = vae.feature_names_in_ = names
    vae.save(tmp_path / "model.npz")
    for decoder_only in (False, True):
        loaded = VAE.load(tmp_path / "model.npz", decoder_only)
        assert loaded.metadata_["column_names"] == loaded.feature_names_in_.tolist() == names
        np.testing.assert_array_equal(loaded.scale[1], vae.scale[1])
        np.testing.assert_array_equal(loaded.sample(1), VAE.load(tmp_path / "model.npz").sample(1))


def test_files_of_many_layers(tmp_path):
    vae = small(hidden=(1,) * 1000, sigma="learned", likelihood="gaussian")
    vae.initialize(PIXELS)
    vae.save_checkpoint(tmp_path / "checkpoint.npz")
    with pytest.raises(ValueError, match="hidden has 1001 layers; at most 1000"):
        small(hidden=(1,) * 1001).fit(PIXELS)


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden": range(7, 9)},
        {"hidden": collections.deque([9])},
        {"scale": [fractions.Fraction(-1, 2), decimal.Decimal("1.5")]},
        {"scale": (range(-12, 0), [np.longdouble(2)] * 12)},
        {"random_state": np.random.RandomState(0)},
        {"activation": np.str_("tanh"), "verbose": np.False_},
    ],
)
def test_arguments_of_many_types_can_be_saved(tmp_path, settings):
    vae = small(**settings).fit(PIXELS)
    vae.save(tmp_path / "model.npz")
    np.testing.assert_array_equal(VAE.load(tmp_path / "model.npz").elbo(PIXELS), vae.elbo(PIXELS))
    VAE.load(tmp_path / "model.npz").partial_fit(PIXELS)


def test_ranges_out_of_a_frame_can_be_saved(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    frame = pandas.DataFrame(PIXELS, columns=NAMES)
    vae = small(scale=(frame.min() - 1, frame.max() + 1)).fit(PIXELS)
    vae.metadata_["means"] = frame.mean()
    vae.save(tmp_path / "model.npz")
    assert VAE.load(tmp_path / "model.npz").metadata_["means"] == pytest.approx(PIXELS.mean(0).tolist())


itself: list = []
itself.append(itself)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"when": datetime.date(2020, 1, 1)}, r"metadata_\['when'\] is of type date"),
        ({"scores": [1.0, float("nan")]}, r"metadata_\['scores'\]\[1\] is nan"),
        ({"scores": np.array([1.0, np.inf])}, r"metadata_\['scores'\]"),
        ({"classes": {0: "cat"}}, r"metadata_\['classes'\] has the key 0"),
        ({"x": itself}, "metadata_ is nested too deeply"),
        ({"x": "y" * (1 << 25)}, "at most 33554432"),
        ({"x": 10**5000}, "cannot be stored"),
        ({"image_shape": (5, 5)}, "image_shape"),
        ([], "metadata is"),
    ],
)
def test_metadata_that_no_file_holds_are_refused_before_the_training(tmp_path, metadata, message):
    vae = small()
    examples = vae.initialize(PIXELS)
    vae.metadata_ = metadata
    with pytest.raises((ValueError, TypeError), match=message):
        vae.fit_examples(examples, 1, 16, None, None, Observer())
    assert vae.n_steps_ == 0
    vae.metadata_ = {"note": "fine", "counts": np.arange(3), "share": fractions.Fraction(1, 4)}
    vae.fit_examples(examples, 1, 16, None, None, Observer())
    vae.save(tmp_path / "model.npz")
    assert VAE.load(tmp_path / "model.npz").metadata_ == {"note": "fine", "counts": [0, 1, 2], "share": 0.25}


def test_arguments_that_no_file_holds_are_refused_before_the_training():
    class Special(VAE):
        def __init__(self, callback=None, **settings):
            super().__init__(**settings)
            self.callback = callback

        @classmethod
        def _names(cls):
            return [*VAE._names(), "callback"]

    vae = Special(print, epochs=1, batch_size=16)
    with pytest.raises(TypeError, match="callback is of type builtin_function_or_method, which no model file holds"):
        vae.fit(PIXELS)
    assert not hasattr(vae, "network_")


def test_what_was_set_and_cannot_be_read_is_not_written(tmp_path):
    vae = small().fit(PIXELS)
    for name, value in (("epochs", -1), ("beta", "x"), ("hidden", 3), ("scale", "big"), ("random_state", 1.5)):
        before = getattr(vae, name)
        with pytest.raises((ValueError, TypeError), match=name):
            vae.set_params(**{name: value}).save(tmp_path / "model.npz")
        vae.set_params(**{name: before}).save(tmp_path / "model.npz")


# arguments and parts of a file as they were at first: files with these stay readable
FIRST_PARAMS = (
    "latent_dim", "hidden", "activation", "likelihood", "sigma", "beta", "kl_warmup_epochs", "epochs", "batch_size",
    "learning_rate", "clip_norm", "scale", "decoder_hidden", "precision", "device", "random_state", "verbose",
)  # fmt: skip
FIRST_ARCHITECTURE = ("inputs", "hidden", "latent_dim", "decoder_hidden", "activation", "likelihood", "sigma")
FIRST_TRAINING = ("epoch", "position", "step", "sums", "seconds", "best_elbo", "best_epoch", "stopped_early")


def test_files_of_earlier_versions_stay_readable(tmp_path):
    settings = {"sigma": "learned", "scale": "minmax", **VAE.OLDER}
    vae = small("gaussian", **settings)
    vae.fit_examples(vae.initialize(PIXELS), 9, 16, vae.examples(PIXELS[:20]), 5, StopAfter(10))
    vae.network_.likelihood.lowest[:] = -6.0  # as it was
    vae.save_checkpoint(tmp_path / "checkpoint.npz")
    header, arrays = persistence.read_container(tmp_path / "checkpoint.npz", {"checkpoint"})
    arrays["log_sigma"] = arrays.pop("sigma.parameter") * np.float32(10)
    del arrays["sigma.lowest"]
    header["params"] = {name: header["params"][name] for name in FIRST_PARAMS}
    header["architecture"] = {name: header["architecture"][name] for name in FIRST_ARCHITECTURE}
    header["training"] = {name: header["training"][name] for name in (*FIRST_TRAINING, "optimizer_steps")}
    header.pop("fitted")
    for name in ("training.best_first_moment", "training.best_second_moment"):
        del arrays[name]
    persistence.write_container(tmp_path / "old.npz", "checkpoint", header, arrays)
    old = VAE.load_checkpoint(tmp_path / "old.npz")
    first = {name: values.copy() for name, values in old.parameters().items()}
    assert old.sigma_ == pytest.approx(vae.sigma_, rel=1e-5)
    np.testing.assert_allclose(old.elbo(PIXELS), vae.elbo(PIXELS), rtol=1e-5)
    for name, values in first.items():
        np.testing.assert_allclose(values, vae.parameters()[name], rtol=1e-6)
    old.fit_examples(old.examples(PIXELS), 3, 16, old.examples(PIXELS[:20]), 5, Observer())
    old.keep_best()
    old.save(tmp_path / "new.npz")
    assert VAE.load(tmp_path / "new.npz").n_epochs_ == 3


def test_the_names_in_a_file_stay_what_they_are(checkpoint):
    """Of the arrays and the header; a version that writes others cannot be read by those before it."""
    header, arrays = checkpoint
    layers = "encoder.0", "encoder.1", "mu", "logvar", "decoder.0", "decoder.1", "decoder.2"
    model = [f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")]
    model += ["mu.linear.weight", "decoder.linear.weight", "sigma.parameter", "sigma.lowest"]
    history = ["epoch", "loss", "nll", "kl", "heldout_elbo", "images_per_second", "seconds"]
    moments = "first_moment", "second_moment"
    assert set(arrays) == {
        "scaling.offset", "scaling.scale", *model, *(f"history.{name}" for name in history),
        *(f"optimizer.{name}" for name in moments), "training.best_values", *(f"training.best_{m}" for m in moments),
    }  # fmt: skip
    since = {"best_optimizer_steps", "judged_from", "optimizer_steps", "cycle_epoch", "cycle_step"}
    assert set(header["training"]) == {*FIRST_TRAINING, *since}
    assert set(header["training"]["sums"]) == {"loss", "nll", "kl"}
    assert set(header["architecture"]) == {*FIRST_ARCHITECTURE, "sigma_per_column", "linear", "conditions"}
    assert set(header["params"]) == {*FIRST_PARAMS, *VAE.OLDER}


def of_the_version_before(state):
    """What `__getstate__` gives, as that version gave it: Adam's moments had names in the code, not in dicts."""
    attributes = vars(state["_state"]).copy()
    best = attributes.pop("best_state")
    attributes |= {f"best_{name}": best.get(name) for name in ("first_moment", "second_moment")}
    older = State.__new__(State)
    older.__setstate__(attributes)
    count, arrays = state["_packed_optimizer"]
    return state | {"_state": older, "_packed_optimizer": (count, *arrays.values())}


@pytest.mark.parametrize("best", [True, False])
@pytest.mark.parametrize("sigma", [None, 0.5, "learned", "optimal"])
def test_pickles_of_the_version_before_go_on(sigma, best):
    settings = {"likelihood": "bernoulli"} if sigma is None else {"likelihood": "gaussian", "sigma": sigma}
    settings |= {"patience": 5, "steps": 10} if best else {"patience": None, "steps": 6}
    patience, steps = settings.pop("patience"), settings.pop("steps")
    vae = small(**settings)
    vae.fit_examples(vae.initialize(PIXELS), 9, 16, vae.examples(PIXELS[:20]), patience, StopAfter(steps))
    assert (vae._state.best_values is not None) == bool(vae._state.best_state) == best
    old = VAE.__new__(VAE)
    old.__setstate__(of_the_version_before(vae.__getstate__()))
    for one in (old, vae):
        one.fit_examples(one.examples(PIXELS), 9, 16, one.examples(PIXELS[:20]), patience, Observer())
        one.keep_best()
    assert old._optimizer.step_count == vae._optimizer.step_count
    np.testing.assert_equal(old._optimizer.state, vae._optimizer.state)
    np.testing.assert_array_equal(old.network_.parameters.values, vae.network_.parameters.values)
