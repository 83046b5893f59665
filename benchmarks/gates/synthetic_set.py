"""A built set of synthetic songs, for the gates."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autosing.pipeline.construct.inputs import NamedDataset
from autosing.pipeline.construct.sample import SampleSpec
from autosing.pipeline.construct.shards import construct_dataset
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.sources import IngestOptions, ingest
from autosing.pipeline.ingest.synthetic import REFERENCE_COLUMNS, SyntheticSource
from autosing.pipeline.run import Executor, RunOptions, process
from autosing.pipeline.settings import Project

# Of large sets every core has some.
PARTITION_BYTES = 24 << 20


def built(
    folder: Path,
    source: SyntheticSource | str,
    spec: SampleSpec,
    stages: Sequence[str],
    settings: Sequence[str] = (),
    executor: Executor = "local",
) -> Path:
    """Returns the folder of a built set, with songs held out as `held_out_of` says.

    Args:
        folder: for everything.
        source: synthetic songs, or what `autosing ingest` takes.
        spec: of the samples.
        stages: what is computed, beside `cuts`.
        settings: of the stages.
        executor: of the stages.
    """
    songs = folder / "songs"
    if isinstance(source, str):
        n_songs = ingest(source, str(songs), IngestOptions()).songs
    else:
        append_songs(str(songs), source.songs(), REFERENCE_COLUMNS, PARTITION_BYTES)
        n_songs = source.n_songs
    entry = Project().dataset(str(songs))
    dataset = Dataset(entry.path)
    process(dataset, Project().graph(entry, tuple(settings)), [*stages, "cuts"], RunOptions(executor))
    construct_dataset([NamedDataset("gate", dataset)], str(folder / "shards"), held_out_of(spec, n_songs))
    return folder / "shards"


def held_out_of(spec: SampleSpec, n_songs: int) -> SampleSpec:
    """Returns a spec with an eighth of the songs held out for validation, and as many for tests unless it says else."""
    eighth = max(n_songs // 8, 1)
    return replace(spec, valid_songs=eighth, test_songs=eighth if spec.test_songs is None else spec.test_songs)


def options_of(described: str | None, steps: int) -> argparse.ArgumentParser:
    """Returns the options that gates on synthetic songs have in common."""
    parser = argparse.ArgumentParser(description=described, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--songs", type=int, default=96)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--steps", type=int, default=steps)
    return parser


def options_of_a_run(parser: argparse.ArgumentParser) -> None:
    """Adds what gates of one run have in common."""
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the run and the sets")
    parser.add_argument("--set", action="append", default=[], help="of the recipe")


def only_at_the_end(steps: int) -> list[str]:
    """Returns the settings of a run that is validated and saved once."""
    return [f"{name}={steps}" for name in ("steps", "validate_every", "save_every")]
