"""`autosing eval svc`: songs are chosen, converted and judged, and what does not fit is refused."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from autosing.cli.main import main
from autosing.evaluation.conversion.compare import Request, compare_conversions
from autosing.evaluation.conversion.songs import Choice, tasks_of
from autosing.models.directory import load_model, save_model
from autosing.models.vocoder import Vocoder, sized_vocoder
from autosing.pipeline.construct.inputs import NamedDataset
from autosing.pipeline.construct.sample import SAMPLES
from autosing.pipeline.construct.shards import construct_dataset
from autosing.pipeline.dataset import Dataset, SongRow
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.ingest.synthetic import REFERENCE_COLUMNS, SyntheticSource
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import Project
from autosing.signal.errors import CheckpointError, UsageError
from autosing.signal.mel import MelSpec
from autosing.signal.singer import song
from autosing.signal.voice import voices
from autosing.training.manifest import Manifest
from autosing.training.recipes import svc
from autosing.training.run import train

STAGES = ["ssl", "units", "f0", "energy", "mel", "cuts"]
SETTINGS = ("units.k=16",)


def duets() -> list[NewSong]:
    """Returns three songs, each by two singers."""
    one, other = voices(2, 0)
    shape, made = SyntheticSource(1, 3.0), []
    for n in range(3):
        for who in (one, other):
            sung = song(n, who, 3.0)
            made.append(shape._new_song(f"{who.name}/{n}", who.name, sung, sung.wave[:, None]))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set with columns, and a teacher that has seen it for some steps."""
    root = tmp_path_factory.mktemp("conversion")
    append_songs(str(root / "songs"), iter(duets()), REFERENCE_COLUMNS)
    entry = Project().dataset(str(root / "songs"))
    dataset = Dataset(entry.path)
    process(dataset, Project().graph(entry, SETTINGS), STAGES, RunOptions("local"))
    columns = {**SAMPLES["svc"].columns, "units": "units.units"}
    del columns["soft_units"]
    spec = replace(SAMPLES["svc"], columns=columns, valid_songs=1, min_s=0.5)
    construct_dataset([NamedDataset("duets", dataset)], str(root / "shards"), spec)
    tiny = ["size=tiny", "content=units", "n_tokens=16", "seconds_per_batch=6", "steps=3", "valid_steps=1"]
    train("svc", root / "shards", root / "teacher", tiny)
    student = ["steps=1", "seconds_per_batch=6", "teacher_steps=1", f"begin_from={root / 'teacher' / 'model'}"]
    train("svc_student", root / "shards", root / "student", student)
    return root


def test_songs_are_converted_compared_and_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [option for name in ("teacher", "student") for option in ("--model", str(folder / name / "model"))]
    page = folder / "page"
    wanted = ["--parallel", "--songs", "2", "--steps", "2", "--out", str(page)]
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["eval", "svc", str(folder / "songs"), *models, *wanted])
    lines = capsys.readouterr().out.splitlines()
    names = [
        "source",
        "target",
        "target, by the vocoder",
        "teacher, coarse mel alone",
        "teacher, 1 step",
        "teacher, 2 steps",
    ]
    names += ["student, 1 call", "student, 2 calls", "student, 4 calls"]
    assert [line[: len(name)] for line, name in zip(lines[1:], names, strict=False)] == names
    told = json.loads((page / "figures.json").read_text())
    assert told["ways"] == names
    means = told["means"]
    assert means["target"]["mel_l1"] == means["target"]["mcd"] == 0
    assert means["target"]["fd_mel"] == pytest.approx(0, abs=1e-6)
    assert means["source"]["mel_l1"] > 0.2
    for name in names[3:]:
        assert {"voicing_f1", "loudness_lu", "fd_mel", "mcd", "rtf"} <= means[name].keys()
        assert means[name]["rtf"] > 0
    html = (page / "index.html").read_text()
    assert html.count("<audio") == 2 * len(names)
    assert len(list(page.glob("*.flac"))) == 2 * len(names)


