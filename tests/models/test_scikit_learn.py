"""Estimators as scikit-learn's own checks and tools see them."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from fastvae.models.registry import ESTIMATORS, estimator

X = np.random.default_rng(0).normal(size=(60, 4))
REAL = {  # arguments that have an estimator take real numbers, of which the checks are made
    "GAN": {"output": "identity"},
    "RBM": {"visible": "gaussian"},
}
BINARY = {"DBM", "GSN", "NADE"}  # take rows of 0 and 1, or of probabilities: there is no tag for it


def made(name):
    kind = estimator(name)
    known = kind(random_state=0).get_params()
    shared = {"epochs": 2, "likelihood": "gaussian", "hidden": (8,), "latent_dim": 2}
    return kind(random_state=0, **{n: v for n, v in shared.items() if n in known and (n != "hidden" or name != "RBM")},
                **REAL.get(name, {}))  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - BINARY))
def test_the_checks_of_estimators(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = check_estimator(made(name), on_fail=None)
    failed = {check["check_name"]: check["exception"] for check in found if check["status"] == "failed"}
    assert not failed
    assert len(found) > 40


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
