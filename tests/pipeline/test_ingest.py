"""Sources of every layout become partitions: what the songs are called, what lies beside them, what is refused."""

import codecs
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_sources import audio, songs, take, wav, write

from autosing.cli.ingest import FORMATS as HELP
from autosing.cli.main import main
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.sources import FORMATS, IngestOptions, ingest
from autosing.signal.errors import AutosingError, DataError, SchemaMismatch, UsageError


def state(url: Path) -> dict[str, str]:
    """Returns the digest of every file below a folder."""
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in url.rglob("*") if p.is_file()}


def test_an_id_is_the_path_with_its_extension_and_the_bytes_are_untouched(source: Path, url: Path) -> None:
    files: dict[str, bytes | str] = {"b.flac": wav(1), "a/b.c.wav": wav(2), "a/ö 😀.MP3": wav(3)}
    write(source, files)
    assert take(source, url, prefix="x:").songs == 3
    assert audio(url) == {f"x:{name}": content for name, content in files.items()}


def test_globs_choose_the_files_and_hidden_ones_and_other_suffixes_are_left_out(source: Path, url: Path) -> None:
    write(source, {n: wav(i) for i, n in enumerate(["a.wav", "b.wav", "live/a.wav", ".hidden.wav", ".git/a.wav"])})
    write(source, {"notes.txt": "no song", "song.bin": wav(9)})
    take(source, url)
    assert set(songs(url)) == {"a.wav", "b.wav", "live/a.wav"}
    take(source, url.with_name("chosen"), include=("*.wav", "*.bin"), exclude=("live/*", ".*"))
    assert set(songs(url.with_name("chosen"))) == {"a.wav", "b.wav", "song.bin"}


