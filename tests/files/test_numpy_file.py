"""A model as a file of NumPy: it gives what the model gives, in a process that has neither fastvae nor numba."""

import subprocess
import sys

import numpy as np
import pytest

from fastvae import VAE, Autoencoder, DenoisingAutoencoder, numpy_file
from fastvae.__main__ import main
from fastvae.models.registry import load

RNG = np.random.default_rng(0)
REAL = RNG.normal(size=(90, 5)).cumsum(axis=1) * [1, 10, 100, 1e-3, 1] + [0, 5, 1e6, 0, -3]
BINARY, COUNTS = (np.median(REAL, axis=0) < REAL).astype(np.float32), RNG.poisson(4, (90, 5)).astype(float)
SMALL = {"hidden": (8,), "latent_dim": 2, "epochs": 3, "batch_size": 30, "random_state": 0}
MODELS = {
    "gaussian": (VAE(likelihood="gaussian", **SMALL), REAL),
    "two layers, silu, no linear path": (
        VAE(likelihood="gaussian", activation="silu", linear=False, **SMALL | {"hidden": (8, 6)}), REAL,
    ),
    "no hidden layer": (VAE(likelihood="gaussian", **SMALL | {"hidden": ()}), REAL),
    "bernoulli": (VAE(activation="leaky_relu", **SMALL), BINARY),
    "minmax": (VAE(scale="minmax", activation="softplus", **SMALL), REAL),
    "poisson": (VAE(likelihood="poisson", activation="sigmoid", **SMALL), COUNTS),
    "autoencoder": (Autoencoder(likelihood="gaussian", **SMALL), REAL),
    "denoising": (DenoisingAutoencoder(activation="identity", corruption="masking", amount=0.2, **SMALL), BINARY),
}  # fmt: skip
ALONE = """
import sys
sys.modules["numba"] = sys.modules["fastvae"] = None
import numpy as np
import written
X, Z = np.load("x.npy"), np.load("z.npy")
codes = written.encode(X)
np.savez("found.npz", codes=codes if isinstance(codes, np.ndarray) else codes[0],
         logvar=codes if isinstance(codes, np.ndarray) else codes[1],
         decoded=written.decode(Z), back=written.reconstruct(X))
assert not {"scipy", "numba.core"} & set(sys.modules)
"""


@pytest.mark.parametrize("name", MODELS)
def test_it_gives_what_the_model_gives(name, tmp_path):
    model, X = MODELS[name]
    model.fit(X)
    far = X if name in ("bernoulli", "denoising", "minmax") else X * 7  # beyond the data of the training
    rows, Z = np.concatenate([X, far]), np.concatenate([RNG.normal(size=(50, 2)), RNG.normal(size=(50, 2)) * 8])
    numpy_file.write(model, tmp_path / "written")
    np.save(tmp_path / "x.npy", rows)
    np.save(tmp_path / "z.npy", Z)
    done = subprocess.run([sys.executable, "-W", "error", "-c", ALONE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    expected = {"codes": model.transform(rows), "decoded": model.decode(Z), "back": model.reconstruct(rows)}
    if isinstance(model, VAE):
        expected["logvar"] = model.encode(rows)[1]
    for what, wanted in expected.items():
        size = np.abs(wanted).max(axis=0)
        assert (np.abs(found[what] - wanted) <= 1e-5 * np.maximum(size, 1e-30)).all(), what
        assert np.ptp(wanted) > 0


def test_the_command_and_what_it_refuses(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    VAE(likelihood="gaussian", **SMALL).fit(REAL).save("model.npz")
    Autoencoder(likelihood="gaussian", **SMALL).fit(REAL).save("other.npz")
    assert main(["export", "model.npz", "--out", "vae_model.py"]) == 0
    assert "import vae_model" in capsys.readouterr().err
    assert main(["export", "other.npz", "--out", "ae_model"]) == 0
    text = (tmp_path / "ae_model.py").read_text()
    assert "A trained Autoencoder" in text
    assert "fastvae" not in text.split('"""')[2]
    assert main(["export", "model.npz", "--out", "model.py"]) == 2
    assert "is what is read" in capsys.readouterr().err
    assert main(["export", "model.npz", "--out", "my-model.py"]) == 2
    assert "'my-model' is no name that Python can import" in capsys.readouterr().err
    assert main(["export", "nosuch.npz"]) == 2
    assert "nosuch.npz" in capsys.readouterr().err


def test_models_without_such_a_file(tmp_path):
    from fastvae import MADE

    with pytest.raises(TypeError, match="a MADE has no encoder and decoder"):
        numpy_file.write(MADE(likelihood="gaussian", hidden=(8,), epochs=1, random_state=0).fit(REAL), tmp_path / "x")
    conditional = VAE(likelihood="gaussian", **SMALL).fit(REAL, condition=np.arange(90) % 3)
    with pytest.raises(ValueError, match="has a condition"):
        numpy_file.write(conditional, tmp_path / "x")
    assert not list(tmp_path.iterdir())


def test_what_is_loaded_as_a_decoder_alone(tmp_path):
    vae = VAE(likelihood="gaussian", **SMALL).fit(REAL)
    vae.save(tmp_path / "model.npz")
    numpy_file.write(load(tmp_path / "model.npz", decoder_only=True), tmp_path / "half.py")
    scope = {"__file__": str(tmp_path / "half.py"), "__name__": "half"}
    exec((tmp_path / "half.py").read_text(), scope)
    assert "encode" not in scope
    drawn = scope["sample"](4, 0)
    assert drawn.shape == (4, 5)
    with pytest.raises(ValueError, match=r"Z has shape \(2, 3\); \(N, 2\) is needed"):
        scope["decode"](np.zeros((2, 3)))
