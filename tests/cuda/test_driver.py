"""The real `Device` on the stand-in driver: streams, copies, graphs, memory, errors, and code that is kept."""

import ctypes
import textwrap
import threading

import numpy as np
import pytest

from tests import fake_driver
from tests.fake_driver.training import X, far, model

if reason := fake_driver.why_not():
    pytest.skip(reason, allow_module_level=True)

import cuda.core
from numba import cuda as numba_cuda

from fastvae.kernels.cuda import calls, minibatch
from fastvae.kernels.cuda.driver import Device, compiled, using

IMPORTS = "from tests.fake_driver.training import X, far, model\n"


@pytest.fixture
def device():
    with using(Device()) as made:
        yield made


@pytest.fixture
def state(device, monkeypatch):
    """The driver, as it is when nothing has been asked of it."""
    state = fake_driver.load_for(device)
    monkeypatch.setattr(state, "watcher", None)
    monkeypatch.setenv("FASTVAE_CUDA_GRAPH", "0")  # its check does a step four times more
    yield state
    state.set("progress_chance", 0.0, ctypes.c_double)
    state.limit(2**33)
    state.check()


@pytest.fixture(scope="module")
def expected():
    """A training on the CPU."""
    return model().fit(X)


def process(code, **more):
    """The lines that a process of its own prints."""
    return fake_driver.in_a_process(IMPORTS + textwrap.dedent(code), **({"FASTVAE_CUDA_GRAPH": "0"} | more))


# ---- a training -----------------------------------------------------------------------------------------------------


def test_steps_are_graphs(state, device, expected, monkeypatch):
    monkeypatch.delenv("FASTVAE_CUDA_GRAPH")
    graphs = state.get("graph_launches")
    assert far(model(device="cuda").fit(X), expected) < 1e-5
    assert state.get("graph_launches") - graphs == 2  # a trial, and the step


@pytest.mark.parametrize("chance", [0.0, 0.5])
def test_steps_without_graphs(state, device, expected, chance):
    """Work is done as late as may be, or earlier by chance."""
    state.set("progress_chance", chance, ctypes.c_double)
    graphs = state.get("graph_launches")
    found = model(device="cuda").fit(X)
    assert far(found, expected) < 1e-5
    assert state.get("graph_launches") == graphs
    np.testing.assert_allclose(found.transform(X), expected.transform(X), rtol=1e-4, atol=1e-5)


def test_data_that_do_not_fit(state, device, expected):
    """They come through pinned memory, by copies on a stream of their own."""
    device.free_bytes = lambda: 100
    assert far(model(device="cuda").fit(X), expected) < 1e-5


def test_per_thread_default_streams():
    """Copies are ordered with the launches, whatever stream 0 means in a process."""
    code = 'print(far(model(device="cuda").fit(X), model().fit(X)) < 1e-5)'
    assert process(code, CUDA_PYTHON_CUDA_PER_THREAD_DEFAULT_STREAM="1") == ["True"]


