"""`autosing sing` as people use it: lyrics in, a sound of exactly the length, stems, takes and how it was made out."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_sing import HZ, Studio, save_reference, save_sound

from autosing.signal.decode import decode
from compilers import compiles
from said import Autosing, Said

Sing = Callable[..., Said]


@pytest.fixture
def sing(autosing: Autosing, singing_studio: Studio) -> Sing:
    """Runs the command in an empty folder, with the models unless others are given."""

    def run(*arguments: str | Path, t2s: Path | None = None, sm2a: Path | None = None) -> Said:
        models = t2s or singing_studio.t2s(), sm2a or singing_studio.sm2a()
        return autosing("sing", *models, "--codec", singing_studio.codec, "--retries", "0", *arguments)

    return run


def wave_of(path: Path) -> np.ndarray:
    return decode(path.read_bytes()).samples


@pytest.mark.parametrize(("length", "n_samples"), [("15", 360_000), ("1.234", 29_616), ("2.333", 55_992)])
def test_a_length_is_exact(sing: Sing, tmp_path: Path, length: str, n_samples: int) -> None:
    """AutoSing made 13.82 s of 15."""
    said = sing("o.wav", "--lyrics", "la la la la", "--length", length)
    assert said.code == 0 and said.out.startswith(f"wrote    o.wav  {float(length):.2f} s")
    assert wave_of(tmp_path / "o.wav").shape == (n_samples, 1)


def test_beside_a_song_lies_how_it_was_made_and_it_can_be_made_again(
    sing: Sing, singing_studio: Studio, tmp_path: Path
) -> None:
    one, other = singing_studio.singers
    (tmp_path / "song.lrc").write_text("[00:00.40]la la lo\n[00:01.20]da da\n[00:09]never\n")
    words = ("--lyrics", "song.lrc", "--length", "2", "--window", "2", "--context", "0.5")
    said = sing("o.flac", *words, "--singer", f"{one}:3,{other}:1", "--bits", "24", "--json")
    told = said.json
    assert said.code == 0 and told == json.loads((tmp_path / "o.flac.json").read_text())
    assert told["models"]["codec"]["digest"] and len(told["models"]["t2s"]["digest"]) == 64
    assert told["lyrics"] == ["la la lo", "da da", "never"] and told["singers"] == {one: 0.75, other: 0.25}
    windows = told["windows"]
    # A model that knows no times has each line in a window of its own, at its time.
    assert [window["text"] for window in windows] == ["", "la la lo", "da da"]
    assert [window["start_s"] for window in windows[1:]] == pytest.approx([0.4, 1.2], abs=0.18)
    assert windows[2]["context_s"] == pytest.approx(windows[2]["start_s"] - 0.5, abs=0.18)
    assert any("left out: 1" in line for line in told["warnings"]) and "left out: 1" in said.err
    assert set(told["takes"][0]["heard"]) == {"lines", "words", "missing", "beside", "symbol_error_rate", "is_whole"}
    assert told["per_second"]["tokens"] > 0 and "codec" in told["realtime_factors"] and told["n_samples"] == 48_000
    info = soundfile.info(str(tmp_path / "o.flac"))
    assert (info.format, info.subtype, info.samplerate, info.frames) == ("FLAC", "PCM_24", HZ, 48_000)

    again = sing("again.flac", *words, "--singer", f"{one}:3,{other}:1", "--bits", "24")
    assert again.code == 0 and (tmp_path / "again.flac").read_bytes() == (tmp_path / "o.flac").read_bytes()
    for changed in (("--seed", "1"), ("--singer", one)):
        singer = ("--singer", f"{one}:3,{other}:1")
        assert sing("x.flac", *words, *singer, *changed, "--bits", "24", "--overwrite").code == 0
        assert (tmp_path / "x.flac").read_bytes() != (tmp_path / "o.flac").read_bytes(), changed


def test_takes_are_ranked_and_each_is_what_its_seed_sings_alone(sing: Sing, tmp_path: Path) -> None:
    words = ("--lyrics", "la la la", "--length", "1.5", "--loudness", "none")
    said = sing("o.wav", *words, "--takes", "3", "--seed", "5", "--json")
    takes = said.json["takes"]
    assert said.code == 0 and sorted(take["seed"] for take in takes) == [5, 6, 7]
    assert [take["file"] for take in takes] == ["o.wav", "o.take2.wav", "o.take3.wav"]
    ranks = [(-take["heard"]["lines"], take["heard"]["symbol_error_rate"]) for take in takes]
    assert ranks == sorted(ranks)
    for take in takes:
        assert sing("alone.wav", *words, "--seed", str(take["seed"]), "--overwrite").code == 0
        np.testing.assert_array_equal(wave_of(tmp_path / "alone.wav"), wave_of(tmp_path / take["file"]))


def test_windows_without_their_lines_are_sung_again_and_no_others(sing: Sing, tmp_path: Path) -> None:
    (tmp_path / "song.lrc").write_text("[00:02.40]some words that\n[00:03.60]nobody sings\n")
    words = ("--lyrics", "song.lrc", "--length", "5", "--window", "2", "--context", "0.5")
    said = sing("o.wav", *words, "--takes", "2", "--retries", "2", "--json")
    told = said.json
    with_words = {number for number, window in enumerate(told["windows"]) if window["lines"]}
    assert 2 <= len(with_words) < len(told["windows"]) and len(told["takes"]) == 2
    # The models are of weights at random: no line is ever found, and some sounds are where nobody should sing.
    n_windows = len(told["windows"])
    assert told["windows_sung"]["first"] == 2 * n_windows
    assert 2 * 2 * len(with_words) <= told["windows_sung"]["again"] <= 2 * 2 * n_windows
    assert {take["seed"] for take in told["takes"]} == {0, 1}
    for take in told["takes"]:
        assert with_words <= set(take["weak_windows"])
        assert {one["seed"] for one in take["sung_again"]} <= set(range(2, 6))
    assert any("in the best take 0 % of the lines are heard" in line for line in told["warnings"])


def test_what_is_before_a_window_that_is_sung_again_stays(sing: Sing, tmp_path: Path) -> None:
    (tmp_path / "song.lrc").write_text("[00:01.90]some words that\n[00:03.60]nobody sings\n")
    words = ("--lyrics", "song.lrc", "--length", "5", "--window", "2", "--context", "0.5", "--loudness", "none")
    once = sing("once.wav", *words, "--json").json
    twice = sing("twice.wav", *words, "--retries", "4", "--json").json
    assert once["takes"][0]["sung_again"] == [] and once["windows_sung"]["again"] == 0
    again = [one["window"] for one in twice["takes"][0]["sung_again"]]
    assert again and len(again) <= twice["windows_sung"]["again"]
    one, other = wave_of(tmp_path / "once.wav"), wave_of(tmp_path / "twice.wav")
    first = int(twice["windows"][min(again)]["start_s"] * HZ)
    assert not np.array_equal(one[first:], other[first:])
    # The codec hears a little of what is behind.
    np.testing.assert_array_equal(one[: max(first - HZ // 2, 0)], other[: max(first - HZ // 2, 0)])


def test_a_reference_is_taken_apart_and_its_backing_kept(sing: Sing, singing_studio: Studio, tmp_path: Path) -> None:
    save_reference(tmp_path / "ref.wav")
    model = singing_studio.sm2a("sm2a_voices", singer="embedding", backing=("backing_0", "backing_1"))
    heard = singing_studio.t2s("t2s_backing", backing=("backing_0", "backing_1"), singer="none")
    given = ("--lyrics", "la la la", "--reference", "ref.wav", "--length", "1.5")
    said = sing("o.wav", *given, "--start", "1", t2s=heard, sm2a=model)
    assert said.code == 0, said.err
    told = json.loads((tmp_path / "o.wav.json").read_text())
    assert told["singers"] == {"ref.wav": 1.0} and told["length_s"] == 1.5
    assert told["mix"]["stems"] == ["o.vocals.wav", "o.backing.wav"]
    mix, voice, band = (wave_of(tmp_path / f"o{part}.wav") for part in ("", ".vocals", ".backing"))
    assert mix.shape == band.shape == (36_000, 2) and voice.shape == (36_000, 1)
    reference = wave_of(tmp_path / "ref.wav")[HZ : HZ + 36_000]
    side = np.corrcoef(band[:, 0] - band[:, 1], reference[:, 0] - reference[:, 1])[0, 1]
    assert side > 0.9 and np.abs(mix).max() < 1
    gain = 10 ** (told["mix"]["gain_db"] / 20)
    np.testing.assert_allclose(mix, gain * (band + voice), atol=2e-4)
    # As loud as the voice that was there, unless its peaks forbid it.
    level = told["takes"][0]["level"]
    assert level["wanted_lufs"] == told["loudness"]["source_lufs"]

    # Other singers, other backings, and none at all are other songs.
    save_sound(tmp_path / "band.wav", 0.1 * np.random.default_rng(0).standard_normal(2 * HZ))
    waves = {"o": voice}
    for name, more in {
        "alone": ("--no-backing", "--vocals-only"),
        "other": ("--backing", "band.wav", "--vocals-only"),
        "who": ("--singer", "band.wav", "--vocals-only"),
    }.items():
        assert sing(f"{name}.wav", *given, *more, t2s=heard, sm2a=model).code == (2 if name == "who" else 0), name
        if name != "who":
            waves[name] = wave_of(tmp_path / f"{name}.wav")
    assert waves["alone"].shape == (36_000, 1) and not np.array_equal(waves["alone"], waves["other"])


def test_a_backing_without_a_reference_gives_length_and_loudness(sing: Sing, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    save_sound(tmp_path / "band.wav", 0.05 * rng.standard_normal((int(1.5 * 16_000), 2)), 16_000)
    said = sing("o.wav", "--lyrics", "la la", "--backing", "band.wav", "--json")
    assert said.code == 0 and said.json["length_s"] == 1.5 and said.json["sample_rate_hz"] == 16_000
    assert wave_of(tmp_path / "o.wav").shape == (24_000, 2)
    assert said.json["takes"][0]["level"]["wanted_lufs"] == said.json["loudness"]["source_lufs"] < -20
    # A song that is longer than its backing ends in silence of the band.
    assert sing("long.wav", "--lyrics", "la la", "--backing", "band.wav", "--length", "2").code == 0
    assert wave_of(tmp_path / "long.backing.wav").shape == (32_000, 2)


def test_a_song_is_as_long_as_its_reference_from_its_start(sing: Sing, tmp_path: Path) -> None:
    save_reference(tmp_path / "ref.wav", 3.0)
    told = sing("o.wav", "--lyrics", "la", "--reference", "ref.wav", "--start", "1.75", "--vocals-only", "--json").json
    assert told["length_s"] == 1.25 and told["n_samples"] == 30_000 and told["sources"]["start_s"] == 1.75


def test_singers_are_listed(sing: Sing, singing_studio: Studio, autosing: Autosing) -> None:
    assert sing("--list-singers").out.splitlines() == list(singing_studio.singers)
    zero_shot = singing_studio.sm2a("sm2a_voices", singer="embedding", backing=("backing_0", "backing_1"))
    assert "sing like any recording" in sing("--list-singers", sm2a=zero_shot).out
    assert sing("--list-singers", "--json", sm2a=zero_shot).json is None
    # Where the model that makes the sound knows nobody, the other one decides.
    nobody = singing_studio.sm2a("sm2a_nobody", singer="none")
    assert sing("--list-singers", sm2a=nobody).out.splitlines() == list(singing_studio.singers)
    hearing = singing_studio.t2s("t2s_voices", singer="embedding")
    assert "sing like any recording" in sing("--list-singers", t2s=hearing, sm2a=nobody).out
    assert "is a 'codec'; sing needs T2S" in sing("--list-singers", sm2a=singing_studio.codec).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lyrics", "la"], "sing needs T2S, SM2A, OUT, --codec and --lyrics"),
        (["o.wav"], "sing needs T2S, SM2A, OUT, --codec and --lyrics"),
        (["o.mp3", "--lyrics", "la"], "o.mp3 is no sound file; give OUT.wav or OUT.flac"),
        (["band.wav", "--lyrics", "la", "--backing", "band.wav"], "would be written over; give another OUT"),
        (["band.wav", "--lyrics", "la"], "band.wav is there; --overwrite makes it again"),
        (["o.wav", "--lyrics", ""], "no word to sing"),
        (["o.wav", "--lyrics", "gone.lrc"], "--lyrics gone.lrc cannot be read"),
        (["o.wav", "--lyrics", "broken.txt"], "give a file in UTF-8, or the text"),
        (["o.wav", "--lyrics", "late.lrc", "--length", "3"], "all lyrics begin after the end of the song (3 s)"),
        (["o.wav", "--lyrics", "la", "--length", "0.1"], "give --length from 0.5 to 3600 s"),
        (["o.wav", "--lyrics", "la", "--pace", "0"], "--pace is 0; give characters a second"),
        (["o.wav", "--lyrics", "la " * 99, "--length", "2"], "a second, more than the 20 that are ever sung"),
        (["o.wav", "--lyrics", "la", "--singer", "eve"], "--singer eve: there is no such singer; known: "),
        (["o.wav", "--lyrics", "la", "--singer", "band.wav"], "only where it was trained with singer=embedding"),
        (["o.wav", "--lyrics", "la", "--takes", "0"], "--takes is 0"),
        (["o.wav", "--lyrics", "la", "--seed", "-1"], "--seed is -1"),
        (["o.wav", "--lyrics", "la", "--top-p", "0"], "top_p is 0.0; it must be above 0"),
        (["o.wav", "--lyrics", "la", "--window", "1"], "--window is 1"),
        (["o.wav", "--lyrics", "la", "--loudness", "loud"], "give source, none, or LUFS from -70 to 0"),
        (["o.wav", "--lyrics", "la", "--backing", "band.wav", "--no-backing"], "leave one out"),
        (
            ["o.wav", "--lyrics", "la", "--backing", "band.wav", "--start", "9"],
            "give one of at least 1 s behind --start",
        ),
        (["o.wav", "--lyrics", "la", "--reference", "broken.txt"], "--reference broken.txt: "),
    ],
)
def test_a_mistake_is_one_message_with_the_way_out(
    sing: Sing, tmp_path: Path, arguments: list[str], message: str
) -> None:
    save_sound(tmp_path / "band.wav", np.zeros(HZ * 2))
    (tmp_path / "broken.txt").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "late.lrc").write_text("[00:05]la")
    before = sorted(path.name for path in tmp_path.iterdir())
    said = sing(*arguments)
    assert said.code == 2 and message in said.err and "Traceback" not in said.err and said.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new.wav", "--lyrics", "ref.wav"], "--lyrics ref.wav is no .txt, .lrc, .json file; give one, or the text"),
        (["new.wav", "--bits", "12"], "--bits is 12; give 16 or 24"),
        (["o.wav", "--backing", "o.backing.wav", "--overwrite"], "o.backing.wav is what the song is made of"),
        (["o.wav", "--singer", "o.take2.wav:1,ref.wav:2", "--takes", "2", "--overwrite"], "o.take2.wav is what"),
        (["o.wav", "--lyrics", "o.wav.json", "--overwrite"], "o.wav.json is what the song is made of"),
        (["o.wav"], "o.wav.json is there; --overwrite makes it again"),
        (["p.wav", "--takes", "2"], "p.take2.wav is there; --overwrite makes it again"),
        (["p.wav", "--backing", "ref.wav"], "p.vocals.wav is there; --overwrite makes it again"),
        (["ref.wav", "--reference", "gone.wav"], "ref.wav is there; --overwrite makes it again"),
        (["new.wav", "--reference", "gone.wav"], "--reference gone.wav: no such file"),
        (["new.wav", "--backing", "."], "--backing .: no such file"),
    ],
)
def test_what_would_be_lost_or_is_missing_is_said_before_the_work_begins(
    sing: Sing, tmp_path: Path, arguments: list[str], message: str
) -> None:
    for name in ("o.backing", "o.take2", "p.take2", "p.vocals", "ref"):
        save_sound(tmp_path / f"{name}.wav", np.zeros(HZ))
    (tmp_path / "o.wav.json").write_text('["la"]')
    said = sing("--lyrics", "la", *arguments, t2s=Path("gone"))
    assert said.code == 2 and message in said.err and "Traceback" not in said.err


def test_an_aligner_that_is_none_is_said_before_a_reference_is_taken_apart(
    sing: Sing, tmp_path: Path, singing_studio: Studio
) -> None:
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    said = sing("o.wav", "--lyrics", "la", "--reference", "broken.wav", "--aligner", singing_studio.codec)
    assert said.code == 1 and "is no aligner but a " in said.err


def test_stems_that_are_not_written_may_be_there(sing: Sing, tmp_path: Path) -> None:
    save_sound(tmp_path / "o.vocals.wav", np.zeros(HZ))
    before = (tmp_path / "o.vocals.wav").read_bytes()
    assert sing("o.wav", "--lyrics", "la", "--length", "1").code == 0
    assert (tmp_path / "o.vocals.wav").read_bytes() == before


def test_a_voice_that_cannot_be_heard_is_refused_unless_another_sings(
    sing: Sing, singing_studio: Studio, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    band = 0.1 * rng.standard_normal(3 * HZ)
    save_sound(tmp_path / "instrumental.wav", np.stack([band, -band], axis=1))
    save_reference(tmp_path / "ref.wav")
    model = singing_studio.sm2a("sm2a_voices", singer="embedding", backing=("backing_0", "backing_1"))
    said = sing("o.wav", "--lyrics", "la", "--reference", "instrumental.wav", sm2a=model)
    assert said.code == 2 and "in the reference instrumental.wav nobody is heard singing" in said.err
    given = ("--reference", "instrumental.wav", "--singer", "ref.wav", "--length", "1")
    assert sing("o.wav", "--lyrics", "la", *given, sm2a=model).code == 0
    # A model that knows singers by name sings like nobody in particular, and says so.
    assert (
        "nobody in particular sings" in sing("p.wav", "--lyrics", "la", "--reference", "ref.wav", "--length", "1").err
    )


@pytest.mark.parametrize(
    ("which", "told", "message"),
    [
        ("t2s", {"definitions": {"semantic": "another"}}, "whose definition is another, and "),
        ("sm2a", {"artefacts": {"codes": {"model": "0123"}}}, "was trained with codes.model = 0123, but --codec "),
    ],
)
def test_models_of_other_tokens_or_codes_are_refused_with_both(
    sing: Sing, singing_studio: Studio, which: str, told: dict[str, object], message: str
) -> None:
    model = getattr(singing_studio, which)(f"{which}_foreign", told=told)
    said = sing("o.wav", "--lyrics", "la", **{which: model})
    assert said.code == 1 and message in said.err and "Traceback" not in said.err
    if which == "t2s":
        assert singing_studio.manifest.columns["semantic"].definition in said.err


def test_models_in_the_wrong_places_are_refused(sing: Sing, singing_studio: Studio) -> None:
    said = sing("o.wav", "--lyrics", "la", t2s=singing_studio.sm2a())
    assert said.code == 1 and "is a 'codes_language'; sing needs T2S" in said.err


@compiles
def test_graphs_of_steps_sing_the_same_song(sing: Sing, tmp_path: Path) -> None:
    words = ("--lyrics", "la la lo da", "--length", "3", "--window", "2", "--context", "0.5", "--takes", "2")
    for name, how in (("o.wav", ()), ("quick.wav", ("--compile",))):
        assert sing(name, *words, *how).code == 0
    assert (tmp_path / "o.wav").read_bytes() == (tmp_path / "quick.wav").read_bytes()
