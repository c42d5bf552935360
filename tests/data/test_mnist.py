"""MNIST from folders and from servers that misbehave: small stand-ins with checksums of their own."""

import contextlib
import gzip
import hashlib
import http.server
import io
import os
import pathlib
import sys
import threading
import types

import numpy as np
import pytest

from fastvae.data import mnist
from fastvae.data.idx import idx_header
from fastvae.data.loading import load
from fastvae.data.mnist import PARTS, Part, cache_folder, load_mnist
from fastvae.errors import DataFileError, FileAccessError

_random = np.random.default_rng(0)
ARRAYS = {
    "x_train": _random.integers(0, 256, (6, 28, 28)).astype(np.uint8),
    "y_train": np.array([3, 1, 4, 1, 5, 9], np.uint8),
    "x_test": _random.integers(0, 256, (2, 28, 28)).astype(np.uint8),
    "y_test": np.array([2, 6], np.uint8),
}
PLAIN = {name: idx_header(ARRAYS[part.key]) + ARRAYS[part.key].tobytes() for name, part in PARTS.items()}
FILES = {f"{name}.gz": gzip.compress(data) for name, data in PLAIN.items()}
SMALL = {
    name: Part(part.key, ARRAYS[part.key].shape, hashlib.sha256(PLAIN[name]).hexdigest())
    for name, part in PARTS.items()
}
FIRST = "train-images-idx3-ubyte.gz"


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch, tmp_path):
    """No proxy, none of the user's folders, and an address that never answers instead of the published ones."""
    for variable in ("FASTVAE_DATA", "FASTVAE_MNIST_URL", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user-cache"))
    monkeypatch.setattr(mnist, "MIRRORS", ())


@contextlib.contextmanager
def serving(answer):
    """Serve on 127.0.0.1; `answer(handler, file name)` writes the reply. Gives the address and the names asked for."""
    asked, is_over = [], threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path.rsplit("/", 1)[-1])
            with contextlib.suppress(OSError):  # a client that has given up
                answer(self, asked[-1], is_over)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/mnist", asked
    finally:
        is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def send(handler, data, length=None, status=200):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data) if length is None else length))
    handler.end_headers()
    handler.wfile.write(data)


def good(handler, name, _):
    send(handler, FILES[name])


