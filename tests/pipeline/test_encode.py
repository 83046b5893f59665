"""`encode` says of files what `process` says of the same songs, and takes no model for what it is not."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import save_multires
from wave_checkpoints import save_checkpoint, save_wave_content

from autosing.cli.main import main
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.encode.features import chain_of
from autosing.pipeline.encode.kinds import kind_of
from autosing.pipeline.ingest.folder import FolderSource
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.progress import Bar, Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.signal.decode import encode
from autosing.signal.errors import UsageError

SAMPLE_RATES = (44_100, 16_000)
LOG_MEL_DIM = 160


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goes where no settings file is."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two songs, one of them in a folder inside it, and what is no sound."""
    folder = tmp_path_factory.mktemp("in")
    (folder / "deeper").mkdir()
    for sung, name in zip(SyntheticSource(2, 3.0).songs(), ("one.flac", "deeper/two.flac"), strict=True):
        (folder / name).write_bytes(sung.audio)
    (folder / "notes.txt").write_text("no sound")
    return folder


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, sounds: Path) -> str:
    """A data set of the same songs."""
    url = str(tmp_path_factory.mktemp("out") / "set")
    append_songs(url, FolderSource(sounds).songs())
    return url


@pytest.fixture(scope="module")
def models(
    tmp_path_factory: pytest.TempPathFactory,
    url: str,
    save_codec: Callable[[Path, int], str],
    save_content: Callable[..., str],
    save_semantic: Callable[..., str],
) -> dict[str, tuple[str, str, list[str]]]:
    """Of each kind of model its path, the instance that `process` has for it, and that instance's settings."""
    folder = tmp_path_factory.mktemp("models")
    hubert = str(save_checkpoint(folder / "hubert", "Hubert", "Model"))
    on_mfcc, on_log_mel = ({"definitions": {"ssl": definition(f"ssl.model={m}")}} for m in ("mfcc", "log_mel"))
    content = save_content(folder / "content", 39, 0, on_mfcc)
    loud = save_content(folder / "loud", LOG_MEL_DIM, 0, on_log_mel)
    multires, codec = save_multires(folder / "multires", 0, on_mfcc), save_codec(folder / "codec", 0)
    sound = save_wave_content(folder / "sound", Path(hubert))
    semantic = save_semantic(folder / "semantic", 39, 0, on_mfcc)
    computed(url, "units", ["units.k=8", "ssl.model=log_mel"])
    computed(url, "tokens", ["tokens.k=8", "tokens.resolutions_ms=[20, 60]", "ssl.model=mfcc"])
    return {
        "content": (content, "content", [f"content.model={content}"]),
        "content of log-mels": (loud, "content", [f"content.model={loud}", "ssl.model=log_mel"]),
        "content of sound": (sound, "content", [f"content.model={sound}"]),
        "multires": (multires, "tokens", [f"tokens.model={multires}"]),
        "semantic": (semantic, "semantic", [f"semantic.model={semantic}"]),
        "codec": (codec, "codes", [f"codes.model={codec}"]),
        "hubert": (hubert, "ssl", [f"ssl.model={hubert}"]),
        "mfcc": ("mfcc", "ssl", []),
        "units": (f"{url}/models/units", "units", ["units.k=8", "ssl.model=log_mel"]),
        "tokens": (f"{url}/models/tokens", "tokens", ["tokens.k=8", "tokens.resolutions_ms=[20, 60]"]),
    }


NAMES = ("content", "content of log-mels", "content of sound", "multires", "semantic", "codec", "hubert", "mfcc")
NAMES += ("units", "tokens")


def definition(*settings: str) -> str | None:
    return Project().graph(DatasetEntry(""), settings).definition("ssl")


def computed(url: str, instance: str, settings: Sequence[str]) -> list[dict[str, Any]]:
    """Returns the columns of each song as `process` stores them, by name."""
    graph, dataset = Project().graph(DatasetEntry(url), settings), Dataset(url)
    assert process(dataset, graph, [instance], RunOptions("local"), progress=Progress(0, quiet=True)).exit_code == 0
    names = [column.name for column in graph[instance].columns]
    rows = dataset.partitions[0].rows([f"{instance}.{name}" for name in names])
    return [{"id": row.id, **{name: row.values[f"{instance}.{name}"] for name in names}} for row in rows]


