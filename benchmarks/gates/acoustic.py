"""Gate of the acoustic trainer: mel-L1 on held-out synthetic songs beside ridge regression and the mean mel.

Running freely, singer given: at most 0.85 of the better baseline from units alone, at most 0.70 with F0 and energy.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from autosing.pipeline.threads import one_thread

one_thread()

import torch  # noqa: E402
from synthetic_set import built  # noqa: E402

from autosing.pipeline.construct.sample import SAMPLES  # noqa: E402
from autosing.pipeline.ingest.synthetic import SyntheticSource  # noqa: E402
from autosing.training.comparison import compare_acoustic  # noqa: E402
from autosing.training.recipes import acoustic, apply_settings  # noqa: E402
from autosing.training.run import train  # noqa: E402

LIMITS = {"units": 0.85, "units + F0 + energy": 0.70}
WITHOUT = ("use_f0=false", "use_energy=false")


def main() -> None:
    """Builds a synthetic set, trains both models and prints their ratios; exit code 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--songs", type=int, default=192)
    parser.add_argument("--singers", type=int, default=8)
    parser.add_argument("--songs-seed", type=int, default=0, help="of the songs and the singers")
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        source = SyntheticSource(options.songs, options.seconds, options.songs_seed, options.singers)
        shards = built(Path(scratch), source, SAMPLES["acoustic"], ("mel", "units", "f0", "energy"))
        torch.set_num_threads(options.threads)
        worst = [
            gate(Path(scratch), shards, name, seed, options.steps) for name in LIMITS for seed in range(options.seeds)
        ]
    sys.exit(any(worst))


def gate(folder: Path, shards: Path, name: str, seed: int, steps: int) -> bool:
    """Trains one model and prints its figures on the test split, which neither training nor validation saw."""
    settings = ["size=tiny", f"steps={steps}", "lr=2e-3", "warmup_steps=20", "seconds_per_batch=32", f"seed={seed}"]
    settings += [f"validate_every={steps}", f"save_every={steps}", *(WITHOUT if name == "units" else ())]
    started = time.monotonic()
    result = train("acoustic", shards, folder / f"{len(name)}-{seed}", settings)
    assert result.model is not None
    comparison = compare_acoustic(result.model, apply_settings(acoustic(), settings), shards, "test")
    errors = "  ".join(f"{what}: {value:.3f}" for what, value in comparison.mel_l1.items())
    verdict = "passed" if comparison.ratio <= LIMITS[name] else "FAILED"
    seconds = time.monotonic() - started
    print(
        f"{name}, seed {seed}: ratio {comparison.ratio:.3f} (limit {LIMITS[name]}) {verdict}; {errors}; {seconds:.0f} s"
    )
    return comparison.ratio > LIMITS[name]


if __name__ == "__main__":
    main()
