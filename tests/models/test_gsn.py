"""The generative stochastic network: its step against float64, its chain, and all of an estimator around them."""

import itertools
import pickle

import numpy as np
import pytest

from fastvae import reference
from fastvae.data import loading
from fastvae.kernels.cpu import workers
from fastvae.kernels.philox import BINARIZATION, OBSERVATION, WALK
from fastvae.models.gsn import APART, GSN
from fastvae.training import Observer
from tests.support.models import StopAfter
from tests.support.tolerances import check

DIGITS = np.asarray(loading.load("digits").X, np.float32) / 16
LABELS = np.asarray(loading.load("digits").labels)
TRAIN, NEW = DIGITS[:1400], DIGITS[1400:]
RNG = np.random.default_rng(0)
STEP = 5


def model(**settings):
    given = {"hidden": (40, 30), "epochs": 3, "batch_size": 50, "random_state": 0, "early_stopping": False}
    return GSN(**given | settings)


# ---- a step -----------------------------------------------------------------------------------------------------


def noise_of(gsn, rows, step):
    """What a step draws, by its seed alone: functions that corrupt and draw x, and noise before and after activations,
    each with a stream of its own."""
    a, streams = gsn.network_.architecture, (WALK + (k << 8) for k in itertools.count())
    sizes, layers = (a.inputs, *a.hidden), len(a.hidden)
    seen, before, after = [], {}, {}

    def normals(i):
        amount = a.noise[i - 1]
        if not amount:
            return 0.0
        return amount * reference.normals(gsn.seed_, next(streams), step, 0, (rows, sizes[i]))

    def hidden(k, layers):
        for i in layers:
            before[k, i], after[k, i] = normals(i), normals(i)

    def sight(k):
        place = (rows, a.inputs)
        salt = reference.words(gsn.seed_, next(streams), step, 0, place) if a.corruption else None
        drawn = reference.words(gsn.seed_, BINARIZATION, step, k * APART, place) // 256 / 2.0**24

        def see(xhat):
            x = xhat if k == 0 else (drawn < xhat).astype(float)
            return x if salt is None else reference.corrupted(x, "salt_and_pepper", a.corruption, salt, None)

        return see

    for k in range(a.walkback):
        if k:
            hidden(k, range(2, layers + 1, 2))
        seen.append(sight(k))
        hidden(k, range(1, layers + 1, 2))
    return seen, before, after


def arrays(gsn):
    """Weights and biases in float64."""
    q, layers = {name: v.astype(float) for name, v in gsn.parameters().items()}, len(gsn.network_.architecture.hidden)
    weights = [q[f"layer.{i}.weight"] for i in range(1, layers + 1)]
    return weights, [q[f"layer.{i}.bias"][0] for i in range(layers + 1)]


@pytest.mark.parametrize(("hidden", "settings"), [
    ((6,), {"walkback": 3, "noise": 0.5}),
    ((6, 4), {"walkback": 4, "noise": (0.3, 2.0)}),
    ((6, 4), {"walkback": 2}),
    ((6, 4), {"walkback": 1, "noise": 0, "corruption": 0}),
    ((6, 4, 3), {"walkback": 4, "noise": (0.0, 0.4, 0.7), "activation": "sigmoid"}),
    ((5, 6, 3, 4), {"walkback": 5, "noise": (0.2, 0.0, 0.3, 0.1)}),
], ids=str)  # fmt: skip
def test_loss_and_gradients(hidden, settings):
    """Against float64, with all noise drawn again."""
    gsn = model(hidden=hidden, **settings)
    gsn.initialize(DIGITS[:20, :30])
    for owner in gsn.network_.owners():  # away from the start, where the biases are 0
        owner.weight += RNG.normal(0, 0.3, owner.weight.shape).astype(np.float32)
    x = (DIGITS[:9, 20:50] > 0.5).astype(np.float32)
    found = gsn.network_.loss_and_gradients(x, STEP, 0.0)["loss"]
    weights, biases = arrays(gsn)
    how = *noise_of(gsn, len(x), STEP), gsn.activation
    loss, d_weights, d_biases = reference.gsn_loss_and_gradients(weights, biases, x.astype(float), *how)
    assert found == pytest.approx(loss, rel=1e-6)
    gradients = gsn.network_.parameters.named_gradients()
    for i, expected in enumerate(d_weights, 1):
        check(gradients[f"layer.{i}.weight"], expected, "model", np.abs(expected) + np.abs(expected).max())
    for i, expected in enumerate(d_biases):
        check(gradients[f"layer.{i}.bias"][0], expected, "model", np.abs(expected) + np.abs(expected).max())


