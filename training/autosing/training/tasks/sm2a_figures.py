"""What a validation of SM2A tells: level by level, beside a baseline, and with others' semantic tokens."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from autosing.models.patterns import EMPTY
from autosing.training.metrics import TokenCounts
from autosing.training.task import Tensors
from autosing.training.tasks.language_losses import Others, counted_by_row
from autosing.training.unigrams import Unigrams

LOSS, SEMANTIC = "cross_entropy", "semantic"


@dataclass
class Figures:
    """Sums over samples.

    Attributes:
        level_of: the level of each row of the pattern.
        levels: of the codes of each level.
        common: how many of these are the most frequent one of training.
        true: of all codes of samples for which there are another's tokens.
        others: of the same with another's semantic tokens.
        sources: the tokens of others.
    """

    level_of: Sequence[int]
    levels: list[TokenCounts] = field(init=False)
    common: list[int] = field(init=False)
    true: TokenCounts = field(default_factory=TokenCounts)
    others: TokenCounts = field(default_factory=TokenCounts)
    sources: Others = field(default_factory=lambda: Others(SEMANTIC))

    def __post_init__(self) -> None:
        n_levels = 1 + max(self.level_of)
        self.levels, self.common = [TokenCounts()] * n_levels, [0] * n_levels

    def add(self, language: nn.Module, unigrams: Unigrams, batch: Tensors) -> None:
        """Counts a batch."""
        cells_BNR, times_s = batch["cells"], batch["columns_s"]
        mask_BNR = cells_BNR != EMPTY
        of_rows = counted_by_row(language(batch, cells_BNR, times_s), cells_BNR, mask_BNR)
        for row, (level, counts) in enumerate(zip(self.level_of, of_rows, strict=True)):
            self.levels[level] += counts
            self.common[level] += unigrams.n_correct(level, cells_BNR[..., row][mask_BNR[..., row]])
        if (other := self.sources.of(batch)) is not None:
            self.true += sum(of_rows, start=TokenCounts())
            others = language(other, cells_BNR, times_s)
            self.others += sum(counted_by_row(others, cells_BNR, mask_BNR), start=TokenCounts())

    @property
    def metrics(self) -> Mapping[str, float]:
        """The figures by name, those of a level with its number; the gap is no number of a single sample."""
        total = sum(self.levels, start=TokenCounts())
        found = {
            LOSS: math.log(total.perplexity),
            "token_accuracy": total.token_accuracy,
            "perplexity": total.perplexity,
            "unigram_accuracy": sum(self.common) / total.n_tokens,
            "semantic_gap": self.others.perplexity / self.true.perplexity if self.true.n_tokens else math.nan,
        }
        for level, (counts, common) in enumerate(zip(self.levels, self.common, strict=True)):
            found[f"token_accuracy_{level}"] = counts.token_accuracy
            found[f"perplexity_{level}"] = counts.perplexity
            found[f"unigram_accuracy_{level}"] = common / counts.n_tokens
        return found


def likelihoods(logits_NRV: Tensor, cells_NR: Tensor) -> Tensor:
    """Returns how likely each true code was (N, R); no number where a cell holds none."""
    share_NR = logits_NRV.float().softmax(-1).gather(-1, cells_NR.clamp(min=0)[..., None])[..., 0]
    return torch.where(cells_NR == EMPTY, torch.nan, share_NR)
