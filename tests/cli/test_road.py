"""The whole road through the command line, as a newcomer walks it, and what it says when something is wrong."""

from pathlib import Path

import numpy as np
import pytest

from autosing.signal.decode import encode
from said import Autosing

TINY = ("units.k=16", "tokens.k=16", "units.hours=1")
SET = [part for setting in TINY for part in ("--set", setting)]


def test_the_whole_road(autosing: Autosing, tmp_path: Path) -> None:
    assert autosing("ingest", "synthetic:8x8", "songs").out.startswith("8 songs (")
    assert autosing("ingest", "synthetic:8x8", "songs").out.endswith("8 were there already\n")
    planned = autosing("process", "songs", "--dry-run", *SET)
    assert "about 0.02 h" in planned.out and "missing" in planned.out and not list(tmp_path.glob("songs/0/f0.parquet"))
    told = {row["instance"]: row for row in autosing("process", "songs", "--dry-run", "--json", *SET).json}
    assert told["mel"]["bytes"] == pytest.approx(8 * 8 * 93.75 * 200, rel=0.01) and told["mel"]["is_estimate"]

    first = autosing("process", "songs", "--executor", "local", *SET)
    assert first.code == 0 and "units            8 songs  0 errors" in first.out
    assert autosing("process", "songs", "--executor", "local", *SET).out == "nothing to do\n"
    assert autosing("process", "songs", "--dry-run", *SET).out == "nothing to do\n"
    status = {row["instance"]: row for row in autosing("status", "songs", "--json", *SET).json}
    assert {row["fresh"] for row in status.values()} == {1}
    assert status["units"]["note"] == "fitted on 1 of 1 partitions"
    assert "units" in autosing("status", "songs", *SET).out
    explained = autosing("explain", "songs", "0", "f0", "--set", "f0.method=praat").out
    assert "f0: due (settings.method: swift -> praat" in explained
    assert autosing("fit", "songs", "units", *SET).out == "units is fitted; --refit fits it again\n"
    assert autosing("errors", "songs").out == "" and autosing("errors", "songs", "--json").json == []
    assert autosing("retry", "songs", *SET).out == "no song has an error of its own\n"

    built = autosing("build", "songs", "shards", "--spec", "acoustic", "--valid-songs", "2").out
    assert "cuts kept, digest" in built
    manifest = autosing("build", "songs", "shards", "--valid-songs", "2", "--json").json
    assert manifest["splits"]["valid"]["groups"] == 2 and manifest["digest"] in built
    settings = ["steps=3", "size=tiny", "seconds_per_batch=8", "validate_every=3", "log_every=1", "validate_samples=2"]
    trained = autosing("train", "acoustic", "--data", "shards", "--out", "run", *_set(settings))
    assert trained.out.startswith("finished at step 3  valid/mel_l1") and trained.err.count("train/mel_l1") == 3
    resumed = autosing("train", "acoustic", "--data", "shards", "--out", "run", "--resume", "--set", "steps=4")
    assert resumed.out.startswith("finished at step 4")
    assert (tmp_path / "run/model/model.safetensors").is_file()
    assert autosing("report", "songs", "page.html", "--songs", "2").out == "open page.html\n"
    assert (tmp_path / "page.html").read_text().count("<audio") == 2


def _set(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def test_a_folder_of_recordings_with_a_broken_one(autosing: Autosing, tmp_path: Path) -> None:
    wave = (0.3 * np.sin(2 * np.pi * 220 * np.arange(48_000) / 16_000)).astype(np.float32)
    (tmp_path / "in" / "Ana").mkdir(parents=True)
    for name in ("one", "two"):
        (tmp_path / "in" / "Ana" / f"{name}.wav").write_bytes(encode(wave, 16_000, "WAV"))
    (tmp_path / "in" / "Ana" / "one.lrc").write_text("[00:00.50]la la la\n[00:02.00]lo\n", encoding="utf-8")
    (tmp_path / "in" / "Ana" / "bad.wav").write_bytes(b"RIFF, but no more")
    assert autosing("ingest", "in", "songs", "--prefix", "mine/").out.startswith("3 songs")
    assert autosing("process", "songs", "f0", "align", "--executor", "local").code == 0
    (row,) = autosing("errors", "songs", "--json").json
    assert (row["id"], row["instance"]) == ("mine/Ana/bad.wav", "probe") and row["error"]
    assert autosing("errors", "songs").out.split("\t")[1] == "mine/Ana/bad.wav"
    assert "probe            3 songs  1 errors" in autosing("retry", "songs", "--executor", "local").out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["process", "nowhere"], 1, "nowhere has no partitions (<n>/index.parquet); make them with: autosing ingest"),
        (["ingest", "nowhere", "songs"], 2, "nowhere does not exist; give a folder, a Parquet file or synthetic:SONGS"),
        (["ingest", "synthetic:no", "songs"], 2, "expected synthetic:SONGS[xSECONDS][@SEED]"),
        (["build", "songs"], 2, "build needs at least one DATASET and, last, the folder OUT"),
        (["build", "songs", "out", "--spec", "no"], 2, "the sample spec 'no' is unknown; known: acoustic"),
        (["train", "no", "--data", "a", "--out", "b"], 2, "there is no recipe 'no'; there are: acoustic"),
        (["train"], 2, "train needs RECIPE, --data and --out"),
        (["process", "songs", "--set", "f0.methode=praat"], 2, "methode"),
        (["process", "songs", "--config", "no.yaml"], 2, "no.yaml does not exist"),
        (
            ["process", "songs", "--executor", "slurm"],
            2,
            "the executor 'slurm' is unknown; known: auto, child, local, ray",
        ),
    ],
)
def test_a_mistake_is_one_message_with_the_way_out(
    autosing: Autosing, arguments: list[str], code: int, message: str
) -> None:
    if arguments[1:2] == ["songs"]:
        autosing("ingest", "synthetic:1x2", "songs")
    said = autosing(*arguments)
    assert said.code == code and message in said.err and said.err.startswith("autosing: ")
    assert "Traceback" not in said.err and said.out == ""


def test_recipes_are_listed_with_their_columns_and_settings(autosing: Autosing) -> None:
    listed = autosing("train", "--list").out
    assert "acoustic: Units" in listed and "columns: units, mel, f0_hz, voiced, energy" in listed
    assert "decoder = parallel  (one of parallel, lstm)" in listed
    told = autosing("train", "acoustic", "--list").out
    assert "lr = 0.001  (a number): highest learning rate." in told and "soft_vc" not in told


@pytest.mark.slow
def test_the_demo_leaves_a_page_with_everything_on_it(autosing: Autosing, tmp_path: Path) -> None:
    done = autosing("demo", "demo", "--songs", "4", "--seconds", "8", "--steps", "5")
    assert done.code == 0 and done.out.endswith("open demo/report.html\n")
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "Training" in page and "http://" not in page.replace("http://www.w3.org", "")
    assert len(list((tmp_path / "demo" / "sounds").glob("*.wav"))) >= 2
    again = autosing("demo", "demo")
    assert again.code == 2 and "holds a demo already; give a new folder" in again.err
