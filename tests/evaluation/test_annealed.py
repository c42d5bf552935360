"""Annealed importance sampling: unbiased, and a bracket that holds what is exact."""

import signal

import numpy as np
import pytest

from fastvae import VAE
from fastvae.errors import NotFittedError
from fastvae.evaluation import chains as module
from fastvae.evaluation.annealed import N_LEAPFROG, annealed, bracket, simulated
from fastvae.evaluation.chains import Settings
from fastvae.evaluation.hmc import USE_SHIFT
from fastvae.kernels import philox
from tests.evaluation.linear import LinearGaussian

pytestmark = pytest.mark.long

REPLICATES = 10_000
STARTS = "q", "prior"


def tiled(model, x, count=REPLICATES):
    """One row again and again: each has noise of its own."""
    return model.vae.examples(np.repeat(x, count, axis=0))


def mean_is_one(ratios, errors=4):
    """Whether the mean of replicates is 1, by their own standard error, which tells only where none dominates."""
    assert ratios.max() < 0.05 * len(ratios), "the weights' tail is too heavy for this test to tell anything"
    error = ratios.std(ddof=1) / np.sqrt(len(ratios))
    assert abs(ratios.mean() - 1) < errors * error, f"{ratios.mean():.4f} +- {error:.4f}"
    assert error < 0.05


# ---- unbiased -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("count", [1, 2, 6])
def test_weights_are_unbiased(start, count):
    """E[w] = p(x): importance sampling with one temperature, annealed with several."""
    model = LinearGaussian(strength=0.7)
    x = model.draw(1)
    settings = {"n_temperatures": count, "n_leapfrog": 2, "start": start, "seed": count}
    found = annealed(model.vae, tiled(model, x), n_chains=1, n_simulated=0, **settings)
    mean_is_one(np.exp(found.values - model.log_p(x)))
    several = annealed(model.vae, tiled(model, x, 2500), n_chains=4, n_simulated=0, **settings | {"seed": 9})
    mean_is_one(np.exp(several.values - model.log_p(x)))
    assert several.values.mean() < model.log_p(x) + 4 * several.values.std() / 50  # a lower bound
    assert several.values.mean() > found.values.mean()


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("chains", [1, 3])
def test_upper_weights_are_unbiased_by_their_inverses(start, chains):
    """E[1 / w] = 1 / p(x) on data from the model, with the reverse chain among the forward ones."""
    model = LinearGaussian(strength=0.6)
    settings = {"n_temperatures": 4, "n_leapfrog": 2, "n_chains": chains, "seed": 1}
    found = bracket(model.vae, REPLICATES, start=start, **settings)
    x = simulated(model.vae.network_, REPLICATES, np.uint64(1))[1]
    exact = model.log_p(x)
    mean_is_one(np.exp(exact - found.upper.values))
    mean_is_one(np.exp(found.lower.values - exact))
    assert found.lower.values.mean() < exact.mean() < found.upper.values.mean()


def test_markovs_bound():
    """P(lower >= log p + t) and P(log p >= upper + t) are at most exp(-t)."""
    model = LinearGaussian(latent_dim=4, columns=6)
    for start in STARTS:
        found = bracket(model.vae, 4000, n_temperatures=3, n_chains=2, n_leapfrog=1, start=start, seed=2)
        exact = model.log_p(simulated(model.vae.network_, 4000, np.uint64(2))[1])
        for t in (0.25, 0.5, 1.0, 2.0):
            allowed = np.exp(-t) + 4 * np.sqrt(np.exp(-t) / 4000)
            assert np.mean(found.lower.values >= exact + t) <= allowed
            assert np.mean(exact >= found.upper.values + t) <= allowed


@pytest.mark.parametrize("schedule", ["linear", "sigmoid"])
@pytest.mark.parametrize("start", STARTS)
def test_the_bracket_closes_on_the_exact_value(start, schedule):
    model = LinearGaussian(latent_dim=4, columns=9, sigma=0.4)
    settings = {"n_chains": 8, "n_leapfrog": 2, "start": start, "schedule": schedule, "seed": 3}
    found = bracket(model.vae, 60, n_temperatures=80, **settings)
    exact = model.log_p(simulated(model.vae.network_, 60, np.uint64(3))[1])
    assert 0 < found.gap < 0.3
    assert found.gap_error < 0.1
    wide = bracket(model.vae, 60, n_temperatures=3, **settings)
    assert found.gap < wide.gap
    for result in (found, wide):
        assert result.lower.mean < exact.mean() + 4 * (result.lower.values - exact).std() / 60**0.5
        assert result.upper.mean > exact.mean() - 4 * (result.upper.values - exact).std() / 60**0.5
    assert ((found.acceptance > 0.6) & (found.acceptance < 1)).all()
    assert np.abs(found.acceptance - found.reverse_acceptance).max() < 0.3
    assert ((found.ess >= 1) & (found.ess <= 8 + 1e-9)).all()


