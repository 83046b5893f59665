"""The vocoders' trainer: from mels or tokens, and as far as wanted F0, to the recorded wave."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from autosing.models.acoustic_input import pad_stack
from autosing.models.discriminators import Discriminators, adversarial_loss, discriminator_loss, feature_loss
from autosing.models.excitation import pulses, sample_f0
from autosing.models.vocoder import (
    Generator,
    Vocoder,
    VocoderSize,
    periods,
    sized_vocoder,
    tokens_at,
)
from autosing.signal.errors import DataError, UsageError
from autosing.signal.mel import MelSpec, log_mel, log_mel_torch
from autosing.signal.resample import resample
from autosing.training.loader import Batch
from autosing.training.look import Look, Sound
from autosing.training.manifest import AUDIO, Manifest
from autosing.training.metrics import mel_l1, multi_resolution_stft
from autosing.training.pictures import mel_figure
from autosing.training.sample import Sample
from autosing.training.task import Phase, RunConfig, Task, Tensors
from autosing.training.tasks.spectral_losses import log_magnitude_loss, log_mel_loss

MelName = Literal["24k", "44k"]
# Of BigVGAN's and of OpenVPI's vocoders.
MELS: Mapping[str, MelSpec] = {
    "24k": MelSpec(),
    "44k": MelSpec(44_100, 2048, 512, 2048, 128, 40.0, 16_000.0),
}
MEL, MAGNITUDE, ADVERSARIAL, FEATURES, JUDGES = "mel", "magnitude", "adversarial", "features", "discriminator"
METRIC = "mr_stft"
LOOK_S = 8.0
# Training begins at any level between a recording's own and this much less.
QUIETER_DB = 12.0
# So short a wave has no spectrum to be compared.
SHORTEST_SAMPLES = 2048


@dataclass(frozen=True, kw_only=True)
class VocoderConfig(RunConfig):
    """Settings of the vocoders' trainer.

    Attributes:
        size: of the generator and of its judges.
        generator: `istft` for spectra frame by frame, `hifigan` for transposed convolutions.
        mel: `24k` for BigVGAN's 100 bands at 24 kHz, `44k` for 128 bands at 44.1 kHz.
        streams: names of columns of tokens that take the place of the mel, with commas between them.
        n_tokens: the most tokens that a stream may have.
        use_f0: give it `f0_hz` and `voiced`.
        mel_weight: of the log-mel's error.
        magnitude_weight: of the error of the spectra's log magnitudes.
        adversarial_weight: of what the judges say; 0 has no judges.
        features_weight: of what the judges' layers hear.
        adversarial_from: the step from which there are judges.
    """

    size: VocoderSize = "small"
    generator: Generator = "istft"
    mel: MelName = "24k"
    streams: str = ""
    n_tokens: int = 1024
    use_f0: bool = True
    mel_weight: float = 1.0
    magnitude_weight: float = 1.0
    adversarial_weight: float = 0.2
    features_weight: float = 0.4
    adversarial_from: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mel_weight", "magnitude_weight", "adversarial_weight", "features_weight", "adversarial_from"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}; it must not be below 0")
        if not self.mel_weight + self.magnitude_weight:
            raise UsageError("mel_weight and magnitude_weight are both 0; judges alone teach nothing in time")
        if self.n_tokens < 1:
            raise UsageError(f"n_tokens is {self.n_tokens}; it must be above 0")

    @property
    def stream_names(self) -> tuple[str, ...]:
        """The columns of tokens."""
        return tuple(name.strip() for name in self.streams.split(",") if name.strip())

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return AUDIO, *self.stream_names, *(("f0_hz", "voiced") if self.use_f0 else ())

    def task(self, manifest: Manifest) -> "VocoderTask":
        """Returns the task on a built set."""
        return VocoderTask(self, manifest)


class VocoderGan(nn.Module):
    """A vocoder and its judges."""

    def __init__(self, vocoder: Vocoder, channels: int) -> None:
        super().__init__()
        self.vocoder = vocoder
        self.judges = Discriminators(channels)


class VocoderTask(Task[VocoderGan]):
    """Spectral losses, and judges of periods and of spectra.

    Raises:
        MissingColumn: the set lacks the audio or a column that the settings use.
    """

    metric: ClassVar[str] = METRIC
    overfit_bound: ClassVar[float] = 0.5
    statistics_samples: ClassVar[int] = 64

    def __init__(self, config: VocoderConfig, manifest: Manifest) -> None:
        manifest.require(config.columns)
        self.config: VocoderConfig = config
        self.spec = MELS[config.mel]
        self.column_of = {name: manifest.columns[name] for name in config.columns if name != AUDIO}
        self.artefacts = manifest.artefacts

    def build(self) -> VocoderGan:
        """Returns vocoder and judges with random weights."""
        config = self.config
        streams = {name: str(self._rate(name)) for name in config.stream_names}
        n_tokens = config.n_tokens if streams else 0
        fields = sized_vocoder(config.size, config.generator, self.spec, config.use_f0, streams, n_tokens)
        return VocoderGan(Vocoder(fields), {"tiny": 64, "small": 256, "base": 1024}[config.size])

    def initialise(self, model: VocoderGan, samples: Iterable[Sample]) -> None:
        """Sets mean and spread of the mel's bands from samples all over the training data."""
        waves = (self._wave(sample, training=False) for sample in samples)
        mels = np.concatenate([log_mel(wave, self.spec, len(wave) // self.spec.hop) for wave in waves])
        with torch.no_grad():
            model.vocoder.mel_mean.copy_(torch.from_numpy(mels.mean(0)))
            model.vocoder.mel_std.copy_(torch.from_numpy(np.maximum(mels.std(0), 1e-2)))

    def phases(self) -> Sequence[Phase]:
        """Returns the vocoder's turn, and the judges' where there are any."""
        config = self.config
        weights = {
            MEL: config.mel_weight,
            MAGNITUDE: config.magnitude_weight,
            ADVERSARIAL: config.adversarial_weight,
            FEATURES: config.features_weight,
        }
        vocoder = Phase("vocoder", ("vocoder",), betas=(0.8, 0.99), weights=weights)
        if not config.adversarial_weight:
            return (vocoder,)
        return vocoder, Phase(JUDGES, ("judges",), betas=(0.8, 0.99), start=config.adversarial_from)

    def kept(self, model: VocoderGan) -> Vocoder:
        """Returns the vocoder: nobody uses the judges."""
        return model.vocoder

    def contract(self) -> Mapping[str, Any]:
        """Returns the mel, rates and definitions of what it is given, and the codebooks behind its tokens."""
        spec = {name: getattr(self.spec, name) for name in self.spec.__dataclass_fields__}
        return {
            "mel": {"spec": spec},
            "rates": {name: str(column.rate) for name, column in self.column_of.items()},
            "definitions": {name: column.definition for name, column in self.column_of.items()},
            "artefacts": self.artefacts if self.config.streams else {},
        }

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns waves, F0 of their samples, tokens and noise, side by side."""
        hop = self.spec.hop
        waves = [self._wave(sample, training) for sample in samples]
        frames = np.array([len(wave) // hop for wave in waves], np.int64)
        noises = [s.rng("noise").standard_normal(len(w), np.float32) for s, w in zip(samples, waves, strict=True)]
        arrays: dict[str, npt.NDArray[Any]] = {"audio": pad_stack(waves), "noise": pad_stack(noises), "frames": frames}
        if self.config.use_f0:
            f0 = [self._f0(sample, len(wave)) for sample, wave in zip(samples, waves, strict=True)]
            arrays["f0_hz"] = pad_stack(f0)
            arrays["period_s"] = pad_stack([periods(one, hop) for one in f0])
            arrays["start_turns"] = np.array([s.rng("phase").random() if training else 0.0 for s in samples])
        for name in self.config.stream_names:
            tokens = [self._tokens(sample, name) for sample in samples]
            arrays[name] = pad_stack(tokens)
            at = [
                tokens_at(n, self.spec.rate, len(found), self._rate(name))
                for n, found in zip(frames.tolist(), tokens, strict=True)
            ]
            arrays[f"{name}_at"] = pad_stack(at)
        counts = dict.fromkeys((MEL, MAGNITUDE), int(frames.sum()))
        counts |= dict.fromkeys((ADVERSARIAL, FEATURES, JUDGES), len(samples))
        seconds = sum(float(sample.info["seconds"]) for sample in samples)
        return Batch(arrays, counts, tuple(sample.key for sample in samples), seconds)

    def losses(self, model: VocoderGan, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns spectral errors per frame, and per sample what the judges say; or how wrong the judges are."""
        true_BT = batch["audio"]
        if phase == JUDGES:
            # The other turn's wave: the judges learn from what the vocoder has just been told of.
            return {JUDGES: discriminator_loss(model.judges(true_BT), model.judges(batch["made"])).sum()}
        made_BT = self._made(model.vocoder, batch)
        batch["made"] = made_BT.detach()
        found = {
            MEL: log_mel_loss(made_BT, true_BT, self.spec).sum(),
            MAGNITUDE: log_magnitude_loss(made_BT, true_BT, self.spec.hop).sum(),
        }
        if self.config.adversarial_weight:
            judged = model.judges(made_BT)
            with torch.no_grad():
                real = model.judges(true_BT)
            found |= {ADVERSARIAL: adversarial_loss(judged).sum(), FEATURES: feature_loss(real, judged).sum()}
        return found

    def validate(self, model: VocoderGan, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns the distance of the spectra, and of the mels."""
        distances: list[float] = []
        made: list[npt.NDArray[Any]] = []
        true: list[npt.NDArray[Any]] = []
        for batch in batches:
            waves = self._made(model.vocoder, batch).float().cpu().numpy()
            lengths = (batch["frames"] * self.spec.hop).tolist()
            for wave, target, length in zip(waves, batch["audio"].cpu().numpy(), lengths, strict=True):
                distances.append(multi_resolution_stft(wave[:length], target[:length]).total)
                for kept, one in ((made, wave), (true, target)):
                    kept.append(log_mel(one[:length], self.spec, length // self.spec.hop))
        return {METRIC: float(np.mean(distances)), "mel_l1": mel_l1(made, true)}

    def look(self, model: VocoderGan, batch: Tensors) -> Look:
        """Returns the first sample as it was and as it is made, drawn and audible."""
        first = {name: tensor[:1] for name, tensor in batch.items()}
        length = min(int(first["frames"]), round(LOOK_S * self.spec.rate)) * self.spec.hop
        found = {"target": first["audio"], "made": self._made(model.vocoder, first)}
        waves = {name: wave[0, :length].float().cpu().numpy() for name, wave in found.items()}
        mels = {name: log_mel(wave, self.spec, length // self.spec.hop) for name, wave in waves.items()}
        sounds = {name: Sound(wave, self.spec.sample_rate) for name, wave in waves.items()}
        return Look({"mel": mel_figure(mels, self.spec.rate, None, self.spec)}, sounds)

    def _made(self, vocoder: Vocoder, batch: Tensors) -> Tensor:
        inputs = dict(batch)
        if not self.config.streams:
            inputs["mel"] = log_mel_torch(batch["audio"], self.spec).transpose(1, 2)
        if self.config.use_f0:
            inputs["pulses"], _ = pulses(batch["f0_hz"], self.spec.sample_rate, batch["start_turns"])
        made_BT: Tensor = vocoder(inputs)
        return made_BT

    def _wave(self, sample: Sample, training: bool) -> npt.NDArray[np.float32]:
        """Returns a sample's wave at the mel's rate, of whole frames; in training at any level and either polarity."""
        wave = resample(sample.series[AUDIO], sample.sample_rate_hz, self.spec.sample_rate)
        wave = wave[: len(wave) // self.spec.hop * self.spec.hop]
        if len(wave) < SHORTEST_SAMPLES:
            raise DataError(
                f"sample {sample.key} has {len(wave)} samples at {self.spec.sample_rate} Hz; "
                f"a vocoder needs {SHORTEST_SAMPLES}: build the set with a larger min_s"
            )
        if not training:
            return wave
        rng = sample.rng("level")
        gain = 10 ** (-rng.uniform(0, QUIETER_DB) / 20) * rng.choice((-1, 1))
        return np.asarray(wave * gain, np.float32)

    def _f0(self, sample: Sample, n_samples: int) -> npt.NDArray[np.float32]:
        times = (np.arange(n_samples) + 0.5) * float(self._rate("f0_hz")) / self.spec.sample_rate - 0.5
        return sample_f0(sample.series["f0_hz"], sample.series["voiced"], times)

    def _tokens(self, sample: Sample, name: str) -> npt.NDArray[np.int32]:
        tokens = sample.series[name].astype(np.int32)
        if not len(tokens) or tokens.max() >= self.config.n_tokens:
            told = (
                f"the token {tokens.max()} of {name}, but n_tokens is {self.config.n_tokens}" if len(tokens) else name
            )
            raise DataError(
                f"sample {sample.key} has {told if len(tokens) else f'no {name}'}; set n_tokens to the size of the "
                "codebook, or build the set again"
            )
        return tokens

    def _rate(self, name: str) -> Fraction:
        rate = self.column_of[name].rate
        assert rate is not None
        return rate
