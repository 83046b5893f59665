"""Gate of voice conversion on synthetic parallel pairs: the same song sung by another, in the other's range.

    python benchmarks/gates/svc.py --songs 192 [--steps N] [--student-steps N] [--objective NAME ...] [--page FOLDER]

Songs that nothing was trained on are converted by the coarse mel alone, by the teacher, and by students of one, two and
four calls, and compared with what the other singer sings. mel-L1 alone rewards blur: the mel of a perfect sampler is
about 1.4 times as far away as the mean of all that are possible. So the Frechet distance of mel frames (FD-mel) and the
error of the global variance stand beside it. Pitch is heard in the sound that a vocoder of the same set makes.

Every song is sung before a steady hiss, as in any room. In digital silence nine tenths of a mel's variance are whether
somebody sings at all: a mean of all that is possible then loses .02 dB of it, and nothing is there to be set right.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autosing.pipeline.threads import one_thread

one_thread()

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from synthetic_set import built, held_out_of, only_at_the_end, options_of, options_of_a_run  # noqa: E402

from autosing.evaluation.conversion.compare import COARSE, SOURCE, Request, compare_conversions  # noqa: E402
from autosing.evaluation.conversion.songs import Choice  # noqa: E402
from autosing.evaluation.heard import Figures  # noqa: E402
from autosing.pipeline.construct.inputs import NamedDataset  # noqa: E402
from autosing.pipeline.construct.sample import SAMPLES  # noqa: E402
from autosing.pipeline.construct.shards import construct_dataset  # noqa: E402
from autosing.pipeline.dataset import Dataset  # noqa: E402
from autosing.pipeline.ingest.partitions import NewSong, append_songs  # noqa: E402
from autosing.pipeline.ingest.synthetic import REFERENCE_COLUMNS, SyntheticSource  # noqa: E402
from autosing.pipeline.run import RunOptions, process  # noqa: E402
from autosing.pipeline.settings import Project  # noqa: E402
from autosing.signal.singer import Song, song  # noqa: E402
from autosing.signal.voice import Voice, voices  # noqa: E402
from autosing.training.run import train  # noqa: E402

Samples = npt.NDArray[np.float32]
SINGERS = 8
# Of the hiss of every song, RMS below full scale: that of a quiet room and a good microphone.
HISS_DB = -50.0
# Seeds of the songs that are converted, apart from those of the set.
FIRST_UNSEEN = 5_000_000
STAGES = ("ssl", "units", "f0", "energy", "mel")
OF_UNITS = {"units": "units.units", **{k: v for k, v in SAMPLES["svc"].columns.items() if k != "soft_units"}}
STEPS = 18
OF_OBJECTIVE = {"consistency": ["grid=20"], "easy": [], "trajectory": ["grid=8"]}
# Steps that cost about as much as one of `trajectory`, which calls the teacher fifteen times.
STEPS_OF = {"consistency": 2.5, "easy": 3.5, "trajectory": 1.0}


@dataclass(frozen=True)
class HissingSource(SyntheticSource):
    """Songs before a steady hiss.

    Args:
        hiss_db: its level, RMS, in dB of full scale.
    """

    hiss_db: float = HISS_DB

    def _new_song(self, name: str, singer: str, made: Song, samples: Samples) -> NewSong:
        rng = np.random.default_rng(list(name.encode()))
        hiss = 10 ** (self.hiss_db / 20) * rng.standard_normal(samples.shape, np.float32)
        return super()._new_song(name, singer, made, samples + hiss)


@dataclass(frozen=True)
class PairSource(HissingSource):
    """Every song twice, by two singers in turns."""

    def songs(self) -> Iterator[NewSong]:
        """Yields the songs, the given one before the wanted one."""
        for n, (voice, other) in enumerate(pairs_of(self.n_songs)):
            for role, who in (("a", voice), ("b", other)):
                made = song(FIRST_UNSEEN + n, who, self.seconds)
                yield self._new_song(f"pairs/{n:03}{role}/{n}", who.name, made, made.wave[:, None])


def pairs_of(n: int) -> list[tuple[Voice, Voice]]:
    """Returns who sings each song and who else."""
    choir = voices(SINGERS, 0)
    return [(choir[i % SINGERS], choir[(i + 1 + (i // SINGERS) % (SINGERS - 1)) % SINGERS]) for i in range(n)]


def main() -> None:
    """Prints the table; exit code 1 where a limit is passed."""
    parser = options_of(__doc__, 2000)
    options_of_a_run(parser)
    parser.add_argument("--student-steps", type=int, default=200, help="of `trajectory`; others take as long")
    parser.add_argument("--vocoder-steps", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--objective", action="append", default=[])
    parser.add_argument("--page", type=Path, help="a folder for a page to listen to")
    parser.add_argument("--guidance", type=float, default=1.5, help="towards the singer who is asked for")
    parser.add_argument("--k", type=int, default=64, help="units")
    # Few units leave much open, and tell little of who sings; soft ones leave little, and the source is heard in them.
    parser.add_argument("--content", choices=("units", "soft_units"), default="units")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        source = HissingSource(options.songs, options.seconds, 0, SINGERS)
        shards = built_with_content(folder, source, options)
        trained("svc", shards, folder / "teacher", options.steps, of_teacher(options))
        vocoder = trained("vocoder", shards, folder / "vocoder", options.vocoder_steps, OF_VOCODER)
        students = {name: student_of(name, shards, folder, options) for name in options.objective or ["consistency"]}
        pairs = read_pairs(folder, options)
        voices = Dataset(str(folder / "set" / "songs"))
        models = (str(folder / "teacher" / "model"), *students.values())
        choice = Choice(2 * options.pairs, (), parallel=True)
        request = Request(models, vocoder, choice, STEPS, seed=options.seed, voices=voices, guidance=options.guidance)
        result = compare_conversions(pairs, request, options.page)
        print("\n".join(result.lines))
        of = result.figures
        full, forced = of[f"teacher, {STEPS} steps"], of["teacher, 1 step"]
        coarse = of[f"teacher, {COARSE} alone"]
        passed = judged_teacher(coarse, full, of[SOURCE])
        for name in students:
            passed &= judged_student(name, of[f"student-{name}, 1 call"], full, forced, coarse)
    sys.exit(not passed)


ENCODER_STEPS = 150
OF_ENCODER = ["size=tiny", "soft_dim=64", "lr=2e-3", "warmup_steps=20", "seconds_per_batch=64"]
OF_VOCODER = ["size=tiny", "lr=2e-3", "warmup_steps=20", "seconds_per_batch=8", "adversarial_weight=0", "ema_decay=0"]


def of_teacher(options: Any) -> list[str]:
    """Returns the teacher's settings."""
    usual = ["size=tiny", f"content={options.content}", f"n_tokens={options.k}", "lr=2e-3", "warmup_steps=50"]
    usual += ["crop_s=1.92", "seconds_per_batch=24", "ema_decay=0.99", f"seed={options.seed}", "validate_samples=16"]
    # Songs are moved to the other's range as a whole, which takes some notes beyond it.
    usual += ["key_shift=1", "key_share=0.3"]
    return [*usual, *options.set]


