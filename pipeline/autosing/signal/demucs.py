"""The voice of a mix by a pretrained Demucs: Hybrid Demucs (Defossez, 2021) and Hybrid Transformer Demucs (Rouard et
al., 2023), in the format of the package `demucs` on the hub: `NAME.yaml` that lists models, and their safetensors.

The package itself would import whatever class a file names. Here a file may name one of three.
"""

import inspect
import json
import re
from collections.abc import Mapping
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from autosing.signal.checkpoint import model_folders
from autosing.signal.decode import Samples
from autosing.signal.errors import UsageError

Device = Literal["auto", "cpu", "cuda"]

CLASSES = ("demucs.htdemucs.HTDemucs", "demucs.hdemucs.HDemucs", "demucs.demucs.Demucs")
VOCALS = "vocals"
PATTERNS = ("*.yaml", "*.safetensors")
OVERLAP = 0.25
LONGEST_WINDOW_S = 40.0

_PLAIN_NAME = re.compile(r"[\w-]+", re.ASCII)
_WAYS_OUT = "or take the weight-free way: `method: center`"


class DemucsVoice:
    """A pretrained separator, ready to run.

    Args:
        model: a hub id (`adefossez/HTDemucs`), a folder with `NAME.yaml` and safetensors, or one safetensors file.
        device: `auto` takes a GPU where there is one.

    Raises:
        UsageError: the package or the weights are missing, foreign or damaged, or there is no such device.
    """

    channels = 2

    def __init__(self, model: str, device: Device = "auto") -> None:
        import torch

        apply = _package("demucs.apply")
        if device == "cuda" and not torch.cuda.is_available():
            raise UsageError("stems: device cuda was asked for and there is none; use auto or cpu")
        self._device = torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")
        networks, weights = _load(model)
        self._check(model, networks)
        self._bag = apply.BagOfModels(networks, weights, None).to(self._device).eval()
        self._apply = apply.apply_model
        self.sample_rate = int(self._bag.samplerate)
        longest_s = min([LONGEST_WINDOW_S, *(float(network.segment) for network in networks)])
        self.window = int(longest_s * self.sample_rate)
        self.hop = self.window - round(OVERLAP * self.window)

    def separate(self, mix: Samples) -> Samples:
        """Returns the voice (B, 2, T) in mixes (B, 2, T)."""
        import torch

        with torch.inference_mode():
            heard = torch.from_numpy(mix).to(self._device)
            found = self._apply(self._bag, heard, shifts=0, split=False, device=self._device)
            voice: Samples = found[:, self._bag.sources.index(VOCALS)].float().cpu().numpy()
        return voice

    @staticmethod
    def _check(model: str, networks: list[Any]) -> None:
        forms = {(tuple(n.sources), int(n.samplerate), int(n.audio_channels)) for n in networks}
        (sources, _, channels), *others = sorted(forms)
        if others or VOCALS not in sources or channels != 2:
            told = "; ".join(f"{', '.join(s)} at {r} Hz in {c} channels" for s, r, c in sorted(forms))
            raise UsageError(f"stems: {model} separates {told}; wanted are models of one kind, stereo, with {VOCALS}")


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"stems: `method: demucs` needs the package demucs, which is not installed: pip install 'autosing[stems]', "
            f"{_WAYS_OUT}"
        ) from error


def _load(model: str) -> tuple[list[Any], list[list[float]] | None]:
    """Returns the networks of a model and their weights by source, None for equal ones."""
    path = Path(model)
    if path.is_file():
        return [_network(path)], None
    folder = _folder(model)
    bags, files = (sorted(folder.glob(pattern)) for pattern in PATTERNS)
    if len(bags) == 1:
        told = _bag(bags[0])
        return [_network(folder / f"{name}.safetensors") for name in told["models"]], told.get("weights")
    if not bags and len(files) == 1:
        return [_network(files[0])], None
    raise UsageError(
        f"stems: {model} has {len(bags)} yaml and {len(files)} safetensors files; expected NAME.yaml and the files "
        "that it lists, or one safetensors file (pickled .th files are never opened; the hub has safetensors of them)"
    )


def _folder(model: str) -> Path:
    """Returns the folder of a model's files: a local one, the cached snapshot of a hub id, or what the hub gives."""
    for folder in model_folders(model, PATTERNS):
        if Path(model).is_dir() or any(folder.glob(PATTERNS[1])):
            return folder
    raise UsageError(
        f"stems: {model} is neither a folder nor a safetensors file, nor to be had from the local Hugging Face cache "
        f"or the hub; give the path of its files, {_WAYS_OUT}"
    )


def _bag(path: Path) -> Mapping[str, Any]:
    """Returns what `NAME.yaml` tells of a bag of models."""
    import yaml

    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
        names, weights = told["models"], told.get("weights")
        right = bool(names) and all(isinstance(n, str) and _PLAIN_NAME.fullmatch(n) for n in names)
        right &= weights is None or len(weights) == len(names)
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, KeyError, TypeError):
        right = False
    if not right:
        raise UsageError(
            f"stems: {path} does not list models (`models: [NAME, ...]`, and `weights` for each); copy it again"
        )
    bag: Mapping[str, Any] = told
    return bag


def _network(path: Path) -> Any:
    """Returns the network of one safetensors file, whose metadata tell class and arguments, with its weights."""
    import torch
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"stems: {path} can't be read as safetensors ({error}); copy it again, {_WAYS_OUT}") from error
    if told.get("klass") not in CLASSES or "structure" in told:
        kind = "a quantised model" if "structure" in told else f"{told.get('klass', 'no class')!r}"
        raise UsageError(f"stems: {path} names {kind}; known are {', '.join(CLASSES)}, not quantised")
    try:
        # Without memory of its own, so that what the metadata claim is compared with the file before it costs anything.
        with torch.device("meta"):
            network = _built(told)
        network.load_state_dict(tensors, assign=True)
    except (KeyError, TypeError, ValueError, RuntimeError, ZeroDivisionError) as error:
        raise UsageError(
            f"stems: the weights of {path} are not those of its metadata ({error}); copy it again"
        ) from error
    return network


def _built(told: Mapping[str, str]) -> Any:
    module, _, name = told["klass"].rpartition(".")
    built = getattr(_package(module), name)
    arguments = {k: _plain(v) for k, v in json.loads(told["kwargs"]).items()}
    known = inspect.signature(built).parameters
    # Older models were made with arguments that no longer do anything.
    return built(*map(_plain, json.loads(told["args"])), **{k: v for k, v in arguments.items() if k in known})


def _plain(value: Any) -> Any:
    """Returns an argument from its JSON form; fractions are objects there."""
    if isinstance(value, dict) and value.get("_type") == "fraction":
        return Fraction(value["numerator"], value["denominator"])
    return value
