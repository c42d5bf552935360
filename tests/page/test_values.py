"""What the page computes, against Python: its encoder, decoder, likelihoods, weights, errors and k-hat."""

from dataclasses import replace

import numpy as np
import pytest

from fastvae import VAE, TableVAE
from fastvae.data.digits import load_digits
from fastvae.evaluation.accumulator import Accumulator
from fastvae.evaluation.importance import importance
from fastvae.page import network
from fastvae.page.build import write_page
from fastvae.page.described import described
from fastvae.reference import kl_terms, limited, log_normal
from fastvae.reference.noise import normals
from tests.page.browser import opened

PROPOSAL, WIDENED = 7, 1.3
RNG = np.random.default_rng(0)
DIGITS = load_digits()
COUNTS = RNG.poisson(np.exp(1 + 0.5 * RNG.normal(size=(300, 1)) * np.ones(5)))
TABLE = RNG.normal(size=(300, 2)) @ RNG.normal(size=(2, 6)) * [1, 10, 0.1, 1, 1, 1000] + [0, 5, 0, 1e3, 0, 0]
TABLE = (TABLE + RNG.normal(size=TABLE.shape) * [0.1, 1, 0.01, 0.1, 0.1, 100]).astype(np.float32).astype(np.float64)
SHORT = {"hidden": (24,), "epochs": 5, "random_state": 0}


def bernoulli():
    return (
        VAE(3, likelihood="bernoulli", scale=(0, 16), activation="relu", **SHORT).fit(DIGITS.X[:600]),
        DIGITS.X[600:640],
        None,
    )


def gaussian():
    return VAE(2, likelihood="gaussian", sigma_per_column=True, activation="silu", **SHORT).fit(TABLE), TABLE[:40], None


def poisson():
    return VAE(2, likelihood="poisson", activation="tanh", **SHORT).fit(COUNTS), COUNTS[:40], None


def labels():
    model = VAE(2, likelihood="bernoulli", scale=(0, 16), activation="softplus", **SHORT)
    return (
        model.fit(DIGITS.X[:600], condition=DIGITS.labels[:600].astype(int)),
        DIGITS.X[600:640],
        DIGITS.labels[600:640].astype(int),
    )


def vectors():
    model = VAE(1, likelihood="gaussian", activation="leaky_relu", sigma=0.3, scale="standard", **SHORT)
    return model.fit(TABLE[:, 1:], condition=TABLE[:, :1]), TABLE[:40, 1:], TABLE[:40, :1]


def mixed():
    size = RNG.normal(size=300)
    columns = {
        "length": (30 + 3 * size + RNG.normal(size=300)).astype(np.float32).astype(np.float64),
        "eggs": RNG.negative_binomial(2, 2 / (2 + np.exp(1 + size))).astype(np.float64),
        "rings": RNG.poisson(np.exp(size)).astype(np.float64),
        "site": np.array(["bog", "fen", "heath"])[np.digitize(size + RNG.normal(size=300), [-0.5, 0.5])].astype(object),
        "female": (RNG.random(300) < 0.4).astype(object),
        "share": (1 / (1 + np.exp(-size))).astype(np.float32).astype(np.float64),
    }
    for values in columns.values():
        values[RNG.random(300) < 0.15] = None if values.dtype == object else np.nan
    types = {"eggs": "count", "rings": "poisson", "share": "fraction"}
    return TableVAE(2, column_types=types, **SHORT).fit(columns), columns, None


MODELS = {make.__name__: make for make in (bernoulli, gaussian, poisson, labels, vectors, mixed)}


