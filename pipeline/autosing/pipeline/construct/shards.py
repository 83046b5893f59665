"""Builds a set of tars from the columns of data sets: the same bytes for the same seed on any number of workers.

Pass 1 encodes the samples of each partition into a scratch file. Then sizes, keys and groups are all known: the groups
are split (a group is the song's, never the cut's), the samples of each split are put into the order of a seeded hash,
and that order is divided into shards.
Pass 2 writes each shard, a bucket of samples at a time, read in the order of the scratch files and written in the order
of the hash. Neither pass ever holds more than a bucket; what is held of every sample is its line of the index.

A build that was interrupted goes on where it was: finished parts and shards are kept. `manifest.json` is written last.
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from autosing.pipeline.construct.duplicates import Duplicates, find_duplicates
from autosing.pipeline.construct.inputs import Inputs, NamedDataset, check_inputs
from autosing.pipeline.construct.manifest import (
    FORMAT,
    Manifest,
    Shard,
    SplitTotals,
    describe_columns,
    digest_of,
    origins,
)
from autosing.pipeline.construct.parts import Part, PartTask, finished_part, write_part
from autosing.pipeline.construct.sample import SampleSpec
from autosing.pipeline.construct.selection import Selector
from autosing.pipeline.construct.shuffle import (
    Catalogue,
    ShardTask,
    divided,
    finished_shard,
    read_catalogue,
    shuffled,
    write_shard,
)
from autosing.pipeline.construct.split import SPLITS, Split, assign_splits, merge_given
from autosing.pipeline.construct.target import Target
from autosing.pipeline.construct.workers import Result, Task, Workers, worker_pool
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.store import Store, refusal
from autosing.signal.errors import DataError

DROPS = "drops.jsonl"
NOT_IN_PARTS = ("name", "valid_share", "test_share", "valid_songs", "test_songs", "salt", "shard_bytes")
"""Fields of a spec that pass 1 does not depend on: changing them keeps its work."""

Report = Callable[[str, int, int], None]


def construct_dataset(
    datasets: Sequence[NamedDataset],
    out_url: str,
    spec: SampleSpec,
    workers: int = 1,
    seed: int = 0,
    overwrite: bool = False,
    report: Report | None = None,
) -> Manifest:
    """Builds the tars of a sample spec from data sets and returns their manifest.

    Args:
        datasets: what to build from.
        out_url: folder or URL of the built set. Beside the tars it needs as much again for scratch while it is built
            (for an object store, in the local folder for temporary files).
        spec: what a sample is.
        workers: processes.
        seed: of the order.
        overwrite: whether another set at `out_url` may be replaced.
        report: is told what is done, how many are finished, and of how many.

    Raises:
        UsageError: a split is empty, or another set is at `out_url`.
        DataError: a column is missing, stale or not the same everywhere; no sample is left; the disk is full.
    """
    sources = sorted(datasets, key=lambda source: source.name)
    inputs = check_inputs(sources, spec)
    with _explained(out_url):
        build = _Build(sources, inputs, Store(out_url), spec, seed, report or (lambda what, done, total: None))
        return build.target.finished(overwrite) or build.run(workers)


@contextmanager
def _explained(out_url: str) -> Iterator[None]:
    """Turns an error of the file system into one that says what to do."""
    try:
        yield
    except OSError as error:
        what = refusal(error, out_url) or f"{out_url}: {error}; mend that, or choose another folder, and build again"
        raise DataError(what) from error


@dataclass(frozen=True)
class _Build:
    sources: Sequence[NamedDataset]
    inputs: Inputs
    out: Store
    spec: SampleSpec
    seed: int
    report: Report

    @cached_property
    def parts_key(self) -> str:
        """What pass 1 depends on."""
        spec = {k: v for k, v in asdict(self.spec).items() if k not in NOT_IN_PARTS}
        definitions = {name: record.definition for name, record in self.inputs.records.items()}
        sources = {
            s.name: {
                "voice": s.voice,
                "excluded": sorted(s.dataset.excluded),
                "partitions": self.inputs.fingerprint[s.name],
            }
            for s in self.sources
        }
        addresses = dict(self.inputs.needs.addresses)
        return digest_of({"format": FORMAT, "spec": spec, "addresses": addresses, "definitions": definitions,
                          "sources": sources})  # fmt: skip

    @cached_property
    def target(self) -> Target:
        """Where the set is built."""
        key = digest_of({"parts": self.parts_key, "spec": asdict(self.spec), "seed": self.seed})
        return Target(self.out, self.parts_key, key)

    @cached_property
    def scratch(self) -> Store:
        """Where the parts are."""
        return self.target.scratch

    def run(self, workers: int) -> Manifest:
        """Builds the set."""
        self.target.prepare()
        with worker_pool(workers) as pool:
            parts = self._encode(pool)
            samples = read_catalogue(parts, self.scratch)
            duplicates = find_duplicates(parts, self.scratch) if self._heard else Duplicates({})
            splits, groups = self._split(parts, samples, duplicates)
            shards = self._write(
                pool, parts, {s: shuffled(samples[splits == i], self.seed) for i, s in enumerate(SPLITS)}
            )
        totals = {s: _totals(shards[s], len(np.unique(groups[splits == i]))) for i, s in enumerate(SPLITS)}
        manifest = self._manifest(parts, totals, duplicates)
        self._write_drops(parts)
        self.target.publish(manifest)
        return manifest

    def _encode(self, pool: Workers) -> list[Part]:
        # Tasks travel: a data set without the list of its partitions is small.
        lean = [replace(source, dataset=Dataset(source.dataset.url)) for source in self.sources]
        tasks = [
            PartTask(self.inputs.needs, lean[i], number, digests, self.scratch.url, f"{i}-{number}")
            for i, source in enumerate(self.sources)
            for number, digests in self.inputs.fingerprint[source.name].items()
        ]
        return self._resume(pool, "encode", write_part, tasks, [finished_part(self.scratch, t.name) for t in tasks])

    def _write(self, pool: Workers, parts: Sequence[Part], samples: dict[Split, Catalogue]) -> dict[Split, list[Shard]]:
        files, note = tuple(part.file for part in parts), self.target.note
        tasks = {
            split: [
                ShardTask(self.out.url, self.scratch.url, files, name := f"{split}-{n:05}", note(name), chosen)
                for n, chosen in enumerate(divided(samples[split], self.spec.shard_bytes))
            ]
            for split in SPLITS
        }
        flat = [task for split in SPLITS for task in tasks[split]]
        shards = iter(self._resume(pool, "write", write_shard, flat, [finished_shard(t) for t in flat]))
        return {split: [next(shards) for _ in tasks[split]] for split in SPLITS}

    def _resume(
        self,
        pool: Workers,
        what: str,
        function: Callable[[Task], Result],
        tasks: list[Task],
        known: list[Result | None],
    ) -> list[Result]:
        """Returns the results of all tasks, of which only the unfinished are run."""
        results = pool.map(function, [t for t, result in zip(tasks, known, strict=True) if result is None])
        found = []
        for result in known:
            found.append(next(results) if result is None else result)
            self.report(what, len(found), len(tasks))
        return found

    def _split(self, parts: Sequence[Part], samples: Catalogue, duplicates: Duplicates) -> tuple[Any, Any]:
        """Returns of each sample the number of its split and of its group; groups of one recording are one."""
        pairs = duplicates.merged(pair for part in parts for pair in part.groups)
        merged = merge_given(pairs)
        if not merged:
            raise DataError(f"{self.out.url}: no sample is left; dropped: {_drops(parts)}")
        split_of, number_of = assign_splits(merged, self.spec), {group: n for n, group in enumerate(merged)}
        splits = np.array([SPLITS.index(split_of[group]) for group, _ in pairs])
        groups = np.array([number_of[group] for group, _ in pairs])
        return splits[samples.group], groups[samples.group]

    @property
    def _heard(self) -> bool:
        """Whether the data sets have fingerprints."""
        return self.inputs.needs.fingerprint is not None

    def _manifest(self, parts: Sequence[Part], totals: dict[Split, SplitTotals], duplicates: Duplicates) -> Manifest:
        period = Selector(self.inputs.needs, self.sources[0]).period
        used = origins(self.inputs)
        records = self.inputs.records
        drops = _drops(parts)
        kept = sum(part.samples for part in parts)
        return Manifest(
            key=self.target.key,
            sample=self.spec.name,
            seed=self.seed,
            snap_s=None if period is None else float(period),
            columns=describe_columns(self.inputs),
            artefacts={name: dict(records[name].models) for name in used if records[name].models},
            contracts={name: dict(records[name].settings) for name in used},
            singers=tuple(sorted({singer for part in parts for singer in part.singers})),
            datasets=tuple(self._describe(i, source, parts) for i, source in enumerate(self.sources)),
            drops=drops,
            songs=sum(part.songs for part in parts),
            candidates=kept + sum(drops.values()),
            kept=kept,
            splits=totals,
            duplicates={"recordings": duplicates.recordings, "songs": duplicates.songs} if self._heard else {},
            audio=self._audio(),
        ).signed()

    def _audio(self) -> tuple[str, ...]:
        """Returns where the samples' audio was found."""
        wanted = self.spec.audio
        return tuple(dict.fromkeys(source.audio_address(wanted) for source in self.sources)) if wanted else ()

    def _describe(self, number: int, source: NamedDataset, parts: Sequence[Part]) -> dict[str, Any]:
        own = [part for part in parts if part.name.startswith(f"{number}-")]
        return {
            "name": source.name,
            "path": source.dataset.url,
            "partitions": len(own),
            "songs": sum(part.songs for part in own),
            "licence": source.licence,
            "language": source.language,
            "home_page": source.home_page,
        }

    def _write_drops(self, parts: Sequence[Part]) -> None:
        with self.out.writing(DROPS) as path, path.open("wb") as file:
            for part in parts:
                with self.scratch.open(f"{part.name}.jsonl") as source:
                    shutil.copyfileobj(source, file)


def _drops(parts: Sequence[Part]) -> dict[str, int]:
    drops: Counter[str] = Counter()
    for part in parts:
        drops.update(part.drops)
    return dict(sorted(drops.items()))


def _totals(shards: Sequence[Shard], groups: int) -> SplitTotals:
    milliseconds = sum(round(shard.seconds * 1000) for shard in shards)
    return SplitTotals(sum(s.samples for s in shards), milliseconds / 1000, groups, tuple(shards))
