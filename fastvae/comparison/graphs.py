"""The picture of the models' training graphs: a panel each, drawn from the models themselves (see `graph`)."""

import contextlib
import functools
import pathlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from fastvae.comparison.entries import Entry
from fastvae.comparison.graph import Graph, Node, graph_of
from fastvae.comparison.layered import Box, Layout, Path, columns_of, layout
from fastvae.comparison.values import COST, DATA, LATENT, LAYER, NOISE, OUTPUT
from fastvae.evaluation.drawing import PINK, figure, save

WIDTH, ACROSS = 12.5, 3  # inches, and panels beside each other at most
MARGIN, HEADING, FOOT = 0.13, 0.30, 0.66  # inches: around a panel, above it, and of the legend
TITLE, TEXT = 8.0, 7.2  # points
FEED = 0.1  # inches of a box's height for each edge that leads to it, at least
LEADING = 1.28  # heights of a line, of its size
HINTED = 1.03  # by how much a text that is drawn may be wider than its outlines
PADDING = (0.07, 0.05)  # inches between text and its box
LONGEST = 14  # letters of a line of widths, which is broken after as many
FILLS = {DATA: "#E6E6E6", NOISE: "#FFF3C4", LAYER: "#D6E8F5", LATENT: "#D5EFE3", OUTPUT: "white", COST: "#FBE0CC"}
WORDS = {
    DATA: "data", NOISE: "noise", LAYER: "layers", LATENT: "drawn, or a code", OUTPUT: "output", COST: "cost",
}  # fmt: skip
KL_FILL = "#F3C9E0"
KL_WORDS = "KL(q(z|x) || p(z)): what a plain autoencoder does not have"
LOOP_WORDS = "comes back, n times in a step (×n) or in the next step"

Measure = Callable[[str, float, bool], float]  # text, points, bold: inches


def roughly(text: str, points: float, bold: bool) -> float:
    """The width of a text in inches where no font is at hand: a little more than it has."""
    return len(text) * points * (0.72 if bold else 0.66) / 72


