"""Built sets, read back by plain webdataset, tarfile and numpy."""

import gc
import io
import json
import tarfile
import warnings
import zlib
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import webdataset
from toy_dataset import SAMPLE_RATE, TIED, ToySong, toy_songs, write_column, write_index, write_toy

from autosing.pipeline.construct.inputs import NamedDataset
from autosing.pipeline.construct.manifest import Manifest
from autosing.pipeline.construct.sample import SAMPLES, SampleSpec
from autosing.pipeline.construct.shards import construct_dataset
from autosing.pipeline.dataset import Dataset, Partition
from autosing.signal.errors import DataError, MissingColumn, SchemaMismatch, StaleColumn, UsageError
from autosing.signal.framing import frames, tied_frames
from autosing.training.manifest import Manifest as TrainingManifest

SPEC = replace(SAMPLES["acoustic"], valid_songs=1)
RATES = {"units": Fraction(50), "mel": Fraction(375, 4), **dict.fromkeys(("f0_hz", "voiced", "energy"), Fraction(100))}


@pytest.fixture
def toy(tmp_path: Path) -> NamedDataset:
    songs = toy_songs(12)
    return write_toy(tmp_path / "toy", [songs[:5], songs[5:]])


def read_samples(out: Path, pattern: str = "*.tar") -> list[dict[str, Any]]:
    """Returns the samples of the tars that fit a pattern as plain webdataset decodes them."""
    paths = [str(path) for path in sorted(out.glob(pattern))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
        samples = list(webdataset.WebDataset(paths, shardshuffle=False, empty_check=False).decode())
        gc.collect()
    return [{**s, "npz": {name: s["npz"][name] for name in s["npz"]}} for s in samples]


def digests(manifest: Manifest) -> list[str]:
    return [shard.digest for split in manifest.splits.values() for shard in split.shards]


def test_plain_webdataset_reads_every_sample_with_exact_frame_counts(toy: NamedDataset, tmp_path: Path) -> None:
    cuts = [(0.0, 2.3451), (1.0019, 4.1), (4.0999, 6.0)]
    songs = [ToySong(f"s{i}", 6.0003, cuts, {"artist": f"a{i}"}) for i in range(3)]
    odd = write_toy(tmp_path / "odd", [songs])
    for snap in (True, False):
        out = tmp_path / f"out{snap}"
        manifest = construct_dataset([odd], str(out), replace(SPEC, snap=snap))
        samples = read_samples(out)
        assert len(samples) == manifest.kept == 9
        for sample in samples:
            told = sample["json"]
            start_ms, end_ms = round(1000 * told["start_s"]), round(1000 * told["end_s"])
            assert sample["__key__"].endswith(f"_{start_ms}")
            for name, rate in RATES.items():
                array, residual_s = sample["npz"][name], told["residual_s"][name]
                assert len(array) == frames(end_ms - start_ms, 1000, rate)
                assert abs(residual_s) <= 1 / rate
                first = (round(float((Fraction(start_ms, 1000) + Fraction(residual_s)) * rate))) % 256
                assert int(array.reshape(len(array), -1)[0, 0]) % 256 == first
            assert not snap or start_ms % 160 == 0


def test_tied_groups_are_cut_in_exact_ratio(toy: NamedDataset, tmp_path: Path) -> None:
    spec = SampleSpec("tokens", {"t80": "tokens.t80", "t40": "t40", "t20": "tokens.t20"}, valid_songs=1, snap=False)
    construct_dataset([toy], str(tmp_path / "out"), spec)
    for sample in read_samples(tmp_path / "out"):
        length_ms = round(1000 * sample["json"]["seconds"])
        arrays = [sample["npz"][name] for name in ("t80", "t40", "t20")]
        assert [len(a) for a in arrays] == tied_frames(length_ms, 1000, TIED)
        assert [int(a[0]) for a in arrays] == [int(arrays[0][0]) * ratio for ratio in (1, 2, 4)]


def test_any_id_survives(tmp_path: Path) -> None:
    ids = ["a.b.c", "x/../y.flac", "two  spaces ", "🎤 ünï", "q'\"\\", ".hidden", "x" * 300]
    toy = write_toy(tmp_path / "toy", [[ToySong(id) for id in ids]])
    construct_dataset([toy], str(tmp_path / "out"), SPEC)
    samples = read_samples(tmp_path / "out")
    assert Counter(s["json"]["id"] for s in samples) == dict.fromkeys(ids, 2)
    assert len({s["__key__"] for s in samples}) == 2 * len(ids)


def test_the_same_seed_gives_the_same_bytes_on_one_worker_or_two(toy: NamedDataset, tmp_path: Path) -> None:
    spec = replace(SPEC, shard_bytes=40_000)
    one = construct_dataset([toy], str(tmp_path / "one"), spec)
    again = construct_dataset([toy], str(tmp_path / "again"), spec)
    two = construct_dataset([toy], str(tmp_path / "two"), spec, workers=2)
    assert one == again == two
    assert len(digests(one)) > 3
    files = sorted(p.name for p in (tmp_path / "one").iterdir())
    assert files == sorted(p.name for p in (tmp_path / "two").iterdir())
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_another_seed_gives_another_order_of_the_same_samples(toy: NamedDataset, tmp_path: Path) -> None:
    construct_dataset([toy], str(tmp_path / "0"), SPEC)
    construct_dataset([toy], str(tmp_path / "1"), SPEC, seed=1)
    zero, one = ([s["__key__"] for s in read_samples(tmp_path / seed, "train*.tar")] for seed in ("0", "1"))
    assert zero != one
    assert sorted(zero) == sorted(one) != zero


@pytest.mark.parametrize("group", ["song", "singer"])
def test_no_group_is_in_two_splits(group: Any, tmp_path: Path) -> None:
    songs = [
        ToySong(f"{i}", text={"title": f"t{i % 20}", "artist": f"a{i % 5}", "singer": f"s{i % 10}"}) for i in range(40)
    ]
    toy = write_toy(tmp_path / "toy", [songs[:15], songs[15:]])
    spec = replace(SPEC, group=group, valid_songs=2, test_songs=2)
    manifest = construct_dataset([toy], str(tmp_path / "out"), spec)
    works = {s.id: s.text["title"] if group == "song" else s.text["singer"] for s in songs}
    found = {
        split: {works[s["json"]["id"]] for s in read_samples(tmp_path / "out", f"{split}*.tar")}
        for split in manifest.splits
    }
    assert {split: len(groups) for split, groups in found.items()} == {
        split: totals.groups for split, totals in manifest.splits.items()
    }
    assert manifest.splits["valid"].groups == manifest.splits["test"].groups == 2
    assert sum(map(len, found.values())) == len(set().union(*found.values()))


def test_an_index_column_split_wins(tmp_path: Path) -> None:
    songs = [ToySong(f"{i}", text={"split": s}) for i, s in enumerate(["test", "valid", "train", "train"])]
    toy = write_toy(tmp_path / "toy", [songs])
    construct_dataset([toy], str(tmp_path / "out"), replace(SPEC, valid_songs=None))
    ids = {
        s: {x["json"]["id"] for x in read_samples(tmp_path / "out", f"{s}*.tar")} for s in ("train", "valid", "test")
    }
    assert ids == {"train": {"2", "3"}, "valid": {"1"}, "test": {"0"}}


@pytest.mark.parametrize("address", ["index.title", "units.units", "align.words"])
def test_bounds_of_what_is_no_number_are_refused_before_anything_is_read(tmp_path: Path, address: str) -> None:
    toy = write_toy(tmp_path / "toy", [[ToySong("a", text={"title": "a"})]])
    with pytest.raises(UsageError, match=rf"quality\.{address}: it is no number that a song has one of"):
        construct_dataset([toy], str(tmp_path / "out"), replace(SPEC, quality={address: (0, 1)}))


def test_alignment_counts_in_every_set_that_has_it(tmp_path: Path) -> None:
    good, astray = ToySong("good"), ToySong("astray", inlier_ratio=0.2)
    spoken, sung = (replace(write_toy(tmp_path / name, [[good, astray]]), name=name) for name in ("a spoken", "b sung"))
    (tmp_path / "a spoken" / "0" / "align.parquet").unlink()
    manifest = construct_dataset([spoken, sung], str(tmp_path / "out"), replace(SPEC, min_alignment=0.8))
    assert manifest.drops == {"out of range: align.inlier_ratio": 1}


def test_a_bound_may_have_a_short_name(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", [[ToySong("loud", loudness_lufs=-3), ToySong("a"), ToySong("b")]])
    spec = replace(SPEC, quality={"loudness_lufs": (-40, -10)})
    drops = construct_dataset([toy], str(tmp_path / "out"), spec).drops
    assert drops == {"out of range: quality.loudness_lufs": 1}


def test_every_drop_is_counted_and_told(tmp_path: Path) -> None:
    songs = [
        *(ToySong(f"good {i}", text={"singer": "anna"}) for i in range(4)),
        ToySong("broken", errors={"units": "input: mel: off", "mel": "off" * 200}, text={"singer": "anna"}),
        ToySong("out", text={"singer": "anna"}),
        ToySong("unitless", nulls=["units"], text={"singer": "anna"}),
        ToySong("loud", loudness_lufs=-3, text={"singer": "anna"}),
        ToySong("astray", inlier_ratio=0.2, text={"singer": "anna"}),
        ToySong("unaligned", inlier_ratio=None, text={"singer": "anna"}),
        ToySong("nobody"),
        ToySong("uncut", cuts=[], text={"singer": "berta"}),
        ToySong("lengths", 30.0, [(0, 0.1), (1, 25), (25, 26), (29.9, 29.8)], text={"singer": "berta"}),
    ]
    toy = write_toy(tmp_path / "toy", [songs[:6], songs[6:]])
    (tmp_path / "toy" / "exclude.txt").write_bytes("\ufeffout\r\n".encode())  # As Windows writes it.
    spec = replace(SPEC, group="singer", max_s=10.0, quality={"quality.loudness_lufs": (-40, -10)}, min_alignment=0.8)
    manifest = construct_dataset([toy], str(tmp_path / "out"), spec)
    assert manifest.drops == {
        "error: mel": 1,
        "excluded": 1,
        "no cuts": 1,
        "null: align.inlier_ratio": 1,
        "null: singer": 1,
        "null: units.units": 1,
        "out of range: align.inlier_ratio": 1,
        "out of range: quality.loudness_lufs": 1,
        "too long": 1,
        "too short": 2,
    }
    assert manifest.songs == len(songs)
    assert manifest.kept == 9 == len(read_samples(tmp_path / "out"))
    assert manifest.candidates == manifest.kept + sum(manifest.drops.values())
    told = [json.loads(line) for line in (tmp_path / "out" / "drops.jsonl").read_text("utf-8").splitlines()]
    assert Counter(line["reason"] for line in told) == manifest.drops
    assert {line["id"] for line in told if line["reason"] == "error: mel"} == {"broken"}
    assert all(len(line.get("detail", "")) <= 300 for line in told)
    assert manifest.singers == ("anna", "berta")


def test_words_and_values_and_audio_are_those_of_the_cut(toy: NamedDataset, tmp_path: Path) -> None:
    columns = {"loudness": "quality.loudness_lufs", "tier": "align.words", "energy": "energy.energy"}
    spec = SampleSpec("all", columns, words=True, audio="voice", valid_songs=1)
    construct_dataset([toy], str(tmp_path / "out"), spec)
    sample = next(
        s for s in read_samples(tmp_path / "out") if (s["json"]["id"], s["json"]["start_s"]) == ("song 0", 2.5)
    )
    told = sample["json"]
    assert (told["start_s"], told["text"], told["values"]["loudness"]) == (2.5, "2.5 to 6.0", -20.0)
    assert told["words"] == told["values"]["tier"]
    assert told["words"][0] == {"text": "w5", "start_s": 0.0, "end_s": 0.4, "line": 1}
    wave, sample_rate = soundfile.read(io.BytesIO(sample["flac"]), dtype="int16")
    assert sample_rate == SAMPLE_RATE
    assert np.array_equal(wave, np.arange(2.5 * SAMPLE_RATE, 6.0 * SAMPLE_RATE) % 2**15)


def test_without_cuts_a_sample_is_a_whole_song(tmp_path: Path) -> None:
    songs = [ToySong(f"{i}", 5.5, text={"raw_lyrics": f"la {i}", "lrc_lyrics": None}) for i in range(3)]
    toy = write_toy(tmp_path / "toy", [songs])
    construct_dataset([toy], str(tmp_path / "out"), replace(SPEC, cuts=None))
    told = sorted((s["json"]["id"], s["json"]["seconds"], s["json"]["text"]) for s in read_samples(tmp_path / "out"))
    assert told == [(f"{i}", 5.5, f"la {i}") for i in range(3)]


def test_the_index_finds_each_sample(toy: NamedDataset, tmp_path: Path) -> None:
    manifest = construct_dataset([toy], str(tmp_path / "out"), replace(SPEC, shard_bytes=100_000))
    for shard in manifest.splits["train"].shards:
        data = (tmp_path / "out" / shard.path).read_bytes()
        assert (len(data), len(data) % tarfile.RECORDSIZE) == (shard.bytes, 0)
        with np.load(tmp_path / "out" / shard.index) as index:
            samples = read_samples(tmp_path / "out", shard.path)
            assert [k.decode() for k in index["key"]] == [s["__key__"] for s in samples]
            assert index["offset"].tolist() == [0, *np.cumsum(index["bytes"])[:-1].tolist()]
            assert float(index["seconds"].sum()) == pytest.approx(shard.seconds)
            rows = zip(samples, index["offset"].tolist(), index["bytes"].tolist(), index["crc32"].tolist(), strict=True)
            for sample, offset, size, crc in rows:
                part = data[offset : offset + size]
                assert zlib.crc32(part) == crc
                with tarfile.open(fileobj=io.BytesIO(part)) as tar:
                    members = {m.name.rpartition(".")[2]: file.read() for m in tar if (file := tar.extractfile(m))}
                    assert json.loads(members["json"]) == sample["json"]
                    with np.load(io.BytesIO(members["npz"])) as arrays:
                        assert all(np.array_equal(arrays[n], sample["npz"][n]) for n in RATES)


def test_the_manifest_tells_columns_contracts_and_artefacts(tmp_path: Path) -> None:
    settings, models = {"mel": {"spec": {"n_mels": 3}}}, {"units": {"codebook": "abc"}}
    toy = write_toy(tmp_path / "toy", [toy_songs(4)], settings, models)
    construct_dataset([replace(toy, licence="CC0")], str(tmp_path / "out"), SPEC)
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())
    mel = told["columns"]["mel"]
    assert (mel["address"], mel["kind"], mel["dtype"], mel["rate"], mel["dim"]) == (
        "mel.mel",
        "series",
        "float16",
        "375/4",
        3,
    )
    assert (mel["n_tokens"], told["columns"]["units"]["n_tokens"]) == (None, 5000)
    assert TrainingManifest.read(tmp_path / "out").columns["units"].n_tokens == 5000
    assert told["contracts"]["mel"] == {"spec": {"n_mels": 3}}
    assert told["artefacts"] == {"units": {"codebook": "abc"}}
    assert (told["datasets"][0]["licence"], told["snap_s"]) == ("CC0", 0.16)
    assert told["splits"]["test"] == {"groups": 0, "samples": 0, "seconds": 0.0, "shards": []}


def test_a_stale_or_missing_column_is_refused(toy: NamedDataset, tmp_path: Path) -> None:
    partition = Partition(toy.dataset.store, 1)
    songs = toy_songs(12)[5:]
    write_column(partition, "mel", [replace(s, seconds=7.5) for s in songs])
    with pytest.raises(StaleColumn, match=r"partition 1 .*units is stale \(mel.mel.*autosing process .* units"):
        construct_dataset([toy], str(tmp_path / "out"), SPEC)
    write_column(partition, "units", songs)
    (tmp_path / "toy" / "1" / "f0.parquet").unlink()
    with pytest.raises(MissingColumn, match=r"no f0; compute it with: autosing process .* f0"):
        construct_dataset([toy], str(tmp_path / "out"), replace(SPEC, columns={"f0_hz": "f0.f0_hz"}))
    write_index(tmp_path / "toy", 0, toy_songs(12)[:5])
    with pytest.raises(StaleColumn, match=r"partition 0 .*probe is stale \(index.parquet.*autosing process"):
        construct_dataset([toy], str(tmp_path / "out"), SPEC)
    assert not (tmp_path / "out").exists()


def test_a_column_that_changes_while_a_set_is_built_from_it_is_refused(toy: NamedDataset, tmp_path: Path) -> None:
    songs = [replace(song, errors={"f0": "no voice"}) for song in toy_songs(12)[5:]]

    def change(what: str, done: int, total: int) -> None:
        if (what, done) == ("encode", 1):
            write_column(Partition(toy.dataset.store, 1), "f0", songs)

    with pytest.raises(StaleColumn, match=r"partition 1 .*f0\.f0_hz, f0\.voiced changed while .* build again"):
        construct_dataset([toy], str(tmp_path / "out"), SPEC, report=change)
    again = construct_dataset([toy], str(tmp_path / "out"), SPEC)
    assert again == construct_dataset([toy], str(tmp_path / "undisturbed"), SPEC)


def test_two_data_sets_must_mean_the_same(toy: NamedDataset, tmp_path: Path) -> None:
    other = write_toy(tmp_path / "other", [toy_songs(3)], {"mel": {"n_mels": 80}}, name="other")
    with pytest.raises(SchemaMismatch, match=r"mel .*other/0 and toy/0 \(mel: settings.n_mels 80 and None\)"):
        construct_dataset([toy, other], str(tmp_path / "out"), SPEC)
    other = write_toy(tmp_path / "third", [toy_songs(3)], models={"units": {"codebook": "x"}}, name="third")
    with pytest.raises(SchemaMismatch, match=r"units .*third/0 and toy/0 \(units: models.codebook 'x' and None\)"):
        construct_dataset([toy, other], str(tmp_path / "out"), SPEC)


def test_data_sets_may_share_ids_but_not_names(toy: NamedDataset, tmp_path: Path) -> None:
    other = write_toy(tmp_path / "other", [toy_songs(3)], name="other")
    manifest = construct_dataset([toy, other], str(tmp_path / "out"), SPEC)
    assert manifest.kept == 30
    assert {(s["json"]["dataset"]) for s in read_samples(tmp_path / "out")} == {"toy", "other"}
    with pytest.raises(UsageError, match="different names; these are toy, toy"):
        construct_dataset([toy, replace(other, name="toy")], str(tmp_path / "out2"), SPEC)


def test_an_id_in_two_partitions_is_an_error_until_it_is_excluded(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", [toy_songs(5), toy_songs(6)[4:]])
    with pytest.raises(DataError, match="'song 4' is in the partitions 0 and 1"):
        construct_dataset([toy], str(tmp_path / "out"), SPEC)
    (tmp_path / "toy" / "exclude.txt").write_text("song 4\n")
    fresh = replace(toy, dataset=Dataset(toy.dataset.url))
    assert construct_dataset([fresh], str(tmp_path / "out"), SPEC).drops == {"excluded": 2}


def test_two_cuts_with_one_start_are_an_error(tmp_path: Path) -> None:
    toy = write_toy(tmp_path / "toy", [[*toy_songs(3), ToySong("twice", cuts=[(1.0, 3.0), (1.05, 4.0)])]])
    with pytest.raises(DataError, match=r"'twice' has two cuts that begin at 960 ms .*snap: false"):
        construct_dataset([toy], str(tmp_path / "out"), SPEC)
    assert construct_dataset([toy], str(tmp_path / "out"), replace(SPEC, snap=False)).kept == 8


def test_nothing_left_is_an_error_that_tells_the_drops(toy: NamedDataset, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no sample is left; dropped: .*'too short': 24"):
        construct_dataset([toy], str(tmp_path / "out"), replace(SPEC, min_s=100.0))
    assert not (tmp_path / "out" / "manifest.json").exists()
