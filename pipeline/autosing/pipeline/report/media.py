"""Pictures and sound as data URIs."""

import base64
import functools
import io
from typing import Literal

import numpy as np
import numpy.typing as npt

from autosing.signal.decode import decode, encode, to_mono
from autosing.signal.resample import resample

COLOURS = "magma"
LONGEST_S = 30.0
MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
USUAL_RATE_HZ = 44_100

Mel = npt.NDArray[np.floating]


def data_uri(data: bytes, kind: Literal["image/png", "audio/mpeg"]) -> str:
    """Returns bytes as an address that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def contrast(mel: Mel) -> tuple[float, float]:
    """Returns the values of (F, M) that are shown darkest and brightest: the 2nd percentile and nearly the largest."""
    low, high = np.percentile(mel.astype(np.float32), [2.0, 99.95]) if mel.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1e-3))


def mel_png(mel: Mel, low: float, high: float) -> bytes:
    """Returns (F, M) as a PNG of F x M pixels, low bands at the bottom, `low` darkest and `high` brightest."""
    from PIL import Image

    level = np.clip((mel.astype(np.float32) - low) / (high - low), 0, 1)
    image = Image.fromarray(np.ascontiguousarray(np.rint(255 * level).astype(np.uint8).T[::-1]))
    image.putpalette(_palette(COLOURS))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


@functools.cache
def _palette(name: str) -> bytes:
    """Returns the 256 RGB triples of a matplotlib colour map."""
    import matplotlib

    return bytes(matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3].tobytes())


def colour(share: float, name: str = "viridis") -> str:
    """Returns the colour at a share (0 to 1) of a matplotlib colour map, as `#rrggbb`."""
    index = 3 * round(255 * share)
    return f"#{_palette(name)[index : index + 3].hex()}"


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
