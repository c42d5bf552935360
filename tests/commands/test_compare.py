"""The command that compares models: what it writes, what it goes on with, what it refuses, and what ends one model."""

import json
import pathlib

import numpy as np
import pytest

from fastvae import compare
from fastvae.comparison.baselines import baselines
from fastvae.comparison.entries import ALL, known
from fastvae.comparison.subject import subject_of
from fastvae.data.loading import load
from fastvae.errors import DataFileError
from fastvae.models.registry import ESTIMATORS


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*words):
    try:
        return compare.main([str(word) for word in words])
    except SystemExit as end:  # of wrong arguments
        return end.code


def found(folder="c"):
    return json.loads(pathlib.Path(folder, "comparison.json").read_text())


@pytest.mark.long
def test_two_models_and_a_second_call_that_goes_on(capsys):
    words = "--models", "vae,made", "--budget", 0.3, "--out", "c", "--quiet"
    assert run(*words) == 0
    first = found()["models"]
    text = capsys.readouterr().out
    assert list(first) == ["independent", "pca", "vae", "made"]
    assert all(row["status"] == "done" for row in first.values())
    assert first["made"]["log_likelihood_kind"] == "exact"
    assert first["made"]["monte_carlo_error"] == 0
    assert first["vae"]["log_likelihood_kind"] == "bound"
    assert first["vae"]["monte_carlo_error"] > 0
    assert first["made"]["passes"] == 64
    assert first["pca"]["reconstruction_l2"] < first["independent"]["reconstruction_l2"]
    assert "Parzen" in text
    assert "independent columns" in text
    assert run(*words[:1], "vae", *words[2:]) == 0
    assert "VAE: finished before" in capsys.readouterr().err
    assert found()["models"]["vae"] == first["vae"]
    assert run(*words[:2], "--budget", 0.4, "--out", "c") == 2
    assert "--budget 0.3, not 0.4" in capsys.readouterr().err
    pathlib.Path("c/vae.json").write_text("{")
    assert run(*words) == 2
    assert "vae.json" in capsys.readouterr().err


def test_independent_columns_are_right():
    subject = subject_of(load("digits"), "fixed", 0)
    from fastvae.comparison.baselines import IndependentColumns, PrincipalComponents

    model = IndependentColumns(subject)
    p = np.clip(subject.seen.mean(axis=0, dtype=np.float64), 1e-3, 1 - 1e-3)
    expected = np.prod(np.where(subject.test == 1, p, 1 - p), axis=1)
    np.testing.assert_allclose(np.exp(model.evaluate(subject.test).values), expected, rtol=1e-9)
    assert abs(model.sample(20_000, 0).mean(axis=0) - p).max() < 0.02
    whole = PrincipalComponents(subject, 64)
    np.testing.assert_allclose(whole.reconstruct(subject.test), subject.test, atol=1e-9)


def test_a_gaussian_stands_beside_tables_of_real_numbers():
    """Against SciPy's density of it; where a column is a sum of others it has still a density."""
    from scipy.stats import multivariate_normal

    random = np.random.default_rng(0)
    X = random.normal(size=(400, 3)) @ random.normal(size=(3, 3)) * [1, 10, 100] + 5
    np.save("x.npy", X)
    subject = subject_of(load("x.npy"), "fixed", 0)
    title, model = baselines(subject, 2)["gaussian"]
    assert title == "Gaussian"
    assert model.parameters == 3 + 6
    seen = subject.seen.astype(np.float64)
    expected = (
        multivariate_normal(seen.mean(axis=0), np.cov(seen.T, ddof=0)).logpdf(subject.test) - subject.log_jacobian
    )
    np.testing.assert_allclose(model.evaluate(subject.test).values, expected, atol=1e-6)
    drawn = model.sample(50_000, 1)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(seen.T, ddof=0), atol=0.03)
    np.save("x.npy", np.c_[X, X.sum(axis=1)])
    dependent = subject_of(load("x.npy"), "fixed", 0)
    assert np.isfinite(baselines(dependent, 2)["gaussian"][1].evaluate(dependent.test).values).all()
    assert list(baselines(subject_of(load("digits"), "fixed", 0), 2)) == ["independent", "pca"]


