"""Arguments changed after a fit: each takes effect at the next partial_fit, or is refused, for every copy alike."""

import copy
import inspect
import pickle

import numpy as np
import pytest

from fastvae import VAE
from fastvae.persistence import read_container
from tests.support.commands import python
from tests.support.models import PIXELS, StopAfter, small

OTHER = {
    "latent_dim": 4, "hidden": (9, 6), "activation": "tanh", "likelihood": "gaussian", "sigma": 0.5, "beta": 3.0,
    "kl_warmup_epochs": 50.0, "epochs": 7, "batch_size": 10, "learning_rate": 1e-4, "clip_norm": 1e-3, "scale": (-1, 1),
    "decoder_hidden": (5,), "precision": "bfloat16", "random_state": 2, "verbose": True,
}  # fmt: skip
FREE = ("beta", "kl_warmup_epochs", "batch_size", "learning_rate", "clip_norm")


def fitted(**settings):
    return small(**{"init": "he"} | settings).fit(PIXELS)


def through_a_file(vae, folder):
    vae.save(folder / "model.npz")
    return VAE.load(folder / "model.npz")


def through_a_checkpoint(vae, folder):
    vae.save_checkpoint(folder / "checkpoint.npz")
    return VAE.load_checkpoint(folder / "checkpoint.npz")


COPIES = [
    lambda vae, folder: vae,
    lambda vae, folder: pickle.loads(pickle.dumps(vae)),
    lambda vae, folder: copy.deepcopy(vae),
    lambda vae, folder: copy.copy(vae),
    through_a_checkpoint,
]


def trained(vae):
    values = vae.partial_fit(PIXELS).network_.parameters.values.copy()
    return values, vae.history_["loss"][-1] - vae.history_["nll"][-1]


def arguments():
    return [name for name in inspect.signature(VAE).parameters if name != "device"]  # it has a test of its own


def test_a_copy_holds_all_that_a_file_holds(tmp_path):
    vae = small(likelihood="gaussian", sigma="learned", random_state=np.random.default_rng(0))
    vae.fit(PIXELS, heldout=PIXELS[:20], patience=1).set_params(sigma=2.0, beta=0.5)
    vae.metadata_["note"], vae.feature_names_in_ = "mine", np.array([f"x{i}" for i in range(12)], dtype=object)
    vae.save_checkpoint(tmp_path / "expected.npz")
    expected = read_container(tmp_path / "expected.npz", {"checkpoint"})
    assert expected[0]["fitted"] == {"sigma": "learned"}
    for copied in COPIES:
        copied(vae, tmp_path).save_checkpoint(tmp_path / "found.npz")
        np.testing.assert_equal(read_container(tmp_path / "found.npz", {"checkpoint"}), expected)


@pytest.mark.parametrize("name", FREE)
def test_how_it_is_trained_may_change(tmp_path, name, capsys):
    unchanged = trained(fitted())
    found = [trained(copied(fitted().set_params(**{name: OTHER[name]}), tmp_path)) for copied in COPIES]
    for values, part in found:
        assert not np.array_equal(values, unchanged[0])
        np.testing.assert_array_equal(values, found[0][0])
        assert part == found[0][1]
    loaded = through_a_file(fitted().set_params(**{name: OTHER[name]}), tmp_path)
    assert getattr(loaded, name) == OTHER[name]
    assert not np.array_equal(trained(loaded)[0], trained(through_a_file(fitted(), tmp_path))[0])


@pytest.mark.parametrize("name", [n for n in arguments() if n not in (*FREE, "epochs", "verbose")])
def test_what_a_fit_has_fixed_is_refused_and_fit_starts_anew(tmp_path, name, monkeypatch):
    """Whatever is not known as changeable, new arguments too."""
    monkeypatch.setattr("fastvae.kernels.cpu.program.missing", lambda precision: None)
    value = OTHER.get(name, "another")
    for copied in (*COPIES, through_a_file):
        vae = copied(fitted(), tmp_path)
        before, expected = vae.elbo(PIXELS), vae.network_.parameters.values.copy()
        setattr(vae, name, value)
        if name in OTHER:
            vae = copied(vae, tmp_path)
        with pytest.raises((ValueError, TypeError), match=name) as caught:
            vae.partial_fit(PIXELS)
        if name in OTHER:
            assert f"{name}={value!r} was set after this model was fitted with {name}=" in str(caught.value)
            assert "call fit to start anew" in str(caught.value)
        np.testing.assert_array_equal(vae.elbo(PIXELS), before)
        np.testing.assert_array_equal(vae.network_.parameters.values, expected)
        setattr(vae, name, getattr(fitted(), name))
        vae.partial_fit(PIXELS)
        assert vae.n_epochs_ == 3
    if name in OTHER and name not in ("scale", "precision"):
        assert getattr(vae.set_params(**{name: value}).fit(PIXELS), name) == value


