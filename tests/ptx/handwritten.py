"""PTX written by hand: the frame around a few instructions, for tests that need no compiler."""

import numpy as np

from .arguments import Pointer
from .machine import launch

HEADER = ".version 8.0\n.target sm_90\n.address_size 64\n"
REGISTERS = """
    .reg .pred %p<8>;
    .reg .b16 %h<16>;
    .reg .b32 %r<32>;
    .reg .b64 %rd<32>;
    .reg .f32 %f<32>;
    .reg .f64 %fd<16>;
"""
OPERANDS = "abc"


def program(body, parameters=(), declarations="", target="sm_90"):
    """A module with one kernel.

    Parameters
    ----------
    body : str
        Its instructions. Registers are there by number: %p, %h (16 bits), %r (32), %rd (64), %f, %fd.
    parameters : iterable of str
        Their types; the n-th is called n0, n1, ...
    declarations : str
        Statements outside the kernel.
    """
    listed = ", ".join(f".param .{kind} n{i}" for i, kind in enumerate(parameters))
    header = HEADER.replace("sm_90", target)
    return f"{header}{declarations}\n.visible .entry kernel({listed})\n{{{REGISTERS}{body}\n    ret;\n}}\n"


def evaluate(code, result, *operands):
    """What instructions leave in %d, one thread for each element of the operands %a, %b, %c.

    Parameters
    ----------
    code : str
    result : dtype
    operands : arrays of one length
    """
    operands = [np.atleast_1d(x) for x in operands]
    out = np.zeros(len(operands[0]) if operands else 32, result)
    lines = ["mov.u32 %r0, %tid.x;"]
    sizes = [8 * x.dtype.itemsize for x in (*operands, out)]
    names = [*OPERANDS[: len(operands)], "d"]
    lines += [f".reg .b{max(size, 16)} %{name};" for name, size in zip(names, sizes, strict=True)]
    for i, size in enumerate(sizes):
        lines += [f"ld.param.u64 %rd{i}, [n{i}];", f"mad.wide.u32 %rd{i}, %r0, {size // 8}, %rd{i};"]
    lines += [f"ld.global.b{size} %{name}, [%rd{i}];" for i, (name, size) in enumerate(zip(names, sizes, strict=True))]
    lines += [code, f"st.global.b{sizes[-1]} [%rd{len(operands)}], %d;"]
    text = program("\n".join(lines), ["u64"] * len(sizes))
    launch(text, 1, len(out), [Pointer(x) for x in (*operands, out)])
    return out