def cut_off(handler, name, _):
    send(handler, FILES[name][: len(FILES[name]) // 2], len(FILES[name]))


def cut_off_unannounced(handler, name, _):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(FILES[name][: len(FILES[name]) // 2])


def wrong_file(handler, name, _):
    other = idx_header(ARRAYS["x_train"]) + (ARRAYS["x_train"] ^ 1).tobytes()
    send(handler, gzip.compress(other))


def error_page(handler, name, _):
    send(handler, b"<html><body>Sign in to the network</body></html>")


def not_found(handler, name, _):
    send(handler, b"<html>no such page</html>", status=404)


def stalled(handler, name, is_over):
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"\x1f\x8b")
    is_over.wait(20)


def silent(handler, name, is_over):
    is_over.wait(20)


def closed(handler, name, _):
    pass


def empty(handler, name, _):
    send(handler, b"")


def endless(handler, name, is_over):
    handler.send_response(200)
    handler.end_headers()
    while not is_over.is_set():
        handler.wfile.write(bytes(1 << 16))


def bomb(handler, name, _):
    send(handler, gzip.compress(PLAIN[FIRST.removesuffix(".gz")] + bytes(30_000_000)))


def large_header(handler, name, _):
    send(handler, gzip.compress(bytes([0, 0, 8, 1, 0x7F, 0xFF, 0xFF, 0xFF]) + bytes(1000)))


def fetch(folder, *mirrors, timeout=10.0, **arguments):
    return load_mnist([folder], mirrors, parts=SMALL, timeout=timeout, **arguments)


def check(data):
    assert data.name == "mnist"
    assert data.image_shape == (28, 28)
    assert data.value_range == (0, 255)
    np.testing.assert_array_equal(data.X, ARRAYS["x_train"].reshape(-1, 784))
    np.testing.assert_array_equal(data.labels, ARRAYS["y_train"])
    np.testing.assert_array_equal(data.X_heldout, ARRAYS["x_test"].reshape(-1, 784))
    np.testing.assert_array_equal(data.labels_heldout, ARRAYS["y_test"])


def test_download_then_no_request(tmp_path, capsys):
    with serving(good) as (url, asked):
        check(fetch(tmp_path / "new" / "cache", url + "/"))
        assert sorted(asked) == sorted(FILES)
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 4
        assert f"downloading {url}/{FIRST} ({len(FILES[FIRST])} bytes)" in lines[0]
        check(fetch(tmp_path / "new" / "cache", url))
        assert len(asked) == 4
    assert sorted(p.name for p in (tmp_path / "new" / "cache").iterdir()) == sorted(FILES)
    assert capsys.readouterr() == ("", "")


FAULTS = [
    (cut_off, f"cut off: {len(FILES[FIRST]) // 2} of {len(FILES[FIRST])} bytes came"),
    (cut_off_unannounced, "cut off"),
    (wrong_file, "not MNIST's x_train, or altered"),
    (error_page, "not an IDX file"),
    (not_found, "HTTP 404"),
    (stalled, "no answer for 0.5 s"),
    (silent, "no answer for 0.5 s"),
    (closed, "RemoteDisconnected"),
    (empty, "the answer is empty"),
    (endless, "bytes came: not the file"),
    (bomb, "too long"),
    (large_header, "at most 4704 belong here"),
]
TIMEOUTS = {stalled: 0.5, silent: 0.5}


@pytest.mark.parametrize(("fault", "reason"), FAULTS)
def test_a_bad_answer_is_refused_and_not_kept(tmp_path, capsys, fault, reason):
    with serving(fault) as (url, asked):
        with pytest.raises(FileAccessError) as caught:
            fetch(tmp_path, url, timeout=TIMEOUTS.get(fault, 10.0))
        message = str(caught.value)
        assert "\n" not in message
        assert f"{url}/{FIRST}: " in message
        assert reason in message
        assert "FASTVAE_DATA" in message
        assert str(tmp_path) in message
        assert ".part" not in message
        assert asked == [FIRST]
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("fault", [fault for fault, _ in FAULTS])
def test_the_next_mirror_helps(tmp_path, fault):
    with serving(fault) as (bad_url, bad_asked), serving(good) as (url, asked):
        check(fetch(tmp_path, bad_url, url, timeout=TIMEOUTS.get(fault, 10.0)))
        assert len(bad_asked) == len(asked) == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)


def test_all_reasons_are_listed(tmp_path):
    with serving(not_found) as (first, _), serving(cut_off) as (second, _):
        nobody = "http://127.0.0.1:1"
        with pytest.raises(FileAccessError) as caught:
            fetch(tmp_path, first, second, nobody, "no address")
    for part in (f"{first}/{FIRST}: HTTP 404", f"{second}/{FIRST}: cut off", f"{nobody}/", "no address/", FIRST):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileAccessError, match="no mirrors"):
        fetch(tmp_path)


def test_an_interrupted_download_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with serving(good) as (url, _):
        monkeypatch.setattr(mnist, "_read_part", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(tmp_path, url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage", [lambda data: data[:200], lambda data: b"", lambda data: gzip.compress(PLAIN[FIRST[:-3]][:-1] + b"!")]
)
def test_a_corrupt_cache_is_repaired(tmp_path, capsys, damage):
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / FIRST).write_bytes(damage(FILES[FIRST]))
    with serving(good) as (url, asked):
        check(fetch(tmp_path, url))
        assert asked == [FIRST]
    said = capsys.readouterr().err
    assert f"{tmp_path / FIRST}: " in said
    assert "removed" in said
    assert (tmp_path / FIRST).read_bytes() == FILES[FIRST]


def test_quiet(tmp_path, capsys):
    (tmp_path / FIRST).write_bytes(b"broken")
    with serving(good) as (url, _):
        check(fetch(tmp_path, url, progress=False))
    assert capsys.readouterr() == ("", "")


def test_files_of_the_user_are_found_in_every_spelling(tmp_path):
    own, cache = tmp_path / "own", tmp_path / "cache"
    own.mkdir()
    cache.mkdir()
    names = list(SMALL)
    (own / names[0]).write_bytes(PLAIN[names[0]])
    (own / names[1].replace("-idx", ".idx")).write_bytes(PLAIN[names[1]])
    (own / f"{names[2]}.gz").write_bytes(FILES[f"{names[2]}.gz"])
    (cache / f"{names[3]}.gz").write_bytes(FILES[f"{names[3]}.gz"])
    data = load_mnist([own, cache], (), parts=SMALL)
    check(data)
    assert isinstance(data.X, np.memmap)


def test_npz_of_the_user(tmp_path):
    np.savez_compressed(tmp_path / "mnist.npz", **ARRAYS)
    check(load_mnist([tmp_path, tmp_path / "cache"], (), parts=SMALL))
    wide = {name: array.astype(np.int64) for name, array in ARRAYS.items()}
    np.savez_compressed(tmp_path / "mnist.npz", **wide)
    check(load_mnist([tmp_path, tmp_path / "cache"], (), parts=SMALL))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("arrays", "fragment"),
    [
        (ARRAYS | {"x_train": ARRAYS["x_train"] ^ 1}, "not MNIST's x_train, or altered"),
        (ARRAYS | {"y_test": ARRAYS["y_train"]}, "y_test should be (2,) uint8, found (6,) uint8"),
        (ARRAYS | {"y_test": ARRAYS["y_test"] / 2}, "found (2,) float64"),
        ({"x_train": ARRAYS["x_train"]}, "y_train should be (6,) uint8, found nothing"),
        (ARRAYS | {"y_test": np.array([{}, {}], dtype=object)}, "found nothing"),
    ],
)
def test_a_wrong_npz_of_the_user_is_an_error_and_stays(tmp_path, arrays, fragment):
    path = tmp_path / "mnist.npz"
    np.savez(path, **arrays)
    before = path.read_bytes()
    with serving(good) as (url, asked):
        with pytest.raises(DataFileError) as caught:
            load_mnist([tmp_path, tmp_path / "cache"], (url,), parts=SMALL)
        assert asked == []
    assert fragment in str(caught.value)
    assert str(path) in str(caught.value)
    assert "never changes this folder" in str(caught.value)
    assert path.read_bytes() == before


