"""A deep Boltzmann machine: step, chains and bound against `fastvae.reference`, exactly where states can be counted."""

import numpy as np
import pytest

from fastvae import DBM
from fastvae.evaluation.mean_field import machine_of
from fastvae.evaluation.partition import partition
from fastvae.kernels import cpu
from fastvae.models.boltzmann_network import GIBBS
from fastvae.models.dbm_network import INFERENCE_STEPS
from fastvae.reference import dbm as reference
from fastvae.training import Observer
from tests.support import threads as threads_of
from tests.support.models import StopAfter

D, HIDDEN = 6, (4, 3)
V = reference.states(D).astype(np.float32)
DATA = (np.random.default_rng(0).random((60, D)) < [0.9, 0.1, 0.5, 0.3, 0.7, 0.5]).astype(np.float32)


def model(**settings):
    given = {"hidden": HIDDEN, "mean_field_steps": 3, "chains": 20, "batch_size": 20, "epochs": 3, "random_state": 1}
    return DBM(**given | {"warmup_steps": 0} | settings)


def with_parameters(size=1.0, seed=0, **settings):
    """A model with random parameters, and these as the reference has them."""
    found, rng = model(**settings), np.random.default_rng(seed)
    found.initialize(DATA)
    for name, values in found.parameters().items():
        values[:] = rng.random(values.shape) if name.endswith("offset") else size * rng.normal(size=values.shape)
    return found, parameters(found)


def parameters(found):
    p = {name: values.astype(float) for name, values in found.parameters().items()}
    weights = {f"W{i + 1}": p[f"hidden.{i}.weight"] for i in (0, 1)}
    return {"visible": p["visible.bias"], "b1": p["hidden.0.bias"], "b2": p["hidden.1.bias"]} | weights


def offsets(found):
    return [found.parameters()[f"{name}.offset"].astype(float) for name in ("visible", "hidden.0", "hidden.1")]


def drawn(found, mean, layer, step):
    out = mean.astype(np.float32)
    cpu.binarize_inplace(out, found.seed_, GIBBS + 3 * step + layer, 0)
    return out.astype(float)


def stepped(found, v, chains, step):
    """What a step makes of rows and chains, in float64: gradients of the bound, loss, chains, means of hidden units."""
    p, given = parameters(found), offsets(found)
    h1, h2 = reference.dbm_mean_field(p, v, found.mean_field_steps, np.tile(given[2], (len(v), 1)))
    mean_v, mean_h2 = reference.dbm_conditionals(p, h1=chains)
    of_model = drawn(found, mean_v, 0, step), drawn(found, mean_h2, 2, step)
    mean = reference.dbm_conditionals(p, v=of_model[0], h2=of_model[1])
    gradients = reference.dbm_centred_gradients((v, h1, h2), (of_model[0], mean, of_model[1]), given)
    shown = reference.dbm_conditionals(p, h1=h1)[0]
    loss = -(v * np.log(shown) + (1 - v) * np.log(1 - shown)).sum(axis=1).mean()
    return gradients, loss, drawn(found, mean, 1, step), (h1.mean(axis=0), h2.mean(axis=0))


NAMES = {"visible": "visible.bias", "W1": "hidden.0.weight", "b1": "hidden.0.bias", "W2": "hidden.1.weight",
         "b2": "hidden.1.bias"}  # fmt: skip


