"""One model in many threads and processes: the bits of one thread, no more helpers than processors, nothing hangs.

Each test runs in a process of its own, which is killed after two minutes: what hangs fails. See sharing.py for the
model and what is done with it.
"""

import importlib.util
import multiprocessing
import os
import textwrap

import pytest

from tests.support.commands import python

START = """
    import multiprocessing, os, sys, threading, warnings
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    from fastvae.kernels.cpu.workers import Workers
    from tests.models.sharing import THREADS, helpers, made, parameters, use
    from tests.kernels.test_workers import counting

    # from Python 3.12 on: that a fork among threads may deadlock, which is what is tested here
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    vae, trained = made(), parameters()
    assert len(helpers()) == THREADS - 1
    expected = [use(vae, i) for i in range(6)]
"""
END = """
    assert len(helpers()) == THREADS - 1, helpers()
    assert use(vae, 0) == expected[0]
    print("done")
"""
can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def run(script, *arguments):
    """A script between `START` and `END`."""
    parts = (textwrap.dedent(part) for part in (START, script, END))
    assert python("".join(parts), *arguments, timeout=120).split()[-1] == "done"


# ---- threads ------------------------------------------------------------------------------------------------------


def test_threads_use_one_model():
    """Eight callers for two helpers; with numbers of rows of their own, and with the same."""
    run("""
        with ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                assert list(pool.map(lambda i: use(vae, i), range(6))) == expected
                assert list(pool.map(lambda i: use(vae, i % 2), range(16))) == expected[:2] * 8
    """)


@pytest.mark.long
def test_threads_compile_together(tmp_path):
    """All of them are the first to use the model, in a process with an empty cache; and once more, from that cache."""
    python("import sys; from tests.models import sharing; sharing.made().save(sys.argv[1])", tmp_path / "model.npz")
    script = """
        import sys
        from concurrent.futures import ThreadPoolExecutor
        from tests.models.sharing import THREADS, VAE, X, helpers
        vae = VAE.load(sys.argv[1])
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _: vae.transform(X).tobytes(), range(8)))
        assert len(helpers()) <= THREADS - 1
        assert found == {vae.transform(X).tobytes()}
        print("done")
    """
    for _ in range(2):
        options = {"timeout": 120, "NUMBA_CACHE_DIR": str(tmp_path)}
        assert python(script, tmp_path / "model.npz", **options) == "done\n"


def test_threads_train_models_of_their_own():
    run("""
        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(parameters, range(8))) == {trained}
    """)


def test_threads_train_while_others_use_another_model():
    run("""
        with ThreadPoolExecutor(5) as pool:
            training = [pool.submit(parameters) for _ in range(4)]
            for _ in range(5):
                assert list(pool.map(lambda i: use(vae, i), range(6))) == expected
            assert all(future.result() == trained for future in training)
    """)


# ---- processes ----------------------------------------------------------------------------------------------------


@can_fork
def test_a_fork_while_helpers_exist():
    """Idle ones, lent ones, and busy ones: the child has none of them, and makes its own."""
    run("""
        def forked():
            child = os.fork()
            if child == 0:
                try:
                    assert helpers() == []
                    assert use(vae, 1) == expected[1] and parameters() == trained
                    assert len(helpers()) == THREADS - 1
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(child, 0)[1] == 0

        forked()
        with Workers(THREADS) as team:
            team.run_programs(counting(THREADS)[0])
            forked()
        with ThreadPoolExecutor(3) as pool:
            busy = [pool.submit(use, vae, i % 6) for i in range(30)]
            forked()
            assert [future.result() for future in busy] == expected * 5
    """)


@pytest.mark.long
@can_fork
def test_a_fork_while_another_thread_compiles():
    """The child does not find the compiler's locks taken: it compiles, and computes."""
    run("""
        import numba, signal
        stop = threading.Event()
        def compile_on():
            while not stop.is_set():
                numba.njit(lambda x: x + 1)(1)

        thread = threading.Thread(target=compile_on)
        thread.start()
        for i in range(8):
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                try:
                    numba.njit(lambda x: x + 2)(1)
                    assert use(vae, i % 6) == expected[i % 6]
                    os._exit(0)
                finally:
                    os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        thread.join()
    """)


@pytest.mark.long
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_pool_of_processes(method, tmp_path):
    """The model is sent to them, or read from a file by them; they train too."""
    run(
        """
        vae.save(sys.argv[2])
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(sys.argv[1])) as pool:
            assert list(pool.map(use, [vae] * 6, range(6))) == expected
            assert list(pool.map(use, [sys.argv[2]] * 6, range(6))) == expected
            assert set(pool.map(parameters, range(4))) == {trained}
        """,
        method,
        tmp_path / "model.npz",
    )


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("joblib") is None, reason="joblib is not installed")
def test_joblib():
    """Its own processes (loky), and its threads."""
    run("""
        from joblib import Parallel, delayed
        for backend in ("loky", "threading"):
            with Parallel(2, backend=backend, timeout=100) as parallel:
                assert parallel(delayed(use)(vae, i) for i in range(6)) == expected
                assert set(parallel(delayed(parameters)(i) for i in range(4))) == {trained}
    """)
