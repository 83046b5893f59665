"""Mixed cuts of lhotse: the sound and the times are lhotse's own, and what can't be mixed is told and left out."""

import io
import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from toy_sources import audio, brief, cut, songs, take, truths, write

from autosing.pipeline.ingest.lhotse_mix import Sound, mixed
from autosing.pipeline.ingest.parts import Recordings
from autosing.signal.decode import decode
from autosing.signal.errors import RowError, UsageError

needs_lhotse = pytest.mark.skipif(find_spec("lhotse") is None, reason="lhotse is not installed")

RATE = 8000
FILES = {"a.wav": (2.0, 1), "b.wav": (1.5, 1), "wide.wav": (1.0, 2)}


def noise(name: str, rate: int = RATE) -> bytes:
    """Returns the sound of a file, another for each name."""
    seconds, channels = FILES[name]
    wave = 0.05 * (1 + len(name)) * np.random.default_rng(len(name)).standard_normal((int(seconds * rate), channels))
    file = io.BytesIO()
    soundfile.write(file, wave, rate, "PCM_16", format="WAV")
    return file.getvalue()


def wave(name: str) -> np.ndarray[Any, Any]:
    return decode(noise(name)).samples


def mono(name: str, start: float = 0.0, duration: float = 1.0, **changes: Any) -> dict[str, Any]:
    """Returns a cut of a file."""
    channels = list(range(FILES[name][1]))
    recording = {"id": name, "sources": [{"type": "file", "channels": channels, "source": name}]}
    recording |= {"sampling_rate": RATE, "num_samples": int(FILES[name][0] * RATE), "duration": FILES[name][0]}
    made = {"id": name, "start": start, "duration": duration, "channel": 0, "supervisions": [], "recording": recording}
    return made | changes


def padding(duration: float) -> dict[str, Any]:
    made = {"id": "pad", "duration": duration, "sampling_rate": RATE, "feat_value": -23.0}
    return {"cut": made | {"num_samples": int(duration * RATE)}, "type": "PaddingCut", "offset": 0.0}


def track(name: str, offset: float = 0.0, kind: str = "MonoCut", **changes: Any) -> dict[str, Any]:
    told = {key: changes.pop(key) for key in ("snr", "mute", "is_snr_reference") if key in changes}
    return {"cut": mono(name, **changes), "type": kind, "offset": offset, **told}


def mix_cut(*tracks: Any, id: str = "mix", **changes: Any) -> dict[str, Any]:
    return {"id": id, "tracks": list(tracks), "type": "MixedCut", **changes}


def taken(source: Path, url: Path, *cuts: Any, **options: Any) -> Any:
    files = {"cuts.jsonl": "".join(json.dumps(c) + "\n" for c in cuts), **{name: noise(name) for name in FILES}}
    return take(write(source, files), url, **options)


def heard(url: Path, id: str = "mix") -> np.ndarray[Any, Any]:
    return decode(audio(url)[id]).samples


def test_tracks_are_summed_at_their_offsets_and_padding_is_silence(source: Path, url: Path) -> None:
    taken(source, url, mix_cut(padding(2.25), track("a.wav", 0.25, start=0.5), track("b.wav", 1.0, duration=0.5)))
    expected = np.zeros((18_000, 1), np.float32)
    expected[2_000:10_000] += wave("a.wav")[4_000:12_000]
    expected[8_000:12_000] += wave("b.wav")[:4_000]
    np.testing.assert_allclose(heard(url), expected, atol=2.0**-23)


def test_levels_are_relative_to_the_first_track_that_keeps_its_own(source: Path, url: Path) -> None:
    taken(source, url, mix_cut(track("b.wav", snr=6.0), track("a.wav")))
    a, b = (wave(name)[:8_000].astype(np.float64) for name in ("a.wav", "b.wav"))
    quiet = b * np.sqrt((a**2).mean() / (b**2).mean() / 10**0.6)
    np.testing.assert_allclose(heard(url), a + quiet, atol=1e-6)


