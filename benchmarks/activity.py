"""How well voice activity is told: F1, precision and recall of frames beside the times of the words.

    python benchmarks/activity.py [--data DIR] [--songs]

- The songs of jamendolyrics and UltraStar with their word times, as full mixes; the synthetic singer with a backing at
  0 dB and alone. Words that follow each other within 0.3 s are one stretch.
- `weight_free` has its constants from these real songs; `left out` fits them for each song on the others. `silero` is
  there where it is installed.
- Baselines: everything sung; the level of the mono mix above a threshold below the song's 95th percentile, fixed
  (20 dB) and the best one of the data set (an oracle); F0 voicing of the mix by swift, pauses below 0.3 s closed.

Figures are means over songs. Real recordings are left out where they are not beside the checkout.
"""

import argparse
import csv
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from autosing.evaluation.activity import sung
from autosing.pipeline.threads import one_thread
from autosing.signal.decode import decode, to_mono
from autosing.signal.energy import energy
from autosing.signal.errors import UsageError
from autosing.signal.f0 import f0
from autosing.signal.framing import frames
from autosing.signal.resample import resample
from autosing.signal.rows import slices
from autosing.signal.silero import load_silero, speech
from autosing.signal.singer import song
from autosing.signal.vocal_part import SAMPLE_RATE, Samples, vocal_blocks
from autosing.signal.voice import voices
from autosing.signal.voice_activity import RATE, Activation, Cues, active, cues, evidence, score
from autosing.training.metrics import detection_scores
from machine import machine
from songs import SHARED_DATA

Flags = npt.NDArray[np.bool_]
Doubles = npt.NDArray[np.float64]

FOLDERS = {"jamendolyrics": ("nc/jamendolyrics/*",), "UltraStar": ("nc/ultrastar/*", "ultrastar/*")}
SYNTHETIC = {"synthetic 0 dB": 0.0, "synthetic alone": None}
SYNTHETIC_SONGS, SYNTHETIC_S, SYNTHETIC_SEED = 8, 30.0, 500
THRESHOLDS_DB = range(-60, 0)
FIXED_DB = -20
NO_HYSTERESIS = Activation(0.5, 0.5, 0.0, 0.3)


@dataclass(frozen=True)
class Case:
    """A song (T, C) at 16 kHz and the words that are sung."""

    name: str
    samples: Samples
    words: Sequence[Mapping[str, float]]

    @cached_property
    def n_frames(self) -> int:
        return frames(len(self.samples), SAMPLE_RATE, RATE)

    @cached_property
    def truth(self) -> Flags:
        return sung(self.words, self.n_frames)

    @cached_property
    def cues(self) -> Cues:
        return cues(vocal_blocks(self.blocks()), self.n_frames)

    @cached_property
    def level_db(self) -> Doubles:
        """The level (F,) below the song's 95th percentile."""
        rms = energy(to_mono(self.samples), SAMPLE_RATE, 2 * self.n_frames).reshape(-1, 2).max(axis=1)
        return np.asarray(20 * np.log10(np.maximum(rms / max(np.percentile(rms, 95), 1e-9), 1e-9)))

    @cached_property
    def voiced(self) -> Flags:
        found = f0(to_mono(self.samples), SAMPLE_RATE, 2 * self.n_frames).voiced.reshape(-1, 2).any(axis=1)
        return active(found.astype(np.float32), NO_HYSTERESIS).astype(bool)

    def blocks(self) -> Iterator[Samples]:
        return slices(self.samples, 10 * SAMPLE_RATE)


def real_cases(data: Path, patterns: Sequence[str]) -> list[Case]:
    """Returns the songs of folders with `audio.*` and `words.csv`."""
    return [
        _read(folder)
        for pattern in patterns
        for folder in sorted(data.glob(pattern))
        if (folder / "words.csv").exists()
    ]


def _read(folder: Path) -> Case:
    audio = decode(next(folder.glob("audio.*")).read_bytes())
    heard = [resample(np.ascontiguousarray(c), audio.sample_rate, SAMPLE_RATE) for c in audio.samples.T]
    with (folder / "words.csv").open(newline="") as file:
        words = [{"start_s": float(w["word_start"]), "end_s": float(w["word_end"])} for w in csv.DictReader(file)]
    return Case(folder.name, np.stack(heard, axis=1), words)


def synthetic_cases(snr_db: float | None) -> list[Case]:
    """Returns songs of different singers with a backing at this level below the voice, or none."""
    found = []
    for number, voice in enumerate(voices(SYNTHETIC_SONGS)):
        made = song(SYNTHETIC_SEED + number, voice, SYNTHETIC_S, snr_db, SAMPLE_RATE)
        words = [{"start_s": start_s, "end_s": end_s} for start_s, end_s, _ in made.sung.words]
        found.append(Case(voice.name, made.wave[:, None], words))
    return found


