"""How long a song is, and when each of its words is sung: by what is known of lines, and a rule for the rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

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
# A line or two with less time than they take are hurried through; lyrics that lack more at one place have wrong times.
MOST_LACKING_S = 10.0


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
        UsageError: all lines begin after its end, or nobody can sing as fast as their times are.
    """
    points = _points(lyrics.lines, length_s)
    starts_s = _starts_s(lyrics.lines, points)
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
    told = [f"lines that begin after the end of the song ({length_s:g} s) are left out: {beyond}"] if beyond else []
    shared = sum(line.start_s is not None and start_s > line.start_s for line, start_s in inside)
    told += [f"lines with the time of the one before them are sung behind it: {shared}"] if shared else []
    # Without any times, the length of the song was looked at.
    hurried = _hurried(lyrics.lines, points, length_s) if lyrics.has_times else ()
    return Placed(tuple(words), (*told, *hurried))


def _length_s(lyrics: Lyrics, pace: float) -> float:
    """Returns how long lyrics take by their times, and from the last one on by the pace."""
    begun_s, known_s, rest = 0.0, 0.0, lyrics.lines
    for n, line in enumerate(lyrics.lines):
        if line.start_s is not None and line.start_s > begun_s:
            begun_s, known_s, rest = line.start_s, line.start_s, lyrics.lines[n:]
        if line.end_s is not None:
            known_s, rest = line.end_s, lyrics.lines[n + 1 :]
    return known_s + sum(line.n_characters for line in rest) / pace + TAIL_S


def _points(lines: Sequence[Line], length_s: float) -> list[tuple[int, float]]:
    """Returns what is known of when lines begin: their numbers and times in seconds, both never decreasing.

    Where one ends, the next begins, unless that has a time of its own. The last is the end of the song.
    """
    limits_s = [length_s]
    for line in reversed(lines[1:]):
        limits_s.append(limits_s[-1] if line.start_s is None else line.start_s)
    points = [(0, 0.0)] if lines[0].start_s is None else []
    for n, (line, limit_s) in enumerate(zip(lines, reversed(limits_s), strict=True)):
        if line.start_s is not None and (not points or line.start_s > points[-1][1]):
            points.append((n, line.start_s))
        if line.end_s is not None and points[-1][1] < line.end_s < limit_s:
            points.append((n + 1, line.end_s))
    return [*points, (len(lines), max(length_s, points[-1][1]))]


def _starts_s(lines: Sequence[Line], points: Sequence[tuple[int, float]]) -> list[float]:
    """Returns when lines begin; between what is known in proportion to the weight of what is sung."""
    weights = [sum(map(weight, split_words(line.text))) for line in lines]
    before = np.concatenate([[0.0], np.cumsum(weights)])
    starts_s = np.zeros(len(lines))
    for (first, first_s), (last, last_s) in pairwise(points):
        shares = (before[first:last] - before[first]) / max(before[last] - before[first], 1e-9)
        starts_s[first:last] = first_s + (last_s - first_s) * shares
    return [float(start_s) for start_s in starts_s]


def _hurried(lines: Sequence[Line], points: Sequence[tuple[int, float]], length_s: float) -> tuple[str, ...]:
    """Returns what is to be said of lines that have less time than it takes to sing them.

    Raises:
        UsageError: they lack more than can be hurried through.
    """
    found = []
    for (first, first_s), (last, last_s) in pairwise(points):
        n_characters = sum(line.n_characters for line in lines[first:last])
        lacking_s = n_characters / FASTEST_PER_S - (last_s - first_s)
        if lacking_s <= 0 or first_s >= length_s:
            continue
        where = f"line {first + 1} ({lines[first].text[:40]}) at {first_s:g} s"
        if lacking_s > MOST_LACKING_S:
            raise UsageError(
                f"--lyrics, {where}: {last - first} lines of {n_characters} characters have {last_s - first_s:g} s, "
                f"which are more than the {FASTEST_PER_S:g} a second that are ever sung; give each line its time, or "
                "all of them none, as plain text"
            )
        found.append(where)
    return (f"lyrics have less time than it takes to sing them in {len(found)} places: {found[0]}",) if found else ()


def _stamped(lines: Sequence[tuple[Line, float]]) -> tuple[list[LrcLine], list[int]]:
    """Returns lines as LRC has them, their ends as stamps without text, and the number of the line of each."""
    stamped, owners = list[LrcLine](), list[int]()
    for number, (line, start_s) in enumerate(lines):
        # Stamps of words are those of a line that begins where it says.
        words = line.words if line.start_s == start_s else None
        stamped.append(LrcLine(start_s, line.text, words))
        next_s = lines[number + 1][1] if number + 1 < len(lines) else float("inf")
        slowest_s = start_s + line.n_characters / SLOWEST_PER_S + HELD_S
        end_s = line.end_s if line.end_s is not None else float("inf") if words else slowest_s
        if end_s < next_s:
            stamped.append(LrcLine(end_s, ""))
        owners += [number] * (len(stamped) - len(owners))
    return stamped, owners
