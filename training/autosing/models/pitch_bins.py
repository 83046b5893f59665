"""Pitch as a choice among bins, with the bins beside the right one half right, and back to a pitch."""

from dataclasses import dataclass

import torch
from torch import Tensor

CENTS_PER_OCTAVE = 1200.0


@dataclass(frozen=True)
class PitchBins:
    """Bins of equal width in cents, the first centred at `lowest_hz`.

    Attributes:
        lowest_hz: centre of the first bin.
        width_cents: from one centre to the next.
        n: how many.
        blur_cents: standard deviation of what counts as nearly right (Kim et al., 2018).
    """

    lowest_hz: float = 55.0
    width_cents: float = 20.0
    n: int = 270
    blur_cents: float = 25.0

    def bins(self, f0_hz: Tensor) -> Tensor:
        """Returns the place of a pitch in bins, a fraction; those beyond either end are at it."""
        cents = CENTS_PER_OCTAVE * torch.log2(f0_hz.clamp(min=1.0) / self.lowest_hz)
        return (cents / self.width_cents).clamp(0, self.n - 1)

    def soft_labels(self, f0_hz: Tensor) -> Tensor:
        """Returns the probability of each bin (..., N) for pitches (...)."""
        centres = torch.arange(self.n, device=f0_hz.device)
        off_cents = (centres - self.bins(f0_hz)[..., None]) * self.width_cents
        return torch.softmax(-0.5 * (off_cents / self.blur_cents).square(), dim=-1)

    def pitch_hz(self, logits: Tensor, around: int = 3) -> Tensor:
        """Returns the pitch (...) of logits (..., N): the mean over the likeliest bin and its neighbours."""
        best = logits.argmax(-1, keepdim=True)
        places = (best + torch.arange(-around, around + 1, device=logits.device)).clamp(0, self.n - 1)
        weights = torch.softmax(logits.gather(-1, places), dim=-1)
        mean = (weights * places).sum(-1)
        return self.lowest_hz * 2 ** (mean * self.width_cents / CENTS_PER_OCTAVE)
