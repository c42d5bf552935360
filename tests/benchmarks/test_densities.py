"""The benchmark of densities: its tables, its estimate of log p(x), and the command on a tiny one."""

import json

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("scipy")

from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from benchmarks import densities, density_models
from benchmarks.density_data import TABLES, MissingDataError, Table, load, split
from benchmarks.importance import log_densities
from fastvae import VAE

GENERATED = ["gaussian", "mixture_2", "lognormal", "heavy_tails", "factors", "ring", "swiss_roll", "mixture_8"]


def trained(**settings):
    X = np.random.default_rng(0).normal(size=(200, 3)) @ np.array([[3.0, 1, 0], [0, 20, 4], [0, 0, 0.5]]) + 100
    settings = {"latent_dim": 1, "hidden": (6,), "sigma": "learned", "epochs": 30, "learning_rate": 0.02} | settings
    return VAE(likelihood="gaussian", scale="standard", batch_size=50, random_state=0, **settings).fit(X), X[:40]


def test_of_a_linear_model_log_p_is_that_of_its_gaussian():
    vae, X = trained(latent_dim=2, hidden=())
    origin, *ends = vae.decode(np.array([[0, 0], [1, 0], [0, 1]])).astype(np.float64)
    W = np.array(ends) - origin
    deviation = np.broadcast_to(vae.sigma_, 3) * vae.scale_
    expected = multivariate_normal(origin, W.T @ W + np.diag(deviation**2)).logpdf(X)
    found, effective = log_densities(vae, X, samples=4000)
    np.testing.assert_allclose(found, expected, atol=0.15)
    assert abs(np.mean(found - expected)) < 0.02
    assert ((effective > 1) & (effective <= 4000)).all()


def test_log_p_is_that_of_quadrature():
    vae, X = trained()
    z = np.linspace(-8, 8, 4001)
    mean, deviation = vae.decode(z[:, None]).astype(np.float64), np.broadcast_to(vae.sigma_, 3) * vae.scale_
    given_z = -0.5 * (((X[:, None] - mean) / deviation) ** 2).sum(2) - np.log(deviation).sum() - 1.5 * np.log(2 * np.pi)
    expected = logsumexp(given_z - z**2 / 2 - 0.5 * np.log(2 * np.pi), axis=1) + np.log(z[1] - z[0])
    found, _ = log_densities(vae, X, samples=4000)
    assert abs(np.mean(found - expected)) < 0.02


def test_one_sigma_a_column_counts_as_one_for_all():
    class Columns:
        def __init__(self, vae):
            self.encode, self.decode, self.scale_ = vae.encode, vae.decode, vae.scale_
            self.sigma_ = np.broadcast_to(vae.sigma_, 3).copy()

    vae, X = trained()
    np.testing.assert_array_equal(log_densities(Columns(vae), X, 50)[0], log_densities(vae, X, 50)[0])


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_whole_and_the_same_each_time(name):
    try:
        table = load(name)
    except MissingDataError as error:
        pytest.skip(str(error))
    assert 150 <= len(table.X) <= 20_190
    assert 2 <= table.X.shape[1] <= 60
    assert np.isfinite(table.X).all()
    assert (table.X.std(0) > 0).all()
    np.testing.assert_array_equal(table.X, load(name).X)


@pytest.mark.parametrize("name", GENERATED)
def test_known_densities_are_those_of_the_rows(name):
    """Stein's identities: over draws from p, the mean of d log p / dx is 0, and that of x d log p / dx is -1."""
    table = load(name)
    X = table.X[:1000]
    centre, step = X.mean(0), 5e-6 * X.std(0)
    slopes = [
        (table.log_density(X + step * e) - table.log_density(X - step * e)) / (2 * step[j])
        for j, e in enumerate(np.eye(X.shape[1]))
    ]
    for j, slope in enumerate(slopes):
        assert abs(slope.mean()) < 5 * slope.std() / len(X) ** 0.5
        product = slope * (X[:, j] - centre[j])
        assert abs(product.mean() + 1) < 5 * product.std() / len(X) ** 0.5


