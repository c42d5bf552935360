"""Weights of rows: whole numbers are repeated rows, and those of weight 0 are not there."""

import warnings

import numpy as np
import pandas as pd
import pytest

from fastvae.data.validation import statistics
from fastvae.data.weights import as_weights
from fastvae.models.linear_start import probabilistic_pca
from fastvae.models.registry import estimator
from tests.models.test_vae_network import distance
from tests.support.models import small

RNG = np.random.default_rng(3)
BINARY, REAL = (RNG.random((24, 6)) < 0.4).astype(np.float32), RNG.normal(size=(24, 6)).astype(np.float32)
COUNTS = np.tile([1, 2, 3, 4], 6)
SMALL = {"latent_dim": 2, "hidden": (5,)}
DETERMINISTIC = {  # a step without noise
    "autoencoder": ("Autoencoder", REAL, {**SMALL, "likelihood": "gaussian", "sigma": "learned"}),
    "counts": ("Autoencoder", np.floor(np.exp(REAL)), {**SMALL, "likelihood": "poisson"}),
    "sparse, kl": ("SparseAutoencoder", BINARY, {"latent_dim": 7}),
    "sparse, l1": ("SparseAutoencoder", BINARY, {"latent_dim": 7, "penalty": "l1"}),
    "denoising": ("DenoisingAutoencoder", BINARY, {**SMALL, "amount": 0.0}),
    "gsn": ("GSN", BINARY, {"hidden": (5, 4), "corruption": 0.0, "noise": 0.0, "walkback": 1}),
    "made": ("MADE", BINARY, {"hidden": (7,), "orderings": 2}),
    "real made": ("MADE", REAL, {"hidden": (7,), "likelihood": "gaussian"}),
    "nade": ("NADE", BINARY, {"hidden": 4}),
}
NOISY = {
    "vae": ("VAE", REAL, {**SMALL, "likelihood": "gaussian"}),
    "gan": ("GAN", REAL, {**SMALL, "output": "identity"}),
    "rbm": ("RBM", BINARY, {"hidden": 4}),
    "real rbm": ("RBM", REAL, {"hidden": 4, "visible": "gaussian"}),
    "rbm, cd": ("RBM", BINARY, {"hidden": 4, "persistent": False}),
    "dbm": ("DBM", BINARY, {"hidden": (4, 3)}),
    "denoising": ("DenoisingAutoencoder", REAL, {**SMALL, "likelihood": "gaussian"}),
    "gsn": ("GSN", BINARY, {"hidden": (5, 4)}),
}
OBJECTIVES = {
    "elbo": {"beta": 1.3},
    "several samples": {"beta": 1.3, "n_samples": 3},
    "iwae": {"objective": "iwae", "n_samples": 3},
    "dreg": {"objective": "dreg", "n_samples": 3},
}
SIGMAS = {"learned": {}, "one for all": {"sigma_per_column": False}, "fixed": {"sigma": 0.7}}


def ready(case):
    """A network that is initialised, and rows in its units."""
    name, X, settings = case
    model = estimator(name)(random_state=0, **settings)
    model.initialize(X, sample_weight=COUNTS)
    for values in model.parameters().values():
        values += (0.1 * np.random.default_rng(0).normal(size=values.shape)).astype(np.float32)
    units = model.network_.units
    return model.network_, np.ascontiguousarray((X - units.offset) / units.scale, np.float32)


def gradients(network, x, weights=None):
    """Loss, and copies of the gradients."""
    w = None if weights is None else (weights / np.mean(weights)).astype(np.float32)
    found = network.loss_and_gradients(x, 1, 1.0, weights=w)
    return found["loss"], {name: g.copy() for name, g in network.parameters.named_gradients().items()}


@pytest.mark.parametrize("case", DETERMINISTIC)
def test_whole_weights_are_repeated_rows(case):
    network, x = ready(DETERMINISTIC[case])
    loss, found = gradients(network, x, COUNTS)
    expected_loss, expected = gradients(network, np.repeat(x, COUNTS, axis=0))
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert distance(found, expected) < 1e-5
    assert distance(gradients(network, x)[1], expected) > 1e-2


@pytest.mark.parametrize("case", NOISY)
def test_gradients_are_linear_in_the_weights_and_go_with_their_rows(case):
    """The noise belongs to the place of a row, whatever its weight."""
    network, x = ready(NOISY[case])
    w = 0.4 * COUNTS
    plain, one, other = (gradients(network, x, weights)[1] for weights in (None, w, 2 - w))
    assert distance({n: (one[n] + other[n]) / 2 for n in one}, plain) < 1e-5
    assert distance(one, plain) > 1e-2
    if case in ("rbm", "real rbm", "dbm", "gan"):  # whose noise is that of no row of the data
        order = np.random.default_rng(0).permutation(len(x))
        assert distance(gradients(network, x[order], w[order])[1], one) < 1e-5


