"""A GAN on MNIST or digits: whether its samples are of all classes, as a classifier sees them that knows real images.

    FASTVAE_DATA=folder python benchmarks/gan.py                     # MNIST, three seeds
    python benchmarks/gan.py --data digits --seeds 0 1 2
    python benchmarks/gan.py --data digits --epochs 200 "hidden=(64,)" label_smoothing=0.0

The classifier is a network of one hidden layer, trained on the real images. Of 1,000 samples of each seed: the share of
each class in percent; the least one, which at 3 or more means that no class was dropped; the share of samples that the
classifier is sure of (probability above 0.9), as it gives anything some class. The same of held-out images, and of the
dumbest rival: independent pixels, each drawn from its own values in the data. Settings of the model are overridden by
name=value. Needs scikit-learn.
"""

import argparse
import json
import os
import pathlib
import sys
import time
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from benchmarks.autoregressive import setting
from benchmarks.conditional import classifier, parts
from benchmarks.machine import describe_machine
from fastvae import GAN
from fastvae.data.loading import load
from fastvae.training import Observer

RECIPES: dict[str, dict[str, Any]] = {
    "mnist": {"epochs": 30, "average": 0.1},
    "digits": {"hidden": (128, 128), "epochs": 600, "average": 0.1, "instance_noise": 0.3, "noise_epochs": 500},
}
COUNT, SURE, SHOWN = 1000, 0.9, 100
SAMPLES_SEED = 99  # of the samples that are looked at


class Epochs(Observer):
    """Prints some epochs."""

    interval = 1.0

    def __init__(self, epochs: int):
        self.every = max(1, epochs // 6)

    def epoch_finished(self, state: Any, record: dict[str, float]) -> None:
        """One line now and then."""
        if state.epoch % self.every == 0:
            print(f"  epoch {state.epoch:4}  losses: D {record['discriminator_loss']:.2f}, "
                  f"G {record['generator_loss']:.2f}  accuracy of D: data {record['accuracy_real']:.2f}, "
                  f"generated {record['accuracy_generated']:.2f}", flush=True)  # fmt: skip


def independent_pixels(X: np.ndarray, count: int) -> np.ndarray:
    """Rows each of whose columns is drawn from that column of X alone."""
    rows = np.random.default_rng(SAMPLES_SEED).integers(len(X), size=(count, X.shape[1]))
    return np.take_along_axis(X, rows, axis=0)


def judged(judge: Any, samples: np.ndarray) -> str:
    """What the classifier says of samples."""
    probabilities = judge.predict_proba(samples)
    shares = 100 * np.bincount(probabilities.argmax(axis=1), minlength=len(judge.classes_)) / len(samples)
    sure = (probabilities.max(axis=1) > SURE).mean()
    return f"least class {shares.min():.1f}%, sure of {100 * sure:.0f}%; {' '.join(f'{s:.1f}' for s in shares)}"


def trained(X: np.ndarray, settings: dict[str, Any], seed: int) -> GAN:
    """A GAN after all its epochs."""
    gan = GAN(**settings, random_state=seed)
    examples = gan.initialize(X)
    epochs, batch_size, _ = gan.plan(len(X))
    clock, processor = time.perf_counter(), time.process_time()
    gan.fit_examples(examples, epochs, batch_size, None, None, Epochs(epochs))
    gan.keep_best()  # the average of the generator
    print(f"seed {seed}: {epochs} epochs in {time.process_time() - processor:.0f} processor seconds "
          f"({time.perf_counter() - clock:.0f} s by the clock)", flush=True)  # fmt: skip
    for remark in gan.remarks():
        print(f"  {remark}")
    return gan


def main(words: list[str] | None = None) -> None:
    """Train, and print what the classifier says."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default="mnist", help="mnist, digits, or a file with labels")
    p.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    p.add_argument("--epochs", type=int, help="instead of the recipe's")
    p.add_argument("--picture", type=pathlib.Path, help="where samples of the last seed go, a PNG: needs matplotlib")
    p.add_argument("settings", nargs="*", type=setting, metavar="name=value", help="of the model")
    arguments = p.parse_intermixed_args(words)
    data = load(arguments.data)
    X, y, X_test, _ = parts(data)
    settings = RECIPES.get(arguments.data, {}) | dict(arguments.settings)
    if arguments.epochs:
        settings["epochs"] = arguments.epochs
    print(json.dumps(describe_machine()))
    print(f"{data.name}: {len(X):,} images; {GAN(**settings)}; FASTVAE_THREADS={os.environ.get('FASTVAE_THREADS', '')}")
    judge = classifier(X, y)
    print(f"held-out images: {judged(judge, X_test)}")
    print(f"independent pixels: {judged(judge, independent_pixels(X, COUNT))}", flush=True)
    for seed in arguments.seeds:
        gan = trained(X, settings, seed)
        samples = gan.sample(COUNT, random_state=SAMPLES_SEED)
        print(f"GAN, seed {seed}: {judged(judge, samples)}", flush=True)
    if arguments.picture:
        from fastvae import pictures

        gan.metadata_ |= {"image_shape": list(data.image_shape), "ink": True}
        pictures.write_samples(arguments.picture, gan, samples[:SHOWN], "G(z)")


if __name__ == "__main__":
    main()