@pytest.mark.parametrize("sweeps", [1, 3])
def test_gradients_of_a_step(sweeps):
    found, _ = with_parameters(mean_field_steps=sweeps)
    found.network_._state["chains"][:] = np.random.default_rng(2).random((20, HIDDEN[0])) < 0.5
    chains = found.network_.state["chains"][:7].astype(float)
    gradients, loss, _, _ = stepped(found, DATA[:7].astype(float), chains, 5)
    losses = found.network_.loss_and_gradients(DATA[:7].copy(), 5, 0.0)
    assert losses["loss"] == pytest.approx(loss, rel=1e-6)
    for name, values in found.network_.parameters.named_gradients().items():
        if not name.endswith("offset"):
            expected = gradients[{own: key for key, own in NAMES.items()}[name]]
            np.testing.assert_allclose(values, -expected, atol=1e-6, err_msg=name)
    np.testing.assert_array_equal(found.network_.state["chains"][:7], chains)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_what_a_step_leaves(threads, monkeypatch):
    threads_of.use(monkeypatch, threads)
    found, before = with_parameters(learning_rate=0.1, schedule="constant", average=0.0)
    given = offsets(found)
    examples = found.examples(DATA[:20])
    found.fit_examples(examples, 1, 20, None, None, Observer())
    now, after = parameters(found), offsets(found)
    order = np.empty(20, np.int64)
    examples.order(0, 0, order)
    gradients, _, chains, means = stepped_again(found, before, given, DATA[order].astype(float))
    for name, values in before.items():
        np.testing.assert_allclose(now[name], values + 0.1 * gradients[name], atol=2e-6, err_msg=name)
    np.testing.assert_array_equal(found.network_.state["chains"], chains)
    np.testing.assert_array_equal(after[0], given[0])
    for i in (1, 2):  # the first step takes the mean itself
        np.testing.assert_allclose(after[i], means[i - 1], atol=1e-6)


def stepped_again(found, before, given, v):
    """The first step, with the parameters before it."""
    other = model()
    other.initialize(DATA)
    for name, own in NAMES.items():
        other.parameters()[own][:] = before[name]
    for name, values in zip(("visible", "hidden.0", "hidden.1"), given, strict=True):
        other.parameters()[f"{name}.offset"][:] = values
    return stepped(other, v, np.zeros((20, HIDDEN[0])), 1)


def test_no_two_draws_share_their_noise():
    units = 64
    gray = np.full((200, units), 0.5, np.float32)
    found = DBM(hidden=(units, units), chains=200, batch_size=200, random_state=3)
    found.initialize(gray + np.float32([[0.0], [1e-6]] * 100))
    for name, values in found.parameters().items():
        values[:] = 0.5 if name.endswith("offset") else 0
    seen = [
        drawn(found, gray, 0, 1), drawn(found, gray, 1, 1), drawn(found, gray, 2, 1), drawn(found, gray, 0, 2),
    ]  # fmt: skip
    data = gray.copy()
    cpu.binarize_inplace(data, found.seed_, 1, 0)
    for i, one in enumerate([*seen, data]):
        for other in [*seen, data][:i]:
            assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(gray.size)


def test_codes_and_reconstructions():
    found, p = with_parameters()
    h1, h2 = reference.dbm_mean_field(p, V.astype(float), INFERENCE_STEPS, np.tile(offsets(found)[2], (len(V), 1)))
    codes = found.transform(V)
    np.testing.assert_allclose(codes, np.concatenate([h1, h2], axis=1), atol=1e-5)
    np.testing.assert_allclose(found.decode(codes), reference.dbm_conditionals(p, h1=h1)[0], atol=1e-5)
    np.testing.assert_array_equal(found.reconstruct(V), found.decode(codes))
    assert found.get_feature_names_out().shape == (sum(HIDDEN),)


# ---- log p(v) ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_lies_below_the_exact_value_of_every_row(seed):
    found, p = with_parameters(1.5, seed)
    result = found.evaluate(V)
    exact, log_z = reference.dbm_log_prob(p, V.astype(float)), reference.dbm_log_z(p)
    assert (result.kind, result.mean_mcse, result.n_samples) == ("lower bound", 0, 0)
    assert (result.values <= exact + 1e-6).all()
    h1, h2 = reference.dbm_mean_field(p, V.astype(float), INFERENCE_STEPS, np.tile(offsets(found)[2], (len(V), 1)))
    np.testing.assert_allclose(result.values, reference.dbm_bound(p, V, h1, h2), atol=1e-4)
    np.testing.assert_array_equal(found.score_samples(V), result.values)
    chains = found.log_partition(temperatures=1000, enumerate=False)
    assert abs(chains.log_z - log_z) < 0.1
    assert abs(chains.reverse - log_z) < 0.1


