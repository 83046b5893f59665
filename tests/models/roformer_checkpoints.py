"""Tiny RoFormers in the field's layout: names, shapes and config written by hand, and weights that are sines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

HZ = 8_000
DIM, HEADS, DIM_HEAD, DEPTH, EXPANSION = 8, 2, 4, 2, 4
# Bins of the bands: of 8 mel bands over 33 bins, as librosa's filters have them, and bands side by side.
MEL_BINS, SPLIT_BINS = (5, 4, 4, 4, 6, 8, 10, 14), (4, 4, 8, 17)
# By whole layers in Mel-Band RoFormers one more than their `mask_estimator_depth`.
MASK_LAYERS = 3

MODEL: Mapping[str, Any] = {
    "dim": DIM, "depth": DEPTH, "stereo": True, "num_stems": 1, "time_transformer_depth": 1,
    "freq_transformer_depth": 1, "dim_head": DIM_HEAD, "heads": HEADS, "attn_dropout": 0, "ff_dropout": 0,
    "flash_attn": True, "dim_freqs_in": 33, "stft_n_fft": 64, "stft_hop_length": 16, "stft_win_length": 64,
    "stft_normalized": False, "multi_stft_resolution_loss_weight": 1.0, "multi_stft_hop_size": 147,
    "multi_stft_resolutions_window_sizes": (4096, 2048, 1024, 512, 256), "multi_stft_normalized": False,
}  # fmt: skip
MEL = {**MODEL, "num_bands": len(MEL_BINS), "sample_rate": HZ, "mask_estimator_depth": MASK_LAYERS - 1}
SPLIT = {**MODEL, "freqs_per_bands": SPLIT_BINS, "mask_estimator_depth": MASK_LAYERS, "linear_transformer_depth": 0}
KINDS = {"mel": MEL, "split": SPLIT}


def config(kind: str = "mel", **sections: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the config of a kind of network, with some values of its sections replaced."""
    told: dict[str, dict[str, Any]] = {
        "audio": {"chunk_size": 2000, "sample_rate": HZ, "num_channels": 2, "min_mean_abs": 0.0},
        "model": dict(KINDS[kind]),
        "training": {"instruments": ["vocals", "other"], "target_instrument": "vocals", "lr": 1.0e-05},
        "inference": {"batch_size": 4, "num_overlap": 2},
    }
    return {name: {**values, **sections.get(name, {})} for name, values in told.items()}


def sines(name: str, *shape: int, about: float = 0.0, spread: float = 0.4) -> Tensor:
    """Returns weights that are the same everywhere, and others for each name."""
    angles = crc32(name.encode()) % 1000 + 0.7 * np.arange(np.prod(shape)) ** 1.1
    return torch.from_numpy((about + spread * np.sin(angles)).astype(np.float32).reshape(shape))


def weights(told: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the weights of the network that `model` of a config tells of."""
    is_mel, channels = "num_bands" in told, 2 if told["stereo"] else 1
    found = {}
    for layer in range(DEPTH):
        for axis in range(2):
            found |= _transformer(f"layers.{layer}.{axis}", is_mel)
    if not is_mel:
        found |= _gain("final_norm", DIM)
    for band, n_bins in enumerate(MEL_BINS if is_mel else SPLIT_BINS):
        width = 2 * channels * n_bins
        found |= _gain(f"band_split.to_features.{band}.0", width)
        found |= _linear(f"band_split.to_features.{band}.1", DIM, width)
        for stem in range(told["num_stems"]):
            hidden = EXPANSION * DIM
            sizes = [DIM, *[hidden] * (MASK_LAYERS - 1), 2 * width]
            for n in range(MASK_LAYERS):
                found |= _linear(f"mask_estimators.{stem}.to_freqs.{band}.0.{2 * n}", sizes[n + 1], sizes[n])
    return found


def _transformer(name: str, is_mel: bool) -> dict[str, Tensor]:
    attention, feed = f"{name}.layers.0.0", f"{name}.layers.0.1.net"
    inner = HEADS * DIM_HEAD
    found = {f"{attention}.rotary_embed.freqs": 10_000.0 ** -(torch.arange(0, DIM_HEAD, 2) / DIM_HEAD)}
    found |= _gain(f"{attention}.norm", DIM) | _gain(f"{feed}.0", DIM)
    found |= {f"{attention}.to_qkv.weight": sines(f"{attention}.to_qkv", 3 * inner, DIM)}
    found |= _linear(f"{attention}.to_gates", HEADS, DIM)
    found |= {f"{attention}.to_out.0.weight": sines(f"{attention}.to_out", DIM, inner)}
    found |= _linear(f"{feed}.1", 4 * DIM, DIM) | _linear(f"{feed}.4", DIM, 4 * DIM)
    return found | (_gain(f"{name}.norm", DIM) if is_mel else {})


def _gain(name: str, width: int) -> dict[str, Tensor]:
    return {f"{name}.gamma": sines(name, width, about=1.0, spread=0.2)}


def _linear(name: str, n_out: int, n_in: int) -> dict[str, Tensor]:
    return {f"{name}.weight": sines(name, n_out, n_in), f"{name}.bias": sines(f"{name}.bias", n_out, spread=0.1)}


def save_roformer(folder: Path, kind: str = "mel", **sections: Mapping[str, Any]) -> str:
    """Writes a config as the field's programs do, Python's tuples in it, and weights beside it."""
    told = config(kind, **sections)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config_vocals.yaml").write_text(yaml.dump(told))
    save_file(weights(told["model"]), folder / "model.safetensors")
    return str(folder)


def mix(n_frames: int, channels: int = 2) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Returns a sound (T, C) that is the same everywhere."""
    times = np.arange(n_frames)[:, None]
    return (0.1 * np.sin(times * (0.05 + 0.31 * np.arange(channels)) + 1e-5 * times**2)).astype(np.float32)
