"""What ends a model of a comparison, or all: it is said in the model's row, and the others finish."""

import dataclasses
import errno
import json
import os
import pathlib
import signal
import sys

import numpy as np
import pytest

from fastvae import compare
from fastvae.comparison import entries, measures
from fastvae.comparison.budget import Plan
from fastvae.comparison.interruption import TrainingProgress

pytestmark = pytest.mark.long
ARGUMENTS = ["--data", "x.npy", "--budget", "0.2", "--out", "c", "--quiet"]


@pytest.fixture(autouse=True)
def _rows(tmp_path, monkeypatch):
    """A table in an empty folder, and Ctrl-C as a terminal has it."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).normal(size=(80, 3)).cumsum(axis=1))
    monkeypatch.setattr(measures, "DRAWS", (50, 50))
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def run(models, *words):
    code = compare.main([*ARGUMENTS, "--models", models, *words])
    rows = json.loads(pathlib.Path("c/comparison.json").read_text())["models"]
    return code, {name: row["status"] for name, row in rows.items()}, rows


def of_vae(monkeypatch, **arguments):
    """Its entry has these arguments, too."""
    entry = entries.ALL["vae"]
    changed = dataclasses.replace(entry, arguments=lambda subject: entry.arguments(subject) | arguments)
    monkeypatch.setitem(entries.ALL, "vae", changed)


def test_one_diverges(monkeypatch, capsys):
    of_vae(monkeypatch, learning_rate=1e30, clip_norm=None)
    code, status, rows = run("vae,ae")
    assert code == 0
    assert status == {"independent": "done", "gaussian": "done", "pca": "done", "vae": "diverged", "ae": "done"}
    assert "learning_rate" in rows["vae"]["reason"]
    assert f"diverged: {rows['vae']['reason']}" in capsys.readouterr().out
    page = pathlib.Path("c/report.html").read_text()
    assert "diverged" in page
    assert not pathlib.Path("c/vae.npz").exists()


def test_ctrl_c_ends_one_and_the_same_command_goes_on(monkeypatch, capsys):
    def interrupt(self, state, record):
        if type(self) is TrainingProgress and not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)

    pressed: list = []
    monkeypatch.setattr(TrainingProgress, "epoch_finished", interrupt)
    code, status, _ = run("vae,ae")
    assert (code, status["vae"], status["ae"]) == (130, "interrupted", "done")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    before = pathlib.Path("c/ae.npz").read_bytes()
    assert "VAE: interrupted" in capsys.readouterr().err
    code, status, _ = run("vae,ae")
    assert (code, status["vae"], status["ae"]) == (0, "done", "done")
    assert pathlib.Path("c/ae.npz").read_bytes() == before
    assert "autoencoder: finished before" in capsys.readouterr().err


def test_ctrl_c_while_it_is_measured_keeps_its_training(monkeypatch, capsys):
    def interrupt(*arguments):
        if not pressed:
            pressed.append(True)
            os.kill(os.getpid(), signal.SIGINT)
        return measured(*arguments)

    pressed: list = []
    measured = measures.reconstruction
    monkeypatch.setattr(measures, "reconstruction", lambda used, seed: (
        interrupt(used, seed) if hasattr(used.model, "network_") else measured(used, seed)
    ))  # fmt: skip
    code, status, _ = run("ae,vae")
    assert (code, status["ae"], status["vae"]) == (130, "interrupted", "done")
    before = pathlib.Path("c/ae.npz").read_bytes()
    code, status, rows = run("ae,vae")
    assert (code, status["ae"]) == (0, "done")
    assert pathlib.Path("c/ae.npz").read_bytes() == before, "it was trained again"
    assert rows["ae"]["training_seconds"] > 0


def test_two_ctrl_cs_end_all(monkeypatch, capsys):
    def interrupt(self, state, record):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TrainingProgress, "epoch_finished", interrupt)
    monkeypatch.setattr(compare, "plan", lambda *arguments: Plan(3, 0.01))
    code, status, _ = run("vae,ae,made")
    assert code == 130
    assert list(status.values()) == ["done", "done", "done", "interrupted", "interrupted", "not begun"]
    assert "go on with the same command" in capsys.readouterr().err


@pytest.mark.parametrize("full", ["comparison.json", "ae.npz", "report.html"])
def test_a_full_disk_leaves_what_was_there(monkeypatch, capsys, full):
    run("vae")
    kept = {file.name: file.read_bytes() for file in pathlib.Path("c").iterdir() if file.suffix in {".json", ".npz"}}
    write = os.fsync

    def no_room(number):
        if full in os.readlink(f"/proc/self/fd/{number}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(number)

    if not sys.platform.startswith("linux"):
        pytest.skip("the name of an open file is known on Linux alone")
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", no_room)
        assert compare.main([*ARGUMENTS, "--models", "vae,ae"]) == 2
    error = capsys.readouterr().err
    assert full in error
    assert "No space left on device" in error
    assert "Traceback" not in error
    assert pathlib.Path("c/vae.npz").read_bytes() == kept["vae.npz"]
    assert pathlib.Path("c/vae.json").read_bytes() == kept["vae.json"]
    assert not list(pathlib.Path("c").glob("*.partial*"))
    assert run("vae,ae")[0] == 0


def test_without_matplotlib_there_are_a_table_and_a_page(monkeypatch, capsys):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert run("vae")[0] == 0
    assert "no samples.png: figures need matplotlib" in capsys.readouterr().err
    assert "held-out rows" in pathlib.Path("c/report.html").read_text()
    assert not pathlib.Path("c/samples.png").exists()


def test_a_measure_that_fails_is_a_remark_beside_the_others(monkeypatch, capsys):
    def failing(*arguments, **options):
        raise ValueError("too few for it")

    monkeypatch.setattr(measures, "panel", failing)
    code, status, rows = run("vae")
    assert (code, status["vae"]) == (0, "done")
    assert rows["vae"]["log_likelihood"] < 0
    assert "VAE: not measured: too few for it" in capsys.readouterr().out
    assert "too few for it" in pathlib.Path("c/report.html").read_text()


def test_a_gan_that_has_collapsed_is_named(monkeypatch, capsys):
    from fastvae import GAN

    monkeypatch.setattr(GAN, "remarks", lambda self: ["all samples are alike"])
    _, status, rows = run("gan", "--budget", "1")
    assert status["gan"] == "done"
    assert "all samples are alike" in rows["gan"]["remarks"]
    assert "GAN: all samples are alike" in capsys.readouterr().out


def test_constant_columns_are_left_out_and_said(capsys):
    X = np.load("x.npy")
    run("vae")
    without = json.loads(pathlib.Path("c/comparison.json").read_text())["models"]["independent"]
    np.save("x.npy", np.insert(X, 1, 7.0, axis=1))
    assert run("vae", "--out", "d")[0] == 0
    assert "left out: 1 column with one value in all rows to train on (column 1)" in capsys.readouterr().err
    found = json.loads(pathlib.Path("d/comparison.json").read_text())["models"]["independent"]
    assert found["log_likelihood"] == without["log_likelihood"]
    np.save("x.npy", np.ones((40, 3)))
    assert compare.main(["--data", "x.npy", "--out", "e"]) == 2
    assert "one and the same row" in capsys.readouterr().err


def test_a_budget_too_short_for_one_epoch(capsys):
    code, status, rows = run("vae,ae", "--budget", "1e-6")
    assert code == 1
    assert (status["vae"], status["ae"]) == ("not trained", "not trained")
    assert "too short for one epoch" in rows["vae"]["reason"]
    assert "--budget" in rows["vae"]["reason"]
