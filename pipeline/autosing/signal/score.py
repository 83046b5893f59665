"""Scores to sing: pseudo-words with a regular spelling, melodies, when each phone sounds, and an accompaniment.

The spelling is a rule: `pronounce` gives the phones of any word of the alphabet, so a model can learn it from songs.
"""

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

VOWELS = {"a": "aa", "e": "eh", "i": "iy", "o": "ao", "u": "uw", "ae": "ae", "eu": "er", "ou": "ah"}
CONSONANTS = {letter: letter for letter in (*"bdfgklmnprstvwyz", "ng", "sh", "ch")} | {"h": "hh", "j": "jh"}
SILENCE = "sil"
_PHONES = VOWELS | CONSONANTS
_LETTERS = re.compile("|".join(sorted(_PHONES, key=len, reverse=True)))
_CODAS = tuple("nmlstkr")

_LENGTH_MS = {
    "b": 70, "d": 60, "g": 70, "p": 95, "t": 90, "k": 95, "ch": 125, "jh": 95, "f": 100, "s": 110, "sh": 110, "hh": 65,
    "v": 65, "z": 85, "m": 75, "n": 70, "ng": 80, "l": 65, "r": 65, "w": 60, "y": 60,
}  # fmt: skip
_CONSONANT_SHARE = 0.55  # of the time from one vowel to the next, at most

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)

Wave = npt.NDArray[np.float32]
Interval = tuple[float, float, str]


class Syllable(NamedTuple):
    """The letters of a syllable and its phones, of which one is a vowel."""

    text: str
    phones: tuple[str, ...]


@dataclass(frozen=True)
class Note:
    """A sung syllable: `start_s` is where its vowel begins, as singers time it; its first consonants come before."""

    start_s: float
    end_s: float
    midi: int
    syllable: Syllable
    word: int
    line: int


@dataclass(frozen=True)
class Score:
    """Notes in order of time with the words and lines (texts) they index, and the key: `tonic` 0 to 11 and `scale`."""

    notes: tuple[Note, ...]
    words: tuple[str, ...]
    lines: tuple[str, ...]
    tempo_bpm: float
    tonic: int
    scale: tuple[int, ...]
    duration_s: float


@dataclass(frozen=True)
class Timeline:
    """When things sound: `phones` tile the whole duration, silences included; `notes` are (start, end, midi, text)."""

    phones: list[Interval]
    words: list[Interval]
    lines: list[Interval]
    notes: list[tuple[float, float, int, str]]


class _LineNote(NamedTuple):
    syllable: Syllable
    word: int
    midi: int
    beats: float


class _Line(NamedTuple):
    words: tuple[str, ...]
    notes: tuple[_LineNote, ...]
    rest_beats: float


def pronounce(word: str) -> tuple[Syllable, ...]:
    """Returns the syllables of a word; of the consonants between two vowels the last opens the second syllable.

    Raises ValueError where letters are not of the alphabet or there is no vowel.
    """
    letters: list[str] = _LETTERS.findall(word)
    vowels = [n for n, letter in enumerate(letters) if letter in VOWELS]
    if "".join(letters) != word or not vowels:
        raise ValueError(f"{word!r} cannot be pronounced: it needs a vowel and only {' '.join(_PHONES)}")
    borders = [0, *(n - (letters[n - 1] in CONSONANTS) for n in vowels[1:]), len(letters)]
    parts = [letters[start:end] for start, end in itertools.pairwise(borders)]
    return tuple(Syllable("".join(part), tuple(_PHONES[letter] for letter in part)) for part in parts)


@functools.lru_cache(maxsize=16)
def lexicon(n_words: int = 300, seed: int = 0) -> tuple[str, ...]:
    """Returns different pronounceable pseudo-words of one to three syllables."""
    rng = np.random.default_rng(seed)
    words: dict[str, None] = {}
    while len(words) < n_words:
        syllables = rng.choice([1, 2, 3], p=[0.5, 0.38, 0.12])
        words["".join(_random_syllable(rng) for _ in range(syllables))] = None
    return tuple(words)


