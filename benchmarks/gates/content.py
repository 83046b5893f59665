"""Gate of the content encoders: pitch and dynamics on held-out songs, and what else the features would have given.

    python benchmarks/gates/content.py [--real PJS_FOLDER] [--steps N]

`log_mel` features carry the pitch: within a semitone in at least 90 % of the voiced frames, dynamics within a bin in as
many. MFCCs, which carry hardly any, and real singing are printed beside.
"""

import sys
import tempfile
import time
from pathlib import Path

from autosing.pipeline.threads import one_thread

one_thread()

import torch  # noqa: E402
from synthetic_set import built, only_at_the_end, options_of  # noqa: E402

from autosing.pipeline.construct.sample import SampleSpec  # noqa: E402
from autosing.pipeline.ingest.synthetic import SyntheticSource  # noqa: E402
from autosing.training.run import train  # noqa: E402

SPEC = SampleSpec("content", {"ssl": "ssl.ssl", "f0_hz": "f0.f0_hz", "voiced": "f0.voiced", "energy": "energy.energy"})
LEAST = 0.90
SHOWN = ("pitch_within_semitone", "voicing_accuracy", "dynamics_within_bin")


def main() -> None:
    """Prints the table; exit code 1 where a limit is passed on synthetic songs."""
    parser = options_of(__doc__, 350)
    parser.add_argument("--real", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| songs | features | pitch within a semitone | voicing | dynamics within a bin | CPU s |")
    print("|---" * 6 + "|")
    sources: dict[str, SyntheticSource | str] = {"synthetic": SyntheticSource(options.songs, options.seconds, 0, 8)}
    if options.real:
        sources["PJS"] = str(options.real)
    good = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, source in sources.items():
            for features in ("log_mel", "mfcc"):
                folder = Path(scratch) / f"{name}-{features}"
                shards = built(folder, source, SPEC, ("ssl", "f0", "energy"), (f"ssl.model={features}",))
                found = heard(folder / "run", shards, options.steps, name, features)
                good += (
                    [found[0] >= LEAST and found[2] >= LEAST] if (name, features) == ("synthetic", "log_mel") else []
                )
    sys.exit(not all(good))


def heard(run: Path, shards: Path, steps: int, name: str, features: str) -> list[float]:
    """Trains, prints a row and returns its figures, which are of the songs that are held out for validation."""
    settings = ["size=tiny", "lr=3e-3", "warmup_steps=20", "seconds_per_batch=64", "crop_s=4", "validate_samples=999"]
    settings += only_at_the_end(steps)
    started = time.process_time()
    metrics = train("pitdyn", shards, run, settings).metrics
    found = [metrics[f"valid/{key}"] for key in SHOWN]
    told = " | ".join(f"{100 * value:.1f} %" for value in found)
    print(f"| {name} | {features} | {told} | {time.process_time() - started:.0f} |", flush=True)
    return found


if __name__ == "__main__":
    main()
