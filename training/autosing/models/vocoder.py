"""The way back to sound: mels, or tokens of one or several rates, and as far as wanted F0, to waves.

Two generators stand behind one front end. `istft` (after Vocos; Siuzdak, 2024) shapes spectra frame by frame, and where
F0 is given it shapes pulses and noise, so that pitch is right before anything is learned: it begins as a filter that
gives the excitation the mel asked for, and learns what is left. `hifigan` (Kong et al., 2020) is the usual stack of
transposed convolutions, with the excitation added on its way up where F0 is given (NSF; Wang et al., 2019).
Tokens are embedded first and brought to the frames after: SingOMD's released code resampled the ids. `istft` tells mel
and, where it is not given, pitch from tokens first (`frame_decoder`), so that both can be looked at.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autosing.models.acoustic import WAVES, MaskedConv, Size, frame_mask, pitch_features
from autosing.models.excitation import Excitation, RunningExcitation
from autosing.models.frame_decoder import Decoded, FrameDecoder
from autosing.models.hifigan import HifiGan
from autosing.models.istft_head import IstftHead
from autosing.models.mel_scale import MelScale
from autosing.models.pieces import Pieces
from autosing.signal.framing import nearest_frames
from autosing.signal.mel import MelSpec

Generator = Literal["istft", "hifigan"]
Array = npt.NDArray[Any]

PIECE_FRAMES = 400


@dataclass(frozen=True)
class VocoderFields:
    """What a vocoder is built from.

    Attributes:
        mel: the `MelSpec` whose frames the generator is driven by, as a mapping; also the mel it is given, if it is.
        generator: `istft` or `hifigan`.
        streams: rates of the token streams it is given, as fractions, by column name; none means mels.
        n_tokens: the most tokens that any stream has.
        use_f0: whether it is given F0.
        dim: width of the front end, and of the layers of `istft`.
        layers: of `istft`.
        channels: width of `hifigan` before its first step up.
        steps_up: of `hifigan`, whose product is the hop.
    """

    mel: Mapping[str, Any]
    generator: Generator
    streams: Mapping[str, str]
    n_tokens: int
    use_f0: bool
    dim: int
    layers: int
    channels: int
    steps_up: Sequence[int]

    @property
    def spec(self) -> MelSpec:
        """The mel's definition."""
        return MelSpec(**self.mel)


def sized_vocoder(
    size: Size, generator: Generator, spec: MelSpec, use_f0: bool, streams: Mapping[str, str], n_tokens: int
) -> VocoderFields:
    """Returns the fields of a size; `base` of `hifigan` has the widths of its V1."""
    dim, layers, channels = {"tiny": (128, 6, 64), "small": (256, 8, 256), "base": (512, 8, 512)}[size]
    steps_up = factors_of(spec.hop)
    return VocoderFields(spec.as_mapping(), generator, dict(streams), n_tokens, use_f0, dim, layers, channels, steps_up)


def factors_of(hop: int) -> tuple[int, ...]:
    """Returns the steps up to a hop: its prime factors, the largest first, twos taken in threes and pairs."""
    steps, left = [], hop
    for factor in (8, 4, 7, 5, 3, 2):
        while left % factor == 0 and left > 1:
            steps.append(factor)
            left //= factor
    return tuple(sorted((*steps, left) if left > 1 else steps, reverse=True))


