"""The command that evaluates: its table, its files, its certificate, its refusals."""

import json
import math
import pathlib
import warnings

import numpy as np
import pytest

from fastvae import VAE, evaluate
from fastvae.data.loading import load
from fastvae.evaluation import proof, weights
from fastvae.evaluation.observer import InterruptibleObserver
from fastvae.evaluation.proof import Claim


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models and data: "digits.npz" of grey pixels, "grey.npz" of a density on 8 bits, "test.npz" in two parts."""
    folder = tmp_path_factory.mktemp("models")
    digits = load("digits")
    VAE(3, (16,), epochs=2, scale=(0, 16), random_state=0).fit(digits.X).save(folder / "digits.npz")
    grey = np.random.default_rng(0).integers(0, 256, size=(60, 4), dtype=np.uint8)
    VAE(2, (6,), likelihood="gaussian", epochs=2, random_state=0).fit(grey + 0.5).save(folder / "grey.npz")
    np.save(folder / "grey.npy", grey)
    np.save(folder / "held.npy", grey[::-1].astype(np.float32) + 0.25)
    np.savez(folder / "parts.npz", x_train=digits.X[:300], x_test=digits.X[300:340])
    return folder


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*words):
    try:
        return evaluate.main([str(word) for word in words])
    except SystemExit as end:  # of wrong arguments
        return end.code


def test_the_table_and_the_figures(folder, capsys):
    assert run(folder / "digits.npz", "digits", "--samples", 300, "--rows", 40, "--json", "f.json", "--seed", 3) == 0
    text, figures = capsys.readouterr().out, json.loads(pathlib.Path("f.json").read_text())
    model = VAE.load(folder / "digits.npz")
    expected = model.evaluate(load("digits").X[:40], n_samples=300, random_state=3)
    assert figures["log_p"] == expected.mean
    assert figures["bits_per_dimension"] == pytest.approx(-expected.mean / 64 / math.log(2))
    assert figures["bounds"]["64"] == expected.bounds[64].mean()
    assert sum(row["count"] for row in figures["khat"]) == 40
    assert figures["elbo"]["mean"] < figures["log_p"] + 0.5
    assert figures["elbo"]["reconstruction"] - figures["elbo"]["kl"] == pytest.approx(figures["elbo"]["mean"])
    assert figures["rivals"]["independent columns"] < figures["log_p"] + 30
    for words in (
        "importance sampling: 300 samples of z for each of 40 examples, seed 3", f"{expected.mean:,.4f}  nats",
        "bits per dimension", "(Monte Carlo", "of other examples", "reconstruction", "bound of k samples  1: ",
        "Pareto k-hat", "(-Inf, 0.6]", "least ESS", "independent columns", "a probability, likelihood 'bernoulli'",
        "not binarised", "fitted to every other example", "latent dimensions are active",
    ):  # fmt: skip
        assert words in text, words


def test_binarised_examples_of_the_test_part_where_there_is_one(folder):
    assert run(folder / "digits.npz", folder / "parts.npz", "--samples", 30, "--json", "f.json", "--binarize", 0.5) == 0
    figures = json.loads(pathlib.Path("f.json").read_text())
    assert figures["examples"] == 40
    assert any("binarised: 1 above 0.5" in line for line in figures["conventions"])
    assert any("test part" in line for line in figures["conventions"])


def test_independent_columns(folder):
    """The Bernoulli of each column's mean over the train part."""
    run(folder / "digits.npz", folder / "parts.npz", "--samples", 30, "--json", "f.json")
    found = json.loads(pathlib.Path("f.json").read_text())["rivals"]["independent columns"]
    with np.load(folder / "parts.npz") as parts:
        mean, test = np.clip(parts["x_train"].mean(axis=0) / 16, 1e-3, 1 - 1e-3), parts["x_test"] / 16
    expected = (test * np.log(mean) + (1 - test) * np.log1p(-mean)).sum(axis=1).mean()
    assert found == pytest.approx(expected, rel=1e-4)


def test_what_rivals_lack_has_an_error_row_by_row(folder, capsys):
    words = folder / "digits.npz", folder / "parts.npz", "--samples", 30, "--json", "f.json", "--out", "e"
    run(*words)
    figures, with_columns = json.loads(pathlib.Path("f.json").read_text()), capsys.readouterr().out
    with np.load("e/examples.npz") as examples, np.load(folder / "parts.npz") as parts:
        mean, test = np.clip(parts["x_train"].mean(axis=0) / 16, 1e-3, 1 - 1e-3), parts["x_test"] / 16
        less = (test * np.log(mean) + (1 - test) * np.log1p(-mean)).sum(axis=1) - examples["values"]
    found = figures["rivals_less_log_p"]["independent columns"]
    assert found["mean"] == pytest.approx(less.mean(), abs=1e-3)
    assert found["sampling_error"] == pytest.approx(less.std(ddof=1) / math.sqrt(40), abs=1e-3)
    assert f"nats, {found['mean']:+.4f} +-{found['sampling_error']:.4f} to log p(x), row by row" in with_columns


