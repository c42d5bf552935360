"""Time and memory of the measures of samples: 10,000 against 10,000 rows of 784 columns.

    python benchmarks/quality.py                      # rows drawn at random
    FASTVAE_DATA=folder python benchmarks/quality.py --data mnist --rows 2000

Seconds by the clock and of the processors (all threads), and the most memory beyond what the process had, in MB; the
last needs Linux.
"""

import argparse
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from fastvae.data.loading import load
from fastvae.evaluation.quality import panel
from fastvae.evaluation.quality.classifier import classifier_test
from fastvae.evaluation.quality.frechet import frechet
from fastvae.evaluation.quality.kernel_mmd import kernel_mmd
from fastvae.evaluation.quality.manifolds import manifolds
from fastvae.evaluation.quality.memorisation import memorisation
from fastvae.evaluation.quality.sliced_wasserstein import sliced_wasserstein


def memory(name):
    """MB, of a line of /proc/self/status; NaN elsewhere."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1e3


def measure(name, call):
    """Run it and print what it took."""
    pathlib.Path("/proc/self/clear_refs").write_text("5") if sys.platform == "linux" else None
    before, clock, processor = memory("VmRSS"), time.perf_counter(), time.process_time()
    call()
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    print(f"{name:<40}{clock:>8.1f} s{processor:>8.1f} s of processors{memory('VmHWM') - before:>8.0f} MB", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a data set or file; default: normal numbers")
    parser.add_argument("--rows", type=int, default=10_000, help="of samples, and as many real ones twice")
    parser.add_argument("--train", type=int, default=40_000, help="training rows at most")
    parser.add_argument("--permutations", type=int, default=1000)
    given = parser.parse_args()
    rng, n = np.random.default_rng(0), given.rows
    if given.data:
        X = load(given.data).X
        X = X[rng.permutation(len(X))].astype(np.float32)
    else:
        X = rng.standard_normal((3 * n + given.train, 784), np.float32)
    samples, held, train = X[:n], X[n : 3 * n], X[3 * n : 3 * n + given.train]
    kernel_mmd(samples[:50], held[:50], permutations=9)
    measure(f"kernel MMD, {given.permutations} permutations",
            lambda: kernel_mmd(samples, held[:n], permutations=given.permutations))  # fmt: skip
    measure("classifier", lambda: classifier_test(samples, held[:n]))
    measure("precision, recall, density, coverage", lambda: manifolds(samples, held[:n]))
    measure("sliced Wasserstein, 512 directions", lambda: sliced_wasserstein(samples, held[:n]))
    measure("Frechet distance", lambda: frechet(samples, held[:n]))
    measure(f"copies, {len(train):,} training rows", lambda: memorisation(samples, held[:n], train))
    measure("panel", lambda: panel(samples, held, train, permutations=given.permutations))


if __name__ == "__main__":
    main()
