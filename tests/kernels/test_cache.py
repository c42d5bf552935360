"""Compiled code on the disk: where it lies, what is believed of what lies there, and what happens where nothing can."""

import os
import pathlib
import pickle
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from numba import config

import fastvae
from fastvae.kernels.cpu import cache, compiler, optimizers
from fastvae.kernels.cpu.cache import Folder
from tests.support import commands

PACKAGE = pathlib.Path(fastvae.__file__).parent
POSIX = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="owners and permissions of POSIX")

NORM = """
import sys, numpy as np
if sys.argv[1:] == ["full"]:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
from fastvae.kernels.cpu import optimizers
for numbers in (np.ones(3, np.float32), np.ones(6, np.float32)[::2]):
    assert optimizers.squared_norm(numbers) == 3
print(sum(optimizers.squared_norm.stats.cache_hits.values()))
"""


def norm(*arguments, **environment):
    """What a process that compiles two functions, where it finds no code, prints and what it says."""
    environment = os.environ | {"PYTHONPATH": str(commands.ROOT), "PYTHONWARNINGS": "default"} | environment
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-c", NORM, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=True)
    return done.stdout.strip(), done.stderr.splitlines()


@pytest.fixture
def named(tmp_path, monkeypatch):
    """What NUMBA_CACHE_DIR names, and no temporary folder."""

    def gettempdir():
        raise FileNotFoundError

    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "named"))
    monkeypatch.setattr(cache.tempfile, "gettempdir", gettempdir)
    monkeypatch.setattr(cache, "SAID", [])
    return tmp_path / "named" / "fastvae"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Nothing but a home, and a folder for temporary files."""
    monkeypatch.setattr(config, "CACHE_DIR", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(cache.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    monkeypatch.setattr(cache, "SAID", [])
    return tmp_path / "home"


def paths():
    return [folder.path for folder in cache.folders()]


# ---- where ----------------------------------------------------------------------------------------------------------


def test_the_code_lies_in_the_users_folder_for_caches_never_beside_the_sources(home, tmp_path):
    mine, temporary = paths()
    assert mine.is_relative_to(home)
    assert temporary.is_relative_to(tmp_path / "tmp")
    for sources in (PACKAGE, pathlib.Path(cache.__file__).parent):
        assert not any(path.is_relative_to(sources) for path in paths())


@pytest.mark.skipif(sys.platform != "linux", reason="the variable of the XDG specification")
@pytest.mark.parametrize(
    ("value", "expected"), [("/var/x", "/var/x/fastvae"), ("", "~/.cache/fastvae"), ("relative", "~/.cache/fastvae")]
)
def test_xdg_cache_home_counts_where_it_is_absolute(home, monkeypatch, value, expected):
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert str(paths()[0]) == os.path.expanduser(expected)


def test_what_the_user_names_comes_first(named):
    assert paths()[0] == named


def test_without_a_home_nothing_is_made_in_the_current_folder(home, tmp_path, monkeypatch):
    """A user that the system does not know, as in a container with --user: "~" stays what it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.warns(RuntimeWarning, match=r"cannot be kept in ~.* \(there is no home folder\): they are kept in "):
        cache.keep("a.nbc", b"code")
    assert not list(tmp_path.glob("~*"))
    assert paths()[1].joinpath("a.nbc").exists()


@POSIX
def test_the_folders_are_the_users_alone(home):
    cache.keep("a.nbc", b"code")
    folder = Folder(paths()[0])
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert (folder.path / "a.nbc").stat().st_mode & 0o022 == 0
    assert folder.read("a.nbc") == b"code"


# ---- where it cannot be kept ----------------------------------------------------------------------------------------


def test_what_cannot_be_kept_in_one_folder_is_kept_in_the_next_and_that_is_said_once(home):
    home.write_text("a file where a folder should be")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for name in ("a.nbc", "b.nbc"):
            cache.keep(name, name.encode())
    (warning,) = said
    assert "cannot be kept in" in str(warning.message)
    assert f"they are kept in {paths()[1]}" in str(warning.message)
    assert len(warnings.formatwarning(warning.message, RuntimeWarning, "fastvae", 0).splitlines()) == 1
    assert Folder(paths()[1]).read("b.nbc") == b"b.nbc"


def test_where_nothing_can_be_kept_that_is_said_once(named, monkeypatch):
    named.parent.write_text("a file where a folder should be")
    with pytest.warns(RuntimeWarning, match="each new process compiles them again"):
        cache.keep("a.nbc", b"code")
    cache.keep("b.nbc", b"code")  # a second warning would be an error here


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_leaves_nothing_half_written(named):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.warns(RuntimeWarning, match="too large|No space"):
            cache.keep("a.nbc", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(named.iterdir()) == []


@POSIX
def test_a_process_without_a_home_compiles_once_and_says_so_in_one_line(tmp_path):
    where = {"HOME": "/dev/null", "XDG_CACHE_HOME": "", "TMPDIR": str(tmp_path)}
    hits, (line,) = norm(**where)
    assert hits == "0"
    assert "/dev/null/.cache/fastvae (Not a directory): they are kept in " in line
    assert norm(**where) == ("2", [])


@POSIX
def test_a_process_that_can_write_nowhere_compiles_and_says_so_in_one_line(tmp_path):
    hits, (line,) = norm("full", HOME=str(tmp_path))
    assert hits == "0"
    assert "each new process compiles them again" in line


# ---- what is believed -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled():
    """A function, just compiled, for its only types."""
    function = compiler.as_part(optimizers.squared_norm)
    assert function(np.ones(3, np.float32)) == 3
    return function


@pytest.fixture
def kept(named, compiled):
    """The file of its code, how to ask for that, and how to keep it again."""
    ((types, code),) = compiled.overloads.items()
    own = cache.Cache(compiled.py_func)
    own.save_overload(types, code)
    (file,) = named.iterdir()

    def load():
        return own.load_overload(types, compiled.targetctx)

    assert load().entry_point
    assert own.holds_any()
    return file, load, lambda: own.save_overload(types, code)


def digested(data):
    return cache.hashlib.sha256(data).digest() + data


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:20],
        lambda whole: whole[:-1],
        lambda whole: whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2),
        lambda whole: whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        lambda whole: b"garbage" * 100,
        lambda whole: digested(b"no pickle"),
        lambda whole: digested(pickle.dumps("not what numba wants")),
        lambda whole: digested(pickle.dumps((1, 2, 3))),
        lambda whole: digested(b"cfastvae.no_such_module\nname\n."),
    ],
    ids=["empty", "short", "a byte less", "zeros", "a bit", "garbage", "no pickle", "a word", "a tuple", "no module"],
)
def test_a_damaged_file_counts_for_nothing_and_is_replaced(kept, damage):
    file, load, save = kept
    file.write_bytes(damage(file.read_bytes()))
    assert load() is None
    save()
    assert load().entry_point


