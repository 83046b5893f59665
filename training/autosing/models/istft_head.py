"""A generator that shapes spectra: of pulses and noise where F0 is known, from nothing where it is not."""

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autosing.models.acoustic import ConvBlocks, zero_linear
from autosing.signal.mel import MelSpec, mel_filters, padded_window

Floats = npt.NDArray[np.float32]

# Nats; what a filter may do to the excitation.
QUIETEST, LOUDEST = -14.0, 10.0
# Of noise beside pulses before anything is learned.
BREATH = -3.0
_TINY = 1e-7


class IstftHead(nn.Module):
    """Hidden frames (B, F, D) to waves (B, F hop), by one spectrum for each frame and overlap-add.

    With F0 the spectrum is that of the excitation times a filter, which begins as the one that gives it the mel of the
    input; without, its magnitude begins as the mel's and its phase is learned.
    """

    def __init__(self, spec: MelSpec, dim: int, layers: int, use_f0: bool) -> None:
        super().__init__()
        self.spec, self.use_f0 = spec, use_f0
        n_bins = spec.n_fft // 2 + 1
        self.blocks = ConvBlocks(dim, layers, dropout=0.0)
        self.norm = nn.LayerNorm(dim)
        # Log magnitude, and cosine and sine of the phase; with F0, level of the noise beside the pulses, too.
        self.out = zero_linear(dim, (4 if use_f0 else 3) * n_bins)
        if not use_f0:
            nn.init.normal_(self.out.weight, std=0.02)
        filters_MN = mel_filters(spec)
        self.register_buffer("filters", torch.from_numpy(filters_MN), persistent=False)
        self.register_buffer("spread", torch.from_numpy(_interpolation(filters_MN)), persistent=False)
        self.register_buffer("window", padded_window(spec), persistent=False)
        self.filters: Tensor
        self.spread: Tensor
        self.window: Tensor

    @property
    def context_frames(self) -> int:
        """Frames on either side that a frame depends on."""
        return self.blocks.context_frames + 2 * -(-self.spec.n_fft // self.spec.hop)

    def forward(self, hidden_BFD: Tensor, mask_BF1: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns waves (B, F hop); `mel`, `pulses` and `noise` of the inputs are looked at where they are there."""
        raw_BFK = self.out(self.norm(self.blocks(hidden_BFD, mask_BF1))).float()
        with torch.autocast(raw_BFK.device.type, enabled=False):
            spectrum_BFN = self._excited(raw_BFK, inputs) if self.use_f0 else self._from_nothing(raw_BFK, inputs)
            return self._wave(spectrum_BFN, mask_BF1)

    def _excited(self, raw_BFK: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        gain_BFN, cosine_BFN, sine_BFN, breath_BFN = raw_BFK.chunk(4, dim=-1)
        pulses_BT, noise_BT = inputs["pulses"].float(), inputs["noise"].float()
        excitation_BFN = self._spectrum(torch.where(pulses_BT == 0, noise_BT, pulses_BT))
        noise_BFN = self._spectrum(noise_BT)
        log_filter_BFN = gain_BFN
        if "mel" in inputs:
            # With the breath, or bands between two harmonics would be raised without end.
            heard_BFM = self._log_mel(excitation_BFN + math.exp(BREATH) * noise_BFN)
            log_filter_BFN = log_filter_BFN + self._from_mel(inputs["mel"].float() - heard_BFM)
        # A rotation by a small angle at first: cosine 1, sine 0.
        turn_BFN = torch.complex(1 + cosine_BFN, sine_BFN)
        breathing_BFN = noise_BFN * (BREATH + breath_BFN).clamp(QUIETEST, LOUDEST).exp()
        level_BFN = log_filter_BFN.clamp(QUIETEST, LOUDEST).exp()
        return level_BFN * (excitation_BFN * turn_BFN + breathing_BFN)

    def _from_nothing(self, raw_BFK: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        log_BFN, cosine_BFN, sine_BFN = raw_BFK.chunk(3, dim=-1)
        if "mel" in inputs:
            # Of a band's sum each bin has its share.
            log_BFN = log_BFN + self._from_mel(inputs["mel"].float() - self.filters.sum(1).log())
        phase_BFN = torch.complex(cosine_BFN, sine_BFN)
        phase_BFN = phase_BFN / phase_BFN.abs().clamp(min=_TINY)
        return log_BFN.clamp(QUIETEST, LOUDEST).exp() * phase_BFN

    def _from_mel(self, log_BFM: Tensor) -> Tensor:
        return log_BFM @ self.spread

    def _log_mel(self, spectrum_BFN: Tensor) -> Tensor:
        magnitude_BFN = (spectrum_BFN.real.square() + spectrum_BFN.imag.square() + _TINY**2).sqrt()
        return (magnitude_BFN @ self.filters.T).clamp(min=_TINY).log()

    def _spectrum(self, wave_BT: Tensor) -> Tensor:
        """Returns spectra (B, F, N) at the centres of the mel's frames."""
        padded = nn.functional.pad(wave_BT, (self.spec.pad, self.spec.n_fft - self.spec.hop - self.spec.pad))
        spectrum_BFN: Tensor = torch.fft.rfft(padded.unfold(1, self.spec.n_fft, self.spec.hop) * self.window)
        return spectrum_BFN

    def _wave(self, spectrum_BFN: Tensor, mask_BF1: Tensor) -> Tensor:
        """Returns the wave (B, F hop) whose spectra are nearest to these, as far as there are frames."""
        frames_BFT = torch.fft.irfft(spectrum_BFN, n=self.spec.n_fft) * self.window * mask_BF1
        wave_BT, weight_BT = (self._added(frames) for frames in (frames_BFT, self.window.square() * mask_BF1))
        return wave_BT / weight_BT.clamp(min=1e-2)

    def _added(self, frames_BFT: Tensor) -> Tensor:
        n_frames, spec = frames_BFT.shape[1], self.spec
        length = (n_frames - 1) * spec.hop + spec.n_fft
        folded = nn.functional.fold(frames_BFT.transpose(1, 2), (1, length), (1, spec.n_fft), stride=(1, spec.hop))
        return folded[:, 0, 0, spec.pad : spec.pad + n_frames * spec.hop]


def _interpolation(filters_MN: Floats) -> Floats:
    """Returns weights (M, N) that bring values of bands to bins; bins that no band hears have the nearest band's."""
    weights = filters_MN / np.maximum(filters_MN.max(1, keepdims=True), _TINY)
    total = weights.sum(0)
    heard = np.flatnonzero(total > _TINY)
    nearest = heard[np.abs(heard[:, None] - np.arange(len(total))).argmin(0)]
    found: Floats = (weights[:, nearest] / total[nearest]).astype(np.float32)
    return found
