"""What somebody may write who uses most of the package, and has it checked by `mypy --strict`: see `test_types`."""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fastvae import (
    DBM,
    GAN,
    GSN,
    MADE,
    NADE,
    RBM,
    VAE,
    Autoencoder,
    DenoisingAutoencoder,
    SparseAutoencoder,
    TableVAE,
    __version__,
)
from fastvae.data.loading import load
from fastvae.errors import DivergenceError, ModelFileError, NotFittedError
from fastvae.evaluation.diagnosis import diagnose
from fastvae.evaluation.result import LogLikelihood
from fastvae.kernels import cpu
from fastvae.models import registry
from fastvae.training import Observer, Schedule, State

Floats = npt.NDArray[np.float32]


class Curve:
    """Keeps the losses, and stops below one."""

    def __init__(self, least: float) -> None:
        self.least, self.losses = least, list[float]()

    def on_epoch_end(self, model: VAE, record: dict[str, float]) -> bool:
        self.losses.append(record["loss"])
        return record["loss"] < self.least


class Steps(Observer):
    """Counts steps."""

    count = 0

    def started(self, state: State, schedule: Schedule, examples: int) -> None:
        self.count = state.step

    def stepped(self, state: State, examples: int) -> None:
        self.count = state.step


def elbo(x: Floats, logits: Floats, mu: Floats, logvar: Floats) -> Floats:
    nll: Floats = cpu.bernoulli_forward(x, logits)
    kl: Floats = cpu.kl_forward(mu, logvar)
    return -nll - kl


def train(X: Floats, weights: npt.NDArray[np.float64], path: Path) -> float:
    curve = Curve(-1.0)
    vae = VAE(latent_dim=2, hidden=(16,), likelihood="gaussian", epochs=3, random_state=0, warm_start=True)
    vae.fit(X, sample_weight=weights, callbacks=[curve, lambda model, record: None])
    vae.set_params(epochs=2).fit(X, callbacks=curve)
    mu, logvar = vae.encode(X)
    codes = vae.transform(X)
    back: npt.NDArray[np.floating] = vae.reconstruct(X)
    loss, parts, gradients = vae.loss_and_gradients(X, np.zeros((len(X), 2)))
    found: LogLikelihood = vae.evaluate(X, n_samples=100, random_state=1)
    wrong: npt.NDArray[np.bool_] = found.unreliable
    print(found.mean, found.mean_mcse, found.interval.shape, found.kind, wrong.sum(), vae.history_["loss"][-1])
    print(codes.shape, back.shape, loss, parts["kl"], sorted(gradients), mu.dtype, logvar.mean(), curve.losses)
    vae.save(path)
    try:
        again = VAE.load(path)
        other = registry.load(path)
    except ModelFileError as error:
        raise SystemExit(str(error)) from None
    print(other.transform(X[:1]).shape, diagnose(again, again.examples(X)))
    examples = vae.initialize(X)
    steps = Steps()
    vae.fit_examples(examples, 2, 16, None, None, steps)
    sampled: Floats = again.sample(3, noise=True)
    return float(again.score(X, sample_weight=weights)) + float(sampled.sum()) + steps.count


def neighbours(X: Floats, B: Floats) -> dict[str, float]:
    scores: dict[str, float] = {}
    for made in (
        MADE(hidden=(8,), epochs=1),
        NADE(hidden=8, epochs=1),
        RBM(hidden=5, epochs=1),
        DBM(hidden=(5, 4), epochs=1),
    ):
        fitted = made.fit(B)
        scores[made.NAME] = float(fitted.score_samples(B).mean())
        rows = fitted.sample(2)
        assert rows.shape == (2, B.shape[1])
    for coder in (
        Autoencoder(latent_dim=2, hidden=(8,), epochs=1),
        SparseAutoencoder(latent_dim=9, epochs=1),
        DenoisingAutoencoder(latent_dim=2, epochs=1),
        GSN(hidden=(8, 8), epochs=1),
    ):
        scores[coder.NAME] = coder.fit(B).score(B)
        codes: npt.NDArray[np.floating] = coder.transform(B)
        scores[coder.NAME] += float(codes.mean())
    gan = GAN(latent_dim=2, hidden=(8,), output="identity", epochs=1).fit(X)
    scores["GAN"] = float(gan.discriminate(X).mean()) + float(gan.sample(2).mean())
    table = {"size": X[:, 0].astype(float), "kind": np.where(X[:, 1] > 0, "large", "small")}
    mixed = TableVAE(epochs=1).fit(table)
    kinds: dict[str, str] = mixed.column_types_
    print(kinds, mixed.impute(table), mixed.sample(2))
    return scores


def main() -> None:
    print(__version__)
    data = load("digits")
    X = np.asarray(data.X[:200], np.float32)
    labels = data.labels
    conditional = VAE(latent_dim=2, hidden=(8,), epochs=1, scale="minmax")
    if labels is not None:
        conditional.partial_fit(X, condition=labels[:200])
        print(conditional.classes_, conditional.sample(2, condition=3))
    real = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    print(train(real, np.ones(60), Path(sys.argv[1])))
    print(neighbours(real, (real > 0).astype(np.float32)))
    try:
        VAE().transform(real)
    except (NotFittedError, DivergenceError) as error:
        print(error)
    z = np.zeros((3, 2), np.float32)
    print(elbo(np.zeros((3, 5), np.float32), np.zeros((3, 5), np.float32), z, z))


if __name__ == "__main__":
    main()
