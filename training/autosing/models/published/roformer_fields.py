"""What the config of a published RoFormer tells: its network, its windows, and which of its stems is the voice."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autosing.models.published.config import typed
from autosing.signal.errors import CheckpointError, UsageError
from autosing.signal.typed import of_mapping

VOICES = ("vocals", "vocal", "voice")
LONGEST_WINDOW_S = 40.0
LARGEST_CONFIG_BYTES = 1 << 20

# Of training and of speed, told elsewhere, or of no meaning to those who made it.
_NOT_OF_THE_NETWORK = (
    *("attn_dropout", "ff_dropout", "flash_attn", "sage_attention", "use_torch_checkpoint", "dim_freqs_in"),
    *("multi_stft_resolution_loss_weight", "multi_stft_resolutions_window_sizes", "multi_stft_hop_size"),
    *("multi_stft_normalized", "match_input_audio_length"),
)
# Sizes that are far above those of published models, and such that counting them out costs nothing.
_LARGEST = {
    "dim": 8192, "depth": 128, "num_stems": 64, "time_transformer_depth": 16, "freq_transformer_depth": 16,
    "num_bands": 512, "dim_head": 1024, "heads": 128, "sample_rate": 768_000, "stft_n_fft": 1 << 16,
    "stft_hop_length": 1 << 16, "stft_win_length": 1 << 16, "mask_estimator_depth": 16, "mlp_expansion_factor": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Network:
    """`model` of a config: what a RoFormer is built from, by the names and with the defaults of the field.

    Raises:
        CheckpointError: there is no such network; the message names the value.
    """

    dim: int
    depth: int
    stereo: bool = False
    num_stems: int = 1
    time_transformer_depth: int = 2
    freq_transformer_depth: int = 2
    linear_transformer_depth: int = 0
    num_bands: int | None = None
    freqs_per_bands: tuple[int, ...] | None = None
    dim_head: int = 64
    heads: int = 8
    sample_rate: int = 44_100
    stft_n_fft: int = 2048
    stft_hop_length: int = 512
    stft_win_length: int = 2048
    stft_normalized: bool = False
    zero_dc: bool = True
    mask_estimator_depth: int | None = None
    mlp_expansion_factor: int = 4
    skip_connection: bool = False

    def __post_init__(self) -> None:
        for name, largest in _LARGEST.items():
            value = getattr(self, name)
            if value is not None and not 1 <= value <= largest:
                raise CheckpointError(f"model.{name} is {value}; it must be 1 to {largest}")
        bands, n_bins = self.freqs_per_bands, self.stft_n_fft // 2 + 1
        for wrong, what in (
            (self.linear_transformer_depth != 0, "linear_transformer_depth: linear attention is not known here; 0 is"),
            ((self.num_bands is None) == (bands is None), "num_bands, freqs_per_bands: exactly one of them says which "
             "bands there are (Mel-Band RoFormer, Band-Split RoFormer)"),
            (bands is not None and (len(bands) < 2 or min(bands) < 1 or sum(bands) != n_bins),
             f"freqs_per_bands: they must be above 0 and sum up to the {n_bins} bins of stft_n_fft {self.stft_n_fft}"),
            (not self.stft_hop_length <= self.stft_win_length <= self.stft_n_fft,
             "stft_hop_length, stft_win_length, stft_n_fft: none must be longer than the next"),
            (self.dim_head % 2 == 1, f"dim_head is {self.dim_head}; it must be even"),
        ):  # fmt: skip
            if wrong:
                raise CheckpointError(f"model.{what}")

    @property
    def arguments(self) -> dict[str, Any]:
        """What the network's class is called with: the values that are told, by their names there."""
        told = {name: value for name, value in asdict(self).items() if value is not None}
        del told["linear_transformer_depth"]
        if self.num_bands is None:
            del told["sample_rate"]
            return told
        # In Mel-Band RoFormers alone, the field's `mask_estimator_depth` counts hidden layers and not all layers.
        return told | {"mlp_hidden_layers": self.mask_estimator_depth or 1, "match_input_audio_length": True}


@dataclass(frozen=True)
class _Audio:
    chunk_size: int | None = None
    sample_rate: int | None = None


