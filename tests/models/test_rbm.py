"""A restricted Boltzmann machine: gradients, chains and log Z against sums over all states."""

import pickle

import numpy as np
import pytest

from fastvae import RBM
from fastvae.errors import ModelFileError
from fastvae.evaluation.bipartite import enumerated
from fastvae.evaluation.partition import partition
from fastvae.kernels.ops import OPS
from fastvae.passes import Pass
from fastvae.reference import boltzmann as reference
from fastvae.reference.dbm import states
from fastvae.training import Observer
from tests.support import threads as threads_of
from tests.support.models import StopAfter

RNG = np.random.default_rng(5)
D, H, ROWS = 6, 4, 30
DATA = (RNG.random((90, D)) < [0.2, 0.7, 0.5, 0.4, 0.9, 0.5]).astype(np.float32)
DATA[:, 3] = DATA[:, 2]  # something to learn
STILL = {"learning_rate": 1e-12, "schedule": "constant", "warmup_steps": 0, "average": 0.0}  # parameters stay


def model(**settings):
    given = {"hidden": H, "chains": ROWS, "batch_size": ROWS, "epochs": 4, "random_state": 1}
    return RBM(**given | settings)


def started(size=1.0, data=DATA, **settings):
    """A machine with weights of that size, not trained."""
    found = model(**settings)
    found.initialize(data)
    rng = np.random.default_rng(2)
    for owner in found.network_.trained():
        for name in owner.shapes():
            value = found.network_.parameters.value(name)
            value[...] = size * rng.normal(size=value.shape)
    return found


def parameters(found):
    q = {name: value.astype(float) for name, value in found.parameters().items()}
    sigma = {} if found.network_.is_binary else {"sigma": found.sigma_}
    return {"a": q["visible.bias"], "W": q["hidden.weight"], "b": q["hidden.bias"]} | sigma


# ---- what it says of rows -------------------------------------------------------------------------------------------


def test_all_probabilities_sum_to_one():
    found = started(data=np.repeat(DATA, 2, axis=1), hidden=5)
    V = states(12).astype(np.float32)
    assert np.exp(found.evaluate(V).values).sum() == pytest.approx(1, abs=1e-5)
    assert np.exp(found.score_samples(V)).sum() == pytest.approx(1, abs=1e-5)
    exact = reference.rbm_free_energy(parameters(found), V.astype(float))
    np.testing.assert_allclose(found.free_energy(V), exact, rtol=1e-5, atol=1e-5)


def test_the_reference_by_all_states_and_differences():
    params, V = parameters(started()), states(D)
    joint = sum(np.exp(V @ params["a"] + V @ params["W"] @ h + params["b"] @ h) for h in states(H))
    np.testing.assert_allclose(-reference.rbm_free_energy(params, V), np.log(joint), rtol=1e-12)
    assert reference.rbm_log_z(params) == pytest.approx(np.log(joint.sum()), rel=1e-12)

    def log_p(q):
        return (-reference.rbm_free_energy(q, DATA.astype(float)) - reference.rbm_log_z(q)).mean()

    for name, gradient in reference.rbm_gradients(params, DATA.astype(float)).items():
        for place in np.ndindex(gradient.shape):
            sides = []
            for sign in (1, -1):
                moved = {key: value.copy() for key, value in params.items()}
                moved[name][place] += sign * 1e-5
                sides.append(log_p(moved))
            assert gradient[place] == pytest.approx((sides[0] - sides[1]) / 2e-5, abs=1e-8)


