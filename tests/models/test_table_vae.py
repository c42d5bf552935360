"""The VAE of mixed tables: its loss and gradients, what is missing, tables in and out, files."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from fastvae import VAE, TableVAE, persistence, reference
from fastvae.errors import ModelFileError
from fastvae.evaluation import imputing
from fastvae.models.registry import load


def table(rows=120, gaps=True, seed=0):
    """One column of each kind that follow one number, with gaps."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=rows)
    frame = pd.DataFrame(
        {
            "length": 3 * size + 0.5 * rng.normal(size=rows) + 100,
            "eggs": rng.negative_binomial(2, 2 / (2 + np.exp(1 + size))),
            "alive": rng.random(rows) < 1 / (1 + np.exp(-2 * size)),
            "site": pd.Categorical(np.array(["bog", "fen", "heath"])[np.clip(np.rint(size + 1), 0, 2).astype(int)]),
            "cover": 1 / (1 + np.exp(rng.normal(size=rows) - size)),
            "visits": rng.poisson(np.exp(0.5 * size)),
        }
    ).astype({"eggs": "Int64", "alive": "boolean", "visits": "Int64"})
    return frame.mask(rng.random(frame.shape) < 0.15) if gaps else frame


TYPES = {"cover": "fraction", "visits": "poisson"}
KINDS = ["gaussian", "negative_binomial", "bernoulli", "categorical", "continuous_bernoulli", "poisson"]


def small(**settings):
    given = {"latent_dim": 2, "hidden": (5,), "column_types": TYPES, "epochs": 2, "early_stopping": False}
    return TableVAE(**given | {"random_state": 3} | settings)


@pytest.fixture(scope="module")
def model():
    return small(epochs=30).fit(table())


# ---- the mathematics ---------------------------------------------------------------------------------------------


def loss(p, rows, likelihood, eps):
    """The loss of a VAE with one hidden layer each way and linear paths, in float64, from parameters by name."""
    u = reference.mixed_inputs(
        rows, likelihood.centre.astype(float), likelihood.inverse.astype(float), likelihood.kinds, likelihood.stops,
        likelihood.ends,
    )  # fmt: skip
    silu = reference.ACTIVATIONS["silu"][0]
    h = silu(u @ p["encoder.0.weight"] + p["encoder.0.bias"])
    mu = h @ p["mu.weight"] + p["mu.bias"] + u @ p["mu.linear.weight"]
    logvar = h @ p["logvar.weight"] + p["logvar.bias"]
    z = mu + np.exp(logvar / 2) * eps
    a = silu(z @ p["decoder.0.weight"] + p["decoder.0.bias"]) @ p["decoder.1.weight"] + p["decoder.1.bias"]
    a = a + z @ p["decoder.linear.weight"]
    theta = np.log(reference.soft_sigma(p["sigma.parameter"], likelihood.lowest.astype(float))[0])
    nll = reference.mixed_terms(rows, a, theta, likelihood.kinds, likelihood.stops)[0]
    nll += np.where(np.isnan(rows), 0.0, likelihood.log_scale)
    return (nll.sum(axis=1) + reference.kl_terms(mu, logvar).sum(axis=1)).mean()


