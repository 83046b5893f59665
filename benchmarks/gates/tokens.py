"""Gate of multi-resolution tokens: at equal bits they must make better sound than one stream, and than released ids.

    python benchmarks/gates/tokens.py [--real PJS_FOLDER] [--steps N] [--seeds N]

`single`: one stream of 20 ms, k-means of the features. `ours`: the adapter's tokens of 20, 40 and 80 ms, embedded, then
brought to the frames. `ids`: the same tokens, brought to 20 ms as numbers, as SingOMD's released code does (about .885
of the id, and noise), then embedded. All have the same bits a second, and one light decoder of equal size and steps
tells mel and pitch from them, which become sound by the same filter of pulses and noise. The adapter hears log-mels and
has as many steps as each decoder.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from autosing.pipeline.threads import one_thread

one_thread()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from synthetic_set import built, only_at_the_end, options_of  # noqa: E402

from autosing.models.directory import load_model  # noqa: E402
from autosing.models.multires import MultiResolution, tokens_of  # noqa: E402
from autosing.models.vocoder import Vocoder, sized_vocoder, synthesise, tokens_at  # noqa: E402
from autosing.pipeline.construct.sample import SAMPLES  # noqa: E402
from autosing.pipeline.ingest.synthetic import SyntheticSource  # noqa: E402
from autosing.signal.frame_spill import FrameSpill  # noqa: E402
from autosing.signal.framing import nearest_frames  # noqa: E402
from autosing.signal.kmeans import assign, fit_codebook  # noqa: E402
from autosing.signal.mel import MelSpec, log_mel  # noqa: E402
from autosing.signal.resample import resample  # noqa: E402
from autosing.training.manifest import AUDIO  # noqa: E402
from autosing.training.metrics import PitchTrack, log_f0_correlation, mcd, mel_cepstra, mel_l1, voicing_f1  # noqa: E402
from autosing.training.run import train  # noqa: E402
from autosing.training.shards import ShardSet  # noqa: E402
from autosing.training.tasks.decoded_losses import DECODED_WEIGHTS, decoded_losses  # noqa: E402

SPEC, RATE = MelSpec(), Fraction(50)
RESOLUTIONS = (20, 40, 80)
Array = npt.NDArray[Any]
CROP_FRAMES = 96


@dataclass(frozen=True)
class Song:
    """A song's wave, features, mel, and pitch at the mel's frames (0 where unvoiced)."""

    wave: Array
    features: Array
    mel: Array
    f0_hz: Array


def main() -> None:
    """Prints the table; exit code 1 where a limit is passed on synthetic songs."""
    parser = options_of(__doc__, 800)
    parser.add_argument("--n-tokens", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--real", type=Path)
    parser.add_argument("--keep", type=Path, help="a folder for the runs and the sets")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| songs | seed | tokens | bit/s | MCD, dB | log-F0 correlation | V/UV F1 | mel-L1 |")
    print("|---" * 8 + "|")
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        sources: dict[str, SyntheticSource | str] = {"synthetic": SyntheticSource(options.songs, options.seconds, 0, 8)}
        if options.real:
            sources["real"] = str(options.real)
        passed = [
            compared(folder / name, source, seed, options.steps, options.n_tokens)
            for name, source in sources.items()
            for seed in range(options.seeds)
        ]
    sys.exit(not all(passed[: options.seeds]))


def compared(folder: Path, source: SyntheticSource | str, seed: int, steps: int, n_tokens: int) -> bool:
    """Prints rows of one set and seed; returns whether ours is as much better as it must be."""
    shards = folder / "shards"
    if not shards.exists():
        built(folder, source, SAMPLES["multires"], ("ssl", "f0"), ("ssl.model=log_mel",))
    settings = ["size=tiny", f"n_tokens={n_tokens}", "code_dim=32", "resynthesis=mel", "adversarial_weight=0"]
    settings += ["lr=1e-3", "warmup_steps=20", "seconds_per_batch=24", f"seed={seed}", "validate_samples=4"]
    settings += only_at_the_end(steps)
    run = train("multires", shards, folder / f"adapter-{seed}", settings)
    assert run.model is not None
    adapter: Any = load_model(run.model).model
    trained, held_out = songs(shards, "train"), songs(shards, "test")
    bits = float(np.log2(n_tokens)) * sum(1000 / ms for ms in RESOLUTIONS)
    k = round(2 ** (bits / float(RATE)))
    codebook = clustered(trained, k, seed)
    figures = {}
    for name in ("single", "ids", "ours"):
        rng = np.random.default_rng(seed)
        given = [[tokens(name, song, adapter, codebook, rng) for song in part] for part in (trained, held_out)]
        rates = {"single": (RATE,), "ids": (RATE,) * 3}.get(name, tuple(Fraction(1000, ms) for ms in RESOLUTIONS))
        decoder = taught(given[0], trained, rates, max(k, n_tokens) if name == "single" else n_tokens, steps, seed)
        figures[name] = heard(decoder, given[1], held_out, rates)
        told = " | ".join(f"{value:.3f}" for value in figures[name])
        print(f"| {folder.name} | {seed} | {name} | {bits:.0f} | {told} |", flush=True)
    ours, single, ids = figures["ours"], figures["single"], figures["ids"]
    good = ours[0] <= 0.95 * single[0] and ours[1] >= single[1] + 0.01 and ours[0] < ids[0] and ours[1] > ids[1]
    print(
        f"{'passed' if good else 'FAILED'}: MCD {100 * (ours[0] / single[0] - 1):+.1f} %, F0 {ours[1] - single[1]:+.3f}"
    )
    return good


def songs(shards: Path, split: str) -> list[Song]:
    """Returns the songs of a split."""
    found, data = [], ShardSet.open(shards, split)
    for i in range(len(data)):
        sample = data.read(i, [AUDIO, "ssl", "f0_hz", "voiced"])
        wave = resample(sample.series[AUDIO], sample.sample_rate_hz, SPEC.sample_rate)
        n_frames = len(wave) // SPEC.hop
        near = nearest_frames(n_frames, SPEC.rate, len(sample.series["f0_hz"]), Fraction(100))
        f0_hz = np.where(sample.series["voiced"][near] > 0, sample.series["f0_hz"][near], 0).astype(np.float32)
        wave = wave[: n_frames * SPEC.hop]
        found.append(Song(wave, sample.series["ssl"].astype(np.float32), log_mel(wave, SPEC, n_frames), f0_hz))
    return found


def clustered(trained: Sequence[Song], k: int, seed: int) -> Array:
    """Returns the centroids of the features."""
    with tempfile.TemporaryDirectory() as scratch, FrameSpill(Path(scratch)) as spill:
        for song in trained:
            spill.append(song.features)
        return fit_codebook(spill, k, seed)[0]


def tokens(name: str, song: Song, adapter: MultiResolution, codebook: Array, rng: np.random.Generator) -> list[Array]:
    """Returns a song's streams."""
    if name == "single":
        return [assign(song.features, codebook).astype(np.int64)]
    n_periods = -(-len(song.features) // adapter.fields.period)
    streams = [stream.astype(np.int64) for stream in tokens_of(adapter, song.features, n_periods)]
    return streams if name == "ours" else [streams[0], *(resampled(one, len(streams[0]), rng) for one in streams[1:])]


def resampled(ids: Array, n_frames: int, rng: np.random.Generator) -> Array:
    """Returns ids brought to a finer rate as numbers: scaled by the constants of the released block, and rounded."""
    finer = 0.885 * np.repeat(ids, n_frames // len(ids)) + rng.normal(0, 0.5, n_frames)
    return np.clip(finer, 0, None).astype(np.int64)


def taught(
    streams: Sequence[Sequence[Array]],
    of: Sequence[Song],
    rates: Sequence[Fraction],
    n_tokens: int,
    steps: int,
    seed: int,
) -> Vocoder:
    """Returns a light decoder that has learned mel and pitch from tokens."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    names = {f"stream_{n}": str(rate) for n, rate in enumerate(rates)}
    decoder = Vocoder(sized_vocoder("tiny", "istft", SPEC, False, names, n_tokens))
    decoder.measure([song.mel for song in of])
    optimiser = torch.optim.AdamW(decoder.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    usable = [n for n, song in enumerate(of) if len(song.mel) > CROP_FRAMES]
    for _ in range(steps):
        chosen = rng.choice(usable, 24)
        crops = [crop(streams[n], of[n], rates, rng) for n in chosen]
        batch = {name: torch.from_numpy(np.stack([one[name] for one in crops])) for name in crops[0]}
        batch["frames"] = torch.full((len(crops),), CROP_FRAMES)
        losses = decoded_losses(decoder.decoded(batch), batch["mel"], batch["period_s"])
        total = (
            sum(DECODED_WEIGHTS.get(name, 1.0) * loss for name, loss in losses.items()) / batch["mel"].shape[:2].numel()
        )
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return decoder.eval()


def crop(streams: Sequence[Array], song: Song, rates: Sequence[Fraction], rng: np.random.Generator) -> dict[str, Array]:
    """Returns a stretch of a song as the decoder learns from it, with its tokens as they are in the whole song."""
    first = int(rng.integers(0, len(song.mel) - CROP_FRAMES))
    span = slice(first, first + CROP_FRAMES)
    given: dict[str, Array] = {"mel": song.mel[span], "period_s": period(song.f0_hz[span])}
    for n, (stream, rate) in enumerate(zip(streams, rates, strict=True)):
        at = tokens_at(len(song.mel), SPEC.rate, len(stream), rate)[span]
        # The same number of tokens for every song of a batch.
        held = stream[np.minimum(at[0] + np.arange(int(CROP_FRAMES * rate / SPEC.rate) + 2), len(stream) - 1)]
        given |= {f"stream_{n}": held, f"stream_{n}_at": at - at[0]}
    return given


def period(f0_hz: Array) -> Array:
    """Returns the period in seconds, 0 where unvoiced."""
    return np.divide(1, f0_hz, where=f0_hz > 0, out=np.zeros_like(f0_hz))


def heard(decoder: Vocoder, streams: Sequence[Sequence[Array]], of: Sequence[Song], rates: Sequence[Fraction]) -> Array:
    """Returns MCD, log-F0 correlation, V/UV F1 and mel-L1 of held-out songs made of their tokens, means over songs."""
    rows = []
    for given, song in zip(streams, of, strict=True):
        inputs: dict[str, Array] = {}
        for n, (stream, rate) in enumerate(zip(given, rates, strict=True)):
            at = tokens_at(len(song.mel), SPEC.rate, len(stream), rate)
            inputs |= {f"stream_{n}": stream, f"stream_{n}_at": at}
        wave = np.concatenate(list(synthesise(decoder, inputs)))
        with torch.inference_mode():
            batch = {name: torch.from_numpy(array)[None] for name, array in inputs.items()}
            f0_hz = decoder.decoded({**batch, "frames": torch.tensor([len(song.mel)])}).f0_hz[0].numpy()
        tracks = [PitchTrack(hz, hz > 0) for hz in (f0_hz, song.f0_hz)]
        mel = log_mel(wave, SPEC, len(song.mel))
        cepstra = [mel_cepstra(one, SPEC.sample_rate) for one in (wave, song.wave)]
        rows.append((mcd(*cepstra), log_f0_correlation(*tracks), voicing_f1(*tracks), mel_l1([mel], [song.mel])))
    return np.nanmean(np.array(rows), axis=0)


if __name__ == "__main__":
    main()
