"""The estimator: gradients of the whole model, shapes and units, scikit-learn's conventions, determinism."""

import copy
import inspect
import os
import pickle
import random
import threading

import numpy as np
import pytest

from fastvae import VAE, reference
from fastvae.errors import ModelFileError, NotFittedError
from tests.support.models import PIXELS, RNG, TABLE, data, small
from tests.support.tolerances import check_same

# ---- shapes, units, equalities ----------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [(), (8,), (9, 7)])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_shapes_and_dtypes(likelihood, hidden):
    X = data(likelihood)
    vae = small(likelihood, hidden=hidden).fit(X)
    mu, logvar = vae.encode(X)
    assert mu.shape == logvar.shape == (60, 3)
    assert (vae.transform(X) == mu).all()
    assert vae.decode(mu).shape == vae.inverse_transform(mu).shape == vae.reconstruct(X).shape == (60, 12)
    assert (vae.reconstruct(X) == vae.decode(mu)).all()
    assert vae.sample(5).shape == (5, 12)
    assert {a.dtype for a in (mu, logvar, vae.decode(mu), vae.sample(2))} == {np.dtype("float32")}
    elbo = vae.elbo(X)
    assert elbo.shape == (60,)
    np.testing.assert_allclose(vae.score_samples(X), vae.elbo(X, 2000), atol=0.4)
    assert vae.score(X) == vae.score_samples(X).mean()
    assert (small(likelihood, hidden=hidden).fit_transform(X) == mu).all()


def test_parameters_come_in_order_of_use_and_are_views():
    vae = small(decoder_hidden=(5,)).fit(PIXELS)
    names = [
        f"{layer}.{kind}"
        for layer in ("encoder.0", "encoder.1", "mu", "logvar", "decoder.0", "decoder.1")
        for kind in ("weight", "bias")
    ]
    assert list(vae.parameters()) == names
    assert vae.parameters()["mu.weight"].shape == (7, 3)
    before = vae.transform(PIXELS)
    vae.parameters()["mu.bias"][:] += 1
    np.testing.assert_allclose(vae.transform(PIXELS), before + 1, rtol=1e-5)


def test_first_output_is_the_mean_of_the_data():
    vae = small(hidden=())
    vae.initialize(PIXELS)
    vae.parameters()["decoder.0.weight"][:] = 0
    np.testing.assert_allclose(vae.decode(np.zeros((1, 3)))[0], PIXELS.mean(0), rtol=1e-5)


@pytest.mark.parametrize("scale", [None, "standard", "minmax", (-20, 30)])
def test_scaling_is_undone_and_densities_stay_in_the_users_units(scale):
    columns = np.array([1, 100, 0.01, 1, 1, 1, 1, 1, 1, 1, 1, 5])
    X = TABLE * columns
    vae = small("gaussian", scale=scale, sigma=0.5).fit(X)
    sigma = 0.5 * vae.scale_
    mu, logvar = vae.encode(X)
    noise = reference.normals(int(vae.seed_), 0, 0, 0, (60, 3))
    xhat = vae.decode(mu + np.exp(logvar / 2) * noise)
    log_density = (-0.5 * ((X - xhat) / sigma) ** 2 - np.log(sigma) - 0.5 * np.log(2 * np.pi)).sum(1)
    kl = 0.5 * (np.exp(logvar) + mu**2 - 1 - logvar).sum(1)
    np.testing.assert_allclose(vae.elbo(X), log_density - kl, rtol=2e-5)


def test_scaling_before_is_the_same_as_scaling_inside():
    inside = small("gaussian", scale=(-20, 30)).fit(TABLE)
    outside = small("gaussian", scale=None).fit(((TABLE.astype(float) + 20) / 50).astype(np.float32))
    for name, values in inside.parameters().items():
        np.testing.assert_allclose(values, outside.parameters()[name], rtol=2e-3, atol=2e-5)


def test_elbo_does_not_depend_on_how_many_rows_are_computed_at_a_time(monkeypatch):
    from fastvae import backend

    X = np.tile(PIXELS, (20, 1))
    vae = small().fit(PIXELS)
    whole = vae.elbo(X)
    monkeypatch.setattr(backend, "CPU_PIECE", 7)
    check_same(vae.elbo(X), whole)
    check_same(vae.transform(X[:1]), vae.transform(X)[:1])


def test_samples_go_on_and_can_be_repeated():
    vae = small().fit(PIXELS)
    first, second = vae.sample(4), vae.sample(4)
    assert (first != second).any()
    assert (vae.sample(4, random_state=5) == vae.sample(4, random_state=5)).all()
    assert (small().fit(PIXELS).sample(4) == first).all()
    assert (vae.sample(6, random_state=5)[:4] == vae.sample(4, random_state=5)).all()


