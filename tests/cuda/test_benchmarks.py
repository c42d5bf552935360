"""The benchmarks' cases on a GPU, at a tiny size: built, run and compared, with an interpreter in the GPU's place."""

import dataclasses
import json

import numpy as np
import pytest

from benchmarks import bench_minibatch, bench_training, cases, devices, fastvae_vae, tables, worker
from benchmarks.cases import IMPLEMENTATIONS, Point
from benchmarks.sizes import Size
from tests.fake_driver import why_not

REASON = why_not()
if REASON is None:
    from fastvae.kernels.cuda.driver import Device, using
    from tests.cuda.ptx_device import PTXDevice, for_models

    class Counting(PTXDevice):
        """Which notes how often somebody waits for it."""

        waits = 0

        def synchronize(self):
            super().synchronize()
            self.waits += 1

    class Spoiling(PTXDevice):
        """Whose launches leave nothing but NaN, or 0, in all arrays."""

        def execute(self, launched, arguments):
            for array in arguments:
                if isinstance(array, np.ndarray):
                    array[...] = np.nan if array.dtype.kind == "f" else 0

    class Broken(Device):
        """Without a driver."""

        def fault(self):
            return "no NVIDIA driver, or no GPU, is found"


compiled = pytest.mark.skipif(REASON is not None, reason=str(REASON))
TINY = Size("tiny", 12, 8, 4, 6)
MANY = Size("many", 12, 8, 4, 128)  # for what is compared by its moments
FEW = 3  # times that a step repeats its work
ON_GPU = [name for name, chosen in IMPLEMENTATIONS.items() if chosen.device == "cuda"]
CASES = [(op, name) for op, chosen in cases.all_ops().items() for name in ON_GPU if name in chosen.build]