def built_with_content(folder: Path, source: SyntheticSource, options: Any) -> Path:
    """Returns the folder of a built set with units, or with soft ones of an encoder that has learned from them."""
    k = f"units.k={options.k}"
    if options.content == "units":
        shards = folder / "set" / "shards"
        spec = replace(SAMPLES["svc"], columns=OF_UNITS)
        return shards if shards.exists() else built(folder / "set", source, spec, STAGES, (k,))
    shards = folder / "shards"
    if not shards.exists():
        first = built(folder / "set", source, SAMPLES["content"], STAGES, (k,))
        trained("soft_units", first, folder / "encoder", ENCODER_STEPS, [*OF_ENCODER, f"n_units={options.k}"])
        dataset = processed(folder, str(folder / "set" / "songs"), options)
        construct_dataset([NamedDataset("gate", dataset)], str(shards), held_out_of(SAMPLES["svc"], source.n_songs))
    return shards


def processed(folder: Path, url: str, options: Any) -> Dataset:
    """Returns a data set with all columns, by the codebook and the encoder of the set that is trained on."""
    entry, soft = Project().dataset(url), options.content == "soft_units"
    overrides = [f"units.k={options.k}", f"units.codebook={folder / 'set' / 'songs' / 'models' / 'units'}"]
    overrides += [f"content.model={folder / 'encoder' / 'model'}"] if soft else []
    dataset = Dataset(entry.path)
    stages = [*STAGES, *(["content"] if soft else []), "cuts"]
    process(dataset, Project().graph(entry, overrides), stages, RunOptions("local"))
    return dataset


