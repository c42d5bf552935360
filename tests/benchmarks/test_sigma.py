"""A sigma that is learned, or optimal, is the root of the mean squared residual, over draws of z."""

import json
import os

import numpy as np
import pytest

from benchmarks import sigma
from fastvae.data.digits import load_digits

TOLERANCE = 0.02  # of sigma


def check(found):
    for choice in sigma.CHOICES:
        assert abs(found[choice]["difference"]) < TOLERANCE
        assert found[choice]["residual_at_mean"] < found[choice]["residual"]
    assert found["learned"]["sigma"] == pytest.approx(found["optimal"]["sigma"], rel=TOLERANCE)


def test_digits():
    X = load_digits().X.astype(np.float32)
    check({choice: sigma.measure(X, choice, 25, 16.0, learning_rate=0.003) for choice in sigma.CHOICES})


@pytest.mark.slow
def test_frey_faces():
    """FASTVAE_DATA=folder pytest -m slow tests/benchmarks/test_sigma.py"""
    if not os.environ.get("FASTVAE_DATA"):
        pytest.skip("FASTVAE_DATA does not name a folder with frey_faces.npz")
    X = sigma.frey_faces()
    check({choice: sigma.measure(X, choice, 300, 255.0) for choice in sigma.CHOICES})


def test_the_residual_is_that_of_the_draws():
    """Of a decoder that gives z itself, x = mu: the residual over draws is the deviation of q, and 0 at the mean."""

    class Model:
        offset_, scale_ = np.array([5.0, 5.0]), np.array([2.0, 2.0])

        def encode(self, X):
            mu = (X - self.offset_) / self.scale_
            return mu, np.full(mu.shape, 2 * np.log(0.3))

        def decode(self, Z):
            return Z * self.scale_ + self.offset_

    drawn, at_mean = sigma.residuals(Model(), np.random.default_rng(0).normal(size=(4000, 2)))
    assert drawn == pytest.approx(0.3, rel=0.01)
    assert at_mean == pytest.approx(0, abs=1e-12)


def test_the_command(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["sigma.py", "--digits", "--epochs", "1", "--json"])
    assert sigma.main() == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["choice"] for line in lines] == ["learned", "optimal"]
    monkeypatch.setattr("sys.argv", ["sigma.py"])
    monkeypatch.delenv("FASTVAE_DATA", raising=False)
    assert sigma.main() == 2
    assert "FASTVAE_DATA" in capsys.readouterr().err
