"""Whole models on the device: every kernel of a training, of encoding and of sampling executed from its PTX."""

import inspect
import json

import numpy as np
import pytest

from tests.fake_driver import why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from fastvae import (
    GSN,
    VAE,
    DenoisingAutoencoder,
    SparseAutoencoder,
    checks,
    checks_cuda,
    encode,
    sample,
    selfcheck,
    train,
)
from fastvae.contract_cases import PRODUCTS, layers
from fastvae.kernels import cpu, cuda
from fastvae.kernels.cuda.driver import Device, using
from fastvae.kernels.formulas import IDENTITY, SILU, TANH
from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slots
from fastvae.training import Observer
from tests.cuda.ptx_device import OfAnotherLibrary, PTXDevice, for_models

X = np.random.default_rng(0).random((36, 16)).astype(np.float32)
ROWS = np.arange(36)
LAUNCHES = 15  # of a step; a sigma that is not fixed adds two


def model(**settings):
    return VAE(**{"latent_dim": 4, "hidden": (24,), "batch_size": 8, "epochs": 1, "random_state": 0} | settings)


@pytest.fixture
def device(monkeypatch):
    with using(for_models(monkeypatch)) as made:
        yield made


class Broken(Device):
    """Without a driver."""

    def fault(self):
        return "no NVIDIA driver, or no GPU, is found"


def slowly(*values):
    """A parameter of a test that is among the slow ones with it."""
    return pytest.param(*values, marks=pytest.mark.slow)


def check_same(found, expected, tolerance=1e-4):
    """The greatest difference by the greatest number, each array by itself."""
    for name, values in expected.items():
        assert np.isfinite(found[name]).all()
        assert np.abs(found[name] - values).max() <= tolerance * np.abs(values).max(), name


def check_uses(found, expected, data=X):
    """Everything that can be asked of a model."""
    for use in (
        lambda vae: vae.transform(data),
        lambda vae: vae.encode(data)[1],
        lambda vae: vae.reconstruct(data),
        lambda vae: vae.sample(5, random_state=1),
        lambda vae: vae.elbo(data),
        lambda vae: vae.score_samples(data[:1]),
    ):
        np.testing.assert_allclose(use(found), use(expected), rtol=1e-3, atol=1e-4)


# ---- training -----------------------------------------------------------------------------------------------------


def train_on_both(**settings):
    """Twenty steps, the last one of each epoch on a short batch."""
    settings = {"epochs": 4, "clip_norm": 1.0, "kl_warmup_epochs": 2.5} | settings
    data = data_for(settings)
    return model(device="cuda", **settings).fit(data), model(**settings).fit(data)


def data_for(settings):
    return np.floor(9 * X) if settings.get("likelihood") == "poisson" else X


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_training(device, likelihood):
    found, expected = train_on_both(likelihood=likelihood)
    assert found._state.step == expected._state.step == 20
    check_same(found.parameters(), expected.parameters())
    check_same(found.history_, {name: expected.history_[name] for name in ("loss", "nll", "kl")}, 1e-5)
    check_uses(found, expected)
    without = model(epochs=4, kl_warmup_epochs=2.5, likelihood=likelihood).fit(X)
    assert not np.array_equal(without.network_.parameters.values, expected.network_.parameters.values)  # it did clip


def test_training_with_warps_one_after_the_other(monkeypatch):
    with using(PTXDevice((9, 0), 1, monkeypatch)):
        found, expected = train_on_both(likelihood="gaussian", epochs=1)
        check_same(found.parameters(), expected.parameters())


