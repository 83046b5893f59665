"""Songs that can't be decoded, or hardly: a value or an error each, and never a lost neighbour."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toy_stages import toy_graph, toy_songs

from autosing.pipeline.dataset import Dataset, SongRow
from autosing.pipeline.ingest.folder import FolderSource
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.signal.decode import encode
from autosing.signal.errors import DataError

REFUSED_THOUGH_DECODABLE = {
    "made_from_real/speech_nan_inf.wav": "holds NaN",
    "pocketsphinx/awful.wav": "1092676",
}
"""Samples that are no numbers, and a rate that no recording has."""
STAGES = ["probe", "quality", "f0", "energy", "mel", "ssl", "align", "cuts"]
COLUMNS = ["probe.n_samples", "quality.peak", "f0.f0_hz", "energy.energy", "mel.mel", "ssl.ssl", "cuts.cuts"]


def run(url: str, targets: list[str]) -> RunReport:
    graph = Project().graph(DatasetEntry(url, name="bad"))
    return process(Dataset(url), graph, targets, RunOptions("local"), progress=Progress(1, quiet=True))


def wav(wave: np.ndarray, sample_rate: int = 24_000) -> bytes:
    return encode(np.asarray(wave, np.float32).reshape(len(wave), -1), sample_rate, "WAV")


def test_every_odd_song_gets_a_value_or_an_error_and_its_neighbours_are_unharmed(tmp_path: Path) -> None:
    tone = 0.3 * np.sin(np.arange(24_000) * 0.06)
    header_lies = bytearray(wav(tone))
    header_lies[40:44] = (2**32 - 1).to_bytes(4, "little")
    flac = encode(tone.astype(np.float32)[:, None], 24_000, "FLAC")
    songs = {
        "good.wav": wav(tone),
        "empty": b"",
        "text": b"this is no sound",
        "silent": wav(np.zeros(24_000)),
        "one sample": wav(np.ones(1)),
        "eight channels": wav(np.repeat(tone[:, None], 8, axis=1)),
        "1234 Hz": wav(tone[:3000], 1234),
        "192 kHz": wav(tone, 192_000),
        "header claims 4 GB": bytes(header_lies),
        "mp3 named wav.wav": encode(tone.astype(np.float32)[:, None], 24_000, "MP3"),
        "cut flac": flac[: len(flac) // 2],
        "../../escape": wav(tone),
        "a/b.c": wav(tone),
        "\N{MICROPHONE} emoji\nnewline": wav(tone),
        "also good.wav": wav(tone),
    }
    append_songs(str(tmp_path / "set"), [NewSong(id, audio) for id, audio in songs.items()])
    run(str(tmp_path / "set"), STAGES)
    rows = {r.id: r for r in Dataset(str(tmp_path / "set")).read(COLUMNS)}
    assert list(rows) == list(songs)
    assert {id for id, r in rows.items() if "probe" in r.errors} == {"empty", "text", "cut flac"}
    for row in rows.values():
        _assert_value_or_error(row)
    for address, value in rows["good.wav"].values.items():
        np.testing.assert_array_equal(value, rows["also good.wav"].values[address])
    assert {p.name for p in tmp_path.iterdir()} == {"set"}


def _assert_value_or_error(row: SongRow) -> None:
    for address in COLUMNS:
        assert (row.values[address] is None) == (address.split(".")[0] in row.errors), (row.id, address)


def test_the_files_of_the_wild_end_as_both_decoders_agree(shared_data: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    source = FolderSource(shared_data / "broken", include=("*",), exclude=("EXPECT.tsv", "*SOURCE.md"))
    append_songs(url, source.songs())
    run(url, ["probe", "energy"])
    rows = {r.id: r for r in Dataset(url).read(["probe.n_samples", "energy.energy"])}
    with (shared_data / "broken" / "EXPECT.tsv").open(newline="") as file:
        expected = list(csv.reader(file, delimiter="\t"))[1:]
    assert set(rows) == {e[0] for e in expected} and len(rows) == 112
    for name, _, _, ffmpeg_frames, ffmpeg_exit, _, libsndfile in (e[:7] for e in expected):
        if name in REFUSED_THOUGH_DECODABLE:
            assert REFUSED_THOUGH_DECODABLE[name] in rows[name].errors["probe"]
            continue
        refused = libsndfile == "refused"
        if refused and ffmpeg_exit != "0":
            assert "probe" in rows[name].errors, name
        told = libsndfile.split(" ")[0].split("/")
        if not refused and "READ-FAILS" not in libsndfile and told[2] == ffmpeg_frames != "0":
            assert rows[name].values["probe.n_samples"] == int(ffmpeg_frames), name


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"audio": pa.array([b"x"], pa.large_binary())}), "'id' is missing"),
        (pa.table({"id": ["a"]}), "'audio' is missing"),
        (pa.table({"id": ["a"], "audio": ["x"]}), "expected large_binary"),
        (pa.table({"id": [1], "audio": pa.array([b"x"], pa.large_binary())}), "expected string"),
        (pa.table({"id": ["a", None], "audio": pa.array([b"x"] * 2, pa.large_binary())}), "row 1 has no id"),
        (pa.table({"id": ["a", "a"], "audio": pa.array([b"x"] * 2, pa.large_binary())}), "is there twice"),
    ],
)
def test_a_wrong_index_fails_its_partition_with_one_message_and_the_others_go_on(
    tmp_path: Path, table: pa.Table, message: str
) -> None:
    url = str(tmp_path / "set")
    append_songs(url, toy_songs(2))
    (tmp_path / "set" / "1").mkdir()
    pq.write_table(table, tmp_path / "set" / "1" / "index.parquet")
    report = process(Dataset(url), toy_graph(url), ["level"], RunOptions("local"), progress=Progress(1, quiet=True))
    assert list(report.failed) == [1] and message in report.failed[1]
    assert report.exit_code == 3
    assert report.instances["level"].rows == 2
    assert [p.name for p in (tmp_path / "set" / "1").iterdir()] == ["index.parquet"]


def test_a_truncated_index_is_named(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    append_songs(url, toy_songs(2))
    path = tmp_path / "set" / "0" / "index.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    report = process(Dataset(url), toy_graph(url), ["level"], RunOptions("local"), progress=Progress(1, quiet=True))
    assert "not a readable Parquet file" in report.failed[0]


def test_a_source_that_repeats_an_id_or_brings_other_bytes_is_refused(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    append_songs(url, toy_songs(2))
    assert append_songs(url, toy_songs(2)).skipped == 2
    with pytest.raises(DataError, match=r"song 0\.wav.*other audio"):
        append_songs(url, [NewSong("song 0.wav", b"other")])
    with pytest.raises(DataError, match="'new' twice"):
        append_songs(url, [NewSong("new", b"a"), NewSong("new", b"a")])
