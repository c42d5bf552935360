"""Ctrl-C and SIGTERM while something is compiled: obeyed at once, and nothing that was learned is lost."""

import os
import signal
import subprocess
import sys
import threading
import time

import numba
import numpy as np
import pytest

from fastvae import VAE, train
from fastvae.engine import Network
from fastvae.kernels.cpu import compiler
from tests.support.commands import ROOT

X = np.random.default_rng(0).random((40, 5)).astype(np.float32)


@pytest.fixture
def endless(monkeypatch):
    """What takes a minute to compile, at the step `endless.at`; the signal `endless.number` comes meanwhile."""
    released, honest = threading.Event(), Network.steps
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run with it ignored

    def compile_it():
        signal.raise_signal(compile_it.number)
        assert released.wait(60)

    def steps(network, first, order, progress):
        if first == compile_it.at:
            compiler.interruptible(compile_it)
        return honest(network, first, order[:1], progress[:1])

    compile_it.number, compile_it.at, compile_it.released = signal.SIGINT, 1, released
    monkeypatch.setattr(Network, "steps", steps)
    yield compile_it
    released.set()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert compiler.WHILE_COMPILING == []
    signal.signal(signal.SIGINT, previous)


def small():
    return VAE(2, (4,), epochs=3, batch_size=16, random_state=0)


def test_the_main_thread_hears_of_ctrl_c_while_another_compiles(endless):
    with pytest.raises(KeyboardInterrupt):
        compiler.interruptible(endless)


def test_what_compiling_returns_and_raises_arrives():
    assert compiler.interruptible(lambda: threading.current_thread().name) == "fastvae-compiler"
    with pytest.raises(ZeroDivisionError):
        compiler.interruptible(lambda: 1 // 0)


def test_other_threads_compile_themselves():
    names = []
    thread = threading.Thread(target=lambda: names.append(compiler.interruptible(threading.current_thread).name))
    thread.start()
    thread.join()
    assert names == [thread.name]


def test_what_is_compiled_as_a_part_of_something_else_is_compiled_by_the_same_thread():
    """Another one would wait for numba's lock, and this one for it."""
    kernel = compiler.kernel(lambda x: x + 1)
    assert numba.njit(lambda x: kernel(x) + kernel(2 * x))(3) == 11


def test_a_first_fit_ends_at_once(endless):
    vae = small()
    with pytest.raises(KeyboardInterrupt, match="before the first step"):
        vae.fit(X)
    assert not hasattr(vae, "network_")


def test_the_model_of_an_earlier_fit_is_kept(endless):
    endless.at = 0
    vae = small().fit(X)
    codes, steps = vae.transform(X), vae.n_steps_
    endless.at = 1
    with pytest.raises(KeyboardInterrupt):
        vae.fit(1 - X)
    np.testing.assert_array_equal(vae.transform(X), codes)
    assert vae.n_steps_ == steps


def test_after_the_first_step_it_stops_after_the_step_and_keeps_it(endless):
    endless.at = 2
    threading.Timer(0.3, endless.released.set).start()
    vae = small()
    with pytest.raises(KeyboardInterrupt, match="keeps what it has learned"):
        vae.fit(X)
    assert vae.n_steps_ == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_ends_at_once_and_can_be_continued(endless, tmp_path, capsys, number, code):
    endless.number = number
    words = ["--epochs", "1", "--hidden", "8", "--out", str(tmp_path / "run")]
    try:
        found = train.main(words)
    except SystemExit as error:
        found = error.code
    assert found == code
    endless.at = 0
    assert train.main([*words, "--resume"]) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="sends signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", range(1, 12, 2))
@pytest.mark.parametrize("command", [False, True])
def test_a_process_that_compiles_everything_ends_long_before_that_is_done(tmp_path, number, moment, command):
    script = "import numpy as np; from fastvae import VAE; VAE(epochs=10**6).fit(np.random.rand(4000, 20))"
    words = (
        ["-m", "fastvae.train", "--epochs", "1000000", "--out", str(tmp_path / "run")] if command else ["-c", script]
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, *words], env=environment, stderr=subprocess.PIPE, text=True)
    time.sleep(moment)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode in (-number, 128 + number), error
    if command:
        assert "Traceback" not in error
