"""The program beside this file, as a user runs it; and its model in processes that come later."""

import os
import pathlib
import subprocess
import sys

import pytest

from tests.support.commands import ROOT

pytestmark = pytest.mark.long
HERE = pathlib.Path(__file__).parent
LATER = """
import sys
import numpy as np
from fastvae import VAE
{first}
vae = VAE.load(sys.argv[1])
data = embedded.batches(np.random.default_rng(0))
held_out = np.concatenate([next(data) for _ in range(4)])
print("again", vae.score(held_out), "nats a row")
assert vae.sample(3, noise=True).shape == (3, 8)
assert np.isfinite(vae.evaluate(held_out[:20]).values).all()
vae.partial_fit(held_out)
"""
IN_A_POOL = """
import concurrent.futures, multiprocessing, sys
import embedded

if __name__ == "__main__":
    vae = embedded.VAE.load(sys.argv[1])
    X = next(embedded.batches(embedded.np.random.default_rng(2)))
    spawned = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=spawned) as pool:
        assert (pool.submit(vae.score_samples, X).result() == vae.score_samples(X)).all()
        fresh = embedded.VAE(2, (4, "layer_norm"), likelihood="laplace", epochs=1, random_state=0)
        assert pool.submit(fresh.fit, X).result().score(X) == fresh.fit(X).score(X)
"""


def run(*words, folder):
    paths = os.pathsep.join([str(ROOT), str(HERE)])
    environment = os.environ | {"PYTHONPATH": paths}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_program_and_its_model_later(tmp_path):
    done = run(str(HERE / "embedded.py"), "model.npz", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    first, checked, trained = done.stdout.splitlines()
    assert float(checked.split()[-1]) < 1e-2
    assert float(trained.split()[1]) > float(first.split()[2]) + 2
    later = run("-W", "ignore", "-c", LATER.format(first="import embedded"), "model.npz", folder=tmp_path)
    assert later.returncode == 0, later.stderr
    assert later.stdout.split()[1] == trained.split()[1]
    unknown = run("-c", LATER.format(first=""), "model.npz", folder=tmp_path)
    assert "with the layer 'layer_norm' and the likelihood 'laplace' of somebody's own" in unknown.stderr
    assert "first import embedded, which defines LayerNorm and Laplace" in unknown.stderr
    words = "model.npz", "-n", "2", "--out", "drawn.csv"
    refused = run("-m", "fastvae.sample", *words, folder=tmp_path)
    assert refused.returncode == 2
    code = "import embedded; from fastvae.sample import main; main()"
    assert refused.stderr.strip().endswith(f'python -c "{code}" and what followed python -m fastvae.sample')
    drawn = run("-W", "ignore", "-c", code, *words, folder=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    assert (tmp_path / "drawn.csv").exists()
    (tmp_path / "pool.py").write_text(IN_A_POOL)
    pool = run("-W", "ignore", "pool.py", "model.npz", folder=tmp_path)
    assert pool.returncode == 0, pool.stderr


def test_it_is_short():
    assert len((HERE / "embedded.py").read_text().splitlines()) <= 100
