"""Singing voice conversion: a recording sung by another singer, with all that a model and its user say of how.

The columns that a model hears a recording by come from outside (`Features`): `autosing.pipeline.contract_columns`
computes them, `autosing.conversion` does all with files. What is as long as the recording lies in temporary files and
goes from one to the next a section at a time, so that memory does not grow with it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from autosing.models.directory import LoadedModel
from autosing.signal.decode import Audio
from autosing.signal.errors import CheckpointError, RowError, UsageError
from autosing.signal.framing import frames
from autosing.signal.mel import MelSpec
from autosing.signal.rows import DiskRows, Rows, Scaled
from autosing.signal.tape import BLOCK_SAMPLES, Tape
from autosing.signal.typed import of_mapping
from autosing.synthesis.conversion.clock import Clock
from autosing.synthesis.conversion.keys import (
    Key,
    SourcePitch,
    TrainedPitch,
    auto_key,
    range_warnings,
    target_median_hz,
)
from autosing.synthesis.conversion.levels import level_of
from autosing.synthesis.conversion.singers import Singing, parse_singing
from autosing.synthesis.conversion.sounding import check_vocoder, moved, sound_pieces
from autosing.synthesis.conversion.sources import SourceFacts
from autosing.synthesis.conversion.voices import EMBEDDING, PITCH, Features, Voices
from autosing.synthesis.conversion.wanted import Wanted
from autosing.synthesis.conversion.windows import Source, Windows
from autosing.synthesis.resynthesize import Series, Way, with_spec

if TYPE_CHECKING:
    from autosing.models.svc import SvcFields, SvcModel
    from autosing.models.svc_sampling import Sampling

Array = npt.NDArray[Any]
Wave = npt.NDArray[np.float32]

__all__ = ["Converted", "Converter", "Features", "Wanted"]

ENERGY = "energy"
TEACHER_STEPS, STUDENT_STEPS = 18, 1
# Of less than this some column may have no frame.
SHORTEST_S = 0.1


@dataclass(frozen=True)
class Converted:
    """What a recording became.

    Attributes:
        samples: (T, 1), as long as the recording, on disk.
        sample_rate: of the vocoder, in Hz.
        facts: all that was used, as JSON.
        warnings: what is to be said to who asked for it.
    """

    samples: Rows
    sample_rate: int
    facts: dict[str, Any]
    warnings: tuple[str, ...]

    @property
    def wave(self) -> Wave:
        """The samples (T,), read from the disk each time."""
        return self.samples[:][:, 0]


class Converter:
    """A conversion model with its vocoder.

    Args:
        loaded: what `autosing train svc` or `svc_student` made.
        vocoder: a way from mels to sound, see `resynthesize.way_of`.
        features: computes the columns of the model's contract.
        reference: returns the recording that a singer's name stands for, where the model knows voices by recordings;
            None where it stands for none.

    Raises:
        CheckpointError: it is another kind of model, or the stages here compute other columns than it was trained on.
        UsageError: the vocoder does not fit, or a stage lacks its model.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        vocoder: Way,
        features: Features,
        reference: Callable[[str], Audio | None] = lambda name: None,
    ) -> None:
        self.model = svc_of(loaded)
        self.contract, self.digest = loaded.contract, loaded.digest
        self.rates = {name: Fraction(rate) for name, rate in self.contract["rates"].items()}
        self.spec = of_mapping(MelSpec, self.contract.get("mel", {}).get("spec", {}), "the model's mel")
        self.pitch = TrainedPitch.of(loaded)
        check_vocoder(vocoder, self._fields.pitch != "none")
        self.vocoder = with_spec(vocoder, self.spec.as_mapping(), "the conversion model's")
        self._features = features
        self._voices = Voices(features, reference, float(self.rates["f0_hz"]) if "f0_hz" in self._columns else None)
        features.check(self._columns)

    @property
    def singers(self) -> tuple[str, ...]:
        """The singers of the model's table; none where it knows voices by recordings."""
        return tuple(self.contract.get("singers", ()))

    @property
    def takes_references(self) -> bool:
        """Whether it sings like a recording of anybody."""
        return self._fields.embedding_dim > 0

    def convert(
        self, audio: Audio | Tape, wanted: Wanted, tell: Callable[[str], None] = lambda part: None
    ) -> Converted:
        """Returns a recording as it is wanted.

        Args:
            audio: in memory, or, of any length, on tape.
            wanted: how.
            tell: told which part of the work begins, and how far drawing the mel is.

        Raises:
            RowError: a stage refuses the recording, or it is too short.
            UsageError: the singer is unknown, or the model cannot do what is wanted.
            OSError: the disk for temporary files is full: a minute takes 18 MB at 24 kHz, 45 MB of stereo at 44.1 kHz.
        """
        audio = audio if isinstance(audio, Tape) else Tape.of(audio)
        clock = Clock(audio.duration_s, tell)
        singing, how = self.singing(wanted), self.sampling(wanted)
        if clock.duration_s < SHORTEST_S:
            raise RowError(f"the recording is {clock.duration_s:.3f} s long; give at least {SHORTEST_S:g} s")
        source = SourceFacts.of(audio)
        if source.is_silent:
            return self._silence(audio, wanted, source)
        series, pitch = self._listen(audio, clock)
        key = self._key(wanted, singing, pitch, clock.duration_s)
        n_frames = frames(len(audio.samples), audio.sample_rate, self.spec.rate)
        given = Source(
            series, self._fields.streams, self._fields.tokens, n_frames, self.rates, key.semitones,
            wanted.formant / 12, self._singer_rows(singing),
        )  # fmt: skip
        with clock.part("decoder"):
            mel = self._mel(given, how, tell)
        with clock.part("vocoder"):
            samples = self._sound(mel, series, key.semitones, audio)
        level = level_of(samples, self.vocoder.sample_rate, wanted.loudness, source.lufs)
        facts = self._facts(wanted, singing, how) | {
            "key": {"semitones": key.semitones, "is_automatic": wanted.key is None, "is_rounded": wanted.round_key},
            "f0_medians_hz": {"source": pitch.median_hz, "target": key.target_median_hz},
            "loudness": {"source_lufs": source.lufs, **asdict(level)},
            "source": source.told,
            "realtime_factors": clock.factors(),
        }
        warnings = (*source.warnings, *key.warnings)
        return Converted(Scaled(samples, level.factor), self.vocoder.sample_rate, facts, warnings)

    def singing(self, wanted: Wanted) -> Singing:
        """Returns who sings.

        Raises:
            UsageError: a singer is unknown, or is no recording that can be heard.
        """
        if not self.takes_references:
            if not self.singers:
                raise UsageError("the model was trained without singers (singer=none), so that none can be asked for")
            return parse_singing(wanted.singer, self.singers.__contains__, f"known: {', '.join(self.singers)}")
        return parse_singing(
            wanted.singer,
            self._voices.__contains__,
            "the model knows voices by recordings: give the path of one that is there",
        )

    def sampling(self, wanted: Wanted) -> "Sampling":
        """Returns how mels are drawn.

        Raises:
            UsageError: the model cannot do what is wanted.
        """
        from autosing.models.svc_sampling import Sampling

        if wanted.formant and not self._fields.uses_formant:
            raise UsageError(
                "--formant: the model was not told of formants in training; take one that was trained with "
                "--set key_shift=SEMITONES, or leave it out"
            )
        if wanted.key and self._fields.pitch == "none":
            raise UsageError(
                "--key: the model is not told any pitch (pitch=none), so that it can't be moved; leave it out"
            )
        usual = STUDENT_STEPS if self._fields.distilled else TEACHER_STEPS
        steps = usual if wanted.steps is None else wanted.steps
        return Sampling(steps, wanted.solver, wanted.guidance, wanted.seed)

    @property
    def _fields(self) -> "SvcFields":
        return self.model.fields

    @property
    def _columns(self) -> tuple[str, ...]:
        pitch = PITCH if self._fields.pitch != "none" else ()
        energy = (ENERGY,) if ENERGY in self._fields.rates else ()
        voice = (EMBEDDING,) if self.takes_references else ()
        return (*sorted(self._fields.streams), *pitch, *energy, *voice)

    def _listen(self, audio: Tape, clock: Clock) -> tuple[dict[str, Rows], SourcePitch]:
        heard, series = self._features.hear(audio), dict[str, Rows]()
        parts = {"content": sorted(self._fields.streams), "f0": PITCH, "energy": (ENERGY,)}
        for part, names in parts.items():
            wanted = [name for name in names if name in self._columns]
            with clock.part(part):
                series |= heard.read(wanted) if wanted else {}
        if "f0_hz" not in series:
            return series, SourcePitch(np.zeros(0, np.float32), None, "the model is not told any pitch")
        return series, SourcePitch.of(series["f0_hz"][:], series["voiced"][:], float(self.rates["f0_hz"]))

    def _key(self, wanted: Wanted, singing: Singing, pitch: SourcePitch, duration_s: float) -> Key:
        if self._fields.pitch == "none":
            return Key(0.0)
        medians = self.pitch.medians_hz
        if self.takes_references:
            known = {name: self._voices[name].median_hz for name in singing.names}
            medians = {name: hz for name, hz in known.items() if hz is not None}
        target_hz = target_median_hz(medians, singing.shares(duration_s))
        asked = None if wanted.key is None else Key(wanted.key, target_hz)
        key = asked or auto_key(pitch, target_hz, wanted.round_key)
        told = range_warnings(pitch, key.semitones, self.pitch.range_hz)
        return Key(key.semitones, target_hz, (*key.warnings, *told))

    def _mel(self, given: Source, how: "Sampling", tell: Callable[[str], None]) -> Rows:
        from autosing.models.svc_sampling import convert_mel

        mel = DiskRows(np.float32, (self.spec.n_mels,))
        for piece in convert_mel(self.model, cast("Mapping[str, Array]", Windows(given)), how):
            mel.append(piece)
            tell(f"decoder {100 * len(mel) // given.n_frames} %")
        return mel

    def _sound(self, mel: Rows, series: Mapping[str, Rows], key: float, audio: Tape) -> Rows:
        given = {"mel": Series(mel, self.spec.rate)}
        if "f0_hz" in series:
            f0 = Series(series["f0_hz"], self.rates["f0_hz"])
            given |= {"f0_hz": moved(f0, key), "voiced": Series(series["voiced"], f0.rate)}
        return _fitted(sound_pieces(self.vocoder, given), _samples(audio, self.vocoder.sample_rate))

    def _singer_rows(self, singing: Singing) -> Callable[[int, int], Mapping[str, Array]]:
        """Returns what gives the model's input of who sings, for the frames from one to another."""
        name = EMBEDDING if self.takes_references else "singer_weights"
        if self.takes_references:
            table = np.stack([self._voices[voice].embedding for voice in singing.names])
        else:
            # The row before the singers' is nobody in particular.
            table = np.eye(len(self.singers) + 1, dtype=np.float32)[[1 + self.singers.index(n) for n in singing.names]]

        def rows(first: int, last: int) -> Mapping[str, Array]:
            times_s = np.asarray((np.arange(first, last) + 0.5) / float(self.spec.rate), np.float64)
            return {name: singing.weights(times_s) @ table}

        return rows

    def _silence(self, audio: Tape, wanted: Wanted, source: SourceFacts) -> Converted:
        rate = self.vocoder.sample_rate
        facts = self._facts(wanted, self.singing(wanted), self.sampling(wanted)) | {"source": source.told}
        return Converted(_fitted(iter(()), _samples(audio, rate)), rate, facts, source.warnings)

    def _facts(self, wanted: Wanted, singing: Singing, how: "Sampling") -> dict[str, Any]:
        return {
            "model": {"digest": self.digest, "is_student": self._fields.distilled},
            "singers": singing.told(),
            "formant": wanted.formant,
            "steps": how.steps,
            "solver": None if self._fields.distilled else how.solver,
            "guidance": how.guidance,
            "seed": how.seed,
            "sample_rate_hz": self.vocoder.sample_rate,
            # A silent source has none of these.
            **dict.fromkeys(("key", "f0_medians_hz", "loudness")),
            "realtime_factors": {},
        }


def svc_of(loaded: LoadedModel) -> "SvcModel":
    """Returns the network of a conversion model.

    Raises:
        CheckpointError: it is another kind of model.
    """
    from autosing.models.svc import SvcModel

    if not isinstance(loaded.model, SvcModel):
        raise CheckpointError(
            f"the model is of the class {type(loaded.model).__name__} and converts no voices; give what "
            "`autosing train svc` or `autosing train svc_student` made"
        )
    return loaded.model


def _samples(audio: Tape, sample_rate: int) -> int:
    """Returns how many samples at another rate a recording lasts."""
    return frames(len(audio.samples), audio.sample_rate, Fraction(sample_rate))


def _fitted(pieces: Iterator[Wave], n_samples: int) -> Rows:
    """Returns the samples (T, 1) of pieces (n,), cut or lengthened by zeros."""
    samples = DiskRows(np.float32, (1,))
    for piece in pieces:
        samples.append(piece[: n_samples - len(samples), None])
    while missing := min(n_samples - len(samples), BLOCK_SAMPLES):
        samples.append(np.zeros((missing, 1), np.float32))
    return samples
