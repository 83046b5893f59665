"""Voice activity of made songs, of sounds that are no voice, and of recordings with a fault."""

import csv
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from autosing.signal.decode import decode
from autosing.signal.framing import centres_s, frames
from autosing.signal.resample import resample
from autosing.signal.rows import slices
from autosing.signal.score import accompaniment, compose
from autosing.signal.singer import Song, song
from autosing.signal.vocal_part import vocal_blocks
from autosing.signal.voice import voices
from autosing.signal.voice_activity import RATE, Activation, active, cues, score, singing

Samples = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
HZ = 16_000


def scores_of(samples: Samples) -> npt.NDArray[np.float32]:
    """Returns the scores of samples (T,) or (T, C) at 16 kHz."""
    table = (samples if samples.ndim == 2 else samples[:, None]).astype(np.float32)
    return singing(slices(table, 10 * HZ), frames(len(table), HZ, RATE))


def share_sung(samples: Samples) -> float:
    return float(active(scores_of(samples), Activation()).mean())


def is_inside(intervals: list[tuple[float, float]], n_frames: int) -> Flags:
    """Returns which frames are inside of words, gaps below 0.3 s closed."""
    times_s = centres_s(n_frames, RATE)
    inside, last_s = np.zeros(n_frames, np.bool_), -1.0
    for start_s, end_s in sorted(intervals):
        start_s = last_s if start_s - last_s < 0.3 else start_s
        inside |= (times_s >= start_s) & (times_s < end_s)
        last_s = max(end_s, last_s)
    return inside


def f1(found: npt.NDArray[np.uint8], truth: Flags) -> float:
    return float(2 * (found.astype(bool) & truth).sum() / (found.sum() + truth.sum()))


@pytest.fixture(scope="module")
def solo() -> Song:
    return song(501, voices(2)[1], 30.0, None, HZ)


@pytest.mark.parametrize(("snr_db", "least"), [(None, 0.94), (0.0, 0.92)])
def test_what_is_sung_is_found_without_and_with_a_backing(snr_db: float | None, least: float) -> None:
    for number, voice in enumerate(voices(2)):
        made = song(500 + number, voice, 30.0, snr_db, HZ)
        found = active(scores_of(made.wave), Activation())
        truth = is_inside([word[:2] for word in made.sung.words], len(found))
        assert f1(found, truth) >= least > f1(np.ones_like(found), truth)


def test_sounds_that_are_no_voice_are_not_sung() -> None:
    rng = np.random.default_rng(0)
    times_s = np.arange(20 * HZ) / HZ
    chord = sum(0.1 * np.sin(2 * np.pi * hz * times_s) for hz in (220.0, 277.2, 329.6))
    clicks = np.where(np.arange(20 * HZ) % 8000 < 40, rng.normal(0, 0.3, 20 * HZ), 0)
    assert share_sung(0.1 * rng.normal(size=20 * HZ)) == 0
    assert share_sung(0.1 * rng.normal(size=(20 * HZ, 2))) < 0.15
    assert share_sung(np.asarray(chord)) < 0.1
    assert share_sung(clicks) < 0.05
    assert share_sung(accompaniment(compose(3, 20.0), HZ)) < 0.1


@pytest.mark.parametrize("layout", ["stereo", "opposite", "left only", "surround"])
def test_the_layout_of_the_channels_changes_next_to_nothing(layout: str, solo: Song) -> None:
    wave, silence = solo.wave, np.zeros_like(solo.wave)
    channels = {
        "stereo": [wave, wave],
        "opposite": [wave, -wave],
        "left only": [wave, silence],
        "surround": [silence, silence, wave, silence, silence, silence],
    }[layout]
    mono = active(scores_of(wave), Activation())
    assert np.mean(active(scores_of(np.stack(channels, axis=1)), Activation()) != mono) < 0.03


