"""A semantic bottleneck: features of a speech encoder to one token of 40 ms, after WhisperSpeech's quantiser.

Features are pooled by the time that they share with a token, go through a residual network and a codebook of
directions in few dimensions, and are told again, with the text where it is known. Four things are done otherwise than
in the released code. No code stands for padding, so none can be returned for a sound; what lies behind a sample's end
takes no part in anything. The encoder's features are a column, so its weights are in no model, and the length of a
recording is not that of its window. What is told again are the features and broad phones, not what a decoder of the
same family says. And the codebook begins as clusters of directions that the features have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autosing.models.acoustic import ConvBlocks, Size, at_frames, frame_mask, zero_linear
from autosing.models.layer_mix import check_features
from autosing.models.mel_scale import MelScale
from autosing.models.pieces import pieces
from autosing.models.principal import principal_components
from autosing.models.quantiser import Quantiser
from autosing.signal.errors import UsageError
from autosing.signal.pooling import pool

Features = npt.NDArray[np.floating[Any]]
Floats = npt.NDArray[np.float32]

PIECE_TOKENS = 1500
# A column of tokens has 16 bits.
MOST_TOKENS = 1 << 16
# Vectors for each code that the codebook begins with; k-means has them all in memory.
VECTORS_PER_CODE = 16


@dataclass(frozen=True)
class SemanticFields:
    """What a bottleneck is built from.

    Attributes:
        rate: of the features, as a fraction.
        feature_dim: their width.
        token_rate: tokens per second, as a fraction.
        n_tokens: how many different ones there are.
        code_dim: width of the codes.
        dead_below: a code that has fewer tokens of a batch, on average, is put on one that the batch has.
        symbols: that the text is told in, the CTC blank first; none tells no text.
        dim: width of all layers.
        context_layers: before the codes.
        layers: after them.
    """

    rate: str
    feature_dim: int
    token_rate: str
    n_tokens: int
    code_dim: int
    dead_below: float
    symbols: Sequence[str]
    dim: int
    context_layers: int
    layers: int

    def __post_init__(self) -> None:
        if not 2 <= self.n_tokens <= MOST_TOKENS:
            raise UsageError(f"n_tokens is {self.n_tokens}; it must be from 2 to {MOST_TOKENS}")
        if Fraction(self.token_rate) > Fraction(self.rate):
            raise UsageError(f"{self.token_rate} tokens a second of features at {self.rate} Hz; give at most as many")


SEMANTIC_SIZES: Mapping[Size, tuple[int, int]] = {"tiny": (128, 4), "small": (384, 6), "base": (768, 8)}
"""Width and layers after the codes."""


@dataclass(frozen=True)
class Told:
    """What a bottleneck makes of features.

    Attributes:
        tokens: (B, N), -1 behind a sample's end.
        features: (B, F, D), of mean 0 and spread 1, as they are told from the tokens.
        text: (B, F, V), log probabilities of the symbols; None of a model that tells none.
        off: how far codes are from what they stand for, on average over the tokens of a batch; 0 in evaluation.
    """

    tokens: Tensor
    features: Tensor
    text: Tensor | None
    off: Tensor


class Semantic(nn.Module):
    """Pooled features (B, N, D) to tokens, and those to features (B, F, D) and text.

    Inputs are `pooled`, `unit_frames` (the N of each sample), `frames` (the F), and `left` and `share`, which say where
    these lie among the tokens (`acoustic_input.neighbours`).
    """

    fields_type: ClassVar = SemanticFields

    def __init__(self, fields: SemanticFields) -> None:
        super().__init__()
        self.fields, dim = fields, fields.dim
        self.scale = MelScale(fields.feature_dim)
        self.first = nn.Linear(fields.feature_dim, dim)
        self.context = ConvBlocks(dim, fields.context_layers, dropout=0.0)
        self.residual = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), zero_linear(4 * dim, dim))
        self.quantiser = Quantiser(dim, fields.code_dim, fields.n_tokens, cosine=True, dead_below=fields.dead_below)
        # What the codes themselves say of the features, and what is told beside it by what lies around.
        self.direct = nn.Linear(dim, fields.feature_dim)
        self.blocks = ConvBlocks(dim, fields.layers, dropout=0.0)
        self.last = nn.LayerNorm(dim)
        self.to_features = zero_linear(dim, fields.feature_dim)
        self.to_text = nn.Linear(dim, len(fields.symbols)) if fields.symbols else None

    @property
    def context_tokens(self) -> int:
        """Tokens' lengths on either side that a token depends on."""
        return self.context.context_frames

    @torch.no_grad()
    def begin_with(self, features: Sequence[Features]) -> None:
        """Makes the bottleneck begin as clusters of directions of the principal components of features (F, D)."""
        self.scale.measure(np.concatenate([one.astype(np.float32) for one in features]))
        pooled = torch.from_numpy(np.concatenate([pooled_features(self.fields, one) for one in features]))
        normal_ND = self.scale.normal(pooled)
        kept = torch.from_numpy(principal_components(normal_ND.numpy(), self.fields.dim))
        self.first.weight.copy_(kept)
        self.direct.weight.copy_(kept.T)
        for linear in (self.first, self.direct):
            linear.bias.zero_()
        for block in self.context.blocks:
            layer: Any = block
            nn.init.zeros_(layer.back.weight)
            nn.init.zeros_(layer.back.bias)
        self.quantiser.begin_as_first_dimensions()
        most = min(VECTORS_PER_CODE * self.fields.n_tokens, len(normal_ND))
        self.quantiser.begin_on(self.first(normal_ND[torch.linspace(0, len(normal_ND) - 1, most).long()]))

    def forward(self, inputs: Mapping[str, Tensor]) -> Told:
        """Returns tokens, and what they tell of the frames."""
        near_BND, tokens_BN, off = self.quantised(inputs["pooled"], inputs["unit_frames"])
        features_BFD, text_BFV = self.told_of(near_BND, inputs)
        return Told(tokens_BN, features_BFD, text_BFV, off)

    def quantised(self, pooled_BND: Tensor, counts_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns vectors (B, N, dim) of the codes, the codes (B, N), and how far they are off; of `counts_B` each."""
        mask_BN1 = frame_mask(counts_B, pooled_BND[..., 0])
        x_BND = self.context(self.first(self.scale.normal(pooled_BND)) * mask_BN1, mask_BN1)
        x_BND = x_BND + self.residual(x_BND)
        near_BND, tokens_BN, off = self.quantiser(x_BND, mask_BN1[..., 0] > 0)
        return near_BND, tokens_BN, off

    def of_tokens(self, tokens_BN: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Returns what tokens (B, N) tell; see `told_of`."""
        return self.told_of(self.quantiser.of_codes(tokens_BN.clamp(min=0)), inputs)

    def told_of(self, near_BND: Tensor, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Returns features (B, F, D) and log probabilities of symbols (B, F, V) that vectors (B, N, dim) tell."""
        x_BFD = at_frames(near_BND, inputs)
        hidden_BFD = self.last(self.blocks(x_BFD, frame_mask(inputs["frames"], inputs["left"])))
        features_BFD = self.direct(x_BFD) + self.to_features(hidden_BFD)
        text_BFV = self.to_text(hidden_BFD).float().log_softmax(-1) if self.to_text else None
        return features_BFD, text_BFV


def token_count(fields: SemanticFields, n_frames: int) -> int:
    """Returns how many tokens last as long as `n_frames` frames of the features, half rounded up; at least one."""
    return max(int(n_frames * Fraction(fields.token_rate) / Fraction(fields.rate) + Fraction(1, 2)), 1)


def pooled_features(fields: SemanticFields, features: Features, n_tokens: int = 0) -> Floats:
    """Returns the means (N, D) of features (F, D) over each token's time, of as many tokens as there are or are told.

    Raises:
        RowError: there are no features.
    """
    n_tokens = n_tokens or token_count(fields, len(features))
    return pool(features, Fraction(fields.rate), n_tokens, Fraction(fields.token_rate))


@torch.inference_mode()
def tokens_of(model: Semantic, features: Features, n_tokens: int) -> npt.NDArray[np.uint16]:
    """Returns the tokens (N,) of the features (F, D) of a song, in pieces that are what the whole would be.

    Raises:
        RowError: the features are of another width, or there are none for a song that lasts a token.
    """
    check_features(features.shape, model.fields.feature_dim)
    if not n_tokens:
        return np.zeros(0, np.uint16)
    pooled, device = pooled_features(model.fields, features, n_tokens), next(model.parameters()).device
    found = []
    for first, last, seen_from, seen_to in pieces(n_tokens, PIECE_TOKENS, model.context_tokens):
        part = torch.from_numpy(pooled[seen_from:seen_to])[None].to(device)
        _, tokens_1N, _ = model.quantised(part, torch.tensor([seen_to - seen_from], device=device))
        found.append(tokens_1N[0, first - seen_from : last - seen_from].cpu().numpy())
    return np.concatenate(found).astype(np.uint16)
