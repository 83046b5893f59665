"""A published vocoder becomes a model directory: its layout is recognised, its weights are checked and renamed."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autosing.models.arrays import PICKLES, save_tensors
from autosing.models.convert import MAX_BYTES, TIMEOUT_S
from autosing.models.published.config import GanConfig, typed
from autosing.models.published.weights import (
    check_fit,
    folded,
    generator_of,
    weights_of,
    without_constants,
    without_memory,
)
from autosing.signal.errors import CheckpointError, UsageError
from autosing.signal.mel import MelSpec, htk_filters

if TYPE_CHECKING:
    from torch import nn

Array = npt.NDArray[Any]

LAYOUTS = "config.json with bigvgan_generator.pt, g_* or generator_*, or model; config.yaml with pytorch_model.bin"
# What lies beside a generator and is none.
_OTHERS = ("do_", "discriminator", "optimizer")
# Names that only NSF-HiFiGAN's weights have.
_HARMONICS = ("m_source.", "source_conv.")


@dataclass(frozen=True)
class Published:
    """A published vocoder, recognised.

    Attributes:
        kind: the class of the model directory.
        spec: the mel it is given.
        use_f0: whether it is given F0.
    """

    kind: str
    spec: MelSpec
    use_f0: bool

    @property
    def settings(self) -> list[str]:
        """Settings of the stage `mel` that make mels for it, as `--set` takes them; those of the default left out."""
        default = asdict(MelSpec())
        return [f"mel.spec.{name}={value}" for name, value in asdict(self.spec).items() if value != default[name]]


def import_vocoder(source: Path, target: Path, max_bytes: int = MAX_BYTES, timeout_s: float = TIMEOUT_S) -> Published:
    """Writes a published BigVGAN, HiFi-GAN, NSF-HiFiGAN or Vocos as a model directory.

    Args:
        source: the folder of its config and weights, or the file of the weights with the config beside it.
        target: the directory to make.
        max_bytes: what the weights may have at most.
        timeout_s: how long reading a pickle may take.

    Raises:
        UsageError: the target exists, the layout is none of those known, or its numbers do not fit each other.
        CheckpointError: the weights are damaged, hostile, too big, or others than the config's.
    """
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} exists; give a folder that does not, or remove it")
    file = _weights_file(source)
    config_file, config = _config_beside(file)
    if file.stat().st_size > max_bytes:
        raise CheckpointError(f"{file} has {file.stat().st_size} bytes, more than {max_bytes}; allow more if you want")
    tensors = folded(generator_of(weights_of(file, max_bytes, timeout_s)), str(file))
    kind, network, constants = without_memory(lambda: _network(config, tensors, config_file), str(config_file))
    left = without_constants(tensors, constants, str(file))
    check_fit(file, config_file.name, left, network)
    fields: Any = network.fields
    with open(file, "rb") as stream:
        origin = {"file": file.name, "sha256": file_digest(stream, "sha256").hexdigest()}
    told = {"class": kind, "fields": asdict(fields), "contract": {"mel": {"spec": fields.spec.as_mapping()}}}
    save_tensors(target, left, {**told, "training": {"imported": origin}})
    return Published(kind, fields.spec, bool(network.use_f0))


def _weights_file(source: Path) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise UsageError(f"{source} does not exist; give the folder of a published vocoder: {LAYOUTS}")
    found = [file for file in sorted(source.iterdir()) if file.is_file() and _may_be_weights(file)]
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise UsageError(f"{source} has {len(found)} files of a generator's weights ({names}); give the file itself")
    return found[0]


def _may_be_weights(file: Path) -> bool:
    if any(other in file.name for other in _OTHERS):
        return False
    with open(file, "rb") as stream:
        return file.suffix == ".safetensors" or stream.read(4).startswith(PICKLES)


def _config_beside(file: Path) -> tuple[Path, Mapping[str, Any]]:
    import yaml

    for name in ("config.json", "config.yaml"):
        config = file.with_name(name)
        if not config.is_file():
            continue
        try:
            text = config.read_text(encoding="utf-8")
            told = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            raise CheckpointError(f"{config} can't be read ({error}); copy it again") from error
        if isinstance(told, Mapping):
            return config, told
        raise CheckpointError(f"{config} holds no names and values; copy it again")
    raise UsageError(f"{file} has no config.json or config.yaml beside it; a published vocoder is {LAYOUTS}")


def _network(
    config: Mapping[str, Any], tensors: Mapping[str, Array], file: Path
) -> "tuple[str, nn.Module, Mapping[str, Array]]":
    """Returns the class of the directory, the network, and its constants by the end of their names."""
    return _vocos(config, file) if "backbone" in config else _gan(config, tensors, file)


def _vocos(config: Mapping[str, Any], file: Path) -> "tuple[str, nn.Module, Mapping[str, Array]]":
    from autosing.models.published.vocos import Vocos, vocos_fields

    fields = vocos_fields(config, str(file))
    windows = {f"{name}.window": _hann(size) for name, size in
               (("spectrogram", fields.spec.win), ("istft", fields.n_fft))}  # fmt: skip
    return "vocos", Vocos(fields), {"mel_scale.fb": htk_filters(fields.spec).T, **windows}


def _hann(size: int) -> Array:
    window: Array = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return window


def _gan(
    config: Mapping[str, Any], tensors: Mapping[str, Array], file: Path
) -> "tuple[str, nn.Module, Mapping[str, Array]]":
    gan = typed(GanConfig, config, str(file))
    if "activation" in config:
        from autosing.models.published.bigvgan import BigVgan, bigvgan_fields, low_pass

        return "bigvgan", BigVgan(bigvgan_fields(gan, config, str(file))), {".filter": low_pass()[None, None]}
    if any(name.startswith(_HARMONICS) for name in tensors):
        from autosing.models.published.nsf_hifigan import NsfHifiGan, nsf_hifigan_fields

        return "nsf_hifigan", NsfHifiGan(nsf_hifigan_fields(gan, config, str(file))), {}
    from autosing.models.published.hifigan import PublishedHifiGan, hifigan_fields

    return "hifigan", PublishedHifiGan(hifigan_fields(gan)), {}
