"""What each stage costs: CPU seconds and stored bytes per hour of audio, on real songs.

    python benchmarks/stages.py [--minutes 4] [--stages quality,f0,...] [--json FILE] [--data DIR]

`probe` is what a pass costs that decodes the songs and commits one file. Each other stage is the cost of a pass that
computes it, too, less that: its resampling, its values and the file that holds them. CPU seconds of one process, one
thread per library, since other processes of a machine stretch the time on its clock; models are loaded before. Last
comes what it saves that a pass decodes a song once for all its stages: four of them in one pass, and in four.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.graph import Graph
from autosing.pipeline.outcomes import Models
from autosing.pipeline.passes import Pass
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.threads import one_thread
from autosing.pipeline.work import Group, GroupResult
from fabricated import SETTINGS
from machine import machine
from songs import SHARED_DATA, load_songs, repeated, write_dataset

STAGES = ("quality", "f0", "f0.praat", "energy", "energy.mix", "mel", "ssl", "voice_activity")
TOGETHER = ("f0", "energy", "mel", "ssl")
WARM_MINUTES = 0.1


def timed_pass(url: str, graph: Graph, names: list[str], models: Models) -> tuple[float, GroupResult]:
    """Computes and commits instances of the first partition; returns CPU seconds and what came of it."""
    partition = Dataset(url).partitions[0]
    for name in names:  # A pass leaves what is there as it is.
        Path(url, str(partition.number), f"{name}.parquet").unlink(missing_ok=True)
    started_s = time.process_time()
    result = Group(Pass(partition, graph, names), names).commit(models)
    return time.process_time() - started_s, result


def measure(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Prints and returns the cost of each stage."""
    songs, kind = load_songs(options.data)
    url, warm_url = str(folder / "songs"), str(folder / "warm")
    chosen = [s for s in songs if s.duration_s > 20]
    hours = write_dataset(url, list(repeated(chosen, options.minutes)), 1) / 60
    write_dataset(warm_url, list(repeated(chosen, WARM_MINUTES)), 1)
    graph, models = Project(stages=SETTINGS).graph(DatasetEntry(url)), Models()
    print(f"{60 * hours:.1f} min of {kind}")
    print(f"{'stage':16}{'CPU s/h':>10}{'h/core-h':>10}{'MB/h':>9}", flush=True)
    costs: dict[str, dict[str, float]] = {"cpu_s_per_h": {}, "bytes_per_h": {}}
    bare_s = 0.0
    for name in ("probe", *options.stages):
        names = ["probe"] if name == "probe" else ["probe", name]
        timed_pass(warm_url, graph, names, models)
        took_s, result = min(
            (timed_pass(url, graph, names, models) for _ in range(options.repeats)), key=lambda r: r[0]
        )
        bare_s = bare_s or took_s
        per_hour = (took_s if name == "probe" else max(took_s - bare_s, 0.0)) / hours
        n_bytes = result.instances[name].bytes / hours
        costs["cpu_s_per_h"][name], costs["bytes_per_h"][name] = round(per_hour, 3), round(n_bytes)
        print(f"{name:16}{per_hour:>10.2f}{3600 / max(per_hour, 1e-9):>10.0f}{n_bytes / 1e6:>9.1f}", flush=True)
    shared_s, apart_s = (
        min(
            sum(timed_pass(url, graph, ["probe", *names], models)[0] for names in passes)
            for _ in range(options.repeats)
        )
        for passes in ([TOGETHER], [[name] for name in TOGETHER])
    )
    print(
        f"{', '.join(TOGETHER)}: {shared_s / hours:.1f} CPU s/h in one pass, {apart_s / hours:.1f} in four", flush=True
    )
    return costs


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--stages", type=lambda text: text.split(","), default=list(STAGES))
    parser.add_argument("--json", type=Path, help="where to write the costs for benchmarks/scheduler.py")
    parser.add_argument("--data", type=Path, default=SHARED_DATA, help="folder of real recordings")
    options = parser.parse_args()
    one_thread()
    told = machine(("numpy", "torch", "pyarrow"))
    print(told)
    with tempfile.TemporaryDirectory() as folder:
        costs = measure(Path(folder), options)
    if options.json:
        options.json.write_text(json.dumps({"machine": told, **costs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