@pytest.mark.parametrize("start", STARTS)
def test_a_q_that_is_too_narrow_is_widened(start):
    """By a pilot: nothing is lost, neither what is unbiased nor the width of the bracket."""
    gaps = []
    for narrow in (0.0, 3.0):
        model = LinearGaussian(latent_dim=4, columns=9, sigma=0.5)
        model.vae.parameters()["logvar.bias"][:] -= narrow
        settings = {"n_leapfrog": 3, "start": start, "seed": 3, "n_chains": 4}
        gaps.append(bracket(model.vae, 200, n_temperatures=40, **settings).gap)
    assert gaps[1] < 2 * gaps[0] + 0.1
    few = bracket(model.vae, 4000, n_temperatures=8, **settings)
    exact = model.log_p(simulated(model.vae.network_, 4000, np.uint64(3))[1])
    for ratios in (np.exp(few.lower.values - exact), np.exp(exact - few.upper.values)):
        assert abs(ratios.mean() - 1) < 4 * ratios.std() / 4000**0.5
        assert ratios.std() < 4


# ---- what does not change it ----------------------------------------------------------------------------------------


def weights(model, x, settings, exact=None):
    """log w of each chain of each example, and that of the reverse chain, in one piece, by what `annealed` uses."""
    found = []

    class Kept(module.Bounds):
        def add(self, rows, blocks, log_jacobian):
            found.extend(blocks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "Bounds", Kept)
        module.run(model.vae.network_, settings, lambda *_: {"x": x}, len(x), lambda done: True, exact)
    ((log_weights, reverse, _),) = found
    return log_weights, reverse


def test_cutting_into_pieces_changes_no_bit(monkeypatch):
    model = LinearGaussian(latent_dim=3)
    examples = model.vae.examples(model.draw(37))
    settings = {"n_temperatures": 5, "n_chains": 4, "n_leapfrog": 2}
    whole, both = annealed(model.vae, examples, n_simulated=0, **settings), bracket(model.vae, 37, **settings)
    for numbers in (1, 3 * model.vae.network_.widest * 8):
        monkeypatch.setattr(module, "NUMBERS", numbers)
        pieces = annealed(model.vae, examples, n_simulated=0, **settings)
        for name in ("values", "mcse", "ess"):
            assert (getattr(pieces, name) == getattr(whole, name)).all()
        again = bracket(model.vae, 37, **settings)
        assert (again.gaps == both.gaps).all()
        np.testing.assert_allclose(again.acceptance, both.acceptance, rtol=1e-12)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_bit(threads, monkeypatch):
    X = (np.random.default_rng(0).random((40, 600)) < 0.3).astype(np.float32)
    vae = VAE(5, (300,), epochs=1, random_state=0).fit(X)
    settings = {"n_temperatures": 4, "n_chains": 9, "n_simulated": 0}
    found = []
    for count in (1, threads):
        monkeypatch.setattr("fastvae.kernels.cpu.workers.processors", lambda count=count: count)
        found.append(annealed(vae, vae.examples(X), **settings).values)
    assert (found[0] == found[1]).all()


def test_a_seed_repeats_it_and_another_does_not():
    model = LinearGaussian()
    examples = model.vae.examples(model.draw(5))
    first, again, other = (annealed(model.vae, examples, seed=s, n_chains=2, n_temperatures=3) for s in (1, 1, 2))
    assert (first.values == again.values).all()
    assert first.details == again.details
    assert (first.values != other.values).all()


def test_chains_do_not_depend_on_how_many_there_are():
    """Nothing that weighed chains do, their acceptance say, changes how others are run."""
    model = LinearGaussian()
    z, x = simulated(model.vae.network_, 4, np.uint64(3))
    for exact in (None, z):
        many, reverse = weights(model, x, Settings(6, 9, 2, "q", "linear", np.uint64(3)), exact)
        assert len(np.unique(many)) == 36
        for chains in (1, 4):
            few, same = weights(model, x, Settings(6, chains, 2, "q", "linear", np.uint64(3)), exact)
            assert (few == many[:, :chains]).all()
            assert (same == reverse).all()