def fitted(cases: Sequence[Case]) -> tuple[Doubles, float]:
    """Returns the weights (2,) and the offset of a logistic regression on these songs."""
    from sklearn.linear_model import LogisticRegression

    rows = np.concatenate([evidence(case.cues) for case in cases])
    model = LogisticRegression(C=10).fit(rows, np.concatenate([case.truth for case in cases]))
    return model.coef_[0], float(model.intercept_[0])


def left_out(cases: Sequence[Case], case: Case) -> Flags:
    """Returns what `weight_free` calls sung with constants from the other songs."""
    weights, offset = fitted([other for other in cases if other is not case])
    return called(1 / (1 + np.exp(-(evidence(case.cues) @ weights + offset))))


def called(scores: npt.NDArray[np.floating]) -> Flags:
    """Returns which frames are sung by the rule of the stage."""
    return active(scores.astype(np.float32), Activation()).astype(bool)


def above(case: Case, threshold_db: float) -> Flags:
    """Returns where the level is above a threshold, pauses below 0.3 s closed."""
    return active((case.level_db >= threshold_db).astype(np.float32), NO_HYSTERESIS).astype(bool)


def best_threshold_db(cases: Sequence[Case]) -> float:
    """Returns the threshold of the level with the highest mean F1."""
    return max(THRESHOLDS_DB, key=lambda t: float(np.mean([_scores(above(case, t), case)[0] for case in cases])))


def _scores(found: Flags, case: Case) -> tuple[float, float, float]:
    scores = detection_scores(found, case.truth)
    return scores.f1, scores.precision, scores.recall


def measure(cases: Sequence[Case], real: Sequence[Case], silero: object | None) -> dict[str, list[tuple[float, ...]]]:
    """Returns F1, precision and recall of each song by method."""
    best_db = best_threshold_db(cases)
    methods = {
        "everything sung": lambda case: np.ones(case.n_frames, np.bool_),
        f"energy, {FIXED_DB} dB": lambda case: above(case, FIXED_DB),
        "energy, best threshold": lambda case: above(case, best_db),
        "F0 voicing (swift)": lambda case: case.voiced,
        "weight_free": lambda case: called(score(case.cues)),
    }
    if real and cases[0] in real:
        methods["weight_free, left out"] = lambda case: left_out(real, case)
    if silero:
        methods["silero"] = lambda case: called(speech(silero, vocal_blocks(case.blocks()), case.n_frames))
    return {name: [_scores(method(case), case) for case in cases] for name, method in methods.items()}


def print_table(name: str, cases: Sequence[Case], found: Mapping[str, list[tuple[float, ...]]], songs: bool) -> None:
    """Prints the means and, where asked for, the F1 of each song."""
    share = np.mean([case.truth.mean() for case in cases])
    print(f"\n{name}: {len(cases)} songs, {share:.0%} sung\n{'method':24}     F1   prec    rec  worst")
    for method, scores in found.items():
        means, worst = np.nanmean(scores, axis=0), min(f1 for f1, *_ in scores)
        print(f"{method:24} {means[0]:6.3f} {means[1]:6.3f} {means[2]:6.3f} {worst:6.3f}")
        if songs:
            print("  " + ", ".join(f"{case.name} {f1:.3f}" for case, (f1, *_) in zip(cases, scores, strict=True)))


def without_a_voice(data: Path) -> None:
    """Prints how much of the instrumental of a song is called sung."""
    path = data / "nc" / "ultrastar" / "pornophonique_space_invaders" / "instrumental.mp3"
    if path.exists():
        audio = decode(path.read_bytes())
        heard = np.stack(
            [resample(np.ascontiguousarray(c), audio.sample_rate, SAMPLE_RATE) for c in audio.samples.T], 1
        )
        found = called(score(Case("instrumental", heard, []).cues))
        print(f"\nan instrumental (chip music): {found.mean():.1%} called sung")


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED_DATA, help="folder of real recordings")
    parser.add_argument("--songs", action="store_true", help="print every song")
    options = parser.parse_args()
    one_thread()
    threadpool_limits(1)
    print(machine(("numpy", "scipy", "swift-f0")))
    try:
        silero = load_silero()
    except UsageError as error:
        silero = None
        print(f"silero is left out: {error}")
    sets = {name: real_cases(options.data, patterns) for name, patterns in FOLDERS.items()}
    real = [case for cases in sets.values() for case in cases]
    sets |= {name: synthetic_cases(snr_db) for name, snr_db in SYNTHETIC.items()}
    started = time.process_time()
    length_s = sum(case.n_frames / 50 for cases in sets.values() for case in cases if len(case.cues.level_db))
    print(f"weight_free: {(time.process_time() - started) / length_s:.4f} s of one core for a second, without decoding")
    for name, cases in sets.items():
        if cases:
            print_table(name, cases, measure(cases, real, silero), options.songs)
    if real:
        print_table("all real songs", real, measure(real, real, silero), False)
        weights, offset = fitted(real)
        print(f"\nfitted on all real songs: weights {weights.round(2).tolist()}, offset {offset:.2f}")
        without_a_voice(options.data)


if __name__ == "__main__":
    main()
