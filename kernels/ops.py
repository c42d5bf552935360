"""The table of ops: a row for each, with its operands in order. All else that is known of an op follows from its row.

An operand is `name:kind`, or one word where both are the same; outputs stand after the arrow. A kind is the shape of an
array of float32, in letters that mean the same number throughout the row, or one of the words in `KINDS`. What may be
None ends in a question mark. Where a row has both of two letters, they may be bound to each other: see `BOUND`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastvae.kernels.formulas import exp, log_one_plus, sigmoid, tanh
from fastvae.kernels.mixed import continuous_bernoulli_mean
from fastvae.kernels.row_losses import ROW_LOSSES
from fastvae.kernels.slots import Slot, Source

KINDS = {
    "whole": "a whole number, or a Slot",
    "real": "a real number, or a Slot",
    "seed": "a uint64, or a Slot",
    "counter": "a Slot, to which a whole number is added",
    "result": "a Slot, where a real number is left",
    "fixed": "a whole number",
    "activation": "a number of formulas.ACTIVATIONS",
    "derivative": "a number of formulas.ACTIVATIONS",
    "data": "an array (N, D) of any real dtype and layout",
    "source": "a Source",
    "indices": "an array (n,) of int64",
    "scaling": "an array (D,) of float32 or float64",
}

# Of `prefix_forward` and its backward: columns after which the units' arguments are left each time, and units at whose
# multiples the latter may be cut without changing a bit.
CHUNK, LANES = 64, 64

INDEXED = {
    "depths": "H",
    "order": "D",
    "kinds": "D",
    "stops": "D",
    "ends": "D",
}  # vectors of indices, by name: how many there must be


@dataclass(frozen=True)
class Bound:
    """Sizes that go with each other: a rule in letters, for rows that have all of them and not `without`; and how it is
    said, with their values in braces."""

    letters: str
    rule: str
    words: str
    without: str = " "

    def holds_for(self, known: Iterable[str]) -> bool:
        """Whether it is a rule for a row with these letters."""
        return set(self.letters) <= set(known) and self.without not in known


BOUND = (  # K rows for each of N are B = N K, but where K is the columns of what prefixes carry
    Bound("SD", "S == 1 or S == D", "S = {S} must be 1 or D = {D}"),
    Bound("BN", "B == N == 0 or (N > 0 and B % N == 0)", "B = {B} must be a multiple of N = {N}"),
    Bound("EDC", "E == D + C", "E = {E} must be D + C = {D} + {C}"),
    Bound("ED", "E >= D", "E = {E} must be at least D = {D}", "C"),
    Bound(
        "KDH", f"K == (D + {CHUNK - 1}) // {CHUNK} * H", f"K = {{K}} must be H = {{H}} for each {CHUNK} of D = {{D}}"
    ),
)
FITS = [(bound, eval(f"lambda {', '.join(bound.letters)}: {bound.rule}")) for bound in BOUND]


@dataclass(frozen=True)
class Operand:
    """One operand of an op; `kind` is a key of `KINDS`, or the letters of the `shape` of an array of float32."""

    name: str
    kind: str
    optional: bool
    output: bool
    shape: tuple[str, ...] | None


class Op:
    """A row of the table."""

    def __init__(self, name: str, operands: str):
        self.name, self.operands, output = name, list[Operand](), False
        for word in operands.split():
            if word == "->":
                output = True
                continue
            operand, _, kind = word.rstrip("?").partition(":")
            kind = kind or operand
            shape = None if kind in KINDS else tuple(kind.split(","))
            self.operands.append(Operand(operand, kind, word.endswith("?"), output, shape))
        self._has_data = any(operand.kind == "scaling" for operand in self.operands)

    def check(self, values: tuple) -> None:
        """Raise `TypeError` or `ValueError` unless these can be its operands: how many, types, layouts and shapes."""
        if len(values) != len(self.operands):
            names = ", ".join(operand.name for operand in self.operands)
            raise TypeError(f"{self.name} takes {len(self.operands)} operands ({names}), not {len(values)}")
        sizes: dict[str, tuple[int, str]] = {}
        for operand, value in zip(self.operands, values, strict=True):
            if value is None and operand.optional:
                continue
            if operand.shape is not None:
                self._check_array(operand, operand.shape, value, sizes)
            elif operand.kind in ("whole", "real", "seed", "counter", "result"):
                written = operand.kind in ("counter", "result")
                if not isinstance(value, Slot) and (written or isinstance(value, np.ndarray)):
                    raise TypeError(f"{self.name}: {operand.name} is {value!r}; {KINDS[operand.kind]} needed")
            elif operand.kind == "source" and not isinstance(value, Source):
                raise TypeError(f"{self.name}: {operand.name} is {value!r}; {KINDS[operand.kind]} needed")
        for bound, fits in FITS:
            if bound.holds_for(sizes) and not fits(*(sizes[letter][0] for letter in bound.letters)):
                shapes = {operand.name: value for operand, value in zip(self.operands, values, strict=True)}
                found = dict.fromkeys(sizes[letter][1] for letter in bound.letters)
                said = bound.words.format(**{letter: size for letter, (size, _) in sizes.items()})
                listed = ", ".join(f"{by} has shape {shapes[by].shape}" for by in found)
                raise ValueError(f"{self.name}: {listed}; {said}")
        for operand, value in zip(self.operands, values, strict=True):
            if operand.name in INDEXED:
                self._check_indices(operand, value, sizes)
        if self._has_data:
            self._check_data(values)

    def _check_indices(self, operand: Operand, value: Any, sizes: dict[str, tuple[int, str]]) -> None:
        letter = INDEXED[operand.name]
        wanted, by = sizes[letter]
        if not (isinstance(value, np.ndarray) and value.dtype == np.int64 and value.flags.c_contiguous):
            raise TypeError(f"{self.name}: {operand.name} is {value!r}; a C-contiguous array of int64 is needed")
        if value.shape != (wanted,):
            needed = f"({letter},) needed, where {by} has {letter} = {wanted}"
            raise ValueError(f"{self.name}: {operand.name} has shape {value.shape}; {needed}")

    def _check_array(self, operand: Operand, letters: tuple[str, ...], value: Any, sizes: dict) -> None:
        if not isinstance(value, np.ndarray) or value.dtype != np.float32 or not value.flags.c_contiguous:
            found = f"{value.dtype}, strides {value.strides}" if isinstance(value, np.ndarray) else repr(value)
            raise TypeError(f"{self.name}: {operand.name} is {found}; a C-contiguous array of float32 is needed")
        why = "" if value.ndim == len(letters) else "."
        for letter, size in zip(letters, value.shape, strict=False):
            known, by = sizes.setdefault(letter, (size, operand.name))
            if known != size and not why:
                why = f", where {by} has {letter} = {known}"
        if operand.output and not value.flags.writeable:
            raise ValueError(f"{self.name}: {operand.name} is an array that cannot be written to")
        if why:
            wanted = f"({', '.join(letters)}{',' if len(letters) == 1 else ''})"
            found = f"{self.name}: {operand.name} has shape {value.shape}"
            raise ValueError(f"{found}; {wanted} needed{why.rstrip('.')}")

    def _check_data(self, values: tuple) -> None:
        named = {operand.kind: value for operand, value in zip(self.operands, values, strict=True)}
        by_name = {operand.name: value for operand, value in zip(self.operands, values, strict=True)}
        offset, scale, out = by_name["offset"], by_name["scale"], by_name["out"]
        if offset.dtype != scale.dtype or not (offset.flags.c_contiguous and scale.flags.c_contiguous):
            found = f"{offset.dtype} and {scale.dtype}"
            raise TypeError(f"{self.name}: offset and scale are {found}; two alike, C-contiguous, needed")
        shapes, wanted = [offset.shape, scale.shape], [out.shape[1:]] * 2
        if "indices" in named:
            data, indices = by_name["data"], by_name["indices"]
            if indices.dtype != np.int64 or not indices.flags.c_contiguous or not out.flags.writeable:
                raise TypeError(f"{self.name}: indices are {indices.dtype}; C-contiguous int64, and a writeable out")
            shapes, wanted = [*shapes, data.shape[1:], indices.shape], [*wanted, out.shape[1:], out.shape[:1]]
        if shapes != wanted:
            arrays = {name: str(value.shape) for name, value in by_name.items() if hasattr(value, "shape")}
            raise ValueError(
                f"{self.name}: {', '.join(arrays)} are {', '.join(arrays.values())}; data (N, D), indices (n,), offset "
                "and scale (D,), out (n, D) needed"
            )


ROWS = (
    # dense layers
    Op("dense_forward", "x:B,D weight:D,H bias:H activation -> out:B,H saved:B,H"),
    Op("dense_accumulate", "x:B,D weight:D,H -> out:B,H"),
    Op("dense_backward_input", "saved:B,H weight:D,H activation:derivative d_out:B,H accumulate:fixed -> d_x:B,D?"),
    Op("dense_backward_weight", "x:B,D d_a:B,H first:fixed last:fixed accumulate:fixed -> d_weight:D,H d_bias:H?"),
    Op(
        "dense_adam_inplace",
        "x:B,D d_a:B,H first:fixed last:fixed weight:D,H m_weight:D,H v_weight:D,H bias:H? m_bias:H? v_bias:H?"
        " rate:real correction:real new1:real keep2:real new2:real decay:real epsilon:real",
    ),
    # dense layers whose weight is a staircase
    Op("masked_forward", "x:B,D weight:D,H bias:H activation depths:indices -> out:B,H saved:B,H"),
    Op("masked_accumulate", "x:B,D weight:D,H depths:indices -> out:B,H"),
    Op(
        "masked_backward_input",
        "saved:B,H weight:D,H activation:derivative depths:indices d_out:B,H accumulate:fixed -> d_x:B,D?",
    ),
    Op(
        "masked_backward_weight",
        "x:B,D d_a:B,H first:fixed last:fixed accumulate:fixed depths:indices -> d_weight:D,H d_bias:H?",
    ),
    Op(
        "masked_adam_inplace",
        "x:B,D d_a:B,H first:fixed last:fixed depths:indices weight:D,H m_weight:D,H v_weight:D,H"
        " bias:H? m_bias:H? v_bias:H?"
        " rate:real correction:real new1:real keep2:real new2:real decay:real epsilon:real",
    ),
    # columns side by side, and in another order
    Op("take_columns", "x:B,D order:indices -> out:B,D"),
    Op("concatenate", "a:B,D b:N,C -> out:B,E"),
    Op("concatenate_backward", "d_out:B,E -> d_a:B,D"),
    # units that a row's columns move one after the other
    Op(
        "prefix_forward",
        "x:B,D weight:D,H bias:H output_weight:D,H output_bias:D -> carried:B,K logits:B,D",
    ),
    Op(
        "prefix_backward",
        "x:B,D weight:D,H output_weight:D,H carried:B,K d_logits:B,D first:fixed last:fixed accumulate:fixed"
        " -> d_weight:D,H d_bias:H d_output_weight:D,H d_output_bias:D",
    ),
    # the latent layer
    Op(
        "latent_forward",
        "mu:B,Z logvar:B,Z noise:B,Z? seed stream:whole step:whole first_row:whole -> z:B,Z kl:B",
    ),
    Op(
        "latent_backward",
        "mu:B,Z logvar:B,Z d_z:B,Z noise:B,Z? seed stream:whole step:whole first_row:whole kl_weight:real"
        " -> d_mu:B,Z d_logvar:B,Z",
    ),
    # several samples of z an example: B = N K
    Op(
        "latent_samples_forward",
        "mu:N,Z logvar:N,Z noise:B,Z? seed stream:whole first_sample:whole first_row:whole -> z:B,Z log_ratio:B",
    ),
    Op("importance_weights", "log_ratio:B nll:B weight:real -> bound:N weights:B"),
    Op(
        "latent_samples_backward",
        "mu:N,Z logvar:N,Z d_z:B,Z noise:B,Z? seed stream:whole first_sample:whole first_row:whole weights:B?"
        " doubly:fixed kl_weight:real counted:Z? -> d_mu:N,Z d_logvar:N,Z",
    ),
    Op("kl_forward", "mu:B,Z logvar:B,Z -> kl:B"),
    Op("free_bits", "mu:B,Z logvar:B,Z least:real -> counted:Z lacking:Z"),
    Op("scale_rows_inplace", "scale:B -> x:B,D"),
    # a sigma that is not fixed
    Op("sigma_forward", "parameter:S lowest:S -> log_sigma:D inverse:D"),
    Op("sigma_backward", "d_xhat:B,D inverse:D parameter:S lowest:S weight:real weights:B? -> d_parameter:S"),
    Op("sigma_optimal", "x:N,D xhat:B,D lowest:S -> log_sigma:D inverse:D"),
    Op("sigma_remember", "log_sigma:D share:real lowest:S step:whole -> parameter:S"),
    # rows of columns of several kinds
    Op("mixed_inputs", "x:B,D centre:D inverse:D kinds:indices stops:indices ends:indices -> out:B,U"),
    Op("mixed_forward", "x:N,D a:B,A theta:D log_scale:D kinds:indices stops:indices -> nll:B"),
    Op(
        "mixed_forward_backward",
        "x:N,D a:B,A theta:D log_scale:D kinds:indices stops:indices weight:real -> nll:B d_a:B,A d_theta:B,D",
    ),
    Op("mixed_parameter_backward", "d_theta:B,D parameter:D lowest:D -> d_parameter:D"),
    # optimizers
    Op(
        "adam_inplace",
        "params:P grads:P m:P v:P rate:real correction:real new1:real keep2:real new2:real decay:real epsilon:real"
        " grad_scale:real",
    ),
    Op("sgd_inplace", "params:P grads:P velocity:P rate:real momentum:real ahead:real decay:real grad_scale:real"),
    Op("average_inplace", "params:P share:real -> average:P"),
    Op("clip_scale", "grads:P largest:real -> scale:result"),
    # noise
    Op("normal_noise", "seed stream:whole step:whole first_row:whole -> out:B,D"),
    Op("uniform_noise", "seed stream:whole step:whole first_row:whole -> out:B,D"),
    Op("corrupt", "x:B,D kind:fixed amount:real seed stream:whole step:whole first_row:whole -> out:B,D"),
    Op("binarize_inplace", "x:B,D seed step:whole first_row:whole"),
    Op("threshold_inplace", "x:B,D threshold:real"),
    # data
    Op("gather", "data indices offset:scaling scale:scaling -> out:B,D"),
    Op("read_rows", "source offset:scaling scale:scaling lowest:real highest:real outside:counter -> out:B,D"),
)

# Functions of one number: written over it, and elsewhere.
INPLACE = {
    "sigmoid_inplace": sigmoid,
    "exp_inplace": exp,
    "tanh_inplace": tanh,
    "continuous_mean_inplace": continuous_bernoulli_mean,
}
MAPPED = {"log1p": log_one_plus}


def _of_losses() -> Iterator[Op]:
    """The ops that `row_losses` makes."""
    for loss in ROW_LOSSES:
        kind = "D" if loss.per_column else "real"
        params, a = " ".join(f"{name}:{kind}" for name in loss.params), loss.output
        yield Op(f"{loss.name}_forward", f"x:N,D {a}:B,D {params} -> nll:B")
        yield Op(f"{loss.name}_forward_backward", f"x:N,D {a}:B,D {params} weight:real -> nll:B d_{a}:B,D")


def _of_functions() -> Iterator[Op]:
    yield from (Op(name, "-> x:B,D") for name in INPLACE)
    yield from (Op(name, "x:B,D -> out:B,D") for name in MAPPED)


OPS = {row.name: row for row in (*ROWS, *_of_losses(), *_of_functions())}
