"""Starting: a fresh process until its first step, its first transform, the end of a short run. Cold and warm.

Cold is an empty folder for compiled code, warm is one that an earlier process has filled; a peer keeps none.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import pytest

from benchmarks import cases
from benchmarks.sizes import SIZES
from benchmarks.tables import Start

PEERS = ("numpy", "torch", "jax")
WARM_ROUNDS = 3
STEP, TRANSFORM = "first step", "first transform"
TRAIN = "python -m fastvae.train --epochs 1"
POINTS = [(what, cases.OURS, state) for what in (STEP, TRANSFORM, TRAIN) for state in ("cold", "warm")] + [
    (STEP, peer, "") for peer in PEERS
]


@pytest.fixture(scope="module")
def folder():
    with tempfile.TemporaryDirectory() as path:
        yield pathlib.Path(path)


@pytest.fixture(scope="module")
def saved(folder) -> pathlib.Path:
    """The file of a model of size XS."""
    from fastvae import VAE

    s = SIZES["XS"]
    vae = VAE(latent_dim=s.Z, hidden=(s.H,), batch_size=s.B, random_state=0)
    vae.partial_fit(s.data()).save(folder / "model.npz")
    return folder / "model.npz"


def command(what: str, implementation: str, saved: pathlib.Path, out: pathlib.Path) -> list[str]:
    """The command line of one process."""
    if what == TRAIN:
        return [sys.executable, "-m", "fastvae.train", "--epochs", "1", "--quiet", "--out", str(out)]
    return [sys.executable, "-m", "benchmarks.start", implementation, what, str(saved)]


def run(line: list[str], cache: pathlib.Path) -> float:
    """Seconds of one process from start to end."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    started = time.perf_counter()
    done = subprocess.run(line, cwd=cases.HERE.parent, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RuntimeError(f"{' '.join(line)}:\n{done.stderr}")
    return seconds


@pytest.mark.parametrize(("what", "implementation", "state"), POINTS, ids=lambda value: value.replace(" ", "_"))
def test_start(benchmark, results, folder, saved, what, implementation, state):
    if reason := cases.missing(implementation):
        pytest.skip(reason)
    cache, rounds = folder / f"cache of {what}", 1 if state == "cold" else WARM_ROUNDS
    outs = (folder / f"{state} run {i}" for i in range(WARM_ROUNDS))
    if state == "warm" and not cache.exists():
        run(command(what, implementation, saved, folder / "first run"), cache)

    seconds: list[float] = []
    benchmark.pedantic(
        lambda: seconds.append(run(command(what, implementation, saved, next(outs)), cache)), rounds=rounds
    )
    files = [path.stat().st_size for path in cache.rglob("*") if path.is_file()] if state else []
    results.starts.append(Start(what, implementation, state, statistics.median(seconds), sum(files), len(files)))
    benchmark.extra_info |= {"cache_bytes": sum(files), "cache_files": len(files)}
