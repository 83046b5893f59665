"""What planning costs where everything is fresh: CPU seconds, memory, calls to the store, by number of partitions.

    python benchmarks/planning.py [--partitions 1000,10000,100000] [--footers 1000] [--folder DIR]

- catalogue: 8 columns per partition, all of them in the catalogue: one listing, no file is opened. The column files
  are empty, so that it would show if one were.
- footers: whole column files and no catalogue, as after it was deleted; then again with the one that this wrote.

CPU seconds, since other processes of a machine stretch the time on its clock. Exits with 1 where 100 000 partitions
take longer than the target.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from autosing.pipeline.catalogue import CATALOGUE
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.status import plans
from fabricated import INSTANCES, fabricate, fabricate_catalogued, graph_of
from machine import machine, peak_mb

TARGET_S, TARGET_PARTITIONS = 30.0, 100_000


def plan(url: str, partitions: int) -> dict[str, float]:
    """Plans a data set in which everything is fresh; returns what it took."""
    graph = graph_of(url)
    started_s, began_s = time.process_time(), time.perf_counter()
    found = plans(Dataset(url), graph, INSTANCES)
    took = {"cpu_s": time.process_time() - started_s, "wall_s": time.perf_counter() - began_s, "peak_mb": peak_mb()}
    if len(found) != partitions or not all(s.plan and s.plan.is_fresh for s in found):
        raise SystemExit(
            f"{url}: not everything is fresh: {next(s for s in found if not (s.plan and s.plan.is_fresh))}"
        )
    return took


def planned_apart(url: str, partitions: int) -> dict[str, float]:
    """Plans in a process of its own, so that memory and imports are its own."""
    command = [sys.executable, __file__, "--plan", url, str(partitions)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    told: dict[str, float] = json.loads(done.stdout)
    return told


def show(what: str, partitions: int, took: dict[str, float]) -> None:
    """Prints one line of the table."""
    print(
        f"{what:28}{partitions:>8}{took['cpu_s']:>9.2f}{1000 * took['cpu_s'] / partitions:>10.3f}"
        f"{took['wall_s']:>9.1f}{took['peak_mb']:>9.0f}",
        flush=True,
    )


def measure(folder: Path, options: argparse.Namespace) -> bool:
    """Runs the chosen arms."""
    print(f"{'':28}{'parts':>8}{'CPU s':>9}{'ms/part':>10}{'clock s':>9}{'MB':>9}")
    is_met = True
    for n in options.partitions:
        url = str(folder / f"catalogued{n}")
        fabricate_catalogued(url, n)
        took = planned_apart(url, n)
        show("catalogue", n, took)
        print(f"{'':28}catalogue of {Path(url, CATALOGUE).stat().st_size / 1e6:.1f} MB")
        is_met &= n != TARGET_PARTITIONS or took["cpu_s"] <= TARGET_S
    for n in options.footers:
        url = str(folder / f"whole{n}")
        fabricate(url, n)
        show("footers, no catalogue", n, planned_apart(url, n))
        time.sleep(2)
        Path(url, CATALOGUE).unlink(missing_ok=True)
        planned_apart(url, n)
        show("the same with what it wrote", n, planned_apart(url, n))
    return is_met


def _numbers(text: str) -> list[int]:
    return [int(n) for n in text.split(",") if n]


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--partitions", type=_numbers, default=[1000, 10_000, 100_000])
    parser.add_argument("--footers", type=_numbers, default=[1000])
    parser.add_argument("--folder", help="where to work; in memory (/dev/shm) where the disk is busy")
    parser.add_argument("--plan", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plan:
        print(json.dumps(plan(options.plan[0], int(options.plan[1]))))
        return
    print(machine(("pyarrow", "polars")))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        sys.exit(0 if measure(Path(folder), options) else 1)


if __name__ == "__main__":
    main()
