"""Atomic files: exceptions, links, several writers, full disks, limits, rights and SIGKILL leave a whole file."""

import errno
import io
import os
import pathlib
import random
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import pytest

import fastvae
from fastvae import atomic
from fastvae.atomic import atomic_file, remove_partials
from fastvae.errors import FileAccessError
from fastvae.persistence import read_container, write_container

ROOT = pathlib.Path(fastvae.__file__).parents[1]


@pytest.fixture
def path(tmp_path):
    write_container(tmp_path / "model.npz", "model", {"earlier": True}, {"a": np.arange(3.0)})
    return tmp_path / "model.npz"


# ---- atomic files ----------------------------------------------------------------------------------------------------


def test_text_mode_writes_line_ends_as_given(tmp_path):
    with atomic_file(tmp_path / "a.csv", "w") as file:
        file.write("ä,1\r\nb,2\n")
    assert (tmp_path / "a.csv").read_bytes() == "ä,1\r\nb,2\n".encode()


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_exception_leaves_everything_as_it_was(tmp_path, error):
    (tmp_path / "a").write_bytes(b"earlier")
    for name in ("a", "new"):
        with pytest.raises(error), atomic_file(tmp_path / name) as file:  # noqa: PT012
            file.write(b"half")
            assert (tmp_path / "a").read_bytes() == b"earlier"
            raise error
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"earlier"


def test_errors_about_other_files_pass_through(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_file(tmp_path / "a"):
        (tmp_path / "elsewhere").read_bytes()
    assert not os.listdir(tmp_path)


def test_permissions_are_those_of_the_earlier_file_or_of_the_umask(tmp_path):
    (tmp_path / "plain").touch()
    write_container(tmp_path / "new", "model", {}, {})
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    for mode in (0o600, 0o664):
        os.chmod(tmp_path / "new", mode)
        write_container(tmp_path / "new", "model", {}, {})
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == mode


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "model").write_bytes(b"earlier")
    os.symlink("real/model", tmp_path / "link")
    os.symlink("real/later", tmp_path / "dangling")
    os.symlink("loop", tmp_path / "loop")
    for name in ("link", "dangling"):
        with atomic_file(tmp_path / name) as file:
            file.write(b"new")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / name).read_bytes() == b"new"
    assert sorted(os.listdir(tmp_path / "real")) == ["later", "model"]
    with pytest.raises(FileAccessError), atomic_file(tmp_path / "loop"):
        pass


def test_targets_that_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    cases = [
        (tmp_path, "folder"),
        (f"{tmp_path}/new/", "folder"),
        (tmp_path / "none" / "a", r"the folder '.*none' does not exist, create it first"),
        (tmp_path / "file" / "a", "does not exist"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / ("x" * 300), "too long"),
    ]
    for place, words in cases:
        with pytest.raises(FileAccessError, match=words) as caught:
            write_container(place, "model", {}, {})
        assert caught.value.filename == str(place)
        assert "\n" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "pipe"]


def test_names_of_the_greatest_length(tmp_path):
    with atomic_file(tmp_path / ("ä" * 127)) as file:
        file.write(b"x")
    assert os.listdir(tmp_path) == ["ä" * 127]


def test_remove_partials_takes_only_what_nobody_holds(tmp_path):
    stale, user = tmp_path / ".a.0123456789abcdef.partial", tmp_path / ".mine.partial"
    stale.write_bytes(b"half")
    user.write_bytes(b"mine")
    os.symlink("elsewhere", tmp_path / ".b.0123456789abcdef.partial")
    with atomic_file(tmp_path / "a") as file:
        assert not stale.exists()  # saving cleans up
        stale.write_bytes(b"half")
        assert remove_partials(tmp_path) == 1
        assert remove_partials(str(tmp_path)) == 0
        file.write(b"x")
    assert (tmp_path / "a").read_bytes() == b"x"
    assert sorted(os.listdir(tmp_path)) == [".b.0123456789abcdef.partial", ".mine.partial", "a"]
    assert remove_partials(tmp_path / "none") == 0


def test_many_writers_of_one_path(tmp_path):
    path, failures = tmp_path / "a.npz", []

    def write(number):
        try:
            for _ in range(20):
                write_container(path, "model", {"writer": number}, {"a": np.full(100, number)})
                header, found = read_container(path, {"model"})
                assert (found["a"] == header["writer"]).all()
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert os.listdir(tmp_path) == ["a.npz"]


# ---- disks that fill up, limits, rights, SIGKILL ---------------------------------------------------------------------


