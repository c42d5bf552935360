"""What a program launches; and the table of ops that are a launch each, with grids and arguments from an op's row.

An op's operands become arguments one by one: an array its counterpart, where it may be None with a flag whether it is
there; a real number, a seed, a counter its place; a whole number its place and what is added to it. Then come the
numbers that kernels read, what they must know of a training, and sizes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastvae.kernels.cuda import columns, elementwise, minibatch, mixed, noise, optimizers, prefix, row_losses, sigma
from fastvae.kernels.cuda.declaration import WARP, Kernel, blocks
from fastvae.kernels.cuda.driver import Device
from fastvae.kernels.cuda.latent import (
    ROWS,
    importance_weights,
    kl_forward,
    latent_backward,
    latent_forward,
    latent_samples_backward,
    latent_samples_forward,
)
from fastvae.kernels.cuda.memory import Memory
from fastvae.kernels.cuda.settings import Settings
from fastvae.kernels.ops import OPS
from fastvae.kernels.slots import Slots

MOST_BLOCKS = 1024  # of a kernel that goes over a flat buffer
MOST_ROWS = 65_535  # blocks along the second axis of a grid: more there cannot be
OFFSET = 0xFFFFFFFF  # whole numbers are added modulo 2^32
Grid = tuple[int, ...]


@dataclass
class Launch:
    """A kernel with all that it is launched with."""

    kernel: Kernel
    grid: tuple[int, ...]
    arguments: list[Any]

    def do(self, on: Device) -> None:
        """Launch it."""
        assert self.kernel.block is not None
        on.launch(self.kernel, self.grid, self.kernel.block, self.arguments)


@dataclass(frozen=True)
class Kind:
    """How an op is launched.

    Parameters
    ----------
    kernel
        What is launched.
    grid
        The grid, and the sizes that the kernel is given last, from the op's operands by name.
    reads
        Which attributes of `Settings` the kernel is given after the operands.
    flags
        Numbers between these and the sizes.
    """

    kernel: Kernel
    grid: Callable[[dict[str, Any]], tuple[Grid, list[int]]]
    reads: tuple[str, ...] = ()
    flags: tuple[int, ...] = ()


def over_rows(name: str, rows: int = ROWS) -> Callable[[dict[str, Any]], tuple[Grid, list[int]]]:
    """A warp for each row of an operand (B, D)."""
    return lambda named: ((blocks(len(named[name]), rows),), [*named[name].shape])


def over_samples(name: str, each: str) -> Callable[[dict[str, Any]], tuple[Grid, list[int]]]:
    """A warp for each row of an operand (B, D) or (B,), of which every row of `each` has some: how many comes first."""

    def grid(named: dict[str, Any]) -> tuple[Grid, list[int]]:
        rows, *columns = named[name].shape
        return (blocks(rows, ROWS),), [max(1, rows // max(1, len(named[each]))), rows, *columns]

    return grid


def over_examples(samples: str, examples: str) -> Callable[[dict[str, Any]], tuple[Grid, list[int]]]:
    """A warp for each example, whose samples an operand of B rows has; sizes are how many of these there are for one,
    and its own."""

    def grid(named: dict[str, Any]) -> tuple[Grid, list[int]]:
        rows, *columns = named[examples].shape
        return (blocks(rows, ROWS),), [max(1, len(named[samples]) // max(1, rows)), rows, *columns]

    return grid


def over_numbers(name: str, each: int) -> Callable[[dict[str, Any]], tuple[Grid, list[int]]]:
    """Over the numbers of an operand, `each` of which a block takes at a time."""

    def grid(named: dict[str, Any]) -> tuple[Grid, list[int]]:
        return flat_grid(named[name].size, each), [named[name].size]

    return grid


def flat_grid(size: int, each: int) -> Grid:
    """The grid over so many numbers."""
    if size >= 1 << 32:  # kernels count them in 32 bits
        raise ValueError(f"an array of {size:,} numbers is too large for a GPU: use a smaller batch_size")
    return (min(MOST_BLOCKS, blocks(size, each)),)


def over_noise(name: str) -> Callable[[dict[str, Any]], tuple[Grid, list[int]]]:
    """A thread for the four columns of a row that one block of noise serves."""

    def grid(named: dict[str, Any]) -> tuple[Grid, list[int]]:
        rows, columns = named[name].shape
        return (blocks(columns, 4 * noise.FLAT), min(MOST_ROWS, max(1, rows))), [rows, columns]

    return grid


def over_sigma(each: int, parameters: str, *sized: str) -> Callable[[dict[str, Any]], tuple[Grid, list[int]]]:
    """A block for `each` of the parameters; sizes are their number, and those of an operand."""

    def grid(named: dict[str, Any]) -> tuple[Grid, list[int]]:
        size = named[parameters].size
        return (blocks(size, each),), [size, *(n for name in sized for n in named[name].shape)]

    return grid


def over_columns(named: dict[str, Any]) -> tuple[Grid, list[int]]:
    """A thread for each column of log_sigma."""
    columns = named["log_sigma"].size
    return (blocks(columns, sigma.THREADS),), [named["parameter"].size, columns]


def over_both(named: dict[str, Any]) -> tuple[Grid, list[int]]:
    """A warp for each row of a (B, D); sizes are its own, the columns of b (N, C), and B / N."""
    (rows, across), (examples, beside) = named["a"].shape, named["b"].shape
    return (blocks(rows, columns.ROWS),), [rows, across, beside, max(1, rows // max(1, examples))]


def over_first(named: dict[str, Any]) -> tuple[Grid, list[int]]:
    """A warp for each row of d_a (B, D); sizes are its own, and the columns of d_out."""
    rows, across = named["d_a"].shape
    return (blocks(rows, columns.ROWS),), [rows, across, named["d_out"].shape[1]]


def over_optimal(named: dict[str, Any]) -> tuple[Grid, list[int]]:
    """As `over_sigma`, with the rows of xhat for each of x last."""
    grid, sizes = over_sigma(WARP, "lowest", "xhat")(named)
    return grid, [*sizes, max(1, len(named["xhat"]) // max(1, len(named["x"])))]


def over_mixed(named: dict[str, Any]) -> tuple[Grid, list[int]]:
    """A warp for each row of a (B, A); sizes are B / N, B, the columns of x, and A."""
    (examples, across), (rows, outputs) = named["x"].shape, named["a"].shape
    return (blocks(rows, mixed.ROWS),), [max(1, rows // max(1, examples)), rows, across, outputs]


def over_inputs(named: dict[str, Any]) -> tuple[Grid, list[int]]:
    """A warp for each row of x (B, D); sizes are its own, and the columns of out."""
    rows, across = named["x"].shape
    return (blocks(rows, mixed.ROWS),), [rows, across, named["out"].shape[1]]


def over_thetas(named: dict[str, Any]) -> tuple[Grid, list[int]]:
    """A block for WARP of the columns of d_theta."""
    rows, across = named["d_theta"].shape
    return (blocks(across, WARP),), [rows, across]


def over_dimensions(named: dict[str, Any]) -> tuple[Grid, list[int]]:
    """A block for WARP of the latent dimensions of mu."""
    rows, dimensions = named["mu"].shape
    return (blocks(dimensions, WARP),), [rows, dimensions]


def over_prefixes(named: dict[str, Any]) -> tuple[Grid, list[int]]:
    """A block for each row of x; sizes are its own, those of the bias, and columns of `carried`."""
    rows, across = named["x"].shape
    return (rows,), [rows, across, named["bias"].size, named["carried"].shape[1]]


VECTORS = 4 * WARP * optimizers.WARPS
KINDS = {
    "take_columns": Kind(columns.take_columns, over_rows("out", columns.ROWS)),
    "concatenate": Kind(columns.concatenate, over_both),
    "concatenate_backward": Kind(columns.concatenate_backward, over_first),
    "prefix_forward": Kind(prefix.prefix_forward, over_prefixes),
    "latent_forward": Kind(latent_forward, over_rows("mu"), ("integers",)),
    "latent_backward": Kind(latent_backward, over_rows("mu"), ("integers", "reals")),
    "latent_samples_forward": Kind(latent_samples_forward, over_samples("z", "mu"), ("integers",)),
    "importance_weights": Kind(importance_weights, over_examples("nll", "bound"), ("reals",)),
    "latent_samples_backward": Kind(latent_samples_backward, over_examples("d_z", "mu"), ("integers", "reals")),
    "kl_forward": Kind(kl_forward, over_rows("mu")),
    "free_bits": Kind(sigma.free_bits, over_dimensions, ("reals",)),
    "scale_rows_inplace": Kind(elementwise.scale_rows_inplace, over_rows("x", elementwise.ROWS)),
    "sigma_forward": Kind(sigma.sigma_forward, over_columns),
    "sigma_backward": Kind(sigma.sigma_backward, over_sigma(WARP, "parameter", "d_xhat"), ("reals",)),
    "sigma_optimal": Kind(sigma.sigma_optimal, over_optimal),
    "sigma_remember": Kind(
        sigma.sigma_remember, over_sigma(sigma.THREADS, "parameter"), ("integers", "reals", "state")
    ),
    "mixed_inputs": Kind(mixed.mixed_inputs, over_inputs),
    "mixed_forward": Kind(mixed.mixed_forward, over_mixed),
    "mixed_forward_backward": Kind(mixed.mixed_forward_backward, over_mixed, ("reals",)),
    "mixed_parameter_backward": Kind(mixed.mixed_parameter_backward, over_thetas),
    "adam_inplace": Kind(optimizers.adam_inplace, over_numbers("params", VECTORS), ("reals", "parts", "state")),
    "sgd_inplace": Kind(optimizers.sgd_inplace, over_numbers("params", VECTORS), ("reals", "parts", "state")),
    "average_inplace": Kind(optimizers.average_inplace, over_numbers("params", VECTORS), ("reals", "state")),
    "normal_noise": Kind(noise.draw, over_noise("out"), ("integers",), (noise.NORMAL,)),
    "uniform_noise": Kind(noise.draw, over_noise("out"), ("integers",), (noise.UNIFORM,)),
    "corrupt": Kind(noise.corrupt, over_noise("out"), ("integers", "reals")),
    "binarize_inplace": Kind(noise.binarize_inplace, over_noise("x"), ("integers",)),
    "threshold_inplace": Kind(minibatch.threshold_inplace, over_numbers("x", minibatch.FLAT), ("reals",)),
}
KINDS |= {name: Kind(each, over_numbers("x", 4 * elementwise.FLAT)) for name, each in elementwise.KERNEL.items()}
UPDATES = [kind.kernel for kind in KINDS.values() if "state" in kind.reads]  # what changes parameters


def arguments_of(name: str, operands: tuple, memory: Memory, settings: Settings, slots: Slots) -> list[Any]:
    """The arguments that an op's operands become."""
    found: list[Any] = []
    for operand, value in zip(OPS[name].operands, operands, strict=True):
        if operand.shape is not None:
            found.append(settings.nothing if value is None else memory.view(value))
            found += [int(value is not None)] if operand.optional else []
        elif operand.kind == "whole":
            slot = slots.whole_operand(value)
            found += [slot.place, slot.offset & OFFSET]
        elif operand.kind in ("real", "seed"):
            find = slots.real_operand if operand.kind == "real" else slots.seed_operand
            found.append(find(value).place)
        elif operand.kind == "indices":
            found.append(memory.view(value))
        elif operand.kind == "fixed":
            found.append(int(value))
        else:
            found.append(value.place)
    return found


def launch_of(name: str, operands: tuple, memory: Memory, settings: Settings, slots: Slots) -> Launch:
    """An op of the table as a launch."""
    named = {operand.name: value for operand, value in zip(OPS[name].operands, operands, strict=True)}
    arguments = arguments_of(name, operands, memory, settings, slots)
    if name in KINDS:
        kind = KINDS[name]
        grid, sizes = kind.grid(named)
        arguments += [getattr(settings, attribute) for attribute in kind.reads]
        return Launch(kind.kernel, grid, [*arguments, *kind.flags, *sizes])
    loss, backward = name.removesuffix("_backward").removesuffix("_forward"), name.endswith("_backward")
    if loss not in row_losses.KERNEL:
        raise ValueError(f"op {name!r} is compiled for the CPU alone: use device='cpu'")
    (rows, across), examples = operands[1].shape, len(named["x"])
    if not backward:
        arguments = [*arguments[:-1], 0, arguments[-1], settings.nothing]  # no weight, no gradient
    sizes = [int(backward), max(1, rows // max(1, examples)), rows, across]
    kernel, grid = row_losses.KERNEL[loss], (blocks(rows, row_losses.ROWS),)
    return Launch(kernel, grid, [*arguments, settings.reals, *sizes])
