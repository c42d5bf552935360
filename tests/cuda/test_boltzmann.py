"""Boltzmann machines on the device: their steps, chains and means, from the PTX of each kernel, beside the CPU's."""

import numpy as np
import pytest

from tests.fake_driver import why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from fastvae import DBM, RBM
from fastvae.kernels.cuda.driver import using
from tests.cuda.ptx_device import for_models

X = (np.random.default_rng(0).random((6, 9)) < 0.4).astype(np.float32)
SETTINGS = {"batch_size": 4, "chains": 4, "epochs": 1, "random_state": 0, "warmup_steps": 0, "learning_rate": 0.1}


@pytest.fixture
def device(monkeypatch):
    with using(for_models(monkeypatch)) as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [lambda **how: DBM(hidden=(7, 5), mean_field_steps=2, **how), lambda **how: RBM(hidden=7, **how)]
)
def test_a_training_and_what_follows(device, kind):
    """The last of its steps is on a short batch."""
    found, expected = (kind(**SETTINGS, device=where).fit(X) for where in ("cuda", "cpu"))
    for name, values in expected.parameters().items():
        np.testing.assert_allclose(found.parameters()[name], values, rtol=1e-4, atol=1e-5, err_msg=name)
    for name, values in expected.network_.state.items():
        assert values.any()
        np.testing.assert_array_equal(found.network_.state[name], values)
    for use in (
        lambda model: model.transform(X),
        lambda model: model.reconstruct(X),
        lambda model: model.sample(2, random_state=1, steps=2),
    ):
        np.testing.assert_allclose(use(found), use(expected), rtol=1e-3, atol=1e-3)
