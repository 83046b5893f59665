"""The `token_file` stage: others' tokens by the names of songs, and ours as they read them."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from fit_toys import song_of_features

from autosing.cli.main import main
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.stages.token_file import TokenFile
from autosing.signal.errors import DataError, RowError, UsageError
from autosing.signal.framing import frames
from autosing.signal.token_text import read_token_text, write_token_text


def outcome(folder: Path, line: str, n_samples: int = 16_000, resolution_ms: int = 20) -> "RowError | list[int]":
    (folder / "tokens.txt").write_text(line)
    stage = TokenFile(file=str(folder / "tokens.txt"), resolution_ms=resolution_ms)
    song = song_of_features(np.zeros((1, 1), np.float16), n_samples)
    (row,) = stage.process([song], stage.setup())
    return row if isinstance(row, RowError) else row["tokens"].tolist()


def test_what_is_exported_is_taken_up_again(tmp_path: Path) -> None:
    url, text = str(tmp_path / "set"), tmp_path / "units.txt"
    append_songs(url, [type(s)(f"song {n}", s.audio, s.text) for n, s in enumerate(SyntheticSource(2, 3.0).songs())])
    graph = Project().graph(DatasetEntry(url), ("units.k=8", f"token_file.file={text}"))
    quiet = Progress(0, quiet=True)
    process(Dataset(url), graph, ["units"], RunOptions("local"), progress=quiet)
    with pytest.raises(SystemExit) as ended:
        main(["export-tokens", url, "units", str(text)])
    assert ended.value.code == 0 and set(read_token_text(text)) == {"song_0", "song_1"}
    process(Dataset(url), graph, ["token_file"], RunOptions("local"), progress=quiet)
    for row in Dataset(url).read(["units.units", "token_file.tokens"]):
        np.testing.assert_array_equal(row.values["token_file.tokens"], row.values["units.units"])
        assert not row.errors


def test_streams_that_lack_a_frame_are_lengthened_and_others_are_errors(tmp_path: Path) -> None:
    wanted = frames(16_000, 16_000, Fraction(50))
    assert outcome(tmp_path, "a " + "7 " * (wanted - 1)) == [7] * wanted
    assert outcome(tmp_path, "a 1 2 3", 960) == [1, 2, 3]
    assert outcome(tmp_path, "\na " + "3 " * 9, 16_000 * 9 // 25, 40) == [3] * 9
    for line, told in (
        ("b 1 2 3", "no utterance a"),
        ("a " + "7 " * 9, "9 tokens in the file, and the song lasts 50"),
        ("a", "0 tokens in the file"),
    ):
        found = outcome(tmp_path, line)
        assert isinstance(found, RowError) and told in str(found)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a 1 2\nb 1 x", "line 2: 'x' is no token"),
        ("a 1 70000", "line 1: '70000' is no token"),
        ("a -1", "line 1: '-1' is no token"),
        ("a 1\na 2", "line 2: the utterance a is there twice"),
    ],
)
def test_what_is_no_file_of_tokens_is_told_with_its_line(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "tokens.txt").write_text(content)
    with pytest.raises(DataError, match=told):
        read_token_text(tmp_path / "tokens.txt")


def test_a_file_may_begin_with_a_byte_order_mark_and_is_of_unicode(tmp_path: Path) -> None:
    file = tmp_path / "tokens.txt"
    file.write_text("a 1 2", encoding="utf-8-sig")
    assert read_token_text(file)["a"].tolist() == [1, 2]
    file.write_bytes(b"a 1\n\xe9 2")
    with pytest.raises(DataError, match=r"tokens.txt is no UTF-8 text"):
        read_token_text(file)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no file of tokens"):
        read_token_text(tmp_path / "nothing.txt")
    with pytest.raises(UsageError, match="file is missing; give the text file"):
        TokenFile().models()
    with pytest.raises(UsageError, match="resolution_ms is 0"):
        TokenFile(resolution_ms=0)
    with pytest.raises(DataError, match="two songs would both be the utterance a_b"):
        write_token_text(tmp_path / "out.txt", [("a b", [1]), ("a_b", [2])])
