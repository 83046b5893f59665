"""How well tokens are predicted, and how a codebook is used.

Both are counted batch by batch and added: `sum(counts, start=TokenCounts())`. The ratios are taken once, of the sums,
so that every token weighs the same whatever the batches were.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.integer[Any]]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TokenCounts:
    """Sums over predicted tokens.

    Attributes:
        n_tokens: how many there were.
        n_correct: whose true token had the highest logit.
        n_top_k: whose true token was among the `top_k` highest.
        loss_nats: sum of the cross-entropies.
        top_k: which k was counted.

    Raises:
        ValueError: a ratio of no token is asked for, or counts of two k are added.
    """

    n_tokens: int = 0
    n_correct: int = 0
    n_top_k: int = 0
    loss_nats: float = 0.0
    top_k: int = 10

    def __add__(self, other: "TokenCounts") -> "TokenCounts":
        if self.top_k != other.top_k:
            raise ValueError(f"counts of the top {self.top_k} and the top {other.top_k} cannot be added")
        return TokenCounts(
            self.n_tokens + other.n_tokens,
            self.n_correct + other.n_correct,
            self.n_top_k + other.n_top_k,
            self.loss_nats + other.loss_nats,
            self.top_k,
        )

    @property
    def token_accuracy(self) -> float:
        """The share of tokens predicted right."""
        return self._per_token(self.n_correct)

    @property
    def top_k_accuracy(self) -> float:
        """The share of tokens that are among the k most likely."""
        return self._per_token(self.n_top_k)

    @property
    def bits_per_token(self) -> float:
        """The mean cross-entropy in bits."""
        return self._per_token(self.loss_nats) / math.log(2)

    @property
    def perplexity(self) -> float:
        """The exponential of the mean cross-entropy: as uncertain as between so many equally likely tokens."""
        with np.errstate(over="ignore"):
            return float(np.exp(np.float64(self._per_token(self.loss_nats))))

    def bits_per_second(self, rate: Fraction | float) -> float:
        """Returns the cross-entropy in bits per second of audio, at `rate` tokens per second over all codebooks."""
        return self.bits_per_token * float(rate)

    def _per_token(self, total: float) -> float:
        if not self.n_tokens:
            raise ValueError("no token was counted")
        return total / self.n_tokens


def count_tokens(
    logits: Logits, targets: Codes, valid: npt.NDArray[np.bool_] | None = None, top_k: int = 10
) -> TokenCounts:
    """Returns the counts of a batch; a tie with the true token counts against it, so equal logits predict nothing.

    Args:
        logits: (..., V), unnormalised.
        targets: (...), from 0 to V - 1.
        valid: (...), false where there is padding, whose target is not looked at.
        top_k: k of `top_k_accuracy`.

    Raises:
        ValueError: the shapes do not fit, or a target is outside the vocabulary.
    """
    valid = np.ones(targets.shape, bool) if valid is None else valid
    if logits.shape[:-1] != targets.shape or valid.shape != targets.shape:
        raise ValueError(
            f"logits of shape {logits.shape} do not fit targets of shape {targets.shape} and a mask of {valid.shape}"
        )
    scores, true = logits[valid].astype(np.float64), targets[valid]
    _require_codes(true, logits.shape[-1])
    own = np.take_along_axis(scores, true[:, None].astype(np.int64), axis=1)
    rank = np.count_nonzero(scores >= own, axis=1)
    # Relative to the true token, the sum in the softmax is at least 1 and its logarithm is the loss.
    highest = scores.max(1, initial=-np.inf, keepdims=True)
    losses = np.log(np.exp(scores - highest).sum(1)) + (highest - own)[:, 0]
    return TokenCounts(len(true), int((rank == 1).sum()), int((rank <= top_k).sum()), float(losses.sum()), top_k)


@dataclass(frozen=True, eq=False)
class CodebookUse:
    """How often each code was used; uses of several sequences are added.

    Attributes:
        counts: (V,) occurrences of each code.
        n_changes: neighbours in a sequence that differ.
        n_pairs: neighbours in a sequence.

    Raises:
        ValueError: shares of no code are asked for, or uses of two codebook sizes are added.
    """

    counts: Counts
    n_changes: int = 0
    n_pairs: int = 0

    @classmethod
    def of(cls, codes: Codes, n_codes: int) -> "CodebookUse":
        """Returns the use in one sequence (N,) of codes from 0 to `n_codes` - 1.

        Raises:
            ValueError: a code is outside the codebook, or the codes are no sequence.
        """
        if codes.ndim != 1:
            raise ValueError(f"codes have shape {codes.shape}; they must be one sequence (N,)")
        _require_codes(codes, n_codes)
        counts = np.bincount(codes.astype(np.int64), minlength=n_codes)
        return cls(counts, int(np.count_nonzero(codes[1:] != codes[:-1])), max(len(codes) - 1, 0))

    def __add__(self, other: "CodebookUse") -> "CodebookUse":
        if self.counts.shape != other.counts.shape:
            raise ValueError(f"uses of {len(self.counts)} and of {len(other.counts)} codes cannot be added")
        return CodebookUse(self.counts + other.counts, self.n_changes + other.n_changes, self.n_pairs + other.n_pairs)

    @property
    def share_used(self) -> float:
        """The share of the codebook that occurred at least once."""
        self._require_any()
        return float(np.count_nonzero(self.counts) / len(self.counts))

    @property
    def dead_codes(self) -> Counts:
        """The codes that never occurred."""
        return np.flatnonzero(self.counts == 0)

    @property
    def entropy_bits(self) -> float:
        """The entropy of the frequencies, at most log2 V: what a code costs without context."""
        self._require_any()
        share = self.counts[self.counts > 0] / self.counts.sum()
        return float((share * np.log2(1 / share)).sum())

    @property
    def change_rate(self) -> float:
        """The share of neighbours that differ; NaN where no sequence had two codes."""
        return self.n_changes / self.n_pairs if self.n_pairs else math.nan

    def _require_any(self) -> None:
        if not self.counts.any():
            raise ValueError("no code was counted")


def change_rate(codes: Codes) -> float:
    """Returns the share of neighbours in one sequence (N,) that differ; NaN where there are fewer than two codes."""
    return float(np.mean(codes[1:] != codes[:-1])) if len(codes) > 1 else math.nan


@dataclass(frozen=True)
class PhonePurity:
    """How well codes tell which phone is sung (HuBERT; Hsu et al., 2021).

    Attributes:
        phone_purity: the share of frames whose phone is the most frequent one of their code.
        code_purity: the share of frames whose code is the most frequent one of their phone; it falls as codes get more.
        pnmi: the share of the phones' entropy that codes take away, from 0 to 1.
    """

    phone_purity: float
    code_purity: float
    pnmi: float


def phone_purity(codes: Codes, phones: npt.NDArray[np.str_]) -> PhonePurity:
    """Returns how well codes (N,) tell the phones (N,) of the same frames.

    Raises:
        ValueError: the shapes differ, or there is no frame.
    """
    if codes.shape != phones.shape or codes.ndim != 1 or not len(codes):
        raise ValueError(f"codes of shape {codes.shape} do not fit phones of shape {phones.shape}")
    _, code_rows = np.unique(codes, return_inverse=True)
    _, phone_rows = np.unique(phones, return_inverse=True)
    joint = np.zeros((code_rows.max() + 1, phone_rows.max() + 1))
    np.add.at(joint, (code_rows, phone_rows), 1 / len(codes))
    of_codes, of_phones = joint.sum(1, keepdims=True), joint.sum(0, keepdims=True)
    entropy = float(-(of_phones * np.log(of_phones)).sum())
    seen = joint > 0
    shared = float((joint[seen] * np.log((joint / (of_codes * of_phones))[seen])).sum())
    return PhonePurity(float(joint.max(1).sum()), float(joint.max(0).sum()), shared / entropy if entropy else math.nan)


def _require_codes(codes: Codes, n_codes: int) -> None:
    if codes.size and not (codes.min() >= 0 and codes.max() < n_codes):
        raise ValueError(f"codes go from {codes.min()} to {codes.max()}; they must be from 0 to {n_codes - 1}")
