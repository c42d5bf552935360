"""The container against zipfile and NumPy, against random damage and forgeries."""

import hashlib
import io
import json
import os
import random
import re
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import fastvae
from fastvae import persistence
from fastvae.atomic import atomic_file
from fastvae.errors import FileAccessError, ModelFileError
from fastvae.persistence import read_container, write_container

MUTATIONS = int(os.environ.get("FASTVAE_MUTATIONS", "600"))
CONTENT = {"latent_dim": 2, "likelihood": "gaussian", "loss": [1.5, -0.25], "nested": {"ä": None, "yes": True}}
rng = np.random.default_rng(0)
ARRAYS = {
    "decoder.0.weight": rng.normal(size=(2, 5)).astype("<f4"),
    "decoder.0.bias": np.zeros(5, "<f4"),
    "encoder.0.weight": rng.normal(size=(5, 4)).astype("<f4"),
    "encoder.1.weight": rng.normal(size=(5, 4)).astype("<f4"),
    "optimizer.step": np.array(7, "<i8"),
    "mask": np.array([True, False, True]),
    "empty": np.zeros((0, 3), "<f8"),
}


def same(found, expected):
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        array = np.asarray(array)
        assert found[name].shape == array.shape
        assert found[name].dtype == array.dtype.newbyteorder("<")
        assert found[name].flags.c_contiguous
        assert found[name].flags.writeable
        assert found[name].tobytes() == array.astype(array.dtype.newbyteorder("<")).tobytes()  # NaN payloads too
    return True


@pytest.fixture
def path(tmp_path):
    write_container(tmp_path / "model.npz", "model", CONTENT, ARRAYS)
    return tmp_path / "model.npz"


def refusal(path, kinds=("model",), **options):
    with pytest.raises(ModelFileError) as caught:
        read_container(path, kinds, **options)
    message = str(caught.value)
    assert repr(str(path)) in message
    assert "\n" not in message
    return message


# ---- round trip ------------------------------------------------------------------------------------------------------

scalars = st.sampled_from([">f4", "<f4", "f8", ">f2", "?", "i1", "u1", ">i2", "u2", "i4", ">u4", "i8", ">u8"])
arrays = scalars.flatmap(lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, min_side=0, max_side=4)))
names = st.from_regex(r"[a-z]{1,8}(\.[a-z0-9_]{1,5}){0,2}", fullmatch=True).filter(
    lambda name: name not in ("header", "digest") and not name.endswith(".npy")
)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
content = st.dictionaries(st.text(), st.recursive(leaves, lambda inner: st.lists(inner, max_size=3)), max_size=4)


@settings(max_examples=80, deadline=None, database=None)
@given(content, st.dictionaries(names, arrays, max_size=4))
def test_any_content_comes_back_and_numpy_reads_it(tmp_path_factory, header, stored):
    path = tmp_path_factory.getbasetemp() / "round_trip.npz"
    write_container(path, "model", header, stored)
    found_header, found = read_container(path, {"model"})
    assert found_header == header
    assert same(found, stored)
    with np.load(path, allow_pickle=False) as loaded:
        assert loaded.files == ["header", "digest", *sorted(stored)]
        assert same({name: loaded[name] for name in stored}, stored)


def test_strided_and_fortran_arrays_are_stored_in_c_order(tmp_path):
    whole = np.arange(24.0).reshape(4, 6)
    stored = {
        "strided": whole[::2, ::-3],
        "fortran": np.asfortranarray(whole),
        "broadcast": np.broadcast_to(1.0, (3, 2)),
    }
    write_container(tmp_path / "a.npz", "model", {}, stored)
    assert same(read_container(tmp_path / "a.npz", {"model"})[1], stored)


def test_the_same_content_gives_the_same_bytes(tmp_path, path):
    backwards = dict(reversed(ARRAYS.items()))
    write_container(tmp_path / "again.npz", "model", dict(reversed(CONTENT.items())), backwards)
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_the_zip_is_what_zipfile_expects(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None  # the CRCs, which our own reader leaves to the digests
        infos = archive.infolist()
        assert {info.compress_type for info in infos} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in infos} == {(1980, 1, 1, 0, 0, 0)}
        assert [info.filename for info in infos] == ["header.npy", "digest.npy", *(f"{n}.npy" for n in sorted(ARRAYS))]
    with np.load(path, allow_pickle=False) as loaded:
        text = loaded["header"].tobytes()
        assert loaded["digest"].tobytes() == hashlib.sha256(text).digest()
    document = json.loads(text)
    assert document["content"] == CONTENT
    assert document["arrays"]["mask"]["sha256"] == hashlib.sha256(b"\1\0\1").hexdigest()
    assert document["library_version"] == fastvae.__version__


