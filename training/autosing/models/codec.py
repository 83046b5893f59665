"""The project's codec: a mel becomes codes of several rates, and the codes a wave.

Levels are residual and of different rates, coarse first, as in SNAC (Siuzdak et al., 2024): each is a vector quantiser
on the mean of as many latents as its stride says, and quantises what the levels before it left. Every prefix of the
levels is a codec, since training leaves later ones out at random. Both ends work on frames, not on samples: the encoder
hears log-mels, the decoder gives spectra (`istft_head`), so it trains on a CPU. A codec for voices tells the pitch from
its codes and shapes pulses; without, phases are learned, which takes judges and far longer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autosing.models.acoustic import ConvBlocks, Size, frame_mask, zero_linear
from autosing.models.excitation import Excitation
from autosing.models.frame_decoder import Decoded, FrameDecoder
from autosing.models.mel_scale import MelScale
from autosing.models.pieces import Pieces, pieces
from autosing.models.principal import principal_components
from autosing.models.quantiser import Quantiser
from autosing.signal.errors import RowError, UsageError
from autosing.signal.mel import MelSpec, log_mel

Codes = npt.NDArray[np.integer[Any]]
Wave = npt.NDArray[np.float32]

PIECE_FRAMES = 800


@dataclass(frozen=True)
class CodecFields:
    """What a codec is built from.

    Attributes:
        mel: the `MelSpec` that is heard and whose hop the decoder's spectra have, as a mapping.
        down: mel frames to a latent.
        strides: latents to a code of each level, coarse first; the first is a multiple of all others.
        n_codes: size of each codebook.
        code_dim: width of the codes.
        use_f0: whether the decoder tells the pitch and shapes pulses.
        dim: width of the latents and of the layers.
        layers: of the encoder; the decoder has as many.
    """

    mel: Mapping[str, Any]
    down: int
    strides: Sequence[int]
    n_codes: int
    code_dim: int
    use_f0: bool
    dim: int
    layers: int

    def __post_init__(self) -> None:
        strides = list(self.strides)
        if not strides or min(strides) < 1 or any(strides[0] % stride for stride in strides):
            raise UsageError(f"the strides of the levels are {strides}; the first must be a multiple of all others")
        if self.down < 1 or self.n_codes < 2:
            raise UsageError(f"down is {self.down} and n_codes {self.n_codes}; they must be at least 1 and 2")

    @property
    def spec(self) -> MelSpec:
        """The mel's definition."""
        return MelSpec(**self.mel)

    @property
    def period_frames(self) -> int:
        """Mel frames to a code of the coarsest level."""
        return self.down * max(self.strides)

    @property
    def rates(self) -> tuple[Fraction, ...]:
        """Codes per second of each level."""
        return tuple(self.spec.rate / (self.down * stride) for stride in self.strides)


def sized_codec(
    size: Size, spec: MelSpec, down: int, strides: Sequence[int], n_codes: int, code_dim: int, use_f0: bool
) -> CodecFields:
    """Returns the fields of a size."""
    dim, layers = {"tiny": (128, 4), "small": (256, 6), "base": (512, 8)}[size]
    return CodecFields(spec.as_mapping(), down, tuple(strides), n_codes, code_dim, use_f0, dim, layers)


