"""What a condition is worth: a conditional VAE beside one without, of the same settings, on data with labels.

    FASTVAE_DATA=folder python benchmarks/conditional.py                       # MNIST, some minutes
    python benchmarks/conditional.py --data digits --epochs 300 --scored 500

Two figures. How many of the samples that are asked for by a label does a classifier, trained on the real images, take
for that label: means of p(x|z, c), and draws from it. And the NLL in nats of binarised test images, -log p(x|c) beside
-log p(x), by importance sampling, with the error of the draws (MCSE) where their weights allow to tell one, and of
the images that happened to be tested; and what the label is worth, image by image, whose error has both in it. Needs
scikit-learn.
"""

import argparse
import os
import pathlib
import sys
import time
import warnings

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))  # this checkout, whatever else is installed

from fastvae import VAE
from fastvae.data.loading import load
from fastvae.evaluation.importance import importance
from fastvae.training import Observer

EACH = 100  # samples of a label
HELD_OUT = 0.2  # of data without a test part


def parts(data) -> tuple[np.ndarray, ...]:
    """Images as numbers in [0, 1], and labels: to train on, and to test."""
    high = float(data.value_range[1])
    X, y = data.X.astype(np.float32) / np.float32(high), data.labels.astype(np.int64)
    if data.X_heldout is not None:
        return X, y, data.X_heldout.astype(np.float32) / np.float32(high), data.labels_heldout.astype(np.int64)
    order = np.random.default_rng(0).permutation(len(X))
    cut = round(len(X) * HELD_OUT)
    return X[order[cut:]], y[order[cut:]], X[order[:cut]], y[order[:cut]]


def classifier(X: np.ndarray, y: np.ndarray):
    """A network of one hidden layer, trained on real images."""
    from sklearn.neural_network import MLPClassifier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its epochs are few
        return MLPClassifier((256,), batch_size=128, max_iter=20, random_state=0).fit(X, y)


def trained(X: np.ndarray, condition: np.ndarray | None, arguments: argparse.Namespace) -> VAE:
    """A VAE, trained on images that are binarised anew each time."""
    settings = {"random_state": arguments.seed, "scale": None, "schedule": arguments.schedule}
    vae = VAE(arguments.latent_dim, tuple(arguments.hidden), epochs=arguments.epochs, **settings)
    examples = vae.initialize(X, "dynamic", condition)
    vae.fit_examples(examples, arguments.epochs, 128, None, None, Observer())
    return vae


def error_of_mean(values: np.ndarray) -> float:
    """Standard error of the mean over examples."""
    return float(values.std(ddof=1) / len(values) ** 0.5)


def main() -> None:
    """Train both, and print a table."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", default="mnist", help="mnist, digits, or a file with labels")
    p.add_argument("--hidden", type=int, nargs="*", default=[400, 400])
    p.add_argument("--latent-dim", type=int, default=10)
    p.add_argument("--epochs", type=int, default=30)
    p.add_argument("--schedule", default="cosine", help="of the learning rate")
    p.add_argument("--scored", type=int, default=1000, help="test images whose NLL is estimated")
    p.add_argument("--draws", type=int, default=1000, help="of z an image")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--picture", help="where samples.png goes: needs matplotlib")
    arguments = p.parse_args()
    data = load(arguments.data)
    X, y, X_test, y_test = parts(data)
    print(f"{data.name}: {len(X):,} images, {len(X_test):,} to test; {arguments.epochs} epochs of "
          f"{'-'.join(map(str, [X.shape[1], *arguments.hidden, arguments.latent_dim]))}, binarised anew each time; "
          f"FASTVAE_THREADS={os.environ.get('FASTVAE_THREADS', '')}", flush=True)  # fmt: skip

    judge = classifier(X, y)
    right = judge.predict(X_test) == y_test
    print(
        f"the classifier's accuracy on real test images: {right.mean():.4f} +- {error_of_mean(right):.4f}", flush=True
    )

    started = time.perf_counter()
    models = {"without a condition": (trained(X, None, arguments), None)}
    models["given the label"] = (trained(X, y, arguments), y_test[: arguments.scored])
    print(f"both trained in {time.perf_counter() - started:.0f} s", flush=True)
    conditional = models["given the label"][0]
    asked = np.repeat(conditional.classes_, EACH)
    for noise, what in ((False, "means of p(x|z, c)"), (True, "draws from p(x|z, c)")):
        agrees = judge.predict(conditional.sample(condition=asked, noise=noise, random_state=1)) == asked
        least = agrees.reshape(-1, EACH).mean(axis=1)
        print(f"{what}: {agrees.mean():.4f} +- {error_of_mean(agrees):.4f} of {len(asked)} are taken for their label; "
              f"the least for {conditional.classes_[least.argmin()]}: {least.min():.2f}", flush=True)  # fmt: skip

    found, bounds = {}, {}
    for name, (vae, condition) in models.items():
        examples = vae.examples(X_test[: arguments.scored], binarize="dynamic", condition=condition)
        result = found[name] = importance(vae, examples, arguments.draws, seed=0)
        bounds[name] = vae.elbo_examples(examples, 16)
        unreliable = int(result.unreliable.sum())
        mcse = f"MCSE {result.mean_mcse:.3f}" if not unreliable else f"k-hat too large for {unreliable} images"
        print(f"{name}: NLL {-result.mean:.3f} ({arguments.draws} draws, {mcse}), of the images "
              f"{result.mean_sampling_error:.3f}; -ELBO {-bounds[name].mean():.3f}", flush=True)  # fmt: skip
    one, other = models
    for what, values in (("NLL", {name: -result.values for name, result in found.items()}),
                         ("-ELBO", {name: -bound for name, bound in bounds.items()})):  # fmt: skip
        gain = values[one] - values[other]
        print(f"{what}: the label is worth {gain.mean():.3f} +- {error_of_mean(gain):.3f} nats an image", flush=True)
    if arguments.picture:
        from fastvae import pictures

        conditional.metadata_ |= {"image_shape": list(data.image_shape), "ink": True}
        names = [str(label) for label in conditional.classes_]
        samples = [conditional.sample(10, condition=label, random_state=0) for label in conditional.classes_]
        pictures.write_samples(
            pathlib.Path(arguments.picture), conditional, np.concatenate(samples), conditions=names
        )  # the same z for all labels


if __name__ == "__main__":
    main()
