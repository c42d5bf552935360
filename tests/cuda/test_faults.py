"""Whether a fault in a kernel would be noticed: its PTX with one thing changed, under the checks of all others."""

import re

import numpy as np
import pytest

from tests.fake_driver import why_not
from tests.ptx import PtxError, mutants

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from fastvae.kernels.cuda import calls
from fastvae.kernels.cuda.driver import using
from tests.cuda.ptx_device import PTXDevice, code_of
from tests.cuda.test_kernels import (
    KERNELS,
    POWERS,
    check_adam,
    check_losses,
    check_next_step,
    check_order,
    check_remembered,
    check_sigma,
    check_stopped,
    check_sum,
    several_products,
)
from tests.kernels.test_contract import CHECKS

REACHING = [(5, 1), (3, 70), (2, 67), (2, 260)]  # each tail of a row, and more columns than a warp takes at a time
USERS = {
    "latent_forward": ["latent_forward"],
    "latent_backward": ["latent_backward"],
    "bernoulli": ["bernoulli_forward", "bernoulli_forward_backward"],
    "squared_error": ["squared_error_forward", "squared_error_forward_backward"],
    "sigmoid_inplace": ["sigmoid_inplace"],
    "scale_inplace": ["scale_inplace"],
    "adam_inplace": ["adam_inplace"],
    "dense_along_across": ["dense_forward"],
    "dense_along_along": ["dense_backward_input"],
    "dense_across_across": ["dense_backward_weight"],
    "derivative_inplace": ["dense_backward_input"],
    "draw": ["normal_noise", "uniform_noise"],
    "binarize_inplace": ["binarize_inplace"],
    "threshold_inplace": ["threshold_inplace"],
    "shuffled_indices": ["shuffled_indices"],
    "gather_uint8_float32": ["gather"],
    "gather_int16_float32": ["read_rows"],
    "count_outside": ["read_rows"],
    "next_step": [],
    "losses": [],
    "gaussian": ["gaussian_forward", "gaussian_forward_backward"],
    "sigma_forward": ["sigma_forward"],
    "sigma_backward": ["sigma_backward"],
    "sigma_optimal": ["sigma_optimal"],
    "sigma_remember": ["sigma_remember"],
    "total_parts": ["total"],
    "square_parts": ["squared_norm"],
}
PRODUCTS = {  # how the operands lie
    "dense_forward": (True, False),
    "dense_backward_input": (True, True),
    "dense_backward_weight": (False, False),
}
MORE = {  # numbers for a second block
    "normal_noise": (1, 1030),
    "binarize_inplace": (1, 1030),
    "threshold_inplace": (5, 67),
    "gather": (9, 40),
    "read_rows": (9, 40),
}
LEFT = {"sigma_remember": 0.2}  # who may survive: mostly digits of functions of one number, which few checks meet
EACH = 70  # mutants of a kernel, evenly chosen


def run_all(device, name):
    ops = USERS[name]
    for op in ops:
        if op in PRODUCTS:  # first: it notices most, in a second
            several_products(device, *PRODUCTS[op])
        for shape in REACHING:
            CHECKS[op](calls, np.random.default_rng(list(shape)), shape)
        if op in MORE:
            CHECKS[op](calls, np.random.default_rng(0), MORE[op])
        if op in POWERS:
            check_sum(op)
    if "shuffled_indices" in ops:
        for count, epoch in ((63, 7), (64, 7), (65, 0), (65, 1), (65, 2), (65, 3), (1025, 7)):
            check_order(count, epoch)
    if name == "next_step":
        for place, batch in ((0, 30), (2, 300)):
            check_next_step(device, place, batch)
    if name.startswith("sigma_"):
        for size in (1, 70):
            check_sigma(size)
    if name == "sigma_remember":
        check_remembered(device)
    if name == "losses":
        for bad, place, size in ((None, 2, 2051), (None, 0, 0), (np.nan, 1, 0), (np.inf, 0, 9)):
            check_losses(device, bad, place, size)
    if "adam_inplace" in ops:
        check_stopped(device)
        for clip_norm in (0.5, 1e9):
            check_adam(clip_norm)


def is_equivalent(mutant):
    """Where two pieces of a continuous formula meet, it does not matter which of them the point itself belongs to."""
    found = [re.search(r"setp\.(l|g)[te]u?\.f32", line) for line in (mutant.before, mutant.after)]
    return all(found) and found[0][1] == found[1][1]


@pytest.mark.slow
@pytest.mark.parametrize("name", USERS)
def test_faults_are_noticed(name, monkeypatch):
    """A comparison flipped, an offset moved, a shuffle changed, an address term dropped, ...

    Who survives should change nothing, or no more than rounding: the 2^-33 of a uniform word, the last coefficients of
    a polynomial, the shuffle by 1 that was one, comparisons of sizes that are never equal there.
    """
    kernel = next(kernel for kernel in KERNELS if kernel.__name__ == name)
    with using(PTXDevice((8, 0), 0, monkeypatch)) as device:
        run_all(device, name)
        reached = device.reached[name]
        all_mutants = [
            m for m in mutants(code_of(kernel, (8, 0), monkeypatch)) if m.line in reached and not is_equivalent(m)
        ]
        chosen = all_mutants[:: max(1, len(all_mutants) // EACH)]
        survivors = []
        for mutant in chosen:
            device.changed = {name: mutant.text}
            with np.errstate(all="ignore"):
                try:
                    run_all(device, name)
                except (AssertionError, PtxError):
                    continue
            survivors.append(mutant)
    print(f"{name}: {len(chosen) - len(survivors)} of {len(chosen)} noticed")
    for mutant in survivors:
        print(f"  {mutant.kind}, line {mutant.line}: {mutant.before.strip()} -> {mutant.after.strip()}")
    assert len(survivors) <= LEFT.get(name, 0.12) * len(chosen)
