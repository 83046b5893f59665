"""Resynthesis of a data set's songs by several ways, figures for each, and a page to listen to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autosing.evaluation.heard import SPEC, Heard, Listening, Made, Measure, Wave, means_of, write_figures
from autosing.evaluation.recordings import audio_of, evenly, voice_of
from autosing.pipeline.dataset import Dataset, SongRow, split_address
from autosing.signal.errors import RowError, UsageError
from autosing.signal.f0 import f0
from autosing.signal.mel import log_mel
from autosing.signal.resample import resample
from autosing.synthesis.resynthesize import Series, Way, check_definitions, names_of, way_of, with_spec
from autosing.training.metrics import PitchTrack, f0_rmse_cents, mel_l1, multi_resolution_stft, voicing_f1

TRACK_HZ = 100
MEASURES = (
    Measure("mel_l1", "mel-L1", "mean absolute difference of the log-mels, in nats"),
    Measure("mr_stft", "MR-STFT", "multi-resolution STFT distance"),
    Measure("f0_rmse_cents", "F0 RMSE", "in cents, over the frames voiced in both", 1),
    Measure("voicing_f1", "V/UV F1", "of the frames that are called voiced"),
)


@dataclass(frozen=True)
class Request:
    """What is wanted: models, `NAME=ADDRESS` of columns, songs, seconds of each on the page, and the seed."""

    models: tuple[str, ...]
    columns: tuple[str, ...] = ()
    songs: int = 8
    seconds: float = 12.0
    seed: int = 0


@dataclass(frozen=True)
class Resynthesis:
    """What came out: the page, and lines for the terminal."""

    page: Path
    lines: list[str]


def resynthesise(dataset: Dataset, request: Request, out: Path) -> Resynthesis:
    """Makes sound of a data set's columns and leaves sounds, `figures.json` and `index.html` in `out`.

    Raises:
        UsageError: a model needs a column that is not there, or of another meaning.
    """
    given = dict(_named(column) for column in request.columns)
    ways = [_fitting(way_of(model, request.seed), dataset, given) for model in request.models]
    addresses = {name: dataset.resolve(given.get(name, name)) for name in names_of(ways)}
    audio = audio_of(dataset)
    out.mkdir(parents=True, exist_ok=True)
    heard: list[Heard] = []
    for row in _chosen(dataset, [audio, *addresses.values()], request.songs):
        voice = voice_of(row, audio)
        if voice is not None:
            heard.append(Heard(row.id, voice, [_made(way, row, addresses, dataset, voice) for way in ways]))
    if not heard:
        raise UsageError(f"no song of {dataset.url} has a recording that can be read; see `autosing errors`")
    means = means_of(request.models, MEASURES, heard)
    write_figures(out, {"models": list(request.models)}, means, heard)
    name = dataset.url.rstrip("/").rsplit("/", 1)[-1]
    told = f"Of what is made beside the recording, over the songs below. The data set is {dataset.url}."
    page = Listening("autosing resynthesize", name, told, MEASURES, request.models, means, heard, request.seconds)
    return Resynthesis(page.write(out), page.lines())


def _named(text: str) -> tuple[str, str]:
    name, equals, address = text.partition("=")
    if not equals or not address:
        raise UsageError(f"--column {text}: write NAME=ADDRESS, for example tokens_20=tokens.tokens_20")
    return name, address


def _fitting(way: Way, dataset: Dataset, given: Mapping[str, str]) -> Way:
    """Returns a way that fits the set's columns."""
    first = dataset.partitions[0]
    definitions = {}
    for name in way.columns:
        instance = split_address(dataset.resolve(given.get(name, name)))[0]
        record = first.record(instance)
        if record is None:
            raise UsageError(f"{instance} is not computed yet; run `autosing process {dataset.url} {instance}`")
        definitions[name] = record.definition
        if name == "mel":
            way = with_spec(way, record.settings["spec"])
    check_definitions(way, definitions)
    return way


def _chosen(dataset: Dataset, addresses: Sequence[str], n: int) -> Iterator[SongRow]:
    """Yields `n` songs evenly over the set."""
    wanted = evenly(n, sum(len(partition.ids()) for partition in dataset.partitions))
    for number, row in enumerate(dataset.read(list(dict.fromkeys(addresses)))):
        if number in wanted:
            yield row


def _made(way: Way, row: SongRow, addresses: Mapping[str, str], dataset: Dataset, voice: Wave) -> Made:
    none = np.zeros(0, np.float32)
    try:
        series = {name: _series(row, addresses[name], dataset) for name in way.columns}
        wave = resample(way.make(series), way.sample_rate, SPEC.sample_rate)
    except RowError as error:
        return Made(none, {}, str(error))
    length = min(len(wave), len(voice)) // SPEC.hop * SPEC.hop
    if length < SPEC.n_fft:
        return Made(wave, {}, "too short to be compared")
    return Made(wave, _figures(wave[:length], voice[:length]))


def _series(row: SongRow, address: str, dataset: Dataset) -> Series:
    instance, name = split_address(address)
    value = row.values.get(address)
    if value is None:
        raise RowError(row.errors.get(instance, f"no {address}"))
    column = next(c for c in dataset.partitions[0].columns(instance) if c.name == name)
    if column.rate is None:
        raise UsageError(f"{address} is no series; give the address of one with --column")
    return Series(value, column.rate)


def _figures(made: Wave, voice: Wave) -> dict[str, float]:
    n_frames = len(voice) // SPEC.hop
    tracks = []
    for wave in (made, voice):
        found = f0(wave, SPEC.sample_rate, len(wave) * TRACK_HZ // SPEC.sample_rate)
        tracks.append(PitchTrack(found.f0_hz, found.voiced))
    return {
        "mel_l1": mel_l1([log_mel(made, SPEC, n_frames)], [log_mel(voice, SPEC, n_frames)]),
        "mr_stft": multi_resolution_stft(made, voice).total,
        "f0_rmse_cents": f0_rmse_cents(*tracks),
        "voicing_f1": voicing_f1(*tracks),
    }
