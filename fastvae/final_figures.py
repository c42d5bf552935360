"""What a training ends with, in figures that are said and printed: the last epoch's, and the dumbest models'."""

import math
from typing import Any

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.evaluation import rivals
from fastvae.evaluation.diagnosis import active_units
from fastvae.likelihoods.mixed import Mixed
from fastvae.models.linear_start import gaussian_log_density
from fastvae.models.vae import VAE
from fastvae.standard_error import say

RIVALS = {rivals.GAUSSIAN: "heldout_gaussian", rivals.INDEPENDENT: "heldout_independent"}  # to their figures
FEW_ROWS = 100  # to train on: with fewer a model may well be worse than independent columns
FEW_ACTIVE = 0.5  # of the latent dimensions: where no more are active, that is said


def final_figures(model: VAE, examples: Examples, held: Examples | None) -> dict[str, Any]:
    """The final figures, which are said too."""
    history, heldout = model.history_, model.heldout_name
    last = model.best_epoch_ - 1 if model.best_epoch_ else -1
    figures: dict[str, Any] = {name: float(values[last]) for name, values in history.items()}
    figures |= {
        "epoch": int(figures["epoch"]),
        "seconds": float(history["seconds"].sum()),
        "images_per_second": float(np.median(history["images_per_second"])),
    }
    state = model._state
    if state.best_elbo is not None and not state.best_epoch:  # of the start, which is kept, no more is known
        figures |= {"epoch": 0, "loss": math.nan, "nll": math.nan, "kl": math.nan, heldout: state.best_elbo}
    if model._optimizer is not None and model._optimizer.has_average and state.best_elbo is None:
        figures |= {"loss": math.nan, "nll": math.nan, "kl": math.nan}  # of the average, which is kept, not known
        if held is not None:
            figures[heldout] = float(model.score_examples(held).mean())
        say(f"the parameters are the average of the last {model.average:g} of the steps")
    if model.network_.likelihood.HAS_SIGMA:
        figures["sigma"] = float(np.sqrt(np.mean(np.square(model.sigma_))))
    shown = ("loss", "nll", "kl", heldout, "sigma")
    numbers = (f"{name} {figures[name]:.3f}" for name in shown if math.isfinite(figures.get(name, math.nan)))
    say(f"epoch {figures['epoch']}: {', '.join(numbers)} (nats an example)")
    active, dimensions = active_units(model, examples), model.network_.inputs["z"]
    figures["active_units"] = active
    if 0 < active <= FEW_ACTIVE * dimensions:
        say(
            f"{active} of {dimensions} latent dimensions are active: the others say nothing of the data, which does no "
            f"harm; --latent-dim {active} would do as well, and --kl-warmup-epochs may make more active"
        )

    def worse(apart: float) -> str:
        """What to think of a model that is below columns without any dependence."""
        if not figures[heldout] < apart:
            return ""
        few = f": {len(examples):,} rows are few" if len(examples) < FEW_ROWS else ""
        return f", more than the model's ELBO, which has learned little that helps with new rows{few}"

    if isinstance(model.network_.likelihood, Mixed) and held is not None:
        figures["heldout_independent"] = apart = rivals.rivals(model, held, examples)[rivals.INDEPENDENT]
        without = "" if model.network_.condition is None else ", without the condition"
        say(f"held out{without}, log p(x) of independent columns of the same kinds: {apart:.3f}{worse(apart)}")
    elif model.network_.likelihood.DENSITY and held is not None and not model.metadata_.get("image_shape"):
        full, apart = gaussian_log_density(examples.X, held.X)
        figures |= {"heldout_gaussian": full, "heldout_independent": apart}
        without = "" if model.network_.condition is None else ", without the condition"
        others = f"one Gaussian with all covariances: {full:.3f}; of independent columns: {apart:.3f}"
        say(f"held out{without}, log p(x) of {others}{worse(apart)}")
    return figures