def autosing(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    code = ended.value.code
    return code if isinstance(code, int) else int(code is not None)


@pytest.mark.parametrize("name", NAMES)
def test_files_have_exactly_the_columns_that_process_stores(
    name: str, models: dict[str, tuple[str, str, list[str]]], url: str, sounds: Path, tmp_path: Path
) -> None:
    model, instance, settings = models[name]
    out = tmp_path / "out"
    assert autosing("encode", model, str(sounds), str(out)) == 0
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert files == ["deeper/two.flac.json", "deeper/two.flac.npz", "one.flac.json", "one.flac.npz"]
    for row in computed(url, instance, settings):
        told = json.loads((out / f"{row['id']}.json").read_text())
        with np.load(out / f"{row.pop('id')}.npz", allow_pickle=False) as arrays:
            assert {*arrays.files} == row.keys() == told["columns"].keys()
            for column, value in row.items():
                assert arrays[column].dtype == value.dtype
                np.testing.assert_array_equal(arrays[column], value)
        assert (told["model"], told["stage"]) == (model, instance)
        assert all(about["rate"] for about in told["columns"].values())
        hears = instance in ("content", "semantic", "tokens", "units") and name != "content of sound"
        assert (told["features"] or {"as_trained": None})["as_trained"] is (True if hears else None)


def test_features_that_no_contract_tells_are_asked_for_and_taken(
    save_content: Callable[..., str], tmp_path: Path, sounds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = save_content(tmp_path / "silent", 39, 0)
    assert autosing("encode", silent, str(sounds), str(tmp_path / "out")) == 2
    assert "it does not say which; give them as they were computed" in capsys.readouterr().err
    assert autosing("encode", silent, str(sounds), str(tmp_path / "out"), "--set", "ssl.model=mfcc") == 0
    assert json.loads((tmp_path / "out/one.flac.json").read_text())["features"]["as_trained"] is None
    other = save_content(tmp_path / "other", 39, 0, {"definitions": {"ssl": "of somebody else"}})
    with pytest.raises(UsageError, match=r"they are none of mfcc, log_mel, ssl; give them .* --set ssl.model=ID"):
        chain_of(other, Project())
    capsys.readouterr()
    assert autosing("encode", other, str(sounds), str(tmp_path / "out"), "--set", "ssl.model=mfcc") == 0
    assert "was trained on other features than those of ssl" in capsys.readouterr().err


def test_features_are_found_among_those_of_the_settings_file(save_content: Callable[..., str], tmp_path: Path) -> None:
    hubert = str(save_checkpoint(tmp_path / "hubert", "Hubert", "Model"))
    project = Project(stages={"ssl.lost": {"model": "./lost"}, "ssl.first": {"model": hubert, "layers": [1]}})
    wanted = {"definitions": {"ssl": project.graph(DatasetEntry("")).definition("ssl.first")}}
    model = save_content(tmp_path / "content", 16, 0, wanted)
    assert (chain := chain_of(model, project)).source == "ssl.first" and chain.is_as_trained
    with pytest.raises(UsageError, match=r"none of mfcc, log_mel, ssl, ssl.lost; give"):
        chain_of(model, Project(stages={"ssl.lost": {"model": "./lost"}}))


def test_what_is_no_encoder_is_refused_with_those_that_are(tmp_path: Path) -> None:
    for told, what in (({"class": "vocoder"}, "a 'vocoder' model"), ({"model_type": "bert"}, "a 'bert' model")):
        (tmp_path / "config.json").write_text(json.dumps(told))
        with pytest.raises(UsageError, match=rf"is {what}, no encoder; encoders are content encoders .* mfcc, log_mel"):
            kind_of(str(tmp_path))
    (tmp_path / "config.json").write_text('{"settings": {"hidden": 3}}')
    with pytest.raises(UsageError, match=r"is a folder of something else, no encoder"):
        kind_of(str(tmp_path))


def test_a_broken_file_is_told_and_the_others_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n, rate in enumerate(SAMPLE_RATES):
        (tmp_path / f"{n}.wav").write_bytes(encode(np.zeros(rate, np.float32), rate, "WAV"))
    (tmp_path / "broken.wav").write_bytes(b"RIFF, but no more")
    given = [str(tmp_path / name) for name in ("broken.wav", "0.wav", "1.wav")]
    assert autosing("encode", "mfcc", *given, str(tmp_path / "out"), "--json") == 3
    broken, *good = json.loads(capsys.readouterr().out)
    assert broken["file"] == "broken.wav" and broken["error"] and broken["arrays"] is None
    assert [(one["arrays"], one["seconds"], one["error"]) for one in good] == [
        ("0.wav.npz", 1.0, None),
        ("1.wav.npz", 1.0, None),
    ]
    assert autosing("encode", "mfcc", *given, str(tmp_path / "out")) == 3
    said = capsys.readouterr().out
    assert said.startswith("broken.wav: ") and said.endswith(f"2 of 3 files, 0.00 h, in {tmp_path / 'out'}\n")
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(("broken", "."))]


def test_what_can_not_be_taken_is_told(sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "again").mkdir()
    (tmp_path / "again/one.flac").write_bytes(b"")
    for arguments, message in (
        ([str(sounds)], "encode needs MODEL, at least one file or folder IN and, last, the folder OUT"),
        ([str(tmp_path / "none"), "out"], "none does not exist; give sound files, or folders of them"),
        ([str(tmp_path / "empty"), "out"], "empty holds no sound"),
        ([str(sounds), str(tmp_path / "again"), "out"], "would both be one.flac.npz; encode them into two folders"),
    ):
        assert autosing("encode", "mfcc", *arguments) == 2
        assert message in capsys.readouterr().err


def test_a_line_tells_how_far_it_is_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar(2, "files", line_every_s=0) as bar:
        bar.advance()
    with Bar(2, "files", quiet=True, line_every_s=0) as bar:
        bar.advance()
    assert capsys.readouterr().err == "1/2 files\n"
