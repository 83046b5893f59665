"""Gate of voice conversion on synthetic parallel pairs: the same song sung by another, in the other's range.

    python benchmarks/gates/svc.py --songs 192 [--steps N] [--student-steps N] [--objective NAME ...] [--page FOLDER]

Songs that nothing was trained on are converted by the coarse mel alone, by the teacher, and by students of one, two and
four calls, and compared with what the other singer sings. mel-L1 alone rewards blur: the mel of a perfect sampler is
about 1.4 times as far away as the mean of all that are possible. So the Frechet distance of mel frames (FD-mel) and the
error of the global variance stand beside it. Pitch is heard in the sound that a vocoder of the same set makes.
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

import torch  # noqa: E402
from synthetic_set import built, only_at_the_end, options_of, options_of_a_run  # noqa: E402

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
from autosing.signal.singer import song  # noqa: E402
from autosing.signal.voice import Voice, voices  # noqa: E402
from autosing.training.run import train  # noqa: E402

SINGERS = 8
# Seeds of the songs that are converted, apart from those of the set.
FIRST_UNSEEN = 5_000_000
STAGES = ("ssl", "units", "f0", "energy", "mel")
COLUMNS = {"units": "units.units", **SAMPLES["svc"].columns}
STEPS = 18
OF_OBJECTIVE = {"consistency": ["grid=20"], "easy": [], "trajectory": ["grid=8"]}
# Steps that cost about as much as one of `trajectory`, which calls the teacher fifteen times.
STEPS_OF = {"consistency": 2.5, "easy": 3.5, "trajectory": 1.0}


@dataclass
class PairSource:
    """Every song twice, by two singers in turns."""

    n_pairs: int
    seconds: float

    def songs(self) -> Iterator[NewSong]:
        """Yields the songs, the given one before the wanted one."""
        shape = SyntheticSource(1, self.seconds)
        for n, (voice, other) in enumerate(pairs_of(self.n_pairs)):
            for role, who in (("a", voice), ("b", other)):
                made = song(FIRST_UNSEEN + n, who, self.seconds)
                name = f"pairs/{n:03}{role}/{n}"
                yield shape._new_song(name, who.name, made, made.wave[:, None])


def pairs_of(n: int) -> list[tuple[Voice, Voice]]:
    """Returns who sings each song and who else."""
    choir = voices(SINGERS, 0)
    return [(choir[i % SINGERS], choir[(i + 1 + (i // SINGERS) % (SINGERS - 1)) % SINGERS]) for i in range(n)]


def main() -> None:
    """Prints the table; exit code 1 where a limit is passed."""
    parser = options_of(__doc__, 2000)
    options_of_a_run(parser)
    parser.add_argument("--student-steps", type=int, default=120, help="of `trajectory`; others take as long")
    parser.add_argument("--vocoder-steps", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--objective", action="append", default=[])
    parser.add_argument("--page", type=Path, help="a folder for a page to listen to")
    # Soft units tell the mel so well that little is left open, and something of who sings.
    parser.add_argument("--content", choices=("units", "soft_units"), default="units")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        source = SyntheticSource(options.songs, options.seconds, 0, SINGERS)
        shards = built_with_content(folder, source)
        trained("svc", shards, folder / "teacher", options.steps, of_teacher(options))
        vocoder = trained("vocoder", shards, folder / "vocoder", options.vocoder_steps, OF_VOCODER)
        students = {name: student_of(name, shards, folder, options) for name in options.objective or ["consistency"]}
        pairs = read_pairs(folder, options.pairs, options.seconds)
        voices = Dataset(str(folder / "set" / "songs"))
        models = (str(folder / "teacher" / "model"), *students.values())
        choice = Choice(2 * options.pairs, (), parallel=True)
        request = Request(models, vocoder, choice, STEPS, seed=options.seed, voices=voices)
        result = compare_conversions(pairs, request, options.page)
        print("\n".join(result.lines))
        of = result.figures
        full, forced = of[f"teacher, {STEPS} steps"], of["teacher, 1 step"]
        coarse = of[f"teacher, {COARSE} alone"]
        passed = judged_teacher(coarse, full, of[SOURCE])
        for name in students:
            passed &= judged_student(name, of[f"student-{name}, 1 call"], full, forced, coarse)
    sys.exit(not passed)


UNITS = ("units.k=256",)
ENCODER_STEPS = 150
OF_ENCODER = ["size=tiny", "n_units=256", "soft_dim=64", "lr=2e-3", "warmup_steps=20", "seconds_per_batch=64"]
OF_VOCODER = ["size=tiny", "lr=2e-3", "warmup_steps=20", "seconds_per_batch=8", "adversarial_weight=0", "ema_decay=0"]


def of_teacher(options: Any) -> list[str]:
    """Returns the teacher's settings."""
    usual = ["size=tiny", f"content={options.content}", "n_tokens=256", "lr=2e-3", "warmup_steps=50", "crop_s=1.92"]
    usual += ["seconds_per_batch=24", "ema_decay=0.99", f"seed={options.seed}", "validate_samples=16"]
    return [*usual, *options.set]


def built_with_content(folder: Path, source: SyntheticSource) -> Path:
    """Returns the folder of a built set with units, and soft ones of an encoder that has learned from the same set."""
    shards = folder / "shards"
    if not shards.exists():
        first = built(folder / "set", source, SAMPLES["content"], STAGES, UNITS)
        trained("soft_units", first, folder / "encoder", ENCODER_STEPS, OF_ENCODER)
        dataset = processed(folder, str(folder / "set" / "songs"))
        held_out = source.n_songs // 8
        spec = replace(SAMPLES["svc"], columns=COLUMNS, valid_songs=held_out, test_songs=held_out)
        construct_dataset([NamedDataset("gate", dataset)], str(shards), spec)
    return shards


def processed(folder: Path, url: str) -> Dataset:
    """Returns a data set with all columns, by the codebook and the encoder of the set that is trained on."""
    entry = Project().dataset(url)
    codebook, encoder = folder / "set" / "songs" / "models" / "units", folder / "encoder" / "model"
    graph = Project().graph(entry, (*UNITS, f"units.codebook={codebook}", f"content.model={encoder}"))
    dataset = Dataset(entry.path)
    process(dataset, graph, [*STAGES, "content", "cuts"], RunOptions("local"))
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


def read_pairs(folder: Path, n: int, seconds: float) -> Dataset:
    """Returns songs that nothing was trained on, each by two singers, with their columns."""
    url = str(folder / "pairs")
    if not Path(url).exists():
        append_songs(url, PairSource(n, seconds).songs(), REFERENCE_COLUMNS)
    return processed(folder, url)


def judged_teacher(coarse: Figures, full: Figures, source: Figures) -> bool:
    """Prints how the teacher stands to the coarse mel and to the source; returns whether all limits hold."""
    checks = {
        "FD-mel of the coarse mel's": (full["fd_mel"] / coarse["fd_mel"], 0.70),
        "global variance error of the coarse mel's": (full["gv_error_db"] / coarse["gv_error_db"], 0.70),
        "mel-L1 of the coarse mel's": (full["mel_l1"] / coarse["mel_l1"], 1.45),
        "mel-L1 of the source's": (full["mel_l1"] / source["mel_l1"], 0.85),
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