def test_a_density_on_8_bits(folder, capsys):
    words = folder / "grey.npz", folder / "grey.npy", "--samples", 200
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run(*words, "--json", "raw.json") == 0
    assert "dequantisation" in capsys.readouterr().err
    assert run(*words, "--json", "f.json", "--dequantize") == 0
    out, err = capsys.readouterr()
    assert "dequantisation" not in err
    assert "uniform noise in [0, 1) by seed 0" in out
    figures = json.loads(pathlib.Path("f.json").read_text())
    assert 7.5 < figures["bits_per_dimension"] < 9  # uniform bytes have 8
    assert set(figures["rivals"]) == {"one Gaussian", "independent columns"}


@pytest.mark.parametrize("method", ["naive", "elbo", "annealed"])
def test_other_methods(folder, capsys, method):
    words = ["--temperatures", 5, "--samples", 3] if method == "annealed" else ["--samples", 30]
    assert run(folder / "digits.npz", "digits", "--rows", 20, "--method", method, *words) == 0
    text = capsys.readouterr().out
    assert {"naive": "z from the prior", "elbo": "ELBO: 30", "annealed": "3 chains"}[method] in text


def test_a_parzen_window_beside_it(folder, capsys):
    words = folder / "grey.npz", folder / "grey.npy", "--dequantize", "--samples", 50
    assert run(*words, "--parzen", 100, "--validation", folder / "held.npy") == 0
    assert "no likelihood of this model" in capsys.readouterr().out


def test_a_folder_with_a_value_for_each_example(folder):
    assert run(folder / "digits.npz", "digits", "--samples", 50, "--rows", 20, "--out", "out") == 0
    with np.load("out/examples.npz") as found:
        expected = VAE.load(folder / "digits.npz").evaluate(load("digits").X[:20], n_samples=50, random_state=0)
        np.testing.assert_array_equal(found["values"], expected.values)
        assert found["kl"].shape == (20, 3)
    assert json.loads(pathlib.Path("out/figures.json").read_text())["examples"] == 20


def test_ctrl_c_prints_what_is_done(folder, capsys, monkeypatch):
    monkeypatch.setattr(weights, "EXAMPLES", 10)
    original = InterruptibleObserver.progressed

    def interrupt(self, done, count, unit):
        original(self, done, count, unit)
        if done == 10:
            self._on_signal(2, None)

    monkeypatch.setattr(InterruptibleObserver, "progressed", interrupt)
    assert run(folder / "digits.npz", "digits", "--samples", 50, "--rows", 30) == 130
    assert "stopped early: these are the first 10 examples" in capsys.readouterr().out


