"""One interface to vocoders: the project's own, and published ones that `import_vocoder` made model directories of."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from autosing.models.directory import LoadedModel, check_contract, load_model
from autosing.signal.errors import RowError, UsageError
from autosing.signal.mel import MelSpec
from autosing.signal.ssl_encoder import Device, torch_device

Array = npt.NDArray[Any]
Wave = npt.NDArray[np.float32]
# Of each sample, or what returns that of the samples from one to another.
Pitch = Wave | Callable[[int, int], Wave]

OWN = "vocoder"
PUBLISHED = ("bigvgan", "hifigan", "nsf_hifigan", "vocos")
CLASSES = (OWN, *PUBLISHED)
# Frames that are made at once; memory is in proportion.
PIECE_FRAMES = 400


@dataclass(frozen=True)
class VocoderInfo:
    """What a vocoder makes waves of.

    Attributes:
        spec: the mel it is given, or whose frames its waves have.
        use_f0: whether it is given F0.
        streams: rates of the token streams it is given in place of a mel, as fractions, by column name.
        n_tokens: the most tokens that any stream has.
        definitions: of the columns of tokens, by name.
    """

    spec: MelSpec
    use_f0: bool
    streams: Mapping[str, str] = field(default_factory=dict)
    n_tokens: int = 0
    definitions: Mapping[str, str] = field(default_factory=dict)


class AnyVocoder(Protocol):
    """A loaded vocoder."""

    @property
    def info(self) -> VocoderInfo:
        """What it makes waves of."""

    def synthesise(self, inputs: Mapping[str, Array], f0_hz: Pitch | None = None, seed: int = 0) -> Iterator[Wave]:
        """Yields the wave of a recording piece by piece; together they are what the whole of it at once would be.

        Args:
            inputs: `mel` (F, M), or of each stream its tokens (N,) and `<stream>_at` (F,), the token at each frame.
            f0_hz: pitch of each sample (F hop,), 0 where unvoiced, for one that uses it; of what returns that of the
                samples from one to another, the project's own holds no more than a piece.
            seed: of noise and phases; the same seed gives the same wave.

        Raises:
            RowError: a mel of another number of bands, or no F0 where it is used.
        """


def load_vocoder(model: str, mel: MelSpec | None = None, device: Device = "auto") -> AnyVocoder:
    """Returns a vocoder.

    Args:
        model: a model directory, or the hub id of one.
        mel: what the mels are that it will be given; None where the caller looks at `info`.
        device: `auto` takes a GPU where there is one.

    Raises:
        CheckpointError: there is no such model, it is damaged, or is for another mel; names the field that differs.
        UsageError: the model is no vocoder.
    """
    where, loaded = torch_device(device, "vocoder"), load_model(model)
    network: Any = loaded.model
    vocoder = _vocoder_of(model, loaded)
    if mel is not None:
        found, expected = ({"mel": {"spec": spec.as_mapping()}} for spec in (vocoder.info.spec, mel))
        check_contract(f"the vocoder {model}", found, expected, exact=True)
    network.to(where)
    return vocoder


def _vocoder_of(model: str, loaded: LoadedModel) -> AnyVocoder:
    from autosing.models.published.bigvgan import BigVgan
    from autosing.models.published.hifigan import PublishedHifiGan
    from autosing.models.published.vocos import Vocos
    from autosing.models.vocoder import Vocoder

    network = loaded.model
    if isinstance(network, Vocoder):
        fields, told = network.fields, loaded.contract.get("definitions", {})
        definitions = {name: told[name] for name in fields.streams if name in told}
        return _Own(network, VocoderInfo(fields.spec, fields.use_f0, fields.streams, fields.n_tokens, definitions))
    if isinstance(network, PublishedHifiGan | BigVgan | Vocos):
        return _Published(network, VocoderInfo(network.spec, network.use_f0))
    raise UsageError(f"{model} is a {type(network).__name__} and no vocoder; supported: {', '.join(CLASSES)}")


@dataclass(frozen=True)
class _Own:
    network: Any
    info: VocoderInfo

    def synthesise(self, inputs: Mapping[str, Array], f0_hz: Pitch | None = None, seed: int = 0) -> Iterator[Wave]:
        from autosing.models.vocoder import synthesise

        yield from synthesise(self.network, inputs, f0_hz, seed)


@dataclass(frozen=True)
class _Published:
    network: Any
    info: VocoderInfo

    def synthesise(self, inputs: Mapping[str, Array], f0_hz: Pitch | None = None, seed: int = 0) -> Iterator[Wave]:
        import torch

        from autosing.models.pieces import Pieces

        mel, spec = inputs["mel"], self.info.spec
        if mel.ndim != 2 or mel.shape[1] != spec.n_mels:
            raise RowError(f"a mel of shape {mel.shape} does not fit a vocoder of {spec.n_mels} bands")
        if self.info.use_f0 and f0_hz is None:
            raise RowError("the vocoder is given no F0, and sings by it")
        pitch = f0_hz(0, len(mel) * spec.hop) if callable(f0_hz) else f0_hz
        excitation = self.network.excitation(pitch, len(mel), seed) if self.info.use_f0 else None
        device = next(self.network.parameters()).device

        @torch.inference_mode()
        def wave(first: int, last: int) -> torch.Tensor:
            part = torch.from_numpy(np.array(mel[first:last], np.float32))[None].to(device)
            beside = {} if excitation is None else excitation.batch(first, last, device)
            made: torch.Tensor = self.network({"mel": part, **beside})
            return made

        yield from Pieces(len(mel), PIECE_FRAMES, self.network.context_frames).each(wave, spec.hop)
