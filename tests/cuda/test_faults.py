"""Whether a fault in a kernel would be noticed: its PTX with one thing changed, under the checks of all others."""

import re

import numpy as np
import pytest

from tests.fake_driver import why_not
from tests.ptx import PtxError, mutants

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from fastvae.kernels import cuda
from fastvae.kernels.cuda.driver import using
from fastvae.kernels.ops import INPLACE
from tests.cuda.ptx_device import PTXDevice, code_of
from tests.cuda.test_kernels import (
    KERNELS,
    POWERS,
    check_order,
    check_remembered,
    check_sigma,
    check_sum,
    on_device,
    several_products,
)
from tests.cuda.test_row_losses import check_elementwise
from tests.cuda.test_steps import (
    check_beginnings,
    check_clipped,
    check_flat,
    check_losses,
    check_next_step,
    check_stopped,
    check_weights,
)
from tests.support.contract import check_op

# Each tail of a row, and more columns than a warp takes at a time.
REACHING = [(5, 1, 1), (3, 70, 47), (2, 67, 45), (2, 260, 174)]
USERS = {
    "latent_forward": ["latent_forward"],
    "latent_backward": ["latent_backward"],
    "latent_samples_forward": ["latent_samples_forward"],
    "concatenate": ["concatenate"],
    "concatenate_backward": ["concatenate_backward"],
    "take_columns": ["take_columns"],
    "mixed_inputs": ["mixed_inputs"],
    "mixed_forward": ["mixed_forward"],
    "mixed_forward_backward": ["mixed_forward_backward"],
    "mixed_parameter_backward": ["mixed_parameter_backward"],
    "cut_columns": ["masked_backward_weight"],
    "prefix_forward": ["prefix_forward"],
    "prefix_later": ["prefix_backward"],
    "prefix_gradients": ["prefix_backward"],
    "importance_weights": ["importance_weights"],
    "latent_samples_backward": ["latent_samples_backward"],
    "kl_forward": ["kl_forward"],
    "free_bits": ["free_bits"],
    "scale_rows_inplace": ["scale_rows_inplace"],
    "bernoulli": ["bernoulli_forward", "bernoulli_forward_backward"],
    "squared_error": ["squared_error_forward", "squared_error_forward_backward"],
    "poisson": ["poisson_forward", "poisson_forward_backward"],
    "continuous_bernoulli": ["continuous_bernoulli_forward", "continuous_bernoulli_forward_backward"],
    "continuous_mean_inplace": ["continuous_mean_inplace"],
    "divergence": ["divergence_forward", "divergence_forward_backward"],
    "sigmoid_inplace": ["sigmoid_inplace"],
    "exp_inplace": ["exp_inplace"],
    "tanh_inplace": ["tanh_inplace"],
    "log1p": ["log1p"],
    "adam_inplace": ["adam_inplace"],
    "sgd_inplace": ["sgd_inplace"],
    "average_inplace": ["average_inplace"],
    "add_inplace": [],
    "dense_along_across": ["dense_forward"],
    "dense_along_along": ["dense_backward_input"],
    "dense_across_across": ["dense_backward_weight"],
    "derivative_inplace": ["dense_backward_input"],
    "draw": ["normal_noise", "uniform_noise"],
    "binarize_inplace": ["binarize_inplace"],
    "corrupt": ["corrupt"],
    "threshold_inplace": ["threshold_inplace"],
    "shuffled_indices": [],
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
UPDATES = "adam_inplace", "sgd_inplace", "average_inplace", "add_inplace"
PRODUCTS = {  # how the operands lie
    "dense_forward": (True, False),
    "dense_backward_input": (True, True),
    "dense_backward_weight": (False, False),
}
MORE = {  # numbers for a second block
    "normal_noise": (1, 1030, 1),
    "binarize_inplace": (1, 1030, 1),
    "corrupt": (1, 1030, 1),
    "threshold_inplace": (5, 67, 1),
    "gather": (9, 40, 1),
    "read_rows": (9, 40, 1),
}
# Who may survive: mostly digits of functions of one number, which few checks meet; of ln x!, what whole numbers do not.
LEFT = {"sigma_remember": 0.2, "poisson": 0.25}
EACH = 70  # mutants of a kernel, evenly chosen


def run_all(device, name):
    ops = USERS[name]
    for op in ops:
        if op in PRODUCTS:  # first: it notices most, in a second
            several_products(device, *PRODUCTS[op])
        if op in POWERS:
            check_sum(op)
            continue
        for shape in [*REACHING, *([MORE[op]] if op in MORE else [])]:
            check_op(cuda, op, shape, [on_device])
    if name == "shuffled_indices":
        for count, epoch in ((63, 7), (64, 7), (65, 0), (65, 1), (65, 2), (65, 3), (1025, 7)):
            check_order(count, epoch)
    if name == "next_step":
        for place, batch, used in ((0, 30, 17), (2, 300, 64)):
            check_next_step(device, place, batch, used)
    if name.startswith("sigma_"):
        for size in (1, 70):
            check_sigma(size)
    if name == "sigma_remember":
        check_remembered(device)
    if name == "losses":
        for bad, place, size, both in ((None, 2, 2051, 1), (None, 0, 0, 0), (np.nan, 1, 0, 1), (np.inf, 0, 9, 0)):
            check_losses(device, bad, place, size, both)
        for weight in (0, 1):
            check_weights(device, weight)
    if name in ("adam_inplace", "square_parts", *INPLACE):
        for begin in (1, 2):
            check_beginnings("clip_scale" if name == "square_parts" else name, begin)
    if name in UPDATES:
        check_flat(device, name)
    if name in UPDATES[:3]:
        check_stopped(device, name)
    if name in UPDATES[:2]:
        for largest in (0.5, 1e9):
            check_clipped(name, largest)
    if name in INPLACE:
        check_elementwise(device, name, 5000)


def is_equivalent(mutant):
    """Where two pieces of a continuous formula meet, it does not matter which of them the point itself belongs to."""
    found = [re.search(r"setp\.(l|g)[te]u?\.f32", line) for line in (mutant.before, mutant.after)]
    return all(found) and found[0][1] == found[1][1]


def test_every_kernel_has_users():
    """But those that are made for each type of data, and each layout of operands."""
    made = ("gather_", "dense_")
    assert {kernel.__name__ for kernel in KERNELS if not kernel.__name__.startswith(made)} <= set(USERS)


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
