"""A condition beside x: p(x|z, c) and q(z|x, c), labels or vectors, in training and in whatever a model does."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest

from fastvae import VAE, persistence, reference
from fastvae.data.condition import Labels, Vectors, learned_condition
from fastvae.errors import ModelFileError
from fastvae.layers import joined
from fastvae.models.denoising import DenoisingAutoencoder
from fastvae.training import Observer
from tests.support.models import PIXELS, TABLE, StopAfter, data, small

RNG = np.random.default_rng(21)
LABELS = RNG.integers(0, 3, 60) * 2  # 0, 2, 4
FLOATS = RNG.normal(5, 3, (60, 2)).astype(np.float32)
NAMES = np.array(["ash", "birch", "oak"])[LABELS // 2]


def fitted(likelihood="bernoulli", condition=LABELS, **settings):
    return small(likelihood, **settings).fit(data(likelihood), condition=condition)


def as_read(labels=LABELS):
    """A column for each label, with a mean square of 1 over the columns."""
    columns = labels[:, None] == np.unique(labels)
    return (columns * np.float32(columns.shape[1] ** 0.5)).astype(np.float32)


def same(one, other):
    return one.network_.parameters.values.tobytes() == other.network_.parameters.values.tobytes()


# ---- the mathematics ---------------------------------------------------------------------------------------------


def torch_loss(torch, p, x, c, eps, likelihood, linear):
    """The loss of a conditional VAE with one hidden layer each way, from its parameters by name."""
    functional, seen = torch.nn.functional, torch.cat([x, c], 1)
    h = functional.silu(seen @ p["encoder.0.weight"] + p["encoder.0.bias"])
    mu, logvar = (h @ p[f"{name}.weight"] + p[f"{name}.bias"] for name in ("mu", "logvar"))
    mu = mu + seen @ p["mu.linear.weight"] if linear else mu
    z = torch.cat([mu + torch.exp(logvar / 2) * eps, c], 1)
    a = functional.silu(z @ p["decoder.0.weight"] + p["decoder.0.bias"]) @ p["decoder.1.weight"] + p["decoder.1.bias"]
    a = a + z @ p["decoder.linear.weight"] if linear else a
    nll = functional.binary_cross_entropy_with_logits(a, x, reduction="none")
    if likelihood == "gaussian":
        nll = (x - a) ** 2 / (2 * 0.7**2) + np.log(0.7) + 0.5 * np.log(2 * np.pi)
    kl = (torch.exp(logvar) + mu**2 - 1 - logvar) / 2
    return (nll.sum(1) + kl.sum(1)).mean()


@pytest.mark.parametrize("condition", [LABELS, FLOATS], ids=["labels", "vectors"])
@pytest.mark.parametrize(("likelihood", "linear"), [("bernoulli", False), ("gaussian", False), ("gaussian", True)])
def test_gradients_are_those_of_pytorch(likelihood, linear, condition):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'fastvae-engine[bench]'")
    vae = small(likelihood, hidden=(9,), activation="silu", sigma=0.7, scale=None, linear=linear, init="he")
    X, eps = data(likelihood), RNG.normal(size=(60, 3))
    vae.initialize(X, condition=condition)
    for values in vae.parameters().values():  # also those that start at 0
        values += RNG.normal(0, 0.2, values.shape).astype(np.float32)
    loss, _, gradients = vae.loss_and_gradients(X, eps, condition=condition)
    c = as_read() if condition is LABELS else (FLOATS - FLOATS.mean(0, np.float64)) / FLOATS.std(0, dtype=np.float64)
    p = {name: torch.tensor(v.astype(float), requires_grad=True) for name, v in vae.parameters().items()}
    expected = torch_loss(
        torch, p, torch.tensor(X.astype(float)), torch.tensor(c), torch.tensor(eps), likelihood, linear
    )
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert set(gradients) == set(p)
    for name, gradient in gradients.items():
        scale = p[name].grad.abs().max().item()
        np.testing.assert_allclose(gradient, p[name].grad, rtol=1e-3, atol=1e-5 * scale, err_msg=name)


def test_gradients_are_those_of_central_differences():
    """Of the rows by which the condition enters encoder and decoder."""
    vae = small(hidden=(5,), activation="tanh", init="he")
    vae.initialize(PIXELS, condition=LABELS)
    eps = RNG.normal(size=(60, 3)).astype(np.float32)
    gradients = vae.loss_and_gradients(PIXELS, eps, condition=LABELS)[2]
    for name, inputs in (("encoder.0.weight", 12), ("decoder.0.weight", 3)):
        weight = vae.parameters()[name]
        assert weight.shape == (inputs + 3, 5)
        for row, column in ((inputs, 0), (inputs + 1, 3), (inputs + 2, 4)):
            losses, before, step = [], weight[row, column], np.float32(0.02)
            for sign in (1, -1):
                weight[row, column] = before + sign * step
                losses.append(vae.loss_and_gradients(PIXELS, eps, condition=LABELS)[0])
            weight[row, column] = before
            assert gradients[name][row, column] == pytest.approx((losses[0] - losses[1]) / (2 * step), abs=1e-3)


@pytest.mark.parametrize("hidden", [(), (16,)])
@pytest.mark.parametrize("kind", ["labels", "vectors", "constant"])
def test_the_elbo_before_the_first_step_is_the_log_likelihood_of_a_linear_model(kind, hidden):
    """Least squares of x by c, and probabilistic PCA of what that leaves: the posterior is exact."""
    rng, rows = np.random.default_rng(3), 500
    condition = rng.integers(0, 4, rows) if kind == "labels" else rng.normal(1, 2, (rows, 3))
    if kind == "constant":
        condition[:, 1] = 7.0
    c = as_read(condition) if kind == "labels" else condition
    X = c @ rng.normal(0, 3, (c.shape[1], 6)) + rng.normal(size=(rows, 2)) @ rng.normal(size=(2, 6))
    X += rng.normal(size=X.shape) + 10
    vae = VAE(2, hidden, likelihood="gaussian", random_state=0)
    vae.initialize(X, condition=condition)
    deviation = X.std(axis=0)
    u = (X - X.mean(axis=0)) / deviation
    design = np.column_stack([np.ones(rows), c])
    rest = u - design @ np.linalg.lstsq(design, u, rcond=None)[0]
    values, vectors = np.linalg.eigh(rest.T @ rest / rows)
    W = vectors[:, 4:] * np.sqrt(values[4:] - values[:4].mean())
    expected = reference.log_prob_pca(rest, W, np.zeros(6), values[:4].mean() ** 0.5) - np.log(deviation).sum()
    np.testing.assert_allclose(vae.score_samples(X, condition), expected, rtol=2e-4)
    without = VAE(2, hidden, likelihood="gaussian", random_state=0)
    without.initialize(X)
    assert expected.mean() > without.score(X) + 1


def test_a_model_samples_the_cluster_that_is_asked_for():
    """Two clusters far apart: labels first, then a number in their place."""
    rng = np.random.default_rng(4)
    labels = np.array(["low", "high"])[rng.integers(0, 2, 400)]
    means = np.where(labels == "high", 4.0, -4.0)
    X = (means[:, None] * [1, -1, 1] + rng.normal(size=(400, 3))).astype(np.float32)
    for condition, asked in ((labels, {"high": 4.0, "low": -4.0}), (means, {4.0: 4.0, -4.0: -4.0})):
        for linear in (True, False):
            vae = VAE(2, (16,), likelihood="gaussian", linear=linear, epochs=40, learning_rate=5e-3, random_state=0)
            vae.fit(X, condition=condition)
            for which, mean in asked.items():
                found = vae.sample(500, condition=which, noise=True)
                error = found.std(axis=0) / 500**0.5
                assert (np.abs(found.mean(axis=0) - mean * np.array([1, -1, 1])) < 0.35 + 4 * error).all()
                np.testing.assert_allclose(found.std(axis=0), 1, atol=0.3)
        mixed = vae.sample(condition=list(asked) * 20)
        assert (np.sign(mixed[:, 0]) == [1, -1] * 20).all()


def test_the_condition_alone_decides_where_it_is_changed():
    vae = fitted(epochs=30, learning_rate=1e-2)
    Z = RNG.normal(size=(6, 3)).astype(np.float32)
    by_class = [vae.decode(Z, condition=label) for label in (0, 2, 4)]
    assert np.abs(by_class[0] - by_class[1]).max() > 1e-3
    np.testing.assert_array_equal(vae.decode(Z, condition=[0, 2, 4, 4, 2, 0])[[0, 1, 2]], [
        by_class[0][0], by_class[1][1], by_class[2][2],
    ])  # fmt: skip
    codes = vae.transform(PIXELS, LABELS)
    assert np.abs(codes - vae.transform(PIXELS, 0)).max() > 1e-4
    np.testing.assert_array_equal(codes[LABELS == 0], vae.transform(PIXELS, 0)[LABELS == 0])
    np.testing.assert_array_equal(vae.reconstruct(PIXELS, LABELS), vae.decode(codes, LABELS))


# ---- all ways to the same numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("condition", [LABELS, FLOATS], ids=["labels", "vectors"])
def test_bits_do_not_depend_on_threads(condition, monkeypatch):
    models = []
    for threads in ("1", "3"):
        monkeypatch.setenv("FASTVAE_THREADS", threads)
        models.append(fitted("gaussian", condition, batch_size=30))
    assert same(*models)
    scores = []
    for threads, vae in zip(("1", "3"), models, strict=True):
        monkeypatch.setenv("FASTVAE_THREADS", threads)
        scores.append(vae.elbo(TABLE, 3, condition=condition).tobytes() + vae.transform(TABLE, condition).tobytes())
    assert scores[0] == scores[1]


def test_rows_and_their_conditions_come_together(tmp_path):
    """From memory, from a file that is mapped and staged, and from data that have to be converted."""
    np.save(tmp_path / "X.npy", TABLE)
    ways = [TABLE, np.load(tmp_path / "X.npy", mmap_mode="r"), TABLE.astype(">f4")]
    models = [small("gaussian", scale=None).fit(X, condition=FLOATS) for X in ways]
    assert same(models[0], models[1])
    assert same(models[0], models[2])
    order = np.random.default_rng(0).permutation(60)
    shuffled = models[0].score_samples(TABLE[order], FLOATS[order])
    np.testing.assert_array_equal(shuffled, models[0].score_samples(TABLE, FLOATS)[order])
    assert not same(models[0], small("gaussian", scale=None).fit(TABLE, condition=FLOATS[order]))


def test_many_rows_are_read_in_pieces():
    vae = fitted("gaussian", FLOATS)
    X, C = np.tile(TABLE, (200, 1)), np.tile(FLOATS, (200, 1))
    np.testing.assert_array_equal(
        vae.transform(X, C).reshape(200, 60, 3), np.tile(vae.transform(TABLE, FLOATS), (200, 1, 1))
    )
    np.testing.assert_array_equal(
        vae.score_samples(X, C).reshape(200, 60), np.tile(vae.score_samples(TABLE, FLOATS), (200, 1))
    )


def test_several_codes_of_one_condition():
    """A decoder can be given K rows of z for each of c."""
    vae, K = fitted(), 4
    network, found = vae.network_, []

    def write(p):
        c, z = network.condition_of(p), p.empty(3, repeats=K)
        p.add("normal_noise", np.uint64(5), 0, 0, 0, z)
        both, back = joined(p, z, c)
        return p.returns(z, both, back(both), network.likelihood.mean(p, network.decoded(p, z, c)[0]))

    def keep(start, stop, *results):
        found.append([result.copy() for result in results])

    network.over(PIXELS, "several", write, keep, condition=network.condition.rows(LABELS, 60))
    z, both, d_z, x = (np.concatenate(parts) for parts in zip(*found, strict=True))
    np.testing.assert_array_equal(both, np.column_stack([z, np.repeat(as_read(), K, axis=0)]))
    np.testing.assert_array_equal(d_z, z)
    np.testing.assert_array_equal(x, vae.decode(z, np.repeat(LABELS, K)))


def test_held_out_rows_keep_their_conditions():
    """Each row's condition tells its values: a split that mixed them up would show in the held-out score."""
    rng = np.random.default_rng(5)
    c = rng.normal(0, 10, 400)
    X = (c[:, None] * [1.0, -2.0] + 0.1 * rng.normal(size=(400, 2))).astype(np.float32)
    vae = VAE(1, (4,), likelihood="gaussian", random_state=0, epochs=3).fit(X, condition=c, patience=2)
    by_hand = vae.score_samples(X, c).mean()
    assert vae.history_["heldout_elbo"].max() == pytest.approx(by_hand, abs=0.5)
    assert vae.score_samples(X, c[::-1].copy()).mean() < by_hand - 100
    told = VAE(1, (4,), likelihood="gaussian", random_state=0, epochs=1)
    told.fit(X[:300], condition=c[:300], heldout=X[300:], heldout_condition=c[300:])
    expected = told.elbo(X[300:], min(2048 // 100 + 1, 16), condition=c[300:]).mean()
    assert told.history_["heldout_elbo"][0] == pytest.approx(expected, rel=1e-9)


def test_partial_fit_and_the_loop_of_ones_own():
    whole, parts = small(epochs=3), small(epochs=1)
    examples = whole.initialize(PIXELS, condition=LABELS)
    whole.fit_examples(examples, 3, 16, None, None, Observer())
    for _ in range(3):
        parts.partial_fit(PIXELS, condition=LABELS)
    assert same(whole, parts)
    np.testing.assert_array_equal(whole.elbo_examples(examples), whole.elbo(PIXELS, condition=LABELS))
    np.testing.assert_array_equal(whole.encode_examples(examples), whole.encode(PIXELS, LABELS))
    again = whole.examples(PIXELS, condition=LABELS)
    np.testing.assert_array_equal(whole.elbo_examples(again), whole.elbo_examples(examples))
    assert whole.score(PIXELS, condition=LABELS) == whole.score_samples(PIXELS, LABELS).mean()
    np.testing.assert_array_equal(small().fit_transform(PIXELS, condition=LABELS), fitted().transform(PIXELS, LABELS))


# ---- files and copies ---------------------------------------------------------------------------------------------


CONDITIONS = {
    "whole": LABELS, "text": NAMES, "truth": LABELS > 0, "negative": -LABELS, "vectors": FLOATS,
    "numbers": FLOATS[:, 0], "table": pd.DataFrame({"size": FLOATS[:, 0], "age": FLOATS[:, 1].astype(float)}),
}  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=CONDITIONS)
def test_files_and_copies_know_the_condition(condition, tmp_path):
    vae = fitted(condition=condition)
    vae.save(tmp_path / "model.npz")
    vae.save_checkpoint(tmp_path / "checkpoint.npz")
    others = [VAE.load(tmp_path / "model.npz"), VAE.load_checkpoint(tmp_path / "checkpoint.npz")]
    others += [pickle.loads(pickle.dumps(vae)), copy.deepcopy(vae)]
    one = condition.iloc[0] if hasattr(condition, "iloc") else condition[0]
    for other in others:
        np.testing.assert_array_equal(other.transform(PIXELS, condition), vae.transform(PIXELS, condition))
        np.testing.assert_array_equal(
            other.sample(3, random_state=0, condition=one), vae.sample(3, random_state=0, condition=one)
        )
        assert other.network_.condition == vae.network_.condition
        other.partial_fit(PIXELS, condition=condition)
    decoder = VAE.load(tmp_path / "model.npz", decoder_only=True)
    np.testing.assert_array_equal(
        decoder.sample(3, random_state=0, condition=one), vae.sample(3, random_state=0, condition=one)
    )
    assert not [name for name in decoder.parameters() if name.startswith(("encoder", "mu"))]


def test_a_training_goes_on_from_its_checkpoint(tmp_path):
    whole, first = small(epochs=3), small(epochs=3)
    for vae, observer in ((whole, Observer()), (first, StopAfter(5))):
        vae.fit_examples(vae.initialize(PIXELS, condition=NAMES), 3, 16, None, None, observer)
    first.save_checkpoint(tmp_path / "checkpoint.npz")
    resumed = VAE.load_checkpoint(tmp_path / "checkpoint.npz")
    resumed.fit_examples(resumed.examples(PIXELS, condition=NAMES), 3, 16, None, None, Observer())
    assert same(whole, resumed)
    assert not same(whole, first)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [2, 0]}, "sorted distinct labels"),
        ({"labels": [0, "a"]}, "sorted distinct labels"),
        ({"labels": []}, "sorted distinct labels"),
        ({"labels": [0, 2]}, "architecture.conditions is 3; the arguments give 2"),
        ({"columns": 3, "names": None}, "not how they are scaled"),
        (5, "neither labels nor columns"),
        (None, "neither labels nor columns"),
    ],
)
def test_a_file_that_does_not_fit_together_is_refused(change, message, tmp_path):
    vae = fitted()
    header = vae._header()
    persistence.write_container(tmp_path / "model.npz", "model", header | {"condition": change}, vae._contents()[1])
    with pytest.raises(ModelFileError, match=message):
        VAE.load(tmp_path / "model.npz")


