"""`autosing convert` as people use it: files, folders and mixes in, sounds with what they were made by out."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_svc import HZ, Studio, names_of, save_sound, sung

from autosing.models.directory import load_model
from autosing.signal.decode import decode
from said import Autosing, Said

Convert = Callable[..., Said]


@pytest.fixture
def convert(autosing: Autosing) -> Convert:
    """Runs the command in an empty folder."""
    return partial(autosing, "convert")


@pytest.fixture(scope="module")
def student(studio: Studio) -> Path:
    return studio.model("student", distilled=True)


def test_a_folder_is_converted_once_and_a_bad_file_does_not_stop_the_others(
    convert: Convert, studio: Studio, student: Path, tmp_path: Path
) -> None:
    save_sound(tmp_path / "in/deep/one.wav", sung(1, 1.5))
    save_sound(tmp_path / "in/two.wav", sung(2, 1.5)[::3], 8000)
    (tmp_path / "in/empty.wav").write_bytes(b"")
    (tmp_path / "in/torn.flac").write_bytes(b"fLaC, but no more")
    command = (student, "in", "out", "--singer", studio.singers[0], "--vocoder", studio.vocoder())
    said = convert(*command)
    assert said.code == 3 and "griffin-lim" not in said.err
    assert "wrote    out/deep/one.wav  key " in said.out and said.out.endswith("2 converted, 0 skipped, 2 failed\n")
    failed = [line for line in said.out.splitlines() if line.startswith("failed")]
    assert ["in/empty.wav" in failed[0], "in/torn.flac" in failed[1]] == [True, True]
    assert "nothing above 4000 Hz" in said.err and "2/4 in/empty.wav" in said.err
    assert names_of(list((tmp_path / "out").rglob("*.*"))) == ["one.wav", "one.wav.json", "two.wav", "two.wav.json"]

    before = (tmp_path / "out/two.wav").read_bytes()
    again = convert(*command, "--seed", "1")
    assert again.code == 3 and again.out.count("it is there; --overwrite makes it again") == 2
    assert (tmp_path / "out/two.wav").read_bytes() == before
    assert convert(*command, "--overwrite").code == 3
    # One seed is one sound, and a run is like another.
    assert (tmp_path / "out/two.wav").read_bytes() == before
    assert convert(*command, "--overwrite", "--seed", "1").code == 3
    assert (tmp_path / "out/two.wav").read_bytes() != before


def test_beside_a_sound_lies_how_it_was_made(convert: Convert, studio: Studio, student: Path, tmp_path: Path) -> None:
    source = save_sound(tmp_path / "a.wav", sung(3, 1.5))
    said = convert(
        student, source, "made/x.flac", "--singer", studio.singers[1], "--bits", "24", "--key", "+3", "--json"
    )
    (row,) = said.json
    assert said.code == 0 and row["became"] == "converted" and "no --vocoder: griffin-lim" in said.err
    told = json.loads((tmp_path / "made/x.flac.json").read_text())
    assert told == row["facts"]
    assert told["model"]["digest"] == load_model(student).digest and told["singers"] == {studio.singers[1]: 1.0}
    assert told["key"] == {"semitones": 3.0, "is_automatic": False, "is_rounded": True}
    assert told["vocoder"] == {"path": "griffin-lim", "digest": None}
    assert told["source_file"] == str(source) and {"torch", "numpy"} <= set(told["versions"])
    assert told["wanted"]["singer"] == studio.singers[1] and told["warnings"] == []
    sound = soundfile.info(str(tmp_path / "made/x.flac"))
    assert (sound.format, sound.subtype, sound.samplerate, sound.frames) == ("FLAC", "PCM_24", 24_000, 36_000)
    assert names_of(list((tmp_path / "made").iterdir())) == ["x.flac", "x.flac.json"]


@pytest.mark.parametrize("loudness", ["-30", "none"])
def test_loudness_is_what_is_asked_for(
    convert: Convert, studio: Studio, student: Path, tmp_path: Path, loudness: str
) -> None:
    save_sound(tmp_path / "a.wav", sung(3, 1.5))
    model = ("--singer", studio.singers[1], "--vocoder", studio.vocoder(), "--loudness", loudness)
    assert convert(student, "a.wav", "out.wav", *model).code == 0
    told = json.loads((tmp_path / "out.wav.json").read_text())["loudness"]
    assert told["wanted_lufs"] == (None if loudness == "none" else -30)
    assert told["peak"] < 0.95 and (loudness != "none" or told["gain_db"] == told["limited_db"])


def test_a_mix_is_separated_and_mixed_again(convert: Convert, studio: Studio, student: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    voice = sung(4, 2.0)
    side = 0.1 * rng.standard_normal((len(voice), 2))
    save_sound(tmp_path / "mix.wav", 0.5 * np.stack([voice, voice], axis=1) + side * [[1, -1]])
    command = (student, "--singer", studio.singers[1], "--vocoder", studio.vocoder())
    assert convert(*command, "mix.wav", "out.wav", "--stems", "--set", "stems.center.stereo=0.6").code == 0
    made, told = decode((tmp_path / "out.wav").read_bytes()), json.loads((tmp_path / "out.wav.json").read_text())
    assert made.samples.shape == (len(voice), 2) and told["mix"]["separator"]["center"]["stereo"] == 0.6
    assert "separation" in told["realtime_factors"]
    # What lies at the sides is kept.
    sides = [made.samples[:, 0] - made.samples[:, 1], side[:, 0] + side[:, 1]]
    assert np.corrcoef(sides[0], sides[1])[0, 1] > 0.7

    save_sound(tmp_path / "voice.wav", voice)
    save_sound(tmp_path / "band.wav", 0.2 * side)
    assert convert(*command, "voice.wav", "with.wav", "--backing", "band.wav").code == 0
    assert decode((tmp_path / "with.wav").read_bytes()).samples.shape == (len(voice), 2)
    # Where nobody sings, the band goes on.
    save_sound(tmp_path / "rest.wav", np.zeros(len(voice)))
    assert convert(*command, "rest.wav", "band_alone.wav", "--backing", "band.wav").code == 0
    assert (tmp_path / "band_alone.wav").read_bytes() == (tmp_path / "band.wav").read_bytes()
    both = convert(*command, "mix.wav", "no.wav", "--stems", "--backing", "band.wav")
    assert both.code == 2 and "leave out one of --stems and --backing" in both.err


def test_a_manifest_says_who_sings_what(convert: Convert, studio: Studio, student: Path, tmp_path: Path) -> None:
    save_sound(tmp_path / "a.wav", sung(3, 1.0))
    one, other = studio.singers
    entries = [{"path": "a.wav", "name": "first"}, {"path": "a.wav", "name": "../second", "singer": other, "key": 2}]
    entries += [{"path": "gone.wav"}, {"path": "a.wav", "name": "third", "singer": "eve"}]
    (tmp_path / "list.json").write_text(json.dumps(entries))
    said = convert(student, "list.json", "out", "--singer", one, "--vocoder", studio.vocoder(), "--json")
    assert said.code == 3
    assert [row["became"] for row in said.json] == ["converted", "converted", "failed", "failed"]
    assert said.json[1]["facts"]["singers"] == {other: 1.0} and said.json[1]["output"] == "out/second.wav"
    assert "gone.wav" in said.json[2]["reason"] and "there is no such singer" in said.json[3]["reason"]
    assert not (tmp_path / "second.wav").exists()


def test_a_path_that_can_not_be_looked_at_does_not_stop_the_others(
    convert: Convert, studio: Studio, student: Path, tmp_path: Path
) -> None:
    for name in ("a.wav", "out/gone.wav"):
        save_sound(tmp_path / name, sung(3, 1.0))
    entries = [{"path": "gone.wav"}, {"path": "a.wav", "name": 300 * "n"}, {"path": "a.wav", "name": "last"}]
    (tmp_path / "list.json").write_text(json.dumps(entries))
    model = ("--singer", studio.singers[0], "--vocoder", studio.vocoder())
    said = convert(student, "list.json", "out", *model, "--overwrite", "--json")
    assert said.code == 3 and [row["became"] for row in said.json] == ["failed", "failed", "converted"]
    assert "gone.wav" in said.json[0]["reason"] and "name too long" in said.json[1]["reason"]


def test_singers_are_listed(convert: Convert, studio: Studio, student: Path) -> None:
    assert convert(student, "--list-singers").out.splitlines() == list(studio.singers)
    assert convert(student, "--list-singers", "--json").json == list(studio.singers)
    zero_shot = studio.model("zero_shot", singer="embedding", distilled=True)
    assert "sings like any recording" in convert(zero_shot, "--list-singers").out
    refused = convert(studio.vocoder(), "--list-singers")
    assert refused.code == 1 and "is no conversion model but a 'vocoder'" in refused.err


def test_a_reference_is_the_path_of_a_recording(convert: Convert, studio: Studio, tmp_path: Path) -> None:
    save_sound(tmp_path / "a.wav", sung(3, 1.0))
    save_sound(tmp_path / "ref, too.wav", sung(5, 2.0))
    save_sound(tmp_path / "short.wav", sung(5, 2.0)[: HZ // 2])
    model = studio.model("zero_shot", singer="embedding", distilled=True)
    command = (model, "--vocoder", studio.vocoder(), "a.wav")
    assert convert(*command, "out.wav", "--singer", "ref, too.wav").code == 0
    assert json.loads((tmp_path / "out.wav.json").read_text())["singers"] == {"ref, too.wav": 1.0}
    for reference, message in {"short.wav": "too short", "gone.wav": "give the path of one that is there"}.items():
        said = convert(*command, "no.wav", "--singer", reference)
        assert said.code == 2 and message in said.err and not (tmp_path / "no.wav").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.wav", "out"], "convert needs MODEL, --singer, at least one IN and, last, OUT"),
        (["a.wav", "--singer", "ONE"], "convert needs MODEL, --singer"),
        (["no.wav", "out", "--singer", "ONE"], "no.wav does not exist; give sound files"),
        (["a.wav", "out", "--singer", "eve"], "--singer eve: there is no such singer; known: "),
        (["a.wav", "out", "--singer", "ONE", "--formant", "2"], "was not told of formants in training"),
        (["a.wav", "out", "--singer", "ONE", "--loudness", "loud"], "give source, none, or LUFS from -70 to 0"),
        (["a.wav", "out", "--singer", "ONE", "--seed", "-1"], "--seed is -1; give a whole number from 0"),
        (["a.wav", "out", "--singer", "ONE", "--bits", "12"], "--bits is 12; give 16 or 24"),
        (["a.wav", "a.wav", "out.wav", "--singer", "ONE"], "out.wav is one file, and 2 recordings are converted"),
        (["a.wav", "out.wav", "--singer", "ONE", "--format", "flac"], "out.wav is no flac file"),
        (["a.wav", "a.json", "--singer", "ONE"], "a.json is a file; give a folder"),
        ([".", "./", "--singer", "ONE"], "is among the recordings itself; give another OUT"),
        (["a.wav", "out", "--singer", "ONE", "--set", "f0.methode=praat"], "methode"),
    ],
)
def test_a_mistake_is_one_message_with_the_way_out(
    convert: Convert, studio: Studio, student: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    save_sound(tmp_path / "a.wav", sung(3, 1.0))
    (tmp_path / "a.json").write_text("[]")
    told = [studio.singers[0] if argument == "ONE" else argument for argument in arguments]
    said = convert(student, *told)
    assert said.code == 2 and message in said.err and "Traceback" not in said.err and said.out == ""
    assert names_of(list(tmp_path.iterdir())) == ["a.json", "a.wav"]


def test_a_source_is_never_written_over(convert: Convert, studio: Studio, student: Path, tmp_path: Path) -> None:
    source = save_sound(tmp_path / "a.wav", sung(3, 1.0))
    before = source.read_bytes()
    said = convert(student, "a.wav", "a.wav", "--singer", studio.singers[0], "--overwrite")
    assert said.code == 3 and "the output is the source itself" in said.out and source.read_bytes() == before
