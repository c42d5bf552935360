"""What the initial weights are worth: held-out -ELBO after a training, by data, architecture and choice of weights.

    python benchmarks/initial_weights.py                 # digits, tables and, where they are, the large ones
    python benchmarks/initial_weights.py --sets digits-3 iris --inits he h3 --seeds 5
    FASTVAE_DATA=folder python benchmarks/initial_weights.py --sets mnist mnist-dynamic mnist-deep-dynamic frey

One line a case: the mean over the seeds of the last -ELBO in nats, and of the least on the way ("best"), which is where
early stopping would have ended. A fifth is held out, the same for all seeds; of MNIST, its test images. A KL below 0.01
is a training that has collapsed: the line counts them. MNIST and the Frey faces (`frey_faces.npz`, array `images`) are
read from the folder that the environment variable FASTVAE_DATA names.
"""

import argparse
import inspect
import json
import math
import os
import pathlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from benchmarks import density_data
from benchmarks.density_data import MissingDataError
from fastvae import VAE
from fastvae.data.loading import load
from fastvae.training import Observer

RECTIFIERS = ("relu", "leaky_relu", "silu")
LOOKS = 12  # at the held-out data, spread over a training
DRAWS = 10_000  # of z in all behind a held-out ELBO, at least
COLLAPSED = 0.01  # nats of KL
FEW_STEPS = 3000  # of a training on a table


# ---- choices of the weights -------------------------------------------------------------------------------------
# Each is given a model whose weights are drawn as He and Glorot say (a rectifier's layer: variance 2 / inputs; others:
# 2 / (inputs + outputs); biases 0, but the output's), and changes them in place.

Change = Callable[[VAE, np.random.Generator], None]


HEADS = ["mu.weight", "logvar.weight"]


def _decoder(vae: VAE) -> list[str]:
    """Weights of the decoder, from z on."""
    names, parameters = [], vae.parameters()
    while f"decoder.{len(names)}.weight" in parameters:
        names.append(f"decoder.{len(names)}.weight")
    return names


def _multiply(vae: VAE, names: list[str], factor: float) -> None:
    parameters = vae.parameters()
    for name in names:
        parameters[name] *= np.float32(factor)


def as_drawn(vae: VAE, rng: np.random.Generator) -> None:
    """As they are."""


def small_heads(vae: VAE, rng: np.random.Generator) -> None:
    """mu and logvar times 0.3."""
    _multiply(vae, HEADS, 0.3)


def small_ends(vae: VAE, rng: np.random.Generator) -> None:
    """mu, logvar and the decoder's last layer times 0.3, its first, whose input is not rectified, times 0.4."""
    decoder = _decoder(vae)
    _multiply(vae, [*HEADS, decoder[-1]], 0.3)
    _multiply(vae, decoder[:1] if len(decoder) > 1 else [], 0.4)


def small_ends_of_rectifiers(vae: VAE, rng: np.random.Generator) -> None:
    """The same, but nothing for activations that are no rectifiers."""
    if vae.activation in RECTIFIERS:
        small_ends(vae, rng)


def torch(vae: VAE, rng: np.random.Generator) -> None:
    """PyTorch's: all within 1 / sqrt(inputs), biases too, but for the output's."""
    parameters = vae.parameters()
    last = _decoder(vae)[-1]
    encoder = [name for name in parameters if name.startswith("encoder.") and name.endswith(".weight")]
    for name in [*encoder, *HEADS, *_decoder(vae)]:
        bound = 1 / math.sqrt(len(parameters[name]))
        bias = name.replace(".weight", ".bias")
        for changed in [name] if name == last else [name, bias]:
            parameters[changed][...] = rng.uniform(-bound, bound, parameters[changed].shape)


INITS: dict[str, Change | None] = {
    "he": as_drawn,
    "torch": torch,
    "small-heads": small_heads,
    "h3": small_ends_of_rectifiers,
    "h3-all": small_ends,
    "default": None,  # whatever the estimator does by itself
}


def accepted(settings: dict[str, Any]) -> dict[str, Any]:
    """Those of the settings that the estimator knows."""
    known = inspect.signature(VAE.__init__).parameters
    return {name: value for name, value in settings.items() if name in known}


