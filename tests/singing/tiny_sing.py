"""Tiny models that sing, of a real built set and with weights at random, and recordings to sing to."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autosing.models.codes_language import CodesLanguage
from autosing.models.directory import save_model
from autosing.models.language import TokenLanguage
from autosing.models.lyric_tokens import Times
from autosing.pipeline.construct.inputs import NamedDataset
from autosing.pipeline.construct.sample import SAMPLES
from autosing.pipeline.construct.shards import construct_dataset
from autosing.pipeline.dataset import Dataset
from autosing.pipeline.ingest.partitions import append_songs
from autosing.pipeline.ingest.synthetic import SyntheticSource
from autosing.pipeline.progress import Progress
from autosing.pipeline.run import RunOptions, process
from autosing.pipeline.settings import DatasetEntry, Project
from autosing.signal.decode import encode
from autosing.signal.singer import song
from autosing.signal.voice import voices
from autosing.training.manifest import Manifest
from autosing.training.recipes import sm2a, t2s

HZ = 24_000
COLUMNS = {
    "semantic": "semantic.semantic",
    "codes_0": "codes.codes_0",
    "codes_1": "codes.codes_1",
    "codes_2": "codes.codes_2",
    "backing_0": "codes.codes_0",
    "backing_1": "codes.codes_1",
    "singer_embedding": "singer_embedding.singer_embedding",
}


@dataclass(frozen=True)
class Studio:
    """A built set, and the codec that made its codes."""

    folder: Path
    codec: Path

    @property
    def manifest(self) -> Manifest:
        """Of the built set."""
        return Manifest.read(self.folder / "shards")

    @property
    def singers(self) -> tuple[str, ...]:
        """Of the set's table."""
        return self.manifest.singers

    def t2s(
        self, name: str = "t2s", times: Times = "even", told: dict[str, Any] | None = None, **settings: Any
    ) -> Path:
        """Returns the folder of a model from lyrics to tokens; `told` is changed in its contract."""
        folder = self.folder / name
        if not folder.exists():
            task = t2s(**{"size": "tiny", "text_times": times, **settings}).task(self.manifest)
            torch.manual_seed(0)
            model = spread(TokenLanguage(replace(task.fields, layers=1, source_layers=1))).eval()
            save_model(folder, model, {**task.contract(), **(told or {})})
        return folder

    def sm2a(self, name: str = "sm2a", told: dict[str, Any] | None = None, **settings: Any) -> Path:
        """Returns the folder of a model from tokens to codes; `told` is changed in its contract."""
        folder = self.folder / name
        if not folder.exists():
            task = sm2a(**{"size": "tiny", **settings}).task(self.manifest)
            torch.manual_seed(1)
            model = spread(CodesLanguage(replace(task.fields, layers=1, source_layers=1))).eval()
            save_model(folder, model, {**task.contract(), **(told or {})})
        return folder


def spread(model: Any) -> Any:
    """Returns a model whose weights are moved: layers that begin at zero would hide what they are given."""
    with torch.no_grad():
        for weights in model.parameters():
            weights.add_(0.05 * torch.randn_like(weights))
    return model


def build_studio(folder: Path, save_codec: Callable[[Path, int], str], save_semantic: Callable[..., str]) -> Studio:
    """Returns a built set of two singers with tokens, codes and voices."""
    url, codec, semantic = (
        str(folder / "songs"),
        save_codec(folder / "codec", 0),
        save_semantic(folder / "semantic", 39, 0),
    )
    append_songs(url, SyntheticSource(4, 2.0, singers=2).songs())
    entry = DatasetEntry(url, name="songs")
    graph = Project().graph(entry, (f"codes.model={codec}", f"semantic.model={semantic}"))
    names = ["ssl", "semantic", "codes", "singer_embedding"]
    process(Dataset(url), graph, names, RunOptions("local"), progress=Progress(0, quiet=True))
    spec = replace(SAMPLES["t2s"], columns=COLUMNS, cuts=None, words=False, valid_songs=1)
    construct_dataset([NamedDataset("songs", Dataset(url))], str(folder / "shards"), spec)
    return Studio(folder, Path(codec))


def save_sound(path: Path, wave: npt.NDArray[np.floating[Any]], sample_rate: int = HZ) -> Path:
    """Writes a wave (T,) or (T, C)."""
    path.write_bytes(encode(np.asarray(wave, np.float32), sample_rate, "WAV"))
    return path


def save_reference(path: Path, seconds: float = 6.0) -> Path:
    """Writes a song whose voice is in the middle and whose band is at the sides."""
    made = song(5, voices(4, 0)[2], seconds, 0.0, HZ)
    assert made.backing is not None
    voice, band = made.sung.wave, made.backing
    return save_sound(path, np.stack([voice + band, voice - band], axis=1) / 3)
