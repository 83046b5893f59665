"""The comparison: each way converts the same songs, one vocoder makes them sound, and figures say what came of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from autosing.evaluation.conversion.songs import Choice, Task, singer_of, tasks_of
from autosing.evaluation.heard import SPEC, Figures, Heard, Listening, Made, Measure, Wave, means_of, write_figures
from autosing.evaluation.recordings import audio_of, voice_of
from autosing.page.numerals import songs as songs_text
from autosing.pipeline.dataset import INDEX, Dataset
from autosing.signal.errors import CheckpointError, UsageError
from autosing.signal.f0 import f0
from autosing.signal.mel import MelSpec, log_mel
from autosing.signal.resample import resample
from autosing.signal.typed import of_mapping
from autosing.synthesis.conversion.keys import SourcePitch, TrainedPitch, auto_key
from autosing.synthesis.conversion.sounding import check_vocoder
from autosing.synthesis.resynthesize import GRIFFIN_LIM, Series, Way, way_of, with_spec
from autosing.training.metrics import (
    PitchTrack,
    SingerProbe,
    f0_rmse_cents,
    fd_mel,
    global_variance_error,
    log_f0_correlation,
    loudness_error,
    mcd,
    mcd_dtw,
    mel_cepstra,
    mel_l1,
    voicing_f1,
)

if TYPE_CHECKING:
    from autosing.models.directory import LoadedModel

Array = npt.NDArray[Any]
TRACK_HZ = 100
SOURCE, TARGET, COPY, COARSE = "source", "target", "target, by the vocoder", "coarse mel"
STUDENT_CALLS = (1, 2, 4)
MEASURES = (
    Measure("to_target", "like target", "share of songs that a probe on recordings takes for the target", 2),
    Measure("to_source", "like source", "share of songs that it takes for who sang them", 2),
    Measure("singer_eer", "singer EER", "of telling by the probe that a song is of its target"),
    Measure(
        "f0_corr", "log-F0 corr", "of the pitch that is heard and the one that was asked for, where both are voiced", 4
    ),
    Measure("f0_rmse_cents", "F0 RMSE", "of the same, in cents", 1),
    Measure("voicing_f1", "V/UV F1", "of the frames that are called voiced"),
    Measure("loudness_lu", "loudness", "louder than the source by so many LU, where below 0 softer", 2),
    Measure("mel_l1", "mel-L1", "mean absolute difference of the log-mels, in nats, from the target's own song"),
    Measure("fd_mel", "FD-mel", "Frechet distance of mel frames from those of the target's own songs", 2),
    Measure("gv_error_db", "GV error", "error of the global variance of the mels, in dB", 2),
    Measure("mcd", "MCD", "mel-cepstral distortion from the target's own song, in dB, warped where lengths differ", 2),
    Measure("rtf", "RTF", "seconds that coarse mel and diffusion took for a second of song", 4),
)


@dataclass(frozen=True)
class Request:
    """What is wanted.

    Attributes:
        models: directories of teachers and students that are given the same columns.
        vocoder: a vocoder's directory, or `griffin-lim`.
        choice: which songs, to whom.
        steps: of teachers.
        shown: songs on the page.
        seconds: of each song on the page.
        seed: of the noise.
        voices: a data set whose recordings teach the probe who is who; None takes the songs that are not converted.
        guidance: how far towards the singer from nobody in particular; 1 is the models' own.

    Raises:
        UsageError: the seed is below 0.
    """

    models: tuple[str, ...]
    vocoder: str = GRIFFIN_LIM
    choice: Choice = field(default_factory=Choice)
    steps: int = 18
    shown: int = 4
    seconds: float = 12.0
    seed: int = 0
    voices: Dataset | None = None
    guidance: float = 1.0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"--seed is {self.seed}; give a whole number from 0")


@dataclass(frozen=True)
class Conversions:
    """What came out: figures by way, lines for the terminal, and the page where one was asked for."""

    figures: Mapping[str, Figures]
    lines: list[str]
    page: Path | None


def compare_conversions(dataset: Dataset, request: Request, out: Path | None = None) -> Conversions:
    """Converts songs by every model; leaves sounds, `figures.json` and `index.html` in `out`, if there is one.

    Raises:
        UsageError: a column is not computed, a singer is not known, the vocoder makes no sound of what the models draw,
            or there is no song.
        CheckpointError: a model is damaged, or means other columns or mels than the set or the vocoder.
    """
    from autosing.models.directory import load_model

    loaded = [load_model(model) for model in request.models]
    _agree(request.models, loaded)
    sounded = _sounded(request, loaded[0])
    tasks = tasks_of(dataset, loaded[0], request.choice)
    ways = [way for one in zip(request.models, loaded, strict=True) for way in _ways_of(*one, request)]
    sung = {SOURCE: [_by_itself(task, task.wave) for task in tasks]}
    if request.choice.parallel:
        sung[TARGET] = [_by_itself(task, task.wanted) for task in tasks]
        sung[COPY] = [sounded.copy(task) for task in tasks]
    sung |= {name: [_converted(task, one, how, sounded) for task in tasks] for name, one, how in ways}
    names = list(sung)
    unheard = np.zeros(0, np.float32)  # The recording is among the ways, as SOURCE.
    heard = [Heard(f"{task.id}: {task.source} to {task.target}", unheard, [one[n].made for one in sung.values()])
             for n, task in enumerate(tasks)]  # fmt: skip
    means = means_of(names, MEASURES, heard)
    probe = _probe(request.voices or dataset, tasks)
    for name, songs in sung.items():
        means[name] |= _of_all([song.mel for song in songs], tasks, probe)
    by = f"converted by {', '.join(request.models)}; sound by {request.vocoder}"
    told = f"{songs_text(len(tasks))} of {dataset.url}, {by}."
    title = dataset.url.rstrip("/").rsplit("/", 1)[-1]
    page = Listening("autosing eval svc", title, told, MEASURES, names, means, heard[: request.shown], request.seconds)
    if out is None:
        return Conversions(means, page.lines(), None)
    out.mkdir(parents=True, exist_ok=True)
    write_figures(out, {"ways": names}, means, heard)
    return Conversions(means, page.lines(), page.write(out))


def _agree(names: Sequence[str], loaded: Sequence["LoadedModel"]) -> None:
    """Makes sure that the models are for conversion, are given the same columns and know the same singers."""
    from autosing.models.svc import SvcModel

    for name, one in zip(names, loaded, strict=True):
        if not isinstance(one.model, SvcModel):
            raise UsageError(f"{name} converts no voices; give what `autosing train svc` or svc_student made")
        for part in ("definitions", "singers", "columns"):
            if one.contract.get(part) != loaded[0].contract.get(part):
                raise CheckpointError(f"{name} and {names[0]} differ in {part}; compare models of one set")


def _ways_of(name: str, loaded: "LoadedModel", request: Request) -> "list[tuple[str, LoadedModel, Any]]":
    from autosing.models.svc import SvcModel
    from autosing.models.svc_sampling import Sampling

    assert isinstance(loaded.model, SvcModel)
    short = Path(name).parent.name if Path(name).name == "model" else Path(name).name
    usual, steps = Sampling(guidance=request.guidance, seed=request.seed), request.steps
    if loaded.model.fields.distilled:
        return [(f"{short}, {n} call{'s' * (n > 1)}", loaded, replace(usual, steps=n)) for n in STUDENT_CALLS]
    return [
        (f"{short}, {COARSE} alone", loaded, usual),
        (f"{short}, 1 step", loaded, replace(usual, steps=1, solver="euler")),
        (f"{short}, {steps} steps", loaded, replace(usual, steps=steps)),
    ]


@dataclass(frozen=True)
class Sung:
    """A song by one way: its sound with figures, and the mel (F, M) in `SPEC` that it is judged by."""

    made: Made
    mel: Array


def _by_itself(task: Task, wave: Wave | None) -> Sung:
    """Returns a recording as if it had been made."""
    assert wave is not None
    mel = log_mel(wave, SPEC, len(wave) // SPEC.hop)
    return Sung(Made(wave, _of_parallel(wave, mel, task)), mel)


@dataclass(frozen=True)
class Sounded:
    """How mels of a definition become sound."""

    vocoder: Way
    spec: MelSpec

    def song(self, mel: Array, pitch: Mapping[str, Series], task: Task) -> Sung:
        """Returns the song of a mel (F, M) and a pitch, which is what was asked for."""
        made = self.vocoder.make({"mel": Series(mel, self.spec.rate), **pitch})
        wave = resample(made, self.vocoder.sample_rate, SPEC.sample_rate)
        # A vocoder of few steps is heard in every mel of its sound; models are judged by their own.
        judged = mel if self.spec == SPEC else log_mel(wave, SPEC, max(len(wave) // SPEC.hop, 1))
        figures = _of_sound(wave, pitch, task) | _of_parallel(wave, judged, task)
        return Sung(Made(wave, figures), judged)

    def copy(self, task: Task) -> Sung:
        """Returns the target's own song by way of its mel: as good as the vocoder is."""
        assert task.wanted is not None
        wave = resample(task.wanted, SPEC.sample_rate, self.spec.sample_rate)
        mel = log_mel(wave, self.spec, len(wave) // self.spec.hop)
        rate = Fraction(TRACK_HZ)
        return self.song(mel, {name: Series(values, rate) for name, values in task.wanted_pitch.items()}, task)


def _sounded(request: Request, loaded: "LoadedModel") -> Sounded:
    """Returns how mels become sound, once the vocoder is known to make it of what models like this draw."""
    spec = of_mapping(MelSpec, loaded.contract["mel"]["spec"], "the model's mel")
    vocoder = way_of(request.vocoder, request.seed)
    check_vocoder(vocoder, "f0_hz" in loaded.contract["columns"])
    return Sounded(with_spec(vocoder, spec.as_mapping(), "the conversion model's"), spec)


def _converted(task: Task, loaded: "LoadedModel", how: Any, sounded: Sounded) -> Sung:
    from autosing.models.svc import SvcModel
    from autosing.models.svc_input import svc_inputs
    from autosing.models.svc_sampling import convert_mel

    model = loaded.model
    assert isinstance(model, SvcModel)
    rates = {name: Fraction(rate) for name, rate in loaded.contract["rates"].items()}
    seconds = len(task.wave) / SPEC.sample_rate
    n_frames = round(seconds * sounded.spec.rate)
    key = _key(task, loaded)
    weights = np.zeros((n_frames, len(loaded.contract["singers"]) + 1), np.float32)
    weights[:, 1 + list(loaded.contract["singers"]).index(task.target)] = 1
    given = svc_inputs(task.series, model.fields.streams, model.fields.tokens, n_frames, rates, key)
    started = time.process_time()
    mel = np.concatenate(list(convert_mel(model, {**given, "singer_weights": weights}, how)))
    spent_s = time.process_time() - started
    pitch = {}
    if "f0_hz" in task.series:
        asked_hz = (task.series["f0_hz"] * 2 ** (key / 12)).astype(np.float32)
        pitch = {
            name: Series(v, rates["f0_hz"]) for name, v in (("f0_hz", asked_hz), ("voiced", task.series["voiced"]))
        }
    song = sounded.song(mel, pitch, task)
    return Sung(Made(song.made.wave, {**song.made.figures, "rtf": spent_s / seconds}), song.mel)


def _key(task: Task, loaded: "LoadedModel") -> float:
    f0_hz = task.series.get("f0_hz", np.zeros(0, np.float32))
    pitch = SourcePitch.of(f0_hz, f0_hz > 0, TRACK_HZ)
    known_hz = task.wanted_f0_hz or TrainedPitch.of(loaded).medians_hz.get(task.target)
    return auto_key(pitch, known_hz, rounded=True).semitones


def _of_sound(wave: Wave, pitch: Mapping[str, Series], task: Task) -> dict[str, float]:
    found = {"loudness_lu": loudness_error(wave, task.wave, SPEC.sample_rate)} if len(wave) else {}
    if not pitch:
        return found
    asked_hz = pitch["f0_hz"].values[:]
    n = min(len(wave) * TRACK_HZ // SPEC.sample_rate, len(asked_hz))
    heard = f0(wave, SPEC.sample_rate, len(wave) * TRACK_HZ // SPEC.sample_rate)
    tracks = PitchTrack(heard.f0_hz[:n], heard.voiced[:n]), PitchTrack(asked_hz[:n], (asked_hz > 0)[:n])
    told = {"f0_corr": log_f0_correlation(*tracks), "f0_rmse_cents": f0_rmse_cents(*tracks)}
    return {**found, **told, "voicing_f1": voicing_f1(*tracks)}


def _of_parallel(wave: Wave, mel: Array, task: Task) -> dict[str, float]:
    """Returns how far a sound and its mel are from what the target sings, where that is known."""
    if task.wanted is None:
        return {}
    cepstra = [mel_cepstra(one, SPEC.sample_rate) for one in (wave, task.wanted)]
    if abs(len(wave) - len(task.wanted)) > SPEC.sample_rate // 10:
        return {"mcd": mcd_dtw(*cepstra)}
    shortest = min(map(len, cepstra))
    wanted = log_mel(task.wanted, SPEC, len(task.wanted) // SPEC.hop)
    n_frames = min(len(mel), len(wanted))
    return {"mcd": mcd(*(one[:shortest] for one in cepstra)), "mel_l1": mel_l1([mel[:n_frames]], [wanted[:n_frames]])}


def _of_all(mels: Sequence[Array], tasks: Sequence[Task], probe: SingerProbe | None) -> dict[str, float]:
    """Returns the figures that a set of songs has, and none of them alone."""
    found = {}
    if probe is not None:
        told = probe.predict(mels)
        for key, names in (("to_target", [t.target for t in tasks]), ("to_source", [t.source for t in tasks])):
            found[key] = float(np.mean([one == name for one, name in zip(told, names, strict=True)]))
        found["singer_eer"] = probe.verification_error(mels, [task.target for task in tasks])
    wanted = [log_mel(t.wanted, SPEC, len(t.wanted) // SPEC.hop) for t in tasks if t.wanted is not None]
    if len(wanted) == len(mels):
        found |= {"fd_mel": fd_mel(mels, wanted), "gv_error_db": global_variance_error(mels, wanted)}
    return found


def _probe(dataset: Dataset, tasks: Sequence[Task]) -> SingerProbe | None:
    """Returns what knows the singers of a set's other songs; None where there are not two with more than one."""
    audio, used = audio_of(dataset), {task.id for task in tasks} | dataset.excluded
    columns = [f"{INDEX}.{name}" for name in ("singer", "artist") if name in dataset.partitions[0].index_columns()]
    known: dict[str, list[Array]] = {}
    for row in dataset.read([audio, *columns]):
        singer = singer_of(row)
        wave = voice_of(row, audio) if singer and row.id not in used else None
        if singer and wave is not None and len(wave) >= SPEC.n_fft:
            known.setdefault(singer, []).append(log_mel(wave, SPEC, len(wave) // SPEC.hop))
    pairs = [(mel, singer) for singer, mels in known.items() if len(mels) > 1 for mel in mels]
    if len({singer for _, singer in pairs}) < 2:
        return None
    return SingerProbe.fit((mel for mel, _ in pairs), [singer for _, singer in pairs])
