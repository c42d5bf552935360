"""Models on a device that fails, is missing, or lacks memory: one message, and nothing lost."""

import gc
import pickle

import numpy as np
import pytest

from tests.fake_driver import why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from fastvae import VAE, backend
from fastvae.errors import DivergenceError
from fastvae.kernels.cuda import driver
from fastvae.kernels.cuda.driver import Device, using
from tests.cuda.ptx_device import OfAnotherLibrary, PTXDevice, for_models
from tests.cuda.test_models import Broken, X, check_same, check_uses, model


@pytest.fixture
def device(monkeypatch):
    with using(for_models(monkeypatch)) as made:
        yield made


def test_a_loss_that_is_not_finite_ends_it(device):
    """Steps that were launched after it change nothing."""
    errors, values = [], []
    for on in ("cuda", "cpu"):
        vae = model(device=on, likelihood="gaussian", epochs=9, learning_rate=1e25)
        examples = vae.initialize(X)
        with pytest.raises(DivergenceError) as info:
            vae.fit_examples(examples, 9, 8, None, None, vae._default_observer(0))
        errors.append(str(info.value))
        values.append(vae.network_.parameters.values)
    assert errors[0].split(":")[0] == errors[1].split(":")[0]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-4)


def test_what_was_learned_survives_a_divergence(device):
    vae = model(device="cuda").fit(X[:12])
    before = vae.network_.parameters.values.copy()
    vae.set_params(learning_rate=1e30, epochs=20)
    with pytest.raises(DivergenceError):
        vae.fit(X[:12])
    np.testing.assert_array_equal(vae.network_.parameters.values, before)
    check_uses(vae, vae)


def test_no_driver():
    with using(Broken()), pytest.raises(ValueError, match="device='cuda' cannot be had: no NVIDIA driver.*'cpu'"):
        model(device="cuda").fit(X)


def test_no_numba_cuda(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="numba-cuda is not installed: pip install 'numba-cuda.cu13.'.*'cpu'"):
        backend.select("cuda")


class WithDriver(Device):
    """Whose driver is there; the compiler is this machine's."""

    def capability(self):
        return 8, 0


def test_the_compiler_is_tried(monkeypatch):
    """A driver without the compiler's libraries: said before anything is done."""
    assert WithDriver()._compiler_fault is None

    def failing(*args, **kwargs):
        raise RuntimeError('Failure finding "libnvrtc.so.13"')

    monkeypatch.setattr(driver, "compiled", failing)
    found = WithDriver()._compiler_fault
    assert found is not None
    assert found.startswith('the compiler of CUDA is not complete (Failure finding "libnvrtc.so.13"): pip install')


class Incomplete(Device):
    """Whose libraries are not all there."""

    def fault(self):
        raise RuntimeError('Failure finding "libnvvm.so": No such file\nin all of these places')


def test_no_libraries():
    with using(Incomplete()):
        with pytest.raises(
            ValueError, match="cannot work here .Failure finding .libnvvm.so.*numba-cuda.cu13.*'cpu'"
        ) as e:
            model(device="cuda").fit(X)
        assert "\n" not in str(e.value)
        assert backend.select_for_file("cpu", "float32").name == "cpu"


@pytest.mark.parametrize(("capability", "precision", "message"), [
    ((6, 1), "float32", "compute capability 6.1; precision='float32' needs 7.5"),
    ((7, 5), "bfloat16", "compute capability 7.5; precision='bfloat16' needs 8.0"),
])  # fmt: skip
def test_a_device_that_is_too_old(capability, precision, message, monkeypatch):
    with using(PTXDevice(capability, 0, monkeypatch)), pytest.raises(ValueError, match=message):
        model(device="cuda", precision=precision).fit(X)


@pytest.mark.parametrize("room", [0, pytest.param(20_000, marks=pytest.mark.slow), 60_000])
def test_too_little_memory(device, room):
    """One message; the model that was there is kept, and goes on when there is room."""
    vae = model(device="cuda").fit(X[:12])
    before, after = vae.network_.parameters.values.copy(), np.inf
    device.room = room
    with pytest.raises(MemoryError, match="the GPU has too little free memory.*batch_size.*device='cpu'"):
        vae.set_params(hidden=(300, 200)).fit(X[:12])
    np.testing.assert_array_equal(vae.network_.parameters.values, before)
    device.room = after
    vae.set_params(hidden=(24,))
    check_uses(vae, vae)
    vae.partial_fit(X[:12])
    assert not np.array_equal(vae.network_.parameters.values, before)