def test_a_folder_in_the_place_of_a_file_is_passed_by(kept):
    file, load, save = kept
    file.unlink()
    file.mkdir()
    assert load() is None
    with pytest.warns(RuntimeWarning, match="cannot be kept"):
        save()


def test_the_code_of_another_numba_is_not_looked_at(kept, monkeypatch):
    _, load, _ = kept
    monkeypatch.setattr(cache, "VERSIONS", ("0.0", *cache.VERSIONS[1:]))
    assert load() is None


@POSIX
@pytest.mark.parametrize("named_by_user", [False, True])
def test_code_is_not_read_from_where_anybody_may_write(tmp_path, named_by_user):
    folder = Folder(tmp_path / "parent" / "fastvae", named_by_user)
    folder.write("a.nbc", b"code")
    assert folder.read("a.nbc") == b"code"
    folder.path.chmod(0o777)
    assert folder.read("a.nbc") is None
    assert folder.files("*") == []
    with pytest.raises(PermissionError, match="others may write there"):
        folder.write("b.nbc", b"code")


@POSIX
def test_code_is_not_read_from_a_link_in_the_temporary_folder(tmp_path):
    Folder(tmp_path / "elsewhere").write("a.nbc", b"code")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert Folder(tmp_path / "link").read("a.nbc") is None


@POSIX
@pytest.mark.parametrize(
    ("named_by_user", "owner", "parent", "trusted"),
    [
        (False, "another", 0o755, False),
        (False, "root", 0o755, False),
        (True, "another", 0o755, True),  # a folder that colleagues share
        (True, "another", 0o1777, False),  # /tmp: anybody could have made it
        (True, "root", 0o1777, True),
    ],
)
def test_code_of_others_is_read_only_from_where_the_user_said(
    tmp_path, monkeypatch, named_by_user, owner, parent, trusted
):
    folder = Folder(tmp_path / "parent" / "fastvae", named_by_user)
    folder.write("a.nbc", b"code")
    folder.path.parent.chmod(parent)
    real = pathlib.Path.lstat

    def lstat(path):
        fields = list(real(path))
        fields[4] = 0 if owner == "root" else 4242
        return os.stat_result(fields)

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(pathlib.Path, "lstat", lstat)
    assert (folder.read("a.nbc") == b"code") is trusted


@POSIX
def test_root_makes_no_folder_in_the_home_of_another(tmp_path, monkeypatch):
    """`sudo` leaves HOME as it was: what root made there, its owner could not use any more."""
    real = pathlib.Path.stat

    def stat(path, **how):
        fields = list(real(path, **how))
        fields[4] = 1000
        return os.stat_result(fields)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pathlib.Path, "stat", stat)
    with pytest.raises(PermissionError, match="belongs to another user"):
        Folder(tmp_path / ".cache" / "fastvae").write("a.nbc", b"code")
    assert not (tmp_path / ".cache").exists()


# ---- what becomes of it ---------------------------------------------------------------------------------------------


def test_code_of_other_versions_goes_when_nobody_has_made_any_for_long(named):
    Folder(named, True).write("first.nbc", b"")
    long_ago = time.time() - cache.UNUSED - 1
    ours = f"optimizers.squared_norm-{cache.SHARED_DIGEST[:12]}-1.nbc"
    for name in ("old-0123-1.nbc", "half-0123-1.nbc.a1b2", ours, "recent-0123-1.nbc", "of-others.txt"):
        (named / name).write_bytes(b"")
        if not name.startswith("recent"):
            os.utime(named / name, (long_ago, long_ago))
    cache._remove_unused.cache_clear()
    cache.keep("new.nbc", b"code")
    assert {file.name for file in named.iterdir()} == {
        "first.nbc", "new.nbc", ours, "recent-0123-1.nbc", "of-others.txt"
    }  # fmt: skip


def test_without_sources_the_program_that_holds_them_is_known_by_its_time(monkeypatch, tmp_path):
    """A frozen program, or an archive: another version of it must not be given the code of this one."""
    program = tmp_path / "program"
    program.write_bytes(b"12")
    monkeypatch.setattr(cache, "_HERE", tmp_path / "nothing" / "here")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(program))
    first = cache._digest_of_sources(cache._HERE)
    assert cache._digest_of_sources(cache._HERE) == first
    os.utime(program, (1, 1))
    assert cache._digest_of_sources(cache._HERE) != first
    monkeypatch.delattr(sys, "frozen")
    monkeypatch.setattr(cache, "_HERE", program / "fastvae" / "kernels" / "cpu")  # as in an archive
    assert len(cache._digest_of_sources(cache._HERE)) == len(first)
