"""What a page knows of a model: what is exported of it, and, of a mixed table, its columns."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.data.columns import Columns
from fastvae.export.portable import SCORED, Portable, portable
from fastvae.likelihoods.mixed import Mixed
from fastvae.models.table_vae import TableVAE
from fastvae.models.vae_network import symmetric_points


@dataclass(frozen=True, eq=False)
class PortableTable(Portable):
    """A model of a mixed table as it was at one moment.

    Attributes
    ----------
    table
        What is known of its columns.
    kinds, gaps
        See `fastvae.likelihoods.mixed.Mixed`.
    stops, ends : (D,)
        Where the outputs of each column end, and the inputs.
    theta, centre, inverse, log_scale : (D,) float64
        See `Mixed`, too.
    """

    table: Columns
    kinds: tuple[str, ...]
    gaps: tuple[bool, ...]
    stops: np.ndarray
    ends: np.ndarray
    theta: np.ndarray
    centre: np.ndarray
    inverse: np.ndarray
    log_scale: np.ndarray


def described(model: Any) -> Portable:
    """What of a fitted VAE a page is made of; from between two steps, where another thread trains it.

    Raises
    ------
    TypeError
        Another model, or one with a likelihood, a layer or an activation that no page knows.
    NotFittedError
        It has learned nothing.
    """
    found = _of_a_table(model) if type(model) is TableVAE else portable(model)
    if not found.is_vae or found.encoder is None:
        raise TypeError(f"a page is made of a VAE with its encoder; this {found.kind} has none")
    if not isinstance(found, PortableTable) and not found.scores:
        raise TypeError(f"a page knows the likelihoods {', '.join(SCORED)}; this model's is {found.likelihood}")
    return found


def _of_a_table(model: TableVAE) -> Portable:
    network = model._check_complete()
    found: Portable = network.exclusion.between_steps(lambda: _columns_of(model, network))
    return found


def _columns_of(model: TableVAE, network: Any) -> Portable:
    network.parameters.bring_back()
    halves, likelihood = network.wiring(), network.likelihood
    whole: dict[str, Any] = {
        "kind": "TableVAE", "columns": network.inputs["x"], "codes": network.inputs["z"],
        "encoder": halves["encode"], "decoder": halves["decode"], "units": network.units,
        "likelihood": likelihood.NAME, "seen": "identity", "mean": "identity", "unit_range": False, "clips": False,
        "whole": False, "condition": network.condition, "names": model.columns_.names, "prior": True,
        "points": np.array(symmetric_points(network.inputs["z"])), "log_jacobian": float(network.log_jacobian),
    }  # fmt: skip
    if not isinstance(likelihood, Mixed):
        return Portable(**whole, sigma=np.asarray(likelihood.sigma, np.float64))
    numbers: dict[str, Any] = {
        name: np.asarray(getattr(likelihood, name), np.float64) for name in ("theta", "centre", "inverse", "log_scale")
    }
    return PortableTable(
        **whole, **numbers, sigma=np.ones(1), table=model.columns_, kinds=likelihood.kinds, gaps=likelihood.gaps,
        stops=likelihood.stops.copy(), ends=likelihood.ends.copy(),
    )  # fmt: skip
