"""A permutation of 0 ... count - 1 by a formula, written once, keyed by noise.

Up to `FEW` indices: each has a random number, and its rank among those is its place. More: eight rounds of a Feistel
network on the bits of the position, where images that are no index are walked over (Luby and Rackoff 1988). Such a
network makes even permutations alone, so that, by the toss of a coin, two indices change places behind it.
"""

import numpy as np

from fastvae.kernels.formulas import formula

u32, u64 = np.uint32, np.uint64
FEW = 64  # below, halves of three bits or less would make some permutations more often than others


@formula
def mixed(word, key):
    """A word scrambled under a key: xor-shifts and odd multipliers, each bit of the result depends on all."""
    x = u32(word ^ key)
    x = u32(u32(x ^ u32(x >> u32(16))) * u32(0x7FEB352D))
    x = u32(u32(x ^ u32(x >> u32(15))) * u32(0x846CA68B))
    return u32(x ^ u32(x >> u32(16)))


@formula
def half_bits(count):
    """Bits of one half of the network: the least with 4^bits >= count."""
    half = u64(1)
    while u64(1) << u64(half + half) < count:
        half = u64(half + u64(1))
    return half


@formula
def four_rounds(left, right, mask, keys):
    """Four rounds: each half in turn is changed by the other."""
    k0, k1, k2, k3 = keys
    left = u32(left ^ u32(mixed(right, k0) & mask))
    right = u32(right ^ u32(mixed(left, k1) & mask))
    left = u32(left ^ u32(mixed(right, k2) & mask))
    right = u32(right ^ u32(mixed(left, k3) & mask))
    return left, right


@formula
def ranked(position, count, keys):
    """How many of the random numbers of 0 ... count - 1 are smaller than that of the position; no two are the same,
    because `mixed` is a bijection."""
    k0, k1, k2, k3 = keys
    own = mixed(mixed(mixed(mixed(u32(position), k0), k1), k2), k3)
    rank, other = u64(0), u32(0)
    while other < u32(count):
        rank = u64(rank + u64(mixed(mixed(mixed(mixed(other, k0), k1), k2), k3) < own))
        other = u32(other + u32(1))
    return rank


@formula
def permuted(position, count, bits, first, second):
    """The index (uint64) at a position, with `bits` of `half_bits(count)` and eight words of noise as keys."""
    if count <= u64(FEW):
        return ranked(position, count, first)
    mask, value = u32((u64(1) << bits) - u64(1)), position
    coin = u64(mixed(first[0], second[3]) >> u32(31))
    while True:  # walk the cycle until the image is an index: still a permutation of 0 ... count - 1
        left, right = four_rounds(u32(value >> bits), u32(u32(value) & mask), mask, first)
        left, right = four_rounds(left, right, mask, second)
        value = u64(u64(left) << bits) | u64(right)
        if value < count:
            return u64(value ^ coin) if value < u64(2) else value
