"""Corpora in the layouts that they are published in: what becomes lyrics, words, phones, notes, singers and titles."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_sources import (
    GTSINGER_WORDS,
    M4_ITEM,
    OPENCPOP_ROW,
    OPENCPOP_TIERS,
    brief,
    gtsinger,
    gtsinger_clips,
    hts,
    jamendo_folders,
    jamendolyrics,
    ljspeech,
    m4singer,
    midi_file,
    musicxml,
    opencpop,
    opencpop_songs,
    opensinger,
    pjs,
    songs,
    svcc,
    take,
    textgrid,
    truths,
    vctk,
    wav,
    write,
)

from autosing.pipeline.construct.split import group_of
from autosing.signal.errors import DataError, UsageError


def test_ljspeech_has_what_is_said_and_not_what_is_written(source: Path, url: Path) -> None:
    assert take(ljspeech(source), url).n_problems == 0
    assert songs(url) == {
        "wavs/LJ001-0001.wav": {"raw_lyrics": 'He said "one" loud.', "singer": "LJ", "language": "en"},
        "wavs/LJ001-0002.wav": {"raw_lyrics": "as it was", "singer": "LJ", "language": "en"},
    }


def test_rows_of_ljspeech_that_can_not_be_used_are_told_by_line(source: Path, url: Path) -> None:
    write(ljspeech(source), {"metadata.csv": "LJ001-0001|ok|ok\nno text\nLJ001-0009|gone|gone\n../x|out|out\n"})
    result = take(source, url)
    told = "\n".join(result.problems)
    assert (result.songs, result.n_problems) == (1, 4)
    assert "metadata.csv:2: expected ID|TEXT" in told and "metadata.csv:3: there is no sound of 'LJ001-0009'" in told
    assert "metadata.csv:4: there is no sound of '../x'" in told and "1 sound file not listed" in told


def test_a_separator_of_lines_inside_a_text_of_ljspeech_ends_no_row(source: Path, url: Path) -> None:
    write(ljspeech(source), {"metadata.csv": "LJ001-0001|a\u2028b|one\x85two\r\nLJ001-0002|three|"})
    assert take(source, url).n_problems == 0
    assert [s["raw_lyrics"] for s in songs(url).values()] == ["one\x85two", "three"]


def test_an_utterance_of_vctk_is_taken_from_one_microphone(source: Path, url: Path) -> None:
    result = take(vctk(source), url)
    told = {"raw_lyrics": "Please call Stella.", "language": "en"}
    assert songs(url) == {
        f"wav48_silence_trimmed/{s}/{s}_001_mic1.flac": told | {"singer": s} for s in ("p225", "p226")
    }
    assert result.n_problems == 2 and "2 sound files of a second microphone" in result.problems[0]
    assert take(source, url.with_name("second"), include=("*_mic2.*",)).songs == 2


def test_speakers_of_vctk_without_transcripts_are_taken_and_counted(source: Path, url: Path) -> None:
    write(vctk(source), {"wav48_silence_trimmed/p315/p315_001_mic1.flac": wav(5)})
    result = take(source, url)
    assert result.songs == 3 and "1 utterances have no transcript" in result.problems[0]
    assert songs(url)["wav48_silence_trimmed/p315/p315_001_mic1.flac"] == {"singer": "p315", "language": "en"}


def test_phones_of_m4singer_become_syllables_words_and_notes(source: Path, url: Path) -> None:
    take(m4singer(source), url)
    text, truth = songs(url)["Alto-1#美错/0000.wav"], truths(url)["Alto-1#美错/0000.wav"]
    assert (text["singer"], text["title"], text["language"]) == ("Alto-1", "美错", "zh") and "artist" not in text
    assert text["lrc_lyrics"] == "[00:00.200]想爱 你\n"
    assert brief(truth["ref_words"]) == [("想", 200, 800, 0), ("爱", 800, 1200, 0), ("你", 1300, 1800, 0)]
    assert brief(truth["ref_phones"]) == [
        *[("AP", 0, 200), ("x", 200, 300), ("iang", 300, 800), ("ai", 800, 1200), ("SP", 1200, 1300)],
        *[("n", 1300, 1350), ("i", 1350, 1800)],
    ]
    assert brief(truth["ref_notes"]) == [
        *[("xiang", 200, 600, 60), ("xiang", 600, 800, 62), ("ai", 800, 1200, 62), ("ni", 1300, 1800, 64)],
    ]


def test_phrases_of_m4singer_that_do_not_fit_are_told_and_nothing_is_misaligned(source: Path, url: Path) -> None:
    longer = M4_ITEM | {"item_name": "Alto-1#美错#0001", "txt": "想爱你们"}
    uneven = M4_ITEM | {"item_name": "Alto-1#美错#0002", "notes": [0]}
    gone = M4_ITEM | {"item_name": "Bass#gone#0000"}
    m4singer(source, M4_ITEM, longer, uneven, gone)
    write(source, {"meta.json": json.dumps([M4_ITEM, longer, uneven, gone, {"item_name": "../../x"}, "no phrase"])})
    (source / "Bass#gone/0000.wav").unlink()
    result = take(source, url, format="m4singer")
    told = "\n".join(result.problems)
    assert (
        result.songs == 2 and "item 2 (Alto-1#美错#0001): no ref_words: 4 words (想爱你们) are sung on 3 syll" in told
    )
    assert "item 3 (Alto-1#美错#0002): expected lists of one length" in told and "'notes': 1" in told
    assert "item 4 (Bass#gone#0000) names Bass#gone/0000.wav, which does not exist" in told
    assert "item 5: expected an item_name of the form" in told and "item 6: expected an item_name" in told
    assert set(truths(url)["Alto-1#美错/0001.wav"]) == {"ref_phones", "ref_notes"}


def test_a_song_name_of_m4singer_can_not_lead_out_of_its_folder(source: Path, url: Path) -> None:
    write(source.parent, {"secret.wav": wav(1)})
    m4singer(source)
    out = [M4_ITEM | {"item_name": name} for name in ("#/../../#secret", "a#/../../b#/../../secret")]
    write(source, {"meta.json": json.dumps([M4_ITEM, *out]), "a#/b#/x": ""})
    result = take(source, url, format="m4singer")
    assert result.songs == 1 and not any("secret" in id for id in songs(url))
    assert "item 2: expected an item_name" in result.problems[0]
    assert "which lies outside of" in result.problems[1] or "does not exist" in result.problems[1]


@pytest.mark.parametrize("content", ["{", "{}", "[" * 100_000])
def test_a_broken_list_of_phrases_is_refused_by_name(source: Path, url: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"meta\.json (is no JSON|holds no list)"):
        take(write(m4singer(source), {"meta.json": content}), url, format="m4singer")


def test_phrases_of_opencpop_are_of_a_song_and_its_test_songs_stay_held_out(source: Path, url: Path) -> None:
    assert take(opencpop(source), url).n_problems == 0
    found, truth = songs(url), truths(url)["segments/wavs/2001000001.wav"]
    assert {id: (s["title"], s.get("split")) for id, s in found.items()} == {
        "segments/wavs/2001000001.wav": ("2001", None),
        "segments/wavs/2044000001.wav": ("2044", "test"),
    }
    assert found["segments/wavs/2001000001.wav"]["raw_lyrics"] == "感受 停"
    assert brief(truth["ref_words"]) == [("感", 0, 250, 0), ("受", 250, 680, 0), ("停", 780, 1080, 0)]
    assert brief(truth["ref_notes"]) == [("gan", 0, 250, 68), ("shou", 250, 680, 66), ("ting", 780, 1080, 66)]


def test_rows_of_opencpop_that_are_broken_are_told_by_line(source: Path, url: Path) -> None:
    gone = OPENCPOP_ROW.replace("2001000001", "2001000009")
    rows = [OPENCPOP_ROW, "x|y", OPENCPOP_ROW.replace(" 0.2|0 0", "|0 0"), gone]
    write(opencpop(source), {"segments/transcriptions.txt": "\n".join(rows)})
    told = "\n".join(take(source, url).problems)
    assert "transcriptions.txt:2: expected 7 fields between '|', found 2" in told
    assert "transcriptions.txt:3: 8 phones, 8 notes, 7 durations and 8 slurs" in told
    assert "transcriptions.txt:4: there is no wavs/2001000009.wav" in told
    assert "1 sound file not listed in transcriptions.txt" in told


def test_whole_songs_of_opencpop_have_lines_and_held_characters(source: Path, url: Path) -> None:
    assert take(opencpop_songs(source), url).n_problems == 0
    text, truth = songs(url)["wavs/2001.wav"], truths(url)["wavs/2001.wav"]
    assert text["lrc_lyrics"] == "[00:00.500]感受\n[00:02.000]停\n"
    assert brief(truth["ref_words"]) == [("感", 500, 1000, 0), ("受", 1000, 1500, 0), ("停", 2000, 3000, 1)]
    assert brief(truth["ref_notes"]) == [("C4", 500, 1000, 60), ("D#4/Eb4", 1000, 1500, 63), ("E4", 2000, 3000, 64)]
    assert [p[0] for p in brief(truth["ref_phones"])] == ["SP", "g", "an", "ing"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no grid", r"2002\.TextGrid is no TextGrid in text form"),
        (textgrid(OPENCPOP_TIERS)[:300], r"2002\.TextGrid can't be read as a TextGrid: Early end of text"),
        (textgrid(OPENCPOP_TIERS).replace("size = 6", "size = 900000000"), r"2002\.TextGrid can't be read"),
        (textgrid(OPENCPOP_TIERS).replace("停", "走", 1), "no lyrics: the line '走' has other letters"),
        (textgrid({"x": [(0, 1, "y")]}), "no lyrics: there is no tier 句子 and 汉字, there are x"),
        (None, r"textgrids/2002\.TextGrid does not exist"),
    ],
)
def test_a_broken_textgrid_is_told_and_the_others_go_on(
    source: Path, url: Path, content: str | None, message: str
) -> None:
    write(opencpop_songs(source), {"wavs/2002.wav": wav(2)})
    if content is not None:
        write(source, {"textgrids/2002.TextGrid": content})
    result = take(source, url)
    assert result.n_problems == 1 and re.search(message, result.problems[0])
    assert "wavs/2001.wav" in songs(url)


def test_singers_of_opensinger_are_told_apart_by_their_side(source: Path, url: Path) -> None:
    assert take(opensinger(source), url).n_problems == 0
    assert {id: (s["singer"], s["title"], s["raw_lyrics"]) for id, s in songs(url).items()} == {
        "ManRaw/0_光年之外/0_光年之外_0.wav": ("Man-0", "光年之外", "感受停"),
        "WomanRaw/12_左边_2/12_左边_2_0.wav": ("Woman-12", "左边_2", "感受停"),
    }


def test_a_song_of_opensinger_without_lyrics_is_taken_and_told(source: Path, url: Path) -> None:
    write(opensinger(source), {"ManRaw/x/x_0.wav": wav(3), "ManRaw/0_光年之外/0_光年之外_1.wav": wav(4)})
    told = "\n".join(take(source, url).problems)
    assert "ManRaw/x/x_0.wav lies in x, no folder of the form SINGER_SONG" in told
    assert "0_光年之外_1.wav goes without lyrics: there is no 0_光年之外_1.txt" in told


def test_svcc_has_singers(source: Path, url: Path) -> None:
    take(svcc(source), url)
    assert {s["singer"] for s in songs(url).values()} == {"CDF1", "CDM1", "IDF1", "IDM1"}
    assert take(source / "Data", url.with_name("inner")).songs == 8


@pytest.mark.parametrize(
    ("tree", "id"), [(jamendolyrics, "mp3/Le_temps_-_L'air.mp3"), (jamendo_folders, "le_temps/audio.mp3")]
)
def test_both_forms_of_jamendolyrics_give_the_same(
    source: Path, url: Path, tree: Callable[[Path], Path], id: str
) -> None:
    assert take(tree(source), url).n_problems == 0
    assert songs(url) == {
        id: {
            "artist": "L'air, encore",
            "title": "Le temps",
            "language": "fr",
            "lrc_lyrics": "[00:01.000]l'été vient\n[00:03.000]il part\n",
            "raw_lyrics": "l'été vient\nil part",
        }
    }
    assert brief(truths(url)[id]["ref_words"]) == [
        *[("l'été", 1000, 1500, 0), ("vient", 1500, 2000, 0), ("il", 3000, 3500, 1), ("part", 3500, 4250, 1)],
    ]


WORDS, LINES = "word_start,word_end,line_end,word\n", "start_time,end_time,lyrics_line\n"


@pytest.mark.parametrize(
    ("file", "content", "message", "is_taken"),
    [
        ("words.csv", WORDS + "1,2,2,été\n", "no ref_words: there are 2 lines, and words of 1", True),
        ("words.csv", WORDS + "x,2,2,été\n", "no ref_words: 'x' is no time in seconds", True),
        ("lines.csv", LINES + "1,2,autre chose\n3,4,il part\n", "has other letters than", True),
        ("lines.csv", LINES + "nan,2,autre\n", "'nan' is no time in seconds", False),
        ("meta.json", "{", "le_temps/meta.json is no JSON", False),
        ("audio.mp3", None, "le_temps/audio.mp3 does not exist", False),
    ],
)
def test_a_broken_annotation_of_jamendolyrics_is_told_and_never_misaligned(
    source: Path, url: Path, file: str, content: str | None, message: str, is_taken: bool
) -> None:
    jamendo_folders(source)
    for part in (source / "le_temps").iterdir():
        write(source, {f"other/{part.name}": part.read_bytes()})
    (source / "le_temps" / file).unlink()
    if content is not None:
        write(source, {f"le_temps/{file}": content})
    result = take(source, url, format="jamendolyrics")
    assert message in result.problems[0] and "other/audio.mp3" in songs(url)
    assert ("le_temps/audio.mp3" in songs(url)) == is_taken
    if is_taken:
        assert "lrc_lyrics" in songs(url)["le_temps/audio.mp3"]
        assert truths(url)["le_temps/audio.mp3"] == {}


def test_takes_of_a_song_of_gtsinger_share_its_title_and_speech_is_asked_for(source: Path, url: Path) -> None:
    result = take(gtsinger(source), url)
    folder = "English/EN-Alto-1/Glissando/my love"
    assert set(songs(url)) == {f"{folder}/Control_Group/0000.wav", f"{folder}/Glissando_Group/0000.wav"}
    assert {(s["title"], s["singer"], s["language"]) for s in songs(url).values()} == {("my love", "EN-Alto-1", "en")}
    assert result.n_problems == 1 and "1 sound file of speech left out (--include '*Paired_S" in result.problems[0]
    truth = truths(url)[f"{folder}/Control_Group/0000.wav"]
    assert brief(truth["ref_words"]) == [("oh", 200, 600, 0), ("yeah", 600, 1000, 0)]
    assert brief(truth["ref_notes"]) == [("oh", 200, 600, 60), ("yeah", 600, 800, 62), ("yeah", 800, 1000, 64)]
    assert [p[0] for p in brief(truth["ref_phones"])] == ["AP", "OW1", "Y", "AE1"]
    speech = url.with_name("speech")
    assert take(source, speech, include=("*Speech*",)).n_problems == 0
    assert songs(speech)[f"{folder}/Paired_Speech_Group/0000.wav"]["raw_lyrics"] == "oh yeah"
    assert "ref_notes" not in truths(speech)[f"{folder}/Paired_Speech_Group/0000.wav"]


def test_a_part_of_gtsinger_knows_what_it_is_a_part_of(source: Path, url: Path) -> None:
    assert take(gtsinger(source) / "English" / "EN-Alto-1", url).songs == 2
    assert {(s["title"], s["singer"], s["language"]) for s in songs(url).values()} == {("my love", "EN-Alto-1", "en")}


def test_files_of_gtsinger_that_are_links_into_a_cache_keep_their_folders(source: Path, url: Path) -> None:
    blobs = source.parent / "blobs"
    blobs.mkdir()
    for number, path in enumerate(sorted(gtsinger(source).rglob("*.wav"))):
        path.rename(blobs / f"{number}")
        path.symlink_to(blobs / f"{number}")
    assert take(source, url).songs == 2
    assert {(s["title"], s["singer"], s["language"]) for s in songs(url).values()} == {("my love", "EN-Alto-1", "en")}


@pytest.mark.parametrize("content", ["{", '{"word": 1}', json.dumps([GTSINGER_WORDS[1] | {"ph_end": []}]), None])
def test_a_broken_clip_of_gtsinger_is_told_by_name(source: Path, url: Path, content: str | None) -> None:
    name = "English/EN-Alto-1/Glissando/my love/Control_Group/0000.json"
    gtsinger(source)
    (source / name).unlink()
    result = take(write(source, {name: content} if content else {}), url, format="gtsinger")
    assert result.songs == 1 and any(name in told for told in result.problems)


def test_a_table_of_clips_gives_titles_and_lyrics(source: Path, url: Path) -> None:
    result = take(gtsinger_clips(source), url)
    told = {"singer": "A", "title": "热雪", "raw_lyrics": "闪烁后", "language": "zh"}
    assert songs(url) == {"A/A_00_control.wav": told, "A/A_00_breathy.wav": told}
    assert {group_of("song", id, text) for id, text in songs(url).items()} == {"work 热雪 / "}
    assert "1 sound file of speech left out" in result.problems[0]
    assert take(source, url.with_name("speech"), include=("*speech*",)).songs == 1


def test_clips_that_are_missing_or_elsewhere_are_told_by_line(source: Path, url: Path) -> None:
    write(source.parent, {"secret.wav": wav(1)})
    row = "{}\tA\tChinese\tx\tBreathy\tcontrol\tslow\ty\n"
    table = (gtsinger_clips(source) / "clips.tsv").read_text() + row.format("gone.wav") + row.format("../secret.wav")
    told = "\n".join(take(write(source, {"clips.tsv": table + "short\n"}), url).problems)
    assert "clips.tsv:5 names gone.wav, which does not exist" in told
    assert "clips.tsv:6 names ../secret.wav, which lies outside of" in told
    assert "clips.tsv:7: the columns singer, language, song, lyrics are missing" in told


def test_a_song_of_pjs_has_phones_and_the_score_with_its_kana(source: Path, url: Path) -> None:
    result = take(pjs(source), url)
    assert songs(url) == {
        "pjs001/pjs001_song.wav": {"singer": "pjs", "title": "pjs001", "language": "ja", "raw_lyrics": "また"}
    }
    truth = truths(url)["pjs001/pjs001_song.wav"]
    assert brief(truth["ref_phones"])[1:3] == [("m", 500, 600), ("a", 600, 1000)]
    assert brief(truth["ref_notes"]) == [("ま", 500, 1000, 65), ("た", 1000, 2000, 67)]
    assert "1 sound file of speech left out (--include '*_speech.*' takes them)" in result.problems[0]
    take(source, url.with_name("speech"), include=("*_speech.*",))
    assert songs(url.with_name("speech"))["pjs001/pjs001_speech.wav"]["title"] == "pjs001"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("mid", b"MThd", "pjs002.mid can't be read as MIDI"),
        ("mid", b"", "pjs002.mid can't be read as MIDI"),
        ("mid", midi_file((60, 0, 480)), "pjs002.musicxml has other notes than the MIDI file (2 and 1)"),
        ("musicxml", "<score>", "pjs002.musicxml is no MusicXML"),
        ("lab", "0 1000 pau\n1000 x a\n", "pjs002.lab:2: expected START END CONTEXT, found '1000 x a'"),
        ("lab", "0 2000 a\n2000 1000 b\n", "pjs002.lab:2: it ends (0.0001 s) before it begins (0.0002 s)"),
        ("lab", "5000 6000 a\n2000 7000 b\n", "pjs002.lab:2: the times go back"),
        ("lab", None, "pjs002_song.wav: pjs002.lab is missing beside it"),
    ],
)
def test_a_broken_song_of_pjs_is_told_by_file_and_line(
    source: Path, url: Path, file: str, content: bytes | str | None, message: str
) -> None:
    parts: dict[str, bytes | str] = {"lab": "0 1000 a\n", "musicxml": musicxml()}
    parts["mid"] = midi_file((65, 480, 960), (67, 960, 1920))
    parts = {k: v for k, v in parts.items() if k != file} | ({file: content} if content is not None else {})
    write(pjs(source), {f"pjs002/pjs002.{k}": v for k, v in parts.items()} | {"pjs002/pjs002_song.wav": wav(3)})
    result = take(source, url)
    assert set(songs(url)) == {"pjs001/pjs001_song.wav"}
    assert any(message in told for told in result.problems)


def test_entities_in_a_score_can_not_grow_without_end(source: Path, url: Path) -> None:
    names = "abcdefghijkl"
    nested = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in itertools.pairwise(names))
    bomb = f'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY a "xxxxxxxxxx">{nested}]><s>&l;</s>'
    write(pjs(source), {"pjs001/pjs001.musicxml": bomb})
    with pytest.raises(UsageError, match=r"holds no songs; .* first of 2 problems"):
        take(source, url)


def test_phones_of_one_note_in_an_hts_label_are_that_note(source: Path, url: Path) -> None:
    assert take(hts(source), url).n_problems == 0
    truth = truths(url)["f001_004.wav"]
    assert [p[0] for p in brief(truth["ref_phones"])] == ["pau", "p", "o", "p", "a"]
    assert brief(truth["ref_notes"]) == [("po", 100, 300, 65), ("p", 300, 400, 65), ("a", 400, 500, 66)]


def test_labels_in_seconds_are_read_as_seconds(source: Path, url: Path) -> None:
    take(write(source, {"a.wav": wav(1, 1.0), "a.lab": "0.0 0.25 pau\n0.25 0.5 a\n"}), url)
    assert brief(truths(url)["a.wav"]["ref_phones"]) == [("pau", 0, 250), ("a", 250, 500)]
