"""What the lyrics aligner spells words with: broad phone classes, letters, or the phones of a lexicon.

An alphabet is a list of symbols, of which the first is the CTC blank, and a rule from words to symbols. A word that
has no symbol (digits, a script that cannot be romanised) is one `ANYTHING`, which the aligner takes for any sound.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from autosing.signal.english import LANGUAGE as ENGLISH
from autosing.signal.english import english_classes
from autosing.signal.errors import UsageError
from autosing.signal.spelling import SPELLING, Rules

Kind = Literal["classes", "letters", "lexicon"]
Labels = tuple[int, ...]

BLANK = 0
ANYTHING = -1
"""The label of a sound that the alphabet has no symbol for."""

CLASSES = ("", "A", "E", "I", "O", "U", "N", "L", "R", "P", "B", "S", "F")
"""Blank; open, e, i, o and u vowels; nasals, l, r; voiceless and voiced stops; sibilants; other fricatives.

A dozen classes tell enough of where a word is and hardly differ between languages, so a net that has learned them from
one language aligns another.
"""
LETTERS = ("", *"abcdefghijklmnopqrstuvwxyz", "'")
CLASS_OF_PHONE = {
    **dict.fromkeys(("aa", "ae", "ah", "ay"), "A"),
    **dict.fromkeys(("eh", "er", "ey"), "E"),
    **dict.fromkeys(("ih", "iy", "y"), "I"),
    **dict.fromkeys(("ao", "aw", "ow", "oy"), "O"),
    **dict.fromkeys(("uh", "uw", "w"), "U"),
    **dict.fromkeys(("m", "n", "ng"), "N"),
    **dict.fromkeys(("l",), "L"),
    **dict.fromkeys(("r",), "R"),
    **dict.fromkeys(("p", "t", "k"), "P"),
    **dict.fromkeys(("b", "d", "g"), "B"),
    **dict.fromkeys(("s", "z", "sh", "zh", "ch", "jh"), "S"),
    **dict.fromkeys(("f", "v", "th", "dh", "hh"), "F"),
}
"""The classes of ARPAbet's phones, diphthongs by their first part."""
UNKNOWN_WORD = "spn"
"""The phone of words that a lexicon lacks, as in Kaldi."""

LARGEST_LEXICON_BYTES = 64 << 20

_DIGRAPHS = [
    (re.compile(pattern), symbols)
    for pattern, symbols in [
        (r"tsch|sch|tch|sh|ch|ts|tz|dz|dj|dg", "S"),
        (r"th|ph", "F"),
        (r"ck|q", "P"),
        (r"(?<=[aeiou])gh(?=t|$)", ""),
        (r"n[gk]", "N"),
        (r"ee|ea|ie|ey", "I"),
        (r"oo|ou|ow(?![aeiouyAEIOU])", "U"),
        (r"ai|ay|ei", "E"),
        (r"eau|au|aw(?![aeiouyAEIOU])", "O"),
        (r"(?<=[aeiouAEIOU])h(?![aeiouyAEIOU])", ""),
    ]
]
_CLASS_OF_LETTER = str.maketrans(
    dict.fromkeys("a", "A")
    | dict.fromkeys("e", "E")
    | dict.fromkeys("iyj", "I")
    | dict.fromkeys("o", "O")
    | dict.fromkeys("uw", "U")
    | dict.fromkeys("mn", "N")
    | dict.fromkeys("l", "L")
    | dict.fromkeys("r", "R")
    | dict.fromkeys("ptkc", "P")
    | dict.fromkeys("bdg", "B")
    | dict.fromkeys("szx", "S")
    | dict.fromkeys("fvh", "F")
)
_FINAL_E = re.compile(r"(?<=[AEIOU])([^AEIOU]+)ES?$")


class Speller(Protocol):
    """What spells words for a net; its first symbol is the blank."""

    @property
    def symbols(self) -> Sequence[str]:
        """What labels stand for."""

    def labels(self, word: str) -> Labels:
        """Returns the labels of a word as it is sung, at least one."""


