"""Gate of soft units: in the acoustic model their mel-L1 on held-out synthetic songs must be 10 % below discrete ones'.

    python benchmarks/gates/soft_units.py [--steps N] [--features mfcc]

The content encoder learns soft units among the discrete ones (k-means 100 of the features), in half as many steps; the
same acoustic model is then trained on either, with F0, energy and singer given.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from autosing.pipeline.threads import one_thread

one_thread()

import torch  # noqa: E402
from synthetic_set import built, only_at_the_end, options_of  # noqa: E402

from autosing.pipeline.construct.inputs import NamedDataset  # noqa: E402
from autosing.pipeline.construct.sample import SAMPLES, SampleSpec  # noqa: E402
from autosing.pipeline.construct.shards import construct_dataset  # noqa: E402
from autosing.pipeline.dataset import Dataset  # noqa: E402
from autosing.pipeline.ingest.synthetic import SyntheticSource  # noqa: E402
from autosing.pipeline.run import RunOptions, process  # noqa: E402
from autosing.pipeline.settings import Project  # noqa: E402
from autosing.training.run import train  # noqa: E402

LIMIT = 0.90


def main() -> None:
    """Prints both errors and their ratio; exit code 1 where it is above the limit."""
    parser = options_of(__doc__, 400)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--features", default="mfcc", help="mfcc or log_mel")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        settings = (f"ssl.model={options.features}",)
        source = SyntheticSource(options.songs, options.seconds, 0, 8)
        first = built(folder / "set", source, SAMPLES["content"], ("ssl", "units", "f0", "energy", "mel"), settings)
        ratios = [compared(folder, first, settings, seed, options.steps) for seed in range(options.seeds)]
    sys.exit(any(ratio > LIMIT for ratio in ratios))


def compared(folder: Path, first: Path, settings: tuple[str, ...], seed: int, steps: int) -> float:
    """Trains the encoder and both acoustic models; returns the ratio of their errors."""
    started = time.process_time()
    usual = ["size=tiny", "lr=2e-3", "warmup_steps=20", f"seed={seed}", "validate_samples=999"]
    of_encoder = only_at_the_end(steps // 2)
    encoder = train("soft_units", first, folder / f"encoder-{seed}", [*usual, *of_encoder, "seconds_per_batch=64"])
    entry = Project().dataset(str(folder / "set" / "songs"))
    dataset = Dataset(entry.path)
    graph = Project().graph(entry, (*settings, f"content.model={encoder.model}"))
    process(dataset, graph, ["content"], RunOptions("local"))
    columns = {**SAMPLES["acoustic"].columns, "soft_units": "content.soft_units"}
    spec: SampleSpec = replace(SAMPLES["acoustic"], columns=columns, valid_songs=12)
    shards = folder / f"shards-{seed}"
    construct_dataset([NamedDataset("gate", dataset)], str(shards), spec)
    errors = {}
    for units in ("discrete", "soft"):
        run = [*usual, f"units={units}", "seconds_per_batch=32"]
        run += only_at_the_end(steps)
        errors[units] = train("acoustic", shards, folder / f"{units}-{seed}", run).metrics["valid/mel_l1"]
    ratio = errors["soft"] / errors["discrete"]
    told = ", ".join(f"{name} {error:.3f}" for name, error in errors.items())
    print(f"seed {seed}: mel-L1 {told}; ratio {ratio:.3f} (limit {LIMIT}); {time.process_time() - started:.0f} CPU s")
    print(f"encoder: {encoder.metrics}", flush=True)
    return ratio


if __name__ == "__main__":
    main()