# ---- what is taken for what ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "condition",
    [
        LABELS.tolist(), tuple(LABELS), LABELS.astype(np.uint8), pd.Series(LABELS, index=range(100, 160)),
        pd.Series(LABELS).astype("Int64"), pd.Series(LABELS).astype("category"), LABELS.astype(object),
        pd.Categorical(LABELS),
    ],
)  # fmt: skip
def test_labels_that_are_whole_numbers(condition):
    known, rows = learned_condition(condition, 60)
    assert isinstance(known, Labels)
    np.testing.assert_array_equal(known.classes, [0, 2, 4])
    assert known.classes.dtype == np.int64
    np.testing.assert_array_equal(rows, as_read())


@pytest.mark.parametrize(
    "condition",
    [NAMES, NAMES.tolist(), NAMES.astype(object), pd.Series(NAMES), pd.Series(NAMES).astype("category"),
     pd.Series(NAMES).astype("string"), pd.Index(NAMES)],
)  # fmt: skip
def test_labels_that_are_text(condition):
    known, rows = learned_condition(condition, 60)
    assert known.classes.tolist() == ["ash", "birch", "oak"]
    np.testing.assert_array_equal(rows, as_read())


def test_labels_that_are_booleans():
    for condition in (
        LABELS > 0,
        (LABELS > 0).tolist(),
        pd.Series(LABELS > 0),
        pd.Series(LABELS > 0).astype("boolean"),
    ):
        known, rows = learned_condition(condition, 60)
        assert known.classes.tolist() == [False, True]
        np.testing.assert_array_equal(rows, as_read(LABELS > 0))


