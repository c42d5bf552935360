"""Estimators as scikit-learn's own checks and tools see them."""

import functools
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
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


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_frames_in_pipelines_and_columns(container):
    """`set_output` of a pipeline, and of a ColumnTransformer, reaches the model in it and its names of columns."""
    library = pytest.importorskip(container, reason=f"{container} is not installed")
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame = frame if container == "pandas" else library.from_pandas(frame)
    columns = ColumnTransformer([("codes", made("VAE"), ["a", "b", "c"]), ("kept", "passthrough", ["d"])])
    pipe = make_pipeline(columns, StandardScaler()).set_output(transform=container)
    found = pipe.fit(frame).transform(frame)
    assert isinstance(found, library.DataFrame)
    assert list(found.columns) == ["codes__vae0", "codes__vae1", "kept__d"]
    assert list(pipe.get_feature_names_out()) == list(found.columns)
    np.testing.assert_allclose(clone(pipe).set_output(transform="default").fit(frame).transform(frame), found)


def test_weights_through_a_pipeline_and_scores_of_a_cross_validation():
    w = np.arange(60.0)
    pipe = make_pipeline(StandardScaler(), made("VAE")).fit(X, vae__sample_weight=w)
    alone = made("VAE").fit(StandardScaler().fit_transform(X), sample_weight=w)
    np.testing.assert_array_equal(pipe[-1].transform(X), alone.transform(X))
    assert pipe.score(X, sample_weight=w) == pytest.approx(np.average(pipe.score_samples(X), weights=w))
    scores = cross_val_score(made("MADE"), X, cv=KFold(3))
    expected = [made("MADE").fit(X[kept]).score(X[held]) for kept, held in KFold(3).split(X)]
    np.testing.assert_array_equal(scores, expected)


def test_a_file_of_joblib(tmp_path):
    model = made("VAE").fit(X)
    joblib.dump(make_pipeline(StandardScaler(), model).fit(X), tmp_path / "pipe.joblib", compress=3)
    again = joblib.load(tmp_path / "pipe.joblib")
    assert again.score(X) == make_pipeline(StandardScaler(), made("VAE")).fit(X).score(X)
    np.testing.assert_array_equal(again[-1].partial_fit(X).n_steps_, 3)


@pytest.mark.long
def test_a_search_in_two_processes_finds_what_one_finds():
    grid = {"latent_dim": [1, 2], "learning_rate": [1e-3, 1e-2]}
    one, two = (GridSearchCV(made("VAE"), grid, cv=2, n_jobs=jobs).fit(X) for jobs in (1, 2))
    np.testing.assert_array_equal(two.cv_results_["mean_test_score"], one.cv_results_["mean_test_score"])
    assert two.best_params_ == one.best_params_
    np.testing.assert_array_equal(two.transform(X), one.transform(X))
