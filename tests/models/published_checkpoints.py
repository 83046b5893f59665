"""Tiny vocoders with random weights in the layouts and under the names that are published, written by hand."""

import json
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

import torch
import torchaudio
import yaml
from published_references import kaiser_taps
from safetensors.torch import save_file
from torch import Tensor

Weights = dict[str, Tensor]

GAN: Mapping[str, Any] = {
    "resblock": "1", "num_gpus": 0, "upsample_rates": [4, 4, 2], "upsample_kernel_sizes": [8, 8, 4],
    "upsample_initial_channel": 16, "resblock_kernel_sizes": [3, 7], "resblock_dilation_sizes": [[1, 3], [1, 5]],
    "num_mels": 20, "n_fft": 128, "hop_size": 32, "win_size": 128, "sampling_rate": 8000, "fmin": 40, "fmax": None,
    "dist_config": {"world_size": 1},
}  # fmt: skip
GAN_2 = {**GAN, "resblock": "2"}
BIGVGAN = {**GAN, "activation": "snakebeta", "snake_logscale": True, "fmax": 3000}
SNAKE = {**GAN_2, "activation": "snake", "snake_logscale": False}
BIGVGAN_V2 = {**BIGVGAN, "use_tanh_at_final": False, "use_bias_at_final": False}
MINI_NSF = {**GAN, "mini_nsf": True, "noise_sigma": 0.0, "pc_aug": True}
NOISY_NSF = {**MINI_NSF, "noise_sigma": 0.2}
VOCOS_PARTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "feature_extractor": (
        "vocos.feature_extractors.MelSpectrogramFeatures",
        {"sample_rate": 8000, "n_fft": 128, "hop_length": 32, "n_mels": 20, "padding": "center"},
    ),
    "backbone": (
        "vocos.models.VocosBackbone",
        {"input_channels": 20, "dim": 24, "intermediate_dim": 48, "num_layers": 3},
    ),
    "head": ("vocos.heads.ISTFTHead", {"dim": 24, "n_fft": 128, "hop_length": 32, "padding": "center"}),
}


def values(*shape: int, spread: float | None = None) -> Tensor:
    """Returns random values that keep signals at their size, or of a spread."""
    fan_in = max(prod(shape[1:]), 1)
    return torch.randn(shape) * (fan_in**-0.5 if spread is None else spread)


def plain(name: str, *shape: int, bias: int | None = None) -> Weights:
    """Returns a layer's weights; its bias has the first size, or another one; none where that is 0."""
    width = shape[0] if bias is None else bias
    return {f"{name}.weight": values(*shape)} | ({f"{name}.bias": values(width, spread=0.1)} if width else {})


def normed(name: str, *shape: int, bias: int | None = None) -> Weights:
    """Returns a layer's weights, as lengths and directions."""
    found = plain(name, *shape, bias=bias)
    weight = found.pop(f"{name}.weight")
    lengths = weight.flatten(1).norm(dim=1).reshape(-1, *[1] * (len(shape) - 1))
    return {f"{name}.weight_g": lengths, f"{name}.weight_v": 3 * weight, **found}


