"""The GAN: its step against float64, what it learns, what it says when it fails, and that files are those of all."""

import pickle

import numpy as np
import pytest

from fastvae import GAN, reference
from fastvae.data import loading
from fastvae.errors import TrainingWarning
from fastvae.kernels import cpu, philox
from fastvae.kernels.formulas import ACTIVATIONS
from fastvae.training import Observer
from tests.support import threads as threads_of
from tests.support.models import StopAfter

RNG = np.random.default_rng(5)
DIGITS = np.asarray(loading.load("digits").X, np.float32) / 16
ROWS, COLUMNS, Z, RATE = 12, 5, 3, 0.1
UNIT, TABLE = RNG.random((ROWS, COLUMNS)).astype(np.float32), RNG.normal(size=(ROWS, COLUMNS)).astype(np.float32)


def model(**settings):
    given = {"latent_dim": Z, "hidden": (8,), "epochs": 2, "batch_size": ROWS, "random_state": 7}
    return GAN(**given | settings)


def fitted(X=TABLE, **settings):
    return model(output="identity", **settings).fit(X)


# ---- a step -----------------------------------------------------------------------------------------------------


def network(parameters, prefix, rows, activation, last):
    """An MLP in float64."""
    layers = sum(name.startswith(prefix) and name.endswith("weight") for name in parameters)
    for i in range(layers):
        a = rows @ parameters[f"{prefix}.{i}.weight"] + parameters[f"{prefix}.{i}.bias"]
        rows = reference.ACTIVATIONS[last if i + 1 == layers else activation][0](a)
    return rows


def by_differences(loss, parameters, prefix, step=1e-6):
    """The gradient of a loss by the parameters whose names begin so."""
    gradients = {}
    for name in [name for name in parameters if name.startswith(prefix)]:
        gradients[name] = np.zeros_like(parameters[name])
        for place in np.ndindex(parameters[name].shape):
            sides = []
            for sign in (1, -1):
                parameters[name][place] += sign * step
                sides.append(loss(parameters))
                parameters[name][place] -= sign * step
            gradients[name][place] = (sides[0] - sides[1]) / (2 * step)
    return gradients


STEPS = [
    *({"activation": each, "discriminator_activation": each, "hidden": (7,)} for each in ACTIVATIONS),
    {"label_smoothing": 0.0, "discriminator_hidden": (4, 6)},
    {"label_smoothing": 0.25, "discriminator_learning_rate": 3 * RATE},
    {"instance_noise": 0.7},
    {"instance_noise": 0.7, "noise_epochs": 4.0, "label_smoothing": 0.1},
    {"hidden": (), "discriminator_hidden": ()},
]


@pytest.mark.parametrize("output", ["identity", "sigmoid"])
@pytest.mark.parametrize("settings", STEPS, ids=str)
def test_a_step(settings, output):
    """One of gradient descent moves all parameters by the gradients in float64, the generator's by the new D."""
    x = UNIT if output == "sigmoid" else TABLE
    gan = model(
        **{"output": output, "optimizer": "sgd", "beta1": 0.0, "learning_rate": RATE, "epochs": 1, "scale": None}
        | settings
    )
    examples = gan.initialize(x)
    for values in gan.parameters().values():
        if values.ndim == 1:
            values[:] = RNG.normal(size=values.shape)  # so that no gradient is 0 by symmetry
    before = {name: values.astype(float) for name, values in gan.parameters().items()}
    order = np.empty(ROWS, np.int64)
    examples.order(0, 0, order)
    gan.fit_examples(examples, 1, ROWS, None, None, Observer())

    z, noises = np.empty((ROWS, Z), np.float32), np.empty((2, ROWS, COLUMNS), np.float32)
    cpu.normal_noise(gan.seed_, philox.GENERATED, 1, 0, z)
    for stream, noise in zip((philox.BLUR_OF_REAL, philox.BLUR_OF_GENERATED), noises, strict=True):
        cpu.normal_noise(gan.seed_, stream, 1, 0, noise)
    blur = gan.instance_noise  # at the beginning of the epochs over which it falls

    def logits(of_d, rows, noise):
        rows = rows.astype(float) + blur * noise
        return network(of_d, "discriminator", rows, gan.discriminator_activation, "identity")[:, 0]

    def generated(of_g):
        return network(of_g, "generator", z.astype(float), gan.activation, output)

    def of_discriminator(q):
        real, fake = logits(q, x[order], noises[0]), logits(q, generated(before), noises[1])
        return reference.discriminator_loss(real, fake, gan.label_smoothing)

    expected = {name: values.copy() for name, values in before.items()}
    rate = gan.discriminator_learning_rate or RATE
    for name, gradient in by_differences(of_discriminator, before, "discriminator").items():
        expected[name] -= rate * gradient

    def of_generator(q):
        return reference.generator_loss(logits(expected, generated(q), noises[1]))

    history = {name: float(values[0]) for name, values in gan.history_.items()}
    assert history["discriminator_loss"] == pytest.approx(of_discriminator(before), rel=1e-5)
    assert history["generator_loss"] == pytest.approx(of_generator(before), rel=1e-5)
    assert history["loss"] == pytest.approx(history["discriminator_loss"] + history["generator_loss"], rel=1e-6)
    right = reference.accuracies(logits(before, x[order], noises[0]), logits(before, generated(before), noises[1]))
    assert (history["accuracy_real"], history["accuracy_generated"]) == pytest.approx(right, abs=1e-6)
    for name, gradient in by_differences(of_generator, before, "generator").items():
        expected[name] -= RATE * gradient
    for name, values in gan.parameters().items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=2e-6, err_msg=name)