# ---- cases ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """Data, a model for them, and how long it is trained."""

    data: Callable[[], tuple[np.ndarray, np.ndarray]]  # to train on, and held out
    settings: dict[str, Any]
    epochs: int | None = None  # None: FEW_STEPS steps
    dynamic: bool = False  # pixels drawn anew each epoch


def _fifth(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    order = np.random.default_rng(0).permutation(len(X))
    return X[order[len(X) // 5 :]], X[order[: len(X) // 5]]


def _digits() -> tuple[np.ndarray, np.ndarray]:
    return _fifth(np.asarray(load("digits", None, None).X, np.float32) / 16)


def _table(name: str) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    def load() -> tuple[np.ndarray, np.ndarray]:
        return _fifth(density_data.load(name).X)

    return load


def _folder() -> pathlib.Path:
    folder = os.environ.get("FASTVAE_DATA")
    if not folder:
        raise MissingDataError("set FASTVAE_DATA to a folder with it")
    return pathlib.Path(folder)


def _mnist() -> tuple[np.ndarray, np.ndarray]:
    if not any(path for pattern in ("mnist*", "*ubyte*") for path in _folder().glob(pattern)):
        raise MissingDataError("the folder that FASTVAE_DATA names does not hold MNIST")
    found = load("mnist", None, None)
    return tuple(np.asarray(X, np.float32) / 255 for X in (found.X, found.X_heldout))


def _frey() -> tuple[np.ndarray, np.ndarray]:
    path = _folder() / "frey_faces.npz"
    if not path.exists():
        raise MissingDataError("the folder that FASTVAE_DATA names does not hold frey_faces.npz")
    with np.load(path, allow_pickle=False) as file:
        images = file["images"]
    return _fifth(images.reshape(len(images), -1).astype(np.float32))


PIXELS = {"latent_dim": 20, "scale": None, "likelihood": "bernoulli"}
GAUSSIAN = {"likelihood": "gaussian", "sigma": "optimal"}
TABLE = {**GAUSSIAN, "latent_dim": 20, "hidden": (400,), "scale": "standard"}
TABLES = ("iris", "wine", "breast_cancer", "diabetes")

CASES: dict[str, Case] = {
    **{f"digits-{depth}": Case(_digits, {**PIXELS, "hidden": (256,) * depth}, 60) for depth in (1, 2, 3, 4)},
    **{
        f"digits-{depth}-{name}": Case(_digits, {**PIXELS, "hidden": (256,) * depth, "activation": name}, 60)
        for name in ("silu", "leaky_relu", "tanh", "sigmoid", "softplus")
        for depth in (1, 3)
    },
    "digits-gaussian": Case(_digits, {**PIXELS, **GAUSSIAN, "hidden": (256,)}, 60),
    "digits-gaussian-silu": Case(_digits, {**PIXELS, **GAUSSIAN, "hidden": (256,), "activation": "silu"}, 60),
    **{name: Case(_table(name), TABLE) for name in TABLES},
    **{f"{name}-silu": Case(_table(name), {**TABLE, "activation": "silu"}) for name in TABLES},
    **{f"{name}-tanh": Case(_table(name), {**TABLE, "activation": "tanh"}) for name in TABLES},
    "frey": Case(_frey, {**GAUSSIAN, "latent_dim": 10, "hidden": (200,), "scale": (0, 255)}, 50),
    "mnist": Case(_mnist, {**PIXELS, "hidden": (400,)}, 10),
    "mnist-dynamic": Case(_mnist, {**PIXELS, "hidden": (400,)}, 10, dynamic=True),
    "mnist-deep-dynamic": Case(_mnist, {**PIXELS, "hidden": (200, 200), "latent_dim": 50}, 10, dynamic=True),
}


# ---- a training -------------------------------------------------------------------------------------------------


@dataclass
class Training:
    """Held-out -ELBO in nats at some epochs, and the KL of the last one."""

    looks: list[float] = field(default_factory=list)
    kl: float = math.nan

    @property
    def last(self) -> float:
        return self.looks[-1]

    @property
    def best(self) -> float:
        return min(self.looks)


def train(case: Case, data: tuple[np.ndarray, np.ndarray], init: str, seed: int, epochs: int | None) -> Training:
    """One training from these weights, without early stopping, looked at on the way."""
    X, held = data
    change = INITS[init]
    batch_size = min(128, len(X))
    wanted = epochs or case.epochs or -(-FEW_STEPS // -(-len(X) // batch_size))
    settings = {"linear": False, "batch_size": batch_size, "random_state": seed, **case.settings}
    vae = VAE(**accepted(settings | ({} if change is None else {"init": "he"})))
    examples = vae.initialize(X, "dynamic" if case.dynamic else None)
    if change is not None:
        change(vae, np.random.default_rng([seed, 1]))
    if case.dynamic:
        held = (np.random.default_rng(0).random(held.shape, np.float32) < held).astype(np.float32)
    held = np.repeat(held, -(-DRAWS // len(held)), axis=0)  # each copy has noise of its own
    observer, found = Observer(), Training()
    observer.interval = 0.1  # many steps in one call
    for epoch in np.linspace(0, wanted, min(LOOKS, wanted) + 1).round().astype(int)[1:]:
        vae.fit_examples(examples, int(epoch), batch_size, None, None, observer)
        found.looks.append(-float(vae.elbo(held).mean()))
    found.kl = float(vae.history_["kl"][-1])
    return found


def line(name: str, by_init: dict[str, list[Training]]) -> str:
    """Last and best of each choice, means over the seeds, with the deviation between seeds of the last."""
    text = f"{name:21}"
    for trainings in by_init.values():
        last = [t.last for t in trainings]
        spread = f"({np.std(last, ddof=1):.2f})" if len(last) > 1 else ""
        collapsed = sum(t.kl < COLLAPSED for t in trainings)
        best = np.mean([t.best for t in trainings])
        text += f"{f'{np.mean(last):.2f}{spread} {best:.2f}' + (f' !{collapsed}' if collapsed else ''):>{WIDTH}}"
    return text


WIDTH = 24  # of a column


def summary_lines(found: dict[str, dict[str, list[Training]]], inits: list[str]) -> list[str]:
    """How each choice compares with the first one."""
    if len(inits) < 2 or not found:
        return []
    lines = ["", f"-ELBO - that of {inits[0]}, mean over cases of last and best; cases where it is lower"]
    for init in inits[1:]:
        pairs = [(by_init[init], by_init[inits[0]]) for by_init in found.values()]
        gains = {
            what: [np.mean([getattr(t, what) for t in a]) - np.mean([getattr(t, what) for t in b]) for a, b in pairs]
            for what in ("last", "best")
        }
        lower = {what: sum(g < 0 for g in values) for what, values in gains.items()}
        lines.append(
            f"{init:12} last {np.mean(gains['last']):+8.3f} ({lower['last']} of {len(pairs)})   "
            f"best {np.mean(gains['best']):+8.3f} ({lower['best']} of {len(pairs)})"
        )
    return lines


# ---- the command ------------------------------------------------------------------------------------------------


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sets", nargs="+", default=list(CASES), choices=CASES, metavar="SET", help=f"{list(CASES)}")
    parser.add_argument("--inits", nargs="+", default=list(INITS), choices=INITS, metavar="INIT", help=f"{list(INITS)}")
    parser.add_argument("--seeds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--epochs", type=int, help="instead of those of each set")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write all figures there")
    chosen = parser.parse_args(words)
    if chosen.seeds < 1 or (chosen.epochs is not None and chosen.epochs < 1):
        parser.error("--seeds and --epochs must be at least 1")
    return chosen


def main(words: list[str] | None = None) -> None:
    chosen = arguments(words)
    found: dict[str, dict[str, list[Training]]] = {}
    print(f"held-out -ELBO, {chosen.seeds} seeds: last (deviation between seeds), best; !n: collapsed", flush=True)
    print(f"{'':21}" + "".join(f"{init:>{WIDTH}}" for init in chosen.inits), flush=True)
    for name in chosen.sets:
        try:
            data = CASES[name].data()
        except MissingDataError as error:
            print(f"{name:21} left out: {error}", flush=True)
            continue
        found[name] = {
            init: [train(CASES[name], data, init, seed, chosen.epochs) for seed in range(chosen.seeds)]
            for init in chosen.inits
        }
        print(line(name, found[name]), flush=True)
    print(*summary_lines(found, chosen.inits), sep="\n", flush=True)
    if chosen.json:
        figures = {n: {i: [t.looks for t in ts] for i, ts in by_init.items()} for n, by_init in found.items()}
        chosen.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
