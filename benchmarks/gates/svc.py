"""Gate of voice conversion on synthetic parallel pairs: the same song sung by another, in the other's range.

    python benchmarks/gates/svc.py [--steps N] [--student-steps N] [--objective NAME ...] [--set svc.field=value ...]

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

import numpy as np  # noqa: E402
import numpy.typing as npt  # noqa: E402
import torch  # noqa: E402
from synthetic_set import built, only_at_the_end, options_of, options_of_a_run  # noqa: E402

from autosing.models.directory import LoadedModel, load_model  # noqa: E402
from autosing.models.excitation import f0_at_samples  # noqa: E402
from autosing.models.svc import Sampling, SvcModel, convert_mel  # noqa: E402
from autosing.models.svc_input import svc_inputs  # noqa: E402
from autosing.models.vocoder import Vocoder, synthesise  # noqa: E402
from autosing.pipeline.construct.inputs import NamedDataset  # noqa: E402
from autosing.pipeline.construct.sample import SAMPLES  # noqa: E402
from autosing.pipeline.construct.shards import construct_dataset  # noqa: E402
from autosing.pipeline.dataset import Dataset  # noqa: E402
from autosing.pipeline.ingest.partitions import NewSong, append_songs  # noqa: E402
from autosing.pipeline.ingest.synthetic import REFERENCE_COLUMNS, SyntheticSource  # noqa: E402
from autosing.pipeline.run import RunOptions, process  # noqa: E402
from autosing.pipeline.settings import Project  # noqa: E402
from autosing.signal.f0 import f0  # noqa: E402
from autosing.signal.singer import song  # noqa: E402
from autosing.signal.voice import Voice, voices  # noqa: E402
from autosing.training.metrics import (  # noqa: E402
    PitchTrack,
    SingerProbe,
    fd_mel,
    global_variance_error,
    log_f0_correlation,
    mcd,
    mel_cepstra,
    mel_l1,
)
from autosing.training.run import train  # noqa: E402
from autosing.training.shards import ShardSet  # noqa: E402

Array = npt.NDArray[Any]
SINGERS, TRACK_HZ = 8, 100
# Seeds of the songs that are converted, apart from those of the set.
FIRST_UNSEEN = 5_000_000
STAGES = ("ssl", "units", "f0", "energy", "mel")
COLUMNS = {"units": "units.units", **SAMPLES["svc"].columns}
TEACHER = Sampling(steps=18, solver="heun")


@dataclass(frozen=True)
class Pair:
    """A song of one singer, as it is given, and of another, as it is wanted: columns, semitones between, and mel."""

    given: Mapping[str, Array]
    source: str
    target: str
    key: float
    wanted: Array


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
    parser.add_argument("--student-steps", type=int, default=400)
    parser.add_argument("--vocoder-steps", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=16)
    parser.add_argument("--objective", action="append", default=[])
    parser.add_argument("--content", choices=("units", "soft_units"), default="soft_units")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch)
        source = SyntheticSource(options.songs, options.seconds, 0, SINGERS)
        shards = built_with_content(folder, source)
        teacher = trained("svc", shards, folder / "teacher", options.steps, of_teacher(options))
        vocoder = trained("vocoder", shards, folder / "vocoder", options.vocoder_steps, OF_VOCODER)
        pairs = list(read_pairs(folder, options.pairs, options.seconds))
        table = Table(pairs, probe_of(shards), vocoder.model, teacher)
        table.head()
        table.row("source as it is", [pair.given["mel"] for pair in pairs], 0.0)
        table.row("target as it is", [pair.wanted for pair in pairs], 0.0)
        coarse = table.of("coarse mel alone", teacher, Sampling(0))
        full = table.of("teacher, 18 steps of Heun", teacher, TEACHER)
        forced = table.of("teacher, 1 step", teacher, Sampling(1, "euler"))
        passed = judged_teacher(coarse, full, table.rows["source as it is"])
        for objective in options.objective:
            told = [f"objective={objective}", f"begin_from={folder / 'teacher' / 'model'}", f"seed={options.seed}"]
            told += ["seconds_per_batch=64", "crop_s=2.56", "lr=1e-3", "warmup_steps=20", "ema_decay=0.95"]
            name = f"student-{objective}"
            student = trained("svc_student", shards, folder / name, options.student_steps, told)
            rows = {n: table.of(f"{objective}, {n} calls", student, Sampling(n)) for n in (1, 2, 4)}
            passed &= judged_student(objective, rows[1], full, forced)
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


def trained(recipe: str, shards: Path, folder: Path, steps: int, settings: Sequence[str]) -> LoadedModel:
    """Returns a model of the set, trained unless it is there."""
    model = folder / "model"
    if not model.exists():
        started = time.process_time()
        result = train(recipe, shards, folder, [*settings, *only_at_the_end(steps)])
        assert result.model is not None
        told = {name: round(value, 3) for name, value in result.metrics.items()}
        print(f"{folder.name}: {steps} steps, {time.process_time() - started:.0f} CPU s, {told}", flush=True)
    return load_model(model)


def read_pairs(folder: Path, n: int, seconds: float) -> Iterator[Pair]:
    """Yields songs that nothing was trained on, with their columns."""
    url = str(folder / "pairs")
    if not Path(url).exists():
        append_songs(url, PairSource(n, seconds).songs(), REFERENCE_COLUMNS)
    dataset = processed(folder, url)
    rows = {row.id: row.values for row in dataset.read(list(COLUMNS.values()))}
    names = sorted(rows)
    for (one, other), (voice, wanted) in zip(zip(names[::2], names[1::2], strict=True), pairs_of(n), strict=True):
        given = {name: np.asarray(rows[one][address]) for name, address in COLUMNS.items()}
        key = wanted.lowest_midi - voice.lowest_midi
        mel = np.asarray(rows[other]["mel.mel"], np.float32)
        length = min(len(mel), len(given["mel"]))
        yield Pair(
            given | {"mel": given["mel"][:length].astype(np.float32)}, voice.name, wanted.name, key, mel[:length]
        )


def probe_of(shards: Path) -> SingerProbe:
    """Returns a probe of the training songs' singers."""
    data = ShardSet.open(shards, "train")
    read = [data.read(i, ["mel"]) for i in range(len(data))]
    return SingerProbe.fit([r.series["mel"].astype(np.float32) for r in read], [str(r.info["singer"]) for r in read])


