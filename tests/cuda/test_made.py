"""MADE on the device: its training, its probabilities and its samples, executed from their PTX."""

import numpy as np
import pytest

from tests.fake_driver import why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from fastvae import MADE
from fastvae.kernels.cuda.driver import using
from tests.cuda.ptx_device import for_models
from tests.cuda.test_models import check_same

X = (np.random.default_rng(0).random((20, 9)) < 0.4).astype(np.float32)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"orderings": 2, "order": "random"}, marks=pytest.mark.long, id="orderings"),
        pytest.param({"clip_norm": 1.0, "average": 0.5}, id="clipped"),
    ],
)
def test_training(settings, monkeypatch):
    """Parameters, masks, and what can be asked, as on the CPU."""
    with using(for_models(monkeypatch)):
        settings = {"hidden": (12, 7), "batch_size": 8, "epochs": 1, "random_state": 0} | settings
        found, expected = MADE(device="cuda", **settings).fit(X), MADE(**settings).fit(X)
        check_same(found.parameters(), expected.parameters())
        for name, values in expected.parameters().items():
            np.testing.assert_array_equal(found.parameters()[name] == 0, values == 0, name)
        np.testing.assert_allclose(found.score_samples(X), expected.score_samples(X), rtol=1e-4)
        np.testing.assert_allclose(found.conditionals(X), expected.conditionals(X), rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(found.sample(5, random_state=1), expected.sample(5, random_state=1))
