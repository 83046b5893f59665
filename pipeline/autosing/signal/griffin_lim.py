"""The vocoder without weights: a log-mel spectrogram becomes sound by the fast Griffin-Lim algorithm."""

import functools
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from autosing.signal.mel import MelSpec, mel_filters, padded_window

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float32]

MOMENTUM = 0.99
# A band counts as silent up to this far (nats) above the floor: more than float16 rounds by.
_FLOOR_MARGIN = 0.01
_FIT_UPDATES = 30
_TINY = 1e-12


def griffin_lim(log_mel: npt.NDArray[np.floating], spec: MelSpec, iterations: int = 32, seed: int = 0) -> Floats:
    """Returns a wave (F x hop,) whose log-mel spectrogram is close to `log_mel` (F, M).

    The linear magnitudes are a non-negative least-squares fit to the bands. Phases start at random and follow the fast
    Griffin-Lim algorithm with momentum 0.99 (Perraudin, Balazs and Sondergaard, 2013). Each iteration projects onto the
    spectra that `log_mel` sees: those of waves mirrored at their ends, so both ends are as good as the middle.
    Bands at the floor are silent.

    Args:
        log_mel: (F, M); the work takes about 40 kB of memory a frame.
        spec: what it means.
        iterations: projections; more are better and slower.
        seed: of the first phases; the same seed gives the same wave.
    """
    import torch

    if not len(log_mel):
        return np.zeros(0, np.float32)
    magnitude_FN = _linear_magnitude(torch.from_numpy(np.asarray(log_mel, np.float32)), spec)
    framing = _Framing(len(log_mel), spec)
    turns_FN = torch.rand(magnitude_FN.shape, generator=torch.Generator().manual_seed(seed))
    wave = framing.wave(torch.polar(magnitude_FN, 2 * torch.pi * turns_FN))
    previous_FN = None
    for _ in range(iterations):
        rebuilt_FN = framing.spectrum(wave)
        # The direction of c_n + a (c_n - c_(n-1)) is all that is used of it.
        ahead_FN = rebuilt_FN if previous_FN is None else rebuilt_FN - previous_FN * (MOMENTUM / (1 + MOMENTUM))
        previous_FN = rebuilt_FN
        wave = framing.wave(ahead_FN * (magnitude_FN / ahead_FN.abs().clamp(min=_TINY)))
    found: Floats = wave.numpy()
    return found


def _linear_magnitude(log_mel_FM: "Tensor", spec: MelSpec) -> "Tensor":
    """Returns non-negative magnitudes (F, N) of these mel bands, by Lee and Seung's updates (2001).

    On singing, 30 updates leave 0.02 of error per band (natural log), the clamped pseudo-inverse 0.09.
    """
    import torch

    filters_MN = _filters(spec)
    is_audible = log_mel_FM > np.log(spec.floor) + _FLOOR_MARGIN
    target_FN = torch.where(is_audible, log_mel_FM.exp(), 0) @ filters_MN
    magnitude_FN = target_FN / (filters_MN.sum(1) @ filters_MN).clamp(min=_TINY)
    for _ in range(_FIT_UPDATES):
        magnitude_FN = magnitude_FN * target_FN / (magnitude_FN @ filters_MN.T @ filters_MN).clamp(min=_TINY)
    return magnitude_FN


class _Framing:
    """The transform of `log_mel` and its least-squares inverse, for waves of a number of frames."""

    def __init__(self, n_frames: int, spec: MelSpec) -> None:

        self._spec, self._n_samples = spec, n_frames * spec.hop
        self._mirrored = min(spec.pad, self._n_samples - 1)
        self._window = padded_window(spec)
        self._weight = self._folded(self._window.square().expand(n_frames, -1)).clamp(min=1e-3)

    def spectrum(self, wave: "Tensor") -> "Tensor":
        """Returns the spectrum (F, N) of a wave (T,)."""
        import torch
        import torch.nn.functional as F

        k, spec = self._mirrored, self._spec
        wave = F.pad(wave[None], (k, k), mode="reflect")[0]
        # As in `log_mel`, zeros stand where a short wave has nothing to mirror.
        padded = F.pad(wave, (spec.pad - k, spec.n_fft - spec.hop - spec.pad - k))
        spectrum_FN: Tensor = torch.fft.rfft(padded.unfold(0, spec.n_fft, spec.hop) * self._window)
        return spectrum_FN

    def wave(self, spectrum_FN: "Tensor") -> "Tensor":
        """Returns the wave (T,) whose spectrum is nearest to this one (F, N)."""
        import torch

        frames_FT = torch.fft.irfft(spectrum_FN, n=self._spec.n_fft) * self._window
        return self._folded(frames_FT) / self._weight

    def _folded(self, frames_FT: "Tensor") -> "Tensor":
        """Returns frames added up to a wave (T,), their mirrored ends added to what they mirror."""
        pad, n, k = self._spec.pad, self._n_samples, self._mirrored
        padded = _overlap_add(frames_FT, self._spec.hop)
        wave = padded[pad : pad + n].clone()
        wave[1 : 1 + k] += padded[pad - k : pad].flip(0)
        wave[n - 1 - k : n - 1] += padded[pad + n : pad + n + k].flip(0)
        return wave


def _overlap_add(frames_FT: "Tensor", hop: int) -> "Tensor":
    """Returns the sum of frames (F, n_fft), each a hop after the one before, padded to whole hops."""
    import torch
    import torch.nn.functional as F

    n_frames = len(frames_FT)
    hops_FKH = F.pad(frames_FT, (0, -frames_FT.shape[1] % hop)).reshape(n_frames, -1, hop)
    n_hops = hops_FKH.shape[1]
    total_FH = torch.zeros(n_frames + n_hops - 1, hop)
    for i in range(n_hops):
        total_FH[i : i + n_frames] += hops_FKH[:, i]
    return total_FH.flatten()


@functools.cache
def _filters(spec: MelSpec) -> "Tensor":
    """Returns the mel filters (M, N)."""
    import torch

    with torch.inference_mode(False):
        return torch.from_numpy(mel_filters(spec))
