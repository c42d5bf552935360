"""`VAE.evaluate` and `VAE.score_samples`: what they give, and what they refuse."""

import dataclasses

import numpy as np
import pytest

from fastvae import VAE
from fastvae.errors import EvaluationWarning
from fastvae.evaluation import annealed, methods
from fastvae.evaluation.importance import importance


@pytest.fixture(scope="module")
def trained():
    X = np.random.default_rng(0).uniform(size=(200, 6)).round().astype(np.float32)
    return VAE(2, (5,), epochs=2, random_state=0).fit(X), X


def test_each_method_by_its_name(trained):
    model, X = trained
    means = {method: model.evaluate(X[:30], method, 64 if method != "annealed" else 4) for method in methods.METHODS}
    for method, found in means.items():
        assert (found.method, found.n_samples, len(found)) == (method, 4 if method == "annealed" else 64, 30)
        assert abs(found.mean - means["importance"].mean) < 0.3
    for method, count in methods.SAMPLES.items():
        assert model.evaluate(X[:2], method).n_samples == count


def test_the_same_call_gives_the_same(trained):
    model, X = trained
    one, other = (model.evaluate(X[:9], n_samples=50).values for _ in range(2))
    np.testing.assert_array_equal(one, other)
    given = model.evaluate(X[:9], n_samples=50, random_state=5).values
    assert (given != one).any()
    np.testing.assert_array_equal(given, importance(model, model.examples(X[:9]), 50, seed=5).values)
    options = model.evaluate(X[:9], n_samples=50, widen=2.0).values
    assert (options != one).any()


def test_scores(trained):
    model, X = trained
    plain = model.score_samples(X)
    np.testing.assert_array_equal(model.score_samples(X[5:6]), plain[5:6])  # whatever stands beside it
    np.testing.assert_array_equal(model.score_samples(X, method="elbo"), plain)
    np.testing.assert_allclose(model.score_samples(X, n_samples=500).mean(), plain.mean(), atol=0.02)
    found = model.score_samples(X, method="importance", n_samples=40, return_result=True)
    np.testing.assert_array_equal(model.score_samples(X, method="importance", n_samples=40), found.values)
    assert (model.score_samples(X, return_result=True).method, found.method) == ("elbo", "importance")


def test_binarised_as_examples_are(trained):
    model, X = trained
    grey = 0.8 * X + 0.1
    np.testing.assert_array_equal(
        model.evaluate(grey, n_samples=30, binarize=0.5).values, model.evaluate(X, n_samples=30).values
    )
    assert (
        model.evaluate(grey, n_samples=30, binarize="dynamic").values != model.evaluate(X, n_samples=30).values
    ).any()


def test_what_is_refused(trained, monkeypatch):
    model, X = trained
    with pytest.raises(ValueError, match="did you mean 'importance'"):
        model.evaluate(X, "importence")
    with pytest.raises(ValueError, match="did you mean 'naive'"):
        model.score_samples(X, method="naiv")
    for bad in (0, 1.5, True, "many"):
        for method in methods.METHODS:
            with pytest.raises((ValueError, TypeError), match="n_samples"):
                model.evaluate(X, method, bad)
    with pytest.raises(ValueError, match="repeats itself"):
        model.evaluate(X, n_samples=2**32 + 1)
    monkeypatch.setattr("fastvae.memory.physical_memory", lambda: 10_000_000)
    model.evaluate(X[:3], n_samples=20)
    with pytest.raises(ValueError, match=r"n_samples=1000000000 takes 1 GB.*0 GB of memory"):
        model.evaluate(X, n_samples=10**9)
    with pytest.raises(ValueError, match="not finite"):
        model.evaluate(np.where(X > 0, np.nan, X))


def test_rows_of_which_float32_overflows():
    X = np.random.default_rng(0).normal(size=(100, 4))
    model = VAE(2, (5,), likelihood="gaussian", epochs=2, random_state=0).fit(X)
    X[7] = 1e30
    for method in ("importance", "elbo"):
        with pytest.raises(ValueError, match="row 7 "):
            model.evaluate(X, method, 50)


class Stopping:
    def progressed(self, done, count, unit):
        pass

    def stop_requested(self):
        return True


def test_scores_are_of_all_rows_or_none(trained, monkeypatch):
    model, X = trained
    part = model.evaluate(X, n_samples=10)
    cut = type(part)(**{**vars(part), "complete": False})
    monkeypatch.setattr(VAE, "evaluate", lambda *arguments, **options: cut)
    with pytest.raises(KeyboardInterrupt, match="200 of 200 rows"):
        model.score_samples(X, method="importance")


def test_a_density_of_8_bits_is_said():
    X = np.random.default_rng(0).integers(0, 256, size=(100, 4))
    model = VAE(2, (5,), likelihood="gaussian", epochs=2, random_state=0)
    for scale in (1.0, 1 / 255, 1 / 256):
        model.fit(scale * X)
        with pytest.warns(EvaluationWarning, match="dequantisation"):
            model.evaluate((scale * X).astype(np.float32), n_samples=10)
    model.fit(X + np.random.default_rng(1).uniform(size=X.shape))
    model.evaluate(X + np.random.default_rng(1).uniform(size=X.shape), n_samples=10)
    assert not methods.on_a_grid(VAE(2, (5,), epochs=1).fit(X > 128), X > 128)


def test_a_result_is_shown_in_a_line(trained):
    """Not all of its arrays, which are thousands of numbers."""
    model, X = trained
    result = model.evaluate(X, n_samples=300)
    shown = repr(result)
    assert len(shown) < 200
    assert shown.startswith(f"<LogLikelihood: importance, estimate; mean {result.mean:.6g} nats +-")
    assert f"{len(X)} examples" in shown
    heavy = dataclasses.replace(result, khat=np.full(len(X), 2.0), complete=False)
    assert f"{len(X)} examples, not complete, {len(X)} of them unreliable>" in repr(heavy)
    assert "+-? (other examples); 1 example>" in repr(model.evaluate(X[:1], "elbo"))
    bracket = annealed.bracket(model, 3, n_temperatures=5)
    assert repr(bracket).count("\n") == 2
    assert len(repr(bracket)) < 500
