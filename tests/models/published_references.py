"""What published vocoders compute, written once more from the papers: plain functions of named weights."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.signal
import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]
Act = Callable[[Tensor, str], Tensor]


def weight(weights: Weights, name: str) -> Tensor:
    """Returns a layer's weight; a normalised one by torch's own function."""
    if f"{name}.weight" in weights:
        return weights[f"{name}.weight"]
    return torch._weight_norm(weights[f"{name}.weight_v"], weights[f"{name}.weight_g"], 0)


def conv(x: Tensor, weights: Weights, name: str, dilation: int = 1, **how: Any) -> Tensor:
    kernel = weight(weights, name)
    padding = how.pop("padding", (kernel.shape[-1] - 1) * dilation // 2)
    return F.conv1d(x, kernel, weights.get(f"{name}.bias"), dilation=dilation, padding=padding, **how)


def leaky(x: Tensor, name: str) -> Tensor:
    return F.leaky_relu(x, 0.1)


def gan(
    mel_FM: npt.NDArray[np.float32],
    config: Mapping[str, Any],
    weights: Weights,
    act: Act = leaky,
    excite: Callable[[int, Tensor], Tensor] = lambda n, x: x,
) -> npt.NDArray[np.float32]:
    """Returns the wave of a generator of HiFi-GAN's kind; `act` is told the name of what is activated.

    BigVGAN's has nothing before a step up, and its own activation before the last layer.
    """
    is_big = "activation" in config
    x = conv(torch.from_numpy(mel_FM.T)[None], weights, "conv_pre")
    stacks = list(zip(config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True))
    for n, (step, kernel) in enumerate(zip(config["upsample_rates"], config["upsample_kernel_sizes"], strict=True)):
        up = f"ups.{n}.0" if is_big else f"ups.{n}"
        x = x if is_big else leaky(x, up)
        x = F.conv_transpose1d(x, weight(weights, up), weights[f"{up}.bias"], step, (kernel - step) // 2)
        x = excite(n, x)
        each = [stack(x, weights, f"resblocks.{n * len(stacks) + k}", d, act) for k, (_, d) in enumerate(stacks)]
        x = torch.stack(each).mean(0)
    x = conv(act(x, "activation_post") if is_big else F.leaky_relu(x), weights, "conv_post")
    bend = torch.tanh if config.get("use_tanh_at_final", True) else lambda wave: wave.clamp(-1, 1)
    return bend(x)[0, 0].numpy()


def stack(x: Tensor, weights: Weights, name: str, dilations: list[int], act: Act) -> Tensor:
    for n, dilation in enumerate(dilations):
        if f"{name}.convs.{n}.weight_v" in weights:
            x = x + conv(act(x, f"{name}.activations.{n}"), weights, f"{name}.convs.{n}", dilation)
        else:
            y = conv(act(x, f"{name}.activations.{2 * n}"), weights, f"{name}.convs1.{n}", dilation)
            x = x + conv(act(y, f"{name}.activations.{2 * n + 1}"), weights, f"{name}.convs2.{n}")
    return x


def snake(weights: Weights, log_scale: bool) -> Act:
    """Returns BigVGAN's activation by scipy: up, the formula, down; edges go on with their last value."""
    taps = kaiser_taps()

    def act(x: Tensor, name: str) -> Tensor:
        alpha = weights[f"{name}.act.alpha"].numpy()[:, None]
        beta = weights.get(f"{name}.act.beta", weights[f"{name}.act.alpha"]).numpy()[:, None]
        alpha, beta = (np.exp(alpha), np.exp(beta)) if log_scale else (alpha, beta)
        length = x.shape[-1]
        padded = np.pad(x[0].numpy().astype(np.float64), ((0, 0), (20, 20)), mode="edge")
        # A filter of 12 taps is late by 5.5 samples: by 5 on the way up, by 6 on the way down.
        fine = 2 * scipy.signal.upfirdn(taps, padded, up=2)[:, 5 + 40 : 5 + 40 + 2 * length]
        fine = fine + np.sin(alpha * fine) ** 2 / beta
        padded = np.pad(fine, ((0, 0), (20, 20)), mode="edge")
        down = scipy.signal.upfirdn(taps, padded)[:, 6 + 20 : 6 + 20 + 2 * length : 2]
        return torch.from_numpy(down.astype(np.float32))[None]

    return act


def kaiser_taps() -> npt.NDArray[np.float64]:
    """Returns the low-pass filter of half the band whose slope is 1.2 wide for the half of its 12 taps, by scipy."""
    shape = scipy.signal.kaiser_beta(scipy.signal.kaiser_atten(6, 1.2))
    taps: npt.NDArray[np.float64] = scipy.signal.firwin(12, 0.5, window=("kaiser", shape))
    return taps


def vocos(mel_FM: npt.NDArray[np.float32], layers: int, weights: Weights) -> npt.NDArray[np.float32]:
    """Returns the wave of Vocos by torch's own inverse transform: frames at multiples of the hop, one hop shorter."""
    x = norm(conv(torch.from_numpy(mel_FM.T)[None], weights, "backbone.embed"), weights, "backbone.norm")
    for n in range(layers):
        block = f"backbone.convnext.{n}"
        y = norm(conv(x, weights, f"{block}.dwconv", groups=x.shape[1]), weights, f"{block}.norm").transpose(1, 2)
        y = F.gelu(F.linear(y, weights[f"{block}.pwconv1.weight"], weights[f"{block}.pwconv1.bias"]))
        y = F.linear(y, weights[f"{block}.pwconv2.weight"], weights[f"{block}.pwconv2.bias"])
        x = x + (weights[f"{block}.gamma"] * y).transpose(1, 2)
    x = norm(x, weights, "backbone.final_layer_norm").transpose(1, 2)
    x = F.linear(x, weights["head.out.weight"], weights["head.out.bias"]).transpose(1, 2)
    log, phase = x.chunk(2, dim=1)
    spectra = log.exp().clamp(max=100) * torch.exp(1j * phase)
    return torch.istft(spectra, 128, 32, 128, torch.hann_window(128), center=True)[0].numpy()


def norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    given = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return F.layer_norm(x.transpose(1, 2), (x.shape[1],), *given, eps=1e-6).transpose(1, 2)