def test_what_is_no_regular_file_is_left_out(source: Path, url: Path) -> None:
    write(source, {"a.wav": wav(1), "folder.wav/b.wav": wav(2)})
    os.mkfifo(source / "pipe.wav")
    (source / "broken.wav").symlink_to("nowhere.wav")
    (source / "link.wav").symlink_to("a.wav")
    take(source, url)
    assert set(songs(url)) == {"a.wav", "folder.wav/b.wav", "link.wav"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_no_text_becomes_one(source: Path, url: Path) -> None:
    write(source, {os.fsdecode(b"caf\xe9.wav"): wav(1), os.fsdecode(b"caf\xe9/1.wav"): wav(2)})
    take(source, url)
    assert set(songs(url)) == {"caf\\xe9.wav", "caf\\xe9/1.wav"}


def test_lyrics_are_those_of_the_same_stem(source: Path, url: Path) -> None:
    write(source, {"a.b.wav": wav(1), "a.b.lrc": "[00:01.00]of a.b", "a.b.txt": "plain", "c.wav": wav(2)})
    write(source, {"a.lrc": "[00:01.00]of another", "lyrics.txt": "of nobody in particular"})
    take(source, url)
    assert songs(url)["a.b.wav"]["lrc_lyrics"] == "[00:01.00]of a.b"
    assert songs(url)["a.b.wav"]["raw_lyrics"] == "plain"
    assert songs(url)["c.wav"] == {"title": "c"}


def test_a_song_alone_in_its_folder_takes_the_only_lyrics_there(source: Path, url: Path) -> None:
    write(source, {"1/song.wav": wav(1), "1/words.lrc": "[00:01.00]x", "1/lyrics.txt": "y"})
    write(source, {"2/song.wav": wav(2), "2/lyrics.txt": "z", "3/song.wav": wav(3), "3/a.lrc": "x", "3/b.lrc": "y"})
    take(source, url)
    found = songs(url)
    assert found["1/song.wav"]["lrc_lyrics"] == "[00:01.00]x"
    assert found["2/song.wav"]["raw_lyrics"] == "z"
    assert not {"lrc_lyrics", "raw_lyrics"} & set(found["3/song.wav"])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_lyrics_are_read_in_the_encoding_that_they_are_in(source: Path, url: Path, encoding: str) -> None:
    words = "[00:01.00]Grüße à l’été\r\n[00:02.00]…"
    write(source, {"a.wav": wav(1), "a.lrc": words.encode(encoding)})
    take(source, url)
    assert songs(url)["a.wav"]["lrc_lyrics"] == words


def test_lyrics_in_no_encoding_at_all_are_read_all_the_same(source: Path, url: Path) -> None:
    write(source, {"a.wav": wav(1), "a.txt": b"\x81\x8d\xff", "b.wav": wav(2), "b.txt": codecs.BOM_UTF16_LE + b"odd"})
    take(source, url)
    assert len(songs(url)["a.wav"]["raw_lyrics"]) == 3
    assert songs(url)["b.wav"]["raw_lyrics"]


def test_lyrics_of_many_megabytes_are_refused_by_name(source: Path, url: Path) -> None:
    write(source, {"a.wav": wav(1), "a.txt": "la " * 2_000_000})
    with pytest.raises(UsageError, match=r"a\.txt has 6000000 bytes"):
        take(source, url)


def test_the_topmost_folder_is_the_artist(source: Path, url: Path) -> None:
    names = ["a.wav", "b.wav", "Abba/Waterloo.wav", "Abba/SOS.wav", "Abba/Fernando/studio.wav"]
    write(source, {name: wav(i) for i, name in enumerate(names)})
    take(source, url)
    assert {id: (s.get("artist"), s["title"]) for id, s in songs(url).items()} == {
        "a.wav": (None, "a"),
        "b.wav": (None, "b"),
        "Abba/Waterloo.wav": ("Abba", "Waterloo"),
        "Abba/SOS.wav": ("Abba", "SOS"),
        "Abba/Fernando/studio.wav": ("Abba", "Fernando"),
    }
    take(source, url.with_name("named"), artist="Queen")
    assert {s["artist"] for s in songs(url.with_name("named")).values()} == {"Queen"}


def test_appending_skips_and_counts_what_is_there_and_touches_no_file(source: Path, url: Path) -> None:
    write(source, {"a.wav": wav(1), "b.wav": wav(2)})
    take(source, url)
    before = state(url)
    write(source, {"c.wav": wav(3)})
    result = take(source, url)
    assert (result.songs, result.skipped, result.partitions) == (1, 2, 1)
    assert {name: digest for name, digest in state(url).items() if name in before} == before
    assert set(songs(url)) == {"a.wav", "b.wav", "c.wav"}
    assert take(source, url).songs == 0


def test_the_same_id_with_other_bytes_is_refused_by_name(source: Path, url: Path) -> None:
    take(write(source, {"a.wav": wav(1)}), url)
    before = state(url)
    write(source, {"a.wav": wav(2), "0.wav": wav(3)})
    with pytest.raises(DataError, match=r"'a\.wav' is in the data set already with other audio"):
        take(source, url)
    assert state(url) == before


def test_partitions_and_row_groups_are_bounded(source: Path, url: Path) -> None:
    take(write(source, {f"{i}.wav": wav(i) for i in range(7)}), url, partition_mb=2.5 * len(wav(0)) / (1 << 20))
    assert [len(p.ids()) for p in Dataset(str(url)).partitions] == [2, 2, 2, 1]


@pytest.mark.parametrize("partition_mb", [-1.0, float("nan"), float("inf")])
def test_a_partition_without_a_size_is_refused(source: Path, url: Path, partition_mb: float) -> None:
    with pytest.raises(UsageError, match="give the MB of audio"):
        take(write(source, {"a.wav": wav(1)}), url, partition_mb=partition_mb)


def test_a_folder_that_holds_its_own_data_set_stays_a_folder(source: Path) -> None:
    write(source, {"a.wav": wav(1)})
    take(source, source / "set")
    assert take(source, source / "set").skipped == 1


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({}, {}, "holds no audio files of a known suffix"),
        ({"notes.txt": "x"}, {}, "holds no audio files of a known suffix"),
        ({"a.wav": wav(1)}, {"exclude": ("*",)}, "--include and --exclude let pass"),
        ({"a.wav": wav(1)}, {"format": "mp3"}, "'mp3' is unknown; known: auto, folder, parquet, synthetic"),
        ({"a.wav": wav(1)}, {"format": "parquet"}, "holds no Parquet files"),
    ],
)
def test_a_source_without_songs_is_refused(
    source: Path, url: Path, files: dict[str, bytes | str], options: dict[str, Any], message: str
) -> None:
    source.mkdir()
    with pytest.raises(UsageError, match=message):
        take(write(source, files), url, **options)
    assert not url.exists()


def test_a_source_that_is_missing_or_a_single_file_is_refused(source: Path, url: Path) -> None:
    with pytest.raises(UsageError, match="source does not exist"):
        take(source, url)
    with pytest.raises(UsageError, match=r"a\.wav is no Parquet file; .*--include a\.wav"):
        take(write(source, {"a.wav": wav(1)}) / "a.wav", url)


@pytest.mark.parametrize("form", ["x", "0", "-1", "3x", "3x0", "3x1.2.3", "3@", "3x5@1.5"])
def test_a_wrong_number_of_synthetic_songs_is_refused(url: Path, form: str) -> None:
    with pytest.raises(UsageError, match=r"expected synthetic:SONGS\[xSECONDS\]\[@SEED\]"):
        ingest(f"synthetic:{form}", str(url), IngestOptions())