@pytest.mark.long
def test_log_z_of_a_wide_one_is_the_larger_of_both():
    found, p = with_parameters(0.4, hidden=(21, 3))
    result = found.evaluate(V, 40, temperatures=50)
    h1, h2 = reference.dbm_mean_field(p, V.astype(float), INFERENCE_STEPS, np.tile(offsets(found)[2], (len(V), 1)))
    log_z = max(result.details["log_z"], result.details["reverse"])
    bound = reference.dbm_bound(p, V, h1, h2) + reference.dbm_log_z(p) - log_z
    np.testing.assert_allclose(result.values, bound, atol=1e-4)
    assert (result.kind, result.method, result.n_samples) == ("lower bound", "mean field", 40)
    assert result.mean_mcse in (pytest.approx(result.details["mcse"]), pytest.approx(result.details["reverse_mcse"]))
    np.testing.assert_array_equal(result.lower, result.values)
    assert result.upper.mean() == pytest.approx(
        max(result.details[f"mean_by_{way}"] for way in ("annealing", "reverse"))
    )


def test_weights_are_unbiased_both_ways_and_few_of_them_hold_log_z_between_them():
    found, p = with_parameters(2.5, 4)
    machine, exact = machine_of(found.network_), reference.dbm_log_z(p)
    many = [partition(machine, 4, 4, np.uint64(seed), burn_in=200) for seed in range(300)]
    forward = np.exp([each.log_z - exact for each in many])
    backward = np.exp([exact - each.reverse for each in many])
    for ratios in (forward, backward):
        assert abs(ratios.mean() - 1) < 4 * ratios.std(ddof=1) / np.sqrt(len(ratios))
        assert 0.1 < ratios.std() < 10
    assert np.mean([each.log_z for each in many]) < exact - 0.01
    assert np.mean([each.reverse for each in many]) > exact + 0.01
    assert all(1 <= each.ess <= 4 and 1 <= each.reverse_ess <= 4 for each in many)


def test_standard_errors_of_log_z_cover():
    found, p = with_parameters(1.5, 2)
    machine, exact = machine_of(found.network_), reference.dbm_log_z(p)
    inside = [
        abs(each.log_z - exact) < 1.96 * each.mcse
        for each in (partition(machine, 100, 20, np.uint64(seed), burn_in=0) for seed in range(200))
    ]
    assert 0.89 < np.mean(inside) < 0.99


def test_samples_are_of_the_model():
    """Chi-square of v over all 64 states, of chains that do not know of each other."""
    found, p = with_parameters(0.8, 5)
    n = 6400
    v = found.sample(n, random_state=1, noise=True, steps=60)
    expected = n * np.exp(reference.dbm_log_prob(p, V.astype(float)))
    counts = np.bincount((v @ (2.0 ** np.arange(D)[::-1])).astype(int), minlength=len(V))
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    chi_square, freedom = ((counts - expected) ** 2 / expected).sum(), len(counts) - 1
    assert abs(chi_square - freedom) < 3.5 * np.sqrt(2 * freedom)
    means = found.sample(n, random_state=1, steps=60)
    np.testing.assert_allclose(means.mean(axis=0), np.exp(reference.dbm_log_prob(p, V.astype(float))) @ V, atol=0.02)


def test_samples_belong_to_the_seed():
    found, _ = with_parameters()
    np.testing.assert_array_equal(found.sample(5, 3, steps=2), found.sample(5, 3, steps=2))
    assert (found.sample(5, 3, steps=2) != found.sample(5, 4, steps=2)).any()
    assert (found.sample(5, steps=2) != found.sample(5, steps=2)).any()
    np.testing.assert_array_equal(found.sample(300, 3, steps=3)[:5], found.sample(5, 3, steps=3))


