"""What an estimate is made of: noise that nothing else has drawn, and one draw of the rows for all samples."""

import numpy as np
import pytest

from fastvae import VAE
from fastvae.evaluation.annealed import annealed
from fastvae.evaluation.importance import importance
from fastvae.evaluation.naive import naive
from fastvae.evaluation.row_weights import importance_weights_of


@pytest.fixture(scope="module")
def model():
    X = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    X[:, 3:] = X[:, :3] + 0.1 * X[:, 3:]
    return VAE(latent_dim=3, hidden=(), likelihood="gaussian", epochs=5, early_stopping=False, random_state=0).fit(X)


@pytest.fixture(scope="module")
def binary():
    P = np.random.default_rng(1).random((60, 12)).astype(np.float32)
    settings = {"latent_dim": 2, "hidden": (8,), "objective": "iwae", "n_samples": 40, "epochs": 3}
    return VAE(**settings, early_stopping=False, random_state=0).fit(P), P


def test_the_naive_estimator_does_not_meet_the_codes_of_which_data_were_drawn(model):
    """With the same seed: its first sample of a row would be the z that the row came from, and far too good."""
    X = model.sample(150, random_state=0, noise=True)
    exact = importance(model, model.examples(X), 2000, seed=3).values
    found = naive(model, model.examples(X), 50, seed=0).values
    assert np.mean(found > exact + 2.0) <= np.exp(-2.0)  # Markov's bound
    assert np.mean(found) < np.mean(exact)


def test_all_draws_of_a_held_out_bound_see_the_same_binarised_rows(binary):
    vae, P = binary
    examples = vae.examples(P, binarize="dynamic")
    rows = np.empty(P.shape, np.float32)
    examples.fill(np.arange(len(P)), rows, 0, 0)
    assert set(np.unique(rows)) == {0, 1}
    np.testing.assert_array_equal(vae.score_examples(examples), vae.score_examples(vae.examples(rows)))
    np.testing.assert_array_equal(vae.elbo_examples(examples, 40), vae.elbo_examples(vae.examples(rows), 40))


def test_a_decoder_alone_is_evaluated_with_z_from_the_prior(model, tmp_path):
    model.save(tmp_path / "model.npz")
    decoder = VAE.load(tmp_path / "model.npz", decoder_only=True)
    X = model.sample(20, random_state=5, noise=True)
    np.testing.assert_array_equal(
        naive(decoder, decoder.examples(X), 50).values, naive(model, model.examples(X), 50).values
    )
    assert np.isfinite(decoder.score_samples(X, method="naive", n_samples=50)).all()
    found = annealed(decoder, decoder.examples(X), n_temperatures=300, n_chains=8, n_simulated=0)
    exact = importance(model, model.examples(X), 2000, seed=3)
    assert found.mean < exact.mean + 0.2  # a lower bound
    assert found.mean > exact.mean - 2.0


def test_a_condition_of_another_type_is_read_as_what_it_is():
    X = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
    C = np.random.default_rng(1).integers(0, 200, 64).astype(np.float64)
    vae = VAE(2, (4,), likelihood="gaussian", epochs=1, early_stopping=False, random_state=0).fit(X, condition=C)
    for kind in (np.float32, np.float64, np.float16):
        np.testing.assert_allclose(vae.transform(X, condition=C.astype(kind)), vae.transform(X, condition=C), atol=2e-3)


def test_rows_that_float32_does_not_hold_are_refused_by_all(model):
    X = np.zeros((3, 6))
    X[1] = 1e30
    for method in ("importance", "naive", "annealed"):
        with pytest.raises(ValueError, match="row 1 lies so far"):
            model.score_samples(X, method=method, n_samples=8)


@pytest.mark.parametrize("widen", [-1.0, 0, "x"])
def test_a_widening_is_a_positive_number(model, widen):
    with pytest.raises(ValueError, match="widen="):
        importance_weights_of(model, model.examples(np.zeros((1, 6))), [0], 10, widen=widen)
