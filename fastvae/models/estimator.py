"""What every estimator shares: fit, and what it tells of it. Its arguments: `arguments`; what it has learned, and
threads: `learned`; what it does with rows of data: `rows`; its files: `saving`.

What a model of its own brings is written down in `hooks`: an architecture, a network (see `engine`), and its methods.
Nothing here depends on scikit-learn; `__sklearn_tags__` is called by it alone.
"""

import dataclasses
from typing import Any

import numpy as np

from fastvae import backend
from fastvae.data.condition import Condition
from fastvae.data.conversion import column_names
from fastvae.data.minibatches import Conditions, Examples
from fastvae.data.ranges import warn_of_other_units
from fastvae.data.scaling import Units, check_scale, scaling
from fastvae.data.validation import Statistics, as_examples, check_values, statistics
from fastvae.data.weights import as_weights, normalised, weighted_mean
from fastvae.errors import check_name
from fastvae.kernels.cpu.workers import processors
from fastvae.models.arguments import Arguments
from fastvae.models.display import estimator_html
from fastvae.models.duration import AUTO, Duration
from fastvae.models.given import Given, first_rows
from fastvae.models.rows import Rows
from fastvae.models.settings import check_integer, check_number, seed_from
from fastvae.optimizers import OPTIMIZERS, SCHEDULES, Optimizer, RateSchedule
from fastvae.training import State


