"""A tiny SNAC with random weights in the published layout, and what it computes, written once more from the paper."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from published_checkpoints import Weights, plain, values
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

ATTENTIVE: Mapping[str, Any] = {
    "sampling_rate": 8000, "encoder_dim": 16, "encoder_rates": [2, 3], "decoder_dim": 64, "decoder_rates": [3, 2],
    "attn_window_size": 8, "codebook_size": 64, "codebook_dim": 4, "vq_strides": [4, 2, 1], "noise": False,
    "depthwise": True,
}  # fmt: skip
NOISY = {**ATTENTIVE, "noise": True}
# As that of 24 kHz: no attention.
DEAF: Mapping[str, Any] = {**ATTENTIVE, "encoder_dim": 8, "encoder_rates": [2, 4], "decoder_dim": 16,
                           "decoder_rates": [4, 2], "attn_window_size": None, "depthwise": False}  # fmt: skip


def layer(name: str, *shape: int, bias: int | None = None) -> Weights:
    """Returns a layer's weights, as lengths and directions under torch's newer names; small, so that errors stay so."""
    found = plain(name, *shape, bias=bias)
    weight = found.pop(f"{name}.weight")
    lengths = 0.6 * weight.flatten(1).norm(dim=1).reshape(-1, 1, 1)
    owner = f"{name}.parametrizations.weight.original"
    return {f"{owner}0": lengths, f"{owner}1": weight / 2, **found}


def residual(name: str, width: int, depthwise: bool) -> Weights:
    found = {f"{name}.block.{n}.alpha": 1 + values(1, width, 1, spread=0.2) for n in (0, 2)}
    found |= layer(f"{name}.block.1", width, 1 if depthwise else width, 7)
    return found | layer(f"{name}.block.3", width, width, 1)


def attention(name: str, width: int) -> Weights:
    found = {f"{name}.norm.weight": 1 + values(width, spread=0.1), f"{name}.norm.bias": values(width, spread=0.1)}
    found |= plain(f"{name}.to_qkv", 3 * width, width, bias=0) | plain(f"{name}.to_out", width, width, bias=0)
    return found | {f"{name}.rel_pos.inv_freq": 10_000.0 ** -(torch.arange(0, 64, 2) / 64)}


def snac_weights(config: Mapping[str, Any]) -> Weights:
    """Returns weights by their published names, the same at every call."""
    torch.manual_seed(1)
    depthwise, width = config["depthwise"], config["encoder_dim"]
    found, place = layer("encoder.block.0", width, 1, 7), 1
    for rate in config["encoder_rates"]:
        block = f"encoder.block.{place}.block"
        for n in range(3):
            found |= residual(f"{block}.{n}", width, depthwise)
        found |= {f"{block}.3.alpha": 1 + values(1, width, 1, spread=0.2)}
        found |= layer(f"{block}.4", 2 * width, width, 2 * rate)
        width, place = 2 * width, place + 1
    if config["attn_window_size"]:
        found |= attention(f"encoder.block.{place}", width)
        place += 1
    found |= layer(f"encoder.block.{place}", width, 1 if depthwise else width, 7)
    for n in range(len(config["vq_strides"])):
        level, dim = f"quantizer.quantizers.{n}", config["codebook_dim"]
        found |= layer(f"{level}.in_proj", dim, width, 1) | layer(f"{level}.out_proj", width, dim, 1)
        found[f"{level}.codebook.weight"] = values(config["codebook_size"], dim, spread=1.0)
    return found | decoder_weights(config, width)


def decoder_weights(config: Mapping[str, Any], latents: int) -> Weights:
    depthwise, width = config["depthwise"], config["decoder_dim"]
    if depthwise:
        found = layer("decoder.model.0", latents, 1, 7) | layer("decoder.model.1", width, latents, 1)
    else:
        found = layer("decoder.model.0", width, latents, 7)
    place = 2 if depthwise else 1
    if config["attn_window_size"]:
        found |= attention(f"decoder.model.{place}", width)
        place += 1
    for rate in config["decoder_rates"]:
        block = f"decoder.model.{place}.block"
        found |= {f"{block}.0.alpha": 1 + values(1, width, 1, spread=0.2)}
        found |= layer(f"{block}.1", width, width // 2, 2 * rate, bias=width // 2)
        width, place, first = width // 2, place + 1, 2
        if config["noise"]:
            found |= layer(f"{block}.2.linear", width, width, 1, bias=0)
            first = 3
        for n in range(3):
            found |= residual(f"{block}.{first + n}", width, depthwise)
    found |= {f"decoder.model.{place}.alpha": 1 + values(1, width, 1, spread=0.2)}
    return found | layer(f"decoder.model.{place + 1}", 1, width, 7)


def save_snac(folder: Path, config: Mapping[str, Any], weights: Weights | None = None, pickled: bool = False) -> str:
    """Writes the published layout, or that with safetensors in place of the pickle; returns its path."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(dict(config)))
    weights = snac_weights(config) if weights is None else weights
    if pickled:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "model.safetensors")
    return str(folder)