def test_singers_take_turns_and_no_one_sings_their_own_song(folder: Path) -> None:
    request = Request((str(folder / "teacher" / "model"),), choice=Choice(6), steps=2, shown=1)
    result = compare_conversions(Dataset(str(folder / "songs")), request, folder / "turns")
    songs = json.loads((folder / "turns" / "figures.json").read_text())["songs"]
    assert len(songs) == 6
    for name in songs:
        source, _, target = name.rpartition(": ")[2].partition(" to ")
        assert source != target
    assert "target" not in result.figures
    guided = compare_conversions(Dataset(str(folder / "songs")), replace(request, guidance=2.0))
    assert guided.figures["teacher, 2 steps"]["loudness_lu"] != result.figures["teacher, 2 steps"]["loudness_lu"]
    assert "mel_l1" not in result.figures["teacher, 2 steps"]


def test_excluded_songs_are_not_converted(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "songs", tmp_path / "songs")
    dataset = Dataset(str(tmp_path / "songs"))
    ids = [row.id for row in dataset.read(["index.singer"])]
    (tmp_path / "songs" / "exclude.txt").write_text("\n".join(ids[1:]) + "\n")
    model = load_model(folder / "teacher" / "model")
    assert [task.id for task in tasks_of(Dataset(str(tmp_path / "songs")), model, Choice(6))] == ids[:1]


@dataclass(frozen=True)
class Torn(Dataset):
    """A data set whose song `torn` lacks a column."""

    torn: str = ""
    column: str = ""

    def read(self, names: Sequence[str]) -> Iterator[SongRow]:
        for row in super().read(names):
            lacks = row.id == self.torn and self.column in row.values
            yield replace(row, values={**row.values, self.column: None}) if lacks else row


@pytest.mark.parametrize("column", ["index.audio", "f0.f0_hz"])
def test_a_song_whose_parallel_one_can_not_be_read_is_left_out(folder: Path, column: str) -> None:
    model, choice = load_model(folder / "teacher" / "model"), Choice(6, parallel=True)
    url = str(folder / "songs")
    whole = [task.id for task in tasks_of(Dataset(url), model, choice)]
    title = whole[0].partition("/")[2]
    left = [task.id for task in tasks_of(Torn(url, torn=whole[0], column=column), model, choice)]
    assert left == [id for id in whole if id.partition("/")[2] != title] and len(left) == 4


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--singer", "nobody"], "the model knows no singer 'nobody'; it knows singer_01, singer_02"),
        (["--seed", "-1"], "--seed is -1; give a whole number from 0"),
        (["--vocoder", "MODEL"], "codec"),
    ],
)
def test_what_is_not_known_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    model = str(folder / "teacher" / "model")
    given = [model if argument == "MODEL" else argument for argument in arguments]
    with pytest.raises(SystemExit):
        main(["eval", "svc", str(folder / "songs"), "--model", model, *given])
    assert told in capsys.readouterr().err


def test_a_vocoder_of_other_columns_is_refused(
    folder: Path, tmp_path: Path, save_codec: Callable[[Path, int], str]
) -> None:
    driven, plain = tmp_path / "driven", tmp_path / "plain"
    vocoder = Vocoder(sized_vocoder("tiny", "istft", MelSpec(), True, {}, 0))
    save_model(driven, vocoder, {"mel": {"spec": dict(vocoder.fields.mel)}})
    task = svc(content=("units",), n_tokens=16, size="tiny", pitch="none").task(Manifest.read(folder / "shards"))
    save_model(plain, task.build(), task.contract())
    for (model, way), told in (
        ((folder / "teacher" / "model", save_codec(tmp_path / "codec", 0)), r"--vocoder: it makes no sound of mels"),
        ((plain, driven), r"--vocoder: it is driven by F0"),
    ):
        with pytest.raises(UsageError, match=told):
            compare_conversions(Dataset(str(folder / "songs")), Request((str(model),), str(way)))


def test_columns_of_another_meaning_are_refused(folder: Path, tmp_path: Path) -> None:
    append_songs(str(tmp_path / "songs"), iter(duets()), REFERENCE_COLUMNS)
    entry = Project().dataset(str(tmp_path / "songs"))
    dataset = Dataset(entry.path)
    request = Request((str(folder / "teacher" / "model"),))
    with pytest.raises(UsageError, match=r"not computed yet; run `autosing process"):
        compare_conversions(dataset, request)
    process(dataset, Project().graph(entry, ("units.k=8",)), STAGES, RunOptions("local"))
    with pytest.raises(CheckpointError, match=r"computed otherwise than in the set that the model was trained on"):
        compare_conversions(dataset, request)
