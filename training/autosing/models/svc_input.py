"""What a conversion model is given: every series of a sample brought to the mel's frames by centre time.

Training and conversion both come through here, so they cannot differ.
"""

from collections.abc import Collection, Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.models.acoustic_input import conditions_at, interpolate
from autosing.signal.framing import nearest_frames

Array = npt.NDArray[Any]


def svc_inputs(
    series: Mapping[str, Array],
    streams: Collection[str],
    tokens: Collection[str],
    n_frames: int,
    rates: Mapping[str, Fraction],
    key: float = 0.0,
    formant: float = 0.0,
) -> dict[str, Array]:
    """Returns the inputs of one recording but for the singer, each (F, ...).

    Args:
        series: every stream of content and, as far as they are used, `f0_hz`, `voiced` and `energy`.
        streams: names of the content.
        tokens: those of them that are tokens, which a frame has one of; others are interpolated.
        n_frames: of the mel, F.
        rates: frames per second of `mel` and every series.
        key: semitones that the pitch is moved by.
        formant: octaves that the formants are moved by.

    Returns:
        The streams; `period_s` and `log_energy`; `formant`; `frame`, the frame's number.
    """
    given = conditions_at(series, n_frames, rates)
    if "period_s" in given:
        given["period_s"] = (given["period_s"] / 2 ** (key / 12)).astype(np.float32)
    for name in streams:
        values, rate = series[name], rates[name]
        if name in tokens:
            given[name] = values[nearest_frames(n_frames, rates["mel"], len(values), rate)].astype(np.int32)
        else:
            given[name] = interpolate(values.astype(np.float32), n_frames, rates["mel"], rate)
    given["formant"] = np.full(n_frames, formant, np.float32)
    given["frame"] = np.arange(n_frames, dtype=np.int32)
    return given