def test_gradients_are_those_of_the_reference():
    frame, rng = table(24), np.random.default_rng(1)
    model = small()
    model.initialize(frame)
    for values in model.parameters().values():
        values += 0.1 * rng.standard_normal(values.shape, np.float32)
    eps = rng.standard_normal((24, 2), np.float32)
    found, _, gradients = model.loss_and_gradients(frame, eps)
    network = model.network_
    rows = (np.asarray(model._columns.encode(frame)) - network.units.offset) / network.units.scale
    rows = rows.astype(np.float32).astype(np.float64)
    wide = {name: values.astype(np.float64) for name, values in model.parameters().items()}
    assert found == pytest.approx(loss(wide, rows, network.likelihood, eps), rel=1e-5)
    for name, values in wide.items():
        for place in list(np.ndindex(values.shape))[:: max(1, values.size // 6)]:
            ends = []
            for step in (1e-5, -1e-5):
                values[place] += step
                ends.append(loss(wide, rows, network.likelihood, eps))
                values[place] -= step
            expected = (ends[0] - ends[1]) / 2e-5
            assert gradients[name][place] == pytest.approx(expected, rel=2e-3, abs=2e-4), (name, place)


def test_the_nll_is_that_of_scipy_in_the_units_of_the_table(model):
    frame, network = table(), model.network_
    nll = model.loss_and_gradients(frame, np.zeros((120, 2), np.float32))[1]["nll"]
    a, x = model._outputs(network, model.transform(frame)).astype(float), np.asarray(model.columns_.encode(frame))
    theta, scale, offset = network.likelihood.theta, network.units.scale, network.units.offset
    r, y = np.exp(theta[1]), a[:, 6]
    terms = [
        stats.norm.logpdf(x[:, 0], a[:, 0] * scale[0] + offset[0], np.exp(theta[0]) * scale[0]),
        stats.nbinom.logpmf(x[:, 1], r, r / (r + np.exp(a[:, 1]))),
        stats.bernoulli.logpmf(x[:, 2], 1 / (1 + np.exp(-a[:, 2]))),
        [np.nan if k != k else np.log(p[int(k)]) for k, p in zip(x[:, 3], special.softmax(a[:, 3:6], 1), strict=True)],
        x[:, 4] * y - np.log(np.expm1(y) / y),
        stats.poisson.logpmf(x[:, 5], np.exp(a[:, 7])),
    ]
    assert nll == pytest.approx(-np.where(np.isnan(x), 0.0, np.transpose(terms)).sum(axis=1).mean(), rel=1e-6)


def linear(gaps=0.3, rows=400, seed=0):
    """A linear Gaussian model, fitted to numbers with gaps, and what it says of x exactly: mean and covariance."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, 2)) @ rng.normal(size=(2, 4)) + 0.4 * rng.normal(size=(rows, 4)) + 5
    X[rng.random(X.shape) < gaps] = np.nan
    X[0] = np.nan  # nothing at all
    model = TableVAE(latent_dim=2, hidden=(), epochs=5, random_state=0).fit(X)
    scale, W = model.scale_, model.parameters()["decoder.0.weight"].astype(float) * model.scale_
    mean = model.parameters()["decoder.0.bias"] * scale + model.offset_
    return model, X, mean, W.T @ W + np.diag((model.sigma_ * scale) ** 2)


def test_of_what_is_missing_nothing_is_said():
    model, X, mean, covariance = linear()
    found, expected = model.evaluate(X[:60], n_samples=4000, random_state=1), np.zeros(60)
    for i, x in enumerate(X[:60]):
        there = ~np.isnan(x)
        if there.any():
            gap, S = (x - mean)[there], covariance[np.ix_(there, there)]
            expected[i] = -0.5 * (gap @ np.linalg.solve(S, gap) + np.linalg.slogdet(2 * np.pi * S)[1])
    np.testing.assert_allclose(found.values, expected, atol=0.05)
    assert found.values[0] == pytest.approx(0, abs=0.05)


def test_imputed_values_are_the_conditional_ones():
    model, X, mean, covariance = linear()
    found = model.impute(X[:40], n_draws=400, n_samples=4000, return_result=True)
    drawn = np.stack(found.draws)
    low, high = found.interval(0.8)
    for i, x in enumerate(X[:40]):
        there, gone = ~np.isnan(x), np.isnan(x)
        np.testing.assert_array_equal(found.table[i, there], x[there])
        if gone.any():
            gain = covariance[np.ix_(gone, there)] @ np.linalg.inv(covariance[np.ix_(there, there)])
            exact = mean[gone] + gain @ (x - mean)[there]
            deviation = np.sqrt(np.diag(covariance[np.ix_(gone, gone)] - gain @ covariance[np.ix_(there, gone)]))
            np.testing.assert_allclose(found.table[i, gone], exact, atol=0.15)
            np.testing.assert_allclose(drawn[:, i, gone].std(axis=0), deviation, rtol=0.25)
            np.testing.assert_allclose((high - low)[i, gone], 2 * 1.2816 * deviation, rtol=0.35)
    assert len(found.rows) == np.isnan(X[:40]).any(axis=1).sum() == len(found.khat)
    assert found.unreliable.mean() < 0.2
    assert repr(found).startswith(f"<Imputation: {np.isnan(X[:40]).sum()} values of {len(found.rows)} rows")


def test_each_kind_adds_up_to_one_and_is_drawn_as_it_says(model):
    """p(x_j|z) over all values, and the frequencies of many draws beside it."""
    likelihood, rng = model.network_.likelihood, np.random.default_rng(4)
    a = rng.normal(size=(1, likelihood.outputs))
    drawn = likelihood.drawn(np.repeat(a, 40_000, axis=0), rng)
    for j, kind in enumerate(likelihood.kinds):
        values = {"bernoulli": np.arange(2.0), "categorical": np.arange(3.0)}.get(kind, np.arange(600.0))
        if kind in ("gaussian", "continuous_bernoulli"):
            width = 12 * likelihood.sigma[j] if kind == "gaussian" else 0.5
            centre = a[0, 0] if kind == "gaussian" else 0.5
            values = np.linspace(centre - width, centre + width, 4001)
        x = np.zeros((len(values), len(likelihood.kinds)))
        x[:, j] = values
        p = np.exp(likelihood.terms(x, np.repeat(a, len(values), axis=0))[:, j] + likelihood.log_scale[j])
        if kind in ("gaussian", "continuous_bernoulli"):
            assert np.trapezoid(p, values) == pytest.approx(1, abs=1e-4), kind
            below = np.concatenate(([0.0], np.cumsum((p[1:] + p[:-1]) / 2 * np.diff(values))))
            shares = (drawn[:, j, None] <= values[::400]).mean(axis=0)
            np.testing.assert_allclose(shares, below[::400], atol=0.012, err_msg=kind)
        else:
            assert p.sum() == pytest.approx(1, abs=1e-4), kind
            shares = np.bincount(drawn[:, j].astype(int), minlength=len(values))[: len(values)] / len(drawn)
            np.testing.assert_allclose(shares, p, atol=0.012, err_msg=kind)


def test_numbers_without_gaps_are_those_of_a_vae_to_the_bit():
    X = np.random.default_rng(2).normal(5, 3, (200, 4)) @ np.triu(np.ones((4, 4)))
    settings = {"latent_dim": 2, "hidden": (8,), "activation": "silu", "epochs": 3, "random_state": 1}
    one, other = TableVAE(**settings).fit(X), VAE(likelihood="gaussian", **settings).fit(X)
    assert one.score_samples(X).tobytes() == other.score_samples(X).tobytes()
    assert one.evaluate(X[:20], n_samples=50).values.tobytes() == other.evaluate(X[:20], n_samples=50).values.tobytes()
    np.testing.assert_allclose(one.sample(5, random_state=0), other.sample(5, random_state=0, noise=True), rtol=1e-6)
    holes = X[:3].copy()
    holes[1, 2] = np.nan
    with pytest.raises(ValueError, match=r"missing values \(first: row 1, column '2'\).*hide=0.2"):
        one.score_samples(holes)


def test_hidden_values_prepare_for_gaps_that_come_later():
    """A model that was trained without values guesses them better than the mean of the column."""
    frame = table(600, gaps=False)
    model = small(hide=0.3, epochs=60, hidden=(16,)).fit(frame[:500])
    rest = frame[500:].copy()
    rest["length"] = np.nan
    error = model.impute(rest)["length"] - frame["length"][500:]
    assert np.square(error).mean() < 0.5 * frame["length"].var()


@pytest.mark.long
def test_annealed_importance_sampling_agrees():
    model, X, *_ = linear()
    chains = model.evaluate(X[1:30], "annealed", random_state=0)
    assert chains.mean == pytest.approx(model.evaluate(X[1:30], n_samples=4000, random_state=1).mean, abs=0.05)


# ---- training ----------------------------------------------------------------------------------------------------


def test_training_is_the_same_each_time_and_whatever_the_threads(monkeypatch):
    found = []
    for threads in ("1", "2"):
        monkeypatch.setenv("FASTVAE_THREADS", threads)
        found.append(small(batch_size=40).fit(table()).network_.parameters.values.tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("settings", [{"objective": "iwae", "n_samples": 3}, {"objective": "dreg", "n_samples": 3},
                                      {"n_samples": 2}, {"clip_norm": 1.0}, {"linear": False}, {"hide": 0.2},
                                      {"optimizer": "sgd", "clip_norm": 1.0}], ids=str)  # fmt: skip
def test_every_way_of_training_learns(settings):
    model = small(epochs=25, **settings).fit(table())
    history = model.history_["loss"]
    assert np.isfinite(history).all()
    assert history[-3:].mean() < history[:3].mean() + 0.1
    assert np.isfinite(model.score_samples(table())).all()


def test_it_is_better_than_independent_columns():
    train, held = table(1500, seed=5), table(500, seed=6)
    model = TableVAE(latent_dim=2, hidden=(16,), column_types=TYPES, epochs=60, random_state=0).fit(train)
    likelihood, units = model.network_.likelihood, model.network_.units
    rows = (np.asarray(model._columns.encode(held)) - units.offset) / units.scale
    alone = copy.deepcopy(likelihood)
    alone.learn((np.asarray(model._columns.encode(train)) - units.offset) / units.scale, units.scale)
    independent = alone.terms(rows, np.tile(np.concatenate(alone.starts), (len(rows), 1))).sum(axis=1).mean()
    assert model.evaluate(held, n_samples=300).mean > independent + 0.3


def test_a_condition_beside_the_table():
    frame, condition = table(), np.arange(120) % 2
    model = small().fit(frame, condition=condition)
    assert len(model.sample(4, condition=1)) == 4
    assert np.isfinite(model.score_samples(frame, condition=condition)).all()
    assert not model.impute(frame, condition=condition, n_samples=20).isna().to_numpy().any()


def test_partial_fit_goes_on_and_keeps_its_columns():
    model = small().partial_fit(table(seed=1)).partial_fit(table(seed=2))
    assert model.n_epochs_ == 2
    with pytest.raises(ValueError, match="lacks the column 'site'"):
        model.partial_fit(table().drop(columns="site"))


# ---- tables in and out -------------------------------------------------------------------------------------------


def test_samples_are_a_table_as_that_of_the_training(model):
    drawn = model.sample(50, random_state=1)
    pd.testing.assert_series_equal(drawn.dtypes, table().dtypes)
    pd.testing.assert_frame_equal(drawn, model.sample(50, random_state=1))
    assert (drawn["eggs"] >= 0).all()
    assert drawn["cover"].between(0, 1).all()
    assert not drawn.isna().to_numpy().any()


def test_what_is_filled_in_keeps_what_is_there_and_the_index(model):
    frame = table().set_index(pd.Index(range(1000, 1120)))
    full = model.impute(frame, n_samples=50)
    there = ~frame.isna()
    pd.testing.assert_frame_equal(full.where(there), frame.where(there))
    assert not full.isna().to_numpy().any()
    one, other = model.impute(frame, n_draws=2, n_samples=50)
    assert (one.index == frame.index).all()
    assert not one.equals(other)
    pd.testing.assert_frame_equal(model.reconstruct(frame).dtypes.to_frame(), frame.dtypes.to_frame())


def test_what_is_there_is_kept_to_the_bit():
    X = np.random.default_rng(5).normal(1e3, 7, (80, 3))
    X[::4, 1] = np.nan
    there = ~np.isnan(X)
    found = TableVAE(epochs=1, random_state=0, early_stopping=False).fit(X).impute(X, 2, 20, return_result=True)
    for full in (found.table, *found.draws):
        np.testing.assert_array_equal(full[there], X[there])


def test_no_more_numbers_at_a_time_than_are_allowed(model, monkeypatch):
    """Of a table with many levels few rows go through the decoder together; and a row alone where that is too much."""
    frame, given, outputs = table(), [], model.network_.likelihood.outputs
    decoded = model._outputs
    monkeypatch.setattr(model, "_outputs", lambda network, z, c=None: (given.append(len(z)), decoded(network, z, c))[1])
    for most, rows in ((50 * outputs * 3, 3), (1, 1)):
        monkeypatch.setattr(imputing, "NUMBERS", most)
        assert not model.impute(frame, n_samples=50).isna().to_numpy().any()
        assert max(given) == 50 * rows
        given.clear()


@pytest.mark.filterwarnings("error")
def test_a_column_without_a_value_in_the_rows_of_the_training():
    """Where all rows that have one are of weight 0."""
    frame = table(60).astype({"length": float})
    frame.loc[3:, "length"] = np.nan
    model = small().fit(frame, sample_weight=np.arange(60) >= 3)
    assert np.isfinite(model.score_samples(frame)).all()


def test_codes_there_and_back(model):
    frame = table()
    codes = model.transform(frame)
    assert codes.shape == (120, 2)
    back = model.inverse_transform(codes)
    pd.testing.assert_frame_equal(back, model.reconstruct(frame))
    with pytest.raises(ValueError, match="Z has 1 entry"):
        model.decode([[0.0, np.nan]])
    with pytest.raises(ValueError, match="Z has 3 features"):
        model.decode(np.zeros((2, 3)))


def test_polars():
    pl = pytest.importorskip("polars", reason="polars is not installed: pip install polars")
    frame = table()
    as_polars = pl.DataFrame({
        "length": frame["length"].tolist(), "eggs": [None if v is pd.NA else int(v) for v in frame["eggs"]],
        "site": pl.Series([None if isinstance(v, float) else v for v in frame["site"]], dtype=pl.Categorical),
    })  # fmt: skip
    model = TableVAE(epochs=2, random_state=0, early_stopping=False, latent_dim=1, hidden=(4,)).fit(as_polars)
    drawn = model.sample(4)
    assert drawn.schema == as_polars.schema


def test_a_dict_and_arrays():
    frame = table()
    columns = {"length": frame["length"].to_numpy(), "site": np.array(frame["site"].astype(object))}
    of_dict = TableVAE(epochs=2, random_state=0, early_stopping=False).fit(columns).sample(3)
    assert list(of_dict) == ["length", "site"]
    assert set(of_dict["site"]) <= {"bog", "fen", "heath"}
    X = np.column_stack([frame["length"], frame["cover"]])
    assert TableVAE(epochs=2, random_state=0, early_stopping=False).fit(X).impute(X, n_samples=9).shape == X.shape
    mixed = frame[["length", "site"]].to_numpy(object)
    assert TableVAE(epochs=2, random_state=0, early_stopping=False).fit(mixed).sample(3).dtype == object


def test_columns_may_come_in_any_order(model):
    frame = table()
    np.testing.assert_array_equal(model.score_samples(frame[frame.columns[::-1]]), model.score_samples(frame))


def test_files_and_copies_are_the_model(model, tmp_path):
    frame, path = table(), tmp_path / "table.npz"
    model.save(path)
    scores = model.score_samples(frame)
    for other in (load(path), TableVAE.load(path), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.score_samples(frame), scores)
        assert other.column_types_ == dict(zip(frame.columns, KINDS, strict=True))
        pd.testing.assert_frame_equal(other.sample(3, random_state=0), model.sample(3, random_state=0))
    decoder = TableVAE.load(path, decoder_only=True)
    pd.testing.assert_frame_equal(decoder.sample(3, random_state=0), model.sample(3, random_state=0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["columns"][0].update(kind="poisson"), "of other kinds"),
        (lambda t: t["columns"][3].update(levels=["bog"]), "of other kinds"),
        (lambda t: t["columns"][3].update(levels=[None]), "levels"),
        (lambda t: t["columns"][0].update(kind="nosuch"), "nosuch"),
        (lambda t: t.update(container="list"), "container"),
        (lambda t: t.pop("columns"), "columns"),
    ],
)
def test_a_file_that_says_other_things_is_refused(model, tmp_path, change, message):
    header, arrays = copy.deepcopy(model._contents())
    change(header["table"])
    persistence.write_container(tmp_path / "m.npz", "model", header, arrays)
    with pytest.raises(ModelFileError, match=message):
        TableVAE.load(tmp_path / "m.npz")


def test_a_warm_start_goes_on_with_the_same_columns():
    frame = table()
    model = small(warm_start=True).fit(frame)
    assert model.fit(frame).n_epochs_ == 4
    with pytest.raises(ValueError, match="'moor' at row"):
        model.fit(frame.astype({"site": object}).replace({"site": {"bog": "moor"}}))
    assert model.n_epochs_ == 4


def test_of_few_rows_the_start_is_not_far_below_independent_columns():
    """Levels that add up to 1 have directions without variance, which are no reason to be sure of numbers."""
    frame, held = table(40, gaps=False), table(200, gaps=False, seed=9)
    model = small(latent_dim=6)
    model.initialize(frame)
    units, likelihood = model.network_.units, copy.deepcopy(model.network_.likelihood)
    rows = (np.asarray(model._columns.encode(held)) - units.offset) / units.scale
    likelihood.learn((np.asarray(model._columns.encode(frame)) - units.offset) / units.scale, units.scale)
    apart = likelihood.terms(rows, np.tile(np.concatenate(likelihood.starts), (len(rows), 1))).sum(axis=1).mean()
    assert model.score_samples(held).mean() > apart - 2