@dataclass(frozen=True)
class Figures:
    """What is said of a way, means over pairs; seconds are of all."""

    mel_l1: float
    fd_mel: float
    gv_error_db: float
    seconds: float


class Table:
    """Rows of figures, printed as they come."""

    def __init__(self, pairs: Sequence[Pair], probe: SingerProbe, vocoder: Any, teacher: LoadedModel) -> None:
        assert isinstance(vocoder, Vocoder)
        self.pairs, self.probe, self.vocoder, self.rows = pairs, probe, vocoder, dict[str, Figures]()
        self.singers = list(teacher.contract["singers"])

    def head(self) -> None:
        """Prints the head."""
        titles = ["by", "mel-L1", "FD-mel", "GV error, dB", "MCD, dB", "log-F0 correlation", "F0 within 50 cents, %"]
        titles += ["sounds like the target, %", "like the source, %", "s"]
        print("| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")

    def of(self, name: str, loaded: LoadedModel, how: Sampling) -> Figures:
        """Prints a row of a model."""
        model = loaded.model
        assert isinstance(model, SvcModel)
        rates = rates_of_contract(loaded)
        given = [self._inputs(pair, model, rates) for pair in self.pairs]
        started = time.process_time()
        mels = [np.concatenate(list(convert_mel(model, inputs, how))) for inputs in given]
        return self.row(name, mels, time.process_time() - started)

    def _inputs(self, pair: Pair, model: SvcModel, rates: Mapping[str, Any]) -> dict[str, Array]:
        n_frames, fields = len(pair.wanted), model.fields
        given = svc_inputs(pair.given, fields.streams, fields.tokens, n_frames, rates, pair.key)
        weights = np.zeros((n_frames, len(self.singers) + 1), np.float32)
        weights[:, 1 + self.singers.index(pair.target)] = 1
        return {**given, "singer_weights": weights}

    def row(self, name: str, mels: Sequence[Array], seconds: float) -> Figures:
        """Prints a row of mels."""
        wanted = [pair.wanted for pair in self.pairs]
        told = self.probe.predict(mels)
        like = [
            100 * np.mean([t == getattr(p, who) for t, p in zip(told, self.pairs, strict=True)])
            for who in ("target", "source")
        ]
        pitch = np.nanmean([self._pitch(pair, mel) for pair, mel in zip(self.pairs, mels, strict=True)], axis=0)
        found = Figures(mel_l1(mels, wanted), fd_mel(mels, wanted), global_variance_error(mels, wanted), seconds)
        shown = [f"{found.mel_l1:.3f}", f"{found.fd_mel:.2f}", f"{found.gv_error_db:.2f}", f"{pitch[0]:.2f}"]
        shown += [f"{pitch[1]:.4f}", f"{100 * pitch[2]:.1f}", f"{like[0]:.0f}", f"{like[1]:.0f}", f"{seconds:.2f}"]
        print(f"| {name} | " + " | ".join(shown) + " |", flush=True)
        self.rows[name] = found
        return found

    def _pitch(self, pair: Pair, mel: Array) -> tuple[float, float, float]:
        """Returns MCD beside the target's copy-synthesis, and how the pitch heard goes with the pitch asked for."""
        spec = self.vocoder.spec
        hz = np.asarray(pair.given["f0_hz"]) * 2 ** (pair.key / 12)
        at = f0_at_samples(hz, pair.given["voiced"], 100, len(mel) * spec.hop, spec.sample_rate)
        sound, copy = (np.concatenate(list(synthesise(self.vocoder, {"mel": m}, at))) for m in (mel, pair.wanted))
        n = len(sound) * TRACK_HZ // spec.sample_rate
        heard = f0(sound, spec.sample_rate, n)
        track = PitchTrack(heard.f0_hz, heard.voiced)
        asked = PitchTrack(hz[:n], np.asarray(pair.given["voiced"][:n]))
        both = np.asarray(track.voiced[: len(asked.voiced)], bool) & np.asarray(asked.voiced, bool)
        cents = 1200 * np.abs(np.log2(np.maximum(track.f0_hz[: len(hz)], 1) / np.maximum(asked.f0_hz, 1)))
        near = float(np.mean(cents[both] <= 50)) if both.any() else float("nan")
        distortion = mcd(*(mel_cepstra(wave, spec.sample_rate) for wave in (sound, copy)))
        return distortion, log_f0_correlation(track, asked), near


