"""What `selfcheck` asks of a GPU beside its kernels: noise, a training, and what launches and steps cost."""

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastvae.checks import Outcome
from fastvae.kernels import cpu, philox
from fastvae.models.vae import VAE

NOISE = [(1, 1), (3, 70), (129, 31)]
SMALL, SMALL_BATCH, EPOCHS = (16, 24, 4), 8, 4  # data, hidden and latent width of the training on both
STEPPED = {"64-128-8, batch 32": ((64, 128, 8), 32), "784-400-20, batch 128": ((784, 400, 20), 128)}
STEPS, LAUNCHES = 100, 1000  # that are timed
SEED = np.uint64(2**63 + 17)


def noise() -> Outcome:
    """Whether the device draws the words that the CPU draws: as uniform numbers, which keep all of their bits."""
    from fastvae.kernels.cuda import calls

    wrong = 0
    for shape in NOISE:
        found, expected = (np.full(shape, np.nan, np.float32) for _ in range(2))
        for kernels, out in ((calls, found), (cpu, expected)):
            kernels.uniform_noise(SEED, philox.PRIOR, 12, 1000, out)
        wrong += int((found != expected).sum())
    return Outcome("noise words that differ from the CPU's", float(2 * wrong))


def training() -> list[Outcome]:
    """Twenty steps on both, with clipping and a KL that grows: how far the parameters, codes and ELBO are apart, by
    1e-4 of the greatest of each (1e-3 for what is computed with them)."""
    columns, width, latent = SMALL
    X = np.random.default_rng(0).random((4 * SMALL_BATCH + 4, columns)).astype(np.float32)
    outcomes = []
    for likelihood in ("bernoulli", "gaussian"):
        settings: dict[str, Any] = {"batch_size": SMALL_BATCH, "epochs": EPOCHS, "clip_norm": 1.0, "random_state": 0}
        settings |= {"kl_warmup_epochs": 2.5, "likelihood": likelihood}
        found, expected = (VAE(latent, (width,), device=on, **settings).fit(X) for on in ("cuda", "cpu"))
        pairs = {name: (found.parameters()[name], values, 1e-4) for name, values in expected.parameters().items()}
        pairs["codes"] = found.transform(X), expected.transform(X), 1e-3
        pairs["elbo"] = found.elbo(X), expected.elbo(X), 1e-3
        worst = max(float(np.abs(a - b).max() / (allowed * np.abs(b).max())) for a, b, allowed in pairs.values())
        outcomes.append(Outcome(f"a training, {likelihood}: distance from the CPU's", worst))
    return outcomes


def launch_microseconds() -> float:
    """What a launch costs the host: of many small ones, one after the other."""
    from fastvae.kernels.cuda.driver import device
    from fastvae.kernels.cuda.elementwise import KERNEL
    from fastvae.kernels.cuda.launches import Launch

    on = device()
    launch = Launch(KERNEL["sigmoid_inplace"], (1,), [on.upload(np.zeros(1, np.float32)), 1])
    launch.do(on)
    on.synchronize()
    start = time.perf_counter()
    for _ in range(LAUNCHES):
        launch.do(on)
    on.synchronize()
    return (time.perf_counter() - start) / LAUNCHES * 1e6


def step_microseconds() -> dict[str, dict[str, float]]:
    """A step of training at some sizes, launched and as a graph; losses read back once for all of them."""
    from fastvae.kernels.cuda.steps import GRAPH_VARIABLE

    before, times = os.environ.get(GRAPH_VARIABLE), dict[str, dict[str, float]]()
    try:
        for name, (widths, batch) in STEPPED.items():
            times[name] = {}
            for how, asked in (("launched", "0"), ("as a graph", "1")):
                os.environ[GRAPH_VARIABLE] = asked
                times[name][how] = _seconds_a_step(*widths, batch) * 1e6
    finally:
        os.environ.pop(GRAPH_VARIABLE)
        if before is not None:
            os.environ[GRAPH_VARIABLE] = before
    return times


def _seconds_a_step(columns: int, width: int, latent: int, rows: int) -> float:
    vae = VAE(latent, (width,), batch_size=rows, device="cuda", random_state=0)
    examples = vae.initialize(np.random.default_rng(0).random((4 * rows, columns)).astype(np.float32))
    network, indices = vae.network_, np.empty(rows, np.int64)
    network.allocate(rows, vae._make_optimizer().parts, examples, indices)
    order = np.tile(np.arange(4 * rows), -(-STEPS // 4))[: STEPS * rows].reshape(STEPS, rows)
    run: Callable[[], Any] = lambda: network.steps(1, order, np.zeros(STEPS))  # noqa: E731
    run()
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) / STEPS
