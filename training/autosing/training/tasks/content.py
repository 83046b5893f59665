"""The trainer of content encoders on features of a speech encoder: soft units, pitch and dynamics."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from autosing.models.acoustic import Size
from autosing.models.acoustic_input import pad_stack
from autosing.models.content import CONTENT_SIZES, ContentEncoder, ContentFields
from autosing.models.listener import Heard
from autosing.training.manifest import Manifest
from autosing.training.sample import Sample
from autosing.training.task import Tensors
from autosing.training.tasks.listener import ListenerConfig, ListenerTask

SSL = "ssl"


@dataclass(frozen=True, kw_only=True)
class ContentConfig(ListenerConfig):
    """Settings of the trainer of content encoders on features.

    Attributes:
        size: of the encoder.
        n_layers: how many layers of an encoder lie side by side in `ssl`.
    """

    size: Size = "small"
    n_layers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_above_0("n_layers")

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return SSL, *self.heard

    def task(self, manifest: Manifest) -> "ContentTask":
        """Returns the task on a built set."""
        return ContentTask(self, manifest)


class ContentTask(ListenerTask):
    """Listens to features."""

    config: ContentConfig

    def build(self) -> ContentEncoder:
        """Returns the encoder with random weights."""
        config, column = self.config, self.column_of[SSL]
        dim, layers = CONTENT_SIZES[config.size]
        fields = ContentFields(
            rate=str(column.rate),
            feature_dim=column.dim or 1,
            n_layers=config.n_layers,
            n_units=config.n_units,
            soft_dim=config.soft_dim,
            temperature=config.temperature,
            pitch_bins=config.pitch_bins,
            pitch_cents=config.pitch_cents,
            dynamic_bins=config.dynamic_bins,
            dim=dim,
            layers=layers,
            dropout=config.dropout,
        )
        return ContentEncoder(fields)

    @property
    def rate(self) -> Fraction:
        """Frames per second of what is listened to."""
        return self.rates[SSL]

    def _listened_to(self, samples: Sequence[Sample]) -> tuple[dict[str, npt.NDArray[Any]], list[int]]:
        """Returns the features side by side, and how many frames each sample has."""
        features = [sample.series[SSL].astype(np.float32) for sample in samples]
        return {SSL: pad_stack(features)}, [len(one) for one in features]

    def _heard(self, model: Any, batch: Tensors, is_hidden: Tensor | None = None) -> Heard:
        heard: Heard = model(batch[SSL], batch["frames"], is_hidden)
        return heard
