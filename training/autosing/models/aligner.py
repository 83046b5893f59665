"""The lyrics aligner's nets: what is sung in each frame of a song, as CTC log probabilities over classes of phones.

A few small nets of one shape stand side by side. Their mean is better than any of them, and where they disagree about
the place of a line, the line is not to be trusted: over the lines of real songs that tells derailment far better than
a net's own score does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

# The recurrent layers run at half the frame rate, which halves their cost; each step tells of its two frames.
STRIDE = 2


@dataclass(frozen=True)
class AlignerFields:
    """What an aligner is built from.

    Attributes:
        dim: width of a frame of the input.
        symbols: what the outputs stand for, the first for the blank.
        conv_dim: width of the first convolution.
        recurrent_dim: width of the second convolution, and of the recurrent layers in both directions together.
        layers: recurrent ones.
        members: nets side by side.
        dropout: before, between and after the recurrent layers.
    """

    dim: int
    symbols: Sequence[str]
    conv_dim: int = 112
    recurrent_dim: int = 176
    layers: int = 2
    members: int = 2
    dropout: float = 0.1


class Aligner(nn.Module):
    """Gives the log probabilities (N, B, F, V) of N nets from bands (B, F, dim), normalised per song.

    Frames after a sample's end change nothing in it.
    """

    fields_type: ClassVar = AlignerFields

    def __init__(self, fields: AlignerFields) -> None:
        super().__init__()
        self.fields = fields
        self.nets = nn.ModuleList(AlignerNet(fields) for _ in range(fields.members))

    def forward(self, bands_NBFD: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Returns log probabilities (N, B, F, V).

        Args:
            bands_NBFD: what each net hears, or (B, F, D), which all of them hear.
            frames_B: the frames of each sample, on the CPU; without it all are whole.
        """
        heard = bands_NBFD if bands_NBFD.ndim == 4 else bands_NBFD[None].expand(len(self.nets), -1, -1, -1)
        return torch.stack([net(bands, frames_B) for net, bands in zip(self.nets, heard, strict=True)])


class AlignerNet(nn.Module):
    """Convolutions that halve the rate, and recurrent layers that hear the line from both sides."""

    def __init__(self, fields: AlignerFields) -> None:
        super().__init__()
        self.first = nn.Conv1d(fields.dim, fields.conv_dim, 5, padding=2)
        self.second = nn.Conv1d(fields.conv_dim, fields.recurrent_dim, 6, stride=STRIDE, padding=2)
        self.recurrent = nn.GRU(
            fields.recurrent_dim,
            fields.recurrent_dim // 2,
            fields.layers,
            batch_first=True,
            bidirectional=True,
            dropout=fields.dropout if fields.layers > 1 else 0.0,
        )
        self.dropout = nn.Dropout(fields.dropout)
        self.readout = nn.Linear(fields.recurrent_dim, STRIDE * len(fields.symbols))

    def forward(self, bands_BFD: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Returns log probabilities (B, F, V)."""
        n_frames = bands_BFD.shape[1]
        bands_BDF = _silenced(bands_BFD.transpose(1, 2), frames_B)
        hidden_BDF = _silenced(functional.gelu(self.first(bands_BDF)), frames_B)
        hidden_BDF = functional.pad(hidden_BDF, (0, -n_frames % STRIDE))
        hidden_BFD = self.dropout(functional.gelu(self.second(hidden_BDF)).transpose(1, 2))
        hidden_BFD = self.dropout(self._recur(hidden_BFD, frames_B))
        logits_BFV = self.readout(hidden_BFD).reshape(len(bands_BFD), hidden_BFD.shape[1] * STRIDE, -1)
        log_probs_BFV: Tensor = logits_BFV[:, :n_frames].float().log_softmax(-1)
        return log_probs_BFV

    def _recur(self, hidden_BFD: Tensor, frames_B: Tensor | None) -> Tensor:
        if frames_B is None:
            whole_BFD: Tensor = self.recurrent(hidden_BFD)[0]
            return whole_BFD
        steps_B = -(-frames_B // STRIDE)
        return self._packed(hidden_BFD, steps_B) if hidden_BFD.is_cuda else self._turned(hidden_BFD, steps_B)

    def _packed(self, hidden_BFD: Tensor, steps_B: Tensor) -> Tensor:
        packed = pack_padded_sequence(hidden_BFD, steps_B, batch_first=True, enforce_sorted=False)
        padded_BFD: Tensor = pad_packed_sequence(
            self.recurrent(packed)[0], batch_first=True, total_length=hidden_BFD.shape[1]
        )[0]
        return padded_BFD

    def _turned(self, hidden_BFD: Tensor, steps_B: Tensor) -> Tensor:
        """Returns what `_packed` does, in half the time of a step on a CPU, where packed sequences are slow.

        For the way back each sample is turned round by its own length, so what lies behind it is read last.
        """
        steps_F = torch.arange(hidden_BFD.shape[1])
        is_inside_BF = steps_F < steps_B[:, None]
        turned_BF1 = torch.where(is_inside_BF, steps_B[:, None] - 1 - steps_F, steps_F)[..., None]
        gru = self.recurrent
        for layer in range(gru.num_layers):
            ahead_BFD = self._one_way(hidden_BFD, f"l{layer}")
            back_BFD = self._one_way(_taken(hidden_BFD, turned_BF1), f"l{layer}_reverse")
            hidden_BFD = torch.cat([ahead_BFD, _taken(back_BFD, turned_BF1)], 2)
            if layer + 1 < gru.num_layers:
                hidden_BFD = functional.dropout(hidden_BFD, gru.dropout, self.training)
        return hidden_BFD * is_inside_BF[..., None]

    def _one_way(self, hidden_BFD: Tensor, suffix: str) -> Tensor:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [getattr(self.recurrent, f"{name}_{suffix}") for name in names]
        start_1BD = hidden_BFD.new_zeros(1, len(hidden_BFD), self.recurrent.hidden_size)
        found_BFD: Tensor = torch.gru(hidden_BFD, start_1BD, weights, True, 1, 0.0, False, False, True)[0]
        return found_BFD


def _taken(series_BFD: Tensor, order_BF1: Tensor) -> Tensor:
    """Returns each sample's frames in another order."""
    return series_BFD.gather(1, order_BF1.expand_as(series_BFD))


def _silenced(series_BDF: Tensor, frames_B: Tensor | None) -> Tensor:
    """Returns a series that is 0 after each sample's end, as a convolution takes it to be after the last frame."""
    if frames_B is None:
        return series_BDF
    inside_BF = torch.arange(series_BDF.shape[2]) < frames_B[:, None]
    return series_BDF * inside_BF[:, None].to(series_BDF)
