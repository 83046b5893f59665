"""The figures of a song, its whole length and a stretch, and its lanes of voice, energy, words, cuts and units."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup

from autosing.page.media import colour
from autosing.page.svg import Scale, curve, equal_runs, fitted, grid_line, label, pixels, runs, tag
from autosing.pipeline.report.kept import colour_of
from autosing.pipeline.report.lanes import LEFT, Lane, Span, Track, clipped, inside, stack, time_scale, when
from autosing.pipeline.report.pitch import pitch_lane
from autosing.pipeline.report.songs import SongView
from autosing.pipeline.report.spectrogram import mel_lane
from autosing.signal.mel import MelSpec

ENERGY, WORD, STRIP = 60.0, 18.0, 16.0
LEVELS_DB = (-60, -40, -20, 0)
GOLDEN = 0.6180339887
"""Its multiples modulo 1 lie far apart: units of near numbers get colours that are easy to tell apart."""


def song_figure(view: SongView, spec: MelSpec | None) -> Markup | None:
    """Returns everything that is known of a song's stretch over time; None where nothing is."""
    x = time_scale(view.start_s, view.end_s)
    tracks, spans = view.tracks, {name: inside(found, x) for name, found in view.spans.items()}
    f0, voiced, truth = (tracks.get(name) for name in ("f0_hz", "voiced", "ref_f0_hz"))
    lanes = [
        mel_lane(tracks["mel"], spec, f0, voiced, x) if "mel" in tracks else None,
        pitch_lane(f0, voiced, truth, spans.get("ref_notes", ()), x),
        energy_lane(tracks["energy"], x) if "energy" in tracks else None,
        voice_lane(tracks["voice_activity"], x) if "voice_activity" in tracks else None,
        words_lane(spans["words"], x, "words") if "words" in spans else None,
        words_lane(spans["ref_words"], x, "true words", "true-word") if "ref_words" in spans else None,
        cuts_lane(view.spans["cuts"], view.spans.get("dropped", ()), x) if "cuts" in spans else None,
        *(strip_lane(units, x) for units in view.strips),
    ]
    drawn = [lane for lane in lanes if lane is not None]
    if not drawn:
        return None
    alt = f"{', '.join(lane.name for lane in drawn)} of {view.id} from {view.start_s:g} to {view.end_s:.1f} s"
    return stack(drawn, x, spans.get("cuts", ()), alt)


def overview_figure(view: SongView) -> Markup | None:
    """Returns the voice, words and cuts of a whole song, and why the rest is in none; None where it has no cuts."""
    if "cuts" not in view.spans:
        return None
    x, tracks, spans = time_scale(0.0, view.duration_s), view.tracks, view.spans
    lanes = [
        voice_lane(tracks["voice_activity"], x) if "voice_activity" in tracks else None,
        Lane("words", STRIP, [_boxes(inside(spans["words"], x), x, "word")]) if "words" in spans else None,
        cuts_lane(spans["cuts"], spans.get("dropped", ()), x),
    ]
    return stack([lane for lane in lanes if lane is not None], x, (), f"cuts of {view.id}, its whole length")


def energy_lane(energy: Track, x: Scale) -> Lane:
    """Returns the level in decibels below full scale of a linear RMS series."""
    rms = energy.between(x.low, x.high)[1]
    y = Scale(LEVELS_DB[0], LEVELS_DB[-1], ENERGY, 0)
    level_db = np.maximum(20 * np.log10(np.maximum(rms, 1e-9)), LEVELS_DB[0])
    points = [(x(float(t)), y(float(db))) for t, db in zip(energy.centres_s(x.low, x.high), level_db, strict=True)]
    content = [grid_line(LEFT, x.end, y(db)) for db in LEVELS_DB]
    content += [label(f"−{-db}", LEFT - 6, y(db) + 4, "end") for db in LEVELS_DB[:-1]]
    if points:
        outline = curve([(points[0][0], ENERGY), *points, (points[-1][0], ENERGY)])
        content.append(tag("path", d=f"{outline}Z", class_="energy"))
    return Lane("level, dBFS", ENERGY, content)