def test_many_chains_come_in_blocks(monkeypatch):
    model = LinearGaussian()
    x = model.draw(3)
    monkeypatch.setattr(module, "CHAINS", 4)
    found = annealed(model.vae, model.vae.examples(x), n_chains=11, n_temperatures=3, n_simulated=0)
    log_weights = []
    for block, chains in ((0, 4), (1, 4), (2, 3)):
        settings = Settings(3, chains, N_LEAPFROG, "q", "linear", np.uint64(0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "FORWARD", module.BLOCK * block)
            log_weights.append(weights(model, x, settings)[0])
    w = np.exp(np.concatenate(log_weights, axis=1))
    assert w.shape == (3, 11)
    assert len(np.unique(w)) == 33
    np.testing.assert_allclose(found.values, np.log(w.mean(axis=1)), rtol=1e-12)
    np.testing.assert_allclose(found.ess, w.sum(axis=1) ** 2 / (w**2).sum(axis=1), rtol=1e-10)
    np.testing.assert_allclose(found.mcse, w.std(axis=1, ddof=1) / w.mean(axis=1) / 11**0.5, rtol=1e-10)
    np.testing.assert_allclose(found.bounds[1], np.log(w[:, :8]).mean(axis=1), rtol=1e-10)


def test_the_upper_bound_has_the_reverse_chain_in_the_place_of_one():
    model = LinearGaussian()
    found = bracket(model.vae, 5, n_temperatures=4, n_chains=3, seed=3)
    z, x = simulated(model.vae.network_, 5, np.uint64(3))
    log_weights, reverse = weights(model, x, Settings(4, 3, N_LEAPFROG, "q", "linear", np.uint64(3)), z)
    lower = np.logaddexp.reduce(log_weights, axis=1) - np.log(3)
    upper = np.logaddexp.reduce(np.concatenate([reverse, log_weights[:, 1:]], axis=1), axis=1) - np.log(3)
    np.testing.assert_allclose(found.lower.values, lower, rtol=1e-12)
    np.testing.assert_allclose(found.upper.values, upper, rtol=1e-12)
    assert found.gap == pytest.approx((upper - lower).mean())
    assert found.gap_error == pytest.approx((upper - lower).std(ddof=1) / 5**0.5)


# ---- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["n_temperatures", "n_chains", "n_leapfrog", "n_examples"])
@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-3, ValueError), (2.5, TypeError), (True, TypeError)])
def test_counts_that_are_none(name, value, error):
    model = LinearGaussian()
    with pytest.raises(error, match=f"{name}={value!r} must be"):
        bracket(model.vae, **{name: value})
    if name != "n_examples":
        with pytest.raises(error, match=f"{name}={value!r} must be"):
            annealed(model.vae, tiled(model, model.draw(1), 2), **{name: value})