# ---- training ---------------------------------------------------------------------------------------------------


def structured(rows):
    """Rows that repeat one of two patterns, with some noise."""
    rng = np.random.default_rng(6)
    patterns = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    return np.abs(patterns[rng.integers(0, 2, rows)] - (rng.random((rows, D)) < 0.05)).astype(np.float32)


def test_it_learns():
    X = structured(400)
    found = model(epochs=150, learning_rate=0.1, warmup_steps=50).fit(X)
    exact = reference.dbm_log_prob(parameters(found), X.astype(float)).mean()
    shares = np.unique(X, axis=0, return_counts=True)[1] / len(X)
    best, independent = (shares * np.log(shares)).sum(), -6 * np.log(2)
    assert independent < -4
    assert best - 0.25 < exact <= best
    assert found.evaluate(X, temperatures=500).mean <= exact + 0.05


def test_a_run_that_is_continued_ends_in_the_same_bits(tmp_path):
    X = structured(90)
    whole = model().fit(X)
    half = model()
    half.fit_examples(half.initialize(X), 3, 20, None, None, StopAfter(7))
    half.save_checkpoint(tmp_path / "checkpoint.npz")
    loaded = DBM.load_checkpoint(tmp_path / "checkpoint.npz")
    for other in (half, loaded):
        other.fit_examples(other.examples(X), 3, 20, None, None, Observer())
        other.keep_best()
        np.testing.assert_array_equal(other.network_.parameters.values, whole.network_.parameters.values)
        np.testing.assert_array_equal(other.network_.state["chains"], whole.network_.state["chains"])


def test_no_result_depends_on_the_threads(monkeypatch):
    found = []
    for threads in ("1", "2"):
        threads_of.use(monkeypatch, threads)
        fitted = model(hidden=(33, 17), epochs=2).fit(structured(90))
        found.append((fitted.network_.parameters.values.copy(), fitted.transform(V), fitted.sample(40, 1, steps=3)))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_file_holds_the_model(tmp_path):
    fitted = model().fit(structured(90))
    fitted.save(tmp_path / "model.npz")
    loaded = DBM.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(loaded.transform(V), fitted.transform(V))
    np.testing.assert_array_equal(loaded.sample(4, 1, steps=5), fitted.sample(4, 1, steps=5))
    one, other = (each.evaluate(V, temperatures=20) for each in (fitted, loaded))
    np.testing.assert_array_equal(one.values, other.values)
    loaded.set_params(schedule="constant", average=0.0)
    loaded.partial_fit(structured(90))


def test_what_cannot_be_is_refused():
    X = structured(40)
    for settings, said in (
        ({"hidden": (5,)}, "two hidden layers"), ({"hidden": 5}, "tuple of layer widths"),
        ({"mean_field_steps": 0}, "mean_field_steps=0 must be at least 1"), ({"chains": 0}, "chains=0"),
        ({"chains": 7}, "a batch of 20 rows needs as many chains; chains=7"),
    ):  # fmt: skip
        with pytest.raises((ValueError, TypeError), match=said):
            model(**settings).fit(X)
    with pytest.raises(ValueError, match=r"a DBM needs values in \[0, 1\].* or use an RBM with visible='gaussian'"):
        model().fit(3 * X)
    fitted = model().fit(X)
    gray = np.full((3, D), 0.3, np.float32)
    with pytest.raises(ValueError, match="first: 0.3 at row 0, column 0.*binarize= to .*evaluate: 'dynamic'"):
        fitted.evaluate(gray, temperatures=5)
    assert np.isfinite(fitted.evaluate(gray, temperatures=5, binarize="dynamic").values).all()
    for given, said in (({"n_samples": 1}, "n_samples=1"), ({"temperatures": 0}, "temperatures=0")):
        with pytest.raises(ValueError, match=said):
            fitted.evaluate(X, **given)
    with pytest.raises(ValueError, match="steps=0"):
        fitted.sample(2, steps=0)