@pytest.mark.parametrize(
    "condition",
    [FLOATS, FLOATS.astype(np.float64), FLOATS.astype(">f4"), FLOATS.tolist(), pd.DataFrame(FLOATS)],
)  # fmt: skip
def test_vectors_are_standardised(condition):
    known, rows = learned_condition(condition, 60)
    assert isinstance(known, Vectors)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(rows.std(axis=0), 1, rtol=1e-6)


def test_numbers_are_one_column():
    for condition in (FLOATS[:, 0], FLOATS[:, :1], pd.Series(FLOATS[:, 0]), pd.DataFrame({"a": FLOATS[:, 0]})):
        known, rows = learned_condition(condition, 60)
        assert (known.columns, rows.shape) == (1, (60, 1))
    np.testing.assert_array_equal(known.rows(3.0, 2), np.repeat(known.rows([3.0], None), 2, axis=0))
    assert known.rows([1.0, 2.0], 2).shape == (2, 1)


def test_whole_numbers_as_floats_are_real_numbers():
    vae = fitted(condition=LABELS.astype(float))
    np.testing.assert_allclose(vae.network_.condition.offset, LABELS.mean())
    assert vae.sample(2, condition=3.0).shape == (2, 12)  # also between those that it was fitted on
    with pytest.raises(AttributeError, match="not fitted with labels"):
        _ = vae.classes_


