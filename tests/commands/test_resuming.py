"""How a run goes on: further than it was asked at first, with data that have moved, and never with other options."""

import json
import os
import pathlib
import shutil
import signal

import numpy as np
import pytest

from fastvae import VAE, train
from fastvae.kernels.cpu import compiler
from tests.support.commands import SMALL, metrics, parameters


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


NOISE = ["--data", "noise.npy", "--likelihood", "bernoulli", "--hidden", "50", "--latent-dim", "3", "--quiet"]


@pytest.fixture(scope="module")
def run_that_stopped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    np.save(folder / "noise.npy", np.random.default_rng(0).random((60, 30)))
    words = ["--data", str(folder / "noise.npy"), *NOISE[2:], "--epochs", "500", "--early-stopping", "3"]
    assert train.main([*words, "--out", str(folder / "run")]) == 0
    assert len(metrics(folder / "run")) < 500
    return folder / "run"


@pytest.fixture
def stopped(run_that_stopped):
    """A copy of a run that has stopped early; returns its number of epochs."""
    shutil.copytree(run_that_stopped, "run")
    return len(metrics("run"))


def resumed(*words):
    return train.main(["--resume", "--out", "run", "--quiet", *words])


def best():
    """The best epoch by the metrics, and by the model that is kept."""
    return max(metrics("run"), key=lambda record: record["heldout_elbo"])["epoch"], VAE.load_checkpoint(
        "run/checkpoint.npz"
    ).best_epoch_


@pytest.mark.parametrize(
    ("words", "least"),
    [
        (["--epochs", "600"], 3),
        (["--early-stopping", "8"], 8),
        (["--early-stopping", "2"], 2),
        (["--early-stopping", "5", "--epochs", "600"], 5),
    ],
)
def test_a_run_that_stopped_early_goes_on_when_asked(stopped, words, least, capsys):
    capsys.readouterr()
    assert resumed(*words) == 0
    error = capsys.readouterr().err
    assert f"had stopped early after epoch {stopped}: it goes on from there" in error
    done = len(metrics("run"))
    assert done >= stopped + least  # patience counts anew
    assert len(set(best())) == 1  # over both parts
    before = parameters("run")
    assert resumed(*words) == 0  # the same command again asks for nothing more
    error = capsys.readouterr().err
    assert error.count("is complete") == 1
    assert "goes on from there" not in error
    assert len(metrics("run")) == done
    assert (parameters("run") == before).all()


def test_a_run_without_early_stopping_any_more_goes_to_its_end_and_keeps_the_best(stopped):
    assert resumed("--early-stopping", "none", "--epochs", str(stopped + 20)) == 0
    assert len(metrics("run")) == stopped + 20
    found, kept = best()
    assert found == kept


def test_nothing_more_is_asked_of_a_run_that_stopped_early(stopped, capsys):
    for words in ([], ["--epochs", "500"], ["--early-stopping", "3"], ["--epochs", str(stopped)]):
        capsys.readouterr()
        assert resumed(*words) == 0
        assert "stopped early; --epochs above 500 or another --early-stopping goes on" in (
            error := capsys.readouterr().err
        ) or words == ["--epochs", str(stopped)], error
        assert len(metrics("run")) == stopped


def test_early_stopping_can_be_asked_for_later():
    np.save("noise.npy", np.random.default_rng(0).random((60, 30)))
    assert train.main([*NOISE, "--epochs", "10", "--early-stopping", "none", "--out", "run"]) == 0
    assert resumed("--epochs", "500", "--early-stopping", "2") == 0
    assert 10 < len(metrics("run")) < 500


def test_data_that_have_moved_can_be_named(capsys):
    rows = np.random.default_rng(0).normal(size=(60, 4))
    np.save("x.npy", rows)
    assert train.main(["--data", "x.npy", *SMALL, "--out", "run", "--quiet"]) == 0
    pathlib.Path("elsewhere").mkdir()
    os.rename("x.npy", "elsewhere/y.npy")
    capsys.readouterr()
    assert resumed("--epochs", "4") == 2
    error = capsys.readouterr().err
    assert "x.npy" in error
    assert "name them: --data PATH" in error
    assert error.count("\n") == 1
    np.save("other.npy", rows + 1e-3)
    assert resumed("--epochs", "4", "--data", "other.npy") == 2
    assert "the data are not those" in capsys.readouterr().err
    assert len(metrics("run")) == 3
    assert resumed("--epochs", "4", "--data", "elsewhere/y.npy") == 0
    assert resumed("--epochs", "5") == 0  # where they are is known from then on
    assert len(metrics("run")) == 5


