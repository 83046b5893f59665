"""Gate of singer embeddings: who sings is told of voices that were not trained on, beside what statistics tell.

    python benchmarks/gates/singer.py [--steps N] [--real FOLDER ...] [--set singer.field=value ...]

Forty voices are learned from; others, of another choir, sing the songs that are compared. Each song becomes one vector
by the stage `singer_embedding`, and all pairs of songs are trials. The equal error rate is by the cosine of vectors of
a model, and by the distance of those that need no weights. Folders of recordings (a folder for each singer) are printed
beside: there the model knows nothing but synthetic voices.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from autosing.pipeline.threads import one_thread

one_thread()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from synthetic_set import built, only_at_the_end, options_of, options_of_a_run  # noqa: E402

from autosing.pipeline.construct.sample import SAMPLES  # noqa: E402
from autosing.pipeline.dataset import Dataset  # noqa: E402
from autosing.pipeline.ingest.partitions import append_songs  # noqa: E402
from autosing.pipeline.ingest.sources import IngestOptions, ingest  # noqa: E402
from autosing.pipeline.ingest.synthetic import REFERENCE_COLUMNS, SyntheticSource  # noqa: E402
from autosing.pipeline.run import RunOptions, process  # noqa: E402
from autosing.pipeline.settings import DatasetEntry, Project  # noqa: E402
from autosing.training.metrics import equal_error_rate, retrieval_accuracy  # noqa: E402
from autosing.training.run import train  # noqa: E402

VOICES, STRANGERS = 40, 20
SONGS_OF_STRANGERS = 6
# Of the choir that nothing was trained on.
OTHER_SEED = 1
MOST_EER = 0.05
# Nothing is asked of the words.
STAGES, SETTINGS = ("mel", "voice_activity"), ("align.method=rate",)
SPEC = replace(SAMPLES["singer"], group="song")
INSTANCES = ("singer_embedding", "singer_embedding.statistics")


def main() -> None:
    """Prints the table; exit code 1 where a limit is passed on synthetic songs."""
    options = _options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        shards = folder / "shards"
        if not shards.exists():
            built(folder, SyntheticSource(options.songs, options.seconds, 0, VOICES), SPEC, STAGES, SETTINGS)
        model = trained(shards, folder / f"run-{options.seed}", options)
        n_songs = STRANGERS * SONGS_OF_STRANGERS
        strangers = SyntheticSource(n_songs, options.seconds, OTHER_SEED, STRANGERS)
        print("| songs | singers | EER, model | EER, statistics | nearest, model | nearest, statistics |")
        print("|---" * 6 + "|")
        eer = judged("synthetic, held-out singers", embedded(folder / "strangers", strangers, model))
        for real in options.real:
            judged(real.name, embedded(folder / f"real-{real.name}", str(real), model))
    passed = eer <= MOST_EER
    print(f"{'passed' if passed else 'FAILED'}: EER {100 * eer:.2f} % (limit {100 * MOST_EER:.0f} %)")
    sys.exit(not passed)


def _options() -> argparse.Namespace:
    parser = options_of(__doc__, 500)
    parser.set_defaults(songs=960, seconds=8)
    options_of_a_run(parser)
    parser.add_argument("--real", type=Path, action="append", default=[])
    return parser.parse_args()


def trained(shards: Path, run: Path, options: argparse.Namespace) -> str:
    """Returns the model of a run, which is made unless it is there."""
    model = run / "model"
    if not model.exists():
        started = time.process_time()
        usual = ["size=tiny", "lr=2e-3", "warmup_steps=20", "margin_steps=100", "crop_s=6", "seconds_per_batch=96"]
        usual += ["piece_s=2", "validate_samples=999", f"seed={options.seed}"]
        result = train("singer", shards, run, [*usual, *only_at_the_end(options.steps), *options.set])
        told = ", ".join(f"{name} {value:.3f}" for name, value in result.metrics.items())
        print(f"{options.steps} steps, {time.process_time() - started:.0f} CPU s; {told}", flush=True)
    return str(model)


def embedded(url: Path, source: SyntheticSource | str, model: str) -> Dataset:
    """Returns a data set whose songs have both vectors."""
    if not url.exists():
        if isinstance(source, str):
            ingest(source, str(url), IngestOptions())
        else:
            append_songs(str(url), source.songs(), REFERENCE_COLUMNS)
    project = replace(Project(), stages={INSTANCES[1]: {}})
    graph = project.graph(DatasetEntry(str(url)), (f"{INSTANCES[0]}.model={model}",))
    dataset = Dataset(str(url))
    report = process(dataset, graph, [*INSTANCES], RunOptions("local"))
    assert report.exit_code == 0, "a stage failed; see above"
    return dataset


def judged(name: str, dataset: Dataset) -> float:
    """Prints the row of a data set; returns the equal error rate of the model."""
    addresses = [f"{instance}.singer_embedding" for instance in INSTANCES]
    rows = [row.values for one in dataset.partitions for row in one.rows([*addresses, "index.singer", "index.artist"])]
    heard = [row for row in rows if all(row[address] is not None for address in addresses)]
    singers = [str(row["index.singer"] or row["index.artist"]) for row in heard]
    ours, theirs = (np.array([row[address] for row in heard], np.float64) for address in addresses)
    rates = error_rate(ours @ ours.T, singers), error_rate(-distances(theirs), singers)
    found = retrieval_accuracy(ours, singers), nearest(distances(theirs), singers)
    told = " | ".join(f"{100 * value:.1f} %" for value in (*rates, *found))
    print(f"| {name}, {len(heard)} of {len(rows)} | {len(set(singers))} | {told} |", flush=True)
    return rates[0]


def error_rate(scores: npt.NDArray[Any], singers: list[str]) -> float:
    """Returns the equal error rate of all pairs, by the upper half of scores (N, N)."""
    one, other = np.triu_indices(len(singers), 1)
    names = np.array(singers)
    return equal_error_rate(scores[one, other], names[one] == names[other])


def distances(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Returns the distance of each two vectors (N, D)."""
    return np.asarray(np.linalg.norm(vectors[:, None] - vectors, axis=-1))


def nearest(apart: npt.NDArray[np.float64], singers: list[str]) -> float:
    """Returns the share of songs whose nearest other one is of the same singer, where there is another of theirs."""
    names = np.array(singers)
    closest = (apart + np.diag(np.full(len(apart), np.inf))).argmin(1)
    asked = np.array([np.count_nonzero(names == name) > 1 for name in names])
    return float((names[closest] == names)[asked].mean())


if __name__ == "__main__":
    main()
