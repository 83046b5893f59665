"""Layouts are recognised by their files, live in one set, and damage in any of them ends well."""

import random
from pathlib import Path
from typing import Any

import pytest
from toy_sources import (
    TREES,
    gtsinger_clips,
    jamendo_folders,
    songs,
    svcc,
    take,
    truths,
    wav,
    write,
)

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.annotation import REFERENCE_COLUMNS
from autosing.pipeline.ingest.source import Source
from autosing.pipeline.ingest.sources import FORMATS, LAYOUTS
from autosing.pipeline.settings import load_project
from autosing.signal.errors import DataError, UsageError
from autosing.signal.lyrics import parse_lrc, split_words


def words_agree(text: dict[str, Any], truth: dict[str, Any]) -> bool:
    """Whether the words of a song's lyrics are those of its annotation, with the same lines."""
    lines = [split_words(line.text) for line in parse_lrc(text["lrc_lyrics"]).lines]
    told = [(word, number) for number, line in enumerate(lines) for word in line]
    raw = [word for line in text["raw_lyrics"].splitlines() for word in split_words(line)]
    words = [(word["text"], word["line"]) for word in truth["ref_words"]]
    return all(lines) and told == words and raw == [word for word, _ in words]


def test_every_layout_has_a_tree_that_these_tests_know() -> None:
    assert set(TREES) == set(LAYOUTS) and set(FORMATS) > set(LAYOUTS)


@pytest.mark.parametrize("name", TREES)
def test_a_layout_is_recognised_by_its_files_and_gives_what_naming_it_gives(source: Path, url: Path, name: str) -> None:
    TREES[name](source)
    found = take(source, url)
    forced = take(source, url.with_name("forced"), format=name)
    assert found == forced and found.songs >= 1
    assert songs(url) == songs(url.with_name("forced"))
    assert take(source, url).skipped == found.songs
    if "reference" in Dataset(str(url)).partitions[0].instances():
        for id, truth in truths(url).items():
            assert "ref_words" not in truth or words_agree(songs(url)[id], truth)


@pytest.mark.parametrize("name", TREES)
def test_what_lies_beside_a_layout_and_is_not_of_it_is_told(source: Path, url: Path, name: str) -> None:
    write(TREES[name](source), {"elsewhere/stray one.wav": wav(99)})
    result = take(source, url, format=name)
    assert result.n_problems >= 1 and any("stray one.wav" in told for told in result.problems)
    assert not any("stray" in id for id in songs(url))


@pytest.mark.parametrize("name", TREES)
def test_globs_choose_among_the_sound_files_of_a_layout(source: Path, url: Path, name: str) -> None:
    TREES[name](source)
    with pytest.raises(UsageError, match="holds no songs"):
        take(source, url, format=name, exclude=("*",))
    assert not url.exists()


def test_a_folder_with_a_little_of_a_corpus_in_it_is_a_folder(source: Path, url: Path) -> None:
    for name in ("ultrastar", "pjs", "hts", "gtsinger"):
        TREES[name](source / name)
    write(source, {f"{i}.wav": wav(i) for i in range(20)})
    assert take(source, url).songs == 27


def test_an_unknown_format_lists_the_known(source: Path, url: Path) -> None:
    with pytest.raises(UsageError, match=r"'m4' is unknown; known: auto, folder, .*m4singer, .*jsonl"):
        take(svcc(source), url, format="m4")


def test_the_formats_of_the_shipped_settings_are_known() -> None:
    project = load_project(str(Path(__file__).parents[2] / "datasets.yaml"))
    formats = {name: entry.format for name, entry in project.datasets.items()}
    assert set(formats.values()) <= set(FORMATS)
    assert all(formats[name] == name for name in formats if name in LAYOUTS)


def test_songs_of_several_layouts_live_in_one_set(tmp_path: Path, url: Path) -> None:
    for name in ("jamendolyrics", "hts", "svcc"):
        take(TREES[name](tmp_path / name), url, prefix=f"{name}/")
    assert len(songs(url)) == 10
    with_truth = [p for p in Dataset(str(url)).partitions if "reference" in p.instances()]
    columns = ["ref_words", "ref_phones", "ref_notes"]
    assert [[c.name for c in p.columns("reference")] for p in with_truth] == [columns, columns]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Returns bytes of which a few are changed, cut off, said twice, or replaced by what breaks parsers."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            data[at : at + rng.randint(1, 20)] = b""
        elif kind == 1:
            data = data[:at]
        elif kind == 2:
            data[at:at] = data[max(at - 30, 0) : at] * rng.randint(1, 3)
        else:
            data[at:at] = rng.choice(
                [b"\0", b"1e999", b"NaN", b"null", b"\r", b"|", b"9" * 25, b'"', b"[", b"\xed\xa0\x80"]
            )
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TREES, "jamendo_folders", "gtsinger_clips"])
def test_damaged_files_end_as_problems_or_as_clear_errors(source: Path, name: str) -> None:
    tree = {**TREES, "jamendo_folders": jamendo_folders, "gtsinger_clips": gtsinger_clips}[name]
    layout = LAYOUTS[{"jamendo_folders": "jamendolyrics", "gtsinger_clips": "gtsinger"}.get(name, name)]
    tree(source)
    files = {p: p.read_bytes() for p in sorted(source.rglob("*")) if p.is_file() and p.suffix not in (".wav", ".mp3")}
    rng = random.Random(0)
    for _ in range(300):
        path = rng.choice(list(files))
        path.write_bytes(damaged(files[path], rng))
        try:
            for song in layout.songs(Source(source)):
                known = [c.canonical(song.reference.get(c.name)) for c in REFERENCE_COLUMNS]
                assert song.id and len(known) == 3
        except (UsageError, DataError):
            pass
        path.write_bytes(files[path])
