"""Samples of each model beside real data, with the nearest row of the training data under a few of them."""

import pathlib
from typing import Any

import numpy as np

from fastvae.comparison.subject import Subject
from fastvae.errors import counted
from fastvae.evaluation.drawing import BLUE, figure, save

SHOWN = 14  # samples of a model
NEIGHBOUR_HEIGHT = 0.62  # of the rows of neighbours, beside that of samples
SHOWN_AS = "samples: means where a model gives some, in grey; the measures of samples are of complete draws"
LONGEST_NAME = 24  # letters
SHOWN_COLUMNS, FEWEST_BINS, BINS = 6, 10, 24  # of a table: histograms
BLOCK = 4096  # rows whose distances are made at once


def nearest(samples: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """For each sample (n, D) the row of (N, D) at the smallest Euclidean distance: differences are squared, so that a
    copy has distance 0."""
    best, found = np.full(len(samples), np.inf), np.zeros(len(samples), np.int64)
    for first in range(0, len(rows), BLOCK):
        block = rows[first : first + BLOCK]
        for i, sample in enumerate(samples):
            squares = np.square(block - sample, dtype=np.float64).sum(axis=1)
            place = int(squares.argmin())
            if squares[place] < best[i]:
                best[i], found[i] = squares[place], first + place
    return rows[found]


def samples_picture(path: pathlib.Path, subject: Subject, samples: dict[str, np.ndarray]) -> None:
    """Write a PNG: title to samples (n, D), a row of pictures for each, real data first; histograms for a table."""
    save(path, (_histograms if subject.image_shape is None else _images)(subject, samples))


def _images(subject: Subject, samples: dict[str, np.ndarray]) -> Any:
    rows: list[tuple[str, np.ndarray]] = [("real data", subject.test[:SHOWN])]
    for title, drawn in samples.items():
        rows += [(title, drawn[:SHOWN]), ("  nearest in training", nearest(drawn[:SHOWN], subject.seen))]
    heights = [NEIGHBOUR_HEIGHT if title.startswith(" ") else 1.0 for title, _ in rows]
    picture = figure(0.62 * SHOWN + 2.2, 0.66 * sum(heights) + 0.3)
    height, width = subject.image_shape or (1, subject.columns)
    grid = picture.subplots(len(rows), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    gap = max(1, width // 8)
    for axes, (title, images) in zip(grid, rows, strict=True):
        small = title.startswith(" ")
        between = gap if not small else gap + round((width + gap) * (1 / NEIGHBOUR_HEIGHT - 1))
        strip = np.full((height, SHOWN * (width + between)), np.nan, np.float32)
        for i, image in enumerate(images):
            first = i * (width + between) + (between - gap) // 2
            strip[:, first : first + width] = image.reshape(height, width)
        axes.imshow(strip, cmap="gray_r" if subject.ink else "gray", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(title.strip(), rotation=0, ha="right", va="center", fontsize=7 if small else 10,
                        color="0.45" if small else "black")  # fmt: skip
    picture.suptitle(SHOWN_AS, fontsize=9, color="0.3")
    return picture


def _histograms(subject: Subject, samples: dict[str, np.ndarray]) -> Any:
    columns = min(SHOWN_COLUMNS, subject.columns)
    bins = int(np.clip(3 * np.sqrt(len(subject.test)), FEWEST_BINS, BINS))
    picture = figure(1.9 * columns + 1.6, 1.15 * len(samples) + 0.8)
    grid = picture.subplots(len(samples), columns, squeeze=False)
    for row, (title, drawn) in enumerate(samples.items()):
        for k, axes in enumerate(grid[row]):
            real = subject.test[:, k]
            low, high = np.percentile(np.concatenate([real, subject.seen[:, k]]), [0.5, 99.5])
            span = max(high - low, 1e-6)
            edges = np.linspace(low - 0.15 * span, high + 0.15 * span, bins)
            axes.hist(np.clip(real, edges[0], edges[-1]), edges, density=True, color="0.8")
            axes.hist(np.clip(drawn[:, k], edges[0], edges[-1]), edges, density=True, histtype="step", color=BLUE)
            axes.set_yticks([])
            axes.tick_params(labelsize=7)
            if row == 0:
                name = subject.column_names[k]
                axes.set_title(name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 3] + "...", fontsize=9)
        grid[row, 0].set_ylabel(title, rotation=0, ha="right", va="center", fontsize=9)
    which = "" if columns == subject.columns else f", of the first {columns} columns"
    picture.suptitle(
        f"samples (lines) and {counted(len(subject.test), 'held-out row')} (grey){which}, in deviations of a column; "
        "the bars at the ends hold all beyond", fontsize=10,
    )  # fmt: skip
    return picture