def gan_weights(config: Mapping[str, Any], nested: str = "") -> Weights:
    """Returns weights of a HiFi-GAN; `nested` is what stands behind the number of a step up."""
    widths = [config["upsample_initial_channel"] // 2**n for n in range(len(config["upsample_rates"]) + 1)]
    found = normed("conv_pre", widths[0], config["num_mels"], 7)
    stacks = list(zip(config["resblock_kernel_sizes"], config["resblock_dilation_sizes"], strict=True))
    names = ("convs1", "convs2") if config["resblock"] == "1" else ("convs",)
    for n, kernel_up in enumerate(config["upsample_kernel_sizes"]):
        found |= normed(f"ups.{n}{nested}", widths[n], widths[n + 1], kernel_up, bias=widths[n + 1])
        for k, (kernel, dilations) in enumerate(stacks):
            for name in names:
                for d in range(len(dilations)):
                    owner = f"resblocks.{n * len(stacks) + k}.{name}.{d}"
                    found |= normed(owner, widths[n + 1], widths[n + 1], kernel)
    return found | normed("conv_post", 1, widths[-1], 7, bias=0 if config.get("use_bias_at_final") is False else None)


def bigvgan_weights(config: Mapping[str, Any], low_pass: Tensor) -> Weights:
    """Returns weights of a BigVGAN, the constant filters among them."""
    found = gan_weights(config, ".0")
    stacks = len(config["resblock_kernel_sizes"])
    for n in range(len(config["upsample_rates"])):
        width = config["upsample_initial_channel"] // 2 ** (n + 1)
        for k, dilations in enumerate(config["resblock_dilation_sizes"]):
            count = len(dilations) * (2 if config["resblock"] == "1" else 1)
            for act in range(count):
                found |= activation(f"resblocks.{n * stacks + k}.activations.{act}", width, config, low_pass)
    return found | activation("activation_post", width, config, low_pass)


def activation(name: str, width: int, config: Mapping[str, Any], low_pass: Tensor) -> Weights:
    begin = 0.0 if config["snake_logscale"] else 1.0
    found = {f"{name}.act.alpha": begin + values(width, spread=0.2)}
    if config["activation"] == "snakebeta":
        found[f"{name}.act.beta"] = begin + values(width, spread=0.2)
    filters = dict.fromkeys((f"{name}.upsample.filter", f"{name}.downsample.lowpass.filter"), low_pass[None, None])
    return found | filters


def nsf_weights(config: Mapping[str, Any]) -> Weights:
    """Returns weights of an NSF-HiFiGAN."""
    found, steps = gan_weights(config), config["upsample_rates"]
    widths = [config["upsample_initial_channel"] // 2 ** (n + 1) for n in range(len(steps))]
    if config.get("mini_nsf"):
        return found | plain("source_conv", widths[1], 1, 1)
    found |= plain("m_source.l_linear", 1, 9)
    for n, width in enumerate(widths):
        step = prod(steps[n + 1 :])
        found |= plain(f"noise_convs.{n}", width, 1, 2 * step if step > 1 else 1)
    return found


def vocos_weights(filters_NM: Tensor) -> Weights:
    """Returns weights of a Vocos, the constant filters and windows among them."""
    told = {part: arguments for part, (_, arguments) in VOCOS_PARTS.items()}
    dim, hidden, n_fft = told["backbone"]["dim"], told["backbone"]["intermediate_dim"], told["head"]["n_fft"]
    found = {
        "feature_extractor.mel_spec.spectrogram.window": torch.hann_window(n_fft),
        "feature_extractor.mel_spec.mel_scale.fb": filters_NM,
        "head.istft.window": torch.hann_window(n_fft),
    }
    found |= plain("backbone.embed", dim, told["backbone"]["input_channels"], 7)
    norms = ["backbone.norm", "backbone.final_layer_norm"]
    for n in range(told["backbone"]["num_layers"]):
        block = f"backbone.convnext.{n}"
        found |= plain(f"{block}.dwconv", dim, 1, 7) | plain(f"{block}.pwconv1", hidden, dim)
        found |= plain(f"{block}.pwconv2", dim, hidden) | {f"{block}.gamma": values(dim, spread=0.5)}
        norms.append(f"{block}.norm")
    for norm in norms:
        found |= {f"{norm}.weight": 1 + values(dim, spread=0.1), f"{norm}.bias": values(dim, spread=0.1)}
    return found | plain("head.out", n_fft + 2, dim)


def save_gan(folder: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor], name: str) -> Path:
    """Writes HiFi-GAN's layout, with a discriminator beside it."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    if name.endswith(".safetensors"):
        save_file({name: tensor.clone() for name, tensor in weights.items()}, folder / name)
    else:
        torch.save({"generator": weights}, folder / name)
    torch.save({"mpd": {"weight": torch.zeros(2)}, "steps": 3}, folder / "do_00000001")
    return folder


def save_vocos(folder: Path, weights: Mapping[str, Tensor]) -> Path:
    """Writes the layout of Vocos."""
    folder.mkdir()
    told = {part: {"class_path": name, "init_args": dict(arguments)} for part, (name, arguments) in VOCOS_PARTS.items()}
    (folder / "config.yaml").write_text(yaml.safe_dump(told))
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


LOW_PASS = torch.from_numpy(kaiser_taps()).float()
# Config, weights and the name of their file; those that are no safetensors go through the converter.
LAYOUTS: dict[str, tuple[Mapping[str, Any], Callable[[], Weights], str]] = {
    "hifigan": (GAN, lambda: gan_weights(GAN), "generator_v1"),
    "hifigan_2": (GAN_2, lambda: gan_weights(GAN_2), "g.safetensors"),
    "bigvgan": (BIGVGAN, lambda: bigvgan_weights(BIGVGAN, LOW_PASS), "g.safetensors"),
    "bigvgan_v2": (BIGVGAN_V2, lambda: bigvgan_weights(BIGVGAN_V2, LOW_PASS), "bigvgan_generator.pt"),
    "snake": (SNAKE, lambda: bigvgan_weights(SNAKE, LOW_PASS), "g.safetensors"),
    "nsf_hifigan": (GAN, lambda: nsf_weights(GAN), "model.safetensors"),
    "noisy_nsf": (NOISY_NSF, lambda: nsf_weights(NOISY_NSF), "model.safetensors"),
    "mini_nsf": (MINI_NSF, lambda: nsf_weights(MINI_NSF), "model.ckpt"),
}
KINDS = (*LAYOUTS, "vocos")


def weights_of(kind: str) -> Weights:
    """Returns the weights of a kind, the same at every call."""
    torch.manual_seed(3)
    if kind != "vocos":
        return LAYOUTS[kind][1]()
    return vocos_weights(torchaudio.functional.melscale_fbanks(65, 0.0, 4000.0, 20, 8000))


def save(kind: str, folder: Path) -> Path:
    """Writes a kind in its layout."""
    if kind == "vocos":
        return save_vocos(folder, weights_of(kind))
    return save_gan(folder, LAYOUTS[kind][0], weights_of(kind), LAYOUTS[kind][2])
