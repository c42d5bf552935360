"""The graph of a model's training: what feeds what, and what is compared with what; data without a picture.

It is made of the flow of the model's own step (see `flow`), by rules that know no model:

- uses of one layer, one kind of noise or one cost are one node; where a value goes back to a node before it, the edge
  is a loop, with how often it is gone;
- layers of one role that follow each other are one node, with all their widths; so are layers beside each other between
  the same nodes, and a layer with what is drawn by it.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

from fastvae.comparison.flow import MODEL_SIDE, Flow, followed
from fastvae.comparison.formulas import number
from fastvae.comparison.values import COST, LATENT, LAYER, Value, ancestors


@dataclass(frozen=True)
class Node:
    """A part of a model's training.

    Attributes
    ----------
    name
        Of its own in the graph.
    kind
        "data", "noise", "layer", "latent" (drawn, or a code), "output" or "cost".
    title, lines
        What stands in it.
    kl
        Whether it is the KL of a latent variable from its prior, or an estimate of it.
    """

    name: str
    kind: str
    title: str
    lines: tuple[str, ...] = ()
    kl: bool = False


@dataclass(frozen=True)
class Edge:
    """What flows from a node to another; back to one before it `loops` times in a step, or into the next step."""

    source: str
    target: str
    loops: int = 0
    kept: bool = False


@dataclass(frozen=True)
class Graph:
    """Nodes, those first that come first, and edges."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @property
    def costs(self) -> list[Node]:
        """What is minimised, and costs of which another is made."""
        return [node for node in self.nodes if node.kind == COST]

    def reaches(self, source: str, target: str) -> bool:
        """Whether edges lead from a node to another."""
        found, waiting = {source}, [source]
        while waiting:
            name = waiting.pop()
            new = {edge.target for edge in self.edges if edge.source == name} - found
            found |= new
            waiting += new
        return target in found


@dataclass(eq=False)
class _Group:
    """Values that are one node."""

    values: list[Value]
    title: str
    kind: str
    widths: tuple[int, ...]
    activations: tuple[str, ...]
    lines: dict[str, None]
    born: int
    sources: dict["_Group", set[tuple[int, int]]] = field(default_factory=dict)  # with the values' pairs
    weights: list[float] = field(default_factory=list)

    @property
    def role(self) -> str:
        return self.values[0].role


def graph_of(model: Any) -> Graph:
    """The graph of an estimator that has begun, or of a network."""
    flow = followed(getattr(model, "network_", model))
    groups = _groups(flow)
    _join_draws(groups)
    _join_runs(groups)
    _join_parallel(groups)
    return _written(groups, flow)


# ---- values that are one thing ------------------------------------------------------------------------------------


def _groups(flow: Flow) -> list[_Group]:
    """A group for all values of one key, on one side of a difference of energies; costs of one update."""
    sides: dict[int, set[str]] = {}
    for side, units in flow.sides.items():
        for unit in units:
            for value in ancestors(unit):
                sides.setdefault(id(value), set()).add(side)
    updates = {id(cost.value): cost.update for cost in flow.costs}
    roots = [cost.value for cost in flow.costs]
    reached = {id(value): value for root in roots for value in ancestors(root)}
    last = [end for first, end in flow.kept if id(first) in reached]
    reached |= {id(value): value for root in last for value in ancestors(root)}
    groups: dict[Hashable, _Group] = {}
    of: dict[int, _Group] = {}
    for value in sorted(reached.values(), key=lambda value: value.born):
        beside: Hashable = updates.get(id(value)) if value.kind == COST else frozenset(sides.get(id(value), ()))
        if value.drawn:  # by one mean, wherever it leads
            beside = of[id(value.sources[0])]
        group = groups.setdefault((value.key, beside), _new(value))
        if value.sources and not any(known.sources for known in group.values):
            group.born = value.born  # what is made of constants at first comes when something flows into it
        group.values.append(value)
        group.lines |= dict.fromkeys(value.lines)
        of[id(value)] = group
    for value in reached.values():
        for source in value.sources:
            of[id(value)].sources.setdefault(of[id(source)], set()).add((source.born, value.born))
    for cost in flow.costs:
        if cost.value.counts:
            of[id(cost.value)].weights.append(cost.weight)
    found = list(groups.values())
    for group in found:
        only_model = all(sides.get(id(value)) == {MODEL_SIDE} for value in group.values)
        if flow.sides and only_model and group.role:
            group.title += "′"
    for first, end in flow.kept:
        if id(first) in of and id(end) in of:
            of[id(first)].sources[of[id(end)]] = {(end.born, first.born)}
    return found


