"""Pretrained speech encoders: HuBERT (and ContentVec), WavLM, wav2vec2, data2vec-audio and Whisper."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from autosing.signal.checkpoint import Checkpoint
from autosing.signal.errors import UsageError
from autosing.signal.ssl import HOP, SAMPLE_RATE, Encoder, Features, Wave

if TYPE_CHECKING:
    import torch

Device = Literal["auto", "cpu", "cuda"]

WAVE_MODELS = ("hubert", "wavlm", "wav2vec2", "data2vec-audio")
WHISPER = "whisper"


def feature_dim(model: str, layers: Sequence[int]) -> int:
    """Returns the width of the features of a checkpoint, which its config.json tells.

    Raises:
        UsageError: there is no such checkpoint, it is of a kind that is not supported, or it has no such layer.
    """
    checkpoint = Checkpoint(model)
    config = checkpoint.config
    kind = config.get("model_type")
    if kind not in (*WAVE_MODELS, WHISPER):
        raise UsageError(f"ssl: {model} is a {kind!r} model; supported: {', '.join((*WAVE_MODELS, WHISPER))}")
    width, depth = ("d_model", "encoder_layers") if kind == WHISPER else ("hidden_size", "num_hidden_layers")
    absent = [layer for layer in layers if not 0 <= layer <= config[depth]]
    if absent:
        raise UsageError(f"ssl: {model} has no layer {absent[0]}; it has 0 (before the first block) to {config[depth]}")
    return int(config[width]) * max(len(layers), 1)


def load_encoder(model: str, layers: Sequence[int] = (), device: Device = "auto") -> Encoder:
    """Returns the encoder of a Hugging Face id or local folder, in evaluation mode.

    Args:
        model: id or path of a HuBERT, WavLM, wav2vec2, data2vec-audio, ContentVec or Whisper checkpoint.
        layers: hidden states to put side by side; empty for the last.
        device: `auto` takes a GPU where there is one.

    Raises:
        UsageError: no such checkpoint or layer, no safetensors weights, weights of another model, or no such device.
    """
    dim = feature_dim(model, layers)
    where = torch_device(device, "ssl")
    checkpoint = Checkpoint(model)
    if checkpoint.config["model_type"] == WHISPER:
        return _WhisperEncoder(checkpoint, tuple(layers), dim, where)
    return WaveEncoder(checkpoint, checkpoint.load(), tuple(layers), dim, where)


def torch_device(device: Device, stage: str) -> "torch.device":
    """Returns the device to run on; `stage` is who asks, for messages.

    Raises:
        UsageError: a GPU is asked for and there is none.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"{stage}: device cuda was asked for and there is none; use auto or cpu")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


class _TorchEncoder:
    """What both kinds of encoder do: run a network on a device and pick its hidden states."""

    def __init__(self, network: Any, layers: tuple[int, ...], dim: int, device: "torch.device") -> None:
        self._network = network.to(device)
        self._layers, self._device, self.dim = layers, device, dim
        # One CPU core gains nothing from batches, and alone a window's features can't depend on its neighbours.
        self.batches = device.type == "cuda"

    def _run(self, inputs: "torch.Tensor") -> Features:
        import torch

        half = torch.autocast("cuda", torch.float16, enabled=self.batches)
        with torch.inference_mode(), half:
            told = self._network(inputs.to(self._device), output_hidden_states=bool(self._layers))
            states = [told.hidden_states[layer] for layer in self._layers] or [told.last_hidden_state]
            features: Features = torch.cat(states, dim=-1).half().cpu().numpy()
        return features


class WaveEncoder(_TorchEncoder):
    """HuBERT and its kin: a convolutional front end on the wave, padded so that it gives one frame per hop.

    Raises:
        UsageError: the front end has another hop than 20 ms.
    """

    longest = None

    def __init__(
        self, checkpoint: Checkpoint, network: Any, layers: tuple[int, ...], dim: int, device: "torch.device"
    ) -> None:
        super().__init__(network, layers, dim, device)
        self.margins = margins_of(checkpoint.model, network.config.conv_kernel, network.config.conv_stride)
        self.normalises = bool(checkpoint.preprocessor.get("do_normalize", False))

    def normalised(self, wave: Wave) -> Wave:
        return brought_to_unit(wave) if self.normalises else wave

    def encode(self, waves: Wave) -> Features:
        import torch

        return self._run(torch.from_numpy(waves))


class _WhisperEncoder(_TorchEncoder):
    """Whisper's encoder: always hears 30 s; the rest behind a shorter window is silence.

    Its frame i is centred at i / 50 s. It gets half a frame more audio and a log-mel without the first frame (10 ms),
    which brings the centre to (i + 1/2) / 50 s.
    """

    def __init__(self, checkpoint: Checkpoint, layers: tuple[int, ...], dim: int, device: "torch.device") -> None:
        from transformers import WhisperFeatureExtractor

        network = checkpoint.load()
        super().__init__(network.get_encoder(), layers, dim, device)
        self._log_mel = WhisperFeatureExtractor(network.config.num_mel_bins)  # type: ignore[no-untyped-call]
        self.longest = int(network.config.max_source_positions)
        self.normalises = False
        self.margins = (0, self._log_mel.hop_length)

    def normalised(self, wave: Wave) -> Wave:
        return wave

    def encode(self, waves: Wave) -> Features:
        import torch

        n_frames = (waves.shape[1] - self.margins[1]) // HOP
        silence = (self.longest - n_frames) * HOP
        mels = [self._mel(np.pad(wave, (0, silence))) for wave in waves]
        return self._run(torch.from_numpy(np.stack(mels)))[:, :n_frames]

    def _mel(self, wave: Wave) -> Wave:
        """Returns the log-mel (M, 2 x longest) of one window; its floor is 8 below its own maximum, not the batch's."""
        told = self._log_mel(wave, sampling_rate=SAMPLE_RATE, padding="do_not_pad", truncation=False)
        mel: Wave = told["input_features"][0][:, 1:]
        return mel


def brought_to_unit(wave: Wave) -> Wave:
    """Returns a wave (T,) of mean 0 and variance 1, as some encoders want to hear it."""
    if not len(wave):
        return wave
    normalised: Wave = (wave - wave.mean()) / np.sqrt(wave.var() + np.float32(1e-7))
    return normalised


def margins_of(model: str, kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Returns the samples that convolutions in a row want before and behind those of their frames.

    Raises:
        UsageError: they have another hop than 20 ms.
    """
    field, hop = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field, hop = field + (kernel - 1) * hop, hop * stride
    if hop != HOP:
        raise UsageError(f"ssl: {model} has a hop of {hop} samples; only those of {HOP} are supported")
    return (field - hop) // 2, (field - hop) - (field - hop) // 2