def test_what_is_learned_is_told():
    assert fitted(condition=NAMES).classes_.tolist() == ["ash", "birch", "oak"]
    table = CONDITIONS["table"]
    vae = fitted(condition=table)
    assert vae.condition_names_.tolist() == ["size", "age"]
    with pytest.raises(ValueError, match=r"condition has its columns in another order.*model\.condition_names_"):
        vae.transform(PIXELS, table[["age", "size"]])
    for model in (fitted(condition=FLOATS), small().fit(PIXELS)):
        for name in ("classes_", "condition_names_"):
            assert not hasattr(model, name)


def test_how_many_are_drawn():
    vae = fitted()
    assert vae.sample(condition=0).shape == (1, 12)
    assert vae.sample(condition=[0, 2, 2]).shape == vae.sample(3, condition=[0, 2, 2]).shape == (3, 12)
    np.testing.assert_array_equal(vae.sample(2, 0, condition=4), vae.sample(condition=[4, 4], random_state=0))
    vectors = fitted(condition=FLOATS)
    np.testing.assert_array_equal(
        vectors.sample(2, 0, condition=FLOATS[0]), vectors.sample(condition=FLOATS[[0, 0]], random_state=0)
    )


def test_y_is_ignored_as_ever():
    assert same(small().fit(PIXELS, LABELS), small().fit(PIXELS))