def test_one_channel_is_heard_in_all(source: Path, url: Path) -> None:
    taken(source, url, mix_cut(track("a.wav"), track("wide.wav", kind="MultiCut", channel=[0, 1])))
    np.testing.assert_allclose(heard(url), wave("a.wav")[:8_000] + wave("wide.wav"), atol=2.0**-23)


def test_a_muted_track_is_not_heard_and_may_be_the_reference(source: Path, url: Path) -> None:
    loud = track("a.wav", is_snr_reference=True, mute=True, duration=2.0)
    taken(source, url, mix_cut(track("b.wav", snr=0.0), loud))
    assert heard(url).shape == (8_000, 1)
    assert (heard(url) ** 2).mean() == pytest.approx((wave("a.wav").astype(np.float64) ** 2).mean(), rel=1e-4)


def test_lines_and_words_of_all_tracks_count_from_the_mix(source: Path, url: Path) -> None:
    its = cut()["supervisions"]
    later = [its[0] | {"text": "me too", "alignment": {"word": [["me", 0.1, 0.2, None], ["too", 0.3, 0.5, None]]}}]
    taken(source, url, mix_cut(track("b.wav", 0.5, supervisions=later), track("a.wav", supervisions=its)))
    assert songs(url)["mix"] == {
        "lrc_lyrics": "[00:00.100]can you\n[00:00.600]me too\n",
        "raw_lyrics": "can you\nme too",
        "singer": "ann",
        "title": "b.wav",
        "language": "en",
    }
    words = [("can", 100, 400, 0), ("you", 500, 750, 0), ("me", 600, 800, 1), ("too", 800, 1300, 1)]
    assert brief(truths(url)["mix"]["ref_words"]) == words


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (mix_cut(), "it has no tracks"),
        (mix_cut(3), "a track is '3'; expected an object with a cut"),
        (mix_cut({"type": "MonoCut"}), "expected an object with a cut"),
        (mix_cut(padding(1.0)), "it is made of padding alone"),
        (mix_cut(track("a.wav", kind="SlowCut")), "a SlowCut is no cut that is known"),
        (mix_cut({"cut": mix_cut(track("a.wav")), "type": "MixedCut"}), "a track is itself a MixedCut"),
        (mix_cut(track("a.wav", recording=None)), "it has no recording"),
        (mix_cut(track("a.wav", -0.5)), "a track begins at -0.5 s, before the mix"),
        (mix_cut(track("a.wav", float("nan"))), "nan is no time in seconds"),
        (mix_cut(track("a.wav", 1e6)), "its mix of 1e+06 s has more than 2147483648 bytes"),
        (mix_cut(track("a.wav", snr="loud"), track("b.wav")), "a track's snr is 'loud'; expected decibels"),
        (mix_cut(track("a.wav", snr=float("nan")), track("b.wav")), "a track's snr is nan; expected decibels"),
        (mix_cut(track("a.wav", snr=3.0)), "its tracks have levels relative to none of them"),
        (mix_cut(track("a.wav"), transforms=[{"name": "ReverbWithImpulseResponse"}]), "its mix is to be transformed"),
        (mix_cut(track("a.wav", start=1.5)), "from 1.5 s to 2.5 s is not inside of a.wav, which has 2 s"),
        (
            mix_cut(track("a.wav", supervisions=[{"id": "s", "start": 0.5, "duration": 1.0}])),
            "not all inside of the cut",
        ),
    ],
)
def test_a_mix_that_can_not_be_made_is_told_and_the_others_go_on(
    source: Path, url: Path, bad: Any, message: str
) -> None:
    result = taken(source, url, cut("good", recording=mono("a.wav")["recording"]), bad)
    assert set(songs(url)) == {"good"}
    assert "cuts.jsonl:2" in result.problems[0] and message in result.problems[0]


