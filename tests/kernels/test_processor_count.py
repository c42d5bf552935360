"""How many processors are used: each limit that somebody may have set."""

import os

import pytest

from fastvae.kernels.cpu import blas
from fastvae.kernels.cpu import processor_count as module
from fastvae.kernels.cpu.processor_count import processors, quota
from tests.support.commands import python


@pytest.fixture(autouse=True)
def _eight(monkeypatch):
    """A machine with eight, and no limits."""
    monkeypatch.setattr(module, "available", lambda: 8)
    monkeypatch.setattr(module, "quota", lambda: None)
    monkeypatch.setattr(blas, "threads_allowed", lambda: None)
    for variable in (module.VARIABLE, "OPENBLAS_NUM_THREADS", *module.LIMITS):
        monkeypatch.delenv(variable, raising=False)


def test_all_where_nobody_has_set_a_limit():
    assert processors() == 8


@pytest.mark.parametrize(("value", "expected"), [(0.5, 1), (1.0, 1), (1.5, 2), (3.0, 3), (20.0, 8), (None, 8)])
def test_a_quota_is_rounded_up(monkeypatch, value, expected):
    monkeypatch.setattr(module, "quota", lambda: value)
    assert processors() == expected


@pytest.mark.parametrize("variable", module.LIMITS)
@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", 3), ("1", 1), ("20", 8), ("2,1", 2), (" 4 ", 4), ("", 8), ("0", 8), ("-1", 8), ("many", 8)],
)
def test_variables_that_other_libraries_know(monkeypatch, variable, value, expected):
    monkeypatch.setenv(variable, value)
    assert processors() == expected


@pytest.mark.parametrize(("threads", "expected"), [(1, 1), (5, 5), (8, 8), (64, 8), (None, 8)])
def test_the_threads_of_openblas(monkeypatch, threads, expected):
    monkeypatch.setattr(blas, "threads_allowed", lambda: threads)
    assert processors() == expected
    monkeypatch.setattr(module, "available", lambda: 128)
    assert processors() == (128 if threads in (64, None) else threads)


def test_our_own_variable_counts_more_than_all(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("FASTVAE_THREADS", "12")
    assert processors() == 12


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_the_systems_own_limit():
    script = """
        import os
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        from fastvae.kernels.cpu.processor_count import processors
        print(processors())
    """
    assert python(script, FASTVAE_THREADS="").split() == ["1"]


def test_a_limit_of_threadpoolctl_is_seen_while_it_lasts():
    pytest.importorskip("threadpoolctl", reason="needs threadpoolctl: pip install threadpoolctl")
    if blas._control() is None:
        pytest.skip("NumPy does not use OpenBLAS")
    script = """
        from threadpoolctl import threadpool_limits
        from fastvae.kernels.cpu import processor_count
        from fastvae.kernels.cpu import blas
        processor_count.available = lambda: 8
        with threadpool_limits(3):
            with threadpool_limits(1):
                print(processor_count.processors())
            print(processor_count.processors())
            with blas.one_thread(), blas.one_thread():  # our own limit is none
                print(blas.threads(), processor_count.processors())
            print(processor_count.processors())
    """
    assert python(script).split() == ["1", "3", "1", "3", "3"]


def test_the_workers_of_joblib_share_the_processors():
    joblib = pytest.importorskip("joblib", reason="needs joblib: pip install joblib")
    script = """
        import joblib
        if __name__ == "__main__":
            from fastvae.kernels.cpu.processor_count import processors
            print(processors(), *joblib.Parallel(n_jobs=2)(joblib.delayed(processors)() for _ in range(2)))
    """
    alone, *each = python(script, PYTHONWARNINGS="default").split()
    assert [int(count) for count in each] == [max(1, joblib.cpu_count() // 2)] * 2 or int(alone) == 1


# ---- control groups -------------------------------------------------------------------------------------------------


def system(folder, groups, mounts, **files):
    """A tree of files as Linux shows them."""
    for name, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return folder


V2 = "31 23 0:28 {} /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "32 31 0:29 {} /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct"


def max_of(**groups):
    """cpu.max of each group."""
    return {f"sys/fs/cgroup{group.replace('__', '/')}/cpu.max": text for group, text in groups.items()}


@pytest.mark.parametrize(
    ("path", "root", "files", "expected"),
    [
        ("/", "/", {"": "150000 100000"}, 1.5),  # a container
        ("/", "/", {"": "max 100000"}, None),
        ("/", "/", {}, None),
        ("/a/b", "/", {"": "max 100000", "__a": "200000 100000", "__a__b": "max 100000"}, 2.0),  # the outer one
        ("/a/b", "/", {"__a": "200000 100000", "__a__b": "50000 100000"}, 0.5),
        ("/a/b", "/a/b", {"": "300000 100000"}, 3.0),  # a mount of a part
        ("/../outside", "/", {"": "300000 100000"}, 3.0),
        ("/elsewhere", "/a", {"": "300000 100000"}, 3.0),
        ("/", "/", {"": "rubbish"}, None),
        ("/", "/", {"": "1 0"}, None),
    ],
)
def test_a_quota_of_version_2(tmp_path, path, root, files, expected):
    assert quota(system(tmp_path, f"0::{path}", V2.format(root), **max_of(**files))) == expected


@pytest.mark.parametrize(("allowed", "expected"), [("150000", 1.5), ("-1", None), ("0", None), ("", None)])
def test_a_quota_of_version_1(tmp_path, allowed, expected):
    folder = "sys/fs/cgroup/cpu,cpuacct/docker/1"
    files = {f"{folder}/cpu.cfs_quota_us": allowed, f"{folder}/cpu.cfs_period_us": "100000"}
    groups = "5:memory:/other\n4:cpu,cpuacct:/docker/1\n0::/"
    assert quota(system(tmp_path, groups, f"{V1.format('/')}\n{V2.format('/')}", **files)) == expected


def test_without_control_groups_there_is_no_quota(tmp_path):
    assert quota(tmp_path) is None
    assert quota(system(tmp_path / "empty", "", "")) is None