@dataclass(frozen=True)
class Alphabet:
    """Symbols and how words are spelled with them.

    Attributes:
        kind: `classes`, `letters` or `lexicon`.
        symbols: what labels stand for, the blank first.
        pronunciations: of a lexicon: the symbols of each word in lower case.
        language: ISO 639-1 code of the words, for classes: some languages have rules of their own, and English a
            dictionary.
    """

    kind: Kind
    symbols: Sequence[str]
    pronunciations: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    language: str = ""

    def in_language(self, code: str | None) -> "Alphabet":
        """Returns the alphabet for words of a language, by its ISO 639-1 code; None is any."""
        return replace(self, language=code or "")

    def labels(self, word: str) -> Labels:
        """Returns the labels of a word as it is sung, at least one; the same never stands twice in a row."""
        place = {symbol: n for n, symbol in enumerate(self.symbols)}
        found = [place[symbol] for symbol in self._spelled(word) if symbol in place]
        return tuple(label for n, label in enumerate(found) if not n or found[n - 1] != label) or (ANYTHING,)

    def _spelled(self, word: str) -> Sequence[str]:
        if self.kind == "lexicon":
            return self.pronunciations.get(word.lower(), (UNKNOWN_WORD,))
        return class_letters(word, self.language) if self.kind == "classes" else romanised(word)


def alphabet(kind: Kind, lexicon: str = "") -> Alphabet:
    """Returns an alphabet by kind.

    Args:
        kind: `classes`, `letters`, or `lexicon` for the phones of a pronunciation dictionary.
        lexicon: its path: lines of a word and its phones, separated by blanks, as of CMUdict and MFA; the first
            pronunciation of a word counts, and stress digits do not.

    Raises:
        UsageError: no lexicon is given, or it is none.
    """
    if kind != "lexicon":
        return Alphabet(kind, CLASSES if kind == "classes" else LETTERS)
    words = _read_lexicon(Path(lexicon))
    phones = sorted({phone for spelled in words.values() for phone in spelled} - {UNKNOWN_WORD})
    return Alphabet(kind, ("", *phones, UNKNOWN_WORD), words)


def class_letters(word: str, language: str = "") -> str:
    """Returns the classes of a word's sounds by its spelling.

    Args:
        word: in any script.
        language: ISO 639-1 code, for English's dictionary and the rules of `spelling.SPELLING`; words of others, and
            those that the dictionary lacks, have the rules that most European languages share.
    """
    if language in SPELLING:
        return _by_rules(word, SPELLING[language])
    plain = romanised(word)
    if language == ENGLISH and (known := english_classes(plain)):
        return known
    plain = plain.replace("'", "")
    for digraph, symbols in _DIGRAPHS:
        plain = digraph.sub(symbols, plain)
    # An e at the end is mute in English and French; where it is sung, the vowel before lasts until the next word.
    return _FINAL_E.sub(r"\1", plain.translate(_CLASS_OF_LETTER))


def _by_rules(word: str, rules: Rules) -> str:
    plain = re.sub("['’]", "", unicodedata.normalize("NFC", word.lower()))
    for pattern, sounds in rules:
        plain = pattern.sub(sounds, plain)
    return "".join(c if c.isupper() else romanised(c) for c in plain).translate(_CLASS_OF_LETTER)


def class_of_phone(phone: str) -> str:
    """Returns the class of a phone by its ARPAbet name, or by its letters (Japanese); "" where it has none."""
    return CLASS_OF_PHONE.get(phone.lower()) or class_letters(phone.lower())[:1]


def romanised(word: str) -> str:
    """Returns a word in the letters a to z, without accents; scripts other than Latin by the sound of their signs."""
    decomposed = unicodedata.normalize("NFKD", word.lower())
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    if not plain.isascii():
        from anyascii import anyascii

        plain = anyascii(plain).lower()
    return "".join(c for c in plain if "a" <= c <= "z" or c == "'")


def _read_lexicon(path: Path) -> dict[str, tuple[str, ...]]:
    if not path.is_file():
        raise UsageError(f"the lexicon {str(path)!r} does not exist; give a file with a word and its phones per line")
    if path.stat().st_size > LARGEST_LEXICON_BYTES:
        raise UsageError(f"the lexicon {path} has more than {LARGEST_LEXICON_BYTES >> 20} MB; give a smaller one")
    words: dict[str, tuple[str, ...]] = {}
    for row in path.read_text(encoding="utf-8", errors="replace").splitlines():
        word, *phones = row.split()[: 1 + 64] or [";"]
        if phones and not word.startswith((";", "#")):
            words.setdefault(re.sub(r"\(\d+\)$", "", word.lower()), tuple(p.rstrip("0123456789") for p in phones))
    if not words:
        raise UsageError(f"the lexicon {path} has no line of a word and its phones")
    return words
