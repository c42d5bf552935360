"""What the costs of a training are called, and their formulas, by the values that they are made of."""

from fastvae.comparison.values import DATA, Value, ancestors, given


def number(value: float) -> str:
    """A number as it is read."""
    return f"{value:.3g}"


def likelihood_of(x: Value, a: Value) -> str:
    """-log p of x, given what its reconstruction `a` was made of."""
    name = x.title if x.kind == DATA else "x"
    if any(value.ordered for value in ancestors(a)):
        return f"−Σ log p({name}ᵢ | {name}₁ … {name}ᵢ₋₁)"
    return f"−log p({name}|{', '.join(source.letter for source in given(a.sources[0]))})"


def posterior_of(mu: Value | None) -> str:
    """What q is a distribution of, and what it is given: z|x, or z|x, c with a condition."""
    titles = [] if mu is None else [value.title for value in ancestors(mu) if value.kind == DATA]
    return f"z|{', '.join(sorted(set(titles), reverse=True))}"


def _logistic(target: float, a: Value) -> tuple[str, tuple[str, ...]]:
    """The cost of a network that is to say 1 or 0: in the field's letters, D(x) of the discriminator."""
    named = f"{(a.role or 'D')[0].upper()}({', '.join(source.letter for source in given(a))})"
    lines = []
    if target > 0:
        lines.append(f"−{'' if target == 1 else number(target) + ' '}log {named}")
    if target < 1:
        lines.append(f"−{'' if target == 0 else number(1 - target) + ' '}log(1 − {named})")
    return f"{a.role}'s verdict", tuple(lines)


def _sparsity(target: float, a: Value) -> tuple[str, tuple[str, ...]]:
    return "sparsity penalty", (f"KL(ρ ‖ mean), ρ = {number(target)}",)


TARGETS = {"bernoulli": _logistic, "divergence": _sparsity}  # losses whose x may be a constant
