"""Where the boxes and edges of a graph lie: in layers by the longest path, from left to right (Sugiyama et al. 1981).

An edge that passes layers has a place of its own in each, so that no line crosses a box; an edge back has a lane above
or below, from one end to the other. The order within a layer is that of the fewest crossings that exchanges find; then
heights are least squares of the edges' slopes, with boxes apart.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations

import numpy as np

from fastvae.comparison.graph import Edge, Graph
from fastvae.comparison.values import COST, DATA

MOST_PERMUTED = 6  # places in a layer whose orders are all tried; of more, neighbours are exchanged
ROUNDS, SETTLING = 12, 400  # of the order, and of the heights
LINE, APART = 0.10, 0.11  # inches: of a line that passes a layer, and between places of a layer
GAP, LINE_GAP, SAID_GAP, WIDEST_GAP = 0.12, 0.02, 0.34, 0.46  # inches between layers: at least, more for each line
# between them, with words on a line, and at most
SAME = 1e-6  # inches between points that are one
PORTS = 0.13  # inches between the ends of edges at a box, at most
STIFF = 1.0, 3.0, 200.0  # weight of a slope, by how many of its ends are of a line that passes a layer

Place = Hashable  # a node's name, or (edge, layer)


@dataclass(frozen=True)
class Box:
    """Centre and size, in inches; y points up."""

    x: float
    y: float
    width: float
    height: float

    @property
    def left(self) -> float:
        """x of its left side."""
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        """x of its right side."""
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        """y of its upper side."""
        return self.y + self.height / 2

    @property
    def bottom(self) -> float:
        """y of its lower side."""
        return self.y - self.height / 2

    def overlaps(self, other: "Box") -> bool:
        """Whether they have a point in common."""
        apart = self.right < other.left or other.right < self.left or self.top < other.bottom or other.top < self.bottom
        return not apart

    def moved(self, x: float, y: float) -> "Box":
        """It elsewhere."""
        return Box(self.x + x, self.y + y, self.width, self.height)


@dataclass(frozen=True)
class Path:
    """An edge's line through points (x, y); `both`: an edge back goes with it, `loops` times."""

    edge: Edge
    points: tuple[tuple[float, float], ...]
    both: bool = False
    loops: int = 0


@dataclass(frozen=True)
class Layout:
    """Boxes by the nodes' names, and lines, in inches from the lower left corner."""

    boxes: dict[str, Box]
    paths: tuple[Path, ...]
    width: float
    height: float


def levels_of(graph: Graph) -> dict[str, int]:
    """The layer of each node: its longest path from a source. Data stand first, other sources before what they feed,
    and costs that nothing is made of last."""
    forward = [edge for edge in graph.edges if not edge.loops]
    levels = {node.name: 0 for node in graph.nodes}
    for _ in graph.nodes:
        for edge in forward:
            levels[edge.target] = max(levels[edge.target], levels[edge.source] + 1)
    last = max(levels.values(), default=0)
    fed = {edge.target for edge in forward}
    for node in graph.nodes:
        following = [levels[edge.target] for edge in forward if edge.source == node.name]
        if node.name not in fed and node.kind != DATA and following:
            levels[node.name] = min(following) - 1
        if node.kind == COST and not following:
            levels[node.name] = last
    return levels


def columns_of(graph: Graph, sizes: dict[str, tuple[float, float]]) -> tuple[list[float], list[float]]:
    """The widths of the layers, and the least gaps between them, in inches."""
    levels = levels_of(graph)
    widths = [LINE] * (max(levels.values()) + 1)
    for name, level in levels.items():
        widths[level] = max(widths[level], sizes[name][0])
    gaps = [GAP] * (len(widths) - 1)
    for edge in graph.edges:
        if not edge.loops:
            for level in range(levels[edge.source], levels[edge.target]):
                gaps[level] += LINE_GAP
    for edge in graph.edges:
        if edge.loops and levels[edge.target] + 1 == levels[edge.source]:
            gaps[levels[edge.target]] += SAID_GAP - GAP
    return widths, gaps


