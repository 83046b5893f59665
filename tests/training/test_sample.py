"""What is read from tars and npz archives is what `tarfile` and `numpy.load` read, and what is damaged is refused."""

import io
import random
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from autosing.pipeline.construct.tar import members as pipeline_members
from autosing.pipeline.construct.tar import npz
from autosing.training.sample import arrays, members, of_members, parsed

Array = npt.NDArray[Any]

ARRAYS: dict[str, Array] = {
    "mel": np.arange(300, dtype=np.float16).reshape(3, 100),
    "units": np.arange(7, dtype=np.uint16),
    "voiced": np.array([True, False]),
    "big_endian": np.arange(5, dtype=">f4"),
    "wide": np.arange(4, dtype=np.complex64),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "of_no_frames": np.zeros((0, 100), np.float32),
    "of_no_width": np.zeros((4, 0), np.int64),
    "one_number": np.array(3),
    "cube": np.arange(24, dtype=np.int8).reshape(2, 3, 4),
    "words": np.array(["la", "lalala"]),
    "bytes": np.array([b"la"]),
    "fields": np.array([(1, 2.0)], dtype=[("a", "<i4"), ("b", "<f8")]),
    "days": np.array(["2026-11-25"], dtype="datetime64[D]"),
}


def saved(content: Mapping[str, Array], save: Callable[..., None] = np.savez) -> bytes:
    file = io.BytesIO()
    save(file, **content)
    return file.getvalue()


def of_pipeline(content: Mapping[str, Array]) -> bytes:
    return b"".join(map(bytes, npz(content)))


def tar_of(content: Mapping[str, bytes], format: int = tarfile.USTAR_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def by_tarfile(raw: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        return {member.name: file.read() for member in tar if (file := tar.extractfile(member))}


@pytest.mark.parametrize("save", [saved, lambda content: saved(content, np.savez_compressed)])
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_what_numpy_loads(name: str, save: Callable[[Mapping[str, Array]], bytes]) -> None:
    archive = save(ARRAYS)
    with np.load(io.BytesIO(archive)) as loaded:
        expected = loaded[name]
    array = arrays(archive, [name])[name]
    np.testing.assert_array_equal(array, expected)
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    assert array.flags.f_contiguous == expected.flags.f_contiguous
    assert array.flags.writeable


def test_the_archives_of_the_pipeline_are_read() -> None:
    content = {name: ARRAYS[name] for name in ("mel", "units", "voiced", "of_no_frames")}
    found = arrays(of_pipeline(content), list(content))
    for name, array in content.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_array_of_objects_is_refused(save: Callable[..., None]) -> None:
    archive = saved({"mel": np.array([{}], dtype=object), "units": ARRAYS["units"]}, save)
    assert list(arrays(archive, ["units"])) == ["units"]
    with pytest.raises(ValueError, match="allow_pickle"):
        arrays(archive, ["mel"])


def test_a_missing_array_is_named() -> None:
    with pytest.raises(KeyError, match="'pitch'"):
        arrays(saved({"mel": ARRAYS["mel"]}), ["mel", "pitch"])


@pytest.mark.parametrize(
    "content",
    [b"", b"something else", np.arange(3).dumps(), b"\x93NUMPY\x01\x00v\x00", saved({"mel": np.arange(3)})[:-30]],
    ids=["empty", "text", "pickle", "npy", "cut short"],
)
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="no npz archive"):
        arrays(content, ["mel"])


def test_a_changed_element_is_refused() -> None:
    archive = bytearray(of_pipeline({"mel": ARRAYS["mel"]}))
    archive[300] ^= 1
    with pytest.raises(ValueError, match="mel has changed bytes"):
        arrays(bytes(archive), ["mel"])
    assert list(arrays(bytes(archive), ["mel"], is_checked=True)) == ["mel"]


def test_a_header_that_promises_more_than_there_is_is_refused() -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (10**15,)})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mel.npy", header.getvalue() + bytes(8))
        archive.writestr("units.npy", b"no array")
    with pytest.raises(ValueError, match="cannot reshape"):
        arrays(file.getvalue(), ["mel"])
    with pytest.raises(ValueError, match="units is no array"):
        arrays(file.getvalue(), ["units"])


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize(
    "content",
    [
        {"a_0.json": b"{}", "a_0.npz": bytes(1500)},
        {"a_0.json": b"", "a_0.npz": bytes(512)},
        {"folder/" * 15 + "a_0.json": b"{}", "b": b"b"},
        {"f" * 80 + "/" + "a" * 90: b"{}", "b": b"b"},
        {"ä_0.json": b"1", "a": b"2"},
    ],
    ids=["plain", "empty", "long", "longer", "umlaut"],
)
def test_the_members_are_what_tarfile_finds(content: Mapping[str, bytes], format: int) -> None:
    raw = tar_of(content, format)
    assert members(raw) == by_tarfile(raw) == content


def test_folders_and_links_are_as_tarfile_takes_them() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind in (("folder", tarfile.DIRTYPE), ("a", tarfile.REGTYPE), ("link", tarfile.SYMTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, "a", 2 * (name == "a")
            tar.addfile(member, io.BytesIO(b"{}"))
    assert members(file.getvalue()) == by_tarfile(file.getvalue()) == {"a": b"{}", "link": b"{}"}


@pytest.mark.parametrize("length", [100, 512, 600, 1024, 1500, 2047])
def test_a_stretch_that_is_cut_short_is_refused(length: int) -> None:
    raw = tar_of({"a.json": b"{}", "a.npz": bytes(600)})
    with pytest.raises(ValueError, match=r"cut short|truncated") if length != 1024 else pytest.raises(KeyError):
        parsed(raw[:length], "a", ["mel"])


def test_a_size_below_zero_does_not_read_forever() -> None:
    member = tarfile.TarInfo("a")
    member.size = -tarfile.BLOCKSIZE
    header = member.tobuf(tarfile.GNU_FORMAT)
    long = tar_of({"n" * 200: b""}, tarfile.GNU_FORMAT)[:1536]
    for raw in (header * 3, long + header):
        with pytest.raises(ValueError, match="a has a size below 0"):
            members(raw)


def test_damage_anywhere_is_an_error_of_the_kinds_that_are_expected() -> None:
    rng = random.Random(0)
    sources = [saved(ARRAYS), saved(ARRAYS, np.savez_compressed), of_pipeline({"mel": ARRAYS["mel"]})]
    for _ in range(1500):
        raw = bytearray(b"".join(map(bytes, pipeline_members("a", {"json": [b"{}"], "npz": [rng.choice(sources)]}))))
        for _ in range(rng.choice([1, 2, 8])):
            raw[rng.randrange(len(raw))] = rng.choice([0, 255, rng.randrange(256)])
        damaged = bytes(raw[: rng.choice([len(raw), rng.randrange(len(raw))])])
        with suppress(KeyError, ValueError):
            parsed(damaged, "a", ["mel"])
        with suppress(KeyError, ValueError):
            sample = of_members("a", members(damaged), ["mel"])
            np.testing.assert_array_equal(sample.series["mel"], ARRAYS["mel"])