def test_epochs_and_verbose_are_no_matter_of_a_pass(capsys):
    expected = trained(fitted())
    found = trained(fitted().set_params(epochs=7, verbose=True))
    np.testing.assert_array_equal(found[0], expected[0])
    assert "loss" in capsys.readouterr().err


def test_the_same_value_in_another_form_is_no_change(tmp_path):
    low, high = np.full(12, -1.0), np.full(12, 2.0)
    vae = fitted(scale=(low, high), sigma=1.0)
    vae.set_params(
        hidden=[9, np.int64(7)], scale=(low.tolist(), list(high)), sigma=np.float32(1), random_state=np.int8(1)
    )
    vae.partial_fit(PIXELS)
    through_a_file(vae, tmp_path).partial_fit(PIXELS)
    low[3] = -2.0
    with pytest.raises(ValueError, match="scale="):
        vae.set_params(scale=(low, high)).partial_fit(PIXELS)


def test_an_array_changed_in_place_is_a_change():
    low, high = np.full(12, -1.0), np.full(12, 2.0)
    vae = fitted(scale=(low, high), sigma=1.0)
    low[3] = -2.0
    with pytest.raises(ValueError, match="scale="):
        vae.partial_fit(PIXELS)


def test_a_generator_is_the_one_it_was(tmp_path):
    vae = fitted(random_state=np.random.default_rng(0))
    for copied in (*COPIES, through_a_file):
        copied(vae, tmp_path).partial_fit(PIXELS)
    with pytest.raises(ValueError, match="random_state="):
        vae.set_params(random_state=np.random.default_rng(0)).partial_fit(PIXELS)


def test_a_wrong_value_is_refused_before_a_part_of_an_epoch_is_forgotten():
    vae = small()
    examples = vae.initialize(PIXELS)
    vae.fit_examples(examples, 2, 16, None, None, StopAfter(2))
    for name, value in (
        ("batch_size", 0),
        ("learning_rate", -1.0),
        ("beta", "x"),
        ("latent_dim", 9),
        ("device", "gpu"),
    ):
        before = getattr(vae, name)
        with pytest.raises((ValueError, TypeError), match=name):
            vae.set_params(**{name: value}).partial_fit(PIXELS)
        vae.set_params(**{name: before})
    assert vae._state.position == 30


def test_gradients_follow_beta():
    vae = fitted().set_params(beta=5.0)
    for one in (vae, pickle.loads(pickle.dumps(vae))):
        loss, parts, _ = one.loss_and_gradients(PIXELS)
        assert (loss - parts["nll"]) / parts["kl"] == pytest.approx(5, rel=1e-5)


@pytest.mark.parametrize("value", [True, False, np.True_, 0, 1, 2])
def test_verbose_may_be_a_bool(value, capsys, tmp_path):
    vae = through_a_file(fitted(verbose=value), tmp_path)
    assert bool(capsys.readouterr().err) == bool(value)
    assert vae.verbose == value


# ---- samples ----------------------------------------------------------------------------------------------------

