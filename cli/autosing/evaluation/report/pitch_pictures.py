"""Pitch of one song: F0 over the truth, and transcribed notes over the score."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from autosing.evaluation import f0, notes
from autosing.evaluation.report.picture import Picture, named, worst_stretch
from autosing.evaluation.songs import Case
from autosing.page.numerals import note_name
from autosing.page.svg import Scale, curve, grid_line, label, tag
from autosing.pipeline.dataset import REFERENCE
from autosing.pipeline.report.lanes import LEFT, Lane, Span, Track, clipped, inside, stack, time_scale, when
from autosing.pipeline.report.pitch import midi_of, pitch_lane, voiced_curves
from autosing.signal.framing import centres_s
from autosing.training.metrics import note_deviations_cents

HEIGHT = 130.0
MARGIN_SEMITONES = 3.0
NAME_PX = 20.0
"""Height of the lane's name, which no label of the axis may touch."""

Doubles = npt.NDArray[np.float64]


def pitch_pictures(case: Case, instances: Sequence[str]) -> list[Picture]:
    """Returns the worst 20 s of a song: the F0 of each instance over the truth."""
    known = [name for name in instances if case.value(name, "f0_hz") is not None]
    if not known:
        return []
    x = time_scale(*worst_stretch(*_wrong(case, known[0])))
    true_hz = case.truth("ref_f0_hz")
    truth = None if true_hz is None else Track(true_hz, case.rate(REFERENCE, "ref_f0_hz"))
    score = inside(_score(case, known[0]), x)
    lanes = [
        named(lane, name) for name in known if (lane := pitch_lane(*_track(case, name), truth, score, x)) is not None
    ]
    title = f"pitch from {x.low:.0f} to {x.high:.0f} s, where {known[0]} is most often wrong"
    return [Picture(title, stack(lanes, x, (), f"pitch of {case.row.id}"))] if lanes else []


def note_pictures(case: Case, instances: Sequence[str]) -> list[Picture]:
    """Returns the worst 20 s of a song: its score, each instance's F0, and the notes that are made of it."""
    known = [name for name in instances if case.value(name, "f0_hz") is not None]
    if not known:
        return []
    x = time_scale(*worst_stretch(*_wrong(case, known[0])))
    lanes = [_notes_lane(case, name, x) for name in known]
    title = f"score and transcribed notes from {x.low:.0f} to {x.high:.0f} s, where {known[0]} is most often wrong"
    return [Picture(title, stack(lanes, x, (), f"notes of {case.row.id}"))]


def _track(case: Case, instance: str) -> tuple[Track, Track]:
    rate = case.rate(instance, "f0_hz")
    return Track(case.value(instance, "f0_hz"), rate), Track(case.value(instance, "voiced"), rate)


def _score(case: Case, instance: str) -> list[Span]:
    """Returns the notes of a song's score, in the octave in which an instance hears most of them."""
    written = case.truth("ref_notes") or []
    if not written:
        return []
    octave = f0.octave_of(note_deviations_cents(*f0.track_of(case, instance), f0.score(written)))
    return [{**note, "midi": note["midi"] + 12 * octave} for note in written]


def _wrong(case: Case, instance: str) -> tuple[Doubles, Doubles]:
    """Returns times (N,) of frames, or of notes, and whether the pitch is wrong there."""
    track, rate_hz = f0.track_of(case, instance)
    if case.truth("ref_f0_hz") is not None:
        truth = f0.true_track(case, instance, len(track.f0_hz))
        both = truth.voiced & track.voiced
        ratio = np.where(both, track.f0_hz, 1) / np.where(both, truth.f0_hz, 1)
        wrong = (np.abs(1200 * np.log2(ratio)) > 50) | (truth.voiced != track.voiced)
        return centres_s(len(wrong), case.rate(instance, "f0_hz")), wrong.astype(np.float64)
    score = f0.score(sorted(_score(case, instance), key=lambda note: note["start_s"]))
    off = note_deviations_cents(track, rate_hz, score)
    return score.start_s.astype(np.float64), (~(np.abs(off) <= 50)).astype(np.float64)


def _notes_lane(case: Case, instance: str, x: Scale) -> Lane:
    """Returns the score as areas, transcribed notes as outlines and F0 as a line, on an axis of semitones."""
    made = notes.transcribed(case, instance)
    found = inside([{"start_s": a, "end_s": b, "midi": m} for a, b, m in zip(*made, strict=True)], x)
    score = inside(_score(case, instance), x)
    midi = [float(note["midi"]) for note in (*score, *found)] or [60.0]
    y = Scale(min(midi) - MARGIN_SEMITONES, max(midi) + MARGIN_SEMITONES, HEIGHT, 0)
    content = [_box(note, x, y, "note", note["text"]) for note in score]
    curves = voiced_curves(*_track(case, instance), x, lambda hz: y(midi_of(hz)))
    content += [tag("path", d=curve(points), class_="f0 faint") for points in curves]
    content += [_box(note, x, y, "found", "transcribed") for note in found]
    # The nested picture cuts off what rises above the axis: a tracker's octave errors.
    return named(Lane("", HEIGHT, [*_grid(x, y), tag("svg", *content, width=x.end, height=HEIGHT)]), instance)


def _grid(x: Scale, y: Scale) -> list[Markup]:
    step = 12 if y.high - y.low > 28 else 6 if y.high - y.low > 12 else 2
    lines = [midi for midi in range(math.ceil(y.low), math.floor(y.high) + 1) if midi % step == 0]
    labels = [label(note_name(m), LEFT - 6, min(y(m) + 4, HEIGHT), "end") for m in lines if y(m) > NAME_PX]
    return [*(grid_line(LEFT, x.end, y(m)) for m in lines), *labels]


def _box(note: Span, x: Scale, y: Scale, class_: str, what: str) -> Markup:
    left, right = clipped(note, x)
    top, bottom = y(note["midi"] + 0.5), y(note["midi"] - 0.5)
    told = tag("title", f"{what}, {note_name(round(note['midi']))}, {when(note)}")
    return tag("rect", told, x=left, y=top, width=max(right - left, 1.0), height=bottom - top, rx=2, class_=class_)
