"""The stage `codes` with a published codec: each level of SNAC is a column at its own rate, told without torch."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from snac_checkpoints import ATTENTIVE, save_snac

from autosing.models.codecs import load_codec
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.pipeline.stages.codes import CodesStage
from autosing.signal.framing import tied_frames

RATES = (Fraction(1000, 3), Fraction(2000, 3), Fraction(4000, 3))


@pytest.fixture(scope="module")
def snac(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_snac(tmp_path_factory.mktemp("codes") / "snac", ATTENTIVE)


def test_snac_s_levels_are_columns_at_their_own_rates(snac: str, tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    append_songs(url, [NewSong(song.id, song.audio, song.text) for song in SyntheticSource(2, 3.0).songs()])
    dataset, graph = Dataset(url), Project().graph(DatasetEntry(url), (f"codes.model={snac}",))
    report = process(dataset, graph, ["codes"], RunOptions("local"), progress=Progress(0, quiet=True))
    assert report.exit_code == 0
    columns = dataset.partitions[0].columns("codes")
    assert [(column.rate, column.n_tokens) for column in columns] == [(rate, 64) for rate in RATES]
    addresses = [f"codes.codes_{n}" for n in range(3)]
    codec = load_codec(snac, device="cpu")
    for row in dataset.partitions[0].rows([*addresses, "probe.n_samples", "probe.sample_rate_hz"]):
        levels = [row.values[address] for address in addresses]
        counts = tied_frames(row.values["probe.n_samples"], row.values["probe.sample_rate_hz"], RATES)
        assert [len(level) for level in levels] == list(counts)
        assert len(np.unique(levels[2])) > 3
        assert np.isfinite(codec.decode(levels)).all()


def test_two_levels_are_two_columns(snac: str) -> None:
    assert [column.name for column in CodesStage(model=snac, levels=2).columns()] == ["codes_0", "codes_1"]


def test_what_the_columns_are_is_told_without_torch(snac: str) -> None:
    code = (
        "import sys; from autosing.models.codecs import codec_info; print(len(codec_info(sys.argv[1]).rates)); "
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, snac], capture_output=True, text=True)
    assert done.stdout == "3\n", done.stderr
