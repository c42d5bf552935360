"""The models of a comparison: of each its estimator, the arguments that suit the data, and what it is in words."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastvae.comparison.measures import NOISE, SALT_AND_PEPPER
from fastvae.comparison.subject import Subject
from fastvae.errors import check_name
from fastvae.models.registry import ESTIMATORS, estimator

WIDE = 400  # columns, from which on networks have the size that MNIST is usually given


@dataclass(frozen=True)
class Entry:
    """One model.

    Attributes
    ----------
    title
        As it stands in tables.
    estimator
        Its name in `models.registry`.
    arguments
        Those of its own, by the subject; what all share is added where the constructor has it.
    words
        Three sentences: what it learns, how it samples, what its figure means.
    kinds
        Of data that it takes.
    conditional
        Whether it is given the labels.
    chooses
        Whether its score of held-out rows says which parameters to keep.
    remarks
        Whether what the estimator remarks on a training is kept: where no figure of the training tells that it failed.
    """

    title: str
    estimator: str
    words: tuple[str, str, str]
    arguments: Callable[[Subject], dict[str, Any]] = field(default=lambda subject: {})
    kinds: tuple[str, ...] = ("bernoulli", "gaussian")
    conditional: bool = False
    chooses: bool = True
    remarks: bool = False

    def refusal(self, subject: Subject) -> str | None:
        """Why it cannot take such data; None where it can."""
        if subject.kind not in self.kinds:
            return f"takes binary rows, and {subject.name} has real numbers"
        if self.conditional and subject.labels is None:
            return f"is conditioned on labels, and {subject.name} has none (--labels)"
        return None

    def make(self, subject: Subject, seed: int) -> Any:
        """The estimator, not fitted."""
        kind = estimator(self.estimator)
        names = kind._names()
        rows = len(subject.train)
        shared = {
            "likelihood": subject.kind, "scale": None, "random_state": seed, "epochs": 1, "early_stopping": False,
            "batch_size": 100 if rows >= 5000 else min(64, rows), "schedule": "cosine", "average": 0.1,
        }  # fmt: skip
        given = {name: value for name, value in shared.items() if name in names}
        return kind(**given | {name: value for name, value in self.arguments(subject).items() if name in names})


def _sizes(subject: Subject) -> dict[str, Any]:
    """Of networks with a code: 784-200-200-50 tanh for images of MNIST's size (Burda et al. 2016), less for less."""
    if subject.columns >= WIDE:
        return {"hidden": (200, 200), "latent_dim": 50, "activation": "tanh"}
    width = 100 if subject.columns >= 16 else 64
    return {"hidden": (width,), "latent_dim": latent_dim(subject), "activation": "tanh"}


