"""Songs and a fit source in memory, for the stages that apply a codebook."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from autosing.pipeline.song import Song
from autosing.pipeline.stage import FitSource


class FitSourceInMemory(FitSource):
    """Yields given series of features at 50 Hz, whatever the address, and remembers what was asked for.

    Args:
        series: one array (F, D) per song.
    """

    def __init__(self, series: Sequence[npt.NDArray[Any]]) -> None:
        self._series = series
        self.asked: list[str] = []

    def songs(self, addresses: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        self.asked += addresses
        yield from (dict.fromkeys(addresses, series) for series in self._series)

    def seconds(self) -> float:
        return sum(map(len, self._series)) / 50


def song_of_features(
    features: npt.NDArray[Any], n_samples: int, sample_rate: int = 16_000, source: str = "ssl"
) -> Song:
    """Returns a song without audio whose `ssl` features and length are known."""
    probed = {"probe.n_samples": n_samples, "probe.sample_rate_hz": sample_rate}
    return Song("a", {f"{source}.ssl": features, **probed}, {})


def steps(n_frames: int, seed: int = 0) -> npt.NDArray[np.float16]:
    """Returns features (F, 2) that jump between four far points, four frames at each."""
    points = np.array([[-8, -8], [-8, 8], [8, -8], [8, 8]], np.float32)
    rng = np.random.default_rng(seed)
    chosen = np.repeat(rng.integers(0, 4, n_frames // 4 + 1), 4)[:n_frames]
    return (points[chosen] + 0.1 * rng.normal(size=(n_frames, 2))).astype(np.float16)
