"""BigVGAN as published, v1 and v2 (Lee et al., 2023): HiFi-GAN with periodic activations that are kept from aliasing.

An activation works at twice the rate, between two low-pass filters.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import pi
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from autosing.models.published.config import GanConfig, typed
from autosing.models.published.hifigan import ENDS, HifiGanFields, mean_of, same, stacks_after, ups
from autosing.signal.errors import UsageError

ACTIVATIONS = ("snake", "snakebeta")
# Length of both low-pass filters, and the width of their slope as a share of the sample rate, twice as high.
TAPS, SLOPE_WIDTH = 12, 0.3
# Samples on either side that an activation sees.
BESIDE = 6
_TINY = 1e-9


@dataclass(frozen=True)
class BigVganFields(HifiGanFields):
    """What a BigVGAN is built from.

    Attributes:
        activation: `snake`, or `snakebeta` whose strength is apart from its frequency.
        log_scale: whether frequency and strength are stored as logarithms.
        last_bias: whether the last convolution has one.
        last_tanh: whether the wave is bent to -1 to 1, and not clipped.

    Raises:
        UsageError: the numbers do not fit each other.
    """

    activation: str
    log_scale: bool
    last_bias: bool
    last_tanh: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.activation not in ACTIVATIONS:
            raise UsageError(f"activation is {self.activation!r}; there are: {', '.join(ACTIVATIONS)}")


@dataclass(frozen=True)
class _Kind:
    activation: str
    snake_logscale: bool
    use_bias_at_final: bool = True
    use_tanh_at_final: bool = True


def bigvgan_fields(config: GanConfig, told: Mapping[str, Any], where: str) -> BigVganFields:
    """Returns the fields of a published config."""
    kind = typed(_Kind, told, where)
    return BigVganFields(
        config.spec.as_mapping(), **config.sizes, activation=kind.activation, log_scale=kind.snake_logscale,
        last_bias=kind.use_bias_at_final, last_tanh=kind.use_tanh_at_final,
    )  # fmt: skip


class BigVgan(nn.Module):
    """Mels (B, F, M) to waves (B, F hop)."""

    fields_type: ClassVar = BigVganFields
    use_f0: ClassVar[bool] = False

    def __init__(self, fields: BigVganFields) -> None:
        super().__init__()
        self.fields, self.spec = fields, fields.spec
        widths = fields.widths
        self.conv_pre = nn.Conv1d(self.spec.n_mels, widths[0], 2 * ENDS + 1, padding=ENDS)
        # The published names of the layers have room for several in a step.
        self.ups = nn.ModuleList(nn.ModuleList([up]) for up in ups(fields))
        stacks = list(zip(fields.kernels, fields.dilations, strict=True))
        stack_type = _Pairs if fields.resblock == "1" else _Singles
        self.resblocks = nn.ModuleList(stack_type(fields, width, k, d) for width in widths[1:] for k, d in stacks)
        self.activation_post = Activation(fields, widths[-1])
        self.conv_post = nn.Conv1d(widths[-1], 1, 2 * ENDS + 1, padding=ENDS, bias=fields.last_bias)

    @property
    def context_frames(self) -> int:
        """Frames on either side that a frame depends on."""
        return self.fields.context_frames(BESIDE)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns waves (B, F hop) of `mel` (B, F, M)."""
        x_BCF = self.conv_pre(inputs["mel"].transpose(1, 2))
        for n, step in enumerate(self.ups):
            assert isinstance(step, nn.ModuleList)
            x_BCF = mean_of(stacks_after(self.resblocks, n, len(self.fields.kernels)), step[0](x_BCF))
        wave_BT: Tensor = self.conv_post(self.activation_post(x_BCF))[:, 0]
        return torch.tanh(wave_BT) if self.fields.last_tanh else wave_BT.clamp(-1, 1)