def test_the_reference_by_differences():
    """What is drawn stays what it was: the gradient ends there."""
    sizes, x = (4, 3, 2, 3), RNG.random((5, 4))
    weights, biases = ([RNG.normal(size=s) for s in shapes] for shapes in (itertools.pairwise(sizes), sizes))
    before, after = ({(k, i): RNG.normal(size=(5, sizes[i])) for k in range(4) for i in (1, 2, 3)} for _ in range(2))
    fixed = [RNG.random((5, 4)).round() for _ in range(4)]
    how = x, [lambda xhat, u=u: u for u in fixed], before, after, "tanh"
    loss, *gradients = reference.gsn_loss_and_gradients(weights, biases, *how)
    assert np.isfinite(loss)
    for arrays, found in zip((weights, biases), gradients, strict=True):
        for array, gradient in zip(arrays, found, strict=True):
            for place in np.ndindex(array.shape):
                ends = []
                for sign in (1, -1):
                    array[place] += sign * 1e-5
                    ends.append(reference.gsn_loss_and_gradients(weights, biases, *how)[0])
                    array[place] -= sign * 1e-5
                assert gradient[place] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-9)


def test_no_two_draws_share_words():
    """Of a step, and of it and data that are binarised in it."""
    gsn, places = model(hidden=(6, 5, 4), walkback=5, noise=(0.5, 0.5, 0.5)), []
    gsn.initialize(DIGITS[:20])

    class Recorded:
        """A pass that notes where noise comes from."""

        def __init__(self, p):
            self._p = p

        def __getattr__(self, name):
            return getattr(self._p, name)

        def add(self, op, *operands):
            if op == "corrupt":
                places.append((operands[4], getattr(operands[6], "apart", 0)))
            if op == "binarize_inplace":
                places.append((BINARIZATION, operands[3].apart))
            self._p.add(op, *operands)

    network = gsn.network_
    x = DIGITS[:6].copy()
    network.loss_and_gradients(x, STEP, 0.0, lambda p: network.step(Recorded(p), [None]))
    assert len(places) == 5 + 4 + 2 * (5 * 2 + 4)  # seen, drawn, and around each activation
    assert len(set(places)) == len(places)
    assert (BINARIZATION, 0) not in places


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_it_learns_more_than_the_mean(activation):
    gsn = model(activation=activation, noise=0.5, corruption=0.2, epochs=20, learning_rate=3e-3).fit(TRAIN)
    mean = TRAIN.mean(axis=0, dtype=float)
    of_the_mean = -(TRAIN * np.log(mean + 1e-9) + (1 - TRAIN) * np.log(1 - mean + 1e-9)).sum(axis=1).mean()
    assert gsn.history_["loss"][-1] < 0.9 * of_the_mean


# ---- the chain --------------------------------------------------------------------------------------------------


def test_transitions():
    """Three of them, from given rows, against float64: the layers above go on from one to the next."""
    gsn = model(hidden=(30, 20, 10), noise=(0.1, 0.6, 0.3), epochs=2).fit(TRAIN[:300])
    x = (NEW[:7] > 0.5).astype(np.float32)
    found = gsn.sample(21, start=x, burn_in=0, random_state=4).reshape(7, 3, 64)
    seed, a = np.random.SeedSequence([4, 0]).generate_state(1, np.uint64)[0], gsn.network_.architecture
    (weights, biases), sizes = arrays(gsn), (64, *a.hidden)
    u = [None, None, np.zeros((7, 20)), None]
    for t in (1, 2, 3):
        streams = (WALK + (k << 8) for k in itertools.count())

        def noisy(value, i, t=t, streams=streams):
            return value + a.noise[i - 1] * reference.normals(seed, next(streams), t, 0, value.shape)

        def update(i, noisy=noisy):
            value = u[i - 1] @ weights[i - 1] + biases[i] + (u[i + 1] @ weights[i].T if i < 3 else 0)
            u[i] = noisy(np.tanh(noisy(value, i)), i)

        words = reference.words(seed, next(streams), t, 0, x.shape)
        u[0] = reference.corrupted(
            x.astype(float), "salt_and_pepper", gsn.network_.architecture.corruption, words, None
        )
        update(1)
        update(3)
        xhat = reference.sigmoid(u[1] @ weights[0].T + biases[0])
        update(2)
        np.testing.assert_allclose(found[:, t - 1], xhat, atol=1e-5)
        x = reference.uniforms(seed, OBSERVATION, t, 0, x.shape) <= found[:, t - 1]
    assert sizes[1:] == a.hidden


