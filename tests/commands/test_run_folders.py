"""A run has its folder for itself: however many are started together, and only as long as it lives."""

import json
import pathlib
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from fastvae import VAE, train
from fastvae.errors import FolderInUseError
from fastvae.runs import RunFolder
from tests.support.commands import ROOT, SMALL, metrics

HOLD = """
    import sys
    from fastvae.runs import RunFolder
    with RunFolder(sys.argv[1]).claimed():
        print("held", flush=True)
        sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def holder(folder):
    """A process that holds the folder until its standard input ends."""
    script = "\n".join(line[4:] for line in HOLD.splitlines())
    process = subprocess.Popen(
        [sys.executable, "-c", script, folder],
        env={"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.long
def test_runs_that_start_together_have_a_folder_each():
    words = [sys.executable, "-m", "fastvae.train", *SMALL[:-1], "1", "--quiet"]
    jobs = [
        subprocess.Popen([*words, "--seed", str(seed)], env={"PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
        for seed in range(3)
    ]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    folders = sorted(pathlib.Path("runs").iterdir())
    assert [folder.name for folder in folders] == ["digits", "digits-2", "digits-3"]
    seeds = [json.loads((folder / "config.json").read_text())["options"]["seed"] for folder in folders]
    assert sorted(seeds) == [0, 1, 2]
    assert [VAE.load(folder / "model.npz").random_state for folder in folders] == seeds
    assert all(len(metrics(folder)) == 1 for folder in folders)
    assert not list(pathlib.Path("runs").glob("*/.lock"))


def test_many_claims_at_once_never_share_a_folder():
    found, barrier = [], threading.Barrier(8)

    def claim():
        barrier.wait()
        for _ in range(10):
            with RunFolder.claimed_new("x") as folder:
                (folder.path / "config.json").write_text("")
                found.append(folder.path)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == len(found) == 80


def test_empty_folders_come_and_go_without_harm():
    errors, barrier = [], threading.Barrier(8)

    def claim():
        barrier.wait()
        for _ in range(30):
            try:
                with RunFolder.claimed_new("x"):
                    pass
            except OSError as error:
                errors.append(error)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert not list(pathlib.Path().glob("runs/*"))


@pytest.mark.parametrize("words", [["--resume"], []])
def test_a_folder_in_use_is_refused_in_one_line(words, capsys):
    if words:
        assert train.main([*SMALL, "--out", "run", "--quiet"]) == 0
        before = {path.name: path.read_bytes() for path in pathlib.Path("run").iterdir()}
    process = holder("run")
    capsys.readouterr()
    assert train.main([*SMALL, *words, "--out", "run", "--quiet"]) == 2
    error = capsys.readouterr().err
    assert f"run: process {process.pid} is training there; wait for its end, or name another folder" in error
    assert error.count("\n") == 1
    process.communicate("")
    if words:
        assert {path.name: path.read_bytes() for path in pathlib.Path("run").iterdir()} == before
    assert train.main([*SMALL, *words, "--out", "run", "--quiet"]) == 0


def test_the_lock_of_a_killed_process_holds_nobody_up():
    process = holder("run")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert pathlib.Path("run/.lock").exists()
    assert train.main([*SMALL, "--out", "run", "--quiet"]) == 0
    assert not pathlib.Path("run/.lock").exists()


def test_a_refused_run_leaves_nothing(capsys):
    np.save("bad.npy", np.full((30, 4), np.nan))
    for out in ([], ["--out", "a/b/c"]):
        assert train.main(["--data", "bad.npy", *out]) == 2
        assert [path.name for path in pathlib.Path().iterdir()] == ["bad.npy"]
    pathlib.Path("mine").mkdir()
    assert train.main(["--data", "bad.npy", "--out", "mine"]) == 2
    assert list(pathlib.Path("mine").iterdir()) == []


@pytest.mark.parametrize("out", ["file", "file/run", "x" * 300, "dangling"])
def test_an_out_that_cannot_be_a_folder_is_refused_before_the_data_are_read(out, capsys):
    pathlib.Path("file").write_text("")
    pathlib.Path("dangling").symlink_to("nowhere/at/all")
    assert train.main(["--data", "missing.npy", "--out", out]) == 2
    error = capsys.readouterr().err
    assert "--out" in error
    assert error.count("\n") == 1


def test_two_claims_in_one_process():
    with RunFolder("run").claimed(), pytest.raises(FolderInUseError), RunFolder("run").claimed():
        pass
    assert not pathlib.Path("run").exists()
