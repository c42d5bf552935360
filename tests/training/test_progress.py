"""What a person sees: lines when piped, a bar on a terminal, nothing when quiet."""

import io
import re
import sys

import numpy as np
import pytest

from fastvae import VAE, sample, train
from fastvae.progress import ProgressObserver
from fastvae.standard_error import say
from fastvae.training import Schedule, State

X = np.random.default_rng(0).random((40, 5)).astype(np.float32)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stream, quiet=False, heldout=True):
    vae = VAE(2, (4,), epochs=3, batch_size=16, random_state=0)
    observer = ProgressObserver(stream)
    observer.quiet = quiet
    examples = vae.initialize(X)
    vae.fit_examples(examples, 3, 16, vae.examples(X) if heldout else None, None, observer)
    return stream.getvalue()


def test_a_plain_line_an_epoch_when_piped():
    lines = shown(io.StringIO()).splitlines()
    assert len(lines) == 3
    pattern = (
        r"epoch 2/3  loss \d+\.\d+  nll \d+\.\d+  kl \d+\.\d+  held-out ELBO -\d+\.\d+  [\d,]+ examples/s  \d+ s left"
    )
    assert re.fullmatch(pattern, lines[1])
    assert "held-out" not in shown(io.StringIO(), heldout=False)


def test_a_bar_on_a_terminal():
    pytest.importorskip("tqdm", reason="the bar needs tqdm: pip install 'fastvae-engine[plot]'")
    text = shown(Terminal())
    assert "100%" in text
    for word in ("3/3", "loss ", "nll ", "kl ", "ELBO -", "examples/s", "left"):
        assert word in text


def test_lines_on_a_terminal_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert len(shown(Terminal()).splitlines()) == 3


def test_quiet():
    assert shown(io.StringIO(), quiet=True) == ""
    assert shown(Terminal(), quiet=True) == ""


def test_verbose_goes_to_standard_error(capsys):
    VAE(2, (4,), epochs=2, batch_size=16, verbose=1, random_state=0).fit(X)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("epoch") == 2


class OnlyWrites:
    """What a program may put in the place of standard error."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Breaks(OnlyWrites):
    def write(self, text):
        raise RuntimeError("the window is gone")

    isatty = flush = property(lambda self: 1 / 0)


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, OnlyWrites(), Breaks(), closed()], ids=["none", "write", "breaks", "closed"])
def test_a_training_needs_no_standard_error(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    vae = VAE(2, (4,), epochs=2, batch_size=16, verbose=1, random_state=0).fit(X)
    assert vae.n_epochs_ == 2
    if isinstance(stream, OnlyWrites) and not isinstance(stream, Breaks):
        assert stream.text.count("epoch") == 2


@pytest.mark.parametrize("stream", [None, OnlyWrites(), Breaks(), closed()], ids=["none", "write", "breaks", "closed"])
def test_a_command_needs_no_standard_streams(monkeypatch, tmp_path, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", None)
    assert train.main(["--epochs", "1", "--hidden", "8", "--json", "--out", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "model.npz").exists()
    assert sample.main([str(tmp_path / "run"), "-n", "2", "--out", str(tmp_path / "x.npy")]) == 0
    assert sample.main([str(tmp_path / "nothing"), "-n", "2", "--out", str(tmp_path / "x.npy")]) == 2


def test_what_the_encoding_of_a_stream_lacks_is_spelled_out():
    stream = io.TextIOWrapper(io.BytesIO(), "ascii")
    say("the file Größe.csv", stream)
    assert stream.buffer.getvalue() == b"the file Gr\\xf6\\xdfe.csv\n"


def test_the_time_left_comes_from_whole_epochs_of_this_process_after_its_first(monkeypatch):
    """Neither the compiling of kernels nor what an earlier process did counts."""
    clock = [16472168045.0]
    monkeypatch.setattr("fastvae.progress.time.perf_counter", lambda: clock[0])
    stream, record = io.StringIO(), {"loss": 1.0, "nll": 1.0, "kl": 0.0, "heldout_elbo": -1.0, "images_per_second": 5.0}
    observer = ProgressObserver(stream)
    state = State(epoch=6, position=90)
    observer.started(state, Schedule(10, 10), 100)
    for epoch, seconds in ((7, 30), (8, 2), (9, 4), (10, 3)):  # 30 s of compiling
        clock[0] += seconds
        observer.stepped(state, 10)
        state.epoch = epoch
        observer.epoch_finished(state, record)
    observer.stopped(state)
    endings = [line.split("examples/s")[1].strip() for line in stream.getvalue().splitlines()]
    assert endings == ["", "4 s left", "3 s left", "0 s left"]


def test_no_time_is_left_when_nothing_is_done_before_the_end_of_an_epoch():
    stream, record = io.StringIO(), {"loss": 1.0, "nll": 1.0, "kl": 0.0, "heldout_elbo": -1.0, "images_per_second": 5.0}
    observer, state = ProgressObserver(stream), State(epoch=3)
    observer.started(state, Schedule(9, 10), 100)
    state.epoch = 4
    observer.epoch_finished(state, record)
    observer.stopped(state)
    assert "left" not in stream.getvalue()
