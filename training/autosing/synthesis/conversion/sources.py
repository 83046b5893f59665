"""What is known of a recording before it is converted: that it is silent, clipped or dull is said, and goes on."""

from dataclasses import dataclass
from typing import Any

from autosing.signal.faults import clipping, peak
from autosing.signal.loudness import integrated_loudness
from autosing.signal.tape import Tape

# Below this, -60 dB of full scale, nothing is sung.
SILENT_PEAK = 1e-3
CLIPPED_SHARE = 1e-4
# What stages hear voices by reaches up to here.
BAND_HZ = 8000


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a source.

    Attributes:
        lufs: its loudness; None where it is silent or shorter than 0.4 s.
        is_silent: whether there is nothing to convert.
        told: all that is known, as JSON.
        warnings: what is to be said of it.
    """

    lufs: float | None
    is_silent: bool
    told: dict[str, Any]
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, audio: Tape) -> "SourceFacts":
        """Returns what is known of a recording."""
        mono = audio.mono.samples
        highest, clipped = peak(mono), clipping(audio.samples).ratio
        band_hz = audio.sample_rate / 2
        warnings = []
        if highest < SILENT_PEAK:
            warnings.append("the source is silent: silence is written")
        if clipped > CLIPPED_SHARE:
            warnings.append(f"the source is clipped ({100 * clipped:.2f} % of its samples): expect rough sounds")
        if band_hz < BAND_HZ:
            warnings.append(f"the source has nothing above {band_hz:.0f} Hz: what is sung is heard less well")
        told = {
            "seconds": len(mono) / audio.sample_rate,
            "sample_rate_hz": audio.sample_rate,
            "channels": audio.samples.shape[1],
            "codec": audio.codec,
            "band_limit_hz": band_hz,
            "clipped_ratio": clipped,
            "peak": highest,
        }
        return cls(integrated_loudness(mono, audio.sample_rate), highest < SILENT_PEAK, told, tuple(warnings))
