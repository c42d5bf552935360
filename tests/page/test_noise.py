"""The page's noise is the package's."""

import pathlib

import numpy as np
import pytest

import fastvae.page
from fastvae.reference.noise import LATENT, PRIOR, normals
from tests.page.browser import opened

SCRIPT = pathlib.Path(fastvae.page.__file__).with_name("noise.js").read_text(encoding="utf-8")

KNOWN = [  # Random123's known answers of philox4x32-10: counter, key, words
    ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.fixture(scope="module")
def page(browser):
    with opened(browser, f"<!doctype html><meta charset='utf-8'><title>noise</title><script>{SCRIPT}</script>") as each:
        yield each


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers_of_philox(page, counter, key, words):
    assert page.evaluate("([counter, key]) => philox(counter, key)", [counter, key]) == words


@pytest.mark.parametrize("seed", [0, 7, 2**32 + 5, 2**63 + 12345, 2**64 - 1])
@pytest.mark.parametrize(("stream", "step", "row"), [(LATENT, 1, 0), (PRIOR, 0, 59), (LATENT, 2**32 - 1, 2**31 + 7)])
def test_normals_are_those_of_the_reference(page, seed, stream, step, row):
    theirs = page.evaluate(
        "([seed, ...rest]) => Array.from(normals(seed, ...rest))", [str(seed), stream, step, row, 0, 13]
    )
    np.testing.assert_allclose(theirs, normals(seed, stream, step, row, (1, 13))[0], rtol=1e-13, atol=1e-15)


def test_normals_from_a_column_on_are_part_of_those_from_the_first(page):
    whole = page.evaluate("Array.from(normals(3, 0, 5, 2, 0, 20))")
    for first, count in [(0, 1), (1, 1), (2, 5), (3, 6), (7, 13)]:
        part = page.evaluate("(a) => Array.from(normals(3, 0, 5, 2, ...a))", [first, count])
        assert part == whole[first : first + count]
