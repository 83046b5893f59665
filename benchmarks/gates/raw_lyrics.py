"""Lyrics without times over a break and a chorus that is sung again: how many lines are lost, against plain CTC.

    python benchmarks/gates/raw_lyrics.py [--songs N] [--snr-db LEVEL]

Synthetic songs over a band. `break`: verse, chorus, 20 s of the band alone, verse, chorus; all of it is written.
`chorus again`: the same, but the chorus is sung twice at its second place and written once. `both missing`: besides,
the first chorus is not written at all. The lyrics are written with an empty line after each stanza, as they are found;
and, in a column of their own, without. A line is lost where the median of its words is more than a second off; of a
chorus that is written once and sung twice in a row either place will do, if all of it is there. Plain CTC is the best
path of the same nets through the same words, without the mask, and without what a gap or a pause inside a line costs.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from autosing.aligner.align import Emissions, align_plain, sung_words
from autosing.aligner.emissions import emissions, mixture, with_anything
from autosing.aligner.paths import Places, place
from autosing.aligner.shipped import load_aligner
from autosing.signal.alphabet import Speller
from autosing.signal.lyric_mel import lyric_mel
from autosing.signal.resample import resample
from autosing.signal.rows import slices
from autosing.signal.score import Score, compose
from autosing.signal.singer import sing
from autosing.signal.studio import any_voice, record

HZ, NET_HZ = 24_000, 16_000
VERSE_S, CHORUS_S, BREAK_S = 24.0, 14.0, 20.0
LOST_S = 1.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """What is sung, as scores one after the other (None is a break), and which of them are written."""

    name: str
    sung: Sequence[int | None]
    written: Sequence[int]
    either: tuple[int, int] | None = None


CASES = (
    Case("break", (0, 1, None, 2, 1), (0, 1, 3, 4)),
    Case("chorus again", (0, 1, None, 2, 1, 1), (0, 1, 3, 4), (4, 5)),
    Case("both missing", (0, 1, None, 2, 1, 1), (0, 3, 4), (4, 5)),
)


def joined(parts: Sequence[Score | None]) -> tuple[Score, list[tuple[int, int]]]:
    """Returns scores one after the other, and the first and last line of each part."""
    notes, words, lines, now_s = [], [], [], 0.0
    spans = []
    for part in parts:
        spans.append((len(lines), len(lines) + (len(part.lines) if part else 0)))
        if part is None:
            now_s += BREAK_S
            continue
        for note in part.notes:
            moved = {"start_s": note.start_s + now_s, "end_s": note.end_s + now_s}
            notes.append(replace(note, **moved, word=note.word + len(words), line=note.line + len(lines)))
        words += part.words
        lines += part.lines
        now_s += part.duration_s
    first = next(part for part in parts if part)
    return replace(first, notes=tuple(notes), words=tuple(words), lines=tuple(lines), duration_s=now_s), spans


def onsets(score: Score, words: Sequence[tuple[float, float, str]]) -> list[Floats]:
    """Returns the true onsets of the words of each line."""
    counts = [len(line.split()) for line in score.lines]
    starts = np.array([start_s for start_s, _, _ in words])
    return np.split(starts, np.cumsum(counts)[:-1])


def lost(starts_s: Floats, case: Case, spans: Sequence[tuple[int, int]], truth: Sequence[Floats]) -> tuple[int, int]:
    """Returns how many lines are lost, and how many there are."""
    counts = [len(truth[line]) for part in case.written for line in range(*spans[part])]
    placed = iter(np.split(starts_s, np.cumsum(counts)[:-1]))
    n_lost = n_lines = 0
    for part in case.written:
        found = [next(placed) for _ in range(*spans[part])]
        places = case.either if case.either and part == case.either[0] else (part,)
        n_lost += min(_lost_in(found, truth[slice(*spans[at])]) for at in places)
        n_lines += len(found)
    return n_lost, n_lines


def _lost_in(found: Sequence[Floats], truth: Sequence[Floats]) -> int:
    return sum(float(np.median(np.abs(a - b))) > LOST_S for a, b in zip(found, truth, strict=True))


def songs(case: Case, n_songs: int, snr_db: float) -> Iterator[tuple[npt.NDArray[np.float32], Score, list, list]]:
    """Yields what the net hears of each song, its score, the lines of its parts, and the onsets of its lines."""
    for number in range(n_songs):
        rng = np.random.default_rng([77, number])
        voice = any_voice(rng)
        lengths_s = (VERSE_S, CHORUS_S, VERSE_S)
        parts = [
            compose(1000 * number + n, seconds, voice.lowest_midi, voice.highest_midi)
            for n, seconds in enumerate(lengths_s)
        ]
        score, spans = joined([None if n is None else parts[n] for n in case.sung])
        sung = sing(score, voice, HZ, number)
        mix = record(sung.wave, score, HZ, rng, snr_db).mix
        heard = np.stack([resample(channel, HZ, NET_HZ) for channel in mix.T], axis=1)
        n_frames = round(score.duration_s * 50)
        yield lyric_mel(slices(heard, 10 * NET_HZ), n_frames), score, spans, onsets(score, sung.words)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=8)
    parser.add_argument("--snr-db", type=float, default=0.0)
    parser.add_argument("--model", default="shipped")
    arguments = parser.parse_args()
    loaded = load_aligner(arguments.model)
    print(
        "| case | lines | lost, masked | without empty lines | plain CTC | songs with a lost line, in the same order |"
    )
    print("|---|---|---|---|---|---|")
    for case in CASES:
        rows = []
        for bands, score, spans, truth in songs(case, arguments.songs, arguments.snr_db):
            log_probs = emissions(loaded.model, bands.astype(np.float16))
            stanzas = [[score.lines[line] for line in range(*spans[part])] for part in case.written]
            dense = [line for stanza in stanzas for line in stanza]
            found = [
                masked_starts(log_probs, lines, score.duration_s, loaded.alphabet)
                for lines in ([line for stanza in stanzas for line in (*stanza, "")], dense)
            ]
            words = sung_words(dense, loaded.alphabet)
            plain = place(with_anything(mixture(log_probs)), words, Places.anywhere(len(words), score.duration_s))
            rows.append([lost(starts_s, case, spans, truth) for starts_s in (*found, plain.starts_s)])
        table = np.array(rows)
        n_lost = table[:, :, 0]
        losing = ", ".join(str(n) for n in (n_lost > 0).sum(axis=0))
        columns = " | ".join(str(n) for n in (table[:, 0, 1].sum(), *n_lost.sum(axis=0)))
        print(f"| {case.name} | {columns} | {losing} of {len(rows)} |", flush=True)


def masked_starts(log_probs: Emissions, lines: Sequence[str], duration_s: float, alphabet: Speller) -> Floats:
    """Returns where the aligner puts the words of lyrics without times."""
    found = align_plain(log_probs, lines, duration_s, alphabet)
    assert found is not None
    return np.array([word.start_s for word in found.words])


if __name__ == "__main__":
    main()