class _Pairs(nn.Module):
    """Pairs of convolutions, a dilated and a plain one, each after an activation; each pair with a residual."""

    def __init__(self, fields: BigVganFields, width: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same(width, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(same(width, kernel, 1) for _ in dilations)
        self.activations = nn.ModuleList(Activation(fields, width) for _ in range(2 * len(dilations)))

    def forward(self, x_BCF: Tensor) -> Tensor:
        acts = list(self.activations)
        for dilated, plain, before, between in zip(self.convs1, self.convs2, acts[::2], acts[1::2], strict=True):
            x_BCF = x_BCF + plain(between(dilated(before(x_BCF))))
        return x_BCF


class _Singles(nn.Module):
    """Dilated convolutions, each after an activation and with a residual."""

    def __init__(self, fields: BigVganFields, width: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(same(width, kernel, dilation) for dilation in dilations)
        self.activations = nn.ModuleList(Activation(fields, width) for _ in dilations)

    def forward(self, x_BCF: Tensor) -> Tensor:
        for dilated, before in zip(self.convs, self.activations, strict=True):
            x_BCF = x_BCF + dilated(before(x_BCF))
        return x_BCF


class Activation(nn.Module):
    """A periodic activation at twice the rate (B, C, T)."""

    def __init__(self, fields: BigVganFields, width: int) -> None:
        super().__init__()
        self.act = _Snake(width, fields.activation == "snakebeta", fields.log_scale)
        self.register_buffer("taps", torch.from_numpy(low_pass()), persistent=False)
        self.taps: Tensor

    def forward(self, x_BCT: Tensor) -> Tensor:
        return halved(self.act(doubled(x_BCT, self.taps)), self.taps)


class _Snake(nn.Module):
    """x + sin²(a x) / b, where b is a unless it has values of its own; each channel has its own."""

    def __init__(self, width: int, has_beta: bool, log_scale: bool) -> None:
        super().__init__()
        self._log_scale = log_scale
        begin = torch.zeros(width) if log_scale else torch.ones(width)
        self.alpha = nn.Parameter(begin)
        self.beta = nn.Parameter(begin.clone()) if has_beta else None

    def forward(self, x_BCT: Tensor) -> Tensor:
        alpha_C1 = self._scale(self.alpha)
        strength_C1 = alpha_C1 if self.beta is None else self._scale(self.beta)
        return x_BCT + torch.sin(alpha_C1 * x_BCT).square() / (strength_C1 + _TINY)

    def _scale(self, stored_C: Tensor) -> Tensor:
        return (stored_C.exp() if self._log_scale else stored_C)[:, None]


def doubled(x_BCT: Tensor, taps_N: Tensor) -> Tensor:
    """Returns waves at twice the rate (B, C, 2 T): zeros between the samples, and the low-pass filter."""
    beside, width = TAPS // 2 - 1, x_BCT.shape[1]
    padded = functional.pad(x_BCT, (beside, beside), mode="replicate")
    stuffed = functional.conv_transpose1d(padded, taps_N.expand(width, 1, -1), stride=2, groups=width)
    first = 2 * beside + TAPS // 2 - 1
    return 2 * stuffed[..., first : first + 2 * x_BCT.shape[-1]]


def halved(x_BCT: Tensor, taps_N: Tensor) -> Tensor:
    """Returns waves at half the rate (B, C, T / 2): the low-pass filter, and every other sample."""
    padded = functional.pad(x_BCT, (TAPS // 2 - 1, TAPS // 2), mode="replicate")
    return functional.conv1d(padded, taps_N.expand(x_BCT.shape[1], 1, -1), stride=2, groups=x_BCT.shape[1])


def low_pass() -> npt.NDArray[np.float32]:
    """Returns a sinc under Kaiser's window (N,) that halves the band; its sum is 1.

    Kaiser's formulas (1974) give the window's shape from the attenuation, and that from the slope's width.
    """
    attenuation_db = 2.285 * (TAPS // 2 - 1) * 4 * SLOPE_WIDTH * pi + 7.95
    beta = 0.1102 * (attenuation_db - 8.7)
    places = np.arange(TAPS) - (TAPS - 1) / 2
    taps = np.kaiser(TAPS, beta) * np.sinc(places / 2)
    found: npt.NDArray[np.float32] = (taps / taps.sum()).astype(np.float32)
    return found
