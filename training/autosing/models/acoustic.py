"""From units to mels: Soft-VC's acoustic model (van Niekerk et al., 2022), for singing.

It differs from the paper's where that is wrong or meant for speech: padding takes no part in anything, units meet mel
frames by centre time, pitch, energy and singer may be given, and a parallel decoder stands beside the LSTM. The encoder
is a stack of residual blocks that hear all of it: with the paper's prenet and plain convolutions in their place, the
mel-L1 on held-out synthetic songs was 0.55 after 400 steps, with the blocks 0.50.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Size = Literal["tiny", "small", "base"]
DecoderName = Literal["parallel", "lstm"]
Tensors = Mapping[str, Tensor]

# Row of the singer table for "nobody in particular"; singer `i` of the contract has row `i + 1`.
UNKNOWN_SINGER = 0
# Pitch enters as cos(2 pi f T) of the period T at this many multiples f of this frequency: 1 where f is a harmonic.
# With voicing and log F0 alone, the mel-L1 on held-out synthetic songs was 0.65 after 300 steps; with the waves, 0.44.
WAVES, WAVE_HZ = 64, 40.0
# Frames that a convolution sees.
KERNEL = 5
# Blocks before the decoder, so that an LSTM hears what comes, too.
ENCODER_LAYERS = 2
# Log F0 is counted in octaves from this pitch, log energy in units of about its spread from about its mean.
REFERENCE_HZ = 220.0
LOG_ENERGY_MEAN, LOG_ENERGY_SPREAD = -4.0, 2.0


@dataclass(frozen=True)
class AcousticFields:
    """What an acoustic model is built from.

    Attributes:
        n_units: V, the most units that the codebook may have.
        n_mels: M.
        rates: frames per second, as fractions, of `mel`, `units` and the conditions `f0_hz` and `energy`; a condition
            without a rate is not used.
        n_singers: of the contract; 0 if the model isn't told who sings.
        decoder: `parallel` predicts all frames at once; `lstm` each from those before it, as in the paper.
        dim: D, width of the encoder and the parallel decoder.
        lstm_dim: width of the LSTM decoder.
        prenet_dim: width of the LSTM decoder's prenet.
        layers: of the decoder.
        dropout: in the encoder and the parallel decoder.
        soft_dim: S, width of soft units, which take the place of numbers; 0 for numbers.
    """

    n_units: int
    n_mels: int
    rates: Mapping[str, str]
    n_singers: int
    decoder: DecoderName
    dim: int
    lstm_dim: int
    prenet_dim: int
    layers: int
    dropout: float
    soft_dim: int = 0


def sized(
    size: Size,
    decoder: DecoderName,
    n_units: int,
    n_mels: int,
    rates: Mapping[str, str],
    n_singers: int,
    soft_dim: int = 0,
) -> AcousticFields:
    """Returns the fields of a size: `tiny` learns in minutes on a CPU, `base` has the paper's widths."""
    dim, lstm_dim, prenet_dim = {"tiny": (96, 96, 64), "small": (256, 384, 128), "base": (512, 768, 256)}[size]
    layers = {"parallel": {"tiny": 4, "small": 6, "base": 8}[size], "lstm": 3}[decoder]
    widths = (dim, lstm_dim, prenet_dim, layers)
    return AcousticFields(n_units, n_mels, rates, n_singers, decoder, *widths, dropout=0.1, soft_dim=soft_dim)


