"""Every stage on one small data set: what it declares is what is stored, where it says, the same in any company."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from autosing.pipeline.dataset import Dataset, Partition, SongRow
from autosing.pipeline.graph import Graph
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport
from autosing.pipeline.schema import Column
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.stages import STAGES as ALL_STAGES
from autosing.signal.decode import encode
from autosing.signal.framing import frames, tied_frames

# `token_file` has nothing to read here; its own test gives it a file.
STAGES = [name for name in ALL_STAGES if name != "token_file"]
SETTINGS = ("units.k=16", "tokens.k=16", "stems.separate_to=both", "lyric_mel.keep=true")
ONE_SAMPLE, ODD, BURSTS = "one sample.wav", "odd.wav", "bursts.flac"
AGAIN = "again/"
"""Begins the ids of the songs that are in the second partition too."""
BURSTS_S = (0.7031, 1.6103, 2.5467, 3.4889)
BURST_S = 0.02
MFCC_DIM = 39
OWN_ERRORS = {("tokens", ONE_SAMPLE)}
"""Song and stage where there is nothing to compute from: features without a frame."""


@dataclass(frozen=True)
class Processed:
    """A data set with all its columns, the report of the run, and the length of its songs (samples, rate)."""

    dataset: Dataset
    graph: Graph
    report: RunReport
    lengths: Mapping[str, tuple[int, int]]

    def rows(self, number: int, name: str) -> dict[str, SongRow]:
        """Returns the songs of a partition with all columns of a stage, by id."""
        addresses = [f"{name}.{c.name}" for c in self.graph[name].columns]
        return {row.id: row for row in self.dataset.partition(number).rows(addresses)}


def bursts() -> npt.NDArray[np.float32]:
    """Returns 4.5 s of silence at 24 kHz with bursts of 1 kHz."""
    times_s = np.arange(int(4.5 * 24_000)) / 24_000
    wave = np.zeros_like(times_s)
    for centre_s in BURSTS_S:
        inside = np.abs(times_s - centre_s) < BURST_S / 2
        shape = np.cos(np.pi * (times_s - centre_s) / BURST_S) ** 2
        wave += 0.5 * inside * shape * np.sin(2000 * np.pi * times_s)
    return wave.astype(np.float32)


def songs() -> list[NewSong]:
    """Returns two synthetic songs, one of one sample, one of an odd length at 44.1 kHz, and the bursts."""
    noise = (0.1 * np.random.default_rng(0).normal(size=100_003)).astype(np.float32)
    sung = [NewSong(s.id, s.audio, s.text) for s in SyntheticSource(2, 6.0).songs()]
    return [
        *sung,
        NewSong(ONE_SAMPLE, encode(np.array([0.5], np.float32), 16_000, "WAV")),
        NewSong(ODD, encode(noise, 44_100, "WAV")),
        NewSong(BURSTS, encode(bursts(), 24_000, "FLAC")),
    ]


def run(dataset: Dataset, graph: Graph) -> RunReport:
    return process(dataset, graph, list(STAGES), RunOptions(executor="local"), progress=Progress(0, quiet=True))


def graph_of(url: str, models: tuple[str, ...]) -> Graph:
    return Project().graph(DatasetEntry(url), (*SETTINGS, *models))


@pytest.fixture(scope="module")
def models(
    tmp_path_factory: pytest.TempPathFactory,
    save_codec: Callable[[Path, int], str],
    save_content: Callable[[Path, int, int], str],
    save_semantic: Callable[[Path, int, int], str],
) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("models")
    return (
        f"codes.model={save_codec(folder / 'codec', 0)}",
        f"content.model={save_content(folder / 'content', MFCC_DIM, 0)}",
        f"semantic.model={save_semantic(folder / 'semantic', MFCC_DIM, 0)}",
    )


@pytest.fixture(scope="module")
def processed(tmp_path_factory: pytest.TempPathFactory, models: tuple[str, ...]) -> Processed:
    url = str(tmp_path_factory.mktemp("every") / "set")
    first = songs()
    append_songs(url, first)
    other = next(iter(SyntheticSource(1, 3.0, seed=9).songs()))
    again = [NewSong(AGAIN + s.id, s.audio, s.text) for s in reversed(first)]
    append_songs(url, [NewSong(other.id, other.audio, other.text), *again])
    dataset, graph = Dataset(url), graph_of(url, models)
    report = run(dataset, graph)
    probed = [r for p in dataset.partitions for r in p.rows(["probe.n_samples", "probe.sample_rate_hz"])]
    lengths = {r.id: (r.values["probe.n_samples"], r.values["probe.sample_rate_hz"]) for r in probed}
    return Processed(dataset, graph, report, lengths)


def test_the_lengths_are_those_of_the_files(processed: Processed) -> None:
    assert processed.report.failed == {} and sorted(processed.report.fits) == ["tokens", "units"]
    assert processed.lengths[ONE_SAMPLE] == (1, 16_000)
    assert processed.lengths[ODD] == (100_003, 44_100)
    assert processed.lengths[BURSTS] == (108_000, 24_000)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_stores_the_columns_it_declares_with_exact_frame_counts(processed: Processed, name: str) -> None:
    columns = processed.graph[name].columns
    for partition in processed.dataset.partitions:
        assert partition.columns(name) == list(columns)
        rows = processed.rows(partition.number, name)
        assert list(rows) == partition.ids()
        for id, row in rows.items():
            assert (name in row.errors) == ((name, id.removeprefix(AGAIN)) in OWN_ERRORS), row.errors
            for column in columns if not row.errors else ():
                assert_canonical(column, row.values[f"{name}.{column.name}"], processed.lengths[id])


def assert_canonical(column: Column, value: Any, length: tuple[int, int]) -> None:
    if value is None:
        assert column.nullable
    elif column.rate is None:
        assert column.canonical(value) == value
    else:
        tied = dict(zip(column.tied, tied_frames(*length, column.tied), strict=True)) if column.tied else {}
        n_frames = tied.get(column.rate, frames(*length, column.rate))
        assert value.dtype == column.numpy_dtype
        assert value.shape == ((n_frames,) if column.dim is None else (n_frames, column.dim))
        assert np.array_equal(column.canonical(value), value)


@pytest.mark.parametrize("name", STAGES)
def test_a_song_has_the_same_values_in_another_partition_with_other_neighbours(processed: Processed, name: str) -> None:
    first, second = processed.rows(0, name), processed.rows(1, name)
    for id, row in first.items():
        again = second[AGAIN + id]
        assert row.errors == again.errors
        assert all(is_same(value, again.values[address]) for address, value in row.values.items())


def is_same(one: Any, other: Any) -> bool:
    return bool(one.tobytes() == other.tobytes() if isinstance(one, np.ndarray) else one == other)


def test_a_second_run_does_nothing(processed: Processed, models: tuple[str, ...]) -> None:
    stamps = {
        p: [(f, p.store.stamp(p.folder, f)) for f in p.store.files(p.folder)] for p in processed.dataset.partitions
    }
    again = graph_of(processed.dataset.url, models)
    report = run(Dataset(processed.dataset.url), again)
    assert report.tasks == 0 and report.fits == []
    for partition, before in stamps.items():
        assert before == [
            (f, partition.store.stamp(partition.folder, f)) for f in partition.store.files(partition.folder)
        ]


@pytest.mark.parametrize("address", ["energy.energy", "mel.mel", "ssl.ssl"])
def test_a_burst_is_where_it_should_be(processed: Processed, address: str) -> None:
    partition: Partition = processed.dataset.partition(0)
    instance, name = address.split(".")
    rate = next(float(c.rate or 0) for c in processed.graph[instance].columns if c.name == name)
    series = next(r.values[address] for r in partition.rows([address]) if r.id == BURSTS).astype(np.float64)
    centres_s = (np.arange(len(series)) + 0.5) / rate
    table = series.reshape(len(series), -1)
    response = np.linalg.norm(table - table[0], axis=1)
    for burst_s in BURSTS_S:
        near = np.abs(centres_s - burst_s) < 0.3
        centroid_s = np.average(centres_s[near], weights=response[near])
        assert abs(centroid_s - burst_s) <= 0.5 / rate