def table(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


def test_a_tree_of_indexes_is_taken_in_the_order_of_its_numbers(source: Path, url: Path) -> None:
    for number in (10, 2):
        table(source / str(number) / "index.parquet", id=[f"{number}/a"], audio=[wav(number)], lrc_lyrics=["[00:01]x"])
        table(source / str(number) / "stats.parquet", anything=[1])
    take(source, url)
    assert list(songs(url)) == ["2/a", "10/a"]
    assert songs(url)["2/a"] == {"lrc_lyrics": "[00:01]x"}


def test_audio_of_a_hugging_face_set_is_named_by_its_path(source: Path, url: Path) -> None:
    rows = [{"bytes": wav(1), "path": "x/1.wav"}, {"bytes": wav(2), "path": None}, {"bytes": None, "path": "gone.wav"}]
    table(source / "data" / "train-0.parquet", audio=rows, text=["one", None, "three"], speaker_id=[1, 2, 3])
    take(source, url, artist="nobody")
    assert audio(url) == {"x/1.wav": wav(1), "train-0/1": wav(2), "gone.wav": b""}
    assert songs(url)["x/1.wav"] == {"raw_lyrics": "one", "singer": "1", "artist": "nobody"}


def test_audio_bytes_with_numbers_as_ids_are_taken(source: Path, url: Path) -> None:
    take(table(source / "songs.parquet", id=[0, 1], audio=[wav(0), wav(1)]), url)
    assert audio(url) == {"0": wav(0), "1": wav(1)}


def test_songs_without_ids_are_told_apart_by_the_folders_of_files_of_one_name(source: Path, url: Path) -> None:
    for number in range(2):
        table(source / str(number) / "index.parquet", audio=[wav(2 * number), wav(2 * number + 1)])
    take(source, url)
    assert set(songs(url)) == {"0/index/0", "0/index/1", "1/index/0", "1/index/1"}
    take(source / "0" / "index.parquet", url.with_name("one"))
    assert set(songs(url.with_name("one"))) == {"index/0", "index/1"}


def hugging_face_table(**names: list[str]) -> pa.Table:
    """Returns a table with a song and class labels, as `datasets` writes them."""
    rows = [{"bytes": wav(i), "path": f"{i}.wav"} for i in range(3)]
    made = pa.table({"audio": rows, "speaker_id": [1, 0, -1], "text": ["a", "b", "c"], "song": ["x", "y", "z"]})
    made = made.append_column("lang", pa.array([0, 0, 0], pa.int64()))
    features = {column: {"names": its, "_type": "ClassLabel"} for column, its in names.items()}
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def test_class_labels_of_a_hugging_face_set_have_their_names(source: Path, url: Path) -> None:
    source.mkdir()
    pq.write_table(hugging_face_table(speaker_id=["ann", "bob"], lang=["French"]), source / "train.parquet")
    take(source, url)
    assert songs(url) == {
        "0.wav": {"raw_lyrics": "a", "singer": "bob", "title": "x", "language": "fr"},
        "1.wav": {"raw_lyrics": "b", "singer": "ann", "title": "y", "language": "fr"},
        "2.wav": {"raw_lyrics": "c", "title": "z", "language": "fr"},
    }


@pytest.mark.parametrize("metadata", [{}, {"huggingface": "{"}, {"huggingface": '{"info": {"features": [1]}}'}])
def test_labels_without_names_stay_numbers(source: Path, url: Path, metadata: dict[str, str]) -> None:
    source.mkdir()
    pq.write_table(hugging_face_table().replace_schema_metadata(metadata), source / "train.parquet")
    take(source, url)
    assert [song["singer"] for song in songs(url).values()] == ["1", "0", "-1"]


def test_a_set_that_was_saved_to_disk_is_read(source: Path, url: Path) -> None:
    source.mkdir()
    made = hugging_face_table(speaker_id=["ann", "bob"])
    with (
        pa.OSFile(str(source / "data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, made.schema) as out,
    ):
        out.write_table(made)
    write(source, {"state.json": "{}", "dataset_info.json": "{}"})
    assert take(source, url).songs == 3
    assert audio(url) == {f"{i}.wav": wav(i) for i in range(3)}
    assert songs(url)["1.wav"]["singer"] == "ann"


def test_a_truncated_set_on_disk_is_refused_by_name(source: Path, url: Path) -> None:
    write(source, {"data-00000-of-00001.arrow": b"\xff\xff\xff\xff\x10\x00\x00\x00"})
    with pytest.raises(DataError, match=r"data-00000-of-00001\.arrow"):
        take(source, url)


def test_sound_that_a_table_names_in_place_of_its_bytes_is_read_from_allowed_folders(
    source: Path, url: Path, tmp_path: Path
) -> None:
    write(tmp_path, {"secret.wav": wav(8), "sounds/b.wav": wav(2)})
    write(source, {"audio/a.wav": wav(1)})
    names = ["audio/a.wav", "b.wav", "../../secret.wav", str(tmp_path / "secret.wav"), None]
    rows = [{"bytes": None, "path": name} for name in names]
    table(source / "data" / "train.parquet", id=["a", "b", "c", "d", "e"], audio=rows)
    result = take(source, url, format="parquet", audio_root=str(tmp_path / "sounds"))
    assert audio(url) == {"a": wav(1), "b": wav(2), "c": b"", "d": b"", "e": b""}
    assert result.n_problems == 3
    assert (
        "train.parquet, row 2, has no audio bytes and names ../../secret.wav, which lies outside of"
        in result.problems[0]
    )
    assert "row 4, has no audio bytes and names no file" in result.problems[2]


def test_problems_are_printed_up_to_a_number(source: Path, url: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "\n".join(["LJ001-0001|a|a", *(f"gone{i}|x|x" for i in range(30))])
    write(source, {"metadata.csv": rows, "wavs/LJ001-0001.wav": wav(1)})
    with pytest.raises(SystemExit):
        main(["ingest", str(source), str(url)])
    out, err = capsys.readouterr()
    assert out.startswith("1 songs (") and err.count("not taken as it is: metadata.csv:") == 20
    assert "metadata.csv:2: there is no sound of 'gone0'" in err and "... and 10 more lines like these" in err
    assert err.endswith("30 things of the source were not taken as they are\n")


def test_the_help_names_every_format() -> None:
    assert set(FORMATS) <= set(re.findall(r"[a-z0-9-]+", HELP))


@pytest.mark.parametrize(
    ("columns", "kind", "message"),
    [
        ({"id": ["a", None], "audio": [b"x", b"y"]}, DataError, "empty id"),
        ({"id": ["a", ""], "audio": [b"x", b"y"]}, DataError, "empty id"),
        ({"id": ["a", "a"], "audio": [b"x", b"y"]}, DataError, "the id 'a' twice"),
        ({"id": ["a"], "audio": ["a.wav"]}, SchemaMismatch, "no column of audio bytes; .* found id: string"),
        ({"id": ["a"], "sound": [b"x"]}, SchemaMismatch, "no column of audio bytes"),
        ({"id": pa.array([], pa.string()), "audio": pa.array([], pa.binary())}, UsageError, "holds no songs"),
    ],
)
def test_a_table_without_ids_or_audio_is_refused(
    source: Path, url: Path, columns: dict[str, Any], kind: type[AutosingError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        take(table(source / "songs.parquet", **columns), url)
    assert not url.exists()


def test_a_truncated_table_is_refused_by_name(source: Path, url: Path) -> None:
    path = table(source / "songs.parquet", id=["a"], audio=[wav(1)])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"songs\.parquet is not a readable Parquet file"):
        take(source, url)


@pytest.mark.slow
def test_an_ingest_that_was_killed_goes_on_and_leaves_no_scratch_files(source: Path, url: Path) -> None:
    big = write(source, {f"{i}.wav": wav(0) + os.urandom(3 << 20) for i in range(20)})
    options = ["--partition-mb", "20"]
    command = [sys.executable, "-m", "autosing.cli.main", "ingest", str(big), str(url), *options]
    with subprocess.Popen(command, cwd=url.parent) as run:
        while not any(p.name.startswith(".tmp-") for p in url.rglob("*")):
            assert run.poll() is None
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
    assert any(p.name.startswith(".tmp-") for p in url.rglob("*"))
    assert subprocess.run(command, cwd=url.parent, check=False).returncode == 0
    assert audio(url) == {p.name: p.read_bytes() for p in big.iterdir()}
    assert not [p for p in url.rglob("*") if p.name.startswith(".tmp-")]


def test_the_reference_of_a_killed_ingest_is_not_taken_for_that_of_the_next_one(url: Path, tmp_path: Path) -> None:
    ingest("synthetic:1x1", str(url), IngestOptions())
    (url / "0" / "index.parquet").unlink()
    write(tmp_path / "other", {"one.wav": wav(1)})
    ingest(str(tmp_path / "other"), str(url), IngestOptions())
    assert Dataset(str(url)).partition(0).instances() == []
