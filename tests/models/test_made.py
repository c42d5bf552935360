"""MADE: that it is a distribution, what depends on what, its gradients, its samples, and all of an estimator."""

import itertools
import pickle

import numpy as np
import pytest

from fastvae import MADE, reference
from fastvae.data import loading
from fastvae.errors import EvaluationWarning
from fastvae.training import Observer
from tests.models.test_seams import by_differences
from tests.support import threads as threads_of

DIGITS = (np.asarray(loading.load("digits").X) > 7).astype(np.float32)
TRAIN, NEW = DIGITS[:1400], DIGITS[1400:]
BITS = 12
TWIN = DIGITS[:, 18 : 18 + BITS].copy()  # of the digits' columns, twelve that depend on each other
ALL = np.array(list(itertools.product((0, 1), repeat=BITS)), np.float32)
RNG = np.random.default_rng(0)

KINDS = [
    {},
    {"order": "natural"},
    {"direct": False},
    {"hidden": ()},
    {"hidden": (9, 30, 5)},
    {"orderings": 3},
    {"orderings": 2, "order": "natural", "activation": "silu"},
]


def model(**settings):
    given = {"hidden": (20,), "order": "random", "epochs": 3, "early_stopping": False, "random_state": 0}
    return MADE(**given | settings)


def independent(train, new):
    p = np.clip(train.mean(axis=0), 1e-3, 1 - 1e-3)
    return (new * np.log(p) + (1 - new) * np.log(1 - p)).sum(axis=1).mean()


@pytest.fixture(scope="module")
def fitted():
    return model(hidden=(64,), epochs=40).fit(TRAIN)


@pytest.fixture(scope="module")
def twin():
    return model(epochs=30, orderings=2).fit(TWIN)


def in_float64(made, ordering=0):
    """Its parameters for an ordering, by the names that the reference has for them."""
    prefix = f"{ordering}." if made.orderings > 1 else ""
    named = made.parameters().items()
    return {name.removeprefix(prefix): v.astype(float) for name, v in named if name.startswith(prefix)}


def by_reference(made, X):
    """log p(x) in float64, from the parameters alone."""
    found = []
    for k, order in enumerate(made.orders_):
        found.append(
            reference.made_log_prob(X[:, order].astype(float), in_float64(made, k), made.hidden, made.activation)
        )
    return reference.mixture_log_prob(np.array(found))


# ---- a distribution -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_all_probabilities_sum_to_one(settings):
    made = model(**settings).fit(TWIN)
    log_prob = made.score_samples(ALL)
    assert abs(np.exp(log_prob).sum() - 1) < 1e-5
    np.testing.assert_allclose(log_prob, by_reference(made, ALL), rtol=1e-5, atol=1e-5)


def test_a_mean_of_logits_would_be_none(twin):
    """Why several orderings are a mixture of joint probabilities."""
    logits = [
        reference.made_logits(ALL[:, order].astype(float), in_float64(twin, k), twin.hidden, "relu")[
            :, np.argsort(order)
        ]
        for k, order in enumerate(twin.orders_)
    ]
    wrong = np.exp(-reference.bernoulli_forward_backward(ALL.astype(float), np.mean(logits, axis=0))[0]).sum()
    assert abs(wrong - 1) > 0.01
    assert abs(np.exp(twin.score_samples(ALL)).sum() - 1) < 1e-5


@pytest.mark.parametrize("settings", KINDS, ids=str)
def test_each_conditional_depends_on_what_comes_before_it_alone(settings):
    """A column changed changes no conditional of those up to it, to the last bit; and some of those behind it."""
    made = model(**settings).fit(TWIN)
    X = TWIN[:40]
    for k, order in enumerate(made.orders_):
        assert sorted(order) == list(range(BITS))
        before, reached = made.conditionals(X, k)[:, order], np.zeros((BITS, BITS), bool)
        for place, column in enumerate(order):
            moved = X.copy()
            moved[:, column] = 1 - moved[:, column]
            reached[place] = (made.conditionals(moved, k)[:, order] != before).any(axis=0)
        assert not np.tril(reached).any()
        assert reached[np.triu_indices(BITS, 1)].mean() > 0.7


