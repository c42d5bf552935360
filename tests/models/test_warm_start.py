"""A fit that goes on from the one before, and what a user has called meanwhile."""

import warnings

import numpy as np
import pytest

from fastvae import VAE
from fastvae.errors import DivergenceError, TrainingInProgressError
from fastvae.models.registry import ESTIMATORS, estimator
from tests.support.models import TABLE, small

BINARY = (np.random.default_rng(0).random((60, 6)) < 0.4).astype(np.float32)
SMALL = {"latent_dim": 2, "hidden": (5,)}
OWN = {"GSN": {"hidden": (5, 4)}, "DBM": {"hidden": (5, 4)}, "NADE": {"hidden": 5}, "RBM": {"hidden": 5}}
PLAIN = {"schedule": "constant", "warmup_steps": 0, "average": 0.0}


def made(name, **more):
    kind = estimator(name)
    known = kind().get_params()
    given = {n: v for n, v in SMALL.items() if n in known} | OWN.get(name, {}) | {"epochs": 2, "batch_size": 20}
    return kind(random_state=0, **given | more)


def same(one, other):
    return all((one.parameters()[n] == v).all() for n, v in other.parameters().items())


# ---- warm start --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_two_fits_are_one_that_is_longer(name):
    twice = made(name, warm_start=True, **PLAIN).fit(BINARY)
    first = {n: v.copy() for n, v in twice.parameters().items()}
    twice.fit(BINARY)
    once = made(name, **PLAIN, **{"warm_start": False}).set_params(epochs=4).fit(BINARY)
    assert same(twice, once)
    assert twice.n_epochs_ == 4
    assert twice.n_steps_ == once.n_steps_
    assert any((first[n] != v).any() for n, v in twice.parameters().items())
    np.testing.assert_array_equal(twice.history_["loss"], once.history_["loss"])
    anew = twice.set_params(warm_start=False).fit(BINARY)
    assert all((first[n] == v).all() for n, v in anew.parameters().items())


def test_every_estimator_has_the_same_words():
    shared = {"schedule", "warmup_steps", "average", "optimizer", "weight_decay", "clip_norm", "warm_start"}
    for name in ESTIMATORS:
        params = estimator(name)().get_params()
        assert shared <= set(params), name
        stops = {"early_stopping", "validation_fraction"} & set(params)
        assert len(stops) == (0 if name == "GAN" else 2), name  # which has no score to stop by


def test_a_warm_start_has_the_condition_scaling_and_names_of_the_first_fit():
    labels = np.arange(60) % 3
    vae = small("gaussian", warm_start=True).fit(TABLE, condition=labels)
    offset = vae.offset_.copy()
    vae.fit(TABLE[:30] + 1, condition=labels[:30] % 2, sample_weight=np.arange(30))
    assert (vae.offset_ == offset).all()
    assert vae.classes_.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="label 7"):
        vae.fit(TABLE, condition=labels + 7)
    with pytest.raises(ValueError, match="pass condition too"):
        vae.fit(TABLE)
    with pytest.raises(ValueError, match="11 features"):
        vae.fit(TABLE[:, :11], condition=labels)


def test_what_the_first_fit_has_fixed_is_refused_by_name():
    vae = small("gaussian", warm_start=True).fit(TABLE)
    before = {n: v.copy() for n, v in vae.parameters().items()}
    for name, value in (("latent_dim", 4), ("hidden", (9,)), ("scale", None), ("random_state", 2), ("sigma", 1.0)):
        kept = getattr(vae, name)
        with pytest.raises(ValueError, match=rf"{name}=.* was set .*set warm_start=False and call fit to start anew"):
            vae.set_params(**{name: value}).fit(TABLE)
        vae.set_params(**{name: kept})
    with pytest.raises(TypeError, match="warm_start='yes' must be True or False"):
        vae.set_params(warm_start="yes").fit(TABLE)
    assert all((before[n] == v).all() for n, v in vae.parameters().items())
    vae.set_params(warm_start=True, learning_rate=1e-4, beta=2.0, epochs=1).fit(TABLE)
    assert vae.n_epochs_ == 3


def test_schedule_average_and_early_stopping_begin_again():
    settings = {"schedule": "linear", "warmup_steps": 2, "average": 0.5, "warm_start": True}
    vae = small("gaussian", **settings).fit(TABLE)
    vae.fit(TABLE)
    part = vae._optimizer.parts[0]
    steps = vae.n_steps_ // 2
    factors = part.schedule.factors(1 + np.arange(2 * steps))
    assert (part.schedule.total, part.schedule.begun) == (steps, steps)
    np.testing.assert_array_equal(factors[steps : steps + 2], [0.5, 1.0])
    assert factors[-1] == pytest.approx(1 / (steps - 2))
    assert part.average_from == steps + 1 + steps // 2
    few = {"epochs": 30, "learning_rate": 0.01, "linear": False, "warm_start": True}
    stopping = small("gaussian", **few).fit(TABLE, heldout=TABLE[:30], patience=2)
    best = stopping.n_epochs_
    assert stopping.best_epoch_ > 0
    start = {n: v.copy() for n, v in stopping.parameters().items()}
    worse = stopping.set_params(learning_rate=0.5, clip_norm=1.0).fit(TABLE, heldout=TABLE[:30], patience=2)
    assert (worse.n_epochs_, worse.best_epoch_) == (best + 2, best)  # the start is the best there is
    assert all((start[n] == v).all() for n, v in worse.parameters().items())