ODD = [
    ("latent_dim", 7, "--latent-dim is 7"),
    ("latent_dim", "many", "--latent-dim"),
    ("latent_dim", None, None),
    ("hidden", [5, 5], "--hidden is [5, 5]"),
    ("hidden", {"a": 1}, "--hidden cannot be"),
    ("hidden", [[1]], "--hidden cannot be"),
    ("beta", float("nan"), "--beta cannot be nan"),
    ("seed", 3, "--seed is 3"),
    ("activation", "rleu", "--activation"),
    ("likelihood", "gaussian", "--likelihood is 'gaussian'"),
    ("heldout", 2, "--heldout"),
    ("heldout", True, "--heldout cannot be True"),
    ("early_stopping", -1, "--early-stopping"),
    ("checkpoint_seconds", -1.0, "--checkpoint-seconds"),
    ("epochs", "x", "--epochs"),
    ("epochs", -3, "--epochs"),
    ("scale", ["a", "b"], "--scale"),
    ("scale", [], "--scale"),
    ("device", "tpu", "tpu"),
    ("colour", 1, "'colour' is not known"),
]


@pytest.fixture(scope="module")
def run_of_digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "run"
    assert train.main([*SMALL[:-1], "1", "--out", str(folder), "--quiet"]) == 0
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".png"}


@pytest.fixture
def copy(run_of_digits):
    pathlib.Path("run").mkdir()
    for name, content in run_of_digits.items():
        pathlib.Path("run", name).write_bytes(content)
    return pathlib.Path("run")


@pytest.mark.parametrize(("name", "value", "message"), ODD, ids=[f"{name}={value}" for name, value, _ in ODD])
def test_an_odd_value_in_the_configuration_is_refused_by_name(copy, name, value, message, capsys):
    config = json.loads((copy / "config.json").read_text())
    config["options"][name] = value
    (copy / "config.json").write_text(json.dumps(config))
    before = (copy / "checkpoint.npz").read_bytes()
    if message is None:
        assert resumed() == 0
        return
    assert resumed(*[] if name == "epochs" else ["--epochs", "2"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error
    assert (copy / "checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"options": 3}', b'{"options": []}', b"\xff\xfe", b"[" * 100_000, b"null", b"1"]
)
def test_a_damaged_configuration_is_one_line(copy, content, capsys):
    (copy / "config.json").write_bytes(content)
    assert resumed() == 2
    error = capsys.readouterr().err
    assert "config.json" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"\xff{", b"[1]\n"])
def test_metrics_that_are_damaged_are_written_anew(copy, content):
    (copy / "metrics.jsonl").write_bytes(content)
    assert resumed("--epochs", "2") == 0
    assert [record["epoch"] for record in metrics("run")] == [1, 2]


def test_metrics_that_cannot_be_written_are_one_line(copy, capsys):
    (copy / "metrics.jsonl").unlink()
    (copy / "metrics.jsonl").mkdir()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert resumed("--epochs", "2") == 2
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers  # given back
    assert compiler.WHILE_COMPILING == []
    error = capsys.readouterr().err.splitlines()[-1]
    assert "metrics.jsonl" in error
    assert "folder" in error


@pytest.mark.parametrize("scale", [("-0.00001", "9"), ("-9", "1e6"), ("none",)])
def test_what_a_run_was_started_with_can_be_read_again(scale):
    np.save("x.npy", np.random.default_rng(0).random((60, 4)))
    words = ["--data", "x.npy", "--likelihood", "bernoulli", "--scale", *scale, "--learning-rate", "1e-4"]
    assert train.main([*words, *SMALL, "--out", "run", "--quiet"]) == 0
    assert resumed("--epochs", "4") == 0
    assert train.main([*words, *SMALL[:-1], "5", "--out", "run", "--quiet", "--resume"]) == 0
    assert len(metrics("run")) == 5