def unchanged_after_failure(path, code, words):
    before = path.read_bytes()
    with pytest.raises(FileAccessError) as caught:
        write_container(path, "model", {}, {"a": np.ones(100_000)})
    assert caught.value.errno == code
    assert caught.value.filename == str(path)
    assert "could not write the file: " in str(caught.value)
    assert "an earlier file is unchanged" in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_full_disk_found_by_fsync(path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic.os, "fsync", full)
    unchanged_after_failure(path, errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("room", [0, 10, 5_000, 500_000])
def test_a_full_disk_found_by_write(path, monkeypatch, room):
    class Full(io.FileIO):
        left = room

        def write(self, data):
            taken = min(self.left, len(data))
            if not taken:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.left -= taken
            return super().write(memoryview(data)[:taken])

    def full(descriptor, mode, closefd):
        return io.BufferedWriter(Full(descriptor, mode, closefd=closefd))

    monkeypatch.setattr(atomic, "open", full, raising=False)
    unchanged_after_failure(path, errno.ENOSPC, "free some space")


def test_the_first_failure_is_reported_where_the_disk_is_full_too(path, monkeypatch):
    class Full(io.FileIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def full(descriptor, mode, closefd):
        return io.BufferedWriter(Full(descriptor, mode, closefd=closefd))

    monkeypatch.setattr(atomic, "open", full, raising=False)
    with pytest.raises(KeyError), atomic_file(path) as file:  # noqa: PT012
        file.write(b"waits in the buffer")
        raise KeyError
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize(("code", "words"), [(errno.EROFS, "Read-only"), (errno.EDQUOT, "quota"), (errno.EIO, "check")])
def test_errors_on_creating_the_temporary_file(path, monkeypatch, code, words):
    def refuse(name, *args):
        raise OSError(code, os.strerror(code), name)

    monkeypatch.setattr(atomic.os, "open", refuse)
    unchanged_after_failure(path, code, words)


def test_an_error_on_replacing(path, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), source, None, target)

    monkeypatch.setattr(atomic.os, "replace", refuse)
    unchanged_after_failure(path, errno.EPERM, "check the permissions")


def test_a_folder_that_cannot_be_synced_does_not_undo_the_success(path, monkeypatch):
    def fsync(descriptor, real=os.fsync):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no")
        real(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    write_container(path, "model", {"new": 1}, {})
    assert read_container(path, {"model"})[0] == {"new": 1}


def test_the_file_is_synced_before_it_is_renamed_and_the_folder_after(path, monkeypatch):
    events: list[object] = []

    def fsync(descriptor, real=os.fsync):
        status = os.fstat(descriptor)
        events.append("folder" if stat.S_ISDIR(status.st_mode) else status.st_size)
        real(descriptor)

    def replace(source, target, real=os.replace):
        events.append("replace")
        real(source, target)

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    monkeypatch.setattr(atomic.os, "replace", replace)
    write_container(path, "model", {}, {"a": np.ones(1000)})
    assert events == [path.stat().st_size, "replace", "folder"]


def python(code, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, **options
    )


LIMITED = """
import resource, sys
import numpy as np
from fastvae.errors import FileAccessError
from fastvae.persistence import write_container
for limit in (100, 20_000, 400_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_container(sys.argv[1], "model", {}, {"a": np.ones(100_000)})
    except FileAccessError as exc:
        print(exc.errno, exc)
"""


def test_a_real_limit_on_file_sizes(path):
    pytest.importorskip("resource")
    before = path.read_bytes()
    process = python(LIMITED, path)
    lines = process.communicate()[0].decode().splitlines()
    assert process.returncode == 0
    assert len(lines) == 3
    for line in lines:
        assert line.startswith(f"{errno.EFBIG} ")
        assert "an earlier file is unchanged; raise the limit on file sizes" in line
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


WRITER = """
import itertools, sys
import numpy as np
from fastvae.persistence import write_container
for number in itertools.count():
    write_container(sys.argv[1], "checkpoint", {"number": number}, {"a": np.full(200_000, number)})
    if number == 1:
        print("ready", flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_sigkill_at_any_moment_leaves_a_readable_file(tmp_path):
    path = tmp_path / "checkpoint.npz"
    r = random.Random(3)
    for _ in range(10):
        with python(WRITER, path) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(r.uniform(0, 0.02))
            process.kill()
        header, found = read_container(path, {"checkpoint"})
        assert header["number"] >= 1
        assert (found["a"] == header["number"]).all()
        assert len(os.listdir(tmp_path)) <= 2  # at most one partial, which the next process removes
    write_container(path, "checkpoint", {}, {})
    assert os.listdir(tmp_path) == ["checkpoint.npz"]


@pytest.fixture
def ordinary_user():
    """Root may do everything: become nobody, so that permissions count."""
    if os.getuid() == 0 and not hasattr(os, "setresuid"):
        pytest.skip("runs as root")
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        place.chmod(0o777)
        root = os.getuid() == 0
        if root:
            os.setresuid(65534, 65534, 0)
        try:
            (place / "mine").mkdir()
            yield place / "mine"
            (place / "mine").chmod(0o777)
        finally:
            if root:
                os.setresuid(0, 0, 0)


def test_permission_denied(ordinary_user):
    path = ordinary_user / "model.npz"
    write_container(path, "model", {}, {})
    path.chmod(0o400)
    unchanged_after_failure(path, errno.EACCES, "Permission denied; an earlier file")
    path.chmod(0o600)
    ordinary_user.chmod(0o500)
    unchanged_after_failure(path, errno.EACCES, "Permission denied")
    path.chmod(0)
    with pytest.raises(FileAccessError, match=r"could not read the file: Permission denied; check the permissions"):
        read_container(path, {"model"})
    path.chmod(0o600)