def test_a_warm_start_after_a_file_a_partial_fit_and_an_error(tmp_path):
    vae = small("gaussian", warm_start=True).partial_fit(TABLE)
    vae.fit(TABLE)
    assert vae.n_epochs_ == 3
    vae.save(tmp_path / "vae.npz")
    loaded = VAE.load(tmp_path / "vae.npz")
    assert loaded.warm_start is True
    assert loaded.fit(TABLE).n_epochs_ == 5
    before = {n: v.copy() for n, v in vae.parameters().items()}
    with pytest.raises(DivergenceError):
        vae.set_params(learning_rate=1e30).fit(TABLE)
    assert all((before[n] == v).all() for n, v in vae.parameters().items())
    assert vae.n_epochs_ == 3
    decoder = VAE.load(tmp_path / "vae.npz", decoder_only=True)
    with pytest.raises(ValueError, match="decoder_only=True"):
        decoder.fit(TABLE)


def test_a_checkpoint_within_a_further_fit_goes_on_as_that_would(tmp_path):
    """Also in the middle of its schedule."""

    def keep(model, record):
        if record["epoch"] == 3:
            model.save_checkpoint(tmp_path / "checkpoint.npz")

    vae = small("gaussian", schedule="cosine", warm_start=True).fit(TABLE).fit(TABLE, callbacks=keep)
    resumed = VAE.load_checkpoint(tmp_path / "checkpoint.npz")
    from fastvae.training import Observer

    resumed.fit_examples(resumed.examples(TABLE), 4, 16, None, None, Observer())
    assert same(resumed, vae)


# ---- callbacks ---------------------------------------------------------------------------------------------------


class Recording:
    """Hears of everything."""

    def __init__(self):
        self.heard = []

    def on_train_begin(self, model):
        self.heard.append(("begin", model.n_epochs_))

    def on_epoch_end(self, model, record):
        self.heard.append((record["epoch"], record["loss"]))
        record.clear()  # it is a copy

    def on_train_end(self, model):
        self.heard.append(("end", model.n_epochs_))


def test_callbacks_hear_of_a_training():
    watching, losses = Recording(), []
    vae = small("gaussian").fit(TABLE, callbacks=[watching, lambda model, record: losses.append(record["loss"])])
    assert watching.heard == [("begin", 0), *zip((1, 2), losses, strict=True), ("end", 2)]
    assert losses == vae.history_["loss"].tolist()
    assert same(vae, small("gaussian").fit(TABLE))


def test_true_ends_the_training():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vae = small("gaussian", epochs=50).fit(TABLE, callbacks=lambda model, record: np.True_ & (record["epoch"] == 3))
    assert (vae.n_epochs_, vae.stopped_early_) == (3, True)
    assert same(vae, small("gaussian", epochs=3).fit(TABLE))
    full = small("gaussian").fit(TABLE, callbacks=lambda model, record: record["epoch"] == 2)
    assert not full.stopped_early_
    best = small("gaussian", epochs=9, learning_rate=0.3).fit(
        TABLE, heldout=TABLE, patience=9, callbacks=lambda model, record: record["epoch"] == 5
    )
    assert best.n_epochs_ == 5
    assert best.best_epoch_ <= 5


def test_what_a_callback_raises_ends_the_training_and_costs_nothing():
    vae, watching = small("gaussian").fit(TABLE), Recording()
    before = {n: v.copy() for n, v in vae.parameters().items()}

    def fail(model, record):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        vae.fit(TABLE, callbacks=[watching, fail])
    assert watching.heard[-1] == ("end", 1)
    assert all((before[n] == v).all() for n, v in vae.parameters().items())
    fresh = small("gaussian")
    with pytest.raises(RuntimeError, match="mine"):
        fresh.fit(TABLE, callbacks=fail)
    with pytest.raises(ValueError, match="not fitted"):
        fresh.transform(TABLE)


def test_the_model_may_be_used_and_not_trained(tmp_path):
    scores = []

    def look(model, record):
        scores.append(model.score(TABLE))
        model.save(tmp_path / "so far.npz")
        with pytest.raises(TrainingInProgressError):
            model.partial_fit(TABLE)

    small("gaussian").fit(TABLE).fit(TABLE, callbacks=look)
    assert len(scores) == 2
    assert VAE.load(tmp_path / "so far.npz").n_epochs_ == 2


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        ("print", r"callbacks='print' is none, nor a list of some: expected a function of \(model, record\)"),
        (3, "callbacks=3 is none, nor a list"),
        ([Recording()], None),
        ([Recording], r"callbacks\[0\] is the class Recording: pass an instance of it, Recording\(\)"),
        ([Recording(), 3], r"callbacks\[1\] is of type int: expected a function"),
        (lambda model, record: record["loss"], r"callbacks\[0\] returned .* after epoch 1: expected True, to end"),
    ],
)
def test_wrong_callbacks_are_refused(callbacks, message):
    if message is None:
        small("gaussian").fit(TABLE, callbacks=callbacks)
        return
    with pytest.raises(TypeError, match=message):
        small("gaussian").fit(TABLE, callbacks=callbacks)