def test_a_wrong_idx_file_of_the_user_is_an_error_and_stays(tmp_path):
    path = tmp_path / FIRST
    path.write_bytes(FILES[FIRST][:-1])
    with pytest.raises(DataFileError, match="never changes this folder"):
        load_mnist([tmp_path, tmp_path / "cache"], (), parts=SMALL)
    assert path.exists()


def test_a_wrong_npz_in_the_cache_is_replaced(tmp_path):
    (tmp_path / "mnist.npz").write_bytes(b"PK broken")
    with serving(good) as (url, _):
        check(fetch(tmp_path, url))
    assert not (tmp_path / "mnist.npz").exists()


def test_the_environment_names_folder_and_address(tmp_path, monkeypatch):
    monkeypatch.setattr(load_mnist, "__defaults__", (None, mnist.MIRRORS, None, SMALL, 10.0))
    with serving(good) as (url, asked):
        monkeypatch.setenv("FASTVAE_MNIST_URL", url)
        check(load("mnist"))
        assert len(asked) == 4
    assert sorted(p.name for p in cache_folder().iterdir()) == sorted(FILES)
    own = tmp_path / "own"
    monkeypatch.setenv("FASTVAE_DATA", str(own))
    with pytest.raises(FileAccessError, match=r"FASTVAE_DATA names .*own', which is not a folder"):
        load("mnist")
    own.mkdir()
    check(load("mnist"))  # from the cache
    np.savez(own / "mnist.npz", **ARRAYS | {"x_train": ARRAYS["x_train"] ^ 1})
    with pytest.raises(DataFileError, match="altered"):
        load("mnist")


def test_the_cache_folder_follows_the_system(monkeypatch):
    home = pathlib.Path.home()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    for platform, expected in (("linux", home / ".cache"), ("darwin", home / "Library" / "Caches")):
        monkeypatch.setattr(mnist, "sys", types.SimpleNamespace(platform=platform))
        assert cache_folder() == expected / "fastvae"
    monkeypatch.setattr(mnist, "sys", types.SimpleNamespace(platform="win32"))
    assert cache_folder() == home / "AppData" / "Local" / "fastvae"
    monkeypatch.setenv("LOCALAPPDATA", os.path.abspath("local"))
    assert cache_folder() == pathlib.Path(os.path.abspath("local")) / "fastvae"


def test_a_cache_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(FileAccessError) as caught:
        fetch(tmp_path / "file" / "cache", "http://127.0.0.1:1")
    assert caught.value.errno is not None
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk(tmp_path, monkeypatch):
    @contextlib.contextmanager
    def full(_):
        yield pathlib.Path("/dev/full")

    monkeypatch.setattr(mnist, "_temporary", full)
    with serving(good) as (url, _), pytest.raises(FileAccessError, match="no space left on device"):
        fetch(tmp_path, url)


def test_a_bar_on_a_terminal(tmp_path, monkeypatch):
    pytest.importorskip("tqdm")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    with serving(good) as (url, _):
        monkeypatch.setattr(sys, "stderr", Terminal())
        check(fetch(tmp_path, url))
        assert "100%" in sys.stderr.getvalue()
        assert "downloading" not in sys.stderr.getvalue()


DATA = os.environ.get("FASTVAE_DATA")


@pytest.mark.skipif(not DATA, reason="FASTVAE_DATA names no folder with MNIST")
def test_the_published_files():
    data = load_mnist([DATA, DATA], ())
    assert data.X.shape == (60000, 784)
    assert data.X_heldout.shape == (10000, 784)
    assert data.X.dtype == np.uint8
    np.testing.assert_array_equal(np.bincount(data.labels)[:3], [5923, 6742, 5958])
    assert data.labels_heldout[:5].tolist() == [7, 2, 1, 0, 4]
    # the published checksum of the uncompressed images, another algorithm than the one in the code
    whole = idx_header(data.X.reshape(-1, 28, 28)) + data.X.tobytes()
    assert hashlib.md5(whole, usedforsecurity=False).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
