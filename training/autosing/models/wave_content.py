"""What is sung, how high and how loud, heard from sound by a HuBERT or its kin that was fine-tuned for it.

Soft-VC's content encoder (van Niekerk et al., 2022): the first layers of a pretrained encoder, and heads. A model
directory holds all weights and the encoder's architecture, so that nothing else is needed to use it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autosing.models.listener import Content, Heard, Listener, check_heads
from autosing.signal.errors import UsageError
from autosing.signal.ssl import HOP, Wave, Windowing, encode_songs
from autosing.signal.ssl_encoder import WAVE_MODELS, brought_to_unit, margins_of

# Of an encoder's settings those that drop or hide something; what is left of them is `dropout`.
DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout")
OFF: Mapping[str, Any] = {
    "layerdrop": 0.0,
    "apply_spec_augment": False,
    "mask_time_prob": 0.0,
    "mask_feature_prob": 0.0,
    "add_adapter": False,
}


@dataclass(frozen=True)
class WaveContentFields:
    """What a content encoder on sound is built from.

    Attributes:
        encoder: the architecture of the encoder, as `architecture` tells it.
        normalises: whether it wants waves of mean 0 and variance 1.
        n_units, soft_dim, temperature, pitch_bins, pitch_cents, dynamic_bins: see `HeadFields`.
    """

    encoder: Mapping[str, Any]
    normalises: bool
    n_units: int
    soft_dim: int
    temperature: float
    pitch_bins: int
    pitch_cents: float
    dynamic_bins: int

    def __post_init__(self) -> None:
        check_kind("the encoder", self.encoder)
        check_heads(self)


def check_kind(model: str, config: Mapping[str, Any]) -> None:
    """Raises UsageError unless a config.json is that of an encoder that can be fine-tuned."""
    kind = config.get("model_type")
    if kind not in WAVE_MODELS:
        raise UsageError(f"soft_hubert: {model} is a {kind!r} model; supported: {', '.join(WAVE_MODELS)}")
    if config.get("conv_pos_batch_norm"):
        raise UsageError(
            f"soft_hubert: {model} normalises by what else is in a batch (conv_pos_batch_norm), so that it would hear "
            "otherwise than it was trained; take another checkpoint"
        )


def architecture(model: str, config: Mapping[str, Any], layers: int, dropout: float) -> dict[str, Any]:
    """Returns the architecture of an encoder's first layers, as plain values.

    Args:
        model: whose it is, for messages.
        config: what its config.json tells.
        layers: how many; 0 for all.
        dropout: in training.

    Raises:
        UsageError: it is of a kind that can't be fine-tuned, or has fewer layers.
    """
    from transformers import AutoConfig, PreTrainedConfig

    check_kind(model, config)
    depth = int(config["num_hidden_layers"])
    if not 0 <= layers <= depth:
        raise UsageError(f"soft_hubert: {model} has {depth} layers, and {layers} are asked for; 0 takes all")
    # Its own settings alone: those of every model say where it came from and how it is run.
    known = {*AutoConfig.for_model(config["model_type"]).to_dict()} - {*PreTrainedConfig().to_dict()}
    own = {name: value for name, value in config.items() if name in known}
    told = {**dict.fromkeys(DROPOUTS, dropout), **OFF, "num_hidden_layers": layers or depth}
    return {**own, **told, "model_type": config["model_type"]}


class WaveContentEncoder(Listener):
    """Waves (B, T) at 16 kHz to what is heard in each frame of 20 ms."""

    fields_type: ClassVar = WaveContentFields

    def __init__(self, fields: WaveContentFields) -> None:
        network = _network(fields.encoder)
        super().__init__(fields, network.config.hidden_size)
        self.fields = fields
        self.margins = margins_of("the encoder", network.config.conv_kernel, network.config.conv_stride)
        self.front, self.projection, self.encoder = _parts(network)

    def take(self, network: Any) -> None:
        """Takes over the weights of a pretrained network of the architecture, its first layers."""
        for own, given in zip((self.front, self.projection, self.encoder), _parts(network), strict=True):
            weights = given.state_dict()
            own.load_state_dict({name: weights[name] for name in own.state_dict()})

    def freeze_front(self) -> None:
        """Keeps the convolutions on the wave as they are."""
        self.front._freeze_parameters()

    def normalised(self, wave: Wave) -> Wave:
        """Returns a song's wave (T,) as the encoder wants to hear it."""
        return brought_to_unit(wave) if self.fields.normalises else wave

    def forward(self, waves_BT: Tensor, counts_B: Tensor, is_masked_BN: Tensor | None = None) -> Heard:
        """Returns what is heard of waves with margins, of which each sample has `counts_B` frames.

        Samples of equal length are encoded together and none is padded, so no sample depends on those beside it,
        whatever the encoder's norms and positions look at.
        """
        n_frames = (waves_BT.shape[1] - sum(self.margins)) // HOP
        frames_BND = waves_BT.new_zeros(len(waves_BT), n_frames, len(self.hidden_away))
        for count in sorted({*counts_B.tolist()} - {0}):
            rows = (counts_B == count).nonzero()[:, 0]
            is_masked = None if is_masked_BN is None else is_masked_BN[rows, :count]
            encoded = self._encoded(waves_BT[rows, : count * HOP + sum(self.margins)], is_masked)
            frames_BND[rows, :count] = encoded.to(frames_BND.dtype)
        return self.hear(frames_BND)

    def _encoded(self, waves_BT: Tensor, is_masked_BN: Tensor | None) -> Tensor:
        projected = self.projection(self.front(waves_BT).transpose(1, 2))
        # wav2vec 2.0 and WavLM tell what they quantise, too.
        x_BND: Tensor = projected[0] if isinstance(projected, tuple) else projected
        if is_masked_BN is not None:
            x_BND = torch.where(is_masked_BN[..., None], self.hidden_away, x_BND)
        encoded: Tensor = self.encoder(x_BND).last_hidden_state
        return encoded


