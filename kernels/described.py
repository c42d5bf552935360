"""What `help` says of an op: its formula from the contract, its operands from the table, and a call of it."""

import inspect
import json
import re
import textwrap

import fastvae.kernels
from fastvae.kernels.ops import INDEXED, KINDS, OPS, Op, Operand

WORDS = {  # of kinds of operands, for whoever calls an op from Python
    "whole": "a whole number", "real": "a real number", "seed": "a whole number of 64 bits", "fixed": "a whole number",
    "counter": "a whole number, returned", "result": "a real number, returned", "source": KINDS["data"],
    "derivative": KINDS["activation"],
}  # fmt: skip
EXAMPLES = {"whole": "0", "seed": "7", "fixed": "0", "activation": "1", "derivative": "1", "real": "0.5"}
SIZES = {"B": 8, "N": 8, "D": 5, "H": 4, "Z": 2, "P": 10, "S": 1, "C": 3, "E": 8, "K": 4, "A": 5, "U": 5}
FIXED = {"first": "0", "accumulate": "0", "kind": "0", "doubly": "0"}


def signature_of(op: Op) -> inspect.Signature:
    """The op's operands as a function has them: outputs whose sizes the inputs tell may be left out."""
    kind, parameters = inspect.Parameter.POSITIONAL_OR_KEYWORD, list[inspect.Parameter]()
    for operand in op.operands:
        if operand.kind in ("counter", "result"):
            continue
        name = "data" if operand.kind == "source" else operand.name
        default = None if operand.output and _may_be_made(op, operand) else inspect.Parameter.empty
        parameters.append(inspect.Parameter(name, kind, default=default))
    return inspect.Signature(parameters)


def _may_be_made(op: Op, output: Operand) -> bool:
    """Whether the inputs tell the sizes of an output, and of all behind it, and it is no array that is changed."""
    inputs = [operand for operand in op.operands if not operand.output and operand.shape is not None]
    known = {letter for operand in inputs if not operand.optional for letter in operand.shape or ()}
    behind = [operand for operand in op.operands[op.operands.index(output) :] if operand.output]
    if op.name.endswith("_inplace") or op.name == "sigma_remember":
        return False
    return bool(inputs) and all(operand.shape is not None and set(operand.shape) <= known for operand in behind)


def paragraphs() -> dict[str, str]:
    """Name of each op to what the contract says of it."""
    lines = (fastvae.kernels.__doc__ or "").splitlines()
    found: dict[str, str] = {}
    place = 0
    while place < len(lines):
        names = re.findall(r"(\w+)\(", lines[place]) if re.match(r"    \w+\(", lines[place]) else []
        names = [name for name in names if name in OPS]
        if not names:
            place += 1
            continue
        heads, depth = list(names), lines[place].count("(") - lines[place].count(")")
        place += 1
        while place < len(lines):  # the rest of the operands, and others that the same words are about
            line = lines[place]
            more = re.match(r"    (\w+)\(", line)
            if depth > 0:
                depth += line.count("(") - line.count(")")
            elif more and more[1] in OPS:
                heads.append(more[1])
                depth += line.count("(") - line.count(")")
            else:
                break
            place += 1
        words = []
        while place < len(lines) and (lines[place].startswith("        ") or not lines[place].strip()):
            if not lines[place].strip():
                break
            words.append(lines[place])
            place += 1
        found.update(dict.fromkeys(heads, textwrap.dedent("\n".join(words))))
    return found


def _operand(op: Op, operand: Operand, parameters: dict[str, inspect.Parameter]) -> str:
    name = "data" if operand.kind == "source" else operand.name
    if operand.shape is None:
        what = WORDS.get(operand.kind, KINDS.get(operand.kind, operand.kind))
    else:
        what = f"({', '.join(operand.shape)}{',' if len(operand.shape) == 1 else ''}) float32"
    notes = ["may be None"] if operand.optional else []
    changed = "_inplace" in op.name and not operand.output and operand.shape is not None
    if operand.output:
        made = name in parameters and parameters[name].default is None and not operand.optional
        notes.append("written; left out: made and returned" if made else "written" if operand.shape else "returned")
    elif changed and operand.name in ("params", "m", "v", "velocity", "x", "weight", "bias"):
        notes.append("overwritten")
    return f"{name} : {what}" + (f" ({'; '.join(notes)})" if notes else "")


