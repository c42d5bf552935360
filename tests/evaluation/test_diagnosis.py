"""What is wrong with a model is named, and nothing is named of models that are well."""

import functools
import json
import math

import numpy as np
import pytest

from fastvae import VAE
from fastvae.data.digits import load_digits
from fastvae.evaluation.densities import Joint
from fastvae.evaluation.diagnosis import ACTIVE, COLLAPSE, FAR, INACTIVE, NARROW_POSTERIOR, WIDE_POSTERIOR, diagnose
from fastvae.evaluation.width import normalised, posterior_width
from fastvae.training import Observer

DIGITS = (load_digits().X / np.float32(16)).astype(np.float32)


def table(rows=1500):
    """Columns that depend on four causes, not Gaussian ones."""
    rng = np.random.default_rng(5)
    causes = np.tanh(rng.normal(size=(rows, 4)))
    return (causes @ rng.normal(size=(4, 12)) + 0.3 * rng.normal(size=(rows, 12))).astype(np.float32)


def images(rows=2000):
    """Strokes of a pen, 14 x 14 grey levels that are probabilities: like small MNIST images."""
    rng = np.random.default_rng(6)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 14), np.linspace(-1, 1, 14)), axis=-1)
    angle, bend, shift = rng.uniform(0, np.pi, rows), rng.normal(size=rows), 0.3 * rng.normal(size=(rows, 2))
    at = grid[None] - shift[:, None, None]
    along = at[..., 0] * np.cos(angle)[:, None, None] + at[..., 1] * np.sin(angle)[:, None, None]
    across = at[..., 1] * np.cos(angle)[:, None, None] - at[..., 0] * np.sin(angle)[:, None, None]
    ink = np.exp(-(((across - 0.5 * bend[:, None, None] * along**2) / 0.15) ** 2)) * (np.abs(along) < 0.7)
    return ink.reshape(rows, -1).astype(np.float32)


def trained(X, epochs, binarize=None, **settings):
    model = VAE(epochs=epochs, batch_size=64, random_state=3, **settings)
    examples = model.initialize(X, binarize=binarize)
    model._optimizer = model._make_optimizer()
    model.fit_examples(examples, epochs, 64, None, None, Observer())
    return model, examples


@functools.cache
def healthy(name):
    """A model that is well, and its examples."""
    if name == "digits":
        return trained(DIGITS, 40)
    if name == "table":
        return trained(table(), 60, likelihood="gaussian", latent_dim=4)
    return trained(images(), 60, "dynamic", latent_dim=6, hidden=(100,))


def long(*values):
    """A parameter of a test that is among the long ones with it."""
    return pytest.param(*values, marks=pytest.mark.long)


@pytest.mark.parametrize(("name", "seed"), [long("digits", 0), long("digits", 1), ("table", 0), ("images", 1)])
def test_nothing_is_named_of_a_model_that_is_well(name, seed):
    found = diagnose(*healthy(name), seed=seed)
    assert found.named == []
    assert found.active.any()


@pytest.mark.parametrize(
    ("name", "shift", "expected"),
    [
        long("digits", -2, NARROW_POSTERIOR),
        long("digits", 2.5, WIDE_POSTERIOR),
        ("table", -3, NARROW_POSTERIOR),
        ("images", -2, NARROW_POSTERIOR),
        ("images", 2.5, WIDE_POSTERIOR),
    ],
)
def test_a_posterior_too_narrow_or_too_wide_is_named(name, shift, expected):
    model, examples = healthy(name)
    model.parameters()["logvar.bias"][:] += np.float32(shift)
    try:
        found = diagnose(model, examples)
    finally:
        model.parameters()["logvar.bias"][:] -= np.float32(shift)
    assert expected in found.named
    assert COLLAPSE not in found.named
    finding = next(finding for finding in found.findings if finding.name == expected)
    assert "widened" in finding.tries or expected == WIDE_POSTERIOR
    assert f"{finding.figures['variance_ratio']:.2g} times" in finding.what


def test_a_collapsed_posterior_is_named():
    model, examples = trained(DIGITS, 20, beta=30.0)
    found = diagnose(model, examples)
    assert found.named == [COLLAPSE]
    assert "try beta=1" in found.findings[0].tries
    assert not found.active.any()