def student_of(objective: str, shards: Path, folder: Path, options: Any) -> str:
    """Returns a student of the teacher, by an objective."""
    told = [f"objective={objective}", f"begin_from={folder / 'teacher' / 'model'}", f"seed={options.seed}"]
    told += ["seconds_per_batch=24", "crop_s=1.92", "lr=1e-3", "warmup_steps=20", "ema_decay=0.98"]
    told += ["validate_samples=16", *OF_OBJECTIVE[objective]]
    steps = round(options.student_steps * STEPS_OF[objective])
    return trained("svc_student", shards, folder / f"student-{objective}", steps, told)


def trained(recipe: str, shards: Path, folder: Path, steps: int, settings: Sequence[str]) -> str:
    """Returns a model of the set, trained unless it is there."""
    model = folder / "model"
    if not model.exists():
        started = time.process_time()
        result = train(recipe, shards, folder, [*settings, *only_at_the_end(steps)])
        assert result.model is not None
        told = {name: round(value, 3) for name, value in result.metrics.items()}
        print(f"{folder.name}: {steps} steps, {time.process_time() - started:.0f} CPU s, {told}", flush=True)
    return str(model)


def read_pairs(folder: Path, options: Any) -> Dataset:
    """Returns songs that nothing was trained on, each by two singers, with their columns."""
    url = str(folder / "pairs")
    if not Path(url).exists():
        append_songs(url, PairSource(options.pairs, options.seconds).songs(), REFERENCE_COLUMNS)
    return processed(folder, url, options)


def judged_teacher(coarse: Figures, full: Figures, source: Figures) -> bool:
    """Prints how the teacher stands to the coarse mel and to the source; returns whether all limits hold."""
    checks = {
        "FD-mel of the coarse mel's": (full["fd_mel"] / coarse["fd_mel"], 0.70),
        "global variance error of the coarse mel's": (full["gv_error_db"] / coarse["gv_error_db"], 0.70),
        "mel-L1 of the coarse mel's": (full["mel_l1"] / coarse["mel_l1"], 1.45),
        "mel-L1 of the source's": (full["mel_l1"] / source["mel_l1"], 0.85),
        "short of a log-F0 correlation of 1": (1 - full["f0_corr"], 0.01),
        "of the songs are not like the target": (1 - full["to_target"], 0.5),
    }
    return told("teacher", checks)


def judged_student(name: str, one: Figures, full: Figures, forced: Figures, coarse: Figures) -> bool:
    """Prints how a student of one call stands to its teacher; returns whether all limits hold."""
    checks = {
        "FD-mel of the teacher's": (one["fd_mel"] / full["fd_mel"], 1.2),
        "global variance error of the teacher's": (one["gv_error_db"] / full["gv_error_db"], 1.2),
        "FD-mel of the teacher's in one step": (one["fd_mel"] / forced["fd_mel"], 0.70),
        "global variance error of the teacher's in one step": (one["gv_error_db"] / forced["gv_error_db"], 0.70),
        # Both wait for the same coarse mel.
        "time of the teacher's denoiser": ((one["rtf"] - coarse["rtf"]) / (full["rtf"] - coarse["rtf"]), 1 / 20),
    }
    return told(f"student by {name}", checks)


def told(name: str, checks: Mapping[str, tuple[float, float]]) -> bool:
    """Prints ratios with their limits."""
    for what, (ratio, limit) in checks.items():
        print(f"{name}: {ratio:.3f} {what} (limit {limit:.3g}) {'passed' if ratio <= limit else 'FAILED'}", flush=True)
    return all(ratio <= limit for ratio, limit in checks.values())


if __name__ == "__main__":
    main()