def test_threads_may_use_one_model_at_once():
    vae = small().fit(PIXELS)
    X = np.tile(PIXELS, (30, 1))
    expected, results = vae.elbo(X), {}
    threads = [threading.Thread(target=lambda i=i: results.update({i: vae.elbo(X)})) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert all((r == expected).all() for r in results.values())


@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8", "int32", "bool", ">f4", ">i2", "longdouble"])
def test_every_real_dtype_gives_the_same_model(dtype):
    X = (PIXELS > 0.5).astype(np.float32)
    expected = small().fit(X)
    vae = small().fit(X.astype(dtype))
    for name, values in vae.parameters().items():
        assert (values == expected.parameters()[name]).all()
    assert (vae.elbo(X.astype(dtype)) == expected.elbo(X)).all()


def test_lists_noncontiguous_and_read_only_arrays():
    expected = small().fit(PIXELS).transform(PIXELS)
    wide = np.empty((60, 24), np.float32)
    wide[:, ::2] = PIXELS
    frozen = PIXELS.copy()
    frozen.setflags(write=False)
    for X in (PIXELS.tolist(), wide[:, ::2], np.asfortranarray(PIXELS), frozen):
        np.testing.assert_array_equal(small().fit(X).transform(X), expected)


def test_input_is_never_changed():
    X, copy = PIXELS.copy(), PIXELS.copy()
    vae = small(scale="minmax").fit(X)
    vae.elbo(X), vae.reconstruct(X), vae.loss_and_gradients(X)
    assert (copy == X).all()


# ---- determinism ------------------------------------------------------------------------------------------------


def bits(vae):
    return b"".join(v.tobytes() for v in vae.parameters().values())


def test_same_seed_same_bits_and_another_seed_others():
    assert bits(small().fit(PIXELS)) == bits(small().fit(PIXELS))
    assert bits(small().fit(PIXELS)) != bits(small(random_state=2).fit(PIXELS))


def test_global_random_state_is_neither_read_nor_changed():
    np.random.seed(0)
    state = np.random.get_state()[1].copy()
    first = bits(small().fit(PIXELS))
    assert (np.random.get_state()[1] == state).all()
    np.random.seed(1)
    assert bits(small().fit(PIXELS)) == first


def test_a_generator_as_random_state():
    first = small(random_state=np.random.default_rng(0)).fit(PIXELS)
    assert bits(first) == bits(small(random_state=np.random.default_rng(0)).fit(PIXELS))
    assert bits(first) == bits(small(random_state=int(first.seed_)).fit(PIXELS))
    assert bits(small(random_state=None).fit(PIXELS)) != bits(small(random_state=None).fit(PIXELS))


# ---- scikit-learn's conventions ---------------------------------------------------------------------------------


def test_constructor_stores_and_does_nothing_else():
    values = {n: object() for n in inspect.signature(VAE).parameters}
    vae = VAE(**values)
    assert all(getattr(vae, n) is v for n, v in values.items())
    assert vars(vae) == values


def test_get_and_set_params():
    vae = small()
    assert vae.get_params()["latent_dim"] == 3
    assert vae.set_params(latent_dim=4, beta=2.0) is vae
    assert (vae.latent_dim, vae.beta) == (4, 2.0)
    with pytest.raises(ValueError, match="parameter='latentdim' is not known: did you mean 'latent_dim'"):
        vae.set_params(latentdim=3)
    assert repr(VAE(latent_dim=3)) == "VAE(latent_dim=3)"
    assert VAE(**vae.get_params()).get_params() == vae.get_params()


def test_fit_returns_self_and_learned_attributes_end_in_an_underscore():
    vae = small()
    assert vae.fit(PIXELS) is vae
    assert vae.n_features_in_ == 12
    assert {"history_", "seed_", "scale_", "offset_"} <= set(dir(vae))
    assert [len(v) for v in vae.history_.values()] == [2] * 7


@pytest.mark.parametrize(
    "use",
    [
        lambda v: v.transform(PIXELS),
        lambda v: v.encode(PIXELS),
        lambda v: v.decode(np.zeros((1, 3))),
        lambda v: v.sample(1),
        lambda v: v.elbo(PIXELS),
        lambda v: v.score(PIXELS),
        lambda v: v.reconstruct(PIXELS),
        lambda v: v.save("never-written.npz"),
        lambda v: v.parameters(),
        lambda v: v.history_,
        lambda v: v.loss_and_gradients(PIXELS),
    ],
)
def test_unfitted_use_is_an_error(use):
    with pytest.raises(NotFittedError, match="VAE is not fitted: call fit first"):
        use(VAE())


def test_partial_fit_goes_on_and_fit_starts_anew():
    vae = small()
    assert vae.partial_fit(PIXELS) is vae
    first = bits(vae)
    vae.partial_fit(PIXELS[:10])  # fewer than a batch
    assert bits(vae) != first
    assert len(vae.history_["loss"]) == 2
    once = small(epochs=1).fit(PIXELS)
    assert bits(once) == first  # the same pass
    assert bits(vae.set_params(epochs=1).fit(PIXELS)) == first
    vae.fit(PIXELS[:, :5])
    assert vae.n_features_in_ == 5


def test_works_inside_scikit_learn():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    vae = small("gaussian", epochs=1)
    assert clone(vae).get_params() == vae.get_params()
    assert make_pipeline(StandardScaler(), vae).fit(TABLE).transform(TABLE).shape == (60, 3)
    assert cross_val_score(vae, TABLE, cv=2).shape == (2,)
    search = GridSearchCV(vae, {"latent_dim": [1, 2]}, cv=2).fit(TABLE)
    assert search.best_params_["latent_dim"] in (1, 2)


# ---- files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_save_and_load_give_the_same_model(tmp_path, likelihood):
    X = data(likelihood)
    vae = small(likelihood, scale="minmax", sigma="learned").fit(X, heldout=X[:20])
    vae.save(tmp_path / "model.npz")
    loaded = VAE.load(tmp_path / "model.npz")
    assert bits(loaded) == bits(vae)
    assert loaded.get_params() == vae.get_params()
    assert (loaded.elbo(X) == vae.elbo(X)).all()
    assert (loaded.sample(3) == small(likelihood, scale="minmax", sigma="learned").fit(X).sample(3)).all()
    for name, values in vae.history_.items():
        np.testing.assert_array_equal(loaded.history_[name], values)
    loaded.partial_fit(X)
    loaded.save(tmp_path / "again.npz")


def test_the_decoder_alone_samples_the_same_and_has_no_encoder(tmp_path):
    vae = small(scale=(-1, 2)).fit(PIXELS)
    vae.save(tmp_path / "model.npz")
    decoder = VAE.load(tmp_path / "model.npz", decoder_only=True)
    assert all(name.startswith("decoder.") for name in decoder.parameters())
    assert (decoder.sample(5) == vae.sample(5)).all()
    assert (decoder.decode(np.ones((2, 3))) == vae.decode(np.ones((2, 3)))).all()
    for use in (decoder.transform, decoder.elbo, decoder.loss_and_gradients, decoder.partial_fit, decoder.reconstruct):
        with pytest.raises(NotFittedError, match="decoder_only=True"):
            use(PIXELS)
    with pytest.raises(NotFittedError, match="decoder_only=True"):
        decoder.save(tmp_path / "half.npz")


def test_a_damaged_model_file_is_refused_or_loads_exactly_the_same(tmp_path):
    """Truncations, flipped bits, exchanged blocks; FASTVAE_MUTATIONS sets how many."""
    path = tmp_path / "model.npz"
    vae = small(scale="minmax").fit(PIXELS)
    vae.save(path)
    original, expected = path.read_bytes(), vae._contents()
    draw = random.Random(0)
    outcomes = {"refused": 0, "same": 0}
    for _ in range(int(os.environ.get("FASTVAE_MUTATIONS", "200"))):
        damaged = bytearray(original)
        kind = draw.choice(["cut", "bit", "exchange"])
        if kind == "cut":
            del damaged[draw.randrange(len(damaged)) :]
        elif kind == "bit":
            for _ in range(draw.choice([1, 1, 3])):
                damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        else:
            size = draw.randrange(1, 300)
            a, b = (draw.randrange(len(damaged) - size) for _ in range(2))
            damaged[a : a + size], damaged[b : b + size] = damaged[b : b + size], damaged[a : a + size]
        path.write_bytes(damaged)
        try:
            header, arrays = VAE.load(path)._contents()
        except ModelFileError:
            outcomes["refused"] += 1
        else:
            assert header == expected[0]
            assert all(
                (arrays[name] == values).all() or name.startswith("history") for name, values in expected[1].items()
            )
            outcomes["same"] += 1
    print(outcomes)
    assert outcomes["refused"] > 0.5 * sum(outcomes.values())


@pytest.mark.parametrize(
    "settings",
    [
        {"scale": (np.float32(-1), np.float32(2))},
        {"scale": np.array([-1.0, 2.0])},
        {"scale": (np.full(12, -1.0), np.full(12, 2.0))},
        {"hidden": (np.int64(8),)},
        {"hidden": np.array([8])},
        {"random_state": np.int64(3)},
        {"beta": np.float32(1.5), "latent_dim": np.int32(2)},
    ],
)
def test_numpy_arguments_can_be_saved(tmp_path, settings):
    vae = small(**settings).fit(PIXELS)
    vae.save(tmp_path / "model.npz")
    loaded = VAE.load(tmp_path / "model.npz")
    assert (loaded.elbo(PIXELS) == vae.elbo(PIXELS)).all()
    if "random_state" in settings:
        assert loaded.random_state == 3
    assert bits(VAE(**loaded.get_params()).fit(PIXELS)) == bits(vae)


@pytest.mark.parametrize("copied", [lambda v: pickle.loads(pickle.dumps(v)), copy.deepcopy, copy.copy])
def test_a_fitted_model_can_be_pickled_and_copied_and_goes_on_the_same(copied):
    vae = small("gaussian", scale="standard", sigma="optimal").fit(TABLE, heldout=TABLE[:10])
    other = copied(vae)
    assert bits(other) == bits(vae)
    assert (other.elbo(TABLE) == vae.elbo(TABLE)).all()
    assert (other.history_["loss"] == vae.history_["loss"]).all()
    assert bits(other.partial_fit(TABLE)) == bits(vae.partial_fit(TABLE))
    assert not hasattr(copied(small()), "network_")


def test_a_loaded_model_does_not_use_its_noise_again(tmp_path):
    vae = small().fit(PIXELS)
    vae.save(tmp_path / "model.npz")
    loaded = VAE.load(tmp_path / "model.npz")
    assert loaded.n_steps_ == vae.n_steps_ == 8
    assert loaded.n_epochs_ == 2


def test_samples_with_noise_are_as_wide_as_the_model_says():
    vae = small("gaussian", sigma=0.5, scale="standard").fit(TABLE)
    mean, noisy = vae.sample(4000, random_state=1), vae.sample(4000, random_state=1, noise=True)
    eps = (noisy - mean) / (0.5 * vae.scale_)
    assert abs(eps.mean()) < 0.02
    assert eps.std() == pytest.approx(1, abs=0.02)
    pixels = small(scale=(-1, 2)).fit(PIXELS)
    mean, noisy = pixels.sample(4000, random_state=1), pixels.sample(4000, random_state=1, noise=True)
    assert set(np.unique(noisy)) == {-1.0, 2.0}
    np.testing.assert_allclose(noisy.mean(0), mean.mean(0), atol=0.1)


def test_the_prior_of_samples_and_the_noise_of_training_are_different_draws():
    vae = small().fit(PIXELS)
    z = reference.normals(int(vae.seed_), 2, 0, 0, (5, 3))  # stream 2, the first call
    np.testing.assert_allclose(vae.sample(5), vae.decode(z), rtol=1e-4, atol=1e-5)


def test_decode_keeps_the_differences_of_wide_columns():
    X = np.column_stack([1.7e9 + np.arange(300.0), RNG.normal(size=300)])
    vae = VAE(2, (32,), likelihood="gaussian", scale="standard", sigma="optimal", epochs=3, random_state=0).fit(X)
    assert vae.reconstruct(X).dtype == np.float64
    assert len(np.unique(vae.reconstruct(X)[:, 0])) > 290
    assert vae.reconstruct(X)[:, 0] == pytest.approx(X[:, 0], abs=600)


def test_sigma_starts_from_the_spread_in_model_units():
    settings = {"sigma": "learned", "scale": (-20, 30), "linear": False}
    one, each = (small("gaussian", sigma_per_column=several, **settings) for several in (False, True))
    one.initialize(TABLE), each.initialize(TABLE)
    assert one.sigma_ == pytest.approx(TABLE.std(0).__pow__(2).mean() ** 0.5 / 50, rel=1e-4)
    np.testing.assert_allclose(each.sigma_, TABLE.std(0) / 50, rtol=1e-4)


def test_binarised_rows_have_noise_of_their_own_in_every_piece(monkeypatch):
    from fastvae import backend

    grey = np.full((40, 12), 0.5, np.float32)
    vae = small().fit(PIXELS)
    whole = vae.elbo_examples(vae.examples(grey, binarize="dynamic"))
    monkeypatch.setattr(backend, "CPU_PIECE", 8)
    check_same(vae.elbo_examples(vae.examples(grey, binarize="dynamic")), whole)
    codes = vae.encode_examples(vae.examples(grey, binarize="dynamic"))[0]
    assert len(np.unique(codes[:, 0])) > 35


def test_feature_names():
    assert small().fit(PIXELS).get_feature_names_out().tolist() == ["vae0", "vae1", "vae2"]
