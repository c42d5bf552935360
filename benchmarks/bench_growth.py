"""How the cost of a step grows: with the batch, the width H, the examples N of a memory-mapped file, and threads.

Where the file matters, a step also draws its batch: fastvae by its own shuffling, the peers by a permutation that was
made before. The file is sparse and its pages are in memory, so no disk is measured.
"""

import functools
import tempfile
from dataclasses import replace

import numpy as np

from benchmarks import machine
from benchmarks.bench_training import noises
from benchmarks.cases import Case, Op, Point, model
from benchmarks.fastvae_vae import FastVAE
from benchmarks.sizes import SIZES

PEERS = ("fastvae", "numpy", "torch", "jax")
ROUNDS = 5
M, XS = SIZES["M"], SIZES["XS"]
SERIES = {
    "batch": [replace(M, name=f"B={b}", B=b) for b in (1, 16, 128, 1024, 8192)],
    "width": [replace(M, name=f"H={h}", H=h) for h in (32, 256, 1024, 4096)],
    "examples": [replace(XS, name=f"N={n}", B=128, N=n) for n in (10**3, 10**4, 10**5, 10**6, 10**7)],
    "threads": [M],
}


def mapped(s):
    """N rows of bytes in a memory-mapped file, the first thousand random and the others 0: (N, D) uint8."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the map
    file.write(np.random.default_rng(6).bytes(1000 * s.D))
    file.truncate(s.N * s.D)
    rows = np.memmap(file, np.uint8, "r", shape=(s.N, s.D)).view(np.ndarray)
    rows.max()  # reads every page
    return rows


def mapped_step_fastvae(s):
    rows = mapped(s)
    vae = FastVAE(s, s.weights(), rows)
    vae.begin()
    first = [vae.first_step(noise) for noise in noises(s)]
    return Case(vae.steps, lambda: [np.array(first)], repeats=vae.ahead)


def mapped_step(implementation, s):
    rows, vae, position = mapped(s), model(implementation, s), 0
    order = np.random.default_rng(0).permutation(s.N)
    vae.begin()

    def batch(indices):
        x = rows[indices].astype(np.float32)
        x /= 255
        return vae.on_device(x)

    def step():
        nonlocal position
        vae.step(batch(order[position : position + s.B]))
        position = (position + s.B) % (s.N - s.B + 1)

    first = [vae.step(batch(slice(s.B)), vae.on_device(noise)) for noise in noises(s)]
    return Case(step, lambda: [np.array(first)])


OPS = {
    "mapped_step": Op(
        "flop",
        lambda s: s.step_flops,
        {name: functools.partial(mapped_step, name) for name in PEERS} | {"fastvae": mapped_step_fastvae},
        tolerance=1e-4,
    )
}

POINTS = [
    Point("mapped_step" if series == "examples" else "step", size, name, series, threads, ROUNDS)
    for series, sizes in SERIES.items()
    for size in sizes
    for threads in ((1, 2) if series == "threads" else (None,))
    for name in PEERS
    if threads is None or threads <= (machine.cores() or 1)
]


def test_growth(measure):
    measure()
