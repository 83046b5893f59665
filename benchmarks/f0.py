"""How exact and how fast the F0 trackers are: on tones with a known pitch, against a laryngograph and against scores.

    python benchmarks/f0.py [METHOD ...] [--data DIR]

- tones, glides, vibrato: ten harmonics at exactly known pitch; the error in cents.
- PTDB-TUG (speech of one speaker): raw pitch accuracy within 50 cents, voicing recall and false alarm by mir_eval, and
  the median error where both are voiced, against the laryngograph.
- PJS (singing): the share of the notes of the MIDI scores whose median F0 is within 0.6 semitones.
- speed: seconds of one core for a second of PJS.

Real recordings are left out where they are not beside the checkout. Exits with 1 where a target is missed.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import mir_eval
import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from autosing.pipeline.threads import one_thread
from autosing.signal.decode import decode, to_mono
from autosing.signal.f0 import F0, RATE, Method, f0
from autosing.signal.framing import centres_s, frames
from autosing.signal.resample import resample
from machine import machine
from midi import notes
from songs import SHARED_DATA

Doubles = npt.NDArray[np.float64]
Floats = npt.NDArray[np.float32]

HZ = 16_000
TONES_HZ = (80, 100, 125, 160, 200, 250, 320, 400, 500, 640, 800, 1000)
BASES_HZ = (100, 200, 400)
TONE_TARGET_CENTS, GLIDE_TARGET_CENTS = 10, 25
NEAR_A_NOTE_SEMITONES = 0.6
EDGE_FRAMES = 15
"""Frames at either end of a tone that are not looked at."""


@dataclass(frozen=True)
class Recording:
    """A wave at 16 kHz with what is known of its pitch: times and Hz, 0 where unvoiced, or notes (s, s, MIDI)."""

    wave: Floats
    times_s: Doubles
    f0_hz: Doubles
    notes: tuple[tuple[float, float, int], ...] = ()


def track(wave: Floats, method: Method) -> F0:
    """Returns the pitch of a wave at 16 kHz."""
    return f0(wave, HZ, frames(len(wave), HZ, RATE), method)


def harmonic(f0_hz: Doubles) -> Floats:
    """Returns ten harmonics, each 1/k as loud as the first, below 7 kHz; `f0_hz` (T,) is the pitch of each sample."""
    phase = 2 * np.pi * np.cumsum(f0_hz) / HZ
    parts = [np.sin(k * phase) / k * (k * f0_hz < 7000) for k in range(1, 11)]
    wave: Floats = (0.2 * np.sum(parts, axis=0)).astype(np.float32)
    return wave


def errors_cents(f0_hz: Doubles, method: Method) -> Doubles:
    """Returns the error at the frames of a harmonic tone; a frame without a pitch is an octave off."""
    found = track(harmonic(f0_hz), method)
    truth_hz = f0_hz[np.rint(centres_s(len(found.f0_hz), RATE) * HZ).astype(int)]
    inside = slice(EDGE_FRAMES, -EDGE_FRAMES)
    cents = 1200 * np.abs(np.log2(np.where(found.voiced, found.f0_hz, 2 * truth_hz) / truth_hz))
    errors: Doubles = cents[inside]
    return errors


def most_errors_below(f0_hz: Doubles, method: Method) -> float:
    """Returns the 95th percentile of the errors in cents."""
    return float(np.percentile(errors_cents(f0_hz, method), 95))


def on_tones(method: Method) -> bool:
    """Prints the errors on synthetic tones and returns whether the targets are met."""
    times_s = np.arange(4 * HZ) / HZ
    steady = {hz: float(np.median(errors_cents(np.full(HZ, float(hz)), method))) for hz in TONES_HZ}
    worst_hz = max(steady, key=lambda hz: steady[hz])
    turns = np.abs(times_s - 2) - 1  # up and down again, half an octave a second
    glides = [most_errors_below(hz * 2 ** (0.5 * turns), method) for hz in BASES_HZ]
    wobble = np.sin(2 * np.pi * 6 * times_s) / 12
    vibrato = [most_errors_below(hz * 2**wobble, method) for hz in BASES_HZ]
    print(
        f"{method:8} tones of {TONES_HZ[0]} to {TONES_HZ[-1]} Hz: median error at most {steady[worst_hz]:.1f} cents "
        f"({worst_hz} Hz); glides: 95 % within {max(glides):.1f} cents; vibrato: 95 % within {max(vibrato):.1f} cents",
        flush=True,
    )
    return steady[worst_hz] <= TONE_TARGET_CENTS and max(glides + vibrato) <= GLIDE_TARGET_CENTS


def against_laryngograph(method: Method, recordings: list[Recording]) -> None:
    """Prints mir_eval's scores and the median error."""
    for recording in recordings:
        found = track(recording.wave, method)
        times_s = centres_s(len(found.f0_hz), RATE)
        scores = mir_eval.melody.evaluate(recording.times_s, recording.f0_hz, times_s, found.f0_hz.astype(np.float64))
        nearest = np.clip(np.rint(recording.times_s * float(RATE) - 0.5).astype(int), 0, len(times_s) - 1)
        estimate_hz = found.f0_hz[nearest]
        both = (recording.f0_hz > 0) & (estimate_hz > 0)
        error = np.median(1200 * np.abs(np.log2(estimate_hz[both] / recording.f0_hz[both])))
        print(
            f"{method:8} PTDB-TUG: raw pitch accuracy {scores['Raw Pitch Accuracy']:.1%}, voicing recall "
            f"{scores['Voicing Recall']:.1%}, false alarm {scores['Voicing False Alarm']:.1%}, "
            f"median error {error:.1f} cents",
            flush=True,
        )


