"""The recordings of a data set that what is made of its columns is heard beside."""

import numpy as np

from autosing.evaluation.heard import SPEC, Wave
from autosing.pipeline.dataset import Dataset, SongRow, split_address
from autosing.signal.decode import decode, to_mono
from autosing.signal.errors import AutosingError
from autosing.signal.resample import resample

AUDIO = ("stems.vocals", "index.audio")


def evenly(n: int, total: int) -> set[int]:
    """Returns `n` numbers evenly over those below `total`, or all of them."""
    return set(np.linspace(0, total - 1, min(n, total)).round().astype(int).tolist())


def audio_of(dataset: Dataset) -> str:
    """Returns the address of the voice that is compared with."""
    instances = {"index", *dataset.partitions[0].instances()}
    return next(address for address in AUDIO if split_address(address)[0] in instances)


def voice_of(row: SongRow, audio: str) -> Wave | None:
    """Returns a song's recording at `SPEC.sample_rate`; None where it can't be read."""
    try:
        decoded = decode(bytes(row.values[audio]))
    except (AutosingError, TypeError):
        return None
    return resample(to_mono(decoded.samples), decoded.sample_rate, SPEC.sample_rate)