@functools.cache
def measured(text: str, points: float, bold: bool) -> float:
    """The width of a text in inches, in matplotlib's font."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(weight="bold" if bold else "normal")
    return HINTED * float(TextPath((0, 0), text, size=points, prop=font).get_extents().x1) / 72


def words(node: Node) -> list[tuple[str, float, bool]]:
    """What stands in a node, line by line: text, points, bold."""
    lines = []
    room = max([LONGEST, *[len(line) for line in node.lines if " – " not in line]])
    for line in node.lines:
        while len(line) > room and " – " in line[:room]:
            end = line.rindex(" – ", 0, room) + 2
            lines.append(line[:end])
            line = line[end + 1 :]
        lines.append(line)
    return [(node.title, TITLE, True), *[(line, TEXT, False) for line in lines]]


def sizes_of(graph: Graph, measure: Measure = roughly) -> dict[str, tuple[float, float]]:
    """Width and height of each node, in inches, by its words, and by how many edges lead to it."""
    sizes = {}
    for node in graph.nodes:
        lines = words(node)
        wide = max(measure(*line) for line in lines) + 2 * PADDING[0]
        high = sum(points * LEADING for _, points, _ in lines) / 72 + 2 * PADDING[1]
        feeding = sum(edge.target == node.name for edge in graph.edges)
        sizes[node.name] = max(wide, 0.36), max(high, FEED * (feeding + 1))
    return sizes


def rows_of(least: dict[str, float]) -> list[list[str]]:
    """Panels by title, beside each other as far as there is room, by the least width of each: each in the first row
    that has some."""
    rows: list[list[str]] = []
    for title, width in least.items():
        for row in rows:
            if len(row) < ACROSS and sum(least[other] for other in row) + width <= WIDTH:
                row.append(title)
                break
        else:
            rows.append([title])
    return rows


def graphs_of(
    entries: dict[str, Entry], models: dict[str, Any], begun: Callable[[Entry], Any]
) -> dict[str, Graph]:  # fmt: skip
    """The graphs of models by the titles of their entries; of those that were not fitted, as they begin, which `begun`
    makes. One that cannot be made is left out."""
    graphs = {}
    for name, entry in entries.items():
        model = models.get(name)
        with contextlib.suppress(ValueError, TypeError, ArithmeticError, MemoryError):
            graphs[entry.title] = graph_of(begun(entry) if model is None else model)
    return graphs


def graphs_picture(path: pathlib.Path, graphs: dict[str, Graph]) -> None:
    """Write a PNG: title to graph, a panel each.

    Raises
    ------
    ModuleNotFoundError
        Without matplotlib.
    """
    picture = figure(1, 1)
    sizes = {title: sizes_of(graph, measured) for title, graph in graphs.items()}
    least = {title: sum(map(sum, columns_of(graph, sizes[title]))) + 2 * MARGIN for title, graph in graphs.items()}
    rows = rows_of(least)
    width = max([WIDTH, *least.values()])
    laid: dict[str, Layout] = {}
    for row in rows:
        more = (width - sum(least[title] for title in row)) / len(row)
        laid |= {title: layout(graphs[title], sizes[title], least[title] + more - 2 * MARGIN) for title in row}
    heights = [max(laid[title].height for title in row) + 2 * MARGIN + HEADING for row in rows]
    picture.set_size_inches(width, sum(heights) + FOOT)
    axes = picture.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, sum(heights) + FOOT))
    axes.set_axis_off()
    top = sum(heights) + FOOT
    for row, tall in zip(rows, heights, strict=True):
        left = 0.0
        for title in row:
            wide = laid[title].width + 2 * MARGIN
            _frame(axes, Box(left + wide / 2, top - tall / 2, wide - 0.08, tall - 0.08), title)
            middle = top - HEADING - (tall - HEADING) / 2
            _draw(axes, graphs[title], laid[title], left + MARGIN, middle - laid[title].height / 2)
            left += wide
        top -= tall
    _legend(axes, width, any(node.kl for graph in graphs.values() for node in graph.nodes))
    save(path, picture)


def _frame(axes: Any, box: Box, title: str) -> None:
    from matplotlib.patches import Rectangle

    how: dict[str, Any] = {"fill": False, "edgecolor": "0.85", "linewidth": 0.8}
    axes.add_patch(Rectangle((box.left, box.bottom), box.width, box.height, **how))
    axes.text(box.left + 0.1, box.top - 0.08, title, fontsize=11, fontweight="bold", va="top", ha="left")


def _draw(axes: Any, graph: Graph, laid: Layout, x: float, y: float) -> None:
    kl = {node.name for node in graph.nodes if node.kl}
    for path in laid.paths:
        _line(axes, path, x, y, PINK if path.edge.target in kl else "0.25")
    for node in graph.nodes:
        _node(axes, node, laid.boxes[node.name].moved(x, y))


def _node(axes: Any, node: Node, box: Box) -> None:
    _box(axes, box, node.kind, node.kl)
    at = box.y + sum(points * LEADING / 72 for _, points, _ in words(node)) / 2
    for text, points, bold in words(node):
        at -= points * LEADING / 72
        axes.text(box.x, at + 0.26 * points / 72, text, fontsize=points, fontweight="bold" if bold else "normal",
                  ha="center", va="baseline", zorder=4)  # fmt: skip


def _box(axes: Any, box: Box, kind: str, kl: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    rounded = 0.09 if kind == COST else 0.16 if kind in (NOISE, LATENT) else 0.015
    rounded = min(rounded, box.height / 2.2)
    edge = PINK if kl else "#D55E00" if kind == COST else "0.35"
    style = f"round,pad=0,rounding_size={rounded}"
    axes.add_patch(FancyBboxPatch(
        (box.left, box.bottom), box.width, box.height, boxstyle=style, facecolor=KL_FILL if kl else FILLS[kind],
        edgecolor=edge, linewidth=1.6 if kind == COST else 0.9, linestyle="--" if kind == NOISE else "-", zorder=3,
    ))  # fmt: skip


def _line(axes: Any, path: Path, x: float, y: float, colour: str) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    points = [(a + x, b + y) for a, b in path.points]
    back = path.edge.loops > 0
    vertices, codes = [points[0]], [Curve.MOVETO]
    for (ax, ay), (bx, by) in pairwise(points):
        if back or abs(ay - by) < 1e-6:
            vertices.append((bx, by))
            codes.append(Curve.LINETO)
        else:
            middle = (ax + bx) / 2
            vertices += [(middle, ay), (middle, by), (bx, by)]
            codes += [Curve.CURVE4] * 3
    style = "<|-|>" if path.both else "-|>"
    axes.add_patch(FancyArrowPatch(
        path=Curve(vertices, codes), arrowstyle=style, mutation_scale=8, color=colour, linewidth=1.1, shrinkA=0,
        shrinkB=0, linestyle=(0, (4, 2)) if back else "-", zorder=2, joinstyle="round",
    ))  # fmt: skip
    if path.loops:
        said = "next step" if path.edge.kept else f"×{path.loops}"
        (ax, ay), (bx, by) = (points[1], points[-2]) if back else (points[0], points[-1])
        axes.text((ax + bx) / 2, (ay + by) / 2, said, fontsize=TEXT, color="0.25", ha="center", va="center", zorder=5,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip


def _legend(axes: Any, width: float, kl: bool) -> None:
    from matplotlib.patches import FancyArrowPatch

    x, y = 0.2, 0.42
    for kind, said in WORDS.items():
        _box(axes, Box(x + 0.12, y, 0.24, 0.15), kind, False)
        axes.text(x + 0.3, y, said, fontsize=TITLE, va="center", ha="left")
        x += 0.3 + measured(said, TITLE, False) + 0.3
    axes.add_patch(FancyArrowPatch((x, y), (x + 0.35, y), arrowstyle="-|>", mutation_scale=8, color="0.25",
                                   linestyle=(0, (4, 2)), shrinkA=0, shrinkB=0))  # fmt: skip
    axes.text(x + 0.42, y, LOOP_WORDS, fontsize=TITLE, va="center", ha="left")
    if kl:
        _box(axes, Box(0.32, 0.16, 0.24, 0.15), COST, True)
        axes.text(0.5, 0.16, KL_WORDS, fontsize=TITLE, va="center", ha="left", color="#A0447C", fontweight="bold")
