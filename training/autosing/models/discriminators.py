"""Who hears whether a wave was made: judges of its periods (HiFi-GAN) and of its spectra (UnivNet).

Each judge gives for every sample of a batch its opinion at many places, and what its layers heard on the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

PERIODS = (2, 3, 5, 7, 11)
# FFT and hop.
RESOLUTIONS = ((512, 128), (1024, 256), (2048, 512))
SLOPE = 0.1
_TINY = 1e-7


@dataclass(frozen=True)
class Judgement:
    """Of one judge: opinions (B, ...), 1 for real, and what its layers heard, each (B, ...)."""

    opinions: Tensor
    features: Sequence[Tensor]


class Discriminators(nn.Module):
    """All judges; `channels` is the width of the widest layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.judges = nn.ModuleList(
            [
                *(PeriodJudge(period, channels) for period in PERIODS),
                *(SpectrumJudge(*r, channels) for r in RESOLUTIONS),
            ]
        )

    def forward(self, wave_BT: Tensor) -> list[Judgement]:
        """Returns every judge's judgement of waves (B, T)."""
        return [judge(wave_BT) for judge in self.judges]


class PeriodJudge(nn.Module):
    """Looks at every `period`-th sample, side by side."""

    def __init__(self, period: int, channels: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, *(max(channels // 2**n, 4) for n in (3, 2, 1, 0, 0))]
        steps = (3, 3, 3, 3, 1)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (step, 1), (2, 0)))
            for a, b, step in zip(widths, widths[1:], steps, strict=False)
        )
        self.last = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave_BT: Tensor) -> Judgement:
        """Returns the judgement of waves (B, T)."""
        missing = -wave_BT.shape[1] % self.period
        padded_BT = functional.pad(wave_BT, (0, missing))
        folded = padded_BT.reshape(len(wave_BT), 1, -1, self.period)
        return _judged(folded, self.layers, self.last)


class SpectrumJudge(nn.Module):
    """Looks at magnitudes of spectra."""

    def __init__(self, n_fft: int, hop: int, channels: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        width = max(channels // 8, 4)
        self.layers = nn.ModuleList(
            [
                weight_norm(nn.Conv2d(1, width, (3, 9), padding=(1, 4))),
                *(weight_norm(nn.Conv2d(width, width, (3, 9), (1, 2), padding=(1, 4))) for _ in range(3)),
                weight_norm(nn.Conv2d(width, width, 3, padding=1)),
            ]
        )
        self.last = weight_norm(nn.Conv2d(width, 1, 3, padding=1))
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.window: Tensor

    def forward(self, wave_BT: Tensor) -> Judgement:
        """Returns the judgement of waves (B, T)."""
        with torch.autocast(wave_BT.device.type, enabled=False):
            magnitude_BNF = magnitudes(wave_BT.float(), self.n_fft, self.hop, self.window)
        return _judged(magnitude_BNF.transpose(1, 2)[:, None], self.layers, self.last)


def magnitudes(wave_BT: Tensor, n_fft: int, hop: int, window: Tensor) -> Tensor:
    """Returns magnitudes of spectra (B, N, F), centred at every hop; their gradient is finite in silence, too."""
    padded = functional.pad(wave_BT, (n_fft // 2, n_fft // 2))
    spectrum = torch.stft(padded, n_fft, hop, len(window), window, center=False, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + _TINY).sqrt()


def _judged(x: Tensor, layers: nn.ModuleList, last: nn.Module) -> Judgement:
    features = []
    for layer in layers:
        x = functional.leaky_relu(layer(x), SLOPE)
        features.append(x)
    return Judgement(last(x).flatten(1), features)


def adversarial_loss(made: Sequence[Judgement]) -> Tensor:
    """Returns how far what was made is from being called real, (B,): least squares (Mao et al., 2017)."""
    return torch.stack([(one.opinions.float() - 1).square().mean(1) for one in made]).mean(0)


def discriminator_loss(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """Returns how wrong the judges are about what is real and what was made, (B,)."""
    wrong = [
        (a.opinions.float() - 1).square().mean(1) + b.opinions.float().square().mean(1)
        for a, b in zip(real, made, strict=True)
    ]
    return torch.stack(wrong).mean(0)


def feature_loss(real: Sequence[Judgement], made: Sequence[Judgement]) -> Tensor:
    """Returns how far apart is what the judges' layers hear, (B,), relative to how loud it is in what is real."""
    apart = [
        (x.detach().float() - y.float()).abs().flatten(1).mean(1) / x.detach().float().abs().mean().clamp(min=_TINY)
        for a, b in zip(real, made, strict=True)
        for x, y in zip(a.features, b.features, strict=True)
    ]
    return torch.stack(apart).mean(0)