def test_conditionals_make_the_probability(fitted):
    p = fitted.conditionals(NEW).astype(float)
    log_prob = (NEW * np.log(p) + (1 - NEW) * np.log1p(-p)).sum(axis=1)
    np.testing.assert_allclose(log_prob, fitted.score_samples(NEW), rtol=1e-4)


def test_it_learns(fitted):
    """More than the columns' means say, of new rows too."""
    assert fitted.score(NEW) > independent(TRAIN, NEW) + 5
    assert fitted.history_["loss"][-1] < fitted.history_["loss"][0] - 5
    found = fitted.evaluate(NEW)
    assert (found.method, found.kind, found.mean) == ("exact", "exact", fitted.score(NEW))
    assert found.mean_mcse == 0
    assert not found.unreliable.any()
    np.testing.assert_array_equal(found.interval[:, 0], found.values)
    drawn = fitted.evaluate(0.3 * NEW, binarize="dynamic")
    with pytest.warns(EvaluationWarning, match="not log p"):
        assert drawn.mean != fitted.score(0.3 * NEW)


# ---- a step -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", KINDS[:6], ids=str)
def test_gradients(settings):
    """Against central differences of the reference; 0 where nothing is connected."""
    made = model(**{"activation": "tanh", "hidden": (7, 5)} | settings)
    x = TWIN[:9]
    made.initialize(TWIN[:50])
    found, network, losses = made.network_.loss_and_gradients(x, 1, 0.0), made.network_, []
    gradients = network.parameters.named_gradients()
    for k, order in enumerate(made.orders_):
        values, rows = in_float64(made, k), x[:, order].astype(float)
        losses.append(-reference.made_log_prob(rows, values, made.hidden, "tanh").mean())
        expected = by_differences(
            lambda q, rows=rows: -reference.made_log_prob(rows, q, made.hidden, "tanh").mean(), values, ""
        )
        for name, gradient in expected.items():
            own = gradients[f"{k}.{name}" if made.orderings > 1 else name]
            np.testing.assert_allclose(own, gradient, rtol=1e-4, atol=1e-6, err_msg=name)
            assert (own[gradient == 0] == 0).all()
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("settings", [{"optimizer": "adam"}, {"optimizer": "sgd", "clip_norm": 1.0}], ids=str)
def test_what_is_masked_stays_zero(settings):
    made = model(hidden=(30, 30), average=0.5, weight_decay=0.01, **settings).fit(TRAIN[:300])
    masks, of_output, of_direct = reference.made_masks(64, (30, 30))
    for name, mask in {"hidden.0": masks[0], "hidden.1": masks[1], "output": of_output, "direct": of_direct}.items():
        weight = made.parameters()[f"{name}.weight"]
        assert (weight[mask == 0] == 0).all()
        assert (weight[mask == 1] != 0).mean() > 0.5


# ---- samples ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"orderings": 2}, {"hidden": (30, 9)}], ids=str)
def test_samples_have_the_distribution(settings):
    """Chi-square against all probabilities: the mean of many replicates is that of the distribution."""
    made, draws, replicates = model(epochs=30, **settings).fit(TWIN[:, :8].copy()), 2000, 60
    everything = ALL[:256, 4:]
    p = np.exp(made.score_samples(everything))
    order = np.argsort(p)
    group = np.empty(256, int)
    group[order] = np.minimum((np.cumsum(p[order]) * 20).astype(int), 19)  # so that each is likely enough
    expected = np.array([p[group == g].sum() for g in range(20)]) * draws
    values = []
    for seed in range(replicates):
        drawn = made.sample(draws, random_state=seed) @ (2 ** np.arange(7, -1, -1))
        counts = np.bincount(group[drawn.astype(int)], minlength=20)
        values.append(((counts - expected)[expected > 0] ** 2 / expected[expected > 0]).sum())
    degrees = (expected > 0).sum() - 1
    assert abs(np.mean(values) - degrees) < 4 * np.sqrt(2 * degrees / replicates)


