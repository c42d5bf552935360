"""The kernels for the device in numba's simulator: plain Python threads, so no compiler and no device are needed.

It knows neither types nor warps; what it proves is that the kernels' other half, the code that stands in for shuffles
and vector loads, gives the same results. See test_kernels.py for the code that devices run.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHAPES = [(1, 1), (2, 8), (5, 17)]  # the tails of rows, and four columns at a time


def run_all():
    """Every op of the contract that the device has; in a process where numba simulates."""
    import numpy as np

    from fastvae.kernels.cuda import calls
    from tests.kernels.test_contract import CHECKS

    ops = [op for op in CHECKS if hasattr(calls, op)]
    for op in ops:
        for shape in SHAPES:
            CHECKS[op](calls, np.random.default_rng(list(shape)), shape)
    print(len(ops), "ops")


def train():
    """Two epochs of a small model, the last batch short."""
    import numpy as np

    from fastvae import VAE

    X = np.random.default_rng(0).random((10, 16)).astype(np.float32)
    settings = {"batch_size": 8, "epochs": 2, "clip_norm": 10.0, "random_state": 0}
    found, expected = (VAE(4, (24,), device=device, **settings).fit(X) for device in ("cuda", "cpu"))
    for name, values in expected.parameters().items():
        np.testing.assert_allclose(found.parameters()[name], values, atol=1e-4 * np.abs(values).max())
    np.testing.assert_allclose(found.elbo(X), expected.elbo(X), rtol=1e-4)
    np.testing.assert_allclose(found.sample(3), expected.sample(3), rtol=1e-4)
    print(found._state.step, "steps")


def simulated(call):
    """The first word of what a call prints, in a process of its own."""
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(root)}
    command = [sys.executable, "-W", "error", "-c", f"from tests.cuda import test_simulator; test_simulator.{call}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-2])


@pytest.mark.slow
def test_the_contract_in_the_simulator():
    assert simulated("run_all()") >= 20


@pytest.mark.slow
def test_a_training_in_the_simulator():
    assert simulated("train()") == 4
