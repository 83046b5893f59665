"""One interface to codecs: the project's own, EnCodec, DAC and Mimi of the Hugging Face format, and SNAC of its own.

Their levels are columns, each at its own rate. What a codec is can be told without loading it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from autosing.signal.checkpoint import Checkpoint
from autosing.signal.errors import RowError, UsageError
from autosing.signal.framing import common_period
from autosing.signal.ssl_encoder import Device, torch_device

Codes = npt.NDArray[np.integer[Any]]
Wave = npt.NDArray[np.float32]

FOREIGN = ("encodec", "dac", "mimi")
SNAC = "snac"
# What a foreign codec hears at once, and what more of it at each inner edge; part of what its codes mean.
WINDOW_S, CONTEXT_S = 20, 2


@dataclass(frozen=True)
class CodecInfo:
    """What a codec's codes are.

    Attributes:
        sample_rate: of the waves, in Hz.
        rates: codes per second of each level, coarse first.
        sizes: how many codes each level has.
    """

    sample_rate: int
    rates: tuple[Fraction, ...]
    sizes: tuple[int, ...]

    @property
    def bits_per_second(self) -> float:
        """What all levels take, without entropy coding."""
        return float(sum(rate * float(np.log2(size)) for rate, size in zip(self.rates, self.sizes, strict=True)))

    def padded(self, wave: Wave, n_periods: int) -> Wave:
        """Returns a wave cut, or lengthened by silence, to as many of the coarsest level's codes."""
        length = int(n_periods * common_period(self.rates) * self.sample_rate)
        return np.pad(wave[:length], (0, max(length - len(wave), 0)))


class AnyCodec(Protocol):
    """A loaded codec."""

    @property
    def info(self) -> CodecInfo:
        """What its codes are."""

    def encode(self, wave: Wave) -> list[npt.NDArray[np.uint16]]:
        """Returns the codes (N,) of each level of a wave (T,) in whole codes of the coarsest level."""

    def decode(self, codes: Sequence[Codes]) -> Wave:
        """Returns the wave (T,) of the codes of the first levels."""


def codec_info(model: str, levels: int = 0) -> CodecInfo:
    """Returns what a codec's first levels are (0: all), by its config alone.

    Raises:
        UsageError: there is no such codec, or it has fewer levels.
    """
    info = _info(Checkpoint(model).config, model)
    if levels > len(info.rates) or levels < 0:
        raise UsageError(f"codec: {model} has {len(info.rates)} levels, and {levels} are asked for")
    n = levels or len(info.rates)
    return CodecInfo(info.sample_rate, info.rates[:n], info.sizes[:n])


def load_codec(model: str, levels: int = 0, device: Device = "auto") -> AnyCodec:
    """Returns a codec that encodes with its first levels (0: all).

    Args:
        model: a model directory of the project, or the path or hub id of EnCodec, DAC, Mimi or SNAC.
        levels: how many.
        device: `auto` takes a GPU where there is one.

    Raises:
        UsageError: there is no such codec, or it has fewer levels.
        CheckpointError: the weights are damaged or hostile, or others than the config's.
    """
    info, where = codec_info(model, levels), torch_device(device, "codec")
    checkpoint = Checkpoint(model)
    if checkpoint.config.get("class") == "codec":
        from autosing.models.directory import load_model

        return _Own(info, load_model(model).model.to(where))
    if codec_kind(checkpoint.config) == SNAC:
        from autosing.models.published.snac_codec import load_snac

        return load_snac(checkpoint, info, where)
    return _Foreign(info, checkpoint.load().to(where), checkpoint.config["model_type"])


def _info(config: dict[str, Any], model: str) -> CodecInfo:
    kind = codec_kind(config)
    if kind == SNAC:
        from autosing.models.published.snac_fields import snac_info

        return snac_info(config, model)
    if kind == "codec":
        told = config["contract"]["codes"]
        rates = tuple(Fraction(rate) for rate in told["rates"])
        return CodecInfo(int(config["contract"]["mel"]["spec"]["sample_rate"]), rates, tuple(told["sizes"]))
    if kind not in FOREIGN:
        known = ", ".join((*FOREIGN, SNAC))
        raise UsageError(f"codec: {model} is a {kind!r} model; supported: the project's own, {known}")
    sample_rate = int(config["sampling_rate"])
    if kind == "encodec":
        hop = int(np.prod(config["upsampling_ratios"]))
        size = int(config["codebook_size"])
        n_levels = int(1000 * max(config["target_bandwidths"]) / (sample_rate / hop * np.log2(size)))
    elif kind == "dac":
        hop = int(config.get("hop_length") or np.prod(config["downsampling_ratios"]))
        size, n_levels = int(config["codebook_size"]), int(config["n_codebooks"])
    else:
        hop = round(sample_rate / config["frame_rate"]) if "frame_rate" in config else _mimi_hop(config)
        size, n_levels = int(config["codebook_size"]), int(config["num_quantizers"])
    return CodecInfo(sample_rate, (Fraction(sample_rate, hop),) * n_levels, (size,) * n_levels)


