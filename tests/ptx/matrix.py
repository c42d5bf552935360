"""Matrix products of a warp: `mma.sync` on 16-bit floats, and `ldmatrix`.

A warp holds the matrices in fragments. With g = lane // 4 and t = lane % 4, the m16n8k16 product has

    A (16, 16)   four registers of two elements: rows g, g + 8, g, g + 8; columns 2t, 2t + 1, the last two + 8
    B (16, 8)    two registers of two elements: rows 2t, 2t + 1, the second + 8; column g
    C, D (16, 8) four float32: rows g, g, g + 8, g + 8; columns 2t, 2t + 1, 2t, 2t + 1

(PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type"). The lower half of a register is the element of
the lower column of A, the lower row of B. Sums are taken in float64 and rounded once; a device's order and inner
precision are its own.
"""

import numpy as np

from .decoding import opcode, unknown
from .nodes import Vector
from .scalars import from_bfloat16, unsigned
from .transfers import Access
from .warps import WarpStep

LANE = np.arange(32)
GROUP, MEMBER = LANE // 4, LANE % 4
A_ROWS = [GROUP + 8 * (i // 2 % 2) for i in range(8)]
A_COLUMNS = [2 * MEMBER + i % 2 + 8 * (i // 4) for i in range(8)]
B_ROWS = [2 * MEMBER + i % 2 + 8 * (i // 2) for i in range(4)]
B_COLUMNS = [GROUP] * 4
C_ROWS = [GROUP + 8 * (i // 2) for i in range(4)]
C_COLUMNS = [2 * MEMBER + i % 2 for i in range(4)]


def halves(words, kind):
    """The two numbers in a register of 32 bits, lower first, as float64."""
    parts = ((words & np.uint32(0xFFFF)).astype(np.uint16), (words >> np.uint32(16)).astype(np.uint16))
    return [(from_bfloat16(p) if kind == "bf16" else p.view(np.float16)).astype(np.float64) for p in parts]


def fragment(shape, rows, columns, elements):
    """The matrices (warps, rows, columns) whose elements the lanes hold, each element an array (warps, 32)."""
    matrix = np.zeros((len(elements[0]), *shape))
    for row, column, values in zip(rows, columns, elements, strict=True):
        matrix[:, row, column] = values
    return matrix


def whole_warps(wave, lanes, instruction):
    """The lanes in order of warp and lane, as an array (warps, 32)."""
    numbers = wave.numbers(lanes)
    order = np.argsort(wave.warp_in_wave[numbers] * 32 + wave.lane_in_warp[numbers])
    if len(order) % 32:
        wave.fault("not all lanes of a warp are here", instruction, lanes, np.ones(len(order), bool))
    return numbers[order].reshape(-1, 32)


@opcode("mma")
def decode_mma(instruction, decoder):
    """D = A B + C."""
    modifiers = instruction.modifiers
    kinds = ("bf16", "f16")
    if modifiers[:5] != ("sync", "aligned", "m16n8k16", "row", "col") or modifiers[6] not in kinds:
        raise unknown(instruction)
    if len(modifiers) != 9 or modifiers[5] != "f32" or modifiers[8] != "f32" or modifiers[6] != modifiers[7]:
        raise unknown(instruction)
    kind = modifiers[6]
    d, a, b, c = (operand.items for operand in instruction.operands)
    if [len(x) for x in (d, a, b, c)] != [4, 4, 2, 4]:
        raise unknown(instruction)
    reads_a, reads_b = ([decoder.read(o, "u32") for o in x] for x in (a, b))
    reads_c, writes = [decoder.read(o, "f32") for o in c], [decoder.write(o, "f32") for o in d]

    def step(wave, lanes):
        warps = whole_warps(wave, lanes, instruction)
        flat = warps.ravel()

        def gather(read):
            return np.broadcast_to(read(wave, flat), flat.shape).reshape(warps.shape)

        left = fragment((16, 16), A_ROWS, A_COLUMNS, [half for r in reads_a for half in halves(gather(r), kind)])
        right = fragment((16, 8), B_ROWS, B_COLUMNS, [half for r in reads_b for half in halves(gather(r), kind)])
        total = left @ right + fragment((16, 8), C_ROWS, C_COLUMNS, [gather(r) for r in reads_c])
        for write, row, column in zip(writes, C_ROWS, C_COLUMNS, strict=True):
            write(wave, flat, total[:, row, column].astype(np.float32).ravel())

    return WarpStep(step)


@opcode("ldmatrix")
def decode_ldmatrix(instruction, decoder):
    """`ldmatrix`: 8 x 8 matrices of 16-bit elements from shared memory, one row's address from each lane."""
    modifiers = instruction.modifiers
    if modifiers[:3] != ("sync", "aligned", "m8n8") or modifiers[-1] != "b16":
        raise unknown(instruction)
    matrices = int(next(m for m in modifiers if m in ("x1", "x2", "x4"))[1:])
    target = instruction.operands[0]
    writes = [decoder.write(t, "u32") for t in (target.items if isinstance(target, Vector) else (target,))]
    access = Access(instruction, decoder.address(instruction.operands[1]), 16, "load")
    access.space = "shared"

    def step(wave, lanes):
        warps = whole_warps(wave, lanes, instruction)
        space, positions = access.places(wave, warps[:, : 8 * matrices].ravel())
        elements = space.view(unsigned(2))[(positions // 2)[:, None] + np.arange(8)]
        for i, matrix in enumerate(np.moveaxis(elements.reshape(len(warps), matrices, 8, 8), 1, 0)):
            if "trans" in modifiers:
                matrix = matrix.transpose(0, 2, 1)
            low, high = (matrix[:, GROUP, 2 * MEMBER + j].astype(np.uint32) for j in (0, 1))
            writes[i](wave, warps.ravel(), (low | high << np.uint32(16)).ravel())

    return WarpStep(step)
