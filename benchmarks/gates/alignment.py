"""How well lyrics are aligned on real songs: the rule, the shipped net, and nets trained on the songs' own line stamps.

    python benchmarks/gates/alignment.py DATA                one seed of everything (about an hour on one core)
    python benchmarks/gates/alignment.py DATA --seeds 3      three
    python benchmarks/gates/alignment.py DATA --seeds 2 --first-seed 1    two others
    python benchmarks/gates/alignment.py DATA --only own     only some of: shipped, own, others, jitter
    python benchmarks/gates/alignment.py DATA --keep FOLDER  keep what the nets hear, and train none whose is there

DATA holds folders of UltraStar and JamendoLyrics songs (`ultrastar`, `nc/ultrastar`, `nc/jamendolyrics`). `own` are
nets trained on all songs' line stamps, `others` on those of the other folds, `jitter` on stamps that are off by a
normal deviate of 0.3 s. Word times are never seen in training. Each training takes one core.
"""

import argparse
import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt

from autosing.aligner.adapt import AdaptConfig, adapt, lines_of
from autosing.aligner.align import align_plain, align_stamped
from autosing.aligner.alignment import Alignment
from autosing.aligner.emissions import emissions
from autosing.aligner.shipped import aligner_path, load_aligner
from autosing.models.directory import WEIGHTS
from autosing.pipeline.ingest.source import Source
from autosing.pipeline.ingest.sources import LAYOUTS
from autosing.pipeline.song import Song
from autosing.pipeline.stages.lyric_mel import LyricMel
from autosing.signal.alphabet import alphabet
from autosing.signal.language import language, load_identifier
from autosing.signal.lyrics import LrcLine, parse_lrc
from autosing.signal.word_times import characters_proportional, place_words
from autosing.training.metrics import auroc

Floats = npt.NDArray[np.float64]
SOURCES = {"ultrastar": ("ultrastar", "nc/ultrastar"), "jamendolyrics": ("nc/jamendolyrics",)}
FOLDS = 3
JITTER_S = 0.3
LOST_S = 5.0


@dataclass(frozen=True)
class Truth:
    """A song: its bands, line stamps, and true word onsets."""

    name: str
    kind: str
    bands: npt.NDArray[np.float16]
    lines: Sequence[LrcLine]
    language: str
    duration_s: float
    onsets_s: Floats
    is_first: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Found:
    """Of one song under one condition: errors of the words, and of each line its median error and confidence."""

    song: str
    kind: str
    errors_s: Floats
    is_first: npt.NDArray[np.bool_]
    lines: Sequence[tuple[float, float]] = ()


def songs(data: Path) -> list[Truth]:
    """Returns the songs of both sources."""
    found, identifier = [], load_identifier()
    for kind, folders in SOURCES.items():
        for folder in folders:
            for new in LAYOUTS[kind].songs(Source(data / folder)):
                song = Song(new.id, {"index.audio": new.audio}, {"mix": "index.audio"})
                (row,) = LyricMel().process([song], None)
                words, lines = new.reference["ref_words"], parse_lrc(new.text["lrc_lyrics"] or "").lines
                told = language([line.text for line in lines], identifier)
                line = np.array([word["line"] for word in words])
                found.append(
                    Truth(
                        new.id,
                        kind,
                        row["lyric_mel"].astype(np.float16),
                        lines,
                        told.code if told else "",
                        song.duration_s,
                        np.array([word["start_s"] for word in words]),
                        np.diff(line, prepend=-1) != 0,
                    )
                )
    return found


@dataclass(frozen=True)
class Training:
    """Nets to train: on which songs' stamps, with how much jitter, and which songs they then align."""

    condition: str
    seed: int
    heard: Sequence[Truth]
    aligned: Sequence[Truth]
    jitter_s: float = 0.0
    model: str = "shipped"
    keep: Path | None = None

    @property
    def kept(self) -> Path | None:
        """The file of what the nets hear, which is another for other nets, songs or steps."""
        if self.keep is None:
            return None
        digest = hashlib.sha256((Path(aligner_path(self.model)) / WEIGHTS).read_bytes())
        names = [song.name for songs in (self.heard, self.aligned) for song in songs]
        digest.update(repr((self.seed, self.jitter_s, AdaptConfig(), names)).encode())
        return self.keep / f"{self.condition}-{self.seed}-{digest.hexdigest()[:16]}.npz"


def jittered(song: Truth, jitter_s: float, seed: int) -> Truth:
    """Returns a song whose stamps are off by normal deviates, still in order."""
    rng = np.random.default_rng([seed, len(song.onsets_s)])
    stamps_s = np.maximum.accumulate([max(line.start_s + rng.normal(0, jitter_s), 0) for line in song.lines])
    lines = [replace(line, start_s=float(stamp_s)) for line, stamp_s in zip(song.lines, stamps_s, strict=True)]
    return replace(song, lines=lines)


def run(training: Training) -> tuple[str, list[Found], list[Found], float]:
    """Trains and aligns; returns condition, stamped and plain findings, and CPU seconds of the training."""
    import torch

    torch.set_num_threads(1)
    heard, aligned = (
        [jittered(song, training.jitter_s, training.seed) if training.jitter_s else song for song in songs]
        for songs in (training.heard, training.aligned)
    )
    log_probs, cpu_s = heard_by_nets(training, heard, aligned)
    stamped, plain = [], []
    for song, told in zip(aligned, log_probs, strict=True):
        letters = alphabet("classes").in_language(song.language)
        stamped.append(found(song, align_stamped(told, song.lines, song.duration_s, letters)))
        texts = [line.text for line in song.lines]
        plain.append(found(song, align_plain(told, texts, song.duration_s, letters)))
    return training.condition, stamped, plain, cpu_s


