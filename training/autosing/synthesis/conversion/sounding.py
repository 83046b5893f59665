"""Mels of any length to sound, by a vocoder, which works in pieces itself, or by Griffin-Lim in pieces."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from autosing.signal.errors import UsageError
from autosing.signal.griffin_lim import griffin_lim
from autosing.signal.mel import MelSpec
from autosing.signal.rows import Rows, Scaled
from autosing.synthesis.resynthesize import ByGriffinLim, ByVocoder, Series, Way

Wave = npt.NDArray[np.float32]

# 40 kB a frame is what Griffin-Lim takes: 100 MB a piece.
GRIFFIN_LIM_PIECE, GRIFFIN_LIM_OVERLAP = 2048, 24


def check_vocoder(way: Way, has_pitch: bool) -> None:
    """Checks that a way makes sound of a conversion model's mels.

    Raises:
        UsageError: it is a codec or a vocoder of tokens, or it wants a pitch that the model does not have.
    """
    if not isinstance(way, ByGriffinLim | ByVocoder) or "mel" not in way.columns:
        raise UsageError(
            "--vocoder: it makes no sound of mels; give what `autosing train vocoder` made, or griffin-lim"
        )
    if "f0_hz" in way.columns and not has_pitch:
        raise UsageError(
            "--vocoder: it is driven by F0, and the conversion model was trained without (pitch=none); give a vocoder "
            "without F0, or griffin-lim"
        )


def sound_of(way: Way, series: Mapping[str, Series]) -> Wave:
    """Returns the wave (F hop,) of a mel (F, M), with `f0_hz` and `voiced` where the way uses them."""
    return np.concatenate([np.zeros(0, np.float32), *sound_pieces(way, series)])


def sound_pieces(way: Way, series: Mapping[str, Series]) -> Iterator[Wave]:
    """Yields what `sound_of` returns piece by piece, of series that may lie on disk."""
    if isinstance(way, ByGriffinLim):
        return griffin_lim_pieces(series["mel"].values, way.spec, way.seed)
    assert isinstance(way, ByVocoder)
    return way.pieces({name: series[name] for name in way.columns})


def moved(pitch: Series, semitones: float) -> Series:
    """Returns a pitch in another key."""
    return replace(pitch, values=Scaled(pitch.values, 2 ** (semitones / 12)))


def griffin_lim_in_pieces(mel: Rows, spec: MelSpec, seed: int, piece: int = GRIFFIN_LIM_PIECE) -> Wave:
    """Returns the wave of a mel (F, M), in pieces that fade into each other.

    Phases of pieces have nothing to do with each other, so that what keeps the loudness is the sum of powers.
    """
    return np.concatenate([np.zeros(0, np.float32), *griffin_lim_pieces(mel, spec, seed, piece)])


def griffin_lim_pieces(mel: Rows, spec: MelSpec, seed: int, piece: int = GRIFFIN_LIM_PIECE) -> Iterator[Wave]:
    """Yields what `griffin_lim_in_pieces` returns, of a mel that may lie on disk."""
    # The end of a piece, to which the beginning of the next is added.
    held = np.zeros(0, np.float32)
    for first, last in pairwise(_borders(mel, piece)):
        seen_from, seen_to = max(first - GRIFFIN_LIM_OVERLAP, 0), min(last + GRIFFIN_LIM_OVERLAP, len(mel))
        made = griffin_lim(mel[seen_from:seen_to], spec, seed=seed)
        before, after = (first - seen_from) * spec.hop, (seen_to - last) * spec.hop
        made = made * _fades(len(made), before, after)
        made[: len(held)] += held
        kept = (last - GRIFFIN_LIM_OVERLAP if last < len(mel) else last) - seen_from
        yield made[: kept * spec.hop]
        held = made[kept * spec.hop :]


def _borders(mel: Rows, piece: int) -> list[int]:
    """Returns where pieces of about one size begin and end: inside, where it is quietest nearby, as in a breath."""
    nominal = np.linspace(0, len(mel), max(-(-len(mel) // piece), 1) + 1).round().astype(int)
    found = [0]
    for border in nominal[1:-1]:
        first = border - piece // 4
        level = np.convolve(mel[first : border + piece // 4].mean(1), np.ones(GRIFFIN_LIM_OVERLAP), mode="same")
        # Ends of the convolution see less than there is.
        inside = slice(GRIFFIN_LIM_OVERLAP // 2, -(GRIFFIN_LIM_OVERLAP // 2))
        found.append(int(first + inside.start + level[inside].argmin()) if len(level[inside]) else int(border))
    return [*found, len(mel)]


def _fades(n_samples: int, before: int, after: int) -> Wave:
    """Returns the weight of a piece's samples: it fades in about its first inner border, and out about its last.

    The middle half of an overlap fades, so that the mirrored ends of a piece are not heard.
    """
    weight = np.ones(n_samples, np.float32)
    for overlap, ends in ((before, weight), (after, weight[::-1])):
        if overlap:
            place = (np.arange(2 * overlap) - overlap + 0.5) / overlap
            rising = np.sin(np.pi / 4 * (1 + np.clip(2 * place, -1, 1)))
            ends[: 2 * overlap] *= rising[: len(ends)].astype(np.float32)
    return weight