def rates_of_contract(loaded: LoadedModel) -> dict[str, Any]:
    """Returns the rates of a model's contract as fractions."""
    from fractions import Fraction

    return {name: Fraction(rate) for name, rate in loaded.contract["rates"].items()}


def judged_teacher(coarse: Figures, full: Figures, source: Figures) -> bool:
    """Prints how the teacher stands to the coarse mel and to the source; returns whether all limits hold."""
    checks = {
        "FD-mel of the coarse mel's": (full.fd_mel / coarse.fd_mel, 0.70),
        "global variance error of the coarse mel's": (full.gv_error_db / coarse.gv_error_db, 0.70),
        "mel-L1 of the coarse mel's": (full.mel_l1 / coarse.mel_l1, 1.45),
        "mel-L1 of the source's": (full.mel_l1 / source.mel_l1, 0.85),
    }
    return told("teacher", checks)


def judged_student(name: str, one: Figures, full: Figures, forced: Figures) -> bool:
    """Prints how a student of one call stands to its teacher; returns whether all limits hold."""
    checks = {
        "FD-mel of the teacher's": (one.fd_mel / full.fd_mel, 1.2),
        "global variance error of the teacher's": (one.gv_error_db / full.gv_error_db, 1.2),
        "FD-mel of the teacher's in one step": (one.fd_mel / forced.fd_mel, 0.70),
        "global variance error of the teacher's in one step": (one.gv_error_db / forced.gv_error_db, 0.70),
        "time of the teacher's": (one.seconds / full.seconds, 1 / 20),
    }
    return told(f"student by {name}", checks)


def told(name: str, checks: Mapping[str, tuple[float, float]]) -> bool:
    """Prints ratios with their limits."""
    for what, (ratio, limit) in checks.items():
        print(f"{name}: {ratio:.3f} {what} (limit {limit:.3g}) {'passed' if ratio <= limit else 'FAILED'}", flush=True)
    return all(ratio <= limit for ratio, limit in checks.values())


if __name__ == "__main__":
    main()
