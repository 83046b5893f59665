"""UltraStar songs: beats become seconds, syllables words, lines LRC; every oddity of such files has a test."""

from pathlib import Path

import pytest
from toy_sources import ULTRASTAR, brief, songs, take, truths, ultrastar, wav, write

from autosing.pipeline.ingest.annotation import lyrics_of, reference
from autosing.pipeline.ingest.ultrastar import Sung, read_song
from autosing.signal.errors import RowError, UsageError

HEAD = "#TITLE:T\n#MP3:a.wav\n#BPM:150\n#GAP:500\n"  # A beat lasts 100 ms.


def words(sung: Sung) -> list[tuple[object, ...]]:
    return brief(reference(lyrics_of(sung.lines))["ref_words"])


def read(body: str, head: str = HEAD) -> Sung:
    return read_song(head + body, "song.txt")


def test_beats_become_seconds_and_syllables_words(source: Path, url: Path) -> None:
    assert take(ultrastar(source), url).n_problems == 0
    (id, text), truth = next(iter(songs(url).items())), next(iter(truths(url).values()))
    assert id == "Joshua - On the run/audio.wav"
    assert text["lrc_lyrics"] == "[00:00.500]So far\n[00:01.900]Home, now\n"
    assert (text["artist"], text["title"], text["language"]) == ("Joshua", "On the run", "en")
    assert brief(truth["ref_words"])[:2] == [("So", 500, 900, 0), ("far", 1000, 1500, 0)]


def test_what_is_spoken_or_rapped_has_words_and_no_notes() -> None:
    sung = read(
        ": 0 4 9 So\n: 5 3 11  fa\n: 8 2 12 ~r\n- 12\n* 14 4 14 Ho\nF 18 2 0 me,\nR 20 2 0  now\nG 23 1 0  go\n"
    )
    assert words(sung) == [
        *[("So", 500, 900, 0), ("far", 1000, 1500, 0)],
        *[("Home", 1900, 2500, 1), ("now", 2500, 2700, 1), ("go", 2800, 2900, 1)],
    ]
    assert brief(reference(None, None, sung.notes)["ref_notes"]) == [
        *[("So", 500, 900, 69), ("fa", 1000, 1300, 71), ("~r", 1300, 1500, 72), ("Ho", 1900, 2300, 74)],
    ]


def test_numbers_may_have_a_comma_and_times_may_be_before_the_sound() -> None:
    head = "#BPM:297,5\n#GAP:-1000,5\n#MP3:a.wav\n"
    assert words(read(": 0 4 0 be\n: 20 4 0  fore\n", head)) == [("be", 0, 0, 0), ("fore", 8, 210, 0)]


def test_a_word_that_is_held_lasts_to_its_last_note() -> None:
    body = ": 0 2 0 do\n: 2 2 0 ~\n: 4 2 0  re\n: 6 2 0 ~ .\n: 8 2 0  mi \n: 10 2 0 fa so\n"
    sung = read(body)
    assert words(sung) == [
        *[("do", 500, 900, 0), ("re", 900, 1300, 0), ("mi", 1300, 1500, 0)],
        *[("fa", 1500, 1600, 0), ("so", 1600, 1700, 0)],
    ]
    assert sung.lines[0].text == "do re. mi fa so"


def test_a_word_goes_on_after_a_note_that_is_held_alone() -> None:
    assert words(read(": 0 2 0 be\n: 2 2 0 ~\n: 4 2 0 lieve\n")) == [("believe", 500, 1100, 0)]
    assert words(read(": 0 2 0 be \n: 2 2 0 ~\n: 4 2 0  nice\n")) == [("be", 500, 900, 0), ("nice", 900, 1100, 0)]


def test_lines_count_from_where_the_last_one_ended_in_relative_songs() -> None:
    body = ": 0 2 0 one\n- 4 10\n: 0 2 0 two\n- 5\n: 1 2 0 three\n"
    relative = read(body, HEAD + "#RELATIVE:YES\n")
    assert words(relative) == [("one", 500, 700, 0), ("two", 1500, 1700, 1), ("three", 2100, 2300, 2)]
    assert words(read(body))[1] == ("two", 500, 700, 1)


def test_voices_of_a_duet_are_sung_together_in_order_of_time() -> None:
    body = "P1\n: 0 2 0 one\n- 3\n: 20 2 0 both\nP2\n: 10 2 4 two\n- 13\n: 20 2 4 both\nE\n: 90 1 0 after\n"
    sung = read(body)
    assert words(sung) == [("one", 500, 700, 0), ("two", 1500, 1700, 1), ("both", 2500, 2700, 2)]
    assert [note.midi for note in sung.notes] == [60, 64, 60, 64]
    assert words(read(body.replace("P1", "P 1").replace("P2", "P 3"))) == words(sung)