@pytest.fixture
def few(monkeypatch):
    """As much work as an interpreter can do."""
    for module, name, value in (
        (devices, "REPEATS", FEW), (bench_minibatch, "EXAMPLES", 300), (bench_training, "CHECKED", 2),
        (fastvae_vae, "AHEAD", FEW),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def device(few, monkeypatch):
    with using(for_models(monkeypatch, kind=Counting)) as made:
        yield made


def size_for(op):
    return MANY if cases.homes()[op] == "bench_noise" else TINY


def build_and_check(op, implementation):
    chosen, size = cases.all_ops()[op], size_for(op)
    case = chosen.build[implementation](size)
    chosen.check(size, case, IMPLEMENTATIONS[implementation].dtype)
    return case


# ---- the cases ----------------------------------------------------------------------------------------------------


def test_every_kernel_a_step_and_inference_have_a_case():
    without = {name for name, op in cases.all_ops().items() if "fastvae" in op.build and "fastvae_cuda" not in op.build}
    assert without == {"products", "mapped_step", "importance_64", "importance_512"}
    assert [op for op, name in CASES if name == "fastvae_cuda_bf16"] == ["step"]


@compiled
@pytest.mark.parametrize(("op", "implementation"), CASES)
def test_case(device, op, implementation):
    """It agrees with NumPy, and a step does its work as often as it says, without copies where it is a kernel's."""
    case = build_and_check(op, implementation)
    launches, copies, waits = len(device.launched), device.copies, device.waits
    case.step()
    done = device.launched[launches:]
    assert done
    assert done == case.repeats * done[: len(done) // case.repeats]
    if case.once is not None and op != "clip_scale":  # which leaves a number here
        assert (device.copies, device.waits) == (copies, waits + 1)
    if case.once is not None or op == "step":
        assert case.repeats == FEW
    products = [name for name in done if name.startswith("dense_")]
    assert all(("bfloat16" in name) == implementation.endswith("bf16") for name in products)


@compiled
@pytest.mark.parametrize(("op", "implementation"), CASES)
def test_case_on_a_faulty_device(few, op, implementation, monkeypatch):
    """What is compared is what the device has computed."""
    wrong = pytest.raises((AssertionError, ValueError), match="differs from numpy|float32 overflows")
    with using(for_models(monkeypatch, kind=Spoiling)), wrong:
        build_and_check(op, implementation)


@compiled
def test_worker(device):
    """The process that measures, from its first question to its last."""
    session = worker.Session("fastvae_cuda")
    about = session.describe()
    assert about["device"] == "cuda: an interpreter of PTX"
    assert "numba-cuda" in json.loads(json.dumps(about))["versions"]
    assert session.build("bench_latent", "latent_forward", dataclasses.asdict(TINY), 1e-6)["seconds"] > 0
    assert session.round()["seconds"] > 0
    assert device.launched[-1] == "latent_forward"


# ---- where it cannot run ------------------------------------------------------------------------------------------


@compiled
def test_obstacles(monkeypatch):
    plain, bfloat16 = (IMPLEMENTATIONS[name].obstacle for name in ON_GPU)
    with using(PTXDevice((8, 0), 0, monkeypatch)):
        assert (plain(), bfloat16()) == (None, None)
    with using(PTXDevice((7, 5), 0, monkeypatch)):
        assert plain() is None
        assert "precision='bfloat16' needs 8.0" in bfloat16()
    with using(Broken()):
        assert plain() == bfloat16() == "no NVIDIA driver, or no GPU, is found"


def test_obstacles_before_there_is_a_device(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ON_GPU:
        assert "numba-cuda is not installed" in IMPLEMENTATIONS[name].obstacle()


# ---- what is compared with what -----------------------------------------------------------------------------------


def test_rivals(monkeypatch):
    """All are measured in turn with fastvae on the CPU, never with the GPU."""
    monkeypatch.setattr(cases, "missing", lambda name: None)
    expected = {"fastvae_cuda_bf16": "fastvae_bf16", "torch_bf16": "fastvae_bf16"}
    for name in IMPLEMENTATIONS:
        assert cases.rival(name) == expected.get(name, "fastvae"), name
    monkeypatch.setattr(cases, "missing", lambda name: "no instructions" if name == "fastvae_bf16" else None)
    assert cases.rival("fastvae_cuda_bf16") == "fastvae"


def record(op, implementation, ratio, series=""):
    against = None if ratio is None else "fastvae"
    ratios = None if ratio is None else dict.fromkeys(("median", "min", "max", "fastest"), ratio)
    about, point = {"memory_at_start": 0}, Point(op, TINY, implementation, series)
    return tables.Record(point, cases.all_ops()[op], 1e-3, 1e-3, against, ratios, 0, about)


def records(op, series=""):
    found = {"fastvae": None, "numpy": 3.0, "torch": 2.0, "fastvae_cuda": 0.0421}
    return [record(op, name, ratio, series) for name, ratio in found.items()]


def test_tables():
    """A GPU has its ratio and a note, and is no peer."""
    products = record("products", "fastvae", None)
    for lines in (list(tables.step_tables([*records("step"), products])), list(tables.op_table("", records("gather")))):
        assert "0.042 (0.042..0.042)" in "\n".join(lines)
        assert lines[-1] == "\nfastvae_cuda: on a GPU, no peer. Its ratio is its time / that of fastvae on the CPU"
    by = {line.split()[0]: line.split() for line in tables.step_tables([*records("step"), products]) if line.strip()}
    assert len(by["numpy"]) == len(by["fastvae_cuda"]) + 1  # by the products alone, the CPU's
    without = [r for r in records("step") if r.point.implementation != "fastvae_cuda"]
    assert not any("GPU" in line for line in tables.step_tables(without))


def test_the_best_peer_is_none_on_a_gpu():
    lines = list(tables.growth_tables(records("step", "batch")))
    assert lines[-1].endswith("   torch 2.00")


def test_environment(monkeypatch):
    monkeypatch.setattr(tables, "missing", lambda name: None if name == "fastvae_cuda" else "not here")
    described = {"versions": {"fastvae": "1", "numba-cuda": "2"}, "device": "cuda: some GPU", "threads": 1}
    lines = list(tables.environment({"fastvae_cuda": described}))
    assert "fastvae_cuda: fastvae 1, numba-cuda 2; cuda: some GPU" in lines
    assert "fastvae_cuda_bf16: left out, not here" in lines
