"""Rows of mixed tables by their oddity: gaps, counts that nobody has, words that the training did not have."""

import csv
import pathlib

import numpy as np
import pytest

from fastvae import encode, score, train
from fastvae.data.mixed_tables import load_mixed
from fastvae.evaluation.contributions import contributions
from fastvae.evaluation.importance import importance
from fastvae.evaluation.scores import NEW, Scores
from fastvae.model_data import read
from fastvae.model_files import load_model

SMALL = ["--latent-dim", "2", "--hidden", "6", "--epochs", "3", "--early-stopping", "none", "--quiet"]
NAMES = ("size", "count", "smokes", "town")
ORDER = ("name", *NAMES)


def write(path, rows=160, seed=0, **others):
    """A table of one source; `others` are columns instead of its own."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=rows)
    columns = {
        "name": [f"r{i}" for i in range(rows)],
        "size": [
            "NA" if i % 3 == 0 else f"{1000 + 100 * v:.2f}" for i, v in enumerate(z + 0.2 * rng.normal(size=rows))
        ],
        "count": rng.poisson(np.exp(0.5 * z)).tolist(),
        "smokes": ["Yes" if v > 0 else "no" for v in z + rng.normal(size=rows)],
        "town": ["" if i % 11 == 3 else "ABC"[int(np.clip(round(v) + 1, 0, 2))] for i, v in enumerate(z)],
    } | others
    lines = [";".join(ORDER), *(";".join(str(columns[n][i]) for n in ORDER) for i in range(rows))]
    pathlib.Path(path).write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    words = ["--id", "name", "--heldout", "0.4", "--out", str(folder / "run"), *SMALL]
    assert train.main(["--data", write(folder / "t.csv", 250), *words]) == 0
    return folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(score, "forest", lambda *_: None)
    monkeypatch.setattr("fastvae.evaluation.score_figure.write_scores", lambda *_: None)


def ranked(folder, *words):
    words = ["--model", folder / "run", "--samples", "50", "--false-alarms", "0.05", *words]
    assert score.main([str(word) for word in words]) == 0
    with open("ranked.csv") as file:
        return list(csv.DictReader(file))


def test_contributions_are_those_of_the_kernels(folder):
    """Importance sampling by the same draws has the same log p(x); what is missing contributes nothing."""
    model = load_model(folder / "run/model.npz")
    X = read(model, str(folder / "t.csv"), ids="name").data.X[:40]
    examples = model.examples(X)
    expected = importance(model, examples, 100, seed=2)
    found = contributions(model, examples, n_samples=100, seed=2)
    np.testing.assert_allclose(found.values, expected.values, atol=5e-4)
    np.testing.assert_array_equal(found.missing, np.isnan(np.asarray(X)))
    assert (found.columns[found.missing] == 0).all()
    bound = contributions(model, examples, "elbo")
    np.testing.assert_allclose(bound.values, model.score_samples(X), atol=5e-4)
    np.testing.assert_array_equal(bound.missing, found.missing)


def test_the_oddest_rows(folder, capsys):
    """A word that the training did not have is the oddest of all, then a count that nobody has."""
    rng = np.random.default_rng(1)
    counts, towns = rng.poisson(1, 30).tolist(), ["A"] * 30
    counts[4], towns[7] = 60, "Z"
    found = ranked(folder, write("new.csv", 30, 1, count=counts, town=towns))
    out, error = capsys.readouterr()
    assert [row["row"] for row in found[:2]] == ["8", "5"]
    assert [row["name"] for row in found[:2]] == ["r7", "r4"]
    assert [row["flagged"] for row in found[:2]] == ["yes", "yes"]
    assert (found[0]["log_p"], found[0]["nats from town"], found[0]["nats from size"]) == ("-inf", "-inf", "")
    assert "categories that it does not know: log p(x) is -inf" in error
    assert "town -inf" in out
    parts = {name: float(found[1][f"nats from {name}"]) for name in (*NAMES, "code")}
    assert min(parts, key=parts.__getitem__) in ("count", "code")
    assert float(found[1]["relative_log_p"]) == pytest.approx(sum(parts.values()))
    assert encode.main([str(folder / "run"), "new.csv"]) == 2
    assert "'Z' in row 8, which the training did not have; valid: 'A', 'B', 'C'" in capsys.readouterr().err


def test_gaps_make_a_row_neither_odd_nor_usual(folder):
    """A size has a density of e^-6: by log p(x) itself, rows without one would all be the most usual."""
    found = ranked(folder, write("new.csv", 300, 2))
    without = np.array([row["nats from size"] == "0.0" for row in found])
    log_p = np.array([float(row["log_p"]) for row in found])
    assert without.sum() == 100
    assert log_p[without].min() > log_p[~without].max() - 2
    share = without[:100].mean()  # of the odder third
    assert 0.15 < share < 0.55


def test_false_alarms_over_200_splits_with_gaps(folder):
    """What is usual is taken from the held-out rows themselves: that changes the rate by less than 1%."""
    model = load_model(folder / "run/model.npz")
    found = contributions(model, model.examples(read(model, write("big.csv", 2000, 5), ids="name").data.X), "elbo")
    rng, rates = np.random.default_rng(0), []
    for _ in range(200):
        order = rng.permutation(2000)
        held, new = (score._some(found, some) for some in (order[:99], order[99:599]))
        rates.append(Scores(new, NAMES, np.array([NEW] * 500), held, 0.05).flagged.mean())
    assert abs(np.mean(rates) - 0.05) < 0.01


def test_values_that_a_model_does_not_know_are_marked_or_refused(folder):
    model = load_model(folder / "run/model.npz")
    table = write("x.csv", 6, town=["A", "Z", "", "B", "q", "C"], smokes=["YES", "no", "maybe", "", "No", "yes"])
    data = load_mixed(table, ids="name", known=model.columns_, mark_unknown=True)
    names = model.columns_.names
    expected = np.zeros((6, 4), bool)
    expected[[1, 4], names.index("town")] = expected[2, names.index("smokes")] = True
    np.testing.assert_array_equal(data.unknown, expected)
    assert np.isnan(np.asarray(data.X)[expected]).all()
    assert np.isnan(np.asarray(data.X)[:, names.index("town")]).sum() == 3
    with pytest.raises(ValueError, match="which the training did not have"):
        load_mixed(table, ids="name", known=model.columns_)
    assert load_mixed(str(folder / "t.csv"), ids="name", known=model.columns_).unknown is None
