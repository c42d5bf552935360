"""A pass over a batch, written once by running the model's own Python over the names of arrays; then run at will.

    def step(self, p, x):
        h, back_h = self.encoder(p, x)              a layer writes its forward, and returns what writes its backward
        ...
        p.loss(nll=(nll, weight))
        p.update(optimizer, layers)

What is written are ops of the table in `fastvae.kernels.ops`. The pass alone knows how a batch is cut into shares, one
for each thread, and where the threads must meet: an op over rows is written once for each share; the products over a
whole batch that give the gradients of weights come in a later phase, in which each thread has its own rows of every
weight. So no result depends on the number of threads.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from fastvae.backend import Backend
from fastvae.kernels.formulas import IDENTITY
from fastvae.kernels.memory import empty
from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slot, Slots, Source, Watched
from fastvae.parameters import Shape

Backprop = Callable[..., Any]  # (d_out, inputs=True, add_to=None) -> d_x, or None without `inputs`


class Row:
    """The position of an op's first row in the batch, as an operand; `apart` is added to it."""

    def __init__(self, apart: int = 0):
        self.apart = apart


ROW = Row()


class Whole:
    """An operand: an array of rows as a whole, where other threads have written it in a phase before."""

    def __init__(self, array: np.ndarray):
        self.array = array


class Each(list):
    """An operand: an array for each share."""


class Owner(Protocol):
    """What has parameters: a layer, or a likelihood."""

    def shapes(self) -> dict[str, Shape]:
        """Names and shapes of the parameters."""

    def write_gradient(self, program: Any, use: Any, part: int, parts: int, accumulate: bool) -> None:
        """Write down part `part` of `parts` of the gradient of one use, what `Pass.gradient` was given: into the flat
        buffer, or added to what stands there."""

    def ranges(self, part: int, parts: int) -> list[tuple[int, int]]:
        """From where to where in the flat buffer the parameters of that part lie. With an attribute `apart` that is
        True, the parts of the gradients need not be those: all of them are made before any optimizer's step."""


class Updates(Protocol):
    """What an optimizer writes: see `fastvae.optimizers`."""

    @property
    def fused(self) -> bool:
        """Whether a layer's gradient and step are written together; else all gradients come first."""

    def write(self, program: Any, slots: Slots, owner: Any, uses: list, part: int, parts: int) -> None:
        """Part of the step of one owner's parameters, with their gradient."""

    def write_norm(self, program: Any, slots: Slots, ranges: list[tuple[int, int]]) -> bool:
        """What must be known of all gradients, which lie in these ranges of the flat buffer; whether there is such a
        thing."""

    def groups(self, owners: list[Any]) -> list[tuple[bool, list[Any]]]:
        """Owners that are treated alike, with whether their parameters decay."""

    def write_flat(self, program: Any, slots: Slots, start: int, stop: int, decays: bool = True) -> None:
        """The step of the parameters start ... stop - 1 of the flat buffer, from their gradients there."""


class Arena:
    """Memory for the buffers of passes that do not run at the same time: the n-th of one is the n-th of another."""

    def __init__(self, rows: int):
        self.rows = rows
        self._memory: list[np.ndarray] = []

    def take(self, position: int, rows: int, columns: tuple[int, ...]) -> np.ndarray:
        """The buffer of that number, (rows, *columns)."""
        while position >= len(self._memory):
            self._memory.append(empty(0))
        size = int(np.prod(columns, dtype=np.int64))
        if self._memory[position].size < rows * size:
            self._memory[position] = empty(max(rows, self.rows) * size)
        return self._memory[position][: rows * size].reshape(rows, *columns)


