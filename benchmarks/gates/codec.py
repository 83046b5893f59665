"""Gate of the codec: on held-out synthetic songs each level lowers the error, and all beat k-means at equal bits.

    python benchmarks/gates/codec.py [--steps N] [--wave-steps N] [--set recipe.field=value ...]

The error is the log-mel's, once of what the decoder tells beside k-means' centroids, and once of the waves, where those
of k-means are Griffin-Lim's. Codes go into columns, from there into tars, and come out as the codec gave them.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from autosing.pipeline.threads import one_thread

one_thread()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from synthetic_set import built, only_at_the_end, options_of, options_of_a_run  # noqa: E402

from autosing.models.codec import Codec, decoded_mel  # noqa: E402
from autosing.models.codecs import AnyCodec, load_codec  # noqa: E402
from autosing.models.directory import load_model  # noqa: E402
from autosing.pipeline.construct.inputs import NamedDataset  # noqa: E402
from autosing.pipeline.construct.sample import SAMPLES, SampleSpec  # noqa: E402
from autosing.pipeline.construct.shards import construct_dataset  # noqa: E402
from autosing.pipeline.dataset import Dataset  # noqa: E402
from autosing.pipeline.ingest.synthetic import SyntheticSource  # noqa: E402
from autosing.pipeline.run import RunOptions, process  # noqa: E402
from autosing.pipeline.settings import Project  # noqa: E402
from autosing.signal.frame_spill import FrameSpill  # noqa: E402
from autosing.signal.griffin_lim import griffin_lim  # noqa: E402
from autosing.signal.kmeans import assign, fit_codebook  # noqa: E402
from autosing.signal.mel import MelSpec, log_mel  # noqa: E402
from autosing.signal.resample import resample  # noqa: E402
from autosing.training.manifest import AUDIO  # noqa: E402
from autosing.training.metrics import mel_l1  # noqa: E402
from autosing.training.run import train  # noqa: E402
from autosing.training.shards import ShardSet  # noqa: E402

Wave = npt.NDArray[np.float32]
SPEC = MelSpec()
LEAST_GAIN, LEAST_USE = 0.20, 0.90


def main() -> None:
    """Prints the figures; exit code 1 where a limit is passed."""
    parser = options_of(__doc__, 600)
    options_of_a_run(parser)
    parser.add_argument("--wave-steps", type=int, default=0, help="of the decoder, by the sound that is made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        shards = folder / "synthetic" / "shards"
        if not shards.exists():
            source = SyntheticSource(options.songs, options.seconds, 0, 8)
            built(folder / "synthetic", source, SAMPLES["vocoder"], ("f0",))
        torch.set_num_threads(options.threads)
        by_mel = ["resynthesis=mel", "lr=1e-3", "seconds_per_batch=32", *only_at_the_end(options.steps)]
        model = trained(shards, folder / f"run-{options.seed}", by_mel, options)
        if options.wave_steps:
            by_wave = ["lr=5e-4", "seconds_per_batch=8", "crop_s=1", "freeze_codes=true", f"begin_from={model}"]
            by_wave += only_at_the_end(options.wave_steps)
            model = trained(shards, folder / f"run-{options.seed}-waves", by_wave, options)
        codec, network = load_codec(model, device="cpu"), load_model(model).model
        assert isinstance(network, Codec)
        good = [judged(codec, network, shards), round_trip(folder, codec, model)]
    sys.exit(not all(good))


def trained(shards: Path, folder: Path, settings: list[str], options: argparse.Namespace) -> str:
    """Returns the model of a run, which is made unless it is there."""
    model = folder / "model"
    if not model.exists():
        usual = ["size=tiny", "n_codes=256", "code_dim=32", "warmup_steps=20", "adversarial_weight=0", "ema_decay=0.99"]
        usual += [f"seed={options.seed}", "validate_samples=8"]
        started = time.process_time()
        train("codec", shards, folder, [*usual, *settings, *options.set])
        print(f"{folder.name}: trained in {time.process_time() - started:.0f} CPU s", flush=True)
    return str(model)


def judged(codec: AnyCodec, network: Codec, shards: Path) -> bool:
    """Prints errors by the number of levels, use of the codes, and k-means; returns whether all limits are kept."""
    held_out, trained = waves(shards, "test"), waves(shards, "train")
    true = [log_mel(wave, SPEC, len(wave) // SPEC.hop) for wave in held_out]
    codes = [codec.encode(wave) for wave in held_out]
    bits = codec.info.bits_per_second
    k = round(2 ** (bits / float(SPEC.rate)))
    centroids = by_kmeans(trained, true, k)
    print(f"{bits:.0f} bit/s; k-means of frames: k={k}, {np.log2(k) * float(SPEC.rate):.0f} bit/s")
    good = []
    for name, of_codes, of_kmeans in (
        ("mels", lambda one: decoded_mel(network, one), lambda mel: mel),
        ("waves", lambda one: mel_of(codec.decode(one)), lambda mel: mel_of(griffin_lim(mel, SPEC))),
    ):
        errors = [
            mel_l1([of_codes(one[:n])[: len(mel)] for one, mel in zip(codes, true, strict=True)], true)
            for n in range(1, len(codec.info.rates) + 1)
        ]
        kmeans = mel_l1([of_kmeans(mel) for mel in centroids], true)
        gain, falls = 1 - errors[-1] / kmeans, all(a > b for a, b in pairwise(errors))
        told = ", ".join(f"{error:.3f}" for error in errors)
        print(f"mel-L1 of {name} by levels: {told}; falling: {falls}; k-means {kmeans:.3f}, {100 * gain:.0f} % below")
        good.append(falls and gain >= LEAST_GAIN)
    used = [len(np.unique(np.concatenate(level))) for level in zip(*codes, *map(codec.encode, trained), strict=True)]
    print(f"codes used: {', '.join(f'{n} of {size}' for n, size in zip(used, codec.info.sizes, strict=True))}")
    return all(good) and all(n >= LEAST_USE * size for n, size in zip(used, codec.info.sizes, strict=True))


def mel_of(wave: Wave) -> npt.NDArray[np.float32]:
    """Returns the mel of a wave of whole frames."""
    return log_mel(wave, SPEC, len(wave) // SPEC.hop)


def waves(shards: Path, split: str) -> list[Wave]:
    """Returns the waves of a split, in whole frames."""
    found, held_out = [], ShardSet.open(shards, split)
    for i in range(len(held_out)):
        sample = held_out.read(i, [AUDIO])
        wave = resample(sample.series[AUDIO], sample.sample_rate_hz, SPEC.sample_rate)
        found.append(wave[: len(wave) // SPEC.hop * SPEC.hop])
    return found


def by_kmeans(trained: list[Wave], true: list[npt.NDArray[np.float32]], k: int) -> list[npt.NDArray[np.float32]]:
    """Returns mels whose frames are the nearest of `k` centroids of training frames."""
    with tempfile.TemporaryDirectory() as scratch, FrameSpill(Path(scratch)) as spill:
        for wave in trained:
            spill.append(log_mel(wave, SPEC, len(wave) // SPEC.hop))
        centroids, _ = fit_codebook(spill, k)
    return [centroids[assign(mel, centroids)] for mel in true]


def round_trip(folder: Path, codec: AnyCodec, model: str) -> bool:
    """Returns whether codes come out of tars as the codec gives them, at every rate, and decode to as long a wave."""
    entry = Project().dataset(str(folder / "synthetic" / "songs"))
    dataset = Dataset(entry.path)
    process(dataset, Project().graph(entry, (f"codes.model={model}",)), ["codes"], RunOptions("local"))
    names = [f"codes_{n}" for n in range(len(codec.info.rates))]
    spec = SampleSpec("codes", {name: f"codes.{name}" for name in names}, cuts=None, audio="voice")
    out = folder / "codes"
    construct_dataset([NamedDataset("gate", dataset)], str(out), replace(spec, valid_songs=1), overwrite=True)
    tars, same = ShardSet.open(out, "train"), True
    for i in range(len(tars)):
        sample = tars.read(i, [AUDIO, *names])
        stored = [sample.series[name] for name in names]
        wave = resample(sample.series[AUDIO], sample.sample_rate_hz, codec.info.sample_rate)
        given = codec.encode(codec.info.padded(wave, len(stored[0])))
        same &= all(np.array_equal(a, b) for a, b in zip(stored, given, strict=True))
        same &= len(codec.decode(stored)) == len(codec.info.padded(wave, len(stored[0])))
    print(f"codes out of tars are those of the codec: {same}, {len(tars)} songs")
    return same


if __name__ == "__main__":
    main()
