"""Real recordings in the layouts of their corpora; what others read out of the same annotations is the truth."""

import csv
from pathlib import Path
from typing import Any

import pytest
from toy_sources import songs, take, truths

from autosing.signal.lyrics import parse_lrc, split_words


def ingested(
    source: Path, url: Path, **options: Any
) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]], Any]:
    if not source.is_dir():
        pytest.skip(f"{source.name} is not among the real recordings")
    result = take(source, url, **options)
    return songs(url), truths(url), result


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_words(text: dict[str, Any], truth: dict[str, Any], words_csv: Path) -> None:
    """Checks that a song's words are those of its lyrics and have the times of a table that others made."""
    lines = [split_words(line.text) for line in parse_lrc(text["lrc_lyrics"]).lines]
    words = truth["ref_words"]
    assert [(w, n) for n, its in enumerate(lines) for w in its] == [(w["text"], w["line"]) for w in words]
    assert [w for row in text["raw_lyrics"].splitlines() for w in split_words(row)] == [w["text"] for w in words]
    rows = table(words_csv)
    assert [w["start_s"] for w in words] == pytest.approx([float(r["word_start"]) for r in rows], abs=1e-3)
    assert [w["end_s"] for w in words] == pytest.approx([float(r["word_end"]) for r in rows], abs=1e-3)


@pytest.mark.parametrize(("folder", "n_songs"), [("nc/ultrastar", 7), ("ultrastar", 1)])
def test_words_and_notes_of_ultrastar_songs(shared_data: Path, tmp_path: Path, folder: str, n_songs: int) -> None:
    text, truth, result = ingested(shared_data / folder, tmp_path / "set")
    assert result.songs == n_songs
    # The instrumental beside one of the songs.
    assert all("instrumental" in told for told in result.problems)
    for id in text:
        song = (shared_data / folder / id).parent
        check_words(text[id], truth[id], song / "words.csv")
        rows = [row for row in table(song / "notes.csv") if row["kind"] != "freestyle"]
        notes = truth[id]["ref_notes"]
        assert [n["midi"] for n in notes] == [float(r["midi"]) for r in rows]
        assert [n["start_s"] for n in notes] == pytest.approx([float(r["start"]) for r in rows], abs=1e-3)
        assert [n["end_s"] for n in notes] == pytest.approx([float(r["end"]) for r in rows], abs=1e-3)


def test_words_of_jamendolyrics(shared_data: Path, tmp_path: Path) -> None:
    text, truth, result = ingested(shared_data / "nc/jamendolyrics", tmp_path / "set")
    assert (result.songs, result.n_problems) == (4, 0)
    for id in text:
        check_words(text[id], truth[id], (shared_data / "nc/jamendolyrics" / id).parent / "words.csv")
    assert {song["language"] for song in text.values()} == {"de", "es", "fr"}


def test_phones_and_score_of_pjs(shared_data: Path, tmp_path: Path) -> None:
    text, truth, result = ingested(shared_data / "pjs", tmp_path / "set")
    assert result.songs == 9 and result.n_problems == 9 and "of speech left out" in result.problems[0]
    assert text["pjs001/pjs001_song.flac"]["raw_lyrics"].startswith("またとーじのよおにごだいみょおおーとよばれる\n")
    for known in truth.values():
        sung = [p for p in known["ref_phones"] if p["text"] not in ("pau", "sil", "br")]
        # The score lies on the song's time line: its first note is where the first phone is sung.
        assert abs(known["ref_notes"][0]["start_s"] - sung[0]["start_s"]) < 0.5


def test_phones_and_notes_of_nit_song070(shared_data: Path, tmp_path: Path) -> None:
    _, truth, result = ingested(shared_data / "nit_song070", tmp_path / "set")
    known = truth["nitech_jp_song070_f001_004.wav"]
    assert result.n_problems == 0 and len(known["ref_phones"]) == 135 and len(known["ref_notes"]) == 64
    first = known["ref_notes"][0]
    assert (first["text"], first["midi"]) == ("pocl", 65.0)
    assert (first["start_s"], first["end_s"]) == pytest.approx((1.05, 1.49), abs=1e-6)


def test_takes_of_gtsinger_and_readers_of_ljspeech(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "nc/gtsinger"
    if not source.is_dir():
        pytest.skip("gtsinger is not among the real recordings")
    result = take(source, tmp_path / "set")
    text = songs(tmp_path / "set")
    of_song = [id for id, song in text.items() if (song["singer"], song["title"]) == ("ZH-Alto-1", "逆光")]
    assert [id.rpartition("_")[2] for id in of_song] == ["control.flac", "falsetto.flac", "mixed.flac"]
    assert not any("speech" in id for id in text) and len(text) + result.n_problems == len(table_of_clips(source))
    assert take(shared_data / "ljspeech", tmp_path / "lj").songs == 10


def table_of_clips(source: Path) -> list[str]:
    return (source / "clips.tsv").read_text(encoding="utf-8").splitlines()[1:]
