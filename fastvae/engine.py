"""What runs the passes of a model: steps of a training, many in one call, and passes over data in pieces.

A model is a `Network`: it has owners of parameters, writes its step and its other passes (see `passes`), and says which
numbers change from step to step. All else that training and inference need of it is here.
"""

import contextlib
import functools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.backend import Backend
from fastvae.data.condition import Condition
from fastvae.data.mapping import check_size, mapping_of
from fastvae.data.minibatches import Examples, direct, write_binarization
from fastvae.data.scaling import Units, arithmetic
from fastvae.data.validation import LARGEST
from fastvae.exclusion import Exclusion
from fastvae.kernels.memory import empty, zeros
from fastvae.kernels.slots import Slots, Source
from fastvae.layers.wiring import Half
from fastvae.optimizers import Numbers, Optimizer
from fastvae.parameters import Parameters, Shape
from fastvae.passes import Arena, Pass

TRAINED_ON = {"x", "condition"}  # inputs that come from the rows of a data set
WEIGHT = {"weight": 1}  # and that of rows with weights, (B, 1)
NOTHING = np.empty((1, 0), np.int64)  # no rows to be chosen
KEPT_SIZES = 4  # of recordings that wait for the next call
EVALUATION = 0  # the step of all noise outside training, whose steps count from 1


@dataclass(frozen=True)
class Recorded:
    """A pass that was written down, and what its writer returned."""

    p: Pass
    results: Any


class Recordings:
    """Passes over so many rows, written down when they are first wanted; of one thread at a time."""

    def __init__(self, backend: Backend, rows: int):
        self.rows, self.slots = rows, Slots()
        self._backend, self._arena = backend, Arena(rows)
        self._recorded: dict[Hashable, Recorded] = {}

    def get(
        self, key: Hashable, write: Callable[[Pass], Any], inputs: dict[str, Callable[[Pass], np.ndarray]]
    ) -> Recorded:
        """The pass of that key, as `write` writes it the first time."""
        if key not in self._recorded:
            p = Pass(self._backend, self.slots, self.rows, inputs, arena=self._arena, backward=False)
            self._recorded[key] = Recorded(p, write(p))
            p.finish()
        return self._recorded[key]

    @property
    def in_range(self) -> bool:
        """After a run, whether all values that were read were where they should be."""
        return "outside" not in self.slots or self.slots["outside"] == 0


