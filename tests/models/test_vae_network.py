"""Gradients of the whole model: against the reference, PyTorch and differences; sigma; the weight of the KL."""

import numpy as np
import pytest

from fastvae import VAE, reference
from fastvae.data.minibatches import Examples
from fastvae.kernels.cpu.program import Program
from fastvae.kernels.cpu.workers import Workers
from fastvae.kernels.formulas import ACTIVATIONS
from fastvae.optimizers import SGD, Adam, RateSchedule
from tests.support.models import PIXELS, RNG, TABLE, data, small
from tests.support.tolerances import check_same

PLAIN = {"sigma": 0.7, "linear": False, "scale": None, "init": "he"}


def prepared(likelihood, activation, hidden=(9, 7), decoder_hidden=None, **settings):
    shape = {"activation": activation, "hidden": hidden, "decoder_hidden": decoder_hidden, "beta": 1.3}
    vae = small(likelihood, **shape | PLAIN | settings)
    vae.initialize(data(likelihood))
    rng = np.random.default_rng(3)
    for values in vae.parameters().values():  # biases too: a missing one must show
        values += 0.1 * rng.normal(size=values.shape).astype(np.float32)
    return vae, data(likelihood)[:17], rng.normal(size=(17, 3)).astype(np.float32)


def distance(ours, theirs):
    """Largest over the parameters of |difference| / |gradient|, Euclidean norms."""
    assert list(ours) == list(theirs)
    return max(np.linalg.norm(ours[n].astype(float) - theirs[n]) / (np.linalg.norm(theirs[n]) + 1e-30) for n in ours)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gradients_agree_with_the_reference(likelihood, activation):
    vae, X, noise = prepared(likelihood, activation)
    loss, parts, gradients = vae.loss_and_gradients(X, noise)
    params = {n: v.astype(float) for n, v in vae.parameters().items()}
    expected_loss, expected_parts, expected = reference.vae_loss_and_gradients(
        params, X.astype(float), noise.astype(float), activation, likelihood, 0.7, 1.3
    )
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert parts == pytest.approx(expected_parts, rel=1e-6)
    assert distance(gradients, expected) < 1e-5


@pytest.mark.parametrize("hidden", [(), (5,), (9, 7)])
@pytest.mark.parametrize("sigma_per_column", [False, True])
@pytest.mark.parametrize("sigma", [0.7, "learned", "optimal"])
def test_gradients_with_linear_paths_and_a_sigma_agree_with_the_reference(sigma, sigma_per_column, hidden):
    settings = {"linear": True, "sigma": sigma, "sigma_per_column": sigma_per_column}
    vae, X, noise = prepared("gaussian", "tanh", hidden, (6,), **settings)
    loss, parts, gradients = vae.loss_and_gradients(X, noise)
    params = {n: v.astype(float) for n, v in vae.parameters().items()}
    assert ("mu.linear.weight" in params) == (hidden != ())
    assert "decoder.linear.weight" in params
    chosen = {"sigma": 0.7 if sigma == "learned" else sigma, "lowest": vae.network_.likelihood.lowest.astype(float)}
    x, eps = X.astype(float), noise.astype(float)
    expected = reference.vae_loss_and_gradients(params, x, eps, "tanh", "gaussian", beta=1.3, **chosen)
    assert loss == pytest.approx(expected[0], rel=1e-6)
    assert parts == pytest.approx(expected[1], rel=1e-6)
    assert distance(gradients, expected[2]) < 1e-5
    assert "sigma.parameter" in gradients or sigma == 0.7