# ---- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "error", "message"),
    [
        (LABELS[:59], ValueError, r"condition has 59 rows \(shape \(59,\)\); 60 needed"),
        (3, ValueError, r"condition=3 is one for all; fitting needs one for each of the 60 rows"),
        (np.arange(60), ValueError, r"60 different labels in 60 rows.*condition\.astype\(float\)"),
        (np.arange(60).astype(str), ValueError, "60 different labels in 60 rows.*more rows share"),
        (np.where(np.arange(60) == 7, np.nan, 1.0), ValueError, "1 entry that is not a finite.*NaN at row 7, column 0"),
        (FLOATS * [1, np.inf], ValueError, "60 entries that are not finite"),
        ([*NAMES[:59], None], ValueError, r"1 missing value \(first: row 59\)"),
        (pd.Series(LABELS).astype("Int64").where(LABELS > 0), ValueError, "missing values"),
        ([*LABELS[:59].tolist(), "a"], TypeError, "mixes kinds .int . at row 0, str 'a' at row 59."),
        ([True, *LABELS[1:].tolist()], TypeError, "mixes kinds .bool True at row 0, int"),
        ([*NAMES[:59], {}], TypeError, "has a dict at row 59"),
        (np.stack([LABELS, LABELS], 1), ValueError, r"labels are 1-D: pass vectors as floats, condition\.astype"),
        (LABELS[:, None], ValueError, r"or labels as condition\.ravel\(\)"),
        (FLOATS[:, :, None], ValueError, r"has shape \(60, 2, 1\)"),
        (NAMES.astype("S"), TypeError, r"decode it, condition\.astype\(str\)"),
        (FLOATS.astype(complex), TypeError, "complex"),
        (np.ma.masked_equal(LABELS, 2), ValueError, "masked entries"),
        (np.empty((60, 0)), ValueError, "is empty"),
        (np.full(60, 2**63, np.uint64), ValueError, "beyond int64"),
        (pd.DataFrame({"kind": NAMES}), TypeError, r"labels are one column: pass condition\['kind'\]"),
        (pd.DataFrame({"kind": LABELS}), TypeError, r"labels are one column: pass condition\['kind'\]"),
    ],
)
def test_a_condition_that_is_refused(condition, error, message):
    vae = small()
    with pytest.raises(error, match=message):
        vae.fit(PIXELS, condition=condition)
    assert not vae.__sklearn_is_fitted__()