def test_instance_noise_falls_to_0_and_stays():
    network_ = fitted(instance_noise=0.8, noise_epochs=2.0).network_
    found = network_.numbers(4, np.array([0.0, 0.5, 1.5, 2.0, 7.0]), np.arange(1, 6))["instance noise"]
    np.testing.assert_allclose(found, [0.8, 0.6, 0.2, 0.0, 0.0], atol=1e-12)
    network_.noise_epochs = 0.0
    assert (network_.numbers(4, np.array([0.0, 9.0]), np.arange(1, 3))["instance noise"] == 0.8).all()


def test_each_network_has_its_own_adam():
    state, views = (found := fitted())._optimizer.state, found.network_.parameters.views
    assert set(state) == {f"{a}.{b}_moment" for a in ("discriminator", "generator") for b in ("first", "second")}
    for one, other in (("discriminator", "generator"), ("generator", "discriminator")):
        moved = views(state[f"{one}.first_moment"])
        assert moved[f"{one}.0.weight"].any()
        assert not moved[f"{other}.0.weight"].any()


def test_the_average_is_of_the_generator_alone():
    plain, averaged = fitted(epochs=6), fitted(epochs=6, average=0.5)
    trail = [fitted(epochs=n).parameters() for n in (4, 5, 6)]
    for name, values in averaged.parameters().items():
        mean = np.mean([each[name].astype(float) for each in trail], axis=0)
        expected = mean if name.startswith("generator") else plain.parameters()[name]
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-7)


# ---- the same bits, files ---------------------------------------------------------------------------------------

EVERYTHING = {
    "hidden": (70, 130), "instance_noise": 0.1, "noise_epochs": 2.0, "average": 0.5, "epochs": 3, "batch_size": 64,
    "schedule": "linear",
}  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 0.5}, {"optimizer": "sgd", "weight_decay": 0.1}], ids=str)
def test_neither_threads_nor_an_interruption_change_a_bit(settings, tmp_path, monkeypatch):
    trained = {}
    for threads in ("1", "2"):
        threads_of.use(monkeypatch, threads)
        whole, half = (model(**EVERYTHING | settings) for _ in range(2))
        whole.fit(DIGITS[:300])
        half.fit_examples(half.initialize(DIGITS[:300]), 3, 64, None, None, StopAfter(7))
        half.save_checkpoint(tmp_path / "checkpoint.npz")
        for other in (GAN.load_checkpoint(tmp_path / "checkpoint.npz"), pickle.loads(pickle.dumps(half)), half):
            assert 0 < other.n_steps_ < whole.n_steps_
            other.fit_examples(other.examples(DIGITS[:300]), 3, 64, None, None, Observer())
            other.keep_best()
            np.testing.assert_array_equal(other.network_.parameters.values, whole.network_.parameters.values)
            for name in GAN.LOSSES:
                np.testing.assert_array_equal(other.history_[name], whole.history_[name])
        trained[threads] = whole.network_.parameters.values
    np.testing.assert_array_equal(trained["1"], trained["2"])


def test_files_and_the_generator_alone(tmp_path):
    gan = model(epochs=3, batch_size=64).fit(DIGITS[:200])
    gan.save(tmp_path / "model.npz")
    for other in (GAN.load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(gan))):
        np.testing.assert_array_equal(other.discriminate(DIGITS), gan.discriminate(DIGITS))
        assert other.get_params() == gan.get_params()
        other.partial_fit(DIGITS[:200])
    alone = GAN.load(tmp_path / "model.npz", decoder_only=True)
    np.testing.assert_array_equal(alone.sample(20, random_state=1), gan.sample(20, random_state=1))
    assert not any(name.startswith("discriminator") for name in alone.parameters())
    with pytest.raises(ValueError, match="loaded with decoder_only=True"):
        alone.discriminate(DIGITS)


