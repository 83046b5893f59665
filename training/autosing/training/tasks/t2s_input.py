"""The words of a sample, and the tokens that they are spelled with."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from autosing.models.lyric_tokens import LyricSpeller, LyricTokens, SungWord, words_of
from autosing.signal.errors import DataError
from autosing.training.sample import Sample

Array = npt.NDArray[Any]
LANGUAGE = "language"


def sung_words(sample: Sample) -> list[SungWord]:
    """Returns the words of a sample: those that are sung inside it, where the set holds words with times.

    Raises:
        DataError: it is a crop, and only the text of the whole is known.
    """
    words = sample.info.get("words")
    if words is not None:
        return [SungWord(w["text"], w.get("line") or 0, w["start_s"], w["end_s"]) for w in words if w["text"]]
    if "crop_s" in sample.info and "words" not in sample.info:
        raise DataError(
            f"sample {sample.key} is a crop, whose text is not known without its words' times; build the set with "
            "`words: true`, or set crop_s=0"
        )
    return words_of(sample.info.get("text") or "")


def spelled_text(sample: Sample, words: Sequence[SungWord], speller: LyricSpeller) -> LyricTokens:
    """Returns the tokens of a sample's words.

    Raises:
        DataError: times of words are wanted, and it has none.
    """
    language = sample.info.get("values", {}).get(LANGUAGE)
    try:
        return speller.spell(words, float(sample.info["seconds"]), language)
    except ValueError as error:
        raise DataError(
            f"sample {sample.key}: {error}; build the set with `words: true`, or set text_times=even"
        ) from error