@pytest.mark.parametrize("how", OBJECTIVES)
@pytest.mark.parametrize("sigma", SIGMAS)
def test_whole_weights_are_repeated_rows_of_a_vae(how, sigma):
    vae = small("gaussian", **{**OBJECTIVES[how], **SIGMAS[sigma]})
    labels = np.arange(24) % 2
    vae.initialize(REAL, condition=labels, sample_weight=COUNTS)
    rng = np.random.default_rng(0)
    for values in vae.parameters().values():
        values += (0.3 * rng.normal(size=values.shape)).astype(np.float32)
    noise = rng.normal(size=(24, vae.n_samples, 3)).astype(np.float32)
    loss, parts, found = vae.loss_and_gradients(REAL, noise, labels, COUNTS)
    repeated = (np.repeat(each, COUNTS, axis=0) for each in (REAL, noise, labels))
    expected_loss, expected_parts, expected = vae.loss_and_gradients(*repeated)
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert parts == pytest.approx(expected_parts, rel=1e-6)
    assert distance(found, expected) < 1e-5


def test_values_of_rows_of_weight_0_do_not_matter():
    w = np.where(np.arange(24) % 3, COUNTS, 0)
    changed = np.where(w[:, None] == 0, np.float32(1e30), REAL)
    noise = np.random.default_rng(0).normal(size=(24, 3))
    vae = small("gaussian").fit(REAL, sample_weight=w)
    for X in (changed, REAL[w > 0]):
        again = small("gaussian").fit(X, sample_weight=w if len(X) == 24 else w[w > 0])
        assert all((vae.parameters()[n] == v).all() for n, v in again.parameters().items())
        assert (vae.offset_ == again.offset_).all()
    loss, _, found = vae.loss_and_gradients(REAL, noise, sample_weight=w)
    again_loss, _, again = vae.loss_and_gradients(np.where(w[:, None] == 0, 2 * REAL, REAL), noise, sample_weight=w)
    assert loss == again_loss
    assert all((found[n] == again[n]).all() for n in found)
    assert vae.score(REAL, sample_weight=w) == pytest.approx(np.average(vae.score_samples(REAL), weights=w))


def test_scaling_start_and_held_out_score_are_those_of_repeated_rows():
    X, repeated = REAL.astype(float) * 3 + 1e5, np.repeat(REAL.astype(float) * 3 + 1e5, COUNTS, axis=0)
    found, expected = statistics(X, weights=COUNTS / 2.5), statistics(repeated)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-13)
    np.testing.assert_allclose(found.deviation, expected.deviation, rtol=1e-10)
    c = RNG.normal(size=(24, 2)).astype(np.float32)
    settings = {"activation": "tanh", "sigma": 0.5, "early_stopping": False}
    one = small("gaussian", **settings)
    one.initialize(X, condition=c.astype(float), sample_weight=COUNTS)
    other = small("gaussian", **settings)
    other.initialize(repeated, condition=np.repeat(c, COUNTS, axis=0).astype(float))
    assert distance(one.parameters(), other.parameters()) < 1e-5
    held = one.examples(X, condition=c.astype(float), sample_weight=COUNTS)
    assert held.mean(np.arange(24.0)) == pytest.approx(np.repeat(np.arange(24.0), COUNTS).mean())
    few = small("gaussian", hidden=(), epochs=1).fit(REAL, heldout=REAL, heldout_weight=COUNTS)
    score = few.score_examples(few.examples(REAL))
    assert few.history_["heldout_elbo"][-1] == pytest.approx(np.average(score, weights=COUNTS), rel=1e-6)


def test_wide_rows_and_shrinkage_go_by_weights():
    """Where the covariance is not made, and where it is shrunk: two copies of a row are a weight of 2."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 3)) @ rng.normal(size=(3, 40)) + 0.3 * rng.normal(size=(30, 40))
    vae = small("gaussian")
    vae.initialize(X)
    units, mean = vae.network_.units, np.zeros(40)
    starts = [
        probabilistic_pca(X, units, mean, np.ones(40), 3, None, np.uint64(0), weights=w)
        for w in (None, np.ones(30), 2.0 * (np.arange(30) % 2))
    ]
    np.testing.assert_allclose(starts[1].encoder, starts[0].encoder, rtol=1e-9)
    assert np.abs(starts[2].encoder - starts[0].encoder).max() > 1e-2


def test_whole_weights_are_repeated_rows_of_a_mixed_table():
    """Also where it starts, from rows that are drawn as often as they count, and with values missing."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=24)
    table = {
        "size": np.where(np.arange(24) % 7, size, np.nan),
        "kind": np.where(size + 0.3 * rng.normal(size=24) > 0, "large", "small"),
        "count": rng.poisson(np.exp(size) * 9),
    }
    repeated = {name: np.repeat(values, COUNTS) for name, values in table.items()}
    one, other, plain = (estimator("TableVAE")(2, (5,), random_state=0) for _ in range(3))
    one.initialize(table, sample_weight=COUNTS)
    other.initialize(repeated)
    plain.initialize(table)
    np.testing.assert_allclose(one.scale_, other.scale_, rtol=1e-9)
    start, wanted, without = (each.network_.parameters.values.copy() for each in (one, other, plain))
    assert np.linalg.norm(start - wanted) < 0.2 * np.linalg.norm(without - wanted)
    for name, values in one.parameters().items():
        values[...] = other.parameters()[name]
    noise = rng.normal(size=(24, 2))
    loss, _, found = one.loss_and_gradients(table, noise, sample_weight=COUNTS)
    expected_loss, _, expected = other.loss_and_gradients(repeated, np.repeat(noise, COUNTS, axis=0))
    assert loss == pytest.approx(expected_loss, rel=1e-4)
    assert distance(found, expected) < 1e-3


