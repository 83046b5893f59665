"""The aligner's trainer: from the sound of a line and its text, to where its sounds are."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from autosing.aligner.examples import augmented, ctc_loss, fits
from autosing.aligner.shipped import aligner_path
from autosing.models.acoustic_input import pad_stack
from autosing.models.aligner import Aligner, AlignerFields
from autosing.models.directory import LoadedModel, load_model
from autosing.signal.alphabet import ANYTHING, BLANK, CLASS_OF_PHONE, Alphabet, Kind, alphabet
from autosing.signal.errors import DataError, UsageError
from autosing.signal.lyrics import split_words
from autosing.training.loader import Batch
from autosing.training.look import Look
from autosing.training.manifest import Manifest
from autosing.training.pictures import attention_figure
from autosing.training.sample import Sample
from autosing.training.task import FREE, Fade, Phase, RunConfig, Task, Tensors

BANDS = "lyric_mel"
PHONES, LANGUAGE = "phones", "language"
CTC, TIMING = "ctc", "timing"
# A frame that is in no class's time, or beyond the sample.
NOT_COUNTED = -100


@dataclass(frozen=True, kw_only=True)
class AlignerConfig(RunConfig):
    """Settings of the aligner's trainer.

    Attributes:
        alphabet: what words are spelled with: `classes` of phones by rules for any script, `letters`, or the phones of
            a `lexicon`. Samples that hold a `language` (of the stage `lyric_language`) have their classes by its rules.
        lexicon: the path of a pronunciation dictionary, for the alphabet `lexicon`.
        members: nets side by side; where they disagree, a line is not to be trusted.
        conv_dim: width of the first convolution.
        recurrent_dim: width of the recurrent layers, both directions together.
        begin_from: an aligner of the same alphabet and sizes whose weights the run begins with: a path, a hub id, or
            `shipped`.
        timed_phones: the samples hold `phones`, ARPAbet with true times, as those of the synthetic singer do. They
            take the place of the text, which only spells them.
        timing_weight: of the cross-entropy of the phones' classes in their times, per frame, beside CTC, per label, at
            the start. From nothing, 430 steps of CTC alone taught a net nothing, and 100 of both were enough; but what
            a net learns of times alone makes it too sure of itself in recordings, so the weight fades.
        timing_weight_kept: what is left of it after `timing_fade_steps`, in a straight line.
        timing_fade_steps: of the fading; 0 for a weight that stays as it is.
        strength: of the augmentation: 1 for synthetic voices, 0.5 for recordings.
        trim_s: at most so much is cut from either end of a sample in training, so that no net learns where in a sample
            a line begins; for samples that have as much beside their line (`before_s`, `after_s` of `cuts`).
    """

    alphabet: Kind = "classes"
    lexicon: str = ""
    members: int = 2
    conv_dim: int = 112
    recurrent_dim: int = 176
    begin_from: str = ""
    timed_phones: bool = False
    timing_weight: float = 0.0
    timing_weight_kept: float = 0.0
    timing_fade_steps: int = 0
    strength: float = 0.5
    trim_s: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_above_0("members", "conv_dim", "recurrent_dim")
        if self.recurrent_dim % 2:
            raise UsageError(f"recurrent_dim is {self.recurrent_dim}; it must be even, a half for each direction")
        for name in ("timing_weight", "timing_weight_kept"):
            weight = getattr(self, name)
            if weight < 0 or (weight and not self.timed_phones):
                raise UsageError(f"{name} is {weight}; above 0 it needs timed_phones, and it is never below")
        self.require_not_below_0("trim_s", "timing_fade_steps")
        if self.crop_s and not self.timed_phones:
            raise UsageError("crops have no text; set crop_s=0 and cut the songs shorter, or set timed_phones=true")
        if not 0 <= self.strength <= 1:
            raise UsageError(f"strength is {self.strength}; it must be from 0 to 1")
        if self.timed_phones and self.alphabet != "classes":
            raise UsageError("timed_phones is for the alphabet classes; set one of them otherwise")

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return (BANDS,)

    def task(self, manifest: Manifest) -> "AlignerTask":
        """Returns the task on a built set."""
        return AlignerTask(self, manifest)


class AlignerTask(Task[Aligner]):
    """CTC over the labels of a line, with the true times of its sounds to begin with where they are known.

    Raises:
        MissingColumn: the set lacks the bands.
    """

    metric: ClassVar[str] = CTC
    overfit_bound: ClassVar[float] = 0.3
    statistics_samples: ClassVar[int] = 0
    # Bands sound alike whatever the stages before them were set to.
    free: ClassVar[tuple[str, ...]] = (*FREE, "definitions")

    def __init__(self, config: AlignerConfig, manifest: Manifest) -> None:
        manifest.require(config.columns)
        self.config: AlignerConfig = config
        self.alphabet = alphabet(config.alphabet, config.lexicon)
        self.column = manifest.columns[BANDS]

    def build(self) -> Aligner:
        """Returns the nets with random weights."""
        config = self.config
        symbols = tuple(self.alphabet.symbols)
        fields = AlignerFields(
            self.column.dim or 1,
            symbols,
            conv_dim=config.conv_dim,
            recurrent_dim=config.recurrent_dim,
            members=config.members,
        )
        return Aligner(fields)

    def base(self) -> LoadedModel:
        """Returns the aligner that the run begins with."""
        return load_model(aligner_path(self.config.begin_from))

    def phases(self) -> Sequence[Phase]:
        """Returns one turn, with the true times as far as they count."""
        config = self.config
        timing = Fade(config.timing_weight, config.timing_weight_kept, config.timing_fade_steps)
        return (Phase(weights={TIMING: timing}),)

    def contract(self) -> Mapping[str, Any]:
        """Returns the alphabet, and what the bands are."""
        return {
            "alphabet": self.config.alphabet,
            "symbols": list(self.alphabet.symbols),
            "rate": str(self.column.rate),
            "definitions": {BANDS: self.column.definition},
        }

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns bands for each net, labels, true times where they are wanted, and their lengths."""
        samples = [self._trimmed(sample) for sample in samples] if training and self.config.trim_s else samples
        labels = [self._labels(sample) for sample in samples]
        bands = [self._bands(sample, training) for sample in samples]
        frames = np.array([b.shape[0] for b in bands], np.int64)
        arrays: dict[str, npt.NDArray[Any]] = {
            "bands": pad_stack(bands).astype(np.float32),
            "frames": frames,
            "labels": pad_stack([np.array([*found, BLANK], np.int64) for found in labels]),
            "label_counts": np.array([len(found) for found in labels], np.int64),
        }
        counts = {CTC: sum(map(len, labels))}
        if self.config.timed_phones:
            timing = [self._timing(sample, n) for sample, n in zip(samples, frames.tolist(), strict=True)]
            arrays["timing"] = np.full((len(samples), int(frames.max())), NOT_COUNTED, np.int64)
            for row, found in zip(arrays["timing"], timing, strict=True):
                row[: len(found)] = found
            counts[TIMING] = int(frames.sum())
        keys, seconds = tuple(s.key for s in samples), sum(float(s.info["seconds"]) for s in samples)
        return Batch(arrays, counts, keys, seconds)

    def losses(self, model: Aligner, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns CTC in nats, summed over labels, and the cross-entropy of the classes in their true times."""
        log_probs_NBFV = _log_probs(model, batch)
        found = {CTC: _ctc(log_probs_NBFV, batch)}
        if "timing" in batch:
            log_probs_BVF = log_probs_NBFV.mean(0).transpose(1, 2)
            found[TIMING] = functional.nll_loss(
                log_probs_BVF, batch["timing"], ignore_index=NOT_COUNTED, reduction="sum"
            )
        return found

    def validate(self, model: Aligner, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns the CTC loss per label, of each net and then averaged.

        Raises:
            DataError: no sample has a label, and the first weights would seem the best.
        """
        total = count = 0.0
        for batch in batches:
            total += float(_ctc(_log_probs(model, batch), batch))
            count += float(batch["label_counts"].sum())
        if not count:
            raise DataError(
                "no sample that is validated has a text that can be spelled and fits its time, so nothing can be "
                "compared; hold out songs with lyrics when the set is built, or raise validate_samples"
            )
        return {CTC: total / count}

    def look(self, model: Aligner, batch: Tensors) -> Look:
        """Returns the probability of each symbol over the time of the first line."""
        n_frames = int(batch["frames"][0])
        log_probs_NBFV = _log_probs(model, {name: tensor[:1] for name, tensor in batch.items()})
        probability_FV = log_probs_NBFV[:, 0, :n_frames].exp().mean(0).float().cpu().numpy()
        names = ["-", *self.alphabet.symbols[1:]]
        rate = self.column.rate
        return Look({"symbols": attention_figure(probability_FV.T, names, float(rate) if rate else None)})

    def _trimmed(self, sample: Sample) -> Sample:
        """Returns a sample without some of its ends; phones are moved with it, and those cut in half are gone."""
        rate, bands = float(self.column.rate or 1), sample.series[BANDS]
        most = min(round(self.config.trim_s * rate), (len(bands) - 1) // 2)
        before, behind = sample.rng("trim").integers(0, most + 1, 2).tolist()
        first, last = before, len(bands) - behind
        moved = [
            {**phone, "start_s": phone["start_s"] - first / rate, "end_s": phone["end_s"] - first / rate}
            for phone in (sample.info.get("values", {}).get(PHONES) or ())
            if first <= (phone["start_s"] + phone["end_s"]) / 2 * rate < last
        ]
        info = {**sample.info, "values": {**sample.info.get("values", {}), PHONES: moved}}
        return replace(sample, series={**sample.series, BANDS: bands[first:last]}, info=info)

    def _bands(self, sample: Sample, training: bool) -> npt.NDArray[np.float32]:
        """Returns what each net hears of a sample, (F, N, D)."""
        bands = sample.series[BANDS].astype(np.float32)
        if not training:
            return np.repeat(bands[:, None], self.config.members, axis=1)
        rng = sample.rng("augmentation")
        return np.stack([augmented(bands, rng, self.config.strength) for _ in range(self.config.members)], axis=1)

    def _labels(self, sample: Sample) -> tuple[int, ...]:
        n_frames = len(sample.series[BANDS])
        labels = self._sung(sample) if self.config.timed_phones else spelled(sample, self.alphabet)
        if not n_frames:
            raise DataError(f"sample {sample.key} has no frames; build the set again")
        # A line that does not fit its time teaches nothing; it is left out by having no labels.
        return labels if fits(labels, n_frames) else ()

    def _sung(self, sample: Sample) -> tuple[int, ...]:
        classes = [self._class(phone["text"]) for phone in self._phones(sample)]
        sounding = [label for label in classes if label != BLANK]
        return tuple(label for n, label in enumerate(sounding) if not n or sounding[n - 1] != label)

    def _timing(self, sample: Sample, n_frames: int) -> npt.NDArray[np.int64]:
        timing = np.full(n_frames, BLANK, np.int64)
        rate = float(self.column.rate or 1)
        for phone in self._phones(sample):
            first, last = max(round(phone["start_s"] * rate), 0), round(phone["end_s"] * rate)
            timing[first : max(last, first + 1)] = self._class(phone["text"])
        return timing

    def _class(self, phone: str) -> int:
        return self.alphabet.symbols.index(CLASS_OF_PHONE.get(phone, self.alphabet.symbols[BLANK]))

    def _phones(self, sample: Sample) -> Sequence[Mapping[str, Any]]:
        found = sample.info.get("values", {}).get(PHONES)
        if found is None:
            raise DataError(
                f"sample {sample.key} has no {PHONES}; name them in the samples' spec ({PHONES}: "
                "reference.ref_phones), or set timed_phones=false"
            )
        return list(found)


def spelled(sample: Sample, letters: Alphabet) -> tuple[int, ...]:
    """Returns the labels of a sample's text; none where there is no text, or a word has no symbol."""
    words = [word for line in (sample.info.get("text") or "").splitlines() for word in split_words(line)]
    own_letters = letters.in_language(sample.info.get("values", {}).get(LANGUAGE))
    labels = tuple(label for word in words for label in own_letters.labels(word))
    return () if ANYTHING in labels else labels


def _log_probs(model: Aligner, batch: Tensors) -> Tensor:
    log_probs: Tensor = model(batch["bands"].permute(2, 0, 1, 3), batch["frames"].cpu())
    return log_probs


def _ctc(log_probs_NBFV: Tensor, batch: Tensors) -> Tensor:
    return ctc_loss(log_probs_NBFV, batch["frames"], batch["labels"], batch["label_counts"])
