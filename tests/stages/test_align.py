"""The stage `align`: every method on a real file's road, what is no lyrics, and the bugs of its forebear."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wave_checkpoints import save_checkpoint

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.ingest.synthetic import REFERENCE_COLUMNS, SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.song import Song
from autosing.pipeline.stages.align import Align
from autosing.signal.decode import encode
from autosing.signal.errors import RowError, UsageError

LRC, RAW, DURATION, BANDS = "index.lrc_lyrics", "index.raw_lyrics", "probe.duration_s", "lyric_mel.lyric_mel"
LANGUAGE = "lyric_language.lyric_language"


def aligned(
    lrc: str | None, raw: str | None = None, duration_s: float = 20.0, language: str | None = None, **settings: Any
) -> Any:
    """Returns the outcome of one song of noise."""
    stage = Align(**settings)
    bands = np.random.default_rng(0).standard_normal((int(50 * duration_s), 160)).astype(np.float16)
    song = Song("a", {LRC: lrc, RAW: raw, DURATION: duration_s, BANDS: bands, LANGUAGE: language}, {})
    (outcome,) = stage.process([song], stage.setup())
    return outcome


def test_words_are_spelled_in_the_language_of_the_lyrics() -> None:
    for language, sounds in ((None, "BRANB"), ("fr", "BRA")):
        for lyrics in ({"lrc": "[00:05.00]grand\n[00:08.00]"}, {"lrc": None, "raw": "grand"}):
            row = aligned(**lyrics, language=language)
            assert "".join(phone["text"] for phone in row["phones"]) == sounds


def run(url: str, *settings: str) -> tuple[Dataset, dict[str, Any]]:
    """Processes a set's alignment; returns it and the words of each song."""
    dataset, graph = Dataset(url), Project().graph(DatasetEntry(url), settings)
    report = process(dataset, graph, ["align"], RunOptions("local"), progress=Progress(0, quiet=True))
    assert not report.failed
    rows = [row for p in dataset.partitions for row in p.rows(["align.words", "align.error"])]
    assert not any(row.errors for row in rows), rows[0].errors
    return dataset, {row.id: row.values["align.words"] for row in rows}