class Codec(nn.Module):
    """Mels (B, F, M) to codes, one (B, N) for each level, and back to waves (B, F hop); F is in whole periods."""

    fields_type: ClassVar = CodecFields

    def __init__(self, fields: CodecFields) -> None:
        super().__init__()
        self.fields, self.spec = fields, fields.spec
        dim, spec, down = fields.dim, fields.spec, fields.down
        # The way in and out that `measure` sets to principal components; the layers learn what there is beside it.
        self.inwards = nn.Linear(spec.n_mels * down, dim)
        self.outwards = nn.Linear(dim, spec.n_mels * down)
        self.encoder = ConvBlocks(dim, fields.layers, dropout=0.0)
        self.encoded = zero_linear(dim, dim)
        self.levels = nn.ModuleList(Quantiser(dim, fields.code_dim, fields.n_codes) for _ in fields.strides)
        # Most layers are at the latents' rate, on either side.
        self.told = ConvBlocks(dim, fields.layers // 2, dropout=0.0)
        self.apart = nn.Linear(dim, dim * down)
        self.decoder = FrameDecoder(
            spec, dim, fields.layers - fields.layers // 2, tells_pitch=fields.use_f0, use_f0=fields.use_f0
        )
        self._frozen: tuple[nn.Module, ...] = ()

    def freeze_codes(self) -> None:
        """Keeps what makes codes as it is, codebooks included, whatever mode is asked for: the decoder alone learns."""
        self._frozen = (self.inwards, self.encoder, self.encoded, self.levels)
        for part in self._frozen:
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Codec":
        """Puts all that is not frozen into a mode: codebooks follow what they are given in any but evaluation."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    @property
    def mel_scale(self) -> MelScale:
        """Of what it is trained on."""
        return self.decoder.mel_scale

    @property
    def context_frames(self) -> int:
        """Frames on either side that a frame's code or wave depends on, in whole periods."""
        period = self.fields.period_frames
        seen = self.fields.down * (self.encoder.context_frames + self.told.context_frames)
        seen += self.decoder.context_frames + 3
        return -(-seen // period) * period + period

    def latents(self, mel_BFM: Tensor, frames_B: Tensor) -> Tensor:
        """Returns what is quantised (B, F / down, D)."""
        mask_BF1 = frame_mask(frames_B, mel_BFM[..., 0])
        normal_BFM = self.mel_scale.normal(mel_BFM) * mask_BF1
        direct_BND: Tensor = self.inwards(normal_BFM.reshape(len(mel_BFM), -1, self.inwards.in_features))
        hidden_BND = self.encoder(direct_BND, self._mask(direct_BND, frames_B))
        return direct_BND + self.encoded(hidden_BND)  # type: ignore[no-any-return]

    @torch.no_grad()
    def measure(self, mels: Sequence[npt.NDArray[np.floating[Any]]]) -> None:
        """Makes the codec begin as principal components of mels (F, M), which its quantisers then only have to cluster.

        With random ways in and out, the mel's error on synthetic songs was 0.50 after 100 steps without any
        quantisation; the components alone leave less.
        """
        self.mel_scale.measure(np.concatenate(mels))
        down, dim = self.fields.down, self.fields.dim
        whole = [mel[: len(mel) // down * down] for mel in mels]
        normal = [self.mel_scale.normal(torch.from_numpy(mel)).numpy() for mel in whole]
        stacked = np.concatenate([mel.reshape(len(mel) // down, -1) for mel in normal])
        kept = torch.from_numpy(principal_components(stacked, dim))
        self.inwards.weight.copy_(kept)
        self.outwards.weight.copy_(kept.T)
        self.inwards.bias.zero_()
        self.outwards.bias.zero_()
        for level in self.levels:
            quantiser: Any = level
            quantiser.begin_as_first_dimensions()

    def quantised(
        self, latents_BND: Tensor, frames_B: Tensor, levels_B: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """Returns the quantised latents (B, N, D), the codes of each level, and how far codes are off, on average.

        Args:
            latents_BND: in whole periods.
            frames_B: true mel frames of each sample.
            levels_B: how many levels each sample has; all where None.
        """
        n_latents = latents_BND.shape[1]
        found_BND, codes, off = torch.zeros_like(latents_BND), [], latents_BND.new_zeros(())
        for number, (level, stride) in enumerate(zip(self.levels, self.fields.strides, strict=True)):
            left_BND = latents_BND - found_BND
            pooled_BKD = left_BND.reshape(len(left_BND), n_latents // stride, stride, -1).mean(2)
            counted_B = -(-frames_B // (self.fields.down * stride))
            mask_BK = torch.arange(pooled_BKD.shape[1], device=frames_B.device) < counted_B[:, None]
            if levels_B is not None:
                mask_BK = mask_BK & (levels_B > number)[:, None]
            if self.training and not mask_BK.any():
                continue
            quantised_BKD, codes_BK, off_level = level(pooled_BKD, mask_BK)
            kept_BKD = torch.where(mask_BK[..., None], quantised_BKD, 0.0)
            found_BND = found_BND + kept_BKD.repeat_interleave(stride, 1)
            codes.append(codes_BK)
            off = off + off_level
        return found_BND, codes, off

    def of_codes(self, codes: Sequence[Tensor]) -> Tensor:
        """Returns the quantised latents (B, N, D) of the codes (B, N / stride) of the first levels."""
        found: list[Tensor] = []
        for level, stride, one in zip(self.levels, self.fields.strides, codes, strict=False):
            quantiser: Any = level
            found.append(quantiser.of_codes(one).repeat_interleave(stride, 1))
        return torch.stack(found).sum(0)

    def decoded(self, latents_BND: Tensor, frames_B: Tensor) -> Decoded:
        """Returns what latents (B, N, D) say of each frame."""
        told_BND = self.told(latents_BND, self._mask(latents_BND, frames_B))
        hidden_BFD = self.apart(told_BND).reshape(len(told_BND), -1, self.fields.dim)
        direct_BFM = self.outwards(latents_BND).reshape(len(told_BND), hidden_BFD.shape[1], -1)
        found: Decoded = self.decoder(hidden_BFD, frame_mask(frames_B, hidden_BFD[..., 0]), direct_BFM)
        return found

    def _mask(self, latents_BND: Tensor, frames_B: Tensor) -> Tensor:
        return frame_mask(-(-frames_B // self.fields.down), latents_BND[..., 0])


@torch.inference_mode()
def encode(model: Codec, wave: Wave) -> list[npt.NDArray[np.uint16]]:
    """Returns the codes (N,) of each level of a wave (T,) at the mel's sample rate; memory is flat in its length.

    The wave is taken to be silent after its end, up to the end of a code of the coarsest level.
    """
    fields, spec, device = model.fields, model.spec, next(model.parameters()).device
    period = fields.period_frames
    n_frames = -(-len(wave) // (spec.hop * period)) * period
    found: list[list[Codes]] = [[] for _ in fields.strides]
    mel, cut = log_mel(wave, spec, n_frames), _pieces(model, n_frames)
    for first, last, seen_from, seen_to in pieces(n_frames, cut.size, cut.context):
        heard = torch.from_numpy(mel[seen_from:seen_to])[None].to(device)
        frames = torch.tensor([seen_to - seen_from], device=device)
        _, codes, _ = model.quantised(model.latents(heard, frames), frames)
        for kept, one, stride in zip(found, codes, fields.strides, strict=True):
            unit = fields.down * stride
            kept.append(one[0, (first - seen_from) // unit : (last - seen_from) // unit].cpu().numpy())
    empty = np.zeros(0, np.uint16)
    return [np.concatenate([empty, *kept]).astype(np.uint16) for kept in found]


@torch.inference_mode()
def decode(model: Codec, codes: Sequence[Codes], seed: int = 0) -> Iterator[Wave]:
    """Yields the wave of codes (N,) of the first levels piece by piece; together they are what one pass would give.

    Args:
        model: in evaluation mode.
        codes: of the first levels.
        seed: of the noise; the same seed gives the same wave.

    Raises:
        RowError: the levels are not of one length in time, too many, or hold a code that is none.
    """
    cut = _pieces(model, _frames(model.fields, codes))
    excitation = None
    if model.fields.use_f0:
        told_hz = cut.each(lambda first, last: _decoded(model, codes, first, last).f0_hz)
        excitation = Excitation.of_frames(np.concatenate([np.zeros(0, np.float32), *told_hz]), model.spec, seed)

    def wave(first: int, last: int) -> Tensor:
        decoded = _decoded(model, codes, first, last)
        given = excitation.batch(first, last, decoded.mel.device) if excitation else None
        return model.decoder.wave(decoded, given)

    yield from cut.each(wave, model.spec.hop)


@torch.inference_mode()
def decoded_mel(model: Codec, codes: Sequence[Codes]) -> npt.NDArray[np.float32]:
    """Returns the mel (F, M) that codes (N,) of the first levels tell, which their wave begins with; see `decode`."""
    cut = _pieces(model, _frames(model.fields, codes))
    told = cut.each(lambda first, last: _decoded(model, codes, first, last).mel)
    return np.concatenate([np.zeros((0, model.spec.n_mels), np.float32), *told])


def _pieces(model: Codec, n_frames: int) -> Pieces:
    period = model.fields.period_frames
    return Pieces(n_frames, max(PIECE_FRAMES // period, 1) * period, model.context_frames)


def _decoded(model: Codec, codes: Sequence[Codes], first: int, last: int) -> Decoded:
    """Returns what the codes say of frames `first` to `last`, which begin and end whole periods."""
    fields, device = model.fields, next(model.parameters()).device
    part = []
    for one, stride in zip(codes, fields.strides, strict=False):
        unit = fields.down * stride
        part.append(torch.from_numpy(one[first // unit : last // unit].astype(np.int64))[None].to(device))
    return model.decoded(model.of_codes(part), torch.tensor([last - first], device=device))


def _frames(fields: CodecFields, codes: Sequence[Codes]) -> int:
    if not 1 <= len(codes) <= len(fields.strides):
        raise RowError(f"{len(codes)} levels of codes for a codec of {len(fields.strides)}")
    lengths = {len(one) * fields.down * stride for one, stride in zip(codes, fields.strides, strict=False)}
    if len(lengths) > 1 or max(lengths) % fields.period_frames:
        raise RowError(f"levels of {[len(one) for one in codes]} codes do not fit strides {list(fields.strides)}")
    highest = max((int(one.max(initial=0)) for one in codes), default=0)
    if highest >= fields.n_codes:
        raise RowError(f"there is a code {highest}, and the codebooks have {fields.n_codes}")
    return max(lengths)
