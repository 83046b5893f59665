"""The trainer of singer encoders: whose voice it is, by the singers of the set and by those beside it in a batch."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from autosing.models.acoustic import Size
from autosing.models.acoustic_input import pad_stack
from autosing.models.singer import SINGER_SIZES, Features, KnownSingers, SingerEncoder, SingerFields, sung_frames
from autosing.signal.errors import DataError, MissingColumn, SchemaMismatch, UsageError
from autosing.signal.mel import MelSpec
from autosing.signal.typed import of_mapping
from autosing.signal.voice_statistics import LEAST_S
from autosing.training.loader import Batch
from autosing.training.look import Look
from autosing.training.manifest import Manifest, described, rates_of
from autosing.training.metrics import equal_error_rate, retrieval_accuracy
from autosing.training.pictures import similarity_figure
from autosing.training.sample import Sample
from autosing.training.task import RunConfig, Task, Tensors
from autosing.training.tasks.colour import Colour
from autosing.training.tasks.singer_losses import margin_errors, prototype_errors

Objective = Literal["classification", "prototypes", "both"]

CLASSIFICATION, PROTOTYPES = "classification", "prototypes"
METRIC, FOUND = "eer", "found"
FRAMES, ACTIVITY = "features", "voice_activity"
# In place of the row of a singer whom nobody knows.
NOBODY = -1


@dataclass(frozen=True, kw_only=True)
class SingerConfig(RunConfig):
    """Settings of the trainer of singer encoders.

    Attributes:
        size: of the encoder.
        source: the series in which a voice is heard, by its name in the samples: of a `mel` or an `ssl`.
        sung_only: hear nothing but the frames in which somebody sings, by the series `voice_activity`, as the stage
            `singer_embedding` does. Samples with less than half a second of them are nobody's.
        objective: tell the singers of the set apart by `classification`; find one's own singer's other songs among
            the `prototypes` of a batch; or `both`. Samples of a batch are of whom chance says, so prototypes of singers
            who are there once are of another piece of the same sample.
        margin: in classification, by how much of a cosine a voice must be nearer to its singer than to any other.
        margin_steps: steps in which the margin grows from 0.
        scale: of cosines before a softmax.
        pieces: random stretches that are heard of each training sample.
        piece_s: length of a stretch; shorter samples are heard whole.
        dropout: in the layers.
        level_db: how much louder or softer pieces may be made in training, of a mel, as all that follows.
        tilt_db: how much brighter or darker, at the highest band.
        equaliser_db: how much louder or softer single bands.
        band_limit_share: share of pieces that end between 3.4 kHz and the highest band.
    """

    size: Size = "small"
    source: str = "mel"
    sung_only: bool = True
    objective: Objective = "both"
    margin: float = 0.2
    margin_steps: int = 1000
    scale: float = 30.0
    pieces: int = 2
    piece_s: float = 3.0
    dropout: float = 0.1
    level_db: float = 6.0
    tilt_db: float = 6.0
    equaliser_db: float = 3.0
    band_limit_share: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_above_0("scale", "pieces", "piece_s")
        self.require_not_below_0("margin", "margin_steps", "level_db", "tilt_db", "equaliser_db")
        for name in ("margin", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be from 0 to below 1")
        if not 0 <= self.band_limit_share <= 1:
            raise UsageError(f"band_limit_share is {self.band_limit_share}; it must be from 0 to 1")
        if self.objective != CLASSIFICATION and self.pieces < 2:
            raise UsageError("prototypes need two pieces of a sample; set pieces=2, or objective=classification")

    @property
    def columns(self) -> tuple[str, ...]:
        """The series that are read of every sample."""
        return (self.source, ACTIVITY) if self.sung_only else (self.source,)

    @property
    def losses(self) -> tuple[str, ...]:
        """The names of the losses."""
        return (CLASSIFICATION, PROTOTYPES) if self.objective == "both" else (self.objective,)

    def margin_at(self, step: int) -> float:
        """Returns the margin of a step, from 0."""
        return self.margin * min(step / self.margin_steps, 1.0) if self.margin_steps else self.margin

    def task(self, manifest: Manifest) -> "SingerTask":
        """Returns the task on a built set."""
        return SingerTask(self, manifest)


class SingerTask(Task[KnownSingers]):
    """Errors of telling who sings.

    Raises:
        MissingColumn: the set lacks the series, or names fewer than two singers.
        SchemaMismatch: the series is of another stage.
    """

    metric: ClassVar[str] = METRIC
    overfit_bound: ClassVar[float] = 0.01

    def __init__(self, config: SingerConfig, manifest: Manifest) -> None:
        manifest.require(config.columns)
        if len(manifest.singers) < 2:
            raise MissingColumn(
                f"{manifest.url} names {len(manifest.singers)} singers, and to tell voices apart takes two; build it "
                "from songs with an `artist` or `singer`"
            )
        self.config: SingerConfig = config
        self.column, self.activity = manifest.columns[config.source], manifest.columns.get(ACTIVITY)
        heard_in: dict[str, Features] = {name: name for name in get_args(Features)}
        stage = self.column.instance.partition(".")[0]
        if stage not in heard_in:
            raise SchemaMismatch(
                f"{config.source} is of the stage {stage}; set source to a series of `mel` or an `ssl`"
            )
        self.heard_in = heard_in[stage]
        self.manifest, self.singers = manifest, manifest.singers
        self.rows = {name: row for row, name in enumerate(self.singers)}
        spec = manifest.contract(config.source).get("spec", {})
        self.spec = of_mapping(MelSpec, spec, "the mel contract of the set") if self.heard_in == "mel" else None
        self.colour = Colour(config.level_db, config.tilt_db, config.equaliser_db, config.band_limit_share)

    @property
    def rate(self) -> Fraction:
        """Frames per second of what is heard."""
        return rates_of({FRAMES: self.column})[FRAMES]

    @property
    def fields(self) -> SingerFields:
        """What the encoder is built from."""
        dim, layers, embedding_dim = SINGER_SIZES[self.config.size]
        width = self.column.dim or 1
        of_size = (dim, layers, embedding_dim, self.config.dropout)
        return SingerFields(self.heard_in, str(self.rate), width, *of_size)

    def build(self) -> KnownSingers:
        """Returns encoder and table with random weights."""
        n_singers = len(self.singers) if CLASSIFICATION in self.config.losses else 0
        return KnownSingers(SingerEncoder(self.fields), n_singers, self.config.margin_at(0))

    def kept(self, model: KnownSingers) -> nn.Module:
        """Returns the encoder: others than the set's singers have no row in its table."""
        return model.encoder

    def initialise(self, model: KnownSingers, samples: Iterable[Sample]) -> None:
        """Measures mean and spread of the series."""
        model.encoder.scale.measure(np.concatenate([self._heard(sample)[0] for sample in samples]))

    def contract(self) -> Mapping[str, Any]:
        """Returns rate, definition and settings of what is heard, and whom the encoder has learned from."""
        return {
            **described({self.config.source: self.column}),
            "instances": dict(self.manifest.contracts),
            "artefacts": dict(self.manifest.artefacts),
            "columns": {self.config.source: f"{self.column.instance}.{self.heard_in}"},
            "singers": list(self.singers),
        }

    def collate(self, samples: Sequence[Sample], *, training: bool) -> Batch:
        """Returns stretches side by side, in training several of each sample, and who sings them in which song."""
        heard, rows = zip(*(self._heard(sample) for sample in samples), strict=True)
        taken = [self._pieces(*one) if training else [one[0]] for one in zip(heard, samples, strict=True)]
        pieces, n_each = [piece for one in taken for piece in one], len(taken[0])
        singers = np.repeat(rows, n_each)
        arrays: dict[str, npt.NDArray[Any]] = {
            FRAMES: pad_stack(pieces),
            "frames": np.array([len(piece) for piece in pieces], np.int64),
            "singers": singers,
            "songs": np.repeat([_song(sample.key) for sample in samples], n_each),
        }
        known = singers[singers >= 0]
        # Who is alone in a batch has nobody to be taken for.
        n_asked = len(known) if len(set(known.tolist())) > 1 else 0
        counts = {CLASSIFICATION: len(known), PROTOTYPES: n_asked}
        seconds = sum(float(sample.info["seconds"]) for sample in samples)
        kept = {name: counts[name] for name in self.config.losses}
        return Batch(arrays, kept, tuple(sample.key for sample in samples), seconds)

    def losses(self, model: KnownSingers, batch: dict[str, Tensor], phase: str) -> Mapping[str, Tensor]:
        """Returns cross-entropies in nats, summed over the stretches that somebody known sings."""
        scale, found = self.config.scale, {}
        voices_BE, cosine_BS = model(batch[FRAMES], batch["frames"])
        if cosine_BS is not None:
            found[CLASSIFICATION] = margin_errors(cosine_BS, batch["singers"], model.margin, scale)
        if PROTOTYPES in self.config.losses:
            found[PROTOTYPES] = prototype_errors(voices_BE, batch["singers"], batch["songs"], scale)
        return found

    def after_step(self, model: KnownSingers, step: int) -> None:
        """Sets the margin of the next step."""
        model.margin.fill_(self.config.margin_at(step + 1))

    def validate(self, model: KnownSingers, batches: Iterable[Tensors]) -> Mapping[str, float]:
        """Returns the equal error rate of pairs of samples of different songs, by the cosine of their vectors.

        `found` is the share of songs whose nearest other song, by the means of their samples, is of the same singer.

        Raises:
            DataError: there are no two songs of one singer, or no two singers.
        """
        heard = [
            (self._voices(model, one), one["singers"].cpu().numpy(), one["songs"].cpu().numpy()) for one in batches
        ]
        voices, singers, songs = (np.concatenate(part) for part in zip(*heard, strict=True))
        known = singers >= 0
        scores, same = trials(voices[known], singers[known], songs[known])
        if not same.any() or same.all():
            lacking = "two singers" if same.any() or not len(same) else "two songs of one singer"
            raise DataError(
                f"the {len(voices)} samples that are validated hold no {lacking}, so nothing can be verified; hold out "
                "more when the set is built (--valid-songs N), or raise validate_samples"
            )
        means, of = means_of_songs(voices[known], singers[known], songs[known])
        return {METRIC: equal_error_rate(scores, same), FOUND: retrieval_accuracy(means, [str(row) for row in of])}

    def look(self, model: KnownSingers, batch: Tensors) -> Look:
        """Returns how alike the samples are, singer by singer."""
        rows = batch["singers"].cpu().numpy()
        order = np.argsort(rows, kind="stable")
        voices = self._voices(model, batch)[order]
        names = [self.singers[row] if row >= 0 else "nobody known" for row in rows[order]]
        return Look({"alike": similarity_figure(voices @ voices.T, names)})

    def _voices(self, model: KnownSingers, batch: Tensors) -> npt.NDArray[np.float32]:
        voices: npt.NDArray[np.float32] = model.encoder(batch[FRAMES], batch["frames"]).float().cpu().numpy()
        return voices

    def _pieces(self, frames: npt.NDArray[Any], sample: Sample) -> list[npt.NDArray[Any]]:
        """Returns random stretches of frames, changed as another microphone might."""
        length = min(max(round(self.config.piece_s * self.rate), 1), len(frames))
        rng = sample.rng("pieces")
        starts = rng.integers(0, len(frames) - length + 1, self.config.pieces)
        pieces = [frames[start : start + length] for start in starts]
        return [self.colour.changed(piece, self.spec, rng) for piece in pieces] if self.spec else pieces

    def _heard(self, sample: Sample) -> tuple[npt.NDArray[np.float32], int]:
        """Returns what is heard of a sample, and the row of who sings it."""
        frames, row = self._frames(sample), self._row(sample)
        if not self.config.sung_only:
            return frames, row
        assert self.activity is not None and self.activity.rate is not None
        sung = sung_frames(frames, self.rate, sample.series[ACTIVITY], self.activity.rate)
        # What nobody sings in is heard as it is, so that there is something, and counts nothing.
        return (sung, row) if len(sung) >= LEAST_S * self.rate else (frames, NOBODY)

    def _frames(self, sample: Sample) -> npt.NDArray[np.float32]:
        frames = sample.series[self.config.source]
        if not len(frames):
            raise DataError(f"sample {sample.key} has no {self.config.source}; build the set again")
        return frames.astype(np.float32)

    def _row(self, sample: Sample) -> int:
        name = sample.info["singer"]
        if name is not None and name not in self.rows:
            raise SchemaMismatch(
                f"sample {sample.key} is sung by {name!r}, who is not in the set's table; build it again"
            )
        return NOBODY if name is None else self.rows[name]


def trials(
    voices: npt.NDArray[np.float32], singers: npt.NDArray[np.int64], songs: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Returns the cosine of each two vectors (N, E) of different songs, and whether they are of one singer."""
    one, other = np.triu_indices(len(voices), 1)
    apart = songs[one] != songs[other]
    one, other = one[apart], other[apart]
    return (voices[one] * voices[other]).sum(1), singers[one] == singers[other]


def means_of_songs(
    voices: npt.NDArray[np.float32], singers: npt.NDArray[np.int64], songs: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Returns the mean vector of each song, and who sings it."""
    _, first, which = np.unique(songs, return_index=True, return_inverse=True)
    return np.stack([voices[which == n].mean(0) for n in range(len(first))]), singers[first]


def _song(key: str) -> int:
    """Returns a number for the song of a sample, which all of its key but the start says."""
    song = key.rpartition("_")[0] or key
    return int.from_bytes(hashlib.blake2b(song.encode(), digest_size=8).digest(), "little", signed=True)
