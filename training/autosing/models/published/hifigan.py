"""HiFi-GAN as published (Kong et al., 2020): steps up, each followed by the mean of several residual stacks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from autosing.models.published.config import GanConfig
from autosing.signal.errors import UsageError
from autosing.signal.mel import MelSpec

SLOPE = 0.1
KINDS = ("1", "2")
# Samples on either side that the first and the last convolution see.
ENDS = 3


@dataclass(frozen=True)
class HifiGanFields:
    """What a generator of HiFi-GAN's kind is built from.

    Attributes:
        mel: the `MelSpec` it is given, as a mapping.
        resblock: `1` where each dilated convolution of a residual stack is followed by a plain one, `2` where not.
        channels: width before the first step up; each halves it.
        steps_up: whose product is the hop.
        kernels_up: sizes of the kernels that step up.
        kernels: of the residual stacks, one each.
        dilations: of each stack's convolutions.

    Raises:
        UsageError: the numbers do not fit each other.
    """

    mel: Mapping[str, Any]
    resblock: str
    channels: int
    steps_up: Sequence[int]
    kernels_up: Sequence[int]
    kernels: Sequence[int]
    dilations: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        steps, kernels = list(self.steps_up), list(self.kernels_up)
        dilations = [dilation for stack in self.dilations for dilation in stack]
        if not self.kernels or min([*steps, *kernels, *self.kernels, *dilations]) < 1:
            raise UsageError(f"steps {steps}, kernels {list(self.kernels)}, dilations {dilations}: all are 1 or more")
        if prod(steps) != self.spec.hop:
            raise UsageError(f"the steps up {steps} make {prod(steps)} samples a frame, and the hop is {self.spec.hop}")
        if len(kernels) != len(steps) or any(k < s or (k - s) % 2 for k, s in zip(kernels, steps, strict=True)):
            raise UsageError(f"kernels of {kernels} can't step up by {steps}: each is its step and an even number more")
        if len(self.kernels) != len(self.dilations) or any(kernel % 2 == 0 for kernel in self.kernels):
            raise UsageError(f"residual kernels {list(self.kernels)}: there is an odd one for each list of dilations")
        if self.resblock not in KINDS:
            raise UsageError(f"resblock is {self.resblock!r}; there are: {', '.join(KINDS)}")
        if self.channels < 1 or self.channels % 2 ** len(steps):
            raise UsageError(f"a width of {self.channels} can't be halved {len(steps)} times")

    @property
    def spec(self) -> MelSpec:
        """The mel's definition."""
        return MelSpec(**self.mel)

    @property
    def widths(self) -> tuple[int, ...]:
        """Before the first step up, and after each."""
        return tuple(self.channels // 2**n for n in range(len(self.steps_up) + 1))

    def context_frames(self, beside: int = 0) -> int:
        """Frames on either side that a frame depends on.

        Args:
            beside: samples on either side that each activation between convolutions sees.
        """
        step, seen = self.spec.hop, ENDS * self.spec.hop
        plain = self.resblock == "1"
        for up, kernel_up in zip(self.steps_up, self.kernels_up, strict=True):
            seen += step * ceil(kernel_up / up)
            step //= up
            seen += step * max(
                sum(kernel // 2 * (d + plain) + beside * (1 + plain) for d in dilations)
                for kernel, dilations in zip(self.kernels, self.dilations, strict=True)
            )
        return ceil((seen + beside + ENDS) / self.spec.hop)


def hifigan_fields(config: GanConfig) -> HifiGanFields:
    """Returns the fields of a published config."""
    return HifiGanFields(config.spec.as_mapping(), **config.sizes)


class PublishedHifiGan(nn.Module):
    """Mels (B, F, M) to waves (B, F hop)."""

    fields_type: ClassVar[type[HifiGanFields]] = HifiGanFields
    use_f0: ClassVar[bool] = False

    def __init__(self, fields: HifiGanFields) -> None:
        super().__init__()
        self.fields, self.spec = fields, fields.spec
        widths = fields.widths
        self.conv_pre = nn.Conv1d(self.spec.n_mels, widths[0], 2 * ENDS + 1, padding=ENDS)
        self.ups = nn.ModuleList(ups(fields))
        stacks = list(zip(fields.kernels, fields.dilations, strict=True))
        stack_type = ResidualPairs if fields.resblock == "1" else Residuals
        self.resblocks = nn.ModuleList(stack_type(width, k, d) for width in widths[1:] for k, d in stacks)
        self.conv_post = nn.Conv1d(widths[-1], 1, 2 * ENDS + 1, padding=ENDS)

    @property
    def context_frames(self) -> int:
        """Frames on either side that a frame depends on."""
        return self.fields.context_frames()

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns waves (B, F hop) of `mel` (B, F, M)."""
        x_BCF = self.first(inputs["mel"].transpose(1, 2), inputs)
        for n, up in enumerate(self.ups):
            x_BCF = up(functional.leaky_relu(x_BCF, SLOPE))
            x_BCF = mean_of(stacks_after(self.resblocks, n, len(self.fields.kernels)), self.excited(n, x_BCF, inputs))
        # The last slope is another one in the published code, too.
        return torch.tanh(self.conv_post(functional.leaky_relu(x_BCF, 0.01)))[:, 0]

    def first(self, mel_BMF: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns what goes into the first step up (B, C, F)."""
        found: Tensor = self.conv_pre(mel_BMF)
        return found

    def excited(self, step: int, x_BCF: Tensor, inputs: Mapping[str, Tensor]) -> Tensor:
        """Returns what comes out of a step up, with what is added to it there: nothing."""
        return x_BCF


class ResidualPairs(nn.Module):
    """Pairs of convolutions, a dilated and a plain one, each pair with a residual."""

    def __init__(self, width: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same(width, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(same(width, kernel, 1) for _ in dilations)

    def forward(self, x_BCF: Tensor) -> Tensor:
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            y_BCF = dilated(functional.leaky_relu(x_BCF, SLOPE))
            x_BCF = x_BCF + plain(functional.leaky_relu(y_BCF, SLOPE))
        return x_BCF


class Residuals(nn.Module):
    """Dilated convolutions, each with a residual."""

    def __init__(self, width: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(same(width, kernel, dilation) for dilation in dilations)

    def forward(self, x_BCF: Tensor) -> Tensor:
        for dilated in self.convs:
            x_BCF = x_BCF + dilated(functional.leaky_relu(x_BCF, SLOPE))
        return x_BCF


def same(width: int, kernel: int, dilation: int) -> nn.Conv1d:
    """Returns a convolution that keeps length and width."""
    return nn.Conv1d(width, width, kernel, dilation=dilation, padding=dilation * (kernel // 2))


def ups(fields: HifiGanFields) -> list[nn.ConvTranspose1d]:
    """Returns the layers that step up."""
    sizes = zip(fields.widths, fields.widths[1:], fields.kernels_up, fields.steps_up, strict=False)
    return [nn.ConvTranspose1d(a, b, kernel, step, padding=(kernel - step) // 2) for a, b, kernel, step in sizes]


def stacks_after(resblocks: nn.ModuleList, step: int, n: int) -> list[nn.Module]:
    """Returns the `n` residual stacks after a step up."""
    return list(resblocks)[step * n : (step + 1) * n]


def mean_of(stacks: Sequence[nn.Module], x_BCF: Tensor) -> Tensor:
    """Returns the mean of what several stacks make of the same."""
    total = stacks[0](x_BCF)
    for stack in stacks[1:]:
        total = total + stack(x_BCF)
    mean: Tensor = total / len(stacks)
    return mean
