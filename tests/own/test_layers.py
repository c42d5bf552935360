"""Layers of one's own: what they compute, in models, in files; and what is refused."""

import pickle

import numpy as np
import pytest

from fastvae import GAN, VAE, Autoencoder, DenoisingAutoencoder, TableVAE
from fastvae.export import numpy_file
from fastvae.kernels import cpu
from fastvae.layers import LAYERS, MLP, mirrored
from fastvae.own import Activation, Layer, check_gradients, register, unregister
from fastvae.parameters import Parameters
from tests.models.test_layers import bound, forward_backward
from tests.own.layers import Dropout, Gelu, OwnTanh, Product, Scaling
from tests.support.models import TABLE, small
from tests.support.passes import new_pass, run

RNG = np.random.default_rng(4)


@pytest.mark.parametrize("shares", [1, 2, 3])
def test_what_a_layer_computes(shares):
    register(Product)
    layer = Product("product", 5, 3)
    parameters = bound(cpu, layer)
    weight = parameters.value("product.weight")
    assert np.abs(weight).min() > 0
    x, upstream = (RNG.normal(size=(9, n)).astype(np.float32) for n in (5, 3))
    out, d_x, gradients = forward_backward(cpu, layer, x, upstream, shares)
    np.testing.assert_allclose(out, x @ weight, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(d_x, upstream @ weight.T, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradients["product.weight"], x.T @ upstream, rtol=1e-5, atol=1e-5)


def test_two_uses_add_up():
    """The gradients of the parameters, and those of an input that goes elsewhere too."""
    register(Scaling)
    layer = Scaling("s", 4)
    parameters = bound(cpu, layer)
    x, d = (RNG.normal(size=(6, 4)).astype(np.float32) for _ in range(2))
    p = new_pass(cpu, 6, 2)
    cut = p.cut(x)
    (_, back), (_, back_again) = layer(p, cut), layer(p, cut)
    given = p.cut(d)
    d_x = back_again(given, add_to=back(given))
    p.update(None, [layer])
    run(p)
    np.testing.assert_allclose(d_x, 2 * d, rtol=1e-6)
    np.testing.assert_allclose(parameters.gradient("s.gain"), 2 * (d * x).sum(axis=0), rtol=1e-5, atol=1e-6)


def test_an_activation_is_the_packages():
    """A model with it has the same losses as one with the package's own."""
    register(OwnTanh)
    own, built_in = (small(hidden=(6, 5), activation=name) for name in ("own_tanh", "tanh"))
    X = (RNG.random((20, 12)) < 0.5).astype(np.float32)
    own.initialize(X), built_in.initialize(X)
    assert [p.shape for p in own.parameters().values()] == [p.shape for p in built_in.parameters().values()]
    for mine, theirs in zip(own.parameters().values(), built_in.parameters().values(), strict=True):
        mine[...] = theirs
    (loss, _, gradients), (expected, _, others) = own.loss_and_gradients(X), built_in.loss_and_gradients(X)
    assert loss == pytest.approx(expected, rel=1e-6)
    for mine, theirs in zip(gradients.values(), others.values(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)


def test_in_a_model():
    register(Scaling), register(Gelu)
    hidden = (6, "scaling", 5)
    vae = small("gaussian", hidden=hidden, activation="gelu").fit(TABLE)
    assert [type(layer).__name__ for layer in vae.network_.encoder.layers] == [
        "Dense", "Gelu", "Scaling", "Dense", "Gelu",
    ]  # fmt: skip
    assert vae.parameters()["decoder.4.gain"].shape == (6,)
    assert (vae.parameters()["encoder.2.gain"] != 1).any()
    errors = check_gradients(vae, TABLE[:12])
    assert max(error for name, error in errors.items() if name != "sigma.parameter") < 1e-3
    assert vae.get_params()["hidden"] == hidden
    for model in (Autoencoder(2, hidden, epochs=2, activation="gelu", likelihood="gaussian"),
                  DenoisingAutoencoder(2, hidden, epochs=2, likelihood="gaussian", corruption="gaussian")):  # fmt: skip
        assert np.isfinite(model.fit(TABLE).score(TABLE))
    gan = GAN(2, (6, "scaling"), epochs=2, output="identity", random_state=0).fit(TABLE)
    assert np.isfinite(gan.sample(3)).all()
    assert (gan.parameters()["discriminator.1.gain"] != 1).any()


def test_in_a_model_of_a_table_with_gaps(tmp_path):
    register(Scaling), register(Gelu)
    rows = TABLE.copy()
    rows[::3, 1] = np.nan
    model = TableVAE(2, (6, "scaling", 5), activation="gelu", epochs=2, early_stopping=False, random_state=0).fit(rows)
    assert (model.parameters()["encoder.2.gain"] != 1).any()
    assert max(error for name, error in check_gradients(model, rows[:12]).items() if "theta" not in name) < 1e-3
    model.save(tmp_path / "m.npz")
    np.testing.assert_array_equal(TableVAE.load(tmp_path / "m.npz").score_samples(rows), model.score_samples(rows))


@pytest.mark.parametrize("repeats", [1, 3])
def test_noise(repeats):
    """As much as it should be, other noise for each use and each step, the same however the rows are cut; none where
    nothing is trained."""
    register(Dropout)
    layer, x = Dropout("d", 40), np.ones((12 * repeats, 40), np.float32)
    layer.bind(Parameters({}), cpu)
    found = []
    for shares, step in ((1, 1), (3, 1), (1, 2)):
        p = new_pass(cpu, 12, shares)
        cut = p.cut(x)
        (first, back), (second, _) = layer(p, cut), layer(p, cut)
        d_x = back(p.cut(x.copy()))
        run(p, seed=7, step=step)
        np.testing.assert_array_equal(d_x, first)
        found.append((first.copy(), second.copy()))
    np.testing.assert_array_equal(found[0], found[1])
    kept = [array > 0 for pair in (found[0], found[2]) for array in pair]
    assert all(abs(each.mean() - 0.75) < 0.1 for each in kept)
    assert all((one != other).mean() > 0.2 for i, one in enumerate(kept) for other in kept[:i])
    assert len({row.tobytes() for row in kept[0]}) == 12 * repeats
    p = new_pass(cpu, 12, backward=False)
    assert layer(p, x)[0] is x


def test_a_model_with_noise():
    register(Dropout)
    vae = small("gaussian", hidden=(8, "dropout"), activation="tanh", n_samples=2).fit(TABLE)
    np.testing.assert_array_equal(vae.score_samples(TABLE), vae.score_samples(TABLE))
    assert max(error for name, error in check_gradients(vae, TABLE[:12]).items() if name != "sigma.parameter") < 1e-2


def test_the_number_of_threads_changes_nothing(monkeypatch):
    register(Scaling)
    models = []
    for threads in (1, 2):
        vae = small("gaussian", hidden=(6, "scaling"))
        monkeypatch.setattr("fastvae.kernels.cpu.workers.shares_for", lambda rows, operations, n=threads: n)
        models.append(vae.fit(TABLE))
    for one, other in zip(*(model.parameters().values() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)


def test_saved_and_pickled(tmp_path):
    register(Scaling), register(Gelu)
    vae = small("gaussian", hidden=(6, "scaling"), activation="gelu").fit(TABLE)
    scores = vae.score_samples(TABLE)
    vae.save(tmp_path / "m.npz")
    for other in (VAE.load(tmp_path / "m.npz"), pickle.loads(pickle.dumps(vae))):
        np.testing.assert_array_equal(other.score_samples(TABLE), scores)
        assert other.hidden == (6, "scaling")
    with pytest.raises(ValueError, match="is a 'gelu', a layer of one's own, which no format"):
        numpy_file.write(vae, tmp_path / "exported")
    unregister(Gelu)
    with pytest.raises(ValueError, match="the layer 'gelu' of .* own, .* first import tests.own.layers, which"):
        VAE.load(tmp_path / "m.npz")


def test_mirrored():
    assert mirrored((64, "a", "b", 32, 16, "c")) == (16, "c", 32, 64, "a", "b")
    assert mirrored((3, 2)) == (2, 3)
    assert mirrored(()) == ()


def test_a_layer_in_its_place():
    register(Scaling)
    assert [layer.name for layer in MLP("m", (4, 3, "scaling", 2), "relu", "identity").layers] == ["m.0", "m.1", "m.2"]
    with pytest.raises(TypeError, match=r"hidden\[0\]='scaling' must be a whole number"):
        VAE(hidden=("scaling", 3)).fit(TABLE)
    with pytest.raises(ValueError, match=r"hidden\[1\]='scalling' is not known: did you mean 'scaling'"):
        VAE(hidden=(3, "scalling")).fit(TABLE)
    with pytest.raises(ValueError, match="did you mean 'relu'"):
        VAE(activation="rellu").fit(TABLE)
    with pytest.raises(ValueError, match="has as many outputs as inputs, 3, not 2"):
        Scaling("s", 3, 2)


# ---- what is refused ------------------------------------------------------------------------------------------------


def scaling(**changed):
    """Scaling with something changed; None: left out."""
    names = ("NAME", "ROW", "START", "forward", "backward", "gradient")
    body = {name: Scaling.__dict__[name] for name in names} | changed
    body = {name: staticmethod(v) if callable(v) else v for name, v in body.items() if v is not None}
    return type("Scaling", (Layer,), body | {"__module__": "elsewhere", "__qualname__": "Scaling"})


def half(x, gain, shift, out):
    for j in range(x.shape[1] - 1):
        out[:, j] = x[:, j]


def beyond(x, gain, shift, out):
    out[:, x.shape[1]] = 0.0


def across_rows(x, gain, shift, out):
    out[:] = x - x.mean(axis=0)


def without_gain(x, gain, shift, out, d_out, d_x):
    d_x[:] = d_out


def spoils(x, gain, shift, out, d_out, d_x):
    d_x[:] = gain * d_out
    d_out[:] = 0


def forgets(x, gain, shift, out, d_out, d_gain, d_shift):
    d_gain[:] = (d_out * x).sum(axis=0)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"NAME": None}, TypeError, "Scaling has no NAME"),
        ({"NAME": "Layer Norm"}, ValueError, "layer 'Layer Norm': a name of lower-case letters"),
        ({"NAME": "dense"}, ValueError, r"op 'dense_forward' exists already \(of the package\)"),
        ({"ROW": None}, TypeError, "Scaling.ROW is missing"),
        ({"ROW": "x:B,D gain:real shift:D -> out:B,D"}, ValueError, "gain:real must be an array, by the letters B, D "),
        ({"ROW": "x:D,B gain:D shift:D -> out:B,D"}, ValueError, "must begin with an input x:B,D"),
        ({"ROW": "x:B,D gain:B,D shift:D -> out:B,D"}, ValueError, "parameters have no B"),
        (
            {"ROW": "x:B,D gain:D -> out:B,D"},
            TypeError,
            r"Scaling.forward takes \(x, gain, shift, out\); by ROW",
        ),
        ({"forward": None}, TypeError, r"Scaling lacks forward\(x, gain, shift, out\), a @staticmethod"),
        ({"backward": None}, TypeError, r"Scaling lacks backward\(x, gain, shift, out, d_out, d_x\)"),
        ({"gradient": None}, TypeError, r"Scaling lacks gradient\(x, gain, shift, out, d_out, d_gain, d_shift\)"),
        ({"START": {"gian": 1.0}}, ValueError, "Scaling.START: 'gian' is no parameter"),
        ({"forward": half}, ValueError, r"Scaling.forward: out\[0, 3\] is not finite, or was not written"),
        ({"forward": beyond}, TypeError, r"Scaling.forward fails \(B = 3, D = 4, H = 5\): IndexError"),
        ({"forward": across_rows}, ValueError, "a row of x gives something else alone than beside others"),
        ({"backward": without_gain}, ValueError, r"Scaling.backward: d_x\[0, 0\] is .*, where differences of forward"),
        ({"backward": spoils}, ValueError, "Scaling.backward changes its inputs"),
        ({"gradient": forgets}, ValueError, r"Scaling.gradient: d_shift\[0\] was not written, where differences"),
    ],
)
def test_what_is_wrong_is_said(changed, error, message):
    with pytest.raises(error, match=message):
        register(scaling(**changed))
    assert "scaling" not in LAYERS


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        (None, r"Relu6 lacks formula\(a\), a @staticmethod"),
        (lambda a: min(max(a, 0.0), 6.0), "Relu6.formula returned .*; two numbers are needed"),
        (lambda a: (min(max(a, 0.0), 6.0), 1.0), "at a = -11.9863 its second number is 1, and the first changes by 0"),
        (lambda a: (np.sqrt(a), 0.5), "the activation is nan at a = -11.9863"),
    ],
)
def test_formulas_that_are_refused(formula, message):
    body = {"NAME": "relu6"} | ({} if formula is None else {"formula": staticmethod(formula)})
    with pytest.raises((TypeError, ValueError), match=message):
        register(type("Relu6", (Activation,), body | {"__qualname__": "Relu6"}))
    assert "relu6" not in LAYERS


def test_on_a_gpu_or_not_registered_it_is_refused():
    class Device:
        ON_HOST = False

    with pytest.raises(TypeError, match="Scaling is not registered: put @register before the class"):
        Scaling("s", 3)
    register(Scaling)
    with pytest.raises(ValueError, match="layer 'scaling' is compiled for the CPU alone: use device='cpu'"):
        Scaling("s", 3).bind(Parameters({}), Device)
