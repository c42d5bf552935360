"""NumPy's OpenBLAS: one thread while it does the products, the user's number again afterwards, untouched otherwise."""

import threading

import numpy as np
import pytest

from fastvae import VAE
from fastvae.kernels.cpu import blas, processor
from tests.support.commands import python

X = np.random.default_rng(0).random((40, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def _openblas():
    if blas.threads() is None:
        pytest.skip("NumPy's BLAS is not OpenBLAS")
    _, set_threads = blas._control()
    before = blas.threads()
    set_threads(2)
    yield
    set_threads(before)


def test_one_thread_within_the_block_and_the_users_number_afterwards():
    with blas.one_thread():
        assert blas.threads() == 1
        with blas.one_thread():
            assert blas.threads() == 1
        assert blas.threads() == 1
    assert blas.threads() == 2
    with pytest.raises(KeyError), blas.one_thread():
        raise KeyError
    assert blas.threads() == 2


def test_blocks_of_many_threads_overlap():
    """The number comes back when the last one ends, whichever that is."""
    inside, seen = threading.Barrier(8), []

    def block():
        for _ in range(50):
            with blas.one_thread():
                inside.wait(60)
                seen.append(blas.threads())

    threads = [threading.Thread(target=block) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [1] * 400
    assert blas.threads() == 2


def test_without_openblas_nothing_happens(monkeypatch):
    monkeypatch.setattr(blas, "_control", lambda: None)
    with blas.one_thread():
        assert blas.threads() is None


@pytest.mark.skipif(processor.CHOSEN == processor.BLAS, reason="this processor's products are OpenBLAS's")
def test_openblas_is_left_alone_where_it_does_no_products(monkeypatch):
    def fail(count):
        raise AssertionError("the user's number of threads was changed")

    monkeypatch.setattr(blas, "_control", lambda: (lambda: 2, fail))
    VAE(2, (4,), epochs=2, batch_size=8, random_state=0).fit(X).elbo(X)


USE = """
    import sys, threading
    import numpy as np
    from fastvae import VAE
    from fastvae.kernels.cpu import blas, products, program
    from fastvae.progress import InterruptibleObserver

    assert program.engine("float32") is (blas if blas.sgemm_address() else products)
    X = np.random.default_rng(0).random((40, 5)).astype(np.float32)
    blas._control()[1](2)
    seen, original = [], InterruptibleObserver.stepped

    def stepped(self, state, examples):
        seen.append(blas.threads())
        original(self, state, examples)

    InterruptibleObserver.stepped = stepped
    vae = VAE(2, (4,), epochs=2, batch_size=8, random_state=0).fit(X)
    assert set(seen) == {1}, seen
    assert blas.threads() == 2
    expected, wrong = vae.elbo(X), []

    def use():
        for _ in range(20):
            wrong.append((vae.elbo(X) != expected).any())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(wrong)
    assert blas.threads() == 2
    np.save(sys.argv[1], np.concatenate([expected, vae.network_.parameters.values]))
"""


@pytest.mark.long
def test_a_model_whose_products_are_openblas(tmp_path):
    """One thread in training and in use, by many threads at once; the user's number afterwards. And the same results
    as without it, but for rounding."""
    python(USE, tmp_path / "found.npy", FASTVAE_PRODUCTS="blas")
    vae = VAE(2, (4,), epochs=2, batch_size=8, random_state=0).fit(X)
    expected = np.concatenate([vae.elbo(X), vae.network_.parameters.values])
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, rtol=1e-4, atol=1e-5)