def _new(value: Value) -> _Group:
    return _Group([], value.title, value.kind, value.widths, value.activations, {}, value.born)


def _consumers(group: _Group, groups: Iterable[_Group]) -> list[_Group]:
    return [other for other in groups if group in other.sources]


def _merge(groups: list[_Group], into: _Group, other: _Group) -> None:
    """Have `other` be a part of `into`; edges between them are no more."""
    groups.remove(other)
    into.born = min(into.born, other.born)
    into.values += other.values
    for source, pairs in other.sources.items():
        into.sources.setdefault(source, set()).update(pairs)
    for group in groups:
        if other in group.sources:
            group.sources.setdefault(into, set()).update(group.sources.pop(other))
    into.sources.pop(into, None)
    into.sources.pop(other, None)


def _join_draws(groups: list[_Group]) -> None:
    """A layer with what is drawn by it; not where its output is compared with the data."""
    for group in [group for group in groups if group.values[0].drawn and len(group.sources) == 1]:
        (source,) = group.sources
        if source.kind == LAYER:
            source.kind = LATENT
            source.lines["drawn"] = None
            _merge(groups, source, group)


def _join_runs(groups: list[_Group]) -> None:
    """Layers of one role that follow each other."""
    joined = True
    while joined:
        joined = False
        for group in groups:
            following = _consumers(group, groups)
            if group.kind != LAYER or not group.role or len(following) != 1:
                continue
            (after,) = following
            if after.kind == LAYER and after.role == group.role and after.born > group.born:
                after.widths = group.widths + after.widths[1:]
                after.activations = group.activations + after.activations
                after.lines = group.lines | after.lines
                _merge(groups, after, group)
                joined = True
                break


def _join_parallel(groups: list[_Group]) -> None:
    """Layers beside each other, from the same sources to the same nodes."""
    for group in list(groups):
        for other in list(groups):
            alike = group.kind == other.kind == LAYER and group.widths == other.widths and group.born < other.born
            if not (alike and group in groups and other in groups) or other in group.sources or group in other.sources:
                continue
            if _consumers(group, groups) == _consumers(other, groups) and set(group.sources) & set(other.sources):
                group.title, group.lines = f"{group.title}, {other.title}", group.lines | other.lines
                _merge(groups, group, other)


# ---- nodes and edges ------------------------------------------------------------------------------------------------


def _written(groups: list[_Group], flow: Flow) -> Graph:
    groups.sort(key=lambda group: (group.kind == COST, group.born))
    names, taken = {}, dict[str, int]()
    for group in groups:
        if group.kind == COST and len(flow.updates) > 1:
            update = next(cost.update for cost in flow.costs if cost.value in group.values)
            group.title = f"loss of the {', '.join(flow.updates[update])}"
        taken[group.title] = taken.get(group.title, 0) + 1
        names[group] = group.title if taken[group.title] == 1 else f"{group.title} {taken[group.title]}"
    kept = {(end.born, first.born) for first, end in flow.kept}
    nodes = []
    for group in groups:
        kl = any(value.kl for value in group.values)
        nodes.append(Node(names[group], group.kind, group.title, _lines(group), kl))
    edges = []
    for target in groups:
        for source, pairs in target.sources.items():
            back = source.born > target.born and target.kind != COST
            loops = len(pairs) if back else 0
            edges.append(Edge(names[source], names[target], loops, bool(pairs & kept)))
    return Graph(tuple(nodes), tuple(edges))


def _lines(group: _Group) -> tuple[str, ...]:
    """What stands in a node under its title."""
    lines = list(group.lines)
    if group.kind == COST:
        weights = group.weights
        if len(weights) == 1 and abs(weights[0] - 1) > 1e-6:
            lines[0] = f"{number(weights[0])} × {lines[0]}"
        if len(weights) > 1 and abs(sum(weights) - 1) < 1e-6:  # the same cost again and again
            lines = [*group.values[0].lines, f"mean of {len(weights)}"]
        return tuple(lines)
    if len(group.widths) > 1:
        lines.insert(0, " – ".join(map(str, group.widths)))
    elif group.widths and group.kind in (LATENT, LAYER):
        lines.insert(0, f"{group.widths[0]} units")
    if group.activations:
        lines.insert(1 if group.widths else 0, ", ".join(dict.fromkeys(group.activations)))
    return tuple(lines)