def test_names_that_are_not_known():
    model = LinearGaussian()
    with pytest.raises(ValueError, match="start='Q' is not known: did you mean 'q'"):
        bracket(model.vae, 2, start="Q")
    with pytest.raises(ValueError, match="schedule='linaer' is not known: did you mean 'linear'"):
        bracket(model.vae, 2, schedule="linaer")
    with pytest.raises(NotFittedError):
        bracket(VAE(), 2)
    with pytest.raises(TypeError, match="examples is a ndarray"):
        annealed(model.vae, np.zeros((2, 5)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_none_do_not_come_so_far(value):
    model = LinearGaussian()
    x = model.draw(3)
    x[1, 2] = value
    with pytest.raises(ValueError, match="row 1"):
        annealed(model.vae, model.vae.examples(x))


def test_examples_of_another_model():
    with pytest.raises(ValueError, match="examples has 5 features; the model has 6"):
        annealed(LinearGaussian(columns=6).vae, tiled(LinearGaussian(), LinearGaussian().draw(1), 2))


def test_a_model_without_encoder(tmp_path):
    model = LinearGaussian()
    model.vae.save(tmp_path / "model.npz")
    decoder = VAE.load(tmp_path / "model.npz", decoder_only=True)
    with pytest.raises(ValueError, match="start='q' needs the encoder.*pass start='prior'"):
        bracket(decoder, 2, start="q")
    found = bracket(decoder, 300, n_temperatures=20, seed=4)
    assert found.start == "prior"
    exact = model.log_p(simulated(decoder.network_, 300, np.uint64(4))[1])
    assert abs((found.lower.values - exact).mean()) < 0.1


class StopAfter:
    """An observer that asks to stop once so much has been done."""

    def __init__(self, most):
        self.most, self.seen = most, []

    def progressed(self, done, count, unit):
        self.seen.append((done, count, unit))

    def stop_requested(self):
        return self.seen[-1][0] >= self.most


def test_progress_and_a_clean_end(monkeypatch):
    model = LinearGaussian()
    examples, settings = model.vae.examples(model.draw(10)), {"n_temperatures": 6, "n_chains": 2, "n_simulated": 3}
    whole = annealed(model.vae, examples, **settings)
    monkeypatch.setattr(module, "NUMBERS", 4 * 2 * model.vae.network_.widest)  # four examples at a time
    watching = StopAfter(1000)
    assert (annealed(model.vae, examples, observer=watching, **settings).values == whole.values).all()
    done = [seen[0] for seen in watching.seen[:18]]
    assert done == sorted(done)
    assert watching.seen[17] == (10, 10, "examples")
    assert watching.seen[-1] == (3, 3, "simulated examples")
    stopped = annealed(model.vae, examples, observer=StopAfter(5), **settings)
    assert not stopped.complete
    assert (stopped.values == whole.values[:4]).all()
    assert "gap" not in stopped.details
    half = bracket(model.vae, 10, n_temperatures=6, n_chains=2, observer=StopAfter(5))
    assert not half.complete
    assert 0 < len(half.lower) == len(half.upper) < 10
    for stop in (lambda o: annealed(model.vae, examples, observer=o), lambda o: bracket(model.vae, observer=o)):
        with pytest.raises(KeyboardInterrupt, match="before the first examples"):
            stop(StopAfter(0))


def test_ctrl_c_returns_what_is_done(monkeypatch):
    model = LinearGaussian()
    monkeypatch.setattr(module, "NUMBERS", 2 * module.PILOT_CHAINS * model.vae.network_.widest)
    fill, calls = module.CodeDensity.hold, []

    def interrupt(self, data, codes):
        calls.append(codes)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        fill(self, data, codes)

    monkeypatch.setattr(module.CodeDensity, "hold", interrupt)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run with it ignored
    try:
        found = annealed(model.vae, model.vae.examples(model.draw(40)), n_temperatures=3, n_chains=4)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, previous)
    assert not found.complete
    assert len(found) == 4


def test_step_sizes_of_weighed_chains_are_the_pilots(monkeypatch):
    """At each temperature, whatever the chains have done before."""
    model, used, adapted = LinearGaussian(), [], []
    z, x = simulated(model.vae.network_, 3, np.uint64(3))
    move, adapted_steps = module.move, module.adapted_steps

    def watched(path, beta, state, step, *rest):
        used.append(step)
        return move(path, beta, state, step, *rest)

    def kept(*given):
        steps, z = adapted_steps(*given)
        adapted.append(steps)
        return steps.copy(), z

    monkeypatch.setattr(module, "move", watched)
    monkeypatch.setattr(module, "adapted_steps", kept)
    weights(model, x, Settings(6, 4, 2, "q", "linear", np.uint64(3)), z)
    assert len(used) == 5
    assert len(adapted) == 1  # q is not too narrow
    for t, step in enumerate(used, start=1):
        assert (step[:, :4] == adapted[0][:, t, None]).all()
        assert (step[:, 4] == adapted[0][:, 6 - t]).all()


def test_no_two_uses_share_their_noise():
    streams = [philox.CHAIN, philox.MOMENTUM, philox.ACCEPTANCE]
    blocks = [module.BLOCK * block + more for block in range(3) for more in (0, module.SIMULATED)]
    kinds = module.FORWARD, module.REVERSE, module.PILOT, module.SECOND_PILOT
    uses = [use + more for use in kinds for more in blocks]
    numbers = [stream + (use << USE_SHIFT) for stream in streams for use in uses]
    assert len(set(numbers)) == len(streams) * len(kinds) * len(blocks)
    others = [philox.LATENT, philox.PRIOR, philox.OBSERVATION, philox.BINARIZATION, philox.PROPOSAL, philox.PILOT]
    assert not set(numbers) & set(others)
