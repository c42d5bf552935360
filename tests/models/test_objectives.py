"""Objectives of several samples an example: IWAE, DReG, means of several nll, free bits.

Each gradient against float64 and PyTorch; what the estimators promise, by statistics; training, threads, files.
"""

import warnings

import numpy as np
import pytest

from fastvae import VAE, reference
from fastvae.kernels.cpu.workers import Workers
from fastvae.models.objectives import OBJECTIVES
from fastvae.optimizers import Adam
from tests.models.test_vae_network import distance, over_rows, prepared
from tests.support.models import PIXELS, TABLE, StopAfter, data, small
from tests.support.tolerances import check_same

K = 4
HOW = {
    "iwae": {"objective": "iwae", "n_samples": K},
    "dreg": {"objective": "dreg", "n_samples": K},
    "mean": {"n_samples": K},
    "free bits": {"free_bits": 0.2},
    "free bits of a mean": {"free_bits": 0.2, "n_samples": K},
}
SETTINGS = {"bernoulli": {}, "gaussian": {"sigma": "learned", "sigma_per_column": True, "linear": True}}


def ready(how, likelihood, seed=5, **settings):
    """A model whose parameters are drawn, rows, and noise (B K, Z)."""
    chosen = {"beta": 1.3 if how not in ("iwae", "dreg") else 1.0} | HOW[how] | SETTINGS[likelihood] | settings
    vae, X, _ = prepared(likelihood, "tanh", **chosen)
    return vae, X, np.random.default_rng(seed).normal(size=(len(X) * vae.n_samples, 3)).astype(np.float32)


def in_float64(vae, X, noise):
    params = {n: v.astype(float) for n, v in vae.parameters().items()}
    settings = {"objective": vae.objective, "free_bits": vae.free_bits, "beta": vae.beta}
    lowest = getattr(vae.network_.likelihood, "lowest", np.empty(0)).astype(float)
    given = params, X.astype(float), noise.astype(float), "tanh", vae.likelihood
    return reference.vae_loss_and_gradients(*given, lowest=lowest, **settings)


# ---- gradients ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", SETTINGS)
@pytest.mark.parametrize("how", HOW)
def test_gradients_agree_with_the_reference(how, likelihood):
    vae, X, noise = ready(how, likelihood)
    loss, parts, gradients = vae.loss_and_gradients(X, noise)
    expected_loss, expected_parts, expected = in_float64(vae, X, noise)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert parts == pytest.approx(expected_parts, rel=1e-6)
    assert distance(gradients, expected) < 1e-5
    again = vae.loss_and_gradients(X, noise.reshape(len(X), vae.n_samples, 3))
    assert again[0] == loss
    assert all((again[2][name] == gradients[name]).all() for name in gradients)


def test_gradients_of_an_optimal_sigma_agree_with_the_reference():
    """It is that of all samples of the batch."""
    vae, X, noise = ready("mean", "gaussian", sigma="optimal")
    params = {n: v.astype(float) for n, v in vae.parameters().items()}
    given = params, X.astype(float), noise.astype(float), "tanh", "gaussian"
    lowest = vae.network_.likelihood.lowest.astype(float)
    expected = reference.vae_loss_and_gradients(*given, sigma="optimal", beta=1.3, lowest=lowest)
    loss, _, gradients = vae.loss_and_gradients(X, noise)
    assert loss == pytest.approx(expected[0], rel=1e-6)
    assert distance(gradients, expected[2]) < 1e-5


def test_gradients_of_counts_agree_with_the_reference_of_their_bound():
    X = np.random.default_rng(0).poisson(3.0, (17, 6)).astype(np.float32)
    vae = small("poisson", objective="iwae", n_samples=2, hidden=(), linear="auto")
    vae.initialize(X)
    noise = np.random.default_rng(1).normal(size=(34, 3)).astype(np.float32)
    p, seen = {n: v.astype(float) for n, v in vae.parameters().items()}, np.log1p(X.astype(float))
    mu, logvar = (seen @ p[f"{n}.weight"] + p[f"{n}.bias"] for n in ("mu", "logvar"))
    z, log_ratio = reference.latent_samples_forward(mu, logvar, noise.astype(float))
    nll, _ = reference.poisson_forward_backward(
        np.repeat(X.astype(float), 2, axis=0), z @ p["decoder.0.weight"] + p["decoder.0.bias"]
    )
    assert vae.loss_and_gradients(X, noise)[0] == pytest.approx(
        reference.importance_weights(log_ratio, nll, 17)[0].mean(), rel=1e-6
    )