def test_samples_follow_their_seed():
    gan, other = fitted(), fitted(random_state=8)
    first, second = gan.sample(6), gan.sample(6)
    assert first.shape == (6, COLUMNS)
    assert first.dtype == np.float32
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(fitted().sample(6), first)
    np.testing.assert_array_equal(gan.sample(4, random_state=3), gan.sample(9, random_state=3)[:4])
    assert not np.array_equal(other.sample(6), first)
    z = np.empty((6, Z), np.float32)
    cpu.normal_noise(np.uint64(3), philox.PRIOR, 0, 0, z)
    np.testing.assert_array_equal(gan.decode(z), gan.sample(6, random_state=3))


def test_no_noise_of_training_is_that_of_samples():
    streams = [philox.GENERATED, philox.BLUR_OF_REAL, philox.BLUR_OF_GENERATED]
    others = [value for name, value in vars(philox).items() if name.isupper() and type(value) is int]
    assert all(others.count(stream) == 1 for stream in streams)


# ---- units ------------------------------------------------------------------------------------------------------


def test_data_and_samples_are_in_the_user_s_units():
    X = 1000 + 5 * RNG.normal(size=(200, 3))
    for settings in ({"output": "identity"}, {"scale": "minmax"}):
        gan = model(**settings, epochs=20, batch_size=50, learning_rate=1e-3).fit(X)
        assert (np.abs(gan.sample(500).mean(axis=0) - 1000) < 15).all()
    with pytest.raises(
        ValueError, match=r"output='sigmoid' needs values in \[0, 1\].*scale='minmax'.*output='identity'"
    ):
        model().fit(X)
    with pytest.warns(UserWarning, match="beyond the range of the training data"):
        gan.discriminate(X + 100)


# ---- what it learns ---------------------------------------------------------------------------------------------


def test_the_logits_of_the_best_discriminator_are_the_log_ratio():
    """Against a generator that stays what it is (a learning rate of next to nothing): N(0, 1), z through the identity,
    beside data of N(1, 1), where log p(x) - log p_G(x) = x - 1/2 (Goodfellow et al. 2014, proposition 1)."""
    X = np.random.default_rng(1).normal(1, 1, size=(20_000, 1)).astype(np.float32)
    gan = GAN(
        1, (), (), output="identity", scale=None, learning_rate=1e-12, discriminator_learning_rate=1e-2, epochs=30,
        batch_size=1000, label_smoothing=0.0, beta1=0.9, schedule="linear", random_state=0,
    )  # fmt: skip
    examples = gan.initialize(X)
    gan.parameters()["generator.0.weight"][:], gan.parameters()["generator.0.bias"][:] = 1, 0
    gan.fit_examples(examples, 30, 1000, None, None, Observer())
    at = np.linspace(-2, 3, 6)[:, None]
    np.testing.assert_allclose(gan.discriminate(at), at[:, 0] - 0.5, atol=0.1)


@pytest.mark.long
def test_it_learns_a_gaussian():
    """Mean and deviation of the samples, of each of five seeds: those of the data, of which the start is far."""
    X = np.random.default_rng(2).normal(4.0, 0.5, size=(4000, 1))
    settings = {"output": "identity", "batch_size": 200, "learning_rate": 1e-3, "average": 0.3}
    for seed in range(5):
        gan = GAN(2, (16,), (16,), epochs=150, random_state=seed, **settings)
        gan.initialize(X)
        start = gan.sample(4000, random_state=seed)  # the tolerance below is half of this distance
        assert abs(start.mean() - 4.0) > 0.1 or abs(start.std() - 0.5) > 0.1
        samples = gan.fit(X).sample(4000, random_state=seed)
        assert (samples.mean(), samples.std()) == pytest.approx((4.0, 0.5), abs=0.05)


# ---- what it cannot do, and bad input ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["score_samples", "score", "evaluate"])
def test_it_has_no_density(name):
    with pytest.raises(TypeError, match="a GAN has no density: it samples.*Use a VAE.*MADE.*discriminate"):
        getattr(fitted(), name)(TABLE)


@pytest.mark.parametrize("name", ["transform", "fit_transform", "reconstruct", "get_feature_names_out"])
def test_it_has_no_codes(name):
    with pytest.raises(TypeError, match="a GAN has no encoder.*use a VAE or an autoencoder"):
        getattr(fitted(), name)(TABLE)


def test_nothing_stops_it_early():
    with pytest.raises(TypeError, match="patience=3: a GAN has no score of held-out rows.*use a VAE"):
        model(output="identity").fit(TABLE, heldout=TABLE, patience=3)
    gan = model(output="identity")
    examples = gan.initialize(TABLE)
    with pytest.raises(TypeError, match="patience=3"):
        gan.fit_examples(examples, 1, ROWS, examples, 3, Observer())
    assert not hasattr(GAN(), "network_")
    with pytest.raises(TypeError, match="GAN takes no condition"):
        model(output="identity").fit(TABLE, condition=np.arange(ROWS) % 2)