def layout(graph: Graph, sizes: dict[str, tuple[float, float]], width: float = 0.0) -> Layout:
    """Lay a graph out whose boxes have these sizes (width, height), in inches: as wide as is asked, or as it must be;
    what is more than `WIDEST_GAP` between layers is left at both sides."""
    levels = levels_of(graph)
    pairs = {(edge.source, edge.target): edge for edge in graph.edges if not edge.loops}
    back = {edge: pairs.get((edge.target, edge.source)) for edge in graph.edges if edge.loops}
    lanes = [edge for edge, forward in back.items() if forward is None]
    beside = {forward: edge for edge, forward in back.items() if forward is not None}
    drawn = [*pairs.values(), *lanes]
    layers: list[list[Place]] = [[] for _ in range(max(levels.values()) + 1)]
    for node in graph.nodes:
        layers[levels[node.name]].append(node.name)
    chains: dict[Edge, list[Place]] = {}
    verticals: list[tuple[Place, Place]] = []
    for edge in drawn:
        first, last = sorted((levels[edge.source], levels[edge.target]))
        if edge in lanes:
            chain: list[Place] = [(edge, level) for level in range(first, last + 1)]
            for end, level in ((edge.source, levels[edge.source]), (edge.target, levels[edge.target])):
                verticals.append((end, (edge, level)))
        else:
            chain = [edge.source, *((edge, level) for level in range(first + 1, last)), edge.target]
        for place in chain:
            if isinstance(place, tuple):
                layers[place[1]].append(place)
        chains[edge] = chain
    segments = [pair for chain in chains.values() for pair in pairwise(chain)]
    layers = _ordered(layers, segments, verticals)
    heights = {place: LINE if isinstance(place, tuple) else sizes[str(place)][1] for layer in layers for place in layer}
    y = _settled(layers, segments, heights)

    widths, gaps = columns_of(graph, sizes)
    more = max(0.0, width - sum(widths) - sum(gaps)) / max(1, len(gaps))
    gaps = [max(gap, min(gap + more, WIDEST_GAP)) for gap in gaps]
    lefts = np.cumsum([0.0, *[wide + gap for wide, gap in zip(widths, [*gaps, 0.0], strict=True)]]).tolist()
    whole = sum(widths) + sum(gaps)
    start = max(0.0, (width - whole) / 2)
    low = min(y[place] - heights[place] / 2 for place in y)
    boxes = {}
    for node in graph.nodes:
        level = levels[node.name]
        centre = start + lefts[level] + widths[level] / 2
        boxes[node.name] = Box(centre, y[node.name] - low, *sizes[node.name])
    ends = {level: (start + lefts[level], start + lefts[level] + widths[level]) for level in range(len(widths))}
    paths = _paths(chains, lanes, beside, boxes, ends, {place: at - low for place, at in y.items()})
    height = max(at - low + heights[place] / 2 for place, at in y.items())
    return Layout(boxes, paths, max(width, whole), height)


# ---- order ----------------------------------------------------------------------------------------------------------


def _ordered(
    layers: list[list[Place]], segments: list[tuple[Place, Place]], verticals: list[tuple[Place, Place]]
) -> list[list[Place]]:
    """The layers with their places in an order of few crossings."""
    between = _by_layer(layers, segments)

    def badness(level: int) -> float:
        places = {place: i for layer in layers[max(0, level - 1) : level + 2] for i, place in enumerate(layer)}
        total = 0.0
        for lower in (level - 1, level):
            pairs = between.get(lower, [])
            for i, (a, b) in enumerate(pairs):
                total += 0.01 * abs(places[a] - places[b])
                for c, d in pairs[:i]:
                    total += (places[a] - places[c]) * (places[b] - places[d]) < 0
        for a, b in verticals:
            if a in places and b in places and a in layers[level]:
                first, last = sorted((places[a], places[b]))
                crossed = [place for place in layers[level][first + 1 : last] if not isinstance(place, tuple)]
                total += 4 * len(crossed) + 0.5 * (last - first - 1) + 0.3 * (places[b] < places[a])
        return total

    for _ in range(ROUNDS):
        before = [list(layer) for layer in layers]
        for level in (*range(len(layers)), *reversed(range(len(layers)))):
            best, least = layers[level], badness(level)
            for order in _orders(layers[level]):
                layers[level] = list(order)
                if (found := badness(level)) < least - 1e-9:
                    best, least = layers[level], found
            layers[level] = best
        if layers == before:
            break
    return layers


def _orders(layer: list[Place]) -> Sequence[Sequence[Place]]:
    if len(layer) <= MOST_PERMUTED:
        return list(permutations(layer))
    return [[*layer[:i], layer[i + 1], layer[i], *layer[i + 2 :]] for i in range(len(layer) - 1)]


def _by_layer(layers: list[list[Place]], segments: list[tuple[Place, Place]]) -> dict[int, list[tuple[Place, Place]]]:
    """The segments between each layer and the next, from left to right."""
    level = {place: i for i, layer in enumerate(layers) for place in layer}
    found: dict[int, list[tuple[Place, Place]]] = {}
    for a, b in segments:
        left, right = sorted((a, b), key=level.__getitem__)
        found.setdefault(level[left], []).append((left, right))
    return found


