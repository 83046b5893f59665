"""What all trainers of waves share: spectral losses, judges of what was made, and what is looked at."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from autosing.models.acoustic import Size
from autosing.models.acoustic_input import pad_stack
from autosing.models.discriminators import Discriminators, adversarial_loss, discriminator_loss, feature_loss
from autosing.models.excitation import f0_at_samples, periods, pulses
from autosing.models.frame_decoder import Decoded
from autosing.signal.errors import DataError, UsageError
from autosing.signal.mel import MelSpec, log_mel
from autosing.signal.resample import resample
from autosing.training.loader import Batch
from autosing.training.look import Look, Sound
from autosing.training.manifest import AUDIO, Manifest, described, rates_of
from autosing.training.metrics import mel_l1, multi_resolution_stft
from autosing.training.pictures import mel_figure
from autosing.training.sample import Sample
from autosing.training.task import Phase, RunConfig, Since, Task, Tensors
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
# So short a wave has no spectrum to be compared.
SHORTEST_SAMPLES = 2048
JUDGES_WIDTH = {"tiny": 64, "small": 256, "base": 1024}


@dataclass(frozen=True, kw_only=True)
class WaveConfig(RunConfig):
    """Settings of every trainer of waves.

    Attributes:
        size: of the network and of its judges.
        resynthesis: `wave` learns by the sound that is made, `mel` by mel and pitch alone, in a tenth of the time.
        use_f0: whether pitch is known: `f0_hz` and `voiced` are read.
        mel: `24k` for BigVGAN's 100 bands at 24 kHz, `44k` for 128 bands at 44.1 kHz.
        mel_weight: of the log-mel's error.
        magnitude_weight: of the error of the spectra's log magnitudes.
        adversarial_weight: of what the judges say; 0 has no judges.
        features_weight: of what the judges' layers hear.
        adversarial_from: the step from which there are judges.
        quieter_db: what is heard in training is at any level between its own and so much less, where a network's input
            tells its level; 0 leaves levels alone.
    """

    size: Size = "small"
    resynthesis: Literal["wave", "mel"] = "wave"
    use_f0: bool = True
    mel: MelName = "24k"
    mel_weight: float = 1.0
    magnitude_weight: float = 1.0
    adversarial_weight: float = 0.2
    features_weight: float = 0.4
    adversarial_from: int = 0
    quieter_db: float = 12.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_not_below_0("mel_weight", "magnitude_weight", "adversarial_weight", "features_weight")
        self.require_not_below_0("adversarial_from", "quieter_db")
        if not self.mel_weight + self.magnitude_weight:
            raise UsageError("mel_weight and magnitude_weight are both 0; judges alone teach nothing in time")
        if self.resynthesis == "mel" and self.adversarial_weight:
            raise UsageError("judges hear waves; set adversarial_weight=0 with resynthesis=mel")

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return AUDIO, *(("f0_hz", "voiced") if self.use_f0 else ())

    @property
    def spec(self) -> MelSpec:
        """The mel's definition."""
        return MELS[self.mel]


class Judged(nn.Module):
    """A network that makes waves, and its judges."""

    def __init__(self, network: nn.Module, channels: int) -> None:
        super().__init__()
        self.network = network
        self.judges = Discriminators(channels)


