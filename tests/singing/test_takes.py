"""Takes are judged by their sound: the synthetic singer sings what is known, or something else."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from autosing.aligner import paths
from autosing.models.aligner import Aligner, AlignerFields
from autosing.models.directory import save_model
from autosing.signal.alphabet import alphabet
from autosing.signal.errors import UsageError
from autosing.signal.lyric_mel import DIM
from autosing.signal.singer import song
from autosing.signal.voice import voices
from autosing.synthesis.singing import takes
from autosing.synthesis.singing.takes import Judge, Verdict

HZ = 24_000
SONGS = range(3)


@cache
def judge() -> Judge:
    return Judge()


@cache
def sung(number: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns a sung song and its lines."""
    made = song(200 + number, voices(8, 3)[number], 18.0, sample_rate=HZ)
    return made.wave, made.score.lines


def verdict(number: int, lines: tuple[str, ...]) -> Verdict:
    return judge().judge(sung(number)[0], HZ, lines)


def test_lines_that_are_sung_are_found() -> None:
    found = [verdict(n, sung(n)[1]) for n in SONGS]
    assert np.mean([one.lines for one in found]) > 0.95 and np.mean([one.words for one in found]) > 0.85
    assert np.mean([one.symbol_error_rate for one in found]) < 0.5
    assert all(one.beside < 0.03 for one in found)


def test_lyrics_of_another_song_are_not_found() -> None:
    for n in SONGS:
        other = verdict(n, sung((n + 1) % len(SONGS))[1])
        true = verdict(n, sung(n)[1])
        assert other.lines < 0.4 and not other.is_whole and other.rank > true.rank
        assert other.symbol_error_rate > true.symbol_error_rate + 0.15


def test_lines_in_another_order_are_not_found() -> None:
    for n in SONGS:
        assert verdict(n, sung(n)[1][::-1]).lines <= 0.5 * verdict(n, sung(n)[1]).lines


@pytest.mark.parametrize("n", SONGS)
def test_a_line_that_was_skipped_is_named(n: int) -> None:
    lines = sung(n)[1]
    stranger = sung((n + 1) % len(SONGS))[1][1]
    assert 2 in verdict(n, (*lines[:2], stranger, *lines[2:])).missing


@pytest.mark.parametrize("n", SONGS)
def test_a_line_that_is_sung_and_not_asked_for_is_noticed(n: int) -> None:
    lines = sung(n)[1]
    found = verdict(n, (lines[0], *lines[2:]))
    assert found.beside > 0.08 and not found.is_whole


def test_of_a_song_that_is_too_long_to_align_at_once_parts_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    waves, of_song = zip(*(sung(n) for n in SONGS), strict=True)
    starts_s = np.cumsum([0, *map(len, waves[:-1])]) / HZ
    firsts = np.cumsum([0, *map(len, of_song[:-1])])
    borders = [(float(at_s), int(line)) for at_s, line in zip(starts_s, firsts, strict=True)]
    lines = [line for song_lines in of_song for line in song_lines]
    wave = np.concatenate([0.05 * one / one.std() for one in waves]).astype(np.float32)
    whole = judge().judge(wave, HZ, lines)
    # Room for one song, and not for three.
    monkeypatch.setattr(paths, "LARGEST_TRELLIS", 300_000)
    monkeypatch.setattr(takes, "STRETCH_S", 15.0)
    assert judge().judge(wave, HZ, lines).lines == 0
    found = judge().judge(wave, HZ, lines, borders)
    assert found.missing == whole.missing and found.lines > 0.7 and found.words == pytest.approx(whole.words, abs=0.1)
    assert found.beside < 0.05 and len(found.is_beside) == len(found.sounds_s)
    # A stranger's line is missing by its number in the whole song.
    swapped = [*lines[: firsts[2] + 1], of_song[0][1], *lines[firsts[2] + 1 :]]
    assert firsts[2] + 1 in judge().judge(wave, HZ, swapped, borders).missing


@pytest.mark.parametrize("n", SONGS)
def test_numbers_are_found_where_anything_is_sung(n: int) -> None:
    lines = sung(n)[1]
    found = verdict(n, ("1989", *lines[1:]))
    assert found.is_whole and found.symbol_error_rate < 0.6
    mixed = " ".join("19" if number % 2 else word for number, word in enumerate(lines[-1].split()))
    assert not verdict(n, (*lines[:-1], mixed)).missing
    assert judge().judge(np.zeros(4 * HZ, np.float32), HZ, ("1989", "42 42")).missing == (0, 1)


def test_an_aligner_of_a_pronunciation_dictionary_judges_by_it(tmp_path: Path) -> None:
    lexicon = tmp_path / "words.txt"
    lexicon.write_text("la L AA\nlo L OW\n")
    fields = AlignerFields(DIM, alphabet("lexicon", str(lexicon)).symbols, conv_dim=8, recurrent_dim=16)
    save_model(tmp_path / "aligner", Aligner(fields), {"alphabet": "lexicon"})
    found = Judge(str(tmp_path / "aligner"), str(lexicon)).judge(sung(0)[0][: 2 * HZ], HZ, ("la lo",))
    assert found.symbol_error_rate > 0
    with pytest.raises(UsageError, match="lexicon"):
        Judge(str(tmp_path / "aligner"))


def test_silence_and_noise_are_no_singing() -> None:
    lines = sung(0)[1]
    for wave in (np.zeros(HZ, np.float32), np.random.default_rng(0).normal(0, 0.1, 5 * HZ).astype(np.float32)):
        found = judge().judge(wave, HZ, lines)
        assert found.lines == 0 and found.symbol_error_rate > 0.8
    assert judge().judge(np.zeros(HZ // 50, np.float32), HZ, lines).lines == 0
    told = found.told()
    assert told["missing"] == list(range(len(lines))) and "sounds_s" not in told
