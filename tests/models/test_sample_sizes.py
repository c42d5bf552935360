"""More samples than memory holds are refused before anything is drawn, with what they take and how to have them."""

import numpy as np
import pytest

from fastvae import DBM, GAN, GSN, MADE, NADE, RBM, VAE, DenoisingAutoencoder, memory

X = (np.random.default_rng(0).random((30, 6)) < 0.4).astype(np.float32)
MODELS = {
    VAE: {"hidden": (4,), "latent_dim": 2}, DenoisingAutoencoder: {"hidden": (4,), "latent_dim": 2},
    GAN: {"hidden": (4,), "latent_dim": 3}, GSN: {"hidden": (4,)}, MADE: {"hidden": (4,)}, NADE: {"hidden": 4},
    RBM: {"hidden": 4}, DBM: {"hidden": (4, 3)},
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_too_many(kind, monkeypatch):
    model = kind(epochs=1, random_state=0, **MODELS[kind]).fit(X)
    first = model.sample(2)
    with pytest.raises(ValueError, match=r"n=\d+ samples of 6 values take .*GB of memory: draw them in pieces, sample"):
        model.sample(10**15)
    monkeypatch.setattr(memory, "physical_memory", lambda: 40_000)
    with pytest.raises(ValueError, match=r"take 0 GB, this machine has 0 GB of memory: draw them in pieces"):
        model.sample(2000)
    pieces = model.sample(100), model.sample(100)
    assert not np.array_equal(*pieces)
    with pytest.raises(ValueError, match="n=0 must be at least 1"):
        model.sample(0)
    again = kind(epochs=1, random_state=0, **MODELS[kind]).fit(X)
    np.testing.assert_array_equal(again.sample(2), first)
    np.testing.assert_array_equal(again.sample(100), pieces[0])  # what was refused has taken no noise


def test_the_pieces_that_are_proposed_fit(monkeypatch):
    monkeypatch.setattr(memory, "physical_memory", lambda: 16_000_000_000)
    with pytest.raises(ValueError, match=r"take 256 GB, this machine has 16 GB of memory: .* sample\(10000000\)"):
        memory.check_samples(10**9, 64, 256)
    memory.check_samples(10**7, 64, 256)


@pytest.mark.parametrize("name", memory.LIMITS)
def test_a_container_has_less_than_its_machine(name, tmp_path):
    whole = memory.physical_memory(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).write_text("1048576\n")
    assert memory.physical_memory(tmp_path) == 1 << 20
    for nothing in ("max\n", "9223372036854771712\n"):
        (tmp_path / name).write_text(nothing)
        assert memory.physical_memory(tmp_path) == whole
