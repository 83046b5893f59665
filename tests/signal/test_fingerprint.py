"""Fingerprints of copies, of other takes and of unrelated songs."""

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from autosing.signal.decode import decode, encode, to_mono
from autosing.signal.fingerprint import (
    LANDMARKS,
    NEIGHBOURS,
    SAME,
    SAMPLE_RATE,
    Landmarks,
    fingerprint,
    same_recordings,
)
from autosing.signal.resample import resample
from autosing.signal.singer import song
from autosing.signal.voice import voices

Wave = npt.NDArray[np.float32]
HZ = 24_000


def heard(wave: Wave, sample_rate: int = HZ) -> Landmarks:
    return fingerprint(resample(np.ascontiguousarray(wave, np.float32), sample_rate, SAMPLE_RATE))


def coded(wave: Wave, sample_rate: int, form: str) -> Wave:
    """Returns a wave (T,) written and read again; OGG in pieces, as libsndfile breaks on long ones."""
    if form == "MP3":
        return to_mono(decode(encode(wave, sample_rate, "MP3")).samples)
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", sample_rate, 1, format="OGG", subtype="VORBIS") as writer:
        for start in range(0, len(wave), 20_000):
            writer.write(wave[start : start + 20_000])
    return to_mono(decode(file.getvalue()).samples)


def shared(one: Landmarks, other: Landmarks) -> int:
    """Returns how many landmarks two songs share at one distance in time, give or take 2 frames."""
    _, i, j = np.intersect1d(one[:, 0], other[:, 0], return_indices=True)
    shifts = other[j, 1].astype(int) - one[i, 1].astype(int)
    return max((int(np.sum(np.abs(shifts - shift) <= 2)) for shift in shifts), default=0)


@pytest.fixture(scope="module")
def made() -> Wave:
    return song(3, voices(1)[0], 20.0, 6.0, HZ).wave


def test_a_fingerprint_is_small_and_ordered(made: Wave) -> None:
    found = heard(made)
    assert found.shape == (LANDMARKS, 2) and found.dtype == np.uint32
    assert np.all(np.diff(found[:, 0].astype(int)) > 0)
    assert found[:, 1].max() <= len(made) / HZ * SAMPLE_RATE / 256


@pytest.mark.parametrize("change", ["gain", "later", "earlier", "22 kHz", "MP3", "OGG", "noise", "mp3 of a quiet end"])
def test_a_copy_has_the_landmarks_of_the_original(change: str, made: Wave) -> None:
    noise = 0.003 * np.random.default_rng(0).normal(size=len(made))
    copy, rate = {
        "gain": (0.1 * made, HZ),
        "later": (np.concatenate([np.zeros(12_345, np.float32), made]), HZ),
        "earlier": (made[31_415:-20_000], HZ),
        "22 kHz": (resample(made, HZ, 22_050), 22_050),
        "MP3": (coded(made, HZ, "MP3"), HZ),
        "OGG": (coded(made, HZ, "OGG"), HZ),
        "noise": (made + noise, HZ),
        "mp3 of a quiet end": (coded(0.3 * made[100_000:], HZ, "MP3"), HZ),
    }[change]
    songs = [heard(made), heard(copy, rate)]
    assert same_recordings(songs) == [(0, 1)]
    assert shared(*songs) >= 3 * SAME


def test_other_songs_of_the_same_singer_and_the_same_song_of_another_share_next_to_nothing() -> None:
    choir = voices(3)
    songs = [heard(song(number, voice, 15.0, None, HZ).wave) for voice in choir for number in (7, 8)]
    assert same_recordings(songs) == []
    assert max(shared(songs[i], songs[j]) for i in range(6) for j in range(i)) <= SAME // 2


def test_the_takes_of_a_corpus_are_different_recordings_but_for_two_that_are_identical_files(shared_data: Path) -> None:
    paths = sorted((shared_data / "nc" / "gtsinger").glob("*/*.flac"))
    songs = []
    for path in paths:
        audio = decode(path.read_bytes())
        songs.append(heard(to_mono(audio.samples), audio.sample_rate))
    identical = {tuple(p.name for p in pair) for pair in _identical(paths)}
    assert {(paths[i].name, paths[j].name) for i, j in same_recordings(songs)} == identical


def _identical(paths: list[Path]) -> list[tuple[Path, Path]]:
    data = [path.read_bytes() for path in paths]
    return [(paths[i], paths[j]) for j in range(len(paths)) for i in range(j) if data[i] == data[j]]


def test_many_copies_are_all_connected_in_time_that_does_not_grow_with_their_pairs() -> None:
    rng = np.random.default_rng(0)

    def random_song() -> Landmarks:
        hashes = np.unique(rng.integers(0, 2**32, LANDMARKS, dtype=np.uint32))
        return np.stack([hashes, rng.integers(0, 5000, len(hashes)).astype(np.uint32)], axis=1)

    original = random_song()
    copies = [original + np.array([0, 10 * k], np.uint32) for k in range(300)]
    pairs = same_recordings([*copies, *(random_song() for _ in range(700))])
    assert {i for pair in pairs for i in pair} == set(range(300))
    assert len(pairs) <= 300 * NEIGHBOURS
    assert {(i, i + 1) for i in range(299)} <= set(pairs)


def test_shared_landmarks_at_different_distances_are_chance() -> None:
    rng = np.random.default_rng(0)
    hashes = np.arange(100, dtype=np.uint32)
    one, other = (np.stack([hashes, rng.integers(0, 9000, 100).astype(np.uint32)], axis=1) for _ in range(2))
    assert same_recordings([one, other]) == []
    assert same_recordings([one[:SAME], one[:SAME] + np.array([0, 7], np.uint32)]) == [(0, 1)]
    assert same_recordings([one[: SAME - 1], one[: SAME - 1]]) == []


def test_what_has_no_peaks_has_no_landmarks_and_is_the_same_as_nothing() -> None:
    silence, click = np.zeros(5 * SAMPLE_RATE, np.float32), np.ones(1, np.float32)
    songs = [fingerprint(wave) for wave in (silence, silence, click, np.zeros(0, np.float32), silence[:1600] + 1)]
    assert all(found.shape == (0, 2) and found.dtype == np.uint32 for found in songs)
    assert same_recordings(songs) == [] and same_recordings([]) == []


def test_blocks_change_nothing(made: Wave) -> None:
    """A song of more than 2000 frames is looked at in blocks; its first minute alone is one."""
    wave = resample(np.concatenate([made, song(4, voices(2)[1], 60.0, None, HZ).wave]), HZ, SAMPLE_RATE)
    long, short = fingerprint(wave), fingerprint(wave[: 60 * SAMPLE_RATE])
    common = np.isin(long[:, 0], short[:, 0])
    assert common.sum() > LANDMARKS // 2
    assert set(map(tuple, long[common].tolist())) <= set(map(tuple, short.tolist()))
