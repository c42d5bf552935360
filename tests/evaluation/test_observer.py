"""Progress of an evaluation, and Ctrl-C."""

import io
import os
import signal

import numpy as np
import pytest

from fastvae import VAE
from fastvae.evaluation import weights
from fastvae.evaluation.observer import InterruptibleObserver, ProgressObserver, watching


@pytest.fixture(scope="module")
def trained():
    X = np.random.default_rng(0).uniform(size=(120, 6)).round().astype(np.float32)
    return VAE(2, (5,), epochs=1, random_state=0).fit(X), X


@pytest.fixture(autouse=True)
def ctrl_c_interrupts():
    """As in a terminal: processes that were started in the background may ignore it."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def test_ctrl_c_returns_what_is_done(trained, monkeypatch):
    model, X = trained
    monkeypatch.setattr(weights, "EXAMPLES", 40)
    original = InterruptibleObserver.progressed

    def interrupt(self, done, count, unit):
        original(self, done, count, unit)
        if done == 40:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(InterruptibleObserver, "progressed", interrupt)
    before = signal.getsignal(signal.SIGINT)
    found = model.evaluate(X, n_samples=20)
    assert len(found) == 40
    assert not found.complete
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(KeyboardInterrupt, match="40 of 120"):
        model.score_samples(X, method="importance", n_samples=20)


def test_one_within_another_gives_the_signal_back_once():
    before = signal.getsignal(signal.SIGINT)
    with InterruptibleObserver() as observer:
        with watching(observer) as inner:
            assert inner is observer
        assert signal.getsignal(signal.SIGINT) == observer._on_signal
    assert signal.getsignal(signal.SIGINT) is before


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_what_is_said():
    lines, line = io.StringIO(), Terminal()
    for stream in (lines, line):
        with ProgressObserver("importance", stream, interval=0.0) as observer:
            for done in (0, 500, 1000):
                observer.progressed(done, 1000, "examples")
    assert lines.getvalue().splitlines()[0] == "importance: 0 of 1,000 examples"
    assert lines.getvalue().splitlines()[1].startswith("importance: 500 of 1,000 examples, 0 s left")
    assert line.getvalue().count("\r") == 3
    assert line.getvalue().rstrip(" \n").endswith("1,000 of 1,000 examples")
    assert line.getvalue().count("\n") == 1
    quiet = io.StringIO()
    with ProgressObserver("importance", quiet, interval=100.0) as observer:
        observer.progressed(500, 1000, "examples")
    assert quiet.getvalue() == ""