def example(op: Op) -> str:
    """Lines that can be run: arrays of zeros, and a call."""
    parameters = signature_of(op).parameters
    lines = ["import numpy as np", "from fastvae.kernels import cpu"]
    sizes, given, made = dict(SIZES), list[str](), list[str]()
    names = {operand.name for operand in op.operands}
    if "depths" in names:
        lines.append(f"depths = np.full({sizes['H']}, {sizes['D']})")
    for operand in op.operands:
        name = "data" if operand.kind == "source" else operand.name
        if name not in parameters:
            made.append(name)
            continue
        if parameters[name].default is None:
            if not operand.optional:
                made.append(name)
            continue
        if operand.optional:
            given.append("None")
        elif operand.shape is not None:
            shape = tuple(sizes[letter] for letter in operand.shape)
            lines.append(f"{name} = np.zeros({shape}, 'f4')")
            given.append(name)
        elif operand.kind in ("data", "source"):
            lines.append(f"data = np.zeros(({sizes['B']}, {sizes['D']}))")
            given.append(name)
        elif operand.kind == "scaling":
            lines.append(f"{name} = np.{'zeros' if name == 'offset' else 'ones'}({sizes['D']})")
            given.append(name)
        elif operand.kind == "indices":
            if name != "depths":
                first, count = int(name in ("stops", "ends")), sizes[INDEXED.get(name, "B")]
                lines.append(f"{name} = np.arange({f'1, {count + 1}' if first else count})")
            given.append(name)
        elif operand.name == "last":
            given.append(str(sizes["D"] if "d_weight" in names or "weight" in names else sizes["H"]))
        else:
            given.append(FIXED.get(operand.name, EXAMPLES[operand.kind]))
    call = f"cpu.{op.name}({', '.join(given)})"
    lines.append(f"{', '.join(made)} = {call}" if made else call)
    return "\n".join(f">>> {line}" for line in lines)


_PARAGRAPHS: dict[str, str] = {}


def description(op: Op) -> str:
    """The text of `help`."""
    if not _PARAGRAPHS:
        _PARAGRAPHS.update(paragraphs())
    parameters = dict(signature_of(op).parameters)
    operands = [_operand(op, operand, parameters) for operand in op.operands]
    return "\n".join([
        _PARAGRAPHS[op.name],
        "",
        "Parameters",
        "----------",
        *operands,
        "check : bool",
        "    Whether operands are looked at first (types, shapes, layout): a wrong one reaches into other memory.",
        "",
        "Raises",
        "------",
        "TypeError, ValueError",
        "    An operand is of another type, layout or shape.",
        "",
        "Examples",
        "--------",
        example(op),
        "",
        "See `fastvae.kernels` for the letters, and for what all ops have in common.",
    ])  # fmt: skip


TYPES = {
    "whole": "int | np.integer[Any]", "seed": "int | np.uint64", "real": "float | np.floating[Any]", "fixed": "int",
    "activation": "int", "derivative": "int", "data": "npt.NDArray[Any]", "source": "npt.NDArray[Any]",
    "indices": "npt.NDArray[np.int64]", "scaling": "npt.NDArray[Any]",
}  # fmt: skip
STUB = '''"""The ops on the CPU to a type checker: made of the table, by `fastvae.kernels.described.stub`."""

from typing import Any

import numpy as np
import numpy.typing as npt

from fastvae.kernels.cpu.embedding import address as address
from fastvae.kernels.cpu.embedding import header as header
from fastvae.kernels.cpu.embedding import prototype as prototype
from fastvae.kernels.cpu.minibatch import shuffled_indices as shuffled_indices
from fastvae.kernels.cpu.optimizers import squared_norm as squared_norm
from fastvae.kernels.cpu.program import Program as Program
from fastvae.kernels.cpu.sums import total as total

__all__ = {all}
Array = npt.NDArray[np.float32]
KEEPS_NOISE: bool
ON_HOST: bool

def upload(*arrays: npt.NDArray[Any]) -> None: ...
def forget(array: Any) -> None: ...
def download(*arrays: npt.NDArray[Any]) -> None: ...
'''


def stub() -> str:
    """The text of `kernels/cpu/__init__.pyi`: each op of the table as a function. What it returns depends on which of
    its outputs are given, so that this is not said."""
    others = ("address", "header", "prototype", "shuffled_indices", "squared_norm", "total")
    names = "".join(f"    {json.dumps(name)},\n" for name in sorted((*OPS, *others)))
    lines = [STUB.rstrip().replace("{all}", f"[\n{names}]")]
    for name, op in OPS.items():
        kinds = {"data" if operand.kind == "source" else operand.name: operand for operand in op.operands}
        given = list[str]()
        for parameter in signature_of(op).parameters.values():
            operand = kinds[parameter.name]
            kind = "Array" if operand.shape is not None else TYPES[operand.kind]
            maybe = " | None" if operand.optional or parameter.default is None else ""
            given.append(f"{parameter.name}: {kind}{maybe}{' = None' if parameter.default is None else ''}")
        lines.append(f"def {name}(")
        lines += [f"    {each}," for each in [*given, "*", "check: bool = True"]]
        lines.append(") -> Any: ...")
    return "\n".join(lines) + "\n"
