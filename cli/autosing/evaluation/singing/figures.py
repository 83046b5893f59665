"""The figures of a sung song: lyrics that are heard, pitch, voice, loudness, and speed."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.evaluation.heard import SPEC, Measure, Wave
from autosing.signal.f0 import f0
from autosing.signal.faults import clipping, peak, silence_ratio
from autosing.signal.framing import frames
from autosing.signal.loudness import integrated_loudness
from autosing.signal.mfcc import RATE, mfcc
from autosing.signal.notes import transcribe
from autosing.signal.resample import resample
from autosing.signal.ssl import SAMPLE_RATE
from autosing.signal.voice_activity import Activation, active, singing
from autosing.signal.voice_statistics import voice_statistics
from autosing.synthesis.singing.takes import Judge

TRACK_RATE = Fraction(100)
# From the lowest bass to the highest soprano, with room for neither noise nor an octave error.
SUNG_HZ = (60.0, 1100.0)
# Of a note its edges are slides.
EDGE_S = 0.05

MEASURES = (
    Measure("lines", "lines", "share of the lines that are heard in order"),
    Measure("words", "words", "share of the words that are"),
    Measure("symbol_error_rate", "SER", "symbol errors of what the aligner reads by itself, of the symbols there are"),
    Measure("beside", "beside", "share of the sounds that are heard outside of all lines"),
    Measure("low_hz", "low F0", "pitch that 5 % of the voiced frames are below, in Hz", 0),
    Measure("high_hz", "high F0", "pitch that 5 % of them are above, in Hz", 0),
    Measure("voiced", "voiced", "share of the frames that have a pitch"),
    Measure("in_range", "in range", "share of them that are from 60 to 1100 Hz"),
    Measure(
        "note_cents", "in note", "deviation of the pitch inside notes, in cents, vibrato included: half are below", 0
    ),
    Measure("notes_per_s", "notes/s", "notes a second", 2),
    Measure(
        "voice_similarity", "voice", "cosine of the voice with that of the singer's recording, by the singer model"
    ),
    Measure("voice_distance", "voice", "distance of the voice from that of the singer's recording, by statistics", 2),
    Measure("lufs", "LUFS", "loudness of what is heard", 1),
    Measure("silence", "silent", "share of 20 ms that are below -60 dB"),
    Measure("clipped", "clipped", "share of the samples that are cut off", 5),
    Measure("peak", "peak", "highest sample, of full scale"),
    Measure("tokens_per_s", "tokens/s", "tokens of what is sung a second, over all takes", 0),
    Measure("rtf", "RTF", "seconds that all took for a second of song, over all takes", 2),
)


def of_voice(voice: Wave, lines: Sequence[str], borders: Sequence[tuple[float, int]], judge: Judge) -> dict[str, float]:
    """Returns what a voice (T,) tells of lyrics and pitch; the borders are those of `Judge.judge`."""
    verdict = judge.judge(voice, SPEC.sample_rate, lines, borders)
    told = {name: float(getattr(verdict, name)) for name in ("lines", "words", "symbol_error_rate", "beside")}
    return {**told, **_pitch(voice)}


def of_sound(wave: Wave, facts: Mapping[str, Any]) -> dict[str, float]:
    """Returns how loud a sound (T,) is, what is wrong with it, and how fast it was made."""
    samples = wave[:, None]
    lufs = integrated_loudness(samples, SPEC.sample_rate)
    return {
        **({} if lufs is None else {"lufs": lufs}),
        "silence": silence_ratio(samples, SPEC.sample_rate),
        "clipped": clipping(samples).ratio,
        "peak": peak(samples),
        "tokens_per_s": float(facts["per_second"]["tokens"]),
        "rtf": float(sum(facts["realtime_factors"].values())),
    }


def voice_distance(voice: Wave, other: Wave) -> float:
    """Returns how far two voices (T,) are apart; no number where either sings less than half a second."""
    told = [_statistics(wave) for wave in (voice, other)]
    if told[0] is None or told[1] is None:
        return float("nan")
    return float(np.linalg.norm(told[0] - told[1]))


def _pitch(voice: Wave) -> dict[str, float]:
    n_frames = frames(len(voice), SPEC.sample_rate, TRACK_RATE)
    found = f0(voice, SPEC.sample_rate, n_frames, fmin_hz=SUNG_HZ[0] / 2, fmax_hz=2 * SUNG_HZ[1])
    hz = found.f0_hz[found.voiced.astype(bool)]
    told = {"voiced": len(hz) / max(n_frames, 1)}
    if not len(hz):
        return told
    low_hz, high_hz = np.percentile(hz, (5, 95))
    notes = transcribe(found.f0_hz, found.voiced, TRACK_RATE)
    inside = [_inside_cents(found.f0_hz, note.start_s + EDGE_S, note.end_s - EDGE_S) for note in notes]
    spread = [float(np.std(cents)) for cents in inside if len(cents) > 1]
    return {
        **told,
        "low_hz": float(low_hz),
        "high_hz": float(high_hz),
        "in_range": float(np.mean((hz >= SUNG_HZ[0]) & (hz <= SUNG_HZ[1]))),
        "notes_per_s": len(notes) * float(TRACK_RATE) / n_frames,
        **({"note_cents": float(np.median(spread))} if spread else {}),
    }


def _inside_cents(f0_hz: npt.NDArray[np.float32], start_s: float, end_s: float) -> npt.NDArray[np.float64]:
    hz = f0_hz[round(start_s * TRACK_RATE) : round(end_s * TRACK_RATE)].astype(np.float64)
    return np.asarray(1200 * np.log2(hz[hz > 0]), np.float64)


def _statistics(wave: Wave) -> npt.NDArray[np.float64] | None:
    mono = resample(wave, SPEC.sample_rate, SAMPLE_RATE)
    n_frames = frames(len(mono), SAMPLE_RATE, RATE)
    sung = active(singing([mono[:, None]], n_frames), Activation())
    return voice_statistics(mfcc(mono, SAMPLE_RATE, n_frames), sung.astype(bool))
