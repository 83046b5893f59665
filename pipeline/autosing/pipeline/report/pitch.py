"""F0 as a curve over the notes of the scale, with gaps where nothing is voiced."""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from autosing.page.numerals import note_name
from autosing.page.svg import Scale, Y, curve, grid_line, label, runs, tag
from autosing.pipeline.report.lanes import LEFT, Lane, Span, Track, clipped, when

HEIGHT = 130.0
MARGIN_SEMITONES = 1.5
STEPS = (1, 2, 3, 4, 6, 12, 24)
MOST_LINES = 6
NAME_PX = 20.0
"""Height of the lane's name, which no label of the axis may touch."""

Points = list[tuple[float, float]]


def midi_of(hz: float) -> float:
    """Returns a frequency in semitones; A4 = 440 Hz is 69."""
    return 69 + 12 * math.log2(hz / 440)


def hz_of(midi: float) -> float:
    """Returns the frequency of a note in hertz."""
    return float(440 * 2 ** ((midi - 69) / 12))


def voiced_curves(f0: Track, voiced: Track | None, x: Scale, y: Y) -> list[Points]:
    """Returns the points of F0 at its frames' centres, a list for each unbroken run of voiced frames."""
    f0_hz = f0.between(x.low, x.high)[1]
    sounding = f0_hz > 0
    if voiced is not None:
        sounding &= voiced.between(x.low, x.high)[1] > 0
    times_s = f0.centres_s(x.low, x.high)
    return [[(x(float(times_s[i])), y(float(f0_hz[i]))) for i in range(a, b)] for a, b in runs(sounding)]


def pitch_lane(
    f0: Track | None, voiced: Track | None, truth: Track | None, notes: Sequence[Span], x: Scale
) -> Lane | None:
    """Returns F0 on a logarithmic axis of notes, over true F0 and the score where they exist; None without any."""
    heard = [track.between(x.low, x.high)[1] for track in (f0, truth) if track is not None]
    sounding = np.concatenate([*(hz[hz > 0] for hz in heard), [hz_of(note["midi"]) for note in notes]])
    if not len(sounding):
        return None
    low, high = (midi_of(float(hz)) for hz in np.percentile(sounding, [0.5, 99.5]))
    y = Scale(hz_of(low - MARGIN_SEMITONES), hz_of(high + MARGIN_SEMITONES), HEIGHT, 0, log=True)
    content = [_note(note, x, y) for note in notes]
    for track, flags, name in ((truth, None, "truth"), (f0, voiced, "f0")):
        curves = voiced_curves(track, flags, x, y) if track is not None else []
        content += [tag("path", d=curve(points), class_=name) for points in curves]
    # The nested picture cuts off what rises above the axis: a tracker's octave errors.
    return Lane("pitch, Hz", HEIGHT, [*_grid(x, y), tag("svg", *content, width=x.end, height=HEIGHT)])


def _grid(x: Scale, y: Scale) -> list[Markup]:
    low, high = midi_of(y.low), midi_of(y.high)
    step = next((s for s in STEPS if (high - low) / s <= MOST_LINES), STEPS[-1])
    content = []
    for midi in range(math.ceil(low / step) * step, math.floor(high) + 1, step):
        height = y(hz_of(midi))
        content.append(grid_line(LEFT, x.end, height))
        if height > NAME_PX:
            content.append(label(f"{note_name(midi)} {hz_of(midi):.0f}", LEFT - 6, min(height + 4, HEIGHT), "end"))
    return content


def _note(note: Span, x: Scale, y: Scale) -> Markup:
    top, bottom = (y(hz_of(note["midi"] + half)) for half in (0.5, -0.5))
    left, right = clipped(note, x)
    told = tag("title", f"{note_name(round(note['midi']))} “{note['text']}”, {when(note)}")
    return tag("rect", told, x=left, y=top, width=right - left, height=bottom - top, rx=2, class_="note")