# ---- heights --------------------------------------------------------------------------------------------------------


def _settled(
    layers: list[list[Place]], segments: list[tuple[Place, Place]], heights: dict[Place, float]
) -> dict[Place, float]:
    """y of each place; the first of a layer is on top. Least squares of the slopes, where places are apart: Hildreth's
    method, a coordinate ascent on the multipliers of the distances."""
    index = {place: i for i, place in enumerate(heights)}
    slopes = 1e-3 * np.eye(len(index))
    for a, b in segments:
        passing = isinstance(a, tuple) + isinstance(b, tuple)
        i, j, weight = index[a], index[b], STIFF[passing]
        slopes[[i, j], [i, j]] += weight
        slopes[[i, j], [j, i]] -= weight
    beside = [pair for layer in layers for pair in pairwise(layer)]
    pairs = [(index[a], index[b], (heights[a] + heights[b]) / 2 + APART) for a, b in beside]
    inverse = np.linalg.inv(slopes)
    steps = [inverse[i] - inverse[j] for i, j, _ in pairs]
    y, multipliers = np.zeros(len(index)), [0.0] * len(pairs)
    for _ in range(SETTLING):
        moved = 0.0
        for k, (i, j, apart) in enumerate(pairs):
            step = steps[k]
            change = max(-multipliers[k], (apart - y[i] + y[j]) / (step[i] - step[j]))
            multipliers[k] += change
            y += change * step
            moved = max(moved, abs(change) * float(step[i] - step[j]))
        if moved < 1e-4:
            break
    for layer in layers:  # what is left of the distances
        for a, b in pairwise(layer):
            apart = (heights[a] + heights[b]) / 2 + APART
            y[index[b]] = min(y[index[b]], y[index[a]] - apart)
    return {place: float(y[i]) for place, i in index.items()}


# ---- lines ----------------------------------------------------------------------------------------------------------


def _paths(
    chains: dict[Edge, list[Place]], lanes: list[Edge], beside: dict[Edge, Edge], boxes: dict[str, Box],
    ends: dict[int, tuple[float, float]], y: dict[Place, float],
) -> tuple[Path, ...]:  # fmt: skip
    """The lines: from the right of a box to the left of another; lanes from above or below."""
    arriving: dict[str, list[tuple[float, Edge]]] = {}
    for edge, chain in chains.items():
        if edge not in lanes:
            arriving.setdefault(edge.target, []).append((y[chain[-2]], edge))
    ports = {}
    for name, found in arriving.items():
        found.sort(key=lambda pair: pair[0])
        step = min(PORTS, 0.7 * boxes[name].height / max(1, len(found) - 1))
        for i, (_, edge) in enumerate(found):
            ports[edge] = boxes[name].y + (i - (len(found) - 1) / 2) * step
    paths = []
    for edge, chain in chains.items():
        source, target = boxes[edge.source], boxes[edge.target]
        if edge in lanes:
            lane = y[chain[0]]
            points = []
            for box in (source, target):
                at = next(at for at in chain if isinstance(at, tuple) and ends[at[1]] == _of(ends, box))
                side = box.bottom if y[at] < box.y else box.top
                points.append(((box.x, side), (box.x, y[at])))
            lane = points[0][1][1]
            middle = ((points[1][1][0], lane), points[1][1]) if points[1][1][1] != lane else (points[1][1],)
            paths.append(Path(edge, tuple(_apart([*points[0], *middle, points[1][0]])), loops=edge.loops))
            continue
        back = beside.get(edge)
        aside = 0.0 if back is None else np.copysign(min(PORTS, 0.3 * source.height), target.y - source.y)
        start = source.y + float(aside)
        line = [(source.right, start), (_of(ends, source)[1], start)]
        for place in chain[1:-1]:
            assert isinstance(place, tuple)  # by its chain
            line += [(x, y[place]) for x in ends[place[1]]]
        line += [(_of(ends, target)[0], ports[edge]), (target.left, ports[edge])]
        paths.append(Path(edge, tuple(_apart(line)), back is not None, back.loops if back is not None else 0))
    return tuple(paths)


def _apart(line: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points of a line without those that lie on the one before but for rounding, whose direction would be that of
    the arrow's head."""
    kept = line[:1]
    for x, y in line[1:]:
        if abs(x - kept[-1][0]) > SAME or abs(y - kept[-1][1]) > SAME:
            kept.append((x, y))
    return kept


def _of(ends: dict[int, tuple[float, float]], box: Box) -> tuple[float, float]:
    """From where to where the layer of a box goes."""
    return next((low, high) for low, high in ends.values() if low <= box.x <= high)
