"""What a validation of T2S tells: beside a baseline, beside others' lyrics, and where attention goes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autosing.models.columns import Told
from autosing.training.bigrams import PRIORS, Bigrams
from autosing.training.metrics import TokenCounts
from autosing.training.task import Tensors
from autosing.training.tasks.language_losses import Others, counted_by_row
from autosing.training.tasks.t2s_losses import diagonality, has_text, token_mask

LOSS = "cross_entropy"


@dataclass
class Figures:
    """Sums over samples.

    Attributes:
        rate: tokens per second.
        width: of the diagonal.
        all: of all tokens.
        true: of tokens of samples with text, where there is another's.
        others: of the same with another's text.
        bigrams: cross-entropies by the token before, with each prior.
        near: attention near the diagonal, by head.
        n_sung_to: tokens of samples with text.
        sources: the texts of others.
    """

    rate: float
    width: float
    all: TokenCounts = field(default_factory=TokenCounts)
    true: TokenCounts = field(default_factory=TokenCounts)
    others: TokenCounts = field(default_factory=TokenCounts)
    bigrams: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(PRIORS)))
    near: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    n_sung_to: int = 0
    sources: Others = field(default_factory=lambda: Others("text"))

    def add(self, language: nn.Module, bigrams: Bigrams | None, batch: Tensors) -> None:
        """Counts a batch."""
        tokens_BN, mask_BN = batch["tokens"], token_mask(batch)
        told = language(batch, tokens_BN, watched=range(len(language.blocks)))  # type: ignore[arg-type]
        self.all += _counted(told, tokens_BN, mask_BN)
        near = [diagonality(one, batch, self.rate, self.width) for one in told.attention]
        self.near = self.near + torch.cat(near).double().cpu().numpy()
        sung_to_BN = mask_BN & has_text(batch)[:, None]
        self.n_sung_to += int(sung_to_BN.sum())
        if bigrams:
            self.bigrams = self.bigrams + bigrams.losses(tokens_BN, mask_BN).cpu().numpy()
        if (other := self.sources.of(batch)) is not None:
            self.true += _counted(told, tokens_BN, sung_to_BN)
            self.others += _counted(language(other, tokens_BN), tokens_BN, sung_to_BN)

    @property
    def metrics(self) -> Mapping[str, float]:
        """The figures by name; those of text are no number where no sample has one, or no other one's."""
        found = {
            LOSS: math.log(self.all.perplexity),
            "token_accuracy": self.all.token_accuracy,
            "perplexity": self.all.perplexity,
            "lyrics_gap": self.others.perplexity / self.true.perplexity if self.true.n_tokens else math.nan,
            "diagonality": float(self.near.max()) / self.n_sung_to if self.n_sung_to else math.nan,
        }
        if self.bigrams.any():
            found["bigram_perplexity"] = math.exp(float(self.bigrams.min()) / self.all.n_tokens)
        return found


def _counted(told: Told, tokens_BN: Tensor, mask_BN: Tensor) -> TokenCounts:
    (counts,) = counted_by_row(told, tokens_BN[..., None], mask_BN[..., None])
    return counts


def most_diagonal(language: nn.Module, batch: Tensors, rate: float, width: float) -> Tensor:
    """Returns the attention (N, L) of one sample to its text, by the head that goes nearest to the diagonal."""
    layers = range(len(language.blocks))  # type: ignore[arg-type]
    heads_HNL = torch.cat([one[0] for one in language(batch, batch["tokens"], watched=layers).attention])
    best = int(diagonality(heads_HNL[None], batch, rate, width).argmax())
    return heads_HNL[best]
