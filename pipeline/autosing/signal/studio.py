"""How a voice and a band become a recording: room, tone, levels, stereo width and noise, drawn at random.

What is learned from synthetic recordings holds for real ones only as far as they differ among themselves.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve, lfilter

from autosing.signal.score import Score, accompaniment
from autosing.signal.singer import PEAK
from autosing.signal.voice import Voice

Wave = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

SOFTEST_SNR_DB, LOUDEST_SNR_DB = -6.0, 14.0
A_CAPPELLA_SHARE = 0.15


@dataclass(frozen=True)
class Recording:
    """A stereo mix (T, 2) and what is in it: the voice as it is heard, and all the rest."""

    mix: Wave
    voice: Wave
    backing: Wave


def any_voice(rng: np.random.Generator) -> Voice:
    """Returns a voice from a wider range than `singer.voices`, with an accent of its own."""
    lowest = int(rng.integers(41, 66))
    return Voice(
        "anybody",
        formant_scale=rng.uniform(0.85, 1.3),
        formant_shifts=tuple(rng.uniform(0.86, 1.16, 4).tolist()),
        tilt_db_per_octave=rng.uniform(2, 12),
        jitter=rng.uniform(0.001, 0.008),
        shimmer=rng.uniform(0.01, 0.1),
        vibrato_rate_hz=rng.uniform(4, 7.5),
        vibrato_cents=rng.uniform(0, 110),
        breathiness=0.3 * rng.random() ** 2,
        lowest_midi=lowest,
        highest_midi=lowest + int(rng.integers(10, 18)),
        accent=int(rng.integers(1, 1 << 31)),
    )


def record(
    voice: Wave, score: Score, sample_rate: int, rng: np.random.Generator, snr_db: float | None = None
) -> Recording:
    """Returns a recording of `voice` (T,), sung from `score`, over a band.

    Args:
        voice: mono, at `sample_rate` Hz.
        score: what the band plays.
        sample_rate: of everything.
        rng: draws the band, its width, rooms, tones, levels and noise.
        snr_db: of the voice over the band; None draws it, or leaves the band out.
    """
    dry = voice.astype(np.float64)
    heard = _toned(_in_a_room(dry, sample_rate, rng), rng)
    seeds = rng.integers(0, 1 << 31, 2)
    one, other = (accompaniment(score, sample_rate, int(seed)).astype(np.float64) for seed in seeds)
    mono = 1 - rng.uniform(0, 1)
    band = np.stack([_toned(one + mono * other, rng), _toned(other + mono * one, rng)], axis=1)
    is_alone = snr_db is None and rng.random() < A_CAPPELLA_SHARE
    level_db = rng.uniform(SOFTEST_SNR_DB, LOUDEST_SNR_DB) if snr_db is None else snr_db
    band *= 0.0 if is_alone else _gain(heard, band, level_db)
    band += 10 ** (rng.uniform(-70, -30) / 20) * rng.standard_normal(band.shape)
    both = np.stack([heard, heard], axis=1)
    mix = both + band
    scale = PEAK * 10 ** (rng.uniform(-20, 0) / 20) / max(float(np.abs(mix).max(initial=0.0)), 1e-9)
    return Recording(*((wave * scale).astype(np.float32) for wave in (mix, both, band)))


def _in_a_room(voice: Doubles, sample_rate: int, rng: np.random.Generator) -> Doubles:
    """Returns the voice with the reverberation of some room, or of none."""
    length = int(sample_rate * rng.uniform(0.1, 0.6))
    response = rng.standard_normal(length) * np.exp(-5 * np.arange(length) / length)
    share = rng.uniform(0.1, 0.7) * (rng.random() < 0.7)
    wet: Doubles = fftconvolve(voice, response / np.linalg.norm(response))[: len(voice)]
    return voice + share * wet


def _toned(wave: Doubles, rng: np.random.Generator) -> Doubles:
    """Returns a wave that is brighter or darker."""
    toned: Doubles = lfilter([1.0, rng.uniform(-0.7, 0.7)], [1.0], wave)
    return toned


def _gain(voice: Doubles, band: Doubles, snr_db: float) -> float:
    powers = np.mean(voice**2), np.mean(band**2)
    return float(np.sqrt(powers[0] / powers[1] / 10 ** (snr_db / 10))) if min(powers) > 0 else 1.0
