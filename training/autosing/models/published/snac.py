"""SNAC as published (Siuzdak et al., 2024): convolutions, attention inside windows, and residual levels at own rates.

A latent is `prod(encoder_rates)` samples, and a code of a level as many latents as its stride says.
"""

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from autosing.models.published.snac_fields import SnacFields
from autosing.signal.errors import CheckpointError

HEAD_DIM = 64
KERNEL = 7
DILATIONS = (1, 3, 9)
_TINY = 1e-9


class Snac(nn.Module):
    """Waves (B, T) to codes, one (B, N) for each level, and back; T is in whole units."""

    def __init__(self, fields: SnacFields) -> None:
        super().__init__()
        self.fields = fields
        self.encoder = _Nested(list(_encoder(fields)))
        self.quantizer = _Levels(fields)
        self.decoder = _Decoder(list(_decoder(fields)))

    def encode(self, wave_BT: Tensor, n_levels: int) -> list[Tensor]:
        """Returns the codes (B, N) of the first levels."""
        left_BDN, codes = self.encoder(wave_BT[:, None]), []
        for level in self.quantizer.first(n_levels):
            codes.append(level.codes(left_BDN))
            left_BDN = left_BDN - level.latents(codes[-1])
        return codes

    def decode(self, codes: Sequence[Tensor], noises: Sequence[Tensor]) -> Tensor:
        """Returns waves (B, T) of the codes (B, N) of the first levels.

        Args:
            codes: of each level.
            noises: white noise (B, T at that rate) after each step up; see `noise_rates`. Looked at where there is any.
        """
        levels = self.quantizer.first(len(codes))
        latent_BDN = torch.stack([level.latents(one) for level, one in zip(levels, codes, strict=True)]).sum(0)
        wave_BT: Tensor = self.decoder(latent_BDN, noises)[:, 0]
        return wave_BT

    @property
    def noise_rates(self) -> tuple[int, ...]:
        """Values to a latent of the noise after each step up; none where the decoder adds no noise."""
        rates = self.fields.decoder_rates
        return tuple(prod(rates[: n + 1]) for n in range(len(rates))) if self.fields.noise else ()


class _Level(nn.Module):
    """A quantiser of means over `stride` latents, which looks for the nearest direction in few dimensions."""

    def __init__(self, fields: SnacFields, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.in_proj = nn.Conv1d(fields.latents, fields.codebook_dim, 1)
        self.out_proj = nn.Conv1d(fields.codebook_dim, fields.latents, 1)
        self.codebook = nn.Embedding(fields.codebook_size, fields.codebook_dim)

    def codes(self, latent_BDN: Tensor) -> Tensor:
        """Returns codes (B, N / stride)."""
        means_BNK = self.in_proj(functional.avg_pool1d(latent_BDN, self.stride)).transpose(1, 2)
        likeness_BNV = functional.normalize(means_BNK, dim=-1) @ functional.normalize(self.codebook.weight, dim=-1).T
        return likeness_BNV.argmax(-1)

    def latents(self, codes_BN: Tensor) -> Tensor:
        """Returns what codes stand for (B, D, N stride)."""
        found: Tensor = self.out_proj(self.codebook(codes_BN).transpose(1, 2))
        return found.repeat_interleave(self.stride, dim=-1)


class _Levels(nn.Module):
    def __init__(self, fields: SnacFields) -> None:
        super().__init__()
        self.quantizers = nn.ModuleList(_Level(fields, stride) for stride in fields.vq_strides)

    def first(self, n: int) -> list[_Level]:
        """Returns the first levels."""
        levels = list(self.quantizers)[:n]
        return [level for level in levels if isinstance(level, _Level)]


class _Decoder(nn.Module):
    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, x_BDN: Tensor, noises: Sequence[Tensor]) -> Tensor:
        left = iter(noises)
        for layer in self.model:
            x_BDN = layer(x_BDN, left) if isinstance(layer, _Up) else layer(x_BDN)
        return x_BDN


