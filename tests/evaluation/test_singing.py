"""`autosing eval sing`: songs whose lyrics, pitch and voice are known, as `autosing sing` would have left them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autosing.evaluation.singing.compare import Request, evaluate_singing
from autosing.evaluation.singing.figures import voice_distance
from autosing.evaluation.singing.singers import SingerEar
from autosing.evaluation.singing.songs import find_songs
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.signal.decode import encode
from autosing.signal.errors import UsageError
from autosing.signal.singer import Song, song
from autosing.signal.voice import voices
from said import Autosing

HZ = 24_000


def made(seed: int, who: int, accompaniment_snr_db: float | None = None) -> Song:
    return song(seed, voices(8, 3)[who], 12.0, accompaniment_snr_db, HZ)


def save(path: Path, wave: np.ndarray, lyrics: list[str], facts: dict[str, Any] | None = None) -> None:
    """Writes a song as `autosing sing` leaves it, with what the evaluation looks at."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(np.asarray(wave, np.float32).reshape(len(wave), -1), HZ, "WAV"))
    told = {
        "lyrics": lyrics,
        "windows": [{"start_s": 0.0, "lines": list(range(len(lyrics)))}],
        "takes": [{}],
        "length_s": len(wave) / HZ,
        "per_second": {"tokens": 100.0},
        "realtime_factors": {"codec": 0.25, "tokens": 0.5},
        "singers": {},
        "language": None,
    }
    path.with_name(f"{path.name}.json").write_text(json.dumps({**told, **(facts or {})}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A song with its lyrics, one with another's, and one with a backing whose singer is a recording."""
    one, other, mix = made(1, 0), made(2, 0), made(3, 1, 0.0)
    save(tmp_path / "sung/right.wav", 0.5 * one.wave, list(one.score.lines))
    save(tmp_path / "sung/deep/wrong.wav", other.wave, list(one.score.lines))
    (tmp_path / "ref.wav").write_bytes(encode(made(4, 1).wave[:, None], HZ, "WAV"))
    told = {"mix": {"gain_db": 0.0}, "singers": {str(tmp_path / "ref.wav"): 1.0}}
    save(tmp_path / "sung/mix.wav", np.stack([mix.wave, mix.wave], axis=1), list(mix.score.lines), told)
    (tmp_path / "sung/mix.vocals.wav").write_bytes(encode(mix.sung.wave[:, None], HZ, "WAV"))
    (tmp_path / "sung/other.wav.json").write_text('{"some": "thing"}')
    (tmp_path / "sung/other.wav").write_bytes(b"")
    return tmp_path / "sung"


def test_long_songs_are_taken_apart_where_a_window_begins_with_a_line(tmp_path: Path) -> None:
    windows = [(0.0, [0]), (5.0, [0, 1]), (9.0, []), (11.0, [2])]
    told = {"windows": [{"start_s": start_s, "lines": lines} for start_s, lines in windows]}
    save(tmp_path / "song.wav", np.zeros(HZ), ["one", "two", "three", "four"], told)
    (found,) = find_songs(tmp_path)
    assert found.borders == [(0.0, 0), (11.0, 2)] and found.lines == ["one", "two", "three"]


def test_songs_are_judged_by_what_is_known_of_them(folder: Path, tmp_path: Path, autosing: Autosing) -> None:
    said = autosing("eval", "sing", folder, "--json", "--no-references", "--out", "page", "--seconds", "2")
    assert said.code == 0 and "open page/index.html" in said.err
    right, wrong, mix = (said.json["songs"][name] for name in ("right.wav", "deep/wrong.wav", "mix.wav"))
    assert right["lines"] == 1 and wrong["lines"] < 0.7 and mix["lines"] > 0.7
    assert right["symbol_error_rate"] < wrong["symbol_error_rate"] - 0.1
    truth = made(1, 0).sung
    sung_hz = truth.f0_hz[truth.voiced.astype(bool)]
    for name, share in (("low_hz", 5), ("high_hz", 95)):
        assert right[name] == pytest.approx(np.percentile(sung_hz, share), rel=0.05)
    assert right["in_range"] > 0.99 and 0 < right["note_cents"] < 60 and right["clipped"] == 0
    assert right["tokens_per_s"] == 100 and right["rtf"] == 0.75 and right["peak"] == pytest.approx(0.354, abs=0.01)
    # The voice is that of the stem, beside the recording that it was to sound like.
    assert "voice_distance" in mix and "voice_distance" not in right
    assert mix["voice_distance"] == pytest.approx(voice_distance(made(3, 1).wave, made(4, 1).wave), rel=0.3)
    assert said.json["means"]["lines"] == pytest.approx(np.mean([right["lines"], wrong["lines"], mix["lines"]]))
    page = (tmp_path / "page/index.html").read_text()
    assert page.count("<audio") == 7 and "deep/wrong.wav" in page and "symbol errors" in page
    figures = json.loads((tmp_path / "page/figures.json").read_text())
    assert set(figures["songs"]) == {"right.wav", "deep/wrong.wav", "mix.wav"}


def test_a_page_names_the_folder_and_counts_its_songs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = made(1, 0)
    save(tmp_path / "first try/song.wav", one.wave[: 3 * HZ], list(one.score.lines[:1]))
    monkeypatch.chdir(tmp_path / "first try")
    result = evaluate_singing(Request(Path()), tmp_path / "page")
    assert result.page is not None
    page = result.page.read_text()
    assert "<title>first try: autosing eval sing</title>" in page and f"1 song of {tmp_path / 'first try'};" in page


def test_voices_are_compared_by_a_singer_model_where_one_is_given(
    folder: Path, tmp_path: Path, autosing: Autosing, save_singer: Callable[..., str]
) -> None:
    model = save_singer(tmp_path / "singer", 0)
    said = autosing("eval", "sing", folder, "--json", "--no-references", "--singer-model", model)
    assert said.code == 0, said.err
    mix, right = said.json["songs"]["mix.wav"], said.json["songs"]["right.wav"]
    assert "voice_distance" not in mix and "voice_similarity" not in right
    # The vectors are those that the stage would have stored.
    url = str(tmp_path / "songs")
    waves = [(folder / "mix.vocals.wav").read_bytes(), (tmp_path / "ref.wav").read_bytes()]
    append_songs(url, [NewSong(str(n), wave) for n, wave in enumerate(waves)])
    graph = Project().graph(DatasetEntry(url), (f"singer_embedding.model={model}",))
    process(Dataset(url), graph, ["singer_embedding"], RunOptions("local"), progress=Progress(0, quiet=True))
    address = "singer_embedding.singer_embedding"
    one, other = (np.array(row.values[address]) for row in Dataset(url).read([address]))
    assert mix["voice_similarity"] == pytest.approx(one @ other, abs=1e-3)
    ear = SingerEar(model, Project())
    assert ear.similarity(made(1, 0).wave, made(1, 0).wave) == pytest.approx(1)
    assert np.isnan(ear.similarity(made(1, 0).wave, np.zeros(2 * HZ, np.float32)))
    assert "leave it out" in autosing("eval", "sing", folder, "--singer-model", "statistics").err


def test_the_table_has_a_row_for_each_song_and_their_mean(folder: Path, autosing: Autosing) -> None:
    lines = autosing("eval", "sing", folder, "--no-references").out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["deep/wrong.wav", "mix.wav", "right.wav", "mean"]
    assert lines[0].split()[:4] == ["lines", "words", "SER", "beside"]


def test_a_shaken_voice_is_less_steady_and_a_stranger_is_farther_away() -> None:
    from autosing.evaluation.singing.figures import _pitch

    plain = made(1, 0).wave
    # Played faster and slower in turns, the pitch goes up and down.
    places = np.arange(len(plain)) + 40 * np.sin(2 * np.pi * 5 * np.arange(len(plain)) / HZ)
    shaken = np.interp(places, np.arange(len(plain)), plain).astype(np.float32)
    assert _pitch(shaken)["note_cents"] > 1.5 * _pitch(plain)["note_cents"]
    assert _pitch(np.zeros(HZ, np.float32)) == {"voiced": 0.0}
    same, strange = (voice_distance(plain, made(5, who).wave) for who in (0, 3))
    assert same < strange and np.isnan(voice_distance(plain, np.zeros(HZ, np.float32)))


def test_a_folder_without_songs_is_refused(tmp_path: Path, autosing: Autosing) -> None:
    said = autosing("eval", "sing", tmp_path)
    assert said.code == 2 and "holds no song that `autosing sing` made" in said.err
    with pytest.raises(UsageError, match="holds no song"):
        find_songs(tmp_path / "nowhere")


def test_a_song_that_cannot_be_read_is_named(folder: Path, autosing: Autosing) -> None:
    (folder / "right.wav").write_bytes(b"RIFF, but no more")
    said = autosing("eval", "sing", folder, "--no-references")
    assert said.code == 2 and "right.wav" in said.err
