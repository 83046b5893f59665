"""Manifests of JSON lines and cuts of lhotse: parts are cut to the sample, and no path leads where it should not."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from toy_sources import audio, brief, cut, songs, take, truths, wav, write

from autosing.pipeline.construct.split import group_of
from autosing.pipeline.ingest.parts import Recordings, is_whole, lossless
from autosing.signal.decode import decode
from autosing.signal.errors import DataError, RowError, UsageError

RATE = 8000


def rows(*values: Any) -> str:
    return "".join(f"{json.dumps(v, ensure_ascii=False) if not isinstance(v, str) else v}\n" for v in values)


def noise(seconds: float, subtype: str = "PCM_16", channels: int = 1, format: str = "WAV", gain: float = 0.2) -> bytes:
    """Returns noise whose every sample is another."""
    wave = gain * np.random.default_rng(0).standard_normal((int(seconds * RATE), channels))
    file = io.BytesIO()
    soundfile.write(file, wave, RATE, subtype, format=format)
    return file.getvalue()


def samples(data: bytes) -> np.ndarray[Any, Any]:
    return decode(data).samples


def test_rows_become_songs_with_what_they_know(source: Path, url: Path) -> None:
    listed = rows(
        {"audio_filepath": "a.wav", "duration": 0.2, "text": "hello", "speaker": 0, "lang": "English", "id": "utt-7"},
        {"audio_filepath": "b.wav", "lyrics": "[00:01.00]stamped", "singer": "ann", "title": "T", "artist": "A"},
        {"audio_filepath": "c.wav", "lyrics": "not stamped", "split": "test", "text": None, "speaker": 3.0},
    )
    assert (
        take(write(source, {"train.json": listed, **{f"{n}.wav": wav(i) for i, n in enumerate("abc")}}), url).songs == 3
    )
    assert songs(url) == {
        "utt-7": {"raw_lyrics": "hello", "singer": "0", "language": "en"},
        "b.wav": {"lrc_lyrics": "[00:01.00]stamped", "singer": "ann", "title": "T", "artist": "A"},
        "c.wav": {"raw_lyrics": "not stamped", "split": "test", "singer": "3"},
    }
    assert audio(url)["utt-7"] == wav(0)


def test_a_gzipped_manifest_given_as_a_file_is_read(source: Path, url: Path) -> None:
    write(source, {"m.jsonl.gz": gzip.compress(rows({"file_name": "a.wav"}).encode()), "a.wav": wav(1)})
    assert take(source / "m.jsonl.gz", url).songs == 1
    assert set(songs(url)) == {"a.wav"}


def test_a_hugging_face_table_is_read_at_the_top_and_in_the_folders_of_its_splits(source: Path, url: Path) -> None:
    table = "file_name,transcription,speaker_id,duration\n"
    files = {
        "metadata.csv": "\ufeff" + table + 'a.wav,"one, ""two""\nthree",ann,\n',
        "train/metadata.csv": table + "b.wav,four,,0.2\nmissing.wav,,,\n",
        **{name: wav(n) for n, name in enumerate(("a.wav", "train/b.wav"))},
    }
    found = take(write(source, files), url)
    assert songs(url) == {
        "a.wav": {"raw_lyrics": 'one, "two"\nthree', "singer": "ann"},
        "train/b.wav": {"raw_lyrics": "four"},
    }
    assert "missing.wav" in str(found.problems)


@pytest.mark.parametrize(("encoding", "between"), [("utf-8-sig", ";"), ("utf-16", "\t"), ("utf-16", ",")])
def test_a_table_as_spreadsheets_save_it_is_read(source: Path, url: Path, encoding: str, between: str) -> None:
    table = between.join(("file_name", "text")) + "\r\n" + between.join(("ä.wav", '"one, two; three"')) + "\r\n"
    take(write(source, {"metadata.csv": table.encode(encoding), "ä.wav": wav(1)}), url)
    assert songs(url)["ä.wav"]["raw_lyrics"] == "one, two; three"


def test_a_table_that_is_none_is_refused_by_name(source: Path, url: Path) -> None:
    write(source, {"metadata.csv": 'file_name,text\na.wav,one\n"a.wav,never closed\n', "a.wav": wav(1)})
    with pytest.raises(DataError, match=r"metadata\.csv is damaged"):
        take(source / "metadata.csv", url)


def test_words_phones_and_notes_of_a_row_become_truth(source: Path, url: Path) -> None:
    row = {
        "audio_filepath": "a.wav",
        "words": [
            {"start": 0.1, "end": 0.2, "text": "oh,"},
            {"start": 0.2, "end": 0.4, "text": "well…", "line_end": True},
            {"start_s": 0.5, "end_s": 0.8, "word": "ice-cold"},
        ],
        "phones": [{"start": 0.1, "end": 0.2, "phone": "ow"}],
        "notes": [{"start": 0.1, "end": 0.4, "text": "oh", "midi": 60.5}, {"start": 0.5, "end": 0.5, "pitch": 61}],
    }
    take(write(source, {"m.jsonl": rows(row), "a.wav": wav(1, 1.0)}), url)
    assert songs(url)["a.wav"]["lrc_lyrics"] == "[00:00.100]oh, well…\n[00:00.500]ice-cold\n"
    truth = truths(url)["a.wav"]
    assert brief(truth["ref_words"]) == [("oh", 100, 200, 0), ("well", 200, 400, 0), ("ice-cold", 500, 800, 1)]
    assert brief(truth["ref_phones"]) == [("ow", 100, 200)] and brief(truth["ref_notes"]) == [("oh", 100, 400, 60.5)]


def test_parts_have_exactly_their_samples_and_a_file_is_decoded_once(source: Path, url: Path, monkeypatch: Any) -> None:
    listed = [
        {"audio_filepath": name, "offset": offset, "duration": 0.5, "text": f"{name} {offset}"}
        for offset in (0.25, 0.0, 1.0)
        for name in ("a.wav", "b.wav")
    ]
    write(source, {"m.jsonl": rows(*listed), "a.wav": noise(1.5), "b.wav": noise(2.0, "PCM_24")})
    decoded: list[int] = []
    monkeypatch.setattr(
        "autosing.pipeline.ingest.parts.decode", lambda data: (decoded.append(len(data)), decode(data))[1]
    )
    assert take(source, url).songs == 6 and len(decoded) == 2
    whole = {name: samples((source / name).read_bytes()) for name in ("a.wav", "b.wav")}
    for row in listed:
        part = audio(url)[f"{row['audio_filepath']}#{row['offset']:.3f}-{row['offset'] + 0.5:.3f}"]
        first = round(row["offset"] * RATE)
        assert np.array_equal(samples(part), whole[row["audio_filepath"]][first : first + RATE // 2])
        assert decode(part).codec == ("flac/pcm_16" if row["audio_filepath"] == "a.wav" else "flac/pcm_24")


def test_a_duration_that_ends_before_the_file_is_not_ignored(source: Path, url: Path) -> None:
    listed = rows({"audio_filepath": "a.wav", "duration": 0.5}, {"audio_filepath": "b.wav", "duration": 1.004})
    take(write(source, {"m.jsonl": listed, "a.wav": noise(1.0), "b.wav": noise(1.0)}), url)
    assert len(samples(audio(url)["a.wav#0.000-0.500"])) == RATE // 2
    assert audio(url)["b.wav"] == (source / "b.wav").read_bytes()


def test_an_offset_without_a_duration_goes_to_the_end(source: Path, url: Path) -> None:
    take(write(source, {"m.jsonl": rows({"audio_filepath": "a.wav", "offset": 0.75}), "a.wav": noise(1.0)}), url)
    assert len(samples(audio(url)["a.wav#0.750-end"])) == RATE // 4


def test_parts_of_one_recording_can_not_straddle_a_split(source: Path, url: Path) -> None:
    listed = [{"audio_filepath": f"{n}.wav", "offset": at, "duration": 0.5} for n in "ab" for at in (0, 0.5)]
    named = {"audio_filepath": "a.wav", "offset": 0.1, "duration": 0.5, "title": "T"}
    write(source, {"m.jsonl": rows(*listed, named), "a.wav": noise(1.0), "b.wav": noise(1.0)})
    assert take(source, url).songs == 5
    groups = {id: group_of("song", id, text) for id, text in songs(url).items()}
    assert groups["a.wav#0.000-0.500"] == groups["a.wav#0.500-1.000"] == "work a.wav / "
    assert set(groups.values()) == {"work a.wav / ", "work b.wav / ", "work t / "}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"audio_filepath": "a.wav", "offset": 0.8, "duration": 0.5}, "from 0.8 s to 1.3 s is not inside of a.wav"),
        ({"audio_filepath": "a.wav", "offset": 2, "duration": 0.5}, "is not inside of a.wav, which has 1 s"),
        ({"audio_filepath": "a.wav", "offset": -1, "duration": 0.5}, "its offset is -1 s and its duration 0.5 s"),
        ({"audio_filepath": "a.wav", "offset": 0, "duration": 0}, "its duration 0 s; expected 0 or more, and more"),
        ({"audio_filepath": "a.wav", "offset": "x"}, "'x' is no time in seconds"),
        ({"audio_filepath": "a.wav", "duration": [1]}, "[1] is no time in seconds"),
        ({"audio_filepath": "a.wav", "duration": True}, "True is no time in seconds"),
        ('{"audio_filepath": "a.wav", "offset": NaN}', "nan is no time in seconds"),
        ({"audio_filepath": "gone.wav"}, "m.jsonl:2 names gone.wav, which does not exist"),
        ({"audio_filepath": "broken.wav", "offset": 1}, "cannot be decoded"),
        ({"audio_filepath": 3}, "m.jsonl:2: 'audio_filepath' is missing"),
        ({"text": "no sound"}, "m.jsonl:2: 'audio_filepath' is missing"),
        ({"audio_filepath": "a.wav", "words": [1]}, "'words' is no list of objects with start, end and text"),
        ({"audio_filepath": "a.wav", "words": [{"start": 1, "text": "x"}]}, "None is no time in seconds"),
        ('{"audio_filepath": "a.wav"', "m.jsonl:2: it is no JSON ("),
        ({"audio_filepath": "x" * 300}, "xxx, which can't be looked for (File name too long)"),
        (r'{"audio_filepath": "a.wav", "text": "oh \ud83d"}', r"m.jsonl:2: it holds half of a character (\ud83d)"),
        ("[1]", "m.jsonl:2: it is no JSON object but a list"),
        ("[" * 50_000, "m.jsonl:2: it is no JSON ("),
    ],
)
def test_a_bad_row_is_told_by_line_and_the_others_go_on(source: Path, url: Path, row: Any, message: str) -> None:
    listed = rows({"audio_filepath": "b.wav"}, row, "", {"audio_filepath": "c.wav"})
    files = {"a.wav": noise(1.0), "b.wav": wav(1), "c.wav": wav(2), "broken.wav": b"RIFF"}
    result = take(write(source, {"m.jsonl": listed, **files}), url)
    assert set(songs(url)) == {"b.wav", "c.wav"}
    assert any("m.jsonl:2" in told and message in told for told in result.problems)


def test_a_row_in_another_encoding_is_told_by_line(source: Path, url: Path) -> None:
    listed = rows({"audio_filepath": "a.wav"}).encode() + '{"audio_filepath": "ä.wav"}'.encode("latin-1")
    result = take(write(source, {"m.jsonl": listed, "a.wav": wav(1)}), url)
    assert result.songs == 1 and "m.jsonl:2: it is no UTF-8" in result.problems[0]


def test_a_recording_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(RowError, match="can't be read"):
        is_whole(tmp_path, 1.0)


def test_a_damaged_archive_is_refused_by_name(source: Path, url: Path) -> None:
    whole = gzip.compress(rows(*({"audio_filepath": "a.wav", "id": str(i)} for i in range(999))).encode())
    write(source, {"m.jsonl.gz": whole[:-9], "a.wav": wav(1)})
    with pytest.raises(DataError, match=r"m\.jsonl\.gz is damaged after line 999"):
        take(source, url, format="jsonl")
    assert not url.exists()


@pytest.mark.parametrize(
    "name", ["../secret.wav", "{root}/secret.wav", "a/../../secret.wav", "/etc/hostname", "link.wav", "LINK.wav"]
)
@pytest.mark.parametrize("kind", ["jsonl", "lhotse"])
def test_a_path_out_of_the_source_ends_the_ingest_before_anything_is_written(
    source: Path, url: Path, name: str, kind: str
) -> None:
    write(source.parent, {"secret.wav": wav(9, 2.0)})
    write(source, {"a/b.wav": wav(1, 2.0), "rec.wav": wav(2, 2.0)})
    (source / "link.wav").symlink_to(source.parent / "secret.wav")
    name = name.format(root=source.parent)
    if kind == "jsonl":
        listed = rows({"audio_filepath": "rec.wav"}, {"audio_filepath": name})
    else:
        listed = rows(cut(), cut("out", recording=of_file(name)))
    write(source, {"m.jsonl": listed})
    with pytest.raises(UsageError, match=r"m\.jsonl:2 names .* outside of .*; give the folder .* --audio-root FOLDER"):
        take(source, url)
    assert not url.exists()
    if "etc" not in name:
        assert take(source, url, audio_root=str(source.parent)).songs == 2


def of_file(name: str) -> dict[str, Any]:
    return cut()["recording"] | {"sources": [{"type": "file", "channels": [0], "source": name}]}


def test_the_audio_root_is_where_relative_names_are_looked_up_next(source: Path, url: Path, tmp_path: Path) -> None:
    write(tmp_path / "sounds", {"x/a.wav": wav(1), "b.wav": wav(2)})
    listed = rows({"audio_filepath": "x/a.wav"}, {"audio_filepath": f"{tmp_path}/sounds/b.wav"})
    write(source, {"m.jsonl": listed})
    assert take(source, url, audio_root=str(tmp_path / "sounds")).n_problems == 0
    assert set(songs(url)) == {"x/a.wav", "b.wav"}
    with pytest.raises(UsageError, match="--audio-root nowhere is no folder"):
        take(source, url, audio_root="nowhere")


def test_further_files_are_told(source: Path, url: Path) -> None:
    write(source, {"m.jsonl": rows({"audio_filepath": "a.wav"}), "other.jsonl": rows({"x": 1})})
    result = take(write(source, {"a.wav": wav(1), "b.wav": wav(2)}), url)
    assert any("other.jsonl has no sound in its first line" in told for told in result.problems)
    assert any("1 sound file named by no manifest: b.wav" in told for told in result.problems)


def test_cuts_are_parts_with_words_that_count_from_the_cut(source: Path, url: Path) -> None:
    recording = noise(2.0)
    take(write(source, {"cuts.jsonl": rows(cut()), "rec.wav": recording}), url)
    assert np.array_equal(samples(audio(url)["cut-1"]), samples(recording)[RATE // 2 : 3 * RATE // 2])
    assert songs(url)["cut-1"] == {
        "lrc_lyrics": "[00:00.100]can you\n",
        "raw_lyrics": "can you",
        "singer": "ann",
        "title": "rec.wav",
        "language": "en",
    }
    assert brief(truths(url)["cut-1"]["ref_words"]) == [("can", 100, 400, 0), ("you", 500, 750, 0)]


def test_a_cut_of_all_of_a_recording_is_its_file(source: Path, url: Path) -> None:
    whole = cut(start=0.0, duration=2.0, supervisions=[])
    write(source, {"cuts.jsonl.gz": gzip.compress(rows(whole).encode()), "rec.wav": noise(2.0)})
    take(source, url)
    assert audio(url)["cut-1"] == (source / "rec.wav").read_bytes() and songs(url)["cut-1"] == {}


def test_a_cut_of_one_channel_has_that_channel(source: Path, url: Path) -> None:
    stereo = cut()["recording"] | {"sources": [{"type": "file", "channels": [0, 1], "source": "rec.wav"}]}
    write(source, {"rec.wav": noise(2.0, channels=2)})
    cuts = [cut("right", channel=1, recording=stereo), cut("both", channel=[0, 1], recording=stereo, type="MultiCut")]
    take(write(source, {"cuts.jsonl": rows(*cuts)}), url)
    whole = samples((source / "rec.wav").read_bytes())[RATE // 2 : 3 * RATE // 2]
    assert np.array_equal(samples(audio(url)["right"]), whole[:, 1:])
    assert np.array_equal(samples(audio(url)["both"]), whole)


def test_supervisions_are_lines_in_order_and_several_speakers_are_none(source: Path, url: Path) -> None:
    first, second = cut()["supervisions"][0], cut()["supervisions"][0] | {"speaker": "bob", "text": "me too"}
    second |= {"start": 0.8, "duration": 0.2, "alignment": {"word": [{"symbol": "me", "start": 0.8, "duration": 0.1}]}}
    write(source, {"cuts.jsonl": rows(cut(supervisions=[second, first])), "rec.wav": noise(2.0)})
    result = take(source, url)
    assert songs(url)["cut-1"] == {"raw_lyrics": "can you\nme too", "title": "rec.wav", "language": "en"}
    assert "no ref_words: the line 'me too' has other letters than its timed parts 'me'" in result.problems[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "SlowCut"}, "a SlowCut is no cut that is known (MonoCut, MultiCut, Cut, MixedCut, PaddingCut)"),
        ({"type": "PaddingCut"}, "it is made of padding alone"),
        ({"type": "MixedCut"}, "it has no tracks"),
        ({"recording": None}, "it has no recording"),
        ({"recording": cut()["recording"] | {"transforms": [{"name": "Speed"}]}}, "is to be transformed"),
        ({"recording": cut()["recording"] | {"sources": []}}, "has not exactly one source"),
        ({"recording": cut()["recording"] | {"sources": [{"type": "url", "source": "http://x"}]}}, "of the type 'url'"),
        ({"recording": cut()["recording"] | {"sources": [{"type": "command", "source": "rm"}]}}, "the type 'command'"),
        ({"channel": 1}, "its channel is 1, and the recording has [0]"),
        ({"start": 1.5}, "from 1.5 s to 2.5 s is not inside of rec.wav, which has 2 s"),
        ({"duration": 0.5}, "its supervision cut-1-s (0 to 1 s) is not all inside of the cut (0.5 s)"),
        ({"duration": None}, "None is no time in seconds"),
    ],
)
def test_a_cut_that_is_no_part_of_one_file_is_told(source: Path, url: Path, changes: Any, message: str) -> None:
    write(source, {"cuts.jsonl": rows(cut("good"), cut(**changes)), "rec.wav": noise(2.0)})
    result = take(source, url)
    assert set(songs(url)) == {"good"} and any(message in told for told in result.problems)
    assert "cuts.jsonl:2" in result.problems[0]


def test_manifests_of_lhotse_without_cuts_say_how_to_make_them(source: Path, url: Path) -> None:
    write(source, {"cuts.jsonl": rows(cut()), "recordings.jsonl": rows(cut()["recording"]), "rec.wav": noise(2.0)})
    result = take(source, url)
    assert result.songs == 1 and "recordings.jsonl holds no cuts; it is left out (lhotse: cuts =" in result.problems[0]


@pytest.mark.parametrize(
    ("data", "codec"),
    [
        (noise(0.5), "flac/pcm_16"),
        (noise(0.5, "PCM_U8"), "flac/pcm_16"),
        (noise(0.5, "PCM_24", channels=2), "flac/pcm_24"),
        (noise(0.5, "FLOAT", gain=2.0), "wav/float"),
        (noise(0.5, "PCM_16", channels=9), "wav/float"),
    ],
)
def test_parts_of_integer_files_and_of_loud_ones_are_exact(data: bytes, codec: str) -> None:
    wave = samples(data)
    made = decode(lossless(wave, RATE))
    assert made.codec == codec and np.array_equal(made.samples, wave)


@pytest.mark.parametrize("data", [noise(0.5, "FLOAT"), noise(0.5, "VORBIS", format="OGG")])
def test_parts_of_float_and_lossy_files_are_exact_to_24_bits(data: bytes) -> None:
    wave = samples(data)
    made = decode(lossless(wave, RATE))
    assert made.codec == "flac/pcm_24" and np.abs(made.samples - wave).max() <= 2.0**-24


def test_full_scale_survives() -> None:
    wave = np.array([[-1.0], [1.0 - 2.0**-15], [0.0], [1.0 - 2.0**-23]], np.float32)
    for part in (wave[:3], wave):
        assert np.array_equal(samples(lossless(part, RATE)), part)


def test_a_channel_that_a_file_lacks_is_told(source: Path) -> None:
    write(source, {"a.wav": noise(0.5)})
    with pytest.raises(RowError, match=r"a\.wav has no channel 1; it has 1, counted from 0"):
        Recordings().part(source / "a.wav", 0, 0.25, [1])