def heard_by_nets(
    training: Training, heard: Sequence[Truth], aligned: Sequence[Truth]
) -> tuple[list[npt.NDArray[np.float32]], float]:
    """Returns the log probabilities of the songs to align, and CPU seconds of the training."""
    kept = training.kept
    if kept and kept.exists():
        with np.load(kept, allow_pickle=False) as told:
            return [told[str(n)] for n in range(len(aligned))], float(told["cpu_s"])
    loaded = load_aligner(training.model)
    started = time.process_time()
    if heard:
        spelled = [(song, loaded.alphabet.in_language(song.language)) for song in heard]
        lines = [line for s, letters in spelled for line in lines_of(s.bands, s.lines, s.duration_s, letters)]
        adapt(loaded.model, lines, AdaptConfig(seed=training.seed))
    cpu_s = time.process_time() - started
    log_probs = [emissions(loaded.model, song.bands) for song in aligned]
    if kept:
        np.savez(kept, cpu_s=cpu_s, **{str(n): told for n, told in enumerate(log_probs)})
    return log_probs, cpu_s


def found(song: Truth, alignment: Alignment | None) -> Found:
    """Returns how far an alignment is from the truth."""
    assert alignment is not None
    errors_s = np.abs(np.array([word.start_s for word in alignment.words]) - song.onsets_s)
    borders = np.flatnonzero(song.is_first)
    medians = [float(np.median(part)) for part in np.split(errors_s, borders[1:])]
    lines = [(m, line.confidence or 0.0) for m, line in zip(medians, alignment.lines, strict=True)]
    return Found(song.name, song.kind, errors_s, song.is_first, lines)


def row(name: str, results: Sequence[Found], kind: str) -> str:
    """Returns a line of the table: means over the songs of a kind, all words and those that are not first in a line."""
    songs = [r for r in results if r.kind == kind]
    parts = []
    for chosen in ([r.errors_s for r in songs], [r.errors_s[~r.is_first] for r in songs]):
        aae, median = np.mean([e.mean() for e in chosen]), np.mean([np.median(e) for e in chosen])
        pco, late = (100 * np.mean([f(e) for e in chosen]) for f in (_within, _beyond))
        parts.append(f"{aae:.3f} / {median:.3f} / {pco:.1f} / {late:.1f}")
    return f"| {name} | {kind} | {' | '.join(parts)} |"


def _within(errors_s: Floats) -> float:
    return float(np.mean(errors_s <= 0.3))


def _beyond(errors_s: Floats) -> float:
    return float(np.mean(errors_s > 1.0))


def lost(name: str, results: Sequence[Found]) -> str:
    """Returns how lyrics without times fare: songs with few words lost, and whether lost lines are told."""
    steady = np.mean([np.mean(r.errors_s > LOST_S) <= 0.05 for r in results])
    lines = [line for r in results for line in r.lines]
    is_lost = np.array([median_s > 1.0 for median_s, _ in lines])
    told = auroc(-np.array([c for _, c in lines]), is_lost) if 0 < is_lost.sum() < len(lines) else float("nan")
    share = f"{100 * steady:.0f} % of the songs steady"
    return f"{name}: {share}, {is_lost.sum()} of {len(lines)} lines lost, AUROC {told:.3f}"


def by_rule(songs_: Sequence[Truth], characters: bool = False) -> list[Found]:
    """Returns the findings of the rate rule, or of characters spread over the time to the next stamp."""
    place = characters_proportional if characters else place_words
    onsets = [np.array([w.start_s for w in place(s.lines, s.duration_s)]) for s in songs_]
    return [Found(s.name, s.kind, np.abs(o - s.onsets_s), s.is_first) for s, o in zip(songs_, onsets, strict=True)]


def trainings(
    all_songs: Sequence[Truth], seeds: Sequence[int], only: Sequence[str], model: str, keep: Path | None
) -> list[Training]:
    """Returns what is to be trained, the longest first."""
    planned = [Training("shipped", 0, (), all_songs)]
    for seed in seeds:
        planned.append(Training("own", seed, all_songs, all_songs))
        planned.append(Training("jitter", seed, all_songs, all_songs, JITTER_S))
        for fold in range(FOLDS):
            held = all_songs[fold::FOLDS]
            planned.append(Training("others", seed, [s for n, s in enumerate(all_songs) if n % FOLDS != fold], held))
    return [replace(t, model=model, keep=keep) for t in planned if not only or t.condition in only]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", default="shipped")
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    if arguments.keep:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    all_songs = songs(arguments.data)
    print("| method | songs | all words: AAE s / median s / PCO@.3 % / > 1 s % | not first of a line |")
    print("|---|---|---|---|")
    for name, characters in (("characters", True), ("rate", False)):
        tell(name, by_rule(all_songs, characters))
    stamped: dict[str, list[Found]] = {}
    plain: dict[str, list[Found]] = {}
    with ProcessPoolExecutor(arguments.workers, get_context("spawn")) as pool:
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        planned = trainings(all_songs, seeds, arguments.only, arguments.model, arguments.keep)
        for condition, one, other, cpu_s in pool.map(run, planned):
            tell(f"{condition} ({cpu_s:.0f} CPU s)", one)
            stamped.setdefault(condition, []).extend(one)
            plain.setdefault(condition, []).extend(other)
    for condition, results in stamped.items():
        tell(f"{condition}, all", results)
    for condition, results in plain.items():
        print(lost(f"without times, {condition}", results))


def tell(name: str, results: Sequence[Found]) -> None:
    """Prints the lines of a condition, one for each kind of songs."""
    for kind in SOURCES:
        if any(r.kind == kind for r in results):
            print(row(name, results, kind), flush=True)


if __name__ == "__main__":
    main()
