"""`autosing resynthesize`: columns back to sound by several ways, figures, a page, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_checkpoints import BIGVGAN, LOW_PASS, MINI_NSF, bigvgan_weights, nsf_weights, save_gan

from autosing.evaluation.resynthesis import Request, resynthesise
from autosing.models.directory import save_model
from autosing.models.published.importing import import_vocoder
from autosing.models.vocoder import Vocoder, sized_vocoder
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import NewSong, append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.signal.decode import decode
from autosing.signal.errors import AutosingError
from autosing.signal.mel import MelSpec

DEFAULT_MEL = {
    "sampling_rate": 24_000, "n_fft": 1024, "hop_size": 256, "win_size": 1024, "num_mels": 100, "fmin": 0,
    "fmax": 12_000, "upsample_rates": [8, 8, 4], "upsample_kernel_sizes": [16, 16, 8],
}  # fmt: skip


def save_vocoder(path: Path, streams: dict[str, str], definitions: dict[str, str], spec: MelSpec | None = None) -> str:
    torch.manual_seed(0)
    model = Vocoder(sized_vocoder("tiny", "istft", spec or MelSpec(), True, streams, 8 if streams else 0)).eval()
    save_model(path, model, {"mel": {"spec": dict(model.fields.mel)}, "definitions": definitions})
    return str(path)


def save_published(folder: Path, kind: str) -> str:
    """Writes a published vocoder of the default mel, with random weights, as a model directory."""
    config = {**BIGVGAN, **DEFAULT_MEL} if kind == "bigvgan" else {**MINI_NSF, **DEFAULT_MEL}
    torch.manual_seed(0)
    weights = bigvgan_weights(config, LOW_PASS) if kind == "bigvgan" else nsf_weights(config)
    import_vocoder(save_gan(folder / f"{kind}_published", config, weights, "g.safetensors"), folder / kind)
    return str(folder / kind)


@pytest.fixture(scope="module")
def processed(tmp_path_factory: pytest.TempPathFactory, save_codec: Callable[[Path, int], str]) -> tuple[str, str]:
    """The URL of a set with mels, F0, units and codes of a codec, and the path of the codec."""
    folder = tmp_path_factory.mktemp("resynthesis")
    url, codec = str(folder / "set"), save_codec(folder / "codec", 0)
    songs = [NewSong(s.id, s.audio, s.text) for s in SyntheticSource(3, 3.0).songs()]
    append_songs(url, [*songs, NewSong("../broken", b"no sound")])
    graph = Project().graph(DatasetEntry(url), ("units.k=8", f"codes.model={codec}"))
    names = ["mel", "f0", "units", "codes"]
    assert process(Dataset(url), graph, names, RunOptions("local"), progress=Progress(0, quiet=True)).exit_code == 0
    return url, codec


def test_every_way_is_heard_beside_the_recording(processed: tuple[str, str], tmp_path: Path) -> None:
    url, codec = processed
    record = Dataset(url).partitions[0].record("units")
    assert record is not None
    of_mels = save_vocoder(tmp_path / "of_mels", {}, {})
    of_units = save_vocoder(tmp_path / "of_units", {"units": "50"}, {"units": record.definition})
    published = [save_published(tmp_path, kind) for kind in ("bigvgan", "nsf_hifigan")]
    models = ("griffin-lim", of_mels, of_units, codec, *published)
    result = resynthesise(Dataset(url), Request(models, songs=9, seconds=2), tmp_path / "out")
    assert len(result.lines) == 1 + len(models)
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert set(figures["means"]) == set(models) and len(figures["songs"]) == 3
    # A filter of pulses has the pitch right without having learned anything.
    assert figures["means"][of_mels]["f0_rmse_cents"] < 30
    assert figures["means"]["griffin-lim"]["mel_l1"] < 0.2
    sounds = list((tmp_path / "out").glob("*.flac"))
    assert len(sounds) == 3 * (1 + len(models))
    for sound in sounds:
        assert np.abs(decode(sound.read_bytes()).samples).max() > 1e-3
    page = result.page.read_text()
    assert page.count("<audio") == page.count("<img") == len(sounds)
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page


def test_one_seed_is_one_sound(processed: tuple[str, str], tmp_path: Path) -> None:
    model = save_vocoder(tmp_path / "model", {}, {})

    def sounds(seed: int) -> list[bytes]:
        out = tmp_path / f"out-{seed}"
        resynthesise(Dataset(processed[0]), Request((model,), songs=1, seed=seed), out)
        return [path.read_bytes() for path in sorted(out.glob("*.flac"))]

    first = sounds(1)
    assert first == sounds(1) != sounds(2)


@pytest.mark.parametrize(
    ("streams", "definitions", "spec", "columns", "told"),
    [
        ({"units": "50"}, {"units": "another"}, None, (), "units is computed otherwise than in the set"),
        ({}, {}, MelSpec(hop=512), (), r"was trained with mel\.hop = 512, and the data set's is 256"),
        ({}, {}, MelSpec(filters="htk"), (), r"mel\.filters = 'htk', and the data set's is 'slaney'"),
        ({}, {}, None, ("mel",), "write NAME=ADDRESS"),
        ({"tokens_20": "50"}, {}, None, (), "tokens_20"),
    ],
)
def test_columns_that_are_others_are_refused(
    processed: tuple[str, str], tmp_path: Path, streams: Any, definitions: Any, spec: Any, columns: Any, told: str
) -> None:
    model = save_vocoder(tmp_path / "model", streams, definitions, spec)
    with pytest.raises(AutosingError, match=told):
        resynthesise(Dataset(processed[0]), Request((model,), columns), tmp_path / "out")
    assert not (tmp_path / "out").exists()