@pytest.mark.parametrize("hidden", [(), (5,), (9, 7)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_gradients_agree_with_torch(likelihood, activation, hidden):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'fastvae-engine[bench]'")
    vae, X, noise = prepared(likelihood, activation, hidden, decoder_hidden=(6,))
    p = {n: torch.tensor(v, requires_grad=True) for n, v in vae.parameters().items()}
    functions = {
        "identity": lambda a: a,
        "relu": torch.relu,
        "leaky_relu": torch.nn.LeakyReLU(0.01),
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softplus": torch.nn.Softplus(),
        "silu": torch.nn.SiLU(),
    }
    x, h = torch.tensor(X), torch.tensor(X)
    for i in range(len(hidden)):
        h = functions[activation](h @ p[f"encoder.{i}.weight"] + p[f"encoder.{i}.bias"])
    mu, logvar = (h @ p[f"{n}.weight"] + p[f"{n}.bias"] for n in ("mu", "logvar"))
    z = mu + torch.exp(logvar / 2) * torch.tensor(noise)
    a = functions[activation](z @ p["decoder.0.weight"] + p["decoder.0.bias"])
    a = a @ p["decoder.1.weight"] + p["decoder.1.bias"]
    if likelihood == "bernoulli":
        nll = torch.nn.functional.binary_cross_entropy_with_logits(a, x, reduction="none").sum(1)
    else:
        nll = -torch.distributions.Normal(a, 0.7).log_prob(x).sum(1)
    kl = 0.5 * (logvar.exp() + mu**2 - 1 - logvar).sum(1)
    (nll.mean() + 1.3 * kl.mean()).backward()
    loss, parts, gradients = vae.loss_and_gradients(X, noise)
    assert loss == pytest.approx((nll.mean() + 1.3 * kl.mean()).item(), rel=1e-6)
    assert parts == pytest.approx({"nll": nll.mean().item(), "kl": kl.mean().item()}, rel=1e-6)
    assert distance(gradients, {n: t.grad.numpy() for n, t in p.items()}) < 1e-5


@pytest.mark.parametrize("per_column", [False, True])
def test_gradient_of_a_learned_sigma_by_central_differences(per_column):
    vae = small("gaussian", sigma="learned", sigma_per_column=per_column).fit(TABLE)
    noise = RNG.normal(size=(60, 3))
    parameter = vae.parameters()["sigma.parameter"]
    assert parameter.shape == ((12,) if per_column else (1,))
    gradient = vae.loss_and_gradients(TABLE, noise)[2]["sigma.parameter"]
    for k in range(len(parameter)):
        kept, losses = parameter[k], []
        for step in (0.0005, -0.0005):
            parameter[k] = kept + np.float32(step)
            losses.append(vae.loss_and_gradients(TABLE, noise)[0])
        parameter[k] = kept
        assert gradient[k] == pytest.approx((losses[0] - losses[1]) / 0.001, rel=0.02, abs=0.02)


@pytest.mark.parametrize("sigma", ["learned", "optimal"])
def test_sigma_finds_the_noise_of_the_data(sigma):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 1)) @ rng.normal(size=(1, 20)) + 0.3 * rng.normal(size=(2000, 20))
    settings = {"sigma": sigma, "scale": None, "epochs": 60, "learning_rate": 1e-2, "random_state": 0}
    for per_column in (False, True):
        vae = VAE(1, (), likelihood="gaussian", sigma_per_column=per_column, **settings).fit(X)
        np.testing.assert_allclose(vae.sigma_, 0.3, rtol=0.2 if per_column else 0.05)
    assert vae.score(X) == pytest.approx(-vae.history_["loss"][-1], rel=0.02)


@pytest.mark.parametrize("per_column", [False, True])
def test_the_optimal_sigma_gives_the_closed_form_and_its_gradient(per_column):
    """loss - kl = sum_D (log(2 pi s^2) + 1) / 2, s^2 the mean squared error, of all columns or of each."""
    optimal = small("gaussian", sigma="optimal", sigma_per_column=per_column).fit(TABLE)
    noise = RNG.normal(size=(60, 3)).astype(np.float32)
    mu, logvar = optimal.encode(TABLE)
    error = (optimal.decode(mu + np.exp(logvar / 2) * noise) - TABLE) / optimal.scale_
    variance = (error.astype(float) ** 2).mean(axis=0 if per_column else None) * np.ones(12)
    parts, gradients = optimal.loss_and_gradients(TABLE, noise)[1:]
    expected = (np.log(2 * np.pi * variance) + 1).sum() / 2 + np.log(optimal.scale_).sum()
    assert parts["nll"] == pytest.approx(expected, rel=1e-5)
    assert not gradients.pop("sigma.parameter").any()
    if not per_column:  # with sigma fixed at s, the same loss and gradients
        fixed = small("gaussian", sigma=variance[0] ** 0.5).fit(TABLE)
        for name, values in fixed.parameters().items():
            values[...] = optimal.parameters()[name]
        _, fixed_parts, fixed_gradients = fixed.loss_and_gradients(TABLE, noise)
        assert parts == pytest.approx(fixed_parts, rel=1e-5)
        assert distance(gradients, fixed_gradients) < 1e-5


