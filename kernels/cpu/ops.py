"""The ops of the table as the steps of a program: each reads its operands from a row of integers, and does its work.

A row holds the address of the op's code, then its operands in the order of the table: a matrix as address, rows and
columns, a vector as address and size, a number that may change as the address where it stands, a whole one with what is
to be added; last the addresses of code that only this call needs. All ops have one signature: the addresses of the row,
of scratch memory for products, and of the code that does products.

What reads a row is generated from the table: a function of a few lines that names each operand's place.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from fastvae.kernels.cpu import (
    activations,
    columns,
    dense,
    elementwise,
    latent,
    masked,
    minibatch,
    mixed,
    noise,
    optimizers,
    prefix,
    row_losses,
    sigma,
)
from fastvae.kernels.cpu.addresses import integers_at, matrix_at, reals_at, vector_at
from fastvae.kernels.cpu.compiler import Native, as_part, native
from fastvae.kernels.ops import OPS, Operand
from fastvae.kernels.slots import Slots

LONGEST = 40  # numbers in a row, at most
SIGNATURE = "void(int64, int64, int64)"

# What does the work: a function of the operands in the table's order, then of code, then, for products, of scratch
# memory and of the code that does them; of noise that has no other place, of scratch memory.
FUNCTIONS: dict[str, Any] = {
    "dense_forward": dense.forward,
    "dense_accumulate": dense.accumulate,
    "dense_backward_input": dense.backward_input,
    "dense_backward_weight": dense.backward_weight,
    "dense_adam_inplace": dense.adam,
    "masked_forward": masked.forward,
    "masked_accumulate": masked.accumulate,
    "masked_backward_input": masked.backward_input,
    "masked_backward_weight": masked.backward_weight,
    "masked_adam_inplace": masked.adam,
    "prefix_forward": prefix.forward,
    "prefix_backward": prefix.backward,
    "latent_forward": latent.forward,
    "latent_backward": latent.backward,
    "latent_samples_forward": latent.samples_forward,
    "latent_samples_backward": latent.samples_backward,
    "kl_forward": as_part(latent.divergence),
    "normal_noise": noise.normal_noise,
    "gather": minibatch.gather,
    "read_rows": minibatch.read_rows,
    "clip_scale": as_part(optimizers.clip_scale),
}
FUNCTIONS |= {name: as_part(function) for name, function in {**row_losses.FUNCTIONS, **elementwise.FUNCTIONS}.items()}
FUNCTIONS |= {
    function.py_func.__name__: as_part(function)
    for function in (
        columns.concatenate, columns.concatenate_backward, columns.take_columns,
        sigma.sigma_forward, sigma.sigma_backward, sigma.sigma_optimal, sigma.sigma_remember,
        optimizers.adam_inplace, optimizers.sgd_inplace, optimizers.average_inplace,
        mixed.mixed_inputs, mixed.mixed_forward, mixed.mixed_forward_backward, mixed.mixed_parameter_backward,
        latent.importance_weights, latent.free_bits,
        noise.uniform_noise, noise.binarize_inplace, noise.corrupt, minibatch.threshold_inplace,
    )
}  # fmt: skip

# Code that a call is given: functions of the operands that give it.
CODE: dict[str, Callable[..., Native]] = {
    "latent_forward": lambda *operands: noise.copy_or_draw,
    "latent_backward": lambda *operands: noise.copy_or_draw,
    "latent_samples_forward": lambda *operands: noise.copy_or_draw,
    "latent_samples_backward": lambda *operands: noise.copy_or_draw,
    "normal_noise": lambda *operands: noise.copy_or_draw,
    "gather": lambda data, indices, offset, *rest: minibatch.gathering(data.dtype, offset.dtype),
    "read_rows": lambda source, offset, *rest: minibatch.gathering(source.dtype, offset.dtype),
}

# How many integers an operand of a kind takes, and the expression that reads it, `i` being the first one's place.
READ = {
    "whole": (2, "integers_at(row[{0}], 1)[0] + row[{1}]"),
    "real": (1, "reals_at(row[{0}], 1)[0]"),
    "seed": (1, "u64(integers_at(row[{0}], 1)[0])"),
    "counter": (1, "integers_at(row[{0}], 1)"),
    "result": (1, "reals_at(row[{0}], 1)"),
    "fixed": (1, "row[{0}]"),
    "activation": (1, "row[{0}]"),
    "derivative": (1, "row[{0}]"),
    "data": (3, "(row[{0}], row[{1}], row[{2}])"),
    "source": (3, "(integers_at(row[{0}], 1)[0], integers_at(row[{1}], 1)[0], integers_at(row[{2}], 1)[0])"),
    "indices": (2, "row[{0}]"),
    "scaling": (2, "row[{0}]"),
}
ARRAYS = {1: (2, "vector_at(row[{0}], row[{1}])"), 2: (3, "matrix_at(row[{0}], row[{1}], row[{2}])")}


def _read(operand: Operand) -> tuple[int, str]:
    return READ[operand.kind] if operand.shape is None else ARRAYS[len(operand.shape)]


def _compiled(name: str) -> Native:
    """The op as a step of a program."""
    place, expressions = 1, []
    for operand in OPS[name].operands:
        size, expression = _read(operand)
        expressions.append(expression.format(*range(place, place + size)))
        place += size
    if name in CODE:
        expressions.append(f"row[{place}]")
    if name in PRODUCTS:
        expressions += ["scratch", "multiply"]
    if name in SCRATCHING:
        expressions.append("scratch")
    lines = [f"def {name}(at_row, scratch, multiply):", f"    row = integers_at(at_row, {LONGEST})"]
    lines.append(f"    work({', '.join(expressions)})")
    names = {"integers_at": integers_at, "reals_at": reals_at, "matrix_at": matrix_at, "vector_at": vector_at}
    scope: dict[str, Any] = {"work": FUNCTIONS[name], "u64": np.uint64, "__name__": __name__, **names}
    exec("\n".join(lines), scope)
    return native(SIGNATURE)(scope[name])


WORK = ("forward", "accumulate", "backward_input", "backward_weight", "adam_inplace")  # of a layer's products
PRODUCTS = tuple(f"{kind}_{work}" for kind in ("dense", "masked") for work in WORK)
DRAWING = ("latent_samples_backward",)
OF_PREFIXES = ("prefix_forward", "prefix_backward")
SCRATCHING = DRAWING + OF_PREFIXES
CODES = {name: _compiled(name) for name in OPS}


def scratch_for(name: str, operands: tuple, engine: ModuleType) -> int:
    """Numbers of 32 bits that the products of a call need, by the module that does them, the noise that it draws, or
    what it keeps by the row; 0 for an op without any."""
    if name not in SCRATCH or (name in DRAWING and operands[3] is not None):
        return 0
    sizes: dict[str, int] = {}
    for operand, value in zip(OPS[name].operands, operands, strict=True):
        if operand.shape is not None and value is not None:
            sizes.update(zip(operand.shape, value.shape, strict=True))
    needed, letters = SCRATCH[name]
    return needed(engine.scratch_for, *(sizes[letter] for letter in letters))


# What that is: functions of the module's own, and of the sizes of the arrays. They are compiled, too: see `embedding`.


def _forward(of_product, B, D, H):
    return of_product(B, D, H)


def _accumulate(of_product, B, D, H):
    return of_product(B, D, H) + B * H


def _input(of_product, B, D, H):
    return of_product(B, H, D)


def _weight(of_product, B, D, H):
    tall, wide = gradient_block(H)
    return of_product(max(tall, D), B, H) + max(tall * wide, H)


def _masked(of_product, B, D, H):
    return of_product(B, D, H) + B * panel(H)


def _masked_input(of_product, B, D, H):
    return of_product(B, H, D) + B * panel(D)


def _masked_weight(of_product, B, D, H):
    return of_product(masked.TALL, B, H) + block(H)


def _draws(of_product, B, Z):
    return B * Z


def _prefix(of_product, B, D):
    return of_prefix(B, D)


panel, block, gradient_block, of_prefix = masked.panel, masked.block, dense.gradient_block, prefix.scratch_for
OF_PRODUCTS = {
    "dense_forward": _forward, "dense_accumulate": _accumulate, "dense_backward_input": _input,
    "dense_backward_weight": _weight, "dense_adam_inplace": _weight,
    "masked_forward": _masked, "masked_accumulate": _masked, "masked_backward_input": _masked_input,
    "masked_backward_weight": _masked_weight, "masked_adam_inplace": _masked_weight,
}  # fmt: skip
SCRATCH: dict[str, tuple[Callable[..., int], tuple[str, ...]]] = {
    **{name: (needed, ("B", "D", "H")) for name, needed in OF_PRODUCTS.items()},
    **dict.fromkeys(DRAWING, (_draws, ("B", "Z"))),
    **dict.fromkeys(OF_PREFIXES, (_prefix, ("B", "D"))),
}


def row_of(name: str, operands: tuple, slots: Slots, check: bool = True) -> list[int]:
    """A call as a row of integers; operands that are wrong are refused where they are checked."""
    op = OPS[name]
    if check:
        op.check(operands)
    row = [CODES[name].address]
    for operand, value in zip(op.operands, operands, strict=True):
        row += _integers(operand, value, slots)
    if name in CODE:
        row.append(CODE[name](*operands).address)
    return row + [0] * (LONGEST - len(row))


def _integers(operand: Operand, value: Any, slots: Slots) -> list[int]:
    """An operand as a row holds it."""
    kind = operand.kind
    if operand.shape is not None:
        return [0] * (1 + len(operand.shape)) if value is None else [value.ctypes.data, *value.shape]
    if kind == "whole":
        slot = slots.whole_operand(value)
        return [slots.address(slot), slot.offset]
    if kind in ("real", "seed", "counter", "result"):
        find = {"real": slots.real_operand, "seed": slots.seed_operand}.get(kind, lambda slot: slot)
        return [slots.address(find(value))]
    if kind == "source":
        return [slots.address(slot) for slot in value.places]
    if kind == "data":
        return [value.ctypes.data, *value.strides]
    if kind in ("indices", "scaling"):
        return [value.ctypes.data, len(value)]
    if kind == "activation":
        return [activations.forward(value)]
    return [activations.backward(value) if kind == "derivative" else int(value)]
