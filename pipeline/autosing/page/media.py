"""Pictures and sound inside a page: spectrograms as PNG, and data as addresses that hold it."""

import base64
import functools
import io
from typing import Literal

import numpy as np
import numpy.typing as npt

COLOURS = "magma"

Mel = npt.NDArray[np.floating]


def data_uri(data: bytes, kind: Literal["image/png", "audio/mpeg", "audio/wav"]) -> str:
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