@pytest.mark.parametrize(
    ("fitted_on", "condition", "error", "message"),
    [
        (LABELS, np.where(LABELS == 2, 5, LABELS), ValueError, "the label 5 .row .*the nearest is 4; valid: 0, 2, 4"),
        (NAMES, "oakk", ValueError, "the label 'oakk', which .*did you mean 'oak'"),
        (LABELS, None, ValueError, "fitted with a condition, labels 0, 2, 4: pass condition"),
        (FLOATS, None, ValueError, "fitted with a condition, vectors of 2 real numbers: pass condition"),
        (None, LABELS, ValueError, "condition was given, but this VAE was fitted without one"),
        (
            LABELS,
            LABELS.astype(float),
            TypeError,
            r"holds real numbers; .*whole numbers \(0, 2, 4\): pass condition.ast",
        ),
        (LABELS, NAMES, TypeError, "holds text; the model was fitted on labels that are whole numbers"),
        (LABELS, LABELS > 0, TypeError, "holds booleans"),
        (NAMES, LABELS, TypeError, "holds whole numbers; the model was fitted on labels that are text"),
        (
            FLOATS,
            LABELS,
            TypeError,
            r"holds whole numbers; .*vectors of 2 real numbers: pass condition\.astype\(float\)",
        ),
        (FLOATS, NAMES, TypeError, "holds text; the model was fitted on vectors"),
        (FLOATS, FLOATS[:, :1], ValueError, r"has 1 column \(shape \(60, 1\)\); the model was fitted on 2"),
        (FLOATS, FLOATS[:59], ValueError, "has 59 rows .*; 60 needed"),
        (FLOATS, FLOATS + np.nan, ValueError, "not finite"),
        (FLOATS / np.float32(1e3), np.full((60, 2), 3e38), ValueError, "standardised"),
        (LABELS, LABELS[:3], ValueError, "has 3 rows .*; 60 needed"),
        (LABELS, LABELS[:, None], ValueError, r"labels are 1-D, one for each row: pass condition\.ravel\(\)"),
    ],
)
def test_a_condition_that_does_not_fit_the_model(fitted_on, condition, error, message):
    vae = fitted(condition=fitted_on, epochs=1)
    uses = (
        vae.transform, vae.reconstruct, vae.encode, vae.score_samples,
        lambda X, c: vae.elbo(X, condition=c), lambda X, c: vae.loss_and_gradients(X, condition=c),
        lambda X, c: vae.decode(np.zeros((60, 3)), c), lambda X, c: vae.sample(60, condition=c),
        lambda X, c: vae.partial_fit(X, condition=c), lambda X, c: vae.examples(X, condition=c),
    )  # fmt: skip
    if np.ndim(condition) and np.shape(condition)[0] != 60:
        uses = [*uses[:7], *uses[8:]]
    for use in uses:
        with pytest.raises(error, match=message):
            use(PIXELS, condition)


