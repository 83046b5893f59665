"""The voice of a mix by a published RoFormer: Band-Split (Lu et al., 2023) or Mel-Band (Wang et al., 2023).

The field's layout is read: a config in YAML or JSON (`model`, `audio`, `training`, `inference`) beside the weights. The
networks are those of the package pymss-core, which has the names of the field's weights and needs torch alone.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autosing.models.published.roformer_fields import Network, roformer_fields
from autosing.models.published.weights import Array, check_fit, folded, weights_of, without_memory
from autosing.signal.checkpoint import model_folders
from autosing.signal.decode import Samples
from autosing.signal.errors import CheckpointError, UsageError
from autosing.signal.ssl_encoder import Device, torch_device

if TYPE_CHECKING:
    import torch

CONFIGS = (".yaml", ".yml", ".json")
WEIGHTS = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
HUB_FILES = ("config.yaml", "config.yml", "config.json", "*.safetensors")
# What the converter of checkpoints leaves beside the weights, and fits of the pipeline.
_NO_CONFIGS = ("settings.json", "fit.json")
# In weights of every kind; what is before it in a name is what was put around the network.
_FIRST = "band_split.to_features.0.0.gamma"
_ROTARY = "rotary_embed.freqs"
_WAYS_OUT = "or take the weight-free way: `method: center`"


class RoformerVoice:
    """A published RoFormer, ready to run.

    Args:
        model: the path of a folder with a config and weights (safetensors; a pickle is opened by the converter), or a
            hub id whose repository has config.yaml and safetensors.
        device: `auto` takes a GPU where there is one.

    Raises:
        UsageError: the package or the files are missing, or there is no such device.
        CheckpointError: config or weights are damaged, hostile, of another network, or of one without a voice.
    """

    def __init__(self, model: str, device: Device = "auto") -> None:
        self._device = torch_device(device, "stems")
        config, weights = _files(model)
        fields = roformer_fields(config)
        self.sample_rate, self.window, self.hop = fields.sample_rate, fields.window, fields.hop
        self.channels = 2 if fields.network.stereo else 1
        self._stem, self._is_backing = fields.stem, fields.is_backing
        self._network = _loaded(fields.network, config, weights).to(self._device)

    def separate(self, mix: Samples) -> Samples:
        """Returns the voice (B, H, T) in mixes (B, H, T)."""
        import torch

        with torch.inference_mode():
            made = self._network(torch.from_numpy(mix).to(self._device))
            stem: Samples = (made if made.ndim == 3 else made[:, self._stem]).float().cpu().numpy()
        return mix - stem if self._is_backing else stem


def _files(model: str) -> tuple[Path, Path]:
    """Returns the config and the weights of a model."""
    told = f"{model} is neither a folder nor to be had from the local Hugging Face cache or the hub"
    for folder in model_folders(model, HUB_FILES):
        every = [file for file in sorted(folder.iterdir()) if file.is_file() and file.name not in _NO_CONFIGS]
        configs, weights = ([file for file in every if file.suffix in kinds] for kinds in (CONFIGS, WEIGHTS))
        if len(configs) == len(weights) == 1:
            return configs[0], weights[0]
        told = f"{model} has {len(configs)} configs ({', '.join(CONFIGS)}) and {len(weights)} files of weights"
    raise UsageError(
        f"stems: {told}; give a folder with the config and the weights of one RoFormer ({', '.join(WEIGHTS)}), "
        f"{_WAYS_OUT}"
    )


def _loaded(fields: Network, config: Path, weights: Path) -> "torch.nn.Module":
    """Returns the network with its weights; what the config claims is compared with them before it costs anything."""
    import torch

    built = _network_class(fields)
    empty = without_memory(lambda: built(**fields.arguments), str(config))
    tensors = _plain_names(folded(weights_of(weights), str(weights)), str(weights))
    frequencies = {name: _rotary(tensor.shape[0]) for name, tensor in empty.state_dict().items() if _ROTARY in name}
    tensors = frequencies | tensors
    check_fit(weights, config.name, tensors, empty)
    network = built(**fields.arguments)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()}, assign=True)
    ready: torch.nn.Module = network.requires_grad_(False).eval()
    return ready


def _network_class(fields: Network) -> Any:
    try:
        package = import_module("pymss_core.modules.bs_roformer")
    except ModuleNotFoundError as error:
        raise UsageError(
            "stems: `method: roformer` needs the package pymss-core, which is not installed: pip install "
            f"'autosing[roformer]', {_WAYS_OUT}"
        ) from error
    return package.BSRoformer if fields.num_bands is None else package.MelBandRoformer


def _plain_names(tensors: dict[str, Array], source: str) -> dict[str, Array]:
    """Returns the network's tensors by their own names, whatever a trainer put around them."""
    around = [name.removesuffix(_FIRST) for name in tensors if name.endswith(_FIRST)]
    if len(around) != 1:
        raise CheckpointError(
            f"{source} holds the weights of {len(around)} RoFormers ({', '.join(map(repr, around)) or _FIRST}); "
            "save those of one, its state_dict alone"
        )
    prefix = around[0]
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _rotary(n: int) -> Array:
    """Returns the frequencies (n,) of a rotary embedding (Su et al., 2021), which some files leave out."""
    import torch

    frequencies: Array = (1.0 / 10_000 ** (torch.arange(0, 2 * n, 2).float() / (2 * n))).numpy()
    return frequencies
