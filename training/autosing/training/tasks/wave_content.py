"""The trainer of content encoders on sound: a pretrained HuBERT or its kin is fine-tuned, as Soft-VC's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, ClassVar

import numpy.typing as npt
from torch import Tensor

from autosing.models.acoustic_input import pad_stack
from autosing.models.listener import Heard, Listener
from autosing.models.wave_content import WaveContentEncoder, WaveContentFields, architecture
from autosing.signal.checkpoint import Checkpoint
from autosing.signal.errors import UsageError
from autosing.signal.framing import frames
from autosing.signal.resample import resample
from autosing.signal.ssl import RATE, SAMPLE_RATE, Wave, with_margins
from autosing.signal.ssl_encoder import brought_to_unit, margins_of
from autosing.training.manifest import AUDIO, Manifest
from autosing.training.sample import Sample
from autosing.training.task import Phase, Tensors
from autosing.training.tasks.listener import ListenerConfig, ListenerTask


@dataclass(frozen=True, kw_only=True)
class WaveContentConfig(ListenerConfig):
    """Settings of the trainer of content encoders on sound.

    Attributes:
        encoder: hub id or path of the HuBERT, ContentVec, WavLM, wav2vec2 or data2vec-audio that is fine-tuned.
        encoder_layers: how many of its layers are kept, the first ones; 0 keeps all, as Soft-VC does.
        freeze_front: keep its convolutions on the wave as they are.
    """

    encoder: str = "facebook/hubert-base-ls960"
    encoder_layers: int = 0
    freeze_front: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_not_below_0("encoder_layers")
        if not self.encoder:
            raise UsageError("encoder is empty; give the hub id or path of the encoder that is fine-tuned")

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return AUDIO, *self.heard

    def task(self, manifest: Manifest) -> "WaveContentTask":
        """Returns the task on a built set."""
        return WaveContentTask(self, manifest)


class WaveContentTask(ListenerTask):
    """Listens to sound.

    Raises:
        MissingColumn: the set lacks the audio or a column that the settings use.
    """

    config: WaveContentConfig
    # Of HuBERT and Soft-VC.
    betas: ClassVar[tuple[float, float]] = (0.9, 0.98)

    def build(self) -> WaveContentEncoder:
        """Returns the encoder with random weights.

        Raises:
            UsageError: there is no such encoder, or it can't be fine-tuned.
        """
        config = self.config
        fields = WaveContentFields(
            encoder=architecture(config.encoder, self._checkpoint.config, config.encoder_layers, config.dropout),
            normalises=self._normalises,
            n_units=config.n_units,
            soft_dim=config.soft_dim,
            temperature=config.temperature,
            pitch_bins=config.pitch_bins,
            pitch_cents=config.pitch_cents,
            dynamic_bins=config.dynamic_bins,
        )
        model = WaveContentEncoder(fields)
        if config.freeze_front:
            model.freeze_front()
        return model

    def initialise(self, model: Listener, samples: Iterable[Sample]) -> None:
        """Takes over the pretrained weights, and measures the bins of pitch and dynamics."""
        assert isinstance(model, WaveContentEncoder)
        model.take(self._checkpoint.load())
        super().initialise(model, samples)

    def phases(self) -> Sequence[Phase]:
        """Returns one turn, in which frames that are heard, and hidden ones, count as much as is set."""
        (phase,) = super().phases()
        return (Phase(betas=self.betas, weights=phase.weights),)

    @property
    def rate(self) -> Fraction:
        """Frames per second that the encoder gives."""
        return RATE

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self.config.encoder)

    @property
    def _normalises(self) -> bool:
        return bool(self._checkpoint.preprocessor.get("do_normalize", False))

    @cached_property
    def _margins(self) -> tuple[int, int]:
        told = self._checkpoint.config
        return margins_of(self.config.encoder, told["conv_kernel"], told["conv_stride"])

    def _listened_to(self, samples: Sequence[Sample]) -> tuple[dict[str, npt.NDArray[Any]], list[int]]:
        """Returns waves with margins side by side, and how many frames each sample has."""
        counts = [frames(len(s.series[AUDIO]), s.sample_rate_hz, RATE) for s in samples]
        waves = [with_margins(self._wave(s), n, self._margins) for s, n in zip(samples, counts, strict=True)]
        return {AUDIO: pad_stack(waves)}, counts

    def _heard(self, model: Any, batch: Tensors, is_hidden: Tensor | None = None) -> Heard:
        heard: Heard = model(batch[AUDIO], batch["frames"], is_hidden)
        return heard

    def _wave(self, sample: Sample) -> Wave:
        wave = resample(sample.series[AUDIO], sample.sample_rate_hz, SAMPLE_RATE)
        return brought_to_unit(wave) if self._normalises else wave
