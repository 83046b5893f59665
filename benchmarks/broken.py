"""What becomes of 112 odd and broken files in one data set: an outcome each, no row lost, peak memory."""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

from autosing.pipeline.threads import one_thread

one_thread()

from autosing.pipeline.dataset import Dataset  # noqa: E402
from autosing.pipeline.ingest.sources import IngestOptions, ingest  # noqa: E402
from autosing.pipeline.progress import Progress  # noqa: E402
from autosing.pipeline.run import RunOptions, process  # noqa: E402
from autosing.pipeline.settings import Project  # noqa: E402
from machine import machine  # noqa: E402

STAGES = ("probe", "quality", "f0", "energy", "mel", "ssl", "align", "cuts")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "broken"


def main() -> None:
    """Prints a line per file; exit code 1 where a row is lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    data = parser.parse_args().data
    print(machine())
    with tempfile.TemporaryDirectory() as scratch:
        url = str(Path(scratch) / "set")
        options = IngestOptions("folder", include=("*",), exclude=("EXPECT.tsv", "*SOURCE.md"))
        ingested = ingest(str(data), url, options)
        entry = Project().dataset(url)
        dataset = Dataset(url)
        before_mb = _peak_mb()
        started = time.monotonic()
        process(dataset, Project().graph(entry), STAGES, RunOptions("local"), progress=Progress(1, quiet=True))
        seconds = time.monotonic() - started
        lost = ingested.songs - _print_outcomes(dataset)
    print(
        f"{ingested.songs} files, {lost} rows lost, {seconds:.1f} s, peak {_peak_mb():.0f} MB ({before_mb:.0f} before)"
    )
    sys.exit(bool(lost))


def _print_outcomes(dataset: Dataset) -> int:
    """Prints a line per song and returns their number."""
    columns = ["probe.duration_s", "probe.sample_rate_hz", "probe.channels", "probe.codec"]
    rows = list(dataset.read([*columns, *(f"{s}.{c}" for s, c in (("quality", "peak"), ("f0", "voiced")))]))
    for row in rows:
        error = row.errors.get("probe")
        own = [f"{name}: {e}" for name, e in row.errors.items() if not e.startswith("input: ") and name != "probe"]
        value = error or "{:.3f} s, {} Hz, {} channels, {}".format(*(row.values[c] for c in columns))
        print("\t".join([row.id, value, *own]))
    return len(rows)


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