def over_rows(network, X, batch, *optimizers):
    """Have a network ready to train on rows of X, which nobody checks."""
    examples = Examples(X, network.units.offset, network.units.scale, network.seed, network.kernels)
    network.allocate(batch, optimizers, examples, np.empty(batch, np.int64))


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("sigma", ["learned", "optimal"])
def test_a_bad_value_does_not_enter_the_parameters(sigma, bad, clip_norm):
    """Nor the memory of an optimal sigma; the next batch goes on as if nothing had been."""
    vae = small("gaussian", sigma=sigma, scale=None, clip_norm=clip_norm).fit(TABLE)
    network, X, optimizer = vae.network_, TABLE.copy(), vae._make_optimizer()
    X[3, 2] = bad
    over_rows(network, X, 16, optimizer)
    before = [network.parameters.values.copy(), *(array.copy() for array in optimizer.state.values())]
    order = np.arange(32).reshape(2, 16)
    parts = network.steps(7, order, np.ones(2))
    assert len(parts) == 1  # the second is not begun
    assert not np.isfinite(parts[0]["loss"])
    assert optimizer.step_count == 0
    np.testing.assert_equal([network.parameters.values, *optimizer.state.values()], before)
    assert np.isfinite(network.steps(8, order[1:], np.ones(1))[0]["loss"])
    assert optimizer.step_count == 1
    assert (network.parameters.values != before[0]).any()
    assert np.isfinite(network.parameters.values).all()


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("sigma", [0.7, "learned", "optimal"])
def test_many_steps_are_one_call(monkeypatch, sigma, clip_norm):
    """With every sigma, and clipped: no program is run by Python in between; and the bits are those of a call each."""
    calls, honest = [], Workers.run_steps

    def counted(self, phases, slots, table, *rest):
        calls.append(len(table))
        return honest(self, phases, slots, table, *rest)

    def refused(*_):
        raise AssertionError("a program was run by itself")

    monkeypatch.setattr(Workers, "run_steps", counted)
    order, progress = RNG.integers(0, 60, (40, 16)), np.linspace(0, 3, 40)
    found = []
    for pieces in ([40], [1] * 40):
        vae = small("gaussian", sigma=sigma, clip_norm=clip_norm, kl_warmup_epochs=2)
        vae.initialize(TABLE)
        vae._set_objective(vae.network_)
        network, optimizer, losses, done = vae.network_, vae._make_optimizer(), [], 0
        over_rows(network, TABLE, 16, optimizer)
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Workers, "run_programs", refused)
            patch.setattr(Program, "run", refused)
            for count in pieces:
                chosen = slice(done, done + count)
                losses += network.steps(done + 1, order[chosen], progress[chosen])
                done += count
        assert calls == pieces
        assert optimizer.step_count == len(losses) == 40
        found.append((network.parameters.values, *optimizer.state.values(), losses))
    for one, other in zip(*found, strict=True):
        np.testing.assert_equal(one, other)
    assert losses[0]["loss"] == losses[0]["nll"]  # the weight of the KL rises from 0
    if sigma != 0.7:
        start = small("gaussian", sigma=sigma)
        start.initialize(TABLE)
        assert (vae.sigma_ != start.sigma_).any()


