"""What accompanies the tokens of a sample: its words, its backing, who sings and how fast."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.models.acoustic_input import pad_stack
from autosing.models.language_blocks import NOTHING
from autosing.models.lyric_tokens import LyricSpeller, LyricTokens, SungWord, words_of
from autosing.signal.errors import DataError
from autosing.signal.framing import centres_s
from autosing.training.manifest import Column
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


def backing_tokens(
    sample: Sample, columns: Mapping[str, Column], sizes: Sequence[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Returns the codes of all levels as one source and their times, `NOTHING` first; each level has rows of its own.

    Raises:
        DataError: a level has a code beyond its size.
    """
    tokens, times_s, first = [np.array([NOTHING], np.int64)], [np.zeros(1)], 1
    for (name, column), size in zip(columns.items(), sizes, strict=True):
        codes = sample.series[name].astype(np.int64)
        check_tokens(sample, name, codes, size, "n_backing_tokens")
        tokens.append(first + codes)
        times_s.append(centres_s(len(codes), column.rate or 1))  # type: ignore[arg-type]
        first += size
    return np.concatenate(tokens), np.concatenate(times_s).astype(np.float32)


def check_tokens(sample: Sample, name: str, tokens: Array, size: int, setting: str) -> None:
    """Raises DataError where a sample has no token, or one beyond a size."""
    if not len(tokens):
        raise DataError(f"sample {sample.key} has no {name}; build the set again")
    if tokens.max() >= size:
        raise DataError(
            f"sample {sample.key} has {name} {tokens.max()}, but {setting} is {size}; set it to how many there are"
        )


def side_by_side(name: str, found: Sequence[tuple[Array, Array]]) -> dict[str, Array]:
    """Returns the tokens of a source of several samples, their times and their counts, by the names of a model."""
    return {
        name: pad_stack([tokens for tokens, _ in found]),
        f"{name}_s": pad_stack([times_s for _, times_s in found]),
        f"{name}_counts": np.array([len(tokens) for tokens, _ in found], np.int64),
    }