def test_the_accuracy_on_held_out_rows():
    gan = model(output="identity").fit(TABLE, heldout=TABLE + 1)
    history = gan.history_["heldout_accuracy"]
    assert history.shape == (2,)
    assert history[-1] == (gan.discriminate(TABLE + 1) > 0).mean()


BAD = [
    ({"latent_dim": 0}, ValueError, "latent_dim=0 must be at least 1"),
    ({"hidden": 8}, TypeError, "hidden=8 must be a tuple"),
    ({"discriminator_hidden": (0,)}, ValueError, r"discriminator_hidden\[0\]=0 must be at least 1"),
    ({"activation": "rellu"}, ValueError, "activation='rellu' is not known"),
    ({"discriminator_activation": "rellu"}, ValueError, "discriminator_activation='rellu' is not known"),
    ({"output": "sigmoyd"}, ValueError, "output='sigmoyd' is not known: did you mean 'sigmoid'"),
    ({"epochs": 0}, ValueError, "epochs=0 must be at least 1"),
    ({"batch_size": 99}, ValueError, "batch_size=99 is larger than the data"),
    ({"learning_rate": 0}, ValueError, "learning_rate=0 must be greater than 0"),
    ({"discriminator_learning_rate": -1}, ValueError, "discriminator_learning_rate=-1 must be greater than 0"),
    ({"discriminator_learning_rate": "a"}, TypeError, "discriminator_learning_rate='a' must be a number"),
    ({"beta1": 1.0}, ValueError, "beta1=1.0 must be less than 1"),
    ({"beta1": -0.1}, ValueError, "beta1=-0.1 must be at least 0"),
    ({"label_smoothing": 0.5}, ValueError, "label_smoothing=0.5 must be less than 0.5"),
    ({"instance_noise": -1.0}, ValueError, "instance_noise=-1.0 must be at least 0"),
    ({"instance_noise": np.nan}, ValueError, "instance_noise=nan must be a finite number"),
    ({"noise_epochs": -1}, ValueError, "noise_epochs=-1 must be at least 0"),
    ({"clip_norm": 0}, ValueError, "clip_norm=0 must be greater than 0"),
    ({"scale": "max"}, ValueError, "scale='max' is not known"),
    ({"optimizer": "adm"}, ValueError, "optimizer='adm' is not known"),
    ({"weight_decay": 1e9}, ValueError, "must be less than 1"),
    ({"discriminator_learning_rate": 10.0, "weight_decay": 0.2}, ValueError, "discriminator_learning_rate=10 must"),
    ({"schedule": "step"}, ValueError, "schedule='step' is not known"),
    ({"average": 2}, ValueError, "average=2 must be from 0 to 1"),
    ({"precision": "float16"}, ValueError, "precision='float16' is not known"),
    ({"device": "tpu"}, ValueError, "device='tpu' is not known"),
    ({"random_state": -1}, ValueError, "random_state=-1 must be at least 0"),
    ({"verbose": "a"}, TypeError, "verbose='a' must be a whole number"),
]


@pytest.mark.parametrize(("settings", "error", "message"), BAD, ids=str)
def test_bad_arguments(settings, error, message):
    with pytest.raises(error, match=message):
        model(**settings).fit(UNIT)


def test_bad_counts_of_samples():
    gan = fitted()
    for n, error in ((0, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="^n="):
            gan.sample(n)


# ---- what is said of a training that failed ---------------------------------------------------------------------


def test_a_generator_that_has_collapsed_is_named():
    with pytest.warns(TrainingWarning, match="the generated rows are all alike.*another seed"):
        model(hidden=(16,), weight_decay=50.0, learning_rate=1e-2, epochs=40, batch_size=64).fit(DIGITS[:300])


def test_a_discriminator_that_has_won_is_named():
    with pytest.warns(TrainingWarning, match="the discriminator has won: it is right about .*instance_noise=0.1"):
        model(
            learning_rate=1e-6, discriminator_learning_rate=1e-2, label_smoothing=0.0, epochs=60, batch_size=64
        ).fit(DIGITS[:300])  # fmt: skip


def test_a_discriminator_that_knows_its_rows_is_named():
    """Rows of noise beside a generator of the like."""
    X = np.random.default_rng(0).normal(size=(80, 40))
    with pytest.warns(TrainingWarning, match="the discriminator knows its rows by heart: it takes .* held out"):
        model(
            latent_dim=40, hidden=(), output="identity", discriminator_hidden=(256,), learning_rate=1e-6, epochs=150,
            discriminator_learning_rate=1e-3, batch_size=40,
        ).fit(X[:40], heldout=X[40:])  # fmt: skip
