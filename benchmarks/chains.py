"""Markov chains that were learned: a generative stochastic network, or a denoising autoencoder, trained and run.

    FASTVAE_DATA=folder python benchmarks/chains.py gsn --hidden 1500 1500 --epochs 4     # MNIST, the published network
    FASTVAE_DATA=folder python benchmarks/chains.py gsn --hidden 500 500 --epochs 12
    FASTVAE_DATA=folder python benchmarks/chains.py dae --epochs 20
    python benchmarks/chains.py gsn --data digits --hidden 100 100 --epochs 100

What of the error of corrupted test images is left; how many classes single chains visit, from the first state on, by a
classifier that was trained on real images, and how often they change class; and the log density of a Parzen window
over 10,000 samples, its bandwidth chosen on images that were held back, which is what the only published figure of
these models is (GSN 214 +- 1.1, Bengio et al. 2014). It is no log p(x), and it misranks models: beside it stands that
of as many training images, and of a Gaussian. Needs scikit-learn.
"""

import argparse
import os
import pathlib
import sys
import time
import warnings

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from benchmarks.conditional import classifier, parts
from fastvae.data.loading import load
from fastvae.evaluation.parzen import parzen
from fastvae.models.denoising import DenoisingAutoencoder
from fastvae.models.gsn import GSN

CHAINS, STATES = 100, 100  # chains that are looked at, and states of each
WINDOW, APART, BURN_IN = 10_000, 10, 100  # samples behind a window, transitions between those of a chain, and before


def made(arguments: argparse.Namespace):
    """The model that was asked for."""
    settings = {"epochs": arguments.epochs, "batch_size": 100, "schedule": "cosine", "early_stopping": False}
    settings |= {"scale": None, "learning_rate": arguments.rate, "random_state": arguments.seed}
    if arguments.model == "gsn":
        noise = arguments.noise[0] if len(arguments.noise) == 1 else tuple(arguments.noise)
        return GSN(tuple(arguments.hidden), noise=noise, walkback=arguments.walkback, **settings)
    return DenoisingAutoencoder(
        arguments.latent_dim, tuple(arguments.hidden), corruption="salt_and_pepper", amount=0.4, **settings
    )


def visits(model, judge, chain) -> tuple[np.ndarray, np.ndarray]:
    """Of each chain: how many classes it has visited, and the share of its transitions that change class."""
    states = model.sample(CHAINS * STATES, chains=CHAINS, burn_in=0, random_state=1, **chain)
    found = judge.predict(states).reshape(CHAINS, STATES)
    return np.array([len(set(row)) for row in found.tolist()]), (found[:, 1:] != found[:, :-1]).mean(axis=1)