SAMPLES = """
    import os, pickle, sys
    import numpy as np
    from fastvae import VAE
    from tests.support.models import PIXELS, small

    seed, path = eval(sys.argv[1]), sys.argv[2]
    vae = small(random_state=seed, epochs=1).fit(PIXELS)
    vae.save(path)
    packed = pickle.dumps(vae)
    loaded = [lambda: VAE.load(path), lambda: VAE.load(path, decoder_only=True), lambda: pickle.loads(packed)]
    read, write = os.pipe()
    for way in (lambda: vae, *loaded):
        for _ in range(2):
            if not (child := os.fork()):
                one = way()
                os.write(write, b"".join(one.sample(2, noise=noise).tobytes() for noise in (False, True)))
                os._exit(0)
            os.waitpid(child, 0)
    found = np.frombuffer(os.read(read, 8 * 4 * 12 * 4), np.float32).reshape(16, 2 * 12)
    print(len(found), len(np.unique(found, axis=0)))
"""


@pytest.mark.parametrize(("seed", "different"), [("None", "16"), ("3", "2"), ("np.int64(3)", "2")])
def test_samples_of_several_processes(seed, different, tmp_path):
    """Without a seed of the model's, no two draws are the same; with one, each process draws the same two."""
    assert python(SAMPLES, seed, tmp_path / "model.npz").split() == ["16", different]


def test_samples_follow_the_seed_of_the_model_or_their_own():
    vae = fitted(random_state=None)
    draws = [vae.sample(3), vae.sample(3), vae.sample(3, random_state=1), pickle.loads(pickle.dumps(vae)).sample(3)]
    assert len(np.unique(np.concatenate(draws), axis=0)) == 12
    np.testing.assert_array_equal(vae.sample(3, random_state=1), draws[2])
    vae = fitted()
    first, rest = vae.sample(3), pickle.loads(pickle.dumps(vae))  # which goes on, as the model does
    np.testing.assert_array_equal(rest.sample(3), vae.sample(3))
    np.testing.assert_array_equal(fitted().sample(3), first)
    np.testing.assert_array_equal(vae.set_params(random_state=None).sample(3, random_state=1), first)
    assert not np.array_equal(vae.sample(3), vae.sample(3))
    found = [fitted(random_state=np.random.default_rng(0)) for _ in range(2)]
    one, other = ([vae.sample(3), vae.sample(3)] for vae in found)
    np.testing.assert_array_equal(one, other)
    assert not np.array_equal(*one)


# ---- going back to the best -------------------------------------------------------------------------------------

NOISE, HELD = np.random.default_rng(1).random((2, 40, 30)).astype(np.float32)
OVERFITTING = {"latent_dim": 2, "hidden": (200,), "batch_size": 40, "learning_rate": 1e-2, "random_state": 0,
               "init": "he"}  # fmt: skip


def moments(vae):
    return vae._optimizer.step_count, *(array.copy() for array in vae._optimizer.state.values())


def test_early_stopping_goes_back_to_the_moments_of_adam_too(tmp_path):
    vae = VAE(**OVERFITTING, epochs=400).fit(NOISE, heldout=HELD, patience=3)
    assert vae.n_epochs_ == vae.best_epoch_ + 3
    best = VAE(**OVERFITTING, epochs=vae.best_epoch_).fit(NOISE)
    assert best._state.best_state == {}
    for copied in COPIES:
        other = copied(vae, tmp_path)
        np.testing.assert_equal(moments(other), moments(best))
        other.keep_best()
        np.testing.assert_equal(moments(other), moments(best))
    vae.partial_fit(NOISE)
    assert moments(vae)[0] == moments(best)[0] + 1


def test_the_moments_of_the_best_survive_a_checkpoint(tmp_path):
    whole = VAE(**OVERFITTING)
    whole.fit_examples(whole.initialize(NOISE), 400, 40, whole.examples(HELD), 3, StopAfter(400))
    part = VAE(**OVERFITTING)
    part.fit_examples(part.initialize(NOISE), 400, 40, part.examples(HELD), 3, StopAfter(whole.n_steps_ - 1))
    rest = through_a_checkpoint(part, tmp_path)
    rest.fit_examples(rest.examples(NOISE), 400, 40, rest.examples(HELD), 3, StopAfter(400))
    assert rest.stopped_early_
    assert moments(rest)[0] == whole.n_steps_
    whole.keep_best(), rest.keep_best()
    np.testing.assert_equal(moments(rest), moments(whole))
    assert moments(rest)[0] == whole.best_epoch_
    np.testing.assert_array_equal(rest.network_.parameters.values, whole.network_.parameters.values)
