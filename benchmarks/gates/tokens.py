"""Gate of multi-resolution tokens: at equal bits they must make better sound than one stream, and than released ids.

    python benchmarks/gates/tokens.py [--real NAME=FOLDER ...] [--steps N] [--seeds N] [--keep FOLDER]

`units`: one stream of 20 ms, k-means of the features. `tokens`: the adapter's tokens of 20, 40 and 80 ms, embedded,
then brought to the frames. `ids resampled`: the same tokens, brought to 20 ms as numbers, as SingOMD's released code
does (about .885 of the id, and noise), then embedded. All have the same bits a second; what follows is `autosing
compare tokens`. The adapter hears log-mels, learns from songs that the comparison does not hold out, and has as many
steps as each decoder.
"""

import sys
import tempfile
from pathlib import Path

from autosing.pipeline.threads import one_thread

one_thread()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from synthetic_set import built, only_at_the_end, options_of  # noqa: E402

from autosing.evaluation.tokenizers.compare import Request, compare_tokens  # noqa: E402
from autosing.pipeline.construct.sample import SAMPLES  # noqa: E402
from autosing.pipeline.dataset import Dataset  # noqa: E402
from autosing.pipeline.ingest.synthetic import SyntheticSource  # noqa: E402
from autosing.pipeline.run import RunOptions, process  # noqa: E402
from autosing.pipeline.settings import Project  # noqa: E402
from autosing.training.run import train  # noqa: E402

RESOLUTIONS, RATE = (20, 40, 80), 50
SINGLE, OURS = "units", "tokens"
IDS = f"{OURS}, ids resampled"


def main() -> None:
    """Prints the tables; exit code 1 where a limit is passed on synthetic songs."""
    parser = options_of(__doc__, 800)
    parser.add_argument("--n-tokens", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--real", action="append", default=[], help="NAME=FOLDER of recordings")
    parser.add_argument("--only-real", action="store_true", help="leave the synthetic songs out")
    parser.add_argument("--keep", type=Path, help="a folder for the runs, the sets and the pages")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sources: dict[str, SyntheticSource | str] = {}
    if not options.only_real:
        sources["synthetic"] = SyntheticSource(options.songs, options.seconds, 0, 8)
    sources |= dict(named.split("=", 1) for named in options.real)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        passed = {
            name: [
                compared(folder / name, source, seed, options.steps, options.n_tokens) for seed in range(options.seeds)
            ]
            for name, source in sources.items()
        }
    sys.exit(not all(passed.get("synthetic", [True])))


def compared(folder: Path, source: SyntheticSource | str, seed: int, steps: int, n_tokens: int) -> bool:
    """Prints the table of one set and seed; returns whether ours is as much better as it must be."""
    shards = folder / "shards"
    if not shards.exists():
        built(folder, source, SAMPLES["multires"], ("ssl", "f0"), ("ssl.model=log_mel",))
    settings = ["size=tiny", f"n_tokens={n_tokens}", "code_dim=32", "resynthesis=mel", "adversarial_weight=0"]
    settings += ["lr=1e-3", "warmup_steps=20", "seconds_per_batch=24", f"seed={seed}", "validate_samples=4"]
    run = train("multires", shards, folder / f"adapter-{seed}", [*settings, *only_at_the_end(steps)])
    bits = float(np.log2(n_tokens)) * sum(1000 / ms for ms in RESOLUTIONS)
    k = round(2 ** (bits / RATE))
    computed = (f"tokens.model={run.model}", f"units.k={k}", f"units.seed={seed}", "units.standardise=none")
    entry = Project().dataset(str(folder / "songs"))
    graph = Project().graph(entry, ("ssl.model=log_mel", *computed))
    dataset = Dataset(entry.path)
    process(dataset, graph, [SINGLE, OURS], RunOptions("local"))
    # Of a small set, the eighth that the adapter has not learned from either.
    n_songs = sum(partition.n_songs() for partition in dataset.partitions)
    request = Request((SINGLE, OURS), (OURS,), held_out=max(n_songs // 8, 1), steps=steps, seed=seed)
    result = compare_tokens(dataset, request, folder / f"page-{seed}")
    ours, single, ids = (result.figures[name] for name in (OURS, SINGLE, IDS))
    lower, higher = ours["mcd"] / single["mcd"] - 1, ours["f0_corr"] - single["f0_corr"]
    good = lower <= -0.05 and higher >= 0.01 and ours["mcd"] < ids["mcd"] and ours["f0_corr"] > ids["f0_corr"]
    print(f"{folder.name}, seed {seed}, {bits:.0f} bit/s")
    print("\n".join(result.lines))
    print(f"{'passed' if good else 'FAILED'}: MCD {100 * lower:+.1f} %, F0 {higher:+.3f}", flush=True)
    return good


if __name__ == "__main__":
    main()
