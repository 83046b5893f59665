"""Gate of singing from lyrics: T2S hears them, SM2A hears what is sung, and the aligner hears words in what comes out.

    python benchmarks/gates/lyrics.py [--keep FOLDER] [--seed N] [--set t2s.field=value ...]

Everything is learned from synthetic songs: tokens by a semantic bottleneck, codes by the codec, word times by the
shipped aligner; figures are of songs that are held out. T2S is compared with what the token before tells alone, and
with the lyrics of another song; SM2A with the most frequent codes, and with the tokens of another song, over whole
songs and where they are sung: a third of them is rests, most of which have one code. Then the lyrics of songs that
nobody has heard are sung, and what the aligner's net reads without knowing them is compared with them (symbol errors),
beside what it reads in the recordings, in those after the codec, and in the sung ones against another song's lyrics.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path

from autosing.pipeline.threads import one_thread

one_thread()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from synthetic_set import built, held_out_of, only_at_the_end, options_of, options_of_a_run  # noqa: E402

from autosing.models.codecs import AnyCodec, load_codec  # noqa: E402
from autosing.models.directory import load_model  # noqa: E402
from autosing.models.sampling import Sampling  # noqa: E402
from autosing.pipeline.construct.inputs import NamedDataset  # noqa: E402
from autosing.pipeline.construct.sample import SampleSpec  # noqa: E402
from autosing.pipeline.construct.shards import construct_dataset  # noqa: E402
from autosing.pipeline.dataset import Dataset  # noqa: E402
from autosing.pipeline.ingest.synthetic import HZ, SyntheticSource  # noqa: E402
from autosing.pipeline.run import RunOptions, process  # noqa: E402
from autosing.pipeline.settings import Project  # noqa: E402
from autosing.signal.singer import Song, song  # noqa: E402
from autosing.signal.voice import Voice, voices  # noqa: E402
from autosing.singing.models import load_performer  # noqa: E402
from autosing.sounds.outputs import Outputs  # noqa: E402
from autosing.synthesis.sing import Given, Performer, Wanted  # noqa: E402
from autosing.synthesis.singing.lyrics import lrc_lyrics  # noqa: E402
from autosing.synthesis.singing.takes import Judge, Verdict  # noqa: E402
from autosing.training.loader import Reading  # noqa: E402
from autosing.training.recipes import apply_settings, default_config  # noqa: E402
from autosing.training.run import train  # noqa: E402
from autosing.training.shards import Data  # noqa: E402
from autosing.training.step import tensors  # noqa: E402

Wave = npt.NDArray[np.float32]
SINGERS, VALID = 8, "valid/"
# No songs are kept for tests: figures are of those for validation, which choose nothing, and sung are lyrics of others.
PARTS = SampleSpec(
    "parts",
    {"ssl": "ssl.ssl", "phones": "reference.ref_phones", "f0_hz": "f0.f0_hz", "voiced": "f0.voiced"},
    audio="voice",
    test_songs=0,
)
# The lines of the LRC lyrics, whose texts the bottleneck learns from.
SETTINGS = ("ssl.model=log_mel", "align.method=rate", "cuts.method=lines")
LEVELS = ("codes_0", "codes_1", "codes_2")
TOKENS = {"semantic": "semantic.semantic"} | {name: f"codes.{name}" for name in LEVELS}
WHOLE = SampleSpec("whole", TOKENS, cuts=None, words=True, test_songs=0)
# Pieces of the same songs, of 3 to 12 s, in which somebody sings for four fifths of the time.
PIECES = SampleSpec("pieces", TOKENS, test_songs=0)
SUNG_CUTS = ("cuts.method=sung", "cuts.words=align", "cuts.activity=")
# Seeds of the songs whose lyrics are sung; those of the set are far below.
FIRST_UNSEEN = 8_000_000
MOST_PERPLEXITY, LEAST_GAP, LEAST_ACCURACY = 0.8, 1.3, 2.0
STARTED = time.monotonic()
# Of the symbols that the aligner reads in what is sung, beside its own errors on the recordings.
MOST_ERRORS_BESIDE = 0.25


@dataclass(frozen=True)
class Models:
    """Folders of what was trained."""

    semantic: str
    codec: str
    t2s: str
    sm2a: str


def main() -> None:
    """Prints the figures; exit code 1 where a limit is passed."""
    options = _options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        models, good = learned(folder, options)
        good += [sung(models, folder, options)]
    sys.exit(not all(good))


def _options() -> argparse.Namespace:
    parser = options_of(__doc__, 1500)
    # Of shorter songs more is rests, which have one code: what is most frequent tells much of them.
    parser.set_defaults(songs=640, seconds=20)
    options_of_a_run(parser)
    parser.add_argument("--semantic-steps", type=int, default=1000)
    parser.add_argument("--sm2a-steps", type=int, default=1600)
    parser.add_argument("--codec-steps", type=int, default=800)
    parser.add_argument("--codec", type=Path, help="a codec of synthetic songs, in place of training one")
    parser.add_argument("--sung", type=int, default=24, help="songs whose lyrics are sung")
    parser.add_argument("--guidance", type=float, default=2.0)
    return parser.parse_args()


def learned(folder: Path, options: argparse.Namespace) -> tuple[Models, list[bool]]:
    """Returns the models, and whether what they know of held-out songs keeps the limits."""
    parts = folder / "shards"
    if not parts.exists():
        source = SyntheticSource(options.songs, options.seconds, 0, SINGERS)
        built(folder, source, PARTS, ("ssl", "f0"), SETTINGS, "auto")
    of_semantic = ["alphabet=letters", "lr=3e-3", "seconds_per_batch=24", "n_tokens=256"]
    of_semantic += only_at_the_end(options.semantic_steps)
    of_codec = ["resynthesis=mel", "lr=1e-3", "seconds_per_batch=32", "adversarial_weight=0", "ema_decay=0.99"]
    # The more codes a level has, the better it sounds, and the less of them tokens tell.
    of_codec += ["n_codes=48", "code_dim=32", *only_at_the_end(options.codec_steps)]
    of_parts = {"semantic": of_semantic} | ({} if options.codec else {"codec": of_codec})
    made = side_by_side(parts, folder, of_parts, options)
    semantic, codec = made["semantic"][0], str(options.codec or made["codec"][0])
    whole = tokenized(folder, semantic, codec, options.songs)
    usual = ["lr=3e-3", "seconds_per_batch=40", "validate_samples=999"]
    steps = {"t2s": options.steps, "sm2a": options.sm2a_steps}
    of_tokens = {recipe: [*usual, *only_at_the_end(n_steps)] for recipe, n_steps in steps.items()}
    # A model that forgets some of what it sung listens more to the lyrics.
    of_tokens["t2s"] += ["history_dropout=0.2"]
    made = side_by_side(whole, folder, of_tokens, options)
    t2s, told = made["t2s"]
    good = [
        told["perplexity"] <= MOST_PERPLEXITY * told["bigram_perplexity"],
        told["lyrics_gap"] >= LEAST_GAP,
    ]
    sm2a, told = made["sm2a"]
    pieces = where_sung(sm2a, folder / PIECES.name, [*usual, *told_of("sm2a", options)])
    print(f"sm2a, where it is sung: {said(pieces)}")
    for where, found in (("over whole songs", told), ("where it is sung", pieces)):
        ratio = found["token_accuracy"] / found["unigram_accuracy"]
        print(f"sm2a, {where}: {ratio:.3f} x the most frequent codes, gap {found['semantic_gap']:.2f} x")
        good += [ratio >= LEAST_ACCURACY, found["semantic_gap"] >= LEAST_GAP]
    return Models(semantic, codec, t2s, sm2a), good


def two_processes() -> ProcessPoolExecutor:
    """Returns processes for work that does not depend on each other."""
    return ProcessPoolExecutor(2, get_context("spawn"))


def side_by_side(
    shards: Path, folder: Path, settings: Mapping[str, list[str]], options: argparse.Namespace
) -> dict[str, tuple[str, dict[str, float]]]:
    """Returns what `trained` returns, by recipe; each recipe learns in a process of its own."""
    with two_processes() as pool:
        made = {recipe: pool.submit(trained, recipe, shards, folder, own, options) for recipe, own in settings.items()}
        return {recipe: one.result() for recipe, one in made.items()}


def trained(
    recipe: str, shards: Path, folder: Path, settings: list[str], options: argparse.Namespace
) -> tuple[str, dict[str, float]]:
    """Returns the model of a run, which is made unless it is there, and its figures on held-out songs."""
    torch.set_num_threads(options.threads)
    run = folder / f"{recipe}-{options.seed}"
    usual = ["size=tiny", "warmup_steps=20", f"seed={options.seed}"]
    started = time.process_time()
    if not (run / "model").exists():
        train(recipe, shards, run, [*usual, *settings, *told_of(recipe, options)], resume=run.exists())
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    last = next(row for row in reversed(rows) if any(name.startswith(VALID) for name in row))
    told = {name.removeprefix(VALID): value for name, value in last.items() if name.startswith(VALID)}
    print(f"{recipe}: {said(told)}; {time.process_time() - started:.0f} CPU s", flush=True)
    return str(run / "model"), told


def told_of(recipe: str, options: argparse.Namespace) -> list[str]:
    """Returns the settings of a recipe that are asked for."""
    return [setting.partition(".")[2] for setting in options.set if setting.startswith(f"{recipe}.")]


def said(told: Mapping[str, float]) -> str:
    """Returns figures as a line."""
    return ", ".join(f"{name} {value:.3f}" for name, value in told.items())


def where_sung(model: str, shards: Path, settings: list[str]) -> Mapping[str, float]:
    """Returns the figures of an SM2A model on the held-out pieces of a set, beside the most frequent codes of it."""
    config = apply_settings(default_config("sm2a"), ["size=tiny", *settings])
    data = Data.open((str(shards),))
    task = config.task(data.manifest)
    learner = task.build().eval()
    collate = partial(task.collate, training=False)
    train_set, valid = (
        Reading(data.split(split), columns=config.columns, collate=collate, seed=0, budget_s=40)
        for split in ("train", "valid")
    )
    task.initialise(learner, train_set.spread(task.statistics_samples))
    learner.language = load_model(model).model
    with torch.no_grad():
        return task.validate(learner, (tensors(batch, torch.device("cpu")) for batch in valid.epoch(0)))


def tokenized(folder: Path, semantic: str, codec: str, n_songs: int) -> Path:
    """Returns the set of whole songs as tokens and codes, with the times that the aligner gives to their words.

    Beside it one is made of the pieces of these songs that are sung; the same songs are held out.
    """
    missing = [spec for spec in (PIECES, WHOLE) if not (folder / spec.name).exists()]
    if missing:
        entry = Project().dataset(str(folder / "songs"))
        dataset = Dataset(entry.path)
        settings = ("ssl.model=log_mel", f"semantic.model={semantic}", f"codes.model={codec}", *SUNG_CUTS)
        process(dataset, Project().graph(entry, settings), ["semantic", "codes", "align", "cuts"], RunOptions())
        for spec in missing:
            construct_dataset([NamedDataset("gate", dataset)], str(folder / spec.name), held_out_of(spec, n_songs))
    return folder / WHOLE.name


def sung(models: Models, folder: Path, options: argparse.Namespace) -> bool:
    """Sings lyrics and prints what is heard of them; returns whether they come in order."""
    with two_processes() as pool:
        found = list(pool.map(partial(heard, models, folder, options), range(options.sung)))
    print("| sound | symbol errors | lines found in order | words | beside the lyrics |")
    print("|---" * 5 + "|")
    for name in found[0]:
        print(row(name, [one[name] for one in found]))
    print(f"{len(found)} songs of {options.seconds:g} s, {time.monotonic() - STARTED:.0f} s since the start of it all")
    by_name = {name: float(np.mean([one[name].symbol_error_rate for one in found])) for name in found[0]}
    more = by_name["sung"] - by_name["recordings"]
    good = more <= MOST_ERRORS_BESIDE
    print(f"{'passed' if good else 'FAILED'}: {more:.3f} more errors than in recordings", flush=True)
    return good


def heard(models: Models, folder: Path, options: argparse.Namespace, number: int) -> dict[str, Verdict]:
    """Returns what is heard, by what it is heard in, of the lyrics of an unseen song."""
    torch.set_num_threads(options.threads)
    performer, codec, judge = ready(models)
    voice, made = unseen(number, options)
    lines, others = (one.lyrics.splitlines() for one in (made, unseen((number or options.sung) - 1, options)[1]))
    wave = by_models(performer, made, voice, number, options)
    if options.keep:
        written = Outputs.of(folder / "sung" / f"{number:02}.wav", None, 16, 1)
        written.write(folder / "sung" / f"{number:02}.wav", wave, performer.sample_rate)
    return {
        "recordings": judge.judge(made.wave, HZ, lines),
        "after the codec": judge.judge(resounding(codec, made.wave), HZ, lines),
        "sung": judge.judge(wave, performer.sample_rate, lines),
        "others' lyrics": judge.judge(wave, performer.sample_rate, others),
    }


@cache
def ready(models: Models) -> tuple[Performer, AnyCodec, Judge]:
    """Returns who sings, the codec by itself, and who listens."""
    performer = load_performer(models.t2s, models.sm2a, models.codec, (), "cpu", "shipped", "")
    return performer, load_codec(models.codec, device="cpu"), Judge()


def unseen(number: int, options: argparse.Namespace) -> tuple[Voice, Song]:
    """Returns a song that nobody has heard, with its singer."""
    voice = voices(SINGERS)[number % SINGERS]
    return voice, song(FIRST_UNSEEN + number, voice, options.seconds)


def by_models(performer: Performer, made: Song, voice: Voice, number: int, options: argparse.Namespace) -> Wave:
    """Returns the lyrics of a song as the models sing them at the times of its lines."""
    wanted = Wanted(
        lrc_lyrics(made.lrc),
        options.seconds,
        voice.name,
        retries=0,
        seed=number,
        tokens=Sampling(temperature=0.7, guidance=options.guidance),
        codes=Sampling(temperature=0.7),
        loudness="none",
    )
    return performer.sing(wanted, Given()).takes[0].wave


def resounding(codec: AnyCodec, wave: Wave) -> Wave:
    """Returns what a codec makes of a wave at its own rate."""
    return codec.decode(codec.encode(wave))[: len(wave)]


def row(name: str, verdicts: list[Verdict]) -> str:
    """Returns a row of the table: means over songs."""
    cells = [np.mean([getattr(one, field) for one in verdicts]) for field in ("symbol_error_rate", "lines", "words")]
    beside = np.mean([one.beside for one in verdicts])
    return f"| {name} | {cells[0]:.3f} | {100 * cells[1]:.0f} % | {100 * cells[2]:.0f} % | {100 * beside:.0f} % |"


if __name__ == "__main__":
    main()
