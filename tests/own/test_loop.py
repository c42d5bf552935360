"""A training loop of one's own: gradients of whatever rows, step by step, as of a model that is asked for the first
time."""

import numpy as np
import pytest

from fastvae import VAE
from tests.support.models import TABLE, small

RNG = np.random.default_rng(8)
LABELS = np.arange(60) % 3


def of_a_fresh_model(vae, X, **how):
    """The same of a model that has never been asked, by the same noise."""
    other = VAE(**vae.get_params())
    other.initialize(TABLE, condition=LABELS if vae.network_.condition else None)
    for name, values in other.parameters().items():
        values[...] = vae.parameters()[name]
    other._gradients = vae._gradients
    return other.loss_and_gradients(X, **how)


@pytest.mark.parametrize("conditional", [False, True])
def test_what_is_asked_again_is_asked_anew(conditional):
    """With other rows, fewer of them, other parameters, another beta, another objective, weights; in any order."""
    vae = small("gaussian", activation="tanh", linear=False)
    vae.initialize(TABLE, condition=LABELS if conditional else None)

    def check(rows, **more):
        how = more | ({"condition": LABELS[rows]} if conditional else {})
        expected = of_a_fresh_model(vae, TABLE[rows], **how)
        found = vae.loss_and_gradients(TABLE[rows], **how)
        assert found[0] == expected[0]
        assert found[1] == expected[1]
        for name, gradient in expected[2].items():
            np.testing.assert_array_equal(found[2][name], gradient, err_msg=name)
        return found[0]

    some, others, few = np.arange(20), np.arange(20, 40), np.arange(7)
    losses = [check(some), check(others), check(few), check(some)]  # of other noise each time
    vae.parameters()["decoder.1.bias"][:] += 0.5
    losses.append(check(some))
    vae.set_params(beta=3.0)
    losses.append(check(some))
    vae.set_params(beta=1.0, objective="iwae", n_samples=2)
    losses += [check(some), check(others)]
    vae.set_params(n_samples=3)
    losses.append(check(others))
    losses.append(check(others, sample_weight=RNG.random(20) + 0.5))
    assert len(set(losses)) == len(losses)


def test_drawn_noise_is_drawn_anew():
    vae = small("gaussian", linear=False)
    vae.initialize(TABLE)
    losses = {vae.loss_and_gradients(TABLE)[0] for _ in range(4)}
    assert len(losses) == 4
    vae.fit(TABLE)
    again = {vae.loss_and_gradients(TABLE)[0] for _ in range(3)}
    assert len(again | losses) == 7


def test_a_loop_saved_and_loaded(tmp_path):
    """Plain gradient descent, of rows that come in pieces, in NumPy."""
    vae = small("gaussian", activation="tanh", linear=False)
    vae.initialize(TABLE)
    before = vae.score(TABLE)
    for step in range(60):
        _, _, gradients = vae.loss_and_gradients(TABLE[step % 3 :: 3])
        for name, gradient in gradients.items():
            vae.parameters()[name] -= 0.01 * gradient
    assert vae.score(TABLE) > before + 0.1
    vae.save(tmp_path / "m.npz")
    loaded = VAE.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(loaded.score_samples(TABLE), vae.score_samples(TABLE))
    assert loaded.partial_fit(TABLE).n_steps_ > 0
