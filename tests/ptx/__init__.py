"""An interpreter for the PTX that numba.cuda emits: kernels as they were compiled, run on the CPU and watched.

    from tests.ptx import launch
    counters = launch(ptx, grid, block, [x, out, n], order="warp", seed=1, count=True)

| module | what is in it |
|---|---|
| `syntax`, `nodes` | text to a program, and what it consists of |
| `decoding` | instructions to steps over many threads |
| `integers`, `carries`, `floats`, `conversions`, `transfers`, `warps`, `matrix` | the steps, by kind |
| `memory`, `races` | state spaces and the checks of every access |
| `arguments`, `machine`, `scheduling` | a launch, and which threads run when |
| `counters` | instructions, traffic, bank conflicts |
| `mutations` | programs with one fault put in |
| `handwritten` | the frame around a few instructions, for tests |

What a device may do otherwise: approximate operations (`ex2.approx`, `rcp.approx`, ...) are computed accurately, and
the sums of matrix products in float64; a thread that has left is not waited for at barriers. What is not known is
refused: other shapes of `mma`, bulk copies and their barriers, textures, packed arithmetic, calls (the compiler
inlines), tables of branches, named barriers for a part of a block.
"""

from .arguments import Pointer
from .counters import Access, Counters
from .errors import PtxError
from .machine import decode, launch
from .mutations import Mutant, mutants

__all__ = ["Access", "Counters", "Mutant", "Pointer", "PtxError", "decode", "launch", "mutants"]
