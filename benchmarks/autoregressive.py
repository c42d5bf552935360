"""Models with an exact log p(x), one column given those before it, on MNIST: trained, and measured on the test images.

    FASTVAE_DATA=folder python benchmarks/autoregressive.py --model made        # 15 minutes on two cores
    FASTVAE_DATA=folder python benchmarks/autoregressive.py --epochs 20 "hidden=(500,)"

Pixels are drawn anew from their grey values each time ("dynamic binarisation"); the learning rate falls to 0 as a
cosine, and the parameters are averaged over the last steps; no early stopping, nothing held out. The test images are
binarised once, by a seed. Beside it stands what independent pixels have. With --validate, the last 10,000 training
images take the place of the test images, and are not trained on: for whoever looks for better settings, name=value.
"""

import argparse
import ast
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
from benchmarks.paper import TEST_SEED, Lines, independent_pixels, mnist
from fastvae.models.registry import estimator

SCHEDULE: dict[str, Any] = {"batch_size": 100, "learning_rate": 1e-3, "schedule": "cosine", "average": 0.1}
HELD_BACK = 10_000  # training images by which settings are chosen


@dataclass(frozen=True)
class Model:
    """What is trained, for how long, and what is published of its like: -log p(x) in nats."""

    name: str
    settings: dict[str, Any]
    epochs: int
    published: str


MODELS = {
    "made": Model("MADE", {"hidden": (2000,)}, 80, "MADE-8000, 16 masks: 84.87 (d); 500, 1 mask: 88.40 (f)"),
    "nade": Model("NADE", {"hidden": 500}, 180, "NADE-500: 85.65 (d), 88.33 (f)"),
}


def setting(text: str) -> tuple[str, Any]:
    """An argument of the model, name=value."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no name=value")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="made", choices=MODELS)
    parser.add_argument("--epochs", type=int, help="instead of the table's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validate", action="store_true", help="on the last 10,000 training images")
    parser.add_argument("--save", type=pathlib.Path, metavar="FILE", help="keep the model there")
    parser.add_argument("settings", nargs="*", type=setting, metavar="name=value", help="of the model")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    chosen = arguments(words)
    if not os.environ.get("FASTVAE_DATA"):
        sys.exit("set FASTVAE_DATA to a folder with MNIST")
    X, grey = mnist()
    if chosen.validate:
        X, grey = X[:-HELD_BACK], X[-HELD_BACK:]
    held = (np.random.default_rng(TEST_SEED).random(grey.shape, np.float32) < grey).astype(np.float32)
    kind = MODELS[chosen.model]
    settings, epochs = SCHEDULE | kind.settings | dict(chosen.settings), chosen.epochs or kind.epochs
    print(json.dumps(describe_machine()))
    print(f"{kind.name} {settings}; {epochs} epochs; seed {chosen.seed}; images binarised by seed {TEST_SEED}")
    model = estimator(kind.name)(**settings, scale=None, epochs=epochs, early_stopping=False, random_state=chosen.seed)
    examples = model.initialize(X, "dynamic")
    clock, processor = time.perf_counter(), time.process_time()
    model.fit_examples(examples, epochs, settings["batch_size"], None, None, Lines(chosen.model, epochs))
    model.keep_best()  # the average of the parameters
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    if chosen.save is not None:
        model.save(chosen.save)
    print(f"training: {clock:.0f} s, {processor:.0f} processor seconds; loss of the last epoch "
          f"{model.history_['loss'][-1]:.2f}")  # fmt: skip
    found = model.evaluate(held)
    of = "validation" if chosen.validate else "test"
    print(f"-log p(x), {found.kind}, of {len(held)} {of} images: {-found.mean:.2f} nats "
          f"(s.e. {found.mean_sampling_error:.2f}; {found.seconds:.1f} s)")  # fmt: skip
    print(f"independent pixels: {independent_pixels(X, held):.2f}")
    print(f"published: {kind.published}")


if __name__ == "__main__":
    main()