class AcousticModel(nn.Module):
    """Predicts mels (B, F, M), natural-log magnitudes, from what `acoustic_input` makes of samples.

    A batch gives the same mels as its samples one by one. Frames after a sample's end are 0.
    """

    fields_type: ClassVar = AcousticFields

    def __init__(self, fields: AcousticFields) -> None:
        super().__init__()
        self.fields = fields
        # What is predicted is the difference from these, so that a model knows its units before its first step.
        self.unit_mels: nn.Embedding | nn.Linear
        self.units: nn.Embedding | nn.Linear
        if fields.soft_dim:
            self.unit_mels = zero_linear(fields.soft_dim, fields.n_mels)
            self.units = nn.Linear(fields.soft_dim, fields.dim)
        else:
            self.unit_mels = nn.Embedding(fields.n_units, fields.n_mels)
            nn.init.zeros_(self.unit_mels.weight)
            self.units = nn.Embedding(fields.n_units, fields.dim)
        self.conditions = Conditions(fields.dim, "f0_hz" in fields.rates, "energy" in fields.rates)
        self.singers = nn.Embedding(fields.n_singers + 1, fields.dim) if fields.n_singers else None
        if self.singers:
            # A singer who is never trained then sounds like nobody in particular, not like noise.
            nn.init.zeros_(self.singers.weight)
        self.encoder = ConvBlocks(fields.dim, ENCODER_LAYERS, fields.dropout)
        self.decoder: LstmDecoder | ParallelDecoder = (
            LstmDecoder(fields.n_mels, fields.prenet_dim, fields.dim, fields.lstm_dim, fields.layers)
            if fields.decoder == "lstm"
            else ParallelDecoder(fields.n_mels, fields.dim, fields.layers, fields.dropout)
        )
        self.register_buffer("mel_mean", torch.zeros(fields.n_mels))
        self.register_buffer("mel_std", torch.ones(fields.n_mels))
        self.mel_mean: Tensor
        self.mel_std: Tensor

    def forward(self, inputs: Tensors, mel_BFM: Tensor) -> Tensor:
        """Returns the mels that are predicted while the true ones are given up to the frame before."""
        mask_BF1 = frame_mask(inputs["mel_frames"], inputs["left"])
        normal_BFM = (mel_BFM.float() - self.mel_mean) / self.mel_std
        change_BFM = self.decoder(self._hidden(inputs, mask_BF1), mask_BF1, normal_BFM - self._expected(inputs))
        return self._in_nats(self._expected(inputs) + change_BFM, mask_BF1)

    @torch.no_grad()
    def generate(self, inputs: Tensors) -> Tensor:
        """Returns mels made from the inputs alone; the same inputs give the same mels."""
        was_training = self.training
        self.eval()
        mask_BF1 = frame_mask(inputs["mel_frames"], inputs["left"])
        change_BFM = self.decoder.generate(self._hidden(inputs, mask_BF1), mask_BF1)
        mel_BFM = self._in_nats(self._expected(inputs) + change_BFM, mask_BF1)
        self.train(was_training)
        return mel_BFM

    def _expected(self, inputs: Tensors) -> Tensor:
        """Returns the normalised mel (B, F, M) that goes with the units alone."""
        return at_frames(self.unit_mels(inputs["units"]), inputs)

    def _hidden(self, inputs: Tensors, mask_BF1: Tensor) -> Tensor:
        hidden_BFD = at_frames(self.units(inputs["units"]), inputs) + self.conditions(inputs)
        if self.singers:
            hidden_BFD = hidden_BFD + self.singers(inputs["singer"])[:, None]
        return self.encoder(hidden_BFD, mask_BF1)  # type: ignore[no-any-return]

    def _in_nats(self, normal_BFM: Tensor, mask_BF1: Tensor) -> Tensor:
        return (normal_BFM.float() * self.mel_std + self.mel_mean) * mask_BF1


def frame_mask(lengths_B: Tensor, like_BF: Tensor) -> Tensor:
    """Returns 1 for frames of a sample and 0 for padding after it, (B, F, 1)."""
    frames_F = torch.arange(like_BF.shape[1], device=like_BF.device)
    return (frames_F < lengths_B[:, None]).float()[..., None]


