"""A likelihood of one's own does what the package's do, where it is one of these."""

import copy
import pickle

import numpy as np
import pytest

from fastvae import MADE, VAE, Autoencoder, reference
from fastvae.errors import ModelFileError, NotAvailableError
from fastvae.export import numpy_file
from fastvae.kernels import cpu
from fastvae.likelihoods import LIKELIHOODS, Poisson
from fastvae.own import Likelihood, check_gradients, register, unregister
from fastvae.own.likelihood import _solved
from fastvae.parameters import Parameters
from tests.own.likelihoods import OwnBernoulli, OwnGaussian, OwnPoisson, SameBernoulli, laplace
from tests.support.models import PIXELS, TABLE, small
from tests.support.passes import new_pass, run

pytestmark = pytest.mark.long
RNG = np.random.default_rng(5)
COUNTS = RNG.poisson(3.0, (60, 12)).astype(np.float32)


def trained(likelihood, X, **settings):
    return small(likelihood, **settings).fit(X)


# ---- the package's likelihoods again --------------------------------------------------------------------------------


def test_the_same_formula_gives_the_same_bits():
    """A whole model: training, early stopping, scores, means, estimates of log p(x)."""
    register(SameBernoulli)
    names, weights = ("same_bernoulli", "bernoulli"), 1 + np.arange(60) % 3
    own, built_in = (small(name, early_stopping=True).fit(PIXELS, sample_weight=weights) for name in names)
    for (name, mine), theirs in zip(own.parameters().items(), built_in.parameters().values(), strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=name)
    np.testing.assert_array_equal(own.score_samples(PIXELS), built_in.score_samples(PIXELS))
    np.testing.assert_array_equal(own.reconstruct(PIXELS), built_in.reconstruct(PIXELS))
    np.testing.assert_array_equal(own.evaluate(PIXELS[:20]).values, built_in.evaluate(PIXELS[:20]).values)
    annealed = [model.evaluate(PIXELS[:4], method="annealed").values for model in (own, built_in)]
    np.testing.assert_array_equal(*annealed)
    np.testing.assert_array_equal(own.sample(5), built_in.sample(5))
    assert set(np.unique(own.sample(5, noise=True))) <= {0.0, 1.0}


def weights_of(model, other):
    """Have another model's parameters, but for those of the likelihood."""
    for name, values in model.parameters().items():
        if name in other.parameters():
            values[...] = other.parameters()[name]


@pytest.mark.parametrize(
    ("kind", "built_in", "X", "settings"),
    [(OwnBernoulli, "bernoulli", PIXELS, {}), (OwnGaussian, "gaussian", TABLE, {"sigma": 1.0}),
     (OwnPoisson, "poisson", COUNTS, {})],
)  # fmt: skip
def test_a_textbooks_formula_gives_the_same_numbers(kind, built_in, X, settings):
    register(kind)
    own = small(kind.NAME, hidden=(9,), linear=False, beta=0.5)
    own.initialize(X)
    other = small(built_in, hidden=(9,), linear=False, beta=0.5, **settings)
    other.initialize(X)
    np.testing.assert_allclose(own.parameters()["decoder.1.bias"], other.parameters()["decoder.1.bias"], atol=1e-4)
    weights_of(own, other)
    noise = RNG.normal(size=(len(X), 3)).astype(np.float32)
    loss, parts, gradients = own.loss_and_gradients(X, noise)
    expected, expected_parts, expected_gradients = other.loss_and_gradients(X, noise)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert parts == pytest.approx(expected_parts, rel=1e-5)
    for name, gradient in expected_gradients.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-3, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(own.score_samples(X), other.score_samples(X), rtol=1e-5)
    np.testing.assert_allclose(own.reconstruct(X), other.reconstruct(X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 3])