def test_seeds_of_samples(twin):
    one = twin.sample(50, random_state=3)
    assert (one == twin.sample(50, random_state=3)).all()
    assert (one != twin.sample(50, random_state=4)).any()
    assert set(np.unique(one)) == {0.0, 1.0}
    first, second = twin.sample(50), twin.sample(50)  # they go on from call to call
    assert (first != second).any()
    with pytest.raises(ValueError, match="n=0 must be at least 1"):
        twin.sample(0)


def test_another_number_of_samples_draws_the_same_first_ones(fitted):
    """Also where they are drawn in several groups."""
    many = fitted.sample(600, random_state=1)
    np.testing.assert_array_equal(many[:20], fitted.sample(20, random_state=1))


# ---- other data ---------------------------------------------------------------------------------------------------


def test_counts():
    """Poisson conditionals sum to one; draws have their means."""
    X = RNG.poisson(np.array([0.5, 2.0]), (400, 2))
    X[:, 1] += 2 * X[:, 0]
    made = model(likelihood="poisson", epochs=150, learning_rate=0.01).fit(X)
    grid = np.array(list(itertools.product(range(40), repeat=2)))
    assert np.exp(made.score_samples(grid)).sum() == pytest.approx(1, abs=2e-3)
    assert np.abs(made.sample(4000, random_state=0).mean(axis=0) - X.mean(axis=0)).max() < 0.5


def test_real_numbers():
    """Gaussian conditionals: against the density of a Gaussian, which a linear model can be; in the user's units."""
    cov = np.array([[4.0, 1.5, 0.5], [1.5, 1.0, 0.3], [0.5, 0.3, 2.0]])
    X = RNG.multivariate_normal([10, 0, -5], cov, 2000)
    made = model(likelihood="gaussian", hidden=(), epochs=80, learning_rate=0.01, schedule="cosine").fit(X)
    centred = X - [10, 0, -5]
    exact = -0.5 * (centred @ np.linalg.inv(cov) * centred).sum(axis=1) - 0.5 * np.linalg.slogdet(2 * np.pi * cov)[1]
    assert made.score(X) == pytest.approx(exact.mean(), abs=0.02)
    np.testing.assert_allclose(np.cov(made.sample(20_000, random_state=0).T), cov, atol=0.2)
    with pytest.raises(ValueError, match="goes with one ordering; orderings=2"):
        model(likelihood="gaussian", orderings=2).fit(X)


# ---- all of an estimator ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"orderings": 2}, {"hidden": (30, 20), "likelihood": "gaussian"}], ids=str)
def test_files_copies_and_more_training(settings, tmp_path):
    made = model(**settings).fit(TRAIN[:200])
    made.save(tmp_path / "model.npz")
    for other in (MADE.load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(made))):
        np.testing.assert_array_equal(other.score_samples(NEW), made.score_samples(NEW))
        np.testing.assert_array_equal(other.sample(20, random_state=1), made.sample(20, random_state=1))
        assert other.get_params() == made.get_params()
    before = made.score(TRAIN[:200])
    assert made.partial_fit(TRAIN[:200]).score(TRAIN[:200]) > before


