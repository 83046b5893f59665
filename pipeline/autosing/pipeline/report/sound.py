"""Stretches of songs as sound that a browser plays."""

import numpy as np

from autosing.signal.decode import decode, encode, to_mono
from autosing.signal.resample import resample

LONGEST_S = 30.0
MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
USUAL_RATE_HZ = 44_100


def mp3(sound: bytes, start_s: float = 0.0, end_s: float = LONGEST_S) -> bytes:
    """Returns a stretch of an encoded sound file as mono MP3.

    Raises:
        RowError: the sound cannot be decoded.
    """
    audio = decode(sound)
    first = round(start_s * audio.sample_rate)
    last = round(min(end_s, start_s + LONGEST_S) * audio.sample_rate)
    wave = to_mono(audio.samples[first:last])
    rate_hz = audio.sample_rate if audio.sample_rate in MP3_RATES_HZ else USUAL_RATE_HZ
    return encode(np.clip(resample(wave, audio.sample_rate, rate_hz), -1, 1), rate_hz, "MP3")
