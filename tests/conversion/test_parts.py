"""Singers as people write them, keys, levels, names and windows: each by itself, without a model."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_svc import sung

from autosing.conversion.inputs import find_inputs, safe_name
from autosing.models.directory import LoadedModel
from autosing.models.svc_input import svc_inputs
from autosing.signal.decode import Audio
from autosing.signal.errors import UsageError
from autosing.signal.griffin_lim import griffin_lim
from autosing.signal.loudness import integrated_loudness
from autosing.signal.mel import MelSpec, log_mel
from autosing.signal.resample import resample
from autosing.signal.rows import DiskRows
from autosing.sounds.mixes import mixed
from autosing.synthesis.conversion.keys import SourcePitch, TrainedPitch, auto_key, range_warnings, target_median_hz
from autosing.synthesis.conversion.levels import HIGHEST_PEAK, levelled
from autosing.synthesis.conversion.singers import Singing, parse_singing
from autosing.synthesis.conversion.sounding import _borders, griffin_lim_in_pieces
from autosing.synthesis.conversion.windows import Source, Windows

KNOWN = ("ada", "ben", "c: d, e", "7")


def parsed(text: str) -> Singing:
    return parse_singing(text, KNOWN.__contains__, "known: " + ", ".join(KNOWN))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ada", {"ada": 1.0}),
        ("c: d, e", {"c: d, e": 1.0}),
        ("ada:3,ben:1", {"ada": 0.75, "ben": 0.25}),
        ("ada, ben", {"ada": 0.5, "ben": 0.5}),
        ("7:1,ada:1", {"7": 0.5, "ada": 0.5}),
        ("0:ada,12.5:ben", [{"time_s": 0, "weights": {"ada": 1}}, {"time_s": 12.5, "weights": {"ben": 1}}]),
    ],
)
def test_singers_are_understood(text: str, told: Any) -> None:
    assert parsed(text).told() == told


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("eve", "there is no such singer; known: ada, ben"),
        ("ada:1,eve:1", "--singer eve:1: there is no such singer"),
        ("0:ada,3:eve", "--singer 3:eve: there is no such singer"),
        ("ada:x,ben:1", "'x' is no number"),
        ("ada:-1,ben:2", "weights must not be below 0"),
        ("ada:0,ben:0", "nor all of them 0"),
        ("ada:1,ada:2", "a singer is there twice"),
        ("3:ada,1:ben", "each later than the one before"),
        ("0:ada,ben", "each later than the one before"),
        ("-1:ada,3:ben", "from 0 on"),
        ("", "there is no such singer"),
    ],
)
def test_singers_that_are_wrong_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parsed(text)


def test_mixtures_over_time_are_continuous_and_sum_to_one() -> None:
    singing = parsed("1:ada,3:ben,4:ada")
    times_s = np.arange(0, 6, 0.01)
    weights = singing.weights(times_s)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert np.abs(np.diff(weights, axis=0)).max() < 0.0101
    np.testing.assert_allclose(singing.weights(np.array([0.0, 2.0, 3.0, 9.0]))[:, 0], [1, 0.5, 0, 1])
    assert singing.shares(4)["ada"] == pytest.approx(2.5 / 4, abs=0.01)


def track(*hz: float) -> SourcePitch:
    f0_hz = np.repeat(np.array(hz, np.float32), 20)
    return SourcePitch.of(f0_hz, f0_hz > 0, 100)


def test_the_key_brings_the_median_of_the_source_to_that_of_the_singer() -> None:
    source = track(0, 180, 200, 220, 0)
    assert source.median_hz == 200
    assert auto_key(source, 317.0, rounded=True).semitones == 8
    assert auto_key(source, 317.0, rounded=False).semitones == pytest.approx(12 * np.log2(317 / 200))
    both = target_median_hz({"ada": 100.0, "ben": 400.0}, {"ada": 0.5, "ben": 0.5})
    assert both == pytest.approx(200)
    assert target_median_hz({"ada": 100.0}, {"ada": 0.5, "ben": 0.5}) is None


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (track(0, 0), "voiced for 0.00 s only"),
        (track(0, 200.0), "0.20 s only"),
        (track(200, 200), "keeps to one pitch, 200"),
    ],
)
def test_a_source_whose_pitch_says_nothing_stays_where_it_is(source: SourcePitch, reason: str) -> None:
    key = auto_key(source, 300.0, rounded=True)
    assert key.semitones == 0 and reason in key.warnings[0] and "say --key" in key.warnings[0]
    assert "not known to the model" in auto_key(track(100, 200), None, rounded=True).warnings[0]


def test_a_key_outside_of_the_trained_range_is_told_with_the_range() -> None:
    source = track(180, 200, 220)
    assert range_warnings(source, 3, (80, 700)) == () == range_warnings(source, 30, None)
    (told,) = range_warnings(source, 24, (80, 700))
    assert "in the key +24 100 %" in told and "80 to 700 Hz" in told


def test_what_was_trained_is_told_by_the_contract_or_beside_the_weights() -> None:
    model = torch.nn.Module()
    contract = {"singers": ["ada", "ben"], "f0_medians_hz": {"ada": 210.0}, "f0_range_hz": [90, 600]}
    told = TrainedPitch.of(LoadedModel(model, contract, ""))
    assert told == TrainedPitch({"ada": 210.0}, (90.0, 600.0))
    assert TrainedPitch.of(LoadedModel(model, {}, "")) == TrainedPitch({}, None)
    # The row before the singers' is that of all; 0 was never measured.
    model.register_buffer("f0_medians_hz", torch.tensor([190.0, 0.0, 130.0]))
    model.register_buffer("f0_range_hz", torch.tensor([80.0, 700.0]))
    contract = {"singers": ["ada", "ben"]}
    assert TrainedPitch.of(LoadedModel(model, contract, "")) == TrainedPitch({"ben": 130.0}, (80.0, 700.0))


def tone(level: float, seconds: float = 2.0, sample_rate: int = 24_000) -> Any:
    return (level * np.sin(2 * np.pi * 440 * np.arange(int(seconds * sample_rate)) / sample_rate)).astype(np.float32)


def test_loudness_is_matched_and_peaks_stay_below_full_scale() -> None:
    wave = tone(0.05)
    level = levelled(wave, 24_000, "source", -20.0)
    assert integrated_loudness(wave[:, None], 24_000) == pytest.approx(-20, abs=0.05)
    assert level.limited_db == 0 and level.wanted_lufs == -20
    quiet = tone(0.05)
    assert levelled(quiet, 24_000, -1.0, None).limited_db < -1
    assert np.abs(quiet).max() == pytest.approx(HIGHEST_PEAK, rel=1e-4)
    loud = tone(1.7)
    assert levelled(loud, 24_000, "none", -20.0).gain_db < 0 and np.abs(loud).max() < 0.95
    same = tone(0.3)
    assert levelled(same, 24_000, "source", None).gain_db == 0
    assert levelled(np.zeros(24_000, np.float32), 24_000, "source", -20.0).before_lufs is None


def test_the_loudness_is_the_one_that_pyloudnorm_measures() -> None:
    import pyloudnorm

    wave = tone(0.2, 3.0) * np.linspace(0.1, 1, 72_000, dtype=np.float32)
    levelled(wave, 24_000, -23.0, None)
    assert pyloudnorm.Meter(24_000).integrated_loudness(wave) == pytest.approx(-23, abs=0.1)


def test_a_voice_is_mixed_back_at_its_level_and_the_peak_is_kept() -> None:
    backing = Audio(np.stack([tone(0.2, 1, 48_000), tone(0.1, 1, 48_000)], axis=1), 48_000, "wav/pcm_16")
    together, gain_db = mixed(np.zeros(24_000, np.float32), 24_000, backing)
    np.testing.assert_array_equal(together[:], backing.samples)
    assert gain_db == 0
    together, gain_db = mixed(tone(1.0, 1.5), 24_000, backing)
    assert len(together) == 72_000 and gain_db < 0 and np.abs(together[:]).max() <= HIGHEST_PEAK * 1.001
    both = resample(tone(1.0, 1.5), 24_000, 48_000)[:, None] + np.pad(backing.samples, ((0, 24_000), (0, 0)))
    np.testing.assert_allclose(together[:], both * 10 ** (gain_db / 20), atol=1e-5)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("a/b", "a/b"),
        ("../../etc/passwd", "etc/passwd"),
        ("/root/x", "root/x"),
        ("a/./b:c?", "a/b_c_"),
        ("..", "_"),
        (".hidden/x. ", "hidden/x"),
        ("a\n\x00b", "a__b"),
        ("Ünïcode/歌", "Ünïcode/歌"),
    ],
)
def test_names_of_outputs_lead_nowhere_but_down(path: str, name: str) -> None:
    assert safe_name(Path(path)) == name


def test_folders_files_and_manifests_of_both_forms_become_recordings(tmp_path: Path) -> None:
    for name in ("in/deep/x.wav", "in/y.flac", "in/out/x.wav", "in/notes.txt", "y.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    own, amphion = tmp_path / "own.json", tmp_path / "amphion.json"
    own.write_text('["y.wav", {"path": "in/y.flac", "name": "../../z", "key": 3, "singer": "ben"}]')
    amphion.write_text('[{"Dataset": "m4", "Singer": "Alto-1", "Uid": "a/b", "Path": "y.wav", "Duration": 3.0}]')
    found = find_inputs([tmp_path / "in", tmp_path / "y.wav", own, amphion], tmp_path / "in/out")
    names = ["deep/x", "y", "y-2", "y-3", "z", "m4/Alto-1/a_b"]
    assert [each.name for each in found] == names
    assert found[4].changes == {"key": 3.0, "singer": "ben"} and found[4].path == tmp_path / "in/y.flac"


def test_a_name_that_is_given_stays_and_no_other_recording_gets_it(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("song-2.wav", "song.flac", "Song.wav", "song.ogg", "SONG-2.flac")]
    for path in paths:
        path.touch()
    names = [each.name for each in find_inputs(paths, tmp_path / "out")]
    assert names == ["song-2", "song", "Song-3", "song-4", "SONG-2-2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("{}", "is no list of recordings; give a list of paths"),
        ("[3]", "entry 0 is 3"),
        ('[{"path": "x", "keys": 3}]', "keys: unknown; known: formant, key"),
        ('[{"singer": "x"}]', "path"),
    ],
)
def test_a_manifest_of_another_form_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "list.json").write_text(text)
    with pytest.raises(UsageError, match=message):
        find_inputs([tmp_path / "list.json"], tmp_path / "out")


def test_windows_give_what_the_whole_would() -> None:
    rng = np.random.default_rng(0)
    rates = {
        k: Fraction(v) for k, v in {"mel": "375/4", "f0_hz": "100", "energy": "100", "ssl": "50", "t": "25"}.items()
    }
    n_frames = 1003
    counts = {name: int(n_frames / rates["mel"] * rate + Fraction(1, 2)) for name, rate in rates.items()}
    series: dict[str, Any] = {name: rng.random(counts[name]).astype(np.float32) + 0.1 for name in ("f0_hz", "energy")}
    series["f0_hz"] *= 300
    series["voiced"] = (rng.random(counts["f0_hz"]) > 0.3).astype(np.uint8)
    series["ssl"] = rng.standard_normal((counts["ssl"], 5)).astype(np.float16)
    series["t"] = rng.integers(0, 9, counts["t"]).astype(np.uint16)
    whole = svc_inputs(series, ("ssl", "t"), ("t",), n_frames, rates, 2.5, 0.5)
    source = Source(series, ("ssl", "t"), ("t",), n_frames, rates, 2.5, 0.5, lambda first, last: {})
    given = Windows(source)
    assert set(given) == set(whole) and len(given["frame"]) == n_frames
    for first, last in ((0, 7), (0, n_frames), (1, 200), (388, 771), (900, n_frames), (1002, 1003)):
        for name in set(whole) - {"frame"}:
            np.testing.assert_allclose(given[name][first:last], whole[name][first:last], rtol=1e-4, atol=1e-5)


def test_griffin_lim_in_pieces_is_as_good_at_borders_as_inside() -> None:
    spec = MelSpec()
    wave = sung(5, 8.0)
    mel = log_mel(wave, spec, 750)
    borders = _borders(mel, 300)
    made = griffin_lim_in_pieces(mel, spec, 0, piece=300)
    on_disk = DiskRows(np.float32, (100,))
    on_disk.append(mel)
    np.testing.assert_array_equal(griffin_lim_in_pieces(on_disk, spec, 0, piece=300), made)
    assert len(made) == 750 * spec.hop and borders[0] == 0 and borders[-1] == 750 and len(borders) == 4
    off = np.abs(log_mel(made, spec, 750) - mel).mean(1)
    about = np.concatenate([np.arange(b - 12, b + 12) for b in borders[1:-1]])
    inside = np.setdiff1d(np.flatnonzero(mel.max(1) > np.log(spec.floor) + 1), about)
    print(f"mel-L1 about borders {off[about].mean():.3f}, where somebody sings {off[inside].mean():.3f}")
    assert off[about].mean() < 1.5 * off[inside].mean()
    # A border lies where it is quieter than nearly anywhere.
    assert mel[about].mean() < np.percentile(mel.mean(1), 60)
    # What fits into one piece is what Griffin-Lim makes of it.
    np.testing.assert_array_equal(griffin_lim_in_pieces(mel, spec, 0), griffin_lim(mel, spec))
    assert griffin_lim_in_pieces(mel[:0], spec, 0).size == 0
