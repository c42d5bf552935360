"""The training command: what it leaves, what it says, and how it refuses."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from fastvae import VAE, train
from tests.support.commands import ROOT, SMALL, command, metrics, parameters


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# ---- what it leaves ---------------------------------------------------------------------------------------------


@pytest.mark.long
def test_few_active_dimensions_are_said_with_what_to_try(tmp_path):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(400, 1)) @ rng.normal(size=(1, 8)) + 0.3 * rng.normal(size=(400, 8))
    np.save(tmp_path / "one_cause.npy", table)
    settings = ("--likelihood", "gaussian", "--hidden", "8", "--sigma", "0.5", "--epochs", "15", "--json")
    for latent_dim in (1, 6):
        result = command("--data", str(tmp_path / "one_cause.npy"), "--latent-dim", str(latent_dim), *settings)
        active = json.loads(result.stdout)["active_units"]
        assert 1 <= active <= 2, result.stderr
        said = f"{active} of 6 latent dimensions are active" in result.stderr
        assert said == (f"--latent-dim {active} would do" in result.stderr) == (latent_dim == 6)


def test_a_run_folder_and_one_line_of_json():
    result = command(*SMALL, "--json")
    assert result.returncode == 0, result.stderr
    figures = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    of_epochs = {"epoch", "loss", "nll", "kl", "heldout_elbo", "images_per_second", "seconds"}
    assert set(figures) == of_epochs | {"active_units", "out"}
    assert 0 <= figures["active_units"] <= 3
    folder = pathlib.Path("runs/digits")
    names = {p.name for p in folder.iterdir()}
    assert {"model.npz", "checkpoint.npz", "config.json", "metrics.jsonl"} <= names
    records = metrics(folder)
    assert [r["epoch"] for r in records] == [1, 2, 3]
    assert all(set(r) == of_epochs for r in records)
    assert records[-1]["loss"] == figures["loss"]
    assert records[-1]["loss"] < records[0]["loss"]
    assert records[-1]["loss"] == pytest.approx(records[-1]["nll"] + records[-1]["kl"])
    config = json.loads((folder / "config.json").read_text())
    assert config["options"]["latent_dim"] == 3
    assert config["chosen"]["scale"] == [0.0, 16.0]
    assert config["chosen"]["likelihood"] == "bernoulli"
    assert "epoch 3/3" in result.stderr
    assert "0 s left" in result.stderr


def test_a_bound_of_several_samples_is_trained_and_has_its_name(capsys):
    words = [*SMALL, "--objective", "iwae", "--n-samples", "4", "--json", "--out", "run"]
    assert train.main(words) == 0
    said = capsys.readouterr().err
    assert "held-out bound" in said
    records = metrics("run")
    assert all(r["loss"] < r["nll"] + r["kl"] and "heldout_elbo" not in r for r in records)
    config = json.loads(pathlib.Path("run", "config.json").read_text())
    for part in (config["options"], config["chosen"]):
        assert (part["objective"], part["n_samples"], part["free_bits"]) == ("iwae", 4, 0.0)
    model = VAE.load("run/model.npz")
    assert (model.objective, model.n_samples) == ("iwae", 4)
    assert train.main([*words, "--resume", "--epochs", "4"]) == 0
    figures = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert np.isfinite(figures[-1]["heldout_bound"])
    assert train.main([*SMALL, "--objective", "dreg", "--beta", "2", "--out", "other"]) == 2
    assert "beta=2.0 goes with objective='elbo'" in capsys.readouterr().err


def test_pictures(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'fastvae-engine[plot]'")
    common = ["history", "samples", "reconstructions", "latent"]
    for data, words, own in (
        ("digits", [], ["traversals"]),
        ("table.csv", ["--likelihood", "gaussian", "--latent-dim", "2"], ["pairs", "correlations", "latent_grid"]),
    ):
        table = np.random.default_rng(0).normal(size=(80, 6))
        np.savetxt("table.csv", table, delimiter=",", header="a,b,c,d,e,f", comments="")
        assert train.main(["--data", data, "--out", data + "-run", *SMALL, *words, "--quiet"]) == 0
        folder = pathlib.Path(data + "-run")
        assert {path.stem for path in folder.glob("*.png")} == {*common, *own}
        for name in (*common, *own):
            png = (folder / (name + ".png")).read_bytes()
            assert png.startswith(b"\x89PNG")
            assert len(png) > 5000


def test_without_matplotlib_it_works_and_says_how_to_get_pictures(tmp_path):
    (tmp_path / "matplotlib.py").write_text("raise ImportError('none here')")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    result = subprocess.run(
        [sys.executable, "-m", "fastvae.train", *SMALL, "--quiet"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.returncode == 0
    assert "pip install matplotlib" in result.stderr
    assert not list(pathlib.Path("runs/digits").glob("*.png"))
    assert pathlib.Path("runs/digits/model.npz").exists()


def test_a_second_run_takes_the_next_name_and_a_taken_folder_is_refused(capsys):
    for _ in range(2):
        assert train.main([*SMALL, "--quiet"]) == 0
    assert sorted(p.name for p in pathlib.Path("runs").iterdir()) == ["digits", "digits-2"]
    before = pathlib.Path("runs/digits/model.npz").read_bytes()
    capsys.readouterr()
    assert train.main([*SMALL, "--out", "runs/digits"]) == 2
    assert "holds a run already; add --resume" in capsys.readouterr().err
    assert pathlib.Path("runs/digits/model.npz").read_bytes() == before


@pytest.mark.parametrize("binarize", ["none", "dynamic", "0.5"])
def test_binarisation(binarize):
    assert train.main([*SMALL, "--binarize", binarize, "--out", "run", "--quiet"]) == 0
    assert np.isfinite(metrics("run")[-1]["heldout_elbo"])


def test_choices_follow_the_data(capsys):
    rng = np.random.default_rng(0)
    np.save("images.npy", rng.integers(0, 256, (50, 5, 4)).astype(np.uint8))
    np.save("float-images.npy", rng.normal(size=(50, 5, 4)))
    np.save("table.npy", rng.normal(size=(50, 7)))
    np.save("unit.npy", rng.random((50, 7)))
    cases = {
        "images.npy": ([], "0 ... 255 to [0, 1]; likelihood: bernoulli"),
        "table.npy": ([], "each column to mean 0, deviation 1; likelihood: gaussian"),
        "unit.npy": (["--likelihood", "bernoulli"], "as they are; likelihood: bernoulli"),
        "float-images.npy": (["--likelihood", "gaussian"], "to [0, 1]; likelihood: gaussian"),
    }
    for name, (words, said) in cases.items():
        assert train.main(["--data", name, *SMALL, *words, "--quiet"]) == 0
        assert said in capsys.readouterr().err


def test_heldout_rows_are_drawn_once_and_kept_out():
    from fastvae.data.loading import load
    from fastvae.data.preparation import split

    data = load("digits")
    X, labels, held, *_ = split(data, 0.25, np.uint64(3))
    assert (len(X), len(labels), len(held)) == (1348, 1348, 449)
    both = np.concatenate([X, held])
    order = np.lexsort(both.T)
    np.testing.assert_array_equal(both[order], data.X[np.lexsort(data.X.T)])
    assert (split(data, 0.25, np.uint64(3)).held_out == held).all()
    assert (split(data, 0.25, np.uint64(4)).held_out != held).any()
    assert split(data, 0.0, np.uint64(3)).held_out is None


def test_early_stopping_keeps_the_best():
    np.save("noise.npy", np.random.default_rng(0).random((60, 30)))
    words = ["--data", "noise.npy", "--likelihood", "bernoulli", "--hidden", "200", "--latent-dim", "3"]
    assert train.main([*words, "--epochs", "500", "--early-stopping", "3", "--out", "run", "--quiet"]) == 0
    elbo = [r["heldout_elbo"] for r in metrics("run")]
    assert len(elbo) < 500
    best = int(np.argmax(elbo)) + 1
    assert train.main([*words, "--epochs", str(best), "--out", "best", "--quiet"]) == 0
    assert (parameters("run") == parameters("best")).all()


NAMES = [
    "price $",
    "cost in $\\frac{",
    "a_{b}^c",
    "100%",
    "_hidden",
    "\U0001f600 \u4e2d",
    "x" * 3000,
    "$x_$",
    "\\$",
    "a\\nb",
]


@pytest.mark.slow  # tests/pictures has names like these, too
def test_names_are_no_formulas_in_pictures(recwarn):
    """Names of columns and labels, whatever is in them: all pictures are made, and no run fails for them."""
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'fastvae-engine[plot]'")
    rows = np.random.default_rng(0).normal(size=(60, len(NAMES)))
    name = "da$ta_{%\n.csv"
    lines = [",".join(NAMES) + ",kind"]
    lines += [",".join(f"{v:.3f}" for v in row) + "," + NAMES[i % len(NAMES)] for i, row in enumerate(rows)]
    pathlib.Path(name).write_text("\n".join(lines) + "\n")
    for words in (["--labels", "kind"], ["--labels", "kind", "--latent-dim", "1"]):
        words = ["--data", name, *SMALL, *words, "--quiet"]
        assert train.main([*words, "--out", "run" + words[-2]]) == 0
        assert len(list(pathlib.Path("run" + words[-2]).glob("*.png"))) == 6


def test_a_picture_that_fails_costs_neither_the_run_nor_the_others(monkeypatch, capsys):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'fastvae-engine[plot]'")
    from fastvae.pictures import run as pictures_of_a_run

    def fails(*_, **how):
        raise RuntimeError("no\nfont")

    monkeypatch.setattr(pictures_of_a_run, "samples", fails)
    assert train.main([*SMALL, "--out", "run", "--quiet"]) == 0
    assert "no samples.png: RuntimeError: no font" in capsys.readouterr().err.splitlines()
    assert len(list(pathlib.Path("run").glob("*.png"))) == 4
    assert not list(pathlib.Path("run").glob(".*"))


# ---- refusals ---------------------------------------------------------------------------------------------------

WRONG = [
    (["--likelihood", "bernouli"], "did you mean 'bernoulli'"),
    (["--activation", "rleu"], "did you mean 'relu'"),
    (["--latent-dim", "0"], "latent_dim=0 must be at least 1"),
    (["--latent-dim", "two"], "--latent-dim"),
    (["--hidden", "-4"], "hidden"),
    (["--batch-size", "5000"], "--batch-size 5000 is larger than the data (1617 examples)"),
    (["--batch-size", "0"], "batch_size=0"),
    (["--epochs", "0"], "epochs=0"),
    (["--seed", "-1"], "argument --seed: '-1' must be a whole number from 0"),
    (["--sigma", "0", "--likelihood", "gaussian"], "sigma=0.0 must be a positive number"),
    (["--sigma", "tiny"], "--sigma"),
    (["--learning-rate", "nan"], "learning_rate=nan"),
    (["--heldout", "1.5"], "must lie in [0, 1)"),
    (["--binarize", "sometimes"], "'sometimes' is not known"),
    (["--binarize", "dynamic", "--likelihood", "gaussian"], "--binarize dynamic goes with --likelihood bernoulli"),
    (["--scale", "standart"], "did you mean 'standard'"),
    (["--scale", "none"], "likelihood='bernoulli' needs values in [0, 1]"),
    (["--device", "cuda"], "device='cuda' cannot be had"),
    (["--data", "mnits"], "did you mean 'mnist'"),
    (["--data", "missing.npy"], "missing.npy"),
    (["--data", "."], "folder"),
    (["--data", "ragged.csv"], "line 3"),
    (["--data", "nan.npy"], "nan.npy has 1 entry that is not a finite float32 number (first: NaN at row 2, column 1)"),
    (["--data", "text.npy"], "text.npy"),
    (["--data", "wrong.idx"], "not an IDX file"),
    (["--data", "constant.npy", "--scale", "standard"], "columns are constant (first: column 0"),
    (["--data", "many.npz"], "--array"),
    (["--data", "one.npy"], "fitting needs at least 2"),
    (["--early-stopping", "3", "--heldout", "0"], "--early-stopping needs held-out data"),
    (["--resume"], "--resume needs --out"),
    (["--early-stopping", "0"], "0 must be a whole number, at least 1"),
    (["--checkpoint-seconds", "-1"], "-1 must be a number, at least 0"),
    (["--checkpoint-seconds", "nan"], "must be a number, at least 0"),
    (["--binarize", "nan"], "'nan' is not known"),
    (["--heldout", "abc"], "'abc' is not a number"),
    (["--heldout", "0.9999"], "--heldout 0.9999 leaves 0 of 1797 examples"),
    (["--sigma", "0.1"], "--sigma 0.1 goes with --likelihood gaussian"),
    (["--scale", "0", "x"], "or two numbers LOW HIGH"),
    (["--scale", "5", "3"], "low < high"),
    (["--out", ""], "--out is empty"),
    (["--out", "file/run"], "file/run"),
    (["--epoch", "3"], "--epoch"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(w) for w, _ in WRONG])
def test_wrong_arguments_give_one_line_and_exit_code_2(words, message, capsys):
    pathlib.Path("ragged.csv").write_text("1,2\n3,4\n5\n6,7\n")
    pathlib.Path("text.npy").write_text("hello")
    pathlib.Path("wrong.idx").write_bytes(b"\x01\x02\x08\x03" + bytes(12))
    pathlib.Path("file").write_text("")
    table = np.random.default_rng(0).normal(size=(30, 4))
    np.savez("many.npz", a=table, b=table)
    np.save("one.npy", table[:1])
    table[2, 1] = np.nan
    np.save("nan.npy", table)
    table[2, 1], table[:, 0] = 0, 3.0
    np.save("constant.npy", table)
    extra = ["--heldout", "0"] if words[:2] == ["--data", "one.npy"] else []
    try:
        code = train.main([*words, *extra])
    except SystemExit as exit_:
        code = exit_.code
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    assert not pathlib.Path("runs").exists()


def test_a_folder_called_like_a_data_set_does_no_harm():
    pathlib.Path("digits").mkdir()
    assert train.main([*SMALL, "--out", "run", "--quiet"]) == 0


def test_positions_are_those_of_the_file_not_of_the_split(capsys):
    for row in (9, 10, 11, 17):
        table = np.random.default_rng(0).normal(size=(30, 4))
        table[row, 1] = np.nan
        np.save("nan.npy", table)
        assert train.main(["--data", "nan.npy", "--out", "run"]) == 2
        assert f"nan.npy has 1 entry that is not a finite float32 number (first: NaN at row {row}, column 1)" in (
            capsys.readouterr().err
        )
    assert not pathlib.Path("run").exists()


@pytest.mark.parametrize("scale", [[], ["--scale", "minmax"], ["--scale", "-9", "9"]])
@pytest.mark.parametrize("seed", range(2))
def test_a_bernoulli_run_on_a_table_takes_its_range_over_all_rows(scale, seed):
    np.save("table.npy", np.random.default_rng(seed).normal(size=(60, 5)))
    words = ["--data", "table.npy", "--likelihood", "bernoulli", *SMALL, *scale, "--seed", str(seed), "--quiet"]
    assert train.main([*words, "--out", "run"]) == 0
    assert train.main(["--resume", "--out", "run", "--epochs", "4", "--quiet"]) == 0
    model = VAE.load("run/model.npz")
    assert np.isfinite(model.elbo(np.load("table.npy"))).all()


def test_a_diverging_run_leaves_the_last_good_checkpoint(capsys):
    np.save("x.npy", np.random.default_rng(0).normal(size=(500, 4)) * 1e6)
    words = ["--data", "x.npy", "--scale", "none", "--sigma", "1e-5", "--learning-rate", "1e15", "--epochs", "9"]
    code = train.main([*words, "--out", "run", "--quiet", "--checkpoint-seconds", "0"])
    error = capsys.readouterr().err
    assert code == 1
    assert "training diverged in epoch" in error
    assert "layer" in error
    assert "The last good state is in run/checkpoint.npz" in error
    assert "Traceback" not in error
    assert np.isfinite(VAE.load("run/checkpoint.npz").network_.parameters.values).all()


def test_a_full_disk_is_one_line(tmp_path):
    """A limit on the size of files stands in for the disk: writing beyond it fails as a full disk does."""
    resource = pytest.importorskip("resource")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # noqa: E731
    result = command(*SMALL, "--hidden", "100", "--out", "run", preexec_fn=limit)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "checkpoint.npz" in result.stderr.splitlines()[-1]


def test_a_disk_without_room_is_refused_before_the_training(monkeypatch, capsys):
    usage = type("Usage", (), {"free": 3_000_000})
    monkeypatch.setattr("fastvae.runs.shutil.disk_usage", lambda path: usage)
    assert train.main([*SMALL, "--hidden", "2000", "--out", "run"]) == 2
    error = capsys.readouterr().err
    assert "3 MB are free" in error
    assert error.count("\n") == 1
    assert not pathlib.Path("run").exists()


def test_json_that_nobody_would_get_is_refused_before_the_training(monkeypatch, capsys):
    stdout = open("out.txt", "w")  # noqa: SIM115
    stdout.close()
    monkeypatch.setattr(sys, "stdout", stdout)
    assert train.main([*SMALL, "--json", "--out", "run"]) == 2
    assert "--json: standard output cannot be written to" in capsys.readouterr().err
    assert not pathlib.Path("run").exists()


def test_json_that_fails_at_last_costs_nothing_else(monkeypatch, capsys):
    class Full:
        def write(self, text):
            if text:
                raise OSError(28, "No space left on device")

        def flush(self):
            pass

    monkeypatch.setattr(sys, "stdout", Full())
    assert train.main([*SMALL, "--json", "--quiet", "--out", "run"]) == 2
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert VAE.load("run/model.npz").n_epochs_ == 3


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "place",
    [
        "fastvae.train.loading.load",
        "fastvae.starting.fingerprint",
        "fastvae.models.vae.VAE.keep_best",
        "fastvae.models.vae.VAE.save",
    ],
)
def test_a_signal_at_any_moment_is_one_line_and_leaves_nothing_half_written(place, number, code, monkeypatch, capsys):
    """Beside the training itself, which saves first."""

    def interrupted(*_, **__):
        signal.raise_signal(number)
        raise AssertionError("the signal was not heard")

    monkeypatch.setattr(place, interrupted)
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run with it ignored
    try:
        assert train.main([*SMALL, "--out", "run", "--quiet"]) == code
    finally:
        signal.signal(signal.SIGINT, previous)
    error = capsys.readouterr().err
    assert error.splitlines()[-1] in ("python -m fastvae.train: interrupted", "python -m fastvae.train: terminated")
    assert "Traceback" not in error
    assert not list(pathlib.Path().glob("run/.*"))
    assert pathlib.Path("run").exists() == place.startswith("fastvae.models")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
