"""What the tests share: the backends that every op is run on."""

import importlib

import pytest

BACKENDS = ["cpu"]  # a folder of kernels/ each


@pytest.fixture(params=BACKENDS, scope="session")
def kernels(request):
    """A backend's functions, taking NumPy arrays. One whose arrays live elsewhere is to be wrapped here."""
    return importlib.import_module(f"fastvae.kernels.{request.param}")
