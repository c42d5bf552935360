"""What arrays hold while a training step goes on: values, each made of others by a layer, a draw or a cost."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

DATA, NOISE, LAYER, LATENT, OUTPUT, COST = KINDS = ("data", "noise", "layer", "latent", "output", "cost")
WATCHED, BESIDE = "watched", "side by side"  # kinds of values that are no nodes: told and not minimised; columns joined


@dataclass(frozen=True, eq=False)
class Value:
    """What an array holds at some time.

    Attributes
    ----------
    kind
        One of `KINDS`.
    key
        Values of the same key are one thing, used again: the weights of a layer, a kind of noise.
    title, lines
        In words and formulas.
    sources
        The values that it is made of.
    widths
        Columns: of a layer before and after it.
    activations
        Of a layer.
    role
        Of a layer: see `engine.Network.role`.
    drawn
        Whether it is a draw, with its only source for its mean.
    kl
        Whether it is the KL of a latent variable from its prior, or an estimate of it.
    ordered
        Whether it is a layer in which a column sees those before it alone.
    counts
        Whether its weight in the loss is that of its cost; false of what only mends another.
    symbol
        What formulas call it; by default its title.
    born
        Its number in the order of the recording.
    """

    kind: str
    key: Hashable
    title: str
    sources: tuple["Value", ...] = ()
    lines: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    activations: tuple[str, ...] = ()
    role: str = ""
    drawn: bool = False
    kl: bool = False
    ordered: bool = False
    counts: bool = True
    symbol: str = ""
    born: int = 0

    @property
    def letter(self) -> str:
        """What formulas call it."""
        return self.symbol or self.title


def ancestors(value: Value) -> Iterator[Value]:
    """A value and all that it is made of, each once."""
    waiting, seen = [value], {id(value)}
    while waiting:
        value = waiting.pop()
        yield value
        new = [source for source in value.sources if id(source) not in seen]
        seen |= {id(source) for source in new}
        waiting += new


def given(value: Value) -> list[Value]:
    """What layers, one after the other, have made a value of: their first inputs, each key once."""
    found: dict[Hashable, Value] = {}
    waiting, seen = [value], {id(value)}
    while waiting:
        for source in waiting.pop().sources:
            if id(source) not in seen:
                seen.add(id(source))
                if source.kind == LAYER:
                    waiting.append(source)
                else:
                    found.setdefault(source.key, source)
    return sorted(found.values(), key=lambda source: source.kind == DATA)