def test_zip64_fields_for_members_beyond_4_gib():
    """Nothing that large is written: zipfile reads the central directory of an archive that is a hole before it."""
    members, end = persistence._layout(100, {"a": ("<f8", (2**30,)), "b": ("|u1", (3,))})
    crcs = [1, 2, 3, 4]

    class Hole(io.RawIOBase):
        tail, place = persistence._directory(members, crcs, end), 0

        def seekable(self):
            return True

        def seek(self, offset, whence=0):
            self.place = offset + (0, self.place, end + len(self.tail))[whence]
            return self.place

        def tell(self):
            return self.place

        def read(self, size=-1):
            start = self.place - end
            assert start >= 0
            found = self.tail[start:] if size < 0 else self.tail[start : start + size]
            self.place += len(found)
            return found

    archive = zipfile.ZipFile(Hole())
    sizes = [info.file_size for info in archive.infolist()]
    assert sizes == [228, 160, 128 + 2**33, 131]
    assert [info.header_offset for info in archive.infolist()] == [member.offset for member in members]
    assert members[3].offset > 2**33


# ---- reading a part --------------------------------------------------------------------------------------------------


def test_a_damaged_encoder_does_not_keep_the_decoder_from_loading(path):
    data = bytearray(path.read_bytes())
    place = data.index(ARRAYS["encoder.0.weight"].tobytes())
    data[place + 3] ^= 1
    data[data.index(b"encoder.1.weight.npy") + 2] ^= 1
    path.write_bytes(data)
    header, found = read_container(path, {"model"}, lambda name: name.startswith("decoder."))
    assert header == CONTENT
    assert same(found, {name: array for name, array in ARRAYS.items() if name.startswith("decoder.")})
    assert "array 'encoder.0.weight' does not match its SHA-256" in refusal(path)
    assert "member 'encoder.1.weight'" in refusal(path, names=lambda name: name == "encoder.1.weight")


def test_the_bytes_of_other_arrays_are_not_read(tmp_path, monkeypatch):
    path = tmp_path / "model.npz"
    stored = {"decoder.0.bias": np.ones(3), "encoder.0.weight": np.ones((1000, 1000)), "latent": np.ones(2)}
    write_container(path, "model", {}, stored)
    taken = []

    class Counting(io.FileIO):
        def readinto(self, buffer):
            taken.append(super().readinto(buffer))
            return taken[-1]

    monkeypatch.setattr(persistence, "open", lambda name, mode: io.BufferedReader(Counting(name), 8192), raising=False)
    assert list(read_container(path, {"model"}, lambda name: "encoder" not in name)[1]) == ["decoder.0.bias", "latent"]
    assert 0 < sum(taken) < 100_000
    read_container(path, {"model"})
    assert sum(taken) > 8_000_000


# ---- random damage ---------------------------------------------------------------------------------------------------


def parts_of(data):
    """Return [name, dtype, shape, bytes] of each member."""
    found = []
    with np.load(io.BytesIO(data), allow_pickle=False) as loaded:
        for name in loaded.files:
            array = loaded[name]
            found.append([name, array.dtype.str, array.shape, array.tobytes()])
    return found


def pack(parts):
    """Lay out any members, valid or not, as the writer would: only what they say can be wrong."""
    blob, members, crcs = b"", [], []
    for name, dtype, shape, data in parts:
        members.append(member := persistence._Member(f"{name}.npy", dtype, shape, len(blob)))
        crcs.append(zlib.crc32(data, zlib.crc32(member.npy_header())))
        blob += member.start(crcs[-1]) + data
    return blob + persistence._directory(members, crcs, len(blob))