def contents_of(
    model: WaveContentEncoder,
    waves: Sequence[Wave],
    n_frames: Sequence[int],
    windowing: Windowing,
    windows_per_batch: int = 1,
) -> list[Content]:
    """Returns what is heard of songs, in windows as features of speech encoders are computed.

    Args:
        model: the encoder, in evaluation mode.
        waves: (T,) at 16 kHz.
        n_frames: the number of frames that each song shall have.
        windowing: how long songs are cut.
        windows_per_batch: how many windows a GPU gets at once.
    """
    hearing = _Hearing(model)
    found = encode_songs(hearing, waves, n_frames, windowing, windows_per_batch, dtype=np.float32)
    return [Content.of(hearing.apart(values)) for values in found]


class _Hearing:
    """A content encoder as `encode_songs` wants it: its values side by side."""

    longest = None

    def __init__(self, model: WaveContentEncoder) -> None:
        self._model, self.margins = model, model.margins
        self._device = next(model.parameters()).device
        self.batches = self._device.type == "cuda"
        self.normalises = model.fields.normalises
        fields = model.fields
        widths = {
            "soft_units": fields.soft_dim if fields.n_units else 0,
            "pitch_bin": min(fields.pitch_bins, 1),
            "f0_hz": min(fields.pitch_bins, 1),
            "dynamic_bin": min(fields.dynamic_bins, 1),
        }
        self._widths = {name: width for name, width in widths.items() if width}
        self.dim = sum(self._widths.values())

    def normalised(self, wave: Wave) -> Wave:
        return self._model.normalised(wave)

    @torch.inference_mode()
    def encode(self, waves: Wave) -> npt.NDArray[np.float32]:
        count = (waves.shape[1] - sum(self.margins)) // HOP
        counts = torch.full((len(waves),), count, device=self._device)
        heard = self._model(torch.from_numpy(waves).to(self._device), counts)
        values = self._model.values(heard)
        parts = [values[name].float().reshape(len(waves), count, width) for name, width in self._widths.items()]
        side_by_side: npt.NDArray[np.float32] = torch.cat(parts, dim=-1).cpu().numpy()
        return side_by_side

    def apart(self, values: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Returns values (N, D) that lie side by side by their names; soft units (N, S), the others (N,)."""
        ends = np.cumsum([*self._widths.values()])[:-1]
        parts = dict(zip(self._widths, np.split(values, ends, axis=1), strict=True))
        return {name: part if name == "soft_units" else part[:, 0] for name, part in parts.items()}


def _network(told: Mapping[str, Any]) -> Any:
    """Returns the network of an architecture with random weights; nothing is fetched, and no foreign code runs."""
    from transformers import AutoConfig, AutoModel

    kind = str(told["model_type"])
    own = architecture("the encoder", told, 0, float(told["hidden_dropout"]))
    config = AutoConfig.for_model(kind, **{name: value for name, value in own.items() if name != "model_type"})
    return AutoModel.from_config(config, trust_remote_code=False)  # type: ignore[no-untyped-call]


def _parts(network: Any) -> tuple[Any, nn.Module, nn.Module]:
    return network.feature_extractor, network.feature_projection, network.encoder
