"""Gate of the vocoder: held-out synthetic songs, and real singing, beside Griffin-Lim from the same mels.

    python benchmarks/gates/vocoder.py [--real PJS_FOLDER] [--steps N] [--set recipe.field=value ...]

It must be nearer in the multi-resolution STFT and in F0, with a V/UV F1 of at least 0.95. F0 is tracked in what is made
and in the recording by the same tracker. Real singing is never trained on.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

from autosing.pipeline.threads import one_thread

one_thread()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from synthetic_set import built, only_at_the_end, options_of, options_of_a_run  # noqa: E402

from autosing.models.directory import load_model  # noqa: E402
from autosing.models.excitation import f0_at_samples  # noqa: E402
from autosing.models.vocoder import Vocoder, synthesise  # noqa: E402
from autosing.pipeline.construct.sample import SAMPLES  # noqa: E402
from autosing.pipeline.ingest.synthetic import SyntheticSource  # noqa: E402
from autosing.signal.f0 import f0  # noqa: E402
from autosing.signal.griffin_lim import griffin_lim  # noqa: E402
from autosing.signal.mel import MelSpec, log_mel  # noqa: E402
from autosing.signal.resample import resample  # noqa: E402
from autosing.training.manifest import AUDIO  # noqa: E402
from autosing.training.metrics import PitchTrack, f0_rmse_cents, multi_resolution_stft, voicing_f1  # noqa: E402
from autosing.training.run import train  # noqa: E402
from autosing.training.shards import ShardSet  # noqa: E402

Wave = npt.NDArray[np.float32]
Make = Callable[[Wave, Wave], Wave]
LEAST_VOICING = 0.95
TRACK_HZ = 100


def main() -> None:
    """Prints the figures; exit code 1 where a limit on synthetic songs is passed."""
    parser = options_of(__doc__, 600)
    options_of_a_run(parser)
    parser.add_argument("--real", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        source = SyntheticSource(options.songs, options.seconds, 0, 8)
        synthetic = folder / "synthetic" / "shards"
        if not synthetic.exists():
            built(folder / "synthetic", source, SAMPLES["vocoder"], ("f0",))
        torch.set_num_threads(options.threads)
        settings = ["size=tiny", "lr=2e-3", "warmup_steps=20", "seconds_per_batch=8"]
        settings += ["ema_decay=0.99", f"seed={options.seed}", "validate_samples=8"]
        settings += only_at_the_end(options.steps)
        started = time.process_time()
        result = train("vocoder", synthetic, folder / f"run-{options.seed}", [*settings, *options.set])
        assert result.model is not None
        print(f"trained in {time.process_time() - started:.0f} CPU s")
        model = load_model(result.model).model
        assert isinstance(model, Vocoder)
        print("| songs | by | MR-STFT | F0 RMSE, cents | V/UV F1 | real-time factor |\n|---|---|---|---|---|---|")
        passed = compared("synthetic", ShardSet.open(synthetic, "test"), model)
        if options.real:
            real = folder / "real" / "shards"
            if not real.exists():
                built(folder / "real", str(options.real), SAMPLES["vocoder"], ("f0",))
            for split in ("train", "valid", "test"):
                compared(f"{options.real.name}, {split}", ShardSet.open(real, split), model)
    sys.exit(not passed)


def compared(name: str, held_out: ShardSet, model: Vocoder) -> bool:
    """Prints a row for the vocoder and one for Griffin-Lim; returns whether the vocoder is the better one."""
    ways = {"vocoder": vocoded(model), "Griffin-Lim": lambda mel, hz: griffin_lim(mel, model.spec)}
    heard_s, figures = sum(len(wave) for wave, _ in recordings(held_out, model.spec)) / model.spec.sample_rate, {}
    for way, make in ways.items():
        rows, spent_s = judged(make, held_out, model.spec)
        figures[way] = np.nanmean(rows, axis=0)
        print(row(name, way, rows, f"{spent_s / heard_s:.3f}"), flush=True)
    ours, theirs = figures["vocoder"], figures["Griffin-Lim"]
    return bool(ours[0] < theirs[0] and ours[1] < theirs[1] and ours[2] >= LEAST_VOICING)


def row(name: str, way: str, rows: npt.NDArray[np.float64], *more: str) -> str:
    """Returns a line of a table: the means of what `judged` gives."""
    told = (f"{value:.3f}" for value in np.nanmean(rows, axis=0))
    return f"| {' | '.join([name, way, *told, *more])} |"


def vocoded(model: Vocoder) -> Make:
    """Returns how a vocoder makes a wave of a mel and the F0 of each sample."""
    return lambda mel, hz: np.concatenate(list(synthesise(model, {"mel": mel}, hz)))


def judged(make: Make, held_out: ShardSet, spec: MelSpec) -> tuple[npt.NDArray[np.float64], float]:
    """Returns MR-STFT, error of F0 in cents and F1 of voicing (N, 3) of what is made, and the seconds that it took."""
    rows, spent_s = [], 0.0
    for wave, f0_hz in recordings(held_out, spec):
        mel = log_mel(wave, spec, len(wave) // spec.hop)
        started = time.monotonic()
        made = make(mel, f0_hz)
        spent_s += time.monotonic() - started
        tracks = [track(one, spec) for one in (made, wave)]
        distance = multi_resolution_stft(made, wave).total
        rows.append((distance, f0_rmse_cents(*tracks), voicing_f1(tracks[0], tracks[1])))
    return np.array(rows), spent_s


def recordings(held_out: ShardSet, spec: MelSpec) -> Iterator[tuple[Wave, Wave]]:
    """Yields waves of whole frames and the F0 of each of their samples."""
    for i in range(len(held_out)):
        sample = held_out.read(i, [AUDIO, "f0_hz", "voiced"])
        wave = resample(sample.series[AUDIO], sample.sample_rate_hz, spec.sample_rate)
        wave = wave[: len(wave) // spec.hop * spec.hop]
        told = (sample.series["f0_hz"], sample.series["voiced"], Fraction(TRACK_HZ))
        yield wave, f0_at_samples(*told, len(wave), spec.sample_rate)


def track(wave: Wave, spec: MelSpec) -> PitchTrack:
    """Returns the pitch of a wave."""
    found = f0(wave, spec.sample_rate, len(wave) * TRACK_HZ // spec.sample_rate)
    return PitchTrack(found.f0_hz, found.voiced)


if __name__ == "__main__":
    main()