def test_a_voice_in_the_middle_is_told_from_a_voice_at_the_side(solo: Song) -> None:
    other = song(502, voices(1)[0], 30.0, None, HZ).wave
    middle = np.stack([solo.wave, solo.wave], axis=1)
    side = np.stack([other, np.zeros_like(other)], axis=1)
    truth = is_inside([word[:2] for word in solo.sung.words], 1500)
    assert f1(active(scores_of(middle + 0.7 * side), Activation()), truth) > 0.9


def test_a_gain_changes_nothing_and_silence_has_the_score_0(solo: Song) -> None:
    found = active(scores_of(solo.wave), Activation())
    assert np.mean(active(scores_of(0.03 * solo.wave), Activation()) != found) < 0.01
    assert not scores_of(np.zeros(5 * HZ)).any()
    assert not scores_of(1e-5 * np.random.default_rng(0).normal(size=5 * HZ)).any()


def test_short_songs_have_their_frames() -> None:
    noise = 0.1 * np.random.default_rng(0).normal(size=HZ)
    for n_samples in (0, 1, 159, 160, 161, 3200, 5000):
        scores = scores_of(noise[:n_samples])
        assert scores.shape == (frames(n_samples, HZ, RATE),) and np.isfinite(scores).all()
        assert active(scores, Activation()).shape == scores.shape


def test_blocks_leave_no_seam_and_any_blocks_give_the_same(solo: Song) -> None:
    wave = np.tile(solo.wave, 5)[: 140 * HZ]
    whole = scores_of(wave)
    blocks = (part for part in np.split(wave[:, None], np.arange(7777, len(wave), 99_991)))
    assert np.array_equal(singing(blocks, len(whole)), whole)
    start = 48 * HZ
    piece = cues(vocal_blocks([wave[start : start + 40 * HZ, None]]), 2000)
    found = cues(vocal_blocks([wave[:, None]]), 7000)
    away_db = np.abs(piece.level_db - found.level_db[2400:4400])[200:1800]  # the song's block ends at frame 800
    assert np.flatnonzero(away_db > 0.1).tolist() in ([], [599], [600], [599, 600])


def test_hysteresis_then_short_pauses_then_short_stretches() -> None:
    rule = Activation(on=0.5, off=0.3, min_sung_s=0.1, min_pause_s=0.08)
    scores = np.array(
        [0] * 5 + [0.4] * 6 + [0] * 5 + [0.4, 0.6] + [0.35] * 4 + [0] * 3 + [0.9] * 3 + [0] * 4, np.float32
    )
    expected = [0] * 16 + [1] * 12 + [0] * 4
    assert active(scores, rule).tolist() == expected
    assert active(np.full(4, 0.9, np.float32), rule).tolist() == [0] * 4
    assert active(np.full(5, 0.9, np.float32), rule).tolist() == [1] * 5


def test_a_real_song_is_found_better_than_by_calling_everything_sung(shared_data: Path) -> None:
    folder = shared_data / "nc" / "ultrastar" / "coulton_monkey_shines"
    audio = decode((folder / "audio.mp3").read_bytes())
    heard = np.stack([resample(np.ascontiguousarray(c), audio.sample_rate, HZ) for c in audio.samples.T], axis=1)
    found = active(scores_of(heard), Activation())
    with (folder / "words.csv").open(newline="") as file:
        words = [(float(row["word_start"]), float(row["word_end"])) for row in csv.DictReader(file)]
    truth = is_inside(words, len(found))
    assert f1(found, truth) > 0.86 > f1(np.ones_like(found), truth) + 0.05


def test_the_score_rises_with_both_cues() -> None:
    found = cues(vocal_blocks([np.zeros((HZ, 1), np.float32)]), 50)
    level_db = np.where(np.arange(200) < 100, -60.0, -20.0)
    steady = score(type(found)(level_db, np.full(200, 0.5)))
    hissing = score(type(found)(level_db, np.full(200, 0.1)))
    assert steady[150] > 0.5 > steady[50] and steady[150] > hissing[150]
