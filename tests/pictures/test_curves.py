"""Learning curves: what is drawn of a history, and that first epochs do not flatten the others."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'fastvae-engine[plot]'")

from fastvae import GAN, VAE, pictures
from fastvae.evaluation.curve_limits import limits_of_curves
from tests.support.figures import said, texts_apart

X = (np.random.default_rng(0).random((60, 6)) < 0.4).astype(np.float32)


@pytest.fixture(scope="module")
def trained():
    return VAE(2, (4,), epochs=2, early_stopping=False, random_state=0).fit(X)


def with_history(model, loss, heldout, best=0):
    """The same model, as after a training of such losses."""
    model = model._copy_with(vars(model))
    state = type(model._state)()
    for i, (value, held) in enumerate(zip(loss, heldout, strict=True)):
        record = {"loss": value, "nll": value - 1, "kl": 1 + i * 0.01, "heldout_elbo": held}
        state.records.append({"epoch": i + 1, "images_per_second": 1.0, "seconds": 1.0} | record)
    state.epoch, state.best_epoch, state.best_elbo = len(loss), best, heldout[best - 1] if best else None
    model._state = state
    return model


@pytest.mark.parametrize("epochs", [1, 2, 40, 1000, 3166, 12_000])
@pytest.mark.parametrize("heldout", [True, False])
def test_of_any_number_of_epochs(trained, epochs, heldout):
    loss = 20 + 5 / np.arange(1, epochs + 1)
    held = -loss - 0.5 if heldout else np.full(epochs, np.nan)
    figure = pictures.learning_curves(with_history(trained, loss, held, epochs if heldout else 0))
    texts_apart(figure)
    axes = figure.axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), loss)
    assert axes.get_ylabel() == "nats per example"
    assert axes.get_xscale() == ("log" if epochs >= 1000 else "linear")
    assert ("$-$held-out ELBO" in said(figure)) == heldout
    if heldout:
        np.testing.assert_array_equal(axes.lines[1].get_ydata(), -held)
        assert axes.lines[2].get_xdata()[0] == epochs
        assert f"kept: epoch {epochs}" in said(figure)


def test_first_epochs_do_not_flatten_the_others(trained):
    loss = np.array([900.0, 300, 60, *np.linspace(31, 30, 57)])
    figure = pictures.learning_curves(with_history(trained, loss, -loss - 1))
    low, high = figure.axes[0].get_ylim()
    assert 29 < low < 30
    assert 32 < high < 35
    assert "↑ epoch 1: 900" in said(figure)
    assert "↑ epoch 1: 901" in said(figure)
    texts_apart(figure)


def test_what_is_even_has_all_in_sight(trained):
    figure = pictures.learning_curves(with_history(trained, np.linspace(40, 30, 50), -np.linspace(41, 31, 50)))
    low, high = figure.axes[0].get_ylim()
    assert low < 30 < 41 < high
    assert not any("epoch 1:" in text for text in said(figure))


def test_a_start_that_is_kept_is_said(trained):
    model = with_history(trained, np.linspace(14, 12, 9), -np.linspace(14, 13, 9))
    model._state.best_elbo = -12.9
    figure = pictures.learning_curves(model)
    assert "kept: the start, before epoch 1" in said(figure)
    assert [12.9, 12.9] in [list(line.get_ydata()) for line in figure.axes[0].lines]


def test_limits_follow_the_later_epochs():
    epochs, late = np.arange(1, 101), np.linspace(2, 1, 100)
    spike = late.copy()
    spike[50] = 1e6
    for curve in (np.where(epochs < 4, 500.0, late), np.where(epochs < 4, -500.0, late), spike):
        low, high = limits_of_curves(epochs, [curve])
        assert 0 < low < 1.1 < 1.9 < high < 3
    assert limits_of_curves(epochs, [late]) is None
    assert limits_of_curves(epochs, [np.full(100, 3.0)]) is None
    assert limits_of_curves(epochs[:3], [late[:3]]) is None
    assert limits_of_curves(epochs, [np.full(100, np.nan)]) is None


def test_of_a_gan_losses_and_accuracies_are_apart():
    figure = pictures.learning_curves(GAN(2, epochs=2, random_state=0).fit(X))
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == ["nats per example", "nats per example", "accuracy of the discriminator"]
    assert {"discriminator", "generator", "of real rows", "of generated rows"} <= set(said(figure))


def test_without_an_epoch_it_says_so(trained):
    with pytest.raises(ValueError, match="has finished no epoch"):
        pictures.learning_curves(with_history(trained, [], []))
