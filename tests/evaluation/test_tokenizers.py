"""`autosing compare tokens`: figures and a page of several tokenizers, and what it refuses."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from autosing.cli.main import main
from autosing.evaluation.tokenizers.compare import Request, compare_tokens
from autosing.evaluation.tokenizers.songs import Song, Tokenizer, phones_at, split_songs, streams_of, tokenizers_of
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.ingest.synthetic import REFERENCE_COLUMNS, SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schema import Column
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.signal.errors import UsageError

QUICK = {"songs": 99, "seconds": 2.0, "held_out": 2, "steps": 2, "crops": 2}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a set of eight songs by two singers with units and tokens, and a song that can't be read."""
    url = str(tmp_path_factory.mktemp("tokenizers") / "set")
    append_songs(url, SyntheticSource(8, 3.0, 0, 2).songs(), REFERENCE_COLUMNS)
    append_songs(url, [NewSong("broken", b"no sound")], REFERENCE_COLUMNS)
    graph = Project().graph(DatasetEntry(url), ("units.k=16", "tokens.k=8"))
    process(Dataset(url), graph, ["f0", "units", "tokens"], RunOptions("local"), progress=Progress(0, quiet=True))
    return url


def test_tokenizers_stand_beside_each_other(url: str, tmp_path: Path) -> None:
    result = compare_tokens(Dataset(url), Request(("units", "tokens"), ("tokens",), **QUICK), tmp_path)
    ids = "tokens, ids resampled"
    assert set(result.figures) == {"units", "tokens", ids}
    assert result.figures["units"]["bits"] == 200 and result.figures["tokens"]["bits"] == 3 * (50 + 25 + 12.5)
    for figures in result.figures.values():
        assert 0 < figures["entropy"] <= figures["bits"]
        assert figures["mcd"] > 0 and 0 <= figures["singer_eer"] <= 1 and 0 < figures["purity"] <= 1
    told = json.loads((tmp_path / "figures.json").read_text())
    assert len(told["songs"]) == 2
    assert result.page is not None and result.page.read_text().count("<audio") == 2 * 4
    assert [line.split()[0] for line in result.lines[1:]] == ["units", "tokens", "tokens,"]


def test_what_is_held_out_is_not_learned_from(url: str) -> None:
    dataset = Dataset(url)
    trained, held_out = split_songs(dataset, tokenizers_of(dataset, ["units"], []), "f0", 2.0, 99, 3)
    assert len(trained) == 5 and len(held_out) == 3
    assert not {song.id for song in trained} & {song.id for song in held_out}


def test_a_stretch_has_the_tokens_of_its_own_time(url: str) -> None:
    dataset = Dataset(url)
    (tokenizer,) = tokenizers_of(dataset, ["units"], [])
    whole, part = (split_songs(dataset, [tokenizer], "f0", seconds, 99, 1)[1][0] for seconds in (99, 1.5))
    spare = (len(whole.mel) - len(part.mel)) // 2
    in_whole = whole.streams["units"][0][whole.at["units"][0]][spare : spare + len(part.mel)]
    assert np.array_equal(part.streams["units"][0][part.at["units"][0]], in_whole)
    assert np.array_equal(part.mel[8:-8], whole.mel[spare + 8 : spare + len(part.mel) - 8])


def test_resampled_ids_have_the_finest_rate_and_other_rows() -> None:
    columns = (
        Column("a", pa.uint16(), Fraction(50), n_tokens=100),
        Column("b", pa.uint16(), Fraction(25), n_tokens=100),
    )
    at = (np.repeat(np.arange(10), 2), np.repeat(np.arange(5), 4))
    none = np.zeros(0, np.float32)
    song = Song("x", None, none, none, none, {"t": (np.arange(10), np.full(5, 90))}, {"t": at}, None)
    fine, coarse = streams_of(Tokenizer("t", "t", columns, as_ids=True), song, np.random.default_rng(0))
    assert np.array_equal(fine[0], np.arange(10)) and coarse[0].shape == (10,) and np.array_equal(coarse[1], at[0])
    assert 70 < coarse[0].mean() < 85 and len(set(coarse[0].tolist())) > 1


def test_phones_are_those_sung_at_a_time() -> None:
    phones = [{"text": "a", "start_s": 0.1, "end_s": 0.2}, {"text": "b", "start_s": 0.2, "end_s": 0.3}]
    assert phones_at(np.array([0.0, 0.1, 0.19, 0.2, 0.3]), phones).tolist() == ["", "a", "a", "b", ""]
    assert phones_at(np.array([0.0]), []).tolist() == [""]


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (Request(("none",)), "none is not computed yet; there are .*units"),
        (Request(("f0",)), "f0 has no stream of tokens; its columns are f0_hz"),
        (Request(("units",), f0="f0.praat"), "f0.praat is not computed yet"),
        (Request(("units",), held_out=8), "8 songs of .* and 8 are to be held out"),
    ],
)
def test_what_cannot_be_compared_is_refused(url: str, request_: Request, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        compare_tokens(Dataset(url), request_)


def test_the_command_prints_the_table(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--steps", "1", "--seconds", "2", "--held-out", "1"]
    with pytest.raises(SystemExit) as ended:
        main(["compare", "tokens", url, "--instance", "units", *options])
    assert ended.value.code == 0
    assert "log-F0 corr" in capsys.readouterr().out