@pytest.mark.parametrize(
    "condition", [np.arange(36) % 3, np.random.default_rng(1).normal(2, 3, (36, 2))], ids=["labels", "vectors"]
)
def test_a_conditional_model(device, condition):
    """Two sets of rows are gathered in a step, and read in a pass."""
    found, expected = (
        model(device=on, epochs=2, likelihood="gaussian").fit(X, condition=condition) for on in ("cuda", "cpu")
    )
    check_same(found.parameters(), expected.parameters())
    assert "concatenate_backward" in device.launched
    for use in (
        lambda vae: vae.transform(X, condition),
        lambda vae: vae.sample(5, random_state=1, condition=condition[:5]),
        lambda vae: vae.elbo(X, condition=condition),
        lambda vae: vae.loss_and_gradients(X, np.zeros((36, 4)), condition)[0],
    ):
        np.testing.assert_allclose(use(found), use(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("kind", "settings"), [
    (DenoisingAutoencoder, {"latent_dim": 4, "hidden": (24,), "likelihood": "gaussian", "sigma": "learned"}),
    (GSN, {"hidden": (24, 10), "noise": (0.3, 1.0), "walkback": 3}),
    slowly(GSN, {"hidden": (9, 8, 7), "activation": "sigmoid", "walkback": 2, "clip_norm": 1.0}),
], ids=str)  # fmt: skip
def test_models_that_run_a_chain(device, kind, settings):
    """Weights that are used both ways, several times in a step; and a chain whose state stays on the device."""
    settings = {"batch_size": 8, "epochs": 2, "random_state": 0, "early_stopping": False} | settings
    found, expected = (kind(device=on, **settings).fit(X) for on in ("cuda", "cpu"))
    check_same(found.parameters(), expected.parameters())
    for use in (
        lambda model: model.transform(X),
        lambda model: model.reconstruct(X),
        lambda model: model.score_samples(X),
        lambda model: model.sample(6, chains=3, burn_in=1, start=X[:3], random_state=1),
    ):
        np.testing.assert_allclose(use(found), use(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("kind", "settings"), [
    (VAE, {"latent_dim": 4, "hidden": (24,), "likelihood": "gaussian"}),
    slowly(VAE, {"latent_dim": 4, "hidden": (24,), "likelihood": "gaussian", "n_samples": 2}),
    (VAE, {"latent_dim": 4, "hidden": (24,), "objective": "dreg", "n_samples": 2}),
    (SparseAutoencoder, {"latent_dim": 20}),
], ids=str)  # fmt: skip
def test_rows_with_weights(device, kind, settings):
    """One more input is gathered; gradients, losses and a mean over the batch are multiplied by it."""
    settings, weights = {"batch_size": 8, "epochs": 1, "random_state": 0, "early_stopping": False} | settings, ROWS % 4
    found, expected = (kind(device=on, **settings).fit(X, sample_weight=weights) for on in ("cuda", "cpu"))
    check_same(found.parameters(), expected.parameters())
    np.testing.assert_allclose(found.history_["loss"], expected.history_["loss"], rtol=1e-5)
    assert "scale_rows_inplace" in device.launched


@pytest.mark.parametrize("penalty", [slowly("kl"), "l1"])
def test_a_sparse_autoencoder(device, penalty):
    """The mean over the batch is a product of its own in the middle of a step."""
    settings = {"latent_dim": 20, "hidden": (9,), "penalty": penalty, "rho": 0.1, "random_state": 0}
    settings |= {"batch_size": 8, "epochs": 2, "early_stopping": False}
    found, expected = (SparseAutoencoder(device=on, **settings).fit(X) for on in ("cuda", "cpu"))
    check_same(found.parameters(), expected.parameters())
    np.testing.assert_allclose(found.history_["penalty"], expected.history_["penalty"], rtol=1e-5)
    np.testing.assert_allclose(found.transform(X), expected.transform(X), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (9, 0)])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_training_in_three_orders(likelihood, capability, seed, monkeypatch):
    with using(PTXDevice(capability, seed, monkeypatch)):
        found, expected = train_on_both(likelihood=likelihood)
        check_same(found.parameters(), expected.parameters())
        check_uses(found, expected)


@pytest.mark.parametrize("settings", [
    {"likelihood": "gaussian", "clip_norm": None},
    {"likelihood": "gaussian", "clip_norm": 2.0, "hidden": (), "decoder_hidden": (9, 7)},
    slowly({"likelihood": "gaussian", "sigma_per_column": False, "clip_norm": 2.0, "linear": False, "scale": None}),
    {"likelihood": "gaussian", "sigma": "optimal", "hidden": (9, 7)},
    slowly({"likelihood": "gaussian", "sigma": "optimal", "sigma_per_column": False, "clip_norm": None}),
    slowly({"likelihood": "gaussian", "sigma": 0.5, "clip_norm": None, "activation": "tanh"}),
    {"likelihood": "poisson", "activation": "silu"},
    {"objective": "iwae", "n_samples": 3, "kl_warmup_epochs": 0, "likelihood": "gaussian"},
    {"objective": "dreg", "n_samples": 2, "kl_warmup_epochs": 0, "hidden": (9, 7)},
    slowly({"n_samples": 3, "likelihood": "gaussian", "sigma": "optimal"}),
    {"n_samples": 2, "free_bits": 0.1, "likelihood": "poisson"},
    slowly({"free_bits": 0.05, "clip_norm": None}),
    slowly({"activation": "silu", "hidden": (9, 7), "decoder_hidden": (5,)}),
    slowly({"activation": "tanh", "hidden": ()}),
], ids=str)  # fmt: skip
def test_other_models(device, settings):
    found, expected = train_on_both(epochs=1, **settings)
    check_same(found.parameters(), expected.parameters())
    np.testing.assert_allclose(found.sigma_, expected.sigma_, rtol=1e-5)
    check_uses(found, expected, data_for(settings))


def test_bfloat16(device):
    """As far from float32 as operands of 8 bits bring it, and with other bits."""
    found, expected = (model(device="cuda", precision=p).fit(X[:16]) for p in ("bfloat16", "float32"))
    assert "dense_bfloat16_along_across" in device.launched
    check_same(found.parameters(), expected.parameters(), 0.05)
    assert not np.array_equal(found.network_.parameters.values, expected.network_.parameters.values)
    np.testing.assert_allclose(found.elbo(X), expected.elbo(X), rtol=0.02)


@pytest.mark.parametrize("code", ["u1", slowly("?"), "f8", slowly("<i2"), ">f4"])
def test_data_of_other_types(device, code):
    """Bytes, numbers that are read in float64, and those that the host has to turn round; columns apart in memory."""
    data = np.ascontiguousarray((X * 255 if code == "u1" else X > 0.5 if code in "?<i2" else X).astype(code).T).T
    found, expected = (model(device=on, scale="minmax").fit(data) for on in ("cuda", "cpu"))
    check_same(found.parameters(), expected.parameters())
    np.testing.assert_allclose(found.elbo(data), expected.elbo(data), rtol=1e-4)


@pytest.mark.parametrize("binarize", ["dynamic", 0.5])
def test_binarised(device, binarize):
    found, expected = (model(device=on) for on in ("cuda", "cpu"))
    for vae in (found, expected):
        vae.fit_examples(vae.initialize(X, binarize=binarize), 1, 8, None, None, Observer())
    check_same(found.parameters(), expected.parameters())


def test_heldout_data_and_early_stopping(device):
    """Passes between the steps use the newest parameters, and the best ones come back, with their moments."""
    settings = {"epochs": 3, "learning_rate": 0.5}
    found, expected = (model(device=on, **settings).fit(X, heldout=X[:9], patience=1) for on in ("cuda", "cpu"))
    np.testing.assert_allclose(found.history_["heldout_elbo"], expected.history_["heldout_elbo"], rtol=1e-3)
    check_same(found.parameters(), expected.parameters(), 1e-3)
    assert found.best_epoch_ == expected.best_epoch_
    assert found._optimizer.step_count == expected._optimizer.step_count
    for name in ("first_moment", "second_moment"):
        moments = [{"m": vae._optimizer.state[name]} for vae in (found, expected)]
        check_same(*moments, 1e-3)


def test_steps_go_on_from_call_to_call(device):
    """Also where somebody has written into the parameters between them."""
    found, expected = (model(device=on).partial_fit(X) for on in ("cuda", "cpu"))
    for vae in (found, expected):
        vae.parameters()["mu.bias"][:] = 0.25
        vae.partial_fit(X[:20])
        vae.parameters()["decoder.1.bias"][:] = -1.0
    check_same(found.parameters(), expected.parameters())
    check_uses(found, expected)


@pytest.mark.parametrize(("first", "second"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_run_moves_between_devices(device, first, second, tmp_path):
    whole = model(epochs=3).fit(X)
    begun = model(epochs=1, device=first).fit(X)
    begun.save_checkpoint(tmp_path / "checkpoint.npz")
    moved = VAE.load_checkpoint(tmp_path / "checkpoint.npz", device=second)
    moved.fit_examples(moved.examples(X), 3, 8, None, None, moved._default_observer(0))
    assert moved.network_.backend.name == second
    check_same(moved.parameters(), whole.parameters())


def test_gradients(device):
    noise = np.random.default_rng(1).normal(size=(7, 4)).astype(np.float32)
    found, expected = (model(device=on).fit(X[:12]) for on in ("cuda", "cpu"))
    for given in (None, noise, -noise):
        loss, parts, gradients = found.loss_and_gradients(X[:7], given)
        other_loss, other_parts, other_gradients = expected.loss_and_gradients(X[:7], given)
        assert loss == pytest.approx(other_loss, rel=1e-5)
        assert parts == pytest.approx(other_parts, rel=1e-5)
        check_same(gradients, other_gradients)


@pytest.mark.parametrize("sigma", ["learned", "optimal"])
def test_a_loss_that_is_not_finite_moves_nothing(device, sigma):
    """Neither the parameters nor what is remembered of sigma, however many steps follow in the same call."""
    data = X[:24].copy()
    data[9, 3] = 1e25  # its square is infinite
    vae = model(device="cuda", likelihood="gaussian", sigma=sigma, scale=None, sigma_per_column=False)
    examples, indices = vae.initialize(X), np.empty(8, np.int64)
    examples.X = data
    vae._optimizer = vae._make_optimizer()
    network, order = vae.network_, np.arange(24, dtype=np.int64).reshape(3, 8)
    network.allocate(8, [vae._optimizer], examples, indices)
    assert np.isfinite([losses["loss"] for losses in network.steps(1, order[:1], np.zeros(1))]).all()
    before = network.parameters.values.copy()
    losses = network.steps(2, order[1:], np.zeros(2))
    assert len(losses) == 1
    assert not np.isfinite(losses[0]["loss"])
    np.testing.assert_array_equal(network.parameters.values, before)


# ---- what a step costs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "kernels"), [
    ({}, set()), ({"clip_norm": 1.0}, set()), ({"likelihood": "gaussian", "sigma": 1.0}, set()),
    ({"likelihood": "gaussian"}, {"sigma_forward", "sigma_backward"}),
    ({"likelihood": "gaussian", "sigma_per_column": False, "clip_norm": 1.0}, {"sigma_forward", "sigma_backward"}),
    ({"likelihood": "gaussian", "sigma": "optimal"}, {"sigma_optimal", "sigma_remember"}),
], ids=str)  # fmt: skip
def test_launches_and_copies_of_a_step(device, settings, kernels):
    """Few launches, none of them for a linear path, and nothing is copied or allocated however many steps are done in a
    call."""
    vae = model(device="cuda", **settings)
    binarize = None if "likelihood" in settings else "dynamic"  # which is a launch
    examples, indices = vae.initialize(X, binarize=binarize), np.empty(8, np.int64)
    vae._optimizer = vae._make_optimizer()
    network = vae.network_
    network.allocate(8, [vae._optimizer], examples, indices)
    order = np.arange(32, dtype=np.int64).reshape(4, 8)
    network.steps(1, order[:1], np.zeros(1))  # allocates
    costs = []
    for count in (1, 4):
        launches, copies, made = len(device.launched), device.copies, device.state.get("allocations")
        network.steps(1, order[:count], np.zeros(count))
        costs.append((len(device.launched) - launches, device.copies - copies))
        assert device.state.get("allocations") == made
    assert costs[0][0] == LAUNCHES + (binarize is not None) + len(kernels)
    assert costs[1] == (4 * costs[0][0], costs[0][1])
    assert {name for name in device.launched if name.startswith("sigma_")} == kernels


@pytest.mark.parametrize(("apart", "code", "launches"), [(False, IDENTITY, 1), (True, IDENTITY, 2), (False, TANH, 2)])
def test_a_linear_path_shares_a_launch_where_it_can(device, apart, code, launches):
    """Not where its operands lie in other buffers, nor after an activation."""
    rng, found = np.random.default_rng(0), []
    shapes = (5, 6), (5, 3), (3, 4), (6, 4), (4,), (5, 4)
    x, h, weight, path, bias, out = (rng.normal(size=shape).astype(np.float32) for shape in shapes)
    if apart:
        cuda.upload(x)
    for kernels in (cuda, cpu):
        program = kernels.Program(Slots())
        program.add("dense_forward", h, weight, bias, code, out, out)
        program.add("dense_accumulate", x, path, out)
        program.returns(out)
        program.run()
        found.append(out.copy())
    assert len(device.launched) == launches
    np.testing.assert_allclose(*found, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("code", ["u1", "?"])
def test_arrays_of_the_device_are_used_in_place(device, code):
    data = (X[:12] > 0.5).astype(code) if code == "?" else (X[:12] * 255).astype(code)
    there = OfAnotherLibrary(data)
    used = []
    device.read_by = lambda kernel, arguments: used.append(arguments[0]) if kernel.startswith("gather") else None
    found, expected = (model(device="cuda", scale="minmax").fit(x) for x in (there, data))
    np.testing.assert_array_equal(found.network_.parameters.values, expected.network_.parameters.values)
    for use in ("transform", "elbo", "reconstruct"):
        np.testing.assert_array_equal(getattr(found, use)(there), getattr(expected, use)(data))
    assert there.there.device_ctypes_pointer.value in [array.ctypes.data for array in used]
    np.testing.assert_array_equal(
        model(scale="minmax").fit(there).elbo(there), model(scale="minmax").fit(data).elbo(data)
    )


def test_arrays_of_the_device_that_cannot_be_used_in_place(device):
    turned, halves = OfAnotherLibrary(np.asfortranarray(X[:9])), OfAnotherLibrary(X[:9].astype(np.float16))
    for there, data in ((turned, X[:9]), (halves, X[:9].astype(np.float16))):
        found, expected = (model(device="cuda").fit(x) for x in (there, data))
        np.testing.assert_array_equal(found.network_.parameters.values, expected.network_.parameters.values)
    with pytest.raises(ValueError, match="X has shape .36,., 1-D; expected 2-D"):
        model(device="cuda").fit(OfAnotherLibrary(X[:, 0].copy()))
    with using(Broken()), pytest.raises(ValueError, match="X is an array on a GPU, but no NVIDIA driver.*on the host"):
        model().fit(turned)


@pytest.mark.parametrize(("code", "settings"), [
    ("f4", {"epochs": 2}), ("u1", {"likelihood": "gaussian"}),
])  # fmt: skip
def test_data_that_do_not_fit(device, code, settings, tmp_path):
    """They come step by step, also from a file; the same bits."""
    np.save(tmp_path / "x.npy", (X[:28] * 255).astype(code))
    data = np.load(tmp_path / "x.npy", mmap_mode="r")
    expected = model(device="cuda", scale=(0, 255), **settings).fit(data)
    device.free_bytes = lambda: 100
    found = model(device="cuda", scale=(0, 255), **settings).fit(data)
    np.testing.assert_array_equal(found.network_.parameters.values, expected.network_.parameters.values)


class WrongGraph(PTXDevice):
    """Whose graphs lack a launch."""

    def graph(self, launches):
        return super().graph([*launches[:5], *launches[6:]])


class NoGraph(PTXDevice):
    def graph(self, launches):
        raise RuntimeError("operation not permitted while capturing")


@pytest.mark.parametrize(("kind", "message", "settings"), [
    (PTXDevice, None, {}), (PTXDevice, None, {"likelihood": "gaussian", "sigma": "optimal"}),
    (WrongGraph, "gives other numbers", {}), (NoGraph, "cannot be captured .*operation not permitted", {}),
])  # fmt: skip
def test_graph(kind, message, settings, monkeypatch):
    """Used where it leaves the same bits; else one warning, and the plain step."""
    with using(for_models(monkeypatch)):
        expected = model(device="cuda", **settings).fit(X[:16])
    monkeypatch.setenv("FASTVAE_CUDA_GRAPH", "1")
    with using(for_models(monkeypatch, kind=kind)):
        if message is None:
            found = model(device="cuda", **settings).fit(X[:16])
        else:
            with pytest.warns(UserWarning, match=message) as caught:
                found = model(device="cuda", **settings).fit(X[:16])
            assert len(caught) == 1
    np.testing.assert_array_equal(found.network_.parameters.values, expected.network_.parameters.values)


def test_commands(device, tmp_path, capsys):
    """Train, continue on the other device, sample and encode: the files are the same for both."""
    data, run = tmp_path / "x.npy", tmp_path / "run"
    np.save(data, X[:18])
    words = ["--data", str(data), "--hidden", "6", "--latent-dim", "2", "--batch-size", "8", "--quiet"]
    assert train.main([*words, "--epochs", "1", "--device", "cuda", "--out", str(run)]) == 0
    assert train.main(["--resume", "--out", str(run), "--epochs", "2", "--device", "cpu", "--quiet"]) == 0
    codes = []
    for on in ("cuda", "cpu"):
        assert sample.main([str(run), "-n", "3", "--device", on, "--out", str(tmp_path / f"{on}.npy")]) == 0
        assert encode.main([str(run), str(data), "--device", on, "--out", str(tmp_path / f"{on}-codes.npy")]) == 0
        codes += [np.load(tmp_path / f"{on}.npy"), np.load(tmp_path / f"{on}-codes.npy")]
    for found, expected in zip(codes[:2], codes[2:], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert "dense_along_across" in device.launched


# ---- the command that checks an installation ----------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch):
    """What `selfcheck` does on a device, at sizes that an interpreter can do."""
    for module, name, value in (
        (checks, "SHAPES", []), (layers, "ACTIVATIONS", {"identity": IDENTITY, "silu": SILU}),
        (checks, "USUAL", (5, 12, 7)), (checks, "RUNS", 1), (checks, "REPEATS", 1),
        (checks_cuda, "STEPPED", {"small": ((16, 24, 4), 8)}), (checks_cuda, "STEPS", 2), (checks_cuda, "LAUNCHES", 2),
        (checks_cuda, "EPOCHS", 1),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


def selfcheck_on(device, capsys, *words):
    with using(device):
        code = selfcheck.main(["--chosen-only", *words])
    return code, capsys.readouterr().out


def test_selfcheck(few, monkeypatch, capsys):
    code, out = selfcheck_on(for_models(monkeypatch), capsys, "--device", "cuda", "--json")
    assert code == 0
    gpu = json.loads(out)["gpu"]
    for part in ("float32", "bfloat16", "models"):
        assert gpu[part]
        assert all(0 <= r["error"] <= 1 for r in gpu[part])
    assert {r["name"].split(",")[0] for r in gpu["float32"]} >= set(OPS)
    assert {r["name"] for r in gpu["bfloat16"]} == set(PRODUCTS)
    assert set(gpu["step_us"]["small"]) == {"launched", "as a graph"}


class FailingLate(PTXDevice):
    """At the first launch of a kernel that comes late."""

    def launch(self, chosen, grid, block, arguments):
        if chosen.__name__ == "draw" or chosen.__name__ == "next_step":
            raise RuntimeError("CUDA_ERROR_LAUNCH_FAILED")
        super().launch(chosen, grid, block, arguments)


@pytest.mark.slow
def test_selfcheck_reports_what_came_before_a_failure(few, monkeypatch, capsys):
    code, out = selfcheck_on(for_models(monkeypatch, (7, 5), FailingLate), capsys)
    assert code == 1
    lines = out.splitlines()
    assert any(line.startswith("dense_forward") and " cuda " in line for line in lines)
    assert "the GPU's check ended here: RuntimeError: CUDA_ERROR_LAUNCH_FAILED" in lines
    assert lines[-1] == "WRONG: 0 kernels do not agree, and the GPU failed"


class WrongAdam(PTXDevice):
    """Whose Adam forgets a tenth of a percent of its step."""

    def execute(self, launched, arguments):
        before = arguments[0].copy()
        super().execute(launched, arguments)
        if launched.kernel.__name__ == "adam_inplace":
            arguments[0][...] -= (arguments[0] - before) * np.float32(1e-3)


@pytest.mark.slow
def test_selfcheck_notices_a_wrong_kernel(few, monkeypatch, capsys):
    code, out = selfcheck_on(for_models(monkeypatch, (7, 5), WrongAdam), capsys)
    assert code == 1
    assert "an interpreter of PTX, compute_capability 7.5, " in out
    assert ", bfloat16 the GPU has compute capability 7.5" in out
    wrong = [line.split()[0] for line in out.splitlines() if line.endswith("   WRONG")]
    assert "adam_inplace" in wrong
    assert out.splitlines()[-1] == f"WRONG: {len(wrong)} kernels do not agree"


def test_the_contract_has_the_same_names():
    assert cuda.__all__ == cpu.__all__
    for name in cpu.__all__:
        functions = [getattr(getattr(kernels, name), "py_func", getattr(kernels, name)) for kernels in (cpu, cuda)]
        assert len({tuple(inspect.signature(function).parameters) for function in functions}) == 1, name