def same(found, wanted, tolerance=1e-9):
    scale = max(1.0, float(np.abs(wanted).max()))
    np.testing.assert_allclose(np.asarray(found, float), wanted, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("name", MODELS)
def test_the_page_computes_what_python_does(name, browser, tmp_path):
    model, X, condition = MODELS[name]()
    path = tmp_path / "report.html"
    written = write_page(path, model, X, condition=condition)
    assert written.bits == 32
    m = described(model)
    rows = X if isinstance(X, np.ndarray) else np.asarray(model.columns_.encode(X))
    c = None if m.condition is None else m.condition.rows(condition, len(rows)).astype(np.float64)
    u = network.model_units(m, rows)
    _, mu, logvar = network.encode(m, u, c)
    logvar = limited(logvar)
    K = 200
    # the same draws in Python, from the float64 reference of the package's noise
    i = 1
    wide = np.minimum(logvar[i] + np.log(WIDENED), np.maximum(logvar[i], 0.0))
    eps = np.concatenate([normals(0, PROPOSAL, k, i, (1, m.codes)) for k in range(K)])
    z = mu[i] + np.exp(0.5 * wide) * eps
    given = None if c is None else np.repeat(c[i : i + 1], K, axis=0)
    nll = network.loss(m, np.repeat(u[i : i + 1], K, axis=0), network.decode(m, z, given)[1])[0]
    zero = np.zeros_like(z)
    log_w = -nll + log_normal(z, zero, zero) - log_normal(z, mu[i], wide) - m.log_jacobian
    accumulator = Accumulator(1, K)
    accumulator.add(log_w[None])
    wanted = accumulator.summary()
    with opened(browser, path) as page:
        page.wait_for_selector("html[data-ready=true]", state="attached")
        found = page.evaluate(
            """(K) => {
              const { network, model, spec, arrays, summary, logWeights, proposalAt } = window.fastvae;
              const { D, C } = network, i = 1;
              const row = (array, n) => array.subarray(i * n, (i + 1) * n);
              const c = C ? row(model.conditions, C) : null, u = network.toModel(row(model.rows, D));
              const { mu, logvar } = network.encode(u, c);
              const logs = logWeights(network, u, c, proposalAt(mu, logvar, 1, 1.3), 0, i, 0, K);
              return {
                u: Array.from(u), mu: Array.from(mu), logvar: Array.from(logvar), logs: Array.from(logs),
                decoded: Array.from(network.decode(mu, c)),
                summary: Object.fromEntries(Object.entries(summary(logs)).map(([k, v]) => [k, String(v)])),
              };
            }""",
            K,
        )
    same(found["u"], u[i])
    same(found["mu"], mu[i])
    same(found["logvar"], logvar[i])
    same(found["decoded"], network.means(m, mu[i : i + 1], None if c is None else c[i : i + 1])[0])
    same(found["logs"], log_w)
    told = {
        key: float(value.replace("Infinity", "inf")) for key, value in found["summary"].items() if key != "reliable"
    }
    same(told["value"], wanted.values[0])
    same(told["ess"], wanted.ess[0])
    for key in ("khat", "mcse"):
        assert (
            np.array_equal(told[key], getattr(wanted, key)[0], equal_nan=True)
            or abs(told[key] - getattr(wanted, key)[0]) < 1e-6
        )
    # and what the package itself finds, in float32, with the same noise
    examples = model.examples(X, condition=condition)
    package = importance(model, examples, K, widen=WIDENED)
    assert abs(told["value"] - package.values[i]) < 1e-4 * max(1, abs(package.values[i]))


def test_weights_in_eight_bits_are_those_that_python_rounded(monkeypatch, browser, tmp_path):
    from fastvae.page import build

    monkeypatch.setattr(build, "LARGEST", 125_000)
    model = VAE(6, hidden=(200,), likelihood="bernoulli", scale=(0, 16), epochs=10, random_state=0).fit(DIGITS.X[:1200])
    model.metadata_["image_shape"] = (8, 8)
    path = tmp_path / "report.html"
    seen = {}
    fitting = build.fitting
    monkeypatch.setattr(build, "fitting", lambda *words: seen.setdefault("found", fitting(*words)))
    written = write_page(path, model, DIGITS.X[1200:])
    rounded, _ = seen["found"]
    assert written.bits == 8
    assert path.stat().st_size == written.size <= 125_000
    assert 0 < written.worst < 0.5
    assert abs(written.elbo - written.rounded_elbo) <= written.worst
    assert f"{written.size:,} bytes, weights in 8 bits: ELBO {written.rounded_elbo:.3f}" in repr(written)
    assert len(repr(written)) < 200
    X = DIGITS.X[1200:][:1]
    _, mu, logvar = network.encode(rounded, network.model_units(rounded, X), None)
    with opened(browser, path) as page:
        page.wait_for_selector("html[data-ready=true]", state="attached")
        found = page.evaluate(
            """() => {
              const { network, model } = window.fastvae, u = network.toModel(model.rows.subarray(0, 64));
              const { mu, logvar } = network.encode(u, null), x = network.decode(mu, null);
              return { mu: [...mu], logvar: [...logvar], x: [...x] };
            }"""
        )
        said = page.inner_text("footer")
    same(found["mu"], mu[0])
    same(found["logvar"], limited(logvar)[0])
    same(found["x"], network.means(rounded, mu, None)[0])
    assert f"{written.rounded_elbo:.3f} nats instead of {written.elbo:.3f}" in said.replace("−", "-")


def test_what_cannot_have_a_page_is_refused_by_name(tmp_path):
    from fastvae import RBM, Autoencoder

    X = DIGITS.X[:200] / 16.0
    for model in (Autoencoder(2, epochs=1).fit(X), RBM(4, epochs=1).fit(X > 0.5)):
        with pytest.raises(TypeError, match="page"):
            write_page(tmp_path / "a.html", model, X)
    model = VAE(2, epochs=1, likelihood="continuous_bernoulli").fit(X)
    with pytest.raises(TypeError, match="continuous_bernoulli"):
        write_page(tmp_path / "a.html", model, X)
    with pytest.raises(ValueError, match="64"):
        write_page(tmp_path / "a.html", VAE(2, epochs=1).fit(X), X[:, :5])
    assert not list(tmp_path.iterdir())


def test_layers_that_see_nothing_and_columns_that_are_copies_are_rounded(monkeypatch, tmp_path):
    from fastvae.page import build

    monkeypatch.setattr(build, "LARGEST", 180_000)
    X = np.repeat(RNG.random((200, 40)), 3, axis=1)  # colours that are copies
    X[:, :6] = 0
    model = VAE(4, hidden=(200,), likelihood="bernoulli", epochs=2, random_state=0).fit(X)
    dead = model.network_.encoder.layers[0]
    dead.weight[:], dead.bias[:] = 0, -1
    found = write_page(tmp_path / "report.html", model, X)
    assert found.bits == 8
    assert found.size <= 180_000
    assert np.isfinite(found.rounded_elbo)


# ---- rounding -----------------------------------------------------------------------------------------------------


def test_codes_that_compensate_change_what_a_layer_gives_less():
    from fastvae.page import rounding

    X = RNG.normal(size=(500, 6)) @ RNG.normal(size=(6, 40)) + 0.1 * RNG.normal(size=(500, 40))
    weight = RNG.normal(size=(40, 12)).astype(np.float32)
    plain = rounding.rounded(weight, np.ones(40), np.ones(12), 0.5)
    better = rounding.compensated(weight, plain, np.cov(X.T, bias=True))

    def error(found):
        change = X @ (found.weight - weight.astype(np.float64))
        return change.var(axis=0).mean()

    assert error(better) < error(plain) / 4


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "mixed"])
def test_sensitivities_are_squares_of_the_gradient_of_the_loss(name):
    """Of one row, by differences of its loss, with the same noise, when a bias moves."""
    model, X, _ = MODELS[name]()
    m = described(model)
    row = (X if isinstance(X, np.ndarray) else np.asarray(model.columns_.encode(X)))[3:4]

    def loss(m):
        u = network.model_units(m, row)
        _, mu, logvar = network.encode(m, u, None)
        noise = np.random.default_rng(0).standard_normal(mu.shape)
        a = network.decode(m, mu + np.exp(0.5 * limited(logvar)) * noise, None)[1]
        return network.loss(m, u, a)[0][0] + kl_terms(mu, limited(logvar)).sum()

    found = network.sensitivities(m, row, None)
    for layer in m.layers:
        for j in range(min(3, len(layer.bias))):
            losses = []
            for step in (1e-4, -1e-4):
                moved = layer.bias.astype(np.float64)
                moved[j] += step

                def change(each, moved=moved, name=layer.name):
                    return replace(each, bias=moved) if each.name == name else each

                losses.append(loss(network.with_layers(m, change)))
            slope = (losses[0] - losses[1]) / 2e-4
            np.testing.assert_allclose(found[layer.name][1][j], slope**2, rtol=1e-4, atol=1e-7)
