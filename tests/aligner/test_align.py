"""Lyrics find their times in the emissions of a made-up net, whatever stamps, repeats and breaks there are."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from autosing.aligner.align import align_plain, align_stamped, by_rule
from autosing.aligner.alignment import Alignment
from autosing.signal.alphabet import CLASSES, alphabet
from autosing.signal.errors import RowError
from autosing.signal.lyrics import parse_lrc
from autosing.signal.word_times import place_words

LETTERS = alphabet("classes")
Floats = npt.NDArray[np.float32]
Sung = Sequence[tuple[float, str]]

VERSE: Sung = [
    (2.0, "far away the mountains stand"),
    (6.0, "nobody can hear the river"),
    (10.5, "silver birds are going home"),
    (15.0, "over the water into light"),
    (19.5, "morning comes without a sound"),
]


def sing(lines: Sung, duration_s: float, nets: int = 2, doubt: float = 0.02) -> tuple[Floats, list[float]]:
    """Returns what sure nets hear of lines sung at four words a second, and when each word begins."""
    rng = np.random.default_rng(0)
    n_frames = int(duration_s * 50)
    heard = np.full((nets, n_frames, len(CLASSES)), doubt / len(CLASSES))
    heard[:, :, 0] = 1 - doubt
    starts = []
    for start_s, text in lines:
        for n, word in enumerate(text.split()):
            begin = start_s + 0.6 * n
            starts.append(begin)
            labels = LETTERS.labels(word)
            for k, label in enumerate(labels):
                frame = int(begin * 50) + 4 * k
                heard[:, frame : frame + 3, 0] = doubt
                heard[:, frame : frame + 3, label] = 1 - doubt
    heard *= rng.uniform(0.9, 1.1, heard.shape)
    return np.log(heard / heard.sum(-1, keepdims=True)).astype(np.float32), starts


def lrc(lines: Sung, late_s: float = 0.0) -> str:
    return "".join(f"[{int((t + late_s) // 60):02}:{(t + late_s) % 60:05.2f}]{text}\n" for t, text in lines)


def errors(found: Alignment | None, starts: Sequence[float]) -> npt.NDArray[np.float64]:
    assert found is not None and len(found.words) == len(starts)
    return np.abs(np.array([word.start_s for word in found.words]) - starts)


def stamped(lines: Sung, text: str, duration_s: float = 30.0) -> Alignment | None:
    return align_stamped(sing(lines, duration_s)[0], parse_lrc(text).lines, duration_s, LETTERS)


def test_stamped_words_are_found_to_a_frame_or_two() -> None:
    found = stamped(VERSE, lrc(VERSE))
    assert errors(found, sing(VERSE, 30.0)[1]).max() < 0.06
    assert found is not None and found.offset_s == 0.0 and found.inlier_ratio == 1.0 and not found.is_derailed
    assert all(line.confidence is not None and line.confidence > 0.9 for line in found.lines)
    ends = [word.end_s for word in found.words]
    assert all(word.start_s <= word.end_s for word in found.words) and max(ends) < 25


def test_stamps_of_another_edition_of_the_song_are_moved() -> None:
    found = stamped(VERSE, lrc(VERSE, late_s=-1.7))
    assert found is not None and found.offset_s == pytest.approx(1.7, abs=0.1)
    assert errors(found, sing(VERSE, 30.0)[1]).max() < 0.1


def test_one_stamp_that_is_wrong_moves_no_other_line() -> None:
    wrong = [(t + (3.0 if n == 2 else 0), text) for n, (t, text) in enumerate(VERSE)]
    found = stamped(VERSE, lrc(wrong))
    assert found is not None and found.offset_s == 0.0 and found.inlier_ratio == pytest.approx(0.8)
    late = errors(found, sing(VERSE, 30.0)[1])
    assert np.median(late) < 0.06


def test_stamps_that_jitter_are_repaired() -> None:
    rng = np.random.default_rng(1)
    jittered = [(t + rng.normal(0, 0.3), text) for t, text in VERSE]
    assert errors(stamped(VERSE, lrc(jittered)), sing(VERSE, 30.0)[1]).mean() < 0.2


def test_stamps_of_words_are_believed() -> None:
    text = "[00:02.00]<00:02.00>far <00:02.60>away <00:03.20>the <00:03.80>mountains <00:04.40>stand\n" + lrc(VERSE[1:])
    assert errors(stamped(VERSE, text), sing(VERSE, 30.0)[1]).max() < 0.06


def test_lines_without_words_and_beyond_the_end_are_left_out() -> None:
    text = "[00:00.00]\n[00:01.00][Intro]\n" + lrc(VERSE) + "[00:26.00]\n[01:40.00]never sung\n"
    found = stamped(VERSE, text)
    assert errors(found, sing(VERSE, 30.0)[1]).max() < 0.06
    assert found is not None and next(word.line for word in found.words) == 2


def test_stamps_that_go_back_are_put_in_order() -> None:
    text = lrc([VERSE[1], VERSE[0], *VERSE[2:]])
    assert errors(stamped(VERSE, text), sing(VERSE, 30.0)[1]).max() < 0.06


def test_lyrics_of_another_song_are_told_by_the_flag_or_low_confidence() -> None:
    other = [(t, text) for (t, _), text in zip(VERSE, ["quick brown foxes jump", "over lazy dogs again", "pack my box",
        "with five dozen", "liquor jugs tonight"], strict=True)]  # fmt: skip
    rng = np.random.default_rng(0)
    noise = np.log(rng.dirichlet(np.ones(len(CLASSES)), (2, 1500))).astype(np.float32)
    found = align_stamped(noise, parse_lrc(lrc(other)).lines, 30.0, LETTERS)
    assert found is not None
    assert found.is_derailed


def test_lyrics_without_times_are_found_over_a_break() -> None:
    late = [(t + (22.0 if n >= 3 else 0.0), text) for n, (t, text) in enumerate(VERSE)]
    emissions, starts = sing(late, 60.0)
    found = align_plain(emissions, [text for _, text in VERSE], 60.0, LETTERS)
    assert errors(found, starts).max() < 0.1
    assert found is not None and found.offset_s is None and found.inlier_ratio is None and not found.is_derailed


def test_a_chorus_that_is_sung_once_more_than_it_is_written_derails_no_line() -> None:
    again = [*VERSE, (40.0, VERSE[0][1]), (44.0, VERSE[1][1]), (50.0, "and so the story ends at last")]
    emissions, starts = sing(again, 60.0)
    written = [text for _, text in [*VERSE, again[-1]]]
    found = align_plain(emissions, written, 60.0, LETTERS)
    n_verse, n_chorus = (sum(len(text.split()) for _, text in lines) for lines in (VERSE, again[5:7]))
    wanted = [*starts[:n_verse], *starts[n_verse + n_chorus :]]
    assert errors(found, wanted).max() < 1.0


def test_a_stanza_is_not_torn_between_two_places_where_it_is_sung() -> None:
    chorus = [(t - 2.0, text) for t, text in VERSE[:2]]
    song = [*VERSE, *[(30.0 + t, text) for t, text in chorus], *[(40.0 + t, text) for t, text in chorus]]
    emissions, starts = sing(song, 55.0)
    for mumbled in (slice(34 * 50, 38 * 50), slice(40 * 50, 44 * 50)):  # the second line once, the first line again
        emissions[:, mumbled] = sing(song, 55.0, doubt=0.4)[0][:, mumbled]
    verse, lines = ([text for _, text in part] for part in (VERSE, chorus))
    n_verse, n_chorus = (sum(len(text.split()) for text in texts) for texts in (verse, lines))
    sung = slice(n_verse, n_verse + n_chorus)

    def apart(written: list[str]) -> float:
        return float(np.ptp(errors(align_plain(emissions, written, 55.0, LETTERS), starts[: sung.stop])[sung]))

    assert apart([*verse, "", *lines]) < 1.0
    assert apart([*verse, *lines]) > 5.0


@pytest.mark.parametrize(
    "text",
    ["", "[00:01.00]", "[00:01.00][Chorus]\n[00:05.00](x2)", "no stamps at all", "[09:00.00]beyond the end"],
)
def test_nothing_to_sing_is_no_alignment(text: str) -> None:
    assert stamped(VERSE, text) is None


def test_digits_marks_and_vocalises_are_words_too() -> None:
    text = "[00:02.00]99 red balloons (x2)\n[00:06.00]ooh ooh ooooooh\n[00:10.00]l'été -- 7\n[00:15.00]na na na\n"
    found = stamped(VERSE, text)
    assert found is not None
    assert [word.text for word in found.words][:3] == ["99", "red", "balloons"]
    assert np.all(np.diff([word.start_s for word in found.words]) >= 0)


def test_a_line_with_more_sounds_than_time_is_an_error_of_the_row() -> None:
    with pytest.raises(RowError, match=r"sounds do not fit into"):
        stamped(VERSE, "[00:02.00]" + "extraordinary words " * 2000, 5.0)


CREDITS = "words and music by nobody that anybody has ever heard of"


@pytest.mark.parametrize(
    ("lines", "late_s", "most_s"),
    [
        ([(0.0, CREDITS), (0.0, CREDITS), *VERSE], 0.0, 0.1),
        ([(0.0, CREDITS), (1.0, CREDITS), *[(t + 2.0, text) for t, text in VERSE]], -2.0, 0.1),
        # The line of the same stamp is sung after the other, however short that is made.
        ([*VERSE[:2], (10.5, CREDITS), *VERSE[2:]], 0.0, 0.6),
        ([*VERSE, (27.5, CREDITS)], 2.0, 0.1),
    ],
    ids=["two lines at 0", "moved before the song", "two equal stamps", "moved behind the song"],
)
def test_a_line_whose_stamps_leave_no_room_costs_the_others_nothing(lines: Sung, late_s: float, most_s: float) -> None:
    is_sung = [text != CREDITS for _, text in lines]
    heard = [(t + late_s, text) for (t, text), sung in zip(lines, is_sung, strict=True) if sung]
    emissions, starts = sing(heard, 28.0)
    found = align_stamped(emissions, parse_lrc(lrc(lines)).lines, 28.0, LETTERS)
    assert found is not None and found.offset_s == pytest.approx(late_s, abs=0.1)
    words = [word.start_s for word in found.words if is_sung[word.line]]
    off_s = np.abs(np.array(words) - starts)
    assert off_s.max() < most_s and np.median(off_s) < 0.05
    assert np.all(np.diff([word.start_s for word in found.words]) >= 0)


def test_a_line_that_takes_more_than_its_neighbours_have_is_an_error_of_the_row() -> None:
    crowded = [*VERSE[:2], (10.5, " ".join(10 * [CREDITS])), (10.5, VERSE[2][1]), *VERSE[3:]]
    with pytest.raises(RowError, match=r"sounds do not fit into"):
        stamped(VERSE, lrc(crowded))


def test_ten_thousand_words_on_one_line_do_not_take_the_machine() -> None:
    emissions, _ = sing(VERSE, 3000.0)
    with pytest.raises(RowError, match=r"too many to align at once|do not fit"):
        align_plain(emissions, ["extraordinary words " * 10_000], 3000.0, LETTERS)


def test_a_silent_song_has_an_alignment_of_low_score() -> None:
    emissions, _ = sing([], 30.0)
    found = align_stamped(emissions, parse_lrc(lrc(VERSE)).lines, 30.0, LETTERS)
    assert found is not None and max(word.score or 0 for word in found.words) < -3


def test_the_rule_has_neither_scores_nor_confidence() -> None:
    found = by_rule(place_words(parse_lrc(lrc(VERSE)).lines, 30.0))
    assert found.words[0].score is None and found.lines[0].confidence is None and found.offset_s is None


def test_a_single_net_disagrees_with_nobody_about_stamps_and_with_its_own_doubts_without() -> None:
    emissions, _ = sing(VERSE, 30.0, nets=1)
    with_stamps = align_stamped(emissions, parse_lrc(lrc(VERSE)).lines, 30.0, LETTERS)
    plain = align_plain(emissions, [text for _, text in VERSE], 30.0, LETTERS)
    assert with_stamps is not None and plain is not None
    assert {line.confidence for line in with_stamps.lines} == {None}
    assert min(line.confidence or 0.0 for line in plain.lines) > 0.9
    assert with_stamps.is_derailed is False and plain.is_derailed is False


@pytest.mark.parametrize(("nets", "most"), [(1, 0.7), (2, 0.4)])
def test_lyrics_without_times_that_nobody_sings_have_little_confidence(nets: int, most: float) -> None:
    confidence = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        noise = np.log(rng.dirichlet(np.ones(len(CLASSES)), (nets, 6000))).astype(np.float32)
        found = align_plain(noise, [text for _, text in VERSE], 120.0, LETTERS)
        assert found is not None and (found.is_derailed or nets == 1), "a single net has nobody to disagree with"
        confidence += [line.confidence or 0.0 for line in found.lines]
    assert np.mean(confidence) < most