def words_lane(words: Sequence[Span], x: Scale, name: str, class_: str = "word") -> Lane:
    """Returns words as labelled spans on two rows by turns, so that a short word's label can reach past its end."""
    content = []
    for i, word in enumerate(words):
        left, right = clipped(word, x)
        top, limit = (i % 2) * WORD, clipped(words[i + 2], x)[0] if i + 2 < len(words) else x.end
        told = tag("title", f"{word['text']}, {when(word)}")
        box = tag("rect", x=left, y=top, width=max(right - left, 1.0), height=WORD - 2, rx=2, class_=class_)
        text = label(fitted(word["text"], limit - left - 4), left + 3, top + 12, class_="word-text")
        content.append(tag("g", told, box, text))
    return Lane(name, 2 * WORD - 2, content)


def cuts_lane(cuts: Sequence[Span], dropped: Sequence[Span], x: Scale) -> Lane:
    """Returns the cuts of a song that `x` shows with their number, length and text, and in colour why the rest is none.

    Cuts that overlap lie on two rows by turns.
    """
    overlap = any(a["end_s"] > b["start_s"] for a, b in pairwise(cuts))
    height = STRIP * (2 if overlap else 1)
    content = [_dropped(piece, x, height) for piece in inside(dropped, x)]
    for i, cut in enumerate(cuts, 1):
        if inside([cut], x):
            content.append(_cut(i, cut, x, STRIP * ((i - 1) % 2) if overlap else 0.0))
    return Lane("cuts", height, content)


def _cut(number: int, cut: Span, x: Scale, top: float) -> Markup:
    left, right = clipped(cut, x)
    length_s = cut["end_s"] - cut["start_s"]
    told = tag("title", f"cut {number}, {when(cut)}, {length_s:.2f} s: {cut['text'] or 'no words'}")
    box = tag("rect", x=left + 1, y=top, width=max(right - left - 2, 1.0), height=STRIP, rx=3, class_="span")
    name = next((n for n in (f"cut {number}, {length_s:.1f} s", str(number)) if fitted(n, right - left - 10) == n), "")
    return tag("g", told, box, label(name, left + 6, top + STRIP - 4, class_="word-text"))


def _dropped(piece: Span, x: Scale, height: float) -> Markup:
    left, right = clipped(piece, x)
    told = tag("title", f"{piece['text']}, {when(piece)}")
    return tag("rect", told, x=left, y=0, width=right - left, height=height, class_=colour_of(piece["text"]))


def voice_lane(voice: Track, x: Scale) -> Lane:
    """Returns when somebody sings."""
    start_s, flags = voice.between(x.low, x.high)
    rate = float(voice.rate)
    spans = [{"start_s": start_s + a / rate, "end_s": start_s + b / rate} for a, b in runs(flags)]
    return Lane("voice", STRIP, [_boxes(spans, x, "voice")])


def _boxes(spans: Sequence[Span], x: Scale, class_: str) -> Markup:
    """Returns spans as one path: thousands are one element."""
    edges = [clipped(span, x) for span in spans]
    boxes = (f"M{pixels(a)} 0H{pixels(b)}V{pixels(STRIP)}H{pixels(a)}Z" for a, b in edges)
    return tag("path", d="".join(boxes), class_=class_)


def strip_lane(units: Track, x: Scale) -> Lane:
    """Returns a series of class numbers as coloured runs of equal values; colours tell neighbours apart, no more."""
    start_s, values = units.between(x.low, x.high)
    content = []
    for a, b in equal_runs(values):
        span = {"start_s": start_s + a / float(units.rate), "end_s": start_s + b / float(units.rate)}
        left, right = clipped(span, x)
        told = tag("title", f"{values[a]}, {when(span)}")
        shade = colour(int(values[a]) * GOLDEN % 1)
        content.append(tag("rect", told, x=left, y=0, width=right - left, height=STRIP, fill=shade))
    return Lane(units.address.rpartition(".")[2], STRIP, content)