def test_each_row_is_tested_once_in_five_splits():
    tested = np.concatenate([split(103, number)[1] for number in range(5)])
    np.testing.assert_array_equal(np.sort(tested), np.arange(103))
    for number in (0, 7):
        train, test = split(103, number)
        np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(103))
    assert not np.array_equal(split(103, 0)[1], split(103, 5)[1])


def test_models_know_the_units(monkeypatch):
    monkeypatch.setattr(density_models, "MIXTURE", range(1, 3))
    X = np.random.default_rng(1).normal(size=(300, 3)) @ np.random.default_rng(2).normal(size=(3, 3))
    units = np.array([1e3, 1.0, 1e-4])
    for name in density_models.MODELS:
        plain, scaled = density_models.fit(name, X)(X), density_models.fit(name, X * units + 5)(X * units + 5)
        np.testing.assert_allclose(scaled, plain - np.log(units).sum(), atol=1e-3)
    exact = multivariate_normal(X.mean(0), np.cov(X.T, bias=True)).logpdf(X)
    np.testing.assert_allclose(density_models.fit("ML Gaussian", X)(X), exact, rtol=1e-6)
    np.testing.assert_allclose(density_models.fit("ML Gaussian", X)(X), density_models.fit("PPCA", X)(X), atol=0.3)


def result(ours, others, columns=2):
    rows = np.random.default_rng(0).normal(size=50)
    table = Table("made", np.zeros((250, columns)), gaussian=False)
    log_p = {name: [rows + by] for name, by in ({"fastvae": ours, "mixture": 1.0} | others).items()}
    return densities.Result(table, log_p, [np.full(50, 9.0)], [3.0], [2.0])


def test_the_verdict():
    others = {"independent": -3.0, "Ledoit-Wolf": 0.0, "PPCA": -0.5, "factor analysis": -1.0}
    assert result(0.1, others).failures() == []
    assert result(-0.03, others).failures() == ["not above it"]
    assert result(-0.05, others).failures() == ["below Ledoit-Wolf", "not above it"]
    slow = result(0.1, others)
    slow.seconds.append(20.1)
    assert slow.failures() == ["too slow"]
    assert slow.best == "Ledoit-Wolf"


def test_marginals_beside_real_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 2))
    found = densities.compare_marginals(rng.normal(size=(400, 2)) + [2, 0], X[:400], X[400:])
    assert found["drawn_ks_largest"] > 0.5 > 0.2 > found["real_ks_largest"]
    assert found["real_correlation"] < 0.25


def test_the_command_on_a_tiny_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(
        densities.TABLES, "tiny", lambda name: Table(name, np.random.default_rng(0).normal(size=(60, 2)))
    )
    monkeypatch.setattr(densities, "warm_up", lambda: None)
    monkeypatch.setattr(density_models, "MIXTURE", range(1, 3))
    words = ["--sets", "tiny", "--splits", "1", "--importance", "50", "--samples", "--json", str(tmp_path / "f.json")]
    densities.main([*words, "--", "--epochs", "2", "--hidden", "4", "--latent-dim", "1"])
    printed = capsys.readouterr().out
    assert "tiny: 60 x 2, 1 splits, 12 test rows" in printed
    assert "of 1 are as they should be" in printed
    figures = json.loads((tmp_path / "f.json").read_text())["tiny"]
    assert set(figures["models"]) == {"fastvae", *density_models.MODELS}
    assert len(figures["marginals"]) == 1


def test_what_the_command_says_when_it_fails_is_passed_on():
    with pytest.raises(densities.CommandError, match="latent_dim"):
        densities.train(np.zeros((30, 2)) + np.arange(30)[:, None], ["--latent-dim", "0"])


def test_detectors_of_anomalies():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(80, 3)), 6 + rng.normal(size=(8, 3))])
    found = densities.detect(X[:80], X, np.arange(88) >= 80, 0, ["--epochs", "3", "--hidden", "4"])
    assert {"fastvae, score_samples", "IsolationForest", "PCA, reconstruction"} <= set(found)
    assert all(0.9 < auc <= 1 for name, auc in found.items() if name != "PCA, reconstruction")
    lines = "\n".join(densities.anomaly_lines({"unsupervised": {name: [auc] for name, auc in found.items()}}))
    assert "IsolationForest" in lines
