"""What a model can do and what another cannot, in the words of a comparison."""

from dataclasses import dataclass

DENSITIES = ("exact", "bracket", "bound", "none")


@dataclass(frozen=True)
class Abilities:
    """Of an estimator, as its class attribute `ABILITIES`.

    Parameters
    ----------
    codes
        `transform` gives a latent code of each row.
    reconstructs
        `reconstruct` gives each row back from its code.
    samples
        "one pass": a sample costs one evaluation of the network, and samples are independent; "column by column": one
        for each column; "chain": a Markov chain, whose states depend on each other; "none".
    density
        What `evaluate(X)` tells of log p(x), one of `DENSITIES`: its value; a lower and an upper bound; a lower bound
        or an estimate with its error; or nothing, as there is no density.
    """

    codes: bool
    reconstructs: bool
    samples: str
    density: str
