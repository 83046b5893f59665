"""`tokens`: the features of an `ssl` instance at several resolutions, by a trained adapter or pooled and clustered."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from autosing.pipeline.schema import Column
from autosing.pipeline.song import Song
from autosing.pipeline.stage import NOT_IN_DEFINITION, FitSource, FittedStage, Row, per_song
from autosing.signal.checkpoint import Checkpoint
from autosing.signal.errors import RowError, UsageError
from autosing.signal.frame_spill import FrameSpill
from autosing.signal.framing import tied_frames
from autosing.signal.kmeans import assign, check_choice, fit_codebook
from autosing.signal.pooling import pool
from autosing.signal.ssl import RATE


@dataclass(frozen=True)
class Tokens(FittedStage):
    """Multi-resolution units: the streams are tied, their frame counts are exactly in the ratio of their rates.

    Args:
        model: an adapter that `autosing train multires` made, whose quantisers give the tokens; "" pools and clusters.
        source: the `ssl` instance.
        resolutions_ms: length of a frame of each stream, in milliseconds.
        k: number of tokens of each stream.
        seed: of the songs that are sampled and of k-means.
        hours: audio to fit on, sampled evenly over the partitions.
        codebook: folder of the artefact; the data set's own by default.

    Raises:
        UsageError: no resolution, one below 1 ms, or one twice; or no such number of tokens, or seed, is possible.
    """

    model: str = field(default="", metadata=NOT_IN_DEFINITION)
    source: str = "ssl"
    resolutions_ms: tuple[int, ...] = (20, 40, 80)
    k: int = 256
    seed: int = 0
    hours: float = 20
    codebook: str = field(default="", metadata=NOT_IN_DEFINITION)

    def __post_init__(self) -> None:
        chosen = self.resolutions_ms
        if not chosen or min(chosen) < 1 or len(set(chosen)) < len(chosen):
            raise UsageError(f"tokens: resolutions_ms is {list(chosen)}; give different whole milliseconds from 1 up")
        check_choice("tokens", self.k, self.seed)

    @property
    def artefact(self) -> str:
        return "" if self.model else self.codebook

    @property
    def rates(self) -> tuple[Fraction, ...]:
        """The rate of each stream."""
        return tuple(Fraction(1000, ms) for ms in self.resolutions_ms)

    def columns(self) -> tuple[Column, ...]:
        k = Checkpoint(self.model).config.get("fields", {}).get("n_tokens") if self.model else self.k
        return tuple(
            Column(f"tokens_{ms}", pa.uint16(), rate, meaning=f"token of {ms} ms", tied=self.rates, n_tokens=k)
            for ms, rate in zip(self.resolutions_ms, self.rates, strict=True)
        )

    def reads(self) -> tuple[str, ...]:
        return (f"{self.source}.ssl",)

    def models(self) -> dict[str, str]:
        return {"model": self.model} if self.model else {"codebook": self.codebook}

    def fit_settings(self) -> dict[str, Any]:
        return self.settings()

    def fit(self, songs: FitSource, folder: Path) -> None:
        from autosing.models.directory import save_tensors

        codebooks, statistics = {}, {}
        with ExitStack() as open_spills:
            spills = [open_spills.enter_context(FrameSpill(folder)) for _ in self.rates]
            for series in songs.series(f"{self.source}.ssl"):
                if len(series):
                    for spill, stream in zip(spills, self._pooled(series, len(series), int(RATE)), strict=True):
                        spill.append(stream)
            for column, spill in zip(self.columns(), spills, strict=True):
                codebooks[column.name], fitted = fit_codebook(spill, self.k, self.seed)
                statistics[column.name] = asdict(fitted)
        save_tensors(folder, codebooks, {"settings": self.settings(), "statistics": statistics})

    def setup(self) -> Any:
        from autosing.models.directory import load_model, load_tensors

        if not self.model:
            return load_tensors(Path(self.codebook))[0]
        network: Any = load_model(self.model).model
        if tuple(network.fields.resolutions_ms) != self.resolutions_ms:
            raise UsageError(
                f"tokens: {self.model} gives tokens of {list(network.fields.resolutions_ms)} ms, and resolutions_ms is "
                f"{list(self.resolutions_ms)}; set it to the model's"
            )
        return network

    def process(self, songs: Sequence[Song], model: Any) -> list[Row | RowError]:
        return per_song(songs, lambda song: self._adapted(song, model) if self.model else self._tokens(song, model))

    def _adapted(self, song: Song, network: Any) -> Row:
        from autosing.models.multires import tokens_of

        counts = tied_frames(song.n_samples, song.sample_rate, self.rates)
        n_periods = counts[0] // network.fields.period
        streams = tokens_of(network, song[f"{self.source}.ssl"], n_periods)
        return {column.name: stream for column, stream in zip(self.columns(), streams, strict=True)}

    def _tokens(self, song: Song, codebooks: dict[str, npt.NDArray[np.float32]]) -> Row:
        pooled = self._pooled(song[f"{self.source}.ssl"], song.n_samples, song.sample_rate)
        return {c.name: assign(stream, codebooks[c.name]) for c, stream in zip(self.columns(), pooled, strict=True)}

    def _pooled(
        self, series: npt.NDArray[np.floating[Any]], n_samples: int, sample_rate: int
    ) -> list[npt.NDArray[np.float32]]:
        """Returns the features (F, D) of each stream for a song of `n_samples` at `sample_rate`."""
        counts = tied_frames(n_samples, sample_rate, self.rates)
        return [pool(series, RATE, n, rate) for n, rate in zip(counts, self.rates, strict=True)]
