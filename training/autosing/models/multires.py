"""Tokens of several resolutions from the features of a speech encoder, after SingOMD (Tang et al., 2024).

Layers are weighted, and a way down and up between resolutions is learned by resynthesis. Two things are done otherwise
than in the released code. Convolutions over time bring features from one resolution to the next, where it dropped every
other frame and put zeros between (kernels of 1). And each resolution is quantised on the way up, the coarsest first, so
that a finer stream tells what the coarser ones have left, rather than all of it again. Without quantisers the features
themselves may be clustered, as SingOMD does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autosing.models.acoustic import ConvBlock, ConvBlocks, Size, at_frames, frame_mask
from autosing.models.frame_decoder import Decoded, FrameDecoder
from autosing.models.layer_mix import LayerMix, check_features, layer_width
from autosing.models.mel_scale import MelScale
from autosing.models.principal import principal_components
from autosing.models.quantiser import Quantiser
from autosing.signal.errors import RowError, UsageError
from autosing.signal.framing import common_period
from autosing.signal.mel import MelSpec

Features = npt.NDArray[np.floating[Any]]

LAYERS = 2  # of convolutions at each resolution, on either way


@dataclass(frozen=True)
class MultiResolutionFields:
    """What an adapter is built from.

    Attributes:
        mel: the `MelSpec` that is resynthesised, as a mapping.
        rate: of the features, as a fraction.
        feature_dim: their width, all layers together.
        n_layers: how many layers of an encoder lie side by side in them.
        resolutions_ms: of the streams, fine first: that of the features, and each a multiple of the one before.
        n_tokens: of each stream; 0 does not quantise.
        code_dim: width of the codes.
        use_f0: whether waves are of pulses of a pitch that is told from the tokens.
        dim: width of all layers.
        layers: of the decoder.
    """

    mel: Mapping[str, Any]
    rate: str
    feature_dim: int
    n_layers: int
    resolutions_ms: Sequence[int]
    n_tokens: int
    code_dim: int
    use_f0: bool
    dim: int
    layers: int

    def __post_init__(self) -> None:
        chosen = list(self.resolutions_ms)
        if not chosen or Fraction(chosen[0], 1000) != 1 / Fraction(self.rate):
            raise UsageError(f"the first of the resolutions {chosen} must be that of the features, {self.rate} Hz")
        if any(fine >= coarse or coarse % fine for fine, coarse in pairwise(chosen)):
            raise UsageError(f"resolutions_ms is {chosen}; each must be a multiple of the one before")
        layer_width(self.feature_dim, self.n_layers)

    @property
    def spec(self) -> MelSpec:
        """The mel's definition."""
        return MelSpec(**self.mel)

    @property
    def steps(self) -> tuple[int, ...]:
        """Frames of each resolution to one of the next."""
        return tuple(coarse // fine for fine, coarse in pairwise(self.resolutions_ms))

    @property
    def period(self) -> int:
        """Frames of the features to one of the coarsest stream."""
        return int(common_period([Fraction(1000, ms) for ms in self.resolutions_ms]) * Fraction(self.rate))


def sized_multires(size: Size, spec: MelSpec, **told: Any) -> MultiResolutionFields:
    """Returns the fields of a size, and of all else that is told."""
    dim, layers = {"tiny": (128, 4), "small": (384, 6), "base": (768, 8)}[size]
    return MultiResolutionFields(mel=spec.as_mapping(), dim=dim, layers=layers, **told)


@dataclass(frozen=True)
class Streams:
    """What an adapter makes of features, coarse first.

    Attributes:
        tokens: (B, N) of each resolution; none without quantisers.
        hidden: (B, N, D) at the finest resolution, of all streams together.
        off: how far codes are from features, on average, all streams together.
    """

    tokens: Sequence[Tensor]
    hidden: Tensor
    off: Tensor


class MultiResolution(nn.Module):
    """Features (B, N, D) to streams of tokens, and those to mels, pitch and waves; N is in whole coarse frames."""

    fields_type: ClassVar = MultiResolutionFields

    def __init__(self, fields: MultiResolutionFields) -> None:
        super().__init__()
        self.fields, self.spec, dim = fields, fields.spec, fields.dim
        self.mix = LayerMix(fields.feature_dim, fields.n_layers)
        self.first = nn.Linear(self.mix.width, dim)
        n = len(fields.resolutions_ms)
        self.down_blocks = nn.ModuleList(ConvBlocks(dim, LAYERS, 0.0) for _ in range(n))
        self.up_blocks = nn.ModuleList(ConvBlocks(dim, LAYERS, 0.0) for _ in range(n))
        self.downs = nn.ModuleList(nn.Linear(step * dim, dim) for step in fields.steps)
        self.ups = nn.ModuleList(nn.Linear(dim, step * dim) for step in fields.steps)
        self.quantisers = nn.ModuleList(
            Quantiser(dim, fields.code_dim, fields.n_tokens) for _ in range(n if fields.n_tokens else 0)
        )
        self.decoder = FrameDecoder(fields.spec, dim, fields.layers, tells_pitch=fields.use_f0, use_f0=fields.use_f0)

    def measure(self, mels: Sequence[npt.NDArray[np.floating[Any]]]) -> None:
        """Takes mean and spread of the bands of mels (F, M)."""
        self.mel_scale.measure(np.concatenate(mels))

    @property
    def mel_scale(self) -> MelScale:
        """Of what it is trained on."""
        return self.decoder.mel_scale

    @torch.no_grad()
    def begin_with(self, features: Sequence[Features]) -> None:
        """Makes the adapter begin as residual quantisation of the principal components of features (N, D).

        Coarser frames are means, finer ones repeat; quantisers then only have to cluster, and the layers learn what
        there is beside.
        """
        mixed = self.mix(torch.from_numpy(np.concatenate(features).astype(np.float32))[None])[0]
        self.first.weight.copy_(torch.from_numpy(principal_components(mixed.numpy(), self.fields.dim)))
        self.first.bias.copy_(-self.first.weight @ mixed.mean(0))
        identity = torch.eye(self.fields.dim)
        for step, down, up in zip(self.fields.steps, self.downs, self.ups, strict=True):
            for linear, weight in ((down, torch.cat([identity / step] * step, 1)), (up, torch.cat([identity] * step))):
                assert isinstance(linear, nn.Linear)
                linear.weight.copy_(weight)
                linear.bias.zero_()
        for module in self.quantisers:
            quantiser: Any = module
            quantiser.begin_as_first_dimensions()
        for block in self.modules():
            # Not those of the decoder, which has nothing to begin with.
            if isinstance(block, ConvBlock) and block not in self.decoder.modules():
                nn.init.zeros_(block.back.weight)
                nn.init.zeros_(block.back.bias)

    def forward(self, features_BND: Tensor, counts_B: Tensor, is_free_B: Tensor | None = None) -> Streams:
        """Returns the streams of features, of which each sample has `counts_B` frames; some may be left unquantised."""
        ways = self._down(features_BND, counts_B)
        up_BND: Tensor | None = None
        tokens: list[Tensor] = []
        off = features_BND.new_zeros(())
        for level in range(len(ways) - 1, -1, -1):
            down_BND, mask_BN1 = ways[level]
            left_BND = down_BND
            if self.quantisers:
                # What the coarser streams did not tell.
                left_BND = down_BND if up_BND is None else down_BND - up_BND
                near_BND, codes_BN, off_here = self.quantisers[level](left_BND, mask_BN1[..., 0] > 0)
                left_BND = near_BND if is_free_B is None else torch.where(is_free_B[:, None, None], left_BND, near_BND)
                tokens.append(codes_BN)
                off = off + off_here
            told_BND = left_BND if up_BND is None else left_BND + up_BND
            up_BND = self._up(level, told_BND, mask_BN1)
        assert up_BND is not None
        return Streams(tokens, up_BND, off)

    def of_tokens(self, tokens: Sequence[Tensor], counts_B: Tensor) -> Tensor:
        """Returns hidden values (B, N, D) at the finest resolution of streams (B, N), coarse first."""
        up_BND: Tensor | None = None
        for level, codes_BN in zip(range(len(tokens) - 1, -1, -1), tokens, strict=True):
            quantiser: Any = self.quantisers[level]
            found_BND = quantiser.of_codes(codes_BN)
            mask_BN1 = frame_mask(self._counts(level, counts_B), codes_BN)
            up_BND = self._up(level, found_BND if up_BND is None else found_BND + up_BND, mask_BN1)
        assert up_BND is not None
        return up_BND

    def decoded(self, hidden_BND: Tensor, inputs: Mapping[str, Tensor]) -> Decoded:
        """Returns what hidden values say of mel frames; where these lie is told as to `at_frames`."""
        hidden_BFD = at_frames(hidden_BND, inputs)
        found: Decoded = self.decoder(hidden_BFD, frame_mask(inputs["frames"], inputs["left"]))
        return found

    def _down(self, features_BND: Tensor, counts_B: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Returns hidden values and masks of each resolution, fine first."""
        fields = self.fields
        x_BND, found = self.first(self.mix(features_BND)), []
        for level, blocks in enumerate(self.down_blocks):
            mask_BN1 = frame_mask(self._counts(level, counts_B), x_BND[..., 0])
            x_BND = blocks(x_BND * mask_BN1, mask_BN1) * mask_BN1
            found.append((x_BND, mask_BN1))
            if level < len(self.downs):
                x_BND = self.downs[level](x_BND.reshape(len(x_BND), -1, fields.steps[level] * fields.dim))
        return found

    def _up(self, level: int, x_BND: Tensor, mask_BN1: Tensor) -> Tensor:
        """Returns hidden values of the next finer resolution; of the finest, at the same."""
        x_BND = self.up_blocks[level](x_BND * mask_BN1, mask_BN1)
        if level == 0:
            return x_BND
        finer_BND: Tensor = self.ups[level - 1](x_BND).reshape(len(x_BND), -1, self.fields.dim)
        return finer_BND

    def _counts(self, level: int, counts_B: Tensor) -> Tensor:
        step = self.fields.resolutions_ms[level] // self.fields.resolutions_ms[0]
        return -(-counts_B // step)


@torch.inference_mode()
def tokens_of(model: MultiResolution, features: Features, n_periods: int) -> list[npt.NDArray[np.uint16]]:
    """Returns the tokens (N,) of each stream, fine first, of features (F, D); they are lengthened to whole periods.

    Raises:
        RowError: there are no features, or they are of another width.
        UsageError: the model has no quantisers.
    """
    fields = model.fields
    if not fields.n_tokens:
        raise UsageError("the model does not quantise; train it with n_tokens above 0, or cluster its features")
    check_features(features.shape, fields.feature_dim)
    if not len(features):
        raise RowError("the song is shorter than half a frame of the features: there is nothing to tokenise")
    wanted = n_periods * fields.period
    whole = features[np.minimum(np.arange(wanted), len(features) - 1)].astype(np.float32)
    device = next(model.parameters()).device
    found = model(torch.from_numpy(whole)[None].to(device), torch.tensor([wanted], device=device)).tokens
    return [one[0].cpu().numpy().astype(np.uint16) for one in reversed(found)]