def test_a_model_against_the_reference(samples):
    """The NumPy formula itself is the reference."""
    register(OwnGaussian)
    x, a = RNG.normal(size=(7, 5)).astype(np.float32), RNG.normal(size=(7 * samples, 5)).astype(np.float32)
    log_sigma, weight = RNG.normal(size=5).astype(np.float32), 0.25
    nll, d_a = cpu.own_gaussian_forward_backward(x, a, log_sigma, weight)
    expected, d_expected = reference.squared_error_forward_backward(
        np.repeat(x, samples, axis=0).astype(float), a.astype(float), np.exp(log_sigma.astype(float))
    )
    np.testing.assert_allclose(nll, expected, rtol=1e-5)
    np.testing.assert_allclose(d_a, weight * d_expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(cpu.own_gaussian_forward(x, a, log_sigma), nll)


@pytest.mark.parametrize("shares", [1, 2, 3])
@pytest.mark.parametrize("weighed", [False, True])
def test_the_gradient_of_a_learned_parameter(shares, weighed):
    register(OwnGaussian)
    likelihood, rows = OwnGaussian(5), 12
    parameters = Parameters(likelihood.shapes())
    likelihood.bind(parameters, cpu)
    parameters.values[:] = RNG.normal(size=parameters.values.shape)
    log_sigma = parameters.value("own_gaussian.log_sigma").astype(float)
    x, a = (RNG.normal(size=(rows, 5)).astype(np.float32) for _ in range(2))
    weights = RNG.random(rows).astype(np.float32)
    p = new_pass(cpu, rows, shares)
    xs, outputs, weighs = p.cut(x), p.cut(a), p.cut(weights)
    likelihood.loss(p, xs, outputs, 0.5, (lambda nll: weighs) if weighed else None)
    likelihood.loss(p, xs, outputs, 0.25)  # a second use of the same parameter
    p.update(None, [likelihood])
    run(p)
    d = reference.d_log_sigma(x.astype(float), a.astype(float), np.exp(log_sigma), weights if weighed else 1.0)
    d = 0.5 * d + 0.25 * reference.d_log_sigma(x.astype(float), a.astype(float), np.exp(log_sigma))
    np.testing.assert_allclose(parameters.gradient("own_gaussian.log_sigma"), d, rtol=1e-4, atol=1e-5)


def test_a_learned_parameter_is_learned():
    register(OwnGaussian)
    X = (0.3 * RNG.normal(size=(400, 3)) + 7).astype(np.float32)
    vae = VAE(1, (4,), likelihood="own_gaussian", scale=None, epochs=60, learning_rate=0.02, random_state=0).fit(X)
    np.testing.assert_allclose(np.exp(vae.parameters()["own_gaussian.log_sigma"]), X.std(axis=0), rtol=0.15)
    assert vae.sample(3000, noise=True).std(axis=0) == pytest.approx(X.std(axis=0), rel=0.2)


@pytest.mark.parametrize("objective", ["elbo", "iwae", "dreg"])
def test_gradients_of_a_model(objective):
    register(OwnGaussian)
    vae = small("own_gaussian", objective=objective, n_samples=2, activation="tanh")
    vae.initialize(TABLE)
    errors = check_gradients(vae, TABLE[:20])
    if objective == "dreg":  # another estimator of the encoder's gradient: of the same expectation alone
        errors = {name: error for name, error in errors.items() if name.startswith(("decoder", "own"))}
    assert max(errors.values()) < 2e-3
    assert "own_gaussian.log_sigma" in errors


def test_other_models_take_it():
    register(OwnGaussian)
    assert np.isfinite(Autoencoder(2, (4,), likelihood="own_gaussian", epochs=1).fit(TABLE).score(TABLE))
    made = MADE((8,), likelihood="own_gaussian", epochs=1, random_state=0).fit(TABLE)
    assert np.isfinite(made.sample(2)).all()
    labels = np.arange(60) % 2
    vae = small("own_gaussian").fit(TABLE, condition=labels)
    assert vae.sample(2, noise=True, condition=1).shape == (2, 12)
    assert small("own_gaussian").partial_fit(TABLE).score(TABLE) < 0


# ---- files, pickles, copies -----------------------------------------------------------------------------------------


def test_saved_pickled_copied(tmp_path):
    register(OwnGaussian)
    vae = trained("own_gaussian", TABLE)
    scores, drawn = vae.score_samples(TABLE), vae.sample(4, noise=True, random_state=3)
    vae.save(tmp_path / "m.npz")
    for other in (VAE.load(tmp_path / "m.npz"), pickle.loads(pickle.dumps(vae)), copy.deepcopy(vae)):
        np.testing.assert_array_equal(other.score_samples(TABLE), scores)
        np.testing.assert_array_equal(other.sample(4, noise=True, random_state=3), drawn)
    decoder = VAE.load(tmp_path / "m.npz", decoder_only=True)
    np.testing.assert_array_equal(decoder.sample(4, noise=True, random_state=3), drawn)


def test_a_file_of_what_is_not_registered(tmp_path):
    register(OwnGaussian)
    trained("own_gaussian", TABLE).save(tmp_path / "m.npz")
    unregister(OwnGaussian)
    with pytest.raises(ValueError, match=r"m.npz: this VAE was saved with the likelihood 'own_gaussian' of "
                       r"somebody's own, not registered here: first import tests.own.likelihoods, which defines "
                       r"OwnGaussian"):  # fmt: skip
        VAE.load(tmp_path / "m.npz")
    register(OwnGaussian)
    VAE.load(tmp_path / "m.npz")


@pytest.mark.parametrize(("module", "shown"), [("own.parts", ("own.parts",)), ("os; evil()", ()), ("__main__", ())])
def test_a_command_shows_no_code_that_a_file_made_up(tmp_path, monkeypatch, module, shown):
    register(OwnGaussian)
    monkeypatch.setattr("fastvae.models.origin._module_of", lambda cls: module)
    trained("own_gaussian", TABLE).save(tmp_path / "m.npz")
    unregister(OwnGaussian)
    with pytest.raises(ModelFileError, match="first ") as found:
        VAE.load(tmp_path / "m.npz")
    assert found.value.modules == shown
    register(OwnGaussian)


def test_a_pickle_registers_what_it_needs():
    register(OwnGaussian)
    pickled = pickle.dumps(small("own_gaussian")), pickle.dumps(trained("own_gaussian", TABLE))
    unregister(OwnGaussian)
    fresh, fitted = map(pickle.loads, pickled)
    assert fresh.fit(TABLE).score(TABLE) == fitted.score(TABLE)


def test_a_file_of_another_formula(tmp_path):
    register(laplace())
    trained("laplace", TABLE).save(tmp_path / "m.npz")
    register(laplace())
    VAE.load(tmp_path / "m.npz")
    register(laplace(term=lambda x, a: (abs(x - a) / 2 + np.log(4), np.sign(a - x) / 2)))
    with pytest.warns(UserWarning, match=r"m.npz: the likelihood 'laplace' computes something else here than where "
                      r"this VAE was saved \(Laplace of elsewhere\)"):  # fmt: skip
        VAE.load(tmp_path / "m.npz")


def test_what_columns_contribute():
    register(OwnGaussian)
    vae = small("own_gaussian", linear=False).fit(TABLE)
    other = small("gaussian", sigma=1.0, linear=False).fit(TABLE)
    vae.parameters()["own_gaussian.log_sigma"][:] = 0
    weights_of(vae, other)
    likelihoods = vae.network_.likelihood, other.network_.likelihood
    x, a = (RNG.normal(size=(5, 12)).astype(np.float32) for _ in range(2))
    own, built_in = (likelihood.terms(x, a) for likelihood in likelihoods)
    np.testing.assert_allclose(own, built_in, rtol=1e-12)
    register(OwnPoisson)  # with a function of one number
    rates = np.broadcast_to(a[:1], COUNTS.shape)
    np.testing.assert_allclose(OwnPoisson(12).terms(COUNTS, rates), Poisson(12).terms(COUNTS, rates), rtol=1e-6)


def test_a_file_of_numpy(tmp_path):
    register(OwnBernoulli), register(OwnPoisson)
    vae = trained("own_bernoulli", PIXELS)
    code, *_ = numpy_file.write(vae, tmp_path / "exported")
    scope = {"__file__": str(code), "__name__": "exported"}
    exec(code.read_text(), scope)
    np.testing.assert_allclose(scope["reconstruct"](PIXELS), vae.reconstruct(PIXELS), rtol=1e-4)
    with pytest.raises(TypeError, match="cannot be exported: no format knows likelihood 'own_poisson'; use save"):
        numpy_file.write(trained("own_poisson", COUNTS), tmp_path / "exported")


# ---- data that are refused ------------------------------------------------------------------------------------------


def test_data_outside_the_support():
    register(OwnBernoulli), register(OwnPoisson)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        trained("own_bernoulli", PIXELS + 1)
    with pytest.raises(ValueError, match="needs counts, whole numbers from 0"):
        trained("own_poisson", COUNTS + np.float32(0.5))

    @register
    class Exponential(Likelihood):
        NAME, DENSITY, SUPPORT = "exponential", True, (0.0, np.inf)

        @staticmethod
        def term(x, a):
            return x * np.exp(a) - a, x * np.exp(a) - 1

        @staticmethod
        def inverse_link(a):
            return np.exp(-a)

    X = RNG.exponential(2.0, (60, 12))
    assert np.isfinite(trained("exponential", X).score(X))
    with pytest.raises(ValueError, match="X has values from -0.* to .*; likelihood='exponential' takes those from 0"):
        trained("exponential", X - 0.5)
    np.testing.assert_allclose(Exponential(2).intercept(np.array([0.01, 300.0])), -np.log([0.01, 300.0]), rtol=1e-3)


def test_where_the_outputs_begin():
    """A falling inverse link, one that ends, one that grows beyond the first bracket."""
    target = np.array([0.0, 0.2, 0.9, 1.0])
    found = _solved(lambda a: 1 / (1 + np.exp(-a)), target)
    np.testing.assert_allclose(found, [-7, np.log(0.25), np.log(9), 7], atol=1e-6)
    np.testing.assert_allclose(_solved(lambda a: np.exp(-a), np.array([1e6, 2.0])), [-np.log(1e6), -np.log(2)])
    np.testing.assert_allclose(_solved(lambda a: 3 * a + 1, np.array([-4e5, 1.0])), [-400001 / 3, 0], atol=1e-6)


def test_a_sample_that_is_missing_or_wrong():
    register(laplace())
    vae = trained("laplace", TABLE)
    with pytest.raises(NotAvailableError, match=r"cannot draw x .* Laplace.sample\(mean, rng\) is missing"):
        vae.sample(2, noise=True)
    assert vae.sample(2).shape == (2, 12)
    register(laplace(sample=lambda mean, rng: mean[:, 0]))
    with pytest.raises(ValueError, match=r"Laplace.sample gave float32 \(2,\); real numbers \(2, 12\) are needed"):
        trained("laplace", TABLE).sample(2, noise=True)


def test_registered_again():
    """From the same place it replaces what was there; from another one it is refused."""
    register(laplace())
    vae = trained("laplace", TABLE)
    wider = register(laplace(term=lambda x, a: (abs(x - a) / 2 + np.log(4), np.sign(a - x) / 2)))
    assert LIKELIHOODS["laplace"] is wider
    x = np.zeros((1, 1), np.float32)
    assert cpu.laplace_forward(x, x)[0] == pytest.approx(np.log(4))
    assert vae.score_samples(TABLE).shape == (60,)
    other = laplace()
    other.__module__ = "another"
    with pytest.raises(ValueError, match="'laplace' exists already \\(elsewhere.Laplace\\)"):
        register(other)
