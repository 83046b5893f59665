"""Resynthesis of a data set's songs by several ways, figures for each, and a page to listen to."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.page.media import contrast, data_uri, mel_png
from autosing.page.render import render_page
from autosing.pipeline.dataset import Dataset, SongRow, split_address
from autosing.pipeline.store import Store
from autosing.signal.decode import decode, encode, to_mono
from autosing.signal.errors import AutosingError, RowError, UsageError
from autosing.signal.f0 import f0
from autosing.signal.mel import MelSpec, log_mel
from autosing.signal.resample import resample
from autosing.synthesis.resynthesize import Series, Way, check_definitions, names_of, way_of, with_spec
from autosing.training.look import file_names
from autosing.training.metrics import PitchTrack, f0_rmse_cents, mel_l1, multi_resolution_stft, voicing_f1

FOLDER = Path(__file__).parent / "listening"
AUDIO = ("stems.vocals", "index.audio")
TRACK_HZ = 100
# What is drawn and compared, whatever the ways' own rate is.
SPEC = MelSpec()
MEASURES = (
    ("mel_l1", "mel-L1", "mean absolute difference of the log-mels, in nats", 3),
    ("mr_stft", "MR-STFT", "multi-resolution STFT distance", 3),
    ("f0_rmse_cents", "F0 RMSE", "in cents, over the frames voiced in both", 1),
    ("voicing_f1", "V/UV F1", "of the frames that are called voiced", 3),
)

Wave = npt.NDArray[np.float32]


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
    lines: Sequence[str]


@dataclass(frozen=True)
class _Made:
    """A song by one way: its wave at `SPEC.sample_rate` and its figures; or why there is none."""

    wave: Wave
    figures: Mapping[str, float]
    error: str = ""


def resynthesise(dataset: Dataset, request: Request, out: Path) -> Resynthesis:
    """Makes sound of a data set's columns and leaves sounds, `figures.json` and `index.html` in `out`.

    Raises:
        UsageError: a model needs a column that is not there, or of another meaning.
    """
    given = dict(_named(column) for column in request.columns)
    ways = [_fitting(way_of(model, request.seed), dataset, given) for model in request.models]
    addresses = {name: dataset.resolve(given.get(name, name)) for name in names_of(ways)}
    audio = _audio(dataset)
    out.mkdir(parents=True, exist_ok=True)
    heard: list[tuple[str, Wave, list[_Made]]] = []
    for row in _chosen(dataset, [audio, *addresses.values()], request.songs):
        voice = _voice(row, audio)
        if voice is not None:
            made = [_made(way, row, addresses, dataset, voice) for way in ways]
            heard.append((row.id, voice, made))
    if not heard:
        raise UsageError(f"no song of {dataset.url} has a recording that can be read; see `autosing errors`")
    _write_sounds(out, request.models, heard)
    means = _means(request.models, heard)
    figures = {"means": means, "songs": {id: [m.figures for m in made] for id, _, made in heard}}
    (out / "figures.json").write_text(json.dumps({"models": list(request.models), **figures}, indent=1), "utf-8")
    page = out / "index.html"
    with Store(str(out)).writing(page.name) as draft:
        draft.write_text(render_page(FOLDER, _content(dataset.url, request, heard, means)), "utf-8")
    return Resynthesis(page, _lines(means))


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
            raise UsageError(
                f"{instance} is not computed yet; run `autosing process {dataset.url} --stages {instance}`"
            )
        definitions[name] = record.definition
        if name == "mel":
            way = with_spec(way, record.settings["spec"])
    check_definitions(way, definitions)
    return way


def _audio(dataset: Dataset) -> str:
    instances = {"index", *dataset.partitions[0].instances()}
    return next(address for address in AUDIO if split_address(address)[0] in instances)


def _chosen(dataset: Dataset, addresses: Sequence[str], n: int) -> Iterator[SongRow]:
    """Yields `n` songs evenly over the set."""
    total = sum(len(partition.ids()) for partition in dataset.partitions)
    wanted = set(np.linspace(0, total - 1, min(n, total)).round().astype(int).tolist())
    for number, row in enumerate(dataset.read(list(dict.fromkeys(addresses)))):
        if number in wanted:
            yield row


def _voice(row: SongRow, audio: str) -> Wave | None:
    try:
        decoded = decode(bytes(row.values[audio]))
    except (AutosingError, TypeError):
        return None
    return resample(to_mono(decoded.samples), decoded.sample_rate, SPEC.sample_rate)


def _made(way: Way, row: SongRow, addresses: Mapping[str, str], dataset: Dataset, voice: Wave) -> _Made:
    none = np.zeros(0, np.float32)
    try:
        series = {name: _series(row, addresses[name], dataset) for name in way.columns}
        wave = resample(way.make(series), way.sample_rate, SPEC.sample_rate)
    except RowError as error:
        return _Made(none, {}, str(error))
    length = min(len(wave), len(voice)) // SPEC.hop * SPEC.hop
    if length < SPEC.n_fft:
        return _Made(wave, {}, "too short to be compared")
    return _Made(wave, _figures(wave[:length], voice[:length]))


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


def _means(models: Sequence[str], heard: Sequence[tuple[str, Wave, list[_Made]]]) -> dict[str, dict[str, float]]:
    means: dict[str, dict[str, float]] = {}
    for n, model in enumerate(models):
        rows = [made[n].figures for _, _, made in heard if made[n].figures]
        measured = {key: [row[key] for row in rows if row[key] == row[key]] for key, *_ in MEASURES}
        means[model] = {key: float(np.mean(values)) for key, values in measured.items() if values}
    return means


def _lines(means: Mapping[str, Mapping[str, float]]) -> list[str]:
    width = max(len(model) for model in means)
    head = f"{'':{width}}  " + "  ".join(f"{title:>8}" for _, title, _, _ in MEASURES)
    return [head] + [
        f"{model:{width}}  " + "  ".join(f"{_shown(row, key, digits):>8}" for key, _, _, digits in MEASURES)
        for model, row in means.items()
    ]


def _shown(row: Mapping[str, float], key: str, digits: int) -> str:
    return f"{row[key]:.{digits}f}" if row.get(key, float("nan")) == row.get(key) else "-"


def _write_sounds(out: Path, models: Sequence[str], heard: Sequence[tuple[str, Wave, list[_Made]]]) -> None:
    """Writes every sound as FLAC, whole, under names that no id can lead astray."""
    names = file_names([f"{id} {way}" for id, _, _ in heard for way in ("recording", *models)])
    for id, voice, made in heard:
        for way, wave in zip(("recording", *models), (voice, *(one.wave for one in made)), strict=True):
            if len(wave):
                content = encode(np.clip(wave, -1, 1)[:, None], SPEC.sample_rate, "FLAC")
                (out / f"{names[f'{id} {way}']}.flac").write_bytes(content)


def _content(
    url: str, request: Request, heard: Sequence[tuple[str, Wave, list[_Made]]], means: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    songs = []
    for id, voice, made in heard:
        low, high = contrast(_mel(voice, request.seconds))
        ways = [_shown_way("recording", replace(made[0], wave=voice, figures={}, error=""), low, high, request.seconds)]
        ways += [
            _shown_way(model, one, low, high, request.seconds) for model, one in zip(request.models, made, strict=True)
        ]
        songs.append((id, ways))
    return {
        "name": url.rstrip("/").rsplit("/", 1)[-1],
        "url": url,
        "seconds": request.seconds,
        "measures": [(title, meaning) for _, title, meaning, _ in MEASURES],
        "means": [(model, _cells(row)) for model, row in means.items()],
        "songs": songs,
    }


def _shown_way(name: str, made: _Made, low: float, high: float, seconds: float) -> dict[str, Any]:
    wave = made.wave[: round(seconds * SPEC.sample_rate)]
    if len(wave) < SPEC.hop:
        return {"name": name, "error": made.error or "silent", "cells": [], "sound": "", "picture": ""}
    wav = encode(np.clip(wave, -1, 1)[:, None], SPEC.sample_rate, "WAV")
    picture = mel_png(_mel(wave, seconds), low, high)
    return {
        "name": name,
        "error": made.error,
        "cells": _cells(made.figures) if made.figures else [],
        "sound": data_uri(wav, "audio/wav"),
        "picture": data_uri(picture, "image/png"),
    }


def _cells(row: Mapping[str, float]) -> list[str]:
    return [_shown(row, key, digits) for key, _, _, digits in MEASURES]


def _mel(wave: Wave, seconds: float) -> npt.NDArray[np.float32]:
    part = wave[: round(seconds * SPEC.sample_rate)]
    return log_mel(part, SPEC, max(len(part) // SPEC.hop, 1))
