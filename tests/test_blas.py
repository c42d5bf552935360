"""BLAS threads: one for small products, the user's number again afterwards."""

import threading

import numpy as np
import pytest

from fastvae import VAE, blas

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


def test_small_products_get_one_thread_and_large_ones_keep_theirs():
    with blas.suited_to(blas.SMALL_PRODUCT - 1):
        assert blas.threads() == 1
        with blas.suited_to(1.0):
            assert blas.threads() == 1
        assert blas.threads() == 1
    assert blas.threads() == 2
    with blas.suited_to(blas.SMALL_PRODUCT):
        assert blas.threads() == 2


def test_the_number_comes_back_after_an_error_and_from_many_threads():
    with pytest.raises(KeyError), blas.suited_to(1.0):
        raise KeyError
    assert blas.threads() == 2
    vae = VAE(2, (4,), epochs=2, batch_size=8, random_state=0).fit(X)
    threads = [threading.Thread(target=vae.elbo, args=(X,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert blas.threads() == 2


def test_without_openblas_nothing_happens(monkeypatch):
    monkeypatch.setattr(blas, "_control", lambda: None)
    with blas.suited_to(1.0):
        assert blas.threads() is None