def test_held_out_data_and_conditions_go_together():
    for given, message in (
        ({"condition": LABELS, "heldout": PIXELS}, "condition was given and heldout_condition was not"),
        ({"heldout": PIXELS, "heldout_condition": LABELS}, "heldout_condition was given and condition was not"),
        ({"condition": LABELS, "heldout_condition": LABELS}, "heldout_condition goes with heldout"),
        ({"condition": LABELS, "heldout": PIXELS, "heldout_condition": LABELS[:9]}, "heldout_condition has 9 rows"),
        ({"condition": LABELS, "heldout": PIXELS, "heldout_condition": LABELS + 1}, "heldout_condition has the label"),
    ):
        with pytest.raises(ValueError, match=message):
            small().fit(PIXELS, **given)


def test_examples_of_another_model_are_refused():
    vae, other, without = fitted(), fitted(condition=LABELS + 1), small().fit(PIXELS)
    examples = vae.examples(PIXELS, condition=LABELS)
    with pytest.raises(ValueError, match="has the condition of another model"):
        other.elbo_examples(examples)
    with pytest.raises(ValueError, match="has a condition, its model none"):
        without.elbo_examples(examples)
    with pytest.raises(ValueError, match="has no condition, as its model has"):
        vae.elbo_examples(without.examples(PIXELS))


def test_a_model_that_takes_none_says_so():
    with pytest.raises(TypeError, match="DenoisingAutoencoder takes no condition"):
        DenoisingAutoencoder(epochs=1).fit(PIXELS, condition=LABELS)


def test_conditions_of_a_command_line_are_read():
    known = fitted().network_.condition
    assert known.from_text("2") == 2
    with pytest.raises(ValueError, match="the label '3' is not known.*'0', '2', '4'"):
        known.from_text("3")
    assert fitted(condition=LABELS > 0).network_.condition.from_text("True") is True
    vectors = fitted(condition=FLOATS).network_.condition
    np.testing.assert_array_equal(vectors.from_text("1.5,-2"), [1.5, -2])
    for text in ("1", "1,2,3", "1,a"):
        with pytest.raises(ValueError, match="2 numbers with commas between them needed"):
            vectors.from_text(text)