def main() -> None:
    """Train, and print a table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", choices=["gsn", "dae"])
    p.add_argument("--data", default="mnist", help="mnist, digits, or a file with labels")
    p.add_argument("--hidden", type=int, nargs="*", default=[500, 500])
    p.add_argument("--latent-dim", type=int, default=200, help="of the denoising autoencoder")
    p.add_argument("--noise", type=float, nargs="+", default=[2.0], help="of the GSN's last layer, or of each")
    p.add_argument("--chain-noise", type=float, help="of a GSN's chain; default: as in the training")
    p.add_argument("--chain-corruption", type=float, help="of a GSN's chain; default: as in the training")
    p.add_argument("--load", help="a model that --save has written, in the place of a training")
    p.add_argument("--walkback", type=int, default=4)
    p.add_argument("--epochs", type=int, default=12)
    p.add_argument("--rate", type=float, default=1e-3, help="of learning at first; it falls to 0 as a cosine")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--held-back", type=float, default=1 / 6, help="share of the training images for the bandwidth")
    p.add_argument("--scored", type=int, default=10_000, help="test images under the Parzen window, at most")
    p.add_argument("--validation", type=int, default=2000, help="held-back images that choose the bandwidth, at most")
    p.add_argument("--save", help="where the model goes")
    p.add_argument("--picture", help="where chains.png goes: a chain a row, each tenth state; needs matplotlib")
    arguments = p.parse_args()
    data = load(arguments.data)
    X, y, X_test, _ = parts(data)
    cut = round(len(X) * (1 - arguments.held_back))
    X, y, X_valid = X[:cut], y[:cut], X[cut:]
    model = made(arguments)
    print(f"{data.name}: {len(X):,} images, {len(X_valid):,} held back, {len(X_test):,} to test; {model!r}; "
          f"FASTVAE_THREADS={os.environ.get('FASTVAE_THREADS', '')}", flush=True)  # fmt: skip
    if arguments.load:
        model = type(model).load(arguments.load)
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it would still improve
        if not arguments.load:
            model.fit(X)
    spent = time.process_time() - started
    print(
        f"trained in {spent:.0f} s of the processor; loss by epoch {model.history_['loss'].round(2).tolist()}",
        flush=True,
    )
    if arguments.save:
        model.save(arguments.save)

    if arguments.model == "dae":
        noisy = model.corrupt(X_test, random_state=1)
        clean, before = model.denoise(noisy), np.square(noisy - X_test).sum(axis=1).mean()
        left = np.square(clean - X_test).sum(axis=1).mean()
        print(f"squared error of corrupted test images {before:.2f}, denoised {left:.2f}: {left / before:.3f} is left")

    chain = {"chain_noise": arguments.chain_noise, "chain_corruption": arguments.chain_corruption}
    chain = chain if arguments.model == "gsn" else {}
    judge, classes = classifier(X, y), len(np.unique(y))
    seen, changes = visits(model, judge, chain)
    print(f"{CHAINS} chains of {STATES} states: visited {seen.mean():.2f} of {classes} classes (median "
          f"{np.median(seen):g}, {seen.min()} to {seen.max()}); {(seen >= 8).mean():.0%} of the chains visited 8 or "
          f"more; the class changes in {changes.mean():.3f} of the transitions", flush=True)  # fmt: skip

    started = time.process_time()
    per = 10
    samples = model.sample(WINDOW, chains=WINDOW // per, steps=APART, burn_in=BURN_IN, random_state=2, **chain)
    spent = time.process_time() - started
    transitions = WINDOW // per * (BURN_IN + APART * per)
    shares = np.bincount(judge.predict(samples), minlength=classes) / len(samples)
    print(f"{WINDOW:,} samples of {WINDOW // per:,} chains ({transitions:,} transitions): {spent:.0f} s of the "
          f"processor; classes from {shares.min():.3f} to {shares.max():.3f} of them", flush=True)  # fmt: skip
    scored, valid = X_test[: arguments.scored], X_valid[: arguments.validation]
    rng = np.random.default_rng(0)
    mean, covariance = X.mean(axis=0, dtype=float), np.cov(X.T.astype(float))
    normal = rng.multivariate_normal(mean, covariance, WINDOW, method="eigh")
    rivals = {"the model's samples": samples, "as many training images": X[rng.permutation(len(X))[:WINDOW]],
              "draws of the Gaussian of mean and covariance": normal}  # fmt: skip
    for name, centres in rivals.items():
        found = parzen(centres, scored, valid)
        print(f"Parzen window over {name}: {found.mean:.1f} +- {found.mean_sampling_error:.1f} nats "
              f"({len(centres):,} samples, {len(scored):,} test images, bandwidth {found.details['bandwidth']:.3f} by "
              f"{len(valid):,})", flush=True)  # fmt: skip
    if arguments.picture:
        from fastvae import pictures

        model.metadata_ |= {"image_shape": list(data.image_shape), "ink": True}
        states = model.sample(200, chains=10, steps=10, burn_in=0, random_state=3, **chain)
        pictures.write_samples(pathlib.Path(arguments.picture), model, states, "states of chains, each tenth")


if __name__ == "__main__":
    main()