def test_an_aggregated_posterior_far_from_the_prior_is_named():
    model, examples = trained(DIGITS, 20, beta=0.003, latent_dim=4)
    found = diagnose(model, examples)
    assert FAR in found.named
    finding = next(finding for finding in found.findings if finding.name == FAR)
    assert "ex-post prior" in finding.tries
    assert finding.figures["p_value"] <= 0.01
    assert finding.figures["gain"] > 1


@pytest.mark.long
def test_inactive_dimensions_are_told_and_are_not_serious():
    model, examples = trained(table(), 40, likelihood="gaussian", latent_dim=20)
    found = diagnose(model, examples)
    assert found.named == []
    (finding,) = found.findings
    assert finding.name == INACTIVE
    assert finding.figures["active_units"] == (found.mean_variance > ACTIVE).sum() < 20
    # what is active is what has a KL: the two measures agree on which dimensions say something
    assert found.kl[found.active].min() > found.kl[~found.active].max()
    assert found.kl[~found.active].max() < 0.1
    model.parameters()["logvar.bias"][:] -= np.float32(3)
    names = [finding.name for finding in diagnose(model, examples).findings]
    assert names[0] == NARROW_POSTERIOR  # what is serious comes first
    assert names[-1] == INACTIVE


def test_json_holds_the_summary_and_words_have_the_figures():
    found = diagnose(*healthy("table"))
    summary = json.loads(json.dumps(found.summary(), allow_nan=False))
    assert summary["active_units"] == 4
    assert summary["kl"] == pytest.approx(sum(summary["kl_per_dimension"]))
    assert len(summary["aggregated"]["variance"]) == len(summary["width"]["ratio"]) == 4
    assert found.lines()[0] == f"4 of 4 latent dimensions are active; KL {summary['kl']:.2f} nats"


