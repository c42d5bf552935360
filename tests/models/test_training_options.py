"""Optimizers, schedules, weight decay and averages, by the arguments of an estimator and of the command."""

import numpy as np
import pytest

from fastvae import VAE, train

X = np.random.default_rng(0).random((96, 6)).astype(np.float32)


def model(**settings):
    return VAE(**{"latent_dim": 2, "hidden": (8,), "epochs": 6, "batch_size": 32, "random_state": 0} | settings)


def parameters(**settings):
    return model(**settings).fit(X).network_.parameters.values


@pytest.mark.parametrize("settings", [
    {"weight_decay": 0.5}, {"schedule": "linear"}, {"schedule": "cosine"}, {"warmup_steps": 9}, {"average": 0.5},
    {"optimizer": "sgd"}, {"optimizer": "sgd", "weight_decay": 0.5},
], ids=str)  # fmt: skip
def test_each_changes_what_is_learned(settings):
    base = {"optimizer": settings["optimizer"]} if settings.get("weight_decay") and "optimizer" in settings else {}
    assert not np.array_equal(parameters(**settings), parameters(**base))


def test_weight_decay_shrinks_the_weights():
    sizes = [np.abs(parameters(epochs=60, weight_decay=decay)).sum() for decay in (0.0, 1.0, 10.0)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_a_schedule_knows_where_the_training_ends():
    """The last step of a linear schedule is 1 / steps of the first; a training that goes on from a checkpoint's epoch
    count has the same steps in all."""
    vae = model(schedule="linear", epochs=4)
    vae.fit(X)
    numbers = vae._optimizer.schedule.factors(np.arange(1, 13))
    np.testing.assert_allclose(numbers, 1 - np.arange(12) / 12)


def test_an_average_is_that_of_the_last_steps():
    """Of every step's parameters, kept by somebody who looks at each."""
    from fastvae.training import Observer

    class Looking(Observer):
        def __init__(self, vae):
            self.vae, self.seen = vae, []

        def stepped(self, state, examples):
            self.seen.append(self.vae.network_.parameters.values.copy())

    vae = model(epochs=4, average=0.5)
    examples = vae.initialize(X)
    looking = Looking(vae)
    vae.fit_examples(examples, 4, 32, None, None, looking)
    vae.keep_best()
    assert len(looking.seen) == 12
    np.testing.assert_allclose(vae.network_.parameters.values, np.mean(looking.seen[6:], axis=0), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("sigma", ["learned", "optimal"])
def test_an_average_leaves_sigma_a_number(sigma):
    vae = model(likelihood="gaussian", sigma=sigma, average=0.4, epochs=20).fit(X)
    plain = model(likelihood="gaussian", sigma=sigma, epochs=20).fit(X)
    np.testing.assert_allclose(vae.sigma_, plain.sigma_, rtol=0.2)


def test_partial_fit_refuses_what_must_know_the_end():
    for settings in ({"schedule": "cosine"}, {"average": 0.3}):
        with pytest.raises(ValueError, match="must know when a training ends, which partial_fit does not: use fit"):
            model(**settings).partial_fit(X)


def test_sklearn_can_change_them():
    vae = model().set_params(weight_decay=0.1, schedule="linear", warmup_steps=3, average=0.2, optimizer="sgd")
    assert vae.fit(X).get_params()["weight_decay"] == 0.1


def test_the_command(tmp_path):
    np.savetxt(tmp_path / "x.csv", X, delimiter=",")
    words = ["--data", str(tmp_path / "x.csv"), "--hidden", "5", "--latent-dim", "2", "--epochs", "3", "--quiet"]
    options = ["--weight-decay", "0.1", "--schedule", "cosine", "--warmup-steps", "2", "--average", "0.5"]
    assert train.main([*words, *options, "--optimizer", "sgd", "--out", str(tmp_path / "run")]) == 0
    vae = VAE.load(tmp_path / "run" / "model.npz")
    found = vae.weight_decay, vae.schedule, vae.warmup_steps, vae.average, vae.optimizer
    assert found == (0.1, "cosine", 2, 0.5, "sgd")


def test_an_average_is_taken_where_nobody_asks_for_early_stopping():
    data = np.random.default_rng(1).random((200, 6)).astype(np.float32)
    settings = {"latent_dim": 2, "hidden": (4,), "random_state": 0}
    one, other = (VAE(average=average, **settings).fit(data) for average in (0.3, 0.0))
    assert not one.stopped_early_
    assert not np.array_equal(one.network_.parameters.values, other.network_.parameters.values)


def test_an_average_survives_a_checkpoint_that_needs_no_more_steps(tmp_path):
    vae = model(average=0.5)
    from fastvae.training import Observer

    vae.fit_examples(vae.initialize(X), 6, 32, None, None, Observer())
    vae.save_checkpoint(tmp_path / "checkpoint.npz")
    read = VAE.load_checkpoint(tmp_path / "checkpoint.npz")
    for each in (vae, read):
        each.keep_best()
    np.testing.assert_array_equal(read.network_.parameters.values, vae.network_.parameters.values)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_sigma_does_not_decay(clip_norm):
    settings = {"likelihood": "gaussian", "epochs": 60, "clip_norm": clip_norm, "scale": None}
    data = 100 * X
    with pytest.warns(UserWarning, match="scale=None"):
        plain, decayed = (model(weight_decay=decay, **settings).fit(data) for decay in (0.0, 5.0))
    assert (decayed.sigma_ > 0.3 * plain.sigma_).all()


def test_a_finished_run_keeps_its_average(tmp_path, capsys):
    """Also when it is asked to go on, and there is nothing to do; and its figures are those of the model."""
    np.savetxt(tmp_path / "x.csv", X, delimiter=",")
    run = ["--out", str(tmp_path / "run"), "--quiet"]
    words = ["--data", str(tmp_path / "x.csv"), "--hidden", "5", "--latent-dim", "2", "--epochs", "30"]
    assert train.main([*words, "--early-stopping", "none", "--average", "0.5", "--learning-rate", "0.02", *run]) == 0
    first = VAE.load(tmp_path / "run" / "model.npz")
    assert "the parameters are the average of the last 0.5 of the steps" in capsys.readouterr().err
    assert train.main(["--resume", *run]) == 0
    again = VAE.load(tmp_path / "run" / "model.npz")
    np.testing.assert_array_equal(again.network_.parameters.values, first.network_.parameters.values)
    raw = VAE.load_checkpoint(tmp_path / "run" / "checkpoint.npz")
    assert not np.array_equal(raw.network_.parameters.values, first.network_.parameters.values)


def test_what_is_no_use_is_refused_or_said():
    with pytest.raises(ValueError, match="weight_decay=1000 times learning_rate=0.001 must be less than 1"):
        model(weight_decay=1000).fit(X)
    with pytest.warns(UserWarning, match="warmup_steps=10000 is longer than the training .18 steps."):
        model(warmup_steps=10_000).fit(X)


def test_an_average_may_be_given_up_for_a_stream():
    vae = model(average=0.5).fit(X)
    with pytest.raises(ValueError, match="use fit"):
        vae.partial_fit(X)
    before = vae.network_.parameters.values.copy()
    vae.set_params(average=0.0).partial_fit(X)
    assert not np.array_equal(vae.network_.parameters.values, before)
