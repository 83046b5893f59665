"""The trainer of tokens of several resolutions: features of an encoder to tokens, mels, pitch and sound."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from autosing.models.acoustic_input import neighbours, pad_stack
from autosing.models.multires import MultiResolution, MultiResolutionFields, sized_multires
from autosing.signal.errors import UsageError
from autosing.signal.mel import log_mel_torch
from autosing.training.loader import Batch
from autosing.training.manifest import Manifest
from autosing.training.sample import Sample
from autosing.training.task import Tensors
from autosing.training.tasks.codec import COMMITMENT, UNQUANTISED_SHARE
from autosing.training.tasks.decoded_losses import DECODED_LOSSES, DECODED_WEIGHTS, decoded_losses
from autosing.training.tasks.waves import Judged, WaveConfig, WaveTask

SSL = "ssl"


@dataclass(frozen=True, kw_only=True)
class MultiResolutionConfig(WaveConfig):
    """Settings of the trainer of tokens of several resolutions.

    Attributes:
        resolutions_ms: of the streams, fine first.
        n_layers: how many layers of an encoder lie side by side in `ssl`.
        n_tokens: of each stream; 0 does not quantise, for features that are to be clustered.
        code_dim: width of the codes.
    """

    resolutions_ms: tuple[int, ...] = (20, 40, 80)
    n_layers: int = 1
    n_tokens: int = 1024
    code_dim: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_tokens == 1 or self.n_tokens < 0 or self.code_dim < 1:
            raise UsageError(f"n_tokens is {self.n_tokens} and code_dim {self.code_dim}; give at least 2 and 1")

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return *super().columns, SSL

    def task(self, manifest: Manifest) -> "MultiResolutionTask":
        """Returns the task on a built set."""
        return MultiResolutionTask(self, manifest)


class MultiResolutionTask(WaveTask):
    """Features to tokens and back to sound."""

    metric: ClassVar[str] = "mel_l1"
    overfit_bound: ClassVar[float] = 0.45
    more_weights: ClassVar[Mapping[str, float]] = {COMMITMENT: 0.25, **DECODED_WEIGHTS}
    config: MultiResolutionConfig

    @property
    def hears_level(self) -> bool:
        """Features are of the level that they were computed at."""
        return False

    @property
    def fields(self) -> MultiResolutionFields:
        """What the adapter is built from."""
        config, column = self.config, self.column_of[SSL]
        return sized_multires(
            config.size,
            self.spec,
            rate=str(column.rate),
            feature_dim=column.dim or 1,
            n_layers=config.n_layers,
            resolutions_ms=config.resolutions_ms,
            n_tokens=config.n_tokens,
            code_dim=config.code_dim,
            use_f0=config.use_f0,
        )

    def initialise(self, model: Judged, samples: Iterable[Sample]) -> None:
        """Measures mels, and begins with the principal components of the features."""
        kept = list(samples)
        super().initialise(model, kept)
        network: Any = model.network
        network.begin_with([sample.series[SSL] for sample in kept])

    def network(self) -> MultiResolution:
        """Returns the adapter with random weights."""
        return MultiResolution(self.fields)

    def contract(self) -> Mapping[str, Any]:
        """Returns mel, rates and definitions, and what the tokens are."""
        tokens = {"resolutions_ms": list(self.config.resolutions_ms), "size": self.config.n_tokens}
        return {**super().contract(), "tokens": tokens}

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns what every trainer of waves has, features in whole periods, and where mel frames lie among them."""
        batch, period = super().collate(samples, training=training), self.fields.period
        features = [sample.series[SSL].astype(np.float32) for sample in samples]
        longest = -(-max(map(len, features)) // period) * period
        padded = np.zeros((len(samples), longest, features[0].shape[1]), np.float32)
        for row, one in zip(padded, features, strict=True):
            row[: len(one)] = one
        places = [
            neighbours(n, self.spec.rate, len(one), self.rates[SSL])
            for n, one in zip(batch.arrays["frames"].tolist(), features, strict=True)
        ]
        arrays: dict[str, npt.NDArray[Any]] = {
            SSL: padded,
            "unit_frames": np.array([len(one) for one in features], np.int64),
            "left": pad_stack([left for left, _ in places]),
            "is_free": np.array([training and s.rng("free").random() < UNQUANTISED_SHARE for s in samples]),
            "share": pad_stack([share for _, share in places]),
        }
        counts = dict.fromkeys((COMMITMENT, *DECODED_LOSSES), int(batch.arrays["frames"].sum()))
        return replace(batch, arrays={**batch.arrays, **arrays}, counts={**batch.counts, **counts})

    def made(self, network: MultiResolution, batch: Tensors) -> tuple[Tensor | None, Mapping[str, Tensor]]:
        """Returns waves (B, T), and the errors of what the tokens tell of frames."""
        streams = network(batch[SSL], batch["unit_frames"], batch["is_free"] if network.training else None)
        decoded = network.decoded(streams.hidden, batch)
        mel_BFM = log_mel_torch(batch["audio"], self.spec).transpose(1, 2)
        found = decoded_losses(decoded, mel_BFM, batch.get("period_s"))
        found[COMMITMENT] = streams.off * batch["frames"].sum()
        if network.training and not self.wants_waves:
            return None, found
        return network.decoder.wave(decoded, self.excitation_of(decoded, batch, network.training)), found
