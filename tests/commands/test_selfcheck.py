"""The command that checks an installation: what it says, and that it would notice a wrong kernel."""

import json
import math

import numpy as np
import pytest

from fastvae import checks, reference, selfcheck
from fastvae.kernels.cpu import processor


def test_it_says_what_was_chosen_and_why(capsys):
    assert selfcheck.main(["--chosen-only"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"products in float32: {processor.CHOSEN} ({processor.REASON})" in lines
    assert f"products in bfloat16: {processor.BFLOAT16 or 'none'} ({processor.BFLOAT16_REASON})" in lines
    assert lines[-1] == "all kernels agree with the reference"
    for name in (*checks.PRODUCTS, *checks.PASSES, "softplus, both ways"):
        assert any(line.startswith(name) for line in lines), name


@pytest.mark.long
def test_as_json_with_every_variant_that_runs_here(capsys):
    assert selfcheck.main(["--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    about = report["about"]
    assert set(report["float32"]) == {about["products"], *selfcheck.variants(about["products"])}
    assert set(report["bfloat16"]) == ({about["bfloat16"]} if about["bfloat16"] else set())
    for results in report["float32"].values():
        assert {r["name"] for r in results} >= set(checks.PRODUCTS)
        assert all(r["right"] and 0 <= r["error"] <= 1 and r["rate"] > 0 for r in results)


def test_a_kernel_that_is_wrong_in_its_fifth_digit_is_noticed(monkeypatch, capsys):
    honest = reference.bernoulli_forward_backward
    monkeypatch.setattr(
        reference, "bernoulli_forward_backward", lambda x, a: (honest(x, a)[0] * (1 + 1e-5), honest(x, a)[1])
    )
    assert selfcheck.main(["--chosen-only"]) == 1
    out = capsys.readouterr().out
    assert "WRONG: 1 kernels do not agree" in out
    assert [line.split()[0] for line in out.splitlines() if line.endswith("   WRONG")] == ["bernoulli_forward_backward"]


def test_nan_is_wrong():
    assert not checks.Result("op", math.nan, 1.0, "GB/s").right
    assert checks.Result("op", 1.0, 1.0, "GB/s").right


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_operands_are_rounded_as_the_products_round_them(precision):
    x = np.array([[1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8]], np.float32)
    expected = x if precision == "float32" else [[1, 1, 1 + 2.0**-6]]
    np.testing.assert_array_equal(checks._operand(x, precision), expected)


def test_a_variant_that_fails_to_start_is_named(monkeypatch, capsys):
    monkeypatch.setattr(selfcheck, "variants", lambda chosen: ["unheard-of"])
    assert selfcheck.main([]) == 2
    assert "the check of unheard-of did not end: " in capsys.readouterr().err
