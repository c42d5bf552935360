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


def test_the_number_comes_back_when_many_threads_use_a_model():
    vae = VAE(2, (4,), epochs=2, batch_size=8, random_state=0).fit(X)
    threads = [threading.Thread(target=vae.elbo, args=(X,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert blas.threads() == 2


def test_without_openblas_nothing_happens(monkeypatch):
    monkeypatch.setattr(blas, "_control", lambda: None)
    with blas.one_thread():
        assert blas.threads() is None
