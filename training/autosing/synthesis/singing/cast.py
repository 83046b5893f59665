"""Who sings, as each model is told it: by rows of its table, by vectors, or not at all."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autosing.models.columns import ColumnLanguage
from autosing.models.language_blocks import NOBODY
from autosing.signal.decode import Audio
from autosing.signal.errors import UsageError
from autosing.synthesis.conversion.singers import Moment, Singing, parse_singing
from autosing.synthesis.conversion.voices import EMBEDDING, Features, Voices
from autosing.synthesis.singing.trio import SINGER, Named

Array = npt.NDArray[Any]

NOBODY_SINGS = Singing((Moment(0.0, {}),))


class Ear:
    """What one model knows of singers.

    Args:
        model: with a table of singers, with vectors, or with neither.
        features: computes the columns of its contract; None where it needs none.
        reference: returns the recording that a name stands for; None where it stands for none.
    """

    def __init__(self, model: Named, features: Features | None, reference: Callable[[str], Audio | None]) -> None:
        network = model.loaded.model
        assert isinstance(network, ColumnLanguage)
        self._name, self._network, self._singers = model.name, network, model.singers
        self._voices = Voices(features, reference, None) if features is not None else None
        table = network.singers
        # Behind the rows that were trained may be mixtures of another song.
        n_trained = network.fields.conditions.get(SINGER, 0)
        self._table = table.weight[:n_trained].detach().clone() if isinstance(table, nn.Embedding) else None

    @property
    def has_table(self) -> bool:
        """Whether singers are known by name."""
        return SINGER in self._network.fields.conditions

    @property
    def has_vectors(self) -> bool:
        """Whether voices are known by recordings."""
        return EMBEDDING in self._network.fields.vectors

    def parsed(self, text: str) -> Singing:
        """Returns who sings, as people write it; see `conversion.singers`.

        Raises:
            UsageError: somebody is not known.
        """
        if self.has_vectors:
            known = "the model knows voices by recordings: give the path of one that is there"
            return parse_singing(text, self._knows, known)
        names = ", ".join(self._singers)
        told = f"known: {names}; it sings like a recording only where it was trained with singer=embedding"
        return parse_singing(text, self._knows, told)

    def told(self, singing: Singing, times_s: npt.NDArray[np.float64]) -> dict[str, Tensor]:
        """Returns the model's input for windows, by their middles: rows (W,), vectors (W, E), or none.

        Mixtures of a table's singers are rows that are added to it for as long as no others are asked for.
        """
        names = singing.names
        weights_WN = singing.weights(times_s) if names else np.zeros((len(times_s), 0), np.float32)
        if self.has_vectors:
            return {EMBEDDING: torch.from_numpy(weights_WN @ self._vectors(names))}
        if self._table is None:
            return {}
        weights_WS = np.zeros((len(times_s), len(self._table)), np.float32)
        for name, column in zip(names, weights_WN.T, strict=True):
            row = NOBODY + 1 + self._singers.index(name) if name in self._singers else NOBODY
            weights_WS[:, row] += column
        if not names:
            weights_WS[:, NOBODY] = 1
        return {SINGER: self._rows(torch.from_numpy(weights_WS))}

    def _knows(self, name: str) -> bool:
        return name in self._voices if self.has_vectors and self._voices else name in self._singers

    def _vectors(self, names: tuple[str, ...]) -> Array:
        width = self._network.fields.vectors[EMBEDDING]
        known = [self._voices[n].embedding if self._voices and n in self._voices else np.zeros(width) for n in names]
        return np.stack(known).astype(np.float32) if known else np.zeros((0, width), np.float32)

    def _rows(self, weights_WS: Tensor) -> Tensor:
        assert self._table is not None
        weights_WS = weights_WS.to(self._table.device)
        if bool((weights_WS.amax(1) == 1).all()):
            return weights_WS.argmax(1)
        mixed = weights_WS.to(self._table.dtype) @ self._table
        self._network.conditions[SINGER] = nn.Embedding.from_pretrained(torch.cat([self._table, mixed]))  # type: ignore[no-untyped-call]
        return len(self._table) + torch.arange(len(mixed), device=mixed.device)


def who_sings(text: str | None, t2s: Ear, sm2a: Ear, reference: str | None) -> tuple[Singing, tuple[str, ...]]:
    """Returns who sings, and what is to be said of it; the model that makes the sound decides who is known.

    Args:
        text: as people write it; None takes the voice of the reference.
        t2s: of the model from lyrics to tokens.
        sm2a: of the model from tokens to codes.
        reference: the name that its voice has; None without one.

    Raises:
        UsageError: somebody is not known, or nobody can be asked for.
    """
    decides = sm2a if sm2a.has_table or sm2a.has_vectors else t2s
    if not (decides.has_table or decides.has_vectors):
        if text is not None:
            raise UsageError("--singer: the models were trained without singers, so that none can be asked for")
        return NOBODY_SINGS, ()
    if text is not None:
        return decides.parsed(text), ()
    if reference is not None and decides.has_vectors:
        return decides.parsed(reference), ()
    return NOBODY_SINGS, ("nobody in particular sings; --singer says who, --list-singers whom the models know",)