def test_a_model_of_a_gpu_where_there_is_none(device, tmp_path):
    vae = model(device="cuda").fit(X[:12])
    vae.save(tmp_path / "model.npz")
    packed = pickle.dumps(vae)
    with using(Broken()):
        loaded = VAE.load(tmp_path / "model.npz")  # asks for no GPU
        with pytest.warns(
            UserWarning, match="is set to device='cuda', but no NVIDIA driver.*it computes on the CPU here"
        ):
            unpacked = pickle.loads(packed)
        for other in (loaded, unpacked):
            np.testing.assert_array_equal(other.network_.parameters.values, vae.network_.parameters.values)
        with pytest.raises(ValueError, match="cannot be had"):
            VAE.load(tmp_path / "model.npz", device="cuda")
    check_uses(VAE.load(tmp_path / "model.npz", device="cuda"), loaded)


def test_a_plan_that_failed_half_way_is_made_again(device, monkeypatch):
    vae = model(device="cuda").fit(X[:12])
    expected = vae.loss_and_gradients(X[:9])
    vae.network_._last_graded = None  # forget the pass
    upload, calls = PTXDevice.upload, []

    def failing(self, array):
        calls.append(array)
        if len(calls) == 12:  # the numbers that change are there, and the tables of some products
            raise MemoryError("not now")
        return upload(self, array)

    monkeypatch.setattr(PTXDevice, "upload", failing)
    with pytest.raises(MemoryError, match="not now"):
        vae.loss_and_gradients(X[:9])
    vae._gradients = 0  # the same noise again
    loss, _, gradients = vae.loss_and_gradients(X[:9])
    assert loss == expected[0]
    check_same(gradients, expected[2], 0)


class Failing(PTXDevice):
    """Which fails for good at some launch, as devices do."""

    def launch(self, chosen, grid, block, arguments):
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS at a launch")
        super().launch(chosen, grid, block, arguments)

    def read(self, there, array):
        if self.left < 0:
            raise RuntimeError("CUDA_ERROR_ILLEGAL_ADDRESS while copying")
        super().read(there, array)


def test_a_device_that_fails(monkeypatch):
    """The first error is what is said; the model that was there is kept."""
    device = for_models(monkeypatch, kind=Failing)
    device.left = 10**6
    with using(device):
        vae = model(device="cuda").fit(X[:12])
        before = vae.network_.parameters.values.copy()
        device.left = 20
        with pytest.raises(RuntimeError, match="at a launch"):
            vae.fit(X[:12])
        np.testing.assert_array_equal(vae.network_.parameters.values, before)


def test_data_that_changed_are_copied_again(device):
    """Also where a traceback keeps the training alive that copied them first."""
    data = X[:12].copy()
    device.room = 60_000
    with pytest.raises(MemoryError) as kept:
        model(device="cuda", hidden=(300, 200)).fit(data)
    device.room = np.inf
    data *= 0.25
    found, expected = (model(device="cuda").fit(x) for x in (data, data.copy()))
    np.testing.assert_array_equal(found.network_.parameters.values, expected.network_.parameters.values)
    assert kept.value is not None


def test_noise_of_any_layout_and_arrays_of_the_device_for_gradients(device):
    vae = model(device="cuda").fit(X[:12])
    noise = np.random.default_rng(0).normal(size=7 * 4 + 1).astype(np.float32)[1:].reshape(7, 4)
    expected = vae.loss_and_gradients(X[:7], noise.copy())
    for x, given in ((X[:7], noise), (OfAnotherLibrary(X[:7]), np.asfortranarray(noise))):
        check_same(vae.loss_and_gradients(x, given)[2], expected[2], 0)


def test_adam_by_itself(device):
    """Outside a training, from gradients that somebody has written here."""
    moved = []
    for on in ("cuda", "cpu"):
        vae = model(device=on, random_state=1).fit(X[:12])
        optimizer = vae._make_optimizer()
        vae.network_.parameters.gradients[:] = np.linspace(-1, 1, vae.network_.parameters.gradients.size)
        optimizer.step()
        moved.append(vae.network_.parameters.values)
    np.testing.assert_allclose(*moved, atol=1e-5)


def test_a_fitted_model_stays_on_its_device(device):
    vae = model().fit(X[:12]).set_params(device="cuda")
    with pytest.raises(ValueError, match="device='cuda' was set after this model was fitted on device='cpu'"):
        vae.partial_fit(X[:12])


def test_memory_is_given_up(device):
    """With the training the data's copy, which must not outlive a change of the data; with the model the rest."""
    vae = model(device="cuda").fit(X[:12])
    assert not device.memory._data
    assert device.memory._places
    del vae
    gc.collect()
    assert not device.memory._places