@pytest.mark.parametrize("sigma", ["learned", 1.3])
def test_log_z_of_real_rows_is_an_integral(sigma):
    """Over a grid of two columns; the machine's own, by enumeration, and by chains in both directions."""
    data = RNG.normal(size=(60, 2)).astype(np.float32) * [0.8, 1.2]
    found = started(0.7, data, visible="gaussian", hidden=3, scale=None, sigma=sigma)
    params, line = parameters(found), np.linspace(-11, 11, 161)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    log_z = np.log(np.exp(-reference.rbm_free_energy(params, grid, binary=False)).sum() * (line[1] - line[0]) ** 2)
    assert reference.rbm_log_z(params, binary=False) == pytest.approx(log_z, abs=1e-6)
    assert found.log_partition().log_z == pytest.approx(log_z, abs=1e-5)
    chains = found.log_partition(200, temperatures=300, enumerate=False, random_state=3)
    assert chains.log_z == pytest.approx(log_z, abs=4 * chains.mcse + 1e-3)
    assert chains.reverse == pytest.approx(log_z, abs=4 * chains.reverse_mcse + 1e-3)
    values = found.score_samples(grid.astype(np.float32))
    assert np.exp(values).sum() * (line[1] - line[0]) ** 2 == pytest.approx(1, abs=1e-4)


