"""The network of Burda, Grosse and Salakhutdinov (2016), table 1, on MNIST: one stochastic layer, trained and measured.

    FASTVAE_DATA=folder python benchmarks/paper.py --out folder          # an hour on two cores
    FASTVAE_DATA=folder python benchmarks/paper.py --models vae --epochs 50
    FASTVAE_DATA=folder python benchmarks/paper.py --out folder          # again: what is there is not trained again

784-200-200-50, tanh, pixels drawn anew from their grey values each time ("dynamic binarisation"). Each model is trained
with Adam, the learning rate falling to 0 as a cosine, and its parameters averaged over the last part of the steps; no
early stopping, nothing held out. Then -log p(x) of all 10,000 test images, binarised once, by importance sampling, with
both of its errors, and the active units (variance over the images of the mean of q(z|x) above 0.01). Where the tails of
the weights are too heavy for that, it is too large; so the first images have it by annealed importance sampling, too: a
bound from the same side, whose gap to one from the other side is printed. Beside it what independent pixels have.
"""

import argparse
import json
import os
import pathlib
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from benchmarks.machine import describe_machine
from fastvae import VAE
from fastvae.data.loading import load
from fastvae.training import Observer, Schedule, State

NETWORK: dict[str, Any] = {"latent_dim": 50, "hidden": (200, 200), "activation": "tanh", "scale": None}
SCHEDULE: dict[str, Any] = {"batch_size": 100, "learning_rate": 1e-3, "schedule": "cosine", "average": 0.1}
ACTIVE = 0.01  # of the variance of a unit's mean, from which on the paper counts it as active
SHOWN = 20  # lines of a training
TEST_SEED = 0  # of the test images' binarisation


@dataclass(frozen=True)
class Model:
    """What is trained, for how long, and what the paper has: -log p(x) in nats and active units."""

    settings: dict[str, Any]
    epochs: int
    published: float
    published_active: int | None


MODELS = {
    "vae": Model({}, 600, 86.76, 19),
    "vae-5": Model({"n_samples": 5}, 300, 86.47, 20),
    "iwae-5": Model({"objective": "iwae", "n_samples": 5}, 300, 85.54, 22),
}


