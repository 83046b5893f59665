"""Singing with language models: tokens of one stream, or the codes of all levels of a codec, exactly as many as asked.

Both are filled in by one engine (see `filling`).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autosing.models.codes_language import CodesLanguage
from autosing.models.filling import Filler
from autosing.models.language import TokenLanguage
from autosing.models.patterns import EMPTY
from autosing.models.sampling import Sampling
from autosing.signal.errors import UsageError

Tokens = npt.NDArray[np.uint16]
Known = npt.NDArray[np.integer[Any]]


class TokenGenerator:
    """Generates tokens with a model, on the device where it is.

    Args:
        model: in evaluation mode.
        compile: make graphs of steps (see `graphs`).
    """

    def __init__(self, model: TokenLanguage, compile: bool = False) -> None:
        self._model, self._filler = model, Filler(model, compile)

    def generate(
        self,
        inputs: Mapping[str, Tensor],
        counts: Sequence[int],
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        *,
        allowed: Tensor | None = None,
        begun: Sequence[Known] | None = None,
    ) -> list[Tokens]:
        """Returns exactly `counts` tokens of each sample; what they are does not depend on the others of the batch.

        Args:
            inputs: what accompanies the samples, as `ColumnLanguage` says, side by side.
            counts: tokens of each, as of `language.token_count`.
            seeds: of each.
            sampling: how tokens are chosen.
            allowed: (V,) or (B, V), false for tokens that must not be sung.
            begun: the first tokens of each, which are kept as they are, so that a song goes on where a window ended.

        Raises:
            UsageError: the samples are not as many as counts, seeds or beginnings, or no token is allowed.
        """
        size, n_tokens = _size(self._model, inputs), self._model.fields.n_tokens
        begun = begun or [np.zeros(0, np.int64)] * size
        _check_numbers(size, counts, seeds, begun)
        for count, first in zip(counts, begun, strict=True):
            _check_beginning(count, first, n_tokens)
        _check_allowed(allowed, size, n_tokens)
        cells_BN, fixed_BN = np.zeros((size, max(counts)), np.int64), np.zeros((size, max(counts)), bool)
        for row, first in enumerate(begun):
            cells_BN[row, : len(first)], fixed_BN[row, : len(first)] = first, True
        cells, fixed, places = _beside(inputs, cells_BN[..., None], fixed_BN[..., None], np.arange(max(counts)))
        times_s = self._model.times_s(places)
        forbidden = None if allowed is None else ~allowed.to(cells.device).reshape(-1, 1, n_tokens)
        found = self._filler.filled(inputs, cells, fixed, times_s, seeds, sampling or Sampling(), forbidden)
        tokens_BN = found[..., 0].cpu().numpy().astype(np.uint16)
        return [row[:count] for row, count in zip(tokens_BN, counts, strict=True)]


class CodesGenerator:
    """Generates the codes of all levels with a model, on the device where it is.

    Args:
        model: in evaluation mode.
        compile: make graphs of steps (see `graphs`).
        unrolled: with a column for each of the finest codes, so that none is chosen beside others of its column; of a
            model that was trained on both.
    """

    def __init__(self, model: CodesLanguage, compile: bool = False, unrolled: bool = False) -> None:
        self._model, self._filler = model, Filler(model, compile)
        self._pattern = model.pattern.unrolled() if unrolled else model.pattern

    def generate(
        self,
        inputs: Mapping[str, Tensor],
        counts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        sampling: Sampling | None = None,
        *,
        begun: Sequence[Sequence[Known]] | None = None,
    ) -> list[list[Tokens]]:
        """Returns exactly `counts` codes of each level of each sample, whatever the others of the batch are.

        Args:
            inputs: what accompanies the samples, as `ColumnLanguage` says, side by side.
            counts: of each level, coarse first, for each sample, as of `codes_language.code_counts`.
            seeds: of each sample.
            sampling: how codes are chosen; rules against repetition are of each row of the pattern by itself.
            begun: the first codes of each level, which are kept as they are, so that a song goes on where a window
                ended.

        Raises:
            UsageError: the samples are not as many as counts, seeds or beginnings, or these do not fit the levels.
        """
        size, sizes = _size(self._model, inputs), self._model.fields.sizes
        begun = begun or [[np.zeros(0, np.int64)] * len(sizes)] * size
        _check_numbers(size, counts, seeds, begun)
        for of_levels, first in zip(counts, begun, strict=True):
            _check_levels(of_levels, first, sizes)
        n = max(self._pattern.n_columns(of_levels) for of_levels in counts)
        laid = [self._known(of_levels, first, n) for of_levels, first in zip(counts, begun, strict=True)]
        cells_BNR, fixed_BNR = (np.stack(parts) for parts in zip(*laid, strict=True))
        times_s_N = self._pattern.times_s(n, self._model.fields.finest_rate).astype(np.float32)
        cells, fixed, times_s = _beside(inputs, cells_BNR, fixed_BNR, times_s_N)
        found = self._filler.filled(inputs, cells, fixed, times_s, seeds, sampling or Sampling())
        sung = zip(found.transpose(1, 2).cpu().numpy(), counts, strict=True)
        return [[one.astype(np.uint16) for one in self._pattern.taken(cells, of_levels)] for cells, of_levels in sung]

    def _known(
        self, counts: Sequence[int], begun: Sequence[Known], n: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Returns the cells (N, R) that are known before anything is sung, and which: those without a code, too."""
        cells_RN = np.full((len(self._pattern.rows), n), EMPTY, np.int64)
        wanted_RN = np.zeros(cells_RN.shape, bool)
        mask, first = self._pattern.mask(counts), self._pattern.laid_out(begun)
        wanted_RN[:, : mask.shape[1]] = mask
        cells_RN[:, : first.shape[1]] = first
        return cells_RN.T, (~wanted_RN | (cells_RN != EMPTY)).T