@pytest.fixture(scope="module")
def sung(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = str(tmp_path_factory.mktemp("align") / "set")
    append_songs(url, SyntheticSource(2, 12.0, seed=3, in_studio=True, snr_db=6.0).songs(), REFERENCE_COLUMNS)
    return url


def error_s(dataset: Dataset, words: dict[str, Any]) -> float:
    """Returns the mean error of the onsets."""
    true = {r.id: r.values["reference.ref_words"] for p in dataset.partitions for r in p.rows(["reference.ref_words"])}
    late = [a["start_s"] - b["start_s"] for id in true for a, b in zip(words[id], true[id], strict=True)]
    return float(np.mean(np.abs(late)))


def test_the_shipped_net_hears_the_synthetic_singer_better_than_the_rule(sung: str) -> None:
    by_rule = error_s(*run(sung, "align.method=rate"))
    heard = error_s(*run(sung))
    assert heard < 0.1 and heard < 0.5 * by_rule


def test_a_net_adapts_to_the_set_it_aligns_and_does_it_once(sung: str) -> None:
    settings = ("align.adapt=true", "align.adapt_steps=3")
    dataset, words = run(sung, *settings)
    assert error_s(dataset, words) < 0.15
    graph = Project().graph(DatasetEntry(sung), settings)
    again = process(dataset, graph, ["align"], RunOptions("local"), progress=Progress(0, quiet=True))
    assert again.instances == {} and graph.fit_reason("align") is None
    told = json.loads((Path(sung) / "models/align/config.json").read_text())["training"]["adapted"]
    assert told["steps"] == 3 and told["lines"] > 0 and np.isfinite(told["losses"]).all()


def test_any_ctc_model_aligns(sung: str, tmp_path: Path) -> None:
    symbols = ["<pad>", *"abcdefghijklmnopqrstuvwxyz'"]
    save_checkpoint(tmp_path / "ctc", "Wav2Vec2", "ForCTC", vocab_size=len(symbols), pad_token_id=0)
    (tmp_path / "ctc/vocab.json").write_text(json.dumps({s: n for n, s in enumerate(symbols)}))
    dataset, words = run(sung, "align.method=hf", f"align.model={tmp_path / 'ctc'}")
    assert error_s(dataset, words) < 1.0


@pytest.mark.parametrize("method", ["ctc", "rate"])
@pytest.mark.parametrize("lrc", [None, "", " \n", "[00:01.00][instrumental]", "[00:01.00]<00:01.00>", "[instrumental]"])
def test_no_lyrics_are_none_and_no_error(method: str, lrc: str | None) -> None:
    """AutoSing's parser was called with None where the column was there and the value was not."""
    assert aligned(lrc, method=method).get("words") is None


def test_lyrics_without_times_are_aligned_by_a_net_and_refused_by_the_rule() -> None:
    """Their inlier ratio is null; in AutoSing `None > 0.85` ended the training later on."""
    row = aligned(None, "some words\nwithout times")
    assert [word["text"] for word in row["words"]] == ["some", "words", "without", "times"]
    assert row["inlier_ratio"] is None and row["offset_s"] is None
    assert isinstance(aligned(None, "some words", method="rate"), RowError)


@pytest.mark.parametrize("lrc", ["[00:01.00]\n[00:04.00]", "[00:00.00][instrumental]", "[ti:Song]"])
def test_stamps_without_words_do_not_hide_the_plain_lyrics(lrc: str) -> None:
    assert [word["text"] for word in aligned(lrc, "some words")["words"]] == ["some", "words"]


@pytest.mark.parametrize("stamp", ["[00:01]", "[0:01.5]", "[00:01.500]", "[00:01:50]", "[00:01.00][00:08.00]"])
def test_stamps_of_any_form_count(stamp: str) -> None:
    """AutoSing's pattern took two digits of a fraction and one stamp for a line."""
    row = aligned(f"{stamp}first line of words\n[00:12.00]second line", method="rate")
    assert len(row["lines"]) == 1 + stamp.count("[")


def test_stamps_that_agree_on_nothing_have_an_offset_of_zero_and_a_low_ratio() -> None:
    """AutoSing's best offset was None there, which raised."""
    stamps = "".join(f"[00:{3 * n:02}.00]line number {name}\n" for n, name in enumerate("abcde"))
    row = aligned(stamps)
    assert row["offset_s"] is not None and 0 < row["inlier_ratio"] <= 1


@pytest.mark.parametrize(
    ("lrc", "message"),
    [
        ("[05:00.00]of another song", r"all lyrics begin after the end of the song \(20.0 s\)"),
        ("[00:01.00]" + "word " * 10_000, r"sounds do not fit"),
    ],
)
def test_what_cannot_be_aligned_is_an_error_with_the_reason(lrc: str, message: str) -> None:
    """AutoSing repeated the emissions until the words fitted, and discarded the text of every exception."""
    outcome = aligned(lrc)
    assert isinstance(outcome, RowError)
    with pytest.raises(RowError, match=message):
        raise outcome


def test_one_bad_song_costs_the_others_nothing(tmp_path: Path) -> None:
    """In AutoSing any other exception than its own ended the partition."""
    noise = encode((0.1 * np.random.default_rng(0).standard_normal(16_000)).astype(np.float32), 16_000, "WAV")
    songs = [
        NewSong("good", noise, {"lrc_lyrics": "[00:00.10]la la"}),
        NewSong("crowded", noise, {"lrc_lyrics": "[00:00.10]" + "too many words " * 500}),
        NewSong("silent", encode(np.zeros(16_000, np.float32), 16_000, "WAV"), {"lrc_lyrics": "[00:00.10]la la"}),
        NewSong("short", encode(np.zeros(3, np.float32), 16_000, "WAV"), {"lrc_lyrics": "[00:00.00]la"}),
        NewSong("broken", b"no sound", {"lrc_lyrics": "[00:00.10]la la"}),
    ]
    append_songs(str(tmp_path / "set"), songs)
    dataset, graph = Dataset(str(tmp_path / "set")), Project().graph(DatasetEntry(str(tmp_path / "set")))
    process(dataset, graph, ["align"], RunOptions("local"), progress=Progress(0, quiet=True))
    rows = {row.id: row for row in dataset.partition(0).rows(["align.words", "align.error"])}
    assert {id for id, row in rows.items() if row.errors} == {"crowded", "broken"}
    assert len(rows["good"].values["align.words"]) == len(rows["silent"].values["align.words"]) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "rate", "adapt": True}, "adapt is for the method ctc"),
        ({"method": "hf"}, "needs the hub id or path of a CTC model"),
        ({"adapt": True, "adapt_steps": 0}, "adapt_steps is 0; give 1 or more, or set adapt to false"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Align(**settings)
