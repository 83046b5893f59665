"""Lyrics as text: LRC files with line and word stamps, and the words that are sung in a line.

A stamp is `[mm:ss]`, `[mm:ss.f]` with a fraction of any length after `.`, `,` or `:`, or `[hh:mm:ss.f]`; three
numbers without a further fraction are minutes, seconds and a fraction, as LRC writers mean them. Word stamps
(`<mm:ss.xx>`, "enhanced LRC") may also stand in square brackets inside a line.
"""

import re
import unicodedata
from dataclasses import dataclass, replace

_TIME = r"\s*(?:([0-9]{1,2}):(?=[0-9]+:[0-9]+[.:,]))?([0-9]{1,4}):([0-9]{1,2})(?:[.:,]([0-9]{1,6}))?\s*"
_LINE_STAMP = re.compile(rf"\s*\[{_TIME}\]")
_WORD_STAMP = re.compile(rf"[<\[]{_TIME}[>\]]")
_TAG = re.compile(r"\[\s*([^\W\d]\w*)\s*:(.*)\]")
_OFFSET_MS = re.compile(r"[+-]?[0-9]{1,9}")

_NOT_SUNG = re.compile(
    r"\[[^\]]*\]|\(\s*(?:x\s*\d+|\d+\s*x)\s*\)|(?<!\S)(?:x\d+|\d+x)(?!\S)|\.{2,}|-{2,}", re.IGNORECASE
)
_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u00b4\u0060\uff07"), "'") | {ord("\u00d7"): "x"}
_CONNECTORS = "'-.&\u200c\u200d"
_IDEOGRAMS = re.compile(
    "[\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True)
class LrcWord:
    """A stamped word, or stamped words; an empty text marks the end of the word before."""

    start_s: float
    text: str


@dataclass(frozen=True)
class LrcLine:
    """A stamped line; an empty text marks the end of the line before.

    `words` is None without word stamps; else their times never go back and none is before the line.
    """

    start_s: float
    text: str
    words: tuple[LrcWord, ...] | None = None


@dataclass(frozen=True)
class Lrc:
    """The lines of an LRC text in order of time, `offset_s` already subtracted, and its id tags in lower case."""

    lines: tuple[LrcLine, ...]
    tags: dict[str, str]
    offset_s: float
    ignored_rows: int = 0


def parse_lrc(text: str) -> Lrc:
    """Returns the stamped lines and tags of an LRC text; any text parses, and one without stamps has no lines.

    A row with several stamps gives a line for each. Equal stamps keep their order. `[offset:+ms]` makes the lyrics
    appear earlier; no time becomes negative. Rows that are neither stamped, a tag nor blank are counted in
    `ignored_rows`.
    """
    lines: list[LrcLine] = []
    tags: dict[str, str] = {}
    ignored = 0
    for row in text.lstrip("\ufeff").splitlines():
        if stamped := _stamped_lines(row):
            lines += stamped
        elif tag := _TAG.fullmatch(row.strip()):
            tags[tag[1].lower()] = tag[2].strip()
        else:
            ignored += bool(row.strip())
    offset = _OFFSET_MS.fullmatch(tags.get("offset", ""))
    offset_s = int(offset[0]) / 1000 if offset else 0.0
    shifted = (_shifted(line, -offset_s) for line in lines)
    return Lrc(tuple(sorted(shifted, key=lambda line: line.start_s)), tags, offset_s, ignored)


def _stamped_lines(row: str) -> list[LrcLine]:
    """Returns a line for each stamp `row` begins with; word stamps belong to the first and move with the others."""
    starts: list[float] = []
    end = 0
    while stamp := _LINE_STAMP.match(row, end):
        starts.append(_seconds(stamp))
        end = stamp.end()
    if not starts:
        return []
    pieces = _pieces(row[end:], starts[0])
    text = " ".join("".join(piece for _, piece in pieces).split())
    line = LrcLine(starts[0], text, _words(pieces) if text and len(pieces) > 1 else None)
    return [_shifted(line, start_s - starts[0]) for start_s in starts]


def _pieces(body: str, start_s: float) -> list[tuple[float, str]]:
    """Returns the text before the first word stamp and after each one, with times that never go back."""
    pieces = [(start_s, "")]
    end = 0
    for stamp in _WORD_STAMP.finditer(body):
        pieces[-1] = (pieces[-1][0], body[end : stamp.start()])
        pieces.append((max(_seconds(stamp), pieces[-1][0]), ""))
        end = stamp.end()
    pieces[-1] = (pieces[-1][0], body[end:])
    return pieces


def _words(pieces: list[tuple[float, str]]) -> tuple[LrcWord, ...]:
    """Returns stamped words; syllables of one word that have stamps of their own are joined."""
    words: list[LrcWord] = []
    glued = False
    for start_s, piece in pieces if pieces[0][1].strip() else pieces[1:]:
        text = " ".join(piece.split())
        if glued and text and not piece[0].isspace() and not _IDEOGRAMS.match(text):
            words[-1] = replace(words[-1], text=words[-1].text + text)
        else:
            words.append(LrcWord(start_s, text))
        glued = bool(text) and not piece[-1].isspace()
    return tuple(words)


def _seconds(stamp: re.Match[str]) -> float:
    hours, minutes, seconds, fraction = stamp.groups(default="0")
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction) / 10.0 ** len(fraction)


def _shifted(line: LrcLine, by_s: float) -> LrcLine:
    """Returns `line` moved by `by_s`, not before 0."""
    words = line.words and tuple(replace(word, start_s=max(word.start_s + by_s, 0.0)) for word in line.words)
    return replace(line, start_s=max(line.start_s + by_s, 0.0), words=words)


def plain_lines(lrc_lyrics: str | None, raw_lyrics: str | None) -> list[str]:
    """Returns the lines of a song's lyrics without times: the stamped ones where they have words, else the plain."""
    stamped = [line.text for line in parse_lrc(lrc_lyrics or "").lines]
    if any(map(split_words, stamped)):
        return stamped
    return (raw_lyrics or "").splitlines() or stamped or (lrc_lyrics or "").splitlines()


def split_words(line: str) -> list[str]:
    """Returns the words of a line as they are sung; any text is accepted.

    Section tags (`[Chorus]`), repeat marks (`(x2)`) and tokens of mere punctuation are dropped, punctuation around
    words is cut, apostrophes and inner hyphens stay. Han characters and kana are words of their own; other scripts
    without spaces (Thai) stay whole.
    """
    text = unicodedata.normalize("NFKC", line.translate(_APOSTROPHES))
    text = "".join(c if _is_in_words(c) else " " for c in _NOT_SUNG.sub(" ", text))
    words = (token.strip("-.&") for token in _IDEOGRAMS.sub(r" \g<0> ", text).split())
    return [word for word in words if any(c.isalnum() for c in word)]


def _is_in_words(character: str) -> bool:
    return character.isalnum() or character in _CONNECTORS or unicodedata.category(character).startswith("M")