class Network:
    """Base of the models' networks: parameters in one flat buffer, and passes over batches.

    Parameters
    ----------
    architecture
        What decides the names and shapes of the parameters.
    backend
        Where it computes.
    decoder_only
        Leave out what generation does not need, of a VAE the encoder.

    Attributes
    ----------
    units
        Of the user's data.
    likelihood
        Of the data, for a model that has one: None without.
    log_jacobian
        What its nll in the model's units lacks to be that of the user's.
    seed
        Of all noise.
    condition
        What is known of the condition that the model has beside x: None without.
    """

    inputs: dict[str, int]  # name to columns
    condition: Condition | None = None
    seed: np.uint64
    units: Units
    likelihood: Any = None
    decoder: Any

    def __init__(self, architecture: Any, backend: Backend, decoder_only: bool = False):
        self.describe(architecture, not decoder_only)
        self.backend, self.kernels = backend, backend.kernels
        self.exclusion = Exclusion()
        self.parameters = Parameters(self.shapes())
        for owner in self.owners():
            owner.bind(self.parameters, self.kernels)
        self._state = {name: zeros(*shape) for name, shape in self.state_shapes().items()}
        self.workers, self.seed = backend.workers(), np.uint64(0)
        self._last_graded: tuple[Any, Pass, dict[str, np.ndarray]] | None = None
        self._away = self._newer = False  # the parameters, while they are trained elsewhere; see `allocate`
        self._idle: dict[int, list[Recordings]] = {}
        sizes = [shape for owner in self.owners() for shape in owner.shapes().values() if len(shape) == 2]
        self._largest_weight = max(a * b for a, b in sizes)
        self.widest = max(max(shape) for shape in sizes)
        self.allocate(0)

    def describe(self, architecture: Any, complete: bool) -> None:
        """Set `architecture`, `complete`, `inputs`, layers: all that is known before there is memory for parameters."""
        self.architecture, self.complete = architecture, complete

    @classmethod
    def expected_shapes(cls, architecture: Any, decoder_only: bool) -> dict[str, Shape]:
        """Names and shapes of the parameters of an architecture, without allocating anything."""
        network = object.__new__(cls)
        network.describe(architecture, not decoder_only)
        return network.shapes()

    # ---- what a model brings ------------------------------------------------------------------------------------

    def owners(self) -> Sequence[Any]:
        """All that has parameters, in order."""
        raise NotImplementedError

    def step(self, p: Pass, optimizers: Sequence[Optimizer | None]) -> None:
        """Write a step: the losses of a batch, their gradients, and what the optimizers make of them."""
        raise NotImplementedError

    def written_by(self) -> Hashable:
        """What else decides what `step` writes, beside the architecture, for a network of which it is known: what
        `loss_and_gradients` has written is then used again. None where it is not."""
        return None

    def numbers(self, rows: int, progress: np.ndarray, steps: np.ndarray) -> dict[str, Numbers]:
        """Slot names to the numbers of `steps` (n,) on so many rows, at a progress (n,) in epochs, one for all or (n,):
        the weight of an example in a mean over the batch."""
        return {"example weight": 1.0 / rows}

    def report(self, sums: dict[str, np.ndarray], rows: int, progress: np.ndarray) -> dict[str, np.ndarray]:
        """What a user is told of steps, "loss" first (n,), from the sums (n,) of the losses over the batch: means."""
        means = {name: values / rows for name, values in sums.items()}
        return means | ({"loss": means["loss"] + self.log_jacobian} if "loss" in means else {})

    def role(self, name: str, downwards: bool) -> str:
        """What a layer is to the model, in a word, by its name; `downwards`: where its weight is used the other way.
        Layers of one role that follow each other are one part of the model."""
        return name.split(".")[0]

    def codes(self, p: Pass) -> list[np.ndarray]:
        """Write the codes (B, Z) of "x"."""
        raise NotImplementedError

    def decode(self, p: Pass) -> list[np.ndarray]:
        """Write what becomes of the codes "z" (B, Z), in the model's units (B, D): the mean of p(x|z)."""
        return p.returns(self.likelihood.mean(p, self.decoder(p, p.input("z"))[0]))

    def wiring(self) -> dict[str, Half]:
        """What `codes` and `decode` do, as plain arrays: "encode", of what the likelihood lets an encoder see, and
        "decode", up to the mean of p(x|z); each with the condition beside its rows. Empty where that is not all of it.
        An estimator says by `PORTABLE` that this is what it computes."""
        return {}

    def range_of(self, name: str) -> tuple[float, float]:
        """Between what the values of an input lie, in the model's units, where nothing is wrong."""
        least, most = self.likelihood.SUPPORT if name == "x" and self.likelihood is not None else (-np.inf, np.inf)
        return max(least, -LARGEST), min(most, LARGEST)

    def constants(self) -> dict[str, np.ndarray]:
        """Arrays that belong to a model beside its parameters: those of its likelihood."""
        return {} if self.likelihood is None else self.likelihood.constants()

    @property
    def state(self) -> dict[str, np.ndarray]:
        """What steps carry on beside the parameters, chains that persist and moving means say; views. It is 0 at first,
        belongs to a training and lies in its checkpoints, not in a model's file."""
        self.parameters.bring_back()
        return {name: array[:] for name, array in self._state.items()}

    def state_shapes(self) -> dict[str, Shape]:
        """Names and shapes of what steps carry on beside the parameters, float32: see `state`."""
        return {}

    def initialise_layers(self, seed: np.uint64, deviation: np.ndarray, mean: np.ndarray) -> None:
        """Draw all weights, each layer by the activation behind it; biases are 0. A likelihood's own parameters follow
        from the mean (D,) of the data and their deviation from it, in model units."""
        for position, owner in enumerate(owner for owner in self.owners() if owner is not self.likelihood):
            owner.initialise(seed, position)
        if self.likelihood is not None:
            self.likelihood.initialise(deviation, mean)

    # ---- before anything ----------------------------------------------------------------------------------------

    def shapes(self) -> dict[str, Shape]:
        """Names and shapes of all parameters, in order."""
        shapes: dict[str, Shape] = {}
        for owner in self.owners():
            shapes |= owner.shapes()
        return shapes

    @functools.cached_property
    def code_units(self) -> Units:
        """Of the codes, "z": the user's are the model's."""
        return Units(np.zeros(self.inputs["z"]), np.ones(self.inputs["z"]))

    def prepare(self, seed: np.uint64, units: Units, condition: Condition | None = None) -> None:
        """Set what the passes need: the noise's key, the user's units, and what is known of a condition."""
        self.seed, self.units, self.condition = seed, units, condition
        self._seed_word = np.uint64(seed).view(np.int64)
        columns = 0 if condition is None else condition.columns
        self._condition_units = Units(np.zeros(columns), np.ones(columns))
        self.log_jacobian = 0.0 if self.likelihood is None else self.likelihood.log_jacobian(units.scale)
        self._idle.clear()  # recordings know the seed and the units
        self._last_graded = None
        self.allocate(0)

    def largest_product(self, rows: int) -> float:
        """Floating-point operations of the largest matrix product for a batch."""
        return 2.0 * rows * self._largest_weight

    # ---- training -----------------------------------------------------------------------------------------------

    def allocate(
        self,
        batch: int,
        optimizers: Sequence[Optimizer] = (),
        examples: Examples | None = None,
        indices: np.ndarray | None = None,
    ) -> None:
        """Have the buffers for training on batches of up to `batch` rows, cut into shares for `workers`: `steps` then
        trains with the optimizers, on rows of `examples`, which are read by `indices` (batch,)."""
        names = [optimizer.name for optimizer in optimizers]
        if len(set(names)) < len(names):
            raise ValueError(
                f"optimizers of one step need names of their own; these have {', '.join(map(repr, names))}"
            )
        try:
            self.parameters.bring_back()
        finally:
            self._away = self._newer = False
        self._arena, self._slots = Arena(batch), Slots()
        self._slots.row[self._slots.whole("seed").place] = np.uint64(self.seed).view(np.int64)
        self._optimizers, self._examples, self._indices = tuple(optimizers), examples, indices
        self._steps: dict[int, Pass] = {}
        self.parameters.bring_back = self._bring_back
        if optimizers and not self.kernels.ON_HOST:
            if examples is not None:
                for name in self._trained_on():
                    self.kernels.forget(examples.of(name).X)  # it may have changed since an earlier training
            self.kernels.upload(self.parameters.gradients, *self.constants().values(), *self._trained())
            self._away = True

    def _trained_on(self) -> dict[str, int]:
        """Inputs of a step that come from the rows of the examples, and their columns."""
        weighted = self._examples is not None and self._examples.weights is not None
        return {name: self.inputs[name] for name in TRAINED_ON & set(self.inputs)} | (WEIGHT if weighted else {})

    def _trained(self) -> list[np.ndarray]:
        states = [array for optimizer in self._optimizers for array in optimizer.state.values()]
        return [self.parameters.values, *states, *self._state.values()]

    def _bring_back(self) -> None:
        """Have the newest parameters and moments here."""
        if self._newer:
            self._newer = False
            self.kernels.download(*self._trained())

    @property
    def steps_ahead(self) -> bool:
        """Whether `steps` can do many in one call: it reads the data itself."""
        return self._examples is not None and self._examples.direct

    def _gathered(self, name: str, columns: int) -> Callable[[Pass], np.ndarray]:
        """What writes how the rows of a batch are read; or has somebody fill them in."""

        def write(p: Pass) -> np.ndarray:
            x = p.empty(columns)
            if self.steps_ahead:
                assert self._examples is not None
                assert self._indices is not None
                self._examples.of(name).write(p, p.cut(self._indices[: p.rows]), x)
            else:
                p.filled.append((name, x))
            return x

        return write

    def _pass(self, rows: int, write: Callable[..., None] | None = None) -> Pass:
        """The step on a batch of so many rows; written down once for every number of rows."""
        if rows in self._steps and write is None:
            return self._steps[rows]
        inputs = {name: self._gathered(name, columns) for name, columns in self._trained_on().items()}
        p = Pass(self.backend, self._slots, rows, inputs, self.workers.count, self._arena)
        (write or self.step)(p, self._optimizers)
        p.finish()
        if write is None:
            self._steps[rows] = p
        return p

    def written(self, optimizers: Sequence[Optimizer]) -> Pass:
        """The step of these optimizers on one row, which nobody runs."""
        names = {name: (lambda p, columns=columns: p.empty(columns)) for name, columns in self.inputs.items()}
        p = Pass(self.backend, Slots(), 1, names)
        self.step(p, optimizers)
        return p

    def steps(
        self, first: int, order: np.ndarray, progress: np.ndarray, write: Callable[..., None] | None = None
    ) -> list[dict[str, float]]:
        """Steps one after the other, without Python between them: that of number `first` and those after it, each on
        the examples that stand in its row of `order` (n, B), at its `progress` (n,) in epochs.

        It ends with a loss that is not finite, after which nothing is changed, and may end earlier; return what
        `report` makes of the losses before each step, one dict a step. `write` is what is written instead of `step`.
        """
        if not self.steps_ahead:  # the rows of one step at a time are filled in
            order, progress = order[:1], progress[:1]
        count, rows = order.shape
        p, numbers = self._pass(rows, write), self._numbers(first, rows, progress)
        if not self.steps_ahead:
            assert self._examples is not None
            for name, x in p.filled:
                self._examples.of(name).fill(order[0], x, first, 0)
                self.kernels.upload(x)
        for optimizer in self._optimizers:
            numbers |= optimizer.numbers(count)
        table = self._slots.table(count, **numbers)
        indices = self._indices[:rows] if self.steps_ahead and self._indices is not None else NOTHING[0]
        sums = np.empty((count, len(p.losses)))
        given = table, order if self.steps_ahead else NOTHING, indices, p.watched, sums
        begun, done = self.workers.run_steps(p.phases, self._slots, *given)
        self._newer = self._away
        for optimizer in self._optimizers:
            optimizer.step_count += done
        return self._reported(p, sums[:begun], rows, progress[:begun])

    def _numbers(self, first: int, rows: int, progress: np.ndarray) -> dict[str, Numbers]:
        steps = first + np.arange(len(progress))
        return self.numbers(rows, progress, steps) | {"step": steps}

    def _reported(self, p: Pass, sums: np.ndarray, rows: int, progress: np.ndarray) -> list[dict[str, float]]:
        named = self.report(dict(zip(p.losses, sums.T, strict=True)), rows, progress)
        columns = [values.tolist() for values in named.values()]
        return [dict(zip(named, step, strict=True)) for step in zip(*columns, strict=True)]

    def loss_and_gradients(
        self,
        x: np.ndarray,
        step: int,
        progress: float,
        write: Callable[[Pass], None] | None = None,
        condition: np.ndarray | None = None,
        weights: np.ndarray | None = None,
    ) -> dict[str, float]:
        """Fill the gradients for the rows x (B, D), in the model's units; return what `report` makes of the losses.
        `condition` (B, C) float32 is that of each, as the network reads it; `weights` (B,) float32, above 0, by what
        the loss of each is multiplied.

        It has buffers of its own: nothing of a training changes, its `state` neither. `write` is what is written in the
        place of `step`.
        """
        given = {"x": x} | ({} if condition is None else {"condition": condition})
        given |= {} if weights is None else {"weight": weights.reshape(-1, 1)}
        p, given = self._graded(given, write)
        numbers = self._numbers(step, len(x), np.array([progress]))
        for name, values in numbers.items():
            if name in p.slots:
                p.slots[name] = np.ravel(values)[0]
        p.slots["seed"] = np.uint64(self.seed).view(np.int64)
        self.upload_parameters()
        kept = {name: array.copy() for name, array in self.state.items()}
        self.kernels.upload(*given.values(), *self._state.values())
        with self.backend.passing(1) as workers:
            p.run(workers)
        for name, array in kept.items():
            self._state[name][...] = array
        self.kernels.upload(*self._state.values())
        self.kernels.download(self.parameters.gradients, *[watched.values for watched in p.losses.values()])
        sums = np.array([[self.kernels.total(watched.values.reshape(-1)) for watched in p.losses.values()]])
        return self._reported(p, sums, len(x), np.array([progress]))[0]

    def _graded(
        self, given: dict[str, np.ndarray], write: Callable[[Pass], None] | None
    ) -> tuple[Pass, dict[str, np.ndarray]]:
        """The pass of `loss_and_gradients`, and its inputs with those rows in them. The last one is used again where it
        would be the same: a loop of somebody's own asks for it step by step."""
        how = self.written_by() if write is None else None
        key = how, {name: rows.shape for name, rows in given.items()}
        if how is not None and self._last_graded is not None and self._last_graded[0] == key:
            _, p, rows_of = self._last_graded
            for name, rows in given.items():
                rows_of[name][...] = rows
            return p, rows_of
        rows_of = {name: empty(*rows.shape) for name, rows in given.items()}
        for name, rows in given.items():
            rows_of[name][...] = rows
        inputs = {name: (lambda p, rows=rows: p.cut(rows)) for name, rows in rows_of.items()}
        p = Pass(self.backend, Slots(), len(given["x"]), inputs)
        write(p) if write else self.step(p, [None])
        p.finish()
        if how is not None:
            self._last_graded = key, p, rows_of
        return p, rows_of

    def faults(self, rows: int) -> str:
        """Name the first layer with a parameter, or else with an output for the last batch, that is not finite."""
        for name, values in self.parameters.named_values().items():
            if not np.isfinite(values).all():
                return f"layer {name.rsplit('.', 1)[0]!r} has a {name.rsplit('.', 1)[-1]} that is not finite"
        name = ""
        for name, output in self._pass(rows).outputs.items():
            self.kernels.download(output)
            if not np.isfinite(output).all():
                return f"the output of layer {name!r} is not finite"
        return f"layer {name!r} gives outputs whose loss overflows"

    # ---- passes over data ---------------------------------------------------------------------------------------

    def upload_parameters(self) -> None:
        """Before passes are run: where they work elsewhere, the parameters go there."""
        if not (self._away or self.kernels.ON_HOST):
            self.kernels.upload(self.parameters.values, *self.constants().values())

    def _borrow(self, rows: int) -> Recordings:
        try:
            return self._idle[rows].pop()  # atomic: many threads may run one model
        except LookupError:
            return Recordings(self.backend, rows)

    def _give_back(self, recordings: Recordings) -> None:
        rows = recordings.rows
        self._idle.setdefault(rows, []).append(recordings)
        if len(self._idle) > KEPT_SIZES:
            with contextlib.suppress(KeyError, RuntimeError, StopIteration):
                del self._idle[next(size for size in self._idle if size != rows)]

    def over(
        self,
        X: Any,
        key: Hashable,
        write: Callable[[Pass], Sequence[np.ndarray]],
        keep: Callable[..., None],
        check: Callable[[], Callable[[Any], np.ndarray] | None] | None = None,
        binarize: str | float | None = None,
        step: int = EVALUATION,
        name: str = "x",
        units: Units | None = None,
        condition: np.ndarray | None = None,
    ) -> None:
        """Do a pass over all rows of X in pieces, by one thread or several; nothing of X is kept.

        Parameters
        ----------
        X : (N, columns)
            In the user's units.
        key
            Of what `write` writes.
        write
            Writes the pass, and returns arrays of its results.
        keep
            keep(start, stop, *results) takes what a piece has made.
        check
            Called first if a value is out of the input's range: it finds which, and says it, or returns how rows are
            brought into the range.
        binarize
            Of the rows, as `Examples` have it.
        step
            Of the noise.
        name, units
            Of the input, and its own; by default the data's.
        condition : (N, C), optional
            That of each row, as the network reads it: the input "condition".
        """
        count, mapping, clip = len(X), mapping_of(X), None
        threads, size = self.backend.pieces(count, self.largest_product(count), self.widest)
        self.upload_parameters()
        given = name, self.units if units is None else units, binarize

        def recorded(r: Recordings, rows: Any, first_row: int) -> Recorded:
            """The pass over rows of the data, those from `first_row` on, ready to be run once."""
            if not direct(rows.dtype):  # never so on a device
                rows = rows.astype(arithmetic(rows.dtype))
            dtype = rows.dtype  # a recording is kept, and with it what its inputs know: not the rows
            inputs = {name: lambda p: self._read(p, dtype, *given)}
            if condition is not None:
                kind, scaling = condition.dtype, self._condition_units
                inputs["condition"] = lambda p: self._read(p, kind, "condition", scaling, None)
            made = r.get((key, dtype, name, binarize, None if condition is None else condition.dtype), write, inputs)
            slots = r.slots
            slots["seed"], slots["step"], slots["first row"] = self._seed_word, step, first_row
            slots["outside"] = 0
            for source in made.p.sources:
                if source.name != "condition":
                    source.read(rows)
                elif condition is not None:
                    source.read(condition[first_row : first_row + r.rows])
            return made

        def done(start: int, r: Recordings, made: Recorded, workers: Any) -> None:
            """What a piece has made is taken, once its values have been looked at."""
            nonlocal clip, check
            if check is not None and not r.in_range:
                clip, check = check(), None
            if clip is not None and not r.in_range:
                made = recorded(r, clip(X[start : start + r.rows]), start)
                made.p.run(workers)
                made.p.forget_rows()
            keep(start, start + r.rows, *made.results)
            self._give_back(r)

        with self.backend.passing(threads) as workers:
            if count <= size and mapping is None:  # one piece, as a row alone is: the same in less time
                r = self._borrow(count)
                made = recorded(r, X, 0)
                try:
                    made.p.run(workers)
                finally:
                    made.p.forget_rows()
                done(0, r, made, workers)
                return
            for first in range(0, count, threads * size):
                starts = range(first, min(first + threads * size, count), size)
                pieces = [(start, self._borrow(min(size, count - start))) for start in starts]
                running: list[Recorded] = []
                check_size(mapping, X)
                try:
                    for i, r in pieces:
                        rows = X[i : i + r.rows] if mapping is None else np.array(X[i : i + r.rows])
                        running.append(recorded(r, rows, i))
                    check_size(mapping, X)
                    for phase in range(len(running[0].p.phases)):
                        workers.run_programs([made.p.phases[phase][0] for made in running])
                finally:
                    for made in running:
                        made.p.forget_rows()
                for (start, r), made in zip(pieces, running, strict=True):
                    done(start, r, made, workers)

    def _read(self, p: Pass, dtype: np.dtype, name: str, units: Units, binarize: str | float | None) -> np.ndarray:
        """Write how rows of the data are read."""
        x = p.empty(self.inputs[name])
        source, outside = Source(p.slots, name, dtype), p.slots.whole("outside")
        p.add("read_rows", source, *units.pair(dtype), *self.range_of(name), outside, x)
        write_binarization(p, x, binarize, self.seed, EVALUATION)  # the same rows, whatever the step of other noise
        return x
