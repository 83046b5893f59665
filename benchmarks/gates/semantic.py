"""Gate of the semantic bottleneck: its tokens must tell more of the phones than k-means at the same rate and size.

    python benchmarks/gates/semantic.py [--steps N] [--n-tokens K] [--set recipe.field=value ...]

Log-mel features of synthetic songs, 25 tokens a second; everything is measured on songs that are held out. `with text`
learns features and the letters of the lyrics, `without` the features alone; k-means clusters the same pooled features,
as they are and without each song's mean (as `units` does). `sung by another` is the share of sung tokens that stay the
same when the same notes and words are sung by another voice; chance is what the tokens' frequencies alone would give.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from autosing.pipeline.threads import one_thread

one_thread()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from synthetic_set import built, only_at_the_end, options_of, options_of_a_run  # noqa: E402

from autosing.evaluation.tokenizers.songs import phones_at  # noqa: E402
from autosing.models.directory import load_model  # noqa: E402
from autosing.models.semantic import Semantic, token_count, tokens_of  # noqa: E402
from autosing.pipeline.construct.sample import SampleSpec  # noqa: E402
from autosing.pipeline.ingest.synthetic import HZ, SyntheticSource  # noqa: E402
from autosing.pipeline.stages.ssl import LOG_MEL_SPECS  # noqa: E402
from autosing.signal.frame_spill import FrameSpill  # noqa: E402
from autosing.signal.framing import frames  # noqa: E402
from autosing.signal.kmeans import assign, fit_codebook  # noqa: E402
from autosing.signal.mel import log_mel  # noqa: E402
from autosing.signal.pooling import pool  # noqa: E402
from autosing.signal.resample import resample  # noqa: E402
from autosing.signal.score import SILENCE  # noqa: E402
from autosing.signal.singer import song  # noqa: E402
from autosing.signal.ssl import RATE, SAMPLE_RATE  # noqa: E402
from autosing.signal.standardise import standardised  # noqa: E402
from autosing.signal.voice import voices  # noqa: E402
from autosing.training.metrics import CodebookUse, PhonePurity, phone_purity  # noqa: E402
from autosing.training.run import train  # noqa: E402
from autosing.training.sample import Sample  # noqa: E402
from autosing.training.shards import ShardSet  # noqa: E402

SPEC = SampleSpec("semantic", {"ssl": "ssl.ssl", "phones": "reference.ref_phones"})
# The lines of the LRC lyrics, whose texts CTC learns from.
SETTINGS = ("ssl.model=log_mel", "align.method=rate", "cuts.method=lines")
TOKEN_RATE = Fraction(25)
SINGERS, PAIRS = 8, 8
# Seeds of the songs that two voices sing; those of the set are far below.
FIRST_PAIR = 7_000_000
LEAST_USE, LEAST_GAIN = 0.8, 0.08

Features = npt.NDArray[np.floating[Any]]
Codes = npt.NDArray[np.integer[Any]]
Tokenizer = Callable[[Features], Codes]


@dataclass(frozen=True)
class Figures:
    """Of a tokenizer on songs that are held out."""

    use: CodebookUse
    purity: PhonePurity
    same: float
    by_chance: float


def main() -> None:
    """Prints the table; exit code 1 where a limit is passed."""
    parser = options_of(__doc__, 1000)
    options_of_a_run(parser)
    parser.add_argument("--n-tokens", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        shards = folder / "shards"
        if not shards.exists():
            source = SyntheticSource(options.songs, options.seconds, 0, SINGERS)
            built(folder, source, SPEC, ("ssl",), SETTINGS)
        print("| tokens | used | entropy, bit | phone purity | PNMI | sung by another | CPU s |")
        print("|---" * 7 + "|")
        found = {name: clustered(shards, name, options.n_tokens) for name in ("k-means", "k-means, song's mean out")}
        for name, weight in (("without text", 0), ("with text", 1)):
            settings = [f"text_weight={weight}", f"n_tokens={options.n_tokens}", f"seed={options.seed}", *options.set]
            found[name] = trained(shards, folder / f"{name}-{options.seed}", name, options.steps, settings)
    best = max(found[name].purity.pnmi for name in found if name.startswith("k-means"))
    gain = found["with text"].purity.pnmi - best
    used = min(found[name].use.share_used for name in ("without text", "with text"))
    good = gain >= LEAST_GAIN and used >= LEAST_USE
    print(f"{'passed' if good else 'FAILED'}: PNMI {gain:+.3f} over k-means, {100 * used:.0f} % of the codes used")
    sys.exit(not good)


def trained(shards: Path, run: Path, name: str, steps: int, settings: list[str]) -> Figures:
    """Trains a bottleneck; prints its row and its validation, returns its figures."""
    started = time.process_time()
    usual = ["size=tiny", "alphabet=letters", "lr=3e-3", "warmup_steps=20", "seconds_per_batch=24"]
    result = train("semantic", shards, run, [*usual, "validate_samples=999", *only_at_the_end(steps), *settings])
    assert result.model is not None
    network = load_model(result.model).model
    assert isinstance(network, Semantic)

    def tokens(features: Features) -> Codes:
        return tokens_of(network, features, token_count(network.fields, len(features)))

    seconds = time.process_time() - started
    figures = judged(shards, tokens, network.fields.n_tokens, name, seconds)
    print(f"{name}: {', '.join(f'{key} {value:.3f}' for key, value in result.metrics.items())}", flush=True)
    return figures


def clustered(shards: Path, name: str, k: int) -> Figures:
    """Clusters pooled features of the training songs; prints a row and returns its figures."""
    started = time.process_time()
    how: Any = "none" if name == "k-means" else "mean"

    def pooled(features: Features) -> Features:
        return standardised(pool(features, RATE, len(times_s(len(features))), TOKEN_RATE), how)

    with tempfile.TemporaryDirectory() as scratch, FrameSpill(Path(scratch)) as spill:
        for sample in samples(shards, "train"):
            spill.append(pooled(sample.series["ssl"]))
        centroids, _ = fit_codebook(spill, k)
    seconds = time.process_time() - started
    return judged(shards, lambda features: assign(pooled(features), centroids), k, name, seconds)


def judged(shards: Path, tokens: Tokenizer, n_tokens: int, name: str, seconds: float) -> Figures:
    """Prints the row of a tokenizer; returns its figures."""
    codes, phones = [], []
    for split in ("valid", "test"):
        for sample in samples(shards, split):
            found = tokens(sample.series["ssl"])
            codes.append(found)
            phones.append(phones_at(times_s(len(sample.series["ssl"])), sample.info["values"]["phones"]))
    use = sum((CodebookUse.of(one, n_tokens) for one in codes), CodebookUse(np.zeros(n_tokens, np.int64)))
    pairs = [(tokens(one)[is_sung], tokens(two)[is_sung]) for one, two, is_sung in by_two_voices()]
    same = float(np.mean(np.concatenate([a == b for a, b in pairs])))
    shares = [np.bincount(np.concatenate(side), minlength=n_tokens) for side in zip(*pairs, strict=True)]
    by_chance = float(np.prod([share / share.sum() for share in shares], axis=0).sum())
    figures = Figures(use, phone_purity(np.concatenate(codes), np.concatenate(phones)), same, by_chance)
    print(
        f"| {name} | {100 * use.share_used:.0f} % | {use.entropy_bits:.2f} | {figures.purity.phone_purity:.3f} | "
        f"{figures.purity.pnmi:.3f} | {100 * same:.1f} % (chance {100 * by_chance:.1f} %) | {seconds:.0f} |",
        flush=True,
    )
    return figures


def samples(shards: Path, split: str) -> list[Sample]:
    """Returns the samples of a split."""
    held = ShardSet.open(shards, split)
    return [held.read(n, ["ssl"]) for n in range(len(held))]


def by_two_voices() -> list[tuple[Features, Features, npt.NDArray[np.bool_]]]:
    """Returns features of songs that are not in the set, each by two voices at the same pitch and times, and where
    something is sung.
    """
    choir, found = voices(SINGERS), []
    for n in range(PAIRS):
        first = choir[n]
        other = replace(choir[(n + 3) % SINGERS], lowest_midi=first.lowest_midi, highest_midi=first.highest_midi)
        songs = [song(FIRST_PAIR + n, voice, 8.0) for voice in (first, other)]
        one, two = (features_of(made.wave) for made in songs)
        phones = [{"text": p, "start_s": s, "end_s": e} for s, e, p in songs[0].sung.phones]
        found.append((one, two, phones_at(times_s(len(one)), phones) != SILENCE))
    return found


def times_s(n_frames: int) -> npt.NDArray[np.floating[Any]]:
    """Returns the centres of the tokens of so many frames of features."""
    n_tokens = int(n_frames * TOKEN_RATE / RATE + Fraction(1, 2))
    return (np.arange(n_tokens) + 0.5) / float(TOKEN_RATE)


def features_of(wave: npt.NDArray[np.float32]) -> Features:
    """Returns the features that `ssl.model=log_mel` gives for a wave of the synthetic singer."""
    n_frames = frames(len(wave), HZ, RATE)
    heard = resample(wave, HZ, SAMPLE_RATE)
    return np.concatenate([log_mel(heard, spec, n_frames) for spec in LOG_MEL_SPECS], axis=1).astype(np.float16)


if __name__ == "__main__":
    main()