def zero_linear(dim: int, out: int) -> nn.Linear:
    """Returns a linear layer that gives 0 until it is trained."""
    linear = nn.Linear(dim, out)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class MaskedConv(nn.Module):
    """A convolution over frames (B, F, D) that sees padding as what lies beyond the end: zeros."""

    def __init__(self, dim: int, out: int, kernel: int = KERNEL, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dim, out, kernel, padding=dilation * (kernel // 2), dilation=dilation)

    def forward(self, x_BFD: Tensor, mask_BF1: Tensor) -> Tensor:
        y_BDF: Tensor = self.conv((x_BFD * mask_BF1).transpose(1, 2))
        return y_BDF.transpose(1, 2)


def at_frames(x_BND: Tensor, inputs: Tensors) -> Tensor:
    """Returns units (B, N, D) at the mel's frames, (B, F, D): the mean of the unit to the left and that to the right.

    `left` (B, F) says which is to the left, `share` (B, F) how much the right one counts; `unit_frames` are the N.
    """
    left_BF = inputs["left"].long()
    right_BF = torch.minimum(left_BF + 1, (inputs["unit_frames"][:, None] - 1).long())
    wide = (-1, -1, x_BND.shape[-1])
    left, right = (x_BND.gather(1, i[..., None].expand(wide)) for i in (left_BF, right_BF))
    return torch.lerp(left, right, inputs["share"][..., None].to(left.dtype))


class PreNet(nn.Module):
    """Two small layers with dropout before a network (Tacotron; Wang et al., 2017)."""

    def __init__(self, dim: int, out: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim, out), nn.ReLU(), nn.Dropout(dropout), nn.Linear(out, out), nn.ReLU(), nn.Dropout(dropout)
        )

    def forward(self, x_BFD: Tensor) -> Tensor:
        y_BFD: Tensor = self.layers(x_BFD)
        return y_BFD


class Conditions(nn.Module):
    """Pitch and energy as one addend of the hidden frames."""

    def __init__(self, dim: int, use_f0: bool, use_energy: bool) -> None:
        super().__init__()
        self.use_f0, self.use_energy = use_f0, use_energy
        width = (2 + WAVES) * use_f0 + use_energy
        self.layers = nn.Sequential(nn.Linear(width, dim), nn.ReLU(), nn.Linear(dim, dim)) if width else None

    def forward(self, inputs: Tensors) -> Tensor:
        """Returns (B, F, D), or 0 if there is no condition."""
        if self.layers is None:
            return inputs["share"].new_zeros(())
        features = pitch_features(inputs["period_s"]) if self.use_f0 else []
        if self.use_energy:
            features.append((inputs["log_energy"][..., None] - LOG_ENERGY_MEAN) / LOG_ENERGY_SPREAD)
        added_BFD: Tensor = self.layers(torch.cat(features, dim=-1))
        return added_BFD


def pitch_features(period_s_BF: Tensor) -> list[Tensor]:
    """Returns voicing, log F0 and the waves of the period, each (B, F, ...) and 0 where unvoiced (a period of 0)."""
    period_BF1 = period_s_BF[..., None].float()
    voiced_BF1 = (period_BF1 > 0).float()
    octaves_BF1 = -torch.log2(torch.where(period_BF1 > 0, period_BF1 * REFERENCE_HZ, 1.0))
    wave_hz = WAVE_HZ * torch.arange(1, WAVES + 1, device=period_s_BF.device)
    return [voiced_BF1, octaves_BF1, voiced_BF1 * torch.cos(2 * math.pi * wave_hz * period_BF1)]


class ConvBlocks(nn.Module):
    """Residual blocks of convolutions, each with twice the dilation of the one before, from 1 again after 8."""

    def __init__(self, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([ConvBlock(dim, 2 ** (i % 4), dropout) for i in range(layers)])

    @property
    def context_frames(self) -> int:
        """Frames on either side that a frame depends on."""
        dilations = (2 ** (i % 4) for i in range(len(self.blocks)))
        return sum(KERNEL // 2 * dilation for dilation in dilations)

    def forward(self, x_BFD: Tensor, mask_BF1: Tensor) -> Tensor:
        for block in self.blocks:
            x_BFD = x_BFD + block(x_BFD, mask_BF1)
        return x_BFD


class ParallelDecoder(nn.Module):
    """More of the encoder's blocks; all frames at once."""

    def __init__(self, n_mels: int, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.blocks = ConvBlocks(dim, layers, dropout)
        self.norm = nn.LayerNorm(dim)
        self.out = zero_linear(dim, n_mels)

    def forward(self, hidden_BFD: Tensor, mask_BF1: Tensor, mel_BFM: Tensor | None = None) -> Tensor:
        """Returns normalised mels (B, F, M); true mels are not looked at."""
        out_BFM: Tensor = self.out(self.norm(self.blocks(hidden_BFD, mask_BF1)))
        return out_BFM

    def generate(self, hidden_BFD: Tensor, mask_BF1: Tensor) -> Tensor:
        """Returns normalised mels (B, F, M)."""
        return self(hidden_BFD, mask_BF1)  # type: ignore[no-any-return]


class ConvBlock(nn.Module):
    """Norm, a dilated convolution to twice the width, and back."""

    def __init__(self, dim: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.conv = MaskedConv(dim, 2 * dim, dilation=dilation)
        self.back = nn.Linear(2 * dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BFD: Tensor, mask_BF1: Tensor) -> Tensor:
        y_BFD: Tensor = self.dropout(self.back(functional.gelu(self.conv(self.norm(x_BFD), mask_BF1))))
        return y_BFD


class LstmDecoder(nn.Module):
    """A stack of LSTMs with residuals that hears its own last frame through a prenet."""

    # Of the prenet; with less, the decoder copies the true last frame and cannot run freely.
    DROPOUT = 0.5

    def __init__(self, n_mels: int, prenet_dim: int, dim: int, lstm_dim: int, layers: int) -> None:
        super().__init__()
        self.n_mels = n_mels
        self.prenet = PreNet(n_mels, prenet_dim, self.DROPOUT)
        widths = [dim + prenet_dim] + [lstm_dim] * (layers - 1)
        self.lstms = nn.ModuleList([nn.LSTM(width, lstm_dim, batch_first=True) for width in widths])
        self.out = zero_linear(lstm_dim, n_mels)

    def forward(self, hidden_BFD: Tensor, mask_BF1: Tensor, mel_BFM: Tensor) -> Tensor:
        """Returns normalised mels (B, F, M), each frame predicted from the true ones before it."""
        before_BFM = functional.pad(mel_BFM, (0, 0, 1, 0))[:, :-1]
        return self._frames(hidden_BFD, before_BFM, [None] * len(self.lstms))[0]

    def generate(self, hidden_BFD: Tensor, mask_BF1: Tensor) -> Tensor:
        """Returns normalised mels (B, F, M), each frame predicted from the predicted ones before it."""
        frame_B1M = hidden_BFD.new_zeros(len(hidden_BFD), 1, self.n_mels)
        states: list[State | None] = [None] * len(self.lstms)
        frames = []
        for hidden_B1D in torch.split(hidden_BFD, 1, dim=1):
            frame_B1M, states = self._frames(hidden_B1D, frame_B1M, states)
            frames.append(frame_B1M)
        return torch.cat(frames, dim=1)

    def _frames(
        self, hidden_BFD: Tensor, before_BFM: Tensor, states: list["State | None"]
    ) -> tuple[Tensor, list["State | None"]]:
        x, after = torch.cat([hidden_BFD, self.prenet(before_BFM)], dim=-1), list(states)
        for i, lstm in enumerate(self.lstms):
            y, after[i] = lstm(x, states[i])
            x = y if i == 0 else x + y
        return self.out(x), after


State = tuple[Tensor, Tensor]
