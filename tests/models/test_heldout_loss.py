"""What early stopping goes by, of models without a density: the loss that training minimises, of rows held out."""

import numpy as np
import pytest

from fastvae import GSN, Autoencoder, DenoisingAutoencoder, SparseAutoencoder
from fastvae.data import loading
from tests.support import threads as threads_of

DIGITS = np.asarray(loading.load("digits").X, np.float32) / 16
TRAIN, HELD = DIGITS[:60], DIGITS[60:460]
NARROW = {"latent_dim": 6, "hidden": (9,), "epochs": 2, "random_state": 0, "early_stopping": False}
MODELS = {
    "autoencoder": (Autoencoder, NARROW),
    "masking": (DenoisingAutoencoder, NARROW),
    "gaussian": (DenoisingAutoencoder, NARROW | {"corruption": "gaussian", "likelihood": "gaussian", "scale": None}),
    "kl": (SparseAutoencoder, NARROW | {"weight": 2.0}),
    "l1": (SparseAutoencoder, NARROW | {"penalty": "l1", "weight": 2.0}),
    "walkback": (GSN, {"hidden": (9, 7), "noise": (0.2, 0.5), "epochs": 2, "random_state": 0, "early_stopping": False}),
}


def fitted(name):
    kind, settings = MODELS[name]
    return kind(**settings).fit(TRAIN)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_loss_of_a_step(name, monkeypatch):
    """With corruptions, chains and penalties, on the noise of step 0, which no step of a training has; whatever the
    number of threads."""
    model, found = fitted(name), set()
    for threads in ("1", "2"):
        threads_of.use(monkeypatch, threads)
        found.add(model.score_examples(model.examples(HELD)).mean())
    loss = model.network_.loss_and_gradients(HELD, 0, 0.0)["loss"]
    assert len(found) == 1
    assert found.pop() == pytest.approx(-loss, rel=1e-6)
    if name != "autoencoder":
        assert abs(loss + model.score_samples(HELD).mean()) > 0.01


@pytest.mark.parametrize("name", ["autoencoder", "kl", "walkback"])
def test_rows_are_binarised_as_those_of_the_training(name):
    model, binary = fitted(name), (HELD > 0.5).astype(np.float32)
    expected = model.score_examples(model.examples(binary))
    np.testing.assert_array_equal(model.score_examples(model.examples(HELD, binarize=0.5)), expected)


def test_a_penalty_that_still_falls_keeps_a_training_going():
    """The nll alone is best before codes are sparse."""
    settings = {"penalty": "l1", "weight": 1.0, "random_state": 0, "epochs": 30, "weight_decay": 0.1}
    model = SparseAutoencoder(30, **settings).fit(DIGITS[:300], heldout=HELD, patience=10)
    loss = -model.history_["heldout_score"]
    assert model.best_epoch_ == 1 + loss.argmin() > 20
    assert (model.transform(HELD) == 0).mean() > 0.8