def test_weights_that_are_alike_change_nothing_and_threads_agree(monkeypatch):
    models = []
    for threads, w in (("1", None), ("1", np.full(24, 7.0)), ("2", np.full(24, 0.1)), ("2", COUNTS), ("1", COUNTS)):
        monkeypatch.setenv("FASTVAE_THREADS", threads)
        models.append(small("gaussian", n_samples=2).fit(REAL, sample_weight=w).parameters())
    for other in models[1:3]:
        assert distance(other, models[0]) < 1e-4
    assert all((models[3][n] == models[4][n]).all() for n in models[0])
    assert distance(models[3], models[0]) > 1e-2


def test_weights_in_partial_fit_files_and_other_layouts(tmp_path):
    """Rows that are filled in by Python (of a type no kernel reads) and those of a mapped file are weighted too."""
    np.save(tmp_path / "X.npy", REAL)
    made = []
    for X in (REAL, np.load(tmp_path / "X.npy", mmap_mode="r"), REAL.astype(np.longdouble)):
        vae = small("gaussian", batch_size=8)
        for _ in range(2):
            vae.partial_fit(X, sample_weight=COUNTS)
        made.append(vae.parameters())
    assert all((made[0][n] == made[1][n]).all() for n in made[0])
    assert distance(made[2], made[0]) < 1e-5
    assert distance(small("gaussian", batch_size=8).partial_fit(REAL).partial_fit(REAL).parameters(), made[0]) > 1e-3


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(23), r"sample_weight has 23 numbers for 24 rows: give one for each"),
        (np.ones((24, 1)), r"shape \(24, 1\); expected one number for each row, \(24,\): pass sample_weight.ravel\(\)"),
        (pd.DataFrame({"w": np.ones(24)}), r"expected one number for each row, \(24,\), a column of the frame$"),
        (np.ones((24, 2)), r"shape \(24, 2\); expected one number for each row, \(24,\)$"),
        (np.where(np.arange(24) == 5, np.nan, 1), r"a weight that is no finite number \(first: nan at row 5\)"),
        (np.where(np.arange(24) > 4, np.inf, 1), r"19 weights that are no finite numbers \(first: inf at row 5\)"),
        (np.where(np.arange(24) > 4, -1, 1), r"19 weights below 0 \(first: -1 at row 5\): a weight says how often"),
        (np.zeros(24), r"sample_weight is zero for all 24 rows: none is left"),
        (3.0, r"sample_weight=3.0 is one for all; expected one number for each of the 24 rows"),
        (np.arange(24) == 3, r"X has 1 sample whose weight is above 0 .*needs at least 2"),
        (["a"] * 24, r"sample_weight .*"),
    ],
)
def test_wrong_weights_are_refused_and_cost_nothing(weights, message):
    vae = small("gaussian").fit(REAL)
    before = {n: v.copy() for n, v in vae.parameters().items()}
    with pytest.raises((ValueError, TypeError), match=message):
        vae.fit(REAL, sample_weight=weights)
    assert all((before[n] == v).all() for n, v in vae.parameters().items())


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"sigma": "optimal"}, "sample_weight goes with no sigma='optimal'"), ({"free_bits": 0.1}, "no free_bits=0.1")],
)
def test_what_has_no_weights_says_so(settings, message):
    for train in (lambda v: v.fit(REAL, sample_weight=COUNTS), lambda v: v.partial_fit(REAL, sample_weight=COUNTS)):
        with pytest.raises(ValueError, match=message):
            train(small("gaussian", **settings))
    with pytest.raises(ValueError, match="heldout_weight goes with heldout, which was not given"):
        small("gaussian").fit(REAL, heldout_weight=COUNTS)


def test_tiny_and_huge_weights():
    """Those that float32 does not hold beside the largest count as 0; the sum of the largest need be no float64."""
    assert (as_weights([1e308, 1e308, 1e200, 1.0], 4) == [1, 1, 0, 0]).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vae = small("gaussian", objective="dreg", n_samples=2, clip_norm=1.0, batch_size="auto")
        vae.fit(REAL, sample_weight=np.geomspace(1e-30, 1, 24))
    assert np.isfinite(vae.network_.parameters.values).all()
