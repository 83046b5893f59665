"""The language of lyrics, by py3langid, whose model is in its wheel."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from autosing.signal.lyrics import split_words

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

LONGEST_WORDS = 2000
LEAST_LETTERS = 3


class Language(NamedTuple):
    """An ISO 639-1 code and its probability."""

    code: str
    probability: float


def load_identifier() -> "LanguageIdentifier":
    """Returns what `language` asks."""
    from py3langid import langid

    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def language(lines: Iterable[str], identifier: "LanguageIdentifier") -> Language | None:
    """Returns the language of lyrics by the words that are sung in them; None of fewer than three letters."""
    words = [word for line in lines for word in split_words(line)][:LONGEST_WORDS]
    if sum(map(len, words)) < LEAST_LETTERS:
        return None
    return Language(*identifier.classify(" ".join(words)))
