"""Tiny conversion models of a real built set, with weights at random, and recordings to convert."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from autosing.models.directory import save_model
from autosing.models.svc import SvcModel
from autosing.models.vocoder import Vocoder, sized_vocoder
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
from autosing.signal.mel import MelSpec
from autosing.signal.singer import song
from autosing.signal.voice import voices
from autosing.training.manifest import Manifest
from autosing.training.recipes import svc
from autosing.training.shards import ShardSet
from autosing.training.tasks.svc import SvcTask

Wave = npt.NDArray[np.float32]
HZ = 24_000
COLUMNS = {
    "ssl": "ssl.ssl",
    "units": "units.units",
    "soft_units": "content.soft_units",
    "mel": "mel.mel",
    "f0_hz": "f0.f0_hz",
    "voiced": "f0.voiced",
    "energy": "energy.energy",
    "singer_embedding": "singer_embedding.singer_embedding",
}
# How high the two singers of the set sing, as a trainer would have measured it.
MEDIANS_HZ, RANGE_HZ = (150.0, 300.0), (80.0, 700.0)


@dataclass(frozen=True)
class Studio:
    """A built set, and where the models of its stages are."""

    folder: Path
    codebook: Path
    encoder: Path

    @property
    def manifest(self) -> Manifest:
        """Of the built set."""
        return Manifest.read(self.folder / "shards")

    @property
    def singers(self) -> tuple[str, ...]:
        """Of the set's table."""
        return self.manifest.singers

    def model(
        self,
        name: str,
        *,
        told: Mapping[str, Any] | None = None,
        distilled: bool = False,
        spread: float = 0.05,
        **settings: Any,
    ) -> Path:
        """Returns the folder of a model with these settings of its recipe.

        Args:
            name: of its folder.
            told: what is changed in its contract.
            distilled: whether it is a student.
            spread: of what is added to the weights: layers that begin at zero would hide what they are given.
            settings: of the recipe `svc`.
        """
        folder = self.folder / name
        if not folder.exists():
            given = {"content": ("ssl",), "size": "tiny", "n_tokens": 8, **settings}
            task = svc(**given).task(self.manifest)
            save_model(folder, self._network(task, distilled, spread), {**task.contract(), **(told or {})})
        return folder

    def _network(self, task: SvcTask, distilled: bool, spread: float) -> SvcModel:
        torch.manual_seed(0)
        model = task.build()
        shards = ShardSet.open(self.folder / "shards", "train")
        task.initialise(model, [shards.read(i, ["mel", "f0_hz", "voiced"]) for i in range(len(shards))])
        model.f0_medians_hz.copy_(torch.tensor([0.0, *MEDIANS_HZ])[: len(model.f0_medians_hz)])
        model.f0_range_hz.copy_(torch.tensor(RANGE_HZ))
        if distilled:
            teacher, model = model, SvcModel(replace(model.fields, distilled=True))
            model.load_state_dict(teacher.state_dict())
        with torch.no_grad():
            for weights in model.parameters():
                weights.add_(spread * torch.randn_like(weights))
        return model.eval()

    def vocoder(self, name: str = "vocoder", spec: MelSpec | None = None) -> Path:
        """Returns the folder of a vocoder of mels and F0."""
        folder = self.folder / name
        if not folder.exists():
            torch.manual_seed(0)
            model = Vocoder(sized_vocoder("tiny", "istft", spec or MelSpec(), True, {}, 0)).eval()
            save_model(folder, model, {"mel": {"spec": dict(model.fields.mel)}})
        return folder


def build_studio(folder: Path, save_content: Callable[[Path, int, int], str]) -> Studio:
    """Returns a built set of two singers, with content of every kind."""
    url, encoder = str(folder / "songs"), Path(save_content(folder / "encoder", 39, 0))
    append_songs(url, SyntheticSource(6, 3.0, singers=2).songs())
    studio = Studio(folder, folder / "songs" / "models" / "units", encoder)
    entry = DatasetEntry(url, name="songs")
    graph = Project().graph(entry, ("units.k=8", f"content.model={encoder}"))
    names = ["ssl", "units", "content", "mel", "f0", "energy", "singer_embedding"]
    process(Dataset(url), graph, names, RunOptions("local"), progress=Progress(0, quiet=True))
    spec = replace(SAMPLES["svc"], columns=COLUMNS, cuts=None, valid_songs=2)
    construct_dataset([NamedDataset("songs", Dataset(url))], str(folder / "shards"), spec)
    return studio


def sung(seed: int = 77, seconds: float = 3.0) -> Wave:
    """Returns a sung song (T,) that is in no set, from its second second on: it begins with a rest."""
    return song(seed, voices(4, 0)[3], seconds + 2).wave[HZ : round((seconds + 1) * HZ)]


def save_sound(path: Path, wave: npt.NDArray[np.floating[Any]], sample_rate: int = HZ) -> Path:
    """Writes a wave (T,) or (T, C)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(np.asarray(wave, np.float32), sample_rate, "WAV"))
    return path


def names_of(paths: Sequence[Path]) -> list[str]:
    """Returns the names of files."""
    return sorted(path.name for path in paths)