@pytest.mark.long
def test_a_chain_visits_the_classes():
    """Of 100 states each, from the first one on; who is who says the nearest of the real digits."""
    settings = {"corruption": 0.1, "noise": 1.5, "epochs": 100, "batch_size": 100, "schedule": "cosine"}
    gsn = model(hidden=(100, 100), **settings).fit(TRAIN)
    states = gsn.sample(2000, chains=20, burn_in=0, random_state=1)
    squares = (states**2).sum(axis=1)[:, None] - 2 * states @ TRAIN.T + (TRAIN**2).sum(axis=1)
    classes = LABELS[:1400][squares.argmin(axis=1)].reshape(20, 100)
    visited = np.array([len(set(chain.tolist())) for chain in classes])
    assert np.median(visited) >= 8
    assert np.bincount(classes.ravel()).max() < 0.5 * classes.size
    off = np.sqrt(np.maximum(squares.min(axis=1), 0)).mean()  # nearer to a digit than the mean of all digits is
    assert off < 0.97 * np.sqrt(((TRAIN.mean(axis=0) - TRAIN) ** 2).sum(axis=1).min())


# ---- an estimator -----------------------------------------------------------------------------------------------


def test_reconstructions_codes_and_scores():
    gsn = model(hidden=(100, 60), corruption=0.2, noise=0.5, epochs=30).fit(TRAIN)
    codes = gsn.transform(NEW)
    assert codes.shape == (len(NEW), 100)
    q = {name: v.astype(float) for name, v in gsn.parameters().items()}
    expected = np.tanh(NEW @ q["layer.1.weight"] + q["layer.1.bias"])
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    logits = expected @ q["layer.1.weight"].T + q["layer.0.bias"]
    np.testing.assert_allclose(gsn.reconstruct(NEW), reference.sigmoid(logits), atol=1e-5)
    np.testing.assert_array_equal(gsn.decode(codes), gsn.reconstruct(NEW))
    nll = reference.bernoulli_forward_backward(NEW.astype(float), logits)[0]
    np.testing.assert_allclose(gsn.score_samples(NEW), -nll, rtol=1e-5)
    error = np.square(gsn.reconstruct(NEW) - NEW).sum(axis=1).mean()
    assert error < 0.5 * np.square(TRAIN.mean(axis=0) - NEW).sum(axis=1).mean()
    with pytest.raises(TypeError, match="GSN has no density"):
        gsn.evaluate(NEW)
    assert (gsn.ABILITIES.samples, gsn.ABILITIES.density) == ("chain", "none")


@pytest.mark.parametrize("settings", [{}, {"clip_norm": 1.0, "optimizer": "sgd", "average": 0.5}], ids=str)
def test_the_same_bits_for_any_number_of_threads_and_after_a_resume(settings, tmp_path, monkeypatch):
    settings, bits = {"hidden": (300, 200), "batch_size": 128} | settings, set()
    for threads in (1, 2):
        monkeypatch.setenv("FASTVAE_THREADS", str(threads))
        gsn = model(**settings).fit(DIGITS[:640])
        assert workers.shares_for(128, gsn.network_.largest_product(128)) == threads
        bits.add(gsn.network_.parameters.values.tobytes())
    half = model(**settings)
    half.fit_examples(half.initialize(DIGITS[:640]), 3, 128, None, None, StopAfter(7))
    half.save_checkpoint(tmp_path / "checkpoint.npz")
    other = GSN.load_checkpoint(tmp_path / "checkpoint.npz")
    assert 0 < other.n_steps_ < 15
    other.fit_examples(other.examples(DIGITS[:640]), 3, 128, None, None, Observer())
    other.keep_best()
    assert bits == {other.network_.parameters.values.tobytes()}
    drawn = other.sample(300, burn_in=2, random_state=1)
    monkeypatch.setenv("FASTVAE_THREADS", "1")
    np.testing.assert_array_equal(other.sample(300, burn_in=2, random_state=1), drawn)


