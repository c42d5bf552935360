"""NADE: that it is a distribution, what depends on what, its gradients, its samples, and all of an estimator."""

import itertools
import pickle

import numpy as np
import pytest

from fastvae import NADE, reference
from fastvae.data import loading
from fastvae.training import Observer
from tests.models.test_seams import by_differences
from tests.support import threads as threads_of

DIGITS = (np.asarray(loading.load("digits").X) > 7).astype(np.float32)
TRAIN, NEW = DIGITS[:1400], DIGITS[1400:]
BITS = 12
TWIN = DIGITS[:, 18 : 18 + BITS].copy()  # of the digits' columns, twelve that depend on each other
ALL = np.array(list(itertools.product((0, 1), repeat=BITS)), np.float32)
NAMES = ("hidden.weight", "hidden.bias", "output.weight", "output.bias")
ORDERS = [{}, {"order": "random"}]


def model(**settings):
    return NADE(**{"hidden": 20, "epochs": 3, "early_stopping": False, "random_state": 0} | settings)


def independent(train, new):
    p = np.clip(train.mean(axis=0), 1e-3, 1 - 1e-3)
    return (new * np.log(p) + (1 - new) * np.log(1 - p)).sum(axis=1).mean()


def by_reference(nade, X):
    """log p(x) in float64, from the parameters alone."""
    values = [nade.parameters()[name].astype(float) for name in NAMES]
    return reference.nade_log_prob(X[:, nade.order_].astype(float), *values)


@pytest.fixture(scope="module")
def fitted():
    return model(hidden=64, epochs=40, learning_rate=0.005).fit(TRAIN)


@pytest.fixture(scope="module")
def twin():
    return model(epochs=30, order="random").fit(TWIN)