def test_the_certificate(folder, capsys, monkeypatch):
    seen = []

    def check(trial, passed=True):
        seen.append(trial.latent_dim)
        yield Claim("a claim", "what is claimed", "what is found", passed)

    monkeypatch.setattr(proof, "CHECKS", (check, check))
    assert run("--prove") == 0
    assert "2 of 2 claims hold" in capsys.readouterr().out
    assert run(folder / "digits.npz", "--prove", "--json", "p.json") == 0
    assert seen == [20, 20, 3, 3]
    assert json.loads(pathlib.Path("p.json").read_text())["claims"][0]["passed"] is True
    monkeypatch.setattr(proof, "CHECKS", (check, lambda trial: check(trial, False)))
    capsys.readouterr()
    assert run("--prove") == 1
    out, err = capsys.readouterr()
    assert "FAIL  a claim" in out
    assert "1 of 2 claims hold" in out
    assert err.strip() == "failed: a claim"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a model and data are needed, or --prove"),
        (["MODEL"], "a model and data are needed, or --prove"),
        (["missing.npz", "digits"], "missing.npz"),
        (["MODEL", "missing.npy"], "missing.npy"),
        (["MODEL", "digits", "--method", "importence"], "did you mean 'importance'"),
        (["MODEL", "digits", "--samples", "0"], "must be at least 1"),
        (["MODEL", "digits", "--samples", "1.5"], "--samples"),
        (["MODEL", "digits", "--rows", "0"], "--rows"),
        (["MODEL", "digits", "--part", "test"], "no test part"),
        (["MODEL", "digits", "--binarize", "maybe"], "none, dynamic, or a threshold"),
        (["MODEL", "digits", "--dequantize"], "is no density"),
        (["MODEL", "digits", "--parzen", "10"], "--validation DATA"),
        (["MODEL", "digits", "--temperatures", "10"], "belongs to --method annealed"),
        (["MODEL", "digits", "--condition", "labels"], "has no condition"),
        (["MODEL", "digits", "--json", "nowhere/f.json"], "nowhere"),
        (["MODEL", "digits", "--prove"], "draws its own"),
    ],
)
def test_what_is_refused_in_one_line(folder, capsys, words, message):
    words = [str(folder / "digits.npz") if word == "MODEL" else word for word in words]
    assert run(*words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_conditional_model(tmp_path, capsys):
    digits = load("digits")
    model = VAE(2, (8,), epochs=1, scale=(0, 16), random_state=0).fit(digits.X, condition=digits.labels)
    model.metadata_["condition"] = ["labels"]
    model.save("c.npz")
    assert run("c.npz", "digits", "--samples", 40, "--rows", 30, "--json", "f.json") == 0
    found = json.loads(pathlib.Path("f.json").read_text())
    expected = model.evaluate(digits.X[:30], n_samples=40, condition=digits.labels[:30], random_state=0)
    assert found["log_p"] == pytest.approx(expected.mean, abs=1e-9)
    out = capsys.readouterr().out
    assert "log p(x|c) with all constants" in out
    assert "on those between, without the condition" in out


@pytest.mark.parametrize("part", ["elbo", "diagnosis"])
def test_ctrl_c_beside_a_finished_estimate_keeps_it(part, tmp_path, monkeypatch, capsys):
    """The estimate is whole and printed; what was interrupted is not there, which is said, and the exit code tells."""
    X = np.random.default_rng(0).normal(size=(40, 3))
    np.save(tmp_path / "x.npy", X)
    VAE(2, (4,), likelihood="gaussian", epochs=1, early_stopping=False, random_state=0).fit(X).save(tmp_path / "m.npz")

    def interrupted(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, {"elbo": "elbo", "diagnosis": "diagnose"}[part], interrupted)
    words = [str(tmp_path / "m.npz"), str(tmp_path / "x.npy"), "--samples", "64", "--json", str(tmp_path / "f.json")]
    assert evaluate.main(words) == 130
    out = capsys.readouterr().out
    assert "log p(x) " in out
    assert f"interrupted: the estimate is whole, beside it there is no {part}" in out
    assert json.loads((tmp_path / "f.json").read_text())["log_p"] is not None


def test_a_folder_holds_the_pictures_of_one_evaluation(tmp_path):
    """Those of an earlier one go; what is no folder is refused before anything is done."""
    pytest.importorskip("matplotlib")
    X = np.random.default_rng(0).normal(size=(40, 3))
    np.save(tmp_path / "x.npy", X)
    VAE(2, (4,), likelihood="gaussian", epochs=1, early_stopping=False, random_state=0).fit(X).save(tmp_path / "m.npz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "bracket.png").write_bytes(b"another model's")
    words = [str(tmp_path / "m.npz"), str(tmp_path / "x.npy"), "--samples", "64", "--out", str(tmp_path / "out")]
    assert evaluate.main(words) == 0
    assert not (tmp_path / "out" / "bracket.png").exists()
    assert (tmp_path / "out" / "kl.png").exists()


def test_what_is_no_folder_is_refused_first(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.ones((3, 3)))
    assert evaluate.main(["nothing.npz", str(tmp_path / "x.npy"), "--out", str(tmp_path / "x.npy")]) == 2
    assert "cannot be made a folder" in capsys.readouterr().err


def test_annealed_importance_sampling_has_the_picture_of_its_bracket(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    X = np.random.default_rng(0).normal(size=(30, 3))
    np.save(tmp_path / "x.npy", X)
    vae = VAE(2, (4,), likelihood="gaussian", epochs=1, early_stopping=False, random_state=0).fit(X)
    vae.save(tmp_path / "m.npz")
    words = [str(tmp_path / "m.npz"), str(tmp_path / "x.npy"), "--method", "annealed", "--temperatures", "3"]
    assert evaluate.main([*words, "--samples", "4", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "bracket.png").exists()
    assert "a model that was trained on these rows scores higher" in capsys.readouterr().out
