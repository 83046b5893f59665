"""HiFi-GAN's generator (Kong et al., 2020), with an excitation on its way up where F0 is given (NSF)."""

from collections.abc import Mapping
from math import ceil, prod

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from autosing.signal.errors import UsageError

KERNELS = (3, 7, 11)
DILATIONS = (1, 3, 5)
SLOPE = 0.1
# Width below which no step up goes.
LEAST_CHANNELS = 8


class HifiGan(nn.Module):
    """Hidden frames (B, F, D) to waves (B, F hop).

    Raises:
        UsageError: the steps up do not make the hop.
    """

    def __init__(self, hop: int, dim: int, channels: int, steps_up: tuple[int, ...], use_f0: bool) -> None:
        super().__init__()
        if prod(steps_up) != hop:
            raise UsageError(
                f"the steps up {list(steps_up)} make {prod(steps_up)} samples a frame, and the hop is {hop}"
            )
        self.hop, self.steps_up, self.use_f0 = hop, steps_up, use_f0
        self.first = weight_norm(nn.Conv1d(dim, channels, 7, padding=3))
        widths = [max(channels // 2**n, LEAST_CHANNELS) for n in range(len(steps_up) + 1)]
        self.ups = nn.ModuleList([_up(a, b, step) for a, b, step in zip(widths, widths[1:], steps_up, strict=False)])
        self.mixed = nn.ModuleList([_Mixed(width) for width in widths[1:]])
        self.excitations = nn.ModuleList(
            [_down(width, prod(steps_up[n + 1 :])) for n, width in enumerate(widths[1:]) if use_f0]
        )
        self.last = weight_norm(nn.Conv1d(widths[-1], 1, 7, padding=3))

    @property
    def context_frames(self) -> int:
        """Frames on either side that a frame depends on."""
        samples, step = 3.0, self.hop
        seen = 3.0 * self.hop
        for up in self.steps_up:
            step //= up
            residual = max(sum((k - 1) // 2 * (d + 1) for d in DILATIONS) for k in KERNELS)
            seen += step * (residual + up)
        return ceil((samples + seen) / self.hop) + 1

    def forward(self, hidden_BFD: Tensor, mask_BF1: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns waves (B, F hop); of `inputs`, `pulses` and `noise` are looked at where F0 is used."""
        x_BCF = self.first((hidden_BFD * mask_BF1).transpose(1, 2))
        excitation_B2T = torch.stack([inputs["pulses"], 0.1 * inputs["noise"]], dim=1) if self.use_f0 else None
        mask_B1F = mask_BF1.transpose(1, 2)
        for n, (up, mixed) in enumerate(zip(self.ups, self.mixed, strict=True)):
            x_BCF = up(functional.leaky_relu(x_BCF, SLOPE) * mask_B1F)
            mask_B1F = mask_B1F.repeat_interleave(self.steps_up[n], 2)
            if excitation_B2T is not None:
                x_BCF = x_BCF + self.excitations[n](excitation_B2T)
            x_BCF = mixed(x_BCF, mask_B1F)
        wave_B1T = torch.tanh(self.last(functional.leaky_relu(x_BCF, SLOPE) * mask_B1F))
        return wave_B1T[:, 0]


class _Mixed(nn.Module):
    """The mean of residual stacks that look at stretches of different lengths."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([_Residual(width, kernel) for kernel in KERNELS])

    def forward(self, x_BCF: Tensor, mask_B1F: Tensor) -> Tensor:
        return torch.stack([block(x_BCF, mask_B1F) for block in self.blocks]).mean(0)


class _Residual(nn.Module):
    """Three pairs of convolutions with growing dilation, each with a residual."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.wide = nn.ModuleList([_same(width, kernel, dilation) for dilation in DILATIONS])
        self.narrow = nn.ModuleList([_same(width, kernel, 1) for _ in DILATIONS])

    def forward(self, x_BCF: Tensor, mask_B1F: Tensor) -> Tensor:
        for wide, narrow in zip(self.wide, self.narrow, strict=True):
            y_BCF = wide(functional.leaky_relu(x_BCF, SLOPE) * mask_B1F)
            x_BCF = x_BCF + narrow(functional.leaky_relu(y_BCF, SLOPE) * mask_B1F)
        return x_BCF


def _same(width: int, kernel: int, dilation: int) -> nn.Module:
    conv = nn.Conv1d(width, width, kernel, dilation=dilation, padding=dilation * (kernel // 2))
    nn.init.normal_(conv.weight, std=0.01)
    normed: nn.Module = weight_norm(conv)
    return normed


def _up(width: int, out: int, step: int) -> nn.Module:
    """Returns a layer that makes every frame `step`; its kernel of two steps keeps centres where they are."""
    spare = step % 2
    conv = nn.ConvTranspose1d(width, out, 2 * step, step, padding=step // 2 + spare, output_padding=spare)
    nn.init.normal_(conv.weight, std=0.01)
    normed: nn.Module = weight_norm(conv)
    return normed


def _down(out: int, step: int) -> nn.Module:
    """Returns a layer that brings samples to a rate `step` times lower, centre to centre."""
    if step == 1:
        return nn.Conv1d(2, out, 1)
    spare = step % 2
    return nn.Conv1d(2, out, 2 * step - spare, step, padding=(step - spare) // 2)
