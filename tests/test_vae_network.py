"""Gradients of the whole model: against the reference, PyTorch and differences; sigma; the weight of the KL."""

import numpy as np
import pytest

from fastvae import VAE, reference
from fastvae.kernels.formulas import ACTIVATIONS
from models import PIXELS, RNG, TABLE, data, small


def prepared(likelihood, activation, hidden=(9, 7), decoder_hidden=None):
    vae = small(likelihood, activation=activation, hidden=hidden, decoder_hidden=decoder_hidden, sigma=0.7, beta=1.3)
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


def test_gradient_of_a_learned_sigma_by_central_differences():
    vae = small("gaussian", sigma="learned").fit(TABLE)
    noise = RNG.normal(size=(60, 3))
    parameter = vae.parameters()["log_sigma"]
    gradient = vae.loss_and_gradients(TABLE, noise)[2]["log_sigma"][0]
    parameter += np.float32(0.25)
    above = vae.loss_and_gradients(TABLE, noise)[0]
    parameter -= np.float32(0.5)
    below = vae.loss_and_gradients(TABLE, noise)[0]
    assert gradient == pytest.approx((above - below) / 0.5, rel=0.1)
    parameter += np.float32(0.25)


@pytest.mark.parametrize("sigma", ["learned", "optimal"])
def test_sigma_finds_the_noise_of_the_data(sigma):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 1)) @ rng.normal(size=(1, 20)) + 0.3 * rng.normal(size=(2000, 20))
    vae = VAE(1, (), likelihood="gaussian", sigma=sigma, epochs=60, learning_rate=1e-2, random_state=0).fit(X)
    assert vae.network_.likelihood.sigma == pytest.approx(0.3, rel=0.05)
    assert vae.score(X) == pytest.approx(-vae.history_["loss"][-1], rel=0.02)


def test_the_optimal_sigma_gives_the_closed_form_and_its_gradient():
    """loss - kl = D/2 (log(2 pi s^2) + 1), s^2 the mean squared error; with sigma fixed at s, the same gradients."""
    optimal = small("gaussian", sigma="optimal", scale="standard").fit(TABLE)
    noise = RNG.normal(size=(60, 3)).astype(np.float32)
    mu, logvar = optimal.encode(TABLE)
    error = (optimal.decode(mu + np.exp(logvar / 2) * noise) - TABLE) / optimal.scale_
    variance = float((error.astype(float) ** 2).mean())
    loss, parts, gradients = optimal.loss_and_gradients(TABLE, noise)
    expected = 6 * (np.log(2 * np.pi * variance) + 1) + np.log(optimal.scale_).sum()
    assert parts["nll"] == pytest.approx(expected, rel=1e-5)
    fixed = small("gaussian", sigma=variance**0.5, scale="standard").fit(TABLE)
    for name, values in fixed.parameters().items():
        values[...] = optimal.parameters()[name]
    fixed_loss, _, fixed_gradients = fixed.loss_and_gradients(TABLE, noise)
    assert loss == pytest.approx(fixed_loss, rel=1e-5)
    assert gradients.pop("log_sigma") == 0
    assert distance(gradients, fixed_gradients) < 1e-5


def test_kl_warmup_reaches_beta():
    vae = small(beta=2.0, kl_warmup_epochs=4)
    vae.initialize(PIXELS)
    assert [vae.network_.kl_weight(e) for e in (0, 1, 2, 4, 9)] == [0, 0.5, 1, 2, 2]
    assert vae.fit(PIXELS).history_["loss"][0] < (vae.history_["nll"] + 2 * vae.history_["kl"])[0]