class Estimator(Arguments, Duration, Rows):
    """Base of the estimators: the constructor stores, `fit` learns; learned attributes end in an underscore."""

    # set by the constructor of each estimator
    learning_rate: float
    clip_norm: float | None
    scale: Any
    precision: str
    device: str
    random_state: Any
    verbose: bool | int
    optimizer: str
    weight_decay: float
    schedule: str
    warmup_steps: int
    average: float
    warm_start: bool = False

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn asks of an estimator. Its `check_estimator` finds one thing: whole weights of rows give the
        objective of so many copies of each, not the same bits, as sums in float32 go by the order of rows and noise by
        their place in the batch. Its rows are real numbers, for which there is no tag: `DBM` and `NADE` pass where they
        are binarized first, `GAN` with output="identity", `GSN` with scale="minmax", the others with a Gaussian
        likelihood, or that too."""
        from sklearn.utils import InputTags, Tags, TargetTags, TransformerTags

        transforms = TransformerTags(preserves_dtype=["float64", "float32"]) if hasattr(self, "transform") else None
        return Tags(
            estimator_type="density_estimator",
            target_tags=TargetTags(required=False),
            transformer_tags=transforms,
            input_tags=InputTags(),
        )

    def _repr_html_(self) -> str:
        return estimator_html(self)

    # ---- what an estimator brings -------------------------------------------------------------------------------

    def _architecture(self, columns: int) -> Any:
        raise NotImplementedError

    def _make_network(self, columns: int, condition: Condition | None = None) -> Any:
        """Check the constructor's arguments and build the network, not yet initialised."""
        architecture = self._conditioned(self._architecture(columns), condition)
        return self.NETWORK(architecture, backend.select(self.device, self.precision))

    def _conditioned(self, architecture: Any, condition: Condition | None) -> Any:
        """The architecture of a model with that condition: it has a field `conditions`, its columns."""
        if condition is None:
            return architecture
        if not hasattr(architecture, "conditions"):
            raise TypeError(f"{type(self).__name__} takes no condition: leave it out")
        return dataclasses.replace(architecture, conditions=condition.columns)

    def score_examples(self, examples: Examples) -> np.ndarray:
        """What is held against the examples that are held out, (N,): the larger the better."""
        return self.score_samples(examples.X)

    def score_samples(self, X: Any) -> np.ndarray:
        """A score of each row (N,), the larger the better."""
        raise NotImplementedError

    def score(self, X: Any, y: Any = None, *, sample_weight: Any = None, **how: Any) -> float:
        """Mean of `score_samples`, which gets all other arguments but `y`: larger is better. With `sample_weight` (N,)
        it is sum w s / sum w; the scores of rows of weight 0 do not matter."""
        scores = self.score_samples(X, **how)
        return weighted_mean(scores, None if sample_weight is None else as_weights(sample_weight, len(scores)))

    def _suited_scale(self) -> Any:
        """The scaling that "auto" stands for."""
        return "standard"

    # ---- fit ----------------------------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        self._check_duration()
        check_number("learning_rate", self.learning_rate, 0, inclusive=False)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, 0, inclusive=False)
        check_scale(self._scale())
        backend.check_names(self.device, self.precision)
        if not isinstance(self.random_state, np.random.Generator | np.random.RandomState):
            seed_from(self.random_state)
        if not isinstance(self.verbose, bool | np.bool_):
            check_integer("verbose", self.verbose, 0)
        check_name("optimizer", self.optimizer, tuple(OPTIMIZERS))
        check_name("schedule", self.schedule, SCHEDULES)
        check_number("weight_decay", self.weight_decay, 0)
        check_integer("warmup_steps", self.warmup_steps, 0)
        if not isinstance(self.warm_start, bool | np.bool_):
            raise TypeError(f"warm_start={self.warm_start!r} must be True or False")
        if self.weight_decay * self.learning_rate >= 1:
            found = f"weight_decay={self.weight_decay!r} times learning_rate={self.learning_rate!r}"
            raise ValueError(f"{found} must be less than 1: it is what each step takes away of the weights")
        if not 0 <= check_number("average", self.average, 0) <= 1:
            raise ValueError(
                f"average={self.average!r} must be from 0 to 1: the share of the steps that it is taken of"
            )

    def _check_weighted(self) -> None:
        """Raise where the arguments ask for what does not go with weights of rows."""

    def _check_storable(self) -> None:
        """Raise where this model could be trained and not be saved."""

    def initialize(
        self, X: Any, binarize: str | float | None = None, condition: Any = None, sample_weight: Any = None
    ) -> Examples:
        """Everything of `fit` before the first step: checks, scaling, and the drawn initial weights.

        For training loops of one's own, and for comparisons: `parameters()` and `loss_and_gradients` work afterwards.

        Parameters
        ----------
        X : (N, D)
            N >= 2; any real dtype, also a memory map, which is read in pieces.
        binarize
            See `fastvae.data.minibatches.Examples`.
        condition, sample_weight
            As `fit` has them.

        Returns
        -------
        Examples
            `X` in the model's units, without rows of weight 0.
        """
        return self._exclusion.alone(
            type(self).__name__, lambda: self._initialize_first(X, binarize, condition, sample_weight)
        )

    def _initialize_first(self, X: Any, binarize: str | float | None, condition: Any, weights: Any) -> Examples:
        X, names = self._learned_rows(X)
        given, known = first_rows(X, condition, weights, in_place=self.device == "cuda")
        return self._initialize(given, binarize, names=names, known=known)

    def _learned_rows(self, X: Any) -> tuple[Any, Any]:
        """X (N, D) as an array, and the names of its columns, if they have any: of data that are learned from."""
        return as_examples(X, in_place=self.device == "cuda"), column_names(X)

    def _heldout_rows(self, heldout: Any) -> Any:
        """Rows (M, D) that are held out, as an array."""
        return as_examples(heldout, "heldout", in_place=True)

    def _check_values(self, X: Any, name: str = "X") -> None:
        """Raise where rows that are learned from have values that nobody can use."""
        check_values(X, name)

    def _statistics(self, X: Any, weights: np.ndarray | None) -> Statistics:
        """What the columns of X are like, of rows with weights (N,)."""
        return statistics(X, weights=weights)

    def _scaling(self, facts: Statistics) -> tuple[np.ndarray, np.ndarray]:
        """Offset and scale of each column (D,)."""
        return scaling(self._scale(), facts, keep_constant=isinstance(self.scale, str) and self.scale == AUTO)

    def _initialize(
        self,
        given: Given,
        binarize: str | float | None = None,
        seed: np.uint64 | None = None,
        names: Any = None,
        known: Condition | None = None,
    ) -> Examples:
        self._check_settings()
        backend.select(self.device, self.precision)
        processors()  # a wrong FASTVAE_THREADS is refused before anything is done
        X, rows, weights = given.X, given.condition, given.weights
        if len(X) < 2:
            of = "" if weights is None else " whose weight is above 0"
            raise ValueError(f"X has 1 sample{of} (shape {X.shape}); fitting needs at least 2")
        if weights is not None:
            self._check_weighted()
        network = self._make_network(X.shape[1], known)
        facts = self._statistics(X, None if weights is None else normalised(weights))
        offset, scale = self._scaling(facts)
        self._check_range(network, X, (facts.smallest, facts.largest), (offset, scale))
        low, high = float(facts.smallest.min()), float(facts.largest.max())
        if not isinstance(self.scale, str | None):
            asked = float(offset.min()), float((offset + scale).max())
            warn_of_other_units(X, asked, what="is to scale, by scale=,")
            low, high = min(low, asked[0]), max(high, asked[1])
        seed = seed_from(self.random_state) if seed is None else seed
        units = Units(offset, scale)
        self._begin(network, X, units, facts, seed, *[] if rows is None else [rows])
        self._adopt(network, units, seed, self._fixed(), names, {"data_range": [low, high]}, known)
        beside = None if known is None or rows is None else Conditions(known, rows, network.kernels)
        return Examples(X, offset, scale, seed, network.kernels, binarize, beside, weights)

    def _begin(self, network: Any, X: Any, units: Units, facts: Statistics, seed: np.uint64, *condition: Any) -> None:
        """Set the first parameters of a network, from the data and what is known of their columns; of a model with a
        condition also from its rows (N, C)."""
        raise NotImplementedError

    def _scale(self) -> Any:
        """The scaling that "auto" stands for."""
        if not (isinstance(self.scale, str) and self.scale == AUTO):
            return self.scale
        return self._suited_scale()

    def _adopt(
        self,
        network: Any,
        units: Units,
        seed: np.uint64,
        fitted: dict[str, Any],
        names: Any,
        metadata: dict[str, Any],
        condition: Condition | None = None,
    ) -> None:
        """Set the learned attributes around a network; `fitted`: see `_fixed`; `names`: of columns that have some."""
        network.prepare(seed, units, condition)
        self._set_objective(network)
        learned = {"network_": network, "_state": State(), "_optimizer": None, "_fitted": fitted}
        learned |= {"metadata_": metadata, "_feature_names": names}
        self._put(learned | {"_draws": 0, "_gradients": 0})

    def _warmup(self) -> float:
        """Epochs over which the loss changes."""
        return 0.0

    def _make_optimizer(self) -> Optimizer:
        """The optimizer that the arguments name, over all parameters; how long it goes is said when training begins."""
        network, kind = self.network_, OPTIMIZERS[self.optimizer]
        average_from = 1 if self.average else None
        settings: dict[str, Any] = {"weight_decay": float(self.weight_decay), "average_from": average_from}
        return kind(network.parameters, network.kernels, self.learning_rate, self.clip_norm, **settings)

    def _set_optimizer(self, optimizer: Optimizer, steps: int, begun: int = 0) -> None:
        """Have an optimizer go by the present arguments, in a training that ends after so many steps in all and began
        after `begun` of them."""
        for part in optimizer.parts:
            part.learning_rate, part.clip_norm = self.learning_rate, self.clip_norm
            part.weight_decay = float(self.weight_decay)
            part.schedule = RateSchedule(self.schedule, int(self.warmup_steps), steps - begun, begun)
            part.keep_average(self._average_from(steps, begun))

    def _average_from(self, steps: int, begun: int) -> int | None:
        """From which step on an average is taken, in a training from `begun` to `steps`."""
        return steps - max(1, round(self.average * (steps - begun))) + 1 if self.average else None