@pytest.mark.parametrize("likelihood", SETTINGS)
@pytest.mark.parametrize("how", HOW)
def test_gradients_agree_with_torch(how, likelihood):
    """Whose graph knows of no formula here: weights that are held, for "dreg" also mu and logvar of q."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'fastvae-engine[bench]'")
    vae, X, noise = ready(how, likelihood)
    samples = vae.n_samples
    p = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in vae.parameters().items()}
    x, eps = torch.tensor(X, dtype=torch.float64), torch.tensor(noise, dtype=torch.float64).reshape(len(X), samples, 3)

    def mlp(name, h, count):
        for i in range(count):
            h = h @ p[f"{name}.{i}.weight"] + p[f"{name}.{i}.bias"]
            h = torch.tanh(h) if i < count - 1 or name == "encoder" else h
        return h

    h = mlp("encoder", x, 2)
    mu, logvar = (h @ p[f"{n}.weight"] + p[f"{n}.bias"] for n in ("mu", "logvar"))
    if "mu.linear.weight" in p:
        mu = mu + x @ p["mu.linear.weight"]
    z = mu[:, None] + torch.exp(logvar / 2)[:, None] * eps
    reached = []

    def log_w(z, mu, logvar):
        a = mlp("decoder", z, 3)
        if "decoder.linear.weight" in p:
            a = a + z @ p["decoder.linear.weight"]
        wide = x[:, None].expand_as(a)
        if likelihood == "bernoulli":
            nll = torch.nn.functional.binary_cross_entropy_with_logits(a, wide, reduction="none").sum(-1)
        else:
            lowest = torch.tensor(vae.network_.likelihood.lowest.astype(float))
            sigma = torch.exp(lowest + torch.nn.functional.softplus(10 * p["sigma.parameter"] - lowest))
            nll = -torch.distributions.Normal(a, sigma).log_prob(wide).sum(-1)
        reached.append(nll)
        prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        return prior - nll - torch.distributions.Normal(mu, torch.exp(logvar / 2)).log_prob(z).sum(-1)

    logs = log_w(z, mu[:, None], logvar[:, None])
    kl = 0.5 * (logvar.exp() + mu**2 - 1 - logvar)
    if vae.objective == "elbo":
        counted = torch.clamp(kl.mean(0), min=vae.free_bits) if vae.free_bits else kl.mean(0)
        loss = reached[0].mean() + 1.3 * counted.sum()
        loss.backward()
    else:
        loss = -(torch.logsumexp(logs, 1) - np.log(samples)).mean()
        if vae.objective == "iwae":
            loss.backward()
        else:
            share = torch.softmax(logs, 1).detach()
            held = log_w(z, mu.detach()[:, None], logvar.detach()[:, None])
            names = {True: [n for n in p if n.startswith(("encoder", "mu", "logvar"))]}
            names[False] = [n for n in p if n not in names[True]]
            for encoder, power in ((True, 2), (False, 1)):
                surrogate = -(share**power * held).sum(1).mean()
                grads = torch.autograd.grad(surrogate, [p[n] for n in names[encoder]], retain_graph=True)
                for name, gradient in zip(names[encoder], grads, strict=True):
                    p[name].grad = gradient
    found, parts, gradients = vae.loss_and_gradients(X, noise)
    assert found == pytest.approx(loss.item(), rel=1e-6)
    assert parts == pytest.approx({"nll": reached[0].mean().item(), "kl": kl.sum(1).mean().item()}, rel=1e-6)
    assert distance(gradients, {n: t.grad.numpy() for n, t in p.items()}) < 1e-5


def test_one_sample_is_the_bound_of_one_sample():
    """-log p(x|z) p(z) / q(z|x) at the z that was drawn, worked out from what the model tells."""
    vae, X, noise = ready("iwae", "bernoulli", n_samples=1)
    mu, logvar = (a.astype(float) for a in vae.encode(X))
    z = mu + np.exp(logvar / 2) * noise
    mean = vae.decode(z.astype(np.float32)).astype(float)
    nll = -(X * np.log(mean) + (1 - X) * np.log1p(-mean)).sum(axis=1)
    log_w = -nll + reference.log_normal(z, 0 * mu, 0 * mu) - reference.log_normal(z, mu, logvar)
    assert vae.loss_and_gradients(X, noise)[0] == pytest.approx(-log_w.mean(), rel=1e-5)


def test_a_latent_dimension_below_its_free_bits_has_no_gradient_of_the_kl():
    """With a decoder that does not look at z, the KL alone moves the encoder."""
    vae, X, noise = ready("free bits", "bernoulli", beta=1.0)
    vae.parameters()["decoder.0.weight"][:] = 0
    mu, logvar = vae.encode(X)
    mean = reference.kl_terms(mu.astype(float), logvar.astype(float)).mean(axis=0)
    vae.free_bits = float(np.sort(mean)[1] * 1.001)  # two are below
    gradients, below = vae.loss_and_gradients(X, noise)[2], mean <= vae.free_bits
    assert below.sum() == 2
    for name in ("mu", "logvar"):
        assert not gradients[f"{name}.weight"][:, below].any()
        assert not gradients[f"{name}.bias"][below].any()
        assert gradients[f"{name}.bias"][~below].all()


# ---- what the estimators promise ---------------------------------------------------------------------------------


def many_gradients(objective, samples, count):
    """Gradients (count, P) of mu and logvar of one model, with as many draws of noise."""
    vae, X, _ = ready("iwae", "bernoulli", objective=objective, n_samples=samples, latent_dim=2, hidden=(4,))
    X, rng, found = X[:3], np.random.default_rng(0), []
    for _ in range(count):
        gradients = vae.loss_and_gradients(X, rng.normal(size=(3, samples, 2)))[2]
        found.append(np.concatenate([gradients[n].ravel() for n in ("mu.weight", "mu.bias", "logvar.bias")]))
    return np.array(found, dtype=float)


@pytest.mark.long
def test_both_gradients_of_the_encoder_have_one_expectation_and_that_of_dreg_is_less_noisy():
    """Means of many draws are within 4.5 standard errors in each of 12 places; the variance is less than half."""
    iwae, dreg = (many_gradients(name, 8, 1500) for name in ("iwae", "dreg"))
    error = np.sqrt((iwae.var(axis=0) + dreg.var(axis=0)) / len(iwae))
    assert (np.abs(iwae.mean(axis=0) - dreg.mean(axis=0)) < 4.5 * error).all()
    assert (dreg.var(axis=0) < 0.5 * iwae.var(axis=0)).all()
    assert (np.abs(iwae.mean(axis=0)) > 6 * error).any()  # there is something to agree on


def test_the_bound_does_not_fall_with_more_samples():
    """Of one model, on average over the noise; at K = 1 it is the ELBO."""
    vae, X, _ = ready("iwae", "bernoulli")
    vae.parameters()["decoder.0.weight"][:] *= 3  # so that z matters
    means, errors = [], []
    for samples in (1, 2, 8, 32):
        vae.n_samples, rng = samples, np.random.default_rng(1)
        losses = [-vae.loss_and_gradients(X, rng.normal(size=(17, samples, 3)))[0] for _ in range(60)]
        means.append(np.mean(losses))
        errors.append(np.std(losses) / np.sqrt(len(losses)))
    assert (np.diff(means) > 3 * np.hypot(errors[1:], errors[:-1])).all()
    assert means[0] == pytest.approx(vae.elbo(X, 400).mean(), abs=4 * errors[0])


def test_the_held_out_bound_is_that_of_the_training():
    """On the same rows and parameters: the mean loss of many draws of noise."""
    vae = small("bernoulli", objective="iwae", n_samples=20, epochs=5).fit(PIXELS)
    losses = [-vae.loss_and_gradients(PIXELS)[0] for _ in range(40)]
    examples = vae.examples(PIXELS)
    assert vae.score_examples(examples).mean() == pytest.approx(np.mean(losses), abs=5 * np.std(losses) / np.sqrt(10))
    assert vae.heldout_name == "heldout_bound"


# ---- training ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", SETTINGS)
@pytest.mark.parametrize("how", HOW)
def test_training_does_not_depend_on_the_number_of_threads(how, likelihood):
    values, losses = [], []
    for threads in (1, 2, 3):
        vae, X = small(likelihood, **HOW[how] | SETTINGS[likelihood]), data(likelihood)
        vae.initialize(X)
        first = vae.network_.parameters.values.copy()
        network = vae.network_
        optimizer = Adam(network.parameters, network.kernels, 1e-2, 1.0)
        order = np.random.default_rng(0).integers(0, 60, (20, 23))
        with Workers(threads) as network.workers:
            over_rows(network, X, 23, optimizer)
            found = []
            while len(found) < len(order):
                found += network.steps(len(found) + 1, order[len(found) :], np.ones(len(order) - len(found)))
        values.append(network.parameters.values.copy())
        losses.append([parts["loss"] for parts in found])
        check_same(values[-1], values[0])
        check_same(np.array(losses[-1]), np.array(losses[0]))
    assert (values[0] != first).mean() > 0.6


@pytest.mark.parametrize("how", HOW)
def test_a_training_that_was_interrupted_goes_on_as_if_it_had_not_been(how, tmp_path):
    def begun():
        vae = small(epochs=3, **HOW[how])
        return vae, vae.initialize(PIXELS)

    whole, examples = begun()
    whole.fit_examples(examples, 3, 16, None, None, StopAfter(1000))
    part, examples = begun()
    part.fit_examples(examples, 3, 16, None, None, StopAfter(5))
    part.save_checkpoint(tmp_path / "part.npz")
    again = VAE.load_checkpoint(tmp_path / "part.npz")
    assert (again.objective, again.n_samples, again.free_bits) == (part.objective, part.n_samples, part.free_bits)
    again.fit_examples(again.examples(PIXELS), 3, 16, None, None, StopAfter(1000))
    for name, values in whole.parameters().items():
        np.testing.assert_array_equal(again.parameters()[name], values)
    for name in ("loss", "nll", "kl"):
        np.testing.assert_array_equal(again.history_[name], whole.history_[name])


def test_what_a_history_of_a_bound_has(tmp_path):
    """The loss is less than nll + kl, the held-out bound has its name, also in a file; early stopping goes by it."""
    vae = small("bernoulli", objective="iwae", n_samples=K, epochs=4, early_stopping=True, validation_fraction=0.3)
    vae.fit(PIXELS)
    history = vae.history_
    assert (history["loss"] < history["nll"] + history["kl"]).all()
    assert np.isfinite(history["heldout_bound"]).all()
    assert "heldout_elbo" not in history
    vae.save(tmp_path / "model.npz")
    again = VAE.load(tmp_path / "model.npz")
    np.testing.assert_array_equal(again.history_["heldout_bound"], history["heldout_bound"])


@pytest.mark.parametrize("sigma", [0.5, "learned"])
@pytest.mark.parametrize("objective", ["iwae", "dreg"])
def test_a_linear_start_is_where_the_bound_is_exact(objective, sigma):
    """At probabilistic PCA every weight is p(x), whatever the noise, so that the bound is log p(x)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 8)) + 0.3 * rng.normal(size=(300, 8))
    vae = VAE(2, (), likelihood="gaussian", sigma=sigma, scale=None, objective=objective, n_samples=3, random_state=0,
              sigma_per_column=False)  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vae.initialize(X)
    p = {n: v.astype(float) for n, v in vae.parameters().items()}
    W, m = p["decoder.0.weight"].T, p["decoder.0.bias"]
    M = W.T @ W + vae.sigma_**2 * np.eye(2)
    np.testing.assert_allclose(M - np.diag(np.diag(M)), 0, atol=1e-3 * M.max())  # its axes are the principal ones
    exact = reference.log_prob_pca(X.astype(float), W, m, vae.sigma_)
    assert vae.loss_and_gradients(X)[0] == pytest.approx(-exact.mean(), abs=2e-3)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_condition_goes_with_every_objective(objective):
    labels = np.arange(60) % 3
    vae = small("bernoulli", objective=objective, n_samples=3).fit(PIXELS, condition=labels)
    assert np.isfinite(vae.history_["loss"]).all()
    losses = [vae.loss_and_gradients(PIXELS, np.zeros((60, 3, 3)), condition=c)[0] for c in (labels, (labels + 1) % 3)]
    assert losses[0] != losses[1]