@pytest.mark.parametrize("sigma", [0.7, "learned", "optimal"])
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_a_training_of_tables_does_many_steps_in_a_call(monkeypatch, clip_norm, sigma):
    calls, honest = [], Workers.run_steps

    def counted(self, *given):
        found = honest(self, *given)
        calls.append(found[1])
        return found

    monkeypatch.setattr(Workers, "run_steps", counted)
    monkeypatch.setenv("FASTVAE_THREADS", "1")
    vae = small("gaussian", sigma=sigma, clip_norm=clip_norm, epochs=30, batch_size=5, early_stopping=False).fit(TABLE)
    assert sum(calls) == vae.n_steps_ == 30 * 12
    assert max(calls) > 1


@pytest.mark.parametrize("sigma", ["learned", "optimal"])
def test_the_average_of_a_whole_model(sigma):
    """Of all that the optimizer moves, fused or not: the mean of the parameters after its last steps."""
    order = RNG.integers(0, 60, (12, 16))
    for clip_norm in (None, 1.0):
        vae = small("gaussian", sigma=sigma)
        vae.initialize(TABLE)
        network, seen = vae.network_, []
        optimizer = Adam(network.parameters, network.kernels, 1e-2, clip_norm, average_from=5)
        over_rows(network, TABLE, 16, optimizer)
        for i in range(12):
            network.steps(i + 1, order[i : i + 1], np.ones(1))
            seen.append(network.parameters.values.astype(float))
        moved = (seen[-1] != seen[0]) & (optimizer.state["first_moment"] != 0)
        assert moved.any()
        expected = np.mean(seen[4:], axis=0)
        np.testing.assert_allclose(optimizer.state["average"][moved], expected[moved], rtol=0, atol=2e-6)


def test_gradient_descent_with_momentum_trains_a_vae():
    """Another optimizer in the place of Adam, its rate falling: the loss falls, by the same bits with any threads."""
    order, values = np.tile(np.arange(16), (200, 1)), []
    for threads in (1, 2, 3):
        vae = small("gaussian", sigma="learned", linear=False)
        vae.initialize(TABLE)
        network, found = vae.network_, []
        schedule = RateSchedule("cosine", 10, 200)
        optimizer = SGD(network.parameters, network.kernels, 0.01, 5.0, 0.9, True, schedule=schedule)
        with Workers(threads) as network.workers:
            over_rows(network, TABLE, 16, optimizer)
            while len(found) < 200:
                found += network.steps(len(found) + 1, order[len(found) :], np.zeros(200 - len(found)))
        losses = [parts["loss"] for parts in found]
        assert np.mean(losses[-20:]) < np.mean(losses[:20]) - 0.2
        values.append(network.parameters.values.copy())
        check_same(values[-1], values[0])


def test_kl_warmup_reaches_beta():
    vae = small(beta=2.0, kl_warmup_epochs=4)
    vae.initialize(PIXELS)
    assert vae.network_.objective.kl_weight(np.array([0, 1, 2, 4, 9])).tolist() == [0, 0.5, 1, 2, 2]
    assert vae.fit(PIXELS).history_["loss"][0] < (vae.history_["nll"] + 2 * vae.history_["kl"])[0]


@pytest.mark.parametrize("sigma", ["learned", "optimal"])
def test_who_moves_sigma_where_gradients_are_clipped(monkeypatch, sigma):
    """A learned one is moved by Adam, an optimal one by what remembers it alone: never by two threads at once."""
    moved, honest = set(), Adam.write_flat

    def noted(self, program, slots, start, stop, decays):
        moved.update(range(start, stop))
        honest(self, program, slots, start, stop, decays)

    monkeypatch.setattr(Adam, "write_flat", noted)
    vae = small("gaussian", sigma=sigma, clip_norm=1.0).fit(TABLE)
    place = vae.network_.parameters.start(["sigma.parameter"])
    places = set(range(place, place + TABLE.shape[1]))
    assert (moved & places) == (places if sigma == "learned" else set())
    assert len(moved) > len(places)