def test_files_and_copies(tmp_path):
    gsn = model(noise=(0.1, 1.0)).fit(TRAIN[:200])
    gsn.save(tmp_path / "model.npz")
    for other in (GSN.load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(gsn))):
        np.testing.assert_array_equal(other.transform(NEW), gsn.transform(NEW))
        np.testing.assert_array_equal(
            other.sample(3, burn_in=2, random_state=1), gsn.sample(3, burn_in=2, random_state=1)
        )
        assert other.get_params() == gsn.get_params()
    again = model(epochs=2).fit(TRAIN[:200])
    again.partial_fit(TRAIN[:200])
    assert again.n_epochs_ == 3
    assert len(again.get_feature_names_out()) == 40


def test_the_usual_noise_leaves_something_of_rows_of_few_columns():
    """Chains part: the means that their states are drawn from differ as rows of the data do, a third as much at least;
    wide rows have the noise of the published network."""
    gsn = model(epochs=60).fit(TRAIN)
    assert gsn.sample(200, burn_in=20).var(axis=0).sum() > TRAIN.var(axis=0).sum() / 3
    gsn.initialize(RNG.random((4, 400)))
    assert gsn.network_.architecture.noise == (0.0, 2.0)
    assert gsn.network_.architecture.corruption == 0.4


@pytest.mark.parametrize(("settings", "words"), [
    ({"hidden": ()}, "hidden=.. has no layer"),
    ({"hidden": 5}, "hidden=5 must be a tuple"),
    ({"activation": "relu"}, "activation='relu' is not known"),
    ({"corruption": 1.5}, "corruption=1.5 must be at most 1"),
    ({"corruption": "much"}, "corruption='much' is not known: valid: 'auto'"),
    ({"noise": "much"}, "noise='much' is not known: valid: 'auto'"),
    ({"noise": -1.0}, "noise=-1.0 must be at least 0"),
    ({"noise": (1.0,)}, "has 1 numbers for 2 hidden layers"),
    ({"noise": (1.0, "x")}, r"noise\[1\]='x' must be a number"),
    ({"walkback": 0}, "walkback=0 must be at least 1"),
    ({"walkback": 201}, "walkback=201 must be at most 200"),
], ids=str)  # fmt: skip
def test_refusals(settings, words):
    with pytest.raises((ValueError, TypeError), match=words):
        model(**settings).fit(TRAIN[:60])


def test_data_out_of_range_are_refused():
    with pytest.raises(ValueError, match="a GSN needs values in .* or use a DenoisingAutoencoder with likelihood="):
        model(scale=None).fit(16 * TRAIN[:60])


def test_a_chain_with_other_noise():
    """With the training's own it is the same chain; more has it move further from state to state."""
    X = (np.random.default_rng(0).random((60, 12)) < 0.3).astype(np.float32)
    model = GSN((8,), noise=0.5, corruption=0.2, epochs=2, random_state=0).fit(X)
    how = {"chains": 20, "burn_in": 3, "random_state": 1}
    same = model.sample(40, chain_noise=0.5, chain_corruption=0.2, **how)
    np.testing.assert_array_equal(same, model.sample(40, **how))
    assert np.abs(model.sample(40, chain_noise=5.0, **how) - same).mean() > 1e-3
    assert len(model.sample(2, chain_noise=1.0)) == 2
    with pytest.raises(ValueError, match="chain_noise"):
        model.sample(2, chain_noise=-1.0)
    with pytest.raises(ValueError, match="chain_noise.* has 2 numbers for 1 hidden layers"):
        model.sample(2, chain_noise=(1.0, 2.0))
    with pytest.raises(ValueError, match="chain_corruption"):
        model.sample(2, chain_corruption=1.5)