class Reference:
    """What a SNAC without noise computes: plain functions of named weights, window by window and level by level."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config, self.weights = config, snac_weights(config)

    def encode(self, wave: Tensor) -> list[Tensor]:
        x, place = self.conv(wave[None, None], "encoder.block.0"), 1
        for rate in self.config["encoder_rates"]:
            block = f"encoder.block.{place}.block"
            x = self.snake(self.residuals(x, block, 0), f"{block}.3")
            x = self.conv(x, f"{block}.4", stride=rate, padding=(rate + 1) // 2)
            place += 1
        if self.config["attn_window_size"]:
            x = self.attended(x, f"encoder.block.{place}")
            place += 1
        left, codes = self.conv(x, f"encoder.block.{place}"), []
        for n, stride in enumerate(self.config["vq_strides"]):
            means = left.reshape(*left.shape[:2], -1, stride).mean(-1)
            places, book = self.conv(means, f"quantizer.quantizers.{n}.in_proj")[0].T, self.book(n)
            apart = torch.cdist(places / places.norm(dim=1)[:, None], book / book.norm(dim=1)[:, None])
            codes.append(apart.argmin(1))
            left = left - self.latents(n, codes[-1])
        return codes

    def decode(self, codes: list[Tensor]) -> Tensor:
        x = torch.stack([self.latents(n, one) for n, one in enumerate(codes)]).sum(0)
        x, place = self.conv(x, "decoder.model.0"), 1
        if self.config["depthwise"]:
            x, place = self.conv(x, "decoder.model.1"), 2
        if self.config["attn_window_size"]:
            x = self.attended(x, f"decoder.model.{place}")
            place += 1
        for rate in self.config["decoder_rates"]:
            block = f"decoder.model.{place}.block"
            kernel, bias = self.weight(f"{block}.1"), self.weights[f"{block}.1.bias"]
            x = F.conv_transpose1d(self.snake(x, f"{block}.0"), kernel, bias, rate, (rate + 1) // 2, rate % 2)
            x, place = self.residuals(x, block, 2), place + 1
        return torch.tanh(self.conv(self.snake(x, f"decoder.model.{place}"), f"decoder.model.{place + 1}"))[0, 0]

    def latents(self, level: int, codes: Tensor) -> Tensor:
        stands_for = self.conv(self.book(level)[codes].T[None], f"quantizer.quantizers.{level}.out_proj")
        return stands_for.repeat_interleave(self.config["vq_strides"][level], -1)

    def book(self, level: int) -> Tensor:
        return self.weights[f"quantizer.quantizers.{level}.codebook.weight"]

    def residuals(self, x: Tensor, block: str, first: int) -> Tensor:
        for n, dilation in enumerate((1, 3, 9)):
            inner = f"{block}.{first + n}.block"
            y = self.conv(self.snake(x, f"{inner}.0"), f"{inner}.1", dilation=dilation, padding=3 * dilation)
            x = x + self.conv(self.snake(y, f"{inner}.2"), f"{inner}.3")
        return x

    def attended(self, x: Tensor, name: str) -> Tensor:
        """Returns each window with what its latents hear of each other; pairs of dimensions are complex numbers."""
        size, width = self.config["attn_window_size"], x.shape[1]
        angles = torch.arange(size)[:, None] * self.weights[f"{name}.rel_pos.inv_freq"]
        turns, done = torch.polar(torch.ones(size, 32), angles), []
        scale, shift = self.weights[f"{name}.norm.weight"], self.weights[f"{name}.norm.bias"]
        for window in x[0].T.split(size):
            normal = F.layer_norm(window, (width,), scale, shift)
            query, key, value = (normal @ self.weights[f"{name}.to_qkv.weight"].T).split(width, 1)
            heard = []
            for head in range(0, width, 64):
                q, k = (
                    torch.complex(a[:, head : head + 32], a[:, head + 32 : head + 64]) * turns for a in (query, key)
                )
                likeness = (q @ k.conj().T).real / 8
                heard.append(likeness.softmax(1) @ value[:, head : head + 64])
            done.append(window + torch.cat(heard, 1) @ self.weights[f"{name}.to_out.weight"].T)
        return torch.cat(done).T[None]

    def snake(self, x: Tensor, name: str) -> Tensor:
        alpha = self.weights[f"{name}.alpha"]
        return x + torch.sin(alpha * x) ** 2 / alpha

    def weight(self, name: str) -> Tensor:
        owner = f"{name}.parametrizations.weight.original"
        return torch._weight_norm(self.weights[f"{owner}1"], self.weights[f"{owner}0"], 0)

    def conv(self, x: Tensor, name: str, **how: Any) -> Tensor:
        kernel = self.weight(name)
        padding, groups = how.pop("padding", kernel.shape[-1] // 2), x.shape[1] // kernel.shape[1]
        return F.conv1d(x, kernel, self.weights.get(f"{name}.bias"), padding=padding, groups=groups, **how)


def wave(n_samples: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    """Returns noise whose colour changes."""
    rng = np.random.default_rng(2)
    white = rng.standard_normal(n_samples + 400)
    slow = np.convolve(white, np.hanning(9), "same")
    share = np.repeat(rng.uniform(0, 1, n_samples // 100 + 5), 100)[: n_samples + 400]
    return (share * white + (1 - share) * slow)[:n_samples].astype(np.float32)