class Pass:
    """Ops over the rows of a batch, in phases: all threads meet between one phase and the next.

    Parameters
    ----------
    backend
        Where it will run.
    slots
        Numbers that its ops read.
    rows
        B, of the batch.
    inputs
        Name to what writes down how an input (B, ...) is read.
    shares
        Into how many the rows are cut.
    arena
        Memory for its buffers.
    backward
        Whether what a backward needs is kept.

    Attributes
    ----------
    phases
        Programs, one for each share, of each phase.
    losses
        Name to what is watched: see `loss`.
    outputs
        Name of each layer to what it gives.
    seed, step : Slot
        The noise's key and step, operands of what draws.
    """

    def __init__(
        self,
        backend: Backend,
        slots: Slots,
        rows: int,
        inputs: Mapping[str, Callable[["Pass"], np.ndarray]],
        shares: int = 1,
        arena: Arena | None = None,
        backward: bool = True,
    ):
        self.backend, self.slots, self.rows, self.backward = backend, slots, rows, backward
        self.phases: list[list[Any]] = []
        self.losses: dict[str, Watched] = {}
        self.outputs: dict[str, np.ndarray] = {}
        self.filled: list[tuple[str, np.ndarray]] = []  # inputs by name that somebody fills in before a run
        self.seed, self.step = slots.whole("seed"), slots.whole("step")
        self._first_row = slots.whole("first row")
        self._cuts = [rows * i // shares for i in range(shares + 1)]
        self._arena, self._taken = arena or Arena(rows), 0
        self._inputs = inputs
        self._over_rows: dict[int, np.ndarray] = {}
        self._shares: dict[tuple[int, int], np.ndarray] = {}
        self._gradients: dict[Any, list[Any]] = {}
        self._at_end: list[tuple[Any, ...]] = []
        self._open = False  # whether ops over rows may be added to the last phase

    # ---- arrays -------------------------------------------------------------------------------------------------

    def empty(self, *columns: int, repeats: int = 1) -> np.ndarray:
        """A buffer (B, *columns) that is cut with the batch; with `repeats` rows an example, (B repeats, *columns)."""
        self._taken += 1
        return self.cut(self._arena.take(self._taken - 1, self.rows * repeats, columns))

    def beside(self, rows: np.ndarray, *columns: int) -> np.ndarray:
        """A buffer (*, *columns) with as many rows as an array that is cut with the batch."""
        return self.empty(*columns, repeats=len(rows) // max(self.rows, 1))

    def mark(self) -> int:
        """How many buffers have been taken: for `rewind`."""
        return self._taken

    def rewind(self, mark: int) -> None:
        """Let what follows use the buffers again that were taken since."""
        self._taken = mark

    def cut(self, array: np.ndarray) -> np.ndarray:
        """Have an array (B, ...) cut with the batch; or (B K, ...), with K rows for each of the batch."""
        if len(array) % max(self.rows, 1):
            raise ValueError(f"an array of {len(array)} rows cannot be cut with a batch of {self.rows}")
        self._over_rows[id(array)] = array
        return array

    def each(self, *shape: int) -> Each:
        """An array (*shape) for each share."""
        return Each(empty(*shape) for _ in self._cuts[1:])

    def input(self, name: str) -> np.ndarray:
        """The rows (B, ...) of an input, "x" say: gathered from the data of a training, or read in a pass."""
        return self._inputs[name](self)

    @functools.cached_property
    def weights(self) -> np.ndarray | None:
        """By what the loss of each row is multiplied, (B,): of rows with weights; None where all count alike."""
        return self.cut(self.input("weight").reshape(-1)) if "weight" in self._inputs else None

    def weigh(self, *arrays: np.ndarray) -> None:
        """Write that rows (B, ...), or K for each of them (B K, ...), are multiplied by their weights, if they have
        some."""
        for array in arrays if self.weights is not None else ():
            self.add("scale_rows_inplace", self.weights, self.cut(array.reshape(self.rows, -1)))

    def shares(self) -> np.ndarray:
        """The share of each row in a mean over the batch, (B, 1): 1 / B, times the weights of rows that have some."""
        if self.weights is None:
            return self.cut(np.full((self.rows, 1), 1 / self.rows, np.float32))
        out, nothing = self.empty(1), np.zeros(1, np.float32)
        each, row = np.full((1, 1), 1 / self.rows, np.float32), self.cut(self.weights.reshape(-1, 1))
        self.add("dense_forward", row, each, nothing, IDENTITY, out, out)
        return out

    # ---- ops ----------------------------------------------------------------------------------------------------

    def add(self, op: str, *operands: Any) -> None:
        """An op over the rows, once for each share: arrays of rows are cut, `ROW` is the share's first row."""
        for operand, value in zip(OPS[op].operands, operands, strict=False):
            if operand.output and isinstance(value, np.ndarray) and id(value) not in self._over_rows:
                raise ValueError(
                    f"{op}: every share would write the whole {operand.name} {value.shape}: take an array from "
                    "`empty` or `each`, or have it cut with the batch by `cut`"
                )
        if not self._open:
            self._begin_phase(of_rows=True)
        for share, program in enumerate(self.phases[-1]):
            program.add(op, *(self._of_share(operand, share) for operand in operands))

    def at_end(self, op: str, *operands: Any) -> None:
        """An op that one thread does beside the optimizer's step, if there is one, on arrays that the step leaves
        alone: other threads may still be at it."""
        self._at_end.append((op, *(operand[0] if isinstance(operand, Each) else operand for operand in operands)))

    def note(self, what: str, *arrays: np.ndarray, name: str = "", weight: float = 0.0) -> None:
        """Say what arrays are to whoever reads the pass, and does not run it; nothing is written.

        "latent" or "output": what a network gives, by its `name`; "energy": the units of a side of the difference of
        energies that is minimised, which `name` says, where E has the sign of -`weight`.
        """

    @property
    def largest(self) -> int:
        """Rows of the largest batch, of which this one may be a part."""
        return self._arena.rows

    def meet(self) -> None:
        """What follows may read what any thread has written."""
        self._open = False

    def _begin_phase(self, of_rows: bool) -> None:
        self.phases.append([self.backend.program(self.slots) for _ in self._cuts[1:]])
        self._open = of_rows

    def _of_share(self, operand: Any, share: int) -> Any:
        start, stop = self._cuts[share : share + 2]
        if isinstance(operand, Row):
            return Slot(self._first_row.place, start + operand.apart)
        if isinstance(operand, Whole):
            return operand.array
        if isinstance(operand, Each):
            return operand[share]
        if id(operand) not in self._over_rows:
            return operand
        key = id(operand), share  # one array for each: those of one memory are told by being the same
        if key not in self._shares:
            repeats = len(operand) // self.rows
            self._shares[key] = operand[start * repeats : stop * repeats]
        return self._shares[key]

    # ---- losses, gradients, updates -----------------------------------------------------------------------------

    def loss(self, **parts: tuple[np.ndarray, float | Slot]) -> None:
        """What is minimised: name to values (B,) and the weight of their sum. A step ends where it is not finite."""
        if not self.phases:
            raise ValueError("a loss comes after the ops that write its values")
        for name, (values, weight) in parts.items():
            self.losses[name] = Watched(values, self.slots.real_operand(weight), len(self.phases) - 1)

    def gradient(self, owner: Owner, use: Any) -> None:
        """An owner's parameters have a gradient, by one use of them; those of several uses add up."""
        self._gradients.setdefault(owner, []).append(use)

    def drop_gradients(self, owners: Iterable[Owner]) -> None:
        """Forget the gradients of owners through which others only are trained."""
        for owner in owners:
            self._gradients.pop(owner, None)

    def update(self, optimizer: Updates | None, owners: Sequence[Owner]) -> None:
        """Meet; then each thread takes its part of every parameter through its gradient and the optimizer's step, or
        leaves the gradients in the flat buffer where there is no optimizer."""
        used = [(owner, self._gradients.pop(owner)) for owner in owners if owner in self._gradients]
        self._begin_phase(of_rows=False)
        parts = len(self._cuts) - 1
        apart = any(getattr(owner, "apart", False) for owner, _ in used)
        if optimizer is not None and optimizer.fused and not apart:
            for part, program in enumerate(self.phases[-1]):
                for owner, uses in used:
                    optimizer.write(program, self.slots, owner, uses, part, parts)
        else:
            for part, program in enumerate(self.phases[-1]):
                for owner, uses in used:
                    for i, use in enumerate(uses):
                        owner.write_gradient(program, use, part, parts, i > 0)
            if optimizer is not None:
                self._write_flat(optimizer, [owner for owner, _ in used])
        for operands in self._at_end if optimizer is not None else []:
            self.phases[-1][0].add(*operands)
        self._at_end = []

    def _write_flat(self, optimizer: Updates, owners: list[Owner]) -> None:
        """A step from gradients that lie in the flat buffer."""
        self._begin_phase(of_rows=False)
        if optimizer.write_norm(self.phases[-1][0], self.slots, ranges_of(owners)):
            self._begin_phase(of_rows=False)
        parts = len(self.phases[-1])
        for decays, group in optimizer.groups(owners):
            for start, stop in ranges_of(group):
                for part, program in enumerate(self.phases[-1]):
                    first, last = (start + (stop - start) * i // parts for i in (part, part + 1))
                    optimizer.write_flat(program, self.slots, first, last, decays)

    # ---- afterwards ---------------------------------------------------------------------------------------------

    @functools.cached_property
    def watched(self) -> list[Watched]:
        """The losses, in order; of a pass that is written to its end."""
        return list(self.losses.values())

    @property
    def programs(self) -> list[Any]:
        """All programs, in order."""
        return [program for phase in self.phases for program in phase]

    @functools.cached_property
    def sources(self) -> list[Source]:
        """The inputs that are read from rows which somebody gives for a run; of a pass that is written to its end."""
        return [source for program in self.programs for source in program.sources]

    def finish(self) -> None:
        """Nothing more is written: what the inputs know, a network say, is held no longer."""
        self._inputs = {}

    def forget_rows(self) -> None:
        """Hold the rows no longer that were given for a run."""
        for source in self.sources:
            source.read(None)

    def returns(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """Have these arrays hold their results after a run; return them."""
        self.phases[-1][-1].returns(*arrays)
        return list(arrays)

    def run(self, workers: Any) -> None:
        """Do all of it once."""
        for phase in self.phases:
            workers.run_programs(phase)


def ranges_of(owners: Iterable[Owner]) -> list[tuple[int, int]]:
    """Where the parameters of owners lie in the flat buffer."""
    return joined([piece for owner in owners for piece in owner.ranges(0, 1)])


def joined(ranges: list[tuple[int, int]], gap: int = 16) -> list[tuple[int, int]]:
    """Ranges of a flat buffer, as few as they can be: less than `gap` numbers between two belong to nobody."""
    found: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if found and start - found[-1][1] < gap:
            found[-1] = found[-1][0], stop
        else:
            found.append((start, stop))
    return found
