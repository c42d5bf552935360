"""Boltzmann machines on MNIST: -log p(x) of the test images between two bounds, after so much time of training.

    FASTVAE_DATA=folder python benchmarks/boltzmann.py                      an RBM of 500 hidden units
    FASTVAE_DATA=folder python benchmarks/boltzmann.py --model dbm          a DBM of 500 and 1,000

Training images are binarised anew each time, test images once. Stochastic maximum likelihood, the rate falling linearly
to 0, parameters averaged over the last fifth of the steps. log Z is by annealed importance sampling and by its reverse:
-log p(x), or for a DBM the bound on it by a mean field, lies between. Beside it what independent pixels have.
FASTVAE_THREADS=1 trains on one core; both kinds of seconds are printed.
"""

import argparse
import pathlib
import sys
import time
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from benchmarks.machine import describe_machine
from benchmarks.paper import TEST_SEED, Lines, independent_pixels, mnist
from fastvae import DBM, RBM

MODELS: dict[str, Any] = {"rbm": RBM, "dbm": DBM}
EPOCHS = {"rbm": 40, "dbm": 60}


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=MODELS, default="rbm")
    parser.add_argument("--epochs", type=int, help="default: 40 of an RBM, 60 of a DBM")
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--k", type=int, default=1, help="steps of an RBM's chains in a step of training")
    parser.add_argument("--mean-field-steps", type=int, default=3, help="of a DBM")
    parser.add_argument("--temperatures", type=int, default=10_000)
    parser.add_argument("--chains", type=int, default=100, help="behind log Z")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=pathlib.Path)
    chosen = parser.parse_args(words)
    epochs = chosen.epochs or EPOCHS[chosen.model]
    print(describe_machine())
    X, held = mnist()
    held = (np.random.default_rng(TEST_SEED).random(held.shape) < held).astype(np.float32)
    own = {"k": chosen.k} if chosen.model == "rbm" else {"mean_field_steps": chosen.mean_field_steps}
    model = MODELS[chosen.model](learning_rate=chosen.learning_rate, random_state=chosen.seed, **own)
    examples = model.initialize(X, binarize="dynamic")
    clock, processor = time.perf_counter(), time.process_time()
    model.fit_examples(examples, epochs, 100, None, None, Lines(chosen.model, epochs))
    model.keep_best()
    took = f"{time.perf_counter() - clock:.0f} s, {time.process_time() - processor:.0f} processor s"
    if chosen.save:
        model.save(chosen.save)
    print(f"{chosen.model}, {epochs} epochs: {took}", flush=True)
    clock, processor = time.perf_counter(), time.process_time()
    found = model.evaluate(held, chosen.chains, temperatures=chosen.temperatures)
    more = found.details
    print(f"log Z {more['log_z']:.2f} (s.e. {more['mcse']:.2f}, effective sample size {more['ess']:.0f}); "
          f"reverse {more['reverse']:.2f} (s.e. {more['reverse_mcse']:.2f}, {more['reverse_ess']:.0f})")  # fmt: skip
    ends = [f"{-more[f'mean_by_{way}']:.2f}" for way in ("annealing", "reverse")]
    print(f"-log p(x) of {len(held)} test images: {ends[0]}, by the reverse {ends[1]}; "
          f"other images would move it by {found.mean_sampling_error:.2f}; independent pixels: "
          f"{independent_pixels(X, held):.2f}")  # fmt: skip
    print(f"evaluation: {time.perf_counter() - clock:.0f} s, {time.process_time() - processor:.0f} processor s")


if __name__ == "__main__":
    main()