# ---- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"objective": "iwea"}, ValueError, "objective='iwea' is not known: did you mean 'iwae'"),
        ({"n_samples": 0}, ValueError, "n_samples=0 must be at least 1"),
        ({"n_samples": 2.0}, TypeError, "n_samples=2.0 must be a whole number, at least 1"),
        ({"free_bits": -1}, ValueError, "free_bits=-1 must be at least 0"),
        ({"objective": "iwae", "beta": 2.0}, ValueError, "beta=2.0 goes with objective='elbo'.*leave it at 1"),
        ({"objective": "dreg", "kl_warmup_epochs": 3}, ValueError, "kl_warmup_epochs=3 goes with objective='elbo'"),
        ({"objective": "iwae", "free_bits": 0.1}, ValueError, "free_bits=0.1 goes with .*leave it at 0"),
        ({"objective": "dreg", "likelihood": "gaussian", "sigma": "optimal"}, ValueError, "sigma='optimal' goes with"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        small(**settings).fit(TABLE if "likelihood" in settings else PIXELS)


def test_noise_of_another_number_of_samples_is_refused():
    vae, X, noise = ready("iwae", "bernoulli")
    with pytest.raises(ValueError, match=r"noise has 17 rows \(shape \(17, 3\)\); X has 17, n_samples=4: 68 needed"):
        vae.loss_and_gradients(X, noise[:17])


def test_another_objective_needs_a_new_fit():
    vae = small().fit(PIXELS)
    with pytest.raises(ValueError, match="objective='iwae' was set after this model was fitted with objective='elbo'"):
        vae.set_params(objective="iwae").partial_fit(PIXELS)
    vae.set_params(objective="elbo", n_samples=3, free_bits=0.1).partial_fit(PIXELS)
    assert "heldout_elbo" in vae.history_
