"""A training step of two checkouts, by turns, each alone in its process: whether a change has cost speed.

    python benchmarks/versions.py ../before .
    python benchmarks/versions.py ../before . --sizes XS S --what plain learned --rounds 9

A line for each size and kind of training: microseconds a step of both (the least over all rounds), and the ratio of the
second to the first (the median over rounds of the rounds' own, and the least by the least).
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys

SIZES = {"XS": (64, 128, 8, 32), "S": (64, 64, 8, 128), "M": (784, 400, 20, 128), "L": (784, 1024, 32, 512)}
WHAT = {
    "plain": {},
    "gaussian": {"likelihood": "gaussian", "sigma": 1.0, "linear": False},
    "learned": {"likelihood": "gaussian", "sigma": "learned"},
    "optimal": {"likelihood": "gaussian", "sigma": "optimal"},
    "clipped": {"clip_norm": 1.0},
}
BATCHES = {"XS": 64, "S": 64, "M": 16, "L": 4}  # of an epoch
EPOCHS = {"XS": 12, "S": 8, "M": 3, "L": 2}  # between two looks at the clock, of which there are four

CHILD = """
import sys, time, warnings
import numpy as np
from fastvae import VAE
from fastvae.training import Observer
columns, hidden, latent, batch, batches, epochs = map(int, sys.argv[1:7])
warnings.simplefilter("ignore")
X = np.random.default_rng(0).random((batches * batch, columns)).astype(np.float32)
vae = VAE(latent, (hidden,), batch_size=batch, epochs=1, random_state=0, **eval(sys.argv[7]))
examples = vae.initialize(X)
class Unheard(Observer):
    interval = 0.02
done, best = 0, float("inf")
for _ in range(5):  # the first one compiles
    done += epochs
    start = time.perf_counter()
    vae.fit_examples(examples, done, batch, None, None, Unheard())
    best = min(best, (time.perf_counter() - start) / (batches * epochs))
print(best * 1e6)
"""


def microseconds(checkout: pathlib.Path, size: str, what: str) -> float:
    """A step's, in a process of its own."""
    numbers = [str(number) for number in (*SIZES[size], BATCHES[size], EPOCHS[size])]
    command = [sys.executable, "-c", CHILD, *numbers, repr(WHAT[what])]
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd="/", check=True)
    return float(done.stdout)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=pathlib.Path)
    parser.add_argument("after", type=pathlib.Path)
    parser.add_argument("--sizes", nargs="*", default=list(SIZES), choices=SIZES)
    parser.add_argument("--what", nargs="*", default=list(WHAT), choices=WHAT)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(f"{'':12}{'before':>12}{'after':>12}{'ratio':>8}{'of least':>10}   microseconds a step")
    for size in given.sizes:
        for what in given.what:
            rounds = [(microseconds(given.before, size, what), microseconds(given.after, size, what))
                      for _ in range(given.rounds)]  # fmt: skip
            before, after = (min(column) for column in zip(*rounds, strict=True))
            ratio = statistics.median(new / old for old, new in rounds)
            print(f"{size:3} {what:8}{before:12.1f}{after:12.1f}{ratio:8.3f}{after / before:10.3f}", flush=True)


if __name__ == "__main__":
    main()