def signed(parts, document):
    """Put in another header, with its right digest."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    digest = hashlib.sha256(text).digest()
    return [["header", "|u1", (len(text),), text], ["digest", "|u1", (32,), digest], *parts[2:]]


KINDS = ["truncate", "flip", "flips", "zero", "insert", "delete", "copy"]  # of bytes
KINDS += ["swap", "rename", "double", "exchange", "remove", "add", "retype"]  # of members


def mutate(data, r):
    n = len(data)
    place, length, other = r.randrange(n), r.randrange(1, 40), r.randrange(n)
    parts = parts_of(data)
    i, j = r.sample(range(len(parts)), 2)
    kind = r.choice(KINDS)
    if kind == "truncate":
        return kind, data[:place]
    if kind == "flip":
        return kind, data[:place] + bytes([data[place] ^ 1 << r.randrange(8)]) + data[place + 1 :]
    if kind == "flips":
        damaged = bytearray(data)
        for _ in range(length):
            damaged[r.randrange(n)] ^= 1 << r.randrange(8)
        return kind, bytes(damaged)
    if kind == "zero":
        return kind, data[:place] + bytes(min(length, n - place)) + data[place + length :]
    if kind == "insert":
        return kind, data[:place] + r.randbytes(length) + data[place:]
    if kind == "delete":
        return kind, data[:place] + data[place + length :]
    if kind == "copy":
        return kind, data[:place] + data[other : other + length] + data[place + length :]
    if kind == "swap":
        parts[i], parts[j] = parts[j], parts[i]
    elif kind == "rename":
        parts[i][0] = r.choice([parts[j][0], "encoder.9.weight", "../evil", "x" * 300, ""])
    elif kind == "double":
        parts.insert(j, parts[i])
    elif kind == "exchange":
        parts[i][1:], parts[j][1:] = parts[j][1:], parts[i][1:]
    elif kind == "remove":
        del parts[i]
    elif kind == "add":
        parts.insert(i, ["more", "<f4", (2,), bytes(8)])
    elif kind == "retype":
        parts[i][1:3] = r.choice([("<f4", (2**40,)), ("|O", (1,)), ("<f8", parts[i][2]), ("|u1", (len(parts[i][3]),))])
    return kind, pack(parts)


def test_pack_is_the_writer(path):
    assert pack(parts_of(path.read_bytes())) == path.read_bytes()


def test_damage_is_refused_or_harmless(path):
    good = path.read_bytes()
    r = random.Random(20)
    outcomes: dict[str, int] = {}
    for _ in range(MUTATIONS):
        kind, data = mutate(good, r)
        path.write_bytes(data)
        try:
            header, found = read_container(path, {"model"})
        except ModelFileError as exc:
            assert "\n" not in str(exc)  # noqa: PT017
            assert data != good
            outcomes[kind] = outcomes.get(kind, 0) + 1
        else:
            assert header == CONTENT
            assert same(found, ARRAYS)
            outcomes["harmless"] = outcomes.get("harmless", 0) + 1
    print(outcomes)
    assert outcomes.pop("harmless", 0) < MUTATIONS / 10
    assert len(outcomes) == len(KINDS) or MUTATIONS < 200  # each kind of damage was tried and was refused at least once


def test_every_truncation_and_every_byte_flipped_are_refused(path):
    """Header and arrays determine every byte: so no altered byte is overlooked in a full read."""
    write_container(path, "model", {}, {"a": np.ones(3, "<f4")})
    good = path.read_bytes()
    for place in range(len(good)):
        path.write_bytes(good[:place])
        refusal(path)
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        refusal(path)


# ---- refusals, each with its message ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"hello, world\n", "is a text file"),
        (b"PK\5\6" + bytes(18), "is a zip or .npz, but not one that fastvae wrote"),
        (b"\x80\x04\x95cos\nsystem\n.", "is a Python pickle, which can run code"),
        (b"\x93NUMPY\1\0v\0{'descr'", "is a single NumPy array"),
        (bytes(1000), "is not a fastvae file"),
        (b"PK\3\4\x2d\0", "is truncated: it ends after 6 bytes"),
    ],
)
def test_foreign_files(tmp_path, data, words):
    path = tmp_path / "some.npz"
    path.write_bytes(data)
    assert words in refusal(path)


def test_truncation_says_so(path):
    good = path.read_bytes()
    for size in (10, 59, 60, 100, 500, len(good) - 1):
        path.write_bytes(good[:size])
        assert "is truncated: it" in refusal(path)
    path.write_bytes(good + b"x")
    assert "has bytes that do not belong to it" in refusal(path)


def test_foreign_npz(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, weight=np.ones(3))
    assert "not one that fastvae wrote" in refusal(path)
    np.savez(
        path, header=np.frombuffer(b"{}", np.uint8), digest=np.frombuffer(hashlib.sha256(b"{}").digest(), np.uint8)
    )
    # the zip files of some Pythons do not even begin as those of fastvae do
    assert re.search("was not written by fastvae|not one that fastvae wrote", refusal(path))
    np.savez(path, header=np.ones(300))
    refusal(path)


def test_resaved_by_numpy_is_refused(tmp_path, path):
    """Compressed or not: it is no longer what fastvae wrote, and the reader interprets no zip."""
    with np.load(path, allow_pickle=False) as loaded:
        content = {name: loaded[name] for name in loaded.files}
    np.savez_compressed(tmp_path / "compressed.npz", **content)
    assert "not one that fastvae wrote" in refusal(tmp_path / "compressed.npz")
    np.savez(tmp_path / "stored.npz", **content)
    refusal(tmp_path / "stored.npz")


def test_flags_of_encryption_and_compression_are_refused(path):
    good = path.read_bytes()
    start = good.index(b"mask.npy") - 30
    for offset in (6, 8):  # flags, method
        data = bytearray(good)
        data[start + offset] = 1
        path.write_bytes(data)
        assert "member 'mask' is not stored as fastvae stores it" in refusal(path)
        entry = data.rindex(b"mask.npy") - 46
        data[entry + offset + 2] = 1
        path.write_bytes(data)
        assert "list of members was altered" in refusal(path)


def test_wrong_kind(path):
    assert "holds a 'model', where a 'checkpoint' or 'state' is needed" in refusal(path, {"state", "checkpoint"})


def document_of(path):
    with np.load(path, allow_pickle=False) as loaded:
        return json.loads(loaded["header"].tobytes())


def test_newer_format(path):
    document = document_of(path) | {"format_version": 2, "library_version": "3.1.0"}
    path.write_bytes(pack(signed(parts_of(path.read_bytes()), document)))
    message = refusal(path)
    assert "was written by fastvae 3.1.0, format 2; this version" in message
    assert "reads up to 1: upgrade" in message
    document |= {"format_version": 10**4000, "library_version": "x\n" * 1000}
    path.write_bytes(pack(signed([], document)))
    assert "written by fastvae (unknown version), format unknown" in refusal(path)


def edited(array, **changes):
    return {"dtype": "<f4", "shape": [2], "sha256": "0" * 64} | array | changes


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": "other"}, "was not written by fastvae"),
        ({"format_version": "1"}, "valid format version"),
        ({"format_version": True}, "valid format version"),
        ({"format_version": 0}, "valid format version"),
        ({"kind": ["model"]}, "valid kind"),
        ({"kind": "x\ny"}, "valid kind"),
        ({"content": [1]}, "valid kind or content"),
        ({"arrays": [1]}, "valid list of arrays"),
        ({"arrays": {f"a{i}": {} for i in range(4097)}}, "valid list of arrays"),
        ({"arrays": {"../a": edited({})}}, "invalid name or entry"),
        ({"arrays": {"a/b": edited({})}}, "invalid name or entry"),
        ({"arrays": {"header": edited({})}}, "invalid name or entry"),
        ({"arrays": {"a": 3}}, "invalid name or entry"),
        ({"arrays": {"a": edited({}, more=1)}}, "invalid name or entry"),
        ({"arrays": {"a": edited({}, dtype="|O")}}, "invalid dtype"),
        ({"arrays": {"a": edited({}, dtype=">f4")}}, "invalid dtype"),
        ({"arrays": {"a": edited({}, dtype="<f4,<f4")}}, "invalid dtype"),
        ({"arrays": {"a": edited({}, dtype=["<f4"])}}, "invalid dtype"),
        ({"arrays": {"a": edited({}, dtype="<M8[s]")}}, "invalid dtype"),
        ({"arrays": {"a": edited({}, dtype="<U3")}}, "invalid dtype"),
        ({"arrays": {"a": edited({}, shape=[-1])}}, "invalid dtype, shape"),
        ({"arrays": {"a": edited({}, shape=[True])}}, "invalid dtype, shape"),
        ({"arrays": {"a": edited({}, shape=[2.0])}}, "invalid dtype, shape"),
        ({"arrays": {"a": edited({}, shape="2")}}, "invalid dtype, shape"),
        ({"arrays": {"a": edited({}, shape=[1] * 33)}}, "invalid dtype, shape"),
        ({"arrays": {"a": edited({}, shape=[0, 2**62])}}, "invalid dtype, shape"),
        ({"arrays": {"a": edited({}, shape=[10**4000])}}, "invalid dtype, shape"),
        ({"arrays": {"a": edited({}, sha256=0)}}, "invalid dtype, shape or digest"),
        ({"arrays": {"a": edited({}, shape=[2**50])}}, "is truncated: it has"),  # a bomb: refused by size alone
        ({"arrays": {f"a{i}": edited({}, shape=[2**30]) for i in range(4096)}}, "is truncated: it has"),
        ({"arrays": {}}, "has bytes that do not belong to it"),
        ({"arrays": {"a": edited({}, sha256="F" * 64)}}, "bytes that do not belong"),
    ],
)
def test_forged_headers_with_the_right_digest(path, changes, words):
    path.write_bytes(pack(signed(parts_of(path.read_bytes()), document_of(path) | changes)))
    assert words in refusal(path)


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 500_000,
        b'{"content": ' * 80_000,
        b'{"format": "fastvae", "content": {"x": NaN}}',
        b'{"format": "fastvae", "content": {"x": -Infinity}}',
        b'{"format": "fastvae", "content": {"x": 1e999}}',
        b'{"format": ' + b"9" * 5000 + b"}",
        b"\xff\xfe{}",
        '{"format": "fastvae"}'.encode("utf-16"),
        b"{} {}",
        b"{",
    ],
)
def test_forged_json(path, text):
    path.write_bytes(pack(signed([], text)))
    assert "has a header that is not valid JSON" in refusal(path)


def test_a_header_that_is_no_object_or_too_large(path):
    for text in (b"[]", b"null", b'"fastvae"', b"1"):
        path.write_bytes(pack(signed([], text)))
        assert "was not written by fastvae" in refusal(path)
    path.write_bytes(pack(signed([], b" " * (1 << 20) + b"[]")))
    refusal(path)


def test_the_digest_decides_where_zip_and_crc_agree(path):
    parts = parts_of(path.read_bytes())
    names = [part[0] for part in parts]
    weight = parts[names.index("encoder.0.weight")]
    weight[3] = bytes(len(weight[3]))
    path.write_bytes(pack(parts))
    with np.load(path, allow_pickle=False) as loaded:
        assert not loaded["encoder.0.weight"].any()
    assert "array 'encoder.0.weight' does not match its SHA-256" in refusal(path)


def test_bytes_that_are_no_bool_are_refused(path):
    parts, document = parts_of(path.read_bytes()), document_of(path)
    mask = next(part for part in parts if part[0] == "mask")
    mask[3] = b"\1\2\0"
    document["arrays"]["mask"]["sha256"] = hashlib.sha256(mask[3]).hexdigest()
    path.write_bytes(pack(signed(parts, document)))
    assert "bytes other than 0 and 1" in refusal(path)


def test_too_little_memory(path, monkeypatch):
    def empty(shape, dtype):
        raise MemoryError

    monkeypatch.setattr(persistence.np, "empty", empty)
    assert "bytes of free memory" in refusal(path)


def test_paths_that_cannot_be_read(tmp_path, path):
    os.mkfifo(tmp_path / "pipe")
    cases = {
        tmp_path: "folder",
        tmp_path / "none": "No such file",
        tmp_path / "pipe": "regular",
        path / "x": "Not a dir",
    }
    for place, words in cases.items():
        with pytest.raises(FileAccessError, match=words) as caught:
            read_container(place, {"model"})
        assert caught.value.filename == str(place)
        assert caught.value.errno
    for place in ("a\0b", "a\ud800"):
        with pytest.raises(FileAccessError, match="no file can have this name"):
            read_container(place, {"model"})
        with pytest.raises(FileAccessError, match="no file can have this name"):
            write_container(place, "model", {}, {})


# ---- what cannot be stored -------------------------------------------------------------------------------------------

circular: list = []
circular.append(circular)


@pytest.mark.parametrize(
    ("header", "stored", "words"),
    [
        ({"x": float("nan")}, {}, "JSON"),
        ({"x": float("inf")}, {}, "JSON"),
        ({"x": np.float32(1)}, {}, "JSON"),
        ({"x": circular}, {}, "JSON"),
        ({"x": "y" * (1 << 25)}, {}, "at most 33554432"),
        ({}, {"a": np.array([None])}, "object"),
        ({}, {"a": np.array(["x"])}, "<U1"),
        ({}, {"a": np.ones(2, complex)}, "complex128"),
        ({}, {"a": np.zeros(2, "M8[s]")}, "datetime64"),
        ({}, {"a": np.zeros(2, "f4,f4")}, "array 'a'"),
        ({}, {f"a{i}": np.ones(1) for i in range(4097)}, "at most 4096"),
        *[
            ({}, {name: np.ones(1)}, "array name")
            for name in ("", "a/b", "..", "a..b", ".a", "a.", "a.npy", "ä", "a\n")
        ],
        *[({}, {name: np.ones(1)}, "array name") for name in ("header", "digest", "a\\b", "C:a", "x" * 201, 3)],
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_written(tmp_path, header, stored, words):
    with pytest.raises(ValueError, match=words):
        write_container(tmp_path / "a.npz", "model", header, stored)
    assert not os.listdir(tmp_path)


def test_invalid_kind_and_mode(tmp_path):
    with pytest.raises(ValueError, match="kind"):
        write_container(tmp_path / "a.npz", "mo del", {}, {})
    with pytest.raises(ValueError, match="mode"), atomic_file(tmp_path / "a", "r+b"):
        pass
