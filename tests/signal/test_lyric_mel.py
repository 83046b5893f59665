"""What the aligner hears: the same in any blocks, mono twice, the centre louder than the sides, normalised."""

import numpy as np

from autosing.signal.lyric_mel import DIM, N_MELS, SAMPLE_RATE, lyric_mel


def stereo(seconds: float = 3.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal((int(seconds * SAMPLE_RATE), 2))).astype(np.float32)


def test_blocks_change_nothing() -> None:
    samples = stereo()
    pieces = [samples[start : start + 7777] for start in range(0, len(samples), 7777)]
    assert np.array_equal(lyric_mel([samples], 150), lyric_mel(pieces, 150))


def test_bands_are_normalised_over_the_song() -> None:
    bands = lyric_mel([stereo()], 150)
    assert bands.shape == (150, DIM)
    assert np.abs(bands.mean(0)).max() < 1e-4 and bands.std(0).max() < 1


def test_a_mono_recording_has_its_bands_twice() -> None:
    bands = lyric_mel([stereo()[:, :1]], 150)
    assert np.array_equal(bands[:, :N_MELS], bands[:, N_MELS:])


def test_a_burst_in_the_centre_is_at_its_time_and_one_at_the_sides_is_not_in_the_centre() -> None:
    samples = 0.01 * stereo()
    burst = np.sin(2 * np.pi * 1000 * np.arange(320) / SAMPLE_RATE).astype(np.float32)
    samples[16_000:16_320] += burst[:, None]  # frame 50
    samples[32_000:32_320] += burst[:, None] * [1, -1]  # frame 100
    centre = lyric_mel([samples], 150)[:, N_MELS:].max(axis=1)
    assert centre.argmax() == 50 and centre[100] < 0.5 * centre[50]


def test_nothing_and_too_little_are_silent_frames() -> None:
    assert lyric_mel([], 0).shape == (0, DIM)
    assert not lyric_mel([], 5).any() and lyric_mel([np.zeros((10, 2), np.float32)], 3).shape == (3, DIM)