def test_log_p_is_in_the_users_units():
    data = RNG.normal(size=(60, 3)).astype(np.float32)
    one, other = (started(0.5, scale_ * data, visible="gaussian") for scale_ in (1, 10))
    np.testing.assert_allclose(other.score_samples(10 * data), one.score_samples(data) - 3 * np.log(10), atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_annealing_comes_to_what_enumeration_gives(seed):
    """15 hidden units, within 0.1 on both sides, at 1,000 temperatures."""
    found = started(0.8, np.repeat(DATA, 3, axis=1), hidden=15)
    exact = found.log_partition().log_z
    assert exact == pytest.approx(reference.rbm_log_z(parameters(found)), abs=1e-4)
    chains = found.log_partition(200, temperatures=1000, enumerate=False, random_state=seed)
    assert chains.log_z == pytest.approx(exact, abs=0.1)
    assert chains.reverse == pytest.approx(exact, abs=0.1)


def test_more_than_twenty_hidden_units_make_a_bracket():
    found = started(0.3, hidden=24)
    result = found.evaluate(DATA, 50, temperatures=300)
    q = parameters(found)
    exact = enumerated(q["W"].T, q["b"], q["a"])  # the hidden units summed out, over all v
    mean = -found.free_energy(DATA).mean() - exact
    assert result.kind == "bracket"
    ends = [result.details[f"mean_by_{way}"] for way in ("annealing", "reverse")]
    assert ends == pytest.approx([mean, mean], abs=0.05)
    assert result.mean == pytest.approx(np.mean(ends), rel=1e-12)
    assert [result.lower.mean(), result.upper.mean()] == pytest.approx(sorted(ends), rel=1e-12)
    assert result.mean_mcse == pytest.approx(np.hypot(result.details["mcse"], result.details["reverse_mcse"]) / 2)
    assert len(result) == len(DATA)


# ---- gradients and chains -------------------------------------------------------------------------------------------


def mean_gradient(found, data, calls=40):
    """That of the negative log p, a mean over calls with noise of their own."""
    total = dict.fromkeys(("visible.bias", "hidden.weight", "hidden.bias"), 0.0)
    for call in range(calls):
        found.network_.loss_and_gradients(data, 100 + call, 0.0)
        gradients = found.network_.parameters.named_gradients()
        total = {name: value + gradients[name].astype(float) / calls for name, value in total.items()}
    return np.concatenate([value.ravel() for value in total.values()])


def test_the_bias_of_contrastive_divergence_and_that_of_persistent_chains():
    """Chains that began 300 steps ago at the same parameters give the exact gradient, within their error; those that
    begin at the data do not, and more steps make their bias smaller."""
    data, errors = np.tile(DATA, (22, 1)), {}
    for name, settings in {"PCD": {}, "CD-1": {"persistent": False}, "CD-10": {"persistent": False, "k": 10}}.items():
        found = started(1.0, data, chains=len(data), batch_size=len(data), centre=False, **settings, **STILL)
        if name == "PCD":
            found.fit_examples(found.examples(data), 300, len(data), None, None, Observer())
        params = parameters(found)
        exact = reference.rbm_gradients(params, data.astype(float))
        wanted = -np.concatenate([exact[key].ravel() for key in ("a", "W", "b")])
        gradients = mean_gradient(found, data)
        errors[name] = np.linalg.norm(gradients - wanted)
    assert errors["PCD"] < 0.25 * errors["CD-1"]
    assert errors["CD-10"] < 0.5 * errors["CD-1"]


@pytest.mark.parametrize("centre", [True, False])
def test_a_centred_gradient_is_another_direction_of_the_same_plain_one(centre):
    """The gradient of a step by its own units: v and h of the data, and v and h of the chains, drawn again."""
    found = started(0.6, centre=centre)
    network, batch = found.network_, DATA[:ROWS].copy()
    for offset in network.offsets:
        offset.value[:] = RNG.random(offset.units)
    kept = {}
    gibbs = network.gibbs

    def watched(p, chain, draw=0):
        kept["units"] = gibbs(p, chain, draw)
        return kept["units"]

    network.gibbs = watched
    network.loss_and_gradients(batch, 7, 0.0)
    del network.gibbs
    v, h, _ = (array.astype(float) for array in kept["units"])
    params = parameters(found)
    h_data = 1 / (1 + np.exp(-(batch @ params["W"] + params["b"])))
    mu, lam = (offset.value.astype(float) if centre else 0 * offset.value for offset in network.offsets)

    def statistics(v, h):
        return (v - mu).T @ (h - lam) / len(v), v.mean(axis=0), h.mean(axis=0)

    (w, a, b), (w_model, a_model, b_model) = statistics(batch.astype(float), h_data), statistics(v, h)
    d_w = w - w_model
    expected = {"hidden.weight": d_w, "visible.bias": a - a_model - d_w @ lam, "hidden.bias": b - b_model - mu @ d_w}
    for name, value in expected.items():
        np.testing.assert_allclose(-network.parameters.named_gradients()[name], value, atol=1e-5, err_msg=name)


def test_chains_draw_from_the_model():
    """4,000 chains after 100 steps, by the 2^4 probabilities: chi-square with 15 degrees of freedom."""
    found = started(1.0, DATA[:, :4], hidden=3)
    V = states(4)
    p = np.exp(found.score_samples(V.astype(np.float32)))
    drawn = found.sample(4000, random_state=4, noise=True, steps=100)
    counts = np.array([(drawn == v).all(axis=1).sum() for v in V])
    assert counts.sum() == 4000
    assert np.square(counts - 4000 * p).__truediv__(4000 * p).sum() < 37.7  # 99.9%
    assert np.square(np.full(16, 250) - 4000 * p).__truediv__(4000 * p).sum() > 100  # a uniform sampler would show


def test_chains_of_real_rows_draw_from_the_model():
    """A mixture of 2^H Gaussians: its mean and second moments, within 4.5 standard errors."""
    data = RNG.normal(size=(60, 2)).astype(np.float32) * [0.7, 1.4]
    found = started(0.6, data, visible="gaussian", hidden=2, scale=None)
    params, h = parameters(found), states(2)
    product = h @ params["W"].T
    log_p = h @ params["b"] + (product * params["a"] + 0.5 * product**2).sum(axis=1)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    means = params["sigma"] * (params["a"] + h @ params["W"].T)
    drawn = found.sample(6000, random_state=1, noise=True, steps=60).astype(float)
    mean, second = p @ means, p @ (means**2 + params["sigma"] ** 2)
    for found_, exact in ((drawn, mean), (drawn**2, second)):
        assert (np.abs(found_.mean(axis=0) - exact) < 4.5 * found_.std(axis=0) / np.sqrt(len(drawn))).all()


@pytest.mark.parametrize(("k", "persistent"), [(1, True), (3, True), (1, False), (3, False)])
@pytest.mark.parametrize("how", [{}, {"visible": "gaussian"}, {"visible": "gaussian", "sigma": 0.5}], ids=str)
def test_no_two_draws_of_a_step_share_their_noise(k, persistent, how):
    found = model(k=k, persistent=persistent, **how)
    found.initialize(DATA)
    seen = []

    class Noting(Pass):
        def add(self, op, *operands):
            if op in ("binarize_inplace", "corrupt"):
                names = [operand.name for operand in OPS[op].operands]
                step = operands[names.index("step")]
                seen.append((op, step.place, step.offset))
            super().add(op, *operands)

    network = found.network_
    p = Noting(network.backend, network._slots, 8, {"x": lambda p: p.empty(D)})
    network.step(p, found._make_optimizer().parts)
    assert len(seen) == 2 * k + (not persistent)
    assert len({step for *_, step in seen}) == len(seen)
    assert np.diff(network.numbers(8, np.zeros(2), np.array([1, 2]))["gibbs step"]) >= len(seen)  # nor of the next step


# ---- as an estimator ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [
    {}, {"visible": "gaussian"}, {"visible": "gaussian", "sigma": 0.6}, {"persistent": False, "k": 2},
], ids=str)  # fmt: skip
def test_a_run_that_is_continued_ends_in_the_same_bits(settings, tmp_path, monkeypatch):
    threads_of.use(monkeypatch, "2")
    whole = model(**settings).fit(DATA)
    threads_of.use(monkeypatch, "1")
    half = model(**settings)
    half.fit_examples(half.initialize(DATA), 4, ROWS, None, None, StopAfter(5))
    half.save_checkpoint(tmp_path / "checkpoint.npz")
    for other in (RBM.load_checkpoint(tmp_path / "checkpoint.npz"), pickle.loads(pickle.dumps(half))):
        other.fit_examples(other.examples(DATA), 4, ROWS, None, None, Observer())
        other.keep_best()
        np.testing.assert_array_equal(other.network_.parameters.values, whole.network_.parameters.values)
        for name, array in whole.network_.state.items():
            np.testing.assert_array_equal(other.network_.state[name], array)