@dataclass(frozen=True)
class _Training:
    instruments: tuple[str, ...] = ()
    target_instrument: str | None = None


@dataclass(frozen=True)
class _Inference:
    chunk_size: int | None = None
    num_overlap: int = 2


@dataclass(frozen=True)
class RoformerFields:
    """What a config tells.

    Attributes:
        network: what it is built from.
        sample_rate: in Hz.
        window: samples that it hears at once.
        hop: samples from window to window.
        stem: which of its stems is the voice, or, of a network of one stem alone, all but the voice.
        is_backing: whether that stem is all but the voice.
    """

    network: Network
    sample_rate: int
    window: int
    hop: int
    stem: int
    is_backing: bool


def roformer_fields(config: Path) -> RoformerFields:
    """Returns what a config in YAML or JSON tells.

    Raises:
        CheckpointError: it is none of a RoFormer that separates a voice; the message names the value.
    """
    told = _sections(config)
    try:
        network = _network(told["model"])
        audio, training = typed(_Audio, told["audio"], "audio"), typed(_Training, told["training"], "training")
        inference = typed(_Inference, told["inference"], "inference")
        sample_rate = audio.sample_rate or network.sample_rate
        window, hop = _windows(inference.chunk_size or audio.chunk_size, inference.num_overlap, sample_rate, network)
        return RoformerFields(network, sample_rate, window, hop, *_voice(training, network.num_stems))
    except CheckpointError as error:
        raise CheckpointError(f"{config}: {error}") from error


def _network(told: Mapping[str, Any]) -> Network:
    left = {name: value for name, value in told.items() if name not in _NOT_OF_THE_NETWORK}
    try:
        return of_mapping(Network, left, "model")
    except UsageError as error:
        raise CheckpointError(f"{error}; such a network is not known here") from error


def _windows(window: int | None, overlap: int, sample_rate: int, network: Network) -> tuple[int, int]:
    longest = int(LONGEST_WINDOW_S * sample_rate)
    if not 1 <= sample_rate <= _LARGEST["sample_rate"]:
        raise CheckpointError(f"audio.sample_rate is {sample_rate}; it must be 1 to {_LARGEST['sample_rate']}")
    if window is None or not network.stft_n_fft <= window <= longest:
        raise CheckpointError(
            f"audio.chunk_size is {window}; it must be {network.stft_n_fft} (model.stft_n_fft) to {longest} samples"
        )
    if not 1 <= overlap <= window:
        raise CheckpointError(f"inference.num_overlap is {overlap}; it must be 1 to {window}")
    return window, window // overlap


def _voice(training: _Training, n_stems: int) -> tuple[int, bool]:
    """Returns which stem is the voice, or all but the voice, and whether it is that."""
    every, target = [name.casefold() for name in training.instruments], training.target_instrument
    stems = [target.casefold()] if target is not None and n_stems == 1 else every
    if len(stems) != n_stems:
        raise CheckpointError(f"training.instruments are {len(stems)}, and model.num_stems is {n_stems}")
    for index, name in enumerate(stems):
        if name in VOICES:
            return index, False
    if n_stems == 1 and len(every) == 2 and stems[0] in every and set(every) & set(VOICES):
        return 0, True
    raise CheckpointError(
        f"training.instruments, training.target_instrument: it separates {', '.join(stems)}; wanted is one of "
        f"{', '.join(VOICES)}"
    )


def _sections(config: Path) -> dict[str, Mapping[str, Any]]:
    """Returns the parts of a config by name; those that are not there are empty."""
    import yaml

    try:
        with open(config, "rb") as file:
            text = file.read(LARGEST_CONFIG_BYTES).decode("utf-8")
        # Configs of the field call some lists tuples of Python; nothing else that Python's own YAML calls is known.
        told = yaml.safe_load(text.replace("!!python/tuple", ""))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{config} can't be read ({error}); copy it again") from error
    names = ("model", "audio", "training", "inference")
    found = {name: told.get(name) or {} for name in names} if isinstance(told, Mapping) else {}
    if not found.get("model") or not all(isinstance(part, Mapping) for part in found.values()):
        raise CheckpointError(
            f"{config} tells of no RoFormer; expected are `model`, `audio`, `training` and `inference`, each with "
            "names and values; take the config that the weights were published with"
        )
    return found