def _random_syllable(rng: np.random.Generator) -> str:
    coda = rng.choice(_CODAS) if rng.random() < 0.35 else ""
    return f"{rng.choice(list(CONSONANTS))}{rng.choice([*VOWELS, *'aeiou'])}{coda}"


def compose(seed: int, duration_s: float, lowest_midi: int = 57, highest_midi: int = 72, words_seed: int = 0) -> Score:
    """Returns a song of verses and a repeated chorus: lines of 3 to 7 words sung to a random walk in a scale.

    Songs of one `words_seed` are written in the same words. As many whole lines are sung as fit into `duration_s`; the
    first is shortened where it would not fit.
    """
    rng = np.random.default_rng(seed)
    beat_s = 60 / rng.uniform(88, 152)
    tonic, scale = int(rng.integers(12)), MAJOR if rng.random() < 0.6 else MINOR
    pitches = [midi for midi in range(lowest_midi, highest_midi + 1) if (midi - tonic) % 12 in scale]
    notes: list[Note] = []
    words: list[str] = []
    texts: list[str] = []
    beat = float(np.clip(duration_s // 8, 2, 8))
    for line in _sections(rng, pitches, lexicon(seed=words_seed)):
        line = line if texts else _shortened(line, (duration_s - 0.2) / beat_s - beat)
        length = sum(note.beats for note in line.notes)
        if not line.notes or (beat + length) * beat_s + 0.2 > duration_s:
            break
        notes += _timed(line, beat * beat_s, beat_s, len(words), len(texts), rng)
        words += line.words
        texts.append(" ".join(line.words))
        beat = float(np.ceil(beat + length + line.rest_beats))
    return Score(tuple(notes), tuple(words), tuple(texts), 60 / beat_s, tonic, scale, duration_s)


def _sections(rng: np.random.Generator, pitches: Sequence[int], vocabulary: Sequence[str]) -> Iterator[_Line]:
    """Yields lines without end: verses of new lines, each followed by the chorus and a longer pause."""
    chorus = [_write_line(rng, vocabulary, pitches) for _ in range(rng.integers(2, 4))]
    while True:
        verse = [_write_line(rng, vocabulary, pitches) for _ in range(rng.integers(2, 5))]
        for section in (verse, chorus):
            yield from section[:-1]
            yield section[-1]._replace(rest_beats=section[-1].rest_beats + rng.choice([2, 4, 8]))


def _write_line(rng: np.random.Generator, vocabulary: Sequence[str], pitches: Sequence[int]) -> _Line:
    frequency = 1 / (np.arange(len(vocabulary)) + 5)
    words = tuple(rng.choice(vocabulary, rng.integers(3, 8), p=frequency / frequency.sum()).tolist())
    sung = [(syllable, n) for n, word in enumerate(words) for syllable in pronounce(word)]
    beats = [*rng.choice([0.5, 1.0, 1.5], len(sung) - 1, p=[0.7, 0.25, 0.05]), rng.choice([1.5, 2.0])]
    melody = _melody(rng, len(sung), pitches)
    notes = (_LineNote(*pair, midi, float(b)) for pair, midi, b in zip(sung, melody, beats, strict=True))
    return _Line(words, tuple(notes), float(rng.choice([0.5, 1, 1, 2, 4])))


def _melody(rng: np.random.Generator, n_notes: int, pitches: Sequence[int]) -> list[int]:
    """Returns a random walk over `pitches`, reflected at both ends."""
    steps = rng.choice([-3, -2, -1, 0, 1, 2, 3], n_notes, p=[0.06, 0.12, 0.27, 0.1, 0.27, 0.12, 0.06])
    walk = len(pitches) // 2 + np.cumsum(steps)
    top = max(len(pitches) - 1, 1)
    return [pitches[top - abs(place % (2 * top) - top)] for place in walk.tolist()]


def _shortened(line: _Line, beats: float) -> _Line:
    """Returns the line without the last words that would not end within `beats`."""
    while line.notes and sum(note.beats for note in line.notes) > beats:
        words = line.words[:-1]
        line = line._replace(words=words, notes=tuple(note for note in line.notes if note.word < len(words)))
    return line


def _timed(
    line: _Line, start_s: float, beat_s: float, first_word: int, index: int, rng: np.random.Generator
) -> Iterator[Note]:
    """Yields the line's notes, each a little off the beat as people sing and lasting until the next one."""
    edges = start_s + beat_s * np.cumsum([0.0, *(note.beats for note in line.notes)])
    edges[:-1] += rng.normal(0, 0.012, len(edges) - 1).clip(-0.03, 0.03)
    for note, (note_start_s, end_s) in zip(line.notes, itertools.pairwise(edges.tolist()), strict=True):
        yield Note(note_start_s, end_s, note.midi, note.syllable, first_word + note.word, index)


def timeline(score: Score) -> Timeline:
    """Returns when the phones, words, lines and notes of a score sound; it is the same for every singer.

    Vowels begin with their notes. The consonants up to the next vowel take the end of the note, shortened where
    they would leave the vowel less than 45 % of it.
    """
    sung = list(_sung_phones(score))
    syllables = _spans(sung, range(len(score.notes)), [note.syllable.text for note in score.notes])
    return Timeline(
        phones=_with_silences([(phone.start_s, phone.end_s, phone.name) for phone in sung], score.duration_s),
        words=_spans(sung, [note.word for note in score.notes], score.words),
        lines=_spans(sung, [note.line for note in score.notes], score.lines),
        notes=[(n.start_s, end_s, n.midi, text) for n, (_, end_s, text) in zip(score.notes, syllables, strict=True)],
    )


class _SungPhone(NamedTuple):
    start_s: float
    end_s: float
    name: str
    note: int


def _sung_phones(score: Score) -> Iterator[_SungPhone]:
    """Yields the phones of every note in order of time."""
    line = -1
    for n, (note, after) in enumerate(itertools.zip_longest(score.notes, score.notes[1:])):
        onset, vowel, coda = _parts(note.syllable)
        if note.line != line:
            yield from _ending_at(note.start_s, [(phone, n) for phone in onset], np.inf)
        line = note.line
        rest = [(phone, n) for phone in coda]
        if after and after.line == line:
            rest += [(phone, n + 1) for phone in _parts(after.syllable)[0]]
        consonants = list(_ending_at(note.end_s, rest, _CONSONANT_SHARE * (note.end_s - note.start_s)))
        yield _SungPhone(note.start_s, consonants[0].start_s if consonants else note.end_s, vowel, n)
        yield from consonants


def _parts(syllable: Syllable) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Returns the consonants before the vowel, the vowel, and the consonants after it."""
    place = next(n for n, phone in enumerate(syllable.phones) if phone in VOWELS.values())
    return syllable.phones[:place], syllable.phones[place], syllable.phones[place + 1 :]


def _ending_at(end_s: float, phones: Sequence[tuple[str, int]], longest_s: float) -> Iterator[_SungPhone]:
    """Yields consonants up to `end_s`, of their usual lengths or shortened to last `longest_s`."""
    edges = np.cumsum([0.0, *(_LENGTH_MS[phone] / 1000 for phone, _ in phones)])
    edges = end_s + (edges - edges[-1]) * min(1.0, longest_s / max(edges[-1], 1e-9))
    for (phone, note), (start_s, stop_s) in zip(phones, itertools.pairwise(edges.tolist()), strict=True):
        yield _SungPhone(start_s, stop_s, phone, note)


def _spans(sung: Sequence[_SungPhone], owners: Sequence[int], texts: Sequence[str]) -> list[Interval]:
    """Returns when each word, line or note sounds, `owners` being its number for each note and `texts` its text."""
    groups = itertools.groupby(sung, lambda phone: owners[phone.note])
    members = [(owner, list(phones)) for owner, phones in groups]
    return [(phones[0].start_s, phones[-1].end_s, texts[owner]) for owner, phones in members]


def _with_silences(phones: Sequence[Interval], duration_s: float) -> list[Interval]:
    tiled: list[Interval] = []
    end_s = 0.0
    for phone in [*phones, (duration_s, duration_s, SILENCE)]:
        if phone[0] > end_s:
            tiled.append((end_s, phone[0], SILENCE))
        tiled.append(phone)
        end_s = phone[1]
    return tiled[:-1]


def lrc_text(lines: Sequence[Interval], title: str = "") -> str:
    """Returns the LRC text of timed lines: a `[ti:]` tag where there is a title, and a stamp in 10 ms for each."""
    rows = [f"[ti:{title}]"] if title else []
    for start_s, _, text in lines:
        minutes, centiseconds = divmod(int(start_s * 100), 6000)
        rows.append(f"[{minutes:02}:{centiseconds // 100:02}.{centiseconds % 100:02}]{text}")
    return "".join(f"{row}\n" for row in rows)


def accompaniment(score: Score, sample_rate: int = 24000, seed: int = 0) -> Wave:
    """Returns chords, bass and percussion (T,) in the key and tempo of a score, at no particular level.

    `seed` draws the order of the four chords, the sound of the instruments and how loud the drums are.
    """
    rng = np.random.default_rng(seed)
    beat_s = 60 / score.tempo_bpm
    degrees = rng.permutation([0, 3, 4, 5])
    kick, snare, hat = _drums(rng, sample_rate)
    fading = rng.uniform(0.4, 3)
    tone = functools.cache(lambda midi: _tone(midi, fading, sample_rate))
    n_samples = round(score.duration_s * sample_rate)
    wave = np.zeros(n_samples + 2 * sample_rate)
    for beat in range(int(score.duration_s / beat_s) + 1):
        chord = [degrees[beat // 4 % 4] + step for step in (0, 2, 4)]
        midi = [36 + score.tonic + score.scale[degree % 7] + 12 * (degree // 7) for degree in chord]
        on_beat = [kick, 2 * tone(midi[0]), *(tone(pitch + 24) for pitch in midi)]
        start = round(beat * beat_s * sample_rate)
        for sound in [hat, *(on_beat if beat % 2 == 0 else [snare])]:
            wave[start : start + len(sound)] += sound
    return wave[:n_samples].astype(np.float32)


def _tone(midi: int, fading: float, sample_rate: int) -> npt.NDArray[np.float64]:
    """Returns 1.5 s of a plucked string: eight harmonics, the higher ones fading sooner."""
    times_s = np.arange(int(1.5 * sample_rate)) / sample_rate
    hz = 440 * 2 ** ((midi - 69) / 12)
    wave = np.zeros(len(times_s))
    for harmonic in range(1, 9):
        wave += np.sin(2 * np.pi * harmonic * hz * times_s) * np.exp(-fading * harmonic * times_s) / harmonic
    wave *= np.minimum(times_s / 0.005, (1.5 - times_s) / 0.1).clip(0, 1)
    return wave


def _drums(rng: np.random.Generator, sample_rate: int) -> list[npt.NDArray[np.float64]]:
    """Returns the sounds of a kick, a snare and a hi-hat."""
    times_s = np.arange(int(0.4 * sample_rate)) / sample_rate
    hiss = rng.standard_normal(len(times_s))
    kick = np.sin(2 * np.pi * (50 * times_s - 4 * np.exp(-25 * times_s))) * np.exp(-9 * times_s)
    snare = (hiss + np.sin(2 * np.pi * 190 * times_s)) * np.exp(-20 * times_s)
    hat = np.diff(hiss, 2, prepend=[0, 0]) * np.exp(-60 * times_s)
    level = rng.uniform(0, 2)
    return [level * kick, 0.5 * level * snare, 0.1 * level * hat]