class Lines(Observer):
    """Prints some epochs of a training."""

    interval = 1.0

    def __init__(self, name: str, epochs: int):
        self.name, self.every, self.began = name, max(1, epochs // SHOWN), time.perf_counter()

    def epoch_finished(self, state: State, record: dict[str, float]) -> None:
        """One line now and then."""
        if state.epoch % self.every == 0:
            seconds = time.perf_counter() - self.began
            print(f"  {self.name} epoch {state.epoch:4}  loss {record['loss']:.2f}  {seconds:5.0f} s", flush=True)

    def started(self, state: State, schedule: Schedule, examples: int) -> None:
        """Say what begins."""
        print(f"{self.name}: {schedule.epochs} epochs of {examples} images in batches of {schedule.batch_size}")


def mnist() -> tuple[np.ndarray, np.ndarray]:
    """Grey values (60000, 784) to train on, and (10000, 784) to test on, in [0, 1]."""
    found = load("mnist", None, None)
    X, held = (np.asarray(part, np.float32) / 255 for part in (found.X, found.X_heldout))
    return X, held


def train(name: str, X: np.ndarray, epochs: int, seed: int) -> tuple[VAE, dict[str, float]]:
    """A model of that name, trained, with the seconds that it took by the clock and of the processors."""
    settings = NETWORK | SCHEDULE | MODELS[name].settings
    vae = VAE(**settings, epochs=epochs, early_stopping=False, random_state=seed)
    examples = vae.initialize(X, "dynamic")
    clock, processor = time.perf_counter(), time.process_time()
    vae.fit_examples(examples, epochs, settings["batch_size"], None, None, Lines(name, epochs))
    vae.keep_best()  # the average of the parameters
    return vae, {"seconds": time.perf_counter() - clock, "processor_seconds": time.process_time() - processor}


def measure(vae: VAE, held: np.ndarray, samples: int, annealed: int, seed: int) -> dict[str, Any]:
    """-log p(x) of images with its errors, of the first ones by annealed importance sampling, -ELBO, active units."""
    result = vae.evaluate(held, n_samples=samples, random_state=seed)
    chains = vae.evaluate(held[:annealed], "annealed", random_state=seed)
    return {
        "annealed": (-chains.values).tolist(),
        "annealed_gap": chains.details["gap"],
        "nll": -result.mean,
        "monte_carlo_error": result.mean_mcse,
        "sampling_error": result.mean_sampling_error,
        "unreliable": int(result.unreliable.sum()),
        "negative_elbo": -float(vae.elbo(held, 10).mean()),
        "active_units": int((vae.transform(held).var(axis=0) > ACTIVE).sum()),
        "evaluation_seconds": result.seconds,
    }


def independent_pixels(X: np.ndarray, held: np.ndarray) -> float:
    """-log p(x) of images whose pixels are independent, by the mean of the training images."""
    p = np.clip(X.mean(axis=0, dtype=np.float64), 1e-4, 1 - 1e-4)
    return float(-(held * np.log(p) + (1 - held) * np.log1p(-p)).sum(axis=1).mean())


def line(name: str, found: dict[str, Any]) -> str:
    """A row of the table."""
    published = MODELS[name]
    return (
        f"{name:8}{found['epochs']:7}{found['seconds']:9.0f}{found['processor_seconds']:9.0f}{found['nll']:9.2f}"
        f"{found['monte_carlo_error']:8.3f}{found['sampling_error']:7.2f}{found['unreliable']:11}"
        f"{np.mean(found['annealed']):9.2f}{found['annealed_gap']:7.2f}{found['negative_elbo']:8.2f}"
        f"{found['active_units']:8}{published.published:11.2f}{published.published_active:8}"
    )


HEADER = (
    f"{'':8}{'epochs':>7}{'seconds':>9}{'cpu s':>9}{'-log p':>9}{'MCSE':>8}{'s.e.':>7}{'k-hat bad':>11}"
    f"{'by AIS':>9}{'gap':>7}{'-ELBO':>8}{'active':>8}{'published':>11}{'active':>8}"
)


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--models", nargs="+", default=list(MODELS), choices=MODELS, metavar="MODEL", help=f"{list(MODELS)}"
    )
    parser.add_argument("--epochs", type=int, help="of each, instead of the table's")
    parser.add_argument("--samples", type=int, default=5000, help="of z an image; default: %(default)s")
    parser.add_argument("--images", type=int, help="of the test images, the first so many; default: all")
    parser.add_argument(
        "--annealed", type=int, default=400, help="images for annealed importance sampling; default: %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, metavar="FOLDER", help="keep models and figures there")
    chosen = parser.parse_args(words)
    if min(chosen.epochs or 1, chosen.samples, chosen.images or 1, chosen.annealed) < 1:
        parser.error("--epochs, --samples, --images and --annealed must be at least 1")
    return chosen


def one(name: str, X: np.ndarray, held: np.ndarray, chosen: argparse.Namespace) -> dict[str, Any]:
    """Train and measure, or read what an earlier call has kept."""
    folder, epochs = chosen.out, chosen.epochs or MODELS[name].epochs
    kept = None if folder is None else folder / f"{name}.json"
    path = None if folder is None else folder / f"{name}.npz"
    found: dict[str, Any] = json.loads(kept.read_text("utf-8")) if kept is not None and kept.exists() else {}
    asked = {"epochs": epochs, "seed": chosen.seed}
    if path is not None and path.exists() and {key: found.get(key) for key in asked} == asked:
        vae = VAE.load(path)
    else:
        vae, times = train(name, X, epochs, chosen.seed)
        found = asked | times
        if path is not None and kept is not None:
            vae.save(path)
            kept.write_text(json.dumps(found) + "\n", "utf-8")
    measured = {"samples": chosen.samples, "images": len(held), "annealed_images": min(chosen.annealed, len(held))}
    if {key: found.get(key) for key in measured} != measured:
        found |= measured | measure(vae, held, chosen.samples, chosen.annealed, chosen.seed)
        if kept is not None:
            kept.write_text(json.dumps(found) + "\n", "utf-8")
    return found


def main(words: list[str] | None = None) -> None:
    chosen = arguments(words)
    if not os.environ.get("FASTVAE_DATA"):
        sys.exit("set FASTVAE_DATA to a folder with MNIST")
    if chosen.out is not None:
        chosen.out.mkdir(parents=True, exist_ok=True)
    X, grey = mnist()
    grey = grey[: chosen.images]
    held = (np.random.default_rng(TEST_SEED).random(grey.shape, np.float32) < grey).astype(np.float32)
    print(json.dumps(describe_machine()))
    network = "784-" + "-".join(map(str, (*NETWORK["hidden"], NETWORK["latent_dim"])))
    print(
        f"{network} {NETWORK['activation']}; {SCHEDULE}; seed {chosen.seed}; test images binarised by seed {TEST_SEED}"
    )
    began = time.perf_counter()
    found = {name: one(name, X, held, chosen) for name in chosen.models}
    print(f"\n-log p(x) in nats of {len(held)} test images by {chosen.samples} samples of z each")
    print(HEADER, *[line(name, figures) for name, figures in found.items()], sep="\n")
    if {"vae-5", "iwae-5"} <= set(found):
        gains = np.subtract(found["vae-5"]["annealed"], found["iwae-5"]["annealed"])
        error = gains.std(ddof=1) / np.sqrt(len(gains))
        print(f"iwae-5 is better than vae-5 by {gains.mean():.2f} (s.e. {error:.2f}), image by image, by AIS")
    print(f"independent pixels: {independent_pixels(X, held):.2f}")
    print(f"this call: {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
