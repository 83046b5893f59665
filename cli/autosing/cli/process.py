"""`autosing process`, `fit` and `retry`: columns are computed."""

from typing import TYPE_CHECKING, Annotated

import typer

from autosing.cli.options import Config, DatasetName, Set, open_dataset
from autosing.pipeline.threads import one_thread
from autosing.signal.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

    from autosing.pipeline.bounds import Bounds
    from autosing.pipeline.dataset import Dataset
    from autosing.pipeline.graph import Graph
    from autosing.pipeline.run import RunOptions
    from autosing.pipeline.schedule import RunReport

Stages = Annotated[list[str] | None, typer.Argument(metavar="STAGE", help="Stages; none: all unlabelled ones.")]
ExecutorName = Annotated[str, typer.Option("--executor", help="auto, child (a process), local (this process) or ray.")]
Workers = Annotated[int | None, typer.Option(min=1, help="CPU workers; without it one per core.")]
GpuWorkers = Annotated[int | None, typer.Option(min=0, help="GPU workers; without it as many as GPUs have room for.")]
MaxCpus = Annotated[float | None, typer.Option(min=1, help="Cores that all workers together may take.")]
MaxGpus = Annotated[float | None, typer.Option(min=0, help="GPUs that all workers together may take.")]
SongS = Annotated[
    float | None, typer.Option("--song-s", help="Seconds a stage may take for a song; without it 600, or 20 lengths.")
]
MemoryGb = Annotated[
    float | None, typer.Option("--memory-gb", help="Memory of a worker; without it half of what its machine has.")
]
Address = Annotated[str | None, typer.Option(help="Address of a running Ray cluster.")]