class WaveTask(Task[Judged]):
    """Spectral losses, and judges of periods and of spectra.

    Raises:
        MissingColumn: the set lacks the audio or a column that the settings use.
    """

    metric: ClassVar[str] = METRIC
    overfit_bound: ClassVar[float] = 1.0
    statistics_samples: ClassVar[int] = 64
    # Mels alone leave the head that makes waves as it is.
    leaves_unused: ClassVar[bool] = True
    more_weights: ClassVar[Mapping[str, float]] = {}

    def __init__(self, config: WaveConfig, manifest: Manifest) -> None:
        manifest.require(config.columns)
        self.config: WaveConfig = config
        self.spec = config.spec
        self.column_of = {name: manifest.columns[name] for name in config.columns if name != AUDIO}
        self.rates = rates_of(self.column_of)
        self.artefacts = manifest.artefacts

    @abstractmethod
    def network(self) -> nn.Module:
        """Returns what makes waves, with random weights; its `measure` is given mels."""

    @abstractmethod
    def made(self, network: Any, batch: Tensors) -> tuple[Tensor | None, Mapping[str, Tensor]]:
        """Returns waves (B, T), or None where training does without, and losses beside their spectra's, summed."""

    def build(self) -> Judged:
        """Returns network and judges with random weights."""
        return Judged(self.network(), JUDGES_WIDTH[self.config.size])

    def initialise(self, model: Judged, samples: Iterable[Sample]) -> None:
        """Sets mean and spread of the mel's bands from samples all over the training data."""
        waves = (self.wave(sample, training=False) for sample in samples)
        network: Any = model.network
        network.measure([log_mel(wave, self.spec, len(wave) // self.spec.hop) for wave in waves])

    def phases(self) -> Sequence[Phase]:
        """Returns the network's turn, and the judges' where there are any."""
        config = self.config
        weights: dict[str, float | Since] = {
            MEL: config.mel_weight,
            MAGNITUDE: config.magnitude_weight,
            # Judges that have learned nothing yet have nothing to teach.
            ADVERSARIAL: Since(config.adversarial_weight, config.adversarial_from),
            FEATURES: Since(config.features_weight, config.adversarial_from),
            **self.more_weights,
        }
        making = Phase("network", ("network",), betas=(0.8, 0.99), weights=weights)
        if not config.adversarial_weight:
            return (making,)
        return making, Phase(JUDGES, ("judges",), betas=(0.8, 0.99), start=config.adversarial_from)

    def kept(self, model: Judged) -> nn.Module:
        """Returns the network: nobody uses the judges."""
        return model.network

    def contract(self) -> Mapping[str, Any]:
        """Returns the mel, rates and definitions of what it is given."""
        return {"mel": {"spec": self.spec.as_mapping()}, **described(self.column_of)}

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns waves and their numbers of frames, noise, and F0 of their samples, side by side."""
        waves = [self.wave(sample, training) for sample in samples]
        frames = np.array([len(wave) // self.spec.hop for wave in waves], np.int64)
        counts = dict.fromkeys((MEL, MAGNITUDE), int(frames.sum()))
        counts |= dict.fromkeys((ADVERSARIAL, FEATURES, JUDGES), len(samples))
        seconds = sum(float(sample.info["seconds"]) for sample in samples)
        arrays: dict[str, npt.NDArray[Any]] = {"audio": pad_stack(waves), "frames": frames}
        noises = [s.rng("noise").standard_normal(len(w), np.float32) for s, w in zip(samples, waves, strict=True)]
        arrays["noise"] = pad_stack(noises)
        if self.config.use_f0:
            f0 = [self._f0(sample, len(wave)) for sample, wave in zip(samples, waves, strict=True)]
            arrays["f0_hz"] = pad_stack(f0)
            arrays["period_s"] = pad_stack([periods(one, self.spec.hop) for one in f0])
            arrays["start_turns"] = np.array([s.rng("phase").random() if training else 0.0 for s in samples])
        return Batch(arrays, counts, tuple(sample.key for sample in samples), seconds)

    def losses(self, model: Judged, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns spectral errors per frame, and per sample what the judges say; or how wrong the judges are."""
        true_BT = batch["audio"]
        if phase == JUDGES:
            # The other turn's wave: the judges learn from what the network has just been told of.
            return {JUDGES: discriminator_loss(model.judges(true_BT), model.judges(batch["made"])).sum()}
        made_BT, more = self.made(model.network, batch)
        if made_BT is None:
            return more
        batch["made"] = made_BT.detach()
        found = {
            MEL: log_mel_loss(made_BT, true_BT, self.spec).sum(),
            MAGNITUDE: log_magnitude_loss(made_BT, true_BT, self.spec.hop).sum(),
            **more,
        }
        if self.config.adversarial_weight:
            judged = model.judges(made_BT)
            with torch.no_grad():
                real = model.judges(true_BT)
            found |= {ADVERSARIAL: adversarial_loss(judged).sum(), FEATURES: feature_loss(real, judged).sum()}
        return found

    def validate(self, model: Judged, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns the distance of the spectra, and of the mels."""
        distances: list[float] = []
        made: list[npt.NDArray[Any]] = []
        true: list[npt.NDArray[Any]] = []
        for batch in batches:
            waves = self._waves(model.network, batch).cpu().numpy()
            lengths = (batch["frames"] * self.spec.hop).tolist()
            for wave, target, length in zip(waves, batch["audio"].cpu().numpy(), lengths, strict=True):
                distances.append(multi_resolution_stft(wave[:length], target[:length]).total)
                for kept, one in ((made, wave), (true, target)):
                    kept.append(log_mel(one[:length], self.spec, length // self.spec.hop))
        return {METRIC: float(np.mean(distances)), "mel_l1": mel_l1(made, true)}

    def look(self, model: Judged, batch: Tensors) -> Look:
        """Returns the first sample as it was and as it is made, drawn and audible."""
        first = {name: tensor[:1] for name, tensor in batch.items()}
        length = min(int(first["frames"]), round(LOOK_S * self.spec.rate)) * self.spec.hop
        found = {"target": first["audio"], "made": self._waves(model.network, first)}
        waves = {name: wave[0, :length].float().cpu().numpy() for name, wave in found.items()}
        mels = {name: log_mel(wave, self.spec, length // self.spec.hop) for name, wave in waves.items()}
        sounds = {name: Sound(wave, self.spec.sample_rate) for name, wave in waves.items()}
        return Look({"mel": mel_figure(mels, self.spec.rate, None, self.spec)}, sounds)

    @property
    def hears_level(self) -> bool:
        """Whether the input tells how loud a wave is; what is computed before training does not follow its changes."""
        return True

    @property
    def wants_waves(self) -> bool:
        """Whether training makes waves."""
        return self.config.resynthesis == "wave"

    def excitation(self, batch: Tensors) -> dict[str, Tensor]:
        """Returns pulses and noise (B, T) of the true F0; noise alone where it is not known."""
        found = {"noise": batch["noise"]}
        if self.config.use_f0:
            found["pulses"], _ = pulses(batch["f0_hz"], self.spec.sample_rate, batch["start_turns"])
        return found

    def excitation_of(self, decoded: Decoded, batch: Tensors, training: bool) -> dict[str, Tensor]:
        """Returns pulses and noise (B, F hop): in training of the true F0, else of that which was decoded."""
        given = dict(batch)
        if decoded.pitch is not None and not training:
            given["f0_hz"] = decoded.f0_hz.repeat_interleave(self.spec.hop, 1)
        length = decoded.mel.shape[1] * self.spec.hop
        return {name: pad(one, (0, length - one.shape[1])) for name, one in self.excitation(given).items()}

    def _f0(self, sample: Sample, n_samples: int) -> npt.NDArray[np.float32]:
        f0_hz, voiced, rate = sample.series["f0_hz"], sample.series["voiced"], self.rates["f0_hz"]
        return f0_at_samples(f0_hz, voiced, rate, n_samples, self.spec.sample_rate)

    def _waves(self, network: nn.Module, batch: Tensors) -> Tensor:
        wave_BT, _ = self.made(network, batch)
        assert wave_BT is not None
        return wave_BT.float()

    def wave(self, sample: Sample, training: bool) -> npt.NDArray[np.float32]:
        """Returns a sample's wave at the mel's rate, of whole frames; in training at any level and either polarity."""
        wave = resample(sample.series[AUDIO], sample.sample_rate_hz, self.spec.sample_rate)
        wave = wave[: len(wave) // self.spec.hop * self.spec.hop]
        if len(wave) < SHORTEST_SAMPLES:
            raise DataError(
                f"sample {sample.key} has {len(wave)} samples at {self.spec.sample_rate} Hz, and the least to learn "
                f"from are {SHORTEST_SAMPLES}; build the set with a larger min_s"
            )
        if not training:
            return wave
        rng = sample.rng("level")
        quieter_db = rng.uniform(0, self.config.quieter_db) if self.hears_level else 0.0
        gain = 10 ** (-quieter_db / 20) * rng.choice((-1, 1))
        return np.asarray(wave * gain, np.float32)
