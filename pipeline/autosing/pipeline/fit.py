"""Fits artefacts once on a data set's own columns, on songs that are sampled evenly over its partitions."""

import json
import random
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from autosing.pipeline.artefact import FitRecord, fit_changes, read_fit
from autosing.pipeline.dataset import PROBE, Dataset, Partition, split_address
from autosing.pipeline.graph import Graph
from autosing.pipeline.leftovers import TEMPORARY, dead_drafts, draft_name
from autosing.pipeline.listing import mark_of
from autosing.pipeline.model_digest import FIT_RECORD
from autosing.pipeline.outcomes import Models
from autosing.pipeline.passes import Pass
from autosing.pipeline.plan import recomputed
from autosing.pipeline.stage import FitSource, FittedStage, fitted
from autosing.pipeline.store import Store, explained_refusals
from autosing.signal.errors import UsageError


def fit(dataset: Dataset, graph: Graph, name: str) -> FitRecord:
    """Fits the artefact of an instance and puts it in place in one step.

    Raises:
        UsageError: the stage needs no fit, or its artefact would lie on an object store.
        DataError: the disk is full or can't be written.
    """
    stage = fitted(graph[name].stage)
    if stage is None:
        raise UsageError(f"{name} needs no fit; stages that do: {', '.join(_fitted_names(graph)) or 'none'}")
    if "://" in stage.artefact:
        raise UsageError(
            f"{name}: its artefact can't lie on an object store ({stage.artefact}); "
            f"give a folder that every worker sees: --set {name}.{stage.artefact_setting}=FOLDER"
        )
    folder = Path(stage.artefact)
    draft = folder.with_name(draft_name(folder.name))
    store, place = Store(stage.artefact), (FIT_RECORD,)
    with explained_refusals(stage.artefact):
        before = store.version(*place)
        for left in dead_drafts(folder.parent, folder.name):
            shutil.rmtree(left, ignore_errors=True)
        draft.mkdir(parents=True)
        try:
            record = _fit_into(draft, stage, DatasetFitSource(dataset, graph, name, stage.fit_settings()), graph, name)
            other = read_fit(folder) if store.version(*place) != before else None
            if other and not fit_changes(other, stage, graph.input_definitions(name)):
                record = other  # Another run has fitted it meanwhile, and its columns are of that.
            else:
                _put_in_place(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    graph.forget_definitions()
    return record


def _fit_into(draft: Path, stage: FittedStage, source: "DatasetFitSource", graph: Graph, name: str) -> FitRecord:
    stage.fit(source, draft)
    record = FitRecord(
        settings=stage.fit_settings(),
        inputs={k: str(v) for k, v in graph.input_definitions(name).items()},
        partitions=source.partitions(),
        seconds=source.seconds(),
    )
    (draft / FIT_RECORD).write_text(json.dumps(vars(record), indent=1, sort_keys=True) + "\n")
    return record


def _put_in_place(draft: Path, folder: Path) -> None:
    """Replaces `folder` by `draft`; a kill in between leaves no artefact, but never half of one."""
    old = folder.with_name(f"{TEMPORARY}old-{folder.name}")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    draft.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _fitted_names(graph: Graph) -> list[str]:
    return [n for n in graph.names if fitted(graph[n].stage)]


class DatasetFitSource(FitSource):
    """Samples songs evenly over the partitions: each partition gives songs, in a seeded order, up to its share.

    Args:
        dataset: where the songs are.
        graph: the instances.
        name: the instance that is fitted.
        settings: `hours` bounds the audio that is looked at, `seed` orders the songs.
    """

    def __init__(self, dataset: Dataset, graph: Graph, name: str, settings: Mapping[str, Any]) -> None:
        self._dataset, self._graph, self._name = dataset, graph, name
        self._seed = int(settings.get("seed", 0))
        self._seconds = float(settings.get("hours", float("inf"))) * 3600
        self._models = Models()
        self._inputs = [PROBE, *graph.inputs(name)]

    @cached_property
    def _chosen(self) -> dict[int, dict[str, float]]:
        """The ids and durations of the sampled songs, by partition."""
        listing = self._dataset.list_files()
        whole = [p for p in self._dataset.partitions if self._is_whole(p, listing.get(p.number, ()))]
        return {p.number: self._sample(p, self._seconds / len(whole)) for p in whole}

    def _is_whole(self, partition: Partition, listed: Collection[str]) -> bool:
        """Whether a partition has all inputs; a listing may not show yet what a worker has just written."""
        return all(i in listed or mark_of(partition.store, partition.folder, f"{i}.parquet") for i in self._inputs)

    def _sample(self, partition: Partition, share_s: float) -> dict[str, float]:
        rows = partition.rows(["probe.duration_s", *(f"{i}.error" for i in self._inputs if i != PROBE)])
        good = {r.id: float(r.values["probe.duration_s"]) for r in rows if not r.errors}
        order = sorted(good)
        random.Random(f"{self._seed}/{partition.number}").shuffle(order)
        chosen: dict[str, float] = {}
        for id in order:
            if chosen and sum(chosen.values()) + good[id] > share_s:
                break
            chosen[id] = good[id]
        return chosen

    def partitions(self) -> int:
        """Returns how many partitions the songs come from."""
        return len(self._chosen)

    def seconds(self) -> float:
        return sum(sum(songs.values()) for songs in self._chosen.values())

    def songs(self, addresses: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        instances = dict.fromkeys(split_address(a)[0] for a in addresses)
        unstored = [i for i in instances if i in self._graph.instances and not self._graph[i].keep]
        stored = [a for a in addresses if split_address(a)[0] not in unstored]
        for partition in self._dataset.partitions:
            ids = self._chosen.get(partition.number, {})
            if not ids:  # It may lack what is asked for, or its index can't be read.
                continue
            rows = (r.values for r in partition.rows(stored or [f"{PROBE}.duration_s"]) if r.id in ids)
            if not unstored:
                yield from rows
                continue
            for row, computed in zip(rows, self._computed(partition, unstored, ids), strict=True):
                yield {a: row[a] if a in stored else computed[a] for a in addresses}

    def _computed(
        self, partition: Partition, instances: Sequence[str], ids: Mapping[str, float]
    ) -> Iterator[Mapping[str, Any]]:
        names = {*recomputed(self._graph, instances), *instances}
        for passing in Pass(partition, self._graph, names).songs(self._models, ids):
            yield passing.song.values
