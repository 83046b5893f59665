"""What the acoustic model is given: units and conditions of a sample, brought to the mel's frames by centre time.

Training and synthesis both come through here, so they cannot differ.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.signal.framing import centres_s, nearest_frames

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

# The quietest RMS that is told apart from silence: -80 dB of full scale.
ENERGY_FLOOR = 1e-4


def mel_frames(n_units: int, rates: Mapping[str, Fraction]) -> int:
    """Returns how many mel frames last as long as `n_units` units, half rounded up."""
    return int(n_units * rates["mel"] / rates["units"] + Fraction(1, 2))


def frame_inputs(series: Mapping[str, Array], n_frames: int, rates: Mapping[str, Fraction]) -> dict[str, Array]:
    """Returns the model's inputs for one sample, all but `units` at the mel's frames.

    Args:
        series: `units` (N,), or soft ones (N, S), and, as far as the model uses them, `f0_hz`, `voiced` and `energy`,
            each at its own rate.
        n_frames: of the mel (F).
        rates: frames per second of `mel` and of every series.

    Returns:
        `units` as they were; `left` (F,), the unit whose centre is the last at or before the frame's; `share` (F,), the
        weight of its right neighbour; `period_s` (F,), of the pitch, 0 where unvoiced; `log_energy` (F,).
    """
    units = series["units"]
    left, share = neighbours(n_frames, rates["mel"], len(units), rates["units"])
    is_soft = units.ndim > 1
    inputs = {"units": units.astype(np.float32 if is_soft else np.int32), "left": left, "share": share}
    return inputs | conditions_at(series, n_frames, rates)


def conditions_at(series: Mapping[str, Array], n_frames: int, rates: Mapping[str, Fraction]) -> dict[str, Array]:
    """Returns `period_s` (F,), of the pitch, 0 where unvoiced, and `log_energy` (F,), as far as the series have them.

    Args:
        series: `f0_hz`, `voiced` and `energy`, each at its own rate.
        n_frames: of the mel (F).
        rates: frames per second of `mel` and of every series.
    """
    found: dict[str, Array] = {}
    if "f0_hz" in series:
        near = nearest_frames(n_frames, rates["mel"], len(series["f0_hz"]), rates["f0_hz"])
        f0_hz, voiced = series["f0_hz"][near], series["voiced"][near].astype(bool)
        # Never interpolated: a value between a pitch and "no pitch" would be a wrong pitch.
        found["period_s"] = np.divide(1, f0_hz, where=voiced & (f0_hz > 0), out=np.zeros(n_frames, np.float32))
    if "energy" in series:
        log_energy = np.log(np.maximum(series["energy"], ENERGY_FLOOR)).astype(np.float32)
        found["log_energy"] = interpolate(log_energy, n_frames, rates["mel"], rates["energy"])
    return found


def interpolate(series: Floats, n_frames: int, rate: Fraction, source_rate: Fraction) -> Floats:
    """Returns a series (F', ...) at the centres of frames of another rate, linearly between its own, (F, ...)."""
    left, share = neighbours(n_frames, rate, len(series), source_rate)
    share = share.reshape(-1, *(1,) * (series.ndim - 1))
    right = np.minimum(left + 1, len(series) - 1)
    return series[left] * (1 - share) + series[right] * share


def neighbours(
    n_frames: int, rate: Fraction, n_source: int, source_rate: Fraction
) -> tuple[npt.NDArray[np.int32], Floats]:
    """Returns for each frame's centre the source frame to its left and the weight of the one to its right."""
    place = np.clip(centres_s(n_frames, rate) * float(source_rate) - 0.5, 0, n_source - 1)
    left = np.floor(place).astype(np.int32)
    return left, (place - left).astype(np.float32)


def pad_stack(arrays: Sequence[Array]) -> Array:
    """Returns arrays (F, ...) of different lengths side by side, zeros after their end, (B, F, ...)."""
    stacked = np.zeros((len(arrays), max(map(len, arrays)), *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[: len(array)] = array
    return stacked
