"""Pretrained networks with a head on a wave encoder: what each frame is, or whose voice it is.

Any Hugging Face checkpoint of `AutoModelForAudioFrameClassification` or `AutoModelForAudioXVector` whose encoder is one
of `HEADED`: with a hop of 20 ms.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from autosing.signal.checkpoint import Checkpoint
from autosing.signal.errors import UsageError
from autosing.signal.ssl import Features, Wave
from autosing.signal.ssl_encoder import Device, WaveEncoder, torch_device

if TYPE_CHECKING:
    import torch

HEADED = ("wavlm", "wav2vec2", "unispeech-sat", "data2vec-audio")
FRAMES, VOICES = "AutoModelForAudioFrameClassification", "AutoModelForAudioXVector"

_SINGING = re.compile(r"sing|sung|voca|voice|speech", re.IGNORECASE)
_NOT = re.compile(r"^(no|non|not|un)[\W_]|^un|instr", re.IGNORECASE)

Embedding = npt.NDArray[np.float32]


def load_frame_classifier(model: str, label: str = "", device: Device = "auto") -> "FrameClassifier":
    """Returns the network of a hub id or folder that tells of each frame whether it has a label.

    Args:
        model: id or path.
        label: the label; "" for the one whose name tells of a voice.
        device: `auto` takes a GPU where there is one.

    Raises:
        UsageError: no such checkpoint or label, a checkpoint of another task, or no such device.
    """
    checkpoint = _checkpoint(model, "voice_activity")
    wanted = _label(checkpoint.config.get("id2label") or {}, label, model)
    return FrameClassifier(checkpoint, wanted, torch_device(device, "voice_activity"))


def embedding_dim(model: str) -> int:
    """Returns the width of a checkpoint's embeddings, which its config.json tells.

    Raises:
        UsageError: there is no such checkpoint, or it gives no embeddings of voices.
    """
    width = _checkpoint(model, "singer_embedding").config.get("xvector_output_dim")
    if not width:
        raise UsageError(
            f"singer_embedding: the config.json of {model} has no xvector_output_dim; give a checkpoint that was saved "
            f"as {VOICES}"
        )
    return int(width)


def load_voice_encoder(model: str, device: Device = "auto") -> "VoiceEncoder":
    """Returns the network of a hub id or folder that says whose voice a piece of audio is.

    Raises:
        UsageError: no such checkpoint, a checkpoint of another task, or no such device.
    """
    return VoiceEncoder(_checkpoint(model, "singer_embedding"), torch_device(device, "singer_embedding"))


class FrameClassifier(WaveEncoder):
    """Gives the probability of one label as a feature of width 1, for `encode_songs`."""

    def __init__(self, checkpoint: Checkpoint, label: int, device: "torch.device") -> None:
        super().__init__(checkpoint, checkpoint.load(FRAMES), (), 1, device)
        self._label = label

    def _run(self, inputs: "torch.Tensor") -> Features:
        import torch

        with torch.inference_mode():
            shares = self._network(inputs.to(self._device)).logits.float().softmax(-1)
            chosen: Features = shares[..., self._label : self._label + 1].half().cpu().numpy()
        return chosen


class VoiceEncoder(WaveEncoder):
    """Gives an embedding of length 1 for a piece of audio."""

    def __init__(self, checkpoint: Checkpoint, device: "torch.device") -> None:
        network = checkpoint.load(VOICES)
        super().__init__(checkpoint, network, (), int(network.config.xvector_output_dim), device)

    def embed(self, wave: Wave) -> Embedding:
        """Returns the embedding (D,) of a wave (T,) at 16 kHz, which must not be silent or below half a second."""
        import torch

        with torch.inference_mode():
            heard = torch.from_numpy(self.normalised(wave))[None].to(self._device)
            embedding: Embedding = self._network(heard).embeddings[0].float().cpu().numpy()
        return embedding / np.linalg.norm(embedding)


def _checkpoint(model: str, stage: str) -> Checkpoint:
    checkpoint = Checkpoint(model)
    kind = checkpoint.config.get("model_type")
    if kind not in HEADED:
        raise UsageError(f"{stage}: {model} is a {kind!r} model; supported: {', '.join(HEADED)}")
    return checkpoint


def _label(names: Mapping[str, str], wanted: str, model: str) -> int:
    """Returns the number of the wanted label, or of the only one that tells of a voice."""
    fitting: Sequence[str] = [n for n, name in names.items() if name == wanted]
    if not wanted:
        fitting = [n for n, name in names.items() if _SINGING.search(name) and not _NOT.search(name)]
    if len(fitting) != 1:
        told = f"no label {wanted!r}" if wanted else "not exactly one label that names a voice"
        known = ", ".join(map(str, names.values())) or "none"
        raise UsageError(f"voice_activity: {model} has {told}; set `label` to one of: {known}")
    return int(fitting[0])