def test_several_threads(state, device, expected):
    """None of them has a context before it asks for one."""
    found, codes = model(device="cuda").fit(X), []
    threads = [threading.Thread(target=lambda: codes.append(found.transform(X))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in codes:
        np.testing.assert_allclose(one, expected.transform(X), rtol=1e-4, atol=1e-5)
    assert len(codes) == 2


def test_copies_wait_for_nothing_but_what_was_launched(state, device):
    """What is read is what the launches before it leave; what is written may change at once."""
    there, numbers = device.empty(4, np.dtype(np.float32)), np.float32([0.2, 0.8, 0.4, 0.6])
    device.write(there, numbers)
    numbers[:] = 7
    reals = device.upload(np.float32([0, 0.5]))
    device.launch(minibatch.threshold_inplace, (1,), (minibatch.FLAT,), [there, 1, reals, 4])
    device.read(there, numbers)
    np.testing.assert_array_equal(numbers, [0, 1, 0, 1])


def test_arguments_of_another_type_are_refused(state, device):
    there = device.upload(np.ones(4))
    with pytest.raises(TypeError, match=r"threshold_inplace: array.float32, 1d, C. is needed, 1-D float64 was given"):
        device.launch(minibatch.threshold_inplace, (1,), (minibatch.FLAT,), [there, 1, there, 4])


def test_pinned_arrays_of_others_may_change_after_a_write(state, device):
    """A copy from pinned memory reads it late."""
    pinned, there, out = cuda_pinned(4), device.empty(4, np.dtype(np.float32)), np.empty(4, np.float32)
    pinned[:] = 1
    device.write(there, pinned)
    pinned[:] = 2
    device.read(there, out)
    np.testing.assert_array_equal(out, 1)


def cuda_pinned(size):
    return numba_cuda.pinned_array(size, np.float32)


# ---- arrays of other libraries --------------------------------------------------------------------------------------


class Other:
    """An array of another library, written by a stream of its own at the last moment."""

    def __init__(self, x, names_stream, independent=True):
        numba_cuda.current_context()
        core = cuda.core.Device()
        core.set_current()
        self._stream = core.create_stream() if independent else None
        handle = int(self._stream.handle) if independent else 0
        self._there, self._pinned = numba_cuda.device_array(x.shape, x.dtype), numba_cuda.pinned_array(x.shape, x.dtype)
        self._pinned[...] = x
        self._there.copy_to_device(self._pinned, stream=numba_cuda.external_stream(handle) if handle else 0)
        own = {"version": 3, "stream": handle} if names_stream else {"version": 2}
        self.__cuda_array_interface__ = dict(self._there.__cuda_array_interface__) | own
        if not names_stream:
            self.__cuda_array_interface__.pop("stream")


@pytest.mark.parametrize("names_stream", [True, False])
def test_arrays_are_waited_for(state, device, expected, names_stream):
    """Whether they say which stream is theirs (version 3 of the interface) or not, as PyTorch's."""
    assert far(model(device="cuda").fit(Other(X, names_stream)), expected) < 1e-5


def test_arrays_of_another_gpu_are_refused(state, device):
    there = Other(X, False)
    state.library.move_to_device(there.__cuda_array_interface__["data"][0], 1)
    with pytest.raises(ValueError, match=r"X .* .it lies on GPU 1, while GPU 0 is used here.; pass a copy on the host"):
        model(device="cuda").fit(there)


def test_arrays_that_nobody_knows_are_refused(state, device):
    there = Other(X, False)
    there.__cuda_array_interface__["data"] = X.ctypes.data, False
    with pytest.raises(ValueError, match="the driver knows no memory at its address 0x"):
        model(device="cuda").fit(there)


def test_arrays_that_run_backwards_are_refused(state, device):
    there = Other(X, False)
    interface = there.__cuda_array_interface__
    interface["strides"], interface["data"] = (-24, 4), (interface["data"][0] + 7 * 24, False)
    with pytest.raises(ValueError, match=r"X runs backwards through a GPU's memory .strides .-24, 4..: pass a copy"):
        model(device="cuda").fit(there)


class WithGradient:
    """As PyTorch's: it says nothing of where it lies."""

    requires_grad = True

    @property
    def __cuda_array_interface__(self):
        raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")


def test_tensors_with_a_gradient_are_refused(state, device):
    with pytest.raises(TypeError, match=r"X is a tensor that requires gradients: pass X.detach\(\)"):
        model(device="cuda").fit(WithGradient())


# ---- memory and errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("free", [1000, 100_000])
def test_too_little_memory(state, device, free):
    """One message; the model that was there goes on when there is room."""
    vae = model(device="cuda").fit(X)
    before = vae.network_.parameters.values.copy()
    state.limit(free)
    with pytest.raises(MemoryError, match="the GPU has too little free memory: .* MB are wanted at once"):
        vae.set_params(hidden=(300, 200)).fit(X)
    np.testing.assert_array_equal(vae.network_.parameters.values, before)
    state.limit(2**33)
    vae.set_params(hidden=(5,)).partial_fit(X)
    assert not np.array_equal(vae.network_.parameters.values, before)


def test_what_is_freed_is_free():
    """Everything that a training takes; in a process of its own, where nobody else holds a context."""
    code = """
    import gc
    from numba import cuda
    for _ in range(3):  # the first also makes what stays
        vae = model(device="cuda").fit(X)
        print(state.get("memory_used"))
        del vae
        gc.collect()
        cuda.current_context().deallocations.clear()
        print(state.get("memory_used"))
    """
    used = [int(line) for line in process(code)]
    assert used[5] <= used[3] < used[4]


def test_a_failure_for_good_is_said_once_and_clearly():
    """After it the driver is asked no more; what was learned before it is there."""
    code = """
    vae = model(device="cuda").fit(X)
    before = vae.network_.parameters.values.copy()
    state.set("sticky_error", 700)
    for ask in (lambda: vae.fit(X), lambda: vae.transform(X), lambda: model(device="cuda").fit(X)):
        try:
            ask()
        except Exception as error:
            print(type(error).__name__, error)
    print((vae.network_.parameters.values == before).all(), model().fit(X).transform(X).shape)
    """
    first, second, third, last = process(code)
    said = "the GPU has failed (CUDA_ERROR_ILLEGAL_ADDRESS), and nothing works there until this process ends: start"
    assert first.startswith(f"DeviceError {said}")
    assert second == first
    assert third.startswith(f"ValueError device='cuda' cannot be had: {said}")
    assert last == "True (8, 2)"


def test_a_kernel_that_fails():
    """The error comes with whatever waits for it."""
    code = """
    vae = model(device="cuda").fit(X)
    def wrong(launched, arguments):
        raise IndexError
    state.failing, state.execute = True, wrong
    for _ in range(2):
        try:
            vae.transform(X)
        except RuntimeError as error:
            print(error)
    """
    first, second = process(code)
    assert "CUDA_ERROR_LAUNCH_FAILED" in first
    assert second == first


def test_after_a_fork():
    code = """
    import os
    vae = model(device="cuda").fit(X)
    if not os.fork():
        for ask in (lambda: model(device="cuda").fit(X), lambda: vae.transform(X)):
            try:
                ask()
            except Exception as error:
                print(type(error).__name__, error, flush=True)
        os._exit(0)
    os.wait()
    """
    first, second = process(code)
    said = "this process was forked from one that uses the GPU, and CUDA does not work after a fork: start processes by"
    assert first.startswith(f"ValueError device='cuda' cannot be had: {said} 'spawn'")
    assert second.startswith(f"DeviceError {said}")


@pytest.mark.parametrize("begun", [
    "state.library.cuInit(0)",
    "import numba.cuda; numba.cuda.current_context()",
    "from fastvae.backend import missing_cuda; missing_cuda()",
])  # fmt: skip
def test_after_a_fork_of_what_others_have_begun(begun):
    """Another library has started the driver, or a question whether there is one."""
    code = f"""
    import os
    {begun}
    if not os.fork():
        try:
            model(device="cuda").fit(X)
        except Exception as error:
            print(error, flush=True)
        os._exit(0)
    os.wait()
    """
    (line,) = process(code)
    assert "this process was forked from one that uses the GPU" in line


def test_a_driver_without_a_device():
    code = """
    for _ in range(2):
        try:
            model(device="cuda").fit(X)
        except ValueError as error:
            print(error)
    """
    first, second = process(code, numbers={"device_count": 0})
    assert first.startswith("device='cuda' cannot be had: NVIDIA's driver is there, but shows no GPU: see what")
    assert second == first


# ---- code -----------------------------------------------------------------------------------------------------------


TRAINING = 'print(far(model(device="cuda").fit(X), model().fit(X)) < 1e-5)'


def test_a_second_process_compiles_nothing():
    """Neither the products, whose kernels are made by functions, nor what asks whether there is a compiler."""
    assert process(TRAINING) == ["True"]
    refusing = """
    from fastvae.kernels.cuda import driver
    def compile_ptx(*args, **kwargs):
        raise AssertionError("it compiles")
    driver.cuda.compile_ptx = compile_ptx
    """
    assert process(textwrap.dedent(refusing) + TRAINING) == ["True"]


def test_what_is_launched_is_what_tests_execute(state, device):
    """With all instructions of the device's architecture, and no others."""
    calls.threshold_inplace(X.copy(), np.float32(0.5))
    kernel, code = next(pair for pair in state.codes if pair[0] is minibatch.threshold_inplace)
    assert code is compiled(kernel, device.capability()) is compiled(kernel, (9, 0))
    assert ".target sm_90a" in code.ptx
    assert ".target sm_80\n" in compiled(kernel, (8, 0)).ptx
