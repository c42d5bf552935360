"""Philox4x32-10: published words, and the reference's for counters and keys of every size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvae import reference
from fastvae.kernels import philox
from fastvae.kernels.cpu.compiler import kernel


@kernel
def blocks(counters, keys, out):
    for i in range(len(counters)):
        c, k = counters[i], keys[i]
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = philox.philox4x32(c[0], c[1], c[2], c[3], k[0], k[1])


@kernel
def words_at(seed, stream, step, row, block, out):
    out[0], out[1], out[2], out[3] = philox.words(seed, stream, step, row, block)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_known_answers(counter, key, expected):
    """Random123, kat_vectors, philox4x32 10."""
    out = np.zeros((1, 4), np.uint32)
    arrays = (np.array([[int(w, 16) for w in text.split()]], np.uint32) for text in (counter, key))
    blocks(*arrays, out)
    assert [f"{w:08x}" for w in out[0]] == expected.split()


def test_equal_to_the_reference():
    rng = np.random.default_rng(0)
    counters = rng.integers(0, 2**32, (200, 4), dtype=np.uint64).astype(np.uint32)
    keys = rng.integers(0, 2**32, (200, 2), dtype=np.uint64).astype(np.uint32)
    out = np.zeros((200, 4), np.uint32)
    blocks(counters, keys, out)
    for i in range(200):
        assert [int(w) for w in reference.philox4x32(counters[i], keys[i])] == out[i].tolist()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**64 - 1),
    stream=st.integers(0, 5),
    step=st.integers(0, 2**40),
    row=st.integers(0, 2**40),
    block=st.integers(0, 2**32 - 1),
)
def test_counter_and_key(seed, stream, step, row, block):
    """(column // 4, row, step, stream) under (seed low, seed high), each modulo 2^32."""
    out = np.zeros(4, np.uint32)
    words_at(np.uint64(seed), stream, step, row, block, out)
    counter = (block, row % 2**32, step % 2**32, stream)
    assert out.tolist() == [int(w) for w in reference.philox4x32(counter, (seed % 2**32, seed >> 32))]


@pytest.mark.parametrize("seed", [2**31, 2**32 - 1, 2**32, 2**63, 2**63 + 1, 2**64 - 1])
def test_seeds_beyond_a_signed_integer(seed):
    out, lower = np.zeros(4, np.uint32), np.zeros(4, np.uint32)
    words_at(np.uint64(seed), 1, 2, 3, 4, out)
    words_at(np.uint64(seed - 1), 1, 2, 3, 4, lower)
    assert out.tolist() == [int(w) for w in reference.philox4x32((4, 3, 2, 1), (seed % 2**32, seed >> 32))]
    assert (out != lower).all()


def test_streams():
    names = ("LATENT", "BINARIZATION", "PRIOR", "INITIALISATION", "SHUFFLE", "OBSERVATION")
    assert [getattr(philox, n) for n in names] == [getattr(reference, n) for n in names] == list(range(6))