@pytest.mark.parametrize(
    ("shapes", "rates", "message"),
    [((1, 1), (8000, 16000), "have 8000 and 16000 Hz"), ((2, 3), (8000, 8000), "have 2 and 3 channels")],
)
def test_sounds_that_do_not_fit_each_other_are_told(shapes: Any, rates: Any, message: str) -> None:
    sounds = iter([Sound(np.zeros((10, c), np.float32), rate) for c, rate in zip(shapes, rates, strict=True)])
    with pytest.raises(RowError, match=message):
        mixed(mix_cut(track("a.wav"), track("b.wav")), lambda _: next(sounds))


def test_a_track_out_of_the_source_ends_the_ingest_before_anything_is_written(source: Path, url: Path) -> None:
    outside = track("b.wav", recording=mono("b.wav")["recording"] | {"sources": [{"type": "file", "source": "/etc/x"}]})
    with pytest.raises(UsageError, match=r"cuts\.jsonl:2 names /etc/x, which lies outside"):
        taken(source, url, mix_cut(track("a.wav"), id="good"), mix_cut(track("a.wav"), outside))
    assert not url.exists()


def test_the_globs_decide_by_the_first_recording_and_the_others_are_used(source: Path, url: Path) -> None:
    mixes = (mix_cut(track("a.wav"), track("b.wav"), id="ab"), mix_cut(track("b.wav"), track("a.wav"), id="ba"))
    result = taken(source, url, *mixes, include=("a.*",))
    assert set(songs(url)) == {"ab"} and result.problems == []


def test_a_noise_beside_a_song_leaves_it_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {name: noise(name) for name in FILES})
    decoded: list[int] = []
    monkeypatch.setattr(
        "autosing.pipeline.ingest.parts.decode", lambda data: (decoded.append(len(data)), decode(data))[1]
    )
    recordings = Recordings()
    for name in ("a.wav", "b.wav", "a.wav", "wide.wav", "a.wav", "b.wav"):
        recordings.samples(tmp_path / name, 0, 0.5)
    assert len(decoded) == 3


def padded(cuts: Any) -> Any:
    return cuts["a"].truncate(offset=0.3, duration=0.7).pad(duration=1.0, direction="both")


def appended(cuts: Any) -> Any:
    return cuts["a"].append(cuts["b"].truncate(duration=0.4), snr=3).append(cuts["a"])


def noisy(cuts: Any) -> Any:
    return cuts["a"].mix(cuts["b"], offset_other_by=0.20003, snr=10).mix(cuts["b"], offset_other_by=0.9, snr=-5)


def noise_before_silence(cuts: Any) -> Any:
    return cuts["a"].pad(duration=3.0, direction="left").mix(cuts["b"], snr=5)


def in_many_channels(cuts: Any) -> Any:
    return cuts["wide"].mix(cuts["a"], offset_other_by=0.123, snr=2)


@needs_lhotse
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("make", [padded, appended, noisy, noise_before_silence, in_many_channels])
def test_sound_and_lines_are_what_lhotse_makes_of_its_own_manifest(
    source: Path, url: Path, make: Callable[[Any], Any]
) -> None:
    from lhotse import CutSet, Recording, SupervisionSegment

    write(source, {name: noise(name) for name in FILES})
    cuts = {name.removesuffix(".wav"): Recording.from_file(source / name).to_cut() for name in FILES}
    for name in ("a", "b"):
        line = SupervisionSegment(f"{name}-s", cuts[name].recording_id, 0.4, 0.2, text=f"line {name}")
        cuts[name].supervisions.append(line)
    made = make(cuts).with_id("mix")
    CutSet.from_cuts([made]).to_file(source / "cuts.jsonl")
    assert take(source, url).songs == 1
    np.testing.assert_allclose(heard(url).T, made.load_audio(), atol=1e-6)
    lines = sorted(made.supervisions, key=lambda its: its.start)
    assert songs(url)["mix"].get("raw_lyrics", "").splitlines() == [its.text for its in lines]