def test_each_voice_of_a_relative_duet_counts_for_itself() -> None:
    body = "P1\n: 0 2 0 a\n- 4 10\n: 0 2 0 b\nP2\n: 0 2 0 c\n- 4 20\n: 0 2 0 d\n"
    assert [w[:2] for w in words(read(body, HEAD + "#RELATIVE: yes\n"))] == [
        *[("a", 500), ("c", 500), ("b", 1500), ("d", 2500)],
    ]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_any_line_ending_is_one(ending: str) -> None:
    assert words(read_song((HEAD + ": 0 2 0 a\n").replace("\n", ending), "x")) == [("a", 500, 700, 0)]


@pytest.mark.parametrize(
    ("encoding", "header"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-8-sig", "#BPM:150\n"),
        ("utf-16", ""),
        ("cp1252", ""),
        ("cp1250", "#ENCODING:CP1250\n"),
        ("cp1252", "#ENCODING:UTF8\n"),
        ("utf-8", "#ENCODING:../x\n"),
    ],
)
def test_a_song_is_read_in_its_encoding(source: Path, url: Path, encoding: str, header: str) -> None:
    text = header + HEAD.replace("#TITLE:T", "#TITLE:Über") + ": 0 2 0 Größe\n"
    write(source, {"x/a.wav": wav(1), "x/song.txt": text.encode(encoding)})
    take(source, url)
    assert (songs(url)["x/a.wav"]["title"], songs(url)["x/a.wav"]["raw_lyrics"]) == ("Über", "Größe")


@pytest.mark.parametrize(
    ("song", "message"),
    [
        (HEAD + ": 0 2 a\n", "song.txt:5: expected TYPE BEAT LENGTH PITCH TEXT"),
        (HEAD + ": 0 2 0 a\nB 30 200\n", "song.txt:6: expected TYPE BEAT LENGTH PITCH TEXT"),
        (HEAD + ": 0 -2 0 a\n", "song.txt:5: expected"),
        (HEAD.replace("150", "0") + ": 0 2 0 a\n", "song.txt: #BPM: expected a positive number, found '0'"),
        (HEAD.replace("150", "nan") + ": 0 2 0 a\n", "#BPM: expected a positive number, found 'nan'"),
        (HEAD.replace("500", "x") + ": 0 2 0 a\n", "song.txt: #GAP: expected a number, found 'x'"),
        (HEAD, "song.txt has no notes"),
    ],
)
def test_a_broken_song_is_told_by_file_and_line(song: str, message: str) -> None:
    with pytest.raises(RowError) as raised:
        read_song(song, "song.txt")
    assert message in str(raised.value)


def test_a_broken_song_does_not_stop_the_others(source: Path, url: Path) -> None:
    write(ultrastar(source), {"bad/song.txt": HEAD + "what?\n", "bad/a.wav": wav(2)})
    result = take(source, url)
    assert (result.songs, result.n_problems) == (1, 2)
    assert result.problems[0].startswith("bad/song.txt:5: expected TYPE") and "bad/a.wav" in result.problems[1]


def test_sound_is_found_as_other_systems_find_it(source: Path, url: Path) -> None:
    write(source, {"x/AUDIO.Wav": wav(1), "x/song.txt": ULTRASTAR})
    write(source, {"y/a.ogg": wav(2), "y/song.txt": HEAD + ": 0 1 0 a\n"})
    assert take(source, url).n_problems == 0
    assert set(songs(url)) == {"x/AUDIO.Wav", "y/a.ogg"}


def test_the_newer_name_of_the_sound_comes_first(source: Path, url: Path) -> None:
    write(source, {"x/a.wav": wav(1), "x/b.wav": wav(2), "x/s.txt": "#AUDIO:b.wav\n" + HEAD + ": 0 1 0 a\n"})
    take(source, url)
    assert set(songs(url)) == {"x/b.wav"}


@pytest.mark.parametrize("name", ["../../secret.wav", "{absolute}", ""])
def test_a_song_can_not_name_sound_outside_of_the_source(source: Path, url: Path, name: str) -> None:
    secret = write(source.parent, {"secret.wav": wav(1)}) / "secret.wav"
    song = HEAD.replace("a.wav", name.format(absolute=secret)) + ": 0 1 0 a\n"
    write(ultrastar(source), {"x/song.txt": song, "x/other.wav": wav(2)})
    result = take(source, url, format="ultrastar")
    assert set(songs(url)) == {"Joshua - On the run/audio.wav"}
    assert any(("lies outside of" if name else "names no file") in told for told in result.problems)


def test_a_link_that_leads_out_of_the_source_is_not_followed(source: Path, url: Path) -> None:
    write(source.parent, {"secret.wav": wav(1)})
    write(source, {"x/song.txt": HEAD + ": 0 1 0 a\n"})
    (source / "x/a.wav").symlink_to(source.parent / "secret.wav")
    with pytest.raises(UsageError, match=r"x/song\.txt names a\.wav, which lies outside of"):
        take(source, url, format="ultrastar")
    assert take(source, url, format="ultrastar", audio_root=str(source.parent)).songs == 1


def test_two_songs_of_one_sound_are_told(source: Path, url: Path) -> None:
    write(ultrastar(source), {"Joshua - On the run/song [MULTI].txt": ULTRASTAR})
    result = take(source, url)
    assert result.songs == 1 and "which Joshua - On the run/song [MULTI].txt has taken already" in result.problems[0]
