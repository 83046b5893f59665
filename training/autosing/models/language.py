"""A language model of tokens that are sung: what comes next, given text, backing, singer and pace (see `columns`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import torch
from torch import Tensor

from autosing.models.columns import COLUMNS, ColumnFields, ColumnLanguage, Tensors, Told
from autosing.signal.errors import UsageError
from autosing.signal.framing import frames

LanguageSize = Literal["tiny", "small", "medium", "large"]


@dataclass(frozen=True, kw_only=True)
class LanguageFields(ColumnFields):
    """What a language model of tokens is built from, beside what all are.

    Attributes:
        n_tokens: V, how many different tokens there are.
        rate: tokens per second, as a fraction.
    """

    n_tokens: int
    rate: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_tokens < 2:
            raise UsageError(f"n_tokens is {self.n_tokens}; it must be at least 2")


LANGUAGE_SIZES: Mapping[LanguageSize, tuple[int, int, int]] = {
    "tiny": (128, 4, 2),
    "small": (768, 10, 4),
    "medium": (1024, 16, 6),
    "large": (1536, 28, 8),
}
"""Width, layers of the decoder and layers of an encoder; with one source 2, 126, 350 and 1 290 million parameters."""


class TokenLanguage(ColumnLanguage):
    """Predicts tokens (B, N) one by one, which are columns of one cell."""

    fields_type: ClassVar = LanguageFields
    fields: LanguageFields

    def __init__(self, fields: LanguageFields) -> None:
        super().__init__(fields, [fields.n_tokens])
        # Here, since a compiler does not follow a fraction.
        self.tokens_per_s = float(Fraction(fields.rate))

    def forward(self, inputs: Tensors, tokens_BN: Tensor, watched: Sequence[int] = (), source: str = "text") -> Told:
        """Returns what is predicted of each token from the true ones before it; see `columns`."""
        places = torch.arange(tokens_BN.shape[1], device=tokens_BN.device)
        times_s = inputs["columns_s"] if COLUMNS in inputs else self.times_s(places)[None]
        told = self.columns(inputs, tokens_BN[..., None], times_s, watched, source)
        return Told(told.states, told.attention, lambda states: self.read(states)[..., 0, :])

    def times_s(self, places: Tensor) -> Tensor:
        """Returns the centres of tokens in seconds, by their numbers."""
        return (places.float() + 0.5) / self.tokens_per_s


def token_count(fields: LanguageFields, seconds: float) -> int:
    """Returns how many tokens last `seconds`, to the millisecond, half a token rounded up."""
    return frames(round(seconds * 1000), 1000, Fraction(fields.rate))
