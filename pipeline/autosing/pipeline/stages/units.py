"""`units`: each frame of an `ssl` instance as the nearest of K centroids, at 50 Hz."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, FitSource, FittedStage, Reach, Row, per_song
from autosing.signal.codebook import load_codebook
from autosing.signal.errors import RowError
from autosing.signal.frame_spill import FrameSpill
from autosing.signal.kmeans import assign, check_choice, fit_codebook
from autosing.signal.rows import Rows, slices
from autosing.signal.ssl import RATE
from autosing.signal.standardise import Floats, Standard, Standardise, standardised

CODEBOOK = "codebook"
BLOCK_FRAMES = 1 << 14


@dataclass(frozen=True)
class Units(FittedStage):
    """Applies a k-means codebook that is fitted on the data set's own features, or a published one.

    Args:
        source: the `ssl` instance.
        model: a codebook of others, as of Soft-VC: a folder with safetensors, or a .npy file, of one table (K, D); ""
            fits one. It is applied as it is, so that `standardise` is to be `none` for one of plain features.
        k: number of units; with `model` it is the codebook's.
        seed: of the songs that are sampled and of k-means.
        hours: audio to fit on, sampled evenly over the partitions.
        cosine: cluster directions rather than points.
        standardise: `mean` takes the song's mean out of every dimension, so that units tell less of who sings; `full`
            its deviation, too, which of MFCCs costs some of what is sung; `none` is for codebooks that were fitted on
            features as they are.
        codebook: folder of the artefact; the data set's own by default.

    Raises:
        UsageError: no such number of units, or seed, is possible.
    """

    slices: ClassVar[bool] = True

    model: str = field(default="", metadata=NOT_IN_DEFINITION)
    source: str = "ssl"
    k: int = 100
    seed: int = 0
    hours: float = 20
    cosine: bool = False
    standardise: Standardise = "mean"
    codebook: str = field(default="", metadata=NOT_IN_DEFINITION)

    def __post_init__(self) -> None:
        check_choice("units", self.k, self.seed)

    @property
    def artefact(self) -> str:
        return "" if self.model else self.codebook

    def columns(self) -> tuple[Column, ...]:
        k = len(load_codebook(self.model)) if self.model else self.k
        return (Column("units", pa.uint16(), RATE, meaning="nearest centroid of the codebook", n_tokens=k),)

    def reads(self) -> tuple[str, ...]:
        return (f"{self.source}.ssl",)

    def models(self) -> dict[str, str]:
        return {"model": self.model} if self.model else {"codebook": self.codebook}

    def fit_settings(self) -> dict[str, Any]:
        return self.settings()

    def fit(self, songs: FitSource, folder: Path) -> None:
        from autosing.models.directory import save_tensors

        with FrameSpill(folder) as spill:
            for series in songs.series(f"{self.source}.ssl"):
                spill.append(self._prepared(series))
            centroids, statistics = fit_codebook(spill, self.k, self.seed, self.cosine)
        save_tensors(folder, {CODEBOOK: centroids}, {"settings": self.settings(), "statistics": asdict(statistics)})

    def setup(self) -> Any:
        from autosing.models.directory import load_tensors

        if self.model:
            return load_codebook(self.model)
        return load_tensors(Path(self.codebook))[0][CODEBOOK]

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, lambda song: {"units": self._units(song[f"{self.source}.ssl"], model)})

    def reach(self, model: Any) -> Reach | None:
        return Reach(0.0) if self.standardise == "none" else None

    def _units(self, series: Rows, codebook: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
        standard = Standard.of(series, self.standardise)
        found = [assign(standard(block), codebook) for block in slices(series, BLOCK_FRAMES)]
        return np.concatenate(found) if found else np.zeros(0, np.uint16)

    def _prepared(self, series: Floats) -> Floats:
        return standardised(series, self.standardise)
