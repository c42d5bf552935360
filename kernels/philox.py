"""Counter-based noise, written once: Philox4x32-10, keyed by the seed.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011); known-answer vectors
from Random123. Every draw is a pure function of where it is used:

    counter = (column // 4, row, step, stream)    key = (seed low, seed high)

and word `column % 4` of the block belongs to that column. So the noise does not depend on how a batch is cut, on the
number of threads, or on the device. `stream` keeps uses apart that share a step (see the constants below). Rows, steps
and columns are taken modulo 2^32.
"""

import numpy as np

from fastvae.kernels.formulas import box_muller, formula

u32, u64 = np.uint32, np.uint64

# Streams: what a draw is for.
LATENT, BINARIZATION, PRIOR, INITIALISATION, SHUFFLE, OBSERVATION, CORRUPTION, PROPOSAL, PILOT = range(9)
# those of annealed importance sampling: chains, their momenta and whether a proposal is accepted
CHAIN, MOMENTUM, ACCEPTANCE = range(9, 12)
SAMPLES = 12  # of z for one example of a training
GENERATED, BLUR_OF_REAL, BLUR_OF_GENERATED = 20, 21, 22  # of a GAN's training: of z, and instance noise
NAIVE = 13  # of z from the prior by which log p(x) is estimated: others than those of which data were drawn
# of a generative stochastic network: stream WALK + (k << 8) for the k-th noise of a step's unrolled chain
WALK = 30

MULTIPLIER_0, MULTIPLIER_1 = u64(0xD2511F53), u64(0xCD9E8D57)
WEYL_0, WEYL_1 = u32(0x9E3779B9), u32(0xBB67AE85)
HIGH, LOW_MASK = u64(32), u64(0xFFFFFFFF)
ROUNDS = 10
COLUMNS = 4  # that one block of noise serves


@formula
def philox4x32(c0, c1, c2, c3, k0, k1):
    """Ten rounds of Philox4x32: four uint32 words from a counter of four and a key of two."""
    for _ in range(ROUNDS):
        p0 = MULTIPLIER_0 * u64(c0)
        p1 = MULTIPLIER_1 * u64(c2)
        c0, c1, c2, c3 = u32(u32(p1 >> HIGH) ^ c1 ^ k0), u32(p1), u32(u32(p0 >> HIGH) ^ c3 ^ k1), u32(p0)
        k0 = u32(k0 + WEYL_0)
        k1 = u32(k1 + WEYL_1)
    return c0, c1, c2, c3


@formula
def words(seed, stream, step, row, block):
    """The four words of columns 4 block ... 4 block + 3 at (seed, stream, step, row)."""
    low, high = u32(u64(seed) & LOW_MASK), u32(u64(seed) >> HIGH)
    return philox4x32(u32(block), u32(row), u32(step), u32(stream), low, high)


@formula
def normals(seed, stream, step, row, block):
    """Four N(0, 1) for columns 4 block ... 4 block + 3 at (seed, stream, step, row)."""
    w0, w1, w2, w3 = words(seed, stream, step, row, block)
    n0, n1 = box_muller(w0, w1)
    n2, n3 = box_muller(w2, w3)
    return n0, n1, n2, n3