@pytest.mark.parametrize("settings", [{"average": 0.5}, {"clip_norm": 1.0, "orderings": 2}], ids=str)
def test_neither_threads_nor_an_interruption_change_a_bit(settings, tmp_path, monkeypatch):
    settings = {"hidden": (300,), "epochs": 3, "batch_size": 64} | settings

    class Stopping(Observer):
        steps = 0

        def stepped(self, state, examples):
            self.steps += 1

        def stop_requested(self):
            return self.steps == 5

    trained = {}
    for threads in ("1", "2"):
        threads_of.use(monkeypatch, threads)
        whole, half = model(**settings), model(**settings)
        whole.fit_examples(whole.initialize(TRAIN[:300], "dynamic"), 3, 64, None, None, Observer())
        half.fit_examples(half.initialize(TRAIN[:300], "dynamic"), 3, 64, None, None, Stopping())
        half.save_checkpoint(tmp_path / "checkpoint.npz")
        other = MADE.load_checkpoint(tmp_path / "checkpoint.npz")
        assert other.n_steps_ < whole.n_steps_
        other.fit_examples(other.examples(TRAIN[:300], binarize="dynamic"), 3, 64, None, None, Observer())
        whole.keep_best()
        other.keep_best()
        np.testing.assert_array_equal(other.network_.parameters.values, whole.network_.parameters.values)
        trained[threads] = whole.network_.parameters.values
    np.testing.assert_array_equal(trained["1"], trained["2"])


@pytest.mark.parametrize(("settings", "message"), [
    ({"orderings": 0}, "orderings=0 must be at least 1"),
    ({"orderings": 1.5}, "orderings=1.5 must be a whole number"),
    ({"hidden": 500}, "hidden=500 must be a tuple"),
    ({"hidden": (0,)}, r"hidden\[0\]=0 must be at least 1"),
    ({"order": "natual"}, "order='natual' is not known: did you mean 'natural'"),
    ({"direct": 1}, "direct=1 must be True or False"),
    ({"activation": "rellu"}, "activation='rellu' is not known"),
    ({"likelihood": "bernouli"}, "likelihood='bernouli' is not known"),
], ids=str)  # fmt: skip
def test_refusals(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        model(**settings).fit(TRAIN[:50])


def test_data_out_of_range(fitted):
    for use in (fitted.score_samples, fitted.evaluate, fitted.conditionals, model().fit):
        with pytest.raises(ValueError, match="likelihood='bernoulli' needs values in"):
            use(5 * NEW)
    with pytest.raises(ValueError, match="ordering=1: there are 1"):
        fitted.conditionals(NEW, 1)


def test_grey_rows_have_no_probability(fitted):
    """What is returned of them is no log p(x), and says so; of binary rows, and where it is said how they become
    binary, nothing is said."""
    grey = NEW[:5].copy()
    grey[1, 2] = 0.25
    for use in (fitted.score_samples, fitted.score, fitted.evaluate):
        with pytest.warns(EvaluationWarning, match=r"0.25 at row 1, column 2.* not log p.* binarize them, .X > 0.5"):
            use(grey)
        use(NEW[:5])
    fitted.evaluate(grey, binarize="dynamic")
    scaled = model(scale=(0, 255), epochs=1).fit(255 * TRAIN[:50])
    with pytest.warns(EvaluationWarning, match=r"first: 7 at row 0, column 1.*X > 127.5"):
        scaled.score_samples(np.where(np.arange(NEW.shape[1]) == 1, 7, 255 * NEW[:2]))
    real = model(likelihood="gaussian", epochs=1).fit(TRAIN[:50])
    real.score_samples(grey)  # any number has a density


@pytest.mark.parametrize("method", ["transform", "fit_transform", "reconstruct", "decode", "inverse_transform"])
def test_it_has_no_code(fitted, method):
    with pytest.raises(TypeError, match="a MADE has no latent code: it gives log p"):
        getattr(fitted, method)(NEW)


def test_one_column():
    made = model(epochs=200, learning_rate=0.05).fit(TRAIN[:200, 20:21])
    p = TRAIN[:200, 20].mean()
    np.testing.assert_allclose(np.exp(made.score_samples(np.array([[0.0], [1.0]]))), [1 - p, p], atol=0.05)
    assert made.sample(5, random_state=0).shape == (5, 1)
