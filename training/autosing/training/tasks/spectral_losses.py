"""How far waves are from their targets, as losses: log-mels and log magnitudes at several resolutions.

Each gives for every sample of a batch the sum over the frames of one hop, so that it is divided by the true frames of
all samples; in padding both waves are silent and nothing is added.
"""

import functools
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from autosing.signal.mel import MelSpec, log_mel_torch
from autosing.training.metrics.spectral import POWER_FLOOR, RESOLUTIONS

# A spectrogram's length beside the spec's, with as many bands in proportion.
MEL_SCALES = (0.5, 1.0, 2.0)


def log_mel_loss(made_BT: Tensor, true_BT: Tensor, spec: MelSpec) -> Tensor:
    """Returns the mean absolute difference of log-mels in nats, times frames, (B,)."""
    return torch.stack([_mel_distance(made_BT, true_BT, scaled, spec.hop) for scaled in _scales(spec)]).mean(0)


def log_magnitude_loss(made_BT: Tensor, true_BT: Tensor, hop: int) -> Tensor:
    """Returns the mean absolute difference of log magnitudes in nats, times frames of `hop`, (B,)."""
    distances = []
    for resolution in RESOLUTIONS:
        apart_BNF = (_log_magnitude(made_BT, resolution) - _log_magnitude(true_BT, resolution)).abs()
        distances.append(apart_BNF.mean(1).sum(1) * resolution[1] / hop)
    return torch.stack(distances).mean(0)


def _mel_distance(made_BT: Tensor, true_BT: Tensor, spec: MelSpec, hop: int) -> Tensor:
    made_BMF, true_BMF = (log_mel_torch(wave, spec) for wave in (made_BT, true_BT))
    return (made_BMF - true_BMF).abs().mean(1).sum(1) * spec.hop / hop


@functools.cache
def _scales(spec: MelSpec) -> tuple[MelSpec, ...]:
    return tuple(
        replace(
            spec,
            n_fft=round(spec.n_fft * scale),
            hop=round(spec.hop * scale),
            win=round(spec.win * scale),
            n_mels=max(round(spec.n_mels * min(scale, 1.0)), 1),
        )
        for scale in MEL_SCALES
    )


def _log_magnitude(wave_BT: Tensor, resolution: tuple[int, int, int]) -> Tensor:
    n_fft, hop, win = resolution
    with torch.autocast(wave_BT.device.type, enabled=False):
        padded = functional.pad(wave_BT.float(), (n_fft // 2, n_fft // 2))
        window = torch.hann_window(win, device=wave_BT.device)
        spectrum = torch.stft(padded, n_fft, hop, win, window, center=False, return_complex=True)
        return (spectrum.real.square() + spectrum.imag.square()).clamp(min=POWER_FLOOR).log() / 2