def process(
    dataset: DatasetName,
    stages: Stages = None,
    set_: Set = None,
    config: Config = None,
    executor: ExecutorName = "auto",
    workers: Workers = None,
    gpu_workers: GpuWorkers = None,
    max_cpus: MaxCpus = None,
    max_gpus: MaxGpus = None,
    song_s: SongS = None,
    memory_gb: MemoryGb = None,
    address: Address = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be computed, and why.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compute the columns of STAGEs that are missing or stale, with all that they need. Running it twice is free."""
    one_thread()
    from autosing.pipeline.schedule import targets_or_all

    opened, graph = open_dataset(dataset, config, set_)
    targets = targets_or_all(graph, stages or ())
    if dry_run:
        _show_costs(opened, graph, targets, json_)
        return
    bounds = _bounds(config, song_s, memory_gb)
    options = _options(executor, workers, gpu_workers, address, max_cpus, max_gpus, bounds)
    _run(opened, graph, targets, options, None, json_)


def retry(
    dataset: DatasetName,
    stages: Stages = None,
    set_: Set = None,
    config: Config = None,
    executor: ExecutorName = "auto",
    workers: Workers = None,
    gpu_workers: GpuWorkers = None,
    max_cpus: MaxCpus = None,
    max_gpus: MaxGpus = None,
    song_s: SongS = None,
    memory_gb: MemoryGb = None,
    address: Address = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compute again where songs have errors of their own; inherited errors heal with them."""
    one_thread()
    from autosing.pipeline.status import partitions_with_errors

    opened, graph = open_dataset(dataset, config, set_)
    forced = partitions_with_errors(opened, stages or [])
    known = [n for names in forced.values() for n in names if n in graph.instances]
    if not known:
        print("no song has an error of its own")
        return
    stored = {n for p in opened.partitions for n in p.instances() if n in graph.instances}
    bounds = _bounds(config, song_s, memory_gb)
    options = _options(executor, workers, gpu_workers, address, max_cpus, max_gpus, bounds)
    _run(opened, graph, sorted(stored), options, forced, json_)


def fit(
    dataset: DatasetName,
    instance: Annotated[str, typer.Argument(metavar="STAGE", help="A stage with an artefact, e.g. units.")],
    refit: Annotated[bool, typer.Option("--refit", help="Fit again although the artefact is good.")] = False,
    set_: Set = None,
    config: Config = None,
) -> None:
    """Fit the artefact (codebook) of STAGE on the data set's own columns."""
    from autosing.pipeline.fit import fit as fit_artefact
    from autosing.pipeline.stage import fitted

    opened, graph = open_dataset(dataset, config, set_)
    is_good = fitted(graph[instance].stage) and graph.fit_reason(instance) is None
    if is_good and not refit:
        print(f"{instance} is fitted; --refit fits it again")
        return
    record = fit_artefact(opened, graph, instance)
    print(f"{instance}: fitted on {record.seconds / 3600:.2f} h of {record.partitions} partitions")


def _options(
    executor: str,
    workers: int | None,
    gpu_workers: int | None,
    address: str | None,
    max_cpus: float | None,
    max_gpus: float | None,
    bounds: "Bounds",
) -> "RunOptions":
    from autosing.pipeline.run import RunOptions

    if executor not in ("auto", "child", "local", "ray"):
        raise UsageError(f"the executor {executor!r} is unknown; known: auto, child, local, ray")
    return RunOptions(executor, workers, gpu_workers, address, max_cpus, max_gpus, bounds)  # type: ignore[arg-type]


def _bounds(config: str | None, song_s: float | None, memory_gb: float | None) -> "Bounds":
    """Returns what songs may take by the settings file and the command line."""
    from dataclasses import replace

    from autosing.pipeline.settings import load_project

    told = {"song_s": song_s, "memory_gb": memory_gb}
    return replace(load_project(config).limits, **{k: v for k, v in told.items() if v is not None})


def _show_costs(opened: "Dataset", graph: "Graph", targets: list[str], as_json: bool) -> None:
    import json

    from autosing.pipeline.status import costs, plans

    found = plans(opened, graph, targets)
    rows = costs(opened, graph, found)
    if as_json:
        print(json.dumps([vars(r) for r in rows]))
        return
    for r in rows:
        about = "about " if r.is_estimate else ""
        hours = "? h (not probed yet)" if r.audio_h is None else f"{about}{r.audio_h:.2f} h"
        size = "? MB" if r.bytes is None else f"{about}{r.bytes / 1e6:.1f} MB"
        print(f"{r.instance:16} {r.partitions} partitions  {hours}  {size}  {'; '.join(r.reasons[:3])}")
    for status in found:
        if status.problem:
            print(f"partition {status.number}: {status.problem}")
    if not rows:
        print("nothing to do")


def _run(
    opened: "Dataset",
    graph: "Graph",
    targets: list[str],
    options: "RunOptions",
    forced: "dict[int, Collection[str]] | None",
    as_json: bool,
) -> None:
    from autosing.pipeline.run import process as run_process

    report = run_process(opened, graph, targets, options, forced)
    _show_report(report, as_json)
    raise typer.Exit(report.exit_code)


def _show_report(report: "RunReport", as_json: bool) -> None:
    import json
    from dataclasses import asdict

    if as_json:
        print(json.dumps(asdict(report)))
        return
    for name, total in report.instances.items():
        print(f"{name:16} {total.rows} songs  {total.own_errors} errors  {total.bytes / 1e6:.1f} MB")
    for number, message in report.failed.items():
        print(f"partition {number} failed: {message}")
    for number, name, errors, rows in report.flagged:
        print(f"partition {number}: {name} has {errors} errors in {rows} songs; look at them with: autosing errors")
    if report.stopped:
        print("told to end before all was done; run the same command again")
    elif not report.instances and not report.failed and not report.found:
        print("nothing to do")
    if report.found:
        print(f"another run has made {', '.join(f'{name} in {n} partitions' for name, n in report.found.items())}")
    if report.instances or report.failed:
        print(f"{report.audio_s / 3600:.2f} h of audio in {report.wall_s:.1f} s (start-up {report.start_up_s:.1f} s)")
