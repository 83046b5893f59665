"""What some hundred steps on a real voice give a vocoder that has heard none: held-out songs before and after.

    python benchmarks/gates/refined_vocoder.py PJS_FOLDER --from MODEL [--steps N] [--folds N] [--set field=value ...]

Every song is held out once: those of a fold are judged by a vocoder that was refined on all others. The spectra must
get nearer, and V/UV F1 be at least 0.95. F0 is tracked in what is made and in the recording by the same tracker.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from autosing.pipeline.threads import one_thread

one_thread()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from synthetic_set import only_at_the_end  # noqa: E402
from vocoder import LEAST_VOICING, judged, row, vocoded  # noqa: E402

from autosing.models.directory import load_model  # noqa: E402
from autosing.models.vocoder import Vocoder  # noqa: E402
from autosing.pipeline.construct.inputs import NamedDataset  # noqa: E402
from autosing.pipeline.construct.sample import SAMPLES  # noqa: E402
from autosing.pipeline.construct.shards import construct_dataset  # noqa: E402
from autosing.pipeline.dataset import Dataset  # noqa: E402
from autosing.pipeline.ingest.sources import IngestOptions, ingest  # noqa: E402
from autosing.pipeline.run import RunOptions, process  # noqa: E402
from autosing.pipeline.settings import Project  # noqa: E402
from autosing.signal.griffin_lim import griffin_lim  # noqa: E402
from autosing.training.run import train  # noqa: E402
from autosing.training.shards import ShardSet  # noqa: E402

Figures = npt.NDArray[np.float64]


def main() -> None:
    """Prints the figures; exit code 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder of songs, one folder each")
    parser.add_argument("--from", dest="base", required=True, help="the vocoder")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the runs and the sets")
    parser.add_argument("--set", action="append", default=[], help="of the recipe")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        parts = [refined(folder, number, options) for number in range(options.folds)]
    figures = {way: np.concatenate([part[way] for part in parts]) for way in parts[0]}
    print("| songs | by | MR-STFT | F0 RMSE, cents | V/UV F1 |\n|---|---|---|---|---|")
    for way, rows in figures.items():
        print(row(f"{options.source.name}, {len(rows)} parts", way, rows))
    before, after = (np.nanmean(figures[way], axis=0) for way in ("before", "after"))
    sys.exit(not (after[0] < before[0] and after[2] >= LEAST_VOICING))


def refined(folder: Path, number: int, options: argparse.Namespace) -> dict[str, Figures]:
    """Returns what `judged` gives of a fold's songs by the vocoder before and after it heard the others."""
    names = sorted(path.name for path in options.source.iterdir() if path.is_dir())
    kept, chosen = folder / f"fold-{number}", names[number :: options.folds]
    others = [name for name in names if name not in chosen]
    # Not by `include`, which also takes what is read aloud.
    shards, held_out = (built(kept / part, options.source, out) for part, out in (("others", chosen), ("own", others)))
    model = kept / f"run-{options.seed}" / "model"
    if not model.exists():
        settings = ["size=tiny", "lr=5e-4", "warmup_steps=20", "seconds_per_batch=8", "ema_decay=0.99"]
        settings += [f"begin_from={options.base}", f"seed={options.seed}", *only_at_the_end(options.steps)]
        started = time.process_time()
        train("vocoder", shards, model.parent, [*settings, *options.set])
        print(f"fold {number}: {', '.join(chosen)} held out; {time.process_time() - started:.0f} CPU s", flush=True)
    test, before, after = ShardSet.open(held_out, "train"), vocoder(options.base), vocoder(model)
    ways = {
        "before": vocoded(before),
        "after": vocoded(after),
        "Griffin-Lim": lambda mel, hz: griffin_lim(mel, before.spec),
    }
    found = {way: judged(make, test, before.spec)[0] for way, make in ways.items()}
    print("\n".join(row(f"fold {number}", way, rows) for way, rows in found.items()), flush=True)
    return found


def vocoder(model: str | Path) -> Vocoder:
    """Returns a vocoder of a directory."""
    found = load_model(model).model
    assert isinstance(found, Vocoder)
    return found


def built(folder: Path, source: Path, left_out: list[str]) -> Path:
    """Returns the folder of a built set of all songs but those of some folders, in the split `train`."""
    shards = folder / "shards"
    if not shards.exists():
        ingest(str(source), str(folder / "songs"), IngestOptions(exclude=[f"{name}/*" for name in left_out]))
        entry = Project().dataset(str(folder / "songs"))
        dataset = Dataset(entry.path)
        process(dataset, Project().graph(entry), ["f0", "cuts"], RunOptions("local"))
        spec = replace(SAMPLES["vocoder"], valid_songs=0, test_songs=0)
        construct_dataset([NamedDataset("gate", dataset)], str(shards), spec)
    return shards


if __name__ == "__main__":
    main()
