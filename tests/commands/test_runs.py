"""A run's folder: the same from run to run, continued bit for bit, and never started over by mistake."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastvae import VAE, train
from tests.support.commands import ROOT, SMALL, command, metrics, parameters


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.long
def test_two_processes_give_the_same_files():
    for name in ("a", "b"):
        assert command(*SMALL, "--out", name).returncode == 0
    assert pathlib.Path("a/model.npz").read_bytes() != b""
    assert (parameters("a") == parameters("b")).all()
    assert command(*SMALL, "--out", "c", "--seed", "1").returncode == 0
    assert (parameters("a") != parameters("c")).any()


def test_resuming_with_more_epochs_is_the_same_as_asking_for_them_at_once():
    assert train.main([*SMALL, "--out", "a", "--quiet"]) == 0
    assert train.main(["--resume", "--out", "a", "--epochs", "5", "--quiet"]) == 0
    assert train.main([*SMALL[:-1], "5", "--out", "b", "--quiet"]) == 0
    assert (parameters("a") == parameters("b")).all()
    assert [{k: r[k] for k in ("epoch", "loss", "kl", "heldout_elbo")} for r in metrics("a")] == [
        {k: r[k] for k in ("epoch", "loss", "kl", "heldout_elbo")} for r in metrics("b")
    ]
    assert train.main(["--resume", "--out", "a", "--quiet"]) == 0  # nothing left to do
    assert (parameters("a") == parameters("b")).all()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_saves_and_says_how_to_resume(number, code):
    words = [*SMALL[:-1], "40000", "--out", "run"]  # far more than pass before the signal arrives
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", "fastvae.train", *words],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # also where the tests run with nohup
    ) as process:
        for line in process.stderr:
            if line.startswith("epoch "):
                process.send_signal(number)
                break
        rest = process.stderr.read()
    assert process.returncode == code
    assert "Continue with: python -m fastvae.train --resume --out run" in rest
    assert "Traceback" not in rest
    done = len(metrics("run"))
    assert 1 <= done < 40000
    VAE.load("run/model.npz")
    assert train.main(["--resume", "--out", "run", "--epochs", str(done + 2), "--quiet"]) == 0
    assert train.main([*SMALL[:-1], str(done + 2), "--out", "whole", "--quiet"]) == 0
    assert (parameters("run") == parameters("whole")).all()


def killed_and_resumed(folder, words, rng, longest, growth=1.05):
    """SIGKILL a training at a random moment, each time after a longer one, until it comes to its end; return how often
    it was killed."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    kills = 0
    while True:
        program = [sys.executable, "-m", "fastvae.train", *words, "--out", folder, "--resume", "--quiet"]
        with subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                _, error = process.communicate(timeout=rng.uniform(0.3, longest))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                kills += 1
                longest *= growth
                readable(folder)
                continue
        assert process.returncode == 0, error
        return kills


def readable(folder):
    """Every file of the folder that bears its final name can be read."""
    for path in pathlib.Path(folder).glob("*"):
        if path.name.endswith(".npz"):
            VAE.load(path)
        elif path.name == "config.json":
            json.loads(path.read_text())
        elif path.name == "metrics.jsonl":
            metrics(folder)
        else:
            assert path.name.endswith((".png", ".partial", ".lock")), path


@pytest.mark.long
def test_a_killed_run_resumes_bit_identical():
    words = [*SMALL[:-1], "60", "--checkpoint-seconds", "0", "--early-stopping", "50", "--binarize", "dynamic"]
    assert train.main([*words, "--out", "whole", "--quiet"]) == 0
    kills = killed_and_resumed("killed", words, np.random.default_rng(int(time.time())), 2.5, 1.4)
    assert (parameters("killed") == parameters("whole")).all(), kills
    assert [r["loss"] for r in metrics("killed")] == [r["loss"] for r in metrics("whole")]
    assert not list(pathlib.Path("killed").glob(".*.partial"))


@pytest.mark.slow
def test_fifty_kills_and_every_resume_ends_bit_identical():
    rng = np.random.default_rng(int(os.environ.get("FASTVAE_SEED", "0")))
    words = [*SMALL[:-1], "60", "--checkpoint-seconds", "0", "--early-stopping", "50", "--binarize", "dynamic"]
    assert train.main([*words, "--out", "whole", "--quiet"]) == 0
    kills = runs = 0
    while kills < 50:
        runs += 1
        kills += killed_and_resumed(f"killed-{runs}", words, rng, 2.0)
        assert (parameters(f"killed-{runs}") == parameters("whole")).all()
        assert pathlib.Path(f"killed-{runs}/model.npz").read_bytes() != b""
    print(f"{kills} kills in {runs} runs, all bit-identical")


def test_resuming_with_other_options_or_other_data_is_refused(capsys):
    np.save("x.npy", np.random.default_rng(0).normal(size=(50, 4)))
    assert train.main(["--data", "x.npy", *SMALL, "--out", "run", "--quiet"]) == 0
    before = pathlib.Path("run/checkpoint.npz").read_bytes()
    capsys.readouterr()
    assert train.main(["--data", "x.npy", "--latent-dim", "7", "--resume", "--out", "run"]) == 2
    assert "--latent-dim 7 is not what the run was started with (3)" in capsys.readouterr().err
    np.save("x.npy", np.random.default_rng(1).normal(size=(50, 4)))
    assert train.main(["--resume", "--out", "run"]) == 2
    assert "the data are not those" in capsys.readouterr().err
    pathlib.Path("run/checkpoint.npz").write_bytes(before[:1000])
    assert train.main(["--resume", "--out", "run"]) == 2
    assert "run/checkpoint.npz" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lost", "message"), [("config.json", "no config.json"), ("checkpoint.npz", "no checkpoint.npz")]
)
def test_a_run_with_a_missing_file_is_never_started_over(lost, message, capsys):
    assert train.main([*SMALL, "--out", "run", "--quiet"]) == 0
    before = pathlib.Path("run/model.npz").read_bytes()
    pathlib.Path("run", lost).unlink()
    capsys.readouterr()
    assert train.main(["--resume", "--out", "run", "--epochs", "9"]) == 2
    assert message in capsys.readouterr().err
    assert pathlib.Path("run/model.npz").read_bytes() == before


def test_a_changed_value_anywhere_in_the_data_is_noticed(capsys):
    table = np.random.default_rng(0).normal(size=(200, 4))
    np.save("x.npy", table)
    assert train.main(["--data", "x.npy", *SMALL, "--out", "run", "--heldout", "0", "--quiet"]) == 0
    table[137, 2] += 1e-9
    np.save("x.npy", table)
    assert train.main(["--resume", "--out", "run", "--epochs", "9"]) == 2
    assert "the data are not those" in capsys.readouterr().err


def test_a_misspelt_folder_begins_no_run(capsys):
    assert train.main(["--resume", "--out", "rum", "--epochs", "9", "--quiet"]) == 2
    assert "rum: there is no run there to continue" in capsys.readouterr().err
    assert not pathlib.Path("rum").exists()


def test_what_is_finished_or_new_is_said(capsys):
    assert train.main([*SMALL, "--out", "run", "--quiet", "--resume"]) == 0
    assert "no run there yet: starting one" in capsys.readouterr().err
    assert train.main(["--resume", "--out", "run", "--quiet"]) == 0
    assert "run is complete: 3 epochs" in capsys.readouterr().err
    assert train.main(["--resume", "--out", "run", "--epochs", "0"]) == 2
    assert "--epochs=0 must be at least 1" in capsys.readouterr().err