def test_no_row_is_in_two_parts_and_the_train_part_alone_scales(tmp_path):
    X = np.random.default_rng(0).normal(size=(200, 3)) * [1, 10, 100] + 5
    np.save("x.npy", X)
    subject = subject_of(load("x.npy"), "fixed", 0)
    assert subject.kind == "gaussian"
    np.testing.assert_allclose(subject.train.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(subject.train.std(axis=0), 1, atol=1e-5)
    parts = [subject.train, subject.validation, subject.test]
    assert [len(part) for part in parts] == [144, 16, 40]
    assert len(np.unique(np.concatenate(parts), axis=0)) == 200


def test_unknown_models_and_budgets_that_are_none(capsys):
    assert run("--models", "vae,gann") == 2
    assert "--models='gann' is not known: did you mean 'gan'?" in capsys.readouterr().err
    assert run("--models", ",") == 2
    assert run("--budget", -1) == 2
    assert run("--out", " ") == 2
    assert not list(pathlib.Path().iterdir())


def test_what_cannot_be_compared_is_told_in_a_line_before_anything_is_written(capsys):
    random = np.random.default_rng(0)
    np.save("real.npy", random.normal(size=(60, 3)))
    np.save("few.npy", random.normal(size=(1, 3)))
    pathlib.Path("file").write_text("mine")
    for words, said in (
        (["--seed", -1], "argument --seed: '-1' must be a whole number from 0 to 2**64 - 1"),
        (["--seed", 2**64], "must be a whole number from 0 to 2**64 - 1"),
        (["--seed", 2**64 - 1], "is too large"),
        (["--data", "real.npy", "--binarize", "fixed"], "--binarize fixed is for grey images, and real.npy has none"),
        (["--data", "few.npy"], "few.npy: 1 row; 20 are needed"),
        (["--data", "real.npy", "--out", "file"], "file: --out: it is a file; name a folder"),
        (["--data", "real.npy", "--out", "file/c"], "file/c: --out: a part of it is a file; name a folder"),
    ):
        assert run(*words) == 2, words
        found = capsys.readouterr().err
        assert said in found
        assert found.count("\n") == 1, found
    assert {path.name for path in pathlib.Path().iterdir()} - {"runs"} == {"real.npy", "few.npy", "file"}
    assert pathlib.Path("file").read_text() == "mine"


def test_another_seed_is_told_before_the_rows_that_it_splits(tmp_path):
    rows = np.random.default_rng(0).normal(size=(60, 3))
    np.save("x.npy", rows)
    settings = {"budget": 1.0, "binarize": "none"}
    for seed, others in ((0, "rows"), (1, "others")):
        subject = subject_of(load("x.npy"), "fixed", seed)
        comparison = settings | {"seed": seed, "data": others}
        if seed == 0:
            (tmp_path / "comparison.json").write_text(json.dumps({"settings": comparison}))
        else:
            with pytest.raises(ValueError, match="holds a comparison with --seed 0, not 1"):
                compare.Comparison(tmp_path, subject, comparison, True)
    (tmp_path / "comparison.json").write_text("{")
    with pytest.raises(DataFileError, match=r"comparison.json: is damaged.*remove it, or name another folder"):
        compare.Comparison(tmp_path, subject, comparison, True)


def test_a_comparison_of_nothing_has_failed(capsys):
    np.save("x.npy", (np.random.default_rng(0).random((40, 3)) < 0.5).astype(np.uint8))
    assert run("--data", "x.npy", "--models", "cvae", "--out", "c", "--quiet") == 1
    found = capsys.readouterr().err
    assert "no model was compared: conditional VAE: is conditioned on labels, and x.npy has none (--labels)" in found
    assert pathlib.Path("c/report.html").exists()


def test_columns_have_the_names_of_the_header():
    columns = np.random.default_rng(0).normal(size=(40, 3))
    columns[:, 1] = 3
    lines = [",".join(map(str, row)) for row in columns.tolist()]
    pathlib.Path("t.csv").write_text("\n".join(["length,empty,width", *lines]))
    subject = subject_of(load("t.csv"), "fixed", 0)
    assert subject.column_names == ("length", "width")
    assert any("(empty)" in line for line in subject.conventions)
    np.save("t.npy", columns)
    assert subject_of(load("t.npy"), "fixed", 0).column_names == ("column 0", "column 2")


def test_each_estimator_has_an_entry():
    of_frames = {"TableVAE"}  # which the rows of a comparison are not
    assert {entry.estimator for entry in known().values()} == set(ESTIMATORS) - of_frames
    assert all(len(entry.words) == 3 for entry in ALL.values())


@pytest.mark.long
def test_a_table_of_real_numbers(capsys):
    """In the user's units: other units move log p by the log of the factor, of a bracket's other end too."""
    X = np.random.default_rng(0).normal(size=(300, 6)).cumsum(axis=1)
    words = "--models", "rbm,dbm,made", "--budget", 0.3, "--quiet"
    for factor in (1, 10):
        np.save(f"{factor}.npy", X * factor)
        assert run("--data", f"{factor}.npy", "--out", f"c{factor}", *words) == 0
    small, large = (found(f"c{factor}")["models"] for factor in (1, 10))
    assert small["dbm"]["status"] == "left out"
    assert "real numbers" in small["dbm"]["reason"]
    assert small["gaussian"]["log_likelihood"] > small["independent"]["log_likelihood"] + 1
    assert "reconstruction_l2" not in small["gaussian"]
    for name in ("independent", "gaussian", "made"):
        moved = small[name]["log_likelihood"] - large[name]["log_likelihood"]
        assert moved == pytest.approx(6 * np.log(10), abs=0.2), name
    ends = small["rbm"]["log_likelihood_details"]["mean_by_reverse"] - small["rbm"]["log_likelihood"]
    assert abs(ends) < 5
