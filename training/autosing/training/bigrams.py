"""What the token before alone tells of the next one: the baseline that a language model of tokens has to beat."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

# Its table grows with their square.
MOST_TOKENS = 4096
# Of how many tokens' worth the frequencies of single tokens count beside those of pairs.
PRIORS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


class Bigrams(nn.Module):
    """Counts of pairs of tokens, as a part of what is trained: states of a run keep it, model directories do not."""

    def __init__(self, n_tokens: int) -> None:
        super().__init__()
        self.register_buffer("counts", torch.zeros(n_tokens + 1, n_tokens, dtype=torch.int32))
        self.counts: Tensor

    def count(self, sequences: Iterable[npt.NDArray[np.integer]]) -> None:
        """Counts the pairs of sequences (N,); a sequence begins with a token of its own."""
        n_tokens = self.counts.shape[1]
        total = np.zeros(self.counts.shape, np.int32)
        for tokens in sequences:
            known = tokens.astype(np.int64)
            np.add.at(total, (np.concatenate([[n_tokens], known[:-1]]), known), 1)
        self.counts.copy_(torch.from_numpy(total))

    def losses(self, tokens_BN: Tensor, mask_BN: Tensor) -> Tensor:
        """Returns the cross-entropy in nats, summed, with each of `PRIORS`; of sums, the least is the baseline.

        The prior that suits the held-out songs best is what the baseline is given, and the model is not.
        """
        n_tokens = self.counts.shape[1]
        before_BN = nn.functional.pad(tokens_BN, (1, -1), value=n_tokens)
        pairs = self.counts[before_BN, tokens_BN][mask_BN].double()
        seen = self.counts.sum(1)[before_BN][mask_BN].double()
        single = (self.counts.sum(0).double() + 1) / (self.counts.sum() + n_tokens)
        alone = single[tokens_BN][mask_BN]
        return torch.stack([-((pairs + prior * alone) / (seen + prior)).log().sum() for prior in PRIORS])
