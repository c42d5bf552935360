"""Estimators as scikit-learn's own checks and tools see them."""

import functools
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import fastvae
from fastvae.data.validation import as_examples, check_values
from fastvae.models.registry import ESTIMATORS, estimator

X = np.random.default_rng(0).normal(size=(60, 4))
SHARED = {"epochs": 2, "likelihood": "gaussian", "hidden": (8,), "latent_dim": 2}
OWN = {  # arguments that have an estimator take real numbers, of which the checks are made
    "DBM": {"hidden": (8, 4)},
    "GAN": {"output": "identity"},
    "GSN": {"scale": "minmax"},
    "NADE": {"hidden": 8},
    "RBM": {"visible": "gaussian", "hidden": 8},
}
VARIANTS = {
    "importance weights": ("VAE", {"objective": "iwae", "n_samples": 3}),
    "pixels": ("VAE", {"likelihood": "bernoulli", "scale": "minmax"}),
    "early stopping": ("VAE", {"early_stopping": True}),
    "probabilities": ("MADE", {"likelihood": "bernoulli", "scale": "minmax", "orderings": 2}),
}
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "sums in float32 go by the order of rows, and noise by their "
    "place in the batch: whole weights are the same objective as repeated rows, not the same bits"
}


def made(name, **more):
    kind = estimator(name)
    known = kind(random_state=0).get_params()
    given = {n: v for n, v in SHARED.items() if n in known} | OWN.get(name, {}) | more
    return BINARY.get(name, kind)(random_state=0, **given)


def binarizing(kind):
    """The estimator, with the rows of the checks binarized on their way in, each value once all else was looked at."""

    def binary(rows):
        if hasattr(rows, "iloc"):
            return (rows > 0.5).astype(float)
        found = as_examples(rows)
        check_values(found)
        return (found > 0.5).astype(found.dtype)

    def wrapped(method):
        @functools.wraps(method)
        def of_binary(self, X, *others, **named):
            return method(self, binary(X), *others, **named)

        return of_binary

    names = ("fit", "partial_fit", "score_samples", "score", "transform", "fit_transform")
    methods = {n: wrapped(getattr(kind, n)) for n in names if hasattr(kind, n)}
    return type(kind.__name__, (kind,), methods)


DBM, NADE = binarizing(fastvae.DBM), binarizing(fastvae.NADE)  # by these names pickle finds them
BINARY = {"DBM": DBM, "NADE": NADE}  # want rows of 0 and 1: there is no tag for it


def checked(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(model, on_fail=None, expected_failed_checks=EXPECTED)
    failed = {check["check_name"]: check["exception"] for check in found if check["status"] == "failed"}
    assert not failed
    assert len(found) > 40
    assert {check["check_name"] for check in found if check["status"] == "xfail"} <= set(EXPECTED)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_the_checks_of_estimators(name):
    checked(made(name))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_checks_of_variants(variant):
    name, settings = VARIANTS[variant]
    checked(made(name, **settings))


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_a_method_that_is_not_there_is_no_attribute(name):
    """So that no pipeline takes a GAN for a transformer; who asks for it is told why."""
    model, able = estimator(name)(), estimator(name).ABILITIES
    assert hasattr(model, "transform") == hasattr(model, "fit_transform") == able.codes
    assert hasattr(model, "sample") == (able.samples != "none")
    assert hasattr(model, "evaluate") == (able.density != "none")
    if not able.codes:
        with pytest.raises(TypeError, match="use|take"):
            model.transform(X)
        with pytest.raises(TypeError, match="should be a transformer|transform"):
            make_pipeline(model, StandardScaler()).fit(X)


def test_what_is_computed_of_float64_is_float64():
    for dtype in (np.float32, np.float64):
        vae = made("VAE").fit(X.astype(dtype))
        results = [
            vae.transform,
            vae.reconstruct,
            lambda A, vae=vae: vae.decode(A[:, :2]),
            lambda A, vae=vae: vae.encode(A)[1],
        ]
        assert [result(X.astype(dtype)).dtype for result in results] == [dtype] * 4
    assert vae.transform(X.tolist()).dtype == np.float64
    np.testing.assert_allclose(vae.transform(X), vae.transform(X.astype(np.float32)), atol=1e-6)


def test_numbers_as_python_objects_are_numbers():
    vae = made("VAE").fit(X)
    np.testing.assert_array_equal(made("VAE").fit(X.astype(object)).transform(X.astype(object)), vae.transform(X))


def test_in_other_tools():
    search = GridSearchCV(made("VAE"), {"latent_dim": [1, 2], "hidden": [(4,), (8,)]}, cv=2, refit=True).fit(X)
    assert set(search.best_params_) == {"latent_dim", "hidden"}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    columns = ColumnTransformer([("codes", made("VAE"), [0, 1, 2]), ("as it is", "passthrough", [3])])
    found = make_pipeline(columns, StandardScaler()).fit_transform(X)
    assert found.shape == (60, 3)
    one, other = made("VAE").fit(X), clone(made("VAE")).fit(X)
    np.testing.assert_array_equal(one.transform(X), other.transform(X))