def _encoder(fields: SnacFields) -> Iterator[nn.Module]:
    width = fields.encoder_dim
    yield nn.Conv1d(1, width, KERNEL, padding=KERNEL // 2)
    for rate in fields.encoder_rates:
        down = nn.Conv1d(width, 2 * width, 2 * rate, rate, padding=-(-rate // 2))
        yield _Nested([*_residuals(width, fields.depthwise), _Snake(width), down])
        width *= 2
    if fields.attn_window_size:
        yield _WindowedAttention(width, fields.attn_window_size)
    yield nn.Conv1d(width, width, KERNEL, padding=KERNEL // 2, groups=width if fields.depthwise else 1)


def _decoder(fields: SnacFields) -> Iterator[nn.Module]:
    latents, width = fields.latents, fields.decoder_dim
    if fields.depthwise:
        yield nn.Conv1d(latents, latents, KERNEL, padding=KERNEL // 2, groups=latents)
        yield nn.Conv1d(latents, width, 1)
    else:
        yield nn.Conv1d(latents, width, KERNEL, padding=KERNEL // 2)
    if fields.attn_window_size:
        yield _WindowedAttention(width, fields.attn_window_size)
    for rate in fields.decoder_rates:
        yield _Up(width, rate, fields)
        width //= 2
    yield _Snake(width)
    yield nn.Conv1d(width, 1, KERNEL, padding=KERNEL // 2)
    yield nn.Tanh()


def _residuals(width: int, depthwise: bool) -> "list[_Residual]":
    return [_Residual(width, dilation, width if depthwise else 1) for dilation in DILATIONS]


class _Nested(nn.Module):
    """Layers one after the other, one name deeper."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x_BCT: Tensor) -> Tensor:
        made: Tensor = self.block(x_BCT)
        return made


class _Residual(_Nested):
    """A dilated convolution and one over channels, each after an activation, with a residual."""

    def __init__(self, width: int, dilation: int, groups: int) -> None:
        padding = KERNEL // 2 * dilation
        dilated = nn.Conv1d(width, width, KERNEL, dilation=dilation, padding=padding, groups=groups)
        super().__init__([_Snake(width), dilated, _Snake(width), nn.Conv1d(width, width, 1)])

    def forward(self, x_BCT: Tensor) -> Tensor:
        return x_BCT + super().forward(x_BCT)


class _Up(nn.Module):
    """A step up to half the width, noise as loud as the channels say, and residual layers."""

    def __init__(self, width: int, rate: int, fields: SnacFields) -> None:
        super().__init__()
        padding = -(-rate // 2)
        up = nn.ConvTranspose1d(width, width // 2, 2 * rate, rate, padding=padding, output_padding=rate % 2)
        noise = [_Noise(width // 2)] if fields.noise else []
        self.block = nn.Sequential(_Snake(width), up, *noise, *_residuals(width // 2, fields.depthwise))

    def forward(self, x_BCT: Tensor, noises: Iterator[Tensor]) -> Tensor:
        for layer in self.block:
            x_BCT = layer(x_BCT, next(noises)) if isinstance(layer, _Noise) else layer(x_BCT)
        return x_BCT


class _Noise(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, x_BCT: Tensor, noise_BT: Tensor) -> Tensor:
        loud_BCT: Tensor = self.linear(x_BCT)
        return x_BCT + noise_BT[:, None] * loud_BCT


class _Snake(nn.Module):
    """x + sin²(a x) / a; each channel has its own a."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, width, 1))

    def forward(self, x_BCT: Tensor) -> Tensor:
        return x_BCT + torch.sin(self.alpha * x_BCT).square() / (self.alpha + _TINY)


class _WindowedAttention(nn.Module):
    """Attention of latents to those of the same window, with rotary positions (Su et al., 2021) and a residual."""

    def __init__(self, width: int, window: int) -> None:
        super().__init__()
        if width % HEAD_DIM:
            raise CheckpointError(f"snac: attention of width {width} has no whole heads of {HEAD_DIM}")
        self.window, self.heads = window, width // HEAD_DIM
        self.norm = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, x_BDN: Tensor) -> Tensor:
        windows_WND = x_BDN.transpose(1, 2).reshape(-1, self.window, x_BDN.shape[1])
        heads = self.to_qkv(self.norm(windows_WND)).unflatten(-1, (3, self.heads, HEAD_DIM)).permute(2, 0, 3, 1, 4)
        query, key, value = heads
        mixed: Tensor = functional.scaled_dot_product_attention(_rotated(query), _rotated(key), value)
        out_WND: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return x_BDN + out_WND.reshape(len(x_BDN), -1, x_BDN.shape[1]).transpose(1, 2)


def rotary_frequencies() -> Tensor:
    """Returns the angle per latent of each pair of a head's dimensions (D / 2,)."""
    return 10_000.0 ** -(torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)


def _rotated(x_WHND: Tensor) -> Tensor:
    """Returns vectors whose pairs, a dimension and the one half the head further, are turned by their place."""
    place_N = torch.arange(x_WHND.shape[2], device=x_WHND.device)
    angle_ND = place_N[:, None] * rotary_frequencies().to(x_WHND.device)
    cosine_ND, sine_ND = angle_ND.cos(), angle_ND.sin()
    first, second = x_WHND.chunk(2, dim=-1)
    return torch.cat([first * cosine_ND - second * sine_ND, second * cosine_ND + first * sine_ND], dim=-1)
