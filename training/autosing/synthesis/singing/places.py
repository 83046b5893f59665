"""How long a song is, and when each of its words is sung: by what is known of lines, and a rule for the rest."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autosing.models.lyric_tokens import FASTEST_PER_S, SungWord
from autosing.signal.errors import UsageError
from autosing.signal.lyrics import LrcLine, split_words
from autosing.signal.word_times import place_words, weight
from autosing.synthesis.singing.lyrics import Line, Lyrics

# Characters of words a second over whole songs, pauses included: lyrics without times or length are sung at it.
PACE_PER_S = 7.0
# Nobody takes longer over a line, however long it is until the next one: characters a second, and a last note.
SLOWEST_PER_S, HELD_S = 2.5, 1.0
# Behind the last line.
TAIL_S = 0.5
SHORTEST_S, LONGEST_S = 0.5, 3600.0


@dataclass(frozen=True)
class Placed:
    """The words of a song with their times, and what is to be said of them."""

    words: tuple[SungWord, ...]
    warnings: tuple[str, ...] = ()


def song_length_ms(
    lyrics: Lyrics, wanted_s: float | None, given_s: float | None = None, pace: float = PACE_PER_S
) -> int:
    """Returns how long a song is: as is wanted, as long as what it is sung to, or as lyrics take.

    Args:
        lyrics: with times or without.
        wanted_s: None where nothing is wanted.
        given_s: of what it is sung to; None where there is nothing.
        pace: characters a second, for lines without times.

    Raises:
        UsageError: it is too short or too long, or nobody can sing so fast.
    """
    if not 0 < pace < float("inf"):
        raise UsageError(f"--pace is {pace:g}; give characters a second, {PACE_PER_S:g} is usual")
    told_s = wanted_s if wanted_s is not None else given_s
    seconds = _length_s(lyrics, pace) if told_s is None else told_s
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise UsageError(
            f"the song would be {seconds:.2f} s long ({len(lyrics.lines)} lines); give --length from {SHORTEST_S:g} to "
            f"{LONGEST_S:g} s, or other lyrics: long ones can be sung in parts"
        )
    if not lyrics.has_times and lyrics.n_characters / seconds > FASTEST_PER_S:
        raise UsageError(
            f"{lyrics.n_characters} characters in {seconds:g} s are {lyrics.n_characters / seconds:.0f} a second, more "
            f"than the {FASTEST_PER_S:g} that are ever sung; at {pace:g} they take {_length_s(lyrics, pace):.0f} s"
        )
    return round(seconds * 1000)


def place(lyrics: Lyrics, length_s: float) -> Placed:
    """Returns when each word is sung; lines without times share the time between those that have some by their words.

    Args:
        lyrics: in the order in which they are sung.
        length_s: of the song.

    Raises:
        UsageError: all lines begin after its end.
    """
    starts_s = _starts_s(lyrics.lines, length_s)
    inside = [(line, start_s) for line, start_s in zip(lyrics.lines, starts_s, strict=True) if start_s < length_s]
    if not inside:
        raise UsageError(
            f"all lyrics begin after the end of the song ({length_s:g} s), the first at {starts_s[0]:g} s; give a "
            "longer --length, or the LRC of this song"
        )
    stamped, owners = _stamped(inside)
    words = [
        SungWord(word.text, owners[word.line], word.start_s, word.end_s) for word in place_words(stamped, length_s)
    ]
    beyond = len(lyrics.lines) - len(inside)
    told = f"lines that begin after the end of the song ({length_s:g} s) are left out: {beyond}"
    return Placed(tuple(words), (told,) if beyond else ())


def _length_s(lyrics: Lyrics, pace: float) -> float:
    """Returns how long lyrics take by their times, and from the last one on by the pace."""
    since = [n for n, line in enumerate(lyrics.lines) if line.start_s is not None]
    last = lyrics.lines[since[-1]] if since else None
    rest = lyrics.lines[since[-1] if since else 0 :]
    start_s = (last.start_s or 0.0) if last else 0.0
    sung_s = sum(line.n_characters for line in rest) / pace
    ended_s = last.end_s - start_s if last is not None and last.end_s is not None and len(rest) == 1 else sung_s
    return start_s + ended_s + TAIL_S


def _starts_s(lines: Sequence[Line], length_s: float) -> list[float]:
    """Returns when lines begin; those without times in proportion to the weight of what is sung between known ones."""
    weights = [sum(map(weight, split_words(line.text))) for line in lines]
    before = np.concatenate([[0.0], np.cumsum(weights)])
    known = [(before[n], line.start_s) for n, line in enumerate(lines) if line.start_s is not None]
    # What is sung before the first known line, and after the last, has the rest of the song.
    ends = [(0.0, 0.0)] if not known or known[0][0] > 0 else []
    last = [(before[-1], max(length_s, known[-1][1] if known else 0.0))]
    at, times_s = zip(*[*ends, *known, *last], strict=True)
    return [float(start_s) for start_s in np.interp(before[:-1], at, times_s)]


def _stamped(lines: Sequence[tuple[Line, float]]) -> tuple[list[LrcLine], list[int]]:
    """Returns lines as LRC has them, their ends as stamps without text, and the number of the line of each."""
    stamped, owners = list[LrcLine](), list[int]()
    for number, (line, start_s) in enumerate(lines):
        stamped.append(LrcLine(start_s, line.text, line.words))
        next_s = lines[number + 1][1] if number + 1 < len(lines) else float("inf")
        slowest_s = start_s + line.n_characters / SLOWEST_PER_S + HELD_S
        end_s = line.end_s if line.end_s is not None else float("inf") if line.words else slowest_s
        if end_s < next_s:
            stamped.append(LrcLine(end_s, ""))
        owners += [number] * (len(stamped) - len(owners))
    return stamped, owners