def test_files(tmp_path):
    found = model().fit(DATA)
    found.save(tmp_path / "model.npz")
    other = RBM.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(other.transform(DATA), found.transform(DATA))
    np.testing.assert_array_equal(other.sample(5, random_state=1, steps=9), found.sample(5, random_state=1, steps=9))
    np.testing.assert_array_equal(other.score_samples(DATA), found.score_samples(DATA))
    from fastvae import VAE

    with pytest.raises(ModelFileError, match="model is 'RBM'; expected 'VAE': RBM.load reads it"):
        VAE.load(tmp_path / "model.npz")


def test_it_learns_more_than_independent_columns():
    """By exact log p: two of the columns are the same."""
    found = model(epochs=1000, hidden=6, learning_rate=0.3).fit(DATA)
    mean = DATA.mean(axis=0).astype(float)
    independent = (DATA * np.log(mean) + (1 - DATA) * np.log(1 - mean)).sum(axis=1).mean()
    assert found.score_samples(DATA).mean() > independent + 0.4
    assert found.reconstruct(DATA).shape == DATA.shape
    chain = found.sample(20, start=DATA[:20], steps=1, random_state=0)
    assert np.abs(chain - DATA[:20]).mean() < np.abs(found.sample(20, steps=500, random_state=0) - DATA[:20]).mean()


