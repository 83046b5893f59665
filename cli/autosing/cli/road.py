"""The road from songs to sound that `autosing demo` walks, a step a method."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autosing.pipeline.report.summary import Example, RunSummary
from autosing.signal.errors import UsageError
from autosing.signal.griffin_lim import griffin_lim
from autosing.signal.mel import MelSpec

if TYPE_CHECKING:
    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.graph import Graph
    from autosing.training.comparison import AcousticComparison, HeldOut

TARGETS = ("probe", "quality", "f0", "energy", "mel", "ssl", "units", "tokens", "align", "cuts")
SETTINGS = ("size=tiny", "log_every=20", "lr=2e-3", "warmup_steps=20", "seconds_per_batch=32", "validate_samples=16")
EXAMPLES = 4
HELD_OUT_SHARE = 0.15


@dataclass(frozen=True)
class Road:
    """Ingest, process, build, train, compare, report.

    Args:
        out: a folder for everything.
        source: recordings; None for the synthetic singer.
        songs: number of synthetic songs.
        seconds: their length.
        steps: of training.
    """

    out: Path
    source: Path | None
    songs: int
    seconds: float
    steps: int

    def walk(self) -> Path:
        """Returns the page that shows what came out.

        Raises:
            UsageError: `out` holds another demo, or the recordings are too few to hold a song out.
        """
        run = self.out / "run"
        if run.exists():
            raise UsageError(f"{self.out} holds a demo already; give a new folder")
        with _told("ingest"):
            self._ingest()
        with _told("process"):
            dataset, graph = self._process()
        with _told("build"):
            singers = self._build(dataset)
        with _told("train") as seconds:
            comparison = self._train(run, singers)
        with _told("report"):
            return self._report(dataset, graph, run, comparison, seconds[0])

    @property
    def _songs(self) -> str:
        return str(self.out / "songs")

    @property
    def _shards(self) -> Path:
        return self.out / "shards"

    def _ingest(self) -> None:
        from autosing.pipeline.ingest.sources import IngestOptions, ingest

        source = str(self.source) if self.source else f"synthetic:{self.songs}x{self.seconds:g}"
        result = ingest(source, self._songs, IngestOptions(partition_mb=16))
        print(f"  {result.songs} songs, {result.bytes / 1e6:.1f} MB, {result.partitions} partitions")
        for problem in result.problems[:5]:
            print(f"  not taken as it is: {problem}")

    def _process(self) -> "tuple[Dataset, Graph]":
        from autosing.pipeline.dataset import Dataset
        from autosing.pipeline.run import process
        from autosing.pipeline.settings import Project

        project = Project()
        entry = project.dataset(self._songs)
        dataset, graph = Dataset(entry.path), project.graph(entry)
        result = process(dataset, graph, TARGETS)
        print(f"  {result.audio_s / 60:.1f} minutes of audio, {len(result.instances)} stages")
        for number, message in result.failed.items():
            print(f"  partition {number} failed: {message}")
        return dataset, graph

    def _build(self, dataset: "Dataset") -> bool:
        """Builds the shards; returns whether any singer is known."""
        from dataclasses import replace

        from autosing.pipeline.construct.inputs import NamedDataset
        from autosing.pipeline.construct.sample import SAMPLES
        from autosing.pipeline.construct.shards import construct_dataset

        n_songs = sum(len(p.ids()) for p in dataset.partitions)
        spec = replace(SAMPLES["acoustic"], valid_songs=max(round(n_songs * HELD_OUT_SHARE), 1))
        manifest = construct_dataset([NamedDataset("demo", dataset)], str(self._shards), spec)
        for name, split in manifest.splits.items():
            print(f"  {name}: {split.samples} samples of {split.groups} songs, {split.seconds / 60:.1f} minutes")
        return bool(manifest.singers)

    def _train(self, run: Path, singers: bool) -> "AcousticComparison":
        from autosing.training.comparison import compare_acoustic
        from autosing.training.recipes import acoustic, apply_settings
        from autosing.training.run import train

        interval = max(self.steps // 5, 1)
        settings = [*SETTINGS, f"steps={self.steps}", f"validate_every={interval}", f"save_every={interval}"]
        settings += [] if singers else ["use_singer=false"]
        result = train("acoustic", self._shards, run, settings)
        if result.model is None:
            raise UsageError("the training was stopped; start the demo again in a new folder")
        comparison = compare_acoustic(result.model, apply_settings(acoustic(), settings), self._shards)
        for name, error in comparison.mel_l1.items():
            print(f"  mel-L1 {error:.3f}  {name}")
        return comparison

    def _report(
        self, dataset: "Dataset", graph: "Graph", run: Path, comparison: "AcousticComparison", seconds: float
    ) -> Path:
        from autosing.pipeline.report.page import write_report

        summary = RunSummary(
            recipe="acoustic",
            settings=_settings(run),
            losses=_losses(run),
            comparison=comparison.mel_l1,
            metric="mel-L1 on held-out songs (ln)",
            examples=[self._example(p) for p in comparison.predictions[:: _stride(comparison)][:EXAMPLES]],
            seconds=seconds,
        )
        page = self.out / "report.html"
        write_report(page, dataset, graph, run=summary)
        return page

    def _example(self, held_out: "HeldOut") -> Example:
        """Both mels become sound by the same Griffin-Lim, so that the ear compares mels, not vocoders."""
        from autosing.signal.decode import encode

        spec = MelSpec()
        target = held_out.sample.series["mel"]
        sounds = [griffin_lim(mel, spec) for mel in (target, held_out.predicted)]
        wavs = [encode(sound[:, None], spec.sample_rate, "WAV") for sound in sounds]
        folder = self.out / "sounds"
        folder.mkdir(exist_ok=True)
        for kind, wav in zip(("recording", "model"), wavs, strict=True):
            (folder / f"{held_out.sample.key}.{kind}.wav").write_bytes(wav)
        return Example(str(held_out.sample.info["id"]), target, held_out.predicted, *wavs)


def _stride(comparison: "AcousticComparison") -> int:
    return max(len(comparison.predictions) // EXAMPLES, 1)


def _settings(run: Path) -> dict[str, Any]:
    import json

    settings: dict[str, Any] = json.loads((run / "run.json").read_text())["config"]
    return settings


def _losses(run: Path) -> list[tuple[int, float, float | None]]:
    """Returns (step, training loss, validation loss or None) of the run's log."""
    import json

    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    valid = {r["step"]: r["valid/mel_l1"] for r in rows if "valid/mel_l1" in r}
    return [(r["step"], r["train/mel_l1"], valid.get(r["step"])) for r in rows if "train/mel_l1" in r]


@contextmanager
def _told(step: str) -> Iterator[list[float]]:
    """Says which step begins and how long it took; the list holds the seconds afterwards."""
    print(step, flush=True)
    started = time.monotonic()
    seconds = [0.0]
    yield seconds
    seconds[0] = time.monotonic() - started
    print(f"  {seconds[0]:.1f} s", flush=True)
