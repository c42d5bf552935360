"""The command that checks an installation: what it says, and that it would notice a wrong kernel."""

import json
import math

import numpy as np
import pytest

from fastvae import backend, checks, reference, selfcheck
from fastvae.contract_cases import PRODUCTS, Compared, cases_of
from fastvae.kernels.cpu import processor
from fastvae.kernels.ops import OPS


def test_it_says_what_was_chosen_and_why(monkeypatch, capsys):
    monkeypatch.setattr(checks, "USUAL", (12, 64, 33))
    monkeypatch.setattr(checks, "SECONDS", 1e-4)
    assert selfcheck.main(["--chosen-only"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"products in float32: {processor.CHOSEN} ({processor.REASON})" in lines
    assert f"products in bfloat16: {processor.BFLOAT16 or 'none'} ({processor.BFLOAT16_REASON})" in lines
    assert lines[-1] == "all kernels agree with the reference"
    for name in (*OPS, "dense_forward, softplus", "dense_backward_input, silu"):
        assert any(line.startswith(name) for line in lines), name
    speeds = [line for line in lines if line.rstrip().endswith("/s")]
    assert len(speeds) > len(OPS)
    assert all(line[selfcheck.WIDTH - 1] == " " for line in speeds)


@pytest.mark.slow  # every variant is compiled
def test_as_json_with_every_variant_that_runs_here(capsys):
    assert selfcheck.main(["--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    about = report["about"]
    assert set(report["float32"]) == {about["products"], *selfcheck.variants(about["products"])}
    assert set(report["bfloat16"]) == ({about["bfloat16"]} if about["bfloat16"] else set())
    for results in report["float32"].values():
        assert {r["name"] for r in results} >= set(OPS)
        assert {r["name"] for r in results if r["unit"] == "GFLOP/s"} == set(PRODUCTS)
        assert all(r["right"] and 0 <= r["error"] <= 1 and r["rate"] > 0 for r in results)


def test_a_kernel_that_is_wrong_in_its_fifth_digit_is_noticed(monkeypatch, capsys):
    honest = reference.bernoulli_forward_backward
    monkeypatch.setattr(
        reference, "bernoulli_forward_backward", lambda x, a: (honest(x, a)[0] * (1 + 1e-5), honest(x, a)[1])
    )
    monkeypatch.setattr(checks, "USUAL", (12, 64, 33))
    monkeypatch.setattr(checks, "SECONDS", 1e-4)
    assert selfcheck.main(["--chosen-only"]) == 1
    out = capsys.readouterr().out
    assert "WRONG: 2 kernels do not agree" in out
    wrong = [line.split()[0] for line in out.splitlines() if line.endswith("   WRONG")]
    assert wrong == ["bernoulli_forward", "bernoulli_forward_backward"]


def test_nan_is_wrong():
    assert not checks.Result("op", math.nan, 1.0, "GB/s").right
    assert checks.Result("op", 1.0, 1.0, "GB/s").right


def test_what_is_not_written_or_written_too_much_is_noticed(monkeypatch):
    """NaN that was left in a result, a number where nothing should be written, and an operand that was changed."""
    on = backend.select("cpu")
    case = next(cases_of("dense_accumulate", (3, 4, 5)))
    assert checks._error(case, on) < 1
    case = next(cases_of("dense_accumulate", (3, 4, 5)))
    case.before[0][0, 0] += 1  # as if the op had changed x
    assert checks._error(case, on) > 1
    pieces = [case for case in cases_of("dense_backward_weight", (3, 4, 5)) if not case.operands[4]]
    assert all(checks._error(case, on) < 1 for case in pieces)
    for expected in (0.0, np.nan):
        case = next(cases_of("threshold_inplace", (3, 4, 5)))
        case.compared()[0].expected.setflags(write=True)
        changed = case.compared()[0].expected.astype(float)
        changed[0, 0] = expected + 2
        monkeypatch.setattr(type(case), "compared", lambda *_, a=case.arrays[0], e=changed: [Compared(a, e, 0.0)])
        assert not checks._error(case, on) <= 1


def test_a_variant_that_fails_to_start_is_named(monkeypatch, capsys):
    monkeypatch.setattr(selfcheck, "variants", lambda chosen: ["unheard-of"])
    monkeypatch.setattr(selfcheck, "_check", lambda precision: [])
    assert selfcheck.main([]) == 2
    assert "the check of unheard-of did not end: " in capsys.readouterr().err
