"""The pictures of a run's folder, and of samples that a command has drawn."""

import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastvae.evaluation.drawing import save
from fastvae.pictures.correlations import correlations
from fastvae.pictures.curves import learning_curves
from fastvae.pictures.decoded import latent_grid, traversals
from fastvae.pictures.latent import latent
from fastvae.pictures.pairs import pairs
from fastvae.pictures.rows import drawing_of_samples, reconstructions_figure, samples, some_conditions
from fastvae.pictures.subject import rows_of, shape_of_images, some_of
from fastvae.pictures.tables import MOST_ROWS, is_table

PICTURES = tuple(  # all that `write_pictures` knows
    f"{name}.png"
    for name in (
        "history", "samples", "reconstructions", "latent", "latent_grid", "traversals", "pairs", "correlations"
    )
)  # fmt: skip


def write_pictures(
    folder: pathlib.Path,
    model: Any,
    X: np.ndarray,
    labels: np.ndarray | None,
    unseen: np.ndarray,
    condition: np.ndarray | None = None,
    unseen_condition: np.ndarray | None = None,
) -> list[str]:
    """Write history.png, samples.png, reconstructions.png (of `unseen`), latent.png (of `X`), in user's units; of
    images traversals.png; of a table pairs.png and correlations.png, beside `X`; of two latent dimensions
    latent_grid.png. Of a conditional model, which is given the condition of both, samples.png has a row for each label,
    or some vector.

    Returns a line about each that could not be made; the others are.
    """
    makers = _makers(model, X, labels, unseen, condition, unseen_condition)
    for name in PICTURES:
        (folder / name).unlink(missing_ok=True)  # of a run before this one
    failures = []
    for name, write in makers.items():
        try:
            write(folder / name)
        except Exception as error:  # whatever a plotting library raises: the model is worth more than a picture
            failures.append(f"no {name}: {type(error).__name__}: {' '.join(str(error).split())}")
    return failures


def _makers(
    model: Any, X: Any, labels: Any, unseen: Any, condition: Any, unseen_condition: Any
) -> dict[str, Callable[[pathlib.Path], Any]]:
    """Name to what writes it."""
    shape = shape_of_images(model)
    rows, labels, beside = some_of(X, MOST_ROWS, labels, condition)
    which = "row" if unseen is X else "held-out row"
    shown, known = beside, rows
    if shape and (vectors := some_conditions(model, unseen_condition)) is not None:
        shown, known = vectors, None
    one = None if condition is None else some_of(np.asarray(condition), 1)[0][0]
    makers: dict[str, Callable[[pathlib.Path], Any]] = {
        "history.png": lambda path: learning_curves(model, path),
        "samples.png": lambda path: samples(model, X=known, condition=shown, path=path),
        "reconstructions.png": lambda path: save(
            path, reconstructions_figure(model, unseen, unseen_condition, which=which)
        ),
        "latent.png": lambda path: latent(model, rows, labels, condition=beside, path=path),
    }
    if model.network_.inputs["z"] == 2:
        makers["latent_grid.png"] = lambda path: latent_grid(model, condition=one, path=path)
    if shape:
        makers["traversals.png"] = lambda path: traversals(
            model, None if condition is not None else rows, condition=one, path=path
        )
    elif model.n_features_in_ > 1 and is_table(model):
        makers["pairs.png"] = lambda path: pairs(model, rows, condition=beside, path=path)
        makers["correlations.png"] = lambda path: correlations(model, rows, condition=beside, path=path)
    return makers


def write_samples(
    path: Any,
    model: Any,
    samples: Any,
    what: str = "means of p(x|z)",
    conditions: Sequence[str] = (),
    X: Any = None,
) -> None:
    """Write a picture of samples that are there: images side by side, distributions of the columns of a table, curves
    over many columns; beside rows X, if there are some. With several `conditions`, by their names, of which each has
    as many samples, one after the other: a row of images for each, or a colour."""
    names = conditions if len(conditions) > 1 else ()
    save(path, drawing_of_samples(model, rows_of(model, samples), what, names, X, shape_of_images(model)))