def latent_dim(subject: Subject) -> int:
    """Z of the models that have a code, and the components of the PCA beside them."""
    return 50 if subject.columns >= WIDE else max(1, min(20, subject.columns // 3))


def _vae(subject: Subject, **more: Any) -> dict[str, Any]:
    return _sizes(subject) | more


def _dae(subject: Subject) -> dict[str, Any]:
    """Trained on the corruption that it is measured with; a narrow code would lose more of a row than that does."""
    binary, wide = subject.kind == "bernoulli", subject.columns >= WIDE
    return {
        "hidden": (500,) if wide else (128,), "latent_dim": 200 if wide else 100, "activation": "tanh",
        "corruption": "salt_and_pepper" if binary else "gaussian", "amount": SALT_AND_PEPPER if binary else NOISE,
        "sigma": "learned",  # which the chain draws by
    }  # fmt: skip


def _gan(subject: Subject) -> dict[str, Any]:
    own: dict[str, Any] = {"output": "sigmoid" if subject.kind == "bernoulli" else "identity", "schedule": "constant"}
    # few rows are soon known by heart, and rows of 0 and 1 are soon told from what is generated: then all samples
    # become alike. Noise on both keeps the discriminator from that
    own["instance_noise"] = 0.3
    if subject.columns >= WIDE:
        return own | {"latent_dim": 100, "hidden": (256, 512)}
    return own | {"latent_dim": latent_dim(subject), "hidden": (128, 128), "learning_rate": 1e-3}


def _autoregressive(subject: Subject) -> dict[str, Any]:
    return {"hidden": (500,) if subject.columns >= WIDE else (200,)}


def _nade(subject: Subject) -> dict[str, Any]:
    return {"hidden": 500 if subject.columns >= WIDE else 200}


def _gsn(subject: Subject) -> dict[str, Any]:
    return {"hidden": (500, 500)} if subject.columns >= WIDE else {"hidden": (100, 100), "walkback": 8}


def _rbm(subject: Subject) -> dict[str, Any]:
    wide = subject.columns >= WIDE
    return {"hidden": 500 if wide else 100, "average": 0.2, "schedule": "linear", "visible": subject.kind}


def _dbm(subject: Subject) -> dict[str, Any]:
    wide = subject.columns >= WIDE
    return {"hidden": (500, 1000) if wide else (100, 100), "average": 0.2, "schedule": "linear"}


ALL = {
    "vae": Entry(
        "VAE", "VAE",
        ("It learns a code of each row and a decoder of it, by the ELBO, a lower bound of log p(x).",
         "A sample is one draw of z from the prior and one pass through the decoder.",
         "Its log p(x) is by importance sampling, a bound from below that is close where the proposal is good."),
        _vae,
    ),
    "iwae": Entry(
        "IWAE, k = 5", "VAE",
        ("It is a VAE that is trained for the tighter bound of five importance weights.",
         "It samples as a VAE does, in one pass.",
         "Its log p(x) is measured as the VAE's, so that the two can be compared; their training losses cannot."),
        lambda subject: _vae(subject, objective="iwae", n_samples=5),
    ),
    "cvae": Entry(
        "conditional VAE", "VAE",
        ("It is a VAE whose encoder and decoder are told the label, so that the code holds what the label does not.",
         "A sample is one pass, for a label that you choose; here labels are as frequent as in the data.",
         "Its figure is log p(x|label), which may exceed log p(x) by up to the nats that a label holds."),
        _vae, conditional=True,
    ),
    "ae": Entry(
        "autoencoder", "Autoencoder",
        ("It learns to squeeze a row through a narrow code and to give it back.",
         "It cannot sample: nothing says which codes occur.",
         "Its loss is the cost of a row given the row's own code, which is no likelihood and has no bound of one."),
        _sizes,
    ),
    "sparse": Entry(
        "sparse autoencoder", "SparseAutoencoder",
        ("It is an autoencoder with a wide code of which few units may be active for a row.",
         "It cannot sample: nothing says which codes occur.",
         "Its loss has a penalty in it beside the reconstruction's cost, and neither is a likelihood."),
        lambda subject: _sizes(subject) | {"latent_dim": 4 * latent_dim(subject)},
    ),
    "dae": Entry(
        "denoising autoencoder", "DenoisingAutoencoder",
        ("It learns to give a row back that it has seen corrupted, which is where the data are dense.",
         "Where it samples, it is by a chain of corruptions and reconstructions, whose states depend on each other.",
         "It has no tractable p(x): published figures of it are Parzen windows over samples, and no likelihoods."),
        _dae,
    ),
    "gsn": Entry(
        "GSN", "GSN",
        ("It learns one step of a Markov chain whose stationary distribution is to be that of the data.",
         "A sample is a state of that chain, and depends on the ones before it.",
         "It has no tractable p(x): the published 214 nats is a Parzen window over samples, and no likelihood."),
        _gsn, kinds=("bernoulli",),
    ),
    "gan": Entry(
        "GAN", "GAN",
        ("A generator learns to make rows that a second network, trained beside it, cannot tell from the data.",
         "A sample is one pass through the generator.",
         "It has no density: the published 225 nats is a Parzen window over samples, and no likelihood; its losses say "
         "nothing of the quality of samples."),
        _gan, chooses=False, remarks=True,
    ),
    "rbm": Entry(
        "RBM", "RBM",
        ("It learns an energy of rows and binary hidden units, with no connections among either.",
         "A sample is a state of a Gibbs chain, and depends on the ones before it.",
         "Its log p(x) needs a partition function, estimated by annealed importance sampling and, from the other side, "
         "by its reverse: where the two differ, the truth lies between."),
        _rbm, chooses=False,
    ),
    "dbm": Entry(
        "DBM", "DBM",
        ("It is an energy model with two layers of hidden units, trained jointly.",
         "A sample is a state of a Gibbs chain, and depends on the ones before it.",
         "Its figure is a variational bound over an estimated partition function: a bound in expectation only."),
        _dbm, kinds=("bernoulli",), chooses=False,
    ),
    "made": Entry(
        "MADE", "MADE",
        ("It learns each column given those before it, all by one network whose connections are masked.",
         "A sample takes one pass for each column, each of which needs those before it.",
         "Its log p(x) is exact. A published 79.3 averages logits over orderings, which is no probability of anything; "
         "what may be averaged are the probabilities."),
        _autoregressive,
    ),
    "nade": Entry(
        "NADE", "NADE",
        ("It learns each column given those before it, with hidden units that are carried from column to column.",
         "A sample is made column by column, each drawn given those before it.",
         "Its log p(x) is exact."),
        _nade, kinds=("bernoulli",),
    ),
}  # fmt: skip


def known() -> dict[str, Entry]:
    """The entries whose estimators are there."""
    return {name: entry for name, entry in ALL.items() if entry.estimator in ESTIMATORS}


def chosen(names: str | None) -> dict[str, Entry]:
    """Those that a list with commas names; all without one.

    Raises
    ------
    ValueError
        There is no such model, or none is named.
    """
    entries = known()
    if names is None:
        return entries
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if not wanted:
        raise ValueError(f"--models names none; valid: {', '.join(entries)}")
    for name in wanted:
        check_name("--models", name, entries)
    return {name: entries[name] for name in dict.fromkeys(wanted)}
