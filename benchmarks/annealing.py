"""How far apart annealed importance sampling and its reverse leave log p(x) of a trained VAE, and at what cost.

    FASTVAE_DATA=folder python benchmarks/annealing.py                         # MNIST, some minutes with the training
    python benchmarks/annealing.py --model model.npz --examples 50 --only default
    python benchmarks/annealing.py --data digits --epochs 100

First a table of settings: the bracket on examples that are drawn from the model, in nats, its standard error, the
median effective sample size of K weights, and gradients of log p(x|z) by an example, the pilot's among them: what a
setting costs, wherever it runs. Then, on real images, annealed importance sampling beside importance sampling: two
estimators that share nothing but the decoder; of both, differences are those of image by image.
"""

import argparse
import os
import pathlib
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from fastvae import VAE
from fastvae.data.loading import load
from fastvae.evaluation.annealed import N_CHAINS, N_LEAPFROG, N_TEMPERATURES, annealed, bracket
from fastvae.evaluation.densities import CodeDensity
from fastvae.evaluation.importance import importance

SETTINGS = {  # temperatures, chains, leapfrog steps, start, schedule
    "default": (N_TEMPERATURES, N_CHAINS, N_LEAPFROG, "q", "linear"),
    "no annealing": (1, 9000, 1, "q", "linear"),
    "leapfrog 1": (800, 8, 1, "q", "linear"),
    "leapfrog 2": (400, 8, 2, "q", "linear"),
    "leapfrog 8": (100, 8, 8, "q", "linear"),
    "few chains": (800, 2, 4, "q", "linear"),
    "many chains": (50, 32, 4, "q", "linear"),
    "sigmoid": (200, 8, 4, "q", "sigmoid"),
    "prior": (200, 8, 4, "prior", "linear"),
    "prior, sigmoid": (200, 8, 4, "prior", "sigmoid"),
    "prior, sigmoid, ten times": (2000, 8, 4, "prior", "sigmoid"),
    "a quarter": (50, 8, 4, "q", "linear"),
    "four times": (800, 8, 4, "q", "linear"),
}


def brackets(model, names: list[str], examples: int, seed: int) -> None:
    """Print the table of settings."""
    print("| setting | T | K | leapfrog | start | schedule | lower | gap | median ESS | acceptance | gradients | s |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for name in names:
        T, K, leapfrog, start, schedule = SETTINGS[name]
        evaluated, called = [0], CodeDensity.__call__

        def counted(self, z, workers, evaluated=evaluated, called=called):
            evaluated[0] += z.shape[0] * z.shape[1]
            return called(self, z, workers)

        CodeDensity.__call__ = counted
        begun = time.process_time()
        try:
            found = bracket(model, examples, n_temperatures=T, n_chains=K, n_leapfrog=leapfrog, start=start,
                            schedule=schedule, seed=seed)  # fmt: skip
        finally:
            CodeDensity.__call__ = called
        gap = f"{found.gap:.3f} ± {found.gap_error:.3f}"
        rate = f"{found.acceptance.mean():.2f}" if T > 1 else ""
        each, seconds = evaluated[0] / examples, time.process_time() - begun
        print(f"| {name} | {T} | {K} | {leapfrog if T > 1 else ''} | {start} | {schedule} | {found.lower.mean:.2f} | "
              f"{gap} | {np.median(found.ess):.1f} | {rate} | {each:,.0f} | {seconds:.0f} |", flush=True)  # fmt: skip


def beside_importance(model, X: np.ndarray, samples: int, seed: int) -> None:
    """Print what both say of the same images."""
    examples = model.examples(X, binarize=0.5)
    found = {
        "annealed": annealed(model, examples, seed=seed),
        "importance": importance(model, examples, samples, seed=seed),
    }
    for name, one in found.items():
        print(f"{name}: {one.mean:.3f} ± {one.mean_mcse:.3f} nats, {one.n_samples:,} samples, {one.seconds:.0f} s, "
              f"{one.unreliable.sum()} unreliable; {one.details.get('gap', '')}")  # fmt: skip
    apart = found["annealed"].values - found["importance"].values
    error = np.std(apart, ddof=1) / len(apart) ** 0.5
    print(f"annealed - importance: {apart.mean():.3f} ± {error:.3f}, from {apart.min():.2f} to {apart.max():.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a model's file; by default one is trained")
    parser.add_argument("--data", default="mnist" if os.environ.get("FASTVAE_DATA") else "digits")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--examples", type=int, default=100, help="drawn from the model; and real ones")
    parser.add_argument("--samples", type=int, default=5000, help="of importance sampling")
    parser.add_argument("--only", nargs="*", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    data = load(given.data)
    X = np.asarray(data.X)
    if given.model:
        model = VAE.load(given.model)
    else:
        ends = float(X.min()), float(X.max())
        model = VAE(epochs=given.epochs, early_stopping=False, scale=ends, random_state=0).fit(X[given.examples :])
    brackets(model, given.only, given.examples, given.seed)
    print()
    beside_importance(model, X[: given.examples], given.samples, given.seed)


if __name__ == "__main__":
    main()
