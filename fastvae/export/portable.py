"""What of a trained model goes into a file that others compute with: the same for all formats.

encode    u = (X - offset) / scale, as the likelihood lets an encoder see it, and the condition beside; layers; heads
decode    Z, and the condition beside; layers; the mean of p(x|z); times scale, plus offset
score     of a VAE the ELBO at `points` of z; of an autoencoder -nll of X under its own reconstruction
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.data.condition import Condition, Labels, Vectors
from fastvae.data.scaling import Units
from fastvae.layers import Half, Layer
from fastvae.models.registry import ESTIMATORS
from fastvae.models.vae_network import symmetric_points

ACTIVATIONS = {"identity", "relu", "leaky_relu", "tanh", "sigmoid", "softplus", "silu"}  # which all formats know
SEEN, MEANS = ("identity", "log1p"), ("identity", "sigmoid", "exp")  # and functions of one number
SCORED = ("bernoulli", "gaussian", "poisson")  # likelihoods whose nll they know


@dataclass(frozen=True, eq=False)
class Portable:
    """A model as it was at one moment; arrays are copies.

    Attributes
    ----------
    kind
        The estimator's name.
    columns, codes
        D, and Z.
    encoder
        None of a model without one, or that was loaded without it.
    likelihood, seen, mean
        Name of p(x|z), None without one; what becomes of u, and of the decoder's outputs a, see `SEEN` and `MEANS`.
    unit_range, clips, whole
        Whether u must lie in [0, 1]; whether X is brought there, as the range was learned; whether X are counts.
    sigma : () or (D,) float64
        Standard deviation of a Gaussian likelihood, in the model's units; 1 of others.
    names
        Of the columns, where they have some.
    prior
        Whether p(z) is N(0, I).
    points : (P, Z) float32 or None
        At which the ELBO takes z = mu + exp(logvar / 2) point; None: the score is -nll; see `scores`.
    log_jacobian
        What the nll lacks to be in the user's units.
    """

    kind: str
    columns: int
    codes: int
    encoder: Half | None
    decoder: Half
    units: Units
    likelihood: str | None
    seen: str
    mean: str
    unit_range: bool
    clips: bool
    whole: bool
    sigma: np.ndarray
    condition: Condition | None
    names: list[str] | None
    prior: bool
    points: np.ndarray | None
    log_jacobian: float

    @property
    def is_vae(self) -> bool:
        """Whether the encoder gives mu and logvar."""
        return self.encoder is not None and "logvar" in self.encoder.heads

    @property
    def scores(self) -> bool:
        """Whether there is a score of rows."""
        return self.encoder is not None and self.likelihood in SCORED and self.kind != "RBM"

    @property
    def layers(self) -> list[Layer]:
        """Those of the encoder, where there is one, and of the decoder."""
        return [layer for half in (self.encoder, self.decoder) if half is not None for layer in half.all]

    def facts(self) -> dict[str, str]:
        """What a reader wants to know of the file, as text."""
        found = {"model": self.kind, "likelihood": self.likelihood or "", "columns": str(self.columns)}
        found |= {"codes": str(self.codes), "dtype": np.dtype(self.units.dtype).name}
        return found


def portable(model: Any) -> Portable:
    """What of a fitted model goes into a file; from between two steps, where another thread trains it.

    Raises
    ------
    TypeError
        An estimator that does not say that it can be exported, or has parts that no format knows.
    NotFittedError
        It has learned nothing.
    """
    kind = type(model).__name__
    if not hasattr(type(model), "PORTABLE"):
        raise TypeError(f"a {kind} is no model of fastvae: pass a fitted VAE, autoencoder, GAN or RBM")
    if not vars(type(model)).get("PORTABLE", False):
        why = f"a {kind} cannot be exported: what it computes is not an encoder or a decoder of dense layers"
        bases = [base for base in type(model).__mro__[1:] if vars(base).get("NAME") in ESTIMATORS]
        if bases and vars(type(model)).get("NAME") in ESTIMATORS:
            why = f"a {kind} cannot be exported: no format knows what it adds to a {bases[0].__name__}"
        elif bases:
            why = f"a {kind} cannot be exported: it inherits from another estimator, and may compute something else"
        raise TypeError(f"{why}. Formats are for VAE, the autoencoders, GAN and RBM; save(path) keeps any model")
    network = model._check_fitted()
    found: Portable = network.exclusion.between_steps(lambda: _described(model, network))
    return found


def _described(model: Any, network: Any) -> Portable:
    kind, likelihood, units = type(model).__name__, network.likelihood, network.units
    network.parameters.bring_back()
    halves = network.wiring()
    seen, mean = (
        ("identity", "identity") if likelihood is None else (likelihood.SEEN, vars(type(likelihood)).get("MEAN"))
    )
    layers = [layer for half in halves.values() for layer in half.all]
    unknown = sorted({layer.activation for layer in layers} - ACTIVATIONS)
    known = isinstance(network.condition, Labels | Vectors | None)
    if "decode" not in halves or seen not in SEEN or mean not in MEANS or unknown or not known:
        parts = f"likelihood {likelihood.NAME!r}" if mean not in MEANS or seen not in SEEN else ", ".join(unknown)
        raise TypeError(f"this {kind} cannot be exported: no format knows {parts or 'its network'}; use save(path)")
    fills, learned = model._fills_unit_range(network), model.metadata_.get("learned_range") is True
    names = getattr(model, "feature_names_in_", None)
    is_vae = "logvar" in halves.get("encode", halves["decode"]).heads or hasattr(network, "logvar")
    return Portable(
        kind=kind,
        columns=network.inputs["x"],
        codes=network.inputs["z"],
        encoder=halves.get("encode"),
        decoder=halves["decode"],
        units=units,
        likelihood=None if likelihood is None else likelihood.NAME,
        seen=seen,
        mean=mean,
        unit_range=fills,
        clips=fills and (learned or (isinstance(model.scale, str) and model.scale == "minmax")),
        whole=likelihood is not None and likelihood.WHOLE,
        sigma=np.asarray(1.0 if likelihood is None else likelihood.sigma, np.float64),
        condition=network.condition,
        names=None if names is None else [str(name) for name in names],
        prior=is_vae or model.ABILITIES.samples == "one pass",
        points=np.array(symmetric_points(network.inputs["z"])) if is_vae else None,
        log_jacobian=float(network.log_jacobian),
    )
