"""The kernels for the device in numba's simulator: plain Python threads, so no compiler and no device are needed.

It knows neither types nor warps; what it proves is that the kernels' other half, the code that stands in for shuffles
and vector loads, gives the same results. See test_cuda_kernels.py for the code that devices run.
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
    from test_contract import CHECKS

    from fastvae.kernels.cuda import calls

    ops = [op for op in CHECKS if hasattr(calls, op)]
    for op in ops:
        for shape in SHAPES:
            CHECKS[op](calls, np.random.default_rng(list(shape)), shape)
    print(len(ops), "ops")


@pytest.mark.slow
def test_the_contract_in_the_simulator():
    tests = Path(__file__).parent
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"}
    code = "import test_cuda_simulator; test_cuda_simulator.run_all()"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-2]) >= 20