def _size(model: TokenLanguage | CodesLanguage, inputs: Mapping[str, Tensor]) -> int:
    return len(inputs[next(iter(model.fields.sources))])


def _beside(inputs: Mapping[str, Tensor], *arrays: npt.NDArray[Any]) -> list[Tensor]:
    """Returns arrays as tensors on the inputs' device."""
    device = next(iter(inputs.values())).device
    return [torch.from_numpy(array).to(device) for array in arrays]


def _check_numbers(size: int, counts: Sequence[Any], seeds: Sequence[int], begun: Sequence[Any]) -> None:
    if not size == len(counts) == len(seeds) == len(begun):
        raise UsageError(
            f"{size} samples are to be sung, but there are {len(counts)} counts, {len(seeds)} seeds and {len(begun)} "
            "beginnings; give one of each for every sample"
        )


def _check_levels(counts: Sequence[int], begun: Sequence[Known], sizes: Sequence[int]) -> None:
    if not len(counts) == len(begun) == len(sizes):
        raise UsageError(
            f"there are counts of {len(counts)} levels and beginnings of {len(begun)}, but the model has {len(sizes)}; "
            "give one of each for every level"
        )
    for count, first, n_tokens in zip(counts, begun, sizes, strict=True):
        _check_beginning(count, first, n_tokens)


def _check_beginning(count: int, first: Known, n_tokens: int) -> None:
    if count < 1:
        raise UsageError("a sample of no token is to be sung; leave it out, or give it more time")
    if len(first) > count or (len(first) and not 0 <= first.min() <= first.max() < n_tokens):
        raise UsageError(f"a beginning is longer than its song, or has tokens beyond 0 to {n_tokens - 1}")


def _check_allowed(allowed: Tensor | None, size: int, n_tokens: int) -> None:
    if allowed is None:
        return
    if allowed.shape not in ((n_tokens,), (size, n_tokens)) or not allowed.any(-1).all():
        raise UsageError(
            f"allowed has the shape {tuple(allowed.shape)} and must allow each sample some of {n_tokens} tokens; give "
            f"({n_tokens},) or ({size}, {n_tokens})"
        )
