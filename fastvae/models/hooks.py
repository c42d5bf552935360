"""What an estimator of its own brings: the one place where that is written down."""

from typing import Any, ClassVar, Protocol

import numpy as np

from fastvae.data.minibatches import Examples
from fastvae.data.scaling import Units
from fastvae.data.validation import Statistics
from fastvae.engine import Network
from fastvae.models.abilities import Abilities


class Hooks(Protocol):
    """What an estimator of its own brings, beside a constructor that stores its arguments and its methods; all else is
    in `estimator.Estimator`, with defaults for what is not marked.

    Attributes
    ----------
    NAME
        Of the model in its files (must be there).
    ABILITIES
        What it can do and another cannot: see `abilities` (must be there).
    NETWORK
        The class of its network (must be there), a `Network` of an architecture, a backend, and whether it is to
        generate only.
    LOSSES, HELDOUT
        What the network reports of a step, "loss" first, and what `score_examples` gives.
    PORTABLE
        Whether its network's `wiring` is what it computes, so that it can be exported. It counts where a class says it
        itself: one that inherits from it may compute something else.
    OLDER
        Arguments that files of earlier versions lack: what those models were.
    """

    NAME: ClassVar[str]
    ABILITIES: ClassVar[Abilities]
    NETWORK: ClassVar[type[Network]]
    LOSSES: ClassVar[tuple[str, ...]]
    HELDOUT: ClassVar[str]
    PORTABLE: ClassVar[bool]
    OLDER: ClassVar[dict[str, Any]]

    def _architecture(self, columns: int) -> Any:
        """Must be there: the checked arguments for so many columns, a dataclass with `inputs`; with
        `conditions` too, the columns of a condition, where the model can have one."""

    def _begin(self, network: Any, X: Any, units: Units, facts: Statistics, seed: np.uint64, *condition: Any) -> None:
        """Must be there: set the first parameters, from the data and what is known of their columns; of a model that
        can have a condition, also from its rows (N, C)."""

    def score_examples(self, examples: Examples) -> np.ndarray:
        """What is held against examples that are held out, (N,), the larger the better."""

    def _codes(self) -> int:
        """Columns of what `transform` gives."""

    def _set_objective(self, network: Any) -> None:
        """Tell the network what of the arguments enters the loss."""

    def _check_weighted(self) -> None:
        """Raise where the arguments ask for what does not go with weights of rows."""

    def _warmup(self) -> float:
        """Epochs over which the loss changes."""

    def _suited_scale(self) -> Any:
        """The scaling that "auto" stands for."""

    def _fills_unit_range(self, network: Any) -> bool:
        """Whether the network's data lie in [0, 1] and nowhere else."""

    def _check_range(self, network: Any, X: Any, found: Any, scaled: Any, name: str = "X") -> None:
        """Raise where the network cannot take such data."""

    def _left_out(self) -> tuple[str, ...]:
        """Prefixes of the arrays of a file that generation does not need."""

    def _looks_at_all(self, network: Any) -> bool:
        """Whether values must be looked at that lie in the range, as no kernel does."""
