"""The table of what a change makes stale: on the real stages, what the next run computes after it, and nothing else."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_models import save_multires

from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.schedule import RunReport
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.stages import STAGES as ALL_STAGES
from autosing.signal.decode import encode

# `token_file` has nothing to read here; its own test gives it a file.
STAGES = [name for name in ALL_STAGES if name != "token_file"]
SMALL = ("units.k=8", "tokens.k=8")
MODELS: dict[str, str] = {}
ALL = frozenset(STAGES)
LISTENERS = ALL - {"lyric_language"}
"""The stages whose values hang on the sound."""
Change = Callable[[str], None]


def run(url: str, *overrides: str) -> RunReport:
    graph = Project().graph(DatasetEntry(url), (*SMALL, *(f"{k}={v}" for k, v in MODELS.items()), *overrides))
    return process(Dataset(url), graph, list(STAGES), RunOptions("local"), progress=Progress(0, quiet=True))


def tone(hz: float) -> bytes:
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(32_000) / 16_000)
    return encode(wave.astype(np.float32), 16_000, "WAV")


@pytest.fixture(scope="module", autouse=True)
def codec(
    tmp_path_factory: pytest.TempPathFactory,
    save_codec: Callable[[Path, int], str],
    save_content: Callable[[Path, int, int], str],
    save_semantic: Callable[[Path, int, int], str],
) -> Path:
    """The codec of all runs."""
    folder = tmp_path_factory.mktemp("models")
    MODELS["codes.model"] = save_codec(folder / "codec", 0)
    MODELS["content.model"] = save_content(folder / "content", 39, 0)
    MODELS["semantic.model"] = save_semantic(folder / "semantic", 39, 0)
    return Path(MODELS["codes.model"])


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory, codec: Path) -> Path:
    """A processed set of two partitions; the second has a song that can't be decoded."""
    url = str(tmp_path_factory.mktemp("table") / "set")
    for number, sung in enumerate(SyntheticSource(2, 4.0).songs()):
        append_songs(url, [NewSong(f"{number}/sung", sung.audio, sung.text), NewSong(f"{number}/tone", tone(220))])
    append_songs(url, [NewSong("broken", b"no sound", {"lrc_lyrics": "[00:00.50]la"}), NewSong("low", tone(110))])
    assert run(url).exit_code == 0
    return Path(url)


def rewritten(number: int, change: Callable[[dict[str, object]], None], row: int = 0) -> Change:
    """Returns a change of one row of an index."""

    def apply(url: str) -> None:
        path = Path(url, str(number), "index.parquet")
        table = pq.read_table(path)
        rows = table.to_pylist()
        change(rows[row])
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)

    return apply


def corrected_times(row: dict[str, object]) -> None:
    row["lrc_lyrics"] = "[00:00.10]quite other words\n[00:02.50]sung elsewhere"


def corrected_title(row: dict[str, object]) -> None:
    row["title"] = "another title"


def healed(row: dict[str, object]) -> None:
    row["audio"] = tone(330)


def added(url: str) -> None:
    append_songs(url, [NewSong("new", tone(440))])


def removed(url: str) -> None:
    Path(url, "1", "energy.parquet").unlink()


TABLE: list[tuple[str, Change | None, tuple[str, ...], dict[int, frozenset[str]], list[str]]] = [
    # what changed, how, settings of the next run, what it computes by partition, what it fits
    ("nothing", None, (), {}, []),
    ("the F0 method", None, ("f0.method=praat",), {n: frozenset({"f0"}) for n in (0, 1, 2)}, []),
    ("the mel's hop", None, ("mel.spec.hop=320",), {n: frozenset({"mel"}) for n in (0, 1, 2)}, []),
    ("the longest cut", None, ("cuts.max_s=5",), {n: frozenset({"cuts"}) for n in (0, 1, 2)}, []),
    ("the codebook's size", None, ("units.k=4",), {n: frozenset({"units"}) for n in (0, 1, 2)}, ["units"]),
    (
        "the features' context",
        None,
        ("ssl.context_s=1",),
        {n: frozenset({"ssl", "units", "tokens", "content", "semantic"}) for n in (0, 1, 2)},
        ["tokens", "units"],
    ),
    ("a device", None, ("ssl.device=cpu",), {}, []),
    ("an LRC", rewritten(1, corrected_times), (), {1: frozenset({"probe", "align", "cuts", "lyric_language"})}, []),
    ("a title", rewritten(1, corrected_title), (), {1: frozenset({"probe"})}, []),
    ("a song that heals", rewritten(2, healed), (), {2: LISTENERS}, []),
    ("an added partition", added, (), {3: ALL}, []),
    ("a file that is gone", removed, (), {1: frozenset({"energy"})}, []),
]


@pytest.mark.parametrize(
    ("change", "settings", "computed", "fits"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_the_next_run_computes_exactly_what_a_change_made_stale(
    songs: Path,
    tmp_path: Path,
    change: Change | None,
    settings: tuple[str, ...],
    computed: dict[int, frozenset[str]],
    fits: list[str],
) -> None:
    url = str(shutil.copytree(songs, tmp_path / "set"))
    if change:
        change(url)
    before = _stamps(url)
    report = run(url, *settings)
    written: dict[int, set[str]] = {}
    for path in _stamps(url).items() - before.items():
        number, name = path[0].split("/")
        written.setdefault(int(number), set()).add(name.removesuffix(".parquet"))
    assert {n: frozenset(names - {"index"}) for n, names in written.items()} == computed
    assert sorted(report.fits) == fits
    assert run(url, *settings).tasks == 0


@pytest.mark.parametrize("stage", ["codes", "content", "semantic", "singer_embedding", "tokens"])
def test_another_model_makes_its_columns_stale_and_the_same_one_elsewhere_does_not(
    songs: Path,
    tmp_path: Path,
    stage: str,
    save_codec: Callable[[Path, int], str],
    save_content: Callable[[Path, int, int], str],
    save_semantic: Callable[[Path, int, int], str],
    save_singer: Callable[[Path, int], str],
) -> None:
    def save(name: str, seed: int) -> str:
        path = tmp_path / name
        if stage in ("content", "semantic"):
            return (save_content if stage == "content" else save_semantic)(path, 39, seed)
        return {"codes": save_codec, "singer_embedding": save_singer, "tokens": save_multires}[stage](path, seed)

    url, setting = str(shutil.copytree(songs, tmp_path / "set")), f"{stage}.model"
    first = save("first", 0)
    run(url, f"{setting}={first}")
    assert run(url, f"{setting}={shutil.copytree(first, tmp_path / 'same')}").tasks == 0
    before = _stamps(url)
    run(url, f"{setting}={save('other', 1)}")
    assert {name for name, _ in _stamps(url).items() - before.items()} == {f"{n}/{stage}.parquet" for n in (0, 1, 2)}


def _stamps(url: str) -> dict[str, int]:
    return {f"{p.parent.name}/{p.name}": p.stat().st_mtime_ns for p in Path(url).glob("*/*.parquet")}