# ---- a distribution -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", ORDERS, ids=str)
def test_all_probabilities_sum_to_one(settings):
    nade = model(learning_rate=0.01, epochs=10, **settings).fit(TWIN)
    log_prob = nade.score_samples(ALL)
    assert abs(np.exp(log_prob).sum() - 1) < 1e-5
    np.testing.assert_allclose(log_prob, by_reference(nade, ALL), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", ORDERS, ids=str)
def test_a_conditional_depends_on_earlier_columns_alone(settings):
    """What changes where one column is flipped: nothing at it and before it, something behind it."""
    nade = model(hidden=30, epochs=5, **settings).fit(TRAIN)
    rows, order = NEW[:20], nade.order_
    before = nade.conditionals(rows)
    assert sorted(order) == list(range(64))
    assert (order == range(64)).all() == (not settings)
    for place in (0, 20, 45, 63):
        flipped = rows.copy()
        flipped[:, order[place]] = 1 - flipped[:, order[place]]
        changed = (nade.conditionals(flipped) != before)[:, order]
        assert not changed[:, : place + 1].any()
        assert changed[:, place + 1 :].any() == (place < 63)
    log_prob = (rows * np.log(before) + (1 - rows) * np.log1p(-before)).sum(axis=1)
    np.testing.assert_allclose(log_prob, nade.score_samples(rows), rtol=1e-4)


def test_it_learns(fitted):
    """More than the columns' means say, of new rows too."""
    assert fitted.score(NEW) > independent(TRAIN, NEW) + 5
    assert fitted.history_["loss"][-1] < fitted.history_["loss"][0] - 5
    found = fitted.evaluate(NEW)
    assert (found.method, found.kind, found.mean) == ("exact", "exact", fitted.score(NEW))
    assert found.mean_mcse == 0
    np.testing.assert_allclose(found.values, by_reference(fitted, NEW), rtol=1e-5)
    drawn = fitted.evaluate(0.3 * NEW, binarize="dynamic")
    assert drawn.mean != fitted.score(NEW)
    np.testing.assert_array_equal(fitted.evaluate(0.9 * NEW, binarize=0.5).values, found.values)


# ---- a step -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", ORDERS, ids=str)
def test_gradients(settings):
    """Against the reference, and that against central differences."""
    nade, x = model(hidden=5, **settings), TWIN[:9]
    nade.initialize(TWIN[:50])
    found, gradients = nade.network_.loss_and_gradients(x, 1, 0.0), nade.network_.parameters.named_gradients()
    rows = x[:, nade.order_].astype(float)
    values = {name: nade.parameters()[name].astype(float) for name in NAMES}
    logits = reference.prefix_forward(rows, *values.values())
    d_logits = reference.bernoulli_forward_backward(rows, logits)[1] / len(rows)
    analytic = reference.prefix_backward(rows, *list(values.values())[:3], d_logits)
    expected = by_differences(lambda q: -reference.nade_log_prob(rows, *q.values()).mean(), values, "")
    assert found["loss"] == pytest.approx(-reference.nade_log_prob(rows, *values.values()).mean(), rel=1e-5)
    for name, exact in zip(NAMES, analytic, strict=True):
        np.testing.assert_allclose(exact, expected[name], rtol=1e-6, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(gradients[name], exact, rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("settings", [{"weight_decay": 0.01}, {"optimizer": "sgd", "clip_norm": 1.0}], ids=str)
def test_one_step(settings):
    """What the optimizer makes of the gradients; weight decay reaches the layer's parameters."""
    nade = model(hidden=5, learning_rate=0.1, batch_size=50, epochs=1, **settings)
    examples = nade.initialize(TWIN[:50])
    before = nade.network_.parameters.values.astype(float)
    nade.network_.loss_and_gradients(TWIN[:50], 1, 0.0)
    g = nade.network_.parameters.gradients.astype(float)
    nade.fit_examples(examples, 1, 50, None, None, Observer())
    after = nade.network_.parameters.values
    if "optimizer" in settings:
        expected = before - 0.1 * g * min(1, 1 / np.linalg.norm(g))
    else:
        expected = reference.adam(before, g, 0 * g, 0 * g, 1, 0.1, 0.9, 0.999, 1e-8, 0.01)[0]
    far = np.abs(g) > 1e-6  # Adam divides by what is smaller
    np.testing.assert_allclose(after[far], expected[far], rtol=1e-3, atol=1e-5)


# ---- samples ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", ORDERS, ids=str)
def test_samples_have_the_distribution(settings):
    """Chi-square against all probabilities: the mean of many replicates is that of the distribution."""
    nade, draws, replicates = model(epochs=30, **settings).fit(TWIN[:, :8].copy()), 2000, 60
    everything = ALL[:256, 4:]
    p = np.exp(nade.score_samples(everything))
    order = np.argsort(p)
    group = np.empty(256, int)
    group[order] = np.minimum((np.cumsum(p[order]) * 20).astype(int), 19)  # so that each is likely enough
    expected = np.array([p[group == g].sum() for g in range(20)]) * draws
    values = []
    for seed in range(replicates):
        drawn = nade.sample(draws, random_state=seed) @ (2 ** np.arange(7, -1, -1))
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


def test_another_number_of_samples_draws_the_same_first_ones(twin):
    """Also where they are drawn in several groups."""
    many = twin.sample(600, random_state=1)
    np.testing.assert_array_equal(many[:300], twin.sample(300, random_state=1))


# ---- all of an estimator ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", ORDERS, ids=str)
def test_files_copies_and_more_training(settings, tmp_path):
    nade = model(**settings).fit(TRAIN[:200])
    nade.save(tmp_path / "model.npz")
    for other in (NADE.load(tmp_path / "model.npz"), pickle.loads(pickle.dumps(nade))):
        np.testing.assert_array_equal(other.score_samples(NEW), nade.score_samples(NEW))
        np.testing.assert_array_equal(other.sample(20, random_state=1), nade.sample(20, random_state=1))
        assert other.get_params() == nade.get_params()
    before = nade.score(TRAIN[:200])
    assert nade.partial_fit(TRAIN[:200]).score(TRAIN[:200]) > before


@pytest.mark.parametrize("settings", [{"average": 0.5}, {"clip_norm": 1.0, "order": "random"}], ids=str)
def test_neither_threads_nor_an_interruption_change_a_bit(settings, tmp_path, monkeypatch):
    settings = {"hidden": 200, "epochs": 3, "batch_size": 64} | settings  # four times as many as threads share

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
        other = NADE.load_checkpoint(tmp_path / "checkpoint.npz")
        assert other.n_steps_ < whole.n_steps_
        other.fit_examples(other.examples(TRAIN[:300], binarize="dynamic"), 3, 64, None, None, Observer())
        whole.keep_best()
        other.keep_best()
        np.testing.assert_array_equal(other.network_.parameters.values, whole.network_.parameters.values)
        trained[threads] = whole.network_.parameters.values
    np.testing.assert_array_equal(trained["1"], trained["2"])


@pytest.mark.parametrize(("settings", "message"), [
    ({"hidden": 0}, "hidden=0 must be at least 1"),
    ({"hidden": (500,)}, "hidden=.500,. must be a whole number"),
    ({"order": "natual"}, "order='natual' is not known: did you mean 'natural'"),
], ids=str)  # fmt: skip
def test_refusals(settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        model(**settings).fit(TRAIN[:50])


GREY = "X has values other than 0 and 1 .first: 0.25 at row 1, column 2.* binarize them"


def test_rows_that_are_not_binary(fitted):
    """Refused with what to do, and taken where it is said how they become binary."""
    grey = NEW[:5].copy()
    grey[1, 2] = 0.25
    for use in (fitted.score_samples, fitted.evaluate, fitted.conditionals, fitted.partial_fit, model().fit):
        with pytest.raises(ValueError, match=GREY):
            use(grey)
    before = fitted.parameters()["hidden.weight"].copy()
    with pytest.raises(ValueError, match=GREY):
        fitted.initialize(grey)
    np.testing.assert_array_equal(fitted.parameters()["hidden.weight"], before)
    with pytest.raises(ValueError, match="heldout has values other than 0 and 1"):
        model().fit(TRAIN[:50], heldout=grey)
    model().initialize(grey, binarize="dynamic")
    model(scale=(0, 255)).fit(255 * TRAIN[:50])
    with pytest.raises(ValueError, match="first: 7 at row 1, column 2"):
        model(scale=(0, 255)).fit(np.where(grey == 0.25, 7, 255 * grey))


def test_data_out_of_range(fitted):
    for use in (fitted.score_samples, fitted.evaluate, fitted.conditionals, model().fit):
        with pytest.raises(ValueError, match=r"a NADE needs values in .* or use a MADE with likelihood='gaussian'"):
            use(5 * NEW)


def test_scores_that_overflow():
    """Of examples, as while a model is trained that diverges, they are what they are; of rows, an error says it."""
    nade = model(epochs=1).fit(TRAIN[:50])
    nade.parameters()["output.bias"][:] = -3e38
    lit = np.ones((3, 64), np.float32)
    assert (nade.score_examples(nade.examples(lit)) == -np.inf).all()
    for use in (nade.score_samples, nade.evaluate):
        with pytest.raises(ValueError, match="3 of 3 rows lie so far"):
            use(lit)


@pytest.mark.parametrize("method", ["transform", "fit_transform", "reconstruct", "decode", "inverse_transform"])
def test_it_has_no_code(fitted, method):
    with pytest.raises(TypeError, match="a NADE has no latent code: its hidden units change"):
        getattr(fitted, method)(NEW)


def test_one_column():
    nade = model(epochs=200, learning_rate=0.05).fit(TRAIN[:200, 20:21])
    p = TRAIN[:200, 20].mean()
    np.testing.assert_allclose(np.exp(nade.score_samples(np.array([[0.0], [1.0]]))), [1 - p, p], atol=0.05)
    assert nade.sample(5, random_state=0).shape == (5, 1)
