"""`autosing build`: columns become shards."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from autosing.cli.options import Config
from autosing.pipeline.threads import one_thread

if TYPE_CHECKING:
    from autosing.pipeline.construct.manifest import Manifest


def build(
    datasets: Annotated[list[str], typer.Argument(metavar="DATASET", help="Data sets, and last OUT, the new folder.")],
    spec: Annotated[
        str, typer.Option(help="A sample spec: one of datasets.yaml, or the built-in acoustic.")
    ] = "acoustic",
    seed: Annotated[int, typer.Option(help="Of the order of the samples.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    group: Annotated[
        Literal["song", "singer"] | None,
        typer.Option(help="What must not be on both sides of a split; else what datasets.yaml and the spec say."),
    ] = None,
    valid_songs: Annotated[int | None, typer.Option(help="Hold out so many groups for validation.")] = None,
    test_songs: Annotated[int | None, typer.Option(help="Hold out so many groups for tests.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another set at OUT.")] = False,
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Shuffle and cut the columns of DATASETs into WebDataset tars at OUT, split before cutting."""
    one_thread()
    from autosing.pipeline.construct.inputs import NamedDataset
    from autosing.pipeline.construct.shards import construct_dataset
    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.settings import load_project
    from autosing.signal.errors import UsageError

    if len(datasets) < 2:
        raise UsageError("build needs at least one DATASET and, last, the folder OUT")
    project = load_project(config)
    *names, out = datasets
    entries = [project.dataset(name) for name in names]
    sources = [NamedDataset(e.name, Dataset(e.path), e.voice, e.licence, e.language, e.home_page) for e in entries]
    chosen = project.sample(spec)
    if group is None and any(e.group == "singer" for e in entries):
        group = "singer"
    if group is not None:
        chosen = replace(chosen, group=group)
    if valid_songs is not None:
        chosen = replace(chosen, valid_songs=valid_songs)
    if test_songs is not None:
        chosen = replace(chosen, test_songs=test_songs)
    manifest = construct_dataset(sources, out, chosen, workers, seed, overwrite)
    _show(manifest, out, as_json)


def _show(manifest: "Manifest", out: str, as_json: bool) -> None:
    import json
    from dataclasses import asdict

    if as_json:
        print(json.dumps(asdict(manifest), sort_keys=True))
        return
    for name, split in manifest.splits.items():
        size = sum(shard.bytes for shard in split.shards) / 1e6
        print(f"{name:6} {split.samples} samples  {split.seconds / 3600:.2f} h  {split.groups} groups  {size:.1f} MB")
    if manifest.duplicates.get("recordings"):
        held = manifest.duplicates
        print(f"{held['recordings']} recordings are there more than once, in {held['songs']} songs: each in one split")
    for reason, count in sorted(manifest.drops.items(), key=lambda item: -item[1]):
        print(f"dropped {count}: {reason}")
    print(f"{out}: {manifest.kept} of {manifest.candidates} cuts kept, digest {manifest.digest}")