class Vocoder(nn.Module):
    """Makes waves (B, F hop) at the mel's sample rate.

    Inputs: `frames` (B,), how many frames each sample has; `mel` (B, F, M), or each stream's tokens (B, N) with
    `<stream>_at` (B, F), the token at each frame; with F0 `pulses` (B, F hop) and `period_s` (B, F), 0 where unvoiced;
    `noise` (B, F hop), white, of power 1. A batch gives the same waves as its samples one by one; after a sample's end
    they are 0.
    """

    fields_type: ClassVar = VocoderFields

    def __init__(self, fields: VocoderFields) -> None:
        super().__init__()
        self.fields, spec = fields, fields.spec
        self.spec = spec
        self.mel = None if fields.streams else MaskedConv(spec.n_mels, fields.dim)
        # Where a token is missing it has the last row, which is no code.
        self.tokens = nn.ModuleDict(
            {name: nn.Embedding(fields.n_tokens + 1, fields.dim) for name in sorted(fields.streams)}
        )
        self.pitch = nn.Linear(2 + WAVES, fields.dim) if fields.use_f0 else None
        self.generator = _generator(fields)
        own = not isinstance(self.generator, FrameDecoder)
        self.scale = MelScale(spec.n_mels) if own else None

    def measure(self, mels: Sequence[npt.NDArray[np.floating[Any]]]) -> None:
        """Takes mean and spread of the bands of mels (F, M)."""
        self.mel_scale.measure(np.concatenate(mels))

    @property
    def mel_scale(self) -> MelScale:
        """Of the mel that goes in, or of the one that it tells."""
        return self.scale or self.generator.mel_scale  # type: ignore[return-value]

    @property
    def tells_pitch(self) -> bool:
        """Whether pulses are of a pitch that it tells from tokens, rather than of one that is given."""
        return isinstance(self.generator, FrameDecoder) and self.generator.to_pitch is not None

    @property
    def context_frames(self) -> int:
        """How many frames on either side a frame's samples depend on, at most."""
        return self.generator.context_frames + 2

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns waves (B, F hop)."""
        if isinstance(self.generator, FrameDecoder):
            return self.generator.wave(self.decoded(inputs), inputs)
        hidden_BFD, mask_BF1 = self._hidden(inputs)
        wave_BT: Tensor = self.generator(hidden_BFD, mask_BF1, inputs)
        return wave_BT * mask_BF1[..., 0].repeat_interleave(self.spec.hop, 1)

    def decoded(self, inputs: Mapping[str, Tensor]) -> Decoded:
        """Returns what tokens say of each frame, of a vocoder whose generator is a `FrameDecoder`."""
        assert isinstance(self.generator, FrameDecoder)
        found: Decoded = self.generator(*self._hidden(inputs))
        return found

    def _hidden(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns hidden frames (B, F, D), and which frames there are (B, F, 1)."""
        like_BF = inputs["mel"][..., 0] if self.mel else inputs[f"{min(self.fields.streams)}_at"]
        mask_BF1 = frame_mask(inputs["frames"], like_BF)
        heard = [self._at_frames(name, inputs) for name in self.tokens]
        if self.mel:
            heard.append(self.mel(self.mel_scale.normal(inputs["mel"]), mask_BF1))
        if self.pitch:
            heard.append(self.pitch(torch.cat(pitch_features(inputs["period_s"]), dim=-1)))
        return torch.stack(heard).sum(0), mask_BF1

    def _at_frames(self, name: str, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns a stream's embeddings at the frames (B, F, D)."""
        embedded_BND: Tensor = self.tokens[name](inputs[name].long())
        at_BF1 = inputs[f"{name}_at"].long()[..., None]
        return embedded_BND.gather(1, at_BF1.expand(-1, -1, embedded_BND.shape[-1]))


def _generator(fields: VocoderFields) -> IstftHead | HifiGan | FrameDecoder:
    spec, dim = fields.spec, fields.dim
    if fields.generator == "hifigan":
        return HifiGan(spec.hop, dim, fields.channels, tuple(fields.steps_up), fields.use_f0)
    if fields.streams:
        return FrameDecoder(spec, dim, fields.layers, tells_pitch=not fields.use_f0, use_f0=True)
    return IstftHead(spec, dim, fields.layers, fields.use_f0)


def tokens_at(n_frames: int, rate: Fraction, n_tokens: int, token_rate: Fraction) -> npt.NDArray[np.int32]:
    """Returns which token of a stream each of `n_frames` frames has (F,): that in which the frame's centre lies."""
    return nearest_frames(n_frames, rate, n_tokens, token_rate).astype(np.int32)


@torch.inference_mode()
def synthesise(
    model: Vocoder,
    inputs: Mapping[str, Array],
    f0_hz: npt.NDArray[np.float32] | Callable[[int, int], npt.NDArray[np.float32]] | None = None,
    seed: int = 0,
    piece_frames: int = PIECE_FRAMES,
) -> Iterator[npt.NDArray[np.float32]]:
    """Yields the wave of a recording piece by piece; together they are what the whole of it at once would be.

    Args:
        model: in evaluation mode.
        inputs: `mel` (F, M), or of each stream its tokens (N,) and `<stream>_at` (F,).
        f0_hz: pitch of each sample (F hop,), 0 where unvoiced, for a model that uses it; or what returns that of the
            samples from one to another, of which no more than a piece is then held.
        seed: of the noise; the same seed gives the same wave.
        piece_frames: frames that are made at once; memory is in proportion.
    """
    n_frames, spec = len(next(array for name, array in inputs.items() if _is_of_frames(name))), model.spec
    cut = Pieces(n_frames, piece_frames, model.context_frames)
    excitation: Excitation | RunningExcitation
    if model.tells_pitch:
        told_hz = cut.each(lambda first, last: model.decoded(_piece(model, inputs, first, last)).f0_hz)
        excitation = Excitation.of_frames(np.concatenate([np.zeros(0, np.float32), *told_hz]), spec, seed)
    elif callable(f0_hz):
        excitation = RunningExcitation(f0_hz, spec, seed)
    else:
        excitation = Excitation.of_samples(None if f0_hz is None else f0_hz[: n_frames * spec.hop], spec, seed)

    def wave(first: int, last: int) -> Tensor:
        given = _piece(model, inputs, first, last)
        made: Tensor = model({**given, **excitation.batch(first, last, given["frames"].device)})
        return made

    yield from cut.each(wave, spec.hop)


def _piece(model: Vocoder, inputs: Mapping[str, Array], first: int, last: int) -> dict[str, Tensor]:
    """Returns frames `first` to `last` of the inputs as a batch of one."""
    device = next(model.parameters()).device
    part = {name: array[first:last] if _is_of_frames(name) else array for name, array in inputs.items()}
    part["frames"] = np.array(last - first)
    given = {name: np.array(array, np.float32 if name == "mel" else None) for name, array in part.items()}
    return {name: torch.from_numpy(array)[None].to(device) for name, array in given.items()}


def _is_of_frames(name: str) -> bool:
    return name == "mel" or name.endswith("_at")