@pytest.mark.parametrize(("settings", "data", "message"), [
    ({}, 5 * DATA + 1.5 * (np.arange(D) == 1), "visible='bernoulli' needs values in .* or use visible='gaussian'$"),
    ({"scale": None}, DATA - 0.5, "or use visible='gaussian'$"),
    ({"k": 0}, DATA, "k=0 must be at least 1"),
    ({"hidden": 0}, DATA, "hidden=0 must be at least 1"),
    ({"visible": "gausian"}, DATA, "visible='gausian' is not known: did you mean 'gaussian'"),
    ({"visible": "gaussian", "sigma": "optimal"}, DATA, "sigma='optimal' goes with a decoder"),
    ({"visible": "gaussian", "sigma": -1}, DATA, "sigma=-1 must be a positive number"),
    ({"chains": 10}, DATA, "a batch of 30 rows needs as many chains; chains=10: give chains=30, or"),
    ({"learning_rate": -1}, DATA, "learning_rate=-1 must be greater than 0"),
], ids=str)  # fmt: skip
def test_refusals(settings, data, message):
    with pytest.raises((ValueError, TypeError), match=message):
        model(**settings).fit(data.astype(np.float32))


@pytest.mark.parametrize("name", ["persistent", "centre"])
def test_flags_are_told_by_their_names(name):
    for value in ("x", 0, 2.5, None, float("nan"), [1]):
        with pytest.raises(TypeError, match=rf"^{name}=.* must be True or False$"):
            model(**{name: value}).fit(DATA)
    assert not model(**{name: np.bool_(False)}).fit(DATA).get_params()[name]


def test_rows_that_cannot_be_scored_are_refused_before_the_training(monkeypatch):
    """Grey values are probabilities of a 1 in a training; those that are held out would be scored after an epoch."""
    monkeypatch.setattr(RBM, "_train", None)
    for settings, held in ({}, {"heldout": 0.5 * DATA}), ({"early_stopping": True}, {}):
        with pytest.raises(ValueError, match=r"heldout has values other than 0 and 1 .*binarize them, .heldout > 0.5"):
            model(**settings).fit(0.5 * DATA, **held)


def test_a_grey_value_is_shown_in_the_users_units():
    found = model(scale=(0, 200)).fit(200 * DATA)
    with pytest.raises(ValueError, match=r"first: 100 at row 0.*X > 100"):
        found.score_samples(100 * np.ones_like(DATA))


def test_refusals_of_a_fitted_one():
    found = model().fit(DATA)
    for call, message in (
        (lambda: found.evaluate(0.5 * DATA), r"values other than 0 and 1 \(first: 0.5 at row 0.*'dynamic'"),
        (lambda: found.sample(3, start=DATA[:3, :4]), "start has 4 features"),
        (lambda: found.sample(3, start=np.full((3, D), np.nan)), "start has 18 entries that are not finite"),
        (lambda: found.sample(0), "n=0 must be at least 1"),
        (lambda: found.sample(3, start=DATA[:2]), "start has 2 rows; n=3 chains need as many"),
        (lambda: found.log_partition(1), "n_samples=1 must be at least 2"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_partition_is_of_the_seed_alone():
    machine = started(hidden=24)._machine(started(hidden=24).network_)
    one, other = (partition(machine, 5, 20, np.uint64(3)) for _ in range(2))
    assert one == other


def test_defaults_suit_few_rows_and_a_partial_fit():
    """Batches of all rows where there are few; a training without an end keeps its rate, and takes no average."""
    rows = (np.random.default_rng(0).random((30, 6)) < 0.3).astype(np.float32)
    model = RBM(hidden=4, epochs=3, random_state=0).fit(rows)
    assert model.n_steps_ == 3
    other = RBM(hidden=4, random_state=0).partial_fit(rows).partial_fit(rows)
    assert (other.schedule, other.average, other.n_steps_) == ("linear", 0.2, 2)
    same = RBM(hidden=4, schedule="constant", average=0.0, random_state=0).partial_fit(rows).partial_fit(rows)
    np.testing.assert_array_equal(other.network_.parameters.values, same.network_.parameters.values)
    with pytest.raises(ValueError, match="schedule='cosine' must know when a training ends"):
        RBM(hidden=4, schedule="cosine", random_state=0).partial_fit(rows)
