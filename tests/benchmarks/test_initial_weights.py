"""The benchmark of initial weights: what each choice changes, and the command on a tiny case."""

import json

import numpy as np
import pytest

from benchmarks import initial_weights
from benchmarks.initial_weights import CASES, INITS, Case, Training
from fastvae import VAE


def drawn(activation, init):
    vae = VAE(
        **initial_weights.accepted(
            {"latent_dim": 3, "hidden": (8, 6), "activation": activation, "init": "he", "linear": False}
        )
    )
    vae.set_params(random_state=0, scale=None).initialize(np.random.default_rng(0).random((40, 5), np.float32))
    before = {name: array.copy() for name, array in vae.parameters().items()}
    INITS[init](vae, np.random.default_rng(0))
    return before, vae.parameters()


ENDS = {"mu.weight": 0.3, "logvar.weight": 0.3, "decoder.2.weight": 0.3, "decoder.0.weight": 0.4}


@pytest.mark.parametrize(
    ("init", "activation", "factors"),
    [
        ("he", "relu", {}),
        ("small-heads", "tanh", {"mu.weight": 0.3, "logvar.weight": 0.3}),
        ("h3", "silu", ENDS),
        ("h3", "tanh", {}),
        ("h3-all", "tanh", ENDS),
    ],
)
def test_what_is_multiplied(init, activation, factors):
    before, after = drawn(activation, init)
    for name, array in before.items():
        np.testing.assert_allclose(after[name], array * np.float32(factors.get(name, 1)), rtol=1e-6, err_msg=name)


def test_pytorchs_weights_lie_within_their_bounds():
    before, after = drawn("relu", "torch")
    np.testing.assert_array_equal(after["decoder.2.bias"], before["decoder.2.bias"])
    for name in ("encoder.0", "encoder.1", "mu", "logvar", "decoder.0", "decoder.1", "decoder.2"):
        bound = len(after[f"{name}.weight"]) ** -0.5
        assert 0.5 * bound < np.abs(after[f"{name}.weight"]).max() <= bound
        assert name == "decoder.2" or 0 < np.abs(after[f"{name}.bias"]).max() <= bound


def test_one_decoder_layer_is_the_last_one():
    vae = VAE(latent_dim=2, hidden=(), likelihood="gaussian", scale="standard", random_state=0)
    vae.initialize(np.random.default_rng(0).normal(size=(30, 4)))
    before = vae.parameters()["decoder.0.weight"].copy()
    initial_weights.small_ends(vae, np.random.default_rng(0))
    np.testing.assert_allclose(vae.parameters()["decoder.0.weight"], before * 0.3, rtol=1e-6)


def test_the_command_on_tiny_cases(tmp_path, monkeypatch, capsys):
    X = np.random.default_rng(0).random((60, 6), np.float32)
    settings = {"latent_dim": 2, "hidden": (5,), "likelihood": "bernoulli", "scale": None}
    monkeypatch.setattr(initial_weights, "DRAWS", 20)
    monkeypatch.setitem(CASES, "tiny", Case(lambda: (X[:40], X[40:]), settings, 3, dynamic=True))
    monkeypatch.delenv("FASTVAE_DATA", raising=False)
    file = tmp_path / "f.json"
    initial_weights.main(["--sets", "tiny", "frey", "mnist", "--seeds", "2", "--json", str(file)])
    printed = capsys.readouterr().out
    assert "tiny  " in printed
    assert printed.count("left out: set FASTVAE_DATA to a folder with it") == 2
    looks = json.loads(file.read_text())["tiny"]
    assert set(looks) == set(INITS)
    assert np.shape(list(looks.values())) == (len(INITS), 2, 3)


def test_collapsed_trainings_are_counted():
    found = {"he": [Training([5.0, 3.0, 4.0], 0.001), Training([5.0, 2.0, 2.0], 1.0)]}
    line = initial_weights.line("made", found)
    assert "3.00(1.41) 2.50 !1" in line


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith(("digits", "iris"))])
def test_cases_have_settings_that_the_estimator_takes(name):
    if name.startswith("iris"):
        pytest.importorskip("sklearn")
    X, held = CASES[name].data()
    assert X.shape[1] == held.shape[1]
    VAE(**CASES[name].settings).initialize(X)