def codec_kind(config: dict[str, Any]) -> Any:
    """Returns the kind of a model; SNAC's config does not name it."""
    named = config.get("class") or config.get("model_type")
    return SNAC if named is None and "vq_strides" in config else named


def _mimi_hop(config: dict[str, Any]) -> int:
    # Mimi's encoder makes frames at twice the rate of its codes.
    return 2 * int(np.prod(config["upsampling_ratios"]))


@dataclass(frozen=True)
class _Own:
    info: CodecInfo
    model: Any

    def encode(self, wave: Wave) -> list[npt.NDArray[np.uint16]]:
        from autosing.models.codec import encode

        return encode(self.model, wave)[: len(self.info.rates)]

    def decode(self, codes: Sequence[Codes]) -> Wave:
        from autosing.models.codec import decode

        return np.concatenate([np.zeros(0, np.float32), *decode(self.model, codes)])


@dataclass(frozen=True)
class _Foreign:
    """A codec of transformers: all levels at one rate, in windows that meet where both have heard enough."""

    info: CodecInfo
    model: Any
    kind: str

    @property
    def _hop(self) -> int:
        return int(self.info.sample_rate / self.info.rates[0])

    def encode(self, wave: Wave) -> list[npt.NDArray[np.uint16]]:
        if len(wave) % self._hop:
            raise RowError(f"a wave of {len(wave)} samples is no whole number of codes of {self._hop}")
        n_frames = len(wave) // self._hop
        parts = [np.zeros((len(self.info.rates), 0), np.uint16)]
        for first, last, seen_from, seen_to in self._windows(n_frames):
            codes = self._codes(wave[seen_from * self._hop : seen_to * self._hop])
            parts.append(codes[:, first - seen_from : last - seen_from])
        return list(np.concatenate(parts, axis=1))

    def decode(self, codes: Sequence[Codes]) -> Wave:
        if len({len(one) for one in codes}) != 1 or len(codes) > len(self.info.rates):
            raise RowError(f"levels of {[len(one) for one in codes]} codes do not fit {len(self.info.rates)} levels")
        together = np.stack([one.astype(np.int64) for one in codes])
        parts = [np.zeros(0, np.float32)]
        for first, last, seen_from, seen_to in self._windows(together.shape[1]):
            wave = self._wave(together[:, seen_from:seen_to])
            parts.append(wave[(first - seen_from) * self._hop : (last - seen_from) * self._hop])
        return np.concatenate(parts)

    def _windows(self, n_frames: int) -> Iterator[tuple[int, int, int, int]]:
        from autosing.models.pieces import pieces

        rate = self.info.rates[0]
        return pieces(n_frames, int(WINDOW_S * rate), int(CONTEXT_S * rate))

    def _codes(self, wave: Wave) -> npt.NDArray[np.uint16]:
        import torch

        device = next(self.model.parameters()).device
        with torch.inference_mode():
            heard = torch.from_numpy(np.ascontiguousarray(wave))[None, None].to(device)
            if self.kind == "encodec":
                codes = self.model.encode(heard, bandwidth=self._bandwidth()).audio_codes[0]
            elif self.kind == "dac":
                codes = self.model.encode(heard).audio_codes
            else:
                codes = self.model.encode(heard, num_quantizers=len(self.info.rates)).audio_codes
        found: npt.NDArray[np.uint16] = codes[0, : len(self.info.rates)].cpu().numpy().astype(np.uint16)
        return found

    def _bandwidth(self) -> float:
        """Returns the least of EnCodec's bandwidths that has all the levels."""
        rate, size = float(self.info.rates[0]), self.info.sizes[0]
        wanted = len(self.info.rates) * rate * float(np.log2(size)) / 1000
        offered = sorted(self.model.config.target_bandwidths)
        return float(next((b for b in offered if b >= wanted - 1e-6), offered[-1]))

    def _wave(self, codes: npt.NDArray[np.int64]) -> Wave:
        import torch

        device = next(self.model.parameters()).device
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(codes))[None].to(device)
            if self.kind == "encodec":
                wave = self.model.decode(given[None], [None]).audio_values[0, 0]
            elif self.kind == "dac":
                wave = self.model.decode(audio_codes=given).audio_values.reshape(-1)
            else:
                wave = self.model.decode(given).audio_values[0, 0]
        length = codes.shape[1] * self._hop
        made: Wave = np.pad(wave.float().cpu().numpy()[:length], (0, max(length - wave.shape[-1], 0)))
        return made
