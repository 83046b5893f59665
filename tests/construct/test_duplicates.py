"""The same recording twice is in one split, however it is coded, named, cut or dated."""

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from autosing.pipeline.construct.duplicates import Duplicates, connected
from autosing.pipeline.construct.inputs import NamedDataset
from autosing.pipeline.construct.manifest import Manifest
from autosing.pipeline.construct.sample import SampleSpec
from autosing.pipeline.construct.shards import construct_dataset
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.signal.decode import encode
from autosing.signal.errors import DataError, MissingColumn
from autosing.signal.singer import song
from autosing.signal.voice import voices

Wave = npt.NDArray[np.float32]
HZ = 16_000
SPEC = SampleSpec("x", {"energy": "energy.energy"}, cuts=None, valid_share=0.4)


def sung(number: int) -> Wave:
    return song(number, voices(3)[number % 3], 8.0, 6.0, HZ).wave


def ogg(wave: Wave) -> bytes:
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", HZ, 1, format="OGG", subtype="VORBIS") as writer:
        for start in range(0, len(wave), 20_000):  # libsndfile breaks on long pieces
            writer.write(wave[start : start + 20_000])
    return file.getvalue()


def processed(root: Path, name: str, partitions: Sequence[Sequence[NewSong]], stages: Sequence[str]) -> NamedDataset:
    url = str(root / name)
    for songs in partitions:
        append_songs(url, songs)
    graph = Project().graph(DatasetEntry(url))
    process(Dataset(url), graph, list(stages), RunOptions(executor="local"), progress=Progress(0, quiet=True))
    return NamedDataset(name, Dataset(url))


def copies(split: str | None = None) -> list[list[NewSong]]:
    """Returns two partitions: a recording four times, one twice, and six songs that are there once."""
    one, two = sung(0), sung(1)
    first = [
        NewSong("a flac", encode(one, HZ, "FLAC"), {"title": "Morning"}),
        NewSong("b ogg", ogg(one), {"title": "morning (live?)", "split": split} if split else {"title": "untitled"}),
        *(NewSong(f"once {n}", encode(sung(n), HZ, "FLAC"), {"title": f"title {n}"}) for n in (2, 3, 4)),
    ]
    second = [
        NewSong("c trimmed", encode(0.5 * one[HZ:-HZ], HZ, "FLAC"), {}),
        NewSong("d mp3", encode(np.concatenate([np.zeros(4321, np.float32), one]), HZ, "MP3"), {"title": "Evening"}),
        NewSong("e", encode(two, HZ, "FLAC"), {"title": "Two"}),
        NewSong("f", encode(two, HZ, "MP3"), {"title": "Zwei"}),
        *(NewSong(f"once {n}", encode(sung(n), HZ, "FLAC"), {"title": f"title {n}"}) for n in (5, 6, 7)),
    ]
    return [first, second]


def splits(out: Path, manifest: Manifest) -> dict[str, set[str]]:
    """Returns the ids in each split."""
    found: dict[str, set[str]] = {}
    for split, totals in manifest.splits.items():
        for shard in totals.shards:
            with tarfile.open(out / shard.path) as tar:
                told = [json.load(file) for m in tar if m.name.endswith(".json") and (file := tar.extractfile(m))]
            found.setdefault(split, set()).update(sample["id"] for sample in told)
    return found


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[NamedDataset]:
    root = tmp_path_factory.mktemp("duplicates")
    other = [NewSong("g of another set", ogg(sung(1)[8000:]), {"title": "Deux"})]
    stages = ("quality", "energy")
    return [processed(root, "set", copies(), stages), processed(root, "other", [other], stages)]


def test_copies_are_in_one_split_whatever_the_salt(sets: list[NamedDataset], tmp_path: Path) -> None:
    together = []
    for salt in range(4):
        out = tmp_path / str(salt)
        manifest = construct_dataset(sets, str(out), SampleSpec(**{**vars(SPEC), "salt": str(salt)}))
        assert manifest.duplicates == {"recordings": 2, "songs": 7}
        assert sum(totals.groups for totals in manifest.splits.values()) == 8
        found = splits(out, manifest)
        for clique in ({"a flac", "b ogg", "c trimmed", "d mp3"}, {"e", "f", "g of another set"}):
            assert sum(bool(clique & ids) for ids in found.values()) == 1
        together.append(found["valid"])
    assert len({frozenset(ids) for ids in together}) > 1


def test_without_fingerprints_copies_straddle_and_nothing_is_told(tmp_path: Path) -> None:
    plain = processed(tmp_path, "set", copies(), ("energy",))
    found = set()
    for salt in range(4):
        spec = SampleSpec(**{**vars(SPEC), "salt": str(salt)})
        manifest = construct_dataset([plain], str(tmp_path / str(salt)), spec)
        assert manifest.duplicates == {}
        held = splits(tmp_path / str(salt), manifest)
        found.add(sum(bool({"a flac", "b ogg", "c trimmed", "d mp3"} & ids) for ids in held.values()))
    assert 2 in found


def test_where_one_set_has_fingerprints_all_must(tmp_path: Path) -> None:
    plain, heard = (processed(tmp_path, n, copies(), s) for n, s in (("a", ("energy",)), ("b", ("energy", "quality"))))
    with pytest.raises(MissingColumn, match="has no quality; compute it with"):
        construct_dataset([plain, heard], str(tmp_path / "out"), SPEC)


def test_a_number_of_valid_songs_counts_recordings(sets: list[NamedDataset], tmp_path: Path) -> None:
    spec = SampleSpec(**{**vars(SPEC), "valid_songs": 8 - 1})
    manifest = construct_dataset(sets, str(tmp_path / "out"), spec)
    assert (manifest.splits["valid"].groups, manifest.splits["train"].groups) == (7, 1)


def test_the_given_split_of_one_copy_holds_for_all(tmp_path: Path) -> None:
    given = processed(tmp_path, "set", copies("test"), ("quality", "energy"))
    manifest = construct_dataset([given], str(tmp_path / "out"), SPEC)
    assert splits(tmp_path / "out", manifest)["test"] == {"a flac", "b ogg", "c trimmed", "d mp3"}


def test_two_given_splits_of_one_recording_are_refused_with_both_names() -> None:
    known = Duplicates({"work a": "work a", "work b": "work a"}, 1, 2)
    with pytest.raises(DataError, match=r"work a and work b hold the same recording.* train and valid.*exclude.txt"):
        known.merged([("work a", "train"), ("work c", "test"), ("work b", "valid")])
    merged = known.merged([("work a", None), ("work b", "valid"), ("work b", "valid"), ("work c", "train")])
    assert merged == [("work a", None), ("work a", "valid"), ("work a", "valid"), ("work c", "train")]


def test_what_pairs_connect_has_the_smallest_name() -> None:
    found = connected([("d", "c"), ("x", "y"), ("c", "b"), ("e", "d"), ("b", "a")])
    assert found == {"a": "a", "b": "a", "c": "a", "d": "a", "e": "a", "x": "x", "y": "x"}
    assert connected([]) == {}
    chain = connected((n, n + 1) for n in reversed(range(5000)))
    assert set(chain.values()) == {0} and len(chain) == 5001