@pytest.mark.parametrize("name", [long("digits"), "table"])
def test_the_kl_is_that_of_the_elbo(name):
    model, examples = healthy(name)
    X = DIGITS if name == "digits" else table()
    mu, logvar = (values.astype(np.float64) for values in model.encode(X))
    kl = diagnose(model, examples).kl
    np.testing.assert_allclose(kl, 0.5 * (mu**2 + np.exp(logvar) - logvar - 1).mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(kl.sum(), -_elbo_with(model, X, 1) + _elbo_with(model, X, 0), rtol=1e-3)


def _elbo_with(model, X, weight):
    """nll + weight kl, negative, of one gradient's draws, which are the same for both."""
    _, parts, _ = model.loss_and_gradients(X, noise=np.zeros((len(X), model.latent_dim), np.float32))
    return -parts["nll"] - weight * parts["kl"]


def linear_vae(shift=0.0):
    """Probabilistic PCA, whose posterior q has exactly; then all its variances times e^shift."""
    rng = np.random.default_rng(2)
    X = (rng.normal(size=(400, 3)) @ rng.normal(size=(3, 8)) + 0.5 * rng.normal(size=(400, 8))).astype(np.float32)
    model = VAE(latent_dim=3, hidden=(), likelihood="gaussian", random_state=0)
    examples = model.initialize(X)
    model.parameters()["logvar.bias"][:] += np.float32(shift)
    return Joint(model, examples)


@pytest.mark.parametrize("shift", [-3.0, -1.0, 0.0, 1.0])
def test_width_and_gap_of_a_linear_vae_have_a_closed_form(shift):
    """p(z|x) is q before the shift: its variance is e^-shift times q's, and KL[q||p] = Z/2 (e^shift - 1 - shift)."""
    width = posterior_width(linear_vae(shift), np.arange(64), 500, np.random.default_rng(1))
    np.testing.assert_allclose(width.ratio, math.exp(-shift), rtol=0.08)
    assert abs(width.gap - 1.5 * (math.exp(shift) - 1 - shift)) < 4 * width.gap_error + 1e-3
    assert width.ess_widened > 0.95 * 500
    assert (width.unreliable > 0.25) == (shift < 0)  # k = 1 - e^shift there, by the threshold of .63 or above it
    assert width.unreliable_widened == 0
    if shift == 0:
        assert width.gap_error < 1e-4


def test_weights_are_normalised_where_logarithms_are_large_or_none_is_above_0():
    weights, bound = normalised(np.array([[800.0, 800.0], [-900.0, -900 + math.log(3)], [-np.inf, -np.inf]]))
    np.testing.assert_allclose(weights, [[0.5, 0.5], [0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_allclose(bound, [800, -900 + math.log(2), -np.inf])


@pytest.mark.parametrize("binarize", [None, "dynamic", 0.5])
def test_rows_are_those_that_the_encoder_saw(binarize):
    model, examples = trained(DIGITS[:100], 1, binarize, latent_dim=3)
    joint, chosen = Joint(model, examples), np.array([70, 3, 99])
    for own, whole in zip(joint.encode(joint.rows(chosen)), model.encode_examples(examples), strict=True):
        np.testing.assert_array_equal(own.astype(np.float32), whole[chosen])


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "poisson"])
def test_joint_density_is_what_the_decoder_says(likelihood):
    """log p(x, z) from `decode`, in the user's units, however the rows are cut into pieces."""
    rng = np.random.default_rng(4)
    X = {
        "bernoulli": DIGITS[:300, 10:20],
        "gaussian": 7 + 3 * rng.normal(size=(300, 10)),
        "poisson": rng.poisson(4, (300, 10)).astype(float),
    }[likelihood]
    model, examples = trained(X, 3, likelihood=likelihood, latent_dim=2, hidden=(6,))
    joint, z = Joint(model, examples), rng.normal(size=(300, 4, 2)).astype(np.float32)
    mean = model.decode(z.reshape(-1, 2)).reshape(300, 4, 10).astype(np.float64)
    x = X[:, None].astype(np.float64)
    if likelihood == "bernoulli":
        each = x * np.log(mean) + (1 - x) * np.log1p(-mean)
    elif likelihood == "poisson":
        each = x * np.log(mean) - mean - np.vectorize(math.lgamma)(x + 1)
    else:
        sigma = model.sigma_ * model.scale_
        each = -0.5 * ((x - mean) / sigma) ** 2 - np.log(sigma) - 0.5 * math.log(2 * math.pi)
    expected = each.sum(axis=2) - 0.5 * np.square(z).sum(axis=2) - math.log(2 * math.pi)
    rows = joint.rows(np.arange(300))
    found = joint(rows, z)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_allclose(joint(rows[7:9], z[7:9]), found[7:9], atol=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_samples": 0}, "n_samples"), ({"n_samples": 1}, "n_samples"), ({"n_samples": 2.5}, "n_samples"),
        ({"n_examples": 0}, "n_examples"),
    ],
)  # fmt: skip
def test_numbers_of_samples_that_are_none_are_refused(given, message):
    with pytest.raises((ValueError, TypeError), match=message):
        diagnose(*healthy("table"), **given)


def test_a_single_example_and_nan_are_refused():
    model, _ = healthy("table")
    with pytest.raises(ValueError, match="1 example"):
        diagnose(model, table()[:1])
    with pytest.raises(ValueError, match="NaN|finite"):
        diagnose(model, np.full((5, 12), np.nan))


def test_a_conditional_model_is_diagnosed_given_its_condition():
    """With the condition that it has learned, the code says the rest; with another one, its ELBO falls."""
    rng = np.random.default_rng(8)
    labels = rng.integers(0, 3, 600)
    X = np.eye(3)[labels] @ rng.normal(size=(3, 6)) * 3 + rng.normal(size=(600, 1)) + 0.3 * rng.normal(size=(600, 6))
    model = VAE(latent_dim=2, hidden=(16,), likelihood="gaussian", epochs=40, random_state=0).fit(X, condition=labels)
    found = diagnose(model, X, condition=labels)
    assert found.named == []
    joint, other = (Joint(model, model.examples(X, condition=c)) for c in (labels, (labels + 1) % 3))
    given, wrong, z = joint.rows(np.arange(600)), other.rows(np.arange(600)), np.zeros((600, 1, 2))
    seen = np.sqrt(np.float32(3)) * np.eye(3, dtype=np.float32)[labels]
    np.testing.assert_allclose(given.inputs["condition"], seen, rtol=1e-6)
    some = np.array([7, 2, 599])
    np.testing.assert_allclose(joint.rows(some).inputs["condition"], seen[some], rtol=1e-6)
    assert joint(given, z).mean() > other(wrong, z).mean() + 1
    mu, _ = joint.encode(given)
    np.testing.assert_allclose(mu, model.transform(X, condition=labels), atol=1e-6)
    with pytest.raises(ValueError, match="condition"):
        diagnose(model, X)


def test_a_model_without_an_encoder_is_refused(tmp_path):
    model, examples = healthy("table")
    model.save(tmp_path / "m.npz")
    with pytest.raises(Exception, match="decoder_only"):
        diagnose(VAE.load(tmp_path / "m.npz", decoder_only=True), examples)
