"""No text of a picture lies on another: of many and of long names, classes, levels, and of formulas in them."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="pictures need matplotlib: pip install 'fastvae-engine[plot]'")

from fastvae.data.columns import Column
from fastvae.evaluation.drawing import shortened, shortened_apart
from fastvae.pictures.correlations import correlations_figure
from fastvae.pictures.images import grid_of_images
from fastvae.pictures.latent import latent_figure
from fastvae.pictures.pairs import pairs_figure
from fastvae.pictures.tables import marginals_figure, reconstructed_columns
from tests.support.figures import said, texts_apart

ODD = ["price $", "$\\frac{", "a_{b}^c", "100%", "_hidden", "x" * 300, "W" * 60, "$x_$", "\\$", "two words and more"]


def name(i, long):
    return f"{ODD[i % len(ODD)]} {i}" if long else f"c{i}"


def columns(count, long, levels=0):
    kinds = [
        Column(name(i, long), "categorical", "object", tuple(name(k, long) for k in range(levels)))
        if levels and i % 2
        else Column(name(i, long), "gaussian", "float64", (), i % 3 == 0)
        for i in range(count)
    ]
    return tuple(kinds)


def rows(known, count, seed):
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(count, len(known))) * 10.0 ** rng.integers(-4, 7, len(known))
    for j, column in enumerate(known):
        if column.levels:
            found[:, j] = rng.integers(0, len(column.levels), count)
        elif column.whole:
            found[:, j] = np.rint(found[:, j])
    found[:: max(2, count // 5), 0] = np.nan
    return found


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize(("count", "levels"), [(1, 0), (2, 3), (5, 12), pytest.param(30, 0, marks=pytest.mark.long)])
def test_of_tables(count, levels, long):
    known = columns(count, long, levels)
    data, samples = rows(known, 60, 0), rows(known, 80, 1)
    texts_apart(marginals_figure(known, data, samples))
    texts_apart(reconstructed_columns(known, data, np.nan_to_num(rows(known, 60, 2))))
    if count > 1:
        texts_apart(pairs_figure(known, data, samples))
        texts_apart(correlations_figure(known, data, samples))


def test_of_groups_of_samples_and_of_many_levels():
    known = columns(3, True, 30)
    groups = [(shortened(name(i, True), 2, 9), rows(known, 40, i), f"C{i}") for i in range(12)]
    texts_apart(marginals_figure(known, None, groups))


@pytest.mark.parametrize(("classes", "dimensions"), [(1, 1), (2, 5), (12, 1), (20, 2), (30, 2), (30, 1)])
def test_of_classes(classes, dimensions):
    codes = np.random.default_rng(0).normal(size=(90, dimensions))
    labels = np.array([name(i % classes, True) for i in range(90)])
    figure = latent_figure(codes, labels, ["$z_{0}$", "$z_{1}$"], "code", "_the $label", True)
    texts_apart(figure)
    assert ("11 others" in said(figure)) == (classes == 30)


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (60, 2), (60, 30)])
@pytest.mark.parametrize("shape", [(2, 9), (9, 2, 3)])
def test_of_images(count, columns, shape):
    images = np.random.default_rng(0).random((count, *shape))
    down = -(-count // columns)
    figure = grid_of_images(
        images, columns, True, None, [name(i, True) for i in range(down)], [f"{i - 7.5:g}" for i in range(columns)],
        "a title", ("below", "beside"),
    )  # fmt: skip
    texts_apart(figure)


def test_names_that_differ_in_the_middle_are_told_apart():
    names = [f"district of the {i:02d} long named parish" for i in range(12)]
    found = shortened_apart(names, 1.1, 8)
    assert len(set(found)) == 12
    assert all(f"{i:02d}" in text for i, text in enumerate(found))
    assert shortened_apart(["one", "two"], 1.1, 8) == ["one", "two"]
    assert shortened_apart(["W" * 60, "W" * 60], 1.1, 8) == [shortened("W" * 60, 1.1, 8)] * 2  # of the same name