def against_scores(method: Method, recordings: list[Recording]) -> None:
    """Prints how many notes have the pitch of the score, and the speed."""
    n_notes = n_near = 0
    seconds = length_s = 0.0
    for recording in recordings:
        started = time.process_time()
        found = track(recording.wave, method)
        seconds += time.process_time() - started
        length_s += len(recording.wave) / HZ
        for start_s, end_s, midi in recording.notes:
            sung_hz = found.f0_hz[round(start_s * RATE) : round(end_s * RATE)]
            sung_hz = sung_hz[sung_hz > 0]
            n_notes += 1
            n_near += bool(len(sung_hz) and abs(to_midi(float(np.median(sung_hz))) - midi) <= NEAR_A_NOTE_SEMITONES)
    print(f"{method:8} PJS: {n_near} of {n_notes} notes ({n_near / n_notes:.1%}) within {NEAR_A_NOTE_SEMITONES} "
          f"semitones; {seconds / length_s:.4f} s of one core for a second", flush=True)  # fmt: skip


def to_midi(hz: float) -> float:
    """Returns the MIDI number, fractions included, of a pitch."""
    return float(69 + 12 * np.log2(hz / 440))


def read_wave(path: Path) -> Floats:
    """Returns a recording as mono at 16 kHz."""
    audio = decode(path.read_bytes())
    return resample(to_mono(audio.samples), audio.sample_rate, HZ)


def ptdb_tug(data: Path) -> list[Recording]:
    """Returns the speech with its laryngograph's pitch; line `i` of a reference is at 0.010 i + 0.020 s."""
    found = []
    for path in sorted((data / "ptdb_tug").glob("mic_*.wav")):
        f0_hz: Doubles = np.loadtxt(path.with_name(path.stem.replace("mic", "ref") + ".f0"))[:, 0]
        times_s: Doubles = 0.020 + 0.010 * np.arange(len(f0_hz), dtype=np.float64)
        found.append(Recording(read_wave(path), times_s, f0_hz))
    return found


def pjs(data: Path) -> list[Recording]:
    """Returns the songs with the notes of their scores."""
    return [
        Recording(read_wave(song), np.zeros(0), np.zeros(0), tuple(notes(score.read_bytes())))
        for score in sorted((data / "pjs").glob("*/*.mid"))
        for song in sorted(score.parent.glob("*_song.*"))
    ]


def main() -> None:
    """Parses the command line and measures."""
    methods = get_args(Method)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(methods)}; none: all")
    parser.add_argument("--data", type=Path, default=SHARED_DATA, help="folder of real recordings")
    options = parser.parse_args()
    one_thread()
    threadpool_limits(1)
    print(machine(("numpy", "swift-f0", "praat-parselmouth", "pyworld-prebuilt", "mir_eval")))
    speech, songs = ptdb_tug(options.data), pjs(options.data)
    if not speech or not songs:
        print(f"{options.data} has no PTDB-TUG or no PJS: synthetic tones only")
    met = True
    for method in options.methods or methods:
        met &= on_tones(method)
        if speech and songs:
            against_laryngograph(method, speech)
            against_scores(method, songs)
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
