"""What the products run on, chosen once at import by what the processor has: a `Unit`, or NumPy's BLAS; for bfloat16,
a unit of its own.

A unit only says how wide the vectors are and how many of them the tiles of `tile` may keep in registers. The code is
LLVM's portable vector arithmetic, so each unit runs on every processor; on the wrong one it is slow, never wrong. All
units add up the terms of a sum in the same order, and those with a fused multiply-add give the same bits. Of the units
for bfloat16 only "rounded" and "emulated" run everywhere.

AVX-512 BF16 is AMD's way to twice the speed of float32. Intel's processors have it too, for half the speed (measured on
Emerald Rapids by one thread: 88 GFLOP/s, and 175 in float32): theirs is AMX, which a virtual machine may hide.

The environment variables FASTVAE_PRODUCTS and FASTVAE_BFLOAT16 override the choice, for tests and comparisons.
"""

import ctypes
import os
import pathlib
import platform
from dataclasses import dataclass

from numba.core.registry import cpu_target

VARIABLE, BFLOAT16_VARIABLE = "FASTVAE_PRODUCTS", "FASTVAE_BFLOAT16"


@dataclass(frozen=True)
class Unit:
    """Shape of a tile of float32: `heights` rows (the first is the usual one) by two vectors of `lanes` numbers."""

    name: str
    lanes: int
    heights: tuple[int, ...]
    fused: bool = True  # multiply-add with one rounding
    looks_ahead: bool = False  # tiles have room among their loads to fetch what comes next
    small_product: float = 2e5  # floating-point operations that a second thread cannot speed up, fetching the operands

    @property
    def width(self) -> int:
        """Columns of a tile."""
        return 2 * self.lanes


UNITS = {
    unit.name: unit
    for unit in (
        # 28 sums in 32 registers of 512 bits
        Unit("avx512", 16, (14, 12, 10, 8, 6, 4, 2, 1), looks_ahead=True, small_product=8e5),
        Unit("avx2", 8, (6, 4, 2, 1)),  # 12 sums in 16 registers of 256 bits
        Unit("neon", 4, (12, 8, 6, 4, 2, 1)),  # 24 sums in 32 registers of 128 bits
        Unit("plain", 4, (6, 4, 2, 1), fused=False),  # x86-64 without extensions
    )
}
BLAS = "blas"
ROUNDED = "rounded"
BFLOAT16_UNITS = ("amx", "avx512", ROUNDED, "emulated")  # see `tile_bfloat16`, and `products_rounded`
NEEDED = {"amx": {"amx-bf16", "amx-tile"}, "avx512": {"avx512bf16"}}  # by them; without, LLVM ends the process


def features() -> set[str]:
    """Extensions of the processor that numba compiles for, as LLVM names them."""
    _, _, found = cpu_target.target_context.codegen().magic_tuple()
    return {name[1:] for name in found.split(",") if name.startswith("+")}


def architecture() -> str:
    """The processor's family, as LLVM names it: "x86_64", "aarch64", ..."""
    return cpu_target.target_context.codegen().magic_tuple()[0].split("-")[0]


def model() -> str:
    """The processor that numba compiles for, as LLVM names it: "znver4", "emeraldrapids", ..."""
    return cpu_target.target_context.codegen().magic_tuple()[1]


def is_arm() -> bool:
    """Whether it is a 64-bit Arm."""
    return architecture() in ("aarch64", "arm64")


def name() -> str:
    """The name that the processor gives itself, where the system tells it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


FAULTS: list[str] = []  # what is wrong with the variables: said by `check`, when somebody wants to compute


def _asked(variable: str, valid: tuple[str, ...]) -> str | None:
    """What a variable asks for; None where it is not set, or empty, or names nothing known."""
    asked = os.environ.get(variable) or None
    if asked is None or asked in valid:
        return asked
    FAULTS.append(f"{variable}={asked!r} is not known: valid: {', '.join(valid)}")
    return None


def check() -> None:
    """Raise `ValueError` where a variable asks for what is not known, or not there."""
    if FAULTS:
        raise ValueError(FAULTS[0])


def choose() -> tuple[str, str]:
    """Return what runs the products, and why: a name of `UNITS` or "blas"."""
    asked = _asked(VARIABLE, (*UNITS, BLAS))
    if asked:
        return asked, f"{VARIABLE} asks for it"
    has = features()
    if "avx512f" in has:
        return "avx512", "the processor has AVX-512"
    if {"avx2", "fma"} <= has:
        return "avx2", "the processor has AVX2 and FMA"
    if is_arm():
        return "neon", "the processor is a 64-bit Arm"
    return BLAS, "the processor has no vector unit that the tiles are made for"


def permitted_amx() -> bool:
    """Ask Linux for the state of the matrix unit, which it gives to a process only when asked; whether it did."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return False
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0


def choose_bfloat16() -> tuple[str | None, str]:
    """Return what runs products in bfloat16, one of `BFLOAT16_UNITS` or None, and why."""
    asked = _asked(BFLOAT16_VARIABLE, BFLOAT16_UNITS)
    has = features()
    if asked:
        lacking = NEEDED.get(asked, set()) - has
        if lacking:
            FAULTS.append(f"{BFLOAT16_VARIABLE}={asked!r}: the processor has no {', '.join(sorted(lacking))}")
        elif asked == "amx" and not permitted_amx():
            FAULTS.append(f"{BFLOAT16_VARIABLE}='amx': the system does not permit the use of AMX")
        return asked, f"{BFLOAT16_VARIABLE} asks for it"
    if NEEDED["amx"] <= has and permitted_amx():
        return "amx", "the processor has AMX"
    if NEEDED["avx512"] <= has:
        if model().startswith("znver"):
            return "avx512", "the processor has AVX-512 BF16"
        return ROUNDED, "the processor's AVX-512 BF16 is slower than its float32 unit, which gets rounded operands"
    return None, "the processor has neither AMX nor AVX-512 BF16"


CHOSEN, REASON = choose()
UNIT = UNITS["plain" if CHOSEN == BLAS else CHOSEN]  # where a BLAS cannot be called, the plain tiles do its work
BFLOAT16, BFLOAT16_REASON = choose_bfloat16()
