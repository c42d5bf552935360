"""What a person sees: lines when piped, a bar on a terminal, nothing when quiet."""

import io
import re

import numpy as np
import pytest

from fastvae import VAE
from fastvae.progress import ProgressObserver

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
        r"epoch 2/3  loss \d+\.\d+  nll \d+\.\d+  kl \d+\.\d+  held-out ELBO -\d+\.\d+  [\d,]+ images/s  \d+ s left"
    )
    assert re.fullmatch(pattern, lines[1])
    assert "held-out" not in shown(io.StringIO(), heldout=False)


def test_a_bar_on_a_terminal():
    pytest.importorskip("tqdm", reason="the bar needs tqdm: pip install 'fastvae-engine[plot]'")
    text = shown(Terminal())
    assert "100%" in text
    for word in ("3/3", "loss ", "nll ", "kl ", "ELBO -", "img/s", "left"):
        assert word in text


def test_lines_on_a_terminal_without_tqdm(monkeypatch):
    import sys

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
