"""What a validation shows: pictures to look at and sounds to hear, and how they become files."""

import io
import re
import warnings
import wave
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FULL_SCALE = 32_767
LONGEST_NAME = 60


@dataclass(frozen=True)
class Sound:
    """A mono sound.

    Attributes:
        samples: (T,), full scale is 1.
        sample_rate_hz: samples per second.

    Raises:
        ValueError: the samples are not one channel, or the rate is not above 0.
    """

    samples: npt.NDArray[np.float32]
    sample_rate_hz: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 1:
            raise ValueError(f"a sound has the shape {self.samples.shape}; give one channel, (T,)")
        if self.sample_rate_hz <= 0:
            raise ValueError(f"sample_rate_hz is {self.sample_rate_hz}; it must be above 0")

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.sample_rate_hz

    def clipped(self) -> npt.NDArray[np.float32]:
        """Returns the samples (T,) within full scale; what is no number is silent, so a bad model can't stop a run."""
        return np.clip(np.nan_to_num(self.samples.astype(np.float32), nan=0.0), -1, 1)

    def wav(self) -> bytes:
        """Returns it as a WAV file of 16 bits."""
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(self.sample_rate_hz)
            writer.writeframes(np.rint(FULL_SCALE * self.clipped()).astype("<i2").tobytes())
        return file.getvalue()


@dataclass(frozen=True)
class Look:
    """Figures and sounds by name; a name is a title that a person reads."""

    figures: Mapping[str, "Figure"] = field(default_factory=dict)
    sounds: Mapping[str, Sound] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything to see or hear."""
        return bool(self.figures or self.sounds)


def file_names(names: Iterable[str]) -> dict[str, str]:
    """Returns for each name one that is safe on every file system, and different also where case does not count."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        plain = re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_")[:LONGEST_NAME] or "unnamed"
        number, safe = 1, plain
        while safe.lower() in taken:
            number += 1
            safe = f"{plain}-{number}"
        taken.add(safe.lower())
        found[name] = safe
    return found


def pixels(figure: "Figure") -> npt.NDArray[np.uint8]:
    """Returns a figure as an image (height, width, RGB), drawn without pyplot and so without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # Lyrics may be in any script.
        canvas.draw()  # type: ignore[no-untyped-call]
    drawn: npt.NDArray[np.uint8] = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return drawn[..., :3].copy()


def png(image: npt.NDArray[np.uint8]) -> bytes:
    """Returns an image (height, width, RGB) as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()
