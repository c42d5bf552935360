"""Digests of trainings: whether two versions of fastvae leave the same bits, on one machine.

    python benchmarks/digests.py > before.txt        # in one checkout, and in another; then
    diff before.txt after.txt

A line for each training of 30 steps: a digest of the parameters, one of the losses of each epoch, and what was trained.
Every likelihood, sigma, clipping, depth, precision, and number of threads; batches differ by a row. The bits depend on
the processor and on the versions of numba and LLVM: compare what one machine has made on one day.
"""

import hashlib
import itertools
import os
import subprocess
import sys
import warnings

import numpy as np

from fastvae import VAE
from fastvae.training import Observer

ROWS, COLUMNS, BATCH, EPOCHS = 250, 100, 100, 10  # three batches of 84, 83 and 83 rows an epoch
LIKELIHOODS = (
    ("bernoulli", 1.0),
    ("gaussian", 1.0),
    ("gaussian", 0.37),
    ("gaussian", "learned"),
    ("gaussian", "optimal"),
)
DEPTHS = ((), (150,), (150, 60), (150, 60, 30))


def digest(*arrays: np.ndarray) -> str:
    """Of the bytes of arrays."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:16]


def data(likelihood: str) -> np.ndarray:
    """(ROWS, COLUMNS) with some structure."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(ROWS, 5)) @ rng.normal(size=(5, COLUMNS)) + 0.3 * rng.normal(size=(ROWS, COLUMNS))
    return (X > 0 if likelihood == "bernoulli" else X).astype(np.float32)


def train(likelihood: str, sigma: float | str, clip: float | None, hidden: tuple[int, ...], precision: str) -> str:
    """The digests of one training."""
    vae = VAE(
        latent_dim=7, hidden=hidden, likelihood=likelihood, sigma=sigma, clip_norm=clip, precision=precision,
        activation="silu" if len(hidden) == 2 else "relu", kl_warmup_epochs=3, random_state=5,
    )  # fmt: skip
    vae.fit_examples(vae.initialize(data(likelihood)), EPOCHS, BATCH, None, None, Observer())
    parameters = digest(*vae.parameters().values())
    return f"{parameters} {digest(*(vae.history_[name] for name in ('loss', 'nll', 'kl')))}"


def main() -> None:
    """Print a line for each training; in a process for each number of threads."""
    if "FASTVAE_THREADS" not in os.environ:
        for threads in ("1", "2"):
            subprocess.run([sys.executable, __file__], env=os.environ | {"FASTVAE_THREADS": threads}, check=True)
        return
    warnings.simplefilter("ignore")
    for precision, hidden, clip, (likelihood, sigma) in itertools.product(
        ("float32", "bfloat16"), DEPTHS, (None, 1.0), LIKELIHOODS
    ):
        what = f"{likelihood} sigma={sigma} clip_norm={clip} hidden={hidden} {precision}"
        print(
            train(likelihood, sigma, clip, hidden, precision),
            what,
            "threads",
            os.environ["FASTVAE_THREADS"],
            flush=True,
        )


if __name__ == "__main__":
    main()
